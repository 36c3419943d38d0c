/* SPDX-License-Identifier: BSD-3-Clause */
/* The conformance checks of messages that are lent: read where they lie, or pulled from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "conformance.h"
#include "error.h"

#define MOST 131072u

static const struct hk_loop_faults faults = {.seed = 3, .max_delay = 3, .lend = true};
static const struct hk_loop_faults pulls = {.seed = 3, .max_delay = 3, .lend = true, .pull = true};

static uint8_t byte_of(uint32_t k, uint32_t i)
{
	return (uint8_t)(i * 7 + i / 251 + k * 13);
}

/* Whether it was lent. */
static bool send_message(struct hk_send *s, const uint8_t *data, uint32_t bytes, uint32_t mark)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	void *slot = NULL;
	int rc;

	do
		rc = s->ops->reserve(s, 0, &slot);
	while (!rc && hk_now_ns() < end);
	assert_int_equal(rc, 1);
	if (s->ops->lends(s, data, bytes)) {
		assert_int_equal(s->ops->lend(s, data, bytes, mark), 0);
		return true;
	}
	assert_int_equal(s->ops->reserve(s, bytes, &slot), 1);
	memcpy(slot, data, bytes);
	assert_int_equal(s->ops->commit(s, bytes, mark), 0);
	return false;
}

/* All in three parts; 0: not now. */
static int pull_parts(struct hk_recv *r, uint8_t *to, uint32_t bytes)
{
	uint32_t cuts[] = {0, bytes / 3, bytes / 2, bytes};
	int rc = 1;

	for (unsigned i = 0; i < 3 && rc == 1; i++)
		rc = r->ops->pull(r, cuts[i], to + cuts[i], cuts[i + 1] - cuts[i]);
	return rc;
}

/* The message's bytes, in place or at `to`. */
static const uint8_t *receive(struct hk_send *s, struct hk_recv *r, uint32_t want, uint32_t k,
			      uint8_t *to, unsigned *pulled)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint32_t bytes = 0, mark = 0;
	const void *data = NULL;
	int rc = 0;

	while (!rc && hk_now_ns() < end) {
		assert_in_range(s->ops->flush(s), 0, 1);
		rc = r->ops->peek(r, &data, &bytes, &mark);
		if (rc == 1 && !data) {
			rc = pull_parts(r, to, bytes);
			*pulled += rc == 1;
		}
	}
	assert_int_equal(rc, 1);
	assert_int_equal(bytes, want);
	assert_int_equal(mark, k);
	return data ? data : to;
}

static void lend_and_read(const struct hk_loop_faults *how)
{
	static const uint32_t sizes[] = {0, 48, 8192, 8193, 20001, 65536, 100000, MOST, MOST};
	const struct world_config config = {
		.nranks = 2, .slots = 3, .slot_bytes = MOST, .faults = how};
	const struct traits traits = traits_of(transport);
	uint8_t *from = malloc(MOST), *to = malloc(MOST);
	unsigned lent = 0, pulled = 0;
	struct stream *s;
	struct world w;

	assert_true(from && to);
	world_open(&w, transport, &config);
	s = world_connect(&w, 0, 1, 0);
	for (uint32_t k = 0; k < 300; k++) {
		uint32_t bytes = sizes[k % ARRAY_SIZE(sizes)], bad = 0;
		int64_t end = hk_now_ns() + PATIENCE_NS;
		const uint8_t *got;
		bool is_lent;

		for (uint32_t i = 0; i < bytes; i++)
			from[i] = byte_of(k, i);
		is_lent = send_message(s->send, from, bytes, k);
		got = receive(s->send, s->recv, bytes, k, to, &pulled);
		for (uint32_t i = 0; i < bytes; i++)
			bad += got[i] != byte_of(k, i);
		assert_int_equal(bad, 0);
		/* What was lent is the receiver's until it has released it. */
		if (is_lent && !traits.devices)
			assert_int_equal(s->send->ops->flush(s->send), 0);
		assert_int_equal(s->recv->ops->release(s->recv), 0);
		while (s->send->ops->flush(s->send) != 1)
			assert_true(hk_now_ns() < end);
		lent += is_lent;
	}
	if (!traits.devices)
		assert_int_equal(lent > 0, traits.lends);
	if (how->pull)
		assert_int_equal(pulled > 0, traits.pulls);
	world_close(&w);
	free(from);
	free(to);
}

void lent_messages_arrive(void **state)
{
	lend_and_read(&faults);
}

void pulled_messages_arrive(void **state)
{
	lend_and_read(&pulls);
}

/* Overwrites what has come back of the messages sent; how many are back. What does not come back
 * before the receiver has it cannot be back sooner. */
static uint32_t take_back(struct hk_send *s, uint8_t *const *from, uint32_t sent, uint32_t back,
			  uint32_t received, bool devices, bool lent)
{
	int owed = s->ops->owes(s);
	uint32_t now;

	assert_in_range(owed, 0, sent);
	now = sent - (uint32_t)owed;
	assert_true(now >= back);
	if (lent && !devices)
		assert_true(now <= received);
	for (uint32_t k = back; k < now; k++)
		memset(from[k], 0xee, MOST);
	return now;
}

/* One by one, while the last is not even received; short ones, which are copied, among them. */
void lent_memory_comes_back_in_order(void **state)
{
	static const struct hk_loop_faults lends = {.seed = 5, .lend = true};
	static const uint32_t sizes[] = {MOST, 65536, 48, 100000};
	enum { N = ARRAY_SIZE(sizes) };
	const struct world_config config = {
		.nranks = 2, .slots = N, .slot_bytes = MOST, .faults = &lends};
	const struct traits traits = traits_of(transport);
	uint8_t *from[N], *to = malloc(MOST);
	unsigned pulled = 0;
	struct stream *s;
	struct world w;

	assert_non_null(to);
	for (uint32_t k = 0; k < N; k++)
		assert_non_null(from[k] = malloc(MOST));
	world_open(&w, transport, &config);
	s = world_connect(&w, 0, 1, 0);
	assert_int_equal(s->send->ops->owes(s->send), 0);
	for (unsigned round = 0; round < 40; round++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		uint32_t back = 0;
		bool lent = false;

		for (uint32_t k = 0; k < N; k++) {
			for (uint32_t i = 0; i < sizes[k]; i++)
				from[k][i] = byte_of(k + round, i);
			lent = send_message(s->send, from[k], sizes[k], k);
		}
		back = take_back(s->send, from, N, back, 0, traits.devices, lent);
		for (uint32_t k = 0; k < N; k++) {
			const uint8_t *got = receive(s->send, s->recv, sizes[k], k, to, &pulled);
			uint32_t bad = 0;

			for (uint32_t i = 0; i < sizes[k]; i++)
				bad += got[i] != byte_of(k + round, i);
			assert_int_equal(bad, 0);
			assert_int_equal(s->recv->ops->release(s->recv), 0);
			while (back < k + 1 && hk_now_ns() < end)
				back = take_back(s->send, from, N, back, k + 1, traits.devices,
						 lent);
			assert_true(back >= k + 1);
		}
		assert_int_equal(s->send->ops->owes(s->send), 0);
	}
	world_close(&w);
	for (uint32_t k = 0; k < N; k++)
		free(from[k]);
	free(to);
}

/* A receiver that goes without having read what it was lent must not keep its lender waiting. */
void lender_sees_death(void **state)
{
	const struct world_config config = {
		.nranks = 2, .slots = 3, .slot_bytes = MOST, .faults = &pulls};
	uint8_t *from = calloc(1, MOST);
	struct stream *s;
	struct world w;

	assert_non_null(from);
	world_open(&w, transport, &config);
	s = world_connect(&w, 0, 1, 0);
	if (send_message(s->send, from, MOST, 1)) {
		bool devices = traits_of(transport).devices;
		int64_t end = hk_now_ns() + PATIENCE_NS;
		int rc = 0;

		if (!devices)
			assert_int_equal(s->send->ops->flush(s->send), 0);
		world_close_rank(&w, 1);
		while (!rc && hk_now_ns() < end)
			rc = s->send->ops->flush(s->send);
		/* A device may have delivered it, which is all that the lender waits for. */
		if (!devices || rc != 1) {
			assert_int_equal(rc, -HK_EPEER);
			assert_non_null(strstr(hk_last_error(), "rank 1"));
		}
	}
	world_close(&w);
	free(from);
}
