/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual memory management, the addresses: reservations, what is mapped into them, and which
 * device may use it. A mapping is one range of the driver's table (fake.h). It faults until some
 * device was given access, and again when it is unmapped; a copy, a fill or a stream's memory
 * operation is refused unless its own device has access.
 */
#include "fake.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

struct reservation {
	struct reservation *next;
	uintptr_t at;
	size_t bytes;
	void *map;
	size_t map_bytes;
};

static struct reservation *reservations;

static bool within(uintptr_t at, size_t bytes, uintptr_t outer, size_t outer_bytes)
{
	return at - outer < outer_bytes && bytes <= outer_bytes - (at - outer);
}

static struct reservation *find_reservation(uintptr_t at, size_t bytes)
{
	for (struct reservation *v = reservations; v; v = v->next)
		if (within(at, bytes, v->at, v->bytes))
			return v;
	return NULL;
}

bool fake_reserved(uintptr_t at, uintptr_t *start, size_t *bytes)
{
	struct reservation *v = find_reservation(at, 1);

	if (v && start)
		*start = v->at;
	if (v && bytes)
		*bytes = v->bytes;
	return v;
}

CUresult cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr,
			     unsigned long long flags)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	struct reservation *v;
	uintptr_t begin;

	if (err)
		return err;
	if (flags || !size || size % FAKE_GRANULARITY || alignment & (alignment - 1) ||
	    addr % FAKE_GRANULARITY)
		return CUDA_ERROR_INVALID_VALUE;
	if (alignment < FAKE_GRANULARITY)
		alignment = FAKE_GRANULARITY;
	v = fake_alloc(sizeof *v);
	v->bytes = size;
	/* With a page before it and one behind it that are never anybody's. */
	v->map_bytes = size + alignment + 2 * PAGE;
	v->map = mmap(addr ? (char *)(uintptr_t)addr - PAGE : NULL, v->map_bytes, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v->map == MAP_FAILED) {
		free(v);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	begin = (uintptr_t)v->map + PAGE;
	v->at = (begin + alignment - 1) / alignment * alignment;
	pthread_mutex_lock(&fake.lock);
	v->next = reservations;
	reservations = v;
	pthread_mutex_unlock(&fake.lock);
	*ptr = (CUdeviceptr)v->at;
	return CUDA_SUCCESS;
}

/* The lowest mapping that has a byte of the addresses. */
static struct fake_range *first_mapping(uintptr_t at, size_t bytes)
{
	struct fake_range *first = NULL;

	for (struct fake_range *r = fake_range_next(NULL); r; r = fake_range_next(r))
		if (r->kind == RANGE_MAPPED && r->at < at + bytes && at < r->at + r->bytes &&
		    (!first || r->at < first->at))
			first = r;
	return first;
}

/* Whether the addresses are mapped without a gap, and no mapping sticks out. */
static bool whole_mappings(uintptr_t at, size_t bytes)
{
	uintptr_t end = at + bytes;

	while (at < end) {
		struct fake_range *r = fake_range_find(at);

		if (!r || r->kind != RANGE_MAPPED || r->at != at || r->bytes > end - at)
			return false;
		at += r->bytes;
	}
	return bytes > 0;
}

/* What is still mapped must be unmapped first. */
CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	struct reservation **at = &reservations, *v;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	while (*at && (*at)->at != (uintptr_t)ptr)
		at = &(*at)->next;
	v = *at;
	if (!v || v->bytes != size || first_mapping(v->at, v->bytes)) {
		err = CUDA_ERROR_INVALID_VALUE;
	} else {
		*at = v->next;
		munmap(v->map, v->map_bytes);
		free(v);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
		  unsigned long long flags)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	uintptr_t at = (uintptr_t)ptr;
	struct fake_physical *p;
	struct fake_range *r;

	if (err)
		return err;
	/* "Currently must be zero", says the documentation of the offset. */
	if (flags || offset || !size || at % FAKE_GRANULARITY || size % FAKE_GRANULARITY)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = fake_physical_find(handle);
	if (!p || size > p->bytes || !find_reservation(at, size) || first_mapping(at, size))
		err = CUDA_ERROR_INVALID_VALUE;
	else if (mmap((void *)at, size, PROT_NONE, MAP_SHARED | MAP_FIXED, p->fd, 0) == MAP_FAILED)
		err = CUDA_ERROR_MAP_FAILED;
	if (!err) {
		r = fake_alloc(sizeof *r);
		r->kind = RANGE_MAPPED;
		r->at = at;
		r->bytes = size;
		r->device = p->prop.location.id;
		r->fd = p->fd;
		r->file_bytes = p->bytes;
		r->physical = p;
		p->mappings++;
		fake_range_add(r);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

void fake_mapping_release(struct fake_range *r)
{
	/* This cannot fail: it takes the place of a mapping. */
	mmap((void *)r->at, r->bytes, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	r->physical->mappings--;
	fake_physical_settle(r->physical);
}

void fake_reservations_drop(void)
{
	while (reservations) {
		struct reservation *v = reservations;

		reservations = v->next;
		munmap(v->map, v->map_bytes);
		free(v);
	}
}

/* Waits, as cuMemFree does, for all work of the devices that have access. */
CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	uintptr_t at = (uintptr_t)ptr;
	struct fake_range *r;
	uint64_t devices = 0;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	if (whole_mappings(at, size))
		for (uintptr_t next = at; next < at + size; next += r->bytes) {
			r = fake_range_find(next);
			devices |= r->readers | (uint64_t)1 << r->device;
		}
	for (int i = 0; i < fake.ndevices; i++)
		if (devices >> i & 1)
			fake_ctx_wait(&fake.ctx[i]);
	/* The lock was not held meanwhile. */
	if (!whole_mappings(at, size))
		err = CUDA_ERROR_INVALID_VALUE;
	for (uintptr_t end = at + size; !err && at < end;) {
		r = fake_range_find(at);
		at += r->bytes;
		fake_range_remove(r);
		fake_mapping_release(r);
		free(r);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

static CUresult check_location(const CUmemLocation *location)
{
	if (location->type != CU_MEM_LOCATION_TYPE_DEVICE)
		return CUDA_ERROR_INVALID_VALUE;
	return location->id < 0 || location->id >= fake.ndevices ? CUDA_ERROR_INVALID_DEVICE
								 : CUDA_SUCCESS;
}

static CUresult check_access(uintptr_t at, size_t bytes, const CUmemAccessDesc *desc)
{
	CUresult err = check_location(&desc->location);

	if (!err && desc->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
	    desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
	    desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		err = CUDA_ERROR_INVALID_VALUE;
	for (uintptr_t end = at + bytes; !err && fake.no_peers && at < end;) {
		struct fake_range *r = fake_range_find(at);

		if (r->device != desc->location.id)
			err = CUDA_ERROR_INVALID_DEVICE;
		at += r->bytes;
	}
	return err;
}

/* The host reaches what any device does: see README.md. */
static void give_access(struct fake_range *r, const CUmemAccessDesc *desc, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t bit = (uint64_t)1 << desc[i].location.id;

		r->readers &= ~bit;
		r->writers &= ~bit;
		if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
			r->readers |= bit;
		if (desc[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			r->writers |= bit;
	}
	mprotect((void *)r->at, r->bytes,
		 (r->readers ? PROT_READ : PROT_NONE) | (r->writers ? PROT_WRITE : PROT_NONE));
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE);
	uintptr_t at = (uintptr_t)ptr;

	if (err)
		return err;
	if (!desc || !count)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (!whole_mappings(at, size))
		err = CUDA_ERROR_INVALID_VALUE;
	for (size_t i = 0; !err && i < count; i++)
		err = check_access(at, size, &desc[i]);
	for (uintptr_t end = at + size; !err && at < end;) {
		struct fake_range *r = fake_range_find(at);

		give_access(r, desc, count);
		at += r->bytes;
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr)
{
	CUresult err = fake_vmm_enter(__func__, FAKE_INIT);
	struct fake_range *r;

	if (!err)
		err = check_location(location);
	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)ptr);
	if (!r || r->kind != RANGE_MAPPED)
		err = CUDA_ERROR_INVALID_VALUE;
	else
		*flags = r->writers >> location->id & 1	  ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
			 : r->readers >> location->id & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READ
							  : CU_MEM_ACCESS_FLAGS_PROT_NONE;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

bool fake_mappings_allow(int device, uintptr_t at, size_t bytes, bool write)
{
	uintptr_t end = at + bytes;

	do {
		struct fake_range *r = fake_range_find(at);

		if (!r || r->kind != RANGE_MAPPED ||
		    !((write ? r->writers : r->readers) >> device & 1))
			return false;
		at = r->at + r->bytes;
	} while (at < end);
	return true;
}
