/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CUDA driver for the benchmarks: see gpu.h. It is opened when the first rank wants it, from
 * HOCKET_CUDA_DRIVER as the library does, so that the same binaries run where there is none.
 */
#include "gpu.h"

#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define BLOCK_THREADS 256
#define MOST_BLOCKS   2048

/* kernels.cu, compiled for several generations of GPUs. */
extern const unsigned char hk_bench_image[];

#define FUNCTIONS(F)                                                                               \
	F(cuInit)                                                                                  \
	F(cuDeviceGet)                                                                             \
	F(cuDeviceGetUuid)                                                                         \
	F(cuDevicePrimaryCtxRetain)                                                                \
	F(cuDevicePrimaryCtxRelease)                                                               \
	F(cuCtxPushCurrent)                                                                        \
	F(cuCtxPopCurrent)                                                                         \
	F(cuMemAlloc)                                                                              \
	F(cuMemFree)                                                                               \
	F(cuMemcpyAsync)                                                                           \
	F(cuMemsetD8Async)                                                                         \
	F(cuModuleLoadData)                                                                        \
	F(cuModuleUnload)                                                                          \
	F(cuModuleGetFunction)                                                                     \
	F(cuLaunchKernel)                                                                          \
	F(cuStreamCreate)                                                                          \
	F(cuStreamDestroy)                                                                         \
	F(cuStreamSynchronize)                                                                     \
	F(cuStreamBeginCapture)                                                                    \
	F(cuStreamEndCapture)                                                                      \
	F(cuGraphInstantiateWithFlags)                                                             \
	F(cuGraphLaunch)                                                                           \
	F(cuGraphExecDestroy)                                                                      \
	F(cuGraphDestroy)                                                                          \
	F(cuGetErrorString)

/* cuda.h gives functions that have changed a name with a version, as a macro. */
#define NAME_OF(name)	STRING_OF(name)
#define STRING_OF(name) #name
#define MEMBER(name)	__typeof__(&(name)) name;
#define ENTRY(name)	{NAME_OF(name), offsetof(struct functions, name)},

struct functions {
	FUNCTIONS(MEMBER)
};

static const struct {
	const char *name;
	size_t offset;
} entries[] = {FUNCTIONS(ENTRY)};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct functions driver;
static bool usable;

struct hk_bench_gpu {
	CUdevice device;
	CUcontext context;
	CUstream stream;
	CUgraphExec graph;
	CUmodule module;
	CUfunction fill, check;
	CUdeviceptr wrong; /* a struct hk_wrong, of the checks since it was last asked for */
};

static int try(CUresult r, const char *what)
{
	const char *text = NULL;

	if (!r)
		return 0;
	driver.cuGetErrorString(r, &text);
	fprintf(stderr, "%s: the CUDA driver says \"%s\" (%d)\n", what, text ? text : "?", (int)r);
	return -1;
}

static void load(void)
{
	const char *path = getenv("HOCKET_CUDA_DRIVER");
	void *lib = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib) {
		fprintf(stderr, "the NVIDIA driver's library can't be opened: %s\n", dlerror());
		return;
	}
	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		void *at = dlsym(lib, entries[i].name);

		if (!at) {
			fprintf(stderr, "the NVIDIA driver lacks %s\n", entries[i].name);
			return;
		}
		memcpy((char *)&driver + entries[i].offset, &at, sizeof(at));
	}
	usable = !try(driver.cuInit(0), "cuInit");
}

const char *hk_bench_gpu_missing(void)
{
	return NULL;
}

static const struct hk_wrong none_wrong = HK_NONE_WRONG;

static int forget_wrong(const struct hk_bench_gpu *gpu)
{
	return hk_bench_gpu_copy(gpu, (void *)(uintptr_t)gpu->wrong, &none_wrong,
				 sizeof(none_wrong)) ||
	       hk_bench_gpu_wait(gpu);
}

static int load_kernels(struct hk_bench_gpu *gpu)
{
	if (try(driver.cuModuleLoadData(&gpu->module, hk_bench_image),
		"loading the benchmarks' kernels (a build is for the generations of GPUs in "
		"-Dgpu_archs, and for drivers as new as its nvcc)"))
		return -1;
	if (try(driver.cuModuleGetFunction(&gpu->fill, gpu->module, HK_BENCH_FILL_KERNEL),
		"cuModuleGetFunction") ||
	    try(driver.cuModuleGetFunction(&gpu->check, gpu->module, HK_BENCH_CHECK_KERNEL),
		"cuModuleGetFunction") ||
	    try(driver.cuMemAlloc(&gpu->wrong, sizeof(none_wrong)), "cuMemAlloc"))
		goto unload;
	if (!forget_wrong(gpu))
		return 0;
	try(driver.cuMemFree(gpu->wrong), "cuMemFree");
unload:
	try(driver.cuModuleUnload(gpu->module), "cuModuleUnload");
	return -1;
}

int hk_bench_gpu_open(int device, struct hk_bench_gpu **out)
{
	struct hk_bench_gpu *gpu = calloc(1, sizeof(*gpu));

	pthread_once(&once, load);
	if (!gpu || !usable || try(driver.cuDeviceGet(&gpu->device, device), "cuDeviceGet") ||
	    try(driver.cuDevicePrimaryCtxRetain(&gpu->context, gpu->device),
		"cuDevicePrimaryCtxRetain")) {
		free(gpu);
		return -1;
	}
	if (try(driver.cuCtxPushCurrent(gpu->context), "cuCtxPushCurrent"))
		goto release;
	if (try(driver.cuStreamCreate(&gpu->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"))
		goto pop;
	if (load_kernels(gpu))
		goto destroy;
	*out = gpu;
	return 0;
destroy:
	try(driver.cuStreamDestroy(gpu->stream), "cuStreamDestroy");
pop:
	driver.cuCtxPopCurrent(&gpu->context);
release:
	driver.cuDevicePrimaryCtxRelease(gpu->device);
	free(gpu);
	return -1;
}

void hk_bench_gpu_close(struct hk_bench_gpu *gpu)
{
	CUcontext popped;

	if (!gpu)
		return;
	hk_bench_gpu_drop_graph(gpu);
	try(driver.cuMemFree(gpu->wrong), "cuMemFree");
	try(driver.cuModuleUnload(gpu->module), "cuModuleUnload");
	try(driver.cuStreamDestroy(gpu->stream), "cuStreamDestroy");
	driver.cuCtxPopCurrent(&popped);
	try(driver.cuDevicePrimaryCtxRelease(gpu->device), "cuDevicePrimaryCtxRelease");
	free(gpu);
}

hocketStream_t hk_bench_gpu_stream(const struct hk_bench_gpu *gpu)
{
	return (hocketStream_t)gpu->stream;
}

double hk_bench_gpu_id(const struct hk_bench_gpu *gpu)
{
	CUuuid uuid = {{0}};
	uint64_t hash = 14695981039346656037u; /* FNV-1a, folded to the 53 bits of a double */

	try(driver.cuDeviceGetUuid(&uuid, gpu->device), "cuDeviceGetUuid");
	for (unsigned i = 0; i < sizeof(uuid.bytes); i++)
		hash = (hash ^ (unsigned char)uuid.bytes[i]) * 1099511628211u;
	return (double)((hash ^ hash >> 53) & ((UINT64_C(1) << 53) - 1));
}

void *hk_bench_gpu_alloc(const struct hk_bench_gpu *gpu, size_t bytes)
{
	CUdeviceptr at = 0;

	if (try(driver.cuMemAlloc(&at, bytes), "cuMemAlloc"))
		return NULL;
	return (void *)(uintptr_t)at;
}

void hk_bench_gpu_free(const struct hk_bench_gpu *gpu, void *at)
{
	if (at)
		try(driver.cuMemFree((CUdeviceptr)(uintptr_t)at), "cuMemFree");
}

int hk_bench_gpu_copy(const struct hk_bench_gpu *gpu, void *dst, const void *src, size_t bytes)
{
	if (!bytes)
		return 0;
	return try(driver.cuMemcpyAsync((CUdeviceptr)(uintptr_t)dst, (CUdeviceptr)(uintptr_t)src,
					bytes, gpu->stream),
		   "cuMemcpyAsync");
}

int hk_bench_gpu_set(const struct hk_bench_gpu *gpu, void *dst, unsigned char byte, size_t bytes)
{
	if (!bytes)
		return 0;
	return try(driver.cuMemsetD8Async((CUdeviceptr)(uintptr_t)dst, byte, bytes, gpu->stream),
		   "cuMemsetD8Async");
}

static int launch(const struct hk_bench_gpu *gpu, CUfunction kernel, struct hk_bench_run *run)
{
	uint64_t blocks = (run->n + BLOCK_THREADS - 1) / BLOCK_THREADS;
	void *params[] = {run};

	if (!run->n)
		return 0;
	return try(driver.cuLaunchKernel(kernel,
					 blocks < MOST_BLOCKS ? (unsigned)blocks : MOST_BLOCKS, 1,
					 1, BLOCK_THREADS, 1, 1, 0, gpu->stream, params, NULL),
		   "cuLaunchKernel");
}

int hk_bench_gpu_fill(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run)
{
	struct hk_bench_run mine = *run;

	return launch(gpu, gpu->fill, &mine);
}

int hk_bench_gpu_check(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run)
{
	struct hk_bench_run mine = *run;

	mine.wrong = gpu->wrong;
	return launch(gpu, gpu->check, &mine);
}

int hk_bench_gpu_wrong(const struct hk_bench_gpu *gpu, struct hk_wrong *wrong)
{
	if (hk_bench_gpu_copy(gpu, wrong, (void *)(uintptr_t)gpu->wrong, sizeof(*wrong)))
		return -1;
	return forget_wrong(gpu);
}

int hk_bench_gpu_wait(const struct hk_bench_gpu *gpu)
{
	return try(driver.cuStreamSynchronize(gpu->stream), "cuStreamSynchronize");
}

int hk_bench_gpu_begin_capture(const struct hk_bench_gpu *gpu)
{
	/* Other ranks' threads may do as they like meanwhile. */
	return try(driver.cuStreamBeginCapture(gpu->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
		   "cuStreamBeginCapture");
}

int hk_bench_gpu_end_capture(struct hk_bench_gpu *gpu)
{
	CUgraph graph = NULL;
	int err;

	if (try(driver.cuStreamEndCapture(gpu->stream, &graph), "cuStreamEndCapture"))
		return -1;
	err = try(driver.cuGraphInstantiateWithFlags(&gpu->graph, graph, 0),
		  "cuGraphInstantiateWithFlags");
	try(driver.cuGraphDestroy(graph), "cuGraphDestroy");
	return err;
}

int hk_bench_gpu_replay(const struct hk_bench_gpu *gpu)
{
	return try(driver.cuGraphLaunch(gpu->graph, gpu->stream), "cuGraphLaunch");
}

void hk_bench_gpu_drop_graph(struct hk_bench_gpu *gpu)
{
	if (gpu->graph)
		try(driver.cuGraphExecDestroy(gpu->graph), "cuGraphExecDestroy");
	gpu->graph = NULL;
}
