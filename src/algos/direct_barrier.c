/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct barrier, for few ranks on one host: every rank tells every other that it has come, and
 * leaves when it has heard from all.
 *
 * Steps:  n-1 sends, then n-1 receives. The words that arrive are joined to one, so that the
 *         checker sees who has come; their value means nothing.
 * Bytes:  each rank sends n-1 elements.
 * Rounds: 1.
 * Source: folklore; the central counter's counterpart where messages are all there is.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int n = p->nranks;
	uint32_t lane;

	hk_build_chunks(b, 1, 0);
	if (n == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (n == 1)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, 1);
	for (int i = 1; i < n; i++)
		hk_build_send(b, lane, hk_wrap(rank, i, n), HK_IN, 0, 1);
	for (int i = 1; i < n; i++)
		hk_build_recv_reduce(b, lane, hk_wrap(rank, -i, n), i > 1 ? HK_OUT : HK_IN, 0,
				     HK_OUT, 0, 1, 0);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_barrier = {"direct_barrier", HK_BARRIER, accepts, build, work};
