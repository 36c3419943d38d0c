/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts ranks as processes and judges how they end; and elements of every type. See harness.h. */
#include "harness.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* cmocka.h needs the headers above */
#include <cmocka.h>

#include "types.h"

#define MAX_RANKS  64
#define DEADLINE_S 240 /* sanitizers are slow, and the cores few */

extern char **environ;

static void be_rank(char **argv, const struct scenario *scenario)
{
	struct rank r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r.rank = atoi(argv[2]);
	r.nranks = atoi(argv[3]);
	for (size_t i = 0; i < sizeof(r.id.internal); i++) {
		unsigned byte;

		if (sscanf(argv[4] + 2 * i, "%2x", &byte) != 1)
			exit(2);
		r.id.internal[i] = (char)byte;
	}
	scenario->run(&r);
}

/* What HOCKET_TEST_LAUNCH and HOCKET_TEST_HOSTS ask for. */
static void place(int rank, int n)
{
	const char *hosts = getenv("HOCKET_TEST_HOSTS");
	char text[16];

	snprintf(text, sizeof(text), "%d", rank);
	setenv("HOCKET_RANK", text, 1);
	if (!hosts)
		return;
	snprintf(text, sizeof(text), "%d", rank * atoi(hosts) / n);
	setenv("HOCKET_HOST_ID", text, 1);
}

static pid_t start(const char *scenario, int rank, int n, const hocketUniqueId *id)
{
	char rank_text[16], n_text[16], hex[2 * sizeof(id->internal) + 1], self[PATH_MAX] = "";
	char *launch = getenv("HOCKET_TEST_LAUNCH");
	char *argv[] = {launch, self, (char *)(uintptr_t)scenario, rank_text, n_text, hex, NULL};
	pid_t pid;

	/* Not /proc/self/exe, which is another program in one that is started in between. */
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(rank_text, sizeof(rank_text), "%d", rank);
	snprintf(n_text, sizeof(n_text), "%d", n);
	for (size_t i = 0; i < sizeof(id->internal); i++)
		snprintf(hex + 2 * i, 3, "%02x", (unsigned char)id->internal[i]);
	if (launch)
		place(rank, n);
	assert_int_equal(posix_spawnp(&pid, launch ? launch : self, NULL, NULL,
				      launch ? argv : argv + 1, environ),
			 0);
	return pid;
}

/* Whether all ranks have ended before the deadline; statuses[i] as of waitpid. */
static int reap(pid_t *pids, int *statuses, int n)
{
	struct timespec nap = {0, 5000000};
	time_t end = time(NULL) + DEADLINE_S;
	int left = n;

	while (left && time(NULL) < end) {
		for (int i = 0; i < n; i++) {
			if (!pids[i] || waitpid(pids[i], &statuses[i], WNOHANG) != pids[i])
				continue;
			pids[i] = 0;
			left--;
		}
		if (left)
			nanosleep(&nap, NULL);
	}
	for (int i = 0; i < n; i++) {
		if (!pids[i])
			continue;
		fprintf(stderr, "rank %d did not end within %d s\n", i, DEADLINE_S);
		kill(pids[i], SIGKILL);
		waitpid(pids[i], &statuses[i], 0);
	}
	return left == 0;
}

/* Whether all ranks succeed. */
static bool run(const char *scenario, int n, int victim)
{
	int statuses[MAX_RANKS] = {0};
	pid_t pids[MAX_RANKS];
	hocketUniqueId id;
	bool good;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	for (int i = 0; i < n; i++)
		pids[i] = start(scenario, i, n, &id);
	good = reap(pids, statuses, n);
	for (int i = 0; i < n; i++) {
		if (i == victim || statuses[i] == 0)
			continue;
		fprintf(stderr, "%s, %d ranks: rank %d ended with %s %d\n", scenario, n, i,
			WIFSIGNALED(statuses[i]) ? "signal" : "status",
			WIFSIGNALED(statuses[i]) ? WTERMSIG(statuses[i])
						 : WEXITSTATUS(statuses[i]));
		good = false;
	}
	return good;
}

void e2e_run(const char *scenario, int n, int victim)
{
	assert_true(run(scenario, n, victim));
}

void e2e_main(int argc, char **argv, const struct scenario *scenarios)
{
	int n = argc == 3 ? atoi(argv[2]) : 0;

	if (argc != 5 && argc != 3)
		return;
	while (scenarios->name && strcmp(scenarios->name, argv[1]) != 0)
		scenarios++;
	if (!scenarios->name || (argc == 3 && (n < 1 || n > MAX_RANKS))) {
		fprintf(stderr, "usage: %s [SCENARIO RANKS]\n", argv[0]);
		exit(2);
	}
	if (argc == 3)
		exit(run(argv[1], n, -1) ? 0 : 1);
	be_rank(argv, scenarios);
	exit(0);
}

hocketComm_t e2e_init(const struct rank *r, hocketConfig_t *config)
{
	hocketComm_t comm;

	OK(hocketCommInitRankConfig(&comm, r->nranks, r->id, r->rank, config));
	return comm;
}

hocketUniqueId e2e_share_id(const struct rank *r, hocketComm_t comm)
{
	hocketUniqueId *all = calloc((size_t)r->nranks, sizeof(*all)), id;

	CHECK(all);
	if (r->rank == 0)
		OK(hocketGetUniqueId(&all[0]));
	OK(hocketAllGather(&all[r->rank], all, sizeof(*all), hocketChar, comm, NULL));
	id = all[0];
	free(all);
	return id;
}

size_t e2e_size(hocketDataType_t type)
{
	return hk_type_size((enum hk_type)type);
}

static double get_float(const uint8_t *p, hocketDataType_t type)
{
	float f;
	double d;

	if (type == hocketFloat64) {
		memcpy(&d, p, sizeof(d));
		return d;
	}
	if (type == hocketFloat32) {
		memcpy(&f, p, sizeof(f));
		return (double)f;
	}
	return (double)hk_type_to_float((enum hk_type)type, p);
}

double e2e_get(const void *buf, size_t i, hocketDataType_t type)
{
	const uint8_t *p = (const uint8_t *)buf + i * e2e_size(type);
	uint64_t u = 0;

	if (hk_type_is_float((enum hk_type)type))
		return get_float(p, type);
	memcpy(&u, p, e2e_size(type)); /* little endian */
	switch (type) {
	case hocketInt8:
		return (int8_t)u;
	case hocketInt32:
		return (int32_t)u;
	case hocketInt64:
		return (double)(int64_t)u;
	default:
		return (double)u;
	}
}

/* Small formats: looks the value up among all codes, so that no encoder needs trust. */
static void put_small(uint8_t *p, hocketDataType_t type, double value)
{
	static uint16_t codes[hocketNumTypes][64];
	unsigned v = (unsigned)value;

	for (unsigned code = 1; !codes[type][v] && code < 0x8000; code++) {
		uint16_t c = (uint16_t)code;

		if (value != 0 && (double)hk_type_to_float((enum hk_type)type, &c) == value)
			codes[type][v] = c;
		if (value == 0)
			break;
	}
	memcpy(p, &codes[type][v], e2e_size(type));
}

void e2e_put(void *buf, size_t i, hocketDataType_t type, double value)
{
	uint8_t *p = (uint8_t *)buf + i * e2e_size(type);
	int64_t n = (int64_t)value;
	float f = (float)value;

	if (!hk_type_is_float((enum hk_type)type))
		memcpy(p, &n, e2e_size(type));
	else if (type == hocketFloat64)
		memcpy(p, &value, sizeof(value));
	else if (type == hocketFloat32)
		memcpy(p, &f, sizeof(f));
	else
		put_small(p, type, value);
}
