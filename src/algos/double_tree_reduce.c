/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Double binary tree reduce: each half of the vector is reduced up a binary tree of its own over
 * the ranks other than the root, and the topmost rank sends the root what it has. Who receives in
 * one tree is a leaf in the other, and tiles follow each other.
 *
 * Steps:  for each tree a lane: one or two recv_reduce, the last fused with the send to the parent;
 *         a leaf just sends, the root just receives.
 * Bytes:  each rank but the root sends one vector, in 2 messages.
 * Rounds: ceil(log2 n).
 * Source: P. Sanders, J. Speck, J. L. Traeff, "Two-tree algorithms for full bandwidth broadcast,
 *         reduction and scan", Parallel Computing 35 (2009).
 */
#include "algos.h"
#include "trees.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, 2, rank != p->root ? 2 : 0);
	if (p->nranks == 1 && !p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 2);
	for (uint32_t half = 0; p->nranks > 1 && half < 2; half++) {
		struct hk_tree t = hk_rooted_double_tree(p, rank, (int)half);

		hk_tree_up(b, hk_build_lane(b, half), &t, half);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_log2_up((uint32_t)p->nranks);
	w->messages = p->nranks > 1 ? 2 : 0;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_double_tree_reduce = {"double_tree_reduce", HK_REDUCE_ROOT, accepts,
						   build, work};
