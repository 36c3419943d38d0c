/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Double binary tree all-reduce: each half of the vector is reduced up a binary tree of its own and
 * the result sent down the same tree. Who passes data on in one tree is a leaf in the other, so all
 * ranks are about as busy. Tiles follow each other up and down, so for a large vector the time is
 * that of the bytes, as in a ring, with a start that grows by the logarithm only.
 *
 * Steps:  for each tree a lane up: one or two recv_reduce, the last fused with the send to the
 *         parent; and a lane down: a receive, fused with the send to the first child, and a send to
 *         the second. At the top of a tree both are one step. That a result arrives in place over
 *         IN needs no dependency: it was made from the very chunk that it overwrites.
 * Bytes:  a rank with two children sends 2 vectors in 4 messages (from 4 ranks on).
 * Rounds: 2 ceil(log2 n).
 * Source: P. Sanders, J. Speck, J. L. Traeff, "Two-tree algorithms for full bandwidth broadcast,
 *         reduction and scan", Parallel Computing 35 (2009); NCCL uses the same pair of trees.
 */
#include "algos.h"
#include "trees.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, 2, p->nranks > 2 ? 2 : 0);
	if (p->nranks == 1 && !p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 2);
	for (int which = 0; p->nranks > 1 && which < 2; which++) {
		uint32_t chunk = (uint32_t)which, lane = hk_build_lane(b, chunk);
		struct hk_tree t = hk_double_tree(p, rank, which);

		hk_tree_up(b, lane, &t, chunk);
		hk_tree_down(b, t.parent < 0 ? lane : hk_build_lane(b, chunk), &t, HK_OUT, chunk);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = 2 * hk_log2_up((uint32_t)p->nranks);
	w->messages = p->nranks == 1 ? 0 : p->nranks < 4 ? (uint32_t)p->nranks : 4;
	w->sent = w->messages / 2.0;
}

const struct hk_algo hk_algo_double_tree_all_reduce = {"double_tree_all_reduce", HK_ALL_REDUCE,
						       accepts, build, work};
