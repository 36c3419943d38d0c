/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct reduce, for few ranks on one host: every rank sends its vector straight to the root, which
 * folds them in rank order, whichever rank is the root: the bits of the result do not depend on it.
 *
 * Steps:  one send; at the root n-1 to n+1 folding steps. In place the fold of a root from rank 2
 *         on works in scratch, since it would overwrite the root's own vector before it reaches it.
 * Bytes:  each rank but the root sends one vector.
 * Rounds: 1.
 * Source: folklore: the flat tree of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of
 *         collective communication operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	bool scratch = rank == p->root && p->inplace && rank >= 2;
	struct hk_fold f = {.acc_buf = scratch ? HK_SCRATCH : HK_OUT};

	hk_build_chunks(b, 1, scratch ? 1 : 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	f.lane = hk_build_lane(b, 0);
	if (p->nranks == 1)
		hk_build_copy(b, f.lane, HK_IN, 0, HK_OUT, 0, 1);
	else if (rank != p->root)
		hk_build_send(b, f.lane, p->root, HK_IN, 0, 1);
	else
		hk_fold_in_rank_order(b, &f, p->nranks, rank);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = w->messages = p->nranks > 1;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_direct_reduce = {"direct_reduce", HK_REDUCE_ROOT, accepts, build,
					      work};
