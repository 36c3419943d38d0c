/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Algorithms that follow a layout, run by the executor over the loop transport: uneven and
 * interleaved nodes, two levels, any root, uneven blocks, delays, several tiles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "layout.h"
#include "loop_world.h"

/* Group numbers by rank, innermost level first. */
static const struct machine {
	int n;
	unsigned nlevels;
	int groups[2][MAX_RANKS];
} machines[] = {
	{4, 1, {{0, 0, 1, 1}}},
	{6, 1, {{0, 1, 2, 1, 2, 1}}},
	{9, 1, {{0, 0, 0, 0, 0, 1, 2, 3, 3}}},
	{12, 2, {{0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 5}, {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}}},
	{8, 2, {{0, 1, 2, 3, 0, 1, 2, 3}, {0, 0, 1, 1, 0, 0, 1, 1}}},
};

static void run_problem(const struct hk_algo *algo, const struct hk_problem *p,
			const struct hk_loop_faults *faults)
{
	static const size_t counts[] = {1, 37, 8191};
	struct hk_call calls[MAX_RANKS];
	struct loop_world w;

	world_setup(&w, algo, p, faults);
	for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		world_fill(&w, counts[c], 7 + c, calls);
		if (world_run(&w, calls))
			fail_msg("%s, %d ranks, root %d, count %zu%s%s: %s", algo->name, p->nranks,
				 p->root, counts[c], p->inplace ? ", in place" : "",
				 p->varied ? ", varied" : "", hk_last_error());
		world_verify(&w, 1, 1);
	}
	world_teardown(&w);
}

/* All forms that the algorithm takes on this layout, and not without one. */
static unsigned run_machine(const struct hk_algo *algo, const struct hk_layout *layout,
			    const struct hk_loop_faults *faults)
{
	unsigned taken = 0;

	for (unsigned form = 0; form < 8; form++) {
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = layout->nranks,
				       .channels = 1 + (form & 1),
				       .inplace = form & 2,
				       .varied = form & 4};

		if (algo->accepts(&p)) /* the other tests run it */
			continue;
		p.layout = layout;
		p.root = hk_coll_rooted(p.coll) ? layout->nranks - 1 - (int)form / 4 : 0;
		if (algo->accepts(&p)) {
			run_problem(algo, &p, faults);
			taken++;
		}
	}
	return taken;
}

#define NMACHINES (sizeof(machines) / sizeof(machines[0]))

static void run_all(const struct hk_loop_faults *faults, unsigned from, unsigned step)
{
	for (unsigned m = from; m < NMACHINES; m += step) {
		unsigned taken = 0;
		const int *groups[] = {machines[m].groups[0], machines[m].groups[1]};
		struct hk_layout *layout = NULL;

		assert_int_equal(
			hk_layout_create(machines[m].n, machines[m].nlevels, groups, &layout), 0);
		for (unsigned a = 0; a < hk_nalgos; a++)
			taken += run_machine(hk_algos[a], layout, faults);
		hk_layout_free(layout);
		/* The hierarchical algorithms, with one channel and two, at least. */
		assert_true(taken >= 6 * 2);
	}
}

static void test_layouts(void **state)
{
	run_all(NULL, 0, 1);
}

static void test_delays(void **state)
{
	struct hk_loop_faults faults = {.seed = 5, .max_delay = 20};

	run_all(&faults, 1, 3);
}

/* See test_exec.c. */
static void test_offers(void **state)
{
	struct hk_loop_faults faults = {
		.seed = 6, .max_delay = 20, .lend = true, .offers = HK_LOOP_OFFERS_MIXED};

	run_all(&faults, 0, 2);
	faults = (struct hk_loop_faults){.offers = HK_LOOP_OFFERS_TAKEN};
	run_all(&faults, 3, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_delays),
		cmocka_unit_test(test_offers),
	};

	setenv("HOCKET_OFFER_BYTES", "64", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
