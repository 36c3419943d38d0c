/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who exchanges what in recursive doubling and halving, for any number of ranks. Of n ranks, the
 * largest power of two p up to n takes part as hosts; each of the n-p others is the guest of the
 * rank before it, which takes part for both. The first n-p pairs of ranks are host and guest, so
 * that the blocks of hosts that are neighbours are neighbours, guests' blocks included, and what
 * two hosts exchange is always one range of blocks.
 */
#ifndef HK_ALGOS_PAIRS_H
#define HK_ALGOS_PAIRS_H

#include "schedule.h"

struct hk_pairs {
	uint32_t n, p, log, guests; /* ranks; hosts; log2 p; n - p */
	uint32_t host;		    /* this rank's, or its host's, number among the hosts */
	bool is_guest, has_guest;
};

/* The first block, and the rank, of a host; of number p: n. */
static inline uint32_t hk_pairs_first(const struct hk_pairs *g, uint32_t host)
{
	return host + (host < g->guests ? host : g->guests);
}

static inline struct hk_pairs hk_pairs_of(int nranks, int rank)
{
	struct hk_pairs g = {.n = (uint32_t)nranks};
	uint32_t r = (uint32_t)rank;

	g.log = 31 - (uint32_t)__builtin_clz(g.n);
	g.p = 1u << g.log;
	g.guests = g.n - g.p;
	g.host = r < 2 * g.guests ? r / 2 : r - g.guests;
	g.is_guest = r < 2 * g.guests && r % 2;
	g.has_guest = r < 2 * g.guests && !(r % 2);
	return g;
}

/* Most blocks that two hosts exchange at once: those of the lower half. */
static inline uint32_t hk_pairs_most(const struct hk_pairs *g)
{
	return g->p > 1 ? hk_pairs_first(g, g->p / 2) : 1;
}

/*
 * Messages on the longest chain: a guest's to its host, log2 p exchanges that end at the host with
 * the inverse number, and one more to that host's guest, if there are guests on both ends.
 */
static inline uint32_t hk_pairs_rounds(const struct hk_pairs *g)
{
	return g->log + (g->guests > 0) + (2 * g->guests > g->p);
}

#endif
