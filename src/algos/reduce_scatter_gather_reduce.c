/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduce by reduce-scatter and gather, for few ranks on one host: each rank but the root reduces
 * one part of all vectors and sends the root the result. The work of the root, the bottleneck of a
 * direct reduce, is shared by all.
 *
 * Steps:  a lane with n-1 sends (n-2 where the rank reduces one part itself); a lane with n-1
 *         recv_reduce, whose sum is made in scratch and the last of which is fused with the send to
 *         the root; at the root a lane with n-1 receives. A part's sum begins with the rank that
 *         makes it and goes on backwards from there. That a result arrives in place over IN needs
 *         no dependency: it was made from the very chunk that it overwrites.
 * Bytes:  each rank sends one vector, in n-1 parts.
 * Rounds: 2.
 * Source: R. Rabenseifner, "Optimization of collective reduction operations" (2004), with exchanges
 *         among all instead of halving and a tree.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks >= 3 && p->nranks <= 1 << 20;
}

static void build_sum(struct hk_builder *b, const struct hk_problem *p, uint32_t lane, int rank,
		      uint32_t part)
{
	for (int i = 1; i < p->nranks; i++) {
		hk_build_recv_reduce(b, lane, hk_wrap(rank, -i, p->nranks),
				     i > 1 ? HK_SCRATCH : HK_IN, i > 1 ? 0 : part, HK_SCRATCH, 0, 1,
				     0);
		if (i > 1)
			hk_build_size(b, lane, part);
	}
	hk_build_send(b, lane, p->root, HK_SCRATCH, 0, 1);
	hk_build_size(b, lane, part);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks, label = hk_wrap(rank, -p->root, n);
	uint32_t scatter = hk_build_lane(b, 0), lane = hk_build_lane(b, 0);

	hk_build_chunks(b, (uint32_t)n - 1, label ? 1 : 0);
	for (int i = 1; i < n; i++) {
		int to = hk_wrap(label, i, n);

		if (to)
			hk_build_send(b, scatter, hk_wrap(rank, i, n), HK_IN, (uint32_t)to - 1, 1);
		if (!label)
			hk_build_recv(b, lane, hk_wrap(rank, i, n), HK_OUT, (uint32_t)i - 1, 1);
	}
	if (label)
		build_sum(b, p, lane, rank, (uint32_t)label - 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = 2;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = 1;
}

const struct hk_algo hk_algo_reduce_scatter_gather_reduce = {"reduce_scatter_gather_reduce",
							     HK_REDUCE_ROOT, accepts, build, work};
