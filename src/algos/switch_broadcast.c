/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Broadcast in the network: the root sends its vector to its switch once, and the switches copy it
 * to everybody else.
 *
 * Steps:  a send (and, out of place, a copy) on the root; a receive on every other rank.
 *         Switches pass on; see switch_tree.h.
 * Bytes:  the root sends 1 vector, the others nothing.
 * Rounds: the root's depth in the tree and the greatest other one: 2 for a star. Needs one slot.
 * Source: R. L. Graham et al., "Scalable hierarchical aggregation protocol (SHArP): a hardware
 *         architecture for efficient data reduction" (2016): the idea; here the switches are
 *         participants with programs like any other.
 */
#include "switch_tree.h"

static const struct hk_switch_flow flow = {.from = HK_SWITCH_OWNER, .to = HK_SWITCH_OTHERS};

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	return hk_switch_build(p, rank, &flow, b);
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_switch_depth(p, p->root) + hk_switch_height(p, p->nranks, p->root);
	w->messages = p->channels;
	w->sent = 1;
}

const struct hk_algo hk_algo_switch_broadcast = {"switch_broadcast", HK_BROADCAST,
						 hk_switch_accepts, build, work};
