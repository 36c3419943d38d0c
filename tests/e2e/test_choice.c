/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice of algorithms, as users see it: the same on all ranks whatever each has measured,
 * forced by names, and told when asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

static const char *const collectives[] = {"all_reduce", "reduce_scatter", "all_gather",
					  "broadcast",	"reduce",	  "all_to_all",
					  "gather",	"scatter",	  "barrier"};

#define NCOLLECTIVES (sizeof(collectives) / sizeof(collectives[0]))

/* All ranks get the same answer, of whichever rank they ask first. */
static void compare_choices(const struct rank *r, hocketComm_t comm)
{
	char mine[96], *all = calloc((size_t)r->nranks, sizeof(mine));

	CHECK(all);
	for (unsigned i = 0; i < NCOLLECTIVES; i++) {
		for (size_t bytes = 4; bytes <= 64u << 20; bytes *= 16) {
			const char *name = NULL;
			int channels = 0;

			OK(hocketCommGetAlgorithm(comm, collectives[i], bytes, &name, &channels));
			CHECK(name && channels >= 1);
			memset(mine, 0, sizeof(mine));
			snprintf(mine, sizeof(mine), "%s x%d", name, channels);
			OK(hocketAllGather(mine, all, sizeof(mine), hocketChar, comm, NULL));
			for (int k = 0; k < r->nranks; k++)
				CHECK(!strcmp(all + (size_t)k * sizeof(mine), mine));
		}
	}
	free(all);
}

/* A copy of the measurements for this rank alone, with costs that would make it choose otherwise.
 */
static void pretend_measured(const struct rank *r)
{
	char folder[64], command[512];

	snprintf(folder, sizeof(folder), "/tmp/hocket-choice-%d-%ld", r->rank, (long)getpid());
	snprintf(command, sizeof(command),
		 "cp -r $XDG_CACHE_HOME %s && sed -i "
		 "'s/^latency_ps .*/latency_ps %d/; s/^fill_ps_per_byte .*/fill_ps_per_byte %d/' "
		 "%s/hocket/machine-*.txt",
		 folder, r->rank == 0 ? 1 : 900000000, r->rank == 1 ? 10 : 900000, folder);
	CHECK(system(command) == 0);
	CHECK(!setenv("XDG_CACHE_HOME", folder, 1));
}

static void run_equal(struct rank *r)
{
	hocketComm_t comm;
	char command[128];

	pretend_measured(r);
	comm = e2e_init(r, NULL);
	compare_choices(r, comm);
	OK(hocketCommDestroy(comm));
	snprintf(command, sizeof(command), "rm -r %s", getenv("XDG_CACHE_HOME"));
	CHECK(system(command) == 0);
}

static void sum_once(const struct rank *r, hocketComm_t comm)
{
	int in = 1, out = 0;

	OK(hocketAllReduce(&in, &out, 1, hocketInt32, hocketSum, comm, NULL));
	CHECK(out == r->nranks);
}

static void run_forced(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	const char *name = NULL;
	hocketComm_t comm;
	int channels = 0;

	config.algorithms = "direct_broadcast, ring_all_reduce";
	config.channels = 2;
	comm = e2e_init(r, &config);
	OK(hocketCommGetAlgorithm(comm, "all_reduce", 8, &name, &channels));
	CHECK(!strcmp(name, "ring_all_reduce") && channels == 2);
	OK(hocketCommGetAlgorithm(comm, "broadcast", 1 << 20, &name, NULL));
	CHECK(!strcmp(name, "direct_broadcast"));
	OK(hocketCommGetAlgorithm(comm, "all_gather", 1 << 20, &name, NULL));
	CHECK(name);
	sum_once(r, comm);
	OK(hocketCommDestroy(comm));
}

static void run_refused(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm = NULL;
	const char *name = NULL;

	config.algorithms = "ring_all_reduce,ring_al_reduce";
	CHECK(hocketCommInitRankConfig(&comm, r->nranks, r->id, r->rank, &config) ==
	      hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "did you mean ring_all_reduce"));
	CHECK(hocketCommGetAlgorithm(NULL, "all_reduce", 8, &name, NULL) == hocketInvalidArgument);
}

/* A stream's calls may be choosing while the question comes. */
static void run_asked_beside_stream(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int in[64] = {0}, out[64];
	hocketStream_t stream;
	const char *name = NULL;

	CHECK(hocketCommGetAlgorithm(comm, "all_reduces", 8, &name, NULL) == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "all_reduces"));
	CHECK(hocketCommGetAlgorithm(comm, NULL, 8, &name, NULL) == hocketInvalidArgument);
	CHECK(hocketCommGetAlgorithm(comm, "point_to_point", 8, &name, NULL) ==
	      hocketInvalidArgument);
	CHECK(hocketCommGetAlgorithm(comm, "all_reduce", 8, NULL, NULL) == hocketInvalidArgument);
	OK(hocketStreamCreate(&stream));
	for (int i = 1; i <= 64; i++) {
		OK(hocketAllReduce(in, out, (size_t)i, hocketInt32, hocketSum, comm, stream));
		OK(hocketCommGetAlgorithm(comm, "all_reduce", (size_t)i * 4, &name, NULL));
	}
	OK(hocketStreamSynchronize(stream));
	OK(hocketStreamDestroy(stream));
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {
	{"equal", run_equal},
	{"forced", run_forced},
	{"refused", run_refused},
	{"asked_beside_stream", run_asked_beside_stream},
	{NULL, NULL},
};

static void test_equal(void **state)
{
	char folder[] = "/tmp/hocket-choice-XXXXXX", command[256];

	assert_non_null(mkdtemp(folder));
	assert_int_equal(setenv("XDG_CACHE_HOME", folder, 1), 0);
	snprintf(command, sizeof(command), "%s tune > /dev/null", getenv("HOCKET_TEST_TOOL"));
	assert_int_equal(system(command), 0);
	e2e_run("equal", 3, -1);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	unsetenv("XDG_CACHE_HOME");
}

static void test_forced(void **state)
{
	e2e_run("forced", 3, -1);
}

static void test_refused(void **state)
{
	e2e_run("refused", 1, -1);
}

static void test_asked_beside_stream(void **state)
{
	e2e_run("asked_beside_stream", 2, -1);
}

static void test_list(void **state)
{
	const char *name = NULL, *collective = NULL;
	int n = 0, rings = 0;

	while (hocketListAlgorithm(n, &name, &collective) == hocketSuccess) {
		rings += !strcmp(name, "ring_all_reduce") && !strcmp(collective, "all_reduce");
		n++;
	}
	assert_true(n >= 10);
	assert_int_equal(rings, 1);
	assert_int_equal(hocketListAlgorithm(-1, &name, &collective), hocketInvalidArgument);
	assert_int_equal(hocketListAlgorithm(0, NULL, &collective), hocketInvalidArgument);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_forced),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_asked_beside_stream),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
