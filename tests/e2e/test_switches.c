/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Jobs that switches reduce for: `hocket switch` processes, and ranks that reach them. Stars and a
 * tree, all collectives that switches do, types and operations, over shared memory and over TCP;
 * several jobs on one switch; a wrong key; and a switch that is killed in mid-operation. Argument:
 * the hocket command's path.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

#define ALL_SWITCH                                                                                 \
	"switch_all_reduce,switch_reduce,switch_broadcast,switch_reduce_scatter,"                  \
	"switch_all_gather,switch_barrier"
#define MOST_SWITCHES 3

static const char *hocket;
static char folder[64], key[80], other_key[80];

/* --- what ranks do --- */

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool through_switches(hocketComm_t comm, const char *collective, size_t bytes)
{
	const char *algo = NULL;

	OK(hocketCommGetAlgorithm(comm, collective, bytes, &algo, NULL));
	return strncmp(algo, "switch_", 7) == 0;
}

/* What rank `rank` contributes at i: exact in every type, and products and sums stay so. */
static double input(int rank, size_t i)
{
	return (double)(1 + ((size_t)rank + i) % 2);
}

static double expected(int n, size_t i, hocketRedOp_t op)
{
	double v = input(0, i);

	for (int r = 1; r < n; r++) {
		double x = input(r, i);

		if (op == hocketSum || op == hocketAvg)
			v += x;
		else if (op == hocketProd)
			v *= x;
		else if (op == hocketMax)
			v = x > v ? x : v;
		else
			v = x < v ? x : v;
	}
	return v;
}

static void check_all_reduce(hocketComm_t comm, const struct rank *r, hocketDataType_t type,
			     hocketRedOp_t op, size_t count, bool inplace)
{
	uint8_t *in = calloc(count + 1, 8), *out = inplace ? in : calloc(count + 1, 8);

	CHECK(in && out);
	for (size_t i = 0; i < count; i++)
		e2e_put(in, i, type, input(r->rank, i));
	OK(hocketAllReduce(in, out, count, type, op, comm, NULL));
	for (size_t i = 0; i < count; i++)
		CHECK(e2e_get(out, i, type) == expected(r->nranks, i, op));
	free(in);
	if (!inplace)
		free(out);
}

static void check_rooted(hocketComm_t comm, const struct rank *r, size_t count)
{
	size_t bytes = (count + 1) * sizeof(int64_t);
	int64_t *in = malloc(bytes), *out = malloc(bytes);

	CHECK(in && out);
	for (int root = 0; root < r->nranks; root++) {
		for (size_t i = 0; i < count; i++)
			in[i] = r->rank * 1000003 + (int64_t)i;
		OK(hocketBroadcast(in, out, count, hocketInt64, root, comm, NULL));
		for (size_t i = 0; i < count; i++)
			CHECK(out[i] == root * 1000003 + (int64_t)i);
		OK(hocketReduce(in, out, count, hocketInt64, hocketSum, root, comm, NULL));
		for (size_t i = 0; i < count && r->rank == root; i++)
			CHECK(out[i] ==
			      r->nranks * (r->nranks - 1) / 2 * 1000003 + r->nranks * (int64_t)i);
	}
	free(in);
	free(out);
}

static void check_blocks(hocketComm_t comm, const struct rank *r, size_t count)
{
	size_t n = (size_t)r->nranks, me = (size_t)r->rank;
	int32_t *all = malloc((n * count + 1) * sizeof(*all)), *one = malloc((count + 1) * 4);

	CHECK(all && one);
	for (size_t i = 0; i < count; i++)
		one[i] = (int32_t)(me * 7919 + i);
	OK(hocketAllGather(one, all, count, hocketInt32, comm, NULL));
	for (size_t b = 0; b < n; b++)
		for (size_t i = 0; i < count; i++)
			CHECK(all[b * count + i] == (int32_t)(b * 7919 + i));
	OK(hocketReduceScatter(all, one, count, hocketInt32, hocketSum, comm, NULL));
	for (size_t i = 0; i < count; i++)
		CHECK(one[i] == (int32_t)(n * (me * 7919 + i)));
	free(all);
	free(one);
}

static void all_collectives(hocketComm_t comm, const struct rank *r)
{
	static const size_t counts[] = {1, 1031, 70001};

	for (unsigned c = 0; c < 3; c++) {
		check_all_reduce(comm, r, hocketInt64, hocketSum, counts[c], c & 1);
		check_rooted(comm, r, counts[c] < 2000 ? counts[c] : 9001);
		check_blocks(comm, r, counts[c] < 2000 ? counts[c] : 9001);
		OK(hocketBarrier(comm, NULL));
	}
}

static void run_all(struct rank *r)
{
	static const char *const names[] = {"all_reduce",     "reduce",	    "broadcast",
					    "reduce_scatter", "all_gather", "barrier"};
	hocketComm_t comm = e2e_init(r, NULL);

	for (unsigned i = 0; i < 6; i++)
		CHECK(through_switches(comm, names[i], 4096));
	all_collectives(comm, r);
	OK(hocketCommDestroy(comm));
}

static void run_types(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	double two = 2;
	hocketRedOp_t premul;

	for (int type = 0; type < hocketNumTypes; type++)
		for (int op = hocketSum; op <= hocketMin; op++)
			check_all_reduce(comm, r, (hocketDataType_t)type, (hocketRedOp_t)op, 77,
					 op & 1);
	/* What only ranks can do, before and after: scale and divide. */
	OK(hocketRedOpCreatePreMulSum(&premul, &two, hocketFloat64, hocketScalarHostImmediate,
				      comm));
	for (int k = 0; k < 2; k++) {
		double in = input(r->rank, 0), out = 0;

		OK(hocketAllReduce(&in, &out, 1, hocketFloat64, k ? hocketAvg : premul, comm,
				   NULL));
		CHECK(out == expected(r->nranks, 0, hocketSum) * (k ? 1.0 / r->nranks : 2));
	}
	OK(hocketCommDestroy(comm));
}

/* Three jobs at a time, of the same processes, and one of some of them. */
static void run_jobs(struct rank *r)
{
	hocketComm_t comms[3];
	hocketStream_t streams[3];
	int64_t in[3], out[3];

	comms[0] = e2e_init(r, NULL);
	for (int i = 1; i < 3; i++) {
		struct rank again = *r;

		again.id = e2e_share_id(r, comms[0]);
		comms[i] = e2e_init(&again, NULL);
	}
	for (int i = 0; i < 3; i++)
		OK(hocketStreamCreate(&streams[i]));
	for (int k = 0; k < 200; k++) {
		for (int i = 0; i < 3; i++) {
			in[i] = r->rank + i * 100 + k;
			OK(hocketAllReduce(&in[i], &out[i], 1, hocketInt64, hocketSum, comms[i],
					   streams[i]));
		}
		for (int i = 0; i < 3; i++) {
			OK(hocketStreamSynchronize(streams[i]));
			CHECK(out[i] ==
			      r->nranks * (r->nranks - 1) / 2 + r->nranks * (i * 100 + k));
		}
	}
	/* In a group they are polled by one thread. */
	OK(hocketGroupStart());
	for (int i = 0; i < 3; i++)
		OK(hocketAllReduce(&in[i], &out[i], 1, hocketInt64, hocketMax, comms[i], NULL));
	OK(hocketGroupEnd());
	for (int i = 0; i < 3; i++) {
		CHECK(out[i] == r->nranks - 1 + i * 100 + 199);
		OK(hocketStreamDestroy(streams[i]));
	}
	/* One job's end is not the others'. */
	OK(hocketCommDestroy(comms[1]));
	all_collectives(comms[0], r);
	OK(hocketCommDestroy(comms[0]));
	all_collectives(comms[2], r);
	OK(hocketCommDestroy(comms[2]));
}

/* No switch would have us, and all is well. */
static void run_without(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	CHECK(!through_switches(comm, "all_reduce", 4096));
	all_collectives(comm, r);
	OK(hocketCommDestroy(comm));
}

/* --- a death --- */

#define PLANNED_CALL 10

static double killed_at;

static void nap_ms(long ms)
{
	struct timespec nap = {0, ms * 1000000};

	nanosleep(&nap, NULL);
}

static void *kill_soon(void *arg)
{
	nap_ms(60);
	killed_at = now_s();
	kill(atoi(getenv("TEST_VICTIM")), SIGKILL);
	return NULL;
}

/* Call number `call`, its result checked if it has one. Rooted calls let ranks run ahead of each
 * other. */
static hocketResult_t one_call(hocketComm_t comm, const struct rank *r, int64_t call, int64_t *buf,
			       size_t count)
{
	hocketResult_t res;

	for (size_t i = 0; i < count; i += 997)
		buf[i] = r->rank + (int64_t)i;
	if (call % 3 == 0)
		return hocketBroadcast(buf, buf, 1000, hocketInt64, 0, comm, NULL);
	/* Switches do no such thing: ranks may be in it while others wait for them elsewhere. */
	if (call % 3 == 2)
		return hocketAlltoAll(buf, buf + count / 2, 100, hocketInt64, comm, NULL);
	res = hocketAllReduce(buf, buf, count, hocketInt64, hocketSum, comm, NULL);
	for (size_t i = 0; res == hocketSuccess && i < count; i += 997)
		CHECK(buf[i] == r->nranks * (r->nranks - 1) / 2 + r->nranks * (int64_t)i);
	return res;
}

/* Whatever call fails first, all ranks must agree on which one is the first without switches.
 * planned: the switch dies when all but one rank are in the middle of call 10. */
static void die(struct rank *r, bool planned)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int64_t all[8] = {0}, failed = 0, healed = 0;
	size_t count = 1 << 20, bytes = count * sizeof(int64_t);
	int64_t *buf = malloc(bytes);
	hocketResult_t async;
	pthread_t killer;

	CHECK(buf && through_switches(comm, "all_reduce", bytes));
	for (int64_t call = 1; !healed; call++) {
		CHECK(call < 100000);
		if (!r->rank && call == (planned ? PLANNED_CALL : 1))
			CHECK(!pthread_create(&killer, NULL, kill_soon, NULL));
		if (planned && r->rank == r->nranks - 1 && call == PLANNED_CALL)
			nap_ms(300);
		if (one_call(comm, r, call, buf, count) == hocketSuccess) {
			/* A rank that had only to send may see no call fail. */
			if (!through_switches(comm, "all_reduce", bytes))
				healed = call;
			continue;
		}
		CHECK(strstr(hocketGetLastError(NULL), "switch victim at 127.0.0.1:"));
		if (!failed && !r->rank)
			CHECK(now_s() - killed_at < 1.0);
		failed++;
		OK(hocketCommGetAsyncError(comm, &async));
		CHECK(async == hocketSuccess);
	}
	if (!r->rank)
		pthread_join(killer, NULL);
	if (planned)
		CHECK(failed == 1 && healed == PLANNED_CALL + 2);
	all_collectives(comm, r);
	all[r->rank] = healed;
	OK(hocketAllGather(&all[r->rank], all, 1, hocketInt64, comm, NULL));
	for (int i = 0; i < r->nranks; i++)
		CHECK(all[i] == healed);
	free(buf);
	OK(hocketCommDestroy(comm));
}

static void run_death(struct rank *r)
{
	die(r, true);
}

/* In a group, the call that the switch spoilt fails, and those after it are done without. */
static void run_group_death(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t count = 1 << 20;
	int64_t *big = calloc(count, sizeof(*big)), in[2] = {r->rank, 10}, out[2] = {-1, -1};
	pthread_t killer;

	CHECK(big);
	OK(hocketAllReduce(in, out, 2, hocketInt64, hocketSum, comm, NULL));
	if (!r->rank)
		CHECK(!pthread_create(&killer, NULL, kill_soon, NULL));
	if (r->rank == r->nranks - 1)
		nap_ms(300);
	out[0] = out[1] = -1;
	OK(hocketGroupStart());
	OK(hocketAllReduce(big, big, count, hocketInt64, hocketSum, comm, NULL));
	OK(hocketAllReduce(&in[0], &out[0], 1, hocketInt64, hocketSum, comm, NULL));
	OK(hocketAllReduce(&in[1], &out[1], 1, hocketInt64, hocketMax, comm, NULL));
	CHECK(hocketGroupEnd() == hocketRemoteError);
	CHECK(strstr(hocketGetLastError(NULL), "switch victim at 127.0.0.1:"));
	CHECK(out[0] == r->nranks * (r->nranks - 1) / 2 && out[1] == 10);
	if (!r->rank)
		pthread_join(killer, NULL);
	all_collectives(comm, r);
	free(big);
	OK(hocketCommDestroy(comm));
}

static void run_sudden_death(struct rank *r)
{
	die(r, false);
}

/* The switch dies while nothing needs it: at most one call fails, and all after it work. */
static void run_idle_death(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int64_t one = 1, sum = 0, all[2][8] = {{0}};

	OK(hocketAllReduce(&one, &sum, 1, hocketInt64, hocketSum, comm, NULL));
	CHECK(sum == r->nranks);
	/* All have it now. */
	OK(hocketAlltoAll(all[0], all[1], 1, hocketInt64, comm, NULL));
	if (!r->rank)
		kill(atoi(getenv("TEST_VICTIM")), SIGKILL);
	nap_ms(300);
	if (hocketAllReduce(&one, &sum, 1, hocketInt64, hocketSum, comm, NULL) != hocketSuccess)
		OK(hocketAllReduce(&one, &sum, 1, hocketInt64, hocketSum, comm, NULL));
	CHECK(sum == r->nranks);
	all_collectives(comm, r);
	OK(hocketCommDestroy(comm));
}

/* A mismatch is found by the switch, and is the ranks' failure, not the switch's: the first rank to
 * hear of it says so, the others that this one gave up. */
static void run_mismatch(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	int64_t in[2] = {1, 2}, out[2];
	hocketResult_t async = hocketSuccess,
		       res = hocketAllReduce(in, out, r->rank == 1 ? 2 : 1, hocketInt64, hocketSum,
					     comm, NULL);

	CHECK(res == hocketInvalidUsage || res == hocketRemoteError);
	CHECK(strstr(hocketGetLastError(NULL),
		     res == hocketInvalidUsage ? "same calls" : "ranks disagree about the call"));
	OK(hocketCommGetAsyncError(comm, &async));
	CHECK(async != hocketSuccess);
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {
	{"all", run_all},
	{"types", run_types},
	{"jobs", run_jobs},
	{"without", run_without},
	{"death", run_death},
	{"idle_death", run_idle_death},
	{"sudden_death", run_sudden_death},
	{"group_death", run_group_death},
	{"mismatch", run_mismatch},
	{NULL, NULL},
};

/* --- switches --- */

struct fleet {
	int n;
	pid_t pids[MOST_SWITCHES];
	char addresses[MOST_SWITCHES * 32];
};

static pid_t start_switch(const char *name, const char *more, char address[32])
{
	int out[2];
	char line[128] = "";
	size_t got = 0;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execl(hocket, "hocket", "switch", "--listen", "127.0.0.1:0", "--key", key, "--name",
		      name, "--max-jobs", more, NULL);
		_exit(127);
	}
	close(out[1]);
	while (got < sizeof(line) - 1 && !strchr(line, '\n')) {
		ssize_t n = read(out[0], line + got, sizeof(line) - 1 - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	close(out[0]);
	assert_int_equal(sscanf(line, "listening on %31s", address), 1);
	return pid;
}

static void start_fleet(struct fleet *f, int n, const char *name)
{
	memset(f, 0, sizeof(*f));
	for (f->n = 0; f->n < n; f->n++) {
		char address[32];

		f->pids[f->n] = start_switch(name, "8", address);
		if (f->n)
			strcat(f->addresses, ",");
		strcat(f->addresses, address);
	}
	setenv("HOCKET_SWITCHES", f->addresses, 1);
	setenv("HOCKET_SWITCH_KEY", key, 1);
	setenv("HOCKET_ALGO", ALL_SWITCH, 1);
}

/* They end well when asked to, jobs or not. */
static void stop_fleet(struct fleet *f, bool dead)
{
	for (int i = 0; i < f->n; i++) {
		int status = 0;

		kill(f->pids[i], SIGTERM);
		assert_int_equal(waitpid(f->pids[i], &status, 0), f->pids[i]);
		assert_true(dead || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	}
	unsetenv("HOCKET_SWITCHES");
	unsetenv("HOCKET_SWITCH_KEY");
	unsetenv("HOCKET_ALGO");
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_stars(void **state)
{
	struct fleet f;

	start_fleet(&f, 1, "star");
	for (int n = 2; n <= 8; n += n < 5 ? 1 : 3)
		e2e_run("all", n, -1);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("all", 3, -1);
	stop_fleet(&f, false);
}

static void test_tree(void **state)
{
	struct fleet f;

	start_fleet(&f, 3, "tree");
	e2e_run("all", 4, -1);
	e2e_run("all", 5, -1);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("all", 3, -1);
	stop_fleet(&f, false);
}

/* The topology says where the switches are, and which rank hangs on which. */
static void test_topology(void **state)
{
	char path[80];
	struct fleet f;
	FILE *file;

	start_fleet(&f, 1, "named");
	unsetenv("HOCKET_SWITCHES");
	snprintf(path, sizeof(path), "%s/cluster.topo", folder);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
		"node a[0-1] slots 2\n"
		"switch s reduces %s\n"
		"link a[0-1] s ethernet 100Gb/s\n",
		f.addresses);
	fclose(file);
	setenv("HOCKET_TOPO_FILE", path, 1);
	e2e_run("all", 4, -1);
	unsetenv("HOCKET_TOPO_FILE");
	unlink(path);
	stop_fleet(&f, false);
}

static void test_types(void **state)
{
	struct fleet f;

	start_fleet(&f, 1, "types");
	e2e_run("types", 3, -1);
	stop_fleet(&f, false);
}

static void test_jobs(void **state)
{
	struct fleet f;

	start_fleet(&f, 1, "jobs");
	e2e_run("jobs", 3, -1);
	stop_fleet(&f, false);
}

/* A switch that has as many jobs as it may says so, and the next job goes without. */
static void test_refusals(void **state)
{
	struct fleet f;

	start_fleet(&f, 1, "refuses");
	setenv("HOCKET_SWITCH_KEY", other_key, 1);
	e2e_run("without", 2, -1);
	unsetenv("HOCKET_SWITCH_KEY");
	e2e_run("without", 2, -1);
	setenv("HOCKET_SWITCH_KEY", key, 1);
	setenv("HOCKET_SWITCHES", "127.0.0.1:9", 1); /* nobody is there */
	e2e_run("without", 2, -1);
	setenv("HOCKET_SWITCHES", f.addresses, 1);
	e2e_run("all", 2, -1); /* none of that hurt the switch */
	stop_fleet(&f, false);
}

static void run_with_victim(const char *scenario, int n, int switches, int victim)
{
	char pid[16];
	struct fleet f;

	start_fleet(&f, switches, "victim");
	snprintf(pid, sizeof(pid), "%d", (int)f.pids[victim]);
	setenv("TEST_VICTIM", pid, 1);
	e2e_run(scenario, n, -1);
	stop_fleet(&f, true);
}

static void test_death(void **state)
{
	run_with_victim("death", 4, 1, 0);
	run_with_victim("death", 4, 3, 2);
	run_with_victim("sudden_death", 3, 1, 0);
	run_with_victim("idle_death", 3, 1, 0);
	run_with_victim("group_death", 3, 1, 0);
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	run_with_victim("death", 3, 1, 0);
}

static void test_mismatch(void **state)
{
	struct fleet f;

	start_fleet(&f, 1, "judge");
	e2e_run("mismatch", 3, -1);
	e2e_run("all", 2, -1);
	stop_fleet(&f, false);
}

/* --- keys --- */

static void make_key(const char *path)
{
	char command[400];

	snprintf(command, sizeof(command), "%s switch --make-key %s 2>/dev/null", hocket, path);
	assert_int_equal(system(command), 0);
	assert_int_not_equal(system(command), 0); /* never over another */
}

static int setup(void **state)
{
	strcpy(folder, "/tmp/hocket-switch-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(key, sizeof(key), "%s/key", folder);
	snprintf(other_key, sizeof(other_key), "%s/other", folder);
	make_key(key);
	make_key(other_key);
	return 0;
}

static int cleanup(void **state)
{
	unlink(key);
	unlink(other_key);
	return rmdir(folder);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stars), cmocka_unit_test(test_tree),
		cmocka_unit_test(test_types), cmocka_unit_test(test_topology),
		cmocka_unit_test(test_jobs),  cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_death), cmocka_unit_test(test_mismatch),
	};

	e2e_main(argc, argv, scenarios);
	if (argc != 2)
		return 2;
	hocket = argv[1];
	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, setup, cleanup);
}
