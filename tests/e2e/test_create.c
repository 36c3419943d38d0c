/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ways to make communicators beyond the plain one: in the background, from several ids, by
 * splitting; and how each of them ends early. In most tests all ranks are threads of this process,
 * or even of one thread, so that the thread sanitizer sees everything; the last ones are processes.
 */
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

enum { MOST = 16 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static hocketConfig_t nonblocking(int init_ms)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	config.blocking = 0;
	config.initTimeoutMs = init_ms;
	return config;
}

static void refused(hocketResult_t got, hocketResult_t want, const char *word)
{
	assert_int_equal(got, want);
	if (!strstr(hocketGetLastError(NULL), word))
		fail_msg("'%s' does not say '%s'", hocketGetLastError(NULL), word);
}

/* Asks until it is no longer in progress, for at most 20 s. */
static hocketResult_t await(hocketComm_t comm)
{
	hocketResult_t state = hocketInProgress;
	double end = now() + 20;

	while (state == hocketInProgress && now() < end) {
		assert_int_equal(hocketCommGetAsyncError(comm, &state), hocketSuccess);
		if (state == hocketInProgress)
			usleep(1000);
	}
	return state;
}

/* Every rank contributes `mine` to a sum that must be `sum`, all from this thread. */
static void check_sum(hocketComm_t *comms, int n, int mine, int sum)
{
	int x[MOST], y[MOST];

	assert_int_equal(hocketGroupStart(), hocketSuccess);
	for (int i = 0; i < n; i++) {
		x[i] = mine;
		assert_int_equal(
			hocketAllReduce(&x[i], &y[i], 1, hocketInt32, hocketSum, comms[i], NULL),
			hocketSuccess);
	}
	assert_int_equal(hocketGroupEnd(), hocketSuccess);
	for (int i = 0; i < n; i++)
		assert_int_equal(y[i], sum);
}

static void destroy_all(hocketComm_t *comms, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(hocketCommDestroy(comms[i]), hocketSuccess);
}

/* --- in the background --- */

static void test_background(void **state)
{
	hocketConfig_t config = nonblocking(20000);
	hocketComm_t comms[4];
	hocketStream_t stream;
	hocketResult_t async;
	hocketUniqueId id;
	size_t bytes;
	int x = 1, y;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	for (int i = 0; i < 4; i++) {
		double start = now();

		assert_int_equal(hocketCommInitRankConfig(&comms[i], 4, id, i, &config),
				 hocketInProgress);
		assert_true(now() - start < 5);
		if (i == 3)
			break;
		/* Not all have come: it cannot be ready. */
		assert_int_equal(hocketCommGetAsyncError(comms[i], &async), hocketSuccess);
		assert_int_equal(async, hocketInProgress);
		refused(hocketCommCount(comms[i], &y), hocketInvalidUsage, "still being made");
		refused(hocketCommUserRank(comms[i], &y), hocketInvalidUsage, "still being made");
		refused(hocketCommMemory(comms[i], &bytes), hocketInvalidUsage, "being made");
		refused(hocketCommFinalize(comms[i]), hocketInvalidUsage, "still being made");
		refused(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comms[i], NULL),
			hocketInvalidUsage, "still being made");
		refused(hocketCommSplit(comms[i], 0, 0, &comms[3], NULL), hocketInvalidUsage,
			"still being made");
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(await(comms[i]), hocketSuccess);
		assert_int_equal(hocketCommUserRank(comms[i], &y), hocketSuccess);
		assert_int_equal(y, i);
	}
	check_sum(comms, 4, 3, 12);
	/* Finalization goes on in the background too: rank 0's call waits for the others. */
	assert_int_equal(hocketStreamCreate(&stream), hocketSuccess);
	assert_int_equal(hocketAllReduce(&x, &y, 1, hocketInt32, hocketSum, comms[0], stream),
			 hocketSuccess);
	assert_int_equal(hocketCommFinalize(comms[0]), hocketInProgress);
	assert_int_equal(hocketCommGetAsyncError(comms[0], &async), hocketSuccess);
	assert_int_equal(async, hocketInProgress);
	check_sum(comms + 1, 3, 1, 4);
	assert_int_equal(await(comms[0]), hocketSuccess);
	assert_int_equal(y, 4);
	assert_int_equal(hocketStreamDestroy(stream), hocketSuccess);
	destroy_all(comms, 4);
}

static void test_background_failure(void **state)
{
	hocketConfig_t config = nonblocking(300);
	hocketComm_t comm;
	hocketUniqueId id;
	int value;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	/* What is wrong with the arguments is said at once, and there is no handle then. */
	comm = NULL;
	refused(hocketCommInitRankConfig(&comm, 2, id, 2, &config), hocketInvalidArgument, "rank");
	assert_null(comm);
	assert_int_equal(hocketCommInitRankConfig(&comm, 2, id, 0, &config), hocketInProgress);
	assert_int_equal(await(comm), hocketRemoteError);
	assert_non_null(strstr(hocketGetLastError(comm), "rank 1 never came"));
	refused(hocketCommCount(comm, &value), hocketRemoteError, "rank 1 never came");
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
	refused(hocketCommDestroy(comm), hocketInvalidArgument, "not a communicator");
}

static void *abort_it(void *arg)
{
	usleep(20000);
	assert_int_equal(hocketCommAbort(*(hocketComm_t *)arg), hocketSuccess);
	return NULL;
}

/* Ended while it waits for a rank that does not come: by abort, by destroy, by another thread. */
static void test_background_ended(void **state)
{
	hocketConfig_t config = nonblocking(60000);

	for (int way = 0; way < 4; way++) {
		hocketResult_t async = hocketInProgress;
		hocketUniqueId id;
		hocketComm_t comm;
		pthread_t thread;
		double start;

		assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
		assert_int_equal(hocketCommInitRankConfig(&comm, 2, id, 0, &config),
				 hocketInProgress);
		usleep(way ? 20000 : 0); /* also at its very beginning */
		start = now();
		if (way < 2) {
			assert_int_equal(hocketCommAbort(comm), hocketSuccess);
		} else if (way == 2) {
			assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
		} else {
			assert_int_equal(pthread_create(&thread, NULL, abort_it, &comm), 0);
			/* The abort shows as a failure for the moment until the handle is gone. */
			while (hocketCommGetAsyncError(comm, &async) == hocketSuccess)
				assert_true(async == hocketInProgress ||
					    async == hocketRemoteError);
			pthread_join(thread, NULL);
		}
		assert_true(now() - start < 5);
		refused(hocketCommGetAsyncError(comm, &async), hocketInvalidArgument,
			"not a communicator");
	}
}

/* --- several ids --- */

static void test_scalable(void **state)
{
	static const int sizes[][2] = {{1, 1}, {2, 2}, {5, 2}, {6, 6}, {7, 3}};
	hocketConfig_t config = nonblocking(20000);
	hocketUniqueId ids[MOST];
	hocketComm_t comms[MOST];

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int n = sizes[i][0], parts = sizes[i][1];

		for (int p = 0; p < parts; p++)
			assert_int_equal(hocketGetUniqueId(&ids[p]), hocketSuccess);
		for (int r = 0; r < n; r++)
			assert_int_equal(
				hocketCommInitRankScalable(&comms[r], n, r, parts, ids, &config),
				hocketInProgress);
		for (int r = 0; r < n; r++)
			assert_int_equal(await(comms[r]), hocketSuccess);
		check_sum(comms, n, 2, 2 * n);
		destroy_all(comms, n);
	}
	refused(hocketCommInitRankScalable(comms, 2, 0, 0, ids, NULL), hocketInvalidArgument,
		"nId");
	refused(hocketCommInitRankScalable(comms, 2, 0, 3, ids, NULL), hocketInvalidArgument,
		"nId");
	refused(hocketCommInitRankScalable(comms, 2, 0, 1, NULL, NULL), hocketInvalidArgument,
		"commIds");
}

/* --- split --- */

struct split {
	pthread_t thread;
	hocketComm_t comm, part;
	int color, key, times;
	hocketConfig_t *config;
	hocketResult_t result;
	char error[512];
};

static void *run_split(void *arg)
{
	struct split *s = arg;

	for (int i = 0; i < s->times && s->result == hocketSuccess; i++) {
		s->result = hocketCommSplit(s->comm, s->color, s->key, &s->part, s->config);
		if (s->result)
			strncpy(s->error, hocketGetLastError(NULL), sizeof(s->error) - 1);
		else if (s->part && i + 1 < s->times)
			s->result = hocketCommDestroy(s->part);
	}
	return NULL;
}

/* Each rank in a thread of its own, as a blocking split wants it. */
static void split_all(struct split *s, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(pthread_create(&s[i].thread, NULL, run_split, &s[i]), 0);
	for (int i = 0; i < n; i++)
		pthread_join(s[i].thread, NULL);
}

static void test_split(void **state)
{
	struct split s[7];
	hocketComm_t comms[7], even[3], odd[3];
	int value;

	assert_int_equal(hocketCommInitAll(comms, 7, NULL), hocketSuccess);
	for (int i = 0; i < 7; i++)
		s[i] = (struct split){.comm = comms[i],
				      .part = comms[i],
				      .color = i < 6 ? i % 2 * 1000 : HOCKET_SPLIT_NOCOLOR,
				      .key = i < 2 ? 1 : -5,
				      .times = 1};
	split_all(s, 7);
	for (int i = 0; i < 7; i++) {
		assert_string_equal(s[i].error, "");
		assert_int_equal(s[i].result, hocketSuccess);
	}
	assert_null(s[6].part);
	/* 0 and 1 have the greater keys, and so the last ranks; the others keep their order. */
	for (int i = 0; i < 6; i++) {
		assert_int_equal(hocketCommCount(s[i].part, &value), hocketSuccess);
		assert_int_equal(value, 3);
		assert_int_equal(hocketCommUserRank(s[i].part, &value), hocketSuccess);
		assert_int_equal(value, i < 2 ? 2 : i / 2 - 1);
		(i % 2 ? odd : even)[value] = s[i].part;
	}
	check_sum(even, 3, 5, 15);
	check_sum(comms, 7, 1, 7);
	check_sum(odd, 3, 7, 21);
	/* The parts live on, and one of them is a parent itself. */
	destroy_all(comms, 7);
	destroy_all(even, 3);
	for (int i = 0; i < 3; i++)
		s[i] = (struct split){.comm = odd[i], .color = 0, .key = 3 - i, .times = 1};
	split_all(s, 3);
	destroy_all(odd, 3);
	for (int i = 0; i < 3; i++)
		odd[2 - i] = s[i].part;
	check_sum(odd, 3, 4, 12);
	refused(hocketCommSplit(odd[0], -2, 0, &comms[0], NULL), hocketInvalidArgument, "color");
	refused(hocketCommSplit(odd[0], 0, 0, NULL, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommSplit(NULL, 0, 0, &comms[0], NULL), hocketInvalidArgument, "NULL");
	assert_int_equal(hocketCommFinalize(odd[0]), hocketSuccess);
	refused(hocketCommSplit(odd[0], 0, 0, &comms[0], NULL), hocketInvalidUsage, "finalized");
	destroy_all(odd, 3);
}

/* Several splits of several ranks under way in one thread. */
static void test_split_background(void **state)
{
	hocketConfig_t config = nonblocking(20000);
	hocketComm_t comms[4], first[4], second[4], inherited[4];
	hocketUniqueId id;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	for (int i = 0; i < 4; i++)
		assert_int_equal(hocketCommInitRankConfig(&comms[i], 4, id, i, &config),
				 hocketInProgress);
	for (int i = 0; i < 4; i++)
		assert_int_equal(await(comms[i]), hocketSuccess);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(hocketCommSplit(comms[i], i / 2, 0, &first[i], &config),
				 hocketInProgress);
		second[i] = comms[i];
		assert_int_equal(hocketCommSplit(comms[i], i < 3 ? 0 : HOCKET_SPLIT_NOCOLOR, -i,
						 &second[i], &config),
				 i < 3 ? hocketInProgress : hocketSuccess);
		/* Without a configuration it is as its parent. */
		assert_int_equal(hocketCommSplit(comms[i], 0, 0, &inherited[i], NULL),
				 hocketInProgress);
	}
	assert_null(second[3]);
	/* The parents may go: that waits for the splits. */
	destroy_all(comms, 4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(await(first[i]), hocketSuccess);
		assert_int_equal(await(inherited[i]), hocketSuccess);
		if (i < 3)
			assert_int_equal(await(second[i]), hocketSuccess);
	}
	check_sum(first, 2, 1, 2);
	check_sum(first + 2, 2, 1, 2);
	check_sum(second, 3, 1, 3);
	check_sum(inherited, 4, 1, 4);
	destroy_all(first, 4);
	destroy_all(second, 3);
	destroy_all(inherited, 4);
}

/* Who aborts a new communicator while the others have not called leaves the parent usable. */
static void test_split_ended(void **state)
{
	hocketConfig_t config = nonblocking(20000);
	hocketComm_t comms[3], parts[3];
	double start;

	assert_int_equal(hocketCommInitAll(comms, 3, NULL), hocketSuccess);
	assert_int_equal(hocketCommSplit(comms[0], 0, 0, &parts[0], &config), hocketInProgress);
	usleep(20000);
	start = now();
	assert_int_equal(hocketCommAbort(parts[0]), hocketSuccess);
	assert_true(now() - start < 5);
	for (int i = 1; i < 3; i++)
		assert_int_equal(hocketCommSplit(comms[i], 0, 0, &parts[i], &config),
				 hocketInProgress);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(await(parts[i]), hocketRemoteError);
		assert_int_equal(hocketCommDestroy(parts[i]), hocketSuccess);
	}
	check_sum(comms, 3, 1, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hocketCommSplit(comms[i], 0, 0, &parts[i], &config),
				 hocketInProgress);
	for (int i = 0; i < 3; i++)
		assert_int_equal(await(parts[i]), hocketSuccess);
	check_sum(parts, 3, 1, 3);
	destroy_all(parts, 3);
	destroy_all(comms, 3);
}

static void test_split_absent(void **state)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comms[4];
	struct split s[3];
	bool named = false;

	config.initTimeoutMs = 400;
	assert_int_equal(hocketCommInitAll(comms, 4, NULL), hocketSuccess);
	for (int i = 0; i < 3; i++)
		s[i] = (struct split){.comm = comms[i], .config = &config, .times = 1};
	split_all(s, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(s[i].result, hocketRemoteError);
		named |= strstr(s[i].error, "0.4 s") && strstr(s[i].error, "3");
	}
	assert_true(named);
	/* Also the one that did not call hears that the communicator has failed. */
	for (int i = 0; i < 4; i++) {
		hocketResult_t async = hocketSuccess;

		for (double end = now() + 5; async == hocketSuccess && now() < end; usleep(1000))
			assert_int_equal(hocketCommGetAsyncError(comms[i], &async), hocketSuccess);
		assert_int_equal(async, hocketRemoteError);
	}
	destroy_all(comms, 4);
}

static int count_entries(const char *folder)
{
	DIR *d = opendir(folder);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Waits for threads that are about to end. */
static void assert_at_most(const char *folder, int most)
{
	for (double end = now() + 10; count_entries(folder) > most && now() < end;)
		usleep(10000);
	assert_in_range(count_entries(folder), 0, most);
}

static void test_split_leaks_nothing(void **state)
{
	hocketComm_t comms[3];
	struct split s[3];
	int fds = 0, threads = 0;
	size_t heap = 0;

	assert_int_equal(hocketCommInitAll(comms, 3, NULL), hocketSuccess);
	/* What is made once is made in the first round. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++)
			s[i] = (struct split){.comm = comms[i],
					      .color = i < 2 ? 0 : HOCKET_SPLIT_NOCOLOR,
					      .times = round ? 100 : 5};
		split_all(s, 3);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(s[i].result, hocketSuccess);
			if (s[i].part)
				assert_int_equal(hocketCommDestroy(s[i].part), hocketSuccess);
		}
		if (!round) {
			usleep(1500000); /* the root of the parents' id lingers */
			fds = count_entries("/proc/self/fd");
			threads = count_entries("/proc/self/task");
			heap = mallinfo2().uordblks;
		}
	}
	assert_at_most("/proc/self/fd", fds);
	assert_at_most("/proc/self/task", threads);
	/* 100 leaks of a hundred bytes would show; arenas of threads may shift a little. */
	assert_in_range(mallinfo2().uordblks, 0, heap + 10000);
	destroy_all(comms, 3);
}

/* --- who contradicts --- */

struct init {
	pthread_t thread;
	hocketUniqueId id;
	int rank, nranks;
	hocketResult_t result;
	char error[512];
};

static void *run_init(void *arg)
{
	struct init *i = arg;
	hocketComm_t comm;

	i->result = hocketCommInitRank(&comm, i->nranks, i->id, i->rank);
	strncpy(i->error, hocketGetLastError(NULL), sizeof(i->error) - 1);
	return NULL;
}

static void test_contradictions(void **state)
{
	static const int ranks[2][3][2] = {{{0, 3}, {1, 3}, {1, 3}}, {{0, 3}, {1, 3}, {2, 4}}};

	for (int way = 0; way < 2; way++) {
		struct init inits[3];
		hocketUniqueId id;
		double start = now();

		assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
		for (int i = 0; i < 3; i++) {
			inits[i] = (struct init){
				.id = id, .rank = ranks[way][i][0], .nranks = ranks[way][i][1]};
			assert_int_equal(
				pthread_create(&inits[i].thread, NULL, run_init, &inits[i]), 0);
		}
		for (int i = 0; i < 3; i++) {
			pthread_join(inits[i].thread, NULL);
			assert_int_equal(inits[i].result, hocketInvalidUsage);
			assert_non_null(strstr(inits[i].error, way ? "all must pass the same number"
								   : "the same rank"));
		}
		assert_true(now() - start < 10); /* and not the deadline of a minute */
	}
}

/* --- many --- */

static void test_sixteen(void **state)
{
	hocketComm_t comms[16];

	assert_int_equal(hocketCommInitAll(comms, 16, NULL), hocketSuccess);
	check_sum(comms, 16, 1, 16);
	destroy_all(comms, 16);
}

/* --- processes --- */

static int sum_of(hocketComm_t comm, int mine)
{
	int sum = -1;

	OK(hocketAllReduce(&mine, &sum, 1, hocketInt32, hocketSum, comm, NULL));
	return sum;
}

/* Halves of halves, until one is alone; all levels in use at once. Of a power of two ranks. */
static void run_halves(struct rank *r)
{
	hocketComm_t levels[8] = {e2e_init(r, NULL)};
	int depth = 0, count = r->nranks, rank;

	while (count > 1) {
		OK(hocketCommUserRank(levels[depth], &rank));
		OK(hocketCommSplit(levels[depth], rank >= count / 2, -rank, &levels[depth + 1],
				   NULL));
		depth++;
		OK(hocketCommCount(levels[depth], &count));
		for (int i = 0; i <= depth; i++) {
			int n;

			OK(hocketCommCount(levels[i], &n));
			CHECK(sum_of(levels[i], i + 1) == n * (i + 1));
		}
	}
	for (int i = 0; i <= depth; i++)
		OK(hocketCommDestroy(levels[i]));
}

/* Every second rank makes an id. */
static void run_many_ids(struct rank *r)
{
	hocketComm_t first = e2e_init(r, NULL), comm;
	hocketUniqueId *ids = calloc((size_t)r->nranks, sizeof(*ids));
	int n = (r->nranks + 1) / 2;

	CHECK(ids);
	if (r->rank % 2 == 0)
		OK(hocketGetUniqueId(&ids[r->rank]));
	OK(hocketAllGather(&ids[r->rank], ids, sizeof(*ids), hocketChar, first, NULL));
	for (int i = 0; i < n; i++)
		ids[i] = ids[2 * i];
	OK(hocketCommInitRankScalable(&comm, r->nranks, r->rank, n, ids, NULL));
	OK(hocketCommDestroy(first));
	CHECK(sum_of(comm, r->rank) == r->nranks * (r->nranks - 1) / 2);
	OK(hocketCommDestroy(comm));
	free(ids);
}

/* A rank dies while the others wait for it in a split. */
static void run_killed_split(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL), part;
	double start;

	sum_of(comm, 1);
	if (r->rank == r->nranks - 1) {
		usleep(100000);
		raise(SIGKILL);
	}
	start = now();
	CHECK(hocketCommSplit(comm, 0, 0, &part, NULL) == hocketRemoteError);
	CHECK(now() - start < 1.1 + 2); /* a second, and room for a crowded machine */
	CHECK(strstr(hocketGetLastError(NULL), "died"));
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {{"halves", run_halves},
					    {"many_ids", run_many_ids},
					    {"killed_split", run_killed_split},
					    {NULL, NULL}};

static void test_processes(void **state)
{
	e2e_run("halves", 8, -1);
	e2e_run("many_ids", 5, -1);
	e2e_run("killed_split", 4, 3);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("halves", 4, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_background_failure),
		cmocka_unit_test(test_background_ended),
		cmocka_unit_test(test_scalable),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_split_background),
		cmocka_unit_test(test_split_ended),
		cmocka_unit_test(test_split_absent),
		cmocka_unit_test(test_split_leaks_nothing),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_sixteen),
		cmocka_unit_test(test_processes),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
