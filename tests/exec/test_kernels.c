/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every kernel of every set that this processor runs, against the reference, bit by bit: all values
 * of the small types, all short lengths, all alignments, dst on its operands, and nothing written
 * or read outside the buffers (the reads are for the address sanitizer to see).
 *
 * Where the processor lacks AVX-512, the build adds a set of the same 64-byte text compiled for
 * AVX2, so that all but a handful of its intrinsics are tested everywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels.h"
#include "kernels_reference.h"

enum { GUARD = 64, OFFSETS = 64, FILL = 0xa5, MAX_SETS = 4 };

#ifdef HK_TEST_WIDE
extern const struct hk_kernels hk_test_kernels_wide;
#endif

static const struct hk_kernels *sets[MAX_SETS];
static unsigned nsets;

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1d;
}

static unsigned random_below(unsigned n)
{
	return (unsigned)((random_word() >> 32) % n);
}

static uint64_t get(enum hk_type type, const void *p, size_t i)
{
	size_t size = hk_type_size(type);
	uint64_t bits = 0;

	memcpy(&bits, (const char *)p + i * size, size); /* little-endian */
	return bits;
}

static void put(enum hk_type type, void *p, size_t i, uint64_t bits)
{
	size_t size = hk_type_size(type);

	memcpy((char *)p + i * size, &bits, size);
}

/* Any bits, or ordinary numbers, which meet each other's exponents, or the edges of the type. */
static uint64_t random_element(enum hk_type type)
{
	uint64_t top = 1ull << (8 * hk_type_size(type) - 1), sign = random_word() & top;

	switch (random_below(4)) {
	case 0:
		if (!hk_type_is_float(type))
			return sign ? random_below(100) : top - random_below(3);
		return ref_encode(type, ((int)random_below(2001) - 1000) / 16.0);
	case 1:
		if (!hk_type_is_float(type))
			return random_below(4) - 2ull;
		switch (random_below(6)) {
		case 0:
			return sign | ref_nan(type);
		case 1:
			return sign | ref_huge(type);
		case 2:
			return sign | (ref_huge(type) - 1);
		case 3:
			return sign | (type == HK_FLOAT8E4M3 ? 0x7f : ref_huge(type) + 1);
		default:
			return sign | random_below(3);
		}
	default:
		return random_word();
	}
}

/* n elements whose last byte is the last of the allocation; *base is to be freed. */
static char *random_buffer(enum hk_type type, size_t n, unsigned offset, char **base)
{
	*base = malloc(offset + n * hk_type_size(type) + 1);
	assert_non_null(*base);
	for (size_t i = 0; i < n; i++)
		put(type, *base + 1 + offset, i, random_element(type));
	return *base + 1 + offset;
}

static void check_guards(const char *base, const char *data, size_t bytes, const char *what)
{
	for (const char *p = base; p < data; p++)
		if ((unsigned char)*p != FILL)
			fail_msg("%s wrote %td bytes before its destination", what, data - p);
	for (size_t i = 0; i < GUARD; i++)
		if ((unsigned char)data[bytes + i] != FILL)
			fail_msg("%s wrote past the end of %zu bytes", what, bytes);
}

static void check_equal(enum hk_type type, const char *what, const void *got, const void *want,
			const void *a, const void *b, size_t n)
{
	if (memcmp(got, want, n * hk_type_size(type)) == 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (get(type, got, i) != get(type, want, i))
			fail_msg("%s, element %zu of %zu: %#llx and %#llx give %#llx, not %#llx",
				 what, i, n, (unsigned long long)get(type, a, i),
				 (unsigned long long)(b ? get(type, b, i) : 0),
				 (unsigned long long)get(type, got, i),
				 (unsigned long long)get(type, want, i));
}

enum where { APART, ON_A, ON_B };

/* One call of one kernel, with dst apart or on an operand. */
static void check_call(const struct hk_kernels *k, enum hk_type type, enum hk_redop op,
		       enum where where, const char *a, const char *b, const char *want, size_t n)
{
	size_t bytes = n * hk_type_size(type);
	unsigned offset = random_below(OFFSETS);
	char what[96], *base = malloc(offset + bytes + 2 * GUARD), *dst = base + GUARD + offset;

	assert_non_null(base);
	snprintf(what, sizeof(what), "%s %s of %s, dst %s", k->name, hk_redop_name(op),
		 hk_type_name(type),
		 where == APART	 ? "apart"
		 : where == ON_A ? "on a"
				 : "on b");
	memset(base, FILL, offset + bytes + 2 * GUARD);
	if (where != APART)
		memcpy(dst, where == ON_A ? a : b, bytes);
	k->reduce[type][op](dst, where == ON_A ? dst : a, where == ON_B ? dst : b, n);
	check_guards(base, dst, bytes, what);
	check_equal(type, what, dst, want, a, b, n);
	free(base);
}

static void check_reduce(enum hk_type type, enum hk_redop op, const char *a, const char *b,
			 size_t n)
{
	char *want = malloc(n * hk_type_size(type) + 1);

	assert_non_null(want);
	for (size_t i = 0; i < n; i++)
		put(type, want, i, ref_reduce(type, op, get(type, a, i), get(type, b, i)));
	for (unsigned s = 0; s < nsets; s++)
		for (enum where where = APART; where <= ON_B; where++)
			check_call(sets[s], type, op, where, a, b, want, n);
	free(want);
}

static void test_reference(void **state)
{
	assert_true(ref_decode(HK_FLOAT8E4M3, 0x7e) == 448);
	assert_true(ref_decode(HK_FLOAT8E4M3, 0x81) == -1.0 / 512);
	assert_int_equal(ref_encode(HK_FLOAT8E4M3, 464), 0x7e); /* a tie, to even */
	assert_int_equal(ref_encode(HK_FLOAT8E4M3, -464.5), 0xff);
	assert_true(ref_decode(HK_FLOAT8E5M2, 0x7b) == 57344);
	assert_int_equal(ref_encode(HK_FLOAT8E5M2, 61440), 0x7c);
	assert_int_equal(ref_encode(HK_FLOAT16, 65519), 0x7bff);
	assert_int_equal(ref_encode(HK_FLOAT16, 65520), 0x7c00);
	assert_int_equal(ref_encode(HK_FLOAT16, -1), 0xbc00);
	assert_int_equal(ref_encode(HK_BFLOAT16, 1.00390625), 0x3f80); /* 1 + 2^-8, a tie */
	assert_int_equal(ref_reduce(HK_FLOAT32, HK_SUM, 0x3f800000, 0x40000000), 0x40400000);
	assert_int_equal(ref_reduce(HK_INT8, HK_PROD, 0x80, 0xff), 0x80);
	assert_int_equal(ref_divide(HK_INT32, (uint32_t)-7, 2), (uint32_t)-3);
	for (unsigned type = 0; type < HK_NTYPES; type++)
		for (uint64_t x = 0; hk_type_is_float(type) && x < 65536; x++)
			if (hk_type_size(type) <= 2 && x >> (8 * hk_type_size(type)) == 0 &&
			    ref_decode(type, x) == ref_decode(type, x))
				assert_int_equal(ref_encode(type, ref_decode(type, x)), x);
}

static void test_lengths(void **state)
{
	for (enum hk_type type = 0; type < HK_NTYPES; type++) {
		for (size_t step = 0; step < 73; step++) {
			size_t n = step < 71 ? step : step == 71 ? 1023 : 4097;
			char *base_a, *base_b;
			char *a = random_buffer(type, n, random_below(OFFSETS), &base_a);
			char *b = random_buffer(type, n, random_below(OFFSETS), &base_b);

			for (enum hk_redop op = 0; op < HK_NREDOPS; op++)
				check_reduce(type, op, a, b, n);
			free(base_a);
			free(base_b);
		}
	}
}

/* All pairs of bytes, signed, unsigned and both float8. */
static void test_byte_pairs(void **state)
{
	char *a = malloc(65536), *b = malloc(65536);

	assert_true(a && b);
	for (size_t i = 0; i < 65536; i++) {
		a[i] = (char)(i & 255);
		b[i] = (char)(i >> 8);
	}
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (enum hk_redop op = 0; op < HK_NREDOPS; op++)
			if (hk_type_size(type) == 1)
				check_reduce(type, op, a, b, 65536);
	free(a);
	free(b);
}

/* All values of the 16-bit floats, with partners from each corner of the type. */
static void test_half_values(void **state)
{
	static const uint16_t partners[][8] = {
		{0x8000, 0x0000, 0x0001, 0x3c00, 0xbc01, 0x7bff, 0xfc00, 0x7e01},
		{0x8000, 0x0000, 0x0001, 0x3f80, 0xbf81, 0x7f7f, 0xff80, 0x7fc1},
	};
	char *a = malloc(131072), *b = malloc(131072);

	assert_true(a && b);
	for (size_t i = 0; i < 65536; i++)
		put(HK_FLOAT16, a, i, i);
	for (unsigned p = 0; p < 9; p++) {
		for (unsigned t = 0; t < 2; t++) {
			for (size_t i = 0; i < 65536; i++)
				put(HK_FLOAT16, b, i, p < 8 ? partners[t][p] : random_word());
			for (enum hk_redop op = 0; op < HK_NREDOPS; op++)
				check_reduce(t ? HK_BFLOAT16 : HK_FLOAT16, op, a, b, 65536);
		}
	}
	free(a);
	free(b);
}

/* A small float times a float32: the product in float32, then rounded to the type. */
static uint64_t ref_small_scale(enum hk_type type, uint64_t x, float by)
{
	float product = (float)(ref_decode(type, x) * (double)by);

	return product == product ? ref_encode(type, (double)product) : ref_nan(type);
}

static void check_scale(const struct hk_kernels *k, enum hk_type type, size_t n, int in_place)
{
	size_t size = hk_type_size(type), bytes = n * size;
	unsigned offset = random_below(OFFSETS);
	char *base_src, *src = random_buffer(type, n, random_below(OFFSETS), &base_src);
	char *base = malloc(offset + bytes + 2 * GUARD), *dst = base + GUARD + offset;
	char scalar[9], *want = malloc(bytes + 1), what[64];
	uint64_t by = random_element(type);

	assert_true(base && want);
	snprintf(what, sizeof(what), "%s scale of %s", k->name, hk_type_name(type));
	/* not aligned either */
	if (hk_type_is_float(type) && size < 4) {
		float f = (float)ref_decode(HK_FLOAT32, random_element(HK_FLOAT32));

		memcpy(scalar + 1, &f, sizeof(f));
		for (size_t i = 0; i < n; i++)
			put(type, want, i, ref_small_scale(type, get(type, src, i), f));
	} else {
		put(type, scalar + 1, 0, by);
		for (size_t i = 0; i < n; i++)
			put(type, want, i, ref_reduce(type, HK_PROD, get(type, src, i), by));
	}
	memset(base, FILL, offset + bytes + 2 * GUARD);
	if (in_place)
		memcpy(dst, src, bytes);
	k->scale[type](dst, in_place ? dst : src, n, scalar + 1);
	check_guards(base, dst, bytes, what);
	check_equal(type, what, dst, want, src, NULL, n);
	free(base);
	free(base_src);
	free(want);
}

static void test_scale(void **state)
{
	for (unsigned s = 0; s < nsets; s++)
		for (enum hk_type type = 0; type < HK_NTYPES; type++)
			for (size_t n = 0; n < 140; n++) {
				check_scale(sets[s], type, n, 0);
				check_scale(sets[s], type, n, 1);
			}
}

static void check_divide(const struct hk_kernels *k, enum hk_type type, size_t n, uint32_t by)
{
	size_t bytes = n * hk_type_size(type);
	unsigned offset = random_below(OFFSETS);
	char *base = malloc(offset + bytes + 2 * GUARD), *dst = base + GUARD + offset;
	char *base_src, *src = random_buffer(type, n, 0, &base_src), *want = malloc(bytes + 1);
	char what[64];

	assert_true(base && want);
	snprintf(what, sizeof(what), "%s %s divided by %u", k->name, hk_type_name(type), by);
	for (size_t i = 0; i < n; i++)
		put(type, want, i, ref_divide(type, get(type, src, i), by));
	memset(base, FILL, offset + bytes + 2 * GUARD);
	memcpy(dst, src, bytes);
	k->divide[type](dst, n, by);
	check_guards(base, dst, bytes, what);
	check_equal(type, what, dst, want, src, NULL, n);
	free(base);
	free(base_src);
	free(want);
}

static void test_divide(void **state)
{
	static const uint32_t divisors[] = {
		1,   2,	  3,	 7,	127,	    128,	129,	    255,
		256, 257, 65535, 65537, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};

	for (unsigned s = 0; s < nsets; s++) {
		for (enum hk_type type = 0; type < HK_NTYPES; type++) {
			if (hk_type_is_float(type)) {
				assert_null(sets[s]->divide[type]);
				continue;
			}
			for (unsigned i = 0; i < sizeof(divisors) / sizeof(*divisors); i++)
				for (size_t n = 0; n < 40; n++)
					check_divide(sets[s], type, n, divisors[i]);
			for (uint32_t by = 1; by <= 300; by++)
				check_divide(sets[s], type, 300, by);
		}
	}
}

static void check_copy(const struct hk_kernels *k, int nt, size_t n, unsigned to, unsigned from)
{
	char *base = malloc(to + n + 2 * GUARD + OFFSETS), *dst = base + GUARD;
	char *base_src = malloc(from + n + OFFSETS + 1), *src = base_src;
	const char *what = nt ? "copy_nt" : "copy";

	assert_true(base && base_src);
	dst += -(uintptr_t)dst % OFFSETS + to;
	src += -(uintptr_t)src % OFFSETS + from;
	for (size_t i = 0; i < n; i++)
		src[i] = (char)random_word();
	memset(base, FILL, to + n + 2 * GUARD + OFFSETS);
	(nt ? k->copy_nt : k->copy)(dst, src, n);
	if (n && memcmp(dst, src, n))
		fail_msg("%s %s of %zu bytes, to %u from %u, differs", k->name, what, n, to, from);
	check_guards(base, dst, n, what);
	free(base);
	free(base_src);
}

static void test_copy(void **state)
{
	static const size_t large[] = {1000, 4095, 4096, 4097, 65535, 65536, 1048576 + 77};

	for (unsigned s = 0; s < nsets; s++) {
		for (int nt = 0; nt < 2; nt++) {
			for (size_t n = 0; n <= 600; n++)
				for (unsigned at = 0; at < OFFSETS; at += 1 + random_below(16))
					check_copy(sets[s], nt, n, at, random_below(OFFSETS));
			for (unsigned i = 0; i < sizeof(large) / sizeof(*large); i++)
				for (unsigned at = 0; at < OFFSETS; at += 21)
					check_copy(sets[s], nt, large[i], at,
						   random_below(OFFSETS));
		}
	}
}

/* What a new process chooses when HOCKET_CPU is `cap`: its name's first letters, as a number. */
static int choice_under(const char *cap)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int level = 0;

		setenv("HOCKET_CPU", cap, 1);
		while (level < 3 && hk_kernels() != hk_kernels_level(level))
			level++;
		_exit(hk_kernels() == hk_kernels() ? level : 100);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_choice(void **state)
{
	int best = 0;

	for (int cap = 0; cap < 3; cap++) {
		char text[2] = {(char)('0' + cap), 0};

		if (hk_kernels_level(cap))
			best = cap;
		assert_int_equal(choice_under(text), best);
	}
	assert_non_null(hk_kernels_level(0));
	assert_null(hk_kernels_level(3));
	assert_null(hk_kernels_level(-1));
}

static void find_sets(void)
{
	for (int level = 0; level < 3; level++) {
		if (hk_kernels_level(level))
			sets[nsets++] = hk_kernels_level(level);
		else
			printf("kernel set %d does not run on this processor: not tested\n", level);
	}
#ifdef HK_TEST_WIDE
	if (hk_kernels_level(1) && !hk_kernels_level(2))
		sets[nsets++] = &hk_test_kernels_wide;
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice),	    cmocka_unit_test(test_reference),
		cmocka_unit_test(test_lengths),	    cmocka_unit_test(test_byte_pairs),
		cmocka_unit_test(test_half_values), cmocka_unit_test(test_scale),
		cmocka_unit_test(test_divide),	    cmocka_unit_test(test_copy),
	};

	find_sets();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
