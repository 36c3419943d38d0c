/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asks the CUDA driver, if the application has loaded it; a process without CUDA never gets to know
 * it through us. What is used of it, by its names and numbers in cuda.h, is declared here, so that
 * any build can do it.
 *
 * Freed device memory comes back at the same address, and nobody is told. But each allocation has a
 * number that is never given again, the BUFFER_ID, and the cache compares it at every use.
 *
 * Of memory that is mapped (cuMemCreate) the attributes say what was reserved, and only
 * cuMemGetAddressRange what is mapped there; it wants a context, and such memory has none.
 */
#include "gpu_memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "error.h"

/* CUpointer_attribute */
#define ATTR_CONTEXT	 1
#define ATTR_MEMORY_TYPE 2
#define ATTR_SYNC_MEMOPS 6
#define ATTR_BUFFER_ID	 7
#define ATTR_IS_MANAGED	 8
#define ATTR_DEVICE	 9
#define ATTR_LEGACY_IPC	 10
#define ATTR_RANGE_START 11
#define ATTR_RANGE_SIZE	 12

#define MEMORY_TYPE_DEVICE   2u /* CU_MEMORYTYPE_DEVICE */
#define RANGE_HANDLE_DMA_BUF 1	/* CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD */

static struct {
	pthread_mutex_t lock;
	void *driver;
	int (*get_attributes)(unsigned n, int *attributes, void **data, unsigned long long at);
	int (*set_attribute)(const void *value, int attribute, unsigned long long at);
	int (*get_handle)(void *handle, unsigned long long at, size_t bytes, int type,
			  unsigned long long flags);
	int (*get_range)(unsigned long long *base, size_t *bytes, unsigned long long at);
	int (*retain_primary)(void **context, int device);
	int (*release_primary)(int device);
	int (*push_context)(void *context);
	int (*pop_context)(void **context);
} cuda = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Whether the driver is there; it may come at any time, and then stays. */
static bool have_driver(void)
{
	bool have;

	pthread_mutex_lock(&cuda.lock);
	if (!cuda.driver)
		cuda.driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	if (cuda.driver && !cuda.get_attributes) {
		*(void **)&cuda.set_attribute = dlsym(cuda.driver, "cuPointerSetAttribute");
		*(void **)&cuda.get_handle = dlsym(cuda.driver, "cuMemGetHandleForAddressRange");
		*(void **)&cuda.get_range = dlsym(cuda.driver, "cuMemGetAddressRange_v2");
		*(void **)&cuda.retain_primary = dlsym(cuda.driver, "cuDevicePrimaryCtxRetain");
		*(void **)&cuda.release_primary =
			dlsym(cuda.driver, "cuDevicePrimaryCtxRelease_v2");
		*(void **)&cuda.push_context = dlsym(cuda.driver, "cuCtxPushCurrent_v2");
		*(void **)&cuda.pop_context = dlsym(cuda.driver, "cuCtxPopCurrent_v2");
		*(void **)&cuda.get_attributes = dlsym(cuda.driver, "cuPointerGetAttributes");
	}
	have = cuda.get_attributes && cuda.get_range && cuda.retain_primary &&
	       cuda.release_primary && cuda.push_context && cuda.pop_context;
	pthread_mutex_unlock(&cuda.lock);
	return have;
}

/* Where a driver's call about some memory is made. */
struct visit {
	void *context; /* of the memory; NULL: of none, and then it is its GPU's primary one */
	int device;
	bool retained;
};

static bool enter(struct visit *v)
{
	v->retained = !v->context;
	if (v->retained && cuda.retain_primary(&v->context, v->device))
		return false;
	if (!cuda.push_context(v->context))
		return true;
	if (v->retained)
		cuda.release_primary(v->device);
	return false;
}

static void leave(const struct visit *v)
{
	void *context;

	cuda.pop_context(&context);
	if (v->retained)
		cuda.release_primary(v->device);
}

static bool find_mapping(struct visit *v, uintptr_t at, unsigned long long *start, size_t *bytes)
{
	bool found = enter(v);

	if (found) {
		found = !cuda.get_range(start, bytes, at);
		leave(v);
	}
	return found;
}

bool hk_gpu_memory_find(void *arg, const void *at, struct hk_device_memory *memory)
{
	unsigned type = 0, managed = 0, legacy = 0;
	struct visit visit = {0};
	unsigned long long id = 0, start = 0;
	size_t bytes = 0, page = (size_t)sysconf(_SC_PAGESIZE);
	int attributes[] = {ATTR_MEMORY_TYPE, ATTR_IS_MANAGED, ATTR_BUFFER_ID, ATTR_RANGE_START,
			    ATTR_RANGE_SIZE,  ATTR_LEGACY_IPC, ATTR_CONTEXT,   ATTR_DEVICE};
	void *data[] = {&type,	 &managed,	 &id,	       &start, &bytes,
			&legacy, &visit.context, &visit.device};

	/* Of host memory that the driver doesn't know it fails, or says type 0. */
	if (!have_driver() ||
	    cuda.get_attributes(sizeof(attributes) / sizeof(attributes[0]), attributes, data,
				(uintptr_t)at) ||
	    type != MEMORY_TYPE_DEVICE || managed ||
	    (!legacy && !find_mapping(&visit, (uintptr_t)at, &start, &bytes)) || !bytes)
		return false;
	/* A dmabuf is of whole pages; the driver never has other owners' memory in them. */
	memory->base = start / page * page;
	memory->bytes = (start + bytes + page - 1) / page * page - memory->base;
	memory->start = start;
	memory->id = id;
	return true;
}

/* Memory from cuMemCreate has no such attribute, and its copies never are unfinished. */
void hk_gpu_memory_share(const struct hk_device_memory *memory)
{
	int one = 1;

	if (have_driver() && cuda.set_attribute)
		cuda.set_attribute(&one, ATTR_SYNC_MEMOPS, memory->start);
}

int hk_gpu_memory_export(void *arg, const struct hk_device_memory *memory, int *fd)
{
	int attributes[] = {ATTR_CONTEXT, ATTR_DEVICE}, got = -1, err = -1;
	struct visit visit = {0};
	void *data[] = {&visit.context, &visit.device};

	if (!have_driver() || !cuda.get_handle)
		return hk_fail_quiet(ENOTSUP, "this CUDA driver has no dmabufs: GPU memory can't "
					      "be given to RDMA devices; 11.7 or newer has them");
	hk_gpu_memory_share(memory);
	if (!cuda.get_attributes(2, attributes, data, memory->start) && enter(&visit)) {
		err = cuda.get_handle(&got, memory->base, memory->bytes, RANGE_HANDLE_DMA_BUF, 0);
		leave(&visit);
	}
	if (err || got < 0)
		return hk_fail_quiet(ENOTSUP,
				     "no dmabuf of %zu bytes of GPU memory (CUDA error %d): GPU "
				     "memory is not given to RDMA devices; it takes the open "
				     "kernel modules of the NVIDIA driver",
				     memory->bytes, err);
	*fd = got;
	return 0;
}
