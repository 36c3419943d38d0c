/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The logarithmic, direct, all-to-all and hierarchical algorithms: proved for 1 to 64 ranks and
 * some primes beyond, in place and not, fused and not, with blocks of differing sizes, and over
 * layouts of even and uneven, neighbouring and interleaved groups of one to three levels; and what
 * they cost by their own formulas is what their programs contain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layout.h"
#include "measure.h"

static const char *const flat[] = {
	"direct_all_gather",	  "direct_reduce_scatter", "direct_all_to_all",
	"bruck_all_gather",	  "bruck_reduce_scatter",  "doubling_all_gather",
	"halving_reduce_scatter", "pairwise_all_to_all",   "bruck_all_to_all",
	"pat_all_gather",	  "pat_reduce_scatter",
};

static const char *const hierarchical[] = {
	"hierarchical_all_gather", "hierarchical_reduce_scatter", "hierarchical_all_reduce",
	"hierarchical_broadcast",  "hierarchical_reduce",	  "hierarchical_all_to_all",
};

/* --- proofs --- */

static void check_work(const struct hk_algo *algo, const struct world *w, const char *name)
{
	struct hk_work has = {0}, says = {0};

	world_measure(w, &has);
	algo->work(&w->p, &says);
	if (has.rounds != says.rounds || has.messages != says.messages ||
	    has.sent > says.sent + 1e-9 || has.sent < says.sent - 1e-9)
		fail_msg("%s takes %u rounds, %u messages, %g blocks, but its formulas say %u, %u, "
			 "%g",
			 name, has.rounds, has.messages, has.sent, says.rounds, says.messages,
			 says.sent);
}

/* Returns whether the algorithm takes the problem. */
static bool prove(const struct hk_algo *algo, const struct hk_problem *p, bool fuse,
		  const char *shape)
{
	struct hk_report report;
	struct world w;
	char name[160];

	if (!algo->accepts(p))
		return false;
	snprintf(name, sizeof(name), "%s, %d ranks%s, root %d, %u channels%s%s%s", algo->name,
		 p->nranks, shape, p->root, p->channels, p->inplace ? ", in place" : "",
		 p->varied ? ", varied" : "", fuse ? ", fused" : "");
	if (world_build_problem(&w, algo, p, fuse))
		fail_msg("%s: cannot be built", name);
	if (world_check(&w, 2, &report))
		fail_msg("%s: %s", name, report.text);
	if (!p->varied)
		check_work(algo, &w, name);
	world_free(&w);
	return true;
}

/* In place, fused, of differing sizes, or not; of many ranks, some of that. */
static void prove_forms(const struct hk_algo *algo, int n, uint32_t channels)
{
	bool taken = false;

	for (unsigned form = 0; form < 8; form++) {
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = n,
				       .channels = channels,
				       .inplace = form & 1,
				       .varied = form & 2};

		if (n > 9 && form && form % 4 != (unsigned)n % 4)
			continue;
		taken |= prove(algo, &p, form & 4, "");
	}
	assert_true(taken);
}

static void test_flat(void **state)
{
	for (unsigned a = 0; a < sizeof(flat) / sizeof(flat[0]); a++) {
		const struct hk_algo *algo = hk_algo_find(flat[a]);

		assert_non_null(algo);
		for (int n = 1; n <= 64; n++)
			prove_forms(algo, n, 1);
		prove_forms(algo, 7, 3);
	}
}

static void test_primes(void **state)
{
	static const int primes[] = {67, 97, 131};

	for (unsigned a = 0; a < sizeof(flat) / sizeof(flat[0]); a++)
		for (unsigned i = 0; i < sizeof(primes) / sizeof(primes[0]); i++) {
			const struct hk_algo *algo = hk_algo_find(flat[a]);
			struct hk_problem p = {
				.coll = algo->coll, .nranks = primes[i], .channels = 1};

			assert_true(prove(algo, &p, true, ""));
		}
}

/* --- layouts --- */

/* Machines: sizes of nodes, and of groups of nodes above them. */
struct shape {
	const char *name;
	int nodes[12];	 /* ranks of each, until 0 */
	int outer[2][8]; /* groups of the level below in each, until 0; none: no such level */
	bool interleaved;
};

static const struct shape shapes[] = {
	{"2 of 2", {2, 2}, {{0}}, false},
	{"4 of 4", {4, 4, 4, 4}, {{0}}, false},
	{"4 of 4, interleaved", {4, 4, 4, 4}, {{0}}, true},
	{"1 3 2", {1, 3, 2}, {{0}}, false},
	{"1 3 2, interleaved", {1, 3, 2}, {{0}}, true},
	{"5 1 1 4", {5, 1, 1, 4}, {{0}}, false},
	{"5 1 1 4, interleaved", {5, 1, 1, 4}, {{0}}, true},
	{"7 3", {7, 3}, {{0}}, false},
	{"3 8 8 5 1", {3, 8, 8, 5, 1}, {{0}}, true},
	{"all in one node", {7}, {{0}}, false},
	{"nodes of one", {1, 1, 1, 1, 1}, {{0}}, false},
	{"6 of 2 in 3 of 2", {2, 2, 2, 2, 2, 2}, {{2, 2, 2}}, false},
	{"6 of 3 in 2 of 3, interleaved", {3, 3, 3, 3, 3, 3}, {{3, 3}}, true},
	{"4 1 2 3 2 in 2 1 2", {4, 1, 2, 3, 2}, {{2, 1, 2}}, false},
	{"1 1 1 6 1 in 3 2", {1, 1, 1, 6, 1}, {{3, 2}}, true},
	{"8 of 2 in 4 of 2 in 2 of 2", {2, 2, 2, 2, 2, 2, 2, 2}, {{2, 2, 2, 2}, {2, 2}}, false},
	{"3 1 2 2 4 1 1 5 in 1 2 3 2 in 3 1",
	 {3, 1, 2, 2, 4, 1, 1, 5},
	 {{1, 2, 3, 2}, {3, 1}},
	 false},
	{"2 1 1 2 3 1 in 2 2 2 in 1 2, interleaved", {2, 1, 1, 2, 3, 1}, {{2, 2, 2}, {1, 2}}, true},
};
#define NSHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* The node of every rank: in turn if they are interleaved. Returns the number of ranks. */
static int deal(const struct shape *s, int *node)
{
	int given[12] = {0}, n = 0, left;

	do {
		left = 0;
		for (int i = 0; i < 12 && s->nodes[i]; i++) {
			do {
				if (given[i] == s->nodes[i])
					break;
				given[i]++;
				node[n++] = i;
			} while (!s->interleaved);
			left |= given[i] < s->nodes[i];
		}
	} while (left);
	return n;
}

/* A layout by hand: its numbers are those of the nodes, which need not be those that
 * hk_layout_create would give, and levels that separate nobody stay. */
static int make_layout(const struct shape *s, struct hk_layout *layout)
{
	int node[128], n = deal(s, node), parent[12];

	memset(layout, 0, sizeof(*layout));
	layout->nranks = n;
	for (unsigned level = 0; level < 3 && (!level || s->outer[level - 1][0]); level++) {
		int *group = calloc((size_t)n, sizeof(*group));

		assert_non_null(group);
		for (int i = 0, at = 0; level && i < 8; i++)
			for (int k = 0; k < s->outer[level - 1][i]; k++)
				parent[at++] = i;
		for (int r = 0; r < n; r++)
			group[r] = level ? parent[layout->group[level - 1][r]] : node[r];
		layout->group[layout->nlevels++] = group;
	}
	return n;
}

static void free_layout(struct hk_layout *layout)
{
	for (unsigned i = 0; i < layout->nlevels; i++)
		free(layout->group[i]);
}

static void prove_shape(const struct hk_algo *algo, const struct shape *shape)
{
	struct hk_layout layout;
	bool taken = false;
	int n = make_layout(shape, &layout), roots = hk_coll_rooted(algo->coll) ? n : 1;
	int step = n > 8 ? 3 : 1;
	char name[64];

	snprintf(name, sizeof(name), " (%s)", shape->name);
	for (unsigned form = 0; form < 8; form++) {
		for (int root = 0; root < roots; root += step) {
			struct hk_problem p = {.coll = algo->coll,
					       .nranks = n,
					       .root = root,
					       .channels = 1 + (form + form / 4) % 2,
					       .inplace = form & 1,
					       .varied = form & 2,
					       .layout = &layout};

			taken |= prove(algo, &p, form & 4, name);
		}
	}
	assert_true(taken);
	free_layout(&layout);
}

static void test_shapes(void **state)
{
	for (unsigned a = 0; a < sizeof(hierarchical) / sizeof(hierarchical[0]); a++) {
		const struct hk_algo *algo = hk_algo_find(hierarchical[a]);

		assert_non_null(algo);
		for (unsigned i = 0; i < NSHAPES; i++)
			prove_shape(algo, &shapes[i]);
	}
}

/* Any number of ranks on nodes of any size, the last one not full; and without a layout, none. */
static void test_sizes(void **state)
{
	for (unsigned a = 0; a < sizeof(hierarchical) / sizeof(hierarchical[0]); a++) {
		const struct hk_algo *algo = hk_algo_find(hierarchical[a]);

		for (int n = 1; n <= 64; n++) {
			int node[64], size = 1 + n % 9;
			struct hk_layout layout = {.nranks = n, .nlevels = 1, .group = {node}};
			struct hk_problem p = {.coll = algo->coll,
					       .nranks = n,
					       .root = n / 2,
					       .channels = 1,
					       .layout = &layout};

			for (int r = 0; r < n; r++)
				node[r] = r / size;
			if (!hk_coll_rooted(p.coll))
				p.root = 0;
			assert_true(prove(algo, &p, true, " on nodes"));
			layout.nlevels = 0;
			assert_false(algo->accepts(&p));
			p.layout = NULL;
			assert_false(algo->accepts(&p));
		}
	}
}

/* Of even shapes the comments of the algorithms say what they cost. */
static void check_even(const char *name, const struct hk_layout *layout, uint32_t rounds,
		       double sent)
{
	const struct hk_algo *algo = hk_algo_find(name);
	struct hk_problem p = {
		.coll = algo->coll, .nranks = layout->nranks, .channels = 1, .layout = layout};
	struct hk_work w = {0};

	algo->work(&p, &w);
	if (w.rounds != rounds || w.sent < sent - 1e-9 || w.sent > sent + 1e-9)
		fail_msg("%s: %u rounds and %g blocks, not %u and %g", name, w.rounds, w.sent,
			 rounds, sent);
}

static void test_even(void **state)
{
	/* 4 nodes of 6; and the same in 2 groups of 2. */
	static int node[24], half[24];
	struct hk_layout layout = {.nranks = 24, .nlevels = 1, .group = {node, half}};
	const double n = 24, s = 6, g = 4;

	for (int r = 0; r < 24; r++) {
		node[r] = r / 6;
		half[r] = r / 12;
	}
	check_even("hierarchical_all_reduce", &layout, 4, 2 * (n - 1) / n);
	check_even("hierarchical_all_gather", &layout, 2, n - 1);
	check_even("hierarchical_reduce_scatter", &layout, 2, n - 1);
	check_even("hierarchical_broadcast", &layout, 4, 2 * (n - 1) / n);
	check_even("hierarchical_reduce", &layout, 4, (n - 1) / n + 1 / s);
	check_even("hierarchical_all_to_all", &layout, 2, (g - 1) * s + g * (s - 1));
	layout.nlevels = 2;
	check_even("hierarchical_all_reduce", &layout, 6, 2 * (n - 1) / n);
	check_even("hierarchical_all_gather", &layout, 3, n - 1);
	check_even("hierarchical_reduce_scatter", &layout, 3, n - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flat),   cmocka_unit_test(test_primes),
		cmocka_unit_test(test_shapes), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
