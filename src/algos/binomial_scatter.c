/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binomial tree scatter, for small blocks: the gather's way back. A rank receives the blocks of its
 * subtree in scratch, sends each child those of the child's subtree, and keeps its own.
 *
 * Steps:  a receive, up to log2 n sends, the largest subtree first, and a copy; a leaf just
 *         receives. What the root sends a child is cut as in the gather (binomial_gather.c).
 * Bytes:  the root sends n-1 blocks: the least possible.
 * Rounds: floor(log2 n) messages follow each other; the root sends to ceil(log2 n) children.
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
 *         operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "trees.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= HK_BINOMIAL_MOST;
}

/* The largest power of two below n, or 0. */
static int highest_child(int n)
{
	return n > 1 ? 1 << hk_log2_down((uint32_t)n - 1) : 0;
}

static void build_root(struct hk_builder *b, const struct hk_problem *p, uint32_t lane)
{
	for (int d = highest_child(p->nranks); d > 0; d /= 2) {
		int end = d + hk_binomial_span(p->nranks, d), run;

		for (int label = d; label < end; label += run) {
			run = hk_label_run(p, label, end);
			hk_build_send(b, lane, hk_label_rank(p, d), HK_IN,
				      (uint32_t)hk_label_rank(p, label), (uint32_t)run);
		}
	}
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, (uint32_t)p->root, HK_OUT, 0, 1);
}

static void build_node(struct hk_builder *b, const struct hk_problem *p, uint32_t lane, int label)
{
	int n = p->nranks, span = hk_binomial_span(n, label), parent = hk_binomial_parent(label);

	for (int first = 0, run; first < span; first += run) {
		run = parent ? span : hk_label_run(p, label + first, label + span);
		hk_build_recv(b, lane, hk_label_rank(p, parent), span > 1 ? HK_SCRATCH : HK_OUT,
			      (uint32_t)first, (uint32_t)run);
	}
	for (int d = highest_child(span); d > 0; d /= 2)
		hk_build_send(b, lane, hk_label_rank(p, label + d), HK_SCRATCH, (uint32_t)d,
			      (uint32_t)hk_binomial_span(n, label + d));
	if (span > 1)
		hk_build_copy(b, lane, HK_SCRATCH, 0, HK_OUT, 0, 1);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	int label = hk_label_of(p, rank), span = hk_binomial_span(p->nranks, label);

	hk_build_chunks(b, 1, label && span > 1 ? (uint32_t)span : 0);
	if (p->nranks > 1)
		hk_build_message(b, (uint32_t)hk_binomial_largest(p->nranks));
	else if (p->inplace)
		return 0;
	if (label)
		build_node(b, p, hk_build_lane(b, 0), label);
	else
		build_root(b, p, hk_build_lane(b, 0));
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = hk_log2_down((uint32_t)p->nranks);
	w->messages = 0;
	for (int d = 1; d < p->nranks; d *= 2)
		w->messages += hk_label_runs(p, d, d + hk_binomial_span(p->nranks, d));
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_binomial_scatter = {"binomial_scatter", HK_SCATTER, accepts, build,
						 work};
