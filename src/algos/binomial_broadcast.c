/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binomial tree broadcast, for small vectors: whoever has the vector sends it to half of the ranks
 * that it still has to serve, and each of the two goes on with its half.
 *
 * Steps:  a receive, fused with the send to the child with the largest subtree, and a send to each
 *         other one. The root copies its own vector, out of place, after its sends.
 * Bytes:  the root sends ceil(log2 n) vectors.
 * Rounds: floor(log2 n) messages follow each other, as the root sends to all its children at once;
 *         ceil(log2 n) if it sends one message at a time.
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
 *         operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "trees.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int label = hk_label_of(p, rank), below = label ? label & -label : 1;
	enum hk_buf buf = label ? HK_OUT : HK_IN;
	uint32_t lane;

	hk_build_chunks(b, 1, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (label)
		hk_build_recv(b, lane, hk_label_rank(p, hk_binomial_parent(label)), HK_OUT, 0, 1);
	while (!label && below < p->nranks)
		below *= 2;
	for (int d = below / 2; d > 0; d /= 2)
		if (label + d < p->nranks)
			hk_build_send(b, lane, hk_label_rank(p, label + d), buf, 0, 1);
	if (!label && !p->inplace)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_log2_down((uint32_t)p->nranks);
	w->messages = hk_log2_up((uint32_t)p->nranks);
	w->sent = w->messages;
}

const struct hk_algo hk_algo_binomial_broadcast = {"binomial_broadcast", HK_BROADCAST, accepts,
						   build, work};
