/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binomial tree gather, for small blocks: a rank collects the blocks of its subtree in scratch and
 * sends them on together.
 *
 * Steps:  a rank copies its own block, receives from up to log2 n children, and sends once; a leaf
 *         just sends. At the root the blocks lie in rank order; so what a child sends there is cut
 *         where the order of labels (from the root on, as the layout has it) is not that of ranks:
 *         without a layout once at most.
 * Bytes:  the rank with the largest subtree sends up to n/2 blocks.
 * Rounds: floor(log2 n) messages follow each other; the root receives from ceil(log2 n) children.
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
 *         operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "trees.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied && p->nranks <= HK_BINOMIAL_MOST;
}

static void build_root(struct hk_builder *b, const struct hk_problem *p, uint32_t lane)
{
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, (uint32_t)p->root, 1);
	for (int d = 1; d < p->nranks; d *= 2) {
		int end = d + hk_binomial_span(p->nranks, d), run;

		for (int label = d; label < end; label += run) {
			run = hk_label_run(p, label, end);
			hk_build_recv(b, lane, hk_label_rank(p, d), HK_OUT,
				      (uint32_t)hk_label_rank(p, label), (uint32_t)run);
		}
	}
}

static void build_node(struct hk_builder *b, const struct hk_problem *p, uint32_t lane, int label)
{
	int n = p->nranks, span = hk_binomial_span(n, label), parent = hk_binomial_parent(label);
	enum hk_buf all = span > 1 ? HK_SCRATCH : HK_IN;

	if (span > 1)
		hk_build_copy(b, lane, HK_IN, 0, HK_SCRATCH, 0, 1);
	for (int d = 1; d < span; d *= 2)
		hk_build_recv(b, lane, hk_label_rank(p, label + d), HK_SCRATCH, (uint32_t)d,
			      (uint32_t)hk_binomial_span(n, label + d));
	for (int first = 0, run; first < span; first += run) {
		run = parent ? span : hk_label_run(p, label + first, label + span);
		hk_build_send(b, lane, hk_label_rank(p, parent), all, (uint32_t)first,
			      (uint32_t)run);
	}
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
	for (int d = 1; d < p->nranks; d *= 2) {
		uint32_t runs = hk_label_runs(p, d, d + hk_binomial_span(p->nranks, d));

		w->messages = runs > w->messages ? runs : w->messages;
	}
	w->sent = p->nranks > 1 ? hk_binomial_largest(p->nranks) : 0;
}

const struct hk_algo hk_algo_binomial_gather = {"binomial_gather", HK_GATHER, accepts, build, work};
