/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop transport's faults: each does what loop.h says, and the same seed does it again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "harness.h"

static void open_loop(struct world *w, int nranks, const struct hk_loop_faults *faults)
{
	const struct world_config config = {
		.nranks = nranks, .slots = 4, .slot_bytes = 4096, .faults = faults};

	world_open(w, hk_transport_find("loop"), &config);
}

/* Every answer of the transport to three ranks that one thread steps, in order. */
static uint64_t trace_of(const struct hk_loop_faults *faults)
{
	uint64_t trace = 14695981039346656037u;
	const char *wrong = NULL;
	bool finished = false;
	struct world w;

	open_loop(&w, 3, faults);
	for (int i = 0; i < 9; i++)
		if (i / 3 != i % 3)
			world_connect(&w, i / 3, i % 3, 0);
	for (unsigned round = 0; !finished && round < 100000; round++) {
		finished = true;
		for (unsigned i = 0; i < w.nstreams; i++) {
			struct stream *s = &w.streams[i];
			int sent = s->sent < 200 ? stream_send(s) : 0;
			int received = s->received < 200 ? stream_recv(s, &wrong) : 0;

			assert_in_range(sent, 0, 1);
			assert_in_range(received, 0, 1);
			trace = (trace ^ (uint64_t)(sent * 2 + received)) * 1099511628211u;
			finished &= s->received == 200;
		}
	}
	assert_true(finished);
	assert_null(wrong);
	world_close(&w);
	return trace;
}

static void same_seed_same_trace(void **state)
{
	struct hk_loop_faults faults = {
		.seed = 7, .max_delay = 5, .max_slots = 3, .max_refusals = 4};
	uint64_t first = trace_of(&faults);

	assert_int_equal(trace_of(&faults), first);
	faults.seed = 8;
	assert_int_not_equal(trace_of(&faults), first);
	assert_int_equal(trace_of(NULL), trace_of(&(struct hk_loop_faults){.seed = 9}));
}

static void faults_lose_nothing_between_threads(void **state)
{
	const struct hk_loop_faults faults = {
		.seed = 3, .max_delay = 7, .max_slots = 2, .max_refusals = 3};
	struct world w;

	open_loop(&w, 4, &faults);
	for (int i = 0; i < 16; i++)
		if (i / 4 != i % 4)
			world_connect(&w, i / 4, i % 4, 0);
	assert_null(world_run(&w, 200, THREAD_PER_RANK));
	world_close(&w);
}

static void delays_hide_messages(void **state)
{
	const struct hk_loop_faults faults = {.seed = 1, .max_delay = 9};
	unsigned seen[10] = {0};
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	open_loop(&w, 2, &faults);
	s = world_connect(&w, 0, 1, 0);
	for (unsigned i = 0; i < 300; i++) {
		unsigned vain = 0;

		assert_int_equal(stream_send(s), 1);
		while (!stream_recv(s, &wrong))
			assert_in_range(++vain, 1, 9);
		seen[vain]++;
	}
	assert_null(wrong);
	for (unsigned i = 0; i < 10; i++)
		assert_true(seen[i] > 0);
	world_close(&w);
}

static void delays_let_connections_overtake(void **state)
{
	const struct hk_loop_faults faults = {.seed = 1, .max_delay = 3};
	unsigned overtaken = 0;
	struct stream *first, *second;
	const char *wrong = NULL;
	struct world w;

	open_loop(&w, 3, &faults);
	first = world_connect(&w, 0, 2, 0);
	second = world_connect(&w, 1, 2, 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(stream_send(first), 1);
		assert_int_equal(stream_send(second), 1);
		for (unsigned tries = 0; first->received == i || second->received == i; tries++) {
			assert_in_range(tries, 0, 10);
			if (first->received == i)
				assert_in_range(stream_recv(first, &wrong), 0, 1);
			if (second->received == i)
				assert_in_range(stream_recv(second, &wrong), 0, 1);
			overtaken += first->received == i && second->received > i;
		}
	}
	assert_null(wrong);
	assert_in_range(overtaken, 10, 1000);
	world_close(&w);
}

static void slots_can_be_short(void **state)
{
	const struct hk_loop_faults faults = {.seed = 1, .max_slots = 3};
	unsigned seen[4] = {0};
	struct world w;

	open_loop(&w, 8, &faults);
	for (int i = 0; i < 56; i++) {
		struct stream *s = world_connect(&w, i / 7, (i / 7 + i % 7 + 1) % 8, 0);

		while (stream_send(s))
			assert_in_range(s->sent, 1, 3);
		seen[s->sent]++;
		/* A fault is no news: the ends are told what was asked for. */
		assert_int_equal(s->send->slots, 4);
	}
	assert_int_equal(seen[0], 0);
	for (unsigned i = 1; i < 4; i++)
		assert_true(seen[i] > 0);
	assert_null(world_run(&w, 50, ONE_THREAD));
	world_close(&w);
}

static void reserve_can_refuse(void **state)
{
	const struct hk_loop_faults faults = {.seed = 1, .max_refusals = 5};
	unsigned seen[6] = {0};
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	open_loop(&w, 2, &faults);
	s = world_connect(&w, 0, 1, 0);
	for (unsigned i = 0; i < 200; i++) {
		unsigned refused = 0;

		while (!stream_send(s))
			assert_in_range(++refused, 1, 5);
		seen[refused]++;
		assert_int_equal(stream_recv(s, &wrong), 1);
	}
	assert_null(wrong);
	for (unsigned i = 0; i < 6; i++)
		assert_true(seen[i] > 0);
	world_close(&w);
}

/* --- hits --- */

static const struct hk_loop_faults *hit(enum hk_loop_hit_kind kind, uint64_t message)
{
	static struct hk_loop_faults faults;

	faults = (struct hk_loop_faults){
		.hits[1] = {.kind = kind, .src = 0, .dst = 1, .channel = 2, .message = message}};
	return &faults;
}

static void a_connection_can_die(void **state)
{
	struct stream *s, *back, *other;
	const char *wrong = NULL;
	struct world w;
	void *slot;

	open_loop(&w, 2, hit(HK_LOOP_KILL, 3));
	s = world_connect(&w, 0, 1, 2);
	back = world_connect(&w, 1, 0, 2);
	other = world_connect(&w, 0, 1, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(stream_send(s), 1);
	hk_set_last_error("");
	assert_int_equal(stream_send(s), -HK_EPEER);
	assert_non_null(strstr(hk_last_error(), "rank 1"));
	assert_int_equal(s->send->ops->reserve(s->send, 1, &slot), -HK_EPEER);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(stream_recv(s, &wrong), 1);
	hk_set_last_error("");
	assert_int_equal(stream_recv(s, &wrong), -HK_EPEER);
	assert_non_null(strstr(hk_last_error(), "rank 0"));
	assert_int_equal(stream_recv(s, &wrong), -HK_EPEER);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(stream_send(back), 1);
		assert_int_equal(stream_recv(back, &wrong), 1);
		assert_int_equal(stream_send(other), 1);
		assert_int_equal(stream_recv(other, &wrong), 1);
	}
	assert_null(wrong);
	world_close(&w);
}

static void a_message_can_vanish(void **state)
{
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	open_loop(&w, 2, hit(HK_LOOP_DROP, 2));
	s = world_connect(&w, 0, 1, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(stream_send(s), 1);
	assert_int_equal(stream_recv(s, &wrong), 1);
	assert_int_equal(stream_recv(s, &wrong), 1);
	s->received++;
	assert_int_equal(stream_recv(s, &wrong), 1);
	assert_int_equal(stream_recv(s, &wrong), 1);
	assert_null(wrong);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(stream_recv(s, &wrong), 0);
	world_close(&w);
}

/* Sends messages of `size` until number 4, the damaged one, is there to be peeked. */
static void peek_damaged(enum hk_loop_hit_kind kind, uint32_t size, uint32_t *bytes, uint32_t *mark)
{
	const char *wrong = NULL;
	const void *data;
	struct stream *s;
	struct world w;
	void *slot;

	open_loop(&w, 2, hit(kind, 4));
	s = world_connect(&w, 0, 1, 2);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(stream_send_bytes(s, size), 1);
		assert_int_equal(stream_recv_bytes(s, size, &wrong), 1);
	}
	assert_null(wrong);
	assert_int_equal(s->send->ops->reserve(s->send, size, &slot), 1);
	assert_int_equal(s->send->ops->commit(s->send, size, 0x1234), 0);
	assert_int_equal(s->recv->ops->peek(s->recv, &data, bytes, mark), 1);
	assert_int_equal(s->recv->ops->release(s->recv), 0);
	/* Only that one. */
	s->sent = s->received = 5;
	assert_int_equal(stream_send_bytes(s, size), 1);
	assert_int_equal(stream_recv_bytes(s, size, &wrong), 1);
	assert_null(wrong);
	world_close(&w);
}

static void a_message_can_be_damaged(void **state)
{
	uint32_t bytes, mark;

	peek_damaged(HK_LOOP_TRUNCATE, 100, &bytes, &mark);
	assert_int_equal(bytes, 99);
	assert_int_equal(mark, 0x1234);
	peek_damaged(HK_LOOP_TRUNCATE, 0, &bytes, &mark);
	assert_int_equal(bytes, 1);
	peek_damaged(HK_LOOP_MARK, 100, &bytes, &mark);
	assert_int_equal(bytes, 100);
	assert_int_equal(__builtin_popcount(mark ^ 0x1234), 1);
}

/* --- misuse --- */

static void a_world_is_checked(void **state)
{
	const struct hk_transport *t = hk_transport_find("loop");
	struct hk_endpoint_env env = {.nranks = 2, .slots = 4, .slot_bytes = 4096};
	struct hk_endpoint *ep[2] = {NULL}, *again = NULL;
	struct hk_loop *loop = NULL;
	struct hk_send *send = NULL;
	struct hk_recv *recv = NULL;
	struct hk_addr addr;

	assert_int_equal(hk_loop_create(0, NULL, &loop), -EINVAL);
	assert_int_equal(hk_loop_create(2, NULL, &loop), 0);
	assert_int_equal(t->open(&env, &ep[0], &addr), -ENOTSUP);
	assert_null(ep[0]);
	env.loop = loop;
	assert_int_equal(t->open(&env, &ep[0], &addr), 0);
	assert_int_equal(t->open(&env, &again, &addr), -EEXIST);
	env.rank = 2;
	assert_int_equal(t->open(&env, &again, &addr), -EINVAL);
	env.rank = 1;
	env.slots = 5;
	assert_int_equal(t->open(&env, &ep[1], &addr), 0);
	assert_int_equal(t->connect_send(ep[0], 1, 0, &addr, &send), 0);
	assert_int_equal(t->connect_recv(ep[1], 0, 0, &addr, &recv), -EINVAL);
	assert_null(recv);
	assert_int_equal(t->connect_send(ep[0], 1, 0, &addr, &send), -EEXIST);
	assert_int_equal(t->connect_send(ep[0], 2, 0, &addr, &send), -EINVAL);
	assert_int_equal(t->connect_recv(ep[0], 0, 0, &addr, &recv), -EINVAL);
	t->close(ep[0]);
	t->close(ep[1]);
	hk_loop_destroy(loop);
	hk_loop_destroy(NULL);
}

static void misuse_is_an_error(void **state)
{
	const char *wrong = NULL;
	struct stream *s, *t;
	struct world w;
	void *slot;

	open_loop(&w, 2, NULL);
	s = world_connect(&w, 0, 1, 0);
	t = world_connect(&w, 0, 1, 1);
	assert_int_equal(s->send->ops->commit(s->send, 1, 0), -EINVAL);
	assert_int_equal(s->send->ops->reserve(s->send, 1, &slot), -EINVAL);
	assert_int_equal(s->recv->ops->release(s->recv), -EINVAL);
	assert_int_equal(stream_recv(s, &wrong), -EINVAL);
	assert_int_equal(t->send->ops->reserve(t->send, 4097, &slot), -EINVAL);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_seed_same_trace),
		cmocka_unit_test(faults_lose_nothing_between_threads),
		cmocka_unit_test(delays_hide_messages),
		cmocka_unit_test(delays_let_connections_overtake),
		cmocka_unit_test(slots_can_be_short),
		cmocka_unit_test(reserve_can_refuse),
		cmocka_unit_test(a_connection_can_die),
		cmocka_unit_test(a_message_can_vanish),
		cmocka_unit_test(a_message_can_be_damaged),
		cmocka_unit_test(a_world_is_checked),
		cmocka_unit_test(misuse_is_an_error),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
