/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The executor over the loop transport (loop_world.h): every algorithm, with any root, uneven
 * blocks, delays, reordering between connections, few slots, odd counts and several tiles; and what
 * failing connections and wrong messages do to a call.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "layout.h"
#include "loop_world.h"
#include "plan.h"

static bool has_v_variant(enum hk_coll coll)
{
	return coll == HK_ALL_GATHER || coll == HK_REDUCE_SCATTER || coll == HK_ALL_TO_ALL ||
	       coll == HK_GATHER || coll == HK_SCATTER;
}

/* One plan, called again and again with awkward counts. */
static void run_problem(const struct hk_algo *algo, const struct hk_problem *p,
			const struct hk_loop_faults *faults, const size_t *counts, unsigned n)
{
	struct hk_call calls[MAX_RANKS];
	struct loop_world w;

	world_setup(&w, algo, p, faults);
	for (unsigned c = 0; c < (p->coll == HK_BARRIER ? 1 : n); c++) {
		world_fill(&w, p->coll == HK_BARRIER ? 1 : counts[c], 77 + c, calls);
		if (world_run(&w, calls))
			fail_msg("%s, %d ranks, root %d, count %zu%s%s: %s", algo->name, p->nranks,
				 p->root, counts[c], p->inplace ? ", in place" : "",
				 p->varied ? ", varied" : "", hk_last_error());
		world_verify(&w, 1, 1);
	}
	world_teardown(&w);
}

/* All forms of a problem: channels, in place or not, uneven blocks. */
static void run_forms(const struct hk_algo *algo, int n, int root,
		      const struct hk_loop_faults *faults)
{
	static const size_t counts[] = {4099, 1, 2, 5, 513};

	for (unsigned form = 0; form < 8; form++) {
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = n,
				       .root = root,
				       .channels = 1 + (form & 1),
				       .inplace = form & 2,
				       .varied = form & 4};

		if ((!p.varied || has_v_variant(p.coll)) && algo->accepts(&p))
			run_problem(algo, &p, faults, counts, 5);
	}
}

static void for_all(const struct hk_loop_faults *faults, int step)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int n = 1; n <= 9; n += step) {
			run_forms(hk_algos[a], n, 0, faults);
			if (hk_coll_rooted(hk_algos[a]->coll) && n > 1)
				run_forms(hk_algos[a], n, n / 2, faults);
		}
	}
}

static void test_every_algorithm(void **state)
{
	for_all(NULL, 1);
}

static void test_sixteen(void **state)
{
	static const size_t counts[] = {20011, 3, 1031};

	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (unsigned inplace = 0; inplace < 2; inplace++) {
			struct hk_problem p = {.coll = hk_algos[a]->coll,
					       .nranks = 16,
					       .root = inplace ? 15 : 3,
					       .channels = 2,
					       .inplace = inplace};

			if (!hk_coll_rooted(p.coll))
				p.root = 0;
			if (hk_algos[a]->accepts(&p))
				run_problem(hk_algos[a], &p, NULL, counts, 3);
		}
	}
}

/* Every third rank hangs on the top of a tree, the others on the two switches below it. */
static void tree_of_three(int n, int *parent, struct hk_layout *layout)
{
	for (int r = 0; r < n; r++)
		parent[r] = n + r % 3;
	parent[n] = -1;
	parent[n + 1] = parent[n + 2] = n;
	*layout = (struct hk_layout){.nranks = n, .nswitches = 3, .parent = parent};
}

/* Programs of switches run as those of ranks do, also where their children are late. */
static void test_switches(void **state)
{
	const struct hk_loop_faults slow = {.seed = 3, .max_delay = 20};
	static const size_t counts[] = {1, 3, 1031, 40009};
	unsigned with_switches = 0;

	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (unsigned form = 0; form < 24; form++) {
			int parent[MAX_RANKS], n = 2 + (int)form / 8 * 4;
			struct hk_layout layout;
			struct hk_problem p = {.coll = hk_algos[a]->coll,
					       .nranks = n,
					       .channels = 1 + (form & 1),
					       .inplace = form & 2,
					       .layout = &layout};

			tree_of_three(n, parent, &layout);
			if (hk_algo_participants(hk_algos[a], &p) == n)
				continue;
			if (hk_coll_rooted(p.coll))
				p.root = n - 1;
			run_problem(hk_algos[a], &p, form & 4 ? &slow : NULL, counts, 4);
			with_switches++;
		}
	}
	assert_true(with_switches >= 6 * 24);
}

/* Nobody leaves a barrier before the last one has come. */
static void test_barrier_waits(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int late = 0; hk_algos[a]->coll == HK_BARRIER && late < 5; late++) {
			struct hk_problem p = {.coll = HK_BARRIER, .nranks = 5, .channels = 1};
			struct hk_call calls[MAX_RANKS];
			struct loop_world w;

			if (!hk_algos[a]->accepts(&p))
				continue;
			world_setup(&w, hk_algos[a], &p, NULL);
			world_fill(&w, 1, 3, calls);
			for (int i = 0; i < 5; i++)
				hk_plan_begin(w.ranks[i].plan, &calls[i]);
			for (int polls = 0; polls < 500; polls++) {
				bool moved = false;

				if (polls % 5 != late)
					assert_int_equal(
						hk_plan_poll(w.ranks[polls % 5].plan, &moved), 0);
			}
			world_teardown(&w);
		}
	}
}

static void test_delays(void **state)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		struct hk_loop_faults faults = {.seed = seed, .max_delay = 20};

		for_all(&faults, 3);
	}
}

static void test_refusals(void **state)
{
	struct hk_loop_faults faults = {.seed = 5, .max_delay = 3, .max_refusals = 7};

	for_all(&faults, 3);
}

/* Whatever may be lent is read where it lies, late and in any order: a send that was wrongly taken
 * for lendable would show changed data. */
static void test_lending(void **state)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		struct hk_loop_faults faults = {.seed = seed, .max_delay = 40, .lend = true};

		for_all(&faults, 2);
	}
}

/* The same, with messages that can only be pulled, and pulls that are put off or refused. */
static void test_pulling(void **state)
{
	struct hk_loop_faults faults = {.seed = 3, .max_delay = 20, .lend = true, .pull = true};

	for_all(&faults, 3);
}

/* Messages are put where they are wanted, and that memory is scribbled over from the moment on at
 * which it is offered: an offer that is made too early would show as a wrong result. All of them,
 * or some, so that others come through slots in between; and also those that are lent. */
static void test_offers(void **state)
{
	static const struct hk_loop_faults faults[] = {
		{.offers = HK_LOOP_OFFERS_TAKEN},
		{.seed = 2, .max_delay = 20, .offers = HK_LOOP_OFFERS_MIXED},
		{.seed = 3, .max_delay = 40, .lend = true, .offers = HK_LOOP_OFFERS_MIXED},
		{.seed = 4,
		 .max_delay = 20,
		 .max_slots = 2,
		 .max_refusals = 5,
		 .lend = true,
		 .pull = true,
		 .offers = HK_LOOP_OFFERS_MIXED},
	};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for_all(&faults[i], i ? 3 : 1);
}

struct offerable {
	unsigned now, later; /* receives of rank 0 that may be offered from the start, or later */
};

static struct offerable count_offerable(const char *name, int n, bool inplace)
{
	const struct hk_algo *algo = hk_algo_find(name);
	struct hk_problem p = {.coll = algo->coll, .nranks = n, .channels = 1, .inplace = inplace};
	struct offerable found = {0};
	struct hk_program *prog;

	assert_int_equal(hk_algo_program(algo, &p, 0, true, &prog), 0);
	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++) {
			uint32_t before[64], any = 0;

			assert_true(prog->nlanes <= 64);
			if (!hk_plan_offerable(&p, prog, l, i, before))
				continue;
			for (uint32_t k = 0; k < prog->nlanes; k++)
				any |= before[k];
			found.now += !any;
			found.later += any > 0;
		}
	hk_program_free(prog);
	return found;
}

static void assert_offerable(const char *name, int n, bool inplace, unsigned now, unsigned later)
{
	struct offerable found = count_offerable(name, n, inplace);

	assert_int_equal(found.now, now);
	assert_int_equal(found.later, later);
}

static void test_offerable(void **state)
{
	assert_offerable("ring_all_gather", 4, false, 3, 0);
	assert_offerable("ring_all_gather", 4, true, 3, 0);
	/* the second half of the ring; in place, once the input there has been sent or reduced */
	assert_offerable("ring_all_reduce", 4, false, 3, 0);
	assert_offerable("ring_all_reduce", 4, true, 0, 3);
	/* in place, what goes to a rank lies where what comes from it is wanted */
	assert_offerable("direct_all_to_all", 4, false, 3, 0);
	assert_offerable("direct_all_to_all", 4, true, 0, 3);
	/* all that is received is reduced */
	assert_offerable("all_pairs_all_reduce", 4, false, 0, 0);
}

/* One all-gather of long blocks: nearly all of it comes straight to where it is wanted. */
static void test_offers_are_used(void **state)
{
	const struct hk_algo *algo = hk_algo_find("ring_all_gather");
	struct hk_loop_faults faults = {.offers = HK_LOOP_OFFERS_TAKEN};
	struct hk_problem p = {.coll = HK_ALL_GATHER, .nranks = 4, .channels = 1};
	struct hk_exec_stats stats = {0};
	struct hk_call calls[MAX_RANKS];
	struct loop_world w;
	uint64_t direct;

	world_setup(&w, algo, &p, &faults);
	world_fill(&w, 100000, 1, calls);
	assert_int_equal(world_run(&w, calls), 0);
	world_verify(&w, 1, 1);
	for (int i = 0; i < 4; i++)
		hk_plan_count(w.ranks[i].plan, &stats);
	assert_in_range(hk_loop_direct(w.loop), stats.messages * 9 / 10, stats.messages);
	/* What is short is not offered. */
	direct = hk_loop_direct(w.loop);
	world_fill(&w, 7, 2, calls);
	assert_int_equal(world_run(&w, calls), 0);
	world_verify(&w, 1, 1);
	assert_int_equal(hk_loop_direct(w.loop), direct);
	/* Nothing stays offered. */
	assert_int_equal(hk_loop_scribble(w.loop), 0);
	world_teardown(&w);
}

/* How many sends of rank 0's program may be lent. */
static unsigned count_lendable(const char *name, int n, bool inplace)
{
	const struct hk_algo *algo = hk_algo_find(name);
	struct hk_problem p = {.coll = algo->coll, .nranks = n, .channels = 1, .inplace = inplace};
	struct hk_program *prog;
	unsigned found = 0;

	assert_int_equal(hk_algo_program(algo, &p, 0, true, &prog), 0);
	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++)
			found += hk_plan_lendable(&p, prog, l, i);
	hk_program_free(prog);
	return found;
}

static void test_lendable(void **state)
{
	/* both exchanges: IN is never written, and a rank's result is final when it sends it */
	assert_int_equal(count_lendable("two_shot_all_reduce", 4, false), 6);
	/* in place IN is overwritten by the results of others: the second exchange only */
	assert_int_equal(count_lendable("two_shot_all_reduce", 4, true), 3);
	/* the first send, the finished chunk, and those passed on; not the partial sums */
	assert_int_equal(count_lendable("ring_all_reduce", 4, false), 4);
	assert_int_equal(count_lendable("ring_all_reduce", 4, true), 3);
	assert_int_equal(count_lendable("all_pairs_all_reduce", 4, true), 0);
}

/* A fault on one message of a ring of four: the code, and a sentence that says `word`. */
static void one_fault(enum hk_loop_hit_kind kind, int want, const char *word, bool pull)
{
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_loop_faults faults = {.lend = pull,
					.pull = pull,
					.hits = {{.kind = kind, .src = 1, .dst = 2, .message = 3}}};
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 4, .channels = 1};
	struct hk_call calls[MAX_RANKS];
	struct loop_world w;
	char text[256];

	world_setup(&w, algo, &p, &faults);
	world_fill(&w, 100, 5, calls);
	assert_int_equal(world_run(&w, calls), want);
	if (want == -ETIMEDOUT) {
		hk_plan_describe_wait(w.ranks[2].plan, text, sizeof(text));
		hk_set_last_error(text);
	}
	if (!strstr(hk_last_error(), word))
		fail_msg("'%s' does not say '%s'", hk_last_error(), word);
	world_teardown(&w);
}

static void test_faults(void **state)
{
	for (int pull = 0; pull < 2; pull++) {
		one_fault(HK_LOOP_KILL, -HK_EPEER, "rank", pull);
		one_fault(HK_LOOP_TRUNCATE, -HK_EMISMATCH, "rank 1 called", pull);
		one_fault(HK_LOOP_MARK, -HK_EMISMATCH, "rank 1 called", pull);
		one_fault(HK_LOOP_DROP, -ETIMEDOUT, "a message from rank 1 over loop", pull);
	}
}

static int never_failed(struct hk_watch *w)
{
	return 0;
}

static int has_failed(struct hk_watch *w)
{
	return -HK_EPEER;
}

/* A lone rank waits for peers that do nothing: the deadline, or the watch, ends it. */
static void test_deadline(void **state)
{
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 3, .channels = 1};
	struct hk_call calls[MAX_RANKS];
	struct hk_exec_stats stats = {0};
	struct hk_watch watch = {
		.failed = never_failed, .timeout_ns = 100000000, .spin_ns = 1000000};
	struct loop_world w;

	world_setup(&w, algo, &p, NULL);
	world_fill(&w, 100, 5, calls);
	watch.endpoints = &w.ranks[0].ep;
	watch.nendpoints = 1;
	assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats), -ETIMEDOUT);
	assert_non_null(strstr(hk_last_error(), "HOCKET_TIMEOUT_MS"));
	assert_non_null(strstr(hk_last_error(), "from rank 2"));
	/* Where others want the core, this one may get it again when it is time to sleep. */
	for (int turn = 0; turn < 20 && !stats.yields; turn++)
		assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats),
				 -ETIMEDOUT);
	assert_true(stats.yields > 0 && stats.sleeps > 0);
	watch.failed = has_failed;
	assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats), -HK_EPEER);
	world_teardown(&w);
}

struct busy {
	struct hk_drive drive;
	unsigned polls;
};

static int always_moves(struct hk_drive *d, bool *moved)
{
	*moved = true;
	return ++((struct busy *)d)->polls == 100000;
}

static int expires(struct hk_drive *d)
{
	return -ETIMEDOUT;
}

/* An abort or a failure ends also a run in which nobody ever waits, and soon. */
static void test_busy(void **state)
{
	static const struct hk_drive_ops ops = {always_moves, expires};
	struct hk_watch watch = {.failed = never_failed, .timeout_ns = 1000000000};
	struct hk_exec_stats stats = {0};
	struct busy b = {{&ops, &watch}, 0};

	assert_int_equal(hk_drive_run(&b.drive, &stats), 0);
	assert_int_equal(b.polls, 100000);
	watch.failed = has_failed;
	b.polls = 0;
	assert_int_equal(hk_drive_run(&b.drive, &stats), -HK_EPEER);
	assert_in_range(b.polls, 1, 1000);
}

/* A root whose sends are lent, and that nobody takes: whom it waits for is said. */
static void test_deadline_of_loans(void **state)
{
	const struct hk_algo *algo = hk_algo_find("direct_broadcast");
	struct hk_problem p = {.coll = HK_BROADCAST, .nranks = 3, .channels = 1};
	const struct hk_loop_faults faults = {.lend = true};
	struct hk_call calls[MAX_RANKS];
	struct hk_exec_stats stats = {0};
	struct hk_watch watch = {
		.failed = never_failed, .timeout_ns = 20000000, .spin_ns = 1000000};
	struct loop_world w;

	world_setup(&w, algo, &p, &faults);
	world_fill(&w, 100, 5, calls);
	watch.endpoints = &w.ranks[0].ep;
	watch.nendpoints = 1;
	assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats), -ETIMEDOUT);
	if (!strstr(hk_last_error(), "rank 0 waits for rank 1 to take"))
		fail_msg("'%s' does not say who does not take it", hk_last_error());
	world_teardown(&w);
}

static bool pushed[3]; /* by peer */

static int flush_after_the_other(struct hk_send *s)
{
	pushed[s->peer] = true;
	return pushed[1] && pushed[2];
}

/* What one connection waits for may be in another, which has to be pushed, too. */
static void test_flush_of_all(void **state)
{
	const struct hk_algo *algo = hk_algo_find("direct_broadcast");
	struct hk_problem p = {.coll = HK_BROADCAST, .nranks = 3, .channels = 1};
	const struct hk_send_ops *usual;
	struct hk_send_ops ops;
	struct hk_call calls[MAX_RANKS];
	struct loop_world w;

	world_setup(&w, algo, &p, NULL);
	world_fill(&w, 1, 5, calls);
	usual = w.ranks[0].sends[1][0]->ops;
	ops = *usual;
	ops.flush = flush_after_the_other;
	w.ranks[0].sends[1][0]->ops = w.ranks[0].sends[2][0]->ops = &ops;
	assert_int_equal(world_run(&w, calls), 0);
	assert_true(pushed[1] && pushed[2]);
	world_verify(&w, 1, 1);
	w.ranks[0].sends[1][0]->ops = w.ranks[0].sends[2][0]->ops = usual;
	world_teardown(&w);
}

/* avg of integers divides, pre-multiplied sums scale what is read from IN, wherever it is read. */
static void test_scalars(void **state)
{
	int64_t scalar = 3;

	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int form = 0; form < 4; form++) {
			struct hk_problem p = {.coll = hk_algos[a]->coll,
					       .nranks = 5,
					       .channels = 1,
					       .inplace = form & 1,
					       .varied = form & 2};
			struct hk_call calls[MAX_RANKS];
			struct loop_world w;

			if (!hk_coll_reduces(p.coll) || p.coll == HK_BARRIER ||
			    (p.varied && !has_v_variant(p.coll)) || !hk_algos[a]->accepts(&p))
				continue;
			if (hk_coll_rooted(p.coll))
				p.root = 3;
			world_setup(&w, hk_algos[a], &p, NULL);
			world_fill(&w, 5003, 9, calls);
			for (int i = 0; i < p.nranks; i++) {
				calls[i].scalar = &scalar;
				calls[i].divide = 5;
			}
			assert_int_equal(world_run(&w, calls), 0);
			world_verify(&w, 3, 5);
			world_teardown(&w);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_algorithm),
		cmocka_unit_test(test_sixteen),
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_barrier_waits),
		cmocka_unit_test(test_delays),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_lending),
		cmocka_unit_test(test_lendable),
		cmocka_unit_test(test_offerable),
		cmocka_unit_test(test_offers),
		cmocka_unit_test(test_offers_are_used),
		cmocka_unit_test(test_pulling),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_deadline_of_loans),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_flush_of_all),
		cmocka_unit_test(test_scalars),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	setenv("HOCKET_OFFER_BYTES", "64", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
