/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical all-gather: every block crosses each border between groups once, and is spread
 * within the group it comes to (ways.h). The slow links between nodes carry each block once per
 * node instead of once per rank, by all ranks of the node alike; the fast links within do the rest.
 *
 * Steps:  for each level, and for the ranks of a group of the innermost one, a lane of receives and
 *         a lane of sends: first the own block to the partner in each other group, then each block
 *         that has come across a higher border, as soon as it is there. A lane that copies the own
 *         block, out of place.
 * Bytes:  where groups are alike each rank sends n-1 blocks, the least possible, but only G-1 of
 *         them to other nodes if there are G. Where they are not, the ranks of small groups have
 *         more blocks to pass on.
 * Rounds: one for each level, and one within the innermost groups.
 * Source: J. L. Träff, "Efficient allgather for regular SMP-clusters", EuroPVM/MPI (2006), for the
 *         idea; the partners of uneven groups and the order are ours.
 */
#include "algos.h"
#include "ways.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

struct gather {
	struct hk_builder *b;
	struct hk_hierarchy h;
	int position;
	struct hk_way *ways;
	uint32_t *steps;	       /* [position]: of its receive in the lane of its stage */
	uint32_t lanes[HK_MAX_STAGES]; /* of receives, where there are any */
	bool received[HK_MAX_STAGES];
};

static bool accepts(const struct hk_problem *p)
{
	return hk_hierarchy_fits(p) && p->nranks <= 1 << 20;
}

/* The first makes the lane: in an uneven group a rank may be nobody's partner. */
static void receive(struct gather *g, unsigned stage, int block)
{
	if (!g->received[stage])
		g->lanes[stage] = hk_build_lane(g->b, 0);
	g->received[stage] = true;
	g->steps[block] = hk_build_recv(g->b, g->lanes[stage], g->h.order[g->ways[block].from],
					HK_OUT, (uint32_t)g->h.order[block], 1);
}

/* First the blocks of the others of the circle, from the nearest before this one on, as the nearest
 * after it is the first that each sends to; then those that the others hand on. */
static void build_receives(struct gather *g, unsigned stage)
{
	struct hk_circle c = hk_hierarchy_circle(&g->h, stage, g->position);
	int block;

	for (int i = 1; i < c.count; i++) {
		const int *range = &g->h.first[stage][hk_circle_group(&c, -i)];

		for (block = range[0]; block < range[1]; block++)
			if (g->ways[block].stage == stage)
				receive(g, stage, block);
	}
	for (unsigned born = stage + 1; born < g->h.stages; born++)
		for (int i = 0; (block = hk_ways_born(&g->h, born, g->position, i)) >= 0; i++)
			if (g->ways[block].stage == stage)
				receive(g, stage, block);
}

/* Hands a block to the partner in each other group of the circle. */
static void hand_on(struct gather *g, unsigned stage, const struct hk_circle *c, uint32_t lane,
		    int block)
{
	for (int i = 1; i < c->count; i++) {
		int to = hk_hierarchy_partner(&g->h, stage, g->position, hk_circle_group(c, i));
		bool own = block == g->position;

		hk_build_send(g->b, lane, g->h.order[to], own ? HK_IN : HK_OUT,
			      own ? 0 : (uint32_t)g->h.order[block], 1);
		if (!own && i == 1)
			hk_build_after(g->b, lane, g->lanes[g->ways[block].stage], g->steps[block]);
	}
}

static void build_sends(struct gather *g, unsigned stage)
{
	struct hk_circle c = hk_hierarchy_circle(&g->h, stage, g->position);
	uint32_t lane;
	int block;

	if (c.count == 1)
		return;
	lane = hk_build_lane(g->b, 0);
	hand_on(g, stage, &c, lane, g->position);
	for (unsigned born = stage + 1; born < g->h.stages; born++)
		for (int i = 0; (block = hk_ways_born(&g->h, born, g->position, i)) >= 0; i++)
			if (g->ways[block].stage > stage)
				hand_on(g, stage, &c, lane, block);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct gather g = {.b = b};
	int err = hk_hierarchy_create(p, &g.h);

	if (err)
		return err;
	g.position = g.h.place[rank];
	err = hk_ways_create(&g.h, g.position, &g.ways);
	if (err)
		goto free_hierarchy;
	g.steps = calloc((size_t)p->nranks, sizeof(*g.steps));
	if (!g.steps) {
		err = hk_fail(ENOMEM, "no memory for the steps of %d blocks", p->nranks);
		goto free_ways;
	}
	hk_build_chunks(b, 1, 0);
	for (unsigned i = g.h.stages; i-- > 0;)
		build_receives(&g, i);
	for (unsigned i = g.h.stages; i-- > 0;)
		build_sends(&g, i);
	if (!p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
	free(g.steps);
free_ways:
	free(g.ways);
free_hierarchy:
	hk_hierarchy_free(&g.h);
	return err;
}

/* What a position has before a stage, from the outermost one on. */
struct load {
	uint32_t depth; /* the longest way of a block that it has got */
	uint32_t held;	/* how many blocks it has */
};

/* before[x] hands all that it has to its partners. */
static void spread(const struct hk_hierarchy *h, unsigned stage, int x, const struct load *before,
		   struct load *after, struct hk_work *w)
{
	struct hk_circle c = hk_hierarchy_circle(h, stage, x);

	for (int i = 1; i < c.count; i++) {
		int to = hk_hierarchy_partner(h, stage, x, hk_circle_group(&c, i));

		after[to].held += before[x].held;
		if (before[x].depth + 1 > after[to].depth)
			after[to].depth = before[x].depth + 1;
		if (before[x].depth + 1 > w->rounds)
			w->rounds = before[x].depth + 1;
	}
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	size_t n = (size_t)p->nranks;
	struct load *loads = calloc(2 * n, sizeof(*loads)), *after = loads + n;
	uint32_t *sent = calloc(n, sizeof(*sent));
	struct hk_hierarchy h;

	*w = (struct hk_work){0};
	if (!loads || !sent || hk_hierarchy_create(p, &h))
		goto out;
	for (size_t i = 0; i < n; i++)
		loads[i].held = 1;
	for (unsigned stage = h.stages; stage-- > 0;) {
		memcpy(after, loads, n * sizeof(*loads));
		for (int x = 0; x < h.n; x++) {
			spread(&h, stage, x, loads, after, w);
			sent[x] += loads[x].held *
				   (uint32_t)(hk_hierarchy_circle(&h, stage, x).count - 1);
		}
		memcpy(loads, after, n * sizeof(*loads));
	}
	for (size_t i = 0; i < n; i++)
		w->messages = sent[i] > w->messages ? sent[i] : w->messages;
	w->sent = w->messages;
	hk_hierarchy_free(&h);
out:
	free(loads);
	free(sent);
}

const struct hk_algo hk_algo_hierarchical_all_gather = {"hierarchical_all_gather", HK_ALL_GATHER,
							accepts, build, work};
