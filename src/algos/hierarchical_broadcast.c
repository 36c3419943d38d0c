/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical broadcast. The root scatters its vector to the ranks of its node; each sends its
 * part on to its rail in other nodes, cut among them, and so on up to the outermost level; then
 * all-gathers, the other way round (rails.h). All ranks of the root's node, not the root alone,
 * carry the vector out, and nobody gets anything twice: the root nothing at all, and those with
 * whom it has shared, only what they do not have. `channels` such instances run side by side on
 * parts of the vector.
 *
 * Steps:  per channel and stage (within the innermost groups, and each level) up to four lanes:
 *         sends and receives of the scatter, sends and receives of the all-gather. All is in OUT
 *         (at the root, in IN), so that tiles overlap in all stages. The root's copy, out of place,
 *         has a lane of its own.
 * Bytes:  where groups are alike, the root sends 2 (n-1)/n of the vector, half of that in the
 *         scatter, and everybody else less.
 * Rounds: two for each level, and two within the innermost groups; less where groups have only two
 *         members.
 * Source: M. Barnett, L. Shuler, R. van de Geijn, S. Gupta, D. G. Payne, J. Watts, "Interprocessor
 *         collective communication library (InterCom)" (1994), for the scatter and all-gather; the
 *         hierarchy as in hierarchical_all_reduce.c.
 */
#include "rails.h"

#include <stdlib.h>

struct broadcast {
	struct hk_builder *b;
	const struct hk_rails *rails;
	int position;
	uint32_t channel, first; /* the channel's first chunk */
	/* What this rank has got so far: the last step of each lane of receives. */
	uint32_t ngot, lanes[2 * HK_MAX_STAGES], steps[2 * HK_MAX_STAGES];
	struct hk_rail_parts parts;
};

static bool accepts(const struct hk_problem *p)
{
	return hk_rails_fit(p);
}

static int build_sends(struct broadcast *c, enum hk_rail_phase phase, unsigned stage)
{
	int err = hk_rails_sends(c->rails, phase, stage, c->position, &c->parts);
	bool root = c->position == c->rails->root;
	uint32_t lane;

	if (err || !c->parts.n)
		return err;
	lane = hk_build_lane(c->b, 2 * c->channel + (phase == HK_RAIL_ALL_GATHER));
	for (uint32_t i = 0; i < c->parts.n; i++) {
		const struct hk_rail_part *s = &c->parts.parts[i];

		hk_build_send(c->b, lane, s->peer, root ? HK_IN : HK_OUT, c->first + s->first,
			      s->count);
		for (uint32_t k = 0; i == 0 && k < c->ngot; k++)
			hk_build_after(c->b, lane, c->lanes[k], c->steps[k]);
	}
	return 0;
}

static int build_receives(struct broadcast *c, enum hk_rail_phase phase, unsigned stage)
{
	int err = hk_rails_receives(c->rails, phase, stage, c->position, &c->parts);
	uint32_t lane, step = 0;

	if (err || !c->parts.n || c->position == c->rails->root)
		return err;
	lane = hk_build_lane(c->b, 2 * c->channel + (phase == HK_RAIL_ALL_GATHER));
	for (uint32_t i = 0; i < c->parts.n; i++) {
		const struct hk_rail_part *r = &c->parts.parts[i];

		step = hk_build_recv(c->b, lane, r->peer, HK_OUT, c->first + r->first, r->count);
	}
	c->lanes[c->ngot] = lane;
	c->steps[c->ngot++] = step;
	return 0;
}

static int build_phase(struct broadcast *c, enum hk_rail_phase phase, unsigned stage)
{
	int err = build_sends(c, phase, stage);

	return err ? err : build_receives(c, phase, stage);
}

/* A step moves so many chunks at most. */
static void build_copy(struct hk_builder *b, uint32_t lane, uint32_t first, uint32_t n)
{
	for (uint32_t at = 0; at < n; at += UINT16_MAX)
		hk_build_copy(b, lane, HK_IN, first + at, HK_OUT, first + at,
			      n - at < UINT16_MAX ? n - at : UINT16_MAX);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct hk_rails rails;
	int err = hk_rails_create(p, &rails);

	if (err)
		return err;
	rails.root = rails.h.place[p->root];
	hk_build_chunks(b, rails.pieces * p->channels, 0);
	hk_build_message(b, rails.message);
	for (uint32_t i = 0; !err && i < p->channels; i++) {
		struct broadcast c = {.b = b,
				      .rails = &rails,
				      .position = rails.h.place[rank],
				      .channel = i,
				      .first = i * rails.pieces};

		for (unsigned k = 0; !err && k < rails.h.stages; k++)
			err = build_phase(&c, HK_RAIL_SCATTER, k);
		for (unsigned k = rails.h.stages; !err && k-- > 0;)
			err = build_phase(&c, HK_RAIL_ALL_GATHER, k);
		free(c.parts.parts);
		if (rank == p->root && !p->inplace)
			build_copy(b, hk_build_lane(b, 2 * i), c.first, rails.pieces);
	}
	hk_rails_free(&rails);
	return err;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	hk_rails_work(p, HK_RAIL_SCATTER, HK_RAIL_ALL_GATHER, true, w);
}

const struct hk_algo hk_algo_hierarchical_broadcast = {"hierarchical_broadcast", HK_BROADCAST,
						       accepts, build, work};
