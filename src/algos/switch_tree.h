/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives through a tree of switches that reduce (layout.h). A star is a tree of one switch.
 * All of them have one shape: each block goes up to the top of the tree, where switches fold what
 * their children send, and comes down again to whom it is meant for. They differ in three things
 * alone, which struct hk_switch_flow names.
 *
 * A switch folds its children in the order of the lowest rank below each, whatever arrives first:
 * ((child0 (+) child1) (+) child2) ... So the expression is the same in every run, and as it is
 * computed in one place, at the top, the bits are the same on every rank. Switches have SCRATCH
 * only, one chunk a lane: they need a slot's worth of memory, however large the call.
 */
#ifndef HK_ALGOS_SWITCH_TREE_H
#define HK_ALGOS_SWITCH_TREE_H

#include "algos.h"

enum hk_switch_who {
	HK_SWITCH_ALL,
	HK_SWITCH_OWNER, /* the block's rank, or the root where there is one block */
	HK_SWITCH_OTHERS /* all but that one, which keeps its own */
};

struct hk_switch_flow {
	bool blocks; /* one block for each rank, not one for all */
	enum hk_switch_who from, to;
};

/* Whether every rank is below one switch, and the problem has blocks of one size. */
bool hk_switch_accepts(const struct hk_problem *p);
/* Emits the program of a rank or of a switch; one lane up and one down for each channel. A switch
 * that no rank needs (above the lowest one that has all ranks below) gets an empty one. */
int hk_switch_build(const struct hk_problem *p, int rank, const struct hk_switch_flow *flow,
		    struct hk_builder *b);
/* Messages from the rank up to the top of the tree. */
uint32_t hk_switch_depth(const struct hk_problem *p, int rank);
/* The most of those of ranks 0 .. n-1, but for `except` (-1: none); 0 if there are none. */
uint32_t hk_switch_height(const struct hk_problem *p, int n, int except);

/* The lowest rank below a switch, if the switch is part of the tree; else -1. It is who tells a
 * switch what to do (src/comm). */
int hk_switch_first_rank(const struct hk_layout *layout, int sw);

#endif
