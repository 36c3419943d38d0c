/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recursive halving: a reduce-scatter in which, at distance p/2, p/4 ... 1, pairs of ranks exchange
 * halves of what they still work on and add what they get. Of n ranks p, the largest power of two
 * up to n, take part; the others are guests (pairs.h), who give their hosts all that they have
 * first and get their results from them at the end.
 *
 * Steps:  one lane, since all rounds share scratch: a send and a receive of one range of blocks in
 *         each round. A guest: two sends, so that its messages are no longer than the hosts', and a
 *         receive; its host, as many more.
 * Bytes:  each rank sends n-1 blocks; a guest n.
 * Rounds: log2 p; with guests one more, or two if more than half of the hosts have one.
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
 *         operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "pairs.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 16; /* a message has less than n chunks */
}

/* Chunk i of IN and of SCRATCH is block i; each step reads one of them and writes SCRATCH. */
struct host {
	const struct hk_problem *p;
	struct hk_pairs pairs;
	uint32_t lane;
	enum hk_buf acc; /* where what this rank has so far is */
};

static void tell_size(struct hk_builder *b, const struct host *h, uint32_t block)
{
	hk_build_size(b, h->lane, h->p->varied ? block : 0);
}

static void build_guest(struct hk_builder *b, const struct hk_pairs *g, int rank)
{
	uint32_t send = hk_build_lane(b, 0), recv = hk_build_lane(b, 0), half = hk_pairs_most(g);

	hk_build_send(b, send, rank - 1, HK_IN, 0, half);
	hk_build_send(b, send, rank - 1, HK_IN, half, g->n - half);
	hk_build_recv(b, recv, rank - 1, HK_OUT, 0, 1);
}

static void take_in_guest(struct hk_builder *b, struct host *h, int rank)
{
	uint32_t half = hk_pairs_most(&h->pairs), n = h->pairs.n;

	hk_build_recv_reduce(b, h->lane, rank + 1, HK_IN, 0, HK_SCRATCH, 0, half, 0);
	hk_build_recv_reduce(b, h->lane, rank + 1, HK_IN, half, HK_SCRATCH, half, n - half, 0);
	h->acc = HK_SCRATCH;
}

/* The round of distance d: this rank keeps the blocks of the d hosts from `keep` on. */
static void build_round(struct hk_builder *b, struct host *h, uint32_t d, uint32_t keep,
			uint32_t give)
{
	const struct hk_pairs *g = &h->pairs;
	uint32_t first = hk_pairs_first(g, keep), end = hk_pairs_first(g, keep + d);
	uint32_t given = hk_pairs_first(g, give), given_end = hk_pairs_first(g, give + d);
	int partner = (int)hk_pairs_first(g, g->host ^ d);
	bool last = d == 1 && !g->has_guest;

	hk_build_send(b, h->lane, partner, h->acc, given, given_end - given);
	tell_size(b, h, given);
	hk_build_recv_reduce(b, h->lane, partner, h->acc, first, last ? HK_OUT : HK_SCRATCH,
			     last ? 0 : first, end - first, 0);
	tell_size(b, h, first);
	h->acc = HK_SCRATCH;
}

static void build_host(struct hk_builder *b, struct host *h, int rank)
{
	uint32_t base = 0, own = (uint32_t)rank;
	const struct hk_pairs *g = &h->pairs;

	h->lane = hk_build_lane(b, 0);
	if (g->has_guest)
		take_in_guest(b, h, rank);
	for (uint32_t d = g->p / 2; d >= 1; d /= 2) {
		uint32_t keep = base + (g->host & d), give = base + (~g->host & d);

		build_round(b, h, d, keep, give);
		base = keep;
	}
	if (g->has_guest) {
		hk_build_send(b, h->lane, rank + 1, HK_SCRATCH, own + 1, 1);
		tell_size(b, h, own + 1);
		hk_build_copy(b, h->lane, HK_SCRATCH, own, HK_OUT, 0, 1);
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct host h = {.p = p, .pairs = hk_pairs_of(p->nranks, rank), .acc = HK_IN};
	const struct hk_pairs *g = &h.pairs;

	hk_build_chunks(b, 1, !g->is_guest && g->n > 2 ? g->n : 0);
	hk_build_message(b, hk_pairs_most(g));
	if (g->is_guest)
		build_guest(b, g, rank);
	else if (g->p > 1)
		build_host(b, &h, rank);
	else if (!p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	struct hk_pairs g = hk_pairs_of(p->nranks, 0);

	w->rounds = hk_pairs_rounds(&g);
	w->messages = g.log + (g.guests > 0);
	w->sent = g.guests ? g.n : g.n - 1;
}

const struct hk_algo hk_algo_halving_reduce_scatter = {"halving_reduce_scatter", HK_REDUCE_SCATTER,
						       accepts, build, work};
