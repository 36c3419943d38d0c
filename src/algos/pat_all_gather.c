/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-gather by parallel aggregated trees (PAT): every block goes down a binomial tree of its own,
 * which is the same for all ranks but for where it starts, and all that a rank has to send to
 * another in one round goes in one message. Unlike Bruck's, it begins with the greatest distance:
 * far peers get one block, and most of the bytes go to the next rank, where links are short. What a
 * rank has is then scattered over OUT, so it is gathered in scratch, in an order in which every
 * message is one range (pat.h). The buffers that PAT bounds by sending fewer trees at a time when
 * blocks are large are bounded by tiles here: scratch is never more than about two slots.
 *
 * Steps:  one lane, since all rounds share scratch: a send and a receive a round, and n copies,
 *         half of them while the last round's message is on its way.
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

/* Where the block in a place belongs. */
static uint32_t block_of(const struct hk_pat *pat, uint32_t n, int rank, uint32_t place)
{
	return ((uint32_t)rank + n - pat->number[place]) % n;
}

static void copy_out(struct hk_builder *b, const struct hk_pat *pat, uint32_t lane, uint32_t n,
		     int rank, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		if (i != pat->own)
			hk_build_copy(b, lane, HK_SCRATCH, i, HK_OUT, block_of(pat, n, rank, i), 1);
}

static void build_rounds(struct hk_builder *b, const struct hk_problem *p, int rank,
			 const struct hk_pat *pat)
{
	uint32_t lane = hk_build_lane(b, 0), n = (uint32_t)p->nranks;

	for (uint32_t k = pat->rounds; k-- > 0;) {
		const struct hk_pat_round *r = &pat->round[k];
		int to = hk_wrap(rank, 1 << k, p->nranks),
		    from = hk_wrap(rank, -(1 << k), p->nranks);
		bool own = r->count == 1; /* the first round, and others that have no more */

		hk_build_send(b, lane, to, own ? HK_IN : HK_SCRATCH, own ? 0 : r->from, r->count);
		if (k == pat->rounds - 1 && !p->inplace)
			hk_build_copy(b, lane, HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
		if (k == pat->rounds - 1 && n > 3)
			hk_build_copy(b, lane, HK_IN, 0, HK_SCRATCH, pat->own, 1);
		if (k == 0) {
			copy_out(b, pat, lane, n, rank, 0, r->to);
			copy_out(b, pat, lane, n, rank, r->to + r->count, n);
		}
		hk_build_recv(b, lane, from, HK_SCRATCH, r->to, r->count);
		if (k == 0)
			copy_out(b, pat, lane, n, rank, r->to, r->to + r->count);
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

const struct hk_algo hk_algo_pat_all_gather = {"pat_all_gather", HK_ALL_GATHER, accepts, build,
					       work};
