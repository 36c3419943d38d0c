/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory: a table of the ranges that the driver knows, and what may be asked about them. Device
 * memory is a memfd of its own for each allocation, so that another process can map it (ipc.c). It
 * ends right before a page that faults, is full of 0xa5 at first, and its address is a multiple of
 * 512 and of no more than that.
 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum { PAGE = 4096, ALIGNMENT = 512 };

static struct fake_range *ranges;

int fake_map(struct fake_range *r, int fd, size_t file_bytes)
{
	char *map =
		mmap(NULL, file_bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -1;
	if (mmap(map + PAGE, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED) {
		munmap(map, file_bytes + 2 * PAGE);
		return -1;
	}
	r->map = map;
	r->map_bytes = file_bytes + 2 * PAGE;
	return 0;
}

void fake_unmap(struct fake_range *r)
{
	if (r->map)
		munmap(r->map, r->map_bytes);
	r->map = NULL;
}

struct fake_range *fake_range_find(uintptr_t at)
{
	for (struct fake_range *r = ranges; r; r = r->next)
		if (at - r->at < r->bytes)
			return r;
	return NULL;
}

struct fake_range *fake_range_next(const struct fake_range *r)
{
	return r ? r->next : ranges;
}

struct fake_range *fake_range_opened(uint64_t secret)
{
	for (struct fake_range *r = ranges; r; r = r->next)
		if (r->kind == RANGE_IPC && r->secret == secret)
			return r;
	return NULL;
}

bool fake_range_overlaid(pid_t owner, uintptr_t at, size_t bytes)
{
	for (struct fake_range *r = ranges; r; r = r->next)
		if (r->kind == RANGE_IPC && r->owner == owner && r->from < at + bytes &&
		    at < r->from + r->bytes)
			return true;
	return false;
}

void fake_range_add(struct fake_range *r)
{
	static uint64_t ids;

	r->id = ++ids;
	r->next = ranges;
	ranges = r;
}

void fake_range_remove(struct fake_range *r)
{
	struct fake_range **at = &ranges;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
}

/* The address sanitizer sees for itself who uses what is freed, and reads all pages for leaks. */
extern int __asan_address_is_poisoned(void const volatile *at) __attribute__((weak));

bool fake_memory_hide(void)
{
	bool some = false;

	for (struct fake_range *r = ranges; r; r = r->next) {
		if (r->kind != RANGE_HOST || r->bytes < PAGE)
			continue;
		some = true;
		r->hidden = !__asan_address_is_poisoned &&
			    !mprotect((void *)r->at, r->bytes / PAGE * PAGE, PROT_NONE);
	}
	return some;
}

/* What is no longer in the table. */
static void release(struct fake_range *r)
{
	if (r->kind == RANGE_DEVICE) {
		r->ctx->used -= r->bytes;
		close(r->fd);
	}
	if (r->kind == RANGE_HOST && !r->hidden)
		free((void *)r->at);
	if (r->kind == RANGE_MAPPED)
		fake_mapping_release(r);
	fake_unmap(r);
	free(r);
}

void fake_memory_drop(CUcontext ctx)
{
	struct fake_range *r = ranges, *next;

	for (; r; r = next) {
		next = r->next;
		if (ctx && (r->ctx != ctx || r->kind == RANGE_HOST || r->kind == RANGE_REGISTERED))
			continue;
		fake_range_remove(r);
		release(r);
	}
}

CUresult fake_memory_place(CUcontext ctx, uintptr_t at, size_t bytes, bool write,
			   enum fake_place *place)
{
	struct fake_range *r = fake_range_find(at);

	*place = !r ? FAKE_PAGEABLE : r->kind >= RANGE_HOST ? FAKE_PINNED : FAKE_DEVICE;
	if (!r && fake_reserved(at, NULL, NULL))
		return CUDA_ERROR_INVALID_VALUE;
	if (r && r->kind == RANGE_MAPPED)
		return fake_mappings_allow(ctx->device, at, bytes, write)
			       ? CUDA_SUCCESS
			       : CUDA_ERROR_INVALID_VALUE;
	return r && bytes > r->bytes - (at - r->at) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult make_device_memory(struct fake_range *r)
{
	size_t aligned = (r->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	char name[32];

	if (getrandom(&r->secret, sizeof r->secret, 0) != sizeof r->secret)
		return CUDA_ERROR_OUT_OF_MEMORY;
	/* The secret is in the name, where who opens it by number sees that it is the right one. */
	snprintf(name, sizeof name, "hkfake-%016llx", (unsigned long long)r->secret);
	r->file_bytes = (r->bytes + PAGE - 1) / PAGE * PAGE;
	r->offset = r->file_bytes - aligned;
	r->fd = memfd_create(name, MFD_CLOEXEC);
	if (r->fd < 0)
		return CUDA_ERROR_OUT_OF_MEMORY;
	if (ftruncate(r->fd, (off_t)r->file_bytes) || fake_map(r, r->fd, r->file_bytes)) {
		close(r->fd);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	memset((char *)r->map + PAGE, 0xa5, r->file_bytes);
	r->at = (uintptr_t)r->map + PAGE + r->offset;
	return CUDA_SUCCESS;
}

/* By its documentation the driver may let kernels end first. With the lock. */
static CUresult may_wait(CUcontext ctx)
{
	if (fake.alloc_waits == FAKE_REFUSES && ctx->first)
		return CUDA_ERROR_NOT_READY;
	if (fake.alloc_waits)
		fake_ctx_wait(ctx);
	return CUDA_SUCCESS;
}

static CUresult allocate(CUcontext ctx, bool pooled, CUdeviceptr *dptr, size_t bytesize)
{
	CUresult err = CUDA_SUCCESS;
	struct fake_range *r;

	if (!bytesize)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (!pooled)
		err = may_wait(ctx);
	if (!err && (bytesize > fake_total_memory || ctx->used > fake_total_memory - bytesize))
		err = CUDA_ERROR_OUT_OF_MEMORY;
	if (!err)
		ctx->used += bytesize;
	pthread_mutex_unlock(&fake.lock);
	if (err)
		return err;
	r = fake_alloc(sizeof *r);
	r->kind = RANGE_DEVICE;
	r->pooled = pooled;
	r->bytes = bytesize;
	r->ctx = ctx;
	r->device = ctx->device;
	err = make_device_memory(r);
	pthread_mutex_lock(&fake.lock);
	if (err) {
		ctx->used -= bytesize;
		free(r);
	} else {
		fake_range_add(r);
		*dptr = (CUdeviceptr)r->at;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemAlloc(CUdeviceptr *dptr, size_t bytesize)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);

	return err ? err : allocate(ctx, false, dptr, bytesize);
}

/* A pool has nothing of its own; what came from it outlives it, as with a real driver. */
struct CUmemPoolHandle_st {
	int device;
};

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
	CUresult err = fake_enter(__func__, 0, NULL);
	int devices = 0;

	if (!err)
		err = cuDeviceGetCount(&devices);
	if (err)
		return err;
	if (!pool || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->location.id < 0 ||
	    props->location.id >= devices)
		return CUDA_ERROR_INVALID_VALUE;
	*pool = fake_alloc(sizeof **pool);
	(*pool)->device = props->location.id;
	return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	CUresult err = fake_enter(__func__, 0, NULL);

	if (err)
		return err;
	if (!pool)
		return CUDA_ERROR_INVALID_VALUE;
	free(pool);
	return CUDA_SUCCESS;
}

/* At once, instead of in the stream's order; a stream that is captured can't have it here. */
CUresult cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool,
				 CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream;

	if (err)
		return err;
	if (!pool || pool->device != ctx->device)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	stream = fake_stream_of(hStream, ctx);
	err = stream ? fake_capture_stream(stream) : CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_unlock(&fake.lock);
	return err ? err : allocate(ctx, true, dptr, bytesize);
}

/*
 * Takes back what begins there, after all work that may use it: a real driver may wait, and as a
 * rule it does, so that whoever has a kernel wait for this thread must find out here.
 */
static CUresult take_back(uintptr_t at, int kind, CUresult error)
{
	struct fake_range *r;
	CUresult err = CUDA_SUCCESS;

	pthread_mutex_lock(&fake.lock);
	r = fake_range_find(at);
	if (r && (int)r->kind == kind && r->at == at) {
		fake_range_remove(r);
		fake_ctx_wait(r->ctx);
		release(r);
	} else {
		err = error;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemFree(CUdeviceptr dptr)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);

	if (err || !dptr)
		return err;
	return take_back((uintptr_t)dptr, RANGE_DEVICE, CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemHostAlloc(void **pp, size_t bytesize, unsigned Flags)
{
	struct fake_range *r;
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);
	void *p;

	if (err)
		return err;
	if (!bytesize || Flags & ~7U)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	err = may_wait(ctx);
	pthread_mutex_unlock(&fake.lock);
	if (err)
		return err;
	/* The allocator of the process, so that a sanitizer sees accesses beyond its end. */
	if (posix_memalign(&p, PAGE, bytesize))
		return CUDA_ERROR_OUT_OF_MEMORY;
	memset(p, 0xa5, bytesize);
	r = fake_alloc(sizeof *r);
	r->kind = RANGE_HOST;
	r->at = (uintptr_t)p;
	r->bytes = bytesize;
	r->ctx = ctx;
	r->device = ctx->device;
	pthread_mutex_lock(&fake.lock);
	fake_range_add(r);
	pthread_mutex_unlock(&fake.lock);
	*pp = p;
	return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *p)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);

	return err ? err : take_back((uintptr_t)p, RANGE_HOST, CUDA_ERROR_INVALID_VALUE);
}

CUresult cuMemHostRegister(void *p, size_t bytesize, unsigned Flags)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);
	struct fake_range *r;

	if (err)
		return err;
	if (!p || !bytesize || Flags & ~15U)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	for (r = ranges; r; r = r->next)
		if (r->at < (uintptr_t)p + bytesize && (uintptr_t)p < r->at + r->bytes)
			err = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	if (!err) {
		r = fake_alloc(sizeof *r);
		r->kind = RANGE_REGISTERED;
		r->at = (uintptr_t)p;
		r->bytes = bytesize;
		r->ctx = ctx;
		r->device = ctx->device;
		fake_range_add(r);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemHostUnregister(void *p)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);

	return err ? err
		   : take_back((uintptr_t)p, RANGE_REGISTERED,
			       CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *pdptr, void *p, unsigned Flags)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);
	struct fake_range *r;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)p);
	if (Flags || !r || r->kind < RANGE_HOST)
		err = CUDA_ERROR_INVALID_VALUE;
	else
		*pdptr = (CUdeviceptr)(uintptr_t)p;
	pthread_mutex_unlock(&fake.lock);
	return err;
}
