/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dissemination barrier: in round k every rank tells the rank 2^k further on what it knows, and so
 * knows after it who of the 2^(k+1) ranks up to itself has come.
 *
 * Steps:  ceil(log2 n) sends and as many receives, in turn.
 * Bytes:  each rank sends ceil(log2 n) elements.
 * Rounds: ceil(log2 n): the least possible. Unless n is a power of two, the last round tells some
 *         ranks' coming twice, which a barrier does not mind.
 * Source: D. Hensgen, R. Finkel, U. Manber, "Two algorithms for barrier synchronization", Int. J.
 *         Parallel Programming 17 (1988).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	enum hk_buf known = HK_IN;
	uint32_t lane;

	hk_build_chunks(b, 1, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (p->nranks == 1)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, 1);
	for (int d = 1; d < p->nranks; d *= 2) {
		hk_build_send(b, lane, hk_wrap(rank, d, p->nranks), known, 0, 1);
		hk_build_recv_reduce(b, lane, hk_wrap(rank, -d, p->nranks), known, 0, HK_OUT, 0, 1,
				     0);
		known = HK_OUT;
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = w->messages = hk_log2_up((uint32_t)p->nranks);
	w->sent = w->messages;
}

const struct hk_algo hk_algo_dissemination_barrier = {"dissemination_barrier", HK_BARRIER, accepts,
						      build, work};
