/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bruck's all-to-all, for small blocks of many ranks. The block that is to go i ranks up takes the
 * hops that the bits of i say: in the round of distance d = 1, 2, 4 ... every rank sends all the
 * blocks with that bit d ranks up, in one message, and gets as many in their places. Blocks pass
 * through others' hands, so all must have one size.
 *
 * Steps:  one lane, since all rounds share scratch. Two copies of IN, turned so that block i is the
 *         one to go i ranks up; each round packs runs of blocks, sends, receives and unpacks them,
 *         about n/d copies, and none in the last, whose blocks lie together; then n copies to OUT,
 * one of them the own block's, out of place. Bytes:  in the round of distance d each rank sends the
 * blocks below n that have the bit d, in all about n/2 log2 n. Rounds: ceil(log2 n). Source: J.
 * Bruck, C.-T. Ho, S. Kipnis, E. Upfal, D. Weathersby, "Efficient algorithms for all-to-all
 * communications in multiport message-passing systems", IEEE TPDS 8 (1997).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 16 && !p->varied; /* a message has up to n/2 chunks */
}

/* How many numbers below n have the bit d. */
static uint32_t blocks(uint32_t n, uint32_t d)
{
	uint32_t rest = n % (2 * d);

	return n / (2 * d) * d + (rest > d ? rest - d : 0);
}

/* Copies the runs of blocks with the bit d: together from n on, or back. */
static void build_runs(struct hk_builder *b, uint32_t lane, uint32_t n, uint32_t d, bool back)
{
	uint32_t packed = n;

	for (uint32_t i = d; i < n; i += 2 * d) {
		uint32_t count = d < n - i ? d : n - i;

		hk_build_copy(b, lane, HK_SCRATCH, back ? packed : i, HK_SCRATCH, back ? i : packed,
			      count);
		packed += count;
	}
}

static void build_round(struct hk_builder *b, int nranks, int rank, uint32_t lane, uint32_t d)
{
	int to = hk_wrap(rank, (int)d, nranks), from = hk_wrap(rank, -(int)d, nranks);
	uint32_t n = (uint32_t)nranks, count = blocks(n, d);
	bool together = 2 * d >= n;

	if (!together)
		build_runs(b, lane, n, d, false);
	hk_build_send(b, lane, to, HK_SCRATCH, together ? d : n, count);
	hk_build_recv(b, lane, from, HK_SCRATCH, together ? d : n, count);
	if (!together)
		build_runs(b, lane, n, d, true);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t n = (uint32_t)p->nranks, own = (uint32_t)rank, lane;

	hk_build_chunks(b, 1, n > 1 ? n + n / 2 : 0);
	hk_build_message(b, n > 1 ? n / 2 : 1);
	if (n == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (own + 1 < n)
		hk_build_copy(b, lane, HK_IN, own + 1, HK_SCRATCH, 1, n - own - 1);
	if (own)
		hk_build_copy(b, lane, HK_IN, 0, HK_SCRATCH, n - own, own);
	for (uint32_t d = 1; d < n; d *= 2)
		build_round(b, p->nranks, rank, lane, d);
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, own, HK_OUT, own, 1);
	for (uint32_t i = 1; i < n; i++)
		hk_build_copy(b, lane, HK_SCRATCH, i, HK_OUT, (own + n - i) % n, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = w->messages = hk_log2_up(n);
	w->sent = 0;
	for (uint32_t d = 1; d < n; d *= 2)
		w->sent += blocks(n, d);
}

const struct hk_algo hk_algo_bruck_all_to_all = {"bruck_all_to_all", HK_ALL_TO_ALL, accepts, build,
						 work};
