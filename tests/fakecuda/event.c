/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events. A record is a mark in its stream, which keeps the time at which it was reached; a wait is
 * a mark that waits for it too. In a capture an event is a set of nodes instead (capture.c).
 */
#include "fake.h"

#include <stdlib.h>

CUresult cuEventCreate(CUevent *phEvent, unsigned Flags)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUevent event;

	if (err)
		return err;
	/* Events between processes are not there. */
	if (Flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
		return CUDA_ERROR_INVALID_VALUE;
	event = fake_alloc(sizeof *event);
	event->ctx = ctx;
	event->flags = Flags;
	*phEvent = event;
	return CUDA_SUCCESS;
}

/* At exit too: who calls this then would seem to leak it otherwise. */
CUresult cuEventDestroy(CUevent hEvent)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err && err != CUDA_ERROR_DEINITIALIZED)
		return err;
	if (!hEvent)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	fake_event_forget(hEvent);
	fake_op_drop(hEvent->op);
	pthread_mutex_unlock(&fake.lock);
	free(hEvent);
	return err;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);

	if (err)
		return err;
	if (!stream || !hEvent || stream->ctx != hEvent->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	if (stream->legacy)
		err = fake_capture_legacy(stream->ctx);
	if (!err && stream->capture) {
		err = fake_capture_record(stream, hEvent);
	} else if (!err) {
		struct fake_op *op = fake_stream_op(stream, NULL);

		fake_event_forget(hEvent);
		fake_op_drop(hEvent->op);
		hEvent->op = fake_op_hold(op);
		fake_stream_queue(stream, op);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned Flags)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);

	if (err)
		return err;
	if (!stream || !hEvent)
		return CUDA_ERROR_INVALID_HANDLE;
	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (stream->legacy)
		err = fake_capture_legacy(stream->ctx);
	if (!err && (stream->capture || hEvent->capture)) {
		err = fake_capture_wait(stream, hEvent);
	} else if (!err && hEvent->op) {
		struct fake_op *op = fake_stream_op(stream, NULL);

		fake_op_after(op, hEvent->op);
		fake_stream_queue(stream, op);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

static CUresult reach(const char *function, CUevent event, bool wait)
{
	CUresult err = fake_enter(function, FAKE_INIT, NULL);
	struct fake_op *op;

	if (err)
		return err;
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	if (event->capture)
		err = CUDA_ERROR_CAPTURED_EVENT;
	if (!err)
		err = fake_capture_refuses(event->ctx);
	if (!err && event->op) {
		op = fake_op_hold(event->op); /* another thread may record it anew */
		if (wait)
			fake_op_wait(op);
		if (!op->done)
			err = CUDA_ERROR_NOT_READY;
		fake_op_drop(op);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuEventSynchronize(CUevent hEvent)
{
	return reach(__func__, hEvent, true);
}

CUresult cuEventQuery(CUevent hEvent)
{
	return reach(__func__, hEvent, false);
}

static CUresult elapsed(const char *function, float *ms, CUevent from, CUevent to)
{
	CUresult err = fake_enter(function, FAKE_INIT, NULL);

	if (err)
		return err;
	if (!from || !to || from->ctx != to->ctx ||
	    ((from->flags | to->flags) & CU_EVENT_DISABLE_TIMING))
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	if (from->capture || to->capture)
		err = CUDA_ERROR_CAPTURED_EVENT;
	else if (!from->op || !to->op)
		err = CUDA_ERROR_INVALID_HANDLE;
	else if (!from->op->done || !to->op->done)
		err = CUDA_ERROR_NOT_READY;
	else
		*ms = (float)((double)(int64_t)(to->op->when - from->op->when) / 1e6);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* The name differs between toolkits (a second version since 12.8): both are there. */
#undef cuEventElapsedTime
#define EXPORTED __attribute__((visibility("default")))
EXPORTED CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd);
EXPORTED CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd);

CUresult cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	return elapsed(__func__, pMilliseconds, hStart, hEnd);
}

CUresult cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd)
{
	return elapsed(__func__, pMilliseconds, hStart, hEnd);
}
