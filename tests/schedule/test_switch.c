/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules with switches in them: stars and trees of many shapes, all six collectives, every root,
 * in and out of place, fused and not, are proved with one slot (two when fused), the programs of
 * the switches included; what they cost is what their formulas say; what has no tree is refused.
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

#define MOST 128

struct shape {
	struct hk_layout layout;
	int parent[MOST];
	int ring[MOST];
};

static const char *const names[] = {"switch_all_reduce", "switch_reduce",
				    "switch_broadcast",	 "switch_reduce_scatter",
				    "switch_all_gather", "switch_barrier"};
#define NALGOS (sizeof(names) / sizeof(names[0]))

static void shape_init(struct shape *s, int n, int nswitches)
{
	assert_true(n + nswitches <= MOST);
	memset(s, 0, sizeof(*s));
	s->layout = (struct hk_layout){
		.nranks = n, .ring = s->ring, .nswitches = nswitches, .parent = s->parent};
	for (int i = 0; i < n + nswitches; i++)
		s->parent[i] = -1;
	for (int i = 0; i < n; i++)
		s->ring[i] = i;
}

/* A top, and leaves that have the ranks in turn ("mixed") or in neighbourhoods. */
static void two_levels(struct shape *s, int n, int leaves, bool mixed)
{
	shape_init(s, n, leaves + 1);
	for (int r = 0; r < n; r++)
		s->parent[r] = n + 1 + (mixed ? r % leaves : r * leaves / n);
	for (int i = 1; i <= leaves; i++)
		s->parent[n + i] = n;
}

/* Three levels, uneven: some ranks hang on the top, some on the middle, some on the leaves; a
 * switch without ranks, one with a single child, and one above all that nobody needs. */
static void uneven(struct shape *s, int n)
{
	shape_init(s, n, 6);
	s->parent[n + 1] = s->parent[n + 2] = n; /* the top is n, below 5 */
	s->parent[n + 3] = n + 1;
	s->parent[n + 4] = n + 2;
	s->parent[n] = n + 5;
	for (int r = 0; r < n; r++)
		s->parent[r] = r % 5 == 0 ? n : r % 5 == 1 ? n + 2 : n + 3;
}

static int build(struct world *w, const struct hk_algo *algo, const struct hk_problem *p, bool fuse)
{
	int n = hk_algo_participants(algo, p);

	memset(w, 0, sizeof(*w));
	w->p = *p;
	assert_int_equal(n, p->nranks + p->layout->nswitches);
	for (w->n = 0; w->n < n; w->n++) {
		int err = hk_algo_program(algo, p, w->n, fuse, &w->programs[w->n]);

		if (err)
			return err;
	}
	return 0;
}

static void check_work(const struct hk_algo *algo, const struct world *w)
{
	struct hk_work says, has;

	algo->work(&w->p, &says);
	world_measure(w, &has);
	if (says.rounds != has.rounds || says.messages != has.messages || says.sent != has.sent)
		fail_msg("%s, %d ranks, root %d: says %u rounds, %u messages, %g blocks; has %u, "
			 "%u, %g",
			 algo->name, w->p.nranks, w->p.root, says.rounds, says.messages, says.sent,
			 has.rounds, has.messages, has.sent);
}

static void prove(const struct shape *s, const struct hk_algo *algo, int root, unsigned form)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = s->layout.nranks,
			       .root = root,
			       .channels = 1 + (form & 1),
			       .inplace = form & 2,
			       .layout = &s->layout};
	struct hk_report report;
	struct world w;

	assert_true(algo->accepts(&p));
	assert_int_equal(build(&w, algo, &p, form & 4), 0);
	if (world_check(&w, 2, &report))
		fail_msg("%s, %d ranks, %d switches, root %d%s%s: %s", algo->name, p.nranks,
			 s->layout.nswitches, root, p.inplace ? ", in place" : "",
			 form & 4 ? ", fused" : "", report.text);
	assert_true(report.slots <= (form & 4 ? 2u : 1u));
	for (int i = p.nranks; i < w.n; i++) {
		assert_int_equal(w.programs[i]->nchunks[HK_IN], 0);
		assert_int_equal(w.programs[i]->nchunks[HK_OUT], 0);
		assert_true(w.programs[i]->nchunks[HK_SCRATCH] <= 2 * p.channels);
	}
	if (form < 2)
		check_work(algo, &w);
	world_free(&w);
}

static void prove_shape(const struct shape *s, unsigned first_form)
{
	for (unsigned a = 0; a < NALGOS; a++) {
		const struct hk_algo *algo = hk_algo_find(names[a]);
		int n = s->layout.nranks, step = n < 6 ? 1 : n / 2;

		for (int root = 0; root < (hk_coll_rooted(algo->coll) ? n : 1); root += step)
			for (unsigned form = first_form; form < 8; form++)
				prove(s, algo, root, form);
	}
}

static void test_stars(void **state)
{
	struct shape s;

	for (int n = 2; n <= 16; n += n < 9 ? 1 : 7) {
		shape_init(&s, n, 1);
		for (int r = 0; r < n; r++)
			s.parent[r] = n;
		prove_shape(&s, 0);
	}
	shape_init(&s, 64, 1);
	for (int r = 0; r < 64; r++)
		s.parent[r] = 64;
	prove_shape(&s, 7);
}

static void test_two_levels(void **state)
{
	struct shape s;

	for (int leaves = 2; leaves <= 5; leaves += leaves < 3 ? 1 : 2)
		for (int n = 2; n <= 16; n += n < 6 ? 1 : 5) {
			two_levels(&s, n, leaves, false);
			prove_shape(&s, 0);
			two_levels(&s, n, leaves, true);
			prove_shape(&s, 0);
		}
}

static void test_uneven(void **state)
{
	struct shape s;

	for (int n = 2; n <= 12; n++) {
		uneven(&s, n);
		prove_shape(&s, 0);
	}
}

/* The same inputs give the same bits: the expression depends on the tree alone, and the reduce and
 * the reduce-scatter fold as the all-reduce does. The switches' folds are the same steps. */
static void test_same_fold(void **state)
{
	static const char *const folding[] = {"switch_all_reduce", "switch_reduce",
					      "switch_barrier"};
	struct hk_problem p = {.nranks = 7, .root = 3, .channels = 1};
	struct shape s;

	two_levels(&s, 7, 3, true);
	p.layout = &s.layout;
	for (int sw = 7; sw < 11; sw++) {
		int order[3][8], n[3] = {0};

		for (unsigned a = 0; a < 3; a++) {
			const struct hk_algo *algo = hk_algo_find(folding[a]);
			struct hk_program *prog = NULL;

			p.coll = algo->coll;
			assert_int_equal(hk_algo_program(algo, &p, sw, false, &prog), 0);
			for (uint32_t i = 0; i < prog->lanes[0].nsteps; i++)
				if (prog->steps[i].from >= 0)
					order[a][n[a]++] = prog->steps[i].from;
			hk_program_free(prog);
			assert_int_equal(n[a], sw == 7 ? 3 : sw == 8 ? 3 : 2);
			assert_memory_equal(order[a], order[0], (size_t)n[0] * sizeof(int));
		}
		for (int i = 1; i < n[0]; i++)
			assert_true(order[0][i] > order[0][i - 1]);
	}
}

static void test_refused(void **state)
{
	struct hk_problem p = {.nranks = 4, .channels = 1};
	struct hk_program *prog = NULL;
	struct shape s;

	for (unsigned a = 0; a < NALGOS; a++) {
		const struct hk_algo *algo = hk_algo_find(names[a]);

		p.coll = algo->coll;
		p.layout = NULL;
		assert_false(algo->accepts(&p));
		assert_int_equal(hk_algo_participants(algo, &p), 4);
		shape_init(&s, 4, 0);
		p.layout = &s.layout;
		assert_false(algo->accepts(&p));
		shape_init(&s, 4, 2); /* rank 3 hangs on nothing, then on another tree */
		s.parent[0] = s.parent[1] = s.parent[2] = 4;
		assert_false(algo->accepts(&p));
		assert_true(hk_algo_program(algo, &p, 4, false, &prog) < 0);
		s.parent[3] = 5;
		assert_false(algo->accepts(&p));
		s.parent[5] = 4;
		assert_true(algo->accepts(&p));
		assert_int_equal(hk_algo_participants(algo, &p), 6);
		assert_true(hk_algo_program(algo, &p, 6, false, &prog) < 0);
		p.varied = true;
		assert_false(algo->accepts(&p));
		p.varied = false;
	}
	assert_null(prog);
	/* The others do without, also where there are switches. */
	p.coll = HK_ALL_REDUCE;
	assert_int_equal(hk_algo_participants(hk_algo_find("ring_all_reduce"), &p), 4);
}

/* Every single step of a switch is needed: without it the schedule is refused. */
static void delete_each(const struct world *good, int sw)
{
	for (uint32_t at = 0; at < good->programs[sw]->nsteps; at++) {
		struct hk_report report;
		struct hk_program *prog;
		struct world bad;

		assert_int_equal(world_clone(good, &bad), 0);
		prog = bad.programs[sw];
		memmove(&prog->steps[at], &prog->steps[at + 1],
			(prog->nsteps - at - 1) * sizeof(*prog->steps));
		prog->nsteps--;
		for (uint32_t l = 0; l < prog->nlanes; l++) {
			if (prog->lanes[l].first > at)
				prog->lanes[l].first--;
			else if (at < prog->lanes[l].first + prog->lanes[l].nsteps)
				prog->lanes[l].nsteps--;
		}
		if (!world_check(&bad, 64, &report))
			fail_msg("%s does without step %u of switch %d", hk_coll_name(good->p.coll),
				 at, sw);
		world_free(&bad);
	}
}

static void test_steps_needed(void **state)
{
	struct shape s;

	two_levels(&s, 6, 2, false);
	for (unsigned a = 0; a < NALGOS; a++) {
		const struct hk_algo *algo = hk_algo_find(names[a]);
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = 6,
				       .root = 4,
				       .channels = 1,
				       .layout = &s.layout};
		struct world good;

		if (!hk_coll_rooted(algo->coll))
			p.root = 0;
		for (int fuse = 0; fuse < 2; fuse++) {
			assert_int_equal(build(&good, algo, &p, fuse), 0);
			for (int sw = 6; sw < 9; sw++)
				delete_each(&good, sw);
			world_free(&good);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stars),	cmocka_unit_test(test_two_levels),
		cmocka_unit_test(test_uneven),	cmocka_unit_test(test_same_fold),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_steps_needed),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
