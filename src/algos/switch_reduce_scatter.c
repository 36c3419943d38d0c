/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduce-scatter in the network: every rank sends all blocks to its switch, in their order, and
 * gets its own back, reduced. A rank's own block goes up as well, so that each block is folded in
 * rank order and its bits are those of an all-reduce.
 *
 * Steps:  n sends up on each rank, and a receive. Switches fold; see switch_tree.h.
 * Bytes:  each rank sends its n blocks, once.
 * Rounds: 2 h, where h is the height of the tree. Needs one slot.
 * Source: R. L. Graham et al., "Scalable hierarchical aggregation protocol (SHArP): a hardware
 *         architecture for efficient data reduction" (2016): the idea; here the switches are
 *         participants with programs like any other.
 */
#include "switch_tree.h"

static const struct hk_switch_flow flow = {
	.blocks = true, .from = HK_SWITCH_ALL, .to = HK_SWITCH_OWNER};

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	return hk_switch_build(p, rank, &flow, b);
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = 2 * hk_switch_height(p, p->nranks, -1);
	w->messages = (uint32_t)p->nranks * p->channels;
	w->sent = p->nranks;
}

const struct hk_algo hk_algo_switch_reduce_scatter = {"switch_reduce_scatter", HK_REDUCE_SCATTER,
						      hk_switch_accepts, build, work};
