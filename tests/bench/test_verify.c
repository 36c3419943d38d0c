/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The benchmarks' second opinion must itself be right: element conversions against known bits,
 * expectations against a plain reduction of the inputs, in any order, and every kind of damage
 * noticed.
 */
#include <getopt.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "element.h"
#include "numbers.h"
#include "perf_options.h"
#include "verify.h"

#define COUNT 1000
#define RANKS 16

static void small_floats_have_the_standard_bits(void **state)
{
	static const struct {
		hocketDataType_t type;
		double value;
		uint16_t bits;
	} known[] = {
		{hocketFloat16, 1, 0x3c00},    {hocketFloat16, -2048, 0xe800},
		{hocketFloat16, 3, 0x4200},    {hocketBfloat16, 1, 0x3f80},
		{hocketBfloat16, -5, 0xc0a0},  {hocketFloat8e4m3, 1, 0x38},
		{hocketFloat8e4m3, 448, 0x7e}, {hocketFloat8e4m3, -15, 0xd7},
		{hocketFloat8e5m2, 1, 0x3c},   {hocketFloat8e5m2, 7, 0x47},
		{hocketFloat8e5m2, -2, 0xc0},  {hocketFloat8e5m2, 0, 0},
	};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint16_t bits = 0;
		double back;

		hk_element_store(known[i].type, &known[i].value, 1, &bits);
		assert_int_equal(bits, known[i].bits);
		hk_element_load(known[i].type, &bits, 1, &back);
		assert_true(back == known[i].value);
	}
}

static void odd_bits_load_as_the_standard_says(void **state)
{
	uint16_t half[] = {0x7c00, 0x7e00, 0x0001};
	uint8_t e4m3[] = {0x7f, 0x78, 0x01}, e5m2[] = {0x7c, 0x7d, 0x01};
	double v[3];

	hk_element_load(hocketFloat16, half, 3, v);
	assert_true(isinf(v[0]) && isnan(v[1]) && v[2] == ldexp(1, -24));
	hk_element_load(hocketFloat8e4m3, e4m3, 3, v);
	assert_true(isnan(v[0]) && v[1] == 256 && v[2] == ldexp(1, -9));
	hk_element_load(hocketFloat8e5m2, e5m2, 3, v);
	assert_true(isinf(v[0]) && isnan(v[1]) && v[2] == ldexp(1, -16));
}

static double apply(int op, double a, double b)
{
	switch (op) {
	case hocketProd:
		return a * b;
	case hocketMax:
		return fmax(a, b);
	case hocketMin:
		return fmin(a, b);
	default:
		return a + b;
	}
}

/* Reduces all inputs in descending rank order; every partial result must be exact in the type. */
static void reduce_backwards(const struct hk_verify *v, void *out)
{
	double acc[COUNT], values[COUNT], back[COUNT];
	double raw[COUNT];

	for (int r = v->nranks - 1; r >= 0; r--) {
		hk_verify_fill(v, r, 0, COUNT, raw);
		hk_element_load(v->type, raw, COUNT, values);
		for (int i = 0; i < COUNT; i++) {
			if (v->op == HK_BENCH_MULSUM)
				values[i] *= hk_verify_scalar(r);
			acc[i] = r == v->nranks - 1 ? values[i] : apply(v->op, acc[i], values[i]);
		}
		hk_element_store(v->type, acc, COUNT, out);
		hk_element_load(v->type, out, COUNT, back);
		for (int i = 0; i < COUNT; i++)
			assert_true(back[i] == acc[i]);
	}
	if (v->op == hocketAvg) {
		for (int i = 0; i < COUNT; i++)
			acc[i] = hk_elements[v->type].is_float ? acc[i] / v->nranks
							       : trunc(acc[i] / v->nranks);
		hk_element_store(v->type, acc, COUNT, out);
	}
}

static void check_damage(const struct hk_verify *v, unsigned char *result)
{
	size_t size = hk_elements[v->type].size;
	unsigned char sign = 0x40; /* a high bit of value, in any type */

	result[size * 700 + size - 1] ^= sign;
	assert_int_equal(hk_verify_reduced(v, 0, COUNT, result), 1);
	result[size * (COUNT - 1) + size - 1] ^= sign;
	assert_int_equal(hk_verify_reduced(v, 0, COUNT, result), 2);
}

static void expectation_is_the_reduction_in_any_order(void **state)
{
	static const int ranks[] = {1, 2, 3, 8, RANKS};
	double result[COUNT];

	for (int type = 0; type < hocketNumTypes; type++) {
		for (int op = 0; op < HK_BENCH_NOPS; op++) {
			for (unsigned i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
				struct hk_verify v = {(hocketDataType_t)type, op, ranks[i], 42};

				/* Averages are stored rounded: only powers of two are exact here.
				 */
				if (op == hocketAvg && hk_elements[type].is_float &&
				    (ranks[i] & (ranks[i] - 1)))
					continue;
				/* The encoder takes whole numbers; halves come from the library. */
				if (op == hocketAvg && hk_elements[type].exponent_bits &&
				    hk_elements[type].size < 4 && ranks[i] > 2)
					continue;
				reduce_backwards(&v, result);
				assert_int_equal(hk_verify_reduced(&v, 0, COUNT, result), 0);
				check_damage(&v, (unsigned char *)result);
			}
		}
	}
}

static void average_of_three_allows_rounding_only(void **state)
{
	struct hk_verify v = {hocketFloat32, hocketAvg, 3, 7};
	float in[COUNT], result[COUNT] = {0};

	for (int r = 0; r < 3; r++) {
		hk_verify_fill(&v, r, 0, COUNT, in);
		for (int i = 0; i < COUNT; i++)
			result[i] += in[i] * (1.0f / 3);
	}
	assert_int_equal(hk_verify_reduced(&v, 0, COUNT, result), 0);
	result[3] *= 1.00001f;
	result[4] = NAN;
	assert_int_equal(hk_verify_reduced(&v, 0, COUNT, result), 2);
}

static void inputs_differ_by_rank_index_and_seed(void **state)
{
	struct hk_verify v = {hocketFloat32, hocketSum, 2, 1}, w = v;
	float a[COUNT];

	w.seed = 2;
	hk_verify_fill(&v, 0, 5, COUNT, a);
	assert_int_equal(hk_verify_input(&v, 0, 5, COUNT, a), 0);
	assert_true(hk_verify_input(&v, 1, 5, COUNT, a) > COUNT * 9 / 10);
	assert_true(hk_verify_input(&v, 0, 6, COUNT, a) > COUNT * 9 / 10);
	assert_true(hk_verify_input(&w, 0, 5, COUNT, a) > COUNT * 9 / 10);
}

static void sizes_take_suffixes(void **state)
{
	size_t bytes;

	assert_int_equal(hk_bench_parse_size("8", &bytes), 0);
	assert_int_equal(bytes, 8);
	assert_int_equal(hk_bench_parse_size("64M", &bytes), 0);
	assert_int_equal(bytes, 64 << 20);
	assert_int_equal(hk_bench_parse_size("2kb", &bytes), 0);
	assert_int_equal(bytes, 2048);
	assert_int_equal(hk_bench_parse_size("", &bytes), -1);
	assert_int_equal(hk_bench_parse_size("-4", &bytes), -1);
	assert_int_equal(hk_bench_parse_size("4X", &bytes), -1);
	assert_int_equal(hk_bench_parse_size("4KK", &bytes), -1);
}

static enum hk_perf_parse parse(struct hk_perf_options *o, const char *line)
{
	char text[128], *argv[16];
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	optind = 0;
	return hk_perf_parse(argc, argv, false, o);
}

static void flags_are_read_or_refused(void **state)
{
	struct hk_perf_options o;

	assert_int_equal(parse(&o, "perf -b 4K -e 1M -o all -d half -z 0"), HK_PERF_RUN);
	assert_int_equal(o.min_bytes, 4096);
	assert_int_equal(o.op, -1);
	assert_int_equal(o.type, hocketFloat16);
	assert_false(o.blocking);
	assert_int_equal(parse(&o, "perf -h"), HK_PERF_HELP);
	assert_int_equal(parse(&o, "perf -q"), HK_PERF_BAD);
	assert_int_equal(parse(&o, "perf --no-such-flag"), HK_PERF_BAD);
	assert_int_equal(parse(&o, "perf -c x"), HK_PERF_BAD);
	assert_int_equal(parse(&o, "perf -c"), HK_PERF_BAD);
	assert_int_equal(parse(&o, "perf -b 2M -e 1M"), HK_PERF_BAD);
	assert_int_equal(parse(&o, "perf x"), HK_PERF_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_floats_have_the_standard_bits),
		cmocka_unit_test(odd_bits_load_as_the_standard_says),
		cmocka_unit_test(expectation_is_the_reduction_in_any_order),
		cmocka_unit_test(average_of_three_allows_rounding_only),
		cmocka_unit_test(inputs_differ_by_rank_index_and_seed),
		cmocka_unit_test(sizes_take_suffixes),
		cmocka_unit_test(flags_are_read_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
