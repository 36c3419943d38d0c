/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives on several streams of one communicator, whose order is that of the calls; and
 * collectives in CUDA graphs, replayed with other inputs, between ordinary calls, and after other
 * graphs. What can't be captured is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ranks.h"

/* --- streams --- */

/* Each call goes on with what the one before made, on another stream. */
static void chain(struct rank *r, unsigned turns, size_t n)
{
	uint32_t *host = (uint32_t *)(void *)r->scratch, factor = 1;
	uint8_t *at[2] = {r->in.at[DEVICE], r->out.at[DEVICE]};

	for (size_t i = 0; i < n; i++)
		host[i] = (uint32_t)(i * (size_t)(r->rank + 1));
	rank_put(at[0], DEVICE, host, n * sizeof(*host));
	for (unsigned t = 0; t < turns; t++)
		OK(hocketAllReduce(at[t & 1], at[!(t & 1)], n, hocketUint32, hocketSum, r->comm,
				   (hocketStream_t)r->streams[t / 2 & 1]));
	CU(cu.cuStreamSynchronize(r->streams[(turns - 1) / 2 & 1]));
	rank_get(host, at[turns & 1], DEVICE, n * sizeof(*host));
	for (unsigned t = 1; t < turns; t++)
		factor *= (uint32_t)r->n;
	for (size_t i = 0; i < n; i++)
		CHECK(host[i] == (uint32_t)(i * (size_t)(r->n * (r->n + 1) / 2)) * factor);
}

static void streams(struct rank *r)
{
	for (unsigned turn = 0; turn < 4; turn++) {
		chain(r, 15, 500);
		chain(r, 7, 30000);
	}
}

static void test_streams(void **state)
{
	ranks_run(3, NULL, NULL, streams);
}

/* One rank has no peers to wait for, and the same order. */
static void test_streams_alone(void **state)
{
	ranks_run(1, NULL, NULL, streams);
}

/* --- graphs --- */

struct graph {
	CUgraph graph;
	CUgraphExec exec;
};

static void begin(struct rank *r, unsigned stream)
{
	CU(cu.cuStreamBeginCapture(r->streams[stream], CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
}

static struct graph end(struct rank *r, unsigned stream)
{
	struct graph g;

	CU(cu.cuStreamEndCapture(r->streams[stream], &g.graph));
	CU(cu.cuGraphInstantiateWithFlags(&g.exec, g.graph, 0));
	return g;
}

static void drop(struct graph *g)
{
	CU(cu.cuGraphExecDestroy(g->exec));
	CU(cu.cuGraphDestroy(g->graph));
}

static void replay(struct rank *r, struct graph *g, unsigned stream)
{
	CU(cu.cuGraphLaunch(g->exec, r->streams[stream]));
	CU(cu.cuStreamSynchronize(r->streams[stream]));
}

/* All collectives, one graph each, replayed in turn with inputs of its own each time, and once in a
 * while called in the ordinary way. The second stream is where every other graph was recorded. */
static void graphs(struct rank *r)
{
	struct graph g[32];
	struct use uses[32];

	CHECK(ncollectives <= 32);
	for (unsigned c = 0; c < ncollectives; c++) {
		uses[c] = (struct use){.count = c & 1 ? 5000 : 60,
				       .type = hocketUint32,
				       .in = c % 5 == 3 ? PINNED : DEVICE,
				       .out = c % 5 == 4 ? PINNED : DEVICE,
				       .in_place = c % 3 == 0 && collectives[c].shift};
		begin(r, 0);
		OK(queue_collective(r, &collectives[c], &uses[c], r->streams[0]));
		g[c] = end(r, 0);
	}
	for (unsigned turn = 0; turn < 6; turn++)
		for (unsigned c = 0; c < ncollectives; c++) {
			if ((turn + c) % 4 == 3) {
				run_collective(r, &collectives[c], &uses[c]);
				continue;
			}
			fill_buffers(r, &collectives[c], &uses[c]);
			replay(r, &g[c], 0);
			check_buffers(r, &collectives[c], &uses[c]);
		}
	OK(hocketBarrier(r->comm, NULL));
	for (unsigned c = 0; c < ncollectives; c++)
		drop(&g[c]);
}

static void test_graphs(void **state)
{
	ranks_run(3, NULL, NULL, graphs);
}

static void test_graphs_alone(void **state)
{
	ranks_run(1, NULL, NULL, graphs);
}

/* Several calls in one graph, replayed many times without a wait in between. */
static void long_graph(struct rank *r)
{
	const size_t n = 1000;
	uint32_t *host = (uint32_t *)(void *)r->scratch, factor = 1;
	uint8_t *a = r->in.at[DEVICE], *b = r->out.at[DEVICE], *c = b + (1 << 20);
	hocketStream_t stream = (hocketStream_t)r->streams[0];
	struct graph g;

	for (size_t i = 0; i < n; i++)
		host[i] = (uint32_t)(i * (size_t)(r->rank + 1));
	rank_put(a, DEVICE, host, n * sizeof(*host));
	begin(r, 0);
	OK(hocketAllReduce(a, b, n, hocketUint32, hocketSum, r->comm, stream));
	OK(hocketReduceScatter(b, c, 100, hocketUint32, hocketSum, r->comm, stream));
	OK(hocketAllGather(c, b, 100, hocketUint32, r->comm, stream));
	OK(hocketGroupStart());
	OK(hocketSend(b, n, hocketUint32, (r->rank + 1) % r->n, r->comm, stream));
	OK(hocketRecv(a, n, hocketUint32, (r->rank + r->n - 1) % r->n, r->comm, stream));
	OK(hocketGroupEnd());
	g = end(r, 0);
	for (unsigned turn = 0; turn < 10; turn++)
		CU(cu.cuGraphLaunch(g.exec, r->streams[0]));
	CU(cu.cuStreamSynchronize(r->streams[0]));
	rank_get(host, a, DEVICE, n * sizeof(*host));
	/* Each turn multiplies by the number of ranks: all of it once, the gathered twice. */
	for (unsigned turn = 1; turn < 10; turn++)
		factor *= (uint32_t)r->n;
	for (size_t i = 0; i < n; i++) {
		uint32_t want = (uint32_t)(i * (size_t)(r->n * (r->n + 1) / 2)) * factor;

		for (unsigned turn = 0; i < 100 * (size_t)r->n && turn < 10; turn++)
			want *= (uint32_t)r->n;
		CHECK(host[i] == want);
	}
	OK(hocketBarrier(r->comm, NULL));
	drop(&g);
}

static void test_long_graph(void **state)
{
	ranks_run(3, NULL, NULL, long_graph);
}

/* Graphs recorded one after the other on different streams have nothing to do with each other; and
 * calls after them are ordered among themselves as ever. */
static void graphs_on_streams(struct rank *r)
{
	static const struct use u = {.count = 300, .type = hocketUint32};
	struct graph g[2];

	for (unsigned s = 0; s < 2; s++) {
		begin(r, s);
		OK(queue_collective(r, &collectives[0], &u, r->streams[s]));
		g[s] = end(r, s);
	}
	for (unsigned turn = 0; turn < 6; turn++) {
		fill_buffers(r, &collectives[0], &u);
		replay(r, &g[turn & 1], turn & 1);
		check_buffers(r, &collectives[0], &u);
		chain(r, 9, 2000);
	}
	OK(hocketBarrier(r->comm, NULL));
	for (unsigned s = 0; s < 2; s++)
		drop(&g[s]);
}

static void test_graphs_on_streams(void **state)
{
	ranks_run(2, NULL, NULL, graphs_on_streams);
}

/* --- refusals --- */

/* Ordinary host memory can't be read when the graph runs: all ranks are told at the call. The
 * capture itself is not spoilt. */
static void refused(struct rank *r)
{
	struct use u = {.count = 50, .type = hocketUint32, .in = PAGEABLE, .out = DEVICE};
	CUgraph graph;
	const char *sentence;

	begin(r, 0);
	CHECK(queue_collective(r, &collectives[0], &u, r->streams[0]) == hocketInvalidArgument);
	sentence = hocketGetLastError(r->comm);
	CHECK(sentence);
	if (!strstr(sentence, "captured"))
		fprintf(stderr, "the sentence is: %s\n", sentence);
	CHECK(strstr(sentence, "captured") && strstr(sentence, "pinned"));
	CU(cu.cuStreamEndCapture(r->streams[0], &graph));
	CU(cu.cuGraphDestroy(graph));
	/* What was refused has not happened, on any rank. */
	u.in = DEVICE;
	run_collective(r, &collectives[0], &u);
}

static void test_refused(void **state)
{
	ranks_run(2, NULL, NULL, refused);
}

static void test_refused_alone(void **state)
{
	ranks_run(1, NULL, NULL, refused);
}

static void refuses(struct rank *r, CUstream stream, const char *word)
{
	struct use u = {.count = 50, .type = hocketUint32, .in = DEVICE, .out = DEVICE};

	CHECK(queue_collective(r, &collectives[0], &u, stream) == hocketInvalidArgument);
	CHECK(hocketGetLastError(r->comm) && strstr(hocketGetLastError(r->comm), word));
}

/* A call whose stream can take nothing is refused, and the communicator goes on. */
static void spoilt(struct rank *r)
{
	struct use u = {.count = 50, .type = hocketUint32, .in = DEVICE, .out = DEVICE};
	CUgraph graph = NULL;
	CUstream blocking;
	CUevent outside;

	/* Waiting for an event that nobody in the capture has recorded can't be captured. */
	CU(cu.cuEventCreate(&outside, CU_EVENT_DISABLE_TIMING));
	CU(cu.cuEventRecord(outside, r->streams[1]));
	begin(r, 0);
	CHECK(cu.cuStreamWaitEvent(r->streams[0], outside, 0) != CUDA_SUCCESS);
	refuses(r, r->streams[0], "spoilt");
	CHECK(cu.cuStreamEndCapture(r->streams[0], &graph) != CUDA_SUCCESS);
	CU(cu.cuEventDestroy(outside));
	run_collective(r, &collectives[0], &u);
	/* A stream that the default stream waits for, and that is captured meanwhile; the other
	 * rank must not copy anything then. */
	OK(hocketBarrier(r->comm, NULL));
	CU(cu.cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
	CU(cu.cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	refuses(r, NULL, "default stream");
	OK(hocketBarrier(r->comm, NULL)); /* which leaves the capture alone */
	CU(cu.cuStreamEndCapture(blocking, &graph));
	CU(cu.cuGraphDestroy(graph));
	CU(cu.cuStreamDestroy(blocking));
	OK(hocketBarrier(r->comm, NULL));
	run_collective(r, &collectives[0], &u);
}

static void test_spoilt(void **state)
{
	ranks_run(2, NULL, NULL, spoilt);
}

static void test_spoilt_alone(void **state)
{
	ranks_run(1, NULL, NULL, spoilt);
}

/* With an argument: the cases that it matches. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_graphs),
		cmocka_unit_test(test_long_graph),
		cmocka_unit_test(test_graphs_alone),
		cmocka_unit_test(test_graphs_on_streams),
		cmocka_unit_test(test_streams_alone),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_alone),
		cmocka_unit_test(test_spoilt),
		cmocka_unit_test(test_spoilt_alone),
	};

	gpu_start();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
