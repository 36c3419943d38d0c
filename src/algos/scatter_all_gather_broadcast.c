/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Broadcast by scatter and all-gather, for few ranks on one host: the root sends each other rank
 * one part of the vector, and each passes its part on to the rest. The work of the root, the
 * bottleneck of a direct broadcast, is shared by all.
 *
 * Steps:  at the root n-1 sends and, out of place, the copy of its own; elsewhere a lane that
 *         receives its part (fused with the first send) and sends it n-2 times, and a lane with n-2
 *         receives.
 * Bytes:  the root sends one vector, the others (n-2)/(n-1) of it. The vector is cut in n-1 parts,
 *         since the root needs none.
 * Rounds: 2.
 * Source: M. Barnett, L. Shuler, R. van de Geijn, S. Gupta, D. Payne, J. Watts, "Interprocessor
 *         collective communication library", SHPCC 1994, with an exchange among all as its second
 *         half.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks >= 3 && p->nranks < 1 << 16; /* n-1 chunks in one copy */
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks, label = hk_wrap(rank, -p->root, n);
	uint32_t lane = hk_build_lane(b, 0), parts = (uint32_t)n - 1, collect;

	hk_build_chunks(b, parts, 0);
	if (!label) {
		for (int i = 1; i < n; i++)
			hk_build_send(b, lane, hk_wrap(rank, i, n), HK_IN, (uint32_t)i - 1, 1);
		if (!p->inplace)
			hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, parts);
		return 0;
	}
	collect = hk_build_lane(b, 0);
	hk_build_recv(b, lane, p->root, HK_OUT, (uint32_t)label - 1, 1);
	for (int i = 1; i < n - 1; i++) {
		int to = hk_wrap(label - 1, i, n - 1), from = hk_wrap(label - 1, -i, n - 1);

		hk_build_send(b, lane, hk_wrap(p->root, to + 1, n), HK_OUT, (uint32_t)label - 1, 1);
		hk_build_recv(b, collect, hk_wrap(p->root, from + 1, n), HK_OUT, (uint32_t)from, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = 2;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = 1;
}

const struct hk_algo hk_algo_scatter_all_gather_broadcast = {"scatter_all_gather_broadcast",
							     HK_BROADCAST, accepts, build, work};
