/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Halving-doubling all-reduce: recursive halving to reduce (partners at distance p/2, p/4 ... 1
 * exchange halves of what they still work on), then recursive doubling to gather. p is the largest
 * power of two up to n; each rank from p on gives its vector to rank - p first and gets the result
 * from it at the end.
 *
 * Steps:  2 log2 p sends and as many receives, each of a range of chunks; two more with a guest.
 * Bytes:  each rank sends 2 (p-1)/p of the vector; a host with a guest one vector more, a guest
 *         one.
 * Rounds: 2 log2 p, and two more unless n is a power of two.
 * Source: R. Rabenseifner, "Optimization of collective reduction operations" (2004); R. Thakur, R.
 *         Rabenseifner, W. Gropp, "Optimization of collective communication operations in MPICH",
 *         IJHPCA 19 (2005).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks >= 2 && p->nranks < 1 << 16; /* a guest's message has p < 2^16 chunks */
}

static void build_guest(struct hk_builder *b, uint32_t lane, int host, uint32_t p)
{
	hk_build_send(b, lane, host, HK_IN, 0, p);
	hk_build_recv(b, lane, host, HK_OUT, 0, p);
}

/* Ends with chunk `rank` reduced; `acc` holds what has been reduced before. */
static void build_halving(struct hk_builder *b, uint32_t lane, int rank, uint32_t p,
			  enum hk_buf acc)
{
	uint32_t first = 0; /* this rank still works on [first, first + 2 d) */

	for (uint32_t d = p / 2; d >= 1; d /= 2) {
		int partner = rank ^ (int)d;
		uint32_t keep = first + ((uint32_t)rank & d),
			 give = first + ((uint32_t)partner & d);

		hk_build_send(b, lane, partner, acc, give, d);
		hk_build_recv_reduce(b, lane, partner, acc, keep, HK_OUT, keep, d, 0);
		acc = HK_OUT;
		first = keep;
	}
}

static void build_doubling(struct hk_builder *b, uint32_t lane, int rank, uint32_t p)
{
	for (uint32_t d = 1; d < p; d *= 2) {
		int partner = rank ^ (int)d;

		hk_build_send(b, lane, partner, HK_OUT, (uint32_t)rank & ~(d - 1), d);
		hk_build_recv(b, lane, partner, HK_OUT, (uint32_t)partner & ~(d - 1), d);
	}
}

static int build(const struct hk_problem *prob, int rank, struct hk_builder *b)
{
	uint32_t lane = hk_build_lane(b, 0), p = 1;
	int guest;

	while (p * 2 <= (uint32_t)prob->nranks)
		p *= 2;
	guest = rank + (int)p;
	hk_build_chunks(b, p, 0);
	hk_build_message(b, p < (uint32_t)prob->nranks ? p : p / 2);
	if (rank >= (int)p) {
		build_guest(b, lane, rank - (int)p, p);
		return 0;
	}
	if (guest < prob->nranks)
		hk_build_recv_reduce(b, lane, guest, HK_IN, 0, HK_OUT, 0, p, 0);
	build_halving(b, lane, rank, p, guest < prob->nranks ? HK_OUT : HK_IN);
	build_doubling(b, lane, rank, p);
	if (guest < prob->nranks)
		hk_build_send(b, lane, guest, HK_OUT, 0, p);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t log = 31 - (uint32_t)__builtin_clz((uint32_t)p->nranks), half = 1u << log;
	bool guests = half < (uint32_t)p->nranks;

	w->rounds = 2 * log + (guests ? 2 : 0);
	w->messages = 2 * log + guests;
	w->sent = 2 * (half - 1.0) / half + guests;
}

const struct hk_algo hk_algo_halving_doubling_all_reduce = {"halving_doubling_all_reduce",
							    HK_ALL_REDUCE, accepts, build, work};
