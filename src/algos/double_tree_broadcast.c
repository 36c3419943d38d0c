/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Double binary tree broadcast: the root sends each half of the vector down a binary tree of its
 * own over the other ranks. Who passes data on in one tree is a leaf in the other, and tiles follow
 * each other, so for a large vector no rank sends or receives more than it once.
 *
 * Steps:  for each tree a lane: a receive, fused with the send to the first child, and a send to
 *         the second. At the root two sends and, out of place, the copies of its own.
 * Bytes:  the root and the ranks with two children send one vector, in 2 messages.
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
	hk_build_chunks(b, 2, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	for (uint32_t half = 0; half < 2; half++) {
		struct hk_tree t = hk_rooted_double_tree(p, rank, (int)half);
		uint32_t lane = hk_build_lane(b, half);

		hk_tree_down(b, lane, &t, HK_IN, half);
		if (rank == p->root && !p->inplace)
			hk_build_copy(b, lane, HK_IN, half, HK_OUT, half, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_log2_up((uint32_t)p->nranks);
	w->messages = p->nranks > 1 ? 2 : 0;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_double_tree_broadcast = {"double_tree_broadcast", HK_BROADCAST,
						      accepts, build, work};
