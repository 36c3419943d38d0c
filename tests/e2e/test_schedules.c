/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules of the user's own (hocket/schedule.h, HOCKET_SCHEDULES) in communicators: they run for
 * the sizes they name, in both forms of a call whatever form they are right in, only if they are
 * proved, and only if all ranks have the same.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"
#include "hocket/schedule.h"

#define IN  hocketBufferIn
#define OUT hocketBufferOut

/* All-gather in which everybody sends to everybody. own: it also copies its own block, and so is
 * right out of place; else it is right in place only. */
static hocketSchedule_t gather(const char *name, int n, bool own)
{
	hocketSchedule_t s;

	OK(hocketScheduleCreate(&s, name, hocketCollAllGather, n, 0));
	OK(hocketScheduleSetChunks(s, 1, 0, 1));
	for (int r = 0; r < n; r++) {
		int out = hocketScheduleLane(s, r, 0), in = hocketScheduleLane(s, r, 0);

		for (int k = 1; k < n; k++) {
			int to = (r + k) % n, from = (r + n - k) % n;

			hocketScheduleSend(s, r, out, to, IN, 0, 1);
			hocketScheduleRecv(s, r, in, from, OUT, from, 1);
		}
		if (own)
			hocketScheduleCopy(s, r, in, IN, 0, OUT, r, 1);
	}
	return s;
}

/* All-reduce over a star around rank 0. early: a rank overwrites its input too early to be right in
 * place. wrong: rank 0 forgets the last rank. */
static hocketSchedule_t star(const char *name, int n, bool early, bool wrong)
{
	hocketSchedule_t s;

	OK(hocketScheduleCreate(&s, name, hocketCollAllReduce, n, 0));
	OK(hocketScheduleSetChunks(s, 1, 1, 1));
	for (int r = 0; r < n; r++) {
		int lane = hocketScheduleLane(s, r, 0);

		if (early && r)
			hocketScheduleCopy(s, r, lane, IN, 0, OUT, 0, 1);
		if (r) {
			hocketScheduleSend(s, r, lane, 0, IN, 0, 1);
			hocketScheduleRecv(s, r, lane, 0, OUT, 0, 1);
			continue;
		}
		for (int k = 1; k < n; k++) {
			hocketBuffer_t acc = k == 1 ? IN : OUT;

			if (wrong && k == n - 1)
				hocketScheduleRecv(s, r, lane, k, hocketBufferScratch, 0, 1);
			else
				hocketScheduleRecvReduce(s, r, lane, k, acc, 0, OUT, 0, 1);
		}
		for (int k = 1; k < n; k++)
			hocketScheduleSend(s, r, lane, k, OUT, 0, 1);
	}
	return s;
}

/* As if it had longer messages. */
static void longer(hocketSchedule_t s)
{
	OK(hocketScheduleSetChunks(s, 1, 1, 2));
}

static void expect_algorithm(hocketComm_t comm, const char *coll, size_t bytes, const char *name)
{
	const char *got = "";

	OK(hocketCommGetAlgorithm(comm, coll, bytes, &got, NULL));
	CHECK(!strcmp(got, name));
}

static void run_gather(const struct rank *r, hocketComm_t comm, size_t count, bool inplace)
{
	size_t n = (size_t)r->nranks, me = (size_t)r->rank;
	int64_t *all = calloc(n * count + 1, sizeof(*all)), *mine = calloc(count + 1, sizeof(*all));
	int64_t *in = inplace ? all + me * count : mine;

	CHECK(all && mine);
	for (size_t i = 0; i < count; i++)
		in[i] = (int64_t)(me * 100000 + i);
	OK(hocketAllGather(in, all, count, hocketInt64, comm, NULL));
	for (size_t i = 0; i < n * count; i++)
		CHECK(all[i] == (int64_t)(i / count * 100000 + i % count));
	free(all);
	free(mine);
}

static void run_reduce(const struct rank *r, hocketComm_t comm, size_t count, bool inplace)
{
	int64_t *in = calloc(count + 1, sizeof(*in));
	int64_t *out = inplace ? in : calloc(count + 1, sizeof(*in)), n = r->nranks;

	CHECK(in && out);
	for (size_t i = 0; i < count; i++)
		in[i] = (int64_t)i * (r->rank + 1);
	OK(hocketAllReduce(in, out, count, hocketInt64, hocketSum, comm, NULL));
	for (size_t i = 0; i < count; i++)
		CHECK(out[i] == (int64_t)i * n * (n + 1) / 2);
	if (!inplace)
		free(out);
	free(in);
}

static const size_t counts[] = {1, 7, 1000, 30011};

static void run_forms(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketSchedule_t bare = gather("bare", r->nranks, false);
	hocketSchedule_t early = star("early", r->nranks, true, false);
	int slots = 0;

	OK(hocketScheduleProve(bare, 1, &slots));
	CHECK(slots == 1);
	CHECK(hocketScheduleProve(bare, 0, NULL) == hocketInvalidUsage);
	OK(hocketScheduleProve(early, 0, NULL));
	CHECK(hocketScheduleProve(early, 1, NULL) == hocketInvalidUsage);
	OK(hocketCommUseSchedule(comm, bare, 0, SIZE_MAX));
	OK(hocketCommUseSchedule(comm, early, 0, SIZE_MAX));
	OK(hocketScheduleDestroy(bare));
	OK(hocketScheduleDestroy(early));
	expect_algorithm(comm, "all_gather", 8, "bare");
	expect_algorithm(comm, "all_reduce", 8, "early");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (int inplace = 0; inplace < 2; inplace++) {
			run_gather(r, comm, counts[i], inplace);
			run_reduce(r, comm, counts[i], inplace);
			/* ranks of both kinds in one call */
			run_gather(r, comm, counts[i], r->rank % 2 == inplace);
			run_reduce(r, comm, counts[i], r->rank % 2 == inplace);
		}
	OK(hocketCommDestroy(comm));
}

static void run_sizes(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketSchedule_t a = star("a", r->nranks, false, false),
			 b = star("b", r->nranks, false, false);
	hocketSchedule_t wrong = star("wrong", r->nranks, false, true), other;
	const char *builtin = "";

	OK(hocketCommGetAlgorithm(comm, "all_reduce", 99, &builtin, NULL));
	OK(hocketCommUseSchedule(comm, a, 100, 1000));
	OK(hocketCommUseSchedule(comm, b, 400, 500));
	expect_algorithm(comm, "all_reduce", 99, builtin);
	expect_algorithm(comm, "all_reduce", 100, "a");
	expect_algorithm(comm, "all_reduce", 450, "b");
	expect_algorithm(comm, "all_reduce", 1000, "a");
	expect_algorithm(comm, "all_reduce", 1001, builtin);
	for (size_t count = 5; count < 200; count += 5)
		run_reduce(r, comm, count, count % 2);
	CHECK(hocketCommUseSchedule(comm, wrong, 0, SIZE_MAX) == hocketInvalidUsage);
	CHECK(strstr(hocketGetLastError(NULL), "lacks the contribution of rank"));
	CHECK(hocketCommUseSchedule(comm, r->rank ? a : b, 0, 1) == hocketInvalidUsage);
	CHECK(strstr(hocketGetLastError(NULL), "another schedule"));
	other = star("other", r->nranks + 1, false, false);
	CHECK(hocketCommUseSchedule(comm, other, 0, 1) == hocketInvalidArgument);
	/* A rank that can't is heard of by the others at once. */
	CHECK(hocketCommUseSchedule(comm, r->rank == 1 ? other : a, 0, 1) ==
	      (r->rank == 1 ? hocketInvalidArgument : hocketInvalidUsage));
	CHECK(strstr(hocketGetLastError(NULL), r->rank == 1 ? "for 4 ranks" : "rank 1"));
	/* Equal steps, but other lengths of messages: tiles would differ. */
	OK(hocketScheduleDestroy(other));
	other = star("a", r->nranks, false, false);
	longer(other);
	CHECK(hocketCommUseSchedule(comm, r->rank ? a : other, 100, 1000) == hocketInvalidUsage);
	run_reduce(r, comm, 1000, false);
	OK(hocketScheduleDestroy(a));
	OK(hocketScheduleDestroy(b));
	OK(hocketScheduleDestroy(wrong));
	OK(hocketScheduleDestroy(other));
	OK(hocketCommDestroy(comm));
}

/* The parent wrote files for 3 ranks into HOCKET_SCHEDULES: two good ones and a broken one. */
static void run_directory(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	if (r->nranks == 3) {
		expect_algorithm(comm, "all_reduce", 8, "saved_star");
		expect_algorithm(comm, "all_gather", 8, "saved_gather");
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (int inplace = 0; inplace < 2; inplace++) {
			run_gather(r, comm, counts[i], inplace);
			run_reduce(r, comm, counts[i], inplace);
		}
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {
	{"forms", run_forms}, {"sizes", run_sizes}, {"directory", run_directory}, {NULL, NULL}};

static void test_forms(void **state)
{
	e2e_run("forms", 2, -1);
	e2e_run("forms", 3, -1);
}

static void test_sizes(void **state)
{
	e2e_run("sizes", 3, -1);
}

static void save(hocketSchedule_t s, const char *dir, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	OK(hocketScheduleSave(s, path));
	OK(hocketScheduleDestroy(s));
}

static void test_directory(void **state)
{
	char dir[] = "/tmp/hocket-schedules-XXXXXX", path[256];
	const char *names[] = {"star.hks", "gather.hks", "broken.hks"};
	hocketSchedule_t loaded;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	save(star("saved_star", 3, false, false), dir, names[0]);
	save(gather("saved_gather", 3, true), dir, names[1]);
	snprintf(path, sizeof(path), "%s/%s", dir, names[2]);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "this is no schedule\n");
	fclose(f);
	CHECK(hocketScheduleLoad(&loaded, path) == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "broken.hks:1: "));
	setenv("HOCKET_SCHEDULES", dir, 1);
	setenv("HOCKET_DEBUG", "1", 1);
	e2e_run("directory", 3, -1);
	e2e_run("directory", 2, -1); /* the files are for another number of ranks */
	unsetenv("HOCKET_SCHEDULES");
	unsetenv("HOCKET_DEBUG");
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

/* Wrong building calls are remembered, and told when the schedule is asked for. */
static void test_wrong_calls(void **state)
{
	hocketSchedule_t s;

	CHECK(hocketScheduleCreate(&s, "no spaces", hocketCollAllReduce, 2, 0) ==
	      hocketInvalidArgument);
	CHECK(hocketScheduleCreate(&s, "x", hocketNumColls, 2, 0) == hocketInvalidArgument);
	CHECK(hocketScheduleCreate(&s, "x", hocketCollReduce, 2, 2) == hocketInvalidArgument);
	OK(hocketScheduleCreate(&s, "x", hocketCollAllReduce, 2, 0));
	CHECK(hocketScheduleSend(s, 7, 0, 1, IN, 0, 1) == -1);
	CHECK(hocketScheduleProve(s, 0, NULL) == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "rank 7"));
	OK(hocketScheduleDestroy(s));
	OK(hocketScheduleCreate(&s, "x", hocketCollAllReduce, 2, 0));
	OK(hocketScheduleSetChunks(s, 1, 0, 1));
	hocketScheduleSend(s, 0, 3, 1, IN, 0, 1); /* there is no lane 3 */
	CHECK(hocketScheduleProve(s, 0, NULL) == hocketInvalidArgument);
	CHECK(hocketScheduleLane(s, 0, 0) == -1); /* too late */
	CHECK(hocketScheduleSave(s, "/tmp/never") == hocketInvalidArgument);
	OK(hocketScheduleDestroy(s));
	OK(hocketScheduleCreate(&s, "x", hocketCollAllReduce, 2, 0));
	OK(hocketScheduleSetChunks(s, 1, 0, 1));
	hocketScheduleLane(s, 0, 0);
	hocketScheduleSend(s, 0, 0, 1, (hocketBuffer_t)(256 + IN), 0,
			   1); /* no buffer, in 8 bits one */
	CHECK(hocketScheduleProve(s, 0, NULL) == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "lacks a buffer"));
	OK(hocketScheduleDestroy(s));
	OK(hocketScheduleDestroy(NULL));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_wrong_calls),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
