/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ways of blocks in a hierarchy (hierarchy.h), for the all-gather and, backwards, for the
 * reduce-scatter. Every rank's block is handed from its rank to one partner in each other group of
 * the largest groups; within each group whoever has it hands it to one partner in each other
 * member; and so on down to single ranks. So it crosses each border once, from partner to partner:
 * the blocks of a node leave it by all its ranks alike.
 */
#ifndef HK_ALGOS_WAYS_H
#define HK_ALGOS_WAYS_H

#include "hierarchy.h"

/* How one rank comes by the block of another position. */
struct hk_way {
	unsigned born;	/* the stage at which the two are in the same circle */
	unsigned stage; /* the stage at which it gets the block; all lower ones, it hands it on */
	int from;	/* the position that hands it the block */
};

/* ways[position], of all positions but the own one. -ENOMEM, with a sentence. */
int hk_ways_create(const struct hk_hierarchy *h, int position, struct hk_way **ways);

/*
 * The blocks that were born at stage `born` as seen from a position, in an order that is the same
 * for all in its group of that height, and in which no block is everybody's first: number i, or -1
 * past the end.
 */
int hk_ways_born(const struct hk_hierarchy *h, unsigned born, int position, int i);

#endif
