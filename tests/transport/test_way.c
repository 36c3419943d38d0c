/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice between ways: it finds the cheapest, follows when that changes, and goes on trying. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "way.h"

#define BYTES 32768u

struct model {
	struct hk_ways ways;
	_Atomic uint32_t read_cost[HK_NWAYS];
	uint64_t write_ticks[HK_NWAYS], read_ticks[HK_NWAYS]; /* the truth */
	unsigned taken[HK_NWAYS];
};

/* Sends n messages, measuring each as the transport does. */
static void send_messages(struct model *m, bool can_lend, unsigned n)
{
	m->ways.read_cost = m->read_cost;
	for (unsigned i = 0; i < HK_NWAYS; i++)
		m->taken[i] = 0;
	for (unsigned i = 0; i < n; i++) {
		enum hk_way way = can_lend && hk_way_to_lend(&m->ways, HK_WAY_LENT)
					  ? HK_WAY_LENT
					  : hk_way_to_fill(&m->ways);

		if (way != HK_WAY_LENT)
			m->ways.write_cost[way] =
				hk_way_average(m->ways.write_cost[way], m->write_ticks[way], BYTES);
		m->read_cost[way] = hk_way_average(m->read_cost[way], m->read_ticks[way], BYTES);
		m->taken[way]++;
	}
}

static void test_fill(void **state)
{
	struct model m = {.write_ticks = {9000, 4000}, .read_ticks = {9000, 5000}};

#ifndef __x86_64__
	skip(); /* there is only one way to fill a slot */
#endif
	send_messages(&m, false, 2000);
	assert_int_equal(m.taken[HK_WAY_LENT], 0);
	assert_true(m.taken[HK_WAY_BYPASS] > 1900);
	/* the ranks were moved: now the cache is shared */
	m.write_ticks[HK_WAY_CACHED] = 2000;
	m.read_ticks[HK_WAY_CACHED] = 3000;
	send_messages(&m, false, 3000);
	send_messages(&m, false, 2000);
	assert_true(m.taken[HK_WAY_CACHED] > 1900);
	assert_true(m.taken[HK_WAY_BYPASS] > 0); /* and it still looks */
}

static void test_lend(void **state)
{
	struct model m = {.write_ticks = {5000, 6000}, .read_ticks = {5000, 6000, 7000}};

	send_messages(&m, true, 2000);
	assert_true(m.taken[HK_WAY_LENT] > 1800);
	m.read_ticks[HK_WAY_LENT] = 30000;
	send_messages(&m, true, 1000);
	send_messages(&m, true, 2000);
	assert_true(m.taken[HK_WAY_LENT] < 200);
	assert_true(m.taken[HK_WAY_LENT] > 0);
	assert_true(m.taken[HK_WAY_CACHED] > m.taken[HK_WAY_BYPASS]);
}

/* A coarse counter, an interrupted measurement, and numbers that might overflow. */
static void test_average(void **state)
{
	uint32_t cost = 0;

	for (int i = 0; i < 200; i++) /* 2 and 4 ticks for 32 KiB: 96 a MiB on average */
		cost = hk_way_average(cost, i % 2 ? 2 : 4, BYTES);
	assert_in_range(cost, 80, 112);
	cost = hk_way_average(0, 1000, BYTES);
	assert_in_range(hk_way_average(cost, 100000000, BYTES), cost, cost + cost / 2);
	assert_true(hk_way_average(0, UINT64_MAX >> 24, 4096) > 0);
	assert_true(hk_way_average(UINT32_MAX / 8, UINT64_MAX >> 24, 4096) < UINT32_MAX / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_lend),
		cmocka_unit_test(test_average),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
