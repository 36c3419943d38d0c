/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered GPU memory, and windows: ranks are processes, so each has to open what the others
 * registered. Memory is registered, used, deregistered, freed, and again, since what one had before
 * at the same addresses must not be taken for what it has now. All bits of all results are checked,
 * and that the others' memory was opened, in the driver's own calls.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../e2e/harness.h"
#include "cuda_test.h"

#define COUNT (100u << 10) /* 400 KiB a rank, in messages long enough to be lent */

enum kind { LEGACY, MAPPED, NKINDS };

static void *allocate(enum kind kind, size_t bytes)
{
	CUdeviceptr at = 0;
	void *p = NULL;

	if (kind == MAPPED)
		OK(hocketDeviceMemAlloc(&p, bytes, 0));
	else
		CU(cu.cuMemAlloc(&at, bytes));
	return p ? p : (void *)(uintptr_t)at;
}

static void release(enum kind kind, void *at)
{
	if (kind == MAPPED)
		OK(hocketMemFree(at));
	else
		CU(cu.cuMemFree((uintptr_t)at));
}

static uint32_t element(int rank, unsigned turn, size_t i)
{
	return (uint32_t)i * 2654435761u + (uint32_t)rank * 40503u + turn * 977u;
}

static void put(void *to, int rank, unsigned turn, uint32_t *host)
{
	for (size_t i = 0; i < COUNT; i++)
		host[i] = element(rank, turn, i);
	CU(cu.cuMemcpy((uintptr_t)to, (uintptr_t)host, 4 * COUNT));
	CU(cu.cuStreamSynchronize(NULL)); /* it may return before */
}

static void check_gathered(const void *at, int nranks, unsigned turn, uint32_t *host)
{
	size_t wrong = 0;

	for (int r = 0; r < nranks; r++) {
		CU(cu.cuMemcpy((uintptr_t)host, (uintptr_t)at + (size_t)r * 4 * COUNT, 4 * COUNT));
		for (size_t i = 0; i < COUNT; i++)
			wrong += host[i] != element(r, turn, i);
	}
	CHECK(wrong == 0);
}

static void check_reduced(const void *at, int nranks, unsigned turn, uint32_t *host)
{
	size_t wrong = 0;

	CU(cu.cuMemcpy((uintptr_t)host, (uintptr_t)at, 4 * COUNT));
	for (size_t i = 0; i < COUNT; i++) {
		uint32_t sum = 0;

		for (int r = 0; r < nranks; r++)
			sum += element(r, turn, i);
		wrong += host[i] != sum;
	}
	CHECK(wrong == 0);
}

static unsigned opened(void)
{
	return !cu.calls ? 0
			 : (unsigned)(cu.calls("cuIpcOpenMemHandle") +
				      cu.calls("cuMemImportFromShareableHandle"));
}

/* Twice in the same memory, then again in other memory at, as a rule, the same addresses. */
static void use(struct rank *r, hocketComm_t comm, CUstream stream, enum kind kind, bool both,
		unsigned turn)
{
	size_t all = (size_t)r->nranks * 4 * COUNT;
	void *in = allocate(kind, 4 * COUNT), *out = allocate(kind, all), *regs[2] = {NULL, NULL};
	uint32_t *host = malloc(4 * COUNT);

	OK(hocketCommRegister(comm, in, 4 * COUNT, &regs[0]));
	if (both)
		OK(hocketCommRegister(comm, out, all, &regs[1]));
	for (unsigned i = 0; i < 3; i++) {
		put(in, r->rank, turn + i, host);
		OK(hocketAllGather(in, out, COUNT, hocketUint32, comm, (hocketStream_t)stream));
		CU(cu.cuStreamSynchronize(stream));
		check_gathered(out, r->nranks, turn + i, host);
		OK(hocketAllReduce(in, out, COUNT, hocketUint32, hocketSum, comm,
				   (hocketStream_t)stream));
		CU(cu.cuStreamSynchronize(stream));
		check_reduced(out, r->nranks, turn + i, host);
	}
	OK(hocketCommDeregister(comm, regs[0]));
	if (both)
		OK(hocketCommDeregister(comm, regs[1]));
	/* Nobody may be in the calls above any more when the memory goes. */
	OK(hocketBarrier(comm, (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	release(kind, in);
	release(kind, out);
	free(host);
}

static void run_registered(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	CUstream stream;
	unsigned before;

	gpu_use(0);
	CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	config.device = 0;
	comm = e2e_init(r, &config);
	before = opened();
	for (unsigned turn = 0; turn < 4; turn++)
		for (enum kind k = 0; k < NKINDS; k++)
			use(r, comm, stream, k, turn & 1, 10 * turn);
	CHECK(!cu.calls || opened() > before);
	OK(hocketCommDestroy(comm));
	CU(cu.cuStreamDestroy(stream));
}

/* --- windows --- */

struct window {
	void *in, *out; /* a block, and as many as there are ranks, from `shift` on */
	size_t shift;
	hocketWindow_t win;
	uint32_t *host;
};

static struct window open_window(const struct rank *r, hocketComm_t comm)
{
	struct window w = {.shift = 4096, .host = malloc(4 * COUNT)};
	size_t all = (size_t)r->nranks * 4 * COUNT;
	void *base = allocate(MAPPED, all + w.shift), *ptr = NULL;

	/* Windows may differ in length; what counts is where a call's buffer is in them. */
	OK(hocketCommWindowRegister(comm, base, all + w.shift, &w.win, HOCKET_WINDOW_SYMMETRIC));
	OK(hocketWindowGetPtr(comm, w.win, &ptr));
	CHECK(ptr == base);
	w.out = (char *)base + w.shift;
	w.in = allocate(LEGACY, all);
	return w;
}

static void close_window(struct window *w, hocketComm_t comm)
{
	OK(hocketCommWindowDeregister(comm, w->win));
	CHECK(hocketCommWindowDeregister(comm, w->win) == hocketInvalidArgument);
	release(MAPPED, (char *)w->out - w->shift);
	release(LEGACY, w->in);
	free(w->host);
}

static unsigned long copies_queued(void)
{
	return cu.calls ? cu.calls("cuStreamBatchMemOp") : 0;
}

static void use_window(struct rank *r, struct window *w, hocketComm_t comm, CUstream stream,
		       unsigned turn)
{
	void *own = (char *)w->out + (size_t)r->rank * 4 * COUNT;
	int root = (int)(turn % (unsigned)r->nranks);

	put(w->in, r->rank, turn, w->host);
	OK(hocketAllGather(w->in, w->out, COUNT, hocketUint32, comm, (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	check_gathered(w->out, r->nranks, turn, w->host);

	put(own, r->rank, turn + 1, w->host);
	OK(hocketAllGather(own, w->out, COUNT, hocketUint32, comm, (hocketStream_t)stream));
	/* What follows on the stream comes after it, on all ranks. */
	OK(hocketBroadcast(w->out, w->out, COUNT * (size_t)r->nranks, hocketUint32, root, comm,
			   (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	check_gathered(w->out, r->nranks, turn + 1, w->host);

	for (int to = 0; to < r->nranks; to++)
		put((char *)w->in + (size_t)to * 4 * COUNT, r->rank, turn + 7u * (unsigned)to,
		    w->host);
	OK(hocketAlltoAll(w->in, w->out, COUNT, hocketUint32, comm, (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	check_gathered(w->out, r->nranks, turn + 7u * (unsigned)r->rank, w->host);
}

static void run_window(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	unsigned long launches, copies;
	hocketComm_t comm;
	struct window w;
	CUstream stream;

	gpu_use(0);
	CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	config.device = 0;
	comm = e2e_init(r, &config);
	w = open_window(r, comm);
	launches = cu.calls ? cu.calls("cuLaunchKernel") : 0;
	copies = copies_queued();
	for (unsigned turn = 0; turn < 5; turn++)
		use_window(r, &w, comm, stream, turn);
	if (cu.calls) {
		CHECK(cu.calls("cuLaunchKernel") == launches);
		CHECK(copies_queued() > copies);
	}
	OK(hocketBarrier(comm, (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	close_window(&w, comm);
	OK(hocketCommDestroy(comm));
	CU(cu.cuStreamDestroy(stream));
}

/* What waits in a stream for other ranks must not outlive a failure. */
static hocketResult_t failure(hocketComm_t comm, CUstream stream)
{
	hocketResult_t async = hocketSuccess;

	for (int i = 0; i < 20000 && async == hocketSuccess; i++) {
		OK(hocketCommGetAsyncError(comm, &async));
		usleep(1000);
	}
	CU(cu.cuStreamSynchronize(stream));
	return async;
}

static hocketResult_t gather(struct window *w, hocketComm_t comm, CUstream stream, size_t count)
{
	return hocketAllGather(w->in, w->out, count, hocketUint32, comm, (hocketStream_t)stream);
}

static void *abort_it(void *comm)
{
	usleep(200000);
	CHECK(hocketCommAbort(comm) == hocketSuccess);
	return NULL;
}

/* WINDOW_TROUBLE says which: rank 1 does not call, calls something else, aborts, dies; or all is
 * well, and recorded and replayed. */
static void run_trouble(struct rank *r)
{
	const char *what = getenv("WINDOW_TROUBLE");
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;
	struct window w;
	CUstream stream;

	gpu_use(0);
	CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	config.device = 0;
	config.timeoutMs = !strcmp(what, "late") ? 1000 : 60000;
	comm = e2e_init(r, &config);
	w = open_window(r, comm);
	OK(gather(&w, comm, stream, COUNT));
	CU(cu.cuStreamSynchronize(stream));
	if (!strcmp(what, "late")) {
		if (r->rank == 0)
			OK(gather(&w, comm, stream, COUNT));
		CHECK(failure(comm, stream) == hocketRemoteError);
		if (r->rank == 0)
			CHECK(strstr(hocketGetLastError(comm),
				     "wait for rank 1 to make this call"));
	} else if (!strcmp(what, "mismatch")) {
		OK(gather(&w, comm, stream, COUNT - (size_t)r->rank));
		/* Who finds it out later may hear it from the other. */
		if (failure(comm, stream) == hocketInvalidUsage)
			CHECK(strstr(hocketGetLastError(comm), "another call"));
		else
			CHECK(strstr(hocketGetLastError(comm), "ranks disagree"));
	} else if (!strcmp(what, "abort")) {
		pthread_t thread;

		OK(gather(&w, comm, stream, COUNT));
		CU(cu.cuStreamSynchronize(stream));
		if (r->rank == 0)
			OK(gather(&w, comm, stream, COUNT));
		CHECK(pthread_create(&thread, NULL, abort_it, comm) == 0);
		CU(cu.cuStreamSynchronize(stream));
		pthread_join(thread, NULL);
		free(w.host);
		return;
	} else if (!strcmp(what, "dead")) {
		if (r->rank == 1) {
			usleep(100000);
			raise(SIGKILL);
		}
		OK(gather(&w, comm, stream, COUNT));
		CHECK(failure(comm, stream) == hocketRemoteError);
	}
	OK(hocketCommDestroy(comm));
	CU(cu.cuStreamDestroy(stream));
	free(w.host);
}

static void run_replayed(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	CUgraphExec exec;
	hocketComm_t comm;
	struct window w;
	CUstream stream;
	CUgraph graph;

	gpu_use(0);
	CU(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	config.device = 0;
	comm = e2e_init(r, &config);
	w = open_window(r, comm);
	CU(cu.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	OK(gather(&w, comm, stream, COUNT));
	CU(cu.cuStreamEndCapture(stream, &graph));
	CU(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
	for (unsigned turn = 0; turn < 6; turn++) {
		put(w.in, r->rank, turn, w.host);
		if (turn % 3 == 2) /* the same words serve calls that are not recorded */
			OK(gather(&w, comm, stream, COUNT));
		else
			CU(cu.cuGraphLaunch(exec, stream));
		CU(cu.cuStreamSynchronize(stream));
		check_gathered(w.out, r->nranks, turn, w.host);
	}
	OK(hocketBarrier(comm, (hocketStream_t)stream));
	CU(cu.cuStreamSynchronize(stream));
	CU(cu.cuGraphExecDestroy(exec));
	CU(cu.cuGraphDestroy(graph));
	close_window(&w, comm);
	OK(hocketCommDestroy(comm));
	CU(cu.cuStreamDestroy(stream));
}

/* One thread that has all ranks, on one GPU or on as many as there are. */
static void one_thread(int n, bool far)
{
	hocketComm_t comms[4];
	CUstream streams[4];
	struct window w[4];
	int devices[4], ngpus = gpu_start();

	for (int i = 0; i < n; i++)
		devices[i] = far ? i % ngpus : 0;
	OK(hocketCommInitAll(comms, n, devices));
	OK(hocketGroupStart());
	for (int i = 0; i < n; i++) {
		gpu_use(devices[i]);
		CU(cu.cuStreamCreate(&streams[i], CU_STREAM_NON_BLOCKING));
		w[i] = (struct window){.host = malloc(4 * COUNT)};
		w[i].in = allocate(LEGACY, 4 * COUNT);
		w[i].out = allocate(LEGACY, (size_t)n * 4 * COUNT);
		OK(hocketCommWindowRegister(comms[i], w[i].out, (size_t)n * 4 * COUNT, &w[i].win,
					    HOCKET_WINDOW_SYMMETRIC));
	}
	OK(hocketGroupEnd());
	for (unsigned turn = 0; turn < 4; turn++) {
		unsigned long launches = cu.calls ? cu.calls("cuLaunchKernel") : 0;

		for (int i = 0; i < n; i++) {
			gpu_use(devices[i]);
			put(w[i].in, i, turn, w[i].host);
		}
		OK(hocketGroupStart());
		for (int i = 0; i < n; i++)
			OK(gather(&w[i], comms[i], streams[i], COUNT));
		OK(hocketGroupEnd());
		for (int i = 0; i < n; i++) {
			gpu_use(devices[i]);
			CU(cu.cuStreamSynchronize(streams[i]));
			check_gathered(w[i].out, n, turn, w[i].host);
		}
		CHECK(!cu.calls || cu.calls("cuLaunchKernel") == launches);
	}
	for (int i = 0; i < n; i++) {
		gpu_use(devices[i]);
		OK(hocketCommWindowDeregister(comms[i], w[i].win));
		CU(cu.cuStreamDestroy(streams[i]));
		free(w[i].host);
	}
	for (int i = 0; i < n; i++)
		OK(hocketCommDestroy(comms[i]));
	for (int i = 0; i < n; i++) {
		gpu_use(devices[i]);
		release(LEGACY, w[i].in);
		release(LEGACY, w[i].out);
	}
}

static void run_one_thread(struct rank *r)
{
	one_thread(2, false);
	one_thread(4, false);
	one_thread(2, true);
	one_thread(4, true);
}

/* Arguments that one rank has wrong are known to all. */
static void run_refused(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	void *at = NULL, *ptr = NULL;
	hocketWindow_t win;
	hocketComm_t comm;

	gpu_use(0);
	config.device = 0;
	comm = e2e_init(r, &config);
	OK(hocketDeviceMemAlloc(&at, 4096, 0));
	CHECK(hocketCommWindowRegister(comm, NULL, 4096, &win, 0) == hocketInvalidArgument);
	CHECK(hocketCommWindowRegister(comm, at, 0, &win, 0) == hocketInvalidArgument);
	CHECK(hocketCommWindowRegister(comm, at, 4096, &win, 64) == hocketInvalidArgument);
	/* Of one rank alone: all are told. */
	CHECK(hocketCommWindowRegister(comm, at, r->rank ? 4096 : 0, &win, 0) ==
	      hocketInvalidArgument);
	CHECK(hocketCommWindowRegister(comm, at, 4096, &win, r->rank) == hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(comm), "flags"));
	CHECK(hocketWindowGetPtr(comm, (hocketWindow_t)at, &ptr) == hocketInvalidArgument);
	OK(hocketCommWindowRegister(comm, at, 4096, &win, 0));
	CHECK(hocketWindowGetPtr(comm, win, NULL) == hocketInvalidArgument);
	OK(hocketCommDestroy(comm));
	OK(hocketMemFree(at));
}

static void test_window(void **state)
{
	e2e_run("window", 2, -1);
	e2e_run("window", 3, -1);
}

static void test_replayed(void **state)
{
	e2e_run("replayed", 2, -1);
}

static void test_one_thread(void **state)
{
	e2e_run("one_thread", 1, -1);
}

static void test_refused(void **state)
{
	e2e_run("refused", 2, -1);
}

static void test_trouble(void **state)
{
	static const char *const cases[] = {"late", "mismatch", "abort", "dead"};

	for (unsigned i = 0; i < 4; i++) {
		setenv("WINDOW_TROUBLE", cases[i], 1);
		e2e_run("trouble", 2, !strcmp(cases[i], "dead") ? 1 : -1);
	}
}

static void test_registered(void **state)
{
	e2e_run("registered", 2, -1);
	e2e_run("registered", 3, -1);
}

/* With an argument: the cases that it matches; see harness.h for two and more. */
int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{"registered", run_registered},
		{"window", run_window},
		{"replayed", run_replayed},
		{"one_thread", run_one_thread},
		{"refused", run_refused},
		{"trouble", run_trouble},
		{NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered), cmocka_unit_test(test_window),
		cmocka_unit_test(test_replayed),   cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_trouble),
	};

	gpu_start();
	/* So that what is long enough to be lent is long enough to be copied, too. */
	setenv("HOCKET_COPY_BYTES", "65536", 1);
	e2e_main(argc, argv, scenarios);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
