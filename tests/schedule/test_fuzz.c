/* SPDX-License-Identifier: BSD-3-Clause */
/* Garbage in: the checker never crashes, and what it accepts stays right when fused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "decode.h"
#include "programs.h"

enum { ROUNDS = 7000, BYTES = 400 };

static void run_seeded(int first_byte, unsigned counts[6])
{
	uint64_t state = 0x5eed + (uint64_t)first_byte;
	uint8_t data[BYTES];

	for (int i = 0; i < ROUNDS; i++) {
		for (int k = 0; k < BYTES; k++)
			data[k] = (uint8_t)(next_random(&state) >> 56);
		data[0] = (uint8_t)first_byte;
		counts[try_bytes(data, 1 + (size_t)(next_random(&state) % BYTES))]++;
	}
	print_message(
		"[          ] %u proved, rejected in bounds %u, fifo %u, progress %u, race %u, "
		"result %u\n",
		counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]);
}

static void test_random_programs(void **state)
{
	unsigned counts[6] = {0};

	run_seeded(0, counts);
	assert_true(counts[1] > 0);
	assert_true(counts[2] > 0);
}

static void test_spoiled_programs(void **state)
{
	unsigned counts[6] = {0};

	run_seeded(1, counts);
	for (int i = 0; i < 6; i++) /* every phase must have had its share */
		assert_true(counts[i] > 0);
}

static void test_matched_programs(void **state)
{
	unsigned counts[6] = {0};

	run_seeded(2, counts);
	assert_int_equal(counts[1] + counts[2], 0);
	assert_true(counts[4] > 0);
	assert_true(counts[5] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_spoiled_programs),
		cmocka_unit_test(test_matched_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
