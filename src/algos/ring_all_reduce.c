/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring all-reduce. The vector is cut in one chunk per rank; partial sums travel once round the ring
 * until each rank holds one finished chunk (reduce-scatter), then the finished chunks travel round
 * once more (all-gather). `channels` such rings run side by side on parts of the vector, the odd
 * ones backwards.
 *
 * Steps:  per channel, fused: send, n-2 recv_reduce_send, recv_reduce_copy_send, n-2
 *         recv_copy_send, recv.
 * Bytes:  each rank sends 2 (n-1)/n of the vector: the least possible.
 * Rounds: 2 (n-1). Needs two slots when fused, since all ranks send before they receive.
 * Source: P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 *         workstations", J. Parallel Distrib. Comput. 69 (2009).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return (uint64_t)p->nranks * p->channels <= 1u << 20;
}

static void build_ring(struct hk_builder *b, const struct hk_ring *ring, uint32_t channel)
{
	uint32_t lane = hk_build_lane(b, channel);
	uint32_t first = channel * (uint32_t)ring->n; /* the channel's chunks start here */
	uint32_t chunk = first + (uint32_t)ring->position;

	hk_build_send(b, lane, ring->next, HK_IN, chunk, 1);
	for (int i = 1; i < ring->n; i++) {
		chunk = first + (uint32_t)hk_wrap(ring->position, -i, ring->n);
		hk_build_recv_reduce(b, lane, ring->prev, HK_IN, chunk, HK_OUT, chunk, 1, 0);
		hk_build_send(b, lane, ring->next, HK_OUT, chunk, 1);
	}
	for (int i = 0; i < ring->n - 1; i++) {
		chunk = first + (uint32_t)hk_wrap(ring->position, -i, ring->n);
		hk_build_recv(b, lane, ring->prev, HK_OUT, chunk, 1);
		if (i < ring->n - 2)
			hk_build_send(b, lane, ring->next, HK_OUT, chunk, 1);
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, (uint32_t)p->nranks * p->channels, 0);
	for (uint32_t c = 0; c < p->channels; c++) {
		struct hk_ring ring = hk_ring_of(p, rank, c);

		if (p->nranks > 1)
			build_ring(b, &ring, c);
		else if (!p->inplace)
			hk_build_copy(b, hk_build_lane(b, c), HK_IN, c, HK_OUT, c, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = 2 * (n - 1);
	w->messages = 2 * (n - 1) * p->channels;
	w->sent = 2 * (n - 1.0) / n;
}

const struct hk_algo hk_algo_ring_all_reduce = {"ring_all_reduce", HK_ALL_REDUCE, accepts, build,
						work};
