/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice: what it prefers where one cost rules, names that force it, and that it is the same
 * whoever makes it. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "error.h"
#include "tune.h"

static struct hk_machine defaults(void)
{
	struct hk_machine m;

	hk_tune_machine_default(&m);
	return m;
}

static struct hk_choice choose(const struct hk_machine *m, enum hk_coll coll, int n, size_t bytes,
			       const char *forced)
{
	struct hk_problem p = {.coll = coll, .nranks = n};
	struct hk_choice choice = {0};

	assert_int_equal(hk_tune_select(m, &p, bytes, forced, &choice), 0);
	assert_non_null(choice.algo);
	assert_int_equal(choice.algo->coll, coll);
	assert_in_range(choice.channels, 1, 8);
	return choice;
}

static struct hk_work work_of(const struct hk_choice *c, int n)
{
	struct hk_problem p = {.coll = c->algo->coll, .nranks = n, .channels = c->channels};
	struct hk_work w = {0};

	c->algo->work(&p, &w);
	return w;
}

/* --- what is preferred --- */

/* Messages that are long under way, and cost nothing else: the fewest rounds. */
static void test_latency(void **state)
{
	static const enum hk_coll colls[] = {HK_ALL_REDUCE, HK_ALL_GATHER, HK_REDUCE_SCATTER,
					     HK_ALL_TO_ALL};
	struct hk_machine m = defaults();

	m.routes[0].latency_ns = 1e6;
	for (unsigned i = 0; i < 4; i++) {
		struct hk_choice c = choose(&m, colls[i], 16, 8, NULL);

		assert_int_equal(work_of(&c, 16).rounds, 1);
	}
}

/* Bytes that are dear: about the fewest that can be. */
static void test_bandwidth(void **state)
{
	struct hk_machine m = defaults();
	struct hk_choice c;

	m.routes[0].fill_ns_per_byte = m.routes[0].read_ns_per_byte = 10;
	c = choose(&m, HK_ALL_REDUCE, 8, 64u << 20, NULL);
	assert_true(work_of(&c, 8).sent <= 2);
	c = choose(&m, HK_REDUCE_SCATTER, 8, 8u << 20, NULL);
	assert_true(work_of(&c, 8).sent <= 7);
	c = choose(&m, HK_BROADCAST, 8, 64u << 20, NULL);
	assert_true(work_of(&c, 8).sent <= 2);
}

/* Messages that are dear in themselves: few of them. */
static void test_messages(void **state)
{
	struct hk_machine m = defaults();
	struct hk_choice c;

	m.routes[0].message_ns = 1e6;
	c = choose(&m, HK_ALL_REDUCE, 16, 8, NULL);
	assert_true(work_of(&c, 16).messages <= 8);
	m.routes[0].message_ns = 1;
	m.routes[0].latency_ns = 1e6;
	c = choose(&m, HK_ALL_REDUCE, 16, 8, NULL);
	assert_int_equal(work_of(&c, 16).messages, 15);
}

/* Switches that are dear: few rounds. */
static void test_crowding(void **state)
{
	struct hk_machine m = defaults();
	struct hk_choice c;

	m.ranks_per_core = 8;
	m.switch_ns = 1e6;
	c = choose(&m, HK_ALL_REDUCE, 8, 8, NULL);
	assert_int_equal(work_of(&c, 8).rounds, 1);
}

/* --- names --- */

static void test_forced(void **state)
{
	struct hk_machine m = defaults();
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 4, .channels = 2};
	struct hk_choice c;

	c = choose(&m, HK_ALL_REDUCE, 4, 8, "ring_all_reduce");
	assert_string_equal(c.algo->name, "ring_all_reduce");
	assert_true(c.forced);
	c = choose(&m, HK_ALL_REDUCE, 4, 64u << 20, " direct_broadcast ,all_pairs_all_reduce,");
	assert_string_equal(c.algo->name, "all_pairs_all_reduce");
	/* Of another collective: chosen by price. */
	c = choose(&m, HK_ALL_REDUCE, 4, 8, "direct_broadcast");
	assert_false(c.forced);
	assert_true(c.ns > 0);
	/* The first that fits wins, with the channels that are asked for. */
	assert_int_equal(hk_tune_select(&m, &p, 8, "two_shot_all_reduce,ring_all_reduce", &c), 0);
	assert_string_equal(c.algo->name, "two_shot_all_reduce");
	assert_int_equal(c.channels, 2);
}

static void test_names(void **state)
{
	assert_int_equal(hk_tune_check_names(""), 0);
	assert_int_equal(hk_tune_check_names(" , ,"), 0);
	assert_int_equal(hk_tune_check_names("ring_all_reduce, direct_broadcast"), 0);
	assert_int_equal(hk_tune_check_names("ring_all_reduce,ring_al_reduce"), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "'ring_al_reduce'"));
	assert_non_null(strstr(hk_last_error(), "did you mean ring_all_reduce"));
	assert_int_equal(hk_tune_check_names("all_pairs"), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "all_pairs_all_reduce"));
	assert_int_equal(hk_tune_check_names("quicksort"), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "hocket schedule"));
	assert_int_equal(hk_tune_check_names("ring_all_reduce_that_is_much_longer_than_any_name_"
					     "that_there_is_or_will_be_in_this_library"),
			 -EINVAL);
}

/* --- the list --- */

static void test_rank(void **state)
{
	struct hk_machine m = defaults();
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 6};

	for (size_t bytes = 8; bytes <= 64u << 20; bytes *= 32) {
		struct hk_candidate *list = NULL;
		struct hk_choice c = {0};
		unsigned n = 0, chosen = 0;

		assert_int_equal(hk_tune_rank(&m, &p, bytes, NULL, &list, &n), 0);
		assert_int_equal(hk_tune_select(&m, &p, bytes, NULL, &c), 0);
		assert_true(n >= 4);
		assert_true(list[0].chosen);
		assert_ptr_equal(list[0].algo, c.algo);
		assert_int_equal(list[0].channels, c.channels);
		for (unsigned i = 0; i < n; i++) {
			chosen += list[i].chosen;
			assert_true(!i || list[i].price.ns >= list[i - 1].price.ns);
		}
		assert_int_equal(chosen, 1);
		free(list);
	}
}

/* --- the same for all --- */

static void test_merge(void **state)
{
	struct hk_machine a = defaults(), b = a, ab, ba;

	a.routes[0].latency_ns = 1000;
	a.switch_ns = 9000;
	a.routes[1] = (struct hk_route){0}; /* it has no such way */
	b.routes[0].message_ns = 700;
	b.cache_bytes = 1 << 20;
	b.routes[1].latency_ns = 5e6;
	b.reduce_ns_per_byte = NAN; /* makes no sense */
	b.routes[0].lend_bytes = 4096;
	ab = a;
	hk_tune_machine_merge(&ab, &b);
	ba = b;
	ba.reduce_ns_per_byte = a.reduce_ns_per_byte;
	hk_tune_machine_merge(&ba, &a);
	assert_memory_equal(&ab, &ba, sizeof(ab));
	assert_true(ab.routes[0].latency_ns >= 1000 && ab.routes[0].message_ns >= 700);
	assert_true(ab.switch_ns >= 9000 && ab.cache_bytes <= 1 << 20);
	assert_true(ab.routes[1].latency_ns >= 5e6);
	assert_false(ab.routes[0].lend_bytes > 0);
	assert_true(isfinite(ab.reduce_ns_per_byte));
}

/* In place or not, a rank must choose as the others do. */
static void test_inplace(void **state)
{
	struct hk_machine m = defaults();
	struct hk_choice out = {0}, in = {0};

	for (int coll = 0; coll < HK_POINT_TO_POINT; coll++) {
		for (size_t bytes = 8; bytes <= 1u << 20; bytes *= 128) {
			struct hk_problem p = {.coll = (enum hk_coll)coll, .nranks = 5};

			assert_int_equal(hk_tune_select(&m, &p, bytes, NULL, &out), 0);
			p.inplace = true;
			assert_int_equal(hk_tune_select(&m, &p, bytes, NULL, &in), 0);
			assert_ptr_equal(in.algo, out.algo);
			assert_int_equal(in.channels, out.channels);
		}
	}
}

/* --- many ranks --- */

static void test_many(void **state)
{
	static const int ranks[] = {33, 64, 100, 1000, 4096};
	struct hk_machine m = defaults();
	double before = 0;

	for (unsigned i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
		struct hk_choice c = choose(&m, HK_ALL_REDUCE, ranks[i], 1024, NULL);

		assert_true(c.ns >= before);
		before = c.ns;
		/* Whoever sends to everybody is out. */
		assert_true(work_of(&c, ranks[i]).messages < 64);
	}
}

static void test_many_hosts(void **state)
{
	int host[96];
	const int *const groups[] = {host};
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 96, .root = 0};
	struct hk_machine m = defaults();
	struct hk_choice c = {0};

	for (int i = 0; i < 96; i++)
		host[i] = i / 8;
	hk_route_default("tcp", &m.routes[1]);
	assert_int_equal(hk_layout_create(96, 1, groups, (struct hk_layout **)&p.layout), 0);
	assert_int_equal(hk_tune_select(&m, &p, 1 << 20, NULL, &c), 0);
	assert_true(c.ns > 0);
	p.coll = HK_BROADCAST;
	p.root = 95; /* not among those that are priced */
	assert_int_equal(hk_tune_select(&m, &p, 1 << 20, NULL, &c), 0);
	assert_true(c.ns > 0);
	hk_layout_free((struct hk_layout *)p.layout);
}

/* Generous, as sanitizers are slow: what it guards against is a price that explodes. */
static void test_fast(void **state)
{
	struct hk_machine m = defaults();
	int64_t start = hk_now_ns();

	choose(&m, HK_ALL_REDUCE, 64, 1 << 20, NULL);
	assert_in_range(hk_now_ns() - start, 0, 5000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency),	   cmocka_unit_test(test_bandwidth),
		cmocka_unit_test(test_messages),   cmocka_unit_test(test_crowding),
		cmocka_unit_test(test_forced),	   cmocka_unit_test(test_names),
		cmocka_unit_test(test_rank),	   cmocka_unit_test(test_merge),
		cmocka_unit_test(test_inplace),	   cmocka_unit_test(test_many),
		cmocka_unit_test(test_many_hosts), cmocka_unit_test(test_fast),
	};

	return cmocka_run_group_tests_name("tune_select", tests, NULL, NULL);
}
