/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of GPUs for the application (hocketDeviceMemAlloc). Where the driver has mapped memory it
 * is that, with a file descriptor for other processes, RDMA devices and all GPUs that can reach it;
 * else it is cuMemAlloc's. Each piece keeps its GPU, so that it can be freed by its address alone,
 * in any thread.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "driver.h"
#include "error.h"
#include "gpu.h"
#include "mapping.h"

#define MOST_GPUS 64

struct piece {
	struct piece *next;
	CUdeviceptr at;
	CUdevice device;
	size_t mapped; /* bytes; 0: it is cuMemAlloc's */
};

static struct piece *pieces;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* All GPUs of this process that reach the memory of the device, itself first. Returns how many. */
static size_t list_users(const struct hk_cuda *cuda, CUdevice device, CUmemAccessDesc users[])
{
	int n = 0, can;
	size_t nusers = 1;

	users[0] = (CUmemAccessDesc){{CU_MEM_LOCATION_TYPE_DEVICE, device},
				     CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	if (cuda->cuDeviceGetCount(&n))
		return nusers;
	for (int i = 0; i < n && nusers < MOST_GPUS; i++) {
		CUdevice other;

		if (cuda->cuDeviceGet(&other, i) || other == device ||
		    cuda->cuDeviceCanAccessPeer(&can, other, device) || !can)
			continue;
		users[nusers] = users[0];
		users[nusers++].location.id = other;
	}
	return nusers;
}

/* Memory that other processes can open by a file descriptor. Quiet failures. */
static int allocate_mapped(const struct hk_cuda *cuda, size_t bytes, struct piece *p)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
				    .requestedHandleTypes =
					    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
				    .location = {CU_MEM_LOCATION_TYPE_DEVICE, p->device}};
	CUmemAccessDesc users[MOST_GPUS];
	CUmemGenericAllocationHandle memory;
	size_t grain = 0;
	int rdma = 0, err;

	if (!cuda->cuDeviceGetAttribute(&rdma,
					CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
					p->device) &&
	    rdma)
		prop.allocFlags.gpuDirectRDMACapable = 1;
	err = hk_cuda_try(cuda->cuMemGetAllocationGranularity(&grain, &prop,
							      CU_MEM_ALLOC_GRANULARITY_MINIMUM),
			  "asking for the granularity of GPU memory");
	if (!err && bytes > SIZE_MAX - grain)
		err = hk_fail_quiet(ENOMEM, "no GPU has %zu bytes of memory", bytes);
	if (err)
		return err;
	bytes = (bytes + grain - 1) / grain * grain;
	err = hk_cuda_try(cuda->cuMemCreate(&memory, bytes, &prop, 0), "making GPU memory");
	if (err)
		return err;
	err = hk_gpu_map(cuda, memory, bytes, users, list_users(cuda, p->device, users), &p->at);
	cuda->cuMemRelease(memory); /* the mapping keeps it */
	if (!err)
		p->mapped = bytes;
	return err;
}

/* In the GPU's primary context, which is the CUDA runtime's. */
static int allocate(const struct hk_cuda *cuda, size_t bytes, struct piece *p)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUcontext context = NULL;
	int err = hk_cuda_check(cuda->cuDevicePrimaryCtxRetain(&context, p->device),
				"making a CUDA context");

	if (err)
		return err;
	err = hk_cuda_check(cuda->cuCtxPushCurrent(context), "using a CUDA context");
	if (!err) {
		/* A graph that this thread captures is not to be disturbed. */
		cuda->cuThreadExchangeStreamCaptureMode(&mode);
		if (!hk_gpu_can_map(cuda, p->device) || allocate_mapped(cuda, bytes, p))
			err = hk_cuda_check(cuda->cuMemAlloc(&p->at, bytes),
					    "allocating GPU memory");
		cuda->cuThreadExchangeStreamCaptureMode(&mode);
		cuda->cuCtxPopCurrent(&context);
	}
	if (err)
		cuda->cuDevicePrimaryCtxRelease(p->device);
	return err;
}

int hk_gpu_mem_alloc(int number, size_t bytes, uint64_t *at)
{
	struct piece *p = calloc(1, sizeof(*p));
	const struct hk_cuda *cuda = NULL;
	int err = p ? hk_cuda_open(&cuda) : hk_fail(ENOMEM, "no memory");

	if (!err && cuda->cuDeviceGet(&p->device, number))
		err = hk_fail_quiet(EINVAL, "there is no GPU %d", number);
	if (!err)
		err = allocate(cuda, bytes ? bytes : 1, p);
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
	int err, unmapped;

	if (!p)
		return -ENOENT;
	err = hk_cuda_open(&cuda);
	if (!err)
		err = hk_cuda_check(cuda->cuDevicePrimaryCtxRetain(&context, p->device),
				    "using a CUDA context");
	if (!err) {
		err = hk_cuda_check(cuda->cuCtxPushCurrent(context), "using a CUDA context");
		if (!err) {
			if (p->mapped) { /* the driver may not wait by itself, as cuMemFree does */
				err = hk_cuda_check(cuda->cuCtxSynchronize(),
						    "waiting for the users of GPU memory");
				unmapped = hk_gpu_unmap(cuda, at, p->mapped);
				err = err ? err : unmapped;
			} else {
				err = hk_cuda_check(cuda->cuMemFree(at), "freeing GPU memory");
			}
			cuda->cuCtxPopCurrent(&context);
		}
		cuda->cuDevicePrimaryCtxRelease(p->device);
		cuda->cuDevicePrimaryCtxRelease(p->device); /* of the allocation */
	}
	free(p);
	return err;
}
