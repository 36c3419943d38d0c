/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic and step patterns that several algorithms share. */
#ifndef HK_ALGOS_PATTERNS_H
#define HK_ALGOS_PATTERNS_H

#include "layout.h"
#include "schedule.h"

/* (a + b) mod n, for a in [0, n) and b in [-n, n]. */
static inline int hk_wrap(int a, int b, int n)
{
	return ((a + b) % n + n) % n;
}

/* The number of doublings from 1 until n is reached, or passed: ceil(log2 n). */
static inline uint32_t hk_log2_up(uint32_t n)
{
	return n > 1 ? 32 - (uint32_t)__builtin_clz(n - 1) : 0;
}

/* floor(log2 n), for n from 1 on. */
static inline uint32_t hk_log2_down(uint32_t n)
{
	return 31 - (uint32_t)__builtin_clz(n);
}

/*
 * Ranks in the order of the problem's layout, in which neighbours are close; 0, 1, 2 ... where
 * there is none. hk_order_find is the inverse, and takes a look at every rank.
 */
static inline int hk_order_rank(const struct hk_problem *p, int position)
{
	return p->layout ? p->layout->ring[position] : position;
}

static inline int hk_order_find(const struct hk_problem *p, int rank)
{
	int position = rank;

	if (p->layout)
		for (position = 0; p->layout->ring[position] != rank;)
			position++;
	return position;
}

/* Member `rank` of the ring of one channel. Positions count along the ring's direction, and odd
 * channels run backwards, so that both directions of a full-duplex link carry data. */
struct hk_ring {
	const struct hk_problem *p;
	int n, position, next, prev;
	int backwards;
};

/* The rank `back` places behind this one. */
static inline int hk_ring_behind(const struct hk_ring *r, int back)
{
	int position = hk_wrap(r->position, -back, r->n);

	return hk_order_rank(r->p, r->backwards ? hk_wrap(0, -position, r->n) : position);
}

static inline struct hk_ring hk_ring_of(const struct hk_problem *p, int rank, uint32_t channel)
{
	int position = hk_order_find(p, rank);
	struct hk_ring r = {.p = p, .n = p->nranks, .backwards = channel % 2};

	r.position = r.backwards ? hk_wrap(0, -position, r.n) : position;
	r.next = hk_ring_behind(&r, -1);
	r.prev = hk_ring_behind(&r, 1);
	return r;
}

/*
 * Where a fold in rank order keeps what it has so far, and where its result goes. The last step
 * writes the result; if `acc` is the result's place, all do.
 */
struct hk_fold {
	uint32_t lane;
	uint32_t in, out; /* this rank's chunk of IN; chunk of OUT */
	enum hk_buf acc_buf;
	uint32_t acc;
	uint64_t
		size; /* the size id of acc in SCRATCH, where its number does not tell it; else 0 */
};

/*
 * Emits the left fold ((in0 (+) in1) (+) in2) ... over all ranks' messages and this rank's own IN.
 * Returns the number of its last step, which is the lane's last one: hk_build_after applies to it.
 */
uint32_t hk_fold_in_rank_order(struct hk_builder *b, const struct hk_fold *f, int nranks, int rank);

#endif
