/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Barrier in the network: an all-reduce whose data nobody looks at.
 *
 * Steps:  a send up and a receive on each rank. Switches fold; see switch_tree.h.
 * Bytes:  each rank sends 1 block.
 * Rounds: 2 h, where h is the height of the tree. Needs one slot.
 * Source: R. L. Graham et al., "Scalable hierarchical aggregation protocol (SHArP): a hardware
 *         architecture for efficient data reduction" (2016): the idea; here the switches are
 *         participants with programs like any other.
 */
#include "switch_tree.h"

static const struct hk_switch_flow flow = {.from = HK_SWITCH_ALL, .to = HK_SWITCH_ALL};

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	return hk_switch_build(p, rank, &flow, b);
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = 2 * hk_switch_height(p, p->nranks, -1);
	w->messages = p->channels;
	w->sent = 1;
}

const struct hk_algo hk_algo_switch_barrier = {"switch_barrier", HK_BARRIER, hk_switch_accepts,
					       build, work};
