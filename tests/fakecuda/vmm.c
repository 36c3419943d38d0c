/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual memory management, the physical side: allocations, their handles, and file descriptors
 * of them for other processes. An allocation is a memfd; a page behind its end says what it is, so
 * that whoever is given the descriptor can import it. vmm_map.c gives it addresses.
 *
 * A handle is a number that is never given again, so that the use of a released one is refused
 * where a real driver may do anything.
 */
#include "fake.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const uint64_t trailer_word = 0x686b66616b65564d;

struct trailer {
	uint64_t word, bytes;
	CUmemAllocationProp prop;
};

static struct fake_physical *physicals;

CUresult fake_vmm_enter(const char *function, unsigned needs)
{
	CUresult err = fake_enter(function, needs, NULL);

	return err ? err : fake.no_vmm ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

/* What is not there is refused, and so is what a caller forgot to set to zero. */
static CUresult check_prop(const CUmemAllocationProp *prop)
{
	static const unsigned char zeros[sizeof prop->allocFlags.reserved];

	if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
	    prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->win32HandleMetaData ||
	    prop->allocFlags.compressionType || prop->allocFlags.usage ||
	    prop->allocFlags.gpuDirectRDMACapable > 1 ||
	    memcmp(prop->allocFlags.reserved, zeros, sizeof zeros))
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.id < 0 || prop->location.id >= fake.ndevices)
		return CUDA_ERROR_INVALID_DEVICE;
	return (unsigned)prop->requestedHandleTypes &
			       ~(unsigned)CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
		       ? CUDA_ERROR_NOT_SUPPORTED
		       : CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop,
				       CUmemAllocationGranularity_flags option)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_INIT);

	if (!err && (unsigned)option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
		err = CUDA_ERROR_INVALID_VALUE;
	if (!err)
		err = check_prop(prop);
	if (!err)
		*granularity = FAKE_GRANULARITY;
	return err;
}

static struct fake_physical *add(int fd, size_t bytes, const CUmemAllocationProp *prop, bool own)
{
	static unsigned long long handles;
	struct fake_physical *p = fake_alloc(sizeof *p);

	p->handle = 0x1000 + ++handles;
	p->handles = 1;
	p->fd = fd;
	p->bytes = bytes;
	p->prop = *prop;
	p->own = own;
	p->next = physicals;
	physicals = p;
	return p;
}

/* Gone when no handle and no address is left. */
void fake_physical_settle(struct fake_physical *p)
{
	struct fake_physical **at = &physicals;

	if (p->handles || p->mappings)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (p->own)
		fake.ctx[p->prop.location.id].used -= p->bytes;
	close(p->fd);
	free(p);
}

void fake_physicals_drop(void)
{
	for (struct fake_physical *p = physicals, *next; p; p = next) {
		next = p->next;
		p->handles = 0;
		fake_physical_settle(p);
	}
}

struct fake_physical *fake_physical_find(CUmemGenericAllocationHandle handle)
{
	for (struct fake_physical *p = physicals; p; p = p->next)
		if (p->handle == handle && p->handles)
			return p;
	return NULL;
}

/* A memfd of the bytes, full of 0xa5, and the page behind them; -1. */
static int make_file(size_t bytes, const CUmemAllocationProp *prop)
{
	struct trailer trailer = {.word = trailer_word, .bytes = bytes, .prop = *prop};
	int fd = memfd_create("hkfake-vmm", MFD_CLOEXEC);
	void *map = MAP_FAILED;

	if (fd < 0)
		return -1;
	if (!ftruncate(fd, (off_t)bytes + PAGE) &&
	    pwrite(fd, &trailer, sizeof trailer, (off_t)bytes) == (ssize_t)sizeof trailer)
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		close(fd);
		return -1;
	}
	memset(map, 0xa5, bytes);
	munmap(map, bytes);
	return fd;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size,
		     const CUmemAllocationProp *prop, unsigned long long flags)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	CUcontext ctx;
	int fd;

	if (!err)
		err = check_prop(prop);
	if (!err && (flags || !size || size % FAKE_GRANULARITY))
		err = CUDA_ERROR_INVALID_VALUE;
	if (err)
		return err;
	ctx = &fake.ctx[prop->location.id];
	pthread_mutex_lock(&fake.lock);
	if (size > fake_total_memory || ctx->used > fake_total_memory - size)
		err = CUDA_ERROR_OUT_OF_MEMORY;
	else
		ctx->used += size;
	pthread_mutex_unlock(&fake.lock);
	if (err)
		return err;
	fd = make_file(size, prop);
	pthread_mutex_lock(&fake.lock);
	if (fd < 0) {
		ctx->used -= size;
		err = CUDA_ERROR_OUT_OF_MEMORY;
	} else {
		*handle = add(fd, size, prop, true)->handle;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	struct fake_physical *p;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	p = fake_physical_find(handle);
	if (p) {
		p->handles--;
		fake_physical_settle(p);
	} else {
		err = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* The same handle as before, even where all of it had been released. */
CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT);
	struct fake_range *r;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)addr);
	if (r && r->kind == RANGE_MAPPED) {
		r->physical->handles++;
		*handle = r->physical->handle;
	} else {
		err = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop,
						CUmemGenericAllocationHandle handle)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_INIT);
	struct fake_physical *p;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	p = fake_physical_find(handle);
	if (p)
		*prop = p->prop;
	else
		err = CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemExportToShareableHandle(void *shareableHandle, CUmemGenericAllocationHandle handle,
				      CUmemAllocationHandleType handleType,
				      unsigned long long flags)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT);
	struct fake_physical *p;
	int fd = -1;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	p = fake_physical_find(handle);
	if (!p || flags || handleType != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
	    p->prop.requestedHandleTypes != handleType)
		err = CUDA_ERROR_INVALID_VALUE;
	else
		fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&fake.lock);
	if (!err && fd < 0)
		err = CUDA_ERROR_OPERATING_SYSTEM;
	if (!err)
		memcpy(shareableHandle, &fd, sizeof fd);
	return err;
}

/* What the descriptor is of, if it is of such memory. */
static bool read_trailer(int fd, struct trailer *t)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_size > PAGE &&
	       pread(fd, t, sizeof *t, (off_t)st.st_size - PAGE) == (ssize_t)sizeof *t &&
	       t->word == trailer_word && t->bytes == (uint64_t)st.st_size - PAGE &&
	       !check_prop(&t->prop);
}

/* The descriptor stays the caller's. */
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *osHandle,
					CUmemAllocationHandleType shHandleType)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	struct trailer t;
	int fd;

	if (err)
		return err;
	if (shHandleType != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
	    !read_trailer((int)(intptr_t)osHandle, &t))
		return CUDA_ERROR_INVALID_VALUE;
	if (fake.no_ipc)
		return CUDA_ERROR_NOT_SUPPORTED;
	fd = fcntl((int)(intptr_t)osHandle, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return CUDA_ERROR_OPERATING_SYSTEM;
	pthread_mutex_lock(&fake.lock);
	*handle = add(fd, t.bytes, &t.prop, false)->handle;
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}
