/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections of several sockets: order restored, sockets that are killed in the middle, messages
 * that come twice, and peers that are late and not lost. Part of it is against bare sockets in the
 * sender's place.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <linux/tcp.h> /* its tcp_info knows more than the C library's */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "error.h"
#include "harness.h"

/* As in tcp.h, on purpose once more: a change there breaks the wire. */
#define STRIPE_TAG 0x746d0000u
#define MAGIC	   0x314b4f48u

#define MS     INT64_C(1000000)
#define IN_USE 1000 /* bytes that only a socket has carried that messages go over */

enum { ESTABLISHED = 1 }; /* tcpi_state */
enum { SOCKETS = 4 };	  /* of a connection: the first one, and HOCKET_TCP_SOCKETS */

static const struct world_config two = {.nranks = 2, .slots = 4, .slot_bytes = 65536};

static void nap(int64_t ns)
{
	const struct timespec t = {ns / 1000000000, ns % 1000000000};

	nanosleep(&t, NULL);
}

/* --- against bare sockets --- */

/* A world whose rank 1 is bare sockets that send to rank 0's receiver on channel 1. */
static void open_raw(struct world *w, int *socks, unsigned n)
{
	struct hk_wire *wire;

	world_open(w, hk_transport_find("tcp"), &two);
	wire = test_wires_rank(w->wires, 1);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(wire->ops->dial(wire, 0, STRIPE_TAG | i << 8 | 1, &socks[i]), 0);
	world_connect_recv(w, 1, 0, 1);
}

static void put_bytes(int sock, uint32_t number, uint8_t fill, size_t bytes)
{
	uint32_t frame[12] = {htole32(MAGIC), htole32(32), htole32(number * 3), htole32(number)};

	memset(frame + 4, fill, 32);
	assert_int_equal(send(sock, frame, bytes, MSG_NOSIGNAL), bytes);
}

static void put(int sock, uint32_t number)
{
	put_bytes(sock, number, (uint8_t)number, 48);
}

static int peek(struct hk_recv *r, const uint8_t **data, uint32_t *mark)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	const void *at = NULL;
	uint32_t bytes = 0;
	int rc = 0;

	while (!rc && hk_now_ns() < end)
		rc = r->ops->peek(r, &at, &bytes, mark);
	*data = at;
	return rc;
}

static void expect(struct hk_recv *r, uint32_t number)
{
	const uint8_t *data = NULL;
	uint32_t mark = 0;

	assert_int_equal(peek(r, &data, &mark), 1);
	assert_int_equal(mark, number * 3);
	assert_int_equal(data[0], (uint8_t)number);
	assert_int_equal(data[31], (uint8_t)number);
	assert_int_equal(r->ops->release(r), 0);
}

static void expect_nothing(struct hk_recv *r)
{
	const void *data;
	uint32_t bytes, mark;

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(r->ops->peek(r, &data, &bytes, &mark), 0);
}

static void numbers_are_the_order(void **state)
{
	int socks[3] = {-1, -1, -1};
	struct hk_recv *r;
	struct world w;

	open_raw(&w, socks, 3);
	r = w.streams[0].recv;
	put(socks[1], 1);
	put(socks[2], 2);
	put(socks[1], 4);
	put(socks[2], 3);
	expect_nothing(r);
	put(socks[0], 0);
	for (uint32_t i = 0; i < 5; i++)
		expect(r, i);
	expect_nothing(r);
	for (unsigned i = 0; i < 3; i++)
		close(socks[i]);
	world_close(&w);
}

/* What a sender does after it lost a socket: earlier messages come after later ones, some twice. */
static void messages_that_come_again(void **state)
{
	int socks[2] = {-1, -1};
	struct hk_recv *r;
	struct world w;

	open_raw(&w, socks, 2);
	r = w.streams[0].recv;
	put(socks[0], 0);
	put(socks[0], 1);
	put_bytes(socks[0], 3, 3, 47); /* torn */
	put(socks[1], 2);
	put(socks[1], 4);
	put(socks[1], 6);
	expect(r, 0);
	close(socks[0]);
	put(socks[1], 1);
	put(socks[1], 3);
	put(socks[1], 5);
	put(socks[1], 6); /* from yet another */
	put(socks[1], 7);
	for (uint32_t i = 1; i < 8; i++)
		expect(r, i);
	expect_nothing(r);
	close(socks[1]);
	world_close(&w);
}

/* A path's new socket comes while the old one still holds messages. */
static void a_path_is_replaced(void **state)
{
	int socks[2] = {-1, -1}, again = -1;
	struct hk_wire *wire;
	struct hk_recv *r;
	struct world w;

	open_raw(&w, socks, 2);
	r = w.streams[0].recv;
	wire = test_wires_rank(w.wires, 1);
	put(socks[1], 0);
	put(socks[1], 2);
	expect(r, 0);
	for (unsigned round = 0; round < 40; round++) {
		uint32_t n = 1 + round * 2;

		assert_int_equal(wire->ops->dial(wire, 0, STRIPE_TAG | 1 << 8 | 1, &again), 0);
		put(again, n);
		expect(r, n);
		expect(r, n + 1);
		put(again, n + 3);
		close(socks[1]);
		socks[1] = again;
	}
	close(socks[0]);
	close(socks[1]);
	world_close(&w);
}

static void nonsense_is_refused(void **state)
{
	for (unsigned variant = 0; variant < 3; variant++) {
		uint32_t bad[12] = {htole32(MAGIC), htole32(32), 0, htole32(1)}, mark;
		int socks[2] = {-1, -1};
		const uint8_t *data;
		struct hk_recv *r;
		struct world w;
		char byte;

		bad[variant] ^= htole32(0x40000000);
		if (variant == 2)
			bad[3] = htole32(0x50000000);
		open_raw(&w, socks, 2);
		r = w.streams[0].recv;
		put(socks[1], 0);
		expect(r, 0);
		assert_int_equal(send(socks[0], bad, sizeof(bad), MSG_NOSIGNAL), sizeof(bad));
		hk_set_last_error("");
		assert_int_equal(peek(r, &data, &mark), -HK_EWIRE);
		assert_non_null(strstr(hk_last_error(), "rank 1 sent a malformed message"));
		assert_int_equal(peek(r, &data, &mark), -HK_EWIRE);
		/* The sender learns it on all of its sockets. */
		for (unsigned i = 0; i < 2; i++) {
			assert_in_range(recv(socks[i], &byte, 1, 0) + 1, 0, 1);
			close(socks[i]);
		}
		world_close(&w);
	}
}

/* Bare sockets in the place of the receiver of rank 0's connection on channel 1: the first one and
 * those of the paths. */
static void answer_all(struct world *w, int socks[SOCKETS])
{
	struct hk_wire *wire = test_wires_rank(w->wires, 1);
	int64_t end = hk_now_ns() + PATIENCE_NS;

	for (unsigned i = 0; i < SOCKETS; i++) {
		int rc = 0;

		while (!rc && hk_now_ns() < end)
			rc = wire->ops->answer(wire, 0, STRIPE_TAG | i << 8 | 1, &socks[i]);
		assert_int_equal(rc, 1);
	}
}

/* Reads all that has come, and gives the kernels time for what follows. */
static void drain(const int socks[SOCKETS])
{
	static char bytes[65536];
	bool some = true;

	while (some) {
		some = false;
		nap(5 * MS);
		for (unsigned i = 0; i < SOCKETS; i++)
			some |= recv(socks[i], bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
	}
}

/* The last acknowledgement comes when nobody asks. Who waits then must not sleep on. */
static void waiting_ends_with_the_last_arrival(void **state)
{
	const struct world_config config = {
		.nranks = 2, .slots = 4, .slot_bytes = 65536, .sndbuf = 4096, .rcvbuf = 4096};
	struct stream s = {.dst = 1, .max_bytes = 65536};
	int socks[SOCKETS];
	unsigned waits = 0;
	struct world w;

	world_open(&w, hk_transport_find("tcp"), &config);
	s.send = world_connect_send(&w, 0, 1, 1);
	answer_all(&w, socks);
	assert_int_equal(stream_send_bytes(&s, 65536), 1);
	for (; !s.send->ops->flush(s.send); waits++) {
		int64_t start = hk_now_ns();

		drain(socks);
		w.transport->wait(w.ep[0], 20000 * MS);
		assert_in_range(hk_now_ns() - start, 0, 10000 * MS);
	}
	assert_true(waits > 0);
	for (unsigned i = 0; i < SOCKETS; i++)
		close(socks[i]);
	world_close(&w);
}

/* --- whole connections --- */

static void await_opened(struct world *w, unsigned sockets)
{
	const char *wrong = NULL;
	struct stream *s = &w->streams[0];
	int64_t end = hk_now_ns() + PATIENCE_NS;

	/* The opener's sockets are taken when something is sent. */
	for (unsigned i = 0; i < 20 * sockets; i++) {
		assert_int_equal(stream_send_bytes(s, 64), 1);
		nap(MS);
		while (s->received < s->sent) {
			assert_in_range(stream_recv_bytes(s, 64, &wrong), 0, 1);
			assert_true(hk_now_ns() < end);
		}
	}
	assert_null(wrong);
}

/* Connected TCP sockets of this process that carried so many bytes: up to `most`; how many. */
static unsigned find_sockets(int *fds, unsigned most, uint64_t carried)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e = readdir(dir); e && n < most; e = readdir(dir)) {
		int fd = atoi(e->d_name);
		struct tcp_info info = {0};
		socklen_t len = sizeof(info);

		/* One that was shut down at either end is still open, until that is noticed. */
		if (!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) &&
		    info.tcpi_state == ESTABLISHED &&
		    info.tcpi_bytes_acked + info.tcpi_bytes_received >= carried)
			fds[n++] = fd;
	}
	closedir(dir);
	return n;
}

struct killer {
	atomic_bool stop;
	atomic_uint killed;
};

/* Kills one socket at a time, either end, slowly enough for others to be dialled. */
static void *kill_some(void *arg)
{
	struct killer *k = arg;
	uint32_t random = 12345;

	while (!atomic_load(&k->stop)) {
		int fds[64];
		unsigned n;

		nap(300 * MS);
		/* One that is being dialled is no reason to kill the last that is in use. */
		n = find_sockets(fds, 64, IN_USE);
		random = random * 1664525 + 1013904223;
		/* Two of three pairs are left (the first socket is not dialled again). */
		if (n >= 6 && !shutdown(fds[(random >> 16) % n], SHUT_RDWR))
			k->killed++;
	}
	return NULL;
}

static void killed_sockets_lose_nothing(void **state)
{
	struct killer k = {.killed = 0};
	pthread_t thread;
	struct world w;

	world_open(&w, hk_transport_find("tcp"), &two);
	world_connect(&w, 0, 1, 0);
	await_opened(&w, 3);
	assert_int_equal(pthread_create(&thread, NULL, kill_some, &k), 0);
	for (uint32_t upto = 500; atomic_load(&k.killed) < 5 && upto < 1000000; upto += 200) {
		const char *wrong = world_run(&w, upto, THREAD_PER_RANK);

		if (wrong)
			fail_msg("%s: %s", wrong, hk_last_error());
	}
	atomic_store(&k.stop, true);
	pthread_join(thread, NULL);
	assert_true(atomic_load(&k.killed) >= 5);
	world_close(&w);
}

/* A receiver that does not look for longer than any timeout is late, and no more. */
static void late_is_not_lost(void **state)
{
	const struct world_config config = {
		.nranks = 2, .slots = 4, .slot_bytes = 65536, .sndbuf = 4096, .rcvbuf = 4096};
	int64_t start = hk_now_ns();
	struct stream *s;
	struct world w;

	world_open(&w, hk_transport_find("tcp"), &config);
	s = world_connect(&w, 0, 1, 0);
	while (hk_now_ns() - start < 1600 * MS) {
		assert_in_range(stream_send(s), 0, 1);
		w.transport->wait(w.ep[0], 20 * MS);
	}
	assert_int_equal(stream_send(s), 0);
	assert_null(world_run(&w, s->sent + 50, THREAD_PER_RANK));
	world_close(&w);
}

static void all_sockets_are_used(void **state)
{
	struct world w;
	int fds[64];
	unsigned n, used = 0;

	world_open(&w, hk_transport_find("tcp"), &two);
	world_connect(&w, 0, 1, 0);
	await_opened(&w, 3);
	assert_null(world_run(&w, 500, THREAD_PER_RANK));
	for (int64_t end = hk_now_ns() + PATIENCE_NS; (n = find_sockets(fds, 64, 0)) < 2 * SOCKETS;)
		assert_true(hk_now_ns() < end);
	/* Two ends each. */
	assert_int_equal(n, 2 * SOCKETS);
	for (unsigned i = 0; i < n; i++)
		used += shutdown(fds[i], SHUT_RDWR) == 0;
	assert_int_equal(used, 2 * SOCKETS);
	assert_in_range(-stream_send(&w.streams[0]) + 1, 0, HK_EPEER + 1);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_the_order),
		cmocka_unit_test(messages_that_come_again),
		cmocka_unit_test(a_path_is_replaced),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(waiting_ends_with_the_last_arrival),
		cmocka_unit_test(all_sockets_are_used),
		cmocka_unit_test(killed_sockets_lose_nothing),
		cmocka_unit_test(late_is_not_lost),
	};

	setenv("HOCKET_TCP_SOCKETS", "3", 0);
	setenv("HOCKET_TCP_FAILOVER_MS", "100", 1);
	setenv("HOCKET_TCP_TIMEOUT_MS", "1000", 1);
	return cmocka_run_group_tests_name("tcp stripe", tests, NULL, NULL);
}
