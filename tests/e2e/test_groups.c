/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Point-to-point and groups: any mix of operations and communicators, in orders that differ between
 * ranks, oneself included, several ranks in one thread, blocking and on streams; and what groups
 * refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

#define BIG 300000 /* elements: many slots */

static int32_t value(int from, int to, size_t i)
{
	return (int32_t)(from * 1000 + to * 37 + (int)(i % 977));
}

static void fill(int32_t *buf, int from, int to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = value(from, to, i);
}

static void verify(const int32_t *buf, int from, int to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(buf[i] == value(from, to, i));
}

static int32_t *space(size_t n)
{
	int32_t *p = calloc(n + 1, sizeof(*p));

	CHECK(p);
	return p;
}

static const size_t sizes[] = {0, 1, 12, 13, 1000, 8192, 8193, BIG};
#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

/* Back and forth without a group, collectives in between. */
static void run_ping_pong(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int32_t *buf = space(BIG);
	int n = r->nranks, next = (r->rank + 1) % n, prev = (r->rank + n - 1) % n;

	for (size_t s = 0; s < NSIZES; s++) {
		size_t count = sizes[s];

		/* Rank 0 begins the round trip, so that nobody waits for whom waits for it. */
		if (r->rank == 0) {
			fill(buf, 5, 6, count);
			OK(hocketSend(buf, count, hocketInt32, next, comm, NULL));
		}
		memset(buf, 0, count * sizeof(*buf));
		OK(hocketRecv(buf, count, hocketInt32, prev, comm, NULL));
		verify(buf, 5, 6, count);
		if (r->rank)
			OK(hocketSend(buf, count, hocketInt32, next, comm, NULL));
		OK(hocketBarrier(comm, NULL));
	}
	/* A small message leaves before its receive is called. */
	fill(buf, 1, 2, 8);
	OK(hocketSend(buf, 8, hocketInt32, next, comm, NULL));
	OK(hocketBarrier(comm, NULL));
	OK(hocketRecv(buf, 8, hocketInt32, prev, comm, NULL));
	verify(buf, 1, 2, 8);
	free(buf);
	CHECK(hocketSend(&comm, 1, hocketInt8, r->rank, comm, NULL) == hocketInvalidUsage);
	CHECK(hocketSend(&comm, 1, hocketInt8, r->nranks, comm, NULL) == hocketInvalidArgument);
	CHECK(hocketRecv(NULL, 1, hocketInt8, next, comm, NULL) == hocketInvalidArgument);
	OK(hocketCommDestroy(comm));
}

/* Everybody to everybody, oneself too; the orders of the calls differ between ranks. */
static void exchange(const struct rank *r, hocketComm_t comm, hocketStream_t stream, size_t count)
{
	int n = r->nranks;
	int32_t *out[16], *in[16];

	for (int k = 0; k < n; k++) {
		out[k] = space(count);
		in[k] = space(count);
		fill(out[k], r->rank, k, count);
	}
	OK(hocketGroupStart());
	for (int i = 0; i < n; i++) {
		int to = (i * 3 + r->rank) % n, from = (n - i + r->rank) % n;

		if (n % 3 == 0)
			to = (i + 2 * r->rank) % n;
		OK(hocketSend(out[to], count, hocketInt32, to, comm, stream));
		OK(hocketRecv(in[from], count, hocketInt32, from, comm, stream));
	}
	OK(hocketGroupEnd());
	if (stream)
		OK(hocketStreamSynchronize(stream));
	for (int k = 0; k < n; k++) {
		verify(in[k], k, r->rank, count);
		free(out[k]);
		free(in[k]);
	}
}

static void run_exchange(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketStream_t stream;

	OK(hocketStreamCreate(&stream));
	for (size_t s = 0; s < NSIZES; s++) {
		exchange(r, comm, NULL, sizes[s]);
		exchange(r, comm, stream, sizes[s]);
	}
	OK(hocketStreamDestroy(stream));
	OK(hocketCommDestroy(comm));
}

/* Two messages in one group meet two single receives, and the other way round. */
static void run_uneven_groups(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int32_t *a = space(BIG), *b = space(BIG);

	for (int round = 0; round < 4; round++) {
		if (r->rank == round % 2) {
			fill(a, 1, round, BIG);
			fill(b, 2, round, 100);
			OK(hocketGroupStart());
			OK(hocketSend(a, BIG, hocketInt32, !r->rank, comm, NULL));
			OK(hocketSend(b, 100, hocketInt32, !r->rank, comm, NULL));
			OK(hocketGroupEnd());
		} else {
			OK(hocketRecv(a, BIG, hocketInt32, !r->rank, comm, NULL));
			OK(hocketRecv(b, 100, hocketInt32, !r->rank, comm, NULL));
			verify(a, 1, round, BIG);
			verify(b, 2, round, 100);
		}
	}
	free(a);
	free(b);
	OK(hocketCommDestroy(comm));
}

/* Collectives of three communicators and messages, in another order on each rank. */
static void run_mix(struct rank *r)
{
	hocketComm_t comms[3];
	int n = r->nranks, next = (r->rank + 1) % n, prev = (r->rank + n - 1) % n;
	int32_t *sums[3], *gathered[3], *out = space(BIG), *in = space(BIG);

	comms[0] = e2e_init(r, NULL);
	for (int i = 1; i < 3; i++)
		OK(hocketCommInitRank(&comms[i], n, e2e_share_id(r, comms[0]), r->rank));
	for (int i = 0; i < 3; i++) {
		sums[i] = space(5000);
		gathered[i] = space((size_t)n * 5000);
	}
	for (int round = 0; round < 20; round++) {
		size_t count = (size_t)(round * 250 + 1);

		fill(out, r->rank, next, BIG);
		OK(hocketGroupStart());
		for (int k = 0; k < 4; k++) {
			int what = (k + r->rank + round) % 4;

			if (what == 3) {
				OK(hocketSend(out, BIG, hocketInt32, next, comms[1], NULL));
				continue;
			}
			for (size_t i = 0; i < count; i++)
				sums[what][i] = r->rank + what + (int)i;
			OK(hocketAllReduce(sums[what], sums[what], count, hocketInt32, hocketSum,
					   comms[what], NULL));
			OK(hocketAllGather(out, gathered[what], count, hocketInt32, comms[what],
					   NULL));
		}
		OK(hocketRecv(in, BIG, hocketInt32, prev, comms[1], NULL));
		OK(hocketGroupEnd());
		verify(in, prev, r->rank, BIG);
		for (int what = 0; what < 3; what++) {
			for (size_t i = 0; i < count; i++)
				CHECK(sums[what][i] == n * (n - 1) / 2 + n * (what + (int)i));
			for (int k = 0; k < n; k++)
				verify(gathered[what] + (size_t)k * count, k, (k + 1) % n, count);
		}
	}
	for (int i = 0; i < 3; i++) {
		free(sums[i]);
		free(gathered[i]);
		OK(hocketCommDestroy(comms[i]));
	}
	free(out);
	free(in);
}

/* All ranks in this thread, without streams, with one, and with one for each. */
static void run_one_thread(struct rank *r)
{
	enum { N = 4 };
	hocketComm_t comms[N];
	hocketStream_t streams[N];
	int32_t *in[N], *out[N];
	size_t count = 40000;

	OK(hocketCommInitAll(comms, N, NULL));
	for (int i = 0; i < N; i++) {
		OK(hocketStreamCreate(&streams[i]));
		in[i] = space(count);
		out[i] = space(N * count);
		fill(in[i], i, 0, count);
	}
	for (int round = 0; round < 6; round++) {
		OK(hocketGroupStart());
		for (int i = 0; i < N; i++) {
			int at = (i + round) % N, mode = round % 3;
			hocketStream_t s = mode == 0 ? NULL : streams[mode == 1 ? 0 : at];

			OK(hocketAllGather(in[at], out[at], count, hocketInt32, comms[at], s));
			OK(hocketGroupStart());
			OK(hocketBarrier(comms[at], mode == 2 ? streams[0] : s));
			OK(hocketGroupEnd());
		}
		OK(hocketGroupEnd());
		for (int i = 0; i < N; i++)
			OK(hocketStreamSynchronize(streams[i]));
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				verify(out[i] + (size_t)k * count, k, 0, count);
				memset(out[i] + (size_t)k * count, 0, count * sizeof(int32_t));
			}
	}
	for (int i = 0; i < N; i++) {
		OK(hocketStreamDestroy(streams[i]));
		OK(hocketCommDestroy(comms[i]));
		free(in[i]);
		free(out[i]);
	}
}

/* One thread makes all ranks of two communicators, and splits them. */
static void run_make(struct rank *r)
{
	enum { N = 3 };
	hocketComm_t comms[2][N], halves[N];
	hocketUniqueId ids[2];
	int32_t in[N], out[N];

	OK(hocketGetUniqueId(&ids[0]));
	OK(hocketGetUniqueId(&ids[1]));
	OK(hocketGroupStart());
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			OK(hocketCommInitRank(&comms[k][i], N, ids[k], i));
	OK(hocketGroupEnd());
	OK(hocketGroupStart());
	for (int i = 0; i < N; i++)
		OK(hocketCommSplit(comms[0][i], i == 2 ? HOCKET_SPLIT_NOCOLOR : 0, -i, &halves[i],
				   NULL));
	OK(hocketGroupEnd());
	CHECK(!halves[2]);
	OK(hocketGroupStart());
	for (int i = 0; i < N; i++) {
		in[i] = i + 1;
		OK(hocketAllReduce(&in[i], &out[i], 1, hocketInt32, hocketSum, comms[1][i], NULL));
	}
	OK(hocketGroupEnd());
	for (int i = 0; i < N; i++)
		CHECK(out[i] == 6);
	OK(hocketGroupStart());
	for (int i = 0; i < 2; i++)
		OK(hocketAllReduce(&in[i], &out[i], 1, hocketInt32, hocketSum, halves[i], NULL));
	OK(hocketGroupEnd());
	CHECK(out[0] == 3 && out[1] == 3);
	for (int i = 0; i < N; i++) {
		OK(hocketCommDestroy(comms[0][i]));
		OK(hocketCommDestroy(comms[1][i]));
		if (i < 2)
			OK(hocketCommDestroy(halves[i]));
	}
	/* One that makes no sense drops those that were begun. */
	OK(hocketGetUniqueId(&ids[0]));
	OK(hocketGroupStart());
	OK(hocketCommInitRank(&comms[0][0], 2, ids[0], 0));
	CHECK(hocketCommInitRank(&comms[0][1], 2, ids[0], 2) == hocketInvalidArgument);
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	CHECK(!comms[0][0]);
}

/* A group that can't run does not run, and the next one does. */
static void run_refused(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int32_t x = 1, y = 0, z[2] = {7, 8};
	hocketStream_t s;

	OK(hocketStreamCreate(&s));
	CHECK(hocketGroupEnd() == hocketInvalidUsage);
	OK(hocketGroupStart());
	OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL));
	CHECK(hocketAllReduce(&x, &y, 1, (hocketDataType_t)99, hocketSum, comm, NULL) ==
	      hocketInvalidArgument);
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "99"));
	CHECK(y == 0);

	OK(hocketGroupStart());
	OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL));
	OK(hocketBarrier(comm, s));
	CHECK(hocketGroupEnd() == hocketInvalidUsage);

	OK(hocketGroupStart());
	OK(hocketSend(z, 2, hocketInt32, r->rank, comm, NULL));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	OK(hocketGroupStart());
	OK(hocketSend(z, 2, hocketInt32, r->rank, comm, NULL));
	OK(hocketRecv(z, 1, hocketInt32, r->rank, comm, NULL));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "8 bytes"));

	OK(hocketGroupStart());
	OK(hocketGroupEnd());
	OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL));
	CHECK(y == r->nranks);
	OK(hocketStreamDestroy(s));
	OK(hocketCommDestroy(comm));
}

/* A receive of another length than its send. */
static void mismatch(const struct rank *r, size_t sends, size_t receives, const char *says)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	int32_t *buf = space(BIG);
	hocketComm_t comm;
	hocketResult_t res, async = hocketSuccess;

	config.timeoutMs = 5000;
	comm = e2e_init(r, &config);
	if (r->rank == 0) {
		res = hocketSend(buf, sends, hocketInt32, 1, comm, NULL);
		CHECK(res == hocketSuccess || res == hocketInvalidUsage ||
		      res == hocketRemoteError);
		/* Its end must not be what the other hears of first. */
		for (int i = 0; i < 5000 && async == hocketSuccess; i++) {
			usleep(2000);
			OK(hocketCommGetAsyncError(comm, &async));
		}
		CHECK(async == hocketRemoteError || async == hocketInvalidUsage);
	} else {
		CHECK(hocketRecv(buf, receives, hocketInt32, 0, comm, NULL) == hocketInvalidUsage);
		if (!strstr(hocketGetLastError(comm), says))
			fprintf(stderr, "not '%s'\n", says);
		CHECK(strstr(hocketGetLastError(comm), says));
	}
	OK(hocketCommAbort(comm));
	free(buf);
}

/* Found out at the first message, which tells all if it is the last. */
static void run_mismatch(struct rank *r)
{
	mismatch(r, BIG, BIG - 8192, "of bytes than it should, at least ");
}

static void run_mismatch_short(struct rank *r)
{
	mismatch(r, 3, 5, "rank 0 sends 12 bytes, where rank 1 receives 20 bytes from it");
}

/* With as many channels as there can be, and an algorithm that uses twice as many: messages are not
 * in its way. */
static void run_channels(struct rank *r)
{
	int32_t *in = space(BIG), *out = space(BIG), *sum = space(BIG);
	int n = r->nranks, next = (r->rank + 1) % n, prev = (r->rank + n - 1) % n;
	const char *name = "";
	char host[16];
	hocketComm_t comm;

	snprintf(host, sizeof(host), "host%d", r->rank / 2);
	setenv("HOCKET_HOST_ID", host, 1);
	comm = e2e_init(r, NULL);
	OK(hocketCommGetAlgorithm(comm, "all_reduce", BIG * sizeof(*in), &name, NULL));
	CHECK(!strcmp(name, "hierarchical_all_reduce"));
	for (int round = 0; round < 4; round++) {
		fill(in, r->rank, next, BIG);
		memset(out, 0, BIG * sizeof(*out));
		OK(hocketGroupStart());
		OK(hocketSend(in, BIG, hocketInt32, next, comm, NULL));
		OK(hocketAllReduce(in, sum, BIG, hocketInt32, hocketSum, comm, NULL));
		OK(hocketRecv(out, BIG, hocketInt32, prev, comm, NULL));
		OK(hocketGroupEnd());
		verify(out, prev, r->rank, BIG);
	}
	free(in);
	free(out);
	free(sum);
	OK(hocketCommDestroy(comm));
}

/* More patterns of peers than the communicator keeps, each twice. */
static void run_patterns(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int peer = !r->rank;
	int32_t in[9], out[9];

	for (unsigned pattern = 0; pattern < 400; pattern++) {
		unsigned bits = pattern / 2 % 200 + 256; /* which of 9 are sends; odd: self */

		OK(hocketGroupStart());
		for (unsigned i = 0; i < 9; i++) {
			bool send = (bits >> i & 1) == (unsigned)r->rank % 2;

			in[i] = (int32_t)(pattern * 100 + i);
			out[i] = -1;
			if (send)
				OK(hocketSend(&in[i], 1, hocketInt32, peer, comm, NULL));
			else
				OK(hocketRecv(&out[i], 1, hocketInt32, peer, comm, NULL));
		}
		OK(hocketGroupEnd());
		for (unsigned i = 0; i < 9; i++)
			CHECK(((bits >> i & 1) == (unsigned)r->rank % 2) ? out[i] == -1
									 : out[i] == in[i]);
	}
	OK(hocketCommDestroy(comm));
}

/* How much memory there is may be asked while queued calls make plans. */
static void run_memory(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t before = 0, bytes = 0;
	int32_t *buf = space(1 << 16);
	hocketStream_t s;

	OK(hocketStreamCreate(&s));
	OK(hocketCommMemory(comm, &before));
	for (size_t count = 1; count <= 1 << 16; count *= 2) {
		OK(hocketAllReduce(buf, buf, count, hocketInt32, hocketSum, comm, s));
		OK(hocketBroadcast(buf, buf, count, hocketInt32, (int)count % 2, comm, s));
		OK(hocketCommMemory(comm, &bytes));
		CHECK(bytes > before);
	}
	OK(hocketStreamDestroy(s));
	OK(hocketCommDestroy(comm));
	free(buf);
}

static const struct scenario scenarios[] = {{"ping_pong", run_ping_pong},
					    {"exchange", run_exchange},
					    {"uneven_groups", run_uneven_groups},
					    {"mix", run_mix},
					    {"one_thread", run_one_thread},
					    {"make", run_make},
					    {"refused", run_refused},
					    {"mismatch", run_mismatch},
					    {"mismatch_short", run_mismatch_short},
					    {"channels", run_channels},
					    {"patterns", run_patterns},
					    {"memory", run_memory},
					    {NULL, NULL}};

static void over(const char *transports, const char *scenario, int n)
{
	if (transports)
		setenv("HOCKET_TRANSPORTS", transports, 1);
	e2e_run(scenario, n, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_ping_pong(void **state)
{
	over(NULL, "ping_pong", 2);
	over(NULL, "ping_pong", 5);
	over("tcp", "ping_pong", 3);
}

static void test_exchange(void **state)
{
	for (int n = 1; n <= 6; n++)
		over(NULL, "exchange", n);
	over("tcp", "exchange", 3);
	over("tcp", "exchange", 9);
}

static void test_uneven_groups(void **state)
{
	over(NULL, "uneven_groups", 2);
	over("tcp", "uneven_groups", 2);
}

static void test_mix(void **state)
{
	over(NULL, "mix", 2);
	over(NULL, "mix", 4);
	over("tcp", "mix", 3);
}

static void test_one_thread(void **state)
{
	over(NULL, "one_thread", 1);
	over("tcp", "one_thread", 1);
}

static void test_make(void **state)
{
	over(NULL, "make", 1);
}

static void test_refused(void **state)
{
	over(NULL, "refused", 2);
}

static void test_mismatch(void **state)
{
	over(NULL, "mismatch", 2);
	over("tcp", "mismatch_short", 2);
}

static void test_channels(void **state)
{
	setenv("HOCKET_CHANNELS", "16", 1);
	setenv("HOCKET_ALGO", "hierarchical_all_reduce", 1);
	over(NULL, "channels", 4);
	unsetenv("HOCKET_CHANNELS");
	unsetenv("HOCKET_ALGO");
}

static void test_memory(void **state)
{
	over(NULL, "memory", 2);
}

static void test_patterns(void **state)
{
	over(NULL, "patterns", 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ping_pong),     cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_uneven_groups), cmocka_unit_test(test_mix),
		cmocka_unit_test(test_one_thread),    cmocka_unit_test(test_make),
		cmocka_unit_test(test_refused),	      cmocka_unit_test(test_mismatch),
		cmocka_unit_test(test_channels),      cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_memory),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
