/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of GPUs for the application (hocketDeviceMemAlloc). Each piece keeps the context that it
 * came from, so that it can be freed by its address alone, in any thread.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "driver.h"
#include "error.h"
#include "gpu.h"

struct piece {
	struct piece *next;
	CUdeviceptr at;
	CUdevice device;
};

static struct piece *pieces;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* In the GPU's primary context, which is the CUDA runtime's. */
static int allocate(const struct hk_cuda *cuda, CUdevice device, size_t bytes, CUdeviceptr *at)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUcontext context = NULL;
	int err = hk_cuda_check(cuda->cuDevicePrimaryCtxRetain(&context, device),
				"making a CUDA context");

	if (err)
		return err;
	err = hk_cuda_check(cuda->cuCtxPushCurrent(context), "using a CUDA context");
	if (!err) {
		/* A graph that this thread captures is not to be disturbed. */
		cuda->cuThreadExchangeStreamCaptureMode(&mode);
		err = hk_cuda_check(cuda->cuMemAlloc(at, bytes), "allocating GPU memory");
		cuda->cuThreadExchangeStreamCaptureMode(&mode);
		cuda->cuCtxPopCurrent(&context);
	}
	if (err)
		cuda->cuDevicePrimaryCtxRelease(device);
	return err;
}

int hk_gpu_mem_alloc(int number, size_t bytes, uint64_t *at)
{
	struct piece *p = malloc(sizeof(*p));
	const struct hk_cuda *cuda = NULL;
	int err = p ? hk_cuda_open(&cuda) : hk_fail(ENOMEM, "no memory");

	if (!err && cuda->cuDeviceGet(&p->device, number))
		err = hk_fail_quiet(EINVAL, "there is no GPU %d", number);
	if (!err)
		err = allocate(cuda, p->device, bytes ? bytes : 1, &p->at);
	if (err) {
		free(p);
		return err;
	}
	pthread_mutex_lock(&lock);
	p->next = pieces;
	pieces = p;
	pthread_mutex_unlock(&lock);
	*at = p->at;
	return 0;
}

static struct piece *take(uint64_t at)
{
	struct piece **place = &pieces, *p;

	pthread_mutex_lock(&lock);
	while (*place && (*place)->at != at)
		place = &(*place)->next;
	p = *place;
	if (p)
		*place = p->next;
	pthread_mutex_unlock(&lock);
	return p;
}

int hk_gpu_mem_free(uint64_t at)
{
	const struct hk_cuda *cuda = NULL;
	CUcontext context = NULL;
	struct piece *p = take(at);
	int err;

	if (!p)
		return -ENOENT;
	err = hk_cuda_open(&cuda);
	if (!err)
		err = hk_cuda_check(cuda->cuDevicePrimaryCtxRetain(&context, p->device),
				    "using a CUDA context");
	if (!err) {
		err = hk_cuda_check(cuda->cuCtxPushCurrent(context), "using a CUDA context");
		if (!err) {
			err = hk_cuda_check(cuda->cuMemFree(at), "freeing GPU memory");
			cuda->cuCtxPopCurrent(&context);
		}
		cuda->cuDevicePrimaryCtxRelease(p->device);
		cuda->cuDevicePrimaryCtxRelease(p->device); /* of the allocation */
	}
	free(p);
	return err;
}
