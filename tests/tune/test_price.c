/* SPDX-License-Identifier: BSD-3-Clause */
/* The cost model: what must hold of prices whatever the numbers, and what an observer is told. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tune.h"

#define MOST 64

static struct hk_machine defaults(void)
{
	struct hk_machine m;

	hk_tune_machine_default(&m);
	return m;
}

struct schedule {
	struct hk_program *programs[MOST];
	int n;
};

static void build(const struct hk_algo *algo, const struct hk_problem *p, struct schedule *s)
{
	s->n = hk_algo_participants(algo, p);
	assert_in_range(s->n, 1, MOST);
	for (int i = 0; i < s->n; i++)
		assert_int_equal(hk_algo_program(algo, p, i, true, &s->programs[i]), 0);
}

static void release(struct schedule *s)
{
	for (int i = 0; i < s->n; i++)
		hk_program_free(s->programs[i]);
}

/* Of an algorithm for n ranks; negative if it does not do them. */
static struct hk_price price_of(const struct hk_machine *m, const struct hk_algo *algo, int n,
				size_t bytes, bool parts)
{
	struct hk_problem p = {.coll = algo->coll, .nranks = n, .channels = 1};
	struct hk_price price = {.ns = -1};
	struct schedule s;

	if (!algo->accepts(&p))
		return price;
	build(algo, &p, &s);
	assert_int_equal(hk_tune_price(m, &p, s.programs, s.n, bytes, parts, NULL, &price), 0);
	assert_true(price.ns > 0 && isfinite(price.ns));
	release(&s);
	return price;
}

static double price_named(const struct hk_machine *m, const char *name, int n, size_t bytes)
{
	return price_of(m, hk_algo_find(name), n, bytes, false).ns;
}

static void test_monotone(void **state)
{
	static const int ranks[] = {2, 3, 4, 8};
	struct hk_machine m = defaults();

	for (unsigned crowded = 0; crowded < 2; crowded++) {
		m.ranks_per_core = crowded ? 2 : 1;
		for (unsigned i = 0; i < hk_nalgos; i++) {
			for (unsigned k = 0; k < 4; k++) {
				double before = 0;

				for (size_t bytes = 64; bytes <= 64u << 20; bytes *= 8) {
					double ns =
						price_of(&m, hk_algos[i], ranks[k], bytes, false)
							.ns;

					if (ns < 0)
						break;
					/* Less happens where ranks that share cores come
					 * to take other turns. */
					if (ns < (crowded ? 0.85 : 1) * before)
						fail_msg("%s, %d ranks, %zu bytes: %.0f after %.0f",
							 hk_algos[i]->name, ranks[k], bytes, ns,
							 before);
					before = ns;
				}
			}
		}
	}
}

/* Where a pipeline is full, twice as much takes twice as long. */
static void test_many_tiles(void **state)
{
	struct hk_machine m = defaults();

	m.cache_bytes = 1e12;
	for (unsigned i = 0; i < hk_nalgos; i++) {
		double once = price_of(&m, hk_algos[i], 4, 32u << 20, false).ns;
		double twice = price_of(&m, hk_algos[i], 4, 64u << 20, false).ns;

		if (once < 0 || hk_algos[i]->coll == HK_BARRIER)
			continue;
		if (twice < 1.9 * once || twice > 2.1 * once)
			fail_msg("%s: %.0f and %.0f", hk_algos[i]->name, once, twice);
	}
}

/* Every number that grows makes something dearer, and nothing cheaper. */
static void test_every_cost_counts(void **state)
{
	static const char *const name = "two_shot_all_reduce";
	const struct hk_machine m = defaults();
	struct hk_machine worse[11];
	size_t bytes = 6u << 20; /* half again what the cache holds */
	double ns = price_named(&m, name, 4, bytes);

	for (unsigned i = 0; i < 11; i++)
		worse[i] = m;
	worse[0].routes[0].latency_ns *= 1000;
	worse[1].routes[0].message_ns *= 10;
	worse[2].routes[0].fill_ns_per_byte *= 2;
	worse[3].routes[0].read_ns_per_byte *= 2;
	worse[4].reduce_ns_per_byte *= 4;
	worse[5].memory_ns_per_byte *= 4;
	worse[6].cache_bytes = 1;
	worse[7].ranks_per_core = 2;
	worse[8].routes[0].link_ns_per_byte = 1;
	worse[9].routes[0].slot_ns = 1e6;
	worse[10].spread_bytes = 1 << 16;
	for (unsigned i = 0; i < 11; i++)
		if (!(price_named(&worse[i], name, 4, bytes) > 1.005 * ns))
			fail_msg("change %u leaves the price at %.0f", i, ns);
}

/* With a long latency, slots bound what is under way. */
static void test_slots(void **state)
{
	struct hk_machine few = defaults(), many = few;

	few.slots = 2;
	many.slots = 16;
	few.routes[0].latency_ns = many.routes[0].latency_ns = 50000;
	assert_true(price_named(&few, "direct_broadcast", 2, 4u << 20) >
		    2 * price_named(&many, "direct_broadcast", 2, 4u << 20));
	assert_true(price_named(&few, "ring_all_reduce", 4, 4u << 20) >=
		    price_named(&many, "ring_all_reduce", 4, 4u << 20));
}

/* What is read in place need not be filled. */
static void test_lent(void **state)
{
	struct hk_machine slots = defaults(), lent = slots;

	lent.routes[0].lend_bytes = 8192;
	lent.routes[0].lend_ns_per_byte = slots.routes[0].read_ns_per_byte;
	assert_true(price_named(&lent, "ring_all_gather", 4, 1u << 20) <
		    0.8 * price_named(&slots, "ring_all_gather", 4, 1u << 20));
	assert_float_equal(price_named(&lent, "ring_all_gather", 4, 4096),
			   price_named(&slots, "ring_all_gather", 4, 4096), 1e-6);
}

/* Crowding makes rounds dear: each is a switch. */
static void test_crowding(void **state)
{
	struct hk_machine m = defaults(), crowded = m;
	double ring, direct;

	crowded.ranks_per_core = 8;
	ring = price_named(&crowded, "ring_all_reduce", 8, 8) -
	       price_named(&m, "ring_all_reduce", 8, 8);
	direct = price_named(&crowded, "all_pairs_all_reduce", 8, 8) -
		 price_named(&m, "all_pairs_all_reduce", 8, 8);
	assert_true(direct > m.switch_ns);
	assert_true(ring > 2 * direct);
}

static void test_parts(void **state)
{
	struct hk_machine m = defaults();

	for (unsigned crowded = 0; crowded < 2; crowded++) {
		m.ranks_per_core = crowded ? 4 : 1;
		for (unsigned i = 0; i < hk_nalgos; i++) {
			struct hk_price p = price_of(&m, hk_algos[i], 8, 1u << 20, true);
			double sum = 0;

			for (unsigned k = 0; k < HK_NPRICE_PARTS; k++) {
				assert_true(p.parts[k] >= 0);
				sum += p.parts[k];
			}
			if (p.ns < 0)
				continue;
			assert_float_equal(sum, p.ns, p.ns * 1e-6);
			assert_true(hk_coll_reduces(hk_algos[i]->coll) ||
				    !(p.parts[HK_PRICE_REDUCE] > 0));
			assert_true(crowded || !(p.parts[HK_PRICE_SWITCH] > 0));
		}
	}
}

/* --- what an observer is told --- */

struct watcher {
	struct hk_price_observer base;
	uint64_t steps;
	double last_start, busy_until[MOST], end;
	int n;
};

static void watch(struct hk_price_observer *o, const struct hk_priced_step *s)
{
	struct watcher *w = (struct watcher *)o;

	w->steps++;
	assert_in_range(s->participant, 0, w->n - 1);
	assert_true(s->start_ns >= w->last_start);
	assert_true(s->end_ns > s->start_ns);
	/* A participant does one step at a time. */
	assert_true(s->start_ns >= w->busy_until[s->participant]);
	w->busy_until[s->participant] = s->end_ns;
	w->last_start = s->start_ns;
	w->end = fmax(w->end, s->end_ns);
}

static void test_observer(void **state)
{
	const struct hk_machine m = defaults();

	for (unsigned i = 0; i < hk_nalgos; i++) {
		struct hk_problem p = {.coll = hk_algos[i]->coll, .nranks = 5, .channels = 1};
		struct watcher w = {.base = {watch}};
		struct hk_price all = {0}, few = {0};
		uint64_t steps = 0;
		struct schedule s;

		if (!hk_algos[i]->accepts(&p))
			continue;
		build(hk_algos[i], &p, &s);
		w.n = s.n;
		for (int k = 0; k < s.n; k++)
			steps += s.programs[k]->nsteps;
		assert_int_equal(
			hk_tune_price(&m, &p, s.programs, s.n, 5u << 20, false, &w.base, &all), 0);
		assert_int_equal(w.steps % steps, 0); /* every step in every tile */
		assert_true(w.steps > 4 * steps || p.coll == HK_ALL_TO_ALL ||
			    p.coll == HK_ALL_GATHER);
		assert_float_equal(w.end, all.ns, 1e-6);
		/* A few tiles tell what all take. */
		assert_int_equal(
			hk_tune_price(&m, &p, s.programs, s.n, 5u << 20, false, NULL, &few), 0);
		if (few.ns > 1.1 * all.ns || few.ns < 0.7 * all.ns)
			fail_msg("%s: %.0f from a few tiles, %.0f from all", hk_algos[i]->name,
				 few.ns, all.ns);
		release(&s);
	}
}

/* --- what can't be priced --- */

static void test_deadlock(void **state)
{
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 2, .channels = 1};
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_machine m = defaults();
	struct hk_price price = {.ns = 7};
	struct schedule s;

	build(algo, &p, &s);
	/* Ranks that both wait for the other's message first. */
	for (int i = 0; i < 2; i++) {
		struct hk_program *prog = s.programs[i];
		struct hk_step first = prog->steps[0];

		prog->steps[0] = prog->steps[prog->nsteps - 1];
		prog->steps[prog->nsteps - 1] = first;
	}
	assert_int_equal(hk_tune_price(&m, &p, s.programs, s.n, 8, false, NULL, &price), -EDEADLK);
	/* And one who gets a message less. */
	s.programs[0]->lanes[0].nsteps--;
	assert_int_equal(hk_tune_price(&m, &p, s.programs, s.n, 8, false, NULL, &price), -EDEADLK);
	assert_true(price.ns > 6);
	s.programs[0]->lanes[0].nsteps++;
	release(&s);
}

static void test_routes(void **state)
{
	static const int host[] = {0, 0, 0, 0, 1, 1, 1, 1};
	const int *const groups[] = {host};
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 8, .channels = 1};
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_machine m = defaults();
	struct hk_price near = {0}, far = {0}, shared = {0};
	struct schedule s;

	build(algo, &p, &s);
	hk_route_default("tcp", &m.routes[1]);
	assert_int_equal(hk_tune_price(&m, &p, s.programs, 8, 1 << 20, false, NULL, &near), 0);
	assert_int_equal(hk_layout_create(8, 1, groups, (struct hk_layout **)&p.layout), 0);
	assert_int_equal(hk_tune_price(&m, &p, s.programs, 8, 1 << 20, false, NULL, &far), 0);
	assert_true(far.ns > 1.5 * near.ns);
	m.routes[1].link_ns_per_byte = 10;
	assert_int_equal(hk_tune_price(&m, &p, s.programs, 8, 1 << 20, false, NULL, &shared), 0);
	assert_true(shared.ns > 2 * far.ns);
	hk_layout_free((struct hk_layout *)p.layout);
	release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_monotone),
		cmocka_unit_test(test_many_tiles),
		cmocka_unit_test(test_every_cost_counts),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_lent),
		cmocka_unit_test(test_crowding),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_observer),
		cmocka_unit_test(test_deadlock),
		cmocka_unit_test(test_routes),
	};

	return cmocka_run_group_tests_name("tune_price", tests, NULL, NULL);
}
