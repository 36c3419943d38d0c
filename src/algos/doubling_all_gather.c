/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recursive doubling: an all-gather in which, at distance 1, 2, 4 ..., pairs of ranks exchange all
 * that they have. Of n ranks p, the largest power of two up to n, take part; the others are guests
 * (pairs.h), who give their hosts their blocks first and are sent on whatever the hosts get.
 *
 * Steps:  a lane for each round, so that rounds of successive tiles overlap: a send and a receive
 *         of one range of blocks. A host with a guest: two more in the first lane and a lane that
 *         sends on; its guest, one send and log2 p + 1 receives. The own block is copied also in
 *         place, where it stays where it is: later rounds send it in a message with others.
 * Bytes:  each rank sends n-1 blocks if n is a power of two; else rank 0 sends most: what two, four
 *         ... hosts have, and n-1 blocks to its guest.
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

/* The blocks of the d hosts from `base` on. */
struct range {
	uint32_t first, count;
};

static struct range range_of(const struct hk_pairs *g, uint32_t base, uint32_t d)
{
	uint32_t first = hk_pairs_first(g, base);

	return (struct range){first, hk_pairs_first(g, base + d) - first};
}

static void build_guest(struct hk_builder *b, const struct hk_problem *prob,
			const struct hk_pairs *g, int rank)
{
	uint32_t send = hk_build_lane(b, 0), recv = hk_build_lane(b, 0);

	hk_build_send(b, send, rank - 1, HK_IN, 0, 1);
	if (!prob->inplace)
		hk_build_copy(b, send, HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
	hk_build_recv(b, recv, rank - 1, HK_OUT, (uint32_t)rank - 1, 1);
	for (uint32_t d = 1; d < g->p; d *= 2) {
		struct range r = range_of(g, (g->host ^ d) & ~(d - 1), d);

		hk_build_recv(b, recv, rank - 1, HK_OUT, r.first, r.count);
	}
}

/* The first of the host's lanes begins with what is its own and its guest's. Returns the number of
 * the step that copies the own block. */
static uint32_t build_own(struct hk_builder *b, const struct hk_problem *prob,
			  const struct hk_pairs *g, int rank, uint32_t lane)
{
	uint32_t copied;

	if (!g->has_guest)
		hk_build_send(b, lane, (int)hk_pairs_first(g, g->host ^ 1), HK_IN, 0, 1);
	/* Who reads OUT must have written it, also in place. */
	if (prob->inplace && !g->has_guest && g->p == 2)
		return 0;
	copied = hk_build_copy(b, lane, HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
	if (g->has_guest) {
		hk_build_recv(b, lane, rank + 1, HK_OUT, (uint32_t)rank + 1, 1);
		hk_build_send(b, lane, (int)hk_pairs_first(g, g->host ^ 1), HK_OUT, (uint32_t)rank,
			      2);
	}
	return copied;
}

static void build_host(struct hk_builder *b, const struct hk_problem *prob,
		       const struct hk_pairs *g, int rank)
{
	uint32_t first = hk_build_lane(b, 0), lane = first, guest = 0, last = 0;
	uint32_t copied = build_own(b, prob, g, rank, first);

	if (g->has_guest) {
		guest = hk_build_lane(b, 0);
		hk_build_send(b, guest, rank + 1, HK_OUT, (uint32_t)rank, 1);
		hk_build_after(b, guest, first, copied);
	}
	for (uint32_t d = 1; d < g->p; d *= 2) {
		struct range own = range_of(g, g->host & ~(d - 1), d);
		struct range other = range_of(g, (g->host ^ d) & ~(d - 1), d);
		int partner = (int)hk_pairs_first(g, g->host ^ d);

		if (d > 1) {
			uint32_t before = lane;

			lane = hk_build_lane(b, 0);
			hk_build_send(b, lane, partner, HK_OUT, own.first, own.count);
			hk_build_after(b, lane, before, last);
		}
		last = hk_build_recv(b, lane, partner, HK_OUT, other.first, other.count);
		if (g->has_guest) {
			hk_build_send(b, guest, rank + 1, HK_OUT, other.first, other.count);
			hk_build_after(b, guest, lane, last);
		}
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct hk_pairs g = hk_pairs_of(p->nranks, rank);

	hk_build_chunks(b, 1, 0);
	hk_build_message(b, hk_pairs_most(&g));
	if (g.is_guest)
		build_guest(b, p, &g, rank);
	else if (g.p > 1)
		build_host(b, p, &g, rank);
	else if (!p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	struct hk_pairs g = hk_pairs_of(p->nranks, 0);

	w->rounds = hk_pairs_rounds(&g);
	w->messages = g.log + (g.guests ? g.log + 1 : 0);
	w->sent = g.guests ? g.n - 1 : 0;
	for (uint32_t d = 1; d < g.p; d *= 2)
		w->sent += hk_pairs_first(&g, d);
}

const struct hk_algo hk_algo_doubling_all_gather = {"doubling_all_gather", HK_ALL_GATHER, accepts,
						    build, work};
