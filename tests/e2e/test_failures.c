/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes wrong between ranks must end soon, on every rank, with a sentence that names the cause:
 * dead peers, late peers, mismatched calls, aborts, ranks that never come.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void warm_up(const struct rank *r, hocketComm_t comm)
{
	int x = r->rank, y = -1;

	OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL));
	CHECK(y == r->nranks * (r->nranks - 1) / 2);
}

/* The last rank is killed inside the library's reach; the others must hear of it within a second.
 */
static void run_killed(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketResult_t async = hocketSuccess;
	int x = 1, y;
	double start;

	warm_up(r, comm);
	if (r->rank == r->nranks - 1) {
		usleep(100000);
		raise(SIGKILL);
	}
	start = now();
	CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) == hocketRemoteError);
	CHECK(now() - start < 1.1 + 2); /* a second, and room for a crowded machine */
	CHECK(strstr(hocketGetLastError(comm), "rank"));
	OK(hocketCommGetAsyncError(comm, &async));
	CHECK(async == hocketRemoteError);
	/* It stays failed. */
	CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) == hocketRemoteError);
	OK(hocketCommDestroy(comm));
}

/* Rank 0 does not call; the others give up at the deadline and name it. */
static void run_late(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	int x = 1, y;
	double start;

	config.timeoutMs = 300;
	comm = e2e_init(r, &config);
	warm_up(r, comm);
	start = now();
	if (r->rank == 0) {
		hocketResult_t async = hocketSuccess;

		while (async == hocketSuccess && now() - start < 20) {
			usleep(10000);
			OK(hocketCommGetAsyncError(comm, &async));
		}
		CHECK(async == hocketRemoteError); /* the others' aborts reach it */
	} else {
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) ==
		      hocketRemoteError);
		CHECK(now() - start > 0.25 && now() - start < 10);
		CHECK(strstr(hocketGetLastError(comm), "rank"));
	}
	OK(hocketCommDestroy(comm));
}

/* Ranks whose calls differ: nobody hangs, and at least one is told what differs. */
static void mismatch(struct rank *r, size_t count, hocketDataType_t type, hocketRedOp_t op)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	uint64_t x[64] = {0}, y[64];
	hocketResult_t result;

	config.timeoutMs = 3000;
	comm = e2e_init(r, &config);
	warm_up(r, comm);
	if (r->rank == 1)
		result = hocketAllReduce(x, y, count, type, op, comm, NULL);
	else
		result = hocketAllReduce(x, y, 5, hocketInt32, hocketSum, comm, NULL);
	CHECK(result == hocketInvalidUsage || result == hocketRemoteError);
	if (result == hocketInvalidUsage)
		CHECK(strstr(hocketGetLastError(comm), "all ranks must make the same calls"));
	OK(hocketCommDestroy(comm));
}

static void run_other_count(struct rank *r)
{
	mismatch(r, 6, hocketInt32, hocketSum);
}

static void run_other_type(struct rank *r)
{
	mismatch(r, 5, hocketFloat32, hocketSum);
}

static void run_other_op(struct rank *r)
{
	mismatch(r, 5, hocketInt32, hocketMax);
}

/* Already the first call differs, when no connection exists yet: that must not take until the
 * deadline. */
static void run_first_differs(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	uint64_t x[64] = {0}, y[512];
	hocketResult_t result;
	hocketComm_t comm;
	double start;

	config.timeoutMs = 60000;
	comm = e2e_init(r, &config);
	start = now();
	if (r->rank == 1)
		result = hocketAllGather(x, y, 3, hocketInt64, comm, NULL);
	else
		result = hocketAllReduce(x, y, 5, hocketInt32, hocketSum, comm, NULL);
	CHECK(result == hocketInvalidUsage || result == hocketRemoteError);
	CHECK(now() - start < 20);
	OK(hocketCommDestroy(comm));
}

static hocketComm_t aborted;

static void *abort_soon(void *arg)
{
	usleep(200000);
	OK(hocketCommAbort(aborted));
	return NULL;
}

/* Rank 0 aborts from another thread while everyone but rank 1 waits in a call. */
static void run_abort(struct rank *r)
{
	pthread_t thread;
	int x = 1, y;
	hocketResult_t async = hocketSuccess;
	double start = now();

	aborted = e2e_init(r, NULL);
	warm_up(r, aborted);
	if (r->rank == 0) {
		CHECK(pthread_create(&thread, NULL, abort_soon, NULL) == 0);
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, aborted, NULL) ==
		      hocketRemoteError);
		pthread_join(thread, NULL);
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, aborted, NULL) ==
		      hocketInvalidArgument);
		return;
	}
	if (r->rank == 1) {
		while (async == hocketSuccess && now() - start < 20) {
			usleep(10000);
			OK(hocketCommGetAsyncError(aborted, &async));
		}
		CHECK(async == hocketRemoteError);
	} else {
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, aborted, NULL) ==
		      hocketRemoteError);
	}
	OK(hocketCommDestroy(aborted));
}

/* The last rank never joins. */
static void run_absent(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	char name[16];
	hocketComm_t comm;

	config.initTimeoutMs = 700;
	snprintf(name, sizeof(name), "%d", r->nranks - 1);
	if (r->rank == r->nranks - 1)
		return;
	CHECK(hocketCommInitRankConfig(&comm, r->nranks, r->id, r->rank, &config) ==
	      hocketRemoteError);
	CHECK(hocketGetLastError(NULL)[0]);
}

/* Settings that differ are refused at creation. */
static void run_settings(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	hocketResult_t result;

	config.slots = r->rank == 1 ? 3 : 4;
	result = hocketCommInitRankConfig(&comm, r->nranks, r->id, r->rank, &config);
	CHECK(result == hocketInvalidUsage || result == hocketRemoteError);
	if (result == hocketInvalidUsage)
		CHECK(strstr(hocketGetLastError(NULL), "settings"));
}

/* A rank ends instead of calling. Its neighbours find it gone; all others must hear of it, long
 * before the deadline. */
static void run_departed(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	int x = 1, y;
	double start;

	config.timeoutMs = 60000;
	comm = e2e_init(r, &config);
	if (r->nranks % 2) /* also where all connections exist already */
		warm_up(r, comm);
	start = now();
	if (r->rank != 2) {
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) ==
		      hocketRemoteError);
		CHECK(now() - start < 20);
	}
	OK(hocketCommDestroy(comm));
}

/* A rank that was stopped for longer than the deadline finds its messages when it goes on. */
static void run_stopped(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	int x = 1, y;
	pid_t child = 0;

	config.timeoutMs = 1500;
	comm = e2e_init(r, &config);
	warm_up(r, comm);
	if (r->rank == 0) {
		child = fork();
		CHECK(child >= 0);
	}
	if (r->rank == 0 && child == 0) {
		usleep(100000);
		kill(getppid(), SIGSTOP);
		usleep(2500000);
		kill(getppid(), SIGCONT);
		_exit(0);
	}
	if (r->rank == 1)
		usleep(500000);
	OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL));
	CHECK(y == 2);
	OK(hocketCommDestroy(comm));
	if (child)
		CHECK(waitpid(child, NULL, 0) == child);
}

/* After a failure on a stream the blocking calls fail too. */
static void run_failed_stream(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketStream_t s;
	hocketComm_t comm;
	int x = 1, y;

	config.timeoutMs = 300;
	comm = e2e_init(r, &config);
	warm_up(r, comm);
	OK(hocketStreamCreate(&s));
	if (r->rank == 0) {
		OK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, s));
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) ==
		      hocketRemoteError);
		CHECK(hocketStreamDestroy(s) == hocketRemoteError);
	} else {
		usleep(700000);
		CHECK(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comm, NULL) ==
		      hocketRemoteError);
		OK(hocketStreamDestroy(s));
	}
	OK(hocketCommDestroy(comm));
}

/* Ranks may end at different times: the work is done, so nobody fails. */
static void run_goodbye(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketResult_t async;

	warm_up(r, comm);
	usleep((unsigned)r->rank * 100000);
	OK(hocketCommGetAsyncError(comm, &async));
	CHECK(async == hocketSuccess);
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {{"killed", run_killed},
					    {"late", run_late},
					    {"other_count", run_other_count},
					    {"other_type", run_other_type},
					    {"other_op", run_other_op},
					    {"first_differs", run_first_differs},
					    {"abort", run_abort},
					    {"absent", run_absent},
					    {"settings", run_settings},
					    {"goodbye", run_goodbye},
					    {"departed", run_departed},
					    {"stopped", run_stopped},
					    {"failed_stream", run_failed_stream},
					    {NULL, NULL}};

static void test_killed(void **state)
{
	e2e_run("killed", 2, 1);
	e2e_run("killed", 5, 4);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("killed", 4, 3);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_late(void **state)
{
	e2e_run("late", 2, -1);
	e2e_run("late", 4, -1);
}

static void test_mismatch(void **state)
{
	e2e_run("other_count", 2, -1);
	e2e_run("other_type", 3, -1);
	e2e_run("other_op", 4, -1);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("first_differs", 2, -1);
	e2e_run("first_differs", 4, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_abort(void **state)
{
	e2e_run("abort", 2, -1);
	e2e_run("abort", 4, -1);
}

static void test_absent(void **state)
{
	setenv("HOCKET_INIT_TIMEOUT_MS", "600", 1);
	e2e_run("absent", 3, -1);
	unsetenv("HOCKET_INIT_TIMEOUT_MS");
}

static void test_settings(void **state)
{
	e2e_run("settings", 3, -1);
}

static void test_departed(void **state)
{
	e2e_run("departed", 4, -1);
	e2e_run("departed", 5, -1);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("departed", 5, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_stopped(void **state)
{
	e2e_run("stopped", 2, -1);
}

static void test_failed_stream(void **state)
{
	e2e_run("failed_stream", 2, -1);
}

static void test_goodbye(void **state)
{
	e2e_run("goodbye", 4, -1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),	 cmocka_unit_test(test_late),
		cmocka_unit_test(test_mismatch), cmocka_unit_test(test_abort),
		cmocka_unit_test(test_absent),	 cmocka_unit_test(test_settings),
		cmocka_unit_test(test_goodbye),	 cmocka_unit_test(test_departed),
		cmocka_unit_test(test_stopped),	 cmocka_unit_test(test_failed_stream),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
