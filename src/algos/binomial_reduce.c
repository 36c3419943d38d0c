/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binomial tree reduce, for small vectors: the broadcast's way back. A rank adds what its children
 * send to its own vector, the smallest subtree first, and sends the sum to its parent.
 *
 * Steps:  up to ceil(log2 n) recv_reduce, the last fused with the send to the parent. Sums are made
 *         in scratch, but at the root in OUT.
 * Bytes:  each rank but the root sends one vector.
 * Rounds: floor(log2 n) messages follow each other; the root receives ceil(log2 n).
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
	int label = hk_label_of(p, rank), span = hk_binomial_span(p->nranks, label);
	enum hk_buf sum = HK_IN, acc = label ? HK_SCRATCH : HK_OUT;
	uint32_t lane;

	hk_build_chunks(b, 1, label && span > 1 ? 1 : 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (p->nranks == 1)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, 1);
	for (int d = 1; d < span; d *= 2) {
		hk_build_recv_reduce(b, lane, hk_label_rank(p, label + d), sum, 0, acc, 0, 1, 0);
		sum = acc;
	}
	if (label)
		hk_build_send(b, lane, hk_label_rank(p, hk_binomial_parent(label)), sum, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_log2_down((uint32_t)p->nranks);
	w->messages = p->nranks > 1;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_binomial_reduce = {"binomial_reduce", HK_REDUCE_ROOT, accepts, build,
						work};
