/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring broadcast: a chain from the root along the ring, in which every rank passes on what it gets.
 * Tiles follow each other, so that for a large vector all links are busy at once. `channels` chains
 * run side by side on parts of the vector, the odd ones backwards.
 *
 * Steps:  per channel: a receive fused with the send to the next rank; the root sends, and copies
 *         its own, out of place; the last rank receives.
 * Bytes:  each rank but the last sends one vector.
 * Rounds: n-1.
 * Source: J. L. Traeff, A. Ripke, "Optimal broadcast for fully connected processor-node networks",
 *         J. Parallel Distrib. Comput. 68 (2008): the linear pipeline.
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= 1 << 20;
}

static void build_chain(struct hk_builder *b, const struct hk_problem *p, int rank,
			uint32_t channel)
{
	struct hk_ring ring = hk_ring_of(p, rank, channel);
	int from_root = hk_wrap(ring.position, -hk_ring_of(p, p->root, channel).position, ring.n);
	uint32_t lane = hk_build_lane(b, channel);

	if (from_root)
		hk_build_recv(b, lane, ring.prev, HK_OUT, channel, 1);
	if (from_root < ring.n - 1)
		hk_build_send(b, lane, ring.next, from_root ? HK_OUT : HK_IN, channel, 1);
	if (!from_root && !p->inplace)
		hk_build_copy(b, lane, HK_IN, channel, HK_OUT, channel, 1);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	hk_build_chunks(b, p->channels, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	for (uint32_t c = 0; c < p->channels; c++)
		build_chain(b, p, rank, c);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = (uint32_t)p->nranks - 1;
	w->messages = p->nranks > 1 ? p->channels : 0;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_ring_broadcast = {"ring_broadcast", HK_BROADCAST, accepts, build,
					       work};
