/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies and fills. A copy from or to memory that the driver does not know (pageable) is over when
 * the call returns, after all that is before it on the stream, as with a real driver: who has work
 * on the stream wait for this thread hangs. Copies within device memory are never waited for.
 */
#include "fake.h"

static CUresult submit(CUstream stream, struct fake_work *work, bool wait)
{
	struct fake_op *op = NULL;
	CUresult err = fake_stream_add(stream, work, &op);

	if (err || !op)
		return err;
	pthread_mutex_lock(&fake.lock);
	if (wait)
		fake_op_wait(op);
	fake_op_drop(op);
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

struct ends {
	uintptr_t to, from;
	bool to_known, from_known; /* they must be */
};

static CUresult copy(CUcontext ctx, struct ends ends, size_t bytes, CUstream handle,
		     bool synchronous)
{
	CUstream stream = fake_stream_of(handle, ctx);
	enum fake_place to, from;
	struct fake_work *work;
	CUresult err;

	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	err = fake_memory_place(stream->ctx, ends.to, bytes, true, &to);
	if (!err)
		err = fake_memory_place(stream->ctx, ends.from, bytes, false, &from);
	pthread_mutex_unlock(&fake.lock);
	if (err || !bytes)
		return err;
	if ((ends.to_known && to == FAKE_PAGEABLE) || (ends.from_known && from == FAKE_PAGEABLE) ||
	    !ends.to || !ends.from)
		return CUDA_ERROR_INVALID_VALUE;
	work = fake_work_new(FAKE_COPY, 0);
	work->to = (void *)ends.to;
	work->from = (const void *)ends.from;
	work->bytes = bytes;
	if (synchronous)
		return submit(stream, work, to != FAKE_DEVICE || from != FAKE_DEVICE);
	return submit(stream, work, to == FAKE_PAGEABLE || from == FAKE_PAGEABLE);
}

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	struct ends ends = {(uintptr_t)dst, (uintptr_t)src, false, false};

	return err ? err : copy(ctx, ends, ByteCount, hStream, false);
}

CUresult cuMemcpyDtoHAsync(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	struct ends ends = {(uintptr_t)dstHost, (uintptr_t)srcDevice, false, true};

	return err ? err : copy(ctx, ends, ByteCount, hStream, false);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount,
			   CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	struct ends ends = {(uintptr_t)dstDevice, (uintptr_t)srcHost, true, false};

	return err ? err : copy(ctx, ends, ByteCount, hStream, false);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
			   CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	struct ends ends = {(uintptr_t)dstDevice, (uintptr_t)srcDevice, true, true};

	return err ? err : copy(ctx, ends, ByteCount, hStream, false);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);
	struct ends ends = {(uintptr_t)dst, (uintptr_t)src, false, false};

	return err ? err : copy(ctx, ends, ByteCount, CU_STREAM_LEGACY, true);
}

static CUresult fill(CUcontext ctx, uintptr_t to, unsigned char value, size_t bytes,
		     CUstream handle, bool synchronous)
{
	CUstream stream = fake_stream_of(handle, ctx);
	enum fake_place place;
	struct fake_work *work;
	CUresult err;

	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	err = fake_memory_place(stream->ctx, to, bytes, true, &place);
	pthread_mutex_unlock(&fake.lock);
	if (!err && place == FAKE_PAGEABLE)
		err = CUDA_ERROR_INVALID_VALUE;
	if (err || !bytes)
		return err;
	work = fake_work_new(FAKE_SET, 0);
	work->to = (void *)to;
	work->value = value;
	work->bytes = bytes;
	return submit(stream, work, synchronous && place != FAKE_DEVICE);
}

CUresult cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);

	return err ? err : fill(ctx, (uintptr_t)dstDevice, uc, N, hStream, false);
}

CUresult cuMemsetD8(CUdeviceptr dstDevice, unsigned char uc, size_t N)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);

	return err ? err : fill(ctx, (uintptr_t)dstDevice, uc, N, CU_STREAM_LEGACY, true);
}
