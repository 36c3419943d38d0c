/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the ranks of a communicator lie in the machine, as far as an algorithm wants to know: groups
 * of ranks that are close to each other, level by level, a ring order, and the switches that can
 * reduce. Derived from the topology (or from who shares a host), equal on all ranks, immutable.
 */
#ifndef HK_TOPO_LAYOUT_H
#define HK_TOPO_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_MAX_LEVELS 4

struct hk_layout {
	int nranks;
	/*
	 * group[level][rank]: the number of the rank's group. Level 0 is the innermost (the ranks
	 * of a node, say); the groups of a level are unions of groups of the level below. Numbers
	 * count from 0 in the order of the groups' first ranks. Groups may differ in size, and
	 * their ranks need not be neighbours. nlevels 0: all ranks are equally far.
	 */
	unsigned nlevels;
	int *group[HK_MAX_LEVELS];
	/* Ranks in an order that crosses group borders as seldom as can be; a permutation. */
	int *ring;
	/*
	 * Switches that reduce: participants nranks .. nranks + nswitches - 1. parent[i] is the
	 * participant (a switch) that participant i, rank or switch, hangs on, or -1: the top of a
	 * tree, or a rank on no switch. It is never NULL.
	 */
	int nswitches;
	int *parent;
};

/*
 * A layout from group numbers, innermost level first, given for every rank (any numbers; they are
 * renumbered). groups may be NULL where nlevels is 0. -EINVAL, with a sentence, if a level is not a
 * union of the one below. Levels that separate nobody, or that equal the one below (below level 0
 * is every rank by itself), are dropped.
 */
int hk_layout_create(int nranks, unsigned nlevels, const int *const *groups,
		     struct hk_layout **layout);
/* Hangs switches on it: parent has nranks + nswitches entries, as in struct hk_layout. -EINVAL if
 * a parent is no switch or the parents form a circle. */
int hk_layout_set_switches(struct hk_layout *layout, int nswitches, const int *parent);
/* The tree of a number of switches without any topology: one has all ranks; of several the first is
 * the top, and each of the others has an equal part of the ranks, in their order. parent has room
 * for nranks + nswitches, and is then as hk_layout_set_switches takes it. */
void hk_layout_plain_tree(int nranks, int nswitches, int *parent);
/* Replaces the ring order. -EINVAL if it is no permutation of the ranks. */
int hk_layout_set_ring(struct hk_layout *layout, const int *ring);
/* The layout of the first n ranks alone (switches without ranks are kept out). */
int hk_layout_head(const struct hk_layout *layout, int n, struct hk_layout **head);
uint64_t hk_layout_hash(const struct hk_layout *layout);
void hk_layout_free(struct hk_layout *layout);

#endif
