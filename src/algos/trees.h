/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trees, for the algorithms that send along them: who is whose parent, by pure arithmetic on
 * labels from 0 to n - 1, and the steps of a node that passes data up or down.
 */
#ifndef HK_ALGOS_TREES_H
#define HK_ALGOS_TREES_H

#include "patterns.h"

/* Labels of a rooted collective: 0 is the root, and the others follow in the layout's order. */
static inline int hk_label_of(const struct hk_problem *p, int rank)
{
	return hk_wrap(hk_order_find(p, rank), -hk_order_find(p, p->root), p->nranks);
}

static inline int hk_label_rank(const struct hk_problem *p, int label)
{
	return hk_order_rank(p, hk_wrap(label, hk_order_find(p, p->root), p->nranks));
}

/*
 * The binomial tree: a label's parent is the label without its lowest 1 bit, so its children are
 * label + 1, + 2, + 4 ... below that bit (label 0: below n), and the subtree of label + d is the
 * d labels from there on, as far as they exist.
 */
static inline int hk_binomial_parent(int label)
{
	return label & (label - 1);
}

/* How many labels, from `label` on, its subtree has. */
static inline int hk_binomial_span(int n, int label)
{
	int span = label ? label & -label : n;

	return span < n - label ? span : n - label;
}

/* The most labels that a subtree other than the root's has, for n from 2 on. */
static inline int hk_binomial_largest(int n)
{
	int top = 1 << hk_log2_down((uint32_t)n - 1);
	int last = hk_binomial_span(n, top);

	return last > top / 2 ? last : top / 2;
}

/* A gather or scatter along the tree has messages of whole subtrees, which should fit slots. */
#define HK_BINOMIAL_MOST 2048

/* How many labels from `label` up to `end` belong to consecutive ranks. */
int hk_label_run(const struct hk_problem *p, int label, int end);
/* How many such runs there are from `label` up to `end`. */
uint32_t hk_label_runs(const struct hk_problem *p, int label, int end);

/* A node of a binary tree; -1: none. */
struct hk_tree {
	int parent, child[2];
};

/*
 * The in-order binary tree: 0 is the root and has one child; the odd labels are leaves; the labels
 * of a subtree are neighbours. Its depth is ceil(log2 n).
 */
struct hk_tree hk_tree_of(int n, int label);

/*
 * Two such trees, as ranks: `which` is 0 or 1. The second is the first with mirrored labels or,
 * where that would leave leaves leaves, with labels shifted by one. So who passes data on in one
 * tree is a leaf in the other; when each tree carries half of a vector, every rank sends and
 * receives about as much as any other. (In an odd number of ranks the root of the one passes on in
 * the other, too.)
 */
struct hk_tree hk_double_tree(const struct hk_problem *p, int rank, int which);
/* The same over all ranks but the root, which is the parent of the topmost rank of both. */
struct hk_tree hk_rooted_double_tree(const struct hk_problem *p, int rank, int which);

/* Emits a node's part of a reduction up a tree: adds the children's messages to this chunk of IN,
 * in their order, and sends the sum to the parent. At the root it goes to OUT; elsewhere it is made
 * in the SCRATCH chunk of that number. */
void hk_tree_up(struct hk_builder *b, uint32_t lane, const struct hk_tree *t, uint32_t chunk);
/* The way down: receives into OUT and passes on; the root sends from `root_buf`. */
void hk_tree_down(struct hk_builder *b, uint32_t lane, const struct hk_tree *t,
		  enum hk_buf root_buf, uint32_t chunk);

#endif
