/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-pairs ("one-shot") all-reduce, for small vectors: every rank sends its whole vector to every
 * other and folds what it gets in rank order, so that the result has the same bits everywhere.
 *
 * Steps:  n-1 sends in one lane; n-1 or n folding steps in another (the ranks from 2 on start with
 *         a copy, as their own vector is not among the first two).
 * Bytes:  each rank sends n-1 vectors.
 * Rounds: 1. In place the fold works in scratch, since IN must stay until all have been sent it:
 *         only its last step writes OUT, and waits for the last send.
 * Source: folklore; "one-shot" in NCCL-like libraries for NVLink, and Thakur et al. (2005) for the
 *         trade of bytes against rounds.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks >= 2;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks;
	uint32_t send = hk_build_lane(b, 0), fold = hk_build_lane(b, 0), last = 0;
	struct hk_fold f = {.lane = fold, .acc_buf = p->inplace ? HK_SCRATCH : HK_OUT};

	hk_build_chunks(b, 1, p->inplace && n > 2 ? 1 : 0);
	for (int i = 1; i < n; i++)
		last = hk_build_send(b, send, hk_wrap(rank, i, n), HK_IN, 0, 1);
	hk_fold_in_rank_order(b, &f, n, rank);
	if (p->inplace)
		hk_build_after(b, fold, send, last);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_all_pairs_all_reduce = {"all_pairs_all_reduce", HK_ALL_REDUCE, accepts,
						     build, work};
