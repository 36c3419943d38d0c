/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered memory of GPUs, between ranks whose kernels do not reach each other's anyway: other
 * processes, other GPUs. Each rank has a board, a file that its peers map. There it says what it
 * has registered and how it is opened; a peer that has opened it says there where it has it. Nobody
 * waits for anybody: a peer looks when it makes its next call, and until then messages are copied.
 * So registering stays what it is in NCCL, a matter of one rank.
 *
 * Kernels read where their messages are for each peer from a row of words in the GPU's memory, one
 * row for each registration. All calls are the communicator's, one at a time.
 */
#ifndef HK_TRANSPORT_GPU_BOARD_H
#define HK_TRANSPORT_GPU_BOARD_H

#include "transport.h"

struct hk_board;

int hk_board_open(const struct hk_endpoint_env *env, struct hk_board **board);
/* From now on what this peer registers is opened here. same_process: the peer's addresses are ours
 * where there is no descriptor to open. */
int hk_board_meet(struct hk_board *b, int peer, bool same_process);
/* Says that bytes at `at` are registered; what can't be given away is none of it, and the log says
 * why. */
int hk_board_attach(struct hk_board *b, uint64_t at, size_t bytes);
void hk_board_detach(struct hk_board *b, uint64_t at, size_t bytes);
/* See hk_transport's rows and peer_memory. */
uint64_t hk_board_rows(struct hk_board *b, uint64_t at, size_t bytes, bool kept);
uint64_t hk_board_peer_memory(struct hk_board *b, int peer, uint64_t at, size_t bytes);
/* Gives up what peers of any communicator of this process have deregistered. */
void hk_boards_refresh(void);
size_t hk_board_device_memory(const struct hk_board *b);
void hk_board_close(struct hk_board *b);

#endif
