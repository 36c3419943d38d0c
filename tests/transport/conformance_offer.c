/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance checks of offers: a message comes to the place that was offered for it, or as any
 * other, and is right either way; memory is left alone before it is offered, once its message has
 * come, beside it, and after a sever. A transport that forgets all offers passes, unless its traits
 * say that it takes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "conformance.h"

#define SLOTS  4u
#define PLACES (2 * SLOTS) /* those of messages that have come stay for a while */
#define MOST   65536u
#define MARGIN 64u
#define GUARD  0x33

static const struct hk_loop_faults taken = {
	.seed = 3, .max_delay = 3, .offers = HK_LOOP_OFFERS_TAKEN};
static const struct hk_loop_faults lent = {
	.seed = 4, .max_delay = 3, .lend = true, .pull = true, .offers = HK_LOOP_OFFERS_MIXED};

/* Message k has its own number for a mark. */
struct fixture {
	struct world w;
	struct stream *s;
	uint8_t *places[PLACES]; /* with a margin before and behind */
	bool offered[PLACES];
	uint8_t *from[PLACES]; /* what was sent; it may be lent */
};

static void open_fixture(struct fixture *f, const struct hk_loop_faults *faults)
{
	const struct world_config config = {
		.nranks = 2, .slots = SLOTS, .slot_bytes = MOST, .faults = faults};

	*f = (struct fixture){0};
	for (unsigned i = 0; i < PLACES; i++) {
		f->places[i] = malloc(MOST + 2 * MARGIN);
		f->from[i] = malloc(MOST);
		assert_true(f->places[i] && f->from[i]);
		memset(f->places[i], GUARD, MOST + 2 * MARGIN);
	}
	world_open(&f->w, transport, &config);
	f->s = world_connect(&f->w, 0, 1, 0);
}

static void close_fixture(struct fixture *f)
{
	world_close(&f->w);
	for (unsigned i = 0; i < PLACES; i++) {
		free(f->places[i]);
		free(f->from[i]);
	}
}

static uint32_t size_of(uint32_t k)
{
	static const uint32_t sizes[] = {MOST, 8192, 40, 20001, MOST, 0, 8193, 65535, 4096};

	return sizes[k % ARRAY_SIZE(sizes)];
}

static uint8_t byte_of(uint32_t k, uint32_t i)
{
	return (uint8_t)(i * 7 + i / 251 + k * 13);
}

static uint8_t *place_of(struct fixture *f, uint32_t k)
{
	return f->places[k % PLACES] + MARGIN;
}

/* Message k, when `next` is the next to be received. */
static void offer(struct fixture *f, uint32_t next, uint32_t k, uint32_t bytes, uint32_t mark)
{
	f->s->recv->ops->offer(f->s->recv, k - next, place_of(f, k), bytes, mark);
	f->offered[k % PLACES] = true;
}

/* Both ends go on for a moment, so that what is offered may get round. */
static void settle(struct fixture *f)
{
	const void *data;
	uint32_t bytes, mark;

	for (unsigned i = 0; i < 20; i++) {
		assert_in_range(f->s->send->ops->flush(f->s->send), 0, 1);
		assert_in_range(f->s->recv->ops->peek(f->s->recv, &data, &bytes, &mark), 0, 1);
	}
}

static void send_message(struct fixture *f, uint32_t k)
{
	struct hk_send *s = f->s->send;
	uint8_t *data = f->from[k % PLACES];
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint32_t bytes = size_of(k);
	void *slot = NULL;
	int rc;

	for (uint32_t i = 0; i < bytes; i++)
		data[i] = byte_of(k, i);
	do
		rc = s->ops->reserve(s, 0, &slot);
	while (!rc && hk_now_ns() < end);
	assert_int_equal(rc, 1);
	if (s->ops->lends(s, data, bytes)) {
		assert_int_equal(s->ops->lend(s, data, bytes, k), 0);
		return;
	}
	assert_int_equal(s->ops->reserve(s, bytes, &slot), 1);
	memcpy(slot, data, bytes);
	assert_int_equal(s->ops->commit(s, bytes, k), 0);
}

static void assert_guards(const uint8_t *at, size_t bytes)
{
	size_t bad = 0;

	for (size_t i = 0; i < bytes; i++)
		bad += at[i] != GUARD;
	assert_int_equal(bad, 0);
}

/* Waits for message k and checks it. Whether it came to its place; that becomes a guard again. */
static bool receive_message(struct fixture *f, uint32_t k)
{
	struct hk_recv *r = f->s->recv; /* its table may change with the first message */
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint8_t *place = place_of(f, k), *pulled = malloc(MOST);
	uint32_t bytes = 0, mark = 0, bad = 0;
	const uint8_t *got;
	const void *data = NULL;
	bool direct;
	int rc = 0;

	assert_non_null(pulled);
	while (!rc && hk_now_ns() < end) {
		assert_in_range(f->s->send->ops->flush(f->s->send), 0, 1);
		rc = r->ops->peek(r, &data, &bytes, &mark);
		if (rc == 1 && !data && bytes)
			rc = r->ops->pull(r, 0, pulled, bytes);
	}
	assert_int_equal(rc, 1);
	assert_int_equal(bytes, size_of(k));
	assert_int_equal(mark, k);
	got = data ? data : pulled;
	for (uint32_t i = 0; i < bytes; i++)
		bad += got[i] != byte_of(k, i);
	assert_int_equal(bad, 0);
	direct = data == place;
	if (!f->offered[k % PLACES]) {
		assert_false(direct);
		assert_guards(place, MOST);
	}
	f->offered[k % PLACES] = false;
	assert_guards(place - MARGIN, MARGIN);
	assert_guards(place + bytes, MOST + MARGIN - bytes);
	/* It is the receiver's again, from here on. */
	memset(place, GUARD, MOST);
	assert_int_equal(r->ops->release(r), 0);
	free(pulled);
	return direct;
}

/* All that has come is the receiver's for good. */
static void assert_left_alone(struct fixture *f)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (!f->offered[i])
			assert_guards(f->places[i], MOST + 2 * MARGIN);
}

/* Offers run ahead of the messages by a window; every third is left out. */
static unsigned offer_and_receive(const struct hk_loop_faults *faults, uint32_t window)
{
	uint32_t offered = 0, sent = 0, k = 0;
	unsigned direct = 0;
	struct fixture f;

	open_fixture(&f, faults);
	while (k < 120) {
		for (offered = offered < k ? k : offered; offered < k + window; offered++)
			if (offered % 3 != 1)
				offer(&f, k, offered, size_of(offered), offered);
		settle(&f);
		for (; sent < k + SLOTS - 1; sent++)
			send_message(&f, sent);
		/* One at a time or several, so that offers are made before and after sends. */
		for (uint32_t n = 1 + k % 3; n > 0; n--, k++)
			direct += receive_message(&f, k);
		/* Behind the window the places are not in use yet, or not any more. */
		assert_left_alone(&f);
	}
	close_fixture(&f);
	return direct;
}

void offered_messages_arrive(void **state)
{
	unsigned direct = 0;

	for (uint32_t window = 1; window <= SLOTS; window++)
		direct = offer_and_receive(&taken, window);
	if (traits_of(transport).offers)
		assert_in_range(direct, 20, 120);
}

void offered_and_lent_messages_arrive(void **state)
{
	for (uint32_t window = 1; window <= SLOTS; window++)
		offer_and_receive(&lent, window);
}

/* Offers of another length or with another mark, and for messages that are too far ahead or have
 * come, are for nothing; and nothing is written there once the message has come elsewhere. */
void offers_that_do_not_fit(void **state)
{
	struct fixture f;

	open_fixture(&f, &taken);
	for (uint32_t k = 0; k < 60; k++) {
		uint32_t bytes = size_of(k);
		bool fits = false;

		if (k % 4 == 0 && bytes) {
			offer(&f, k, k, bytes - 1, k);
		} else if (k % 4 == 1) {
			offer(&f, k, k, bytes, k + 1);
		} else if (k % 4 == 2) {
			fits = true;
			offer(&f, k, k, bytes, k);
		}
		settle(&f);
		send_message(&f, k);
		settle(&f);
		if (k % 4 == 3) {
			fits = true;
			offer(&f, k, k, bytes, k);
		}
		assert_true(!receive_message(&f, k) || fits);
		assert_left_alone(&f);
	}
	f.s->recv->ops->offer(f.s->recv, 100 * SLOTS, place_of(&f, 0), MOST, 0);
	settle(&f);
	close_fixture(&f);
}

/* The first long message of a connection, when there may be memory for short ones alone, and the
 * place that it was offered is for another: what two ranks do whose calls differ. */
void a_long_offer_that_does_not_fit(void **state)
{
	for (unsigned turn = 0; turn < 4; turn++) {
		bool late = turn & 1, by_mark = turn & 2;
		uint32_t k = 7;
		struct fixture f;

		open_fixture(&f, &taken);
		send_message(&f, 2);
		receive_message(&f, 2);
		if (late)
			send_message(&f, k);
		offer(&f, k, k, size_of(k) - !by_mark, k + by_mark);
		if (!late) {
			settle(&f);
			send_message(&f, k);
		}
		assert_false(receive_message(&f, k));
		send_message(&f, k + 1);
		receive_message(&f, k + 1);
		assert_left_alone(&f);
		close_fixture(&f);
	}
}

/* Sends the messages that were offered places, as far as that goes: the sender need not know. */
static void send_late(struct fixture *f)
{
	int64_t end = hk_now_ns() + 50000000;
	struct hk_send *s = f->s->send;

	for (uint32_t k = 0; hk_now_ns() < end; k += k < SLOTS) {
		void *slot = NULL;

		if (s->ops->flush(s) < 0)
			return;
		if (k == SLOTS)
			continue;
		if (s->ops->reserve(s, size_of(k), &slot) <= 0)
			return;
		memset(slot, 0x44, size_of(k));
		if (s->ops->commit(s, size_of(k), k) < 0)
			return;
	}
}

/* Whoever has severed may use its memory again, whatever is on the way, and is told so by both
 * halves of connections. */
void severed_memory_is_left_alone(void **state)
{
	struct stream *back;
	struct fixture f;
	uint32_t bytes, mark;
	const void *data;
	void *slot;

	open_fixture(&f, &taken);
	back = world_connect(&f.w, 1, 0, 0);
	for (uint32_t k = 0; k < SLOTS; k++)
		offer(&f, 0, k, size_of(k), k);
	settle(&f);
	transport->sever(f.w.ep[1]);
	for (unsigned i = 0; i < PLACES; i++)
		memset(f.places[i], GUARD, MOST + 2 * MARGIN);
	if (transport->sever != hk_sever_none) {
		assert_true(f.s->recv->ops->peek(f.s->recv, &data, &bytes, &mark) < 0);
		assert_true(back->send->ops->reserve(back->send, 0, &slot) < 0);
	}
	send_late(&f);
	for (unsigned i = 0; i < PLACES; i++)
		assert_guards(f.places[i], MOST + 2 * MARGIN);
	close_fixture(&f);
}

/* What was lent is not read any more once its owner has severed. */
void severed_loans_are_not_read(void **state)
{
	struct fixture f;
	const void *data;
	uint32_t bytes, mark;

	open_fixture(&f, &lent);
	send_message(&f, 0);
	settle(&f);
	transport->sever(f.w.ep[0]);
	if (transport->sever != hk_sever_none)
		assert_true(f.s->recv->ops->peek(f.s->recv, &data, &bytes, &mark) < 0 ||
			    data != f.from[0]);
	close_fixture(&f);
}
