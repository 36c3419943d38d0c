/* SPDX-License-Identifier: BSD-3-Clause */
/* The bootstrap among well-behaved ranks, as threads of one process: joining, all-gather, barrier,
 * the wire, and every way in which a group can fail to come about or break. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot_internal.h"
#include "error.h"
#include "peers.h"

static void fill(uint8_t *entry, size_t bytes, int rank, unsigned salt)
{
	for (size_t i = 0; i < bytes; i++)
		entry[i] = (uint8_t)((unsigned)rank * 131 + i * 7 + (i >> 8) + salt);
}

static void gather_once(struct peer *p, struct hk_boot *b, size_t bytes, unsigned salt)
{
	uint8_t *table = calloc((size_t)p->nranks, bytes), *want = malloc(bytes);

	fill(table + (size_t)p->rank * bytes, bytes, p->rank, salt);
	expect(p, hk_boot_allgather(b, table, bytes) == 0, "all-gather");
	for (int r = 0; r < p->nranks; r++) {
		fill(want, bytes, r, salt);
		expect(p, !memcmp(table + (size_t)r * bytes, want, bytes), "gathered entry");
	}
	free(table);
	free(want);
}

static void gather_body(struct peer *p, struct hk_boot *b)
{
	static const size_t sizes[] = {1, 8, 1000, 16384, 16385, 65536};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		gather_once(p, b, sizes[i], i);
		expect(p, hk_boot_barrier(b) == 0, "barrier");
	}
	expect(p, hk_boot_failed(b, NULL) == 0, "not failed");
	expect(p, hk_boot_host(b, 0) == hk_boot_host(b, p->nranks - 1), "one host");
	expect(p, hk_boot_memory(b) > 1000 && hk_boot_memory(b) < 200000, "memory");
}

static void test_allgather(void **state)
{
	struct peer peers[MOST_PEERS];

	for (int n = 1; n <= 9; n++) {
		peers_init(peers, n, gather_body);
		peers_run_well(peers, n);
	}
}

static void late_body(struct peer *p, struct hk_boot *b)
{
	static _Atomic int entered;

	/* Nobody leaves a barrier before the last one enters. */
	usleep(p->rank == 3 ? 100000 : 0);
	entered++;
	expect(p, hk_boot_barrier(b) == 0, "barrier");
	expect(p, entered == p->nranks, "all entered");
}

static void test_barrier(void **state)
{
	struct peer peers[5];

	peers_init(peers, 5, late_body);
	peers_run_well(peers, 5);
}

static void mismatch_body(struct peer *p, struct hk_boot *b)
{
	uint8_t table[64] = {0};

	expect(p, hk_boot_allgather(b, table, p->rank ? 16 : 32) == -HK_EMISMATCH, "mismatch");
	expect(p, strstr(hk_last_error(), "same calls") != NULL, "sentence of the mismatch");
	expect(p, hk_boot_barrier(b) == -HK_EMISMATCH, "sticky");
	expect(p, hk_boot_allgather(b, table, 65537) == -EINVAL, "too long an entry");
}

static void test_allgather_mismatch(void **state)
{
	struct peer peers[2];

	peers_init(peers, 2, mismatch_body);
	peers_run_well(peers, 2);
}

static void absent_body(struct peer *p, struct hk_boot *b)
{
	int64_t began = now_ms();

	if (p->rank == 3) {
		usleep(1500000);
		return;
	}
	expect(p, hk_boot_barrier(b) == -ETIMEDOUT, "deadline");
	expect(p, now_ms() - began < 1400, "in time");
	expect(p, strstr(hk_last_error(), "3") != NULL, "names the missing rank");
	usleep(200000); /* a goodbye must not come before the others' deadlines */
}

static void test_allgather_deadline(void **state)
{
	struct peer peers[4];

	peers_init(peers, 4, absent_body);
	for (int i = 0; i < 4; i++)
		peers[i].timeout_ms = 1000;
	peers_run_well(peers, 4);
}

static void check_stream(struct peer *p, int sock)
{
	int one = 0;
	socklen_t len = sizeof(one);

	expect(p, !(fcntl(sock, F_GETFL) & O_NONBLOCK), "blocking");
	expect(p, fcntl(sock, F_GETFD) & FD_CLOEXEC, "close on exec");
	expect(p, !getsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, &len) && one, "TCP, no delay");
}

static void dial_body(struct peer *p, struct hk_boot *b)
{
	struct hk_wire *w = hk_boot_wire(b);
	int dialled[MOST_PEERS] = {0}, answered[MOST_PEERS] = {0}, got = -1;

	/* All dials before any answer: they must not need it. */
	for (int r = 0; r < p->nranks; r++)
		expect(p, w->ops->dial(w, r, 77, &dialled[r]) == 0, "dial");
	for (int r = 0; r < p->nranks; r++) {
		int message = 1000 * p->rank + r;

		check_stream(p, dialled[r]);
		expect(p, write(dialled[r], &message, sizeof(message)) == sizeof(message), "write");
	}
	for (int r = 0; r < p->nranks; r++) {
		expect(p, await_dial(w, r, 77, 5000, &answered[r]) == 1, "answer");
		check_stream(p, answered[r]);
		expect(p, read(answered[r], &got, sizeof(got)) == sizeof(got), "read");
		expect(p, got == 1000 * r + p->rank, "the right peer's message");
		close(answered[r]);
		close(dialled[r]);
	}
	expect(p, w->ops->dial(w, p->nranks, 1, &got) == -EINVAL, "no such rank");
	expect(p, w->ops->answer(w, -1, 1, &got) == -EINVAL, "no such rank either");
	hk_boot_barrier(b);
}

static void test_dial_all_pairs(void **state)
{
	struct peer peers[6];

	peers_init(peers, 6, dial_body);
	peers_run_well(peers, 6);
}

static void fetch_body(struct peer *p, struct hk_boot *b)
{
	struct hk_wire *w = hk_boot_wire(b);
	int fd, memfd = memfd_create("test", MFD_CLOEXEC), got = -1;

	expect(p, write(memfd, &p->rank, sizeof(p->rank)) == sizeof(p->rank), "write");
	/* Rank 1 is late: the fetches from it must wait. */
	usleep(p->rank == 1 ? 100000 : 0);
	expect(p, w->ops->publish(w, 5, memfd) == 0, "publish");
	expect(p, w->ops->publish(w, 5, memfd) == -EEXIST, "once per tag");
	close(memfd);
	for (int r = 0; r < p->nranks; r++) {
		expect(p, w->ops->fetch(w, r, 5, &fd) == 0, "fetch");
		expect(p, pread(fd, &got, sizeof(got), 0) == sizeof(got) && got == r, "content");
		close(fd);
	}
	hk_boot_barrier(b);
}

static void test_fetch(void **state)
{
	struct peer peers[3];

	peers_init(peers, 3, fetch_body);
	peers_run_well(peers, 3);
}

static void unanswered_body(struct peer *p, struct hk_boot *b)
{
	struct hk_wire *w = hk_boot_wire(b);
	int fd, peer = 1 - p->rank;

	if (p->rank == 0) {
		expect(p, w->ops->fetch(w, peer, 9, &fd) == -ETIMEDOUT, "fetch deadline");
		expect(p, strstr(hk_last_error(), "rank 1 did not publish") != NULL, "sentence");
	} else {
		int64_t began = now_ms();

		expect(p, w->ops->answer(w, peer, 9, &fd) == 0, "nobody has dialled");
		expect(p, now_ms() - began < 400, "answer does not wait");
	}
	hk_boot_barrier(b);
}

static void test_wire_deadlines(void **state)
{
	struct peer peers[2];

	peers_init(peers, 2, unanswered_body);
	peers[0].timeout_ms = peers[1].timeout_ms = 600;
	peers_run_well(peers, 2);
}

static void test_missing_ranks(void **state)
{
	struct peer peers[6];

	peers_init(peers, 6, NULL);
	for (int i = 0; i < 6; i++)
		peers[i].timeout_ms = 800;
	/* 0, 1 and 4 come; 2, 3 and 5 do not. */
	peers[2].rank = 4;
	peers_run(peers, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(peers[i].err, -ETIMEDOUT);
		assert_non_null(
			strstr(peers[i].text, "ranks 2, 3 and 5 never came (3 of 6 are here)"));
		assert_true(peers[i].took_ms < 1200);
	}
	/* A latecomer is told at once. */
	peers[5].timeout_ms = 20000;
	peers_run(&peers[5], 1);
	assert_int_equal(peers[5].err, -HK_EUSAGE);
	assert_non_null(strstr(peers[5].text, "ranks 2, 3 and 5 never came"));
	assert_true(peers[5].took_ms < 2000);
}

/* peers[count - 1] is odd; the last of the good ones comes after it. All are told at once. */
static void run_with_odd(struct peer *peers, int count, const char *words)
{
	peers[count - 1].delay_ms = 50;
	peers[count - 2].delay_ms = 200;
	peers_run(peers, count);
	for (int i = 0; i < count; i++) {
		assert_int_equal(peers[i].err, -HK_EUSAGE);
		if (!strstr(peers[i].text, words))
			fail_msg("'%s' does not say '%s'", peers[i].text, words);
		assert_true(peers[i].took_ms < 2000);
	}
}

static void test_odd_number_of_ranks(void **state)
{
	struct peer peers[4];

	peers_init(peers, 4, NULL);
	for (int i = 0; i < 3; i++)
		peers[i].nranks = 3;
	peers[3].rank = 2;
	run_with_odd(peers, 4, "rank 2 was started with 4 ranks, but the ranks before it with 3");
}

static void test_duplicate_rank(void **state)
{
	struct peer peers[4];

	peers_init(peers, 4, NULL);
	for (int i = 0; i < 4; i++)
		peers[i].nranks = 3;
	peers[3].rank = 1;
	run_with_odd(peers, 4, "rank 1 of 3 has joined already");
}

/* --- several roots --- */

static void test_parts(void **state)
{
	static const uint32_t sizes[][2] = {{1, 1}, {2, 1},  {2, 2},	  {7, 3},      {16, 5},
					    {9, 9}, {64, 7}, {1000, 999}, {65536, 255}};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t n = sizes[i][0], parts = sizes[i][1], next = 0;

		for (uint32_t p = 0; p < parts; p++) {
			struct hk_part part = hk_boot_part(n, parts, p);

			assert_int_equal(part.first, next);
			assert_in_range(part.count, n / parts, n / parts + 1);
			next += part.count;
		}
		assert_int_equal(next, n);
	}
}

static void test_several_roots(void **state)
{
	static const int sizes[][2] = {{2, 2}, {3, 2},	{5, 5},	 {8, 3},
				       {9, 4}, {16, 1}, {16, 7}, {16, 16}};
	struct peer peers[MOST_PEERS];

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		peers_init_parts(peers, sizes[i][0], sizes[i][1], gather_body);
		/* One part may be complete long before the others. */
		peers[sizes[i][0] - 1].delay_ms = 30;
		peers_run_well(peers, sizes[i][0]);
	}
}

static void test_several_roots_missing(void **state)
{
	struct peer peers[8];

	peers_init_parts(peers, 8, 4, NULL);
	for (int i = 0; i < 8; i++)
		peers[i].timeout_ms = 800;
	peers_run(peers, 7); /* 7, of the last part, does not come */
	for (int i = 0; i < 7; i++) {
		assert_int_not_equal(peers[i].err, 0);
		assert_true(peers[i].took_ms < 4000);
	}
	assert_non_null(strstr(peers[6].text, "rank 7 never came (1 of 2 are here)"));
	/* Ranks of other parts hear it from that root too, or from a rank that did. */
	for (int i = 0; i < 6; i++)
		assert_true(strstr(peers[i].text, "rank 7 never came") ||
			    strstr(peers[i].text, "gave up"));
}

/* Ids that are not the same for all, or in another order. */
static void test_several_roots_differ(void **state)
{
	struct peer peers[6];
	uint8_t one[HK_ID_BYTES];

	peers_init_parts(peers, 6, 2, NULL);
	memcpy(one, peers[5].ids, HK_ID_BYTES);
	memcpy(peers[5].ids, peers[5].ids + HK_ID_BYTES, HK_ID_BYTES);
	memcpy(peers[5].ids + HK_ID_BYTES, one, HK_ID_BYTES);
	peers[5].delay_ms = 50;
	for (int i = 0; i < 6; i++)
		peers[i].timeout_ms = 1000;
	peers_run(peers, 6);
	for (int i = 0; i < 6; i++)
		assert_int_not_equal(peers[i].err, 0);
	assert_int_equal(peers[5].err, -HK_EUSAGE);
	assert_non_null(strstr(peers[5].text, "the same ids in the same order"));
}

/* --- split --- */

/* Of nine ranks: 0 to 7 in colors by parity, in reverse order; 8 in none. */
static void split_body(struct peer *p, struct hk_boot *b)
{
	for (int round = 0; round < 3; round++) {
		int color = p->rank == 8 ? -1 : p->rank % 2, table[4] = {-1, -1, -1, -1};
		struct hk_boot *part = NULL;
		bool ours = false;

		expect(p, hk_boot_split(b, color, -(p->rank / 4), 20000, &part, &ours) == 0,
		       "split");
		/* The parent is in use meanwhile. */
		gather_once(p, b, 100, (unsigned)round);
		expect(p, (part == NULL) == (p->rank == 8), "a part for whoever has a color");
		if (!part)
			continue;
		expect(p, hk_boot_join(part) == 0, "join");
		/* Keys: ranks 4 to 7 first, and old ranks in order where keys are equal. */
		expect(p, hk_boot_nranks(part) == 4, "size of the part");
		expect(p, hk_boot_rank(part) == (p->rank / 4 ? 0 : 2) + p->rank % 4 / 2, "rank");
		table[hk_boot_rank(part)] = p->rank;
		expect(p, hk_boot_allgather(part, table, sizeof(int)) == 0, "all-gather of a part");
		for (int i = 0; i < 4; i++)
			expect(p, table[i] == (i < 2 ? 4 : 0) + i % 2 * 2 + color,
			       "order of the part");
		hk_boot_close(part);
	}
}

static void test_split(void **state)
{
	struct peer peers[9];

	peers_init(peers, 9, split_body);
	peers_run_well(peers, 9);
}

/* A part outlives its parent. */
static void outlive_body(struct peer *p, struct hk_boot *b)
{
	bool ours;

	expect(p, hk_boot_split(b, 0, p->rank, 20000, &p->boot, &ours) == 0, "split");
	expect(p, hk_boot_join(p->boot) == 0, "join");
}

static void test_split_outlives(void **state)
{
	struct peer peers[3], again[3];

	peers_init(peers, 3, outlive_body);
	peers_run_well(peers, 3);
	peers_init(again, 3, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hk_boot_failed(peers[i].boot, NULL), 0);
	for (int i = 0; i < 3; i++)
		hk_boot_close(peers[i].boot);
}

static void absent_split_body(struct peer *p, struct hk_boot *b)
{
	struct hk_boot *part = NULL;
	bool ours = true;

	if (p->rank == 3) {
		usleep(1000000);
		return;
	}
	expect(p, hk_boot_split(b, 0, 0, 500, &part, &ours) == -ETIMEDOUT, "deadline");
	expect(p, !ours && !part, "the parent's failure");
	expect(p, strstr(hk_last_error(), "0.5 s") && strstr(hk_last_error(), "3"),
	       "names the missing rank");
	usleep(300000);
}

static void test_split_deadline(void **state)
{
	struct peer peers[4];

	peers_init(peers, 4, absent_split_body);
	peers_run_well(peers, 4);
}

static void test_bad_arguments(void **state)
{
	uint8_t id[HK_ID_BYTES] = {0};
	struct hk_boot *b = NULL;

	assert_int_equal(hk_boot_open(id, 2, 0, 100, &b), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "all zeroes"));
	memset(id, 0xa5, sizeof(id));
	assert_int_equal(hk_boot_open(id, 2, 0, 100, &b), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "damaged"));
	assert_int_equal(hk_boot_open(id, 2, 2, 100, &b), -EINVAL);
	assert_int_equal(hk_boot_open(id, 0, 0, 100, &b), -EINVAL);
	assert_null(b);
	hk_boot_close(NULL);
}

static void abort_body(struct peer *p, struct hk_boot *b)
{
	const char *text = "";

	if (p->rank == 4) {
		hk_boot_barrier(b);
		hk_boot_abort(b, -ENOMEM);
		expect(p, hk_boot_failed(b, &text) == -HK_EABORT, "own abort");
		return;
	}
	hk_boot_barrier(b);
	/* One that sleeps in a call wakes up; the others poll. */
	if (p->rank == 0) {
		int fd;

		expect(p, await_dial(hk_boot_wire(b), 1, 1, 5000, &fd) == -HK_EPEER, "answer ends");
		expect(p, strstr(hk_last_error(), "rank 4 gave up") != NULL, "sentence");
		expect(p, hk_boot_barrier(b) == -HK_EPEER, "barrier ends");
	}
	expect(p, await_failure(b, 1000, &text) == -HK_EPEER, "abort noticed");
	expect(p, strstr(text, "rank 4 gave up (Cannot allocate memory)") != NULL, "sentence");
}

static void test_abort_floods(void **state)
{
	struct peer peers[9];

	peers_init(peers, 9, abort_body);
	peers_run_well(peers, 9);
}

static void goodbye_body(struct peer *p, struct hk_boot *b)
{
	hk_boot_barrier(b);
	if (p->rank % 2)
		return; /* closes */
	usleep(300000);
	expect(p, hk_boot_failed(b, NULL) == 0, "a goodbye is no failure");
}

static void test_goodbye(void **state)
{
	struct peer peers[5];

	peers_init(peers, 5, goodbye_body);
	peers_run_well(peers, 5);
}

/* Closing right after opening must not disturb those who are a little later. */
static void test_close_at_once(void **state)
{
	struct peer peers[7];

	for (int i = 0; i < 10; i++) {
		peers_init(peers, 7, NULL);
		peers_run_well(peers, 7);
	}
}

static void left_body(struct peer *p, struct hk_boot *b)
{
	int fd;

	hk_boot_barrier(b);
	if (p->rank == 1)
		return;
	usleep(100000);
	expect(p, hk_boot_wire(b)->ops->dial(hk_boot_wire(b), 1, 1, &fd) == -HK_EPEER, "dial");
	expect(p, strstr(hk_last_error(), "rank 1") && strstr(hk_last_error(), "no longer listens"),
	       "sentence");
	expect(p, hk_boot_barrier(b) == -HK_EPEER, "barrier with one who left");
	expect(p, strstr(hk_last_error(), "closed its communicator") != NULL,
	       "sentence of barrier");
}

static void test_calls_to_one_who_left(void **state)
{
	struct peer peers[2];

	peers_init(peers, 2, left_body);
	peers_run_well(peers, 2);
}

/* Three groups at the same time in one process. */
static void test_several_groups(void **state)
{
	struct peer peers[12];

	for (int g = 0; g < 3; g++)
		peers_init(peers + 4 * g, 4, gather_body);
	peers_run_well(peers, 12);
}

/* Comes first, while no other group is around. */
static void test_no_descriptors_leak(void **state)
{
	struct peer peers[3];
	int before = count_fds();
	int64_t until = now_ms() + 10000;

	peers_init(peers, 3, dial_body);
	peers_run_well(peers, 3);
	peers_init(peers, 2, fetch_body);
	peers_run_well(peers, 2);
	/* Also when opening fails. */
	peers_init(peers, 2, NULL);
	peers[0].timeout_ms = 200;
	peers_run(peers, 1);
	assert_int_equal(peers[0].err, -ETIMEDOUT);
	/* Roots linger for some seconds, for latecomers. */
	while (count_fds() > before && now_ms() < until)
		usleep(50000);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_descriptors_leak),
		cmocka_unit_test(test_allgather),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_allgather_mismatch),
		cmocka_unit_test(test_allgather_deadline),
		cmocka_unit_test(test_dial_all_pairs),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_wire_deadlines),
		cmocka_unit_test(test_missing_ranks),
		cmocka_unit_test(test_odd_number_of_ranks),
		cmocka_unit_test(test_duplicate_rank),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_several_roots),
		cmocka_unit_test(test_several_roots_missing),
		cmocka_unit_test(test_several_roots_differ),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_outlives),
		cmocka_unit_test(test_split_deadline),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_abort_floods),
		cmocka_unit_test(test_goodbye),
		cmocka_unit_test(test_close_at_once),
		cmocka_unit_test(test_calls_to_one_who_left),
		cmocka_unit_test(test_several_groups),
	};

	peers_environment();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
