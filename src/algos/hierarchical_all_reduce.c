/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical all-reduce. Within each node a reduce-scatter leaves each rank with the node's sum
 * of a part of the vector; ranks with the same part in different nodes, a rail, do the same with
 * it, and so on up to the outermost level; then all-gathers, the other way round (rails.h). So the
 * links between nodes carry what one rank per node would send, by all ranks of the node alike.
 * `channels` such instances run side by side on parts of the vector.
 *
 * Steps:  per channel and stage (within the innermost groups, and each level) four lanes: sends and
 *         folds of the reduce-scatter, sends and receives of the all-gather. All sums are in OUT,
 *         so that tiles overlap in all stages. Peers exchange straight, each with each: between
 *         nodes, rank by rank, that is one message each way per node and rail.
 * Bytes:  where groups are alike, each rank sends 2 (n-1)/n of the vector, the least possible, and
 *         of s ranks in each of G nodes, 2 (G-1)/(G s) of it to other nodes. Where they are not,
 *         the ranks of the smaller groups have more to do.
 * Rounds: two for each level, and two within the innermost groups.
 * Source: the two-level all-reduce of many libraries: A. R. Mamidala, J. Liu, D. K. Panda,
 *         "Efficient barrier and allreduce on InfiniBand clusters" (2004); N. T. Karonis et al.,
 *         "Exploiting hierarchy in parallel computer networks" (2000), for several levels. The
 *         treatment of uneven groups is ours.
 */
#include "rails.h"

#include <stdlib.h>

/* Lanes whose last steps the sends of later phases wait for. */
struct awaited {
	uint32_t n, lane[2 * HK_MAX_STAGES], step[2 * HK_MAX_STAGES];
};

struct all_reduce {
	struct hk_builder *b;
	const struct hk_rails *rails;
	int position;
	uint32_t channel, first; /* the channel's first chunk */
	enum hk_buf acc;	 /* IN until something has been folded */
	struct awaited done;
	struct hk_rail_parts sends, receives;
};

static bool accepts(const struct hk_problem *p)
{
	return hk_rails_fit(p);
}

static int list(struct all_reduce *a, enum hk_rail_phase phase, unsigned stage)
{
	int err = hk_rails_sends(a->rails, phase, stage, a->position, &a->sends);

	return err ? err : hk_rails_receives(a->rails, phase, stage, a->position, &a->receives);
}

static void await_all(struct all_reduce *a, uint32_t lane)
{
	for (uint32_t i = 0; i < a->done.n; i++)
		hk_build_after(a->b, lane, a->done.lane[i], a->done.step[i]);
}

static void build_sends(struct all_reduce *a, uint32_t channel)
{
	uint32_t lane = hk_build_lane(a->b, channel);

	for (uint32_t i = 0; i < a->sends.n; i++) {
		const struct hk_rail_part *s = &a->sends.parts[i];

		hk_build_send(a->b, lane, s->peer, a->acc, a->first + s->first, s->count);
		if (i == 0)
			await_all(a, lane);
	}
}

/* Sums are read where the fold of the stage before has left them, which it has by then. */
static int reduce_scatter(struct all_reduce *a, unsigned stage)
{
	int err = list(a, HK_RAIL_REDUCE_SCATTER, stage);
	uint32_t lane, step = 0;

	if (err || !a->sends.n)
		return err;
	build_sends(a, 2 * a->channel);
	lane = hk_build_lane(a->b, 2 * a->channel);
	for (uint32_t i = 0; i < a->receives.n; i++) {
		const struct hk_rail_part *r = &a->receives.parts[i];
		uint32_t chunk = a->first + r->first;

		step = hk_build_recv_reduce(a->b, lane, r->peer, r->fresh ? a->acc : HK_OUT, chunk,
					    HK_OUT, chunk, r->count, 0);
		if (i == 0)
			await_all(a, lane);
	}
	/* It has waited for the one before. */
	a->done = (struct awaited){.n = 1, .lane = {lane}, .step = {step}};
	a->acc = HK_OUT;
	return 0;
}

static int all_gather(struct all_reduce *a, unsigned stage)
{
	int err = list(a, HK_RAIL_ALL_GATHER, stage);
	uint32_t lane, step = 0;

	if (err || !a->sends.n)
		return err;
	build_sends(a, 2 * a->channel + 1);
	lane = hk_build_lane(a->b, 2 * a->channel + 1);
	for (uint32_t i = 0; i < a->receives.n; i++) {
		const struct hk_rail_part *r = &a->receives.parts[i];

		step = hk_build_recv(a->b, lane, r->peer, HK_OUT, a->first + r->first, r->count);
	}
	a->done.lane[a->done.n] = lane;
	a->done.step[a->done.n++] = step;
	return 0;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct hk_rails rails;
	int err = hk_rails_create(p, &rails);

	if (err)
		return err;
	hk_build_chunks(b, rails.pieces * p->channels, 0);
	hk_build_message(b, rails.message);
	for (uint32_t c = 0; !err && c < p->channels; c++) {
		struct all_reduce a = {.b = b,
				       .rails = &rails,
				       .position = rails.h.place[rank],
				       .channel = c,
				       .first = c * rails.pieces,
				       .acc = HK_IN};

		if (p->nranks == 1 && !p->inplace)
			hk_build_copy(b, hk_build_lane(b, 2 * c), HK_IN, c, HK_OUT, c, 1);
		for (unsigned i = 0; !err && i < rails.h.stages; i++)
			err = reduce_scatter(&a, i);
		for (unsigned i = rails.h.stages; !err && i-- > 0;)
			err = all_gather(&a, i);
		free(a.sends.parts);
		free(a.receives.parts);
	}
	hk_rails_free(&rails);
	return err;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	hk_rails_work(p, HK_RAIL_REDUCE_SCATTER, HK_RAIL_ALL_GATHER, false, w);
}

const struct hk_algo hk_algo_hierarchical_all_reduce = {"hierarchical_all_reduce", HK_ALL_REDUCE,
							accepts, build, work};
