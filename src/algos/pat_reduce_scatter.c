/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduce-scatter by parallel aggregated trees (PAT): the mirror image of the all-gather. The parts
 * of every block come up a binomial tree of its own to the block's rank, and all that a rank has to
 * send to another in one round goes in one message. It begins with the next rank, to which most of
 * the bytes go; the farthest gets one block, when everything is added up. The sums are kept in
 * scratch, in an order in which every message is one range (pat.h).
 *
 * Steps:  one lane, since all rounds share scratch: n copies of IN, half of them while the first
 *         round's message is on its way, and a send and a receive a round.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: ceil(log2 n), for any n.
 * Source: S. Jeaugey, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale"
 *         (2025).
 */
#include "algos.h"
#include "pat.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	/* A message has up to n/2 chunks, and they are not in the order of their ranks. */
	return p->nranks <= 1 << 16 && !p->varied;
}

static void copy_in(struct hk_builder *b, const struct hk_pat *pat, uint32_t lane, uint32_t n,
		    int rank, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		hk_build_copy(b, lane, HK_IN, ((uint32_t)rank + n - pat->number[i]) % n, HK_SCRATCH,
			      i, 1);
}

static void build_rounds(struct hk_builder *b, const struct hk_problem *p, int rank,
			 const struct hk_pat *pat)
{
	uint32_t lane = hk_build_lane(b, 0), n = (uint32_t)p->nranks;

	for (uint32_t k = 0; k < pat->rounds; k++) {
		const struct hk_pat_round *r = &pat->round[k];
		int to = hk_wrap(rank, -(1 << k), p->nranks),
		    from = hk_wrap(rank, 1 << k, p->nranks);
		bool last = k == pat->rounds - 1;

		/* What the all-gather gets in this round goes back, and what it sends comes. */
		if (k == 0)
			copy_in(b, pat, lane, n, rank, r->to, r->to + r->count);
		hk_build_send(b, lane, to, HK_SCRATCH, r->to, r->count);
		if (k == 0) {
			copy_in(b, pat, lane, n, rank, 0, r->to);
			copy_in(b, pat, lane, n, rank, r->to + r->count, n);
		}
		hk_build_recv_reduce(b, lane, from, HK_SCRATCH, r->from, last ? HK_OUT : HK_SCRATCH,
				     last ? 0 : r->from, r->count, 0);
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t n = (uint32_t)p->nranks;
	struct hk_pat pat;
	int err;

	hk_build_chunks(b, 1, n > 1 ? n : 0);
	hk_build_message(b, n > 1 ? n / 2 : 1);
	if (n == 1) {
		if (!p->inplace)
			hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
		return 0;
	}
	err = hk_pat_create(n, &pat);
	if (err)
		return err;
	build_rounds(b, p, rank, &pat);
	hk_pat_free(&pat);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = w->messages = hk_log2_up(n);
	w->sent = n - 1;
}

const struct hk_algo hk_algo_pat_reduce_scatter = {"pat_reduce_scatter", HK_REDUCE_SCATTER, accepts,
						   build, work};
