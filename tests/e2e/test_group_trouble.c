/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups in trouble: orders of streams and communicators that invite deadlocks, and peers that die,
 * abort, differ or never come while a group runs. Everything must end, with the right code, and
 * what was not concerned must go on. A scenario that hangs is ended by its alarm.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

#define BIG	100000 /* elements: many slots */
#define QUEUE	1024   /* calls that a stream takes before it makes callers wait */
#define HANGS_S 100    /* after so many seconds a scenario hangs: sanitizers are slow */

static int32_t *space(size_t n)
{
	int32_t *p = calloc(n + 1, sizeof(*p));

	CHECK(p);
	return p;
}

static hocketComm_t second(const struct rank *r, hocketComm_t first, hocketConfig_t *config)
{
	hocketComm_t comm;

	OK(hocketCommInitRankConfig(&comm, r->nranks, e2e_share_id(r, first), r->rank, config));
	return comm;
}

/* --- orders --- */

/* Rank 0's group has a communicator whose earlier call, on another stream, can only end when the
 * group's other communicator has gone on. */
static void run_turns(struct rank *r)
{
	hocketComm_t a = e2e_init(r, NULL), b = second(r, a, NULL);
	int32_t x = 1, y[3] = {0};
	hocketStream_t s[2];

	alarm(HANGS_S);
	for (int i = 0; i < 2; i++)
		OK(hocketStreamCreate(&s[i]));
	for (int round = 0; round < 10; round++) {
		if (r->rank == 0) {
			OK(hocketAllReduce(&x, &y[0], 1, hocketInt32, hocketSum, a, s[0]));
			OK(hocketGroupStart());
			OK(hocketAllReduce(&x, &y[1], 1, hocketInt32, hocketSum, a, s[1]));
			OK(hocketAllReduce(&x, &y[2], 1, hocketInt32, hocketSum, b, s[1]));
			OK(hocketGroupEnd());
			OK(hocketStreamSynchronize(s[1]));
		} else {
			OK(hocketAllReduce(&x, &y[2], 1, hocketInt32, hocketSum, b, NULL));
			OK(hocketAllReduce(&x, &y[0], 1, hocketInt32, hocketSum, a, NULL));
			OK(hocketAllReduce(&x, &y[1], 1, hocketInt32, hocketSum, a, NULL));
		}
		for (int i = 0; i < 3; i++) {
			CHECK(y[i] == r->nranks);
			y[i] = 0;
		}
	}
	for (int i = 0; i < 2; i++)
		OK(hocketStreamDestroy(s[i]));
	OK(hocketCommDestroy(a));
	OK(hocketCommDestroy(b));
}

/* A thread's group on three streams. */
struct crossing {
	hocketComm_t comm;
	hocketStream_t s[3];
};

static void *group_on_all(void *arg)
{
	struct crossing *c = arg;

	OK(hocketGroupStart());
	for (int i = 0; i < 3; i++)
		OK(hocketBarrier(c->comm, c->s[i]));
	OK(hocketGroupEnd());
	return NULL;
}

/* A group finds the second of its streams full. While it waits, another thread queues two calls on
 * one communicator, on the first and on the third of these streams. */
static void run_crossing(struct rank *r)
{
	hocketComm_t gates[2], filler, other;
	pthread_t thread;
	struct crossing c;

	alarm(HANGS_S);
	OK(hocketCommInitAll(gates, 2, NULL));
	OK(hocketCommInitAll(&c.comm, 1, NULL));
	OK(hocketCommInitAll(&filler, 1, NULL));
	OK(hocketCommInitAll(&other, 1, NULL));
	for (int i = 0; i < 3; i++)
		OK(hocketStreamCreate(&c.s[i]));
	for (int round = 0; round < 4; round++) {
		OK(hocketBarrier(gates[0], c.s[1]));
		for (int i = 1; i < QUEUE; i++)
			OK(hocketBarrier(filler, c.s[1]));
		CHECK(!pthread_create(&thread, NULL, group_on_all, &c));
		usleep(20000); /* lets the group come first */
		OK(hocketBarrier(other, c.s[0]));
		OK(hocketBarrier(other, c.s[2]));
		OK(hocketBarrier(gates[1], NULL));
		CHECK(!pthread_join(thread, NULL));
		for (int i = 0; i < 3; i++)
			OK(hocketStreamSynchronize(c.s[i]));
	}
	for (int i = 0; i < 3; i++)
		OK(hocketStreamDestroy(c.s[i]));
	for (int i = 0; i < 2; i++)
		OK(hocketCommDestroy(gates[i]));
	OK(hocketCommDestroy(c.comm));
	OK(hocketCommDestroy(filler));
	OK(hocketCommDestroy(other));
}

/* --- failures --- */

struct work {
	hocketComm_t a, b;
	hocketStream_t stream;
	int32_t *in, *out, *sum;
	size_t counts[16];
};

static void prepare(const struct rank *r, struct work *w, int timeout_ms, bool stream)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	alarm(HANGS_S);
	*w = (struct work){.in = space(BIG), .out = space(BIG), .sum = space(BIG)};
	if (timeout_ms)
		config.timeoutMs = timeout_ms;
	w->a = e2e_init(r, &config);
	w->b = second(r, w->a, &config);
	if (stream)
		OK(hocketStreamCreate(&w->stream));
	for (int i = 0; i < r->nranks; i++)
		w->counts[i] = 7;
}

static void clean_up(struct work *w)
{
	if (w->stream)
		hocketStreamDestroy(w->stream);
	OK(hocketCommDestroy(w->a));
	if (w->b)
		OK(hocketCommDestroy(w->b));
	free(w->in);
	free(w->out);
	free(w->sum);
}

/* A ring of messages and an all-gather-v on a, an all-reduce on b. */
static hocketResult_t run_group(const struct rank *r, struct work *w, bool with_b)
{
	int n = r->nranks, next = (r->rank + 1) % n, prev = (r->rank + n - 1) % n;
	int32_t mine[7] = {0}, all[16 * 7];
	hocketResult_t res;

	OK(hocketGroupStart());
	OK(hocketSend(w->in, BIG, hocketInt32, next, w->a, w->stream));
	OK(hocketAllGatherV(mine, 7, all, w->counts, NULL, hocketInt32, w->a, w->stream));
	if (with_b)
		OK(hocketAllReduce(w->in, w->sum, BIG, hocketInt32, hocketSum, w->b, w->stream));
	OK(hocketRecv(w->out, BIG, hocketInt32, prev, w->a, w->stream));
	res = hocketGroupEnd();
	return !res && w->stream ? hocketStreamSynchronize(w->stream) : res;
}

/* Others have ended the communicator. */
static void await_failure(hocketComm_t comm)
{
	hocketResult_t async = hocketSuccess;

	while (async == hocketSuccess) { /* to the alarm */
		usleep(10000);
		OK(hocketCommGetAsyncError(comm, &async));
	}
	CHECK(async == hocketRemoteError);
}

/* The last rank dies before its second group. */
static void died(struct rank *r, bool stream)
{
	hocketResult_t async = hocketSuccess;
	struct work w;

	prepare(r, &w, 0, stream);
	OK(run_group(r, &w, true));
	if (r->rank == r->nranks - 1) {
		usleep(50000);
		raise(SIGKILL);
	}
	CHECK(run_group(r, &w, true) == hocketRemoteError);
	CHECK(strstr(hocketGetLastError(NULL), "rank"));
	/* What failed stays failed, and says so at once. */
	CHECK(run_group(r, &w, true) == hocketRemoteError);
	CHECK(hocketBarrier(w.a, w.stream) == hocketRemoteError);
	OK(hocketCommGetAsyncError(w.b, &async));
	CHECK(async == hocketRemoteError);
	clean_up(&w);
}

static void run_died(struct rank *r)
{
	died(r, false);
}

static void run_died_on_stream(struct rank *r)
{
	died(r, true);
}

/* Rank 0 leaves b's call out: a's calls end well, b's with a sentence that names who is missing. */
static void run_late(struct rank *r)
{
	struct work w;

	prepare(r, &w, 1500, r->rank % 2);
	OK(run_group(r, &w, true));
	for (size_t i = 0; i < BIG; i++)
		w.in[i] = r->rank;
	if (r->rank == 0) {
		OK(run_group(r, &w, false));
		CHECK(w.out[0] == r->nranks - 1);
		await_failure(w.b);
	} else {
		CHECK(run_group(r, &w, true) == hocketRemoteError);
		CHECK(strstr(hocketGetLastError(NULL), "rank"));
		CHECK(w.out[0] == r->rank - 1);
		CHECK(hocketBarrier(w.b, w.stream) == hocketRemoteError);
	}
	OK(hocketBarrier(w.a, NULL));
	clean_up(&w);
}

static void *abort_soon(void *arg)
{
	usleep(50000);
	OK(hocketCommAbort((hocketComm_t)arg));
	return NULL;
}

/* Rank 0 aborts b from another thread while its group waits on it; a's part is not concerned. */
static void run_aborted(struct rank *r)
{
	struct work w;
	pthread_t thread;

	prepare(r, &w, 0, r->rank % 2);
	OK(run_group(r, &w, true));
	if (r->rank == 0) {
		CHECK(!pthread_create(&thread, NULL, abort_soon, w.b));
		CHECK(run_group(r, &w, true) == hocketRemoteError);
		CHECK(strstr(hocketGetLastError(NULL), "abort"));
		CHECK(!pthread_join(thread, NULL));
		w.b = NULL;
	} else {
		OK(run_group(r, &w, false));
		await_failure(w.b);
		CHECK(hocketBarrier(w.b, NULL) == hocketRemoteError);
	}
	OK(hocketBarrier(w.a, NULL));
	clean_up(&w);
}

/* In a group, rank 1 calls something else on b than the others. */
static void run_differs(struct rank *r)
{
	size_t count = r->rank == 1 ? 99 : 100;
	hocketResult_t res;
	struct work w;

	prepare(r, &w, 3000, r->rank % 2);
	OK(run_group(r, &w, true));
	OK(hocketGroupStart());
	OK(hocketBarrier(w.a, w.stream));
	OK(hocketAllReduce(w.in, w.sum, count, hocketInt32, hocketSum, w.b, w.stream));
	OK(hocketBarrier(w.a, w.stream));
	res = hocketGroupEnd();
	if (w.stream)
		res = hocketStreamSynchronize(w.stream);
	CHECK(res == hocketInvalidUsage || res == hocketRemoteError);
	OK(run_group(r, &w, false));
	res = hocketBarrier(w.b, NULL);
	CHECK(res == hocketInvalidUsage || res == hocketRemoteError);
	clean_up(&w);
}

/* --- misuse --- */

/* The place of a communicator that its thread begins to make is gone when the thread ends. */
static void *leave_open(void *arg)
{
	struct work *w = arg;
	hocketComm_t own;
	hocketUniqueId id;
	int32_t x = 0, y[7];
	size_t counts[1] = {1};

	OK(hocketGetUniqueId(&id));
	OK(hocketGroupStart());
	OK(hocketGroupStart());
	OK(hocketCommInitRank(&own, 2, id, 0));
	OK(hocketAllGatherV(&x, 1, y, counts, NULL, hocketInt32, w->a, NULL));
	OK(hocketBarrier(w->a, NULL));
	return NULL;
}

static void run_left_open(struct rank *r)
{
	hocketStream_t s;
	pthread_t thread;
	struct work w = {0};
	int32_t x = 1;

	alarm(HANGS_S);
	OK(hocketCommInitAll(&w.a, 1, NULL));
	CHECK(!pthread_create(&thread, NULL, leave_open, &w));
	CHECK(!pthread_join(thread, NULL));
	OK(hocketBarrier(w.a, NULL));

	/* A stream, and then the communicator, that a group uses is gone when it ends. */
	OK(hocketStreamCreate(&s));
	OK(hocketGroupStart());
	OK(hocketBarrier(w.a, s));
	OK(hocketStreamDestroy(s));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	OK(hocketGroupStart());
	OK(hocketBarrier(w.a, NULL));
	OK(hocketCommDestroy(w.a));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);

	/* The same of one communicator of two. */
	OK(hocketCommInitAll(&w.a, 1, NULL));
	OK(hocketCommInitAll(&w.b, 1, NULL));
	OK(hocketGroupStart());
	OK(hocketBarrier(w.a, NULL));
	OK(hocketBarrier(w.b, NULL));
	OK(hocketCommDestroy(w.a));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	OK(hocketCommDestroy(w.b));

	/* A receive from oneself that nothing is sent to: the communicator lives on. */
	OK(hocketCommInitAll(&w.a, 1, NULL));
	OK(hocketGroupStart());
	OK(hocketRecv(&x, 1, hocketInt32, 0, w.a, NULL));
	CHECK(hocketGroupEnd() == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "itself"));
	OK(hocketBarrier(w.a, NULL));
	OK(hocketCommDestroy(w.a));
}

static const struct scenario scenarios[] = {{"turns", run_turns},
					    {"crossing", run_crossing},
					    {"died", run_died},
					    {"died_on_stream", run_died_on_stream},
					    {"late", run_late},
					    {"aborted", run_aborted},
					    {"differs", run_differs},
					    {"left_open", run_left_open},
					    {NULL, NULL}};

static void over(const char *transports, const char *scenario, int n, int victim)
{
	if (transports)
		setenv("HOCKET_TRANSPORTS", transports, 1);
	e2e_run(scenario, n, victim);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_turns(void **state)
{
	over(NULL, "turns", 2, -1);
	over("tcp", "turns", 3, -1);
}

static void test_crossing(void **state)
{
	over(NULL, "crossing", 1, -1);
}

static void test_died(void **state)
{
	over(NULL, "died", 3, 2);
	over(NULL, "died_on_stream", 3, 2);
	over("tcp", "died", 4, 3);
	over("tcp", "died_on_stream", 3, 2);
}

static void test_late(void **state)
{
	over(NULL, "late", 3, -1);
	over("tcp", "late", 3, -1);
}

static void test_aborted(void **state)
{
	over(NULL, "aborted", 3, -1);
	over("tcp", "aborted", 3, -1);
}

static void test_differs(void **state)
{
	over(NULL, "differs", 3, -1);
	over("tcp", "differs", 3, -1);
}

static void test_left_open(void **state)
{
	over(NULL, "left_open", 1, -1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),	  cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_died),	  cmocka_unit_test(test_late),
		cmocka_unit_test(test_aborted),	  cmocka_unit_test(test_differs),
		cmocka_unit_test(test_left_open),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
