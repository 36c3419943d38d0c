/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory operations of streams: words that a stream writes, or for which it waits. A batch is one
 * piece of work, done in order by a thread of its own, so that other streams go on while it waits.
 * Like a kernel that waits it holds up whatever waits for the device: freeing, synchronizing.
 */
#include "fake.h"

#include <sched.h>
#include <string.h>
#include <time.h>

enum { MOST = 255, SPINS = 200 };

static bool satisfied(const CUstreamBatchMemOpParams *p, bool wide)
{
	uint64_t want = wide ? p->waitValue.value64 : p->waitValue.value;
	uintptr_t at = (uintptr_t)p->waitValue.address;
	uint64_t is = wide ? __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE)
			   : __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);

	switch (p->waitValue.flags) {
	case CU_STREAM_WAIT_VALUE_EQ:
		return is == want;
	case CU_STREAM_WAIT_VALUE_AND:
		return is & want;
	case CU_STREAM_WAIT_VALUE_NOR:
		return wide ? ~(is | want) != 0 : (uint32_t) ~(is | want) != 0;
	default: /* cyclic */
		return wide ? (int64_t)(is - want) >= 0 : (int32_t)((uint32_t)is - want) >= 0;
	}
}

static void await(const CUstreamBatchMemOpParams *p, bool wide)
{
	const struct timespec pause = {.tv_nsec = 50000};

	for (unsigned i = 0; !satisfied(p, wide); i++) {
		if (i < SPINS)
			sched_yield();
		else
			nanosleep(&pause, NULL);
	}
}

void fake_memops_run(const struct fake_work *work)
{
	const CUstreamBatchMemOpParams *p = (const void *)work->param;

	for (unsigned i = 0; i < work->nblocks; i++, p++) {
		uintptr_t at = (uintptr_t)p->writeValue.address;

		switch (p->operation) {
		case CU_STREAM_MEM_OP_WAIT_VALUE_32:
			await(p, false);
			break;
		case CU_STREAM_MEM_OP_WAIT_VALUE_64:
			await(p, true);
			break;
		case CU_STREAM_MEM_OP_WRITE_VALUE_32:
			__atomic_store_n((uint32_t *)at, p->writeValue.value, __ATOMIC_SEQ_CST);
			break;
		case CU_STREAM_MEM_OP_WRITE_VALUE_64:
			__atomic_store_n((uint64_t *)at, p->writeValue.value64, __ATOMIC_SEQ_CST);
			break;
		default:
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			break;
		}
	}
}

/* An aligned word that the device knows and may use. */
static CUresult check_word(CUcontext ctx, CUdeviceptr at, size_t bytes, bool write)
{
	enum fake_place place;
	CUresult err;

	if (!at || at % bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	err = fake_memory_place(ctx, (uintptr_t)at, bytes, write, &place);
	pthread_mutex_unlock(&fake.lock);
	return !err && place == FAKE_PAGEABLE ? CUDA_ERROR_INVALID_VALUE : err;
}

static CUresult check(CUcontext ctx, const CUstreamBatchMemOpParams *p)
{
	switch (p->operation) {
	case CU_STREAM_MEM_OP_WAIT_VALUE_32:
	case CU_STREAM_MEM_OP_WAIT_VALUE_64:
		if (p->waitValue.flags & CU_STREAM_WAIT_VALUE_FLUSH)
			return CUDA_ERROR_NOT_SUPPORTED; /* as the device's attribute says */
		if (p->waitValue.flags > CU_STREAM_WAIT_VALUE_NOR)
			return CUDA_ERROR_INVALID_VALUE;
		return check_word(ctx, p->waitValue.address,
				  p->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 ? 8 : 4, false);
	case CU_STREAM_MEM_OP_WRITE_VALUE_32:
	case CU_STREAM_MEM_OP_WRITE_VALUE_64:
		if (p->writeValue.flags)
			return CUDA_ERROR_INVALID_VALUE;
		return check_word(ctx, p->writeValue.address,
				  p->operation == CU_STREAM_MEM_OP_WRITE_VALUE_64 ? 8 : 4, true);
	case CU_STREAM_MEM_OP_BARRIER:
		return p->memoryBarrier.flags > CU_STREAM_MEMORY_BARRIER_TYPE_GPU
			       ? CUDA_ERROR_INVALID_VALUE
			       : CUDA_SUCCESS;
	case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
		return CUDA_ERROR_NOT_SUPPORTED;
	default:
		return CUDA_ERROR_INVALID_VALUE;
	}
}

static CUresult submit(const char *function, CUstream handle, unsigned n,
		       const CUstreamBatchMemOpParams *params)
{
	CUcontext ctx;
	CUresult err = fake_enter(function, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(handle, ctx);
	struct fake_work *work;

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!n || n > MOST || !params)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; !err && i < n; i++)
		err = check(stream->ctx, &params[i]);
	if (err)
		return err;
	work = fake_work_new(FAKE_MEMOPS, n * sizeof *params);
	work->nblocks = n;
	memcpy(work->param, params, n * sizeof *params);
	return fake_stream_add(stream, work, NULL);
}

CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned flags)
{
	CUstreamBatchMemOpParams p = {.waitValue = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32,
						    .address = addr,
						    .value = value,
						    .flags = flags}};

	return submit(__func__, stream, 1, &p);
}

CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned flags)
{
	CUstreamBatchMemOpParams p = {.waitValue = {.operation = CU_STREAM_MEM_OP_WAIT_VALUE_64,
						    .address = addr,
						    .value64 = value,
						    .flags = flags}};

	return submit(__func__, stream, 1, &p);
}

CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned flags)
{
	CUstreamBatchMemOpParams p = {.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32,
						     .address = addr,
						     .value = value,
						     .flags = flags}};

	return submit(__func__, stream, 1, &p);
}

CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned flags)
{
	CUstreamBatchMemOpParams p = {.writeValue = {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64,
						     .address = addr,
						     .value64 = value,
						     .flags = flags}};

	return submit(__func__, stream, 1, &p);
}

CUresult cuStreamBatchMemOp(CUstream stream, unsigned count, CUstreamBatchMemOpParams *paramArray,
			    unsigned flags)
{
	return flags ? CUDA_ERROR_INVALID_VALUE : submit(__func__, stream, count, paramArray);
}
