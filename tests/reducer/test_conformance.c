/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every reducer in the list does what it claims (reducer.h): each collective, type and operation of
 * its capabilities with some sizes of groups, whichever member is late; the same bits however the
 * contributions arrive, if it says so; wrong use is refused and harms nobody; groups end with
 * rounds under way. The members are polled in turn by one thread, so that every run repeats.
 * Argument: the reducer's name.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "kernels.h"
#include "reducer.h"

#define MOST	   8
#define ROUNDS	   7
#define MOST_POLLS 100000

static const struct hk_reducer *reducer;

struct group {
	uint32_t n;
	struct hk_reducer_device *dev;
	struct hk_reduce_group *members[MOST];
};

static void reduce(enum hk_type type, enum hk_redop op, void *dst, const void *a, const void *b,
		   size_t n)
{
	hk_kernels()->reduce[type][op](dst, a, b, n);
}

static struct hk_reducer_device *open_device(void)
{
	const struct hk_reducer_env env = {reduce};
	struct hk_reducer_device *dev = NULL;
	int err = reducer->open(&env, &dev);

	if (err == -ENOTSUP)
		skip(); /* hardware that this machine lacks */
	assert_int_equal(err, 0);
	return dev;
}

static struct hk_reduce_meeting meeting(uint32_t members, uint32_t member)
{
	static uint8_t number;
	struct hk_reduce_meeting m = {.members = members, .member = member};

	if (!member)
		number++;
	memset(m.key, 7, sizeof(m.key));
	m.key[3] = number;
	return m;
}

static void join(struct group *g, uint32_t n)
{
	*g = (struct group){.n = n, .dev = open_device()};
	for (uint32_t i = 0; i < n; i++) {
		struct hk_reduce_meeting m = meeting(n, i);

		assert_int_equal(reducer->create(g->dev, &m, &g->members[i]), 0);
		assert_int_equal(g->members[i]->members, n);
		assert_int_equal(g->members[i]->member, i);
	}
}

static void leave(struct group *g)
{
	for (uint32_t i = 0; i < g->n; i++)
		reducer->destroy(g->members[i]);
	assert_int_equal(reducer->health(g->dev), 0);
	reducer->close(g->dev);
}

/* --- data --- */

/* Element values that fit every type and whose float sums depend on the order: large and small ones
 * in turn. Floats are made by the kernels from bits, so only patterns that are ordinary numbers. */
static void fill(uint8_t *data, uint32_t bytes, enum hk_type type, uint32_t member, uint64_t round)
{
	size_t size = hk_type_size(type);

	for (uint32_t at = 0; at + size <= bytes; at += size) {
		uint32_t seed = member * 131 + (uint32_t)round * 17 + at * 7;
		double d = (double)(seed % 97) * (member % 2 ? 1e-3 : 1e6) + 1;
		float f = (float)(seed % 89) * (member % 2 ? 1e-3f : 1e4f) + 1;
		uint16_t half = (uint16_t)(0x3800 + (seed * 37) % 0x800);

		if (type == HK_FLOAT64)
			memcpy(data + at, &d, size);
		else if (type == HK_FLOAT32)
			memcpy(data + at, &f, size);
		else if (size == 2)
			memcpy(data + at, &half, size);
		else
			for (size_t k = 0; k < size; k++)
				data[at + k] = (uint8_t)(seed % 5 + (k ? 0 : 48));
	}
}

/* What a round's result must be, by the contract. */
static void expect(const struct hk_reduce_call *c, uint32_t n, uint64_t round, uint32_t bytes,
		   uint8_t *want)
{
	uint8_t part[4096];
	bool first = true;

	for (uint32_t m = 0; m < n; m++) {
		if (!hk_reduce_contributes(c, n, m, round))
			continue;
		fill(part, bytes, c->type, m, round);
		if (first)
			memcpy(want, part, bytes);
		else
			reduce(c->type, c->op, want, want, part, bytes / hk_type_size(c->type));
		first = false;
	}
}

/* --- running --- */

struct progress {
	uint64_t post, poll;
};

static uint64_t next_round(const struct hk_reduce_call *c, uint32_t n, uint32_t m, uint64_t from,
			   bool (*takes_part)(const struct hk_reduce_call *, uint32_t, uint32_t,
					      uint64_t))
{
	while (from < ROUNDS * n && !takes_part(c, n, m, from))
		from++;
	return from;
}

static void check_result(const struct hk_reduce_call *c, const struct group *g, uint64_t round,
			 uint32_t bytes, const void *data, uint32_t got, uint32_t mark, bool exact)
{
	uint8_t want[4096];

	assert_int_equal(got, bytes);
	assert_int_equal(mark, 1000 + round);
	expect(c, g->n, round, bytes, want);
	if (c->coll != HK_BARRIER && exact && memcmp(data, want, bytes))
		fail_msg("%s of %s (%s), %u members, round %llu: wrong", hk_coll_name(c->coll),
			 hk_type_name(c->type), hk_redop_name(c->op), g->n,
			 (unsigned long long)round);
}

/* One look at a member; whether it is done. */
static bool step(struct group *g, const struct hk_reduce_call *c, uint32_t m, struct progress *p,
		 uint32_t bytes, bool exact)
{
	uint64_t total = ROUNDS * g->n;
	uint64_t post = next_round(c, g->n, m, p->post, hk_reduce_contributes);
	uint64_t poll = next_round(c, g->n, m, p->poll, hk_reduce_receives);
	struct hk_reduce_group *h = g->members[m];
	uint32_t got = 0, mark = 0;
	const void *data = NULL;
	uint8_t mine[4096];
	int r;

	if (post < total) {
		fill(mine, bytes, c->type, m, post);
		r = reducer->post(h, mine, bytes, (uint32_t)(1000 + post));
		assert_true(r >= 0);
		memset(mine, 0xee, sizeof(mine)); /* it may change now */
		p->post = r ? post + 1 : post;
	}
	if (poll < total) {
		r = reducer->poll(h, &data, &got, &mark);
		assert_true(r >= 0);
		if (r) {
			check_result(c, g, poll, bytes, data, got, mark, exact);
			assert_int_equal(reducer->poll(h, &data, &got, &mark), 1); /* still there */
			assert_int_equal(reducer->release(h), 0);
			p->poll = poll + 1;
		}
	}
	return next_round(c, g->n, m, p->post, hk_reduce_contributes) >= total &&
	       next_round(c, g->n, m, p->poll, hk_reduce_receives) >= total;
}

/* late: a member that gets its turn rarely. */
static void run_call(struct group *g, const struct hk_reduce_call *c, uint32_t bytes, uint32_t late,
		     bool exact)
{
	struct progress p[MOST] = {{0}};
	bool done[MOST] = {false};
	uint32_t left = g->n;

	for (uint32_t m = 0; m < g->n; m++)
		assert_int_equal(reducer->begin(g->members[m], c), 0);
	for (uint32_t polls = 0; left; polls++) {
		uint32_t m = polls % g->n;

		assert_true(polls < MOST_POLLS);
		if (done[m] || (m == late && polls % (g->n * 5) != m))
			continue;
		done[m] = step(g, c, m, &p[m], bytes, exact);
		left -= done[m];
	}
}

static bool claims(const struct hk_reducer_caps *caps, const struct hk_reduce_call *c)
{
	return (caps->colls >> c->coll & 1) && (caps->types >> c->type & 1) &&
	       (caps->ops >> c->op & 1);
}

/* --- tests --- */

static void test_caps(void **state)
{
	struct hk_reducer_device *dev = open_device();
	struct hk_reducer_caps caps;

	reducer->caps(dev, &caps);
	assert_true(caps.colls && caps.types && caps.ops);
	for (unsigned i = 0; i < 32; i++)
		assert_true(!(caps.colls >> i & 1) || hk_reduce_has_rounds((enum hk_coll)i));
	assert_true(caps.types < 1u << HK_NTYPES && caps.ops < 1u << HK_NREDOPS);
	assert_true(caps.fan_in >= 2 && caps.payload >= 8 && caps.payload % 8 == 0);
	assert_true(caps.outstanding >= 1);
	assert_ptr_equal(dev->reducer, reducer);
	assert_ptr_equal(hk_reducer_find(reducer->name), reducer);
	assert_int_equal(reducer->health(dev), 0);
	reducer->close(dev);
	reducer->close(NULL);
}

static void all_claims(struct group *g, const struct hk_reducer_caps *caps)
{
	for (unsigned i = 0; i < HK_NCOLLS * HK_NTYPES * HK_NREDOPS; i++) {
		struct hk_reduce_call c = {.coll = (enum hk_coll)(i % HK_NCOLLS),
					   .type = (enum hk_type)(i / HK_NCOLLS % HK_NTYPES),
					   .op = (enum hk_redop)(i / HK_NCOLLS / HK_NTYPES)};
		uint32_t bytes = 24;

		if (!claims(caps, &c))
			continue;
		if (hk_coll_rooted(c.coll))
			c.root = (int)(i % g->n);
		/* All types in every collective would say no more. */
		if (c.coll != HK_ALL_REDUCE && (c.type != HK_INT32 || c.op != HK_SUM))
			continue;
		run_call(g, &c, bytes, i % g->n, caps->reproducible);
	}
}

static void test_claims(void **state)
{
	struct hk_reducer_caps caps;
	struct group g;

	for (uint32_t n = 2; n <= 5; n++) {
		join(&g, n);
		reducer->caps(g.dev, &caps);
		if (n <= caps.fan_in)
			all_claims(&g, &caps);
		leave(&g);
	}
}

/* Messages of no element, of one and of as many as there is room for in a test; calls of different
 * kinds one after the other. */
static void test_lengths(void **state)
{
	static const uint32_t lengths[] = {0, 8, 4096};
	struct hk_reducer_caps caps;
	struct group g;

	join(&g, 3);
	reducer->caps(g.dev, &caps);
	for (unsigned i = 0; i < 3 * HK_NCOLLS; i++) {
		struct hk_reduce_call c = {
			.coll = (enum hk_coll)(i % HK_NCOLLS), .type = HK_INT64, .op = HK_SUM};

		if (claims(&caps, &c) && lengths[i / HK_NCOLLS] <= caps.payload)
			run_call(&g, &c, lengths[i / HK_NCOLLS], i % 3, true);
	}
	leave(&g);
}

/* Floats whose sum depends on the order; every member is late once. */
static void test_reproducible(void **state)
{
	struct hk_reduce_call c = {.coll = HK_ALL_REDUCE, .type = HK_FLOAT32, .op = HK_SUM};
	struct hk_reducer_caps caps;
	struct group g;

	join(&g, 5);
	reducer->caps(g.dev, &caps);
	for (uint32_t late = 0; claims(&caps, &c) && late <= 5; late++)
		run_call(&g, &c, 4096, late, caps.reproducible);
	leave(&g);
}

static void test_groups_refused(void **state)
{
	struct hk_reducer_device *dev = open_device();
	struct hk_reduce_group *g = NULL, *other = NULL;
	struct hk_reduce_meeting m = meeting(2, 0);
	struct hk_reducer_caps caps;

	reducer->caps(dev, &caps);
	m.members = caps.fan_in + 1;
	assert_int_equal(reducer->create(dev, &m, &g), -EINVAL);
	m.members = 1;
	assert_int_equal(reducer->create(dev, &m, &g), -EINVAL);
	m.members = 2;
	m.member = 2;
	assert_int_equal(reducer->create(dev, &m, &g), -EINVAL);
	assert_null(g);
	m.member = 0;
	assert_int_equal(reducer->create(dev, &m, &g), 0);
	assert_int_equal(reducer->create(dev, &m, &other), -EEXIST);
	assert_null(other);
	reducer->destroy(g);
	reducer->destroy(NULL);
	reducer->close(dev);
}

/* What is refused leaves the group as it was. */
static void test_misuse(void **state)
{
	struct hk_reduce_call c = {.coll = HK_ALL_REDUCE, .type = HK_INT32, .op = HK_SUM}, bad;
	struct hk_reducer_caps caps;
	const void *data = NULL;
	uint32_t bytes = 0, mark = 0;
	struct group g;
	uint8_t *big;

	join(&g, 2);
	reducer->caps(g.dev, &caps);
	if (!claims(&caps, &c)) {
		leave(&g);
		skip();
	}
	assert_int_equal(reducer->post(g.members[0], &c, 4, 1), -EINVAL); /* nothing has begun */
	assert_true(reducer->release(g.members[0]) < 0);
	for (unsigned i = 0; i < HK_NCOLLS; i++) {
		bad = c;
		bad.coll = (enum hk_coll)i;
		if (!(caps.colls >> i & 1))
			assert_int_equal(reducer->begin(g.members[0], &bad), -ENOTSUP);
	}
	bad = c;
	bad.root = 2;
	assert_int_equal(reducer->begin(g.members[0], &bad), -EINVAL);
	bad.root = 0;
	bad.type = HK_NTYPES;
	assert_int_equal(reducer->begin(g.members[0], &bad), -ENOTSUP);

	for (uint32_t m = 0; m < 2; m++)
		assert_int_equal(reducer->begin(g.members[m], &c), 0);
	big = calloc(1, (size_t)caps.payload + 8);
	assert_non_null(big);
	assert_int_equal(reducer->post(g.members[0], big, caps.payload + 8, 1), -EINVAL);
	assert_int_equal(reducer->post(g.members[0], big, 6, 1), -EINVAL);
	assert_int_equal(reducer->poll(g.members[0], &data, &bytes, &mark), 0);
	assert_true(reducer->release(g.members[0]) < 0);
	free(big);
	run_call(&g, &c, 64, 0, true);
	leave(&g);
}

/* Members that do not agree on the call, the length or the mark. */
static void test_mismatch(void **state)
{
	for (int kind = 0; kind < 3; kind++) {
		struct hk_reduce_call c = {.coll = HK_ALL_REDUCE, .type = HK_INT32, .op = HK_SUM};
		struct hk_reducer_caps caps;
		uint8_t data[16] = {0};
		struct group g;
		int r;

		join(&g, 2);
		reducer->caps(g.dev, &caps);
		if (!claims(&caps, &c)) {
			leave(&g);
			skip();
		}
		assert_int_equal(reducer->begin(g.members[0], &c), 0);
		c.op = kind || !(caps.ops >> HK_MAX & 1) ? HK_SUM : HK_MAX;
		r = reducer->begin(g.members[1], &c);
		if (c.op == HK_MAX) {
			assert_int_equal(r, -HK_EMISMATCH);
		} else {
			assert_int_equal(reducer->post(g.members[0], data, 16, 1), 1);
			r = reducer->post(g.members[1], data, kind == 1 ? 8 : 16, 1 + (kind != 1));
			assert_int_equal(r, -HK_EMISMATCH);
		}
		/* It sticks, for both. */
		assert_int_equal(reducer->post(g.members[0], data, 16, 1), -HK_EMISMATCH);
		assert_int_equal(reducer->post(g.members[1], data, 16, 1), -HK_EMISMATCH);
		leave(&g);
	}
}

/* A member that is far ahead is held back, and nothing is lost. */
static void test_held_back(void **state)
{
	struct hk_reduce_call c = {.coll = HK_ALL_REDUCE, .type = HK_INT32, .op = HK_SUM};
	struct hk_reducer_caps caps;
	uint8_t data[16];
	struct group g;
	uint64_t posted = 0;
	int r = 1;

	join(&g, 2);
	reducer->caps(g.dev, &caps);
	if (!claims(&caps, &c)) {
		leave(&g);
		skip();
	}
	for (uint32_t m = 0; m < 2; m++)
		assert_int_equal(reducer->begin(g.members[m], &c), 0);
	while (r == 1 && posted < 1000) {
		fill(data, 16, c.type, 0, posted);
		r = reducer->post(g.members[0], data, 16, (uint32_t)(1000 + posted));
		posted += r == 1;
	}
	assert_int_equal(r, 0);
	assert_int_equal(posted, caps.outstanding);
	for (uint64_t round = 0; round < posted; round++) {
		uint32_t bytes = 0, mark = 0;
		const void *got = NULL;

		fill(data, 16, c.type, 1, round);
		assert_int_equal(reducer->post(g.members[1], data, 16, (uint32_t)(1000 + round)),
				 1);
		for (uint32_t m = 0; m < 2; m++) {
			assert_int_equal(reducer->poll(g.members[m], &got, &bytes, &mark), 1);
			check_result(&c, &g, round, 16, got, bytes, mark, true);
			assert_int_equal(reducer->release(g.members[m]), 0);
		}
	}
	leave(&g);
}

/* A group ends with rounds under way: who stays hears of it, and nothing leaks (the sanitizers
 * look). */
static void test_left(void **state)
{
	struct hk_reduce_call c = {.coll = HK_ALL_REDUCE, .type = HK_INT32, .op = HK_SUM};
	uint32_t bytes = 0, mark = 0;
	struct hk_reducer_caps caps;
	const void *data = NULL;
	uint8_t word[4] = {1};
	struct group g;

	join(&g, 3);
	reducer->caps(g.dev, &caps);
	if (!claims(&caps, &c)) {
		leave(&g);
		skip();
	}
	for (uint32_t m = 0; m < 3; m++)
		assert_int_equal(reducer->begin(g.members[m], &c), 0);
	assert_int_equal(reducer->post(g.members[0], word, 4, 5), 1);
	assert_int_equal(reducer->post(g.members[1], word, 4, 5), 1);
	reducer->destroy(g.members[0]);
	g.members[0] = NULL;
	assert_int_equal(reducer->poll(g.members[1], &data, &bytes, &mark), -HK_EPEER);
	assert_int_equal(reducer->post(g.members[2], word, 4, 5), -HK_EPEER);
	leave(&g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_caps),	       cmocka_unit_test(test_claims),
		cmocka_unit_test(test_lengths),	       cmocka_unit_test(test_reproducible),
		cmocka_unit_test(test_groups_refused), cmocka_unit_test(test_misuse),
		cmocka_unit_test(test_mismatch),       cmocka_unit_test(test_held_back),
		cmocka_unit_test(test_left),
	};

	reducer = argc == 2 ? hk_reducer_find(argv[1]) : NULL;
	if (!reducer) {
		fprintf(stderr, "the argument must be a reducer's name\n");
		return 2;
	}
	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
