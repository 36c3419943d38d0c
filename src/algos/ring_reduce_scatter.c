/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring reduce-scatter: the partial sums of each block travel once round the ring and end at the
 * block's rank, each rank on the way adding its own. `channels` rings run side by side on parts of
 * the blocks, the odd ones backwards.
 *
 * Steps:  per channel, fused: send, n-2 recv_reduce_send, recv_reduce.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: n-1. Needs two slots when fused. Unfused, partial sums pass through scratch.
 * Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 *         workstations", J. Parallel Distrib. Comput. 69 (2009): its first half.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return (uint64_t)p->nranks * p->channels <= 1u << 20;
}

static void build_ring(struct hk_builder *b, const struct hk_problem *p, const struct hk_ring *ring,
		       uint32_t channel)
{
	uint32_t lane = hk_build_lane(b, channel), channels = p->channels;

	/* Block i behind this rank's has i ranks before it yet; the last to come is this rank's. */
	for (int i = 1; i <= ring->n; i++) {
		uint32_t in = (uint32_t)hk_ring_behind(ring, i) * channels + channel;

		if (i == ring->n) {
			hk_build_recv_reduce(b, lane, ring->prev, HK_IN, in, HK_OUT, channel, 1, 0);
		} else if (i > 1) {
			hk_build_recv_reduce(b, lane, ring->prev, HK_IN, in, HK_SCRATCH, channel, 1,
					     0);
			hk_build_send(b, lane, ring->next, HK_SCRATCH, channel, 1);
			if (p->varied)
				hk_build_size(b, lane, in);
		} else {
			hk_build_send(b, lane, ring->next, HK_IN, in, 1);
		}
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, p->channels, p->nranks > 2 ? p->channels : 0);
	for (uint32_t c = 0; c < p->channels; c++) {
		struct hk_ring ring = hk_ring_of(p, rank, c);

		if (p->nranks > 1)
			build_ring(b, p, &ring, c);
		else if (!p->inplace)
			hk_build_copy(b, hk_build_lane(b, c), HK_IN, c, HK_OUT, c, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = n - 1;
	w->messages = (n - 1) * p->channels;
	w->sent = n - 1;
}

const struct hk_algo hk_algo_ring_reduce_scatter = {"ring_reduce_scatter", HK_REDUCE_SCATTER,
						    accepts, build, work};
