/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical reduce-scatter: the hierarchical all-gather backwards. The ranks of a node add up
 * what they have of every block, each for its share of the blocks; partners in other nodes then
 * send each other sums instead of parts, so that the slow links between nodes carry each block once
 * per node instead of once per rank; and so on, level by level (ways.h).
 *
 * Steps:  for each level, and for the ranks of a group of the innermost one, a lane of sends and a
 *         lane of folds. What is folded for others is in scratch, one chunk a block. A lane of
 *         sends begins each tile with copies of IN to the chunks that it is going to send: then the
 *         next tile's folds, which wait for these copies, cannot come too early, and they need not
 *         wait for more. What is folded for this rank is in OUT.
 * Bytes:  each rank sends n-1 blocks, the least possible, but where groups are alike only G-1 of
 *         them to other nodes if there are G.
 * Rounds: one for each level, and one within the innermost groups.
 * Source: the mirror image of the all-gather, as every all-gather has one; J. L. Träff, "Efficient
 *         allgather for regular SMP-clusters", EuroPVM/MPI (2006). Partners and order are ours.
 */
#include "algos.h"
#include "ways.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

/* A step that another lane waits for. */
struct event {
	bool set;
	uint32_t lane, step;
};

/* The sum of one block that this rank works on. */
struct sum {
	struct event ready; /* the copy of IN, later the last fold */
	uint32_t chunk;	    /* of SCRATCH */
};

struct scatter {
	const struct hk_problem *p;
	struct hk_builder *b;
	struct hk_hierarchy h;
	int position;
	struct hk_way *ways;
	struct sum *sums; /* [position] */
	uint32_t nsums;
	uint32_t sends[HK_MAX_STAGES]; /* lanes */
	uint32_t folds[HK_MAX_STAGES];
	unsigned leaf; /* the first stage that has others in its circle */
};

static bool accepts(const struct hk_problem *p)
{
	return hk_hierarchy_fits(p) && p->nranks <= 1 << 20;
}

static uint32_t block_of(const struct scatter *s, int position)
{
	return (uint32_t)s->h.order[position];
}

static void tell_size(const struct scatter *s, uint32_t lane, int block)
{
	hk_build_size(s->b, lane, s->p->varied ? block_of(s, block) : 0);
}

static void await_event(const struct scatter *s, uint32_t lane, const struct event *e)
{
	if (e->set)
		hk_build_after(s->b, lane, e->lane, e->step);
}

/* The lanes, and the copies that the lanes of sends begin with. Sums begin where there is something
 * to fold before they are sent. In an uneven group a rank may be nobody's partner, and send
 * nothing. */
static void build_lanes(struct scatter *s, unsigned stage)
{
	struct hk_circle c = hk_hierarchy_circle(&s->h, stage, s->position);
	bool any = false;

	if (c.count == 1)
		return;
	s->folds[stage] = hk_build_lane(s->b, 0);
	if (s->leaf == HK_MAX_STAGES)
		s->leaf = stage;
	for (int i = 0; i < s->h.n; i++) {
		if (i == s->position || s->ways[i].stage != stage)
			continue;
		if (!any)
			s->sends[stage] = hk_build_lane(s->b, 0);
		any = true;
		if (stage == s->leaf)
			break;
		s->sums[i].chunk = s->nsums++;
		s->sums[i].ready.lane = s->sends[stage];
		s->sums[i].ready.step = hk_build_copy(s->b, s->sends[stage], HK_IN, block_of(s, i),
						      HK_SCRATCH, s->sums[i].chunk, 1);
		s->sums[i].ready.set = true;
	}
}

/* Folds what comes for a block from the partner in each other group of the circle. */
static void fold_block(struct scatter *s, unsigned stage, const struct hk_circle *c, int block)
{
	bool own = block == s->position, first = own && !s->sums[block].ready.set;
	uint32_t lane = s->folds[stage], step = 0;
	enum hk_buf dst = own ? HK_OUT : HK_SCRATCH;

	for (int i = 1; i < c->count; i++) {
		int from = hk_hierarchy_partner(&s->h, stage, s->position, hk_circle_group(c, -i));
		bool in = first && i == 1;

		step = hk_build_recv_reduce(s->b, lane, s->h.order[from], in ? HK_IN : dst,
					    in ? block_of(s, block) : s->sums[block].chunk, dst,
					    s->sums[block].chunk, 1, 0);
		tell_size(s, lane, block);
		if (i == 1)
			await_event(s, lane, &s->sums[block].ready);
	}
	s->sums[block].ready = (struct event){true, lane, step};
}

static void send_block(struct scatter *s, unsigned stage, int block)
{
	bool leaf = stage == s->leaf;

	hk_build_send(s->b, s->sends[stage], s->h.order[s->ways[block].from],
		      leaf ? HK_IN : HK_SCRATCH, leaf ? block_of(s, block) : s->sums[block].chunk,
		      1);
	tell_size(s, s->sends[stage], block);
	if (!leaf)
		await_event(s, s->sends[stage], &s->sums[block].ready);
}

/* Blocks that go farthest come first, the others' own blocks and this rank's last. */
static void build_stage(struct scatter *s, unsigned stage)
{
	struct hk_circle c = hk_hierarchy_circle(&s->h, stage, s->position);
	int block;

	if (c.count == 1)
		return;
	for (unsigned born = s->h.stages; born-- > stage + 1;) {
		for (int i = 0; (block = hk_ways_born(&s->h, born, s->position, i)) >= 0; i++) {
			if (s->ways[block].stage > stage)
				fold_block(s, stage, &c, block);
			else if (s->ways[block].stage == stage)
				send_block(s, stage, block);
		}
	}
	for (int i = 1; i < c.count; i++) {
		const int *range = &s->h.first[stage][hk_circle_group(&c, i)];

		for (block = range[0]; block < range[1]; block++)
			if (s->ways[block].stage == stage)
				send_block(s, stage, block);
	}
	fold_block(s, stage, &c, s->position);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct scatter s = {.p = p, .b = b, .leaf = HK_MAX_STAGES};
	int err = hk_hierarchy_create(p, &s.h);

	if (err)
		return err;
	s.position = s.h.place[rank];
	err = hk_ways_create(&s.h, s.position, &s.ways);
	if (err)
		goto free_hierarchy;
	s.sums = calloc((size_t)p->nranks, sizeof(*s.sums));
	if (!s.sums) {
		err = hk_fail(ENOMEM, "no memory for the sums of %d blocks", p->nranks);
		goto free_ways;
	}
	hk_build_chunks(b, 1, 0);
	for (unsigned i = 0; i < s.h.stages; i++)
		build_lanes(&s, i);
	hk_build_chunks(b, 1, s.nsums);
	for (unsigned i = 0; i < s.h.stages; i++)
		build_stage(&s, i);
	if (p->nranks == 1 && !p->inplace)
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 0, 1);
	free(s.sums);
free_ways:
	free(s.ways);
free_hierarchy:
	hk_hierarchy_free(&s.h);
	return err;
}

/* depth[x]: the longest chain of messages that ends at x, of the stages so far. */
static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;
	uint32_t *depth = calloc(2 * (size_t)n, sizeof(*depth));
	struct hk_hierarchy h;

	*w = (struct hk_work){.messages = n - 1, .sent = n - 1};
	if (!depth || hk_hierarchy_create(p, &h))
		goto out;
	for (unsigned stage = 0; stage < h.stages; stage++) {
		uint32_t *before = depth + (stage % 2 ? n : 0),
			 *after = depth + (stage % 2 ? 0 : n);

		for (int x = 0; x < h.n; x++) {
			struct hk_circle c = hk_hierarchy_circle(&h, stage, x);

			after[x] = before[x];
			for (int i = 1; i < c.count; i++) {
				int from =
					hk_hierarchy_partner(&h, stage, x, hk_circle_group(&c, i));

				if (before[from] + 1 > after[x])
					after[x] = before[from] + 1;
			}
			w->rounds = after[x] > w->rounds ? after[x] : w->rounds;
		}
	}
	hk_hierarchy_free(&h);
out:
	free(depth);
}

const struct hk_algo hk_algo_hierarchical_reduce_scatter = {
	"hierarchical_reduce_scatter", HK_REDUCE_SCATTER, accepts, build, work};
