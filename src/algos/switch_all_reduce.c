/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-reduce in the network: every rank sends its vector to its switch once, and gets the result
 * back. Switches reduce on the way up and copy on the way down.
 *
 * Steps:  a rank has two lanes a channel: a send up, a receive. A switch folds its children in
 *         rank order and passes the result on; see switch_tree.h.
 * Bytes:  each rank sends 1 vector, where no algorithm without switches sends less than
 *         2 (n-1)/n. A switch sends as many as it has neighbours.
 * Rounds: 2 h, where h is the height of the tree: 2 for a star, whatever n. Needs one slot.
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

const struct hk_algo hk_algo_switch_all_reduce = {"switch_all_reduce", HK_ALL_REDUCE,
						  hk_switch_accepts, build, work};
