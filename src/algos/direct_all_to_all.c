/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct all-to-all: every rank sends each other rank its block at once. As no block passes through
 * other hands, blocks of differing sizes are fine, and where memory can be lent, each is read where
 * it lies.
 *
 * Steps:  a lane of one send and a lane of one receive for every peer, so that a slow peer holds
 *         nobody else up, also over many tiles; a lane that copies the own block, out of place. In
 *         place the receive of a block waits until the one in its memory has been sent.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: 1.
 * Source: folklore; the "spread" algorithm of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization
 *         of collective communication operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	/* Blocks that share memory but not their size could not be exchanged. */
	return p->nranks <= 1 << 20 && !(p->inplace && p->varied);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t own = (uint32_t)rank, first = 0;
	int n = p->nranks;

	hk_build_chunks(b, 1, 0);
	for (int i = 1; i < n; i++) {
		int to = hk_wrap(rank, i, n);
		uint32_t lane = hk_build_lane(b, 0);

		hk_build_send(b, lane, to, HK_IN, (uint32_t)to, 1);
		if (i == 1)
			first = lane;
	}
	for (int i = 1; i < n; i++) {
		int from = hk_wrap(rank, -i, n);
		uint32_t lane = hk_build_lane(b, 0);

		hk_build_recv(b, lane, from, HK_OUT, (uint32_t)from, 1);
		if (p->inplace) /* the lane of the send to `from`, n-i ranks up */
			hk_build_after(b, lane, first + (uint32_t)(n - i) - 1, 0);
	}
	if (!p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, own, HK_OUT, own, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_all_to_all = {"direct_all_to_all", HK_ALL_TO_ALL, accepts,
						  build, work};
