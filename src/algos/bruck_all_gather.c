/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bruck's all-gather, for small blocks of any number of ranks. In the round of distance d = 1, 2, 4
 * ... rank r has the d blocks from its own on, sends them d ranks down, and gets from d ranks up
 * the d blocks that follow; in the last round only as many as are missing. The original keeps the
 * blocks in that order and turns them round at the end. Here each lands in its place in OUT at
 * once, and blocks that go round the end of OUT are two messages.
 *
 * Steps:  a lane for each round, so that rounds of successive tiles overlap: one or two sends, as
 *         many receives. The own block is copied after the first send, also in place, where it
 *         stays where it is: later rounds send it in one message with its neighbours.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: ceil(log2 n). Most messages are those of rank n-1, whose blocks go round the end in every
 *         round of two blocks or more.
 * Source: J. Bruck, C.-T. Ho, S. Kipnis, E. Upfal, D. Weathersby, "Efficient algorithms for
 *         all-to-all communications in multiport message-passing systems", IEEE TPDS 8 (1997).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 16; /* a message has up to n/2 chunks */
}

/* How many blocks travel in the round of distance d. */
static uint32_t blocks(uint32_t n, uint32_t d)
{
	return d < n - d ? d : n - d;
}

/* Of the `count` blocks from `first` on, those before the end of OUT. */
static uint32_t before_end(uint32_t n, uint32_t first, uint32_t count)
{
	return count < n - first ? count : n - first;
}

/* Returns the number of the round's last step; `before` is that of the round before, whose lane is
 * the one before. */
static uint32_t build_round(struct hk_builder *b, const struct hk_problem *p, int rank, uint32_t d,
			    uint32_t before)
{
	uint32_t n = (uint32_t)p->nranks, own = (uint32_t)rank, count = blocks(n, d), last;
	int to = hk_wrap(rank, -(int)d, p->nranks), from = hk_wrap(rank, (int)d, p->nranks);
	uint32_t head = before_end(n, own, count), lane = hk_build_lane(b, 0);

	hk_build_send(b, lane, to, d > 1 ? HK_OUT : HK_IN, d > 1 ? own : 0, head);
	if (d > 1)
		hk_build_after(b, lane, lane - 1, before);
	if (head < count)
		hk_build_send(b, lane, to, HK_OUT, 0, count - head);
	if (d == 1 && (!p->inplace || n > 2))
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, own, 1);
	head = before_end(n, (uint32_t)from, count);
	last = hk_build_recv(b, lane, from, HK_OUT, (uint32_t)from, head);
	if (head < count)
		last = hk_build_recv(b, lane, from, HK_OUT, 0, count - head);
	return last;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t n = (uint32_t)p->nranks, most = 1, last = 0;

	for (uint32_t d = 1; d < n; d *= 2)
		most = blocks(n, d) > most ? blocks(n, d) : most;
	hk_build_chunks(b, 1, 0);
	hk_build_message(b, most);
	if (n == 1 && !p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	for (uint32_t d = 1; d < n; d *= 2)
		last = build_round(b, p, rank, d, last);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = w->messages = hk_log2_up(n);
	for (uint32_t d = 1; d < n; d *= 2)
		w->messages += blocks(n, d) > 1;
	w->sent = n - 1;
}

const struct hk_algo hk_algo_bruck_all_gather = {"bruck_all_gather", HK_ALL_GATHER, accepts, build,
						 work};
