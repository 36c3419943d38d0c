/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All ranks of a call over the loop transport, in this thread and stepped in turn, so that every
 * run repeats exactly; and data for them, made and judged by what schedule.h says of collectives,
 * so that a new collective or algorithm needs no line here.
 */
#ifndef HK_TEST_LOOP_WORLD_H
#define HK_TEST_LOOP_WORLD_H

#include "algos.h"
#include "exec.h"
#include "loop.h"

#define MAX_RANKS    16
#define MAX_CHANNELS 8
#define SLOT_BYTES   4096u

struct loop_rank {
	struct hk_binder binder;
	struct hk_endpoint *ep;
	struct hk_send *sends[MAX_RANKS][MAX_CHANNELS];
	struct hk_recv *recvs[MAX_RANKS][MAX_CHANNELS];
	struct hk_plan *plan;
	int64_t *memory; /* IN and OUT, with a guard after each block */
	size_t elems, max_elems;
	struct hk_block in[MAX_RANKS], out[MAX_RANKS]; /* where the blocks are in it */
	unsigned nin, nout;
};

struct loop_world {
	struct hk_problem p;
	int n; /* participants: ranks, then switches */
	struct hk_loop *loop;
	struct loop_rank ranks[MAX_RANKS];
	size_t counts[MAX_RANKS * MAX_RANKS]; /* of each size id, where blocks differ */
};

/* Builds, fuses and plans all participants' programs, at most MAX_RANKS; faults may be NULL. Fails
 * the test if it can't. */
void world_setup(struct loop_world *w, const struct hk_algo *algo, const struct hk_problem *p,
		 const struct hk_loop_faults *faults);
void world_teardown(struct loop_world *w);

/* Fresh buffers for blocks of `count` elements (about so many, some none, where they differ), and
 * the calls of a sum of int64 over them. */
void world_fill(struct loop_world *w, size_t count, uint32_t mark, struct hk_call *calls);
/* Every output is what the collective promises of inputs times `scale`, divided by `divide`; inputs
 * that share no memory with outputs and all memory between blocks are as they were. */
void world_verify(const struct loop_world *w, int64_t scale, int64_t divide);

/* Steps all ranks in turn until all are done, or one fails (then its code). */
int world_run(struct loop_world *w, const struct hk_call *calls);

#endif
