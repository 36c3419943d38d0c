/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the memory of another process of this host, or of this one, where the other says so: one
 * copy from its ordinary memory to ours, for transports whose peers are on this host. See pull.c.
 */
#ifndef HK_TRANSPORT_PULL_H
#define HK_TRANSPORT_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a process tells others so that they can find its memory, over an authenticated way. */
struct hk_pull_id {
	uint64_t pid;
	uint64_t at, nonce; /* a place in its memory, and the random number that is there */
};

int hk_pull_self(struct hk_pull_id *id);
/* Whether it is this very process, so that its addresses are ours. */
bool hk_pull_is_self(const struct hk_pull_id *id);
/* Tries: 0 if that process is there, is the one that said so, and may be read; else -errno. */
int hk_pull_probe(const struct hk_pull_id *id);
/* Copies from its address `at`: all the bytes and 0, or -errno. -ESRCH: it is gone. */
int hk_pull_read(const struct hk_pull_id *id, uint64_t at, void *dst, size_t bytes);

#endif
