/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bruck's all-gather run backwards, with sums: a reduce-scatter for small blocks of any number of
 * ranks. In the round of distance d = ... 4, 2, 1 rank r still works on the 2d blocks from its own
 * on (in the first round on all of them); it sends d ranks up what it has of the upper d, and adds
 * what comes from d ranks down to the lower d.
 *
 * Steps:  one lane, since all rounds share scratch: one or two sends and as many receives a round,
 *         as blocks that go round the end are two messages. Where the first round has fewer blocks
 *         to receive than later rounds work on, a copy of IN makes up for the rest.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: ceil(log2 n). A rank's sends go round the end in at most one of them.
 * Source: the mirror image of J. Bruck, C.-T. Ho, S. Kipnis, E. Upfal, D. Weathersby, "Efficient
 *         algorithms for all-to-all communications in multiport message-passing systems", IEEE TPDS
 *         8 (1997), as every all-gather has one.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 16; /* a message has up to n/2 chunks */
}

/* Where the blocks of a round are worked on: chunk i of IN and of SCRATCH is block i. */
struct work_on {
	const struct hk_problem *p;
	uint32_t lane;
	enum hk_buf from, to;
};

/* How many blocks travel in the round of distance d. */
static uint32_t blocks(uint32_t n, uint32_t d)
{
	return d < n - d ? d : n - d;
}

enum what { SEND, RECV, COPY };

/* One step for the `count` blocks from `first` on, which do not go round the end. */
static void build_part(struct hk_builder *b, const struct work_on *w, enum what what, int peer,
		       uint32_t first, uint32_t count)
{
	if (what == SEND)
		hk_build_send(b, w->lane, peer, w->from, first, count);
	else if (what == RECV)
		hk_build_recv_reduce(b, w->lane, peer, w->from, first, w->to,
				     w->to == HK_OUT ? 0 : first, count, 0);
	else
		hk_build_copy(b, w->lane, HK_IN, first, HK_SCRATCH, first, count);
	hk_build_size(b, w->lane, w->p->varied ? first : 0);
}

/* The same for blocks that may, in two steps. */
static void build_blocks(struct hk_builder *b, const struct work_on *w, enum what what, int peer,
			 uint32_t first, uint32_t count)
{
	uint32_t n = (uint32_t)w->p->nranks, head = count < n - first ? count : n - first;

	build_part(b, w, what, peer, first, head);
	if (head < count)
		build_part(b, w, what, peer, 0, count - head);
}

static void build_rounds(struct hk_builder *b, const struct hk_problem *p, int rank, uint32_t top)
{
	uint32_t n = (uint32_t)p->nranks, first = blocks(n, top);
	struct work_on w = {.p = p, .lane = hk_build_lane(b, 0), .from = HK_IN};

	for (uint32_t d = top; d >= 1; d /= 2) {
		int up = hk_wrap(rank, (int)d, p->nranks), down = hk_wrap(rank, -(int)d, p->nranks);

		w.to = d == 1 ? HK_OUT : HK_SCRATCH;
		build_blocks(b, &w, SEND, up, (uint32_t)up, blocks(n, d));
		if (d == top && d > 1 && first < top)
			build_blocks(b, &w, COPY, -1, ((uint32_t)rank + first) % n, top - first);
		build_blocks(b, &w, RECV, down, (uint32_t)rank, blocks(n, d));
		w.from = HK_SCRATCH;
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t n = (uint32_t)p->nranks, most = 1;

	for (uint32_t d = 1; d < n; d *= 2)
		most = blocks(n, d) > most ? blocks(n, d) : most;
	hk_build_chunks(b, 1, n > 2 ? n : 0);
	hk_build_message(b, most);
	if (n > 1)
		build_rounds(b, p, rank, 1u << (hk_log2_up(n) - 1));
	else if (!p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = hk_log2_up(n);
	w->messages = w->rounds + (n > 3);
	w->sent = n - 1;
}

const struct hk_algo hk_algo_bruck_reduce_scatter = {"bruck_reduce_scatter", HK_REDUCE_SCATTER,
						     accepts, build, work};
