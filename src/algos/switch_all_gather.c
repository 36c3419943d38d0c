/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-gather in the network: every rank sends its block to its switch once, and gets all the others
 * back, in the order of the ranks.
 *
 * Steps:  a send (and, out of place, a copy) and n-1 receives on each rank. Switches pass on; see
 *         switch_tree.h.
 * Bytes:  each rank sends 1 block, where no algorithm without switches sends less than n-1.
 * Rounds: h + h', where h is the height of the tree and h' that of the tree without rank n-1: the
 *         last block does not come back to the rank that sent it. Needs one slot.
 * Source: R. L. Graham et al., "Scalable hierarchical aggregation protocol (SHArP): a hardware
 *         architecture for efficient data reduction" (2016): the idea; here the switches are
 *         participants with programs like any other.
 */
#include "switch_tree.h"

static const struct hk_switch_flow flow = {
	.blocks = true, .from = HK_SWITCH_OWNER, .to = HK_SWITCH_OTHERS};

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	return hk_switch_build(p, rank, &flow, b);
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_switch_height(p, p->nranks, -1) + hk_switch_height(p, p->nranks - 1, -1);
	w->messages = p->channels;
	w->sent = 1;
}

const struct hk_algo hk_algo_switch_all_gather = {"switch_all_gather", HK_ALL_GATHER,
						  hk_switch_accepts, build, work};
