/* SPDX-License-Identifier: BSD-3-Clause */
/* The conformance checks of a connection's life: threads, sleeping and waking, closing, death. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "clock.h"
#include "conformance.h"
#include "error.h"

/* --- threads --- */

struct player {
	struct world *w;
	struct stream *out, *in;
	bool serves;
	const char *wrong;
};

static void *play(void *arg)
{
	struct player *p = arg;

	for (unsigned i = 0; i < 2000 && !p->wrong; i++) {
		bool sends = (i % 2 == 0) == p->serves;
		int64_t end = hk_now_ns() + PATIENCE_NS;
		bool armed = false;
		int rc = 0;

		while (!rc && hk_now_ns() < end) {
			rc = sends ? stream_send_bytes(p->out, 8)
				   : stream_recv_bytes(p->in, 8, &p->wrong);
			if (!rc)
				armed = sleep_in_turn(p->w->ep[!p->serves], armed, PATIENCE_NS);
		}
		if (rc != 1)
			p->wrong = sends ? "a ball was not thrown" : "a ball was not caught";
	}
	return NULL;
}

void ping_pong(void **state)
{
	struct player players[2];
	pthread_t other;
	struct world w;

	world_open(&w, transport, &two);
	world_connect(&w, 0, 1, 0);
	world_connect(&w, 1, 0, 0);
	players[0] = (struct player){&w, &w.streams[0], &w.streams[1], true, NULL};
	players[1] = (struct player){&w, &w.streams[1], &w.streams[0], false, NULL};
	assert_int_equal(pthread_create(&other, NULL, play, &players[1]), 0);
	play(&players[0]);
	pthread_join(other, NULL);
	assert_well(players[0].wrong);
	assert_well(players[1].wrong);
	world_close(&w);
}

void streaming(void **state)
{
	const struct world_config config = {.nranks = 2, .slots = 4, .slot_bytes = 32768};
	struct world w;

	world_open(&w, transport, &config);
	world_connect(&w, 0, 1, 0);
	assert_well(world_run(&w, 3000, THREAD_PER_RANK));
	world_close(&w);
}

/* Once flush says 1, the message arrives though its sender never calls the library again. */
void flushed_messages_need_no_sender(void **state)
{
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	assert_int_equal(s->send->ops->flush(s->send), 1);
	for (unsigned round = 0; round < 20; round++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		int rc = 0;

		send_until_full(s, s->sent + 1 + round % two.slots);
		while (!rc && hk_now_ns() < end) {
			rc = s->send->ops->flush(s->send);
			assert_in_range(rc, 0, 1);
			if (!rc)
				assert_in_range(stream_recv(s, &wrong), 0, 1);
		}
		assert_int_equal(rc, 1);
		while (s->received < s->sent)
			assert_int_equal(stream_recv_wait(s, &wrong), 1);
		assert_well(wrong);
	}
	world_close(&w);
}

/* Once settle says 1, it arrives though its sender's endpoint is closed. */
void settled_messages_outlive_their_sender(void **state)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	const char *wrong = NULL;
	struct stream *s;
	struct world w;
	int rc = 0;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	send_until_full(s, two.slots);
	while (!rc && hk_now_ns() < end) {
		rc = s->send->ops->settle(s->send);
		assert_in_range(rc, 0, 1);
		if (!rc)
			assert_in_range(stream_recv(s, &wrong), 0, 1);
	}
	assert_int_equal(rc, 1);
	world_close_rank(&w, 0);
	while (s->received < s->sent)
		assert_int_equal(stream_recv_wait(s, &wrong), 1);
	assert_well(wrong);
	world_close(&w);
}

/* What the receiver has had settles, though it does nothing more and has not told yet. */
void what_was_received_settles(void **state)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	s->max_bytes = 8;
	for (unsigned i = 1; i <= two.slots + 1; i++) {
		int rc = 0;

		assert_int_equal(stream_send(s), 1);
		while (s->received < s->sent)
			assert_int_equal(stream_deliver(s, &wrong), 1);
		while (!rc && hk_now_ns() < end)
			rc = s->send->ops->settle(s->send);
		assert_int_equal(rc, 1);
	}
	assert_well(wrong);
	world_close(&w);
}

/* A peer that will never make its half is not waited for once it has left. */
void settle_ends_when_the_peer_leaves(void **state)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	struct stream s = {.dst = 1, .max_bytes = 8};
	struct world w;

	if (traits_of(transport).devices)
		skip(); /* the ends of a link have to meet first */
	world_open(&w, transport, &two);
	s.send = world_connect_send(&w, 0, 1, 0);
	assert_int_equal(stream_send_bytes(&s, 8), 1);
	transport->leave(w.ep[1]);
	while (!s.send->ops->settle(s.send))
		assert_true(hk_now_ns() < end);
	world_close(&w);
}

void wait_keeps_its_timeout(void **state)
{
	static const int64_t timeouts[] = {0, -1, 1, 1000000, 20000000};
	struct world w;

	world_open(&w, transport, &two);
	world_connect(&w, 0, 1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(timeouts); i++) {
		int64_t start = hk_now_ns();

		transport->arm(w.ep[1]);
		transport->wait(w.ep[1], timeouts[i]);
		/* A busy machine may add to it. */
		assert_in_range(hk_now_ns() - start, 0, timeouts[i] + 1000000000);
	}
	world_close(&w);
}

/* Receives five messages that `sender` sends, sleeping whenever there is none. */
static void receive_five(struct world *w, struct stream *s, void *(*sender)(void *), void *arg)
{
	const char *wrong = NULL;
	void *failed = NULL;
	int64_t start = hk_now_ns();
	bool armed = false;
	pthread_t other;

	assert_int_equal(pthread_create(&other, NULL, sender, arg), 0);
	while (s->received < 5 && hk_now_ns() - start < PATIENCE_NS) {
		int rc = stream_recv(s, &wrong);

		if (rc < 0)
			break;
		if (!rc)
			armed = sleep_in_turn(w->ep[1], armed, PATIENCE_NS);
	}
	pthread_join(other, &failed);
	assert_null(failed);
	assert_well(wrong);
	assert_int_equal(s->received, 5);
	assert_in_range(hk_now_ns() - start, 0, PATIENCE_NS / 4);
}

static void *send_late(void *arg)
{
	const struct timespec nap = {0, 20000000};

	for (unsigned i = 0; i < 5; i++) {
		nanosleep(&nap, NULL);
		if (stream_send(arg) != 1 || !stream_flush_wait(arg, false))
			return arg;
	}
	return NULL;
}

/* Whoever waits after "not yet" is woken by what arrives, long before the timeout. */
void wait_ends_when_a_message_arrives(void **state)
{
	struct stream *s;
	struct world w;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	receive_five(&w, s, send_late, s);
	world_close(&w);
}

static void *connect_late(void *arg)
{
	const struct timespec nap = {0, 30000000};
	struct world *w = arg;
	struct stream *s = &w->streams[0];

	nanosleep(&nap, NULL);
	if (transport->connect_send(w->ep[0], 1, 0, &w->addr[1], &s->send))
		return arg;
	return send_late(s);
}

/* Also whoever waits on a connection whose sender has not made its half yet. */
void wait_ends_when_a_sender_comes(void **state)
{
	struct world w;

	world_open(&w, transport, &two);
	world_connect_recv(&w, 0, 1, 0);
	receive_five(&w, &w.streams[0], connect_late, &w);
	world_close(&w);
}

static void *recv_late(void *arg)
{
	const struct timespec nap = {0, 20000000};
	const char *wrong = NULL;
	struct stream *s = arg;

	nanosleep(&nap, NULL);
	for (unsigned i = 0; i < 400; i++)
		if (stream_recv_wait(s, &wrong) != 1 || wrong)
			return arg;
	return NULL;
}

/* Also whoever waits for a slot, or for the rest of its messages to leave. */
void wait_ends_when_a_slot_is_free(void **state)
{
	int64_t start = hk_now_ns();
	void *failed = NULL;
	bool armed = false;
	struct stream *s;
	pthread_t other;
	struct world w;
	int rc = 0;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	assert_int_equal(pthread_create(&other, NULL, recv_late, s), 0);
	while (hk_now_ns() - start < PATIENCE_NS) {
		bool sent_all = s->sent == 400;

		rc = sent_all ? s->send->ops->flush(s->send) : stream_send(s);
		if (rc < 0 || (sent_all && rc))
			break;
		if (!rc)
			armed = sleep_in_turn(w.ep[0], armed, PATIENCE_NS);
	}
	pthread_join(other, &failed);
	assert_null(failed);
	assert_int_equal(s->sent, 400);
	assert_in_range(hk_now_ns() - start, 0, PATIENCE_NS / 2);
	world_close(&w);
}

/* --- ends --- */

/* AddressSanitizer sees what is not freed. */
void close_with_messages_left(void **state)
{
	const void *data;
	uint32_t bytes, mark;
	struct stream *s;
	struct world w;
	void *slot;

	for (unsigned variant = 0; variant < 3; variant++) {
		world_open(&w, transport, &two);
		s = world_connect(&w, 0, 1, 0);
		world_connect_send(&w, 1, 0, 2);
		assert_in_range(send_until_full(s, 50), two.slots, 50);
		if (variant == 1)
			assert_in_range(s->recv->ops->peek(s->recv, &data, &bytes, &mark), 0, 1);
		if (variant == 2)
			assert_in_range(s->send->ops->reserve(s->send, 8, &slot), 0, 1);
		world_close(&w);
	}
}

void memory_is_reported(void **state)
{
	size_t before;
	struct world w;

	world_open(&w, transport, &two);
	before = transport->memory(w.ep[0]) + transport->memory(w.ep[1]);
	world_connect(&w, 0, 1, 0);
	world_connect(&w, 1, 0, 0);
	assert_well(world_run(&w, 20, ONE_THREAD));
	assert_true(transport->memory(w.ep[0]) > 0);
	assert_true(transport->memory(w.ep[1]) > 0);
	assert_true(transport->memory(w.ep[0]) + transport->memory(w.ep[1]) > before);
	world_close(&w);
}

void receiver_sees_death(void **state)
{
	const char *wrong = NULL;
	struct stream *s;
	struct world w;
	int rc;

	world_open(&w, transport, &two);
	s = world_connect(&w, 1, 0, 0);
	send_until_full(s, 3);
	assert_true(stream_flush_wait(s, true));
	world_close_rank(&w, 1);
	/* What was sent before still counts. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(stream_recv_wait(s, &wrong), 1);
	assert_well(wrong);
	hk_set_last_error("");
	rc = stream_recv_wait(s, &wrong);
	assert_int_equal(rc, -HK_EPEER);
	assert_non_null(strstr(hk_last_error(), "rank 1"));
	/* Sticky, and said once. */
	hk_set_last_error("");
	assert_int_equal(stream_recv(s, &wrong), -HK_EPEER);
	assert_int_equal(s->recv->ops->release(s->recv), -HK_EPEER);
	assert_string_equal(hk_last_error(), "");
	world_close(&w);
}

void sender_sees_death(void **state)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	struct stream *s;
	struct world w;
	void *slot;
	int rc = 0;

	world_open(&w, transport, &two);
	s = world_connect(&w, 0, 1, 0);
	send_until_full(s, 2);
	world_close_rank(&w, 1);
	hk_set_last_error("");
	while (rc >= 0 && hk_now_ns() < end)
		rc = stream_send_bytes(s, 100);
	assert_int_equal(rc, -HK_EPEER);
	assert_non_null(strstr(hk_last_error(), "rank 1"));
	hk_set_last_error("");
	assert_int_equal(s->send->ops->reserve(s->send, 1, &slot), -HK_EPEER);
	assert_int_equal(s->send->ops->commit(s->send, 1, 0), -HK_EPEER);
	assert_string_equal(hk_last_error(), "");
	world_close(&w);
}

/* A dead peer takes only its own connections with it. */
void others_survive_a_death(void **state)
{
	const struct world_config config = {.nranks = 3, .slots = 2, .slot_bytes = 4096};
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, transport, &config);
	connect_all_pairs(&w);
	assert_well(world_run(&w, 10, ONE_THREAD));
	world_close_rank(&w, 2);
	s = world_connect(&w, 0, 1, 1);
	for (unsigned i = 0; i < 50; i++) {
		int64_t end = hk_now_ns() + PATIENCE_NS;
		int rc = 0;

		/* A slot may be told of a little later than it was given back. */
		while (!rc && hk_now_ns() < end)
			rc = stream_send(s);
		assert_int_equal(rc, 1);
		transport->wait(w.ep[1], 1000);
		assert_int_equal(stream_deliver(s, &wrong), 1);
	}
	assert_well(wrong);
	world_close(&w);
}
