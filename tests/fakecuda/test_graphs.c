/* SPDX-License-Identifier: BSD-3-Clause */
/* Captures and graphs of the stand-in for the CUDA driver. */
#include "test_fakecuda.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

void test_capture_replays(void **state)
{
	CUstream stream = make_stream(CU_STREAM_DEFAULT);
	unsigned *a = make_memory(8), *b = make_memory(8), *done = make_memory(1);
	struct toy_fill fill = {a, 8, 7, done};
	CUstreamCaptureStatus status;
	cuuint64_t id = 0;
	CUgraphExec exec;
	CUgraph graph;

	ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuStreamGetCaptureInfo_v2(stream, &status, &id, NULL, NULL, NULL));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	assert_true(id);
	ok(launch(toy_fill, 2, &fill, stream));
	memset(&fill, 0, sizeof fill); /* it was copied */
	ok(cuMemcpyAsync((CUdeviceptr)b, (CUdeviceptr)a, 32, stream));
	ok(cuMemsetD8Async((CUdeviceptr)a, 0, 32, stream));
	ok(cuStreamEndCapture(stream, &graph));
	ok(cuStreamIsCapturing(stream, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
	ok(cuStreamSynchronize(stream));
	assert_int_equal(b[0], 0); /* nothing has run */

	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	ok(cuGraphDestroy(graph));
	for (unsigned i = 1; i <= 2; i++) {
		ok(cuMemsetD8Async((CUdeviceptr)b, 0, 32, stream));
		ok(cuGraphLaunch(exec, stream));
		ok(cuStreamSynchronize(stream));
		assert_int_equal(b[0], 7);
		assert_int_equal(b[7], 7);
		assert_int_equal(a[3], 0);
		assert_int_equal(*done, 2 * i);
	}
	ok(cuGraphLaunch(exec, stream));
	ok(cuGraphLaunch(exec, stream));
	ok(cuGraphExecDestroy(exec));
	ok(cuStreamSynchronize(stream));
	assert_int_equal(*done, 8);
	ok(cuStreamDestroy(stream));
	free_memory(a);
	free_memory(b);
	free_memory(done);
}

static struct {
	unsigned inside, overlaps;
} visits;

static void visit(void *arg)
{
	if (__atomic_add_fetch(&visits.inside, 1, __ATOMIC_ACQ_REL) > 1)
		__atomic_store_n(&visits.overlaps, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 100; i++)
		sched_yield();
	__atomic_sub_fetch(&visits.inside, 1, __ATOMIC_ACQ_REL);
}

/* Two branches whose kernels wait for each other, and a join. */
void test_capture_branches(void **state)
{
	CUstream one = make_stream(CU_STREAM_NON_BLOCKING),
		 two = make_stream(CU_STREAM_NON_BLOCKING);
	CUevent fork = make_event(CU_EVENT_DISABLE_TIMING),
		join = make_event(CU_EVENT_DISABLE_TIMING);
	unsigned *counter = make_memory(2), *out = make_memory(2);
	struct toy_meet meet = {counter, 4};
	CUstreamCaptureStatus status;
	CUgraphExec exec;
	CUgraph graph;

	ok(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	ok(cuMemsetD8Async((CUdeviceptr)counter, 0, 4, one));
	ok(cuLaunchHostFunc(one, visit, NULL));
	ok(cuEventRecord(fork, one));
	ok(cuStreamWaitEvent(two, fork, 0));
	ok(cuStreamIsCapturing(two, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	ok(launch(toy_meet, 2, &meet, one));
	ok(launch(toy_meet, 2, &meet, two));
	ok(cuEventRecord(join, two));
	ok(cuStreamWaitEvent(one, join, 0));
	ok(cuMemcpyAsync((CUdeviceptr)out, (CUdeviceptr)counter, 4, one));
	ok(cuStreamEndCapture(one, &graph));
	ok(cuStreamIsCapturing(two, &status));
	assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);

	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	for (int i = 0; i < 20; i++) {
		*out = 0;
		ok(cuGraphLaunch(exec, i % 2 ? one : two));
		ok(cuCtxSynchronize());
		assert_int_equal(*out, 4);
	}
	/* Launched on two streams at once it still runs once after the other. */
	for (int i = 0; i < 20; i++)
		ok(cuGraphLaunch(exec, i % 2 ? one : two));
	ok(cuCtxSynchronize());
	assert_int_equal(visits.overlaps, 0);
	ok(cuGraphExecDestroy(exec));
	ok(cuGraphDestroy(graph));
	ok(cuEventDestroy(fork));
	ok(cuEventDestroy(join));
	ok(cuStreamDestroy(one));
	ok(cuStreamDestroy(two));
	free_memory(counter);
	free_memory(out);
}

/* Ends a capture that has gone wrong. */
static void end_invalid(CUstream stream, CUresult error)
{
	CUgraph graph;

	fails(cuStreamEndCapture(stream, &graph), error);
	assert_null(graph);
}

void test_capture_errors(void **state)
{
	CUstream one = make_stream(CU_STREAM_DEFAULT), two = make_stream(CU_STREAM_NON_BLOCKING);
	CUevent event = make_event(0), outside = make_event(0);
	unsigned *a = make_memory(1);
	CUgraph graph;

	fails(cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
	      CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	fails(cuStreamEndCapture(one, &graph), CUDA_ERROR_ILLEGAL_STATE);

	ok(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_RELAXED));
	fails(cuStreamSynchronize(one), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	fails(cuMemsetD8Async((CUdeviceptr)a, 1, 4, one), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
	end_invalid(one, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

	/* The legacy stream would wait for a stream that captures, unless that is non-blocking. */
	ok(cuStreamBeginCapture(two, CU_STREAM_CAPTURE_MODE_RELAXED));
	ok(cuMemsetD8Async((CUdeviceptr)a, 1, 4, NULL));
	ok(cuStreamEndCapture(two, &graph));
	ok(cuGraphDestroy(graph));
	ok(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_RELAXED));
	fails(cuMemsetD8Async((CUdeviceptr)a, 1, 4, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	end_invalid(one, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

	/* Work that is not in the capture; work that does not come back. */
	ok(cuEventRecord(outside, two));
	ok(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_RELAXED));
	fails(cuStreamWaitEvent(one, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
	end_invalid(one, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
	ok(cuStreamBeginCapture(one, CU_STREAM_CAPTURE_MODE_RELAXED));
	ok(cuEventRecord(event, one));
	fails(cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
	ok(cuStreamWaitEvent(two, event, 0));
	ok(cuMemsetD8Async((CUdeviceptr)a, 1, 4, two));
	end_invalid(one, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
	ok(cuStreamSynchronize(two));

	ok(cuEventDestroy(event));
	ok(cuEventDestroy(outside));
	ok(cuStreamDestroy(one));
	ok(cuStreamDestroy(two));
	free_memory(a);
}

static void *allocate_elsewhere(void *arg)
{
	CUcontext *ctx = arg;
	static CUresult err;
	CUdeviceptr p;

	cuCtxSetCurrent(*ctx);
	err = cuMemAlloc(&p, 4);
	return &err;
}

/* Allocating is refused to other threads too, or to this one, or to none. */
void test_capture_modes(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUdeviceptr p;
	CUcontext ctx;
	pthread_t thread;
	CUgraph graph;
	void *err;

	ok(cuCtxGetCurrent(&ctx));
	ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	assert_int_equal(pthread_create(&thread, NULL, allocate_elsewhere, &ctx), 0);
	pthread_join(thread, &err);
	assert_int_equal(*(CUresult *)err, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	end_invalid(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

	ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	fails(cuMemAlloc(&p, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	end_invalid(stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

	ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuThreadExchangeStreamCaptureMode(&mode));
	assert_int_equal(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
	ok(cuMemAlloc(&p, 4));
	ok(cuThreadExchangeStreamCaptureMode(&mode));
	ok(cuStreamEndCapture(stream, &graph));
	ok(cuGraphDestroy(graph));
	ok(cuMemFree(p));
	ok(cuStreamDestroy(stream));
}
