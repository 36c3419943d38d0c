/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vector cut along a hierarchy (hierarchy.h), for the hierarchical all-reduce, broadcast and
 * reduce. Its pieces are numbered by digits, one for each stage, as many values each as the largest
 * group of that height has members; a group with fewer members gives each a range of the values,
 * as even as can be. So the greatest groups set the number of pieces: then all ranks of a large
 * node have a part in its traffic, and a small node has no member left out, only some with one
 * value more than others; with the smallest group's number instead, most ranks of a large node
 * would idle, and all of its sums end at a few.
 *
 * A rank owns, of the pieces that its group of some height has, those whose digits name it member
 * by member: the first digit within its node, the next one its node among the nodes, and so on.
 * Stage i of an algorithm moves pieces between the owners of the same leading digits in the members
 * of a group of height i+1: these are the rails. As the first digit counts most, what one rank has
 * for another is one range of pieces for each choice of leading digits that it owns.
 */
#ifndef HK_ALGOS_RAILS_H
#define HK_ALGOS_RAILS_H

#include "algos.h"
#include "hierarchy.h"

enum hk_rail_phase {
	HK_RAIL_REDUCE_SCATTER, /* each sends each other what that one is to own, to be added up */
	HK_RAIL_ALL_GATHER,	/* each sends each other what it owns */
	HK_RAIL_SCATTER,	/* the root's member sends each other what that one is to own */
	HK_RAIL_GATHER		/* each sends the root's member what it owns */
};

struct hk_rails {
	struct hk_hierarchy h;
	uint32_t width[HK_MAX_STAGES];	/* values of the digit */
	uint32_t stride[HK_MAX_STAGES]; /* pieces for each value */
	uint32_t pieces;
	uint32_t message; /* most pieces in a message */
	int root;	  /* position, or -1: what the root's members have, they need not get */
};

struct hk_rail_part {
	int peer; /* rank */
	uint32_t first, count;
	bool fresh; /* the first of the messages for these pieces in its phase */
};

struct hk_rail_parts {
	uint32_t n, room;
	struct hk_rail_part *parts;
};

/* Whether the problem has a layout, and its pieces are not too many. */
bool hk_rails_fit(const struct hk_problem *p);
/* -ENOMEM, with a sentence. */
int hk_rails_create(const struct hk_problem *p, struct hk_rails *r);
void hk_rails_free(struct hk_rails *r);

/* The pieces whose first digits a position owns: all that it ever holds sums of, but for a root. */
void hk_rails_own(const struct hk_rails *r, int position, uint32_t *first, uint32_t *count);

/*
 * What a position sends and receives in a phase of a stage, in an order in which one slot will do:
 * that of the distance between the members. Fills *parts from its start, and grows it; -ENOMEM,
 * with a sentence. The caller frees parts->parts.
 */
int hk_rails_sends(const struct hk_rails *r, enum hk_rail_phase phase, unsigned stage, int position,
		   struct hk_rail_parts *parts);
int hk_rails_receives(const struct hk_rails *r, enum hk_rail_phase phase, unsigned stage,
		      int position, struct hk_rail_parts *parts);

/*
 * The costs of an algorithm that goes up through the stages with one phase and down again with
 * another, and sends nothing of a phase of a stage before it has all of those before. `rooted`:
 * with the problem's root.
 */
void hk_rails_work(const struct hk_problem *p, enum hk_rail_phase up, enum hk_rail_phase down,
		   bool rooted, struct hk_work *w);

#endif
