/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams. One remembers its last operation, behind which the next one is queued. The legacy stream
 * of a context waits for everything that blocking streams have been given, and they wait for it.
 */
#include "fake.h"

#include <stdlib.h>

CUstream fake_stream_of(CUstream handle, CUcontext current)
{
	if (!handle || handle == CU_STREAM_LEGACY)
		return current->legacy;
	return handle == CU_STREAM_PER_THREAD ? NULL : handle;
}

struct fake_op *fake_stream_op(CUstream stream, struct fake_work *work)
{
	CUcontext ctx = stream->ctx;
	struct fake_op *op = fake_op_new(ctx, work, stream->blocking);

	op->stream = stream;
	fake_op_after(op, stream->tail);
	if (stream->legacy) {
		for (struct fake_op *other = ctx->first; other; other = other->next)
			if (other->blocking && other != stream->tail)
				fake_op_after(op, other);
	} else if (stream->blocking) {
		fake_op_after(op, ctx->legacy->tail);
	}
	return op;
}

void fake_stream_queue(CUstream stream, struct fake_op *op)
{
	fake_op_drop(stream->tail);
	stream->tail = fake_op_hold(op);
	fake_op_queue(op);
}

/* A queue is bounded, marks aside: whoever gives it more waits until some of it is over. */
static void wait_for_room(CUstream stream)
{
	int queued;

	fake.waiters++;
	for (;;) {
		queued = 0;
		for (struct fake_op *op = stream->ctx->first; op; op = op->next)
			queued += op->stream == stream && op->work;
		if (queued < fake.queue)
			break;
		pthread_cond_wait(&fake.done, &fake.lock);
	}
	fake.waiters--;
}

CUresult fake_stream_add(CUstream stream, struct fake_work *work, struct fake_op **op)
{
	CUresult err = CUDA_SUCCESS;

	pthread_mutex_lock(&fake.lock);
	work->ctx = stream->ctx;
	if (stream->legacy)
		err = fake_capture_legacy(stream->ctx);
	if (!err && stream->capture) {
		err = fake_capture_add(stream, work);
	} else if (!err) {
		struct fake_op *new;

		wait_for_room(stream);
		new = fake_stream_op(stream, work);
		if (op)
			*op = fake_op_hold(new);
		fake_stream_queue(stream, new);
	}
	fake_work_drop(work);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

static CUresult make_stream(const char *function, CUstream *out, unsigned flags)
{
	static uint64_t ids;
	CUcontext ctx;
	CUresult err = fake_enter(function, FAKE_CONTEXT, &ctx);
	CUstream stream;

	if (err)
		return err;
	if (flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	stream = fake_alloc(sizeof *stream);
	stream->ctx = ctx;
	stream->blocking = !(flags & CU_STREAM_NON_BLOCKING);
	pthread_mutex_lock(&fake.lock);
	stream->id = ++ids + 16; /* smaller ones are those of the streams that are always there */
	stream->next = ctx->streams;
	ctx->streams = stream;
	pthread_mutex_unlock(&fake.lock);
	*out = stream;
	return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream *phStream, unsigned Flags)
{
	return make_stream(__func__, phStream, Flags);
}

/* All work may run at the same time here, so priorities mean nothing. */
CUresult cuStreamCreateWithPriority(CUstream *phStream, unsigned flags, int priority)
{
	return make_stream(__func__, phStream, flags);
}

CUresult cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);

	if (err)
		return err;
	if (leastPriority)
		*leastPriority = 0;
	if (greatestPriority)
		*greatestPriority = -5;
	return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long *streamId)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	stream = fake_stream_of(hStream, ctx);
	if (stream && streamId)
		*streamId = stream->legacy ? (unsigned long long)ctx->device + 1 : stream->id;
	else
		err = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

static void destroy(CUstream stream)
{
	if (stream->capture)
		stream->capture->invalid = true;
	fake_stream_forget(stream);
	fake_op_drop(stream->tail);
	free(stream);
}

void fake_streams_drop(CUcontext ctx)
{
	while (ctx->streams) {
		CUstream stream = ctx->streams;

		ctx->streams = stream->next;
		destroy(stream);
	}
	if (ctx->legacy)
		destroy(ctx->legacy);
	ctx->legacy = NULL;
}

/* What has been queued goes on. */
CUresult cuStreamDestroy(CUstream hStream)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);
	CUstream *at;

	if (err)
		return err;
	if (!hStream || hStream == CU_STREAM_LEGACY || hStream == CU_STREAM_PER_THREAD)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	for (at = &hStream->ctx->streams; *at && *at != hStream;)
		at = &(*at)->next;
	if (*at) {
		*at = hStream->next;
		destroy(hStream);
	} else {
		err = CUDA_ERROR_INVALID_HANDLE;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* A mark at the end of what the stream has now, for which the caller waits or not. */
static CUresult reach_end(const char *function, CUstream handle, bool wait)
{
	CUcontext ctx;
	CUresult err = fake_enter(function, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(handle, ctx);
	struct fake_op *op;

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	err = fake_capture_stream(stream);
	if (!err)
		err = fake_capture_refuses(ctx);
	if (!err) {
		op = fake_stream_op(stream, NULL);
		fake_op_hold(op);
		fake_op_queue(op);
		if (wait)
			fake_op_wait(op);
		if (!op->done)
			err = CUDA_ERROR_NOT_READY;
		fake_op_drop(op);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuStreamSynchronize(CUstream hStream)
{
	return reach_end(__func__, hStream, true);
}

CUresult cuStreamQuery(CUstream hStream)
{
	return reach_end(__func__, hStream, false);
}

CUresult cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);
	struct fake_work *work;

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!fn)
		return CUDA_ERROR_INVALID_VALUE;
	work = fake_work_new(FAKE_HOST, 0);
	work->call = fn;
	work->data = userData;
	return fake_stream_add(stream, work, NULL);
}
