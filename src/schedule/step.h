/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A schedule's step, dependency and lane, as records. They are apart from schedule.h because a GPU
 * reads the same ones: this text is C and C++ alike, and needs no other header of ours.
 */
#ifndef HK_SCHEDULE_STEP_H
#define HK_SCHEDULE_STEP_H

#include <stdint.h>

enum hk_buf { HK_NONE, HK_IN, HK_OUT, HK_SCRATCH, HK_NBUFS };

enum hk_op {
	HK_SEND = 1,		  /* to <- src */
	HK_RECV,		  /* dst = received */
	HK_RECV_REDUCE,		  /* dst = src (+) received */
	HK_COPY,		  /* dst = src */
	HK_REDUCE,		  /* dst = dst (+) src */
	HK_RECV_COPY_SEND,	  /* dst = received; to <- received */
	HK_RECV_REDUCE_SEND,	  /* to <- src (+) received */
	HK_RECV_REDUCE_COPY_SEND, /* dst = src (+) received; to <- the same */
	HK_NOPS,
};

enum {
	/* The received (HK_REDUCE: the src) operand is the left one, as in received (+) src. */
	HK_STEP_FLIP = 1,
};

struct hk_step {
	uint8_t op;
	uint8_t flags;
	uint8_t src_buf, dst_buf; /* enum hk_buf, HK_NONE where the op has none */
	uint16_t nchunks;	  /* consecutive chunks from src and dst on */
	uint16_t ndeps;
	int32_t to;   /* participant that a send goes to, or -1 */
	int32_t from; /* participant that a receive comes from, or -1 */
	uint32_t src, dst;
	uint32_t dep;  /* index of the first of its ndeps dependencies */
	uint32_t size; /* if it touches SCRATCH alone: the first chunk's size id; else 0 */
};

/* The step waits until `lane` has completed its step number `step` (0 is the first) in this tile.
 */
struct hk_dep {
	uint32_t lane, step;
};

struct hk_lane {
	uint32_t first, nsteps; /* its steps are steps[first .. first + nsteps) */
	uint32_t channel;
};

/* What a program's op does, as bits, so that readers need no switch of their own. */
enum {
	HK_DOES_RECV = 1,
	HK_DOES_SEND = 2,
	HK_DOES_REDUCE = 4,
	HK_READS_SRC = 8,
	HK_WRITES_DST = 16,
	HK_READS_DST = 32
};

#endif
