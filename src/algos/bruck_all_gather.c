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
 * Rounds: ceil(log2 n), each with a peer of its own. The last one waits only for those that bring
 *         its blocks, so that the chain is one shorter where n is a power of two plus half as many
 *         or less. Rank n-1 has most messages: its blocks go round the end in every round of two
 *         blocks or more.
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

/* A program being built: lanes[i] is the one of round i. */
struct rounds {
	struct hk_builder *b;
	const struct hk_problem *p;
	uint32_t lanes[32], last[32]; /* the last step of each lane */
	uint32_t copied;	      /* the step of the first lane that copies the own block */
};

/* The round's send waits for the round that brings the last of its blocks. */
static void await_blocks(const struct rounds *r, uint32_t lane, uint32_t count)
{
	uint32_t round = hk_log2_up(count);

	if (round)
		hk_build_after(r->b, lane, r->lanes[round - 1], r->last[round - 1]);
	else
		hk_build_after(r->b, lane, r->lanes[0], r->copied);
}

static void build_round(struct rounds *r, int rank, uint32_t round)
{
	uint32_t n = (uint32_t)r->p->nranks, own = (uint32_t)rank, d = 1u << round;
	uint32_t count = blocks(n, d), head = before_end(n, own, count);
	int to = hk_wrap(rank, -(int)d, r->p->nranks), from = hk_wrap(rank, (int)d, r->p->nranks);
	uint32_t lane = hk_build_lane(r->b, 0);

	hk_build_send(r->b, lane, to, round ? HK_OUT : HK_IN, round ? own : 0, head);
	if (round)
		await_blocks(r, lane, count);
	if (head < count)
		hk_build_send(r->b, lane, to, HK_OUT, 0, count - head);
	if (!round && (!r->p->inplace || n > 2))
		r->copied = hk_build_copy(r->b, lane, HK_IN, 0, HK_OUT, own, 1);
	head = before_end(n, (uint32_t)from, count);
	r->lanes[round] = lane;
	r->last[round] = hk_build_recv(r->b, lane, from, HK_OUT, (uint32_t)from, head);
	if (head < count)
		r->last[round] = hk_build_recv(r->b, lane, from, HK_OUT, 0, count - head);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t n = (uint32_t)p->nranks, most = 1;
	struct rounds r = {.b = b, .p = p};

	for (uint32_t d = 1; d < n; d *= 2)
		most = blocks(n, d) > most ? blocks(n, d) : most;
	hk_build_chunks(b, 1, 0);
	hk_build_message(b, most);
	if (n == 1 && !p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	for (uint32_t round = 0; round < hk_log2_up(n); round++)
		build_round(&r, rank, round);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = 0;
	w->messages = hk_log2_up(n);
	for (uint32_t d = 1; d < n; d *= 2) {
		uint32_t depth = hk_log2_up(blocks(n, d)) + 1;

		w->messages += blocks(n, d) > 1;
		w->rounds = depth > w->rounds ? depth : w->rounds;
	}
	w->sent = n - 1;
}

const struct hk_algo hk_algo_bruck_all_gather = {"bruck_all_gather", HK_ALL_GATHER, accepts, build,
						 work};
