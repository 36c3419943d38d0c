/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring all-gather: every block travels once round the ring. `channels` rings run side by side on
 * parts of the blocks, the odd ones backwards.
 *
 * Steps:  per channel, fused: send, (copy of the own block, unless in place,) n-2 recv_copy_send,
 *         recv.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: n-1. Needs two slots when fused.
 * Source: E. Chan, M. Heimlich, A. Purkayastha, R. van de Geijn, "Collective communication: theory,
 *         practice, and experience" (2007): the bucket algorithm.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return (uint64_t)p->nranks * p->channels <= 1u << 20;
}

static void build_ring(struct hk_builder *b, const struct hk_problem *p, int rank, uint32_t channel)
{
	struct hk_ring ring = hk_ring_of(p, rank, channel);
	uint32_t lane = hk_build_lane(b, channel);

	if (ring.n > 1)
		hk_build_send(b, lane, ring.next, HK_IN, channel, 1);
	/* After the send, while the first block is on its way. */
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, channel, HK_OUT,
			      (uint32_t)rank * p->channels + channel, 1);
	for (int i = 1; i < ring.n; i++) {
		uint32_t out = (uint32_t)hk_ring_behind(&ring, i) * p->channels + channel;

		hk_build_recv(b, lane, ring.prev, HK_OUT, out, 1);
		if (i < ring.n - 1)
			hk_build_send(b, lane, ring.next, HK_OUT, out, 1);
	}
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, p->channels, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	for (uint32_t c = 0; c < p->channels; c++)
		build_ring(b, p, rank, c);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = n - 1;
	w->messages = (n - 1) * p->channels;
	w->sent = n - 1;
}

const struct hk_algo hk_algo_ring_all_gather = {"ring_all_gather", HK_ALL_GATHER, accepts, build,
						work};
