/* SPDX-License-Identifier: BSD-3-Clause */
/* Measuring works, over every transport that there is here, and gives numbers that can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure_pair.h"
#include "measured.h"

static void test_measure(void **state)
{
	struct hk_measured m;

	assert_int_equal(hk_tune_measure(4, 32768, &m), 0);
	assert_true(m.machine.cache_bytes > 0);
	if (!hk_pair_has_two_cores()) {
		assert_int_equal(m.nroutes, 0);
		return;
	}
	assert_non_null(hk_measured_find(&m, "shm"));
	assert_non_null(hk_measured_find(&m, "tcp"));
	for (unsigned i = 0; i < m.nroutes; i++) {
		const struct hk_route *r = &m.routes[i].route;

		assert_true(r->latency_ns > 0 && r->latency_ns < 1e9);
		assert_true(r->message_ns > 0 && r->message_ns < 1e9);
		assert_true(r->fill_ns_per_byte > 0 && r->fill_ns_per_byte < 1e5);
		assert_true(r->read_ns_per_byte > 0 && r->read_ns_per_byte < 1e5);
	}
	assert_true(m.machine.copy_ns_per_byte > 0 && m.machine.copy_ns_per_byte < 1e5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_measure)};

	return cmocka_run_group_tests_name("tune_measure", tests, NULL, NULL);
}
