/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bootstrap among strangers: wrong keys, garbage, silence, slowness, replays, length bombs,
 * against the root, against a rank, and against who dials. Each test also lets genuine ranks meet
 * at the same time and asserts that they hardly notice.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "peers.h"

enum { SWIFT_MS = 4500 }; /* below the deadline of a handshake, 5 s, and far above a good run */

static struct hk_boot_addr root_addr(const uint8_t *bytes)
{
	struct hk_boot_id id;

	assert_int_equal(hk_boot_parse_id(bytes, HK_ID_BYTES, &id), 0);
	return id.addr[0];
}

static int connect_to(const struct hk_boot_addr *addr)
{
	struct sockaddr_storage sa;
	socklen_t len = hk_net_sockaddr(addr, &sa);
	struct timeval limit = {.tv_sec = 8};
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* Whether the other end closes without a byte. */
static bool hangs_up(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void gather_body(struct peer *p, struct hk_boot *b)
{
	int table[MOST_PEERS] = {0};

	table[p->rank] = p->rank + 5;
	expect(p, hk_boot_allgather(b, table, sizeof(int)) == 0, "all-gather");
	for (int r = 0; r < p->nranks; r++)
		expect(p, table[r] == r + 5, "gathered");
}

/* Ranks meet, and swiftly. */
static void assert_meets(struct peer *peers, int n)
{
	peers_run_well(peers, n);
	for (int i = 0; i < n; i++)
		assert_true(peers[i].took_ms < SWIFT_MS);
}

static void test_wrong_key(void **state)
{
	struct peer peers[4];

	peers_init(peers, 4, gather_body);
	for (int i = 0; i < 3; i++)
		peers[i].nranks = 3;
	peers[3].rank = 1;
	peers[3].id[20] ^= 1; /* in the secret */
	peers[2].delay_ms = 500;
	peers_run(peers, 4);
	for (int i = 0; i < 3; i++)
		assert_string_equal(peers[i].text, "");
	assert_int_equal(peers[3].err, -HK_EAUTH);
	assert_non_null(strstr(peers[3].text, "does not accept this unique id's secret"));
	assert_true(peers[3].took_ms < SWIFT_MS);
}

static void test_garbage(void **state)
{
	struct peer peers[3];
	struct hk_boot_addr addr;
	uint8_t bytes[HK_HELLO_BYTES];

	peers_init(peers, 3, gather_body);
	addr = root_addr(peers[0].id);
	for (unsigned len = 0; len <= sizeof(bytes); len += 4) {
		int fd = connect_to(&addr);

		for (unsigned i = 0; i < len; i++)
			bytes[i] = (uint8_t)(i * 37 + len);
		assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
		if (len == sizeof(bytes))
			assert_true(hangs_up(fd));
		close(fd); /* truncated otherwise */
	}
	assert_meets(peers, 3);
}

static void test_silent_crowd(void **state)
{
	enum { CROWD = 200 };
	struct peer peers[3];
	struct hk_boot_addr addr;
	int fds[CROWD];

	peers_init(peers, 3, gather_body);
	addr = root_addr(peers[0].id);
	for (int i = 0; i < CROWD; i++)
		fds[i] = connect_to(&addr);
	assert_meets(peers, 3);
	for (int i = 0; i < CROWD; i++)
		close(fds[i]);
}

/* More than the root examines at a time: the oldest make room. */
static void test_silent_multitude(void **state)
{
	enum { CROWD = 800 };
	struct peer peers[2];
	struct hk_boot_addr addr;
	int fds[CROWD];

	peers_init(peers, 2, gather_body);
	addr = root_addr(peers[0].id);
	for (int i = 0; i < CROWD; i++)
		fds[i] = connect_to(&addr);
	assert_meets(peers, 2);
	for (int i = 0; i < CROWD; i++)
		close(fds[i]);
}

struct slow {
	struct hk_boot_addr addr;
	atomic_bool stop;
	bool hung_up;
};

static void *send_slowly(void *arg)
{
	struct slow *slow = arg;
	int fd = connect_to(&slow->addr);
	int64_t until = now_ms() + 7000;
	char byte;

	/* A byte now and then never completes a hello. */
	while (now_ms() < until && !atomic_load(&slow->stop) && !slow->hung_up) {
		slow->hung_up =
			send(fd, "H", 1, MSG_NOSIGNAL) < 0 || recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
		usleep(60000);
	}
	close(fd);
	return NULL;
}

static void test_slow(void **state)
{
	struct peer peers[3];
	struct slow slow = {.stop = false};
	pthread_t thread;

	peers_init(peers, 3, gather_body);
	slow.addr = root_addr(peers[0].id);
	assert_int_equal(pthread_create(&thread, NULL, send_slowly, &slow), 0);
	peers[1].delay_ms = 300;
	assert_meets(peers, 3);
	atomic_store(&slow.stop, true);
	pthread_join(thread, NULL);
}

/* A root that still waits hangs up on the slow one after five seconds. */
static void test_slow_ends(void **state)
{
	struct peer peers[2];
	struct slow slow = {.stop = false};

	peers_init(peers, 2, NULL);
	slow.addr = root_addr(peers[0].id);
	send_slowly(&slow);
	assert_true(slow.hung_up);
	assert_meets(peers, 2);
}

/* What one sees who listens to a genuine join, and may say again. */
struct tape {
	uint8_t hello[HK_HELLO_BYTES], challenge[HK_CHALLENGE_BYTES], proof[HK_PROOF_BYTES];
	struct hk_boot_key key;
};

static struct hk_hello join_hello(uint32_t rank, uint32_t nranks)
{
	return (struct hk_hello){.purpose = HK_FOR_JOIN,
				 .src = rank,
				 .dst = HK_BOOT_ROOT,
				 .nranks = nranks,
				 .timeout_ms = 10000};
}

static void derive(const uint8_t *bytes, struct hk_boot_key *key)
{
	struct hk_boot_id id;

	assert_int_equal(hk_boot_parse_id(bytes, HK_ID_BYTES, &id), 0);
	hk_auth_key(&id, key);
}

/* A handshake by hand; the connection. */
static int shake_hands(const struct hk_boot_addr *addr, struct hk_hello hello, struct tape *t)
{
	int fd = connect_to(addr);

	hk_auth_hello(&t->key, &hello, t->hello);
	assert_int_equal(send(fd, t->hello, sizeof(t->hello), 0), sizeof(t->hello));
	assert_int_equal(recv(fd, t->challenge, sizeof(t->challenge), MSG_WAITALL),
			 sizeof(t->challenge));
	assert_true(hk_auth_check_challenge(&t->key, t->hello, t->challenge));
	hk_auth_proof(&t->key, t->hello, t->challenge, t->proof);
	assert_int_equal(send(fd, t->proof, sizeof(t->proof), 0), sizeof(t->proof));
	return fd;
}

static void test_replay(void **state)
{
	struct peer peers[2];
	struct hk_boot_addr addr;
	uint8_t again[HK_CHALLENGE_BYTES];
	struct tape t;
	int fd;

	peers_init(peers, 2, gather_body);
	addr = root_addr(peers[0].id);
	derive(peers[0].id, &t.key);
	close(shake_hands(&addr, join_hello(0, 2), &t));

	fd = connect_to(&addr);
	assert_int_equal(send(fd, t.hello, sizeof(t.hello), 0), sizeof(t.hello));
	assert_int_equal(recv(fd, again, sizeof(again), MSG_WAITALL), sizeof(again));
	assert_memory_not_equal(again, t.challenge, sizeof(again));
	assert_int_equal(send(fd, t.proof, sizeof(t.proof), 0), sizeof(t.proof));
	assert_true(hangs_up(fd));
	close(fd);

	/* Nor does the root's own answer prove anything when it is sent back. */
	fd = connect_to(&addr);
	assert_int_equal(send(fd, t.hello, sizeof(t.hello), 0), sizeof(t.hello));
	assert_int_equal(recv(fd, again, sizeof(again), MSG_WAITALL), sizeof(again));
	assert_int_equal(send(fd, again + 32, HK_PROOF_BYTES, 0), HK_PROOF_BYTES);
	assert_true(hangs_up(fd));
	close(fd);
	assert_meets(peers, 2);
}

/* Every bit of a hello is under its MAC: a changed one gets no answer. */
static void test_changed_hello(void **state)
{
	struct peer peers[2];
	struct hk_boot_addr addr;
	struct hk_hello hello = join_hello(0, 2);
	struct tape t;

	peers_init(peers, 2, gather_body);
	addr = root_addr(peers[0].id);
	derive(peers[0].id, &t.key);
	hk_auth_hello(&t.key, &hello, t.hello);
	for (unsigned i = 0; i < sizeof(t.hello); i += 3) {
		int fd = connect_to(&addr);

		t.hello[i] ^= 4;
		assert_int_equal(send(fd, t.hello, sizeof(t.hello), 0), sizeof(t.hello));
		assert_true(hangs_up(fd));
		t.hello[i] ^= 4;
		close(fd);
	}
	assert_meets(peers, 2);
}

/* Who knows the secret and then sends nonsense loses its connection, and no more than that. */
static void test_length_bombs(void **state)
{
	static const uint32_t lengths[] = {UINT32_MAX, 0x7fffffff, 65536, HK_JOIN_BYTES + 1};
	struct peer peers[2];
	struct hk_boot_addr addr;
	struct tape t;

	peers_init(peers, 2, gather_body);
	addr = root_addr(peers[0].id);
	derive(peers[0].id, &t.key);
	for (unsigned i = 0; i < 4; i++) {
		int fd = shake_hands(&addr, join_hello(1, 2), &t);
		uint8_t head[HK_FRAME_HEAD];

		hk_boot_format_head(HK_FRAME_JOIN, lengths[i], head);
		assert_int_equal(send(fd, head, sizeof(head), 0), sizeof(head));
		assert_true(hangs_up(fd));
		close(fd);
	}
	assert_meets(peers, 2);
}

static void test_bad_seal(void **state)
{
	struct peer peers[2];
	struct hk_boot_addr addr;
	uint8_t frame[HK_FRAME_OVER + HK_JOIN_BYTES] = {0};
	struct tape t;
	int fd;

	peers_init(peers, 2, gather_body);
	addr = root_addr(peers[0].id);
	derive(peers[0].id, &t.key);
	fd = shake_hands(&addr, join_hello(1, 2), &t);
	hk_boot_format_head(HK_FRAME_JOIN, HK_JOIN_BYTES, frame);
	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	assert_true(hangs_up(fd));
	close(fd);
	assert_meets(peers, 2);
}

/* The silent and the garbling against a rank's own listener, while its peer dials and fetches. */
static void crowd_body(struct peer *p, struct hk_boot *b)
{
	enum { CROWD = 200 };
	struct hk_wire *w = hk_boot_wire(b);
	int fds[CROWD], sock = -1, fd = -1;
	int64_t began;

	if (p->rank == 0)
		expect(p, w->ops->publish(w, 1, STDERR_FILENO) == 0, "publish");
	if (p->rank == 1)
		for (int i = 0; i < CROWD; i++) {
			fds[i] = connect_to(&b->contacts[0].addr[0]);
			if (i % 2)
				expect(p, send(fds[i], "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL) > 0,
				       "send");
		}
	hk_boot_barrier(b);
	began = now_ms();
	if (p->rank) {
		expect(p, w->ops->dial(w, 0, 1, &sock) == 0, "dial");
		expect(p, w->ops->fetch(w, 0, 1, &fd) == 0, "fetch");
		close(fd);
	} else {
		for (int r = 1; r < p->nranks; r++) {
			expect(p, await_dial(w, r, 1, 20000, &sock) == 1, "answer");
			if (r + 1 < p->nranks)
				close(sock);
		}
	}
	expect(p, now_ms() - began < SWIFT_MS, "swift");
	close(sock);
	hk_boot_barrier(b);
	expect(p, hk_boot_failed(b, NULL) == 0, "no failure");
	for (int i = 0; p->rank == 1 && i < CROWD; i++)
		close(fds[i]);
}

static void test_crowd_at_a_rank(void **state)
{
	struct peer peers[3];

	peers_init(peers, 3, crowd_body);
	peers_run_well(peers, 3);
}

/* A genuine rank's hello for one rank is worth nothing at another, and a descriptor is not to be
 * had over TCP. */
static void misdirected_body(struct peer *p, struct hk_boot *b)
{
	struct hk_hello hello = {.purpose = HK_FOR_DIAL, .src = 1, .dst = 1, .nranks = 2, .tag = 3};
	uint8_t bytes[HK_HELLO_BYTES];
	int fd;

	for (int i = 0; p->rank == 1 && i < 2; i++) {
		hk_auth_hello(&b->key, &hello, bytes);
		fd = connect_to(&b->contacts[0].addr[0]);
		expect(p, send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == sizeof(bytes), "send");
		expect(p, hangs_up(fd), i ? "no fetch over TCP" : "wrong rank");
		close(fd);
		hello.purpose = HK_FOR_FETCH;
		hello.dst = 0;
	}
	hk_boot_barrier(b);
}

static void test_misdirected(void **state)
{
	struct peer peers[2];

	peers_init(peers, 2, misdirected_body);
	peers_run_well(peers, 2);
}

/* An id whose first address belongs to somebody else, who accepts and says nothing, or hangs up,
 * or talks nonsense: the others are tried all the while. */
static void *be_rude(void *arg)
{
	int *listener = arg, held[64], n = 0;

	while (n < 64) {
		int fd = accept(*listener, NULL, NULL);

		if (fd < 0)
			break;
		if (n % 3 == 1)
			send(fd,
			     "220 mail.example.org "
			     "ESMTP\r\n0123456789012345678901234567890123456789",
			     68, MSG_NOSIGNAL);
		if (n % 3 == 2)
			shutdown(fd, SHUT_RDWR);
		held[n++] = fd;
	}
	while (n > 0)
		close(held[--n]);
	return NULL;
}

static void test_rogue_at_an_address(void **state)
{
	struct peer peers[3];
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	struct hk_boot_id id;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t thread;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(listener, 16), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(pthread_create(&thread, NULL, be_rude, &listener), 0);

	peers_init(peers, 3, gather_body);
	assert_int_equal(hk_boot_parse_id(peers[0].id, HK_ID_BYTES, &id), 0);
	memmove(&id.addr[1], &id.addr[0], 3 * sizeof(id.addr[0]));
	id.addr[0].port = ntohs(in.sin_port);
	for (int i = 0; i < 3; i++)
		hk_boot_format_id(&id, peers[i].id);
	assert_meets(peers, 3);
	shutdown(listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listener);
}

static void test_no_root(void **state)
{
	struct peer peer;
	struct hk_boot_id id = {.addr = {{.family = 4, .port = 1, .ip = {127, 0, 0, 1}}}};

	memset(&peer, 0, sizeof(peer));
	peer.nranks = 2;
	peer.timeout_ms = 400;
	hk_boot_format_id(&id, peer.id);
	peers_run(&peer, 1);
	assert_int_equal(peer.err, -ETIMEDOUT);
	assert_non_null(strstr(peer.text, "127.0.0.1:1 gave no answer within 0.4 s"));
	assert_non_null(strstr(peer.text, "is the process that made the id alive"));
	assert_true(peer.took_ms < 700);
}

static void test_join_parsers(void **state)
{
	static const struct hk_part bad[] = {{10, 1}, {0, 0}, {0, 11}, {9, 2}, {1, UINT32_MAX}};
	struct hk_join join = {.part = {7, 3}}, j;
	struct hk_offer offer = {0}, o;
	struct hk_wish choice = {-1, INT32_MIN}, c;
	uint8_t bytes[HK_JOIN_BYTES];

	join.contact.addr[0] = (struct hk_boot_addr){.family = 4, .port = 9, .ip = {127, 0, 0, 1}};
	offer.contact = join.contact;
	hk_boot_format_join(&join, bytes);
	assert_int_equal(hk_boot_parse_join(bytes, sizeof(bytes), 10, &j), 0);
	assert_int_equal(j.part.first, 7);
	assert_int_equal(j.part.count, 3);
	assert_int_equal(hk_boot_parse_join(bytes, sizeof(bytes), 9, &j), -HK_EWIRE);
	assert_int_equal(hk_boot_parse_join(bytes, sizeof(bytes) - 1, 10, &j), -HK_EWIRE);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		join.part = bad[i];
		hk_boot_format_join(&join, bytes);
		assert_int_equal(hk_boot_parse_join(bytes, sizeof(bytes), 10, &j), -HK_EWIRE);
	}
	hk_boot_format_offer(&offer, bytes);
	assert_int_equal(hk_boot_parse_offer(bytes, HK_OFFER_BYTES, &o), 0);
	assert_int_equal(o.contact.addr[0].port, 9);
	offer.code = -ENOMEM;
	hk_boot_format_offer(&offer, bytes);
	assert_int_equal(hk_boot_parse_offer(bytes, HK_OFFER_BYTES, &o), 0);
	assert_int_equal(o.code, -ENOMEM);
	offer.code = 5;
	hk_boot_format_offer(&offer, bytes);
	assert_int_equal(hk_boot_parse_offer(bytes, HK_OFFER_BYTES, &o), -HK_EWIRE);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(hk_boot_parse_offer(bytes, HK_OFFER_BYTES, &o), -HK_EWIRE);
	hk_boot_format_wish(&choice, bytes);
	hk_boot_parse_wish(bytes, &c);
	assert_int_equal(c.color, -1);
	assert_int_equal(c.key, INT32_MIN);
}

static void test_parsers(void **state)
{
	struct hk_contact contact = {.host = 7,
				     .addr = {{.family = 6, .port = 9, .ip = {1}},
					      {.family = 4, .port = 10, .ip = {2}}},
				     .local = {3}},
			  c;
	uint8_t bytes[HK_PARTNERS_BYTES], again[HK_CONTACT_BYTES], *p = bytes;
	const struct hk_contact *list[2] = {&contact, &contact};
	struct hk_contact many[HK_BOOT_MAX_ROUNDS];
	struct hk_notice notice = {HK_NOTICE_GAVE_UP, 3, -5}, m;
	struct hk_data data = {1, 65536, 15, 1u << 31}, d;
	struct hk_refusal r;
	uint32_t type, len;

	hk_boot_format_contact(&contact, p);
	assert_int_equal(hk_boot_parse_contact(p, HK_CONTACT_BYTES, &c), 0);
	hk_boot_format_contact(&c, again);
	assert_memory_equal(again, p, sizeof(again));
	assert_int_equal(hk_boot_parse_contact(p, HK_CONTACT_BYTES - 1, &c), -HK_EWIRE);
	p[8] = 5; /* no such family */
	assert_int_equal(hk_boot_parse_contact(p, HK_CONTACT_BYTES, &c), -HK_EWIRE);

	len = hk_boot_format_partners(list, 2, p);
	assert_int_equal(hk_boot_parse_partners(p, len, 2, many), 0);
	assert_int_equal(hk_boot_parse_partners(p, len, 1, many), -HK_EWIRE);
	assert_int_equal(hk_boot_parse_partners(p, len - 1, 2, many), -HK_EWIRE);
	p[0] = 255;
	assert_int_equal(hk_boot_parse_partners(p, len, 255, many), -HK_EWIRE);

	hk_boot_format_notice(&notice, p);
	assert_int_equal(hk_boot_parse_notice(p, HK_NOTICE_BYTES, 4, &m), 0);
	assert_int_equal(m.code, -5);
	assert_int_equal(hk_boot_parse_notice(p, HK_NOTICE_BYTES, 3, &m), -HK_EWIRE);

	hk_boot_format_data(&data, p);
	assert_int_equal(hk_boot_parse_data(p, HK_DATA_HEAD, &d), 0);
	assert_int_equal(hk_boot_parse_data(p, HK_DATA_HEAD - 1, &d), -HK_EWIRE);
	assert_int_equal(hk_boot_parse_data(p, HK_DATA_HEAD + HK_DATA_CHUNK + 1, &d), -HK_EWIRE);
	data.bytes++;
	hk_boot_format_data(&data, p);
	assert_int_equal(hk_boot_parse_data(p, HK_DATA_HEAD, &d), -HK_EWIRE);

	len = hk_boot_format_refusal(-EINVAL, "no\x1b[31m", p);
	assert_int_equal(hk_boot_parse_refusal(p, len, &r), 0);
	assert_string_equal(r.text, "no?[31m");
	assert_int_equal(hk_boot_parse_refusal(p, 4 + HK_BOOT_TEXT, &r), -HK_EWIRE);

	hk_boot_format_head(HK_FRAME_OK, 0, p);
	assert_int_equal(hk_boot_parse_head(p, HK_FRAME_HEAD, 100, &type, &len), 0);
	hk_boot_format_head(HK_FRAME_OK, 101, p);
	assert_int_equal(hk_boot_parse_head(p, HK_FRAME_HEAD, 100, &type, &len), -HK_EWIRE);
	hk_boot_format_head(99, 0, p);
	assert_int_equal(hk_boot_parse_head(p, HK_FRAME_HEAD, 100, &type, &len), -HK_EWIRE);
}

static void test_print_ranks(void **state)
{
	uint8_t mark[100] = {0};
	char text[160];

	mark[3] = 1;
	hk_boot_print_ranks(mark, 100, text, sizeof(text));
	assert_string_equal(text, "rank 3");
	mark[5] = mark[9] = 1;
	hk_boot_print_ranks(mark, 100, text, sizeof(text));
	assert_string_equal(text, "ranks 3, 5 and 9");
	memset(mark, 1, sizeof(mark));
	hk_boot_print_ranks(mark, 100, text, sizeof(text));
	assert_string_equal(text, "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 92 more");
	hk_boot_print_ranks(mark, 100, text, 10); /* cut, not overrun */
	assert_string_equal(text, "ranks 0, ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_parsers),	 cmocka_unit_test(test_parsers),
		cmocka_unit_test(test_print_ranks),	 cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_garbage),		 cmocka_unit_test(test_silent_crowd),
		cmocka_unit_test(test_silent_multitude), cmocka_unit_test(test_slow),
		cmocka_unit_test(test_slow_ends),	 cmocka_unit_test(test_replay),
		cmocka_unit_test(test_changed_hello),	 cmocka_unit_test(test_length_bombs),
		cmocka_unit_test(test_bad_seal),	 cmocka_unit_test(test_crowd_at_a_rank),
		cmocka_unit_test(test_misdirected),	 cmocka_unit_test(test_rogue_at_an_address),
		cmocka_unit_test(test_no_root),
	};

	peers_environment();
	assert_int_equal(hk_auth_init(), 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
