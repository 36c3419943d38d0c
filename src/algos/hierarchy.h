/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The groups of a layout as a tree, for the hierarchical algorithms. Groups have heights: those of
 * height 0 are single ranks, those of height l+1 the groups of level l of the layout, and on top is
 * one group of all. The members of a group of height i+1 are groups of height i, and what they do
 * among each other is stage i of an algorithm: stage 0 happens within a node, the last one between
 * the largest groups.
 *
 * Ranks are named by positions, an order in which every group is a range, so that interleaved ranks
 * need no care. Within a group positions count up with ranks, but for the groups inside it.
 *
 * Groups may differ in size and have differing numbers of members. Where a position has a partner
 * in another group, it is the one as far into that group as the position is into its own, in
 * proportion: in groups alike these are the rails, and else everybody in the larger group has a
 * partner, and in the smaller one nobody has more than his share, rounded up.
 */
#ifndef HK_ALGOS_HIERARCHY_H
#define HK_ALGOS_HIERARCHY_H

#include "layout.h"
#include "schedule.h"

#define HK_MAX_STAGES (HK_MAX_LEVELS + 1)

struct hk_hierarchy {
	int n;
	unsigned stages;
	int *order, *place;		/* the rank at a position; the position of a rank */
	int ngroups[HK_MAX_STAGES + 1]; /* of each height */
	int *first[HK_MAX_STAGES + 1];	/* [height][group]: its first position; at the end n */
	int *group[HK_MAX_STAGES + 1];	/* [height][position] */
	int *memory;
};

/* Whether the problem has a layout to speak of. */
bool hk_hierarchy_fits(const struct hk_problem *p);
/* -ENOMEM, with a sentence. */
int hk_hierarchy_create(const struct hk_problem *p, struct hk_hierarchy *h);
void hk_hierarchy_free(struct hk_hierarchy *h);

/* The members of a group of height stage+1: the groups first .. first + count - 1 of height stage;
 * `own` is the number among them of a position's own. */
struct hk_circle {
	int first, count, own;
};
struct hk_circle hk_hierarchy_members(const struct hk_hierarchy *h, unsigned stage, int group);
struct hk_circle hk_hierarchy_circle(const struct hk_hierarchy *h, unsigned stage, int position);

/* The group of the circle `steps` after the own one, or before it. */
static inline int hk_circle_group(const struct hk_circle *c, int steps)
{
	return c->first + ((c->own + steps) % c->count + c->count) % c->count;
}

/* The stage at which two different positions are in the same circle, but not in the same group. */
unsigned hk_hierarchy_meet(const struct hk_hierarchy *h, int a, int b);
/* The partner of a position in a group of the given height. */
int hk_hierarchy_partner(const struct hk_hierarchy *h, unsigned height, int position, int group);

#endif
