/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory operations of streams of the stand-in for the CUDA driver. */
#include "test_fakecuda.h"

#include <string.h>

/* A stream waits for a word that another one writes, and only that stream. */
void test_memops_order(void **state)
{
	CUstream one = make_stream(CU_STREAM_NON_BLOCKING),
		 two = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(16);
	CUdeviceptr flag = (CUdeviceptr)a, wide = (CUdeviceptr)(a + 2), out = (CUdeviceptr)(a + 8);

	ok(cuStreamWaitValue32(one, flag, 5, CU_STREAM_WAIT_VALUE_EQ));
	ok(cuMemsetD8Async(out, 1, 4, one));
	ok(cuStreamWriteValue64(one, wide, 0x123456789abcdefull, 0));
	ok(cuMemsetD8Async(out + 4, 2, 4, two));
	ok(cuStreamSynchronize(two));
	assert_int_equal(a[9], 0x02020202);
	stays_busy(one);
	assert_int_equal(a[8], 0);
	ok(cuStreamWriteValue32(two, flag, 5, 0));
	ok(cuStreamWaitValue64(two, wide, 0x123456789abcdefull, CU_STREAM_WAIT_VALUE_EQ));
	ok(cuStreamSynchronize(two));
	assert_int_equal(a[8], 0x01010101);
	ok(cuStreamSynchronize(one));

	/* What was queued goes on without its stream. */
	ok(cuStreamWaitValue32(one, flag, 6, CU_STREAM_WAIT_VALUE_EQ));
	ok(cuStreamWriteValue32(one, out, 7, 0));
	ok(cuStreamDestroy(one));
	assert_int_equal(a[8], 0x01010101);
	ok(cuStreamWriteValue32(two, flag, 6, 0));
	ok(cuCtxSynchronize());
	assert_int_equal(a[8], 7);
	ok(cuStreamDestroy(two));
	free_memory(a);
}

struct condition {
	uint64_t value, before, after; /* before: it waits; after: it goes on */
	unsigned flags;
	int wide;
};

static void try_condition(CUstream stream, uint64_t *word, const struct condition *c)
{
	CUdeviceptr at = (CUdeviceptr)word;

	__atomic_store_n(word, c->before, __ATOMIC_RELEASE);
	if (c->wide)
		ok(cuStreamWaitValue64(stream, at, c->value, c->flags));
	else
		ok(cuStreamWaitValue32(stream, at, (cuuint32_t)c->value, c->flags));
	stays_busy(stream);
	__atomic_store_n(word, c->after, __ATOMIC_RELEASE);
	ok(cuStreamSynchronize(stream));
}

void test_memops_conditions(void **state)
{
	static const uint64_t ones = UINT64_MAX, low = UINT32_MAX;
	static const struct condition conditions[] = {
		{5, 4, 6, CU_STREAM_WAIT_VALUE_GEQ, 0},
		{2, 0xfffffffe, 3, CU_STREAM_WAIT_VALUE_GEQ, 0}, /* past zero */
		{0xfffffffe, 0xfffffffd, 1, CU_STREAM_WAIT_VALUE_GEQ, 0},
		{1ull << 40, 1ull << 39, 3ull << 40, CU_STREAM_WAIT_VALUE_GEQ, 1},
		{5, 6, 5, CU_STREAM_WAIT_VALUE_EQ, 0},
		{5ull << 32, 5, 5ull << 32, CU_STREAM_WAIT_VALUE_EQ, 1},
		{6, 9, 12, CU_STREAM_WAIT_VALUE_AND, 0},
		{1ull << 50, low, ones, CU_STREAM_WAIT_VALUE_AND, 1},
		{0xf0f0f0f0, 0x0f0f0f0f, 0x0f0f0f0e, CU_STREAM_WAIT_VALUE_NOR, 0},
		{low << 32, low, low - 1, CU_STREAM_WAIT_VALUE_NOR, 1},
	};
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	uint64_t *word = (uint64_t *)make_memory(2);

	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++)
		try_condition(stream, word, &conditions[i]);
	ok(cuStreamDestroy(stream));
	free_memory(word);
}

static void refused(CUstreamBatchMemOpParams *params, unsigned n, CUstream stream, CUresult error)
{
	fails(cuStreamBatchMemOp(stream, n, params, 0), error);
}

void test_memops_errors(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(4), outside[2] = {0};
	CUdeviceptr at = (CUdeviceptr)a;
	CUstreamBatchMemOpParams params[256];

	fails(cuStreamWaitValue32(stream, at + 2, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWaitValue64(stream, at + 4, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWriteValue32(stream, at + 1, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWriteValue64(stream, at + 4, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWriteValue64(stream, at + 16, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWriteValue32(stream, (CUdeviceptr)outside, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWriteValue32(stream, at, 0, CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER),
	      CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWaitValue32(stream, at, 0, 4), CUDA_ERROR_INVALID_VALUE);
	fails(cuStreamWaitValue32(stream, at, 0, CU_STREAM_WAIT_VALUE_FLUSH),
	      CUDA_ERROR_NOT_SUPPORTED);
	fails(cuStreamWaitValue32(CU_STREAM_PER_THREAD, at, 0, 0), CUDA_ERROR_INVALID_HANDLE);

	/* A batch is all or nothing. */
	memset(params, 0, sizeof params);
	for (unsigned i = 0; i < 256; i++) {
		params[i].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
		params[i].writeValue.address = at;
		params[i].writeValue.value = i + 1;
	}
	refused(params, 256, stream, CUDA_ERROR_INVALID_VALUE);
	refused(params, 0, stream, CUDA_ERROR_INVALID_VALUE);
	params[1].writeValue.address = at + 2;
	refused(params, 2, stream, CUDA_ERROR_INVALID_VALUE);
	params[1].operation = CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES;
	refused(params, 2, stream, CUDA_ERROR_NOT_SUPPORTED);
	ok(cuStreamSynchronize(stream));
	assert_int_equal(*a, 0);
	params[1].operation = CU_STREAM_MEM_OP_BARRIER;
	params[1].memoryBarrier.flags = CU_STREAM_MEMORY_BARRIER_TYPE_GPU;
	ok(cuStreamBatchMemOp(stream, 255, params, 0));
	ok(cuStreamSynchronize(stream));
	assert_int_equal(*a, 255);
	ok(cuStreamDestroy(stream));
	free_memory(a);
}

/* Comes to its end with a stream that waits for ever. */
int peer_waits(void)
{
	CUdeviceptr word;
	CUcontext ctx;

	return cuInit(0) || cuDevicePrimaryCtxRetain(&ctx, 0) || cuCtxSetCurrent(ctx) ||
	       cuMemAlloc(&word, 4) || cuStreamWaitValue32(NULL, word, 1, CU_STREAM_WAIT_VALUE_EQ);
}

void test_memops_at_exit(void **state)
{
	assert_int_equal(run_peer("waits", 0, NULL), 0);
}

/* A batch in a graph: wait for a word, take it back, announce. */
void test_memops_replay(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(4);
	CUstreamBatchMemOpParams params[3];
	CUgraphExec exec;
	CUgraph graph;

	memset(params, 0, sizeof params);
	params[0].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
	params[0].waitValue.address = (CUdeviceptr)&a[0];
	params[0].waitValue.value = 1;
	params[1].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
	params[1].writeValue.address = (CUdeviceptr)&a[0];
	params[2].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
	params[2].writeValue.address = (CUdeviceptr)&a[2];
	params[2].writeValue.value64 = 9ull << 32 | 8;
	ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ok(cuStreamBatchMemOp(stream, 3, params, 0));
	ok(cuMemsetD8Async((CUdeviceptr)&a[1], 3, 4, stream));
	ok(cuStreamEndCapture(stream, &graph));
	memset(params, 0, sizeof params); /* they were copied */
	ok(cuGraphInstantiateWithFlags(&exec, graph, 0));
	ok(cuGraphDestroy(graph));
	for (int i = 0; i < 3; i++) {
		a[1] = a[2] = a[3] = 0;
		ok(cuGraphLaunch(exec, stream));
		stays_busy(stream);
		assert_int_equal(a[1] | a[2], 0);
		let_go(&a[0]);
		ok(cuStreamSynchronize(stream));
		assert_int_equal(a[0], 0);
		assert_int_equal(a[1], 0x03030303);
		assert_int_equal(a[2], 8);
		assert_int_equal(a[3], 9);
	}
	ok(cuGraphExecDestroy(exec));
	ok(cuStreamDestroy(stream));
	free_memory(a);
}
