/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binary trees whose shape is in the bits of the labels: the lowest 1 bit of a label says how high
 * it stands. A label whose lowest bit is b lies between its children, b / 2 to either side. Where
 * the right one does not exist, as there are only n labels, the next lower one to the right takes
 * its place. Two such trees together use all links in both directions: P. Sanders, J. Speck, J. L.
 * Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan", Parallel
 * Computing 35 (2009).
 */
#include "trees.h"

int hk_label_run(const struct hk_problem *p, int label, int end)
{
	int rank = hk_label_rank(p, label), n = 1;

	while (label + n < end && hk_label_rank(p, label + n) == rank + n)
		n++;
	return n;
}

uint32_t hk_label_runs(const struct hk_problem *p, int label, int end)
{
	uint32_t n = 0;

	for (; label < end; n++)
		label += hk_label_run(p, label, end);
	return n;
}

/* The highest of the labels up to label + below / 2 that exist; -1: none. */
static int right_child(int n, int label, int below)
{
	for (int d = below / 2; d > 0; d /= 2)
		if (label + d < n)
			return label + d;
	return -1;
}

struct hk_tree hk_tree_of(int n, int label)
{
	int bit = label & -label, top = 1;
	struct hk_tree t = {-1, {-1, -1}};

	if (!label) {
		while (top < n - top)
			top *= 2;
		t.child[0] = n > 1 ? top : -1;
		return t;
	}
	t.parent = (label & ~bit) | bit << 1;
	if (t.parent >= n)
		t.parent = label & ~bit;
	t.child[0] = bit > 1 ? label - bit / 2 : -1;
	t.child[1] = right_child(n, label, bit);
	return t;
}

/* From a label of the first tree to the same rank's in the second (shift -1), or back (1). A mirror
 * is its own inverse. */
static int relabel(int n, int label, int shift)
{
	return n % 2 ? hk_wrap(label, shift, n) : n - 1 - label;
}

struct hk_tree hk_double_tree(const struct hk_problem *p, int rank, int which)
{
	int n = p->nranks, label = hk_order_find(p, rank);
	struct hk_tree t = hk_tree_of(n, which ? relabel(n, label, -1) : label);
	int *ends[] = {&t.parent, &t.child[0], &t.child[1]};

	for (int i = 0; i < 3; i++)
		if (*ends[i] >= 0)
			*ends[i] = hk_order_rank(p, which ? relabel(n, *ends[i], 1) : *ends[i]);
	return t;
}

/* All but label 0, which is the root in both. */
static int relabel_rooted(int n, int label, int shift)
{
	return label ? 1 + relabel(n - 1, label - 1, shift) : 0;
}

struct hk_tree hk_rooted_double_tree(const struct hk_problem *p, int rank, int which)
{
	int n = p->nranks, label = hk_label_of(p, rank);
	struct hk_tree t = hk_tree_of(n, which ? relabel_rooted(n, label, -1) : label);
	int *ends[] = {&t.parent, &t.child[0], &t.child[1]};

	for (int i = 0; i < 3; i++)
		if (*ends[i] >= 0)
			*ends[i] =
				hk_label_rank(p, which ? relabel_rooted(n, *ends[i], 1) : *ends[i]);
	return t;
}

void hk_tree_up(struct hk_builder *b, uint32_t lane, const struct hk_tree *t, uint32_t chunk)
{
	enum hk_buf sum = HK_IN, acc = t->parent < 0 ? HK_OUT : HK_SCRATCH;

	for (int i = 0; i < 2; i++) {
		if (t->child[i] < 0)
			continue;
		hk_build_recv_reduce(b, lane, t->child[i], sum, chunk, acc, chunk, 1, 0);
		sum = acc;
	}
	if (t->parent >= 0)
		hk_build_send(b, lane, t->parent, sum, chunk, 1);
}

void hk_tree_down(struct hk_builder *b, uint32_t lane, const struct hk_tree *t,
		  enum hk_buf root_buf, uint32_t chunk)
{
	if (t->parent >= 0)
		hk_build_recv(b, lane, t->parent, HK_OUT, chunk, 1);
	for (int i = 0; i < 2; i++)
		if (t->child[i] >= 0)
			hk_build_send(b, lane, t->child[i], t->parent < 0 ? root_buf : HK_OUT,
				      chunk, 1);
}
