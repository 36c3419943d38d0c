/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a review found, and what is mended since: graphs whose memory is registered no more, groups
 * whose buffers have nothing in common, calls after a refused one, the abort of a replay that waits
 * for another rank. Ranks are processes, and all bits of all results are checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../e2e/harness.h"
#include "cuda_test.h"

#define COUNT (100u << 10) /* 400 KiB a rank, in messages long enough to be lent */

static void *allocate(size_t bytes)
{
	CUdeviceptr at = 0;

	CU(cu.cuMemAlloc(&at, bytes));
	return (void *)(uintptr_t)at;
}

static void release(void *at)
{
	CU(cu.cuMemFree((uintptr_t)at));
}

static uint32_t element(int rank, unsigned turn, size_t i)
{
	return (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + turn * 977u;
}

static void fill(uint32_t *host, size_t n, int rank, unsigned turn)
{
	for (size_t i = 0; i < n; i++)
		host[i] = element(rank, turn, i);
}

static size_t differ(const uint32_t *host, size_t n, int rank, unsigned turn)
{
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += host[i] != element(rank, turn, i);
	return wrong;
}

/* A rank's communicator, stream, and memory to gather from and to. */
struct gather {
	hocketComm_t comm;
	CUstream stream;
	uint32_t *in, *out, *host;
	int rank, nranks;
};

static struct gather start(struct rank *r, int timeout_ms)
{
	struct gather g = {.rank = r->rank, .nranks = r->nranks, .host = malloc(4 * COUNT)};
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	gpu_use(0);
	CU(cu.cuStreamCreate(&g.stream, CU_STREAM_NON_BLOCKING));
	config.device = 0;
	config.timeoutMs = timeout_ms;
	g.comm = e2e_init(r, &config);
	g.in = allocate(4 * COUNT);
	g.out = allocate((size_t)r->nranks * 4 * COUNT);
	return g;
}

/* After the communicator's end. */
static void drop(struct gather *g)
{
	release(g->in);
	release(g->out);
	free(g->host);
	CU(cu.cuStreamDestroy(g->stream));
}

static void wait_all(struct gather *g)
{
	OK(hocketBarrier(g->comm, (hocketStream_t)g->stream));
	CU(cu.cuStreamSynchronize(g->stream));
}

static void stop(struct gather *g)
{
	wait_all(g);
	OK(hocketCommDestroy(g->comm));
	drop(g);
}

static void put(struct gather *g, uint32_t *to, unsigned turn)
{
	fill(g->host, COUNT, g->rank, turn);
	CU(cu.cuMemcpy((uintptr_t)to, (uintptr_t)g->host, 4 * COUNT));
	CU(cu.cuStreamSynchronize(NULL)); /* it may return before */
}

static hocketResult_t queue(struct gather *g, const uint32_t *in)
{
	return hocketAllGather(in, g->out, COUNT, hocketUint32, g->comm, (hocketStream_t)g->stream);
}

static void check(struct gather *g, unsigned turn)
{
	size_t wrong = 0;

	CU(cu.cuStreamSynchronize(g->stream));
	for (int r = 0; r < g->nranks; r++) {
		CU(cu.cuMemcpy((uintptr_t)g->host, (uintptr_t)(g->out + (size_t)r * COUNT),
			       4 * COUNT));
		wrong += differ(g->host, COUNT, r, turn);
	}
	CHECK(wrong == 0);
}

static void use(struct gather *g, uint32_t *in, unsigned turn)
{
	put(g, in, turn);
	OK(queue(g, in));
	check(g, turn);
}

/* --- graphs --- */

struct graph {
	CUgraph graph;
	CUgraphExec exec;
};

static struct graph record(struct gather *g)
{
	struct graph graph;

	CU(cu.cuStreamBeginCapture(g->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	OK(queue(g, g->in));
	CU(cu.cuStreamEndCapture(g->stream, &graph.graph));
	CU(cu.cuGraphInstantiateWithFlags(&graph.exec, graph.graph, 0));
	return graph;
}

static void forget(struct graph *graph)
{
	CU(cu.cuGraphExecDestroy(graph->exec));
	CU(cu.cuGraphDestroy(graph->graph));
}

static void replay(struct gather *g, struct graph *graph, unsigned turn)
{
	put(g, g->in, turn);
	CU(cu.cuGraphLaunch(graph->exec, g->stream));
	check(g, turn);
}

/* What a graph knows of registered memory must not come to mean other memory that is registered
 * later. */
static void run_row_reuse(struct rank *r)
{
	struct gather g = start(r, 60000);
	uint32_t *other = allocate(64 * COUNT);
	struct graph graph;
	void *reg;

	OK(hocketCommRegister(g.comm, g.in, 4 * COUNT, &reg));
	for (unsigned turn = 0; turn < 3; turn++)
		use(&g, g.in, turn);
	graph = record(&g);
	replay(&g, &graph, 5);
	OK(hocketCommDeregister(g.comm, reg));
	wait_all(&g);
	replay(&g, &graph, 6);
	OK(hocketCommRegister(g.comm, other, 64 * COUNT, &reg));
	for (unsigned turn = 7; turn < 10; turn++)
		use(&g, other, turn);
	put(&g, other, 20); /* so that the wrong memory has wrong elements */
	replay(&g, &graph, 10);
	use(&g, other, 11);
	replay(&g, &graph, 12);
	OK(hocketCommDeregister(g.comm, reg));
	wait_all(&g);
	forget(&graph);
	release(other);
	stop(&g);
}

/* A capture that one rank may not make is that rank's matter, and the others wait for its next
 * call. */
static void run_refused_capture(struct rank *r)
{
	static uint32_t in[COUNT], out[4 * COUNT];
	struct gather g = start(r, 5000);
	hocketResult_t async;

	use(&g, g.in, 0);
	for (int turn = 1; turn < 5; turn++) {
		if (turn % r->nranks == r->rank) {
			hocketResult_t refused;
			CUgraph graph = NULL;

			CU(cu.cuStreamBeginCapture(g.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
			refused = hocketAllGather(in, out, COUNT, hocketUint32, g.comm,
						  (hocketStream_t)g.stream);
			CHECK(refused == hocketInvalidUsage || refused == hocketInvalidArgument);
			CU(cu.cuStreamEndCapture(g.stream, &graph));
			CU(cu.cuGraphDestroy(graph));
		}
		use(&g, g.in, (unsigned)turn);
		OK(hocketCommGetAsyncError(g.comm, &async));
		CHECK(async == hocketSuccess);
	}
	stop(&g);
}

/* --- groups --- */

#define FEW 16

static uint32_t *map(void)
{
	void *p = mmap(NULL, 4 * COUNT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* Few elements in the program's own memory and many at in and out, between two ranks both ways. */
static void exchange(struct gather *g, uint32_t *in, uint32_t *out, size_t n, unsigned turn)
{
	static uint32_t few_in[FEW], few_out[FEW];
	hocketStream_t stream = (hocketStream_t)g->stream;
	int peer = 1 - g->rank;

	fill(few_in, FEW, g->rank, turn + 100);
	memset(few_out, 0, sizeof(few_out));
	fill(g->host, n, g->rank, turn);
	CU(cu.cuMemcpy((uintptr_t)in, (uintptr_t)g->host, 4 * n));
	CU(cu.cuStreamSynchronize(NULL)); /* it may return before */
	OK(hocketGroupStart());
	OK(hocketSend(few_in, FEW, hocketUint32, peer, g->comm, stream));
	OK(hocketSend(in, n, hocketUint32, peer, g->comm, stream));
	OK(hocketRecv(few_out, FEW, hocketUint32, peer, g->comm, stream));
	OK(hocketRecv(out, n, hocketUint32, peer, g->comm, stream));
	OK(hocketGroupEnd());
	CU(cu.cuStreamSynchronize(g->stream));
	CU(cu.cuMemcpy((uintptr_t)g->host, (uintptr_t)out, 4 * n));
	CHECK(differ(few_out, FEW, peer, turn + 100) == 0);
	CHECK(differ(g->host, n, peer, turn) == 0);
}

/* Ordinary memory, between whose parts lies more than could be copied as one. */
static void run_far_host(struct rank *r)
{
	struct gather g = start(r, 60000);
	uint32_t *in = map(), *out = map();

	for (unsigned turn = 0; turn < 4; turn++)
		exchange(&g, in, out, turn & 1 ? COUNT : 1000, turn);
	stop(&g);
	munmap(in, 4 * COUNT);
	munmap(out, 4 * COUNT);
}

/* Both kinds in one group: many on the GPU, and then sent from the one kind and received in the
 * other. */
static void run_mixed_host(struct rank *r)
{
	struct gather g = start(r, 60000);
	uint32_t *host = map();

	for (unsigned turn = 0; turn < 6; turn++) {
		size_t n = turn & 1 ? COUNT : 1000;

		if (turn < 2)
			exchange(&g, g.in, g.out, n, turn);
		else if (turn < 4)
			exchange(&g, g.in, host, n, turn);
		else
			exchange(&g, host, g.out, n, turn);
	}
	stop(&g);
	munmap(host, 4 * COUNT);
}

/* --- abort --- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Rank 1 goes only after rank 0's abort has begun, so that nothing but it ends rank 0's wait. */
static void wait_for_abort(hocketComm_t comm)
{
	hocketResult_t async = hocketSuccess;

	for (int i = 0; i < 7000 && async == hocketSuccess; i++) {
		OK(hocketCommGetAsyncError(comm, &async));
		usleep(1000);
	}
}

/* MENDED_ABORT says what waits, "kernels" or "copies", MENDED_WARM whether there was a call before
 * the recorded one. */
static void run_abort_graph(struct rank *r)
{
	bool copies = !strcmp(getenv("MENDED_ABORT"), "copies");
	unsigned long launches = 0;
	struct gather g = start(r, 20000);
	size_t all = (size_t)r->nranks * 4 * COUNT;
	struct graph graph;
	hocketWindow_t win;
	double from;

	if (copies)
		OK(hocketCommWindowRegister(g.comm, g.out, all, &win, HOCKET_WINDOW_SYMMETRIC));
	if (cu.calls)
		launches = cu.calls("cuLaunchKernel");
	if (!strcmp(getenv("MENDED_WARM"), "1"))
		use(&g, g.in, 0);
	graph = record(&g);
	replay(&g, &graph, 1);
	CHECK(!cu.calls || copies == (cu.calls("cuLaunchKernel") == launches));
	if (r->rank == 0) {
		CU(cu.cuGraphLaunch(graph.exec, g.stream));
		usleep(500000);
		CHECK(cu.cuStreamQuery(g.stream) == CUDA_ERROR_NOT_READY);
	} else {
		wait_for_abort(g.comm);
	}
	from = seconds();
	OK(hocketCommAbort(g.comm));
	CU(cu.cuStreamSynchronize(g.stream));
	CHECK(seconds() - from < 5);
	forget(&graph);
	drop(&g);
}

/* --- freed memory --- */

/* Memory that was registered, opened by others, and freed, must be there for what comes next: here
 * a second communicator on the same GPU. */
static void run_stale(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	struct gather g = start(r, 60000), other = g, next = g;
	hocketUniqueId ids[2] = {e2e_share_id(r, g.comm), e2e_share_id(r, g.comm)};
	size_t bytes = 64u << 20;
	uint32_t *in = allocate(bytes);
	void *reg;

	config.device = 0;
	OK(hocketCommInitRankConfig(&other.comm, r->nranks, ids[0], r->rank, &config));
	OK(hocketCommRegister(g.comm, in, bytes, &reg));
	for (unsigned turn = 0; turn < 3; turn++)
		use(&g, in, turn);
	/* From here on the communicator makes no call, so it does not look. */
	OK(hocketCommDeregister(g.comm, reg));
	wait_all(&other);
	release(in);
	wait_all(&other);
	OK(hocketCommInitRankConfig(&next.comm, r->nranks, ids[1], r->rank, &config));
	use(&next, next.in, 3);
	use(&g, g.in, 4);
	wait_all(&next);
	OK(hocketCommDestroy(next.comm));
	OK(hocketCommDestroy(other.comm));
	stop(&g);
}

static void test_row_reuse(void **state)
{
	e2e_run("row_reuse", 2, -1);
	e2e_run("row_reuse", 3, -1);
}

static void test_refused_capture(void **state)
{
	e2e_run("refused_capture", 2, -1);
	e2e_run("refused_capture", 3, -1);
}

static void test_far_host(void **state)
{
	e2e_run("far_host", 2, -1);
}

static void test_mixed_host(void **state)
{
	e2e_run("mixed_host", 2, -1);
}

static void test_abort_graph(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		setenv("MENDED_ABORT", i & 1 ? "copies" : "kernels", 1);
		setenv("MENDED_WARM", i & 2 ? "1" : "0", 1);
		e2e_run("abort_graph", 2, -1);
	}
}

static void test_stale(void **state)
{
	/* No other way between the ranks, so that a segment which can't be opened is a failure. */
	setenv("HOCKET_TRANSPORTS", "cuda_ipc", 1);
	e2e_run("stale", 2, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

/* With an argument: the cases that it matches; see harness.h for two and more. */
int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{"row_reuse", run_row_reuse},
		{"refused_capture", run_refused_capture},
		{"far_host", run_far_host},
		{"mixed_host", run_mixed_host},
		{"abort_graph", run_abort_graph},
		{"stale", run_stale},
		{NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_row_reuse),   cmocka_unit_test(test_refused_capture),
		cmocka_unit_test(test_far_host),    cmocka_unit_test(test_mixed_host),
		cmocka_unit_test(test_abort_graph), cmocka_unit_test(test_stale),
	};

	gpu_start();
	/* So that what is long enough to be lent is long enough to be copied, too. */
	setenv("HOCKET_COPY_BYTES", "65536", 1);
	e2e_main(argc, argv, scenarios);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
