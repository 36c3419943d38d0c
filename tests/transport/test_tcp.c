/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tcp transport against a bare socket in the peer's place: what it puts on the wire, what it
 * does with bytes that make no sense or come in pieces, and how it lives with full buffers.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "error.h"
#include "harness.h"

/* As in tcp.c, on purpose once more: a change there breaks the wire. */
#define TAG   0x74637000u
#define MAGIC 0x314b4f48u

#define SLOT_BYTES 8192

struct frame {
	uint32_t magic, bytes, mark, number;
	uint8_t payload[48];
};

static struct frame frame_of(uint32_t bytes, uint32_t number)
{
	return (struct frame){htole32(MAGIC), htole32(bytes), htole32(9), htole32(number), "abc"};
}

/* A world whose rank 1 is a bare socket that sends to rank 0's receiver. */
static int open_raw_sender(struct world *w)
{
	const struct world_config config = {.nranks = 2, .slots = 2, .slot_bytes = SLOT_BYTES};
	struct hk_wire *wire;
	int sock = -1;

	world_open(w, hk_transport_find("tcp"), &config);
	wire = test_wires_rank(w->wires, 1);
	assert_int_equal(wire->ops->dial(wire, 0, TAG | 1, &sock), 0);
	world_connect_recv(w, 1, 0, 1);
	return sock;
}

static void put(int sock, const void *bytes, size_t n)
{
	assert_int_equal(send(sock, bytes, n, MSG_NOSIGNAL), n);
}

static int peek_wait(struct world *w, uint32_t *bytes, uint32_t *mark, const void **data)
{
	struct hk_recv *r = w->streams[0].recv;
	int64_t end = hk_now_ns() + PATIENCE_NS;
	int rc = 0;

	while (!rc && hk_now_ns() < end)
		rc = r->ops->peek(r, data, bytes, mark);
	return rc;
}

static void expect_error(struct world *w, int code, const char *words)
{
	struct hk_recv *r = w->streams[0].recv;
	uint32_t bytes, mark;
	const void *data;

	hk_set_last_error("");
	assert_int_equal(peek_wait(w, &bytes, &mark, &data), code);
	assert_non_null(strstr(hk_last_error(), "rank 1"));
	assert_non_null(strstr(hk_last_error(), words));
	hk_set_last_error("");
	assert_int_equal(r->ops->peek(r, &data, &bytes, &mark), code);
	assert_int_equal(r->ops->release(r), code);
	assert_string_equal(hk_last_error(), "");
}

/* Sends one good frame and then a bad one: the good one arrives, the bad one never shows, and the
 * sender is told by the end of its connection. */
static void expect_malformed(const struct frame *bad)
{
	struct frame good = frame_of(3, 0);
	struct hk_recv *r;
	uint32_t bytes, mark;
	const void *data;
	struct world w;
	uint8_t byte;
	int sock = open_raw_sender(&w);

	r = w.streams[0].recv;
	put(sock, &good, 32);
	put(sock, bad, 32);
	assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
	assert_int_equal(bytes, 3);
	assert_int_equal(mark, 9);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(r->ops->release(r), 0);
	expect_error(&w, -HK_EWIRE, "malformed");
	assert_in_range(recv(sock, &byte, 1, 0) + 1, 0, 1);
	close(sock);
	world_close(&w);
}

static void malformed_frames(void **state)
{
	struct frame bad = frame_of(3, 1);

	bad.magic ^= htole32(0x100);
	expect_malformed(&bad);
	bad = frame_of(SLOT_BYTES + 1, 1);
	expect_malformed(&bad);
	bad = frame_of(UINT32_MAX, 1);
	expect_malformed(&bad);
	bad = frame_of(3, 0);
	expect_malformed(&bad);
	bad = frame_of(3, 2);
	expect_malformed(&bad);
	memset(&bad, 0, sizeof(bad));
	expect_malformed(&bad);
}

static void truncated_frames(void **state)
{
	/* Nothing; a torn header; a header alone; a torn payload; all but one byte. */
	static const size_t cuts[] = {0, 5, 16, 18, 31};
	struct frame good = frame_of(3, 0);

	for (unsigned i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct world w;
		int sock = open_raw_sender(&w);

		if (cuts[i])
			put(sock, &good, cuts[i]);
		close(sock);
		expect_error(&w, -HK_EPEER, "closed");
		world_close(&w);
	}
}

static void reset_is_death(void **state)
{
	const struct linger hard = {1, 0};
	struct world w;
	int sock = open_raw_sender(&w);

	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	close(sock);
	expect_error(&w, -HK_EPEER, "closed");
	world_close(&w);
}

static void frames_byte_by_byte(void **state)
{
	uint32_t bytes, mark;
	const void *data;
	struct world w;
	int sock = open_raw_sender(&w);
	struct hk_recv *r = w.streams[0].recv;

	for (uint32_t number = 0; number < 20; number++) {
		struct frame f = frame_of(17 + number, number);
		size_t length = 16 + (17 + number + 15) / 16 * 16;

		memset(f.payload, (int)number, 17 + number);
		for (size_t i = 0; i < length; i++) {
			assert_int_equal(r->ops->peek(r, &data, &bytes, &mark), 0);
			put(sock, (uint8_t *)&f + i, 1);
		}
		assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
		assert_int_equal(bytes, 17 + number);
		assert_memory_equal(data, f.payload, bytes);
		assert_int_equal((uintptr_t)data % 16, 0);
		assert_int_equal(r->ops->release(r), 0);
	}
	close(sock);
	world_close(&w);
}

static void many_frames_in_one_write(void **state)
{
	enum { N = 500 };
	static struct frame frames[N];
	uint32_t bytes, mark;
	const void *data;
	struct world w;
	int sock = open_raw_sender(&w);
	struct hk_recv *r = w.streams[0].recv;

	for (uint32_t i = 0; i < N; i++) {
		frames[i] = frame_of(48, i);
		memset(frames[i].payload, (int)(i * 7), 48);
	}
	put(sock, frames, sizeof(frames));
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
		assert_int_equal(bytes, 48);
		assert_memory_equal(data, frames[i].payload, 48);
		assert_int_equal(r->ops->release(r), 0);
	}
	assert_int_equal(r->ops->peek(r, &data, &bytes, &mark), 0);
	close(sock);
	world_close(&w);
}

/* --- the sender's side --- */

static const struct world_config tight = {
	.nranks = 2, .slots = 4, .slot_bytes = 65536, .sndbuf = 2048, .rcvbuf = 2048};

static void the_wire_is_as_documented(void **state)
{
	const struct world_config config = {.nranks = 2, .slots = 2, .slot_bytes = SLOT_BYTES};
	struct frame want = frame_of(3, 0), got = {0};
	struct hk_send *s;
	struct hk_wire *wire;
	struct world w;
	int sock = -1;
	void *slot;

	world_open(&w, hk_transport_find("tcp"), &config);
	s = world_connect_send(&w, 0, 1, 1);
	wire = test_wires_rank(w.wires, 1);
	assert_int_equal(wire->ops->answer(wire, 0, TAG | 1, &sock), 1);
	assert_int_equal(s->ops->reserve(s, SLOT_BYTES, &slot), 1);
	memset(slot, 0xff, SLOT_BYTES);
	memcpy(slot, "abc", 3);
	assert_int_equal(s->ops->commit(s, 3, 9), 0);
	assert_int_equal(recv(sock, &got, 32, MSG_WAITALL), 32);
	assert_memory_equal(&got, &want, 32);
	/* An empty message is a header alone. */
	assert_int_equal(s->ops->reserve(s, 0, &slot), 1);
	assert_int_equal(s->ops->commit(s, 0, 9), 0);
	want = frame_of(0, 1);
	assert_int_equal(recv(sock, &got, 16, MSG_WAITALL), 16);
	assert_memory_equal(&got, &want, 16);
	assert_int_equal(recv(sock, &got, 1, MSG_DONTWAIT), -1);
	close(sock);
	world_close(&w);
}

static void short_writes(void **state)
{
	struct stream *s;
	struct world w;
	void *slot;

	world_open(&w, hk_transport_find("tcp"), &tight);
	s = world_connect(&w, 0, 1, 0);
	world_connect(&w, 1, 0, 0);
	for (unsigned i = 0; i < 100 && stream_send(s) == 1;)
		i++;
	/* Nobody reads, so the slots are full of messages that the kernel did not take. */
	assert_in_range(s->sent, 4, 99);
	assert_int_equal(s->send->ops->reserve(s->send, 1, &slot), 0);
	assert_int_equal(s->send->ops->flush(s->send), 0);
	assert_null(world_run(&w, 120, ONE_THREAD));
	assert_null(world_run(&w, 200, THREAD_PER_RANK));
	world_close(&w);
}

/* A reserved slot stays what it is while the messages before it leave. */
static void a_reserved_slot_survives_a_flush(void **state)
{
	const char *wrong = NULL;
	uint32_t bytes, mark;
	void *slot, *later;
	const void *data;
	struct stream *s;
	struct world w;

	world_open(&w, hk_transport_find("tcp"), &tight);
	s = world_connect(&w, 0, 1, 0);
	while (s->send->ops->flush(s->send) == 1)
		assert_int_equal(stream_send_bytes(s, 60000), 1);
	assert_int_equal(s->send->ops->reserve(s->send, 5, &slot), 1);
	memcpy(slot, "after", 5);
	for (int64_t end = hk_now_ns() + PATIENCE_NS; s->send->ops->flush(s->send) != 1;) {
		assert_in_range(stream_recv_bytes(s, 60000, &wrong), 0, 1);
		assert_true(hk_now_ns() < end);
	}
	assert_int_equal(s->send->ops->reserve(s->send, 5, &later), 1);
	assert_ptr_equal(later, slot);
	assert_int_equal(s->send->ops->commit(s->send, 5, 1), 0);
	for (int64_t end = hk_now_ns() + PATIENCE_NS; s->received < s->sent;) {
		assert_in_range(stream_recv_bytes(s, 60000, &wrong), 0, 1);
		assert_true(hk_now_ns() < end);
	}
	assert_null(wrong);
	assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
	assert_int_equal(bytes, 5);
	assert_memory_equal(data, "after", 5);
	world_close(&w);
}

static void death_with_messages_pending(void **state)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	struct stream *s;
	struct world w;
	int rc = 0;

	world_open(&w, hk_transport_find("tcp"), &tight);
	s = world_connect(&w, 0, 1, 0);
	while (stream_send(s) == 1)
		assert_in_range(s->sent, 0, 99);
	world_close_rank(&w, 1);
	while (rc >= 0 && hk_now_ns() < end)
		rc = s->send->ops->flush(s->send);
	assert_int_equal(rc, -HK_EPEER);
	assert_int_equal(stream_send(s), -HK_EPEER);
	world_close(&w);
}

/* --- waiting --- */

static void wait_alone_moves_what_is_pending(void **state)
{
	const char *wrong = NULL;
	struct stream *s;
	struct world w;

	world_open(&w, hk_transport_find("tcp"), &tight);
	s = world_connect(&w, 0, 1, 0);
	while (stream_send(s) == 1)
		assert_in_range(s->sent, 0, 99);
	for (int64_t end = hk_now_ns() + PATIENCE_NS; s->received < s->sent;) {
		w.transport->wait(w.ep[0], 1000000);
		assert_in_range(stream_recv(s, &wrong), 0, 1);
		assert_true(hk_now_ns() < end);
	}
	assert_null(wrong);
	world_close(&w);
}

/* A message that nobody asks for wakes once, then the wait is a sleep and no spin. */
static void wait_tells_once(void **state)
{
	struct frame good[2] = {frame_of(48, 0), frame_of(48, 1)};
	const int64_t timeout = 30000000;
	struct hk_recv *r;
	uint32_t bytes, mark;
	const void *data;
	struct world w;
	int64_t start;
	int sock = open_raw_sender(&w);

	r = w.streams[0].recv;
	put(sock, good, sizeof(good));
	w.transport->wait(w.ep[0], PATIENCE_NS);
	start = hk_now_ns();
	w.transport->wait(w.ep[0], timeout);
	assert_true(hk_now_ns() - start >= timeout);
	assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
	assert_int_equal(r->ops->release(r), 0);
	/* The second one is no longer in the socket, but it is there. */
	start = hk_now_ns();
	w.transport->wait(w.ep[0], PATIENCE_NS);
	assert_in_range(hk_now_ns() - start, 0, PATIENCE_NS / 4);
	assert_int_equal(peek_wait(&w, &bytes, &mark, &data), 1);
	close(sock);
	world_close(&w);
}

static void misuse_is_an_error(void **state)
{
	const struct hk_transport *t = hk_transport_find("tcp");
	struct hk_endpoint_env env = {.nranks = 2, .slots = 4, .slot_bytes = 4096};
	struct hk_endpoint *ep = NULL;
	struct hk_send *send = NULL;
	struct hk_recv *recv = NULL;
	struct hk_addr addr;
	struct stream *s, *o;
	struct world w;
	void *slot;

	assert_int_equal(t->open(&env, &ep, &addr), -ENOTSUP);
	world_open(&w, t, &(struct world_config){.nranks = 2, .slots = 2, .slot_bytes = 4096});
	env.wire = test_wires_rank(w.wires, 0);
	env.slot_bytes = 100;
	assert_int_equal(t->open(&env, &ep, &addr), -EINVAL);
	env.slot_bytes = 0xfffff000;
	assert_int_equal(t->open(&env, &ep, &addr), -EINVAL);
	assert_null(ep);
	assert_int_equal(t->connect_send(w.ep[0], 2, 0, &addr, &send), -EINVAL);
	assert_int_equal(t->connect_send(w.ep[0], 1, 256, &addr, &send), -EINVAL);
	assert_int_equal(t->connect_recv(w.ep[0], 0, 0, &addr, &recv), -EINVAL);
	assert_null(send);
	assert_null(recv);
	s = world_connect(&w, 0, 1, 0);
	o = world_connect(&w, 0, 1, 1);
	assert_int_equal(s->send->ops->commit(s->send, 1, 0), -EINVAL);
	assert_int_equal(s->send->ops->flush(s->send), -EINVAL);
	assert_int_equal(s->recv->ops->release(s->recv), -EINVAL);
	assert_int_equal(o->send->ops->reserve(o->send, 4097, &slot), -EINVAL);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_frames),
		cmocka_unit_test(truncated_frames),
		cmocka_unit_test(reset_is_death),
		cmocka_unit_test(frames_byte_by_byte),
		cmocka_unit_test(many_frames_in_one_write),
		cmocka_unit_test(the_wire_is_as_documented),
		cmocka_unit_test(short_writes),
		cmocka_unit_test(a_reserved_slot_survives_a_flush),
		cmocka_unit_test(death_with_messages_pending),
		cmocka_unit_test(wait_alone_moves_what_is_pending),
		cmocka_unit_test(wait_tells_once),
		cmocka_unit_test(misuse_is_an_error),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
