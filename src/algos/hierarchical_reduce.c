/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical reduce: the reduce-scatters of the hierarchical all-reduce, stage by stage outwards,
 * and then gathers: what each rank owns in the end goes to the owner in the root's group, stage by
 * stage inwards, and so to the root (rails.h). `channels` such instances run side by side on parts
 * of the vector.
 *
 * Steps:  four lanes per channel: the sends of the first stage, which read IN alone and run ahead;
 *         those of later stages; all folds; and what is gathered. Ranks other than the root keep
 *         their sums in scratch, which the next tile needs: there the last lane, which is the last
 *         to read it, begins each tile with the copies of IN that the folds start from. Tiles
 *         overlap little then, but channels do.
 * Bytes:  where groups are alike, each rank sends (n-1)/n of the vector in the reduce-scatters; of
 *         s ranks in each of G nodes, another 1/n to the root's node, and of those there, 1/s.
 * Rounds: two for each level, and two within the innermost groups.
 * Source: R. Rabenseifner, "Optimization of collective reduction operations" (2004), for the
 *         reduce-scatter and gather; the hierarchy as in hierarchical_all_reduce.c.
 */
#include "rails.h"

#include <stdlib.h>

/* A step that others wait for. */
struct event {
	bool set;
	uint32_t lane, step;
};

struct reduce {
	struct hk_builder *b;
	const struct hk_rails *rails;
	int position;
	uint32_t channel, first; /* the channel's first chunk */
	/* Where sums are kept: OUT at the root; else SCRATCH, which has `room` for each channel,
	 * for the pieces from `base` on. */
	enum hk_buf sum;
	uint32_t base, room;
	uint32_t gather;		   /* lane */
	struct event copied, folded, sent; /* the last of each so far; sent: of sums */
	struct hk_rail_parts parts;
};

static bool accepts(const struct hk_problem *p)
{
	return hk_rails_fit(p);
}

/* The chunk of `sum` for a piece. */
static uint32_t chunk_of(const struct reduce *r, uint32_t piece)
{
	return r->sum == HK_OUT ? r->first + piece : r->channel * r->room + piece - r->base;
}

/* Of the step just added, for the pieces from the given one on. */
static void tell_size(struct reduce *r, uint32_t lane, uint32_t piece)
{
	hk_build_size(r->b, lane, r->first + piece);
}

static void await_event(struct reduce *r, uint32_t lane, const struct event *e)
{
	if (e->set)
		hk_build_after(r->b, lane, e->lane, e->step);
}

static int build_sends(struct reduce *r, unsigned stage)
{
	int err = hk_rails_sends(r->rails, HK_RAIL_REDUCE_SCATTER, stage, r->position, &r->parts);
	uint32_t lane = r->sent.lane, step = 0;

	if (err || !r->parts.n)
		return err;
	if (!r->sent.set)
		lane = hk_build_lane(r->b, 2 * r->channel);
	for (uint32_t i = 0; i < r->parts.n; i++) {
		const struct hk_rail_part *s = &r->parts.parts[i];

		if (r->folded.set)
			step = hk_build_send(r->b, lane, s->peer, r->sum, chunk_of(r, s->first),
					     s->count);
		else
			hk_build_send(r->b, lane, s->peer, HK_IN, r->first + s->first, s->count);
		tell_size(r, lane, s->first);
		if (i == 0)
			await_event(r, lane, &r->folded);
	}
	if (r->folded.set)
		r->sent = (struct event){true, lane, step};
	return 0;
}

/* What the folds of the first stage start from, where that is scratch. */
static void build_copies(struct reduce *r)
{
	for (uint32_t i = 0; i < r->parts.n; i++) {
		const struct hk_rail_part *m = &r->parts.parts[i];

		if (!m->fresh)
			break;
		r->copied.step = hk_build_copy(r->b, r->gather, HK_IN, r->first + m->first, r->sum,
					       chunk_of(r, m->first), m->count);
	}
	r->copied.lane = r->gather;
	r->copied.set = true;
}

static int build_folds(struct reduce *r, unsigned stage)
{
	int err =
		hk_rails_receives(r->rails, HK_RAIL_REDUCE_SCATTER, stage, r->position, &r->parts);
	uint32_t lane = r->folded.lane, step = 0;
	bool first = !r->folded.set;

	if (err || !r->parts.n)
		return err;
	if (first)
		lane = hk_build_lane(r->b, 2 * r->channel);
	if (first && r->sum == HK_SCRATCH)
		build_copies(r);
	for (uint32_t i = 0; i < r->parts.n; i++) {
		const struct hk_rail_part *m = &r->parts.parts[i];
		bool in = first && m->fresh && r->sum == HK_OUT;
		uint32_t chunk = chunk_of(r, m->first);

		step = hk_build_recv_reduce(r->b, lane, m->peer, in ? HK_IN : r->sum, chunk, r->sum,
					    chunk, m->count, 0);
		tell_size(r, lane, m->first);
		if (i == 0 && first)
			await_event(r, lane, &r->copied);
	}
	r->folded = (struct event){true, lane, step};
	return 0;
}

static int gather(struct reduce *r, unsigned stage)
{
	int err = hk_rails_receives(r->rails, HK_RAIL_GATHER, stage, r->position, &r->parts);

	for (uint32_t i = 0; !err && i < r->parts.n; i++) {
		const struct hk_rail_part *m = &r->parts.parts[i];

		hk_build_recv(r->b, r->gather, m->peer, r->sum, chunk_of(r, m->first), m->count);
		tell_size(r, r->gather, m->first);
	}
	if (!err)
		err = hk_rails_sends(r->rails, HK_RAIL_GATHER, stage, r->position, &r->parts);
	for (uint32_t i = 0; !err && i < r->parts.n; i++) {
		const struct hk_rail_part *m = &r->parts.parts[i];

		hk_build_send(r->b, r->gather, m->peer, r->sum, chunk_of(r, m->first), m->count);
		tell_size(r, r->gather, m->first);
		if (i > 0)
			continue;
		await_event(r, r->gather, &r->folded);
		/* The lane must not begin the next tile while scratch is still being sent. */
		await_event(r, r->gather, &r->sent);
	}
	return err;
}

/* One channel's instance. */
static int build_channel(struct reduce *r)
{
	unsigned stages = r->rails->h.stages;
	int err = 0;

	r->gather = hk_build_lane(r->b, 2 * r->channel + 1);
	for (unsigned i = 0; !err && i < stages; i++) {
		err = build_sends(r, i);
		if (!err)
			err = build_folds(r, i);
	}
	for (unsigned i = stages; !err && i-- > 0;)
		err = gather(r, i);
	free(r->parts.parts);
	return err;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t base = 0, room = 0;
	struct hk_rails rails;
	int err = hk_rails_create(p, &rails);

	if (err)
		return err;
	rails.root = rails.h.place[p->root];
	hk_rails_own(&rails, rails.h.place[rank], &base, &room);
	hk_build_chunks(b, rails.pieces * p->channels, rank == p->root ? 0 : room * p->channels);
	hk_build_message(b, rails.message);
	for (uint32_t c = 0; !err && c < p->channels; c++) {
		struct reduce r = {.b = b,
				   .rails = &rails,
				   .position = rails.h.place[rank],
				   .channel = c,
				   .first = c * rails.pieces,
				   .base = base,
				   .room = room,
				   .sum = rank == p->root ? HK_OUT : HK_SCRATCH};

		if (p->nranks > 1)
			err = build_channel(&r);
		else if (!p->inplace)
			hk_build_copy(b, hk_build_lane(b, 2 * c), HK_IN, c, HK_OUT, c, 1);
	}
	hk_rails_free(&rails);
	return err;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	hk_rails_work(p, HK_RAIL_REDUCE_SCATTER, HK_RAIL_GATHER, true, w);
}

const struct hk_algo hk_algo_hierarchical_reduce = {"hierarchical_reduce", HK_REDUCE_ROOT, accepts,
						    build, work};
