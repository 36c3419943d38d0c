/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct all-gather, for few ranks on one host: every rank sends its block straight to every other.
 * Where memory can be lent, each block is read where it lies.
 *
 * Steps:  n-1 sends and, out of place, the copy of the own block in one lane; n-1 receives in
 *         another, so that the next tile's blocks leave while this tile's arrive. One lane of sends
 *         rather than one for each peer: a tile of the block stays in the cache for all of them.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: 1. The i-th send goes i ranks up and the i-th receive comes from i ranks down, so that no
 *         rank is everybody's first.
 * Source: folklore: direct exchange; E. Chan, M. Heimlich, A. Purkayastha, R. van de Geijn,
 *         "Collective communication: theory, practice, and experience" (2007).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks;
	uint32_t send, recv;

	hk_build_chunks(b, 1, 0);
	if (n == 1 && p->inplace)
		return 0;
	send = hk_build_lane(b, 0);
	for (int i = 1; i < n; i++)
		hk_build_send(b, send, hk_wrap(rank, i, n), HK_IN, 0, 1);
	if (!p->inplace)
		hk_build_copy(b, send, HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
	if (n == 1)
		return 0;
	recv = hk_build_lane(b, 0);
	for (int i = 1; i < n; i++) {
		int from = hk_wrap(rank, -i, n);

		hk_build_recv(b, recv, from, HK_OUT, (uint32_t)from, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_all_gather = {"direct_all_gather", HK_ALL_GATHER, accepts,
						  build, work};
