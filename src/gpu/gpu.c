/* SPDX-License-Identifier: BSD-3-Clause */
/* GPUs: see gpu.h. The kernels' module is loaded once per context, and shared;
 * so is the pool of memory (pool.h). */
#include "gpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "error.h"
#include "image.h"
#include "pool.h"
#include "records.h"

#define MAX_MODULES 64

struct module {
	CUcontext context; /* NULL: unused */
	CUmodule module;
	CUfunction kernels[HK_GPU_NKERNELS];
	unsigned users;
	struct hk_gpu_pool pool;
};

struct hk_gpu {
	const struct hk_cuda *cuda;
	int device;
	CUcontext context;
	bool primary; /* the context is retained */
	int multiprocessors;
	char bus[32], name[160];
	struct module *module;
	CUstream stream; /* for copies that we wait for */
	CUstream calls;	 /* for kernels */
	size_t reserved; /* pinned memory */
};

static struct module modules[MAX_MODULES];
static pthread_mutex_t modules_lock = PTHREAD_MUTEX_INITIALIZER;

int hk_gpu_count(void)
{
	const struct hk_cuda *cuda;
	int n = 0;

	if (hk_cuda_open(&cuda) || hk_cuda_try(cuda->cuDeviceGetCount(&n), "counting the GPUs"))
		return 0;
	return n;
}

int hk_gpu_current(void)
{
	const struct hk_cuda *cuda;
	CUcontext context = NULL;
	CUdevice device;
	int err = hk_cuda_open(&cuda);

	if (err)
		return err;
	if (cuda->cuCtxGetCurrent(&context) || !context || cuda->cuCtxGetDevice(&device))
		return hk_fail_quiet(ENOENT, "this thread has no CUDA context; call cudaSetDevice");
	return device;
}

int hk_gpu_device(const struct hk_gpu *gpu)
{
	return gpu->device;
}

const char *hk_gpu_name(const struct hk_gpu *gpu)
{
	return gpu->name;
}

uint64_t hk_gpu_context(const struct hk_gpu *gpu)
{
	return (uintptr_t)gpu->context;
}

uint64_t hk_gpu_id(const struct hk_gpu *gpu)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (const char *p = gpu->bus; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3ull; /* FNV-1a */
	return h;
}

struct CUstream_st *hk_gpu_stream(const struct hk_gpu *gpu)
{
	return gpu->calls;
}

const struct hk_cuda *hk_gpu_driver(const struct hk_gpu *gpu)
{
	return gpu->cuda;
}

struct hk_gpu_pool *hk_gpu_pool_of(const struct hk_gpu *gpu)
{
	return &gpu->module->pool;
}

/* What this thread records of other streams meanwhile (a graph's capture) is not to be disturbed by
 * what we allocate or wait for: the capture's mode says so, and is put back. */
static _Thread_local unsigned depth __attribute__((tls_model("initial-exec")));
static _Thread_local CUstreamCaptureMode mode __attribute__((tls_model("initial-exec")));

int hk_gpu_enter(const struct hk_gpu *gpu)
{
	int err = hk_cuda_check(gpu->cuda->cuCtxPushCurrent(gpu->context), "using a CUDA context");

	if (err || depth++)
		return err;
	mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	gpu->cuda->cuThreadExchangeStreamCaptureMode(&mode);
	return 0;
}

void hk_gpu_leave(const struct hk_gpu *gpu)
{
	CUcontext context;

	if (!--depth)
		gpu->cuda->cuThreadExchangeStreamCaptureMode(&mode);
	gpu->cuda->cuCtxPopCurrent(&context);
}

/* --- opening --- */

/* At once, not when first launched: loading may wait for running kernels. */
static int load_kernels(struct hk_gpu *gpu, struct module *m)
{
	static const char *const names[] = {HKD_RUN_KERNEL, HKD_MAP_KERNEL};
	int registers, err;

	err = hk_cuda_check(gpu->cuda->cuModuleLoadData(&m->module, hk_gpu_image),
			    "loading the kernels");
	for (unsigned i = 0; !err && i < HK_GPU_NKERNELS; i++) {
		err = hk_cuda_check(
			gpu->cuda->cuModuleGetFunction(&m->kernels[i], m->module, names[i]),
			"finding a kernel");
		if (!err)
			err = hk_cuda_check(
				gpu->cuda->cuFuncGetAttribute(
					&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, m->kernels[i]),
				"loading a kernel");
	}
	return err;
}

static void discard_module(const struct hk_gpu *gpu, struct module *m)
{
	hk_gpu_pool_empty(&m->pool, gpu->cuda);
	if (m->module)
		gpu->cuda->cuModuleUnload(m->module);
	*m = (struct module){0};
}

static int take_module(struct hk_gpu *gpu)
{
	struct module *free_one = NULL, *m = NULL;
	int err = 0;

	pthread_mutex_lock(&modules_lock);
	for (unsigned i = 0; i < MAX_MODULES; i++) {
		if (modules[i].context == gpu->context)
			m = &modules[i];
		else if (!modules[i].context)
			free_one = &modules[i];
	}
	if (!m && !free_one)
		err = hk_fail(EMFILE, "this process has used %d CUDA contexts", MAX_MODULES);
	if (!m && free_one) {
		m = free_one;
		err = load_kernels(gpu, m);
		if (!err)
			err = hk_gpu_pool_open(&m->pool, gpu->cuda, gpu->device);
		if (!err)
			m->context = gpu->context;
		else
			discard_module(gpu, m);
	}
	if (!err) {
		m->users++;
		gpu->module = m;
	}
	pthread_mutex_unlock(&modules_lock);
	return err;
}

static void drop_module(struct hk_gpu *gpu)
{
	pthread_mutex_lock(&modules_lock);
	if (gpu->module)
		hk_gpu_pool_unreserve(&gpu->module->pool, gpu->reserved);
	if (gpu->module && --gpu->module->users == 0)
		discard_module(gpu, gpu->module);
	pthread_mutex_unlock(&modules_lock);
}

static int find_context(struct hk_gpu *gpu)
{
	CUcontext current = NULL;
	CUdevice device;

	if (!gpu->cuda->cuCtxGetCurrent(&current) && current &&
	    !gpu->cuda->cuCtxGetDevice(&device) && device == gpu->device) {
		gpu->context = current;
		return 0;
	}
	gpu->primary = true;
	return hk_cuda_check(gpu->cuda->cuDevicePrimaryCtxRetain(&gpu->context, gpu->device),
			     "making a CUDA context");
}

static int describe(struct hk_gpu *gpu)
{
	char model[100] = "GPU";
	CUdevice device;
	int err = hk_cuda_check(gpu->cuda->cuDeviceGet(&device, gpu->device), "finding a GPU");

	if (!err)
		err = hk_cuda_check(gpu->cuda->cuDeviceGetName(model, sizeof(model), device),
				    "asking for a GPU's name");
	if (!err)
		err = hk_cuda_check(
			gpu->cuda->cuDeviceGetPCIBusId(gpu->bus, sizeof(gpu->bus), device),
			"asking for a GPU's place");
	if (!err)
		err = hk_cuda_check(gpu->cuda->cuDeviceGetAttribute(
					    &gpu->multiprocessors,
					    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
				    "asking for a GPU's multiprocessors");
	snprintf(gpu->name, sizeof(gpu->name), "%s at %s", model, gpu->bus);
	return err;
}

/* Streams share hardware queues, and one that waits holds up those behind it. Of the highest
 * priority there are few, in queues of their own: what we wait for here must not wait for kernels.
 */
static int make_own_stream(struct hk_gpu *gpu)
{
	int least = 0, greatest = 0;
	int err = hk_cuda_check(gpu->cuda->cuCtxGetStreamPriorityRange(&least, &greatest),
				"asking for streams' priorities");

	return err ? err
		   : hk_cuda_check(gpu->cuda->cuStreamCreateWithPriority(
					   &gpu->stream, CU_STREAM_NON_BLOCKING, greatest),
				   "making a CUDA stream");
}

int hk_gpu_open(int device, struct hk_gpu **out)
{
	int count = hk_gpu_count(), err;
	struct hk_gpu *gpu;

	if (!count)
		return hk_fail(HK_ECUDA, "there is no GPU here: %s", hk_last_error());
	if (device < 0 || device >= count)
		return hk_fail(EINVAL, "there is no GPU %d; the CUDA driver shows GPUs 0 to %d",
			       device, count - 1);
	gpu = calloc(1, sizeof(*gpu));
	if (!gpu)
		return hk_fail(ENOMEM, "no memory for a GPU");
	gpu->device = device;
	err = hk_cuda_open(&gpu->cuda);
	if (!err)
		err = describe(gpu);
	if (!err)
		err = find_context(gpu);
	if (!err)
		err = hk_gpu_enter(gpu);
	if (!err) {
		err = take_module(gpu);
		if (!err)
			err = make_own_stream(gpu);
		if (!err)
			err = hk_cuda_check(
				gpu->cuda->cuStreamCreate(&gpu->calls, CU_STREAM_NON_BLOCKING),
				"making a CUDA stream");
		hk_gpu_leave(gpu);
	}
	if (err)
		hk_gpu_close(gpu);
	else
		*out = gpu;
	return err;
}

void hk_gpu_close(struct hk_gpu *gpu)
{
	if (!gpu)
		return;
	if (gpu->context && !hk_gpu_enter(gpu)) {
		if (gpu->calls)
			gpu->cuda->cuStreamDestroy(gpu->calls);
		if (gpu->stream)
			gpu->cuda->cuStreamDestroy(gpu->stream);
		drop_module(gpu);
		hk_gpu_leave(gpu);
	}
	if (gpu->primary && gpu->context)
		gpu->cuda->cuDevicePrimaryCtxRelease(gpu->device);
	free(gpu);
}

/* --- memory --- */

static int await_own_stream(struct hk_gpu *gpu, CUresult queued, const char *what)
{
	int err = hk_cuda_check(queued, what);

	return err ? err : hk_cuda_check(gpu->cuda->cuStreamSynchronize(gpu->stream), what);
}

static int allocate(struct hk_gpu *gpu, enum hk_gpu_memory kind, size_t bytes, uint64_t *out)
{
	CUdeviceptr at = 0;
	int err = hk_gpu_enter(gpu);

	if (err)
		return err;
	err = hk_gpu_pool_take(&gpu->module->pool, gpu->cuda, gpu->stream, kind, bytes, &at);
	if (err) {
		err = hk_fail(ENOMEM, "%s has no %zu bytes of memory left", gpu->name, bytes);
	} else {
		err = await_own_stream(
			gpu, gpu->cuda->cuMemsetD8Async(at, 0, bytes ? bytes : 1, gpu->stream),
			"clearing a GPU's memory");
		if (err)
			hk_gpu_pool_give(&gpu->module->pool, at, true);
	}
	hk_gpu_leave(gpu);
	if (!err)
		*out = at;
	return err;
}

int hk_gpu_alloc(struct hk_gpu *gpu, size_t bytes, uint64_t *at)
{
	return allocate(gpu, HK_GPU_OWN, bytes, at);
}

int hk_gpu_alloc_shared(struct hk_gpu *gpu, size_t bytes, uint64_t *at)
{
	return allocate(gpu, HK_GPU_SHARED, bytes, at);
}

void hk_gpu_free(struct hk_gpu *gpu, uint64_t at)
{
	if (at)
		hk_gpu_pool_give(&gpu->module->pool, at, true);
}

void hk_gpu_abandon(struct hk_gpu *gpu, uint64_t at)
{
	if (at)
		hk_gpu_pool_give(&gpu->module->pool, at, false);
}

int hk_gpu_alloc_host(struct hk_gpu *gpu, size_t bytes, void **out)
{
	CUdeviceptr at = 0;
	int err = hk_gpu_enter(gpu);

	if (err)
		return err;
	err = hk_gpu_pool_take(&gpu->module->pool, gpu->cuda, gpu->stream, HK_GPU_HOST, bytes, &at);
	hk_gpu_leave(gpu);
	if (err)
		return err;
	memset((void *)(uintptr_t)at, 0, bytes);
	*out = (void *)(uintptr_t)at;
	return 0;
}

int hk_gpu_reserve_host(struct hk_gpu *gpu, size_t bytes)
{
	int err = hk_gpu_enter(gpu);

	if (err)
		return err;
	err = hk_gpu_pool_reserve(&gpu->module->pool, gpu->cuda, bytes);
	hk_gpu_leave(gpu);
	if (!err)
		gpu->reserved += bytes;
	return err;
}

void hk_gpu_free_host(struct hk_gpu *gpu, void *at)
{
	if (at)
		hk_gpu_pool_give(&gpu->module->pool, (uintptr_t)at, true);
}

static int copy(struct hk_gpu *gpu, uint64_t to, uint64_t from, size_t bytes)
{
	int err = hk_gpu_enter(gpu);

	if (err)
		return err;
	err = await_own_stream(gpu, gpu->cuda->cuMemcpyAsync(to, from, bytes, gpu->stream),
			       "copying to or from a GPU");
	hk_gpu_leave(gpu);
	return err;
}

int hk_gpu_write(struct hk_gpu *gpu, uint64_t to, const void *from, size_t bytes)
{
	return copy(gpu, to, (uintptr_t)from, bytes);
}

int hk_gpu_read(struct hk_gpu *gpu, void *to, uint64_t from, size_t bytes)
{
	return copy(gpu, (uintptr_t)to, from, bytes);
}

enum hk_gpu_place hk_gpu_place_of(const struct hk_gpu *gpu, const void *at)
{
	CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
					    CU_POINTER_ATTRIBUTE_IS_MANAGED};
	unsigned type = 0, managed = 0;
	void *data[] = {&type, &managed};

	if (gpu->cuda->cuPointerGetAttributes(2, attributes, data, (CUdeviceptr)(uintptr_t)at))
		return HK_GPU_PAGEABLE;
	if (type == CU_MEMORYTYPE_DEVICE || managed)
		return HK_GPU_DEVICE;
	return type == CU_MEMORYTYPE_HOST ? HK_GPU_PINNED : HK_GPU_PAGEABLE;
}

/* --- kernels --- */

int hk_gpu_launch(struct hk_gpu *gpu, enum hk_gpu_kernel kernel, unsigned blocks, unsigned threads,
		  const void *param, struct CUstream_st *stream)
{
	void *params[] = {(void *)(uintptr_t)param};

	return hk_cuda_check(gpu->cuda->cuLaunchKernel(gpu->module->kernels[kernel], blocks, 1, 1,
						       threads, 1, 1, 0, stream, params, NULL),
			     "launching a kernel");
}

unsigned hk_gpu_most_blocks(const struct hk_gpu *gpu, enum hk_gpu_kernel kernel, unsigned threads)
{
	int each = 0;

	if (hk_gpu_enter(gpu))
		return 1;
	if (gpu->cuda->cuOccupancyMaxActiveBlocksPerMultiprocessor(
		    &each, gpu->module->kernels[kernel], (int)threads, 0) ||
	    each < 1)
		each = 1;
	hk_gpu_leave(gpu);
	return (unsigned)each * (unsigned)gpu->multiprocessors;
}

/* --- memory of others --- */

int hk_gpu_reach(struct hk_gpu *gpu, int device)
{
	CUcontext other = NULL;
	CUresult r;
	int can = 0, err;

	if (device == gpu->device)
		return 0;
	if (gpu->cuda->cuDeviceCanAccessPeer(&can, gpu->device, device) || !can)
		return hk_fail_quiet(ENOTSUP, "GPU %d can't reach the memory of GPU %d",
				     gpu->device, device);
	err = hk_cuda_try(gpu->cuda->cuDevicePrimaryCtxRetain(&other, device),
			  "finding another GPU's context");
	if (!err)
		err = hk_gpu_enter(gpu);
	if (err)
		return err;
	r = gpu->cuda->cuCtxEnablePeerAccess(other, 0);
	hk_gpu_leave(gpu);
	gpu->cuda->cuDevicePrimaryCtxRelease(device);
	return r == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
		       ? 0
		       : hk_cuda_try(r, "letting one GPU reach another");
}
