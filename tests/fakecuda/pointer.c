/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may be asked about an address. A single question about an address that the driver does not
 * know is an error; several at once are answered with zeros, as by a real driver.
 */
#include "fake.h"

#include <fcntl.h>
#include <string.h>

enum { PAGE = 4096 };

static size_t width(CUpointer_attribute attribute)
{
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		return 8;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		return 4;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_MAPPED:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		/* Integers of which the documentation says bool: some callers pass one. */
		return 1;
	default:
		return 0;
	}
}

static bool rdma_capable(const struct fake_range *r)
{
	return r->kind == RANGE_DEVICE ||
	       (r->kind == RANGE_MAPPED && r->physical->prop.allocFlags.gpuDirectRDMACapable);
}

static uint64_t value(const struct fake_range *r, CUpointer_attribute attribute, uintptr_t at)
{
	bool host = r->kind >= RANGE_HOST;
	uintptr_t start = r->at;
	size_t bytes = r->bytes;

	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		return (uintptr_t)r->ctx;
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		return host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		return at;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		return host ? at : 0;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
		return r->sync_memops != 0;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		return r->id;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		return (unsigned)r->device;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		return r->kind == RANGE_DEVICE;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
		/* Of what was reserved; cuMemGetAddressRange has what was mapped there. */
		fake_reserved(at, &start, NULL);
		return start;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
		fake_reserved(at, NULL, &bytes);
		return bytes;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		return r->kind != RANGE_MAPPED || r->readers;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		return r->kind == RANGE_MAPPED ? r->physical->prop.requestedHandleTypes : 0;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		return rdma_capable(r);
	default:
		return 0;
	}
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);
	struct fake_range *r;
	uint64_t answer;

	if (err)
		return err;
	if (!data || !width(attribute))
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)ptr);
	if (!r || (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER && r->kind < RANGE_HOST)) {
		err = CUDA_ERROR_INVALID_VALUE;
	} else {
		answer = value(r, attribute, (uintptr_t)ptr);
		memcpy(data, &answer, width(attribute));
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuPointerGetAttributes(unsigned numAttributes, CUpointer_attribute *attributes,
				void **data, CUdeviceptr ptr)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);
	struct fake_range *r;

	if (err)
		return err;
	for (unsigned i = 0; i < numAttributes; i++)
		if (!data[i] || !width(attributes[i]))
			return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)ptr);
	for (unsigned i = 0; i < numAttributes; i++) {
		uint64_t answer = r ? value(r, attributes[i], (uintptr_t)ptr) : 0;

		memcpy(data[i], &answer, width(attributes[i]));
	}
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);
	struct fake_range *r;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)ptr);
	if (!r || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS || r->kind > RANGE_IPC)
		err = CUDA_ERROR_INVALID_VALUE;
	else
		r->sync_memops = *(const int *)value;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuMemGetAddressRange(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);
	struct fake_range *r;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)dptr);
	if (!r)
		err = CUDA_ERROR_NOT_FOUND;
	if (r && pbase)
		*pbase = (CUdeviceptr)r->at;
	if (r && psize)
		*psize = r->bytes;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/*
 * The memfd takes the place of a dma-buf: of a whole allocation from its first page on, since there
 * is no memfd of a part of one. Memory of cuMemCreate must have been made for it.
 */
CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr dptr, size_t size,
				       CUmemRangeHandleType handleType, unsigned long long flags)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);
	uintptr_t at = (uintptr_t)dptr;
	struct fake_range *r;
	int fd = -1;

	if (err)
		return err;
	if (flags || handleType != CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD || at % PAGE || !size ||
	    size % PAGE)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	/* The allocation may begin and end within the page. */
	for (r = fake_range_next(NULL); r; r = fake_range_next(r))
		if (r->at < at + PAGE && at < r->at + r->bytes)
			break;
	if (!r || !rdma_capable(r))
		err = CUDA_ERROR_INVALID_VALUE;
	else if (at != r->at / PAGE * PAGE || size > r->file_bytes)
		err = CUDA_ERROR_NOT_SUPPORTED;
	else
		fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&fake.lock);
	if (!err && fd < 0)
		err = CUDA_ERROR_OPERATING_SYSTEM;
	if (!err)
		memcpy(handle, &fd, sizeof fd);
	return err;
}
