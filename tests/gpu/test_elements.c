/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a GPU does to elements and to memory (src/device), compiled for the processor, against the
 * processor's own kernels, bit by bit: all pairs of bytes, many values of the other types, and for
 * pieces of memory all alignments and short lengths, to and from lines, by one thread and by a few.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"
#include "kernels_reference.h"
#include "move.h"

enum { MANY = 4096, GUARD = 32, FILL = 0xa5, MOST = 1 << 16 };

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

/* Any bits, ordinary numbers whose exponents meet, or the edges of the type. */
static uint64_t random_element(enum hk_type type)
{
	uint64_t top = 1ull << (8 * hk_type_size(type) - 1), sign = random_word() & top;
	unsigned kind = random_below(4);

	if (kind > 1)
		return random_word();
	if (!hk_type_is_float(type))
		return kind ? random_below(4) - 2ull : top - 2 + random_below(4);
	if (kind)
		return ref_encode(type, ((int)random_below(2001) - 1000) / 16.0);
	switch (random_below(6)) {
	case 0:
		return sign | ref_nan(type);
	case 1:
		return sign | ref_huge(type);
	case 2:
		return sign | (ref_huge(type) - 1);
	case 3: /* a NaN that is not the canonical one */
		return sign | (type == HK_FLOAT8E4M3 ? 0x7f : ref_huge(type) + 1);
	default:
		return sign | random_below(3);
	}
}

static void fill(enum hk_type type, void *at, size_t n)
{
	size_t size = hk_type_size(type);

	for (size_t i = 0; i < n; i++) {
		uint64_t x = random_element(type);

		memcpy((char *)at + i * size, &x, size);
	}
}

static void check_same(enum hk_type type, const char *what, const void *got, const void *want,
		       const void *a, const void *b, size_t n)
{
	size_t size = hk_type_size(type);

	for (size_t i = 0; i < n; i++) {
		uint64_t v[4] = {0};

		if (!memcmp((const char *)got + i * size, (const char *)want + i * size, size))
			continue;
		memcpy(&v[0], (const char *)a + i * size, size);
		memcpy(&v[1], (const char *)b + i * size, size);
		memcpy(&v[2], (const char *)got + i * size, size);
		memcpy(&v[3], (const char *)want + i * size, size);
		fail_msg("%s of %s: %#llx and %#llx give %#llx, not %#llx", what,
			 hk_type_name(type), (unsigned long long)v[0], (unsigned long long)v[1],
			 (unsigned long long)v[2], (unsigned long long)v[3]);
	}
}

/* --- words --- */

static uint64_t words_a[MOST / 8], words_b[MOST / 8], words_got[MOST / 8], words_want[MOST / 8];

/* What is in words_a and words_b, with every operation. */
static void check_combine(enum hk_type type, size_t bytes)
{
	size_t n = bytes / hk_type_size(type);

	for (enum hk_redop op = 0; op < HK_NREDOPS; op++) {
		hk_kernels()->reduce[type][op](words_want, words_a, words_b, n);
		for (size_t i = 0; i < bytes / 8; i++)
			words_got[i] = hkd_combine(type, op, words_a[i], words_b[i]);
		check_same(type, hk_redop_name(op), words_got, words_want, words_a, words_b, n);
		/* Kernels exchange operands as they like. */
		for (size_t i = 0; i < bytes / 8; i++)
			words_got[i] = hkd_combine(type, op, words_b[i], words_a[i]);
		check_same(type, hk_redop_name(op), words_got, words_want, words_b, words_a, n);
	}
}

static void test_combine(void **state)
{
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (unsigned turn = 0; turn < 8; turn++) {
			fill(type, words_a, MOST / hk_type_size(type));
			fill(type, words_b, MOST / hk_type_size(type));
			check_combine(type, MOST);
		}
}

static void test_byte_pairs(void **state)
{
	for (size_t i = 0; i < MOST; i++) {
		((uint8_t *)words_a)[i] = (uint8_t)i;
		((uint8_t *)words_b)[i] = (uint8_t)(i >> 8);
	}
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		if (hk_type_size(type) == 1)
			check_combine(type, MOST);
}

/* All values of the 16-bit types, in two halves, with one partner after another. */
static void test_halves(void **state)
{
	const enum hk_type types[] = {HK_FLOAT16, HK_BFLOAT16};

	for (unsigned t = 0; t < 2; t++)
		for (unsigned turn = 0; turn < 16; turn++) {
			for (size_t i = 0; i < MOST / 2; i++) {
				((uint16_t *)words_a)[i] = (uint16_t)(i + (turn & 1) * MOST / 2);
				((uint16_t *)words_b)[i] = (uint16_t)random_element(types[t]);
			}
			check_combine(types[t], MOST);
		}
}

static void check_scale(enum hk_type type, uint64_t scalar)
{
	size_t n = MOST / hk_type_size(type);
	uint64_t wide = hkd_scalar_of(type, scalar);
	float f;

	if (hk_type_is_float(type) && hk_type_size(type) < 4) {
		f = hk_type_to_float(type, &scalar);
		/* A NaN's bits do not matter: what it gives is the canonical one. */
		assert_true(f != f || !memcmp(&f, &wide, sizeof(f)));
	}
	hk_kernels()->scale[type](words_want, words_a, n, &wide);
	for (size_t i = 0; i < MOST / 8; i++)
		words_got[i] = hkd_scale(type, words_a[i], wide);
	for (size_t i = 0; i < MOST / 8; i++)
		words_b[i] = wide;
	check_same(type, "scale", words_got, words_want, words_a, words_b, n);
}

static void test_scale(void **state)
{
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (unsigned turn = 0; turn < 24; turn++) {
			fill(type, words_a, MOST / hk_type_size(type));
			check_scale(type, random_element(type));
		}
}

/* As an average of small floats has it: by a float32 that the type itself lacks. */
static void test_scale_by_share(void **state)
{
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (unsigned ranks = 2; ranks < 20; ranks++) {
			float share = 1.0f / (float)ranks;
			uint64_t scalar = 0;

			if (!hk_type_is_float(type) || hk_type_size(type) > 4)
				continue;
			memcpy(&scalar, &share, sizeof(share));
			fill(type, words_a, MOST / hk_type_size(type));
			hk_kernels()->scale[type](words_want, words_a, MOST / hk_type_size(type),
						  &scalar);
			for (size_t i = 0; i < MOST / 8; i++)
				words_got[i] = hkd_scale(type, words_a[i], scalar);
			check_same(type, "share", words_got, words_want, words_a, words_a,
				   MOST / hk_type_size(type));
		}
}

static void test_divide(void **state)
{
	static const uint32_t by[] = {
		2,     3,     7,       127,	 128,	     129,	 255,	     256,	257,
		65535, 65537, 1000003, 1u << 30, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff};

	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (unsigned d = 0; d < sizeof(by) / sizeof(*by); d++) {
			size_t n = MOST / hk_type_size(type);

			if (hk_type_is_float(type))
				continue;
			fill(type, words_a, n);
			memcpy(words_want, words_a, MOST);
			hk_kernels()->divide[type](words_want, n, by[d]);
			for (size_t i = 0; i < MOST / 8; i++)
				words_got[i] = hkd_divide(type, words_a[i], by[d]);
			check_same(type, "quotient", words_got, words_want, words_a, words_a, n);
		}
}

/* --- pieces --- */

/* Memory of its own with a number of bytes before `at`, so that reads outside it are seen. */
struct room {
	uint8_t *base, *at;
	size_t bytes;
};

static struct room make_room(size_t offset, size_t bytes)
{
	struct room r = {.bytes = bytes};

	assert_int_equal(posix_memalign((void **)&r.base, 16, 16 + offset + bytes + GUARD), 0);
	r.at = r.base + 16 + offset;
	memset(r.base, FILL, 16 + offset + bytes + GUARD);
	return r;
}

static void check_room(const struct room *r, const char *what)
{
	for (const uint8_t *p = r->base; p < r->at; p++)
		if (*p != FILL)
			fail_msg("%s: %td bytes before its target were written", what, r->at - p);
	for (size_t i = 0; i < GUARD; i++)
		if (r->at[r->bytes + i] != FILL)
			fail_msg("%s: byte %zu past its %zu was written", what, i, r->bytes);
}

/* A block's threads take turns here: none waits for another in a move whose lines are all there. */
static void move(struct hkd_piece *p, unsigned threads)
{
	for (unsigned t = 0; t < threads; t++)
		hkd_move(p, t, threads);
}

static uint64_t at_of(const void *p)
{
	return (uintptr_t)p;
}

static void put_lines(uint8_t *lines, const uint8_t *data, size_t bytes, uint32_t flag)
{
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t x = 0;

		memcpy(&x, data + i, bytes - i < 8 ? bytes - i : 8);
		hkd_line_out(at_of(lines + 2 * i), flag, x);
	}
}

static void check_lines(const uint8_t *lines, const uint8_t *want, size_t bytes, uint32_t flag)
{
	for (size_t i = 0; i < bytes; i++) {
		const uint8_t *half = lines + i / 4 * 8;
		uint32_t seen;

		assert_int_equal(half[i % 4], want[i]);
		memcpy(&seen, half + 4, sizeof(seen));
		assert_int_equal(seen, flag);
	}
}

struct shape {
	enum hk_type type;
	enum hk_redop op;
	size_t bytes;
	unsigned offsets[4], threads; /* offsets of a, b and the targets */
	bool reads_a, reads_b, combines, scales, lines_in, lines_out, to0, to1;
};

static void make_want(const struct shape *s, const uint8_t *a, const uint8_t *b, uint64_t scalar,
		      uint8_t *want)
{
	size_t n = s->bytes / hk_type_size(s->type);

	memcpy(want, s->reads_a ? a : b, s->bytes);
	if (s->scales)
		hk_kernels()->scale[s->type](want, a, n, &scalar);
	if (s->combines)
		hk_kernels()->reduce[s->type][s->op](want, want, b, n);
}

static void check_move(const struct shape *s)
{
	const uint32_t in = random_below(1000) + 1, out = random_below(1000) + 1;
	struct hkd_control page = {0};
	uint64_t scalar = hkd_scalar_of(s->type, random_element(s->type));
	struct room a = make_room(s->offsets[0], s->bytes), b = make_room(s->offsets[1], s->bytes),
		    to0 = make_room(s->offsets[2], s->bytes),
		    to1 = make_room(s->offsets[3], s->bytes),
		    from = make_room(0, (s->bytes + 7) / 8 * 16),
		    to = make_room(0, (s->bytes + 7) / 8 * 16);
	uint8_t *want = malloc(s->bytes + 1);
	struct hkd_piece p = {.a = s->reads_a ? at_of(a.at) : 0,
			      .b = s->reads_b && !s->lines_in ? at_of(b.at) : 0,
			      .out0 = s->to0 ? at_of(to0.at) : 0,
			      .out1 = s->to1 ? at_of(to1.at) : 0,
			      .bytes = s->bytes,
			      .scalar = scalar,
			      .lines_in = s->lines_in ? at_of(from.at) : 0,
			      .lines_out = s->lines_out ? at_of(to.at) : 0,
			      .flag_in = in,
			      .flag_out = out,
			      .type = (uint8_t)s->type,
			      .op = (uint8_t)s->op,
			      .combines = s->combines,
			      .scales = s->scales,
			      .control = at_of(&page)};

	assert_non_null(want);
	fill(s->type, a.at, s->bytes / hk_type_size(s->type));
	fill(s->type, b.at, s->bytes / hk_type_size(s->type));
	put_lines(from.at, b.at, s->bytes, in);
	make_want(s, a.at, b.at, scalar, want);
	move(&p, s->threads);
	if (s->to0)
		check_same(s->type, "target 0", to0.at, want, a.at, b.at,
			   s->bytes / hk_type_size(s->type));
	if (s->to1)
		check_same(s->type, "target 1", to1.at, want, a.at, b.at,
			   s->bytes / hk_type_size(s->type));
	if (s->lines_out)
		check_lines(to.at, want, s->bytes, out);
	check_room(&to0, "target 0");
	check_room(&to1, "target 1");
	check_room(&to, "lines");
	assert_int_equal(page.stop, 0);
	free(want);
	free(a.base);
	free(b.base);
	free(to0.base);
	free(to1.base);
	free(from.base);
	free(to.base);
}

/* Plain copies: every offset of source and target, lengths up to several vectors. */
static void test_copies(void **state)
{
	for (unsigned from = 0; from < 16; from++)
		for (unsigned to = 0; to < 16; to++)
			for (size_t bytes = 0; bytes < 100; bytes++) {
				struct shape s = {.type = HK_UINT8,
						  .bytes = bytes,
						  .offsets = {from, 0, to, to},
						  .threads = 1 + random_below(4),
						  .reads_a = true,
						  .to0 = true};

				s.to1 = bytes % 3 == 0;
				check_move(&s);
			}
}

/* What a step can ask for, of any type, at offsets that are those of elements; or not at all. */
static void random_shape(struct shape *s, enum hk_type type, enum hk_redop op)
{
	size_t size = hk_type_size(type);
	unsigned alike = random_below(16);

	*s = (struct shape){.type = type, .op = op, .threads = 1 + random_below(5)};
	s->bytes = (random_below(3) ? random_below(40) : random_below(700)) * size;
	for (unsigned i = 0; i < 4; i++)
		s->offsets[i] = random_below(3) ? alike : random_below(16);
	s->lines_in = random_below(4) == 0;
	s->lines_out = random_below(4) == 0;
	s->reads_b = s->lines_in || random_below(2);
	s->reads_a = !s->reads_b || random_below(2);
	s->combines = s->reads_a && s->reads_b;
	s->scales = s->reads_a && (s->combines ? op == HK_SUM : true) && random_below(3) == 0;
	s->to0 = !s->lines_out && random_below(2);
	s->to1 = (!s->lines_out && !s->to0) || random_below(2);
}

static void test_moves(void **state)
{
	struct shape s;

	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (enum hk_redop op = 0; op < HK_NREDOPS; op++)
			for (unsigned turn = 0; turn < 1500; turn++) {
				random_shape(&s, type, op);
				check_move(&s);
			}
}

/* The targets may be the sources: kernels work in place. */
static void test_in_place(void **state)
{
	for (enum hk_type type = 0; type < HK_NTYPES; type++)
		for (unsigned turn = 0; turn < 200; turn++) {
			size_t n = random_below(200), bytes = n * hk_type_size(type);
			struct room a = make_room(random_below(16), bytes),
				    b = make_room(random_below(16), bytes);
			uint8_t *want = malloc(bytes + 1);
			struct hkd_piece p = {.a = at_of(a.at),
					      .b = at_of(b.at),
					      .out1 = at_of(turn & 1 ? a.at : b.at),
					      .bytes = bytes,
					      .type = (uint8_t)type,
					      .op = (uint8_t)(turn / 2 % HK_NREDOPS),
					      .combines = 1};

			assert_non_null(want);
			fill(type, a.at, n);
			fill(type, b.at, n);
			hk_kernels()->reduce[type][p.op](want, a.at, b.at, n);
			move(&p, 1 + random_below(4));
			assert_memory_equal(turn & 1 ? a.at : b.at, want, bytes);
			check_room(&a, "in place");
			check_room(&b, "in place");
			free(want);
			free(a.base);
			free(b.base);
		}
}

/* A line that does not come: the call's end, or its deadline, is the end of the wait, and nothing
 * is made of it. */
static void test_missing_line(void **state)
{
	static uint64_t lines[4], target[2] = {3, 5};
	struct hkd_control page = {.stop = 1};
	uint32_t broken = 0;
	struct hkd_piece p = {.lines_in = at_of(lines),
			      .out1 = at_of(target),
			      .bytes = 16,
			      .flag_in = 7,
			      .type = HK_UINT8,
			      .control = at_of(&page),
			      .broken = &broken};

	move(&p, 1); /* hangs if the page is not looked at */
	assert_int_equal(broken, 1);
	page.stop = 0;
	p.timeout_ns = 1000000;
	move(&p, 1);
	assert_int_equal(page.stop, 1);
	assert_int_equal(target[0], 3);
	assert_int_equal(target[1], 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_combine),	       cmocka_unit_test(test_byte_pairs),
		cmocka_unit_test(test_halves),	       cmocka_unit_test(test_scale),
		cmocka_unit_test(test_scale_by_share), cmocka_unit_test(test_divide),
		cmocka_unit_test(test_copies),	       cmocka_unit_test(test_moves),
		cmocka_unit_test(test_in_place),       cmocka_unit_test(test_missing_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
