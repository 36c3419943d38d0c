/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduce in the network: every rank, the root too, sends its vector to its switch; the sum of all
 * comes down to the root. The root's own goes the same way, so that the order of the operands is
 * that of the all-reduce.
 *
 * Steps:  a send up on each rank; a receive on the root. Switches fold; see switch_tree.h.
 * Bytes:  each rank sends 1 vector.
 * Rounds: the height of the tree, and the root's depth in it. Needs one slot.
 * Source: R. L. Graham et al., "Scalable hierarchical aggregation protocol (SHArP): a hardware
 *         architecture for efficient data reduction" (2016): the idea; here the switches are
 *         participants with programs like any other.
 */
#include "switch_tree.h"

static const struct hk_switch_flow flow = {.from = HK_SWITCH_ALL, .to = HK_SWITCH_OWNER};

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	return hk_switch_build(p, rank, &flow, b);
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_switch_height(p, p->nranks, -1) + hk_switch_depth(p, p->root);
	w->messages = p->channels;
	w->sent = 1;
}

const struct hk_algo hk_algo_switch_reduce = {"switch_reduce", HK_REDUCE_ROOT, hk_switch_accepts,
					      build, work};
