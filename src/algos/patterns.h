/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic and step patterns that several algorithms share. */
#ifndef HK_ALGOS_PATTERNS_H
#define HK_ALGOS_PATTERNS_H

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

/* Member `rank` of the ring of one channel. Positions count along the ring's direction, and odd
 * channels run backwards, so that both directions of a full-duplex link carry data. */
struct hk_ring {
	int n, position, next, prev;
	int backwards;
};

static inline struct hk_ring hk_ring_of(int nranks, int rank, uint32_t channel)
{
	int dir = channel % 2 ? -1 : 1;

	return (struct hk_ring){.n = nranks,
				.position = dir > 0 ? rank : hk_wrap(0, -rank, nranks),
				.next = hk_wrap(rank, dir, nranks),
				.prev = hk_wrap(rank, -dir, nranks),
				.backwards = dir < 0};
}

/* The rank `back` places behind this one. */
static inline int hk_ring_behind(const struct hk_ring *r, int back)
{
	int position = hk_wrap(r->position, -back, r->n);

	return r->backwards ? hk_wrap(0, -position, r->n) : position;
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
};

/*
 * Emits the left fold ((in0 (+) in1) (+) in2) ... over all ranks' messages and this rank's own IN.
 * Returns the number of its last step, which is the lane's last one: hk_build_after applies to it.
 */
uint32_t hk_fold_in_rank_order(struct hk_builder *b, const struct hk_fold *f, int nranks, int rank);

#endif
