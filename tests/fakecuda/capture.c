/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures. A stream in a capture has a frontier: the nodes of the graph after which its next one
 * comes. An event takes a copy of it, and a stream that waits for the event joins the capture with
 * it, so that branches stay apart in the graph as they were in the streams.
 *
 * Whatever a capture does not allow makes it invalid, as with a real driver.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local char self; /* its address names the thread */
static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

void fake_capture_drop(struct fake_capture *c)
{
	if (!c || --c->refs)
		return;
	fake_graph_drop(c->graph);
	free(c);
}

void fake_stream_forget(CUstream stream)
{
	fake_capture_drop(stream->capture);
	free(stream->frontier);
	stream->capture = NULL;
	stream->frontier = NULL;
	stream->nfrontier = 0;
}

void fake_event_forget(CUevent event)
{
	fake_capture_drop(event->capture);
	free(event->frontier);
	event->capture = NULL;
	event->frontier = NULL;
	event->nfrontier = 0;
}

static CUresult invalidate(struct fake_capture *c, CUresult err)
{
	c->invalid = true;
	return err;
}

/* Calls such as allocations may wait for the legacy stream or for everything. */
CUresult fake_capture_refuses(CUcontext ctx)
{
	for (struct fake_capture *c = fake.captures; c; c = c->next) {
		bool own = c->thread == &self && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED;
		bool global = thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
			      c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;

		if (thread_mode != CU_STREAM_CAPTURE_MODE_RELAXED && (own || global))
			return invalidate(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	}
	return CUDA_SUCCESS;
}

CUresult fake_capture_legacy(CUcontext ctx)
{
	for (CUstream s = ctx->streams; s; s = s->next)
		if (s->blocking && s->capture)
			return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	return CUDA_SUCCESS;
}

CUresult fake_capture_stream(CUstream stream)
{
	if (stream->capture)
		return invalidate(stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	return stream->legacy ? fake_capture_legacy(stream->ctx) : CUDA_SUCCESS;
}

CUresult fake_capture_add(CUstream stream, struct fake_work *work)
{
	struct fake_capture *c = stream->capture;
	unsigned node;

	if (c->invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	node = fake_graph_add(c->graph, work, stream->frontier, stream->nfrontier);
	stream->frontier = fake_realloc(stream->frontier, sizeof node);
	stream->frontier[0] = node;
	stream->nfrontier = 1;
	return CUDA_SUCCESS;
}

CUresult fake_capture_record(CUstream stream, CUevent event)
{
	struct fake_capture *c = stream->capture;

	if (c->invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	fake_event_forget(event);
	fake_op_drop(event->op);
	event->op = NULL;
	c->refs++;
	event->capture = c;
	event->nfrontier = stream->nfrontier;
	event->frontier = fake_alloc(event->nfrontier * sizeof *event->frontier);
	if (event->nfrontier)
		memcpy(event->frontier, stream->frontier,
		       event->nfrontier * sizeof *event->frontier);
	return CUDA_SUCCESS;
}

/* Adds the nodes of the event to the stream's frontier. */
static void join(CUstream stream, CUevent event)
{
	unsigned n = stream->nfrontier;

	stream->frontier =
		fake_realloc(stream->frontier, (n + event->nfrontier) * sizeof *stream->frontier);
	for (unsigned i = 0; i < event->nfrontier; i++) {
		unsigned k = 0;

		while (k < n && stream->frontier[k] != event->frontier[i])
			k++;
		if (k == n)
			stream->frontier[n++] = event->frontier[i];
	}
	stream->nfrontier = n;
}

CUresult fake_capture_wait(CUstream stream, CUevent event)
{
	struct fake_capture *c = event->capture;

	if (!c && !event->op)
		return CUDA_SUCCESS; /* never recorded */
	if (!c)
		return invalidate(stream->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
	if (c->ended)
		return CUDA_ERROR_CAPTURED_EVENT;
	if (stream->capture && stream->capture != c) {
		stream->capture->invalid = true;
		return invalidate(c, CUDA_ERROR_STREAM_CAPTURE_MERGE);
	}
	if (c->invalid)
		return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	if (stream->legacy)
		return invalidate(c, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
	if (!stream->capture) {
		c->refs++;
		stream->capture = c;
	}
	join(stream, event);
	return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream hStream, CUstreamCaptureMode mode)
{
	static uint64_t ids;
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);
	struct fake_capture *c;

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	if (stream->legacy)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	pthread_mutex_lock(&fake.lock);
	if (stream->capture) {
		err = CUDA_ERROR_ILLEGAL_STATE;
	} else {
		c = fake_alloc(sizeof *c);
		c->refs = 1;
		c->id = ++ids;
		c->mode = mode;
		c->thread = &self;
		c->origin = stream;
		c->graph = fake_graph_new();
		c->next = fake.captures;
		fake.captures = c;
		stream->capture = c;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* All streams leave it. Returns whether what they did is behind the end of the origin. */
static bool leave(struct fake_capture *c)
{
	CUstream origin = c->origin;
	bool joined = true;

	for (int i = 0; i < fake.ndevices; i++) {
		for (CUstream s = fake.ctx[i].streams; s; s = s->next) {
			if (s == origin || s->capture != c)
				continue;
			if (!fake_graph_covers(c->graph, origin->frontier, origin->nfrontier,
					       s->frontier, s->nfrontier))
				joined = false;
			fake_stream_forget(s);
		}
	}
	return joined;
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);
	struct fake_capture *c, **at;

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	c = stream->capture;
	if (!c)
		err = CUDA_ERROR_ILLEGAL_STATE;
	else if (c->origin != stream)
		err = invalidate(c, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
	else if (c->thread != &self && c->mode != CU_STREAM_CAPTURE_MODE_RELAXED)
		err = invalidate(c, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
	if (err) {
		pthread_mutex_unlock(&fake.lock);
		return err;
	}
	*phGraph = NULL;
	if (!leave(c))
		err = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
	if (c->invalid)
		err = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	for (at = &fake.captures; *at != c;)
		at = &(*at)->next;
	*at = c->next;
	c->ended = true;
	if (!err) {
		c->graph->refs++;
		*phGraph = c->graph;
	}
	fake_stream_forget(stream);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* All outputs but the first may be NULL. The nodes of the frontier are not handed out. */
static CUresult info(const char *function, CUstream handle, CUstreamCaptureStatus *status,
		     cuuint64_t *id, CUgraph *graph)
{
	CUcontext ctx;
	CUresult err = fake_enter(function, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(handle, ctx);

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&fake.lock);
	if (stream->legacy) /* asking does no harm to the capture */
		for (CUstream s = ctx->streams; s; s = s->next)
			if (s->blocking && s->capture)
				err = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	if (!err)
		*status = !stream->capture	     ? CU_STREAM_CAPTURE_STATUS_NONE
			  : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
						     : CU_STREAM_CAPTURE_STATUS_ACTIVE;
	if (!err && stream->capture && id)
		*id = stream->capture->id;
	if (!err && stream->capture && graph)
		*graph = stream->capture->graph;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
	return info(__func__, hStream, captureStatus, NULL, NULL);
}

/* The second version is no longer declared by toolkits of version 13, nor the third yet by 12.2. */
__attribute__((visibility("default"))) CUresult cuStreamGetCaptureInfo_v2(
	CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out,
	CUgraph *graph_out, const CUgraphNode **dependencies_out, size_t *numDependencies_out);

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				   cuuint64_t *id_out, CUgraph *graph_out,
				   const CUgraphNode **dependencies_out,
				   size_t *numDependencies_out)
{
	if (dependencies_out)
		*dependencies_out = NULL;
	if (numDependencies_out)
		*numDependencies_out = 0;
	return info(__func__, hStream, captureStatus_out, id_out, graph_out);
}

#if CUDA_VERSION >= 12030
CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
				   cuuint64_t *id_out, CUgraph *graph_out,
				   const CUgraphNode **dependencies_out,
				   const CUgraphEdgeData **edgeData_out,
				   size_t *numDependencies_out)
{
	if (dependencies_out)
		*dependencies_out = NULL;
	if (edgeData_out)
		*edgeData_out = NULL;
	if (numDependencies_out)
		*numDependencies_out = 0;
	return info(__func__, hStream, captureStatus_out, id_out, graph_out);
}
#endif

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
	CUresult err = fake_enter(__func__, FAKE_ANY, NULL);
	CUstreamCaptureMode old = thread_mode;

	if (err)
		return err;
	if ((unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
		return CUDA_ERROR_INVALID_VALUE;
	thread_mode = *mode;
	*mode = old;
	return CUDA_SUCCESS;
}
