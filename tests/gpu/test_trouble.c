/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What goes wrong while kernels wait must end them soon, on every rank, with a sentence that names
 * the cause: ranks that don't call, call something else, abort or die, and a driver that refuses.
 * Ranks are processes. That nothing is left behind is counted in the driver's own calls.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../e2e/harness.h"
#include "cuda_test.h"

#define COUNT 1000

struct gpu {
	CUstream stream;
	CUdeviceptr in, out;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct gpu open_gpu(void)
{
	struct gpu g;

	gpu_use(0);
	CU(cu.cuStreamCreate(&g.stream, CU_STREAM_NON_BLOCKING));
	CU(cu.cuMemAlloc(&g.in, 4 * COUNT));
	CU(cu.cuMemAlloc(&g.out, 4 * COUNT));
	CU(cu.cuMemsetD8Async(g.in, 1, 4 * COUNT, g.stream));
	CU(cu.cuStreamSynchronize(g.stream));
	return g;
}

static void close_gpu(struct gpu *g)
{
	CU(cu.cuStreamDestroy(g->stream));
	CU(cu.cuMemFree(g->in));
	CU(cu.cuMemFree(g->out));
}

static hocketConfig_t on_gpu(int timeout_ms)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	config.device = 0;
	config.timeoutMs = timeout_ms;
	config.initTimeoutMs = 30000;
	return config;
}

static hocketResult_t queue(struct gpu *g, hocketComm_t comm, size_t count)
{
	return hocketAllReduce((void *)(uintptr_t)g->in, (void *)(uintptr_t)g->out, count,
			       hocketInt32, hocketSum, comm, (hocketStream_t)g->stream);
}

static hocketComm_t join(const struct rank *r, struct gpu *g, int timeout_ms)
{
	hocketConfig_t config = on_gpu(timeout_ms);
	hocketComm_t comm = e2e_init(r, &config);
	int32_t first;

	OK(queue(g, comm, COUNT));
	CU(cu.cuStreamSynchronize(g->stream));
	CU(cu.cuMemcpy((uintptr_t)&first, g->out, sizeof(first)));
	CHECK(first == 0x01010101 * r->nranks);
	return comm;
}

/* The kernel that runs ends, and the communicator says why, in so many seconds. */
static hocketResult_t failure(struct gpu *g, hocketComm_t comm, double seconds)
{
	hocketResult_t async = hocketSuccess;
	double start = now();

	CU(cu.cuStreamSynchronize(g->stream));
	do {
		OK(hocketCommGetAsyncError(comm, &async));
		usleep(1000);
	} while (async == hocketSuccess && now() - start < seconds);
	if (now() - start >= seconds)
		fprintf(stderr, "it took %.1f s\n", now() - start);
	CHECK(async != hocketSuccess && now() - start < seconds);
	/* It stays so. */
	CHECK(queue(g, comm, COUNT) == async);
	return async;
}

static void run_late(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm = join(r, &g, 1000);

	if (r->rank == 0) {
		CHECK(failure(&g, comm, 20) == hocketRemoteError);
	} else {
		OK(queue(&g, comm, COUNT));
		CHECK(failure(&g, comm, 20) == hocketRemoteError);
		CHECK(strstr(hocketGetLastError(comm), "rank 1's kernel made no progress for 1.0"));
		CHECK(strstr(hocketGetLastError(comm), "rank 0"));
	}
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
}

static void run_mismatch(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm = join(r, &g, 60000);
	hocketResult_t async;

	OK(queue(&g, comm, 10 + (size_t)r->rank));
	async = failure(&g, comm, 10);
	CHECK(async == hocketInvalidUsage);
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
}

static void *abort_it(void *comm)
{
	usleep(100000);
	OK(hocketCommAbort(comm));
	return NULL;
}

static void run_abort(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm = join(r, &g, 60000);
	pthread_t thread;

	/* Rank 0 does not call: what rank 1 waits for never comes. */
	if (r->rank == 0) {
		CHECK(failure(&g, comm, 20) == hocketRemoteError);
		OK(hocketCommDestroy(comm));
	} else {
		double start = now();

		OK(queue(&g, comm, COUNT));
		CHECK(pthread_create(&thread, NULL, abort_it, comm) == 0);
		CU(cu.cuStreamSynchronize(g.stream));
		pthread_join(thread, NULL);
		CHECK(now() - start < 20);
	}
	close_gpu(&g);
}

static void run_killed(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm = join(r, &g, 60000);

	if (r->rank == r->nranks - 1) {
		usleep(100000);
		raise(SIGKILL);
	}
	OK(queue(&g, comm, COUNT));
	CHECK(failure(&g, comm, 10) == hocketRemoteError);
	CHECK(strstr(hocketGetLastError(comm), "rank"));
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
}

/* Rank 0 leaves when its message has been taken. Rank 1 waits for another rank's, and nothing is
 * wrong. */
static void run_left(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketConfig_t config = on_gpu(60000);
	hocketComm_t comm = e2e_init(r, &config);

	if (r->rank == 2)
		usleep(300000);
	OK(hocketGroupStart());
	for (int i = 0; i < r->nranks; i += 2)
		if (r->rank == 1)
			OK(hocketRecv((void *)(uintptr_t)g.out, COUNT, hocketInt32, i, comm,
				      (hocketStream_t)g.stream));
		else if (r->rank == i)
			OK(hocketSend((void *)(uintptr_t)g.in, COUNT, hocketInt32, 1, comm,
				      (hocketStream_t)g.stream));
	OK(hocketGroupEnd());
	CU(cu.cuStreamSynchronize(g.stream));
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
}

/* Processes that end without having destroyed their communicators: the kernel of one still waits;
 * another destroys in a handler that is called after ours. */
static hocketComm_t left_over;
static pid_t owner;

static void destroy_late(void)
{
	if (getpid() == owner)
		OK(hocketCommDestroy(left_over));
}

static void run_exits(struct rank *r)
{
	struct gpu g;
	int status;
	pid_t child;

	owner = getpid();
	if (r->rank == 0)
		CHECK(atexit(destroy_late) == 0);
	g = open_gpu();
	left_over = join(r, &g, 60000);
	/* A child's end is nobody else's. */
	child = fork();
	if (!child)
		exit(0);
	CHECK(waitpid(child, &status, 0) == child && !status);
	OK(queue(&g, left_over, COUNT));
	CU(cu.cuStreamSynchronize(g.stream));
	if (r->rank == 1)
		OK(queue(&g, left_over, COUNT));
	usleep(100000);
	exit(0);
}

/* --- the driver refuses --- */

static const struct fault {
	const char *function, *undo;
	int nth; /* call of it while the communicator is made, or used */
	CUresult error;
	const char *sentence;
} faults[] = {
	{"cuMemAlloc", "cuMemFree", 1, CUDA_ERROR_OUT_OF_MEMORY, "memory left"},
	{"cuMemAllocFromPoolAsync", "cuMemFree", 1, CUDA_ERROR_OUT_OF_MEMORY, "memory left"},
	{"cuMemHostAlloc", "cuMemFreeHost", 1, CUDA_ERROR_OUT_OF_MEMORY, "pinned"},
	{"cuStreamCreate", "cuStreamDestroy", 1, CUDA_ERROR_OUT_OF_MEMORY, "CUDA stream"},
	{"cuEventCreate", "cuEventDestroy", 1, CUDA_ERROR_OUT_OF_MEMORY, "CUDA event"},
	{"cuMemPoolCreate", "cuMemPoolDestroy", 1, CUDA_ERROR_OUT_OF_MEMORY, "pool"},
	{"cuModuleLoadData", "cuModuleUnload", 1, CUDA_ERROR_NO_BINARY_FOR_GPU, "kernels"},
	{"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease", 1, CUDA_ERROR_OUT_OF_MEMORY,
	 "context"},
};

static long held(const char *take, const char *give)
{
	long taken = (long)cu.calls(take);

	if (!strcmp(give, "cuStreamDestroy"))
		taken += (long)cu.calls("cuStreamCreateWithPriority");
	if (!strcmp(give, "cuMemFree")) /* it takes back both kinds */
		taken = (long)cu.calls("cuMemAlloc") + (long)cu.calls("cuMemAllocFromPoolAsync");
	return taken - (long)cu.calls(give);
}

/* A communicator of this rank alone can be made, used and destroyed. */
static void still_works(void)
{
	hocketConfig_t config = on_gpu(60000);
	struct gpu g = open_gpu();
	hocketUniqueId id;
	hocketComm_t comm;

	OK(hocketGetUniqueId(&id));
	OK(hocketCommInitRankConfig(&comm, 1, id, 0, &config));
	OK(queue(&g, comm, COUNT));
	CU(cu.cuStreamSynchronize(g.stream));
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
}

/* Rank 1's driver refuses while the communicator is made: all ranks hear of it at once. */
static void run_refused(struct rank *r)
{
	const struct fault *f = &faults[atoi(getenv("TROUBLE_FAULT"))];
	hocketConfig_t config = on_gpu(60000);
	hocketComm_t comm = NULL;
	double start = now();
	hocketResult_t result;
	long before;

	/* The context must not be there already for one of them. */
	before = held(f->function, f->undo);
	if (r->rank == 1)
		CHECK(cu.make_fail(f->function, f->nth, (int)f->error) == 0);
	result = hocketCommInitRankConfig(&comm, r->nranks, r->id, r->rank, &config);
	CHECK(result != hocketSuccess);
	CHECK(now() - start < 15);
	if (r->rank == 1) {
		if (!strstr(hocketGetLastError(NULL), f->sentence))
			fprintf(stderr, "%s: %s\n", f->function, hocketGetLastError(NULL));
		CHECK(strstr(hocketGetLastError(NULL), f->sentence));
		CHECK(held(f->function, f->undo) == before + 1); /* the refused one */
	} else {
		CHECK(held(f->function, f->undo) == before);
	}
	if (strcmp(f->function, "cuDevicePrimaryCtxRetain") != 0)
		still_works();
}

/* Or while it is used. */
static void run_no_launch(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm = join(r, &g, 60000);
	long before = held("cuMemAlloc", "cuMemFree");

	if (r->rank == 1) {
		CHECK(cu.make_fail("cuLaunchKernel", 1, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) == 0);
		CHECK(queue(&g, comm, COUNT) != hocketSuccess);
		CHECK(strstr(hocketGetLastError(comm), "launching a kernel"));
		/* The last rank's failure is known to the first from here on. */
	} else if (queue(&g, comm, COUNT) == hocketSuccess) {
		failure(&g, comm, 20);
	} else {
		/* It was late, and knew already. */
		CHECK(strstr(hocketGetLastError(comm), "rank 1 gave up"));
	}
	OK(hocketCommDestroy(comm));
	CHECK(held("cuMemAlloc", "cuMemFree") < before);
	close_gpu(&g);
	CHECK(held("cuMemAlloc", "cuMemFree") == 0);
	CHECK(held("cuMemHostAlloc", "cuMemFreeHost") == 0);
	CHECK(held("cuEventCreate", "cuEventDestroy") == 0);
	CHECK(held("cuStreamCreate", "cuStreamDestroy") == 0);
	CHECK(held("cuIpcOpenMemHandle", "cuIpcCloseMemHandle") == 0);
}

/* The other process's memory can't be opened: not a failure, messages go through host memory. */
static void run_no_ipc(struct rank *r)
{
	struct gpu g = open_gpu();
	hocketComm_t comm;

	if (r->rank == 1)
		CHECK(cu.make_fail("cuIpcOpenMemHandle", 1, CUDA_ERROR_MAP_FAILED) == 0);
	comm = join(r, &g, 60000);
	for (unsigned turn = 0; turn < 5; turn++)
		OK(queue(&g, comm, COUNT));
	CU(cu.cuStreamSynchronize(g.stream));
	OK(hocketCommDestroy(comm));
	close_gpu(&g);
	CHECK(held("cuMemAlloc", "cuMemFree") == 0);
	CHECK(held("cuMemHostAlloc", "cuMemFreeHost") == 0);
}

/* --- cases --- */

static void test_late(void **state)
{
	e2e_run("late", 2, -1);
}

static void test_mismatch(void **state)
{
	e2e_run("mismatch", 2, -1);
}

static void test_abort(void **state)
{
	e2e_run("abort", 2, -1);
}

static void test_killed(void **state)
{
	e2e_run("killed", 2, 1);
	e2e_run("killed", 3, 2);
}

static struct {
	FILE *file;
	int terminal;
} log_of;

/* What the ranks say goes to a file ... */
static int begin_log(void **state)
{
	log_of.file = tmpfile();
	log_of.terminal = dup(STDERR_FILENO);
	return !log_of.file || dup2(fileno(log_of.file), STDERR_FILENO) < 0;
}

/* ... which is shown then, and has no warnings. */
static int end_log(void **state)
{
	char line[1024];
	int warnings = 0;

	dup2(log_of.terminal, STDERR_FILENO);
	close(log_of.terminal);
	rewind(log_of.file);
	while (fgets(line, sizeof(line), log_of.file)) {
		fprintf(stderr, "%s", line);
		warnings += strstr(line, "warning:") != NULL;
	}
	fclose(log_of.file);
	return warnings;
}

static void test_left(void **state)
{
	setenv("HOCKET_DEBUG", "2", 1);
	setenv("HOCKET_TRANSPORTS", "shm", 1);
	e2e_run("left", 3, -1);
	unsetenv("HOCKET_TRANSPORTS");
	setenv("HOCKET_DEBUG", "0", 1);
}

static void test_exits(void **state)
{
	e2e_run("exits", 3, -1);
}

static void test_refused(void **state)
{
	char number[8];

	if (!cu.make_fail)
		skip();
	for (unsigned i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		snprintf(number, sizeof(number), "%u", i);
		setenv("TROUBLE_FAULT", number, 1);
		e2e_run("refused", 2, -1);
	}
}

static void test_no_launch(void **state)
{
	if (!cu.make_fail)
		skip();
	e2e_run("no_launch", 2, -1);
}

static void test_no_ipc(void **state)
{
	if (!cu.make_fail)
		skip();
	e2e_run("no_ipc", 2, -1);
}

/* With an argument: the cases that it matches; see harness.h for two and more. */
int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{"late", run_late},	  {"mismatch", run_mismatch},
		{"abort", run_abort},	  {"killed", run_killed},
		{"left", run_left},	  {"exits", run_exits},
		{"refused", run_refused}, {"no_launch", run_no_launch},
		{"no_ipc", run_no_ipc},	  {NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_mismatch),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_killed),
		cmocka_unit_test_setup_teardown(test_left, begin_log, end_log),
		cmocka_unit_test_setup_teardown(test_exits, begin_log, end_log),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_launch),
		cmocka_unit_test(test_no_ipc),
	};

	gpu_start();
	e2e_main(argc, argv, scenarios);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
