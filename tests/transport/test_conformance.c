/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every transport must do: one table of checks, run for the transport named by the first
 * argument (meson runs it for each in the list of src/transport/meson.build). What a check has to
 * know about a transport is in harness.h (struct traits) and nowhere else. The checks of messages
 * are here, those of threads, waiting and ends in conformance_life.c, those of lending in
 * conformance_lend.c, and those of offers and severing in conformance_offer.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "conformance.h"
#include "error.h"

const struct hk_transport *transport;

const struct world_config two = {.nranks = 2, .slots = 4, .slot_bytes = 8192};

void assert_well(const char *wrong)
{
	if (wrong)
		fail_msg("%s: %s (last error: %s)", transport->name, wrong, hk_last_error());
}

static void tables_are_complete(void **state)
{
	struct world w;
	struct stream *s;

	assert_non_null(transport->open);
	assert_non_null(transport->reach);
	assert_non_null(transport->connect_send);
	assert_non_null(transport->connect_recv);
	assert_non_null(transport->arm);
	assert_non_null(transport->wait);
	assert_non_null(transport->sever);
	assert_non_null(transport->memory);
	assert_non_null(transport->device_memory);
	assert_non_null(transport->admit_device);
	assert_non_null(transport->close);
	assert_ptr_equal(hk_transport_find(transport->name), transport);
	assert_null(hk_transport_find("no such transport"));
	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	assert_non_null(s->send->ops->reserve);
	assert_non_null(s->send->ops->commit);
	assert_non_null(s->send->ops->flush);
	assert_non_null(s->send->ops->lends);
	assert_non_null(s->send->ops->lend);
	assert_non_null(s->send->ops->owes);
	assert_non_null(s->recv->ops->peek);
	assert_non_null(s->recv->ops->pull);
	assert_non_null(s->recv->ops->release);
	assert_non_null(s->recv->ops->offer);
	world_close(&w);
	transport->close(NULL);
}

static void neighbours_are_reachable(void **state)
{
	struct hk_cost cost = {-1, -1, -1};
	struct world w;

	world_open(&w, transport, &two);
	assert_true(transport->reach(w.ep[0], 1, &w.addr[1], &cost));
	assert_true(cost.latency_ns > 0);
	assert_true(cost.ns_per_byte > 0);
	world_close(&w);
}

static void one_message_arrives(void **state)
{
	const void *data = NULL;
	uint32_t bytes = 0, mark = 0;
	void *slot = NULL;
	struct stream *s;
	struct world w;
	int rc = 0;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	assert_int_equal(s->recv->ops->peek(s->recv, &data, &bytes, &mark), 0);
	assert_int_equal(s->send->ops->reserve(s->send, 6, &slot), 1);
	memcpy(slot, "hocket", 6);
	assert_int_equal(s->send->ops->commit(s->send, 6, 42), 0);
	assert_true(stream_flush_wait(s, true));
	for (int64_t end = hk_now_ns() + PATIENCE_NS; !rc && hk_now_ns() < end;)
		rc = s->recv->ops->peek(s->recv, &data, &bytes, &mark);
	assert_int_equal(rc, 1);
	assert_int_equal(bytes, 6);
	assert_int_equal(mark, 42);
	assert_memory_equal(data, "hocket", 6);
	assert_int_equal(s->recv->ops->release(s->recv), 0);
	assert_int_equal(s->recv->ops->peek(s->recv, &data, &bytes, &mark), 0);
	world_close(&w);
}

static void every_size_arrives(void **state)
{
	static const uint32_t sizes[] = {0,   1,   7,	 8,    9,    15,   16,	 17,   47,
					 48,  49,  63,	 64,   65,   127,  128,	 129,  255,
					 256, 257, 4095, 4096, 4097, 8191, 8192, 8192, 0};
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	/* Twice, so that each size meets another slot and other neighbours. */
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		uint32_t bytes = sizes[i % ARRAY_SIZE(sizes)];
		void *slot = NULL;
		int rc = 0;

		assert_int_equal(stream_reserve_wait(s, bytes, &slot), 1);
		assert_int_equal(stream_send_bytes(s, bytes), 1);
		while (!rc && hk_now_ns() < end) {
			assert_in_range(s->send->ops->flush(s->send), 0, 1);
			rc = stream_recv_bytes(s, bytes, &wrong);
		}
		assert_int_equal(rc, 1);
		assert_well(wrong);
	}
	world_close(&w);
}

static void marks_travel(void **state)
{
	static const uint32_t marks[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x12345678, 0};
	const void *data = NULL;
	uint32_t bytes, mark;
	void *slot = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(marks); i++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		int rc = 0;

		/* Empty and full ones take turns: they may travel by different ways. */
		bytes = i % 2 * 8192;
		assert_int_equal(stream_reserve_wait(s, bytes, &slot), 1);
		memset(slot, 0, bytes);
		assert_int_equal(s->send->ops->commit(s->send, bytes, marks[i]), 0);
		while (!rc && hk_now_ns() < end) {
			assert_in_range(s->send->ops->flush(s->send), 0, 1);
			rc = s->recv->ops->peek(s->recv, &data, &bytes, &mark);
		}
		assert_int_equal(rc, 1);
		assert_int_equal(bytes, i % 2 * 8192);
		assert_int_equal(mark, marks[i]);
		assert_int_equal(s->recv->ops->release(s->recv), 0);
	}
	world_close(&w);
}

static void order_is_kept(void **state)
{
	static const uint32_t slots[] = {2, 3, 8};

	for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
		const struct world_config config = {
			.nranks = 2, .slots = slots[i], .slot_bytes = 4096};
		struct world w;

		world_open(&w, transport, &config);
		world_connect(&w, 0, 1, 0);
		assert_well(world_run(&w, 2000, ONE_THREAD));
		world_close(&w);
	}
}

/* Short and long ones in turns, each way, where memory for long ones may come late. */
static void long_slots_serve_short_messages_too(void **state)
{
	const struct world_config config = {
		.nranks = 2, .slots = 8, .slot_bytes = 262144, .usual_bytes = 65536};
	static const uint32_t sizes[] = {0,	20,    40000, 7,      7,      65536,
					 32768, 65537, 3,     262144, 262144, 9};

	for (int round = 0; round < 2; round++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		const char *wrong = NULL;
		struct stream *s;
		struct world w;

		world_open(&w, transport, &config);
		s = world_connect(&w, 0, 1, 0);
		world_connect(&w, 1, 0, 0);
		/* One size after the other, with some under way; or as they come. */
		for (uint32_t i = 0, got = 0; !round && got < ARRAY_SIZE(sizes);) {
			int rc = i < ARRAY_SIZE(sizes) ? stream_send_bytes(s, sizes[i]) : 0;

			assert_in_range(rc, 0, 1);
			assert_true(hk_now_ns() < end);
			i += (uint32_t)rc;
			if (i < got + 4 && rc)
				continue;
			assert_in_range(s->send->ops->flush(s->send), 0, 1);
			rc = stream_recv_bytes(s, sizes[got], &wrong);
			assert_in_range(rc, 0, 1);
			assert_well(wrong);
			got += (uint32_t)rc;
		}
		if (round)
			assert_well(world_run(&w, 200, THREAD_PER_RANK));
		world_close(&w);
	}
}

uint32_t send_until_full(struct stream *s, uint32_t most)
{
	int rc = 1;

	while (rc == 1 && s->sent < most)
		rc = stream_send(s);
	assert_in_range(rc, 0, 1);
	return s->sent;
}

static void slots_are_bounded(void **state)
{
	const struct traits traits = traits_of(transport);
	const char *wrong = NULL;
	struct stream *s;
	struct world w;
	uint32_t sent;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	sent = send_until_full(s, 100);
	assert_in_range(sent, two.slots, 100);
	if (!traits.buffers) {
		const void *data;
		uint32_t bytes, mark;
		void *slot;

		assert_int_equal(sent, two.slots);
		/* Peeking frees nothing, releasing does. */
		assert_true(stream_flush_wait(s, true));
		while (!s->recv->ops->peek(s->recv, &data, &bytes, &mark))
			;
		assert_int_equal(s->recv->ops->peek(s->recv, &data, &bytes, &mark), 1);
		assert_int_equal(s->send->ops->reserve(s->send, 1, &slot), 0);
		/* Soon, and perhaps two at a time: a transport may save messages that say so. */
		for (uint32_t i = 0; i < two.slots / 2; i++)
			assert_int_equal(stream_recv(s, &wrong), 1);
		for (int64_t end = hk_now_ns() + PATIENCE_NS;
		     s->send->ops->reserve(s->send, 1, &slot) != 1;)
			assert_true(hk_now_ns() < end);
	}
	assert_well(wrong);
	assert_well(world_run(&w, sent + 100, ONE_THREAD));
	world_close(&w);
}

static void reserve_repeats(void **state)
{
	const char *wrong = NULL;
	void *slot = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	for (uint32_t i = 0; i < 3 * two.slots; i++) {
		uint32_t bytes = i * 700;

		assert_int_equal(stream_reserve_wait(s, bytes, &slot), 1);
		for (unsigned again = 0; again < 3 * two.slots; again++) {
			slot = NULL;
			assert_int_equal(s->send->ops->reserve(s->send, bytes, &slot), 1);
			assert_non_null(slot);
			assert_in_range(s->send->ops->flush(s->send), 0, 1);
		}
		assert_int_equal(stream_send_bytes(s, bytes), 1);
		for (int64_t end = hk_now_ns() + PATIENCE_NS;
		     s->received == i && hk_now_ns() < end;)
			assert_in_range(s->send->ops->flush(s->send), 0, 1),
				assert_in_range(stream_recv_bytes(s, bytes, &wrong), 0, 1);
		assert_int_equal(s->received, i + 1);
		assert_well(wrong);
	}
	world_close(&w);
}

static void peek_repeats(void **state)
{
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	for (uint32_t i = 0; i < 3 * two.slots; i++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		const void *first = NULL, *again = NULL;
		uint32_t bytes[2], marks[2];
		void *slot = NULL;
		int rc = 0;

		/* One ahead, so that there is a next message that must not show. */
		while (s->sent < i + 2) {
			assert_int_equal(stream_reserve_wait(s, stream_bytes(s, s->sent), &slot),
					 1);
			assert_int_equal(stream_send(s), 1);
		}
		while (!rc && hk_now_ns() < end) {
			assert_in_range(s->send->ops->flush(s->send), 0, 1);
			rc = s->recv->ops->peek(s->recv, &first, &bytes[0], &marks[0]);
		}
		assert_int_equal(rc, 1);
		for (unsigned k = 0; k < 5; k++) {
			assert_int_equal(s->recv->ops->peek(s->recv, &again, &bytes[1], &marks[1]),
					 1);
			assert_ptr_equal(again, first);
			assert_int_equal(bytes[1], bytes[0]);
			assert_int_equal(marks[1], marks[0]);
		}
		assert_int_equal(stream_recv(s, &wrong), 1);
		assert_well(wrong);
	}
	world_close(&w);
}

static void both_directions_at_once(void **state)
{
	struct world w;

	world_open(&w, transport, &two);
	world_connect(&w, 0, 1, 0);
	world_connect(&w, 1, 0, 0);
	assert_well(world_run(&w, 500, ONE_THREAD));
	assert_well(world_run(&w, 1000, THREAD_PER_RANK));
	world_close(&w);
}

static void channels_are_independent(void **state)
{
	struct stream *full, *other;
	const char *wrong = NULL;
	void *slot = NULL;
	struct world w;

	world_open(&w, transport, &two);
	full = world_connect(&w, 0, 1, 0);
	other = world_connect(&w, 0, 1, 3);
	send_until_full(full, 50);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(
			stream_reserve_wait(other, stream_bytes(other, other->sent), &slot), 1);
		assert_int_equal(stream_send(other), 1);
		assert_int_equal(stream_deliver(other, &wrong), 1);
	}
	assert_well(wrong);
	world_connect(&w, 0, 1, 1);
	assert_well(world_run(&w, 200, ONE_THREAD));
	world_close(&w);
}

void connect_all_pairs(struct world *w)
{
	int n = w->config.nranks;

	/* All sends of all ranks first: no connect_send may wait for a connect_recv. */
	for (int i = 0; i < n * n; i++)
		if (i / n != i % n)
			world_connect_send(w, i / n, i % n, 0);
	for (int i = n * n - 1; i >= 0; i--)
		if (i / n != i % n)
			world_connect_recv(w, i / n, i % n, 0);
}

static void four_ranks_all_pairs(void **state)
{
	const struct world_config config = {.nranks = 4, .slots = 2, .slot_bytes = 4096};
	struct world w;

	world_open(&w, transport, &config);
	connect_all_pairs(&w);
	assert_well(world_run(&w, 100, ONE_THREAD));
	assert_well(world_run(&w, 300, THREAD_PER_RANK));
	world_close(&w);
}

static void sends_before_the_receiver_exists(void **state)
{
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	world_connect_send(&w, 0, 1, 0);
	s = &w.streams[0];
	assert_int_equal(send_until_full(s, two.slots), two.slots);
	world_connect_recv(&w, 0, 1, 0);
	assert_well(world_run(&w, 100, ONE_THREAD));
	world_close(&w);
}

/* In one thread the receivers can come first, so that none of them can wait for its sender. */
static void receives_before_the_sender_exists(void **state)
{
	const struct world_config config = {.nranks = 4, .slots = 2, .slot_bytes = 4096};
	const char *wrong = NULL;
	struct world w;

	world_open(&w, transport, &config);
	for (int i = 0; i < 4; i++)
		world_connect_recv(&w, i, (i + 1) % 4, 0);
	for (unsigned i = 0; i < 4; i++) {
		struct hk_endpoint *ep = w.ep[w.streams[i].dst];

		assert_int_equal(stream_recv(&w.streams[i], &wrong), 0);
		transport->arm(ep);
		assert_int_equal(stream_recv(&w.streams[i], &wrong), 0);
		transport->wait(ep, 1000000);
	}
	for (int i = 3; i >= 0; i--)
		world_connect_send(&w, i, (i + 1) % 4, 0);
	assert_well(wrong);
	assert_well(world_run(&w, 100, ONE_THREAD));
	assert_well(world_run(&w, 200, THREAD_PER_RANK));
	world_close(&w);
}

static const struct CMUnitTest checks[] = {
	cmocka_unit_test(tables_are_complete),
	cmocka_unit_test(neighbours_are_reachable),
	cmocka_unit_test(one_message_arrives),
	cmocka_unit_test(every_size_arrives),
	cmocka_unit_test(marks_travel),
	cmocka_unit_test(order_is_kept),
	cmocka_unit_test(long_slots_serve_short_messages_too),
	cmocka_unit_test(slots_are_bounded),
	cmocka_unit_test(reserve_repeats),
	cmocka_unit_test(peek_repeats),
	cmocka_unit_test(both_directions_at_once),
	cmocka_unit_test(channels_are_independent),
	cmocka_unit_test(four_ranks_all_pairs),
	cmocka_unit_test(sends_before_the_receiver_exists),
	cmocka_unit_test(receives_before_the_sender_exists),
	cmocka_unit_test(ping_pong),
	cmocka_unit_test(streaming),
	cmocka_unit_test(flushed_messages_need_no_sender),
	cmocka_unit_test(settled_messages_outlive_their_sender),
	cmocka_unit_test(what_was_received_settles),
	cmocka_unit_test(settle_ends_when_the_peer_leaves),
	cmocka_unit_test(wait_keeps_its_timeout),
	cmocka_unit_test(wait_ends_when_a_message_arrives),
	cmocka_unit_test(wait_ends_when_a_sender_comes),
	cmocka_unit_test(wait_ends_when_a_slot_is_free),
	cmocka_unit_test(close_with_messages_left),
	cmocka_unit_test(memory_is_reported),
	cmocka_unit_test(receiver_sees_death),
	cmocka_unit_test(sender_sees_death),
	cmocka_unit_test(others_survive_a_death),
	cmocka_unit_test(lent_messages_arrive),
	cmocka_unit_test(pulled_messages_arrive),
	cmocka_unit_test(lent_memory_comes_back_in_order),
	cmocka_unit_test(lender_sees_death),
	cmocka_unit_test(offered_messages_arrive),
	cmocka_unit_test(offered_and_lent_messages_arrive),
	cmocka_unit_test(offers_that_do_not_fit),
	cmocka_unit_test(a_long_offer_that_does_not_fit),
	cmocka_unit_test(severed_memory_is_left_alone),
	cmocka_unit_test(severed_loans_are_not_read),
};

int main(int argc, char **argv)
{
	transport = argc == 2 ? hk_transport_find(argv[1]) : NULL;
	if (!transport) {
		fprintf(stderr, "usage: %s TRANSPORT, where TRANSPORT is one of:", argv[0]);
		for (unsigned i = 0; i < hk_ntransports; i++)
			fprintf(stderr, " %s", hk_transports[i]->name);
		fprintf(stderr, "\n");
		return 2;
	}
	if (!world_can_open(transport)) {
		fprintf(stderr, "SKIPPED: %s is not to be had here\n", transport->name);
		return 77;
	}
	return cmocka_run_group_tests_name(transport->name, checks, NULL, NULL);
}
