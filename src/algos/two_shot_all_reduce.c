/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two-shot ("direct") all-reduce, for few ranks on one host: chunk i of every vector goes straight
 * to rank i, which folds them in rank order and sends the result straight to all others.
 *
 * Steps:  four lanes, so that the next tile's scatter overlaps this tile's fold and gather: n-1
 *         sends of IN on channel 0; n-1 to n+1 folding steps; n-1 sends of the result and n-1
 *         receives on channel 1.
 * Bytes:  each rank sends 2 (n-1)/n of the vector, as the ring does, in 2 (n-1) messages.
 * Rounds: 2. The gather waits for the fold. That a result arrives in place over IN needs no
 *         dependency: it was made from the very chunk that it overwrites. The fold of rank 2 and up
 *         works in scratch in place, since it would overwrite IN before it reaches it.
 * Source: direct-exchange reduce-scatter and all-gather; E. Chan, M. Heimlich, A. Purkayastha, R.
 *         van de Geijn, "Collective communication: theory, practice, and experience" (2007).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks >= 2 && p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks;
	bool scratch = p->inplace && rank >= 2;
	uint32_t own = (uint32_t)rank;
	uint32_t scatter = hk_build_lane(b, 0), fold = hk_build_lane(b, 0);
	uint32_t gather = hk_build_lane(b, 1), collect = hk_build_lane(b, 1), folded;
	struct hk_fold f = {.lane = fold,
			    .in = own,
			    .out = own,
			    .acc_buf = scratch ? HK_SCRATCH : HK_OUT,
			    .acc = own};

	/* A scratch chunk must be of the class of the chunk it stands for, so it has its number. */
	hk_build_chunks(b, (uint32_t)n, scratch ? own + 1 : 0);
	for (int i = 1; i < n; i++) {
		int to = hk_wrap(rank, i, n);

		hk_build_send(b, scatter, to, HK_IN, (uint32_t)to, 1);
	}
	folded = hk_fold_in_rank_order(b, &f, n, rank);
	for (int i = 1; i < n; i++) {
		int to = hk_wrap(rank, i, n), from = hk_wrap(rank, -i, n);

		hk_build_send(b, gather, to, HK_OUT, own, 1);
		if (i == 1)
			hk_build_after(b, gather, fold, folded);
		hk_build_recv(b, collect, from, HK_OUT, (uint32_t)from, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = 2;
	w->messages = 2 * (n - 1);
	w->sent = 2 * (n - 1.0) / n;
}

const struct hk_algo hk_algo_two_shot_all_reduce = {"two_shot_all_reduce", HK_ALL_REDUCE, accepts,
						    build, work};
