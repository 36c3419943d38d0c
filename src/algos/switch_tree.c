/* SPDX-License-Identifier: BSD-3-Clause */
/* The programs of ranks and switches in a tree of switches. See switch_tree.h. */
#include "switch_tree.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "layout.h"

struct tree {
	const struct hk_layout *layout;
	int n, top;
	int *first, *count; /* by participant: the lowest rank at or below it (-1), and how many */
	int *children;	    /* of the switch whose program is built, in rank order */
	int nchildren;
};

static bool is_above(const struct hk_layout *layout, int above, int i)
{
	while (i >= 0 && i != above)
		i = layout->parent[i];
	return i == above;
}

/* The lowest switch that has all ranks below it, or -1. */
static int find_top(const struct hk_layout *layout)
{
	int top = layout->nswitches ? layout->parent[0] : -1;

	for (int r = 1; r < layout->nranks && top >= 0; r++)
		while (top >= 0 && (layout->parent[r] < 0 || !is_above(layout, top, r)))
			top = layout->parent[top];
	return top;
}

bool hk_switch_accepts(const struct hk_problem *p)
{
	return p->layout && p->layout->nranks == p->nranks && p->nranks >= 2 && !p->varied &&
	       (uint64_t)p->nranks * p->channels <= 1u << 20 && find_top(p->layout) >= 0;
}

static void tree_close(struct tree *t)
{
	free(t->first);
	free(t->count);
	free(t->children);
}

/* The child of switch `sw` that has `rank` at or below it, or -1. */
static int child_towards(const struct tree *t, int sw, int rank)
{
	int i = rank;

	while (i >= 0 && t->layout->parent[i] != sw)
		i = i == t->top ? -1 : t->layout->parent[i];
	return i;
}

/* For the program of participant i. */
static int tree_open(const struct hk_layout *layout, int i, struct tree *t)
{
	size_t all = (size_t)layout->nranks + (size_t)layout->nswitches;

	*t = (struct tree){.layout = layout, .n = layout->nranks, .top = find_top(layout)};
	t->first = malloc(all * sizeof(*t->first));
	t->count = calloc(all, sizeof(*t->count));
	t->children = malloc(all * sizeof(*t->children));
	if (!t->first || !t->count || !t->children) {
		tree_close(t);
		return hk_fail(ENOMEM, "no memory for a tree of %zu participants", all);
	}
	for (size_t k = 0; k < all; k++)
		t->first[k] = -1;
	/* Up to the top and no further: what is above it takes no part. */
	for (int r = 0; r < t->n; r++)
		for (int k = r; k >= 0; k = k == t->top ? -1 : layout->parent[k])
			if (!t->count[k]++)
				t->first[k] = r;
	for (int r = 0; r < t->n && i >= t->n; r++) {
		int child = child_towards(t, i, r);

		if (child >= 0 && t->first[child] == r)
			t->children[t->nchildren++] = child;
	}
	return 0;
}

/* Whether any rank at or below i is among those meant. */
static bool concerns(const struct tree *t, enum hk_switch_who who, int owner, int i)
{
	bool has_owner = is_above(t->layout, i, owner);

	if (who == HK_SWITCH_OWNER)
		return has_owner;
	return who == HK_SWITCH_ALL || t->count[i] > has_owner;
}

/* Receives a block from those children that have something of it, folded into one chunk. */
static void fold(struct hk_builder *b, const struct tree *t, enum hk_switch_who from, int owner,
		 uint32_t lane, uint32_t chunk)
{
	bool begun = false;

	for (int i = 0; i < t->nchildren; i++) {
		int child = t->children[i];

		if (!concerns(t, from, owner, child))
			continue;
		if (begun)
			hk_build_recv_reduce(b, lane, child, HK_SCRATCH, chunk, HK_SCRATCH, chunk,
					     1, 0);
		else
			hk_build_recv(b, lane, child, HK_SCRATCH, chunk, 1);
		begun = true;
	}
}

static void spread(struct hk_builder *b, const struct tree *t, enum hk_switch_who to, int owner,
		   uint32_t lane, uint32_t chunk)
{
	for (int i = 0; i < t->nchildren; i++)
		if (concerns(t, to, owner, t->children[i]))
			hk_build_send(b, lane, t->children[i], HK_SCRATCH, chunk, 1);
}

static int owner_of(const struct hk_problem *p, const struct hk_switch_flow *flow, int block)
{
	return flow->blocks ? block : p->root;
}

static int nblocks(const struct hk_problem *p, const struct hk_switch_flow *flow)
{
	return flow->blocks ? p->nranks : 1;
}

#define NO_LANE UINT32_MAX

/* A lane without steps is none, so lanes are made when their first step is. */
static uint32_t lane_for(struct hk_builder *b, uint32_t channel, uint32_t *lane)
{
	if (*lane == NO_LANE)
		*lane = hk_build_lane(b, channel);
	return *lane;
}

/* The top turns a block round at once; a switch below it has a lane each way, as the next blocks
 * must not wait until the last ones come back. */
static void build_switch(struct hk_builder *b, const struct hk_problem *p, const struct tree *t,
			 int sw, const struct hk_switch_flow *flow, uint32_t channel)
{
	int parent = t->layout->parent[sw];
	uint32_t up = NO_LANE, down = NO_LANE;

	for (int i = 0; i < nblocks(p, flow); i++) {
		int owner = owner_of(p, flow, i);

		if (concerns(t, flow->from, owner, sw)) {
			fold(b, t, flow->from, owner, lane_for(b, channel, &up), channel);
			if (sw != t->top)
				hk_build_send(b, up, parent, HK_SCRATCH, channel, 1);
			else
				spread(b, t, flow->to, owner, up, channel);
		}
		if (sw != t->top && concerns(t, flow->to, owner, sw)) {
			hk_build_recv(b, lane_for(b, channel, &down), parent, HK_SCRATCH,
				      p->channels + channel, 1);
			spread(b, t, flow->to, owner, down, p->channels + channel);
		}
	}
}

static void build_rank(struct hk_builder *b, const struct hk_problem *p, const struct tree *t,
		       int rank, const struct hk_switch_flow *flow, uint32_t channel)
{
	bool in_blocks = hk_coll_blocks(p, rank, HK_IN) > 1;
	bool out_blocks = hk_coll_blocks(p, rank, HK_OUT) > 1;
	int parent = t->layout->parent[rank];
	uint32_t up = NO_LANE, down = NO_LANE;

	for (int i = 0; i < nblocks(p, flow); i++) {
		int owner = owner_of(p, flow, i);
		uint32_t in = (in_blocks ? (uint32_t)i : 0) * p->channels + channel;
		uint32_t out = (out_blocks ? (uint32_t)i : 0) * p->channels + channel;

		if (concerns(t, flow->from, owner, rank))
			hk_build_send(b, lane_for(b, channel, &up), parent, HK_IN, in, 1);
		if (concerns(t, flow->to, owner, rank))
			hk_build_recv(b, lane_for(b, channel, &down), parent, HK_OUT, out, 1);
		else if (flow->to == HK_SWITCH_OTHERS && !p->inplace)
			hk_build_copy(b, up, HK_IN, in, HK_OUT, out, 1);
	}
}

int hk_switch_build(const struct hk_problem *p, int rank, const struct hk_switch_flow *flow,
		    struct hk_builder *b)
{
	struct tree t;
	int err = tree_open(p->layout, rank, &t);

	if (err)
		return err;
	hk_build_chunks(b, p->channels, rank < p->nranks ? 0 : 2 * p->channels);
	for (uint32_t c = 0; c < p->channels; c++) {
		if (rank < p->nranks)
			build_rank(b, p, &t, rank, flow, c);
		else if (t.count[rank])
			build_switch(b, p, &t, rank, flow, c);
	}
	tree_close(&t);
	return 0;
}

static uint32_t depth_below(const struct hk_layout *layout, int top, int rank)
{
	uint32_t depth = 0;

	for (int i = rank; i != top; i = layout->parent[i])
		depth++;
	return depth;
}

uint32_t hk_switch_depth(const struct hk_problem *p, int rank)
{
	return depth_below(p->layout, find_top(p->layout), rank);
}

uint32_t hk_switch_height(const struct hk_problem *p, int n, int except)
{
	int top = find_top(p->layout);
	uint32_t height = 0;

	for (int r = 0; r < n; r++) {
		uint32_t depth = r == except ? 0 : depth_below(p->layout, top, r);

		height = depth > height ? depth : height;
	}
	return height;
}

int hk_switch_first_rank(const struct hk_layout *layout, int sw)
{
	int top = find_top(layout);

	if (top < 0 || !is_above(layout, top, sw))
		return -1;
	for (int r = 0; r < layout->nranks; r++)
		if (is_above(layout, sw, r))
			return r;
	return -1;
}
