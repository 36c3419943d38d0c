/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct reduce-scatter, for few ranks on one host: every rank sends each block straight to the
 * block's rank, which folds what it gets in rank order. So all ranks reduce in the same order.
 *
 * Steps:  n-1 sends in one lane; n-1 to n+1 folding steps in another, so that the next tile's
 *         blocks leave while this tile's are folded. In place the fold of rank 2 and up works in
 *         scratch, since it would overwrite the rank's own block before it reaches it.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: 1.
 * Source: folklore: direct exchange; E. Chan, M. Heimlich, A. Purkayastha, R. van de Geijn,
 *         "Collective communication: theory, practice, and experience" (2007).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks;
	bool scratch = p->inplace && n > 1 && rank >= 2;
	struct hk_fold f = {.in = (uint32_t)rank,
			    .acc_buf = scratch ? HK_SCRATCH : HK_OUT,
			    .size = p->varied ? (uint64_t)rank : 0};
	uint32_t send;

	hk_build_chunks(b, 1, scratch ? 1 : 0);
	if (n == 1) {
		if (!p->inplace)
			hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
		return 0;
	}
	send = hk_build_lane(b, 0);
	f.lane = hk_build_lane(b, 0);
	for (int i = 1; i < n; i++) {
		int to = hk_wrap(rank, i, n);

		hk_build_send(b, send, to, HK_IN, (uint32_t)to, 1);
	}
	hk_fold_in_rank_order(b, &f, n, rank);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_reduce_scatter = {"direct_reduce_scatter", HK_REDUCE_SCATTER,
						      accepts, build, work};
