/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a communicator's calls on a GPU. Calls on different streams are ordered by an event,
 * and those of one capture for a graph likewise; what order graphs have among each other and with
 * calls is the application's.
 */
#include <errno.h>

#include "error.h"
#include "gpu_internal.h"

/* Which capture the stream is in; 0: none. -EINVAL where it can take no work, as a capture was
 * spoilt, or is going on that work on the default stream would spoil. */
static int capture_of(const struct hk_gpu_exec *x, CUstream stream, uint64_t *capture)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	cuuint64_t id = 0;
	CUresult r = x->cuda->cuStreamGetCaptureInfo_v2(stream, &status, &id, NULL, NULL, NULL);

	*capture = !r && status == CU_STREAM_CAPTURE_STATUS_ACTIVE ? id : 0;
	if (r == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)
		return hk_fail_quiet(EINVAL, "the default stream takes no call while another "
					     "stream that waits for it is captured; give the call "
					     "a stream of its own (cudaStreamNonBlocking)");
	if (!r && status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
		return hk_fail_quiet(EINVAL, "the stream's capture was spoilt by something that "
					     "can't be captured; end it and begin a new one");
	return hk_cuda_check(r, "asking about a CUDA stream");
}

/* Never given again, unlike its handle; 0: the driver doesn't tell. */
static cuuint64_t id_of(const struct hk_gpu_exec *x, CUstream stream)
{
	unsigned long long id = 0;

	if (!x->cuda->cuStreamGetId || x->cuda->cuStreamGetId(stream, &id))
		return 0;
	return id;
}

/* Whether the stream is that of the call before. */
static bool is_last(const struct hk_gpu_exec *x, CUstream stream)
{
	return stream == x->last_stream && x->last_id && id_of(x, stream) == x->last_id;
}

/* The call comes after the one before, whatever its stream: after the one before in the same
 * capture, or after the one before that is in none. */
static int order(struct hk_gpu_exec *x, CUstream stream, uint64_t capture)
{
	CUevent before = capture ? x->last_in_graph : x->last;

	if (capture ? capture != x->last_capture || stream == x->capture_stream
		    : !x->launched || is_last(x, stream))
		return 0;
	return hk_cuda_check(x->cuda->cuStreamWaitEvent(stream, before, 0),
			     "ordering two CUDA streams");
}

int hk_gpu_end(struct hk_gpu_exec *x, CUstream stream, uint64_t capture)
{
	int err =
		hk_cuda_check(x->cuda->cuEventRecord(capture ? x->last_in_graph : x->last, stream),
			      "recording a CUDA event");

	if (err)
		return err;
	if (capture) {
		x->last_capture = capture;
		x->capture_stream = stream;
		x->captured = true;
	} else {
		x->last_stream = x->waited = stream;
		x->last_id = id_of(x, stream);
		x->launched = true;
	}
	return 0;
}

int hk_gpu_begin(struct hk_gpu_exec *x, CUstream stream, uint64_t *capture)
{
	int err = capture_of(x, stream, capture);

	return err ? err : order(x, stream, *capture);
}

void hk_gpu_follow_default(struct hk_gpu_exec *x, CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

	if (x->cuda->cuStreamGetCaptureInfo_v2(NULL, &status, NULL, NULL, NULL, NULL) ||
	    status != CU_STREAM_CAPTURE_STATUS_NONE)
		return;
	if (x->cuda->cuEventRecord(x->before, NULL) == CUDA_SUCCESS)
		x->cuda->cuStreamWaitEvent(stream, x->before, 0);
}

int hk_gpu_exec_order(struct hk_gpu_exec *x, void *first, void *then)
{
	int err;

	if (first == then)
		return 0;
	err = hk_gpu_enter(x->gpu);
	if (err)
		return err;
	err = hk_cuda_check(x->cuda->cuEventRecord(x->before, first), "recording a CUDA event");
	if (!err)
		err = hk_cuda_check(x->cuda->cuStreamWaitEvent(then, x->before, 0),
				    "ordering two CUDA streams");
	hk_gpu_leave(x->gpu);
	return err;
}
