/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtual memory management of the stand-in for the CUDA driver, and descriptors of memory. */
#include "test_fakecuda.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static size_t grain;

static CUmemAllocationProp device_memory(int device)
{
	CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
				    .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};

	prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	prop.allocFlags.gpuDirectRDMACapable = 1;
	ok(cuMemGetAllocationGranularity(&grain, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	return prop;
}

static CUmemGenericAllocationHandle create(size_t grains)
{
	CUmemAllocationProp prop = device_memory(0);
	CUmemGenericAllocationHandle handle;

	ok(cuMemCreate(&handle, grains * grain, &prop, 0));
	return handle;
}

static CUdeviceptr reserve(size_t grains)
{
	CUdeviceptr at;

	ok(cuMemAddressReserve(&at, grains * grain, 0, 0, 0));
	assert_int_equal(at % grain, 0);
	return at;
}

static CUresult allow(CUdeviceptr at, size_t bytes, int device, CUmemAccess_flags flags)
{
	CUmemAccessDesc desc = {{CU_MEM_LOCATION_TYPE_DEVICE, device}, flags};

	return cuMemSetAccess(at, bytes, &desc, 1);
}

static CUmemAccess_flags access_of(CUdeviceptr at, int device)
{
	CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
	unsigned long long flags = 99;

	ok(cuMemGetAccess(&flags, &location, at));
	return (CUmemAccess_flags)flags;
}

/* Whether a byte can be read or written; the kernel says so without a fault. */
static bool touchable(CUdeviceptr at, bool write_it)
{
	char byte = 1;
	int fds[2];
	bool can;

	assert_int_equal(pipe(fds), 0);
	if (write_it)
		can = write(fds[1], &byte, 1) == 1 && read(fds[0], (void *)at, 1) == 1;
	else
		can = write(fds[1], (void *)at, 1) == 1;
	if (!can)
		assert_int_equal(errno, EFAULT);
	close(fds[0]);
	close(fds[1]);
	return can;
}

static uint64_t buffer_id(CUdeviceptr at)
{
	uint64_t id = 0;

	ok(cuPointerGetAttribute(&id, CU_POINTER_ATTRIBUTE_BUFFER_ID, at));
	assert_true(id);
	return id;
}

/* From nothing to usable memory, and back: each step is needed, and undone in its turn. */
void test_vmm_steps(void **state)
{
	CUmemGenericAllocationHandle handle, same;
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	CUdeviceptr at, base;
	size_t bytes;
	uint64_t id;

	device_memory(0);
	at = reserve(4);
	fails(cuMemsetD8Async(at, 1, 4, stream), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemcpyAsync((CUdeviceptr)&base, at, 4, stream), CUDA_ERROR_INVALID_VALUE);
	handle = create(2);
	ok(cuMemMap(at, 2 * grain, 0, handle, 0));
	fails(cuMemMap(at, 2 * grain, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	assert_false(touchable(at, false));
	fails(cuMemsetD8Async(at, 1, 4, stream), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(access_of(at, 0), CU_MEM_ACCESS_FLAGS_PROT_NONE);

	ok(allow(at, 2 * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READ));
	assert_true(touchable(at, false));
	assert_false(touchable(at, true));
	fails(cuMemsetD8Async(at, 1, 4, stream), CUDA_ERROR_INVALID_VALUE);
	assert_int_equal(access_of(at, 0), CU_MEM_ACCESS_FLAGS_PROT_READ);
	ok(allow(at, 2 * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	assert_true(touchable(at + 2 * grain - 1, true));
	assert_int_equal(*(unsigned char *)at, 0xa5);
	ok(cuMemsetD8Async(at, 1, 4, stream));
	ok(cuStreamSynchronize(stream));
	assert_int_equal(*(unsigned *)at, 0x01010101);
	fails(cuMemsetD8Async(at, 1, 2 * grain + 1, stream), CUDA_ERROR_INVALID_VALUE);
	assert_false(touchable(at + 2 * grain, false));

	/* The whole life of the handle: it stays while it is mapped, and can be had again. */
	ok(cuMemRelease(handle));
	fails(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemRetainAllocationHandle(&same, (void *)(at + grain)));
	assert_int_equal(same, handle);
	id = buffer_id(at);
	ok(cuMemGetAddressRange(&base, &bytes, at + grain + 5));
	assert_int_equal(base, at);
	assert_int_equal(bytes, 2 * grain);

	fails(cuMemAddressFree(at, 4 * grain), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemUnmap(at, grain), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemUnmap(at, 4 * grain), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemFree(at), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemUnmap(at, 2 * grain));
	assert_false(touchable(at, false));
	fails(cuMemcpyAsync((CUdeviceptr)&base, at, 4, stream), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemsetD8Async(at, 1, 4, stream), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemRetainAllocationHandle(&same, (void *)at), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemGetAddressRange(&base, &bytes, at), CUDA_ERROR_NOT_FOUND);

	/* Mapped again it is the same memory, another buffer, and access has to be given anew. */
	ok(cuMemMap(at + 2 * grain, 2 * grain, 0, handle, 0));
	assert_false(touchable(at + 2 * grain, false));
	ok(allow(at + 2 * grain, 2 * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	assert_int_equal(*(unsigned *)(at + 2 * grain), 0x01010101);
	assert_true(buffer_id(at + 2 * grain) > id);
	ok(cuMemRelease(handle));
	ok(cuMemUnmap(at + 2 * grain, 2 * grain));
	fails(cuMemMap(at, 2 * grain, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemAddressFree(at, grain), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemAddressFree(at, 4 * grain));
	fails(cuMemAddressFree(at, 4 * grain), CUDA_ERROR_INVALID_VALUE);
	ok(cuStreamDestroy(stream));
}

void test_vmm_refusals(void **state)
{
	CUmemAllocationProp prop = device_memory(0), got;
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;
	int fd;

	fails(cuMemCreate(&handle, grain / 2, &prop, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemCreate(&handle, (size_t)1 << 40, &prop, 0), CUDA_ERROR_OUT_OF_MEMORY);
	fails(cuMemAddressReserve(&at, grain + 1, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemAddressReserve(&at, grain, 3 * grain, 0, 0), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemAddressReserve(&at, grain, 16 * grain, 0, 0));
	assert_int_equal(at % (16 * grain), 0);
	prop.location.id = 7;
	fails(cuMemCreate(&handle, grain, &prop, 0), CUDA_ERROR_INVALID_DEVICE);
	prop = device_memory(1);
	prop.allocFlags.reserved[3] = 1; /* garbage from a stack */
	fails(cuMemCreate(&handle, grain, &prop, 0), CUDA_ERROR_INVALID_VALUE);
	prop = device_memory(1);
	prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
	fails(cuMemCreate(&handle, grain, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);

	/* What was not asked for at the start is not to be had later. */
	prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_NONE;
	prop.allocFlags.gpuDirectRDMACapable = 0;
	ok(cuMemCreate(&handle, grain, &prop, 0));
	fails(cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
					   0),
	      CUDA_ERROR_INVALID_VALUE);
	ok(cuMemGetAllocationPropertiesFromHandle(&got, handle));
	assert_memory_equal(&got, &prop, sizeof got);
	fails(cuMemMap(at, 2 * grain, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemMap(at + 1, grain, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemMap(at, grain, 0, handle, 0));
	fails(cuMemGetHandleForAddressRange(&fd, at, grain, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 0),
	      CUDA_ERROR_INVALID_VALUE);
	fails(allow(at, grain, 7, CU_MEM_ACCESS_FLAGS_PROT_READ), CUDA_ERROR_INVALID_DEVICE);
	ok(cuMemUnmap(at, grain));
	fails(allow(at, grain, 1, CU_MEM_ACCESS_FLAGS_PROT_READ), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemRelease(handle));
	ok(cuMemAddressFree(at, grain));
}

/* Addresses that grow piece by piece are one memory for copies, and several for who asks. */
void test_vmm_pieces(void **state)
{
	CUmemGenericAllocationHandle one, two;
	CUdeviceptr at, base;
	size_t bytes;

	device_memory(0);
	at = reserve(4);
	one = create(1);
	two = create(2);
	ok(cuMemMap(at, grain, 0, one, 0));
	ok(cuMemMap(at + grain, 2 * grain, 0, two, 0));
	ok(cuMemRelease(one));
	ok(cuMemRelease(two));
	fails(allow(at, 2 * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE),
	      CUDA_ERROR_INVALID_VALUE);
	ok(allow(at, grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	fails(cuMemsetD8(at, 3, grain + 1), CUDA_ERROR_INVALID_VALUE);
	ok(allow(at, 3 * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	ok(cuMemsetD8(at + grain - 4, 3, 8));
	ok(cuCtxSynchronize());
	assert_int_equal(*(unsigned *)(at + grain), 0x03030303);
	ok(cuMemGetAddressRange(&base, &bytes, at + grain));
	assert_int_equal(base, at + grain);
	assert_int_equal(bytes, 2 * grain);
	ok(cuMemGetAddressRange(&base, &bytes, at + grain - 1));
	assert_int_equal(base, at);
	assert_int_equal(bytes, grain);
	assert_int_not_equal(buffer_id(at), buffer_id(at + grain));
	ok(cuPointerGetAttribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at + grain));
	assert_int_equal(base, at);
	ok(cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at + grain));
	assert_int_equal(bytes, 4 * grain);
	ok(cuMemUnmap(at, 3 * grain));
	ok(cuMemAddressFree(at, 4 * grain));
}

/* A reservation with memory that the first device may use. */
static CUdeviceptr make_mapped(size_t grains)
{
	CUmemGenericAllocationHandle handle = create(grains);
	CUdeviceptr at = reserve(grains);

	ok(cuMemMap(at, grains * grain, 0, handle, 0));
	ok(cuMemRelease(handle));
	ok(allow(at, grains * grain, 0, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	return at;
}

static void drop_mapped(CUdeviceptr at, size_t grains)
{
	ok(cuMemUnmap(at, grains * grain));
	ok(cuMemAddressFree(at, grains * grain));
}

void test_vmm_devices(void **state)
{
	CUdeviceptr at = make_mapped(1);
	unsigned type = 0;
	int device = -1, rdma = 0, legacy = 0, one = 1;
	CUcontext context = NULL, other;
	unsigned long long types = 0;
	CUpointer_attribute which[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
				       CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
				       CU_POINTER_ATTRIBUTE_CONTEXT,
				       CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES,
				       CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE,
				       CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE};
	void *data[] = {&type, &device, &context, &types, &rdma, &legacy};
	CUipcMemHandle handle;

	ok(cuPointerGetAttributes(6, which, data, at + 5));
	assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
	assert_int_equal(device, 0);
	assert_null(context);
	assert_int_equal(types, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	assert_int_equal(rdma, 1);
	assert_int_equal(legacy, 0);
	fails(cuIpcGetMemHandle(&handle, at), CUDA_ERROR_INVALID_VALUE);
	fails(cuPointerSetAttribute(&one, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, at),
	      CUDA_ERROR_INVALID_VALUE);

	ok(cuDevicePrimaryCtxRetain(&other, 1));
	ok(cuCtxPushCurrent(other));
	fails(cuMemsetD8(at, 1, 4), CUDA_ERROR_INVALID_VALUE);
	ok(allow(at, grain, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
	ok(cuMemsetD8(at, 1, 4));
	ok(cuCtxSynchronize());
	ok(allow(at, grain, 1, CU_MEM_ACCESS_FLAGS_PROT_NONE));
	fails(cuMemsetD8(at, 1, 4), CUDA_ERROR_INVALID_VALUE);
	ok(cuCtxPopCurrent(NULL));
	ok(cuDevicePrimaryCtxRelease(1));
	assert_int_equal(access_of(at, 0), CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
	assert_int_equal(access_of(at, 1), CU_MEM_ACCESS_FLAGS_PROT_NONE);
	drop_mapped(at, 1);
}

static void *unmap_it(void *p)
{
	CUcontext ctx;

	cuDevicePrimaryCtxRetain(&ctx, 0);
	cuCtxSetCurrent(ctx);
	cuMemUnmap((CUdeviceptr)p, grain);
	cuDevicePrimaryCtxRelease(0);
	return NULL;
}

/* Also for what does not use the memory. */
void test_vmm_unmap_waits(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	const struct timespec pause = {.tv_nsec = 20000000};
	CUdeviceptr at = make_mapped(1);
	unsigned go = 0;
	pthread_t thread;

	ok(cuLaunchHostFunc(stream, wait_for_word, &go));
	assert_int_equal(pthread_create(&thread, NULL, unmap_it, (void *)at), 0);
	nanosleep(&pause, NULL);
	assert_int_not_equal(pthread_tryjoin_np(thread, NULL), 0);
	assert_true(touchable(at, true));
	let_go(&go);
	pthread_join(thread, NULL);
	assert_false(touchable(at, false));
	ok(cuMemAddressFree(at, grain));
	ok(cuStreamDestroy(stream));
}

/* Imports the descriptor on standard input, checks and changes the memory. */
int peer_vmm(void)
{
	CUmemAllocationHandleType type = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp prop;
	CUdeviceptr at;
	CUcontext ctx;
	int has = 9;

	if (cuInit(0) || cuDevicePrimaryCtxRetain(&ctx, 1) || cuCtxSetCurrent(ctx) ||
	    cuDeviceGetAttribute(&has, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1))
		return 1;
	if (getenv("HK_FAKE_NO_VMM"))
		return !has && cuMemImportFromShareableHandle(&handle, NULL, type) ==
					       CUDA_ERROR_NOT_SUPPORTED
			       ? 0
			       : 2;
	if (has != 1 || cuMemImportFromShareableHandle(&handle, NULL, type))
		return 3;
	if (cuMemGetAllocationPropertiesFromHandle(&prop, handle) || prop.location.id ||
	    cuMemGetAllocationGranularity(&grain, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM))
		return 4;
	if (cuMemAddressReserve(&at, 2 * grain, 0, 0, 0) || cuMemMap(at, 2 * grain, 0, handle, 0) ||
	    cuMemRelease(handle) || allow(at, 2 * grain, 1, CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
		return 5;
	if (((unsigned *)at)[0] != 11 || *(unsigned *)(at + 2 * grain - 4) != 12)
		return 6;
	((unsigned *)at)[1] = 13;
	return cuMemUnmap(at, 2 * grain) || cuMemAddressFree(at, 2 * grain) ? 7 : 0;
}

void test_vmm_processes(void **state)
{
	CUmemAllocationHandleType type = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	CUmemGenericAllocationHandle handle, copy;
	unsigned *a = (unsigned *)make_mapped(2);
	int fd, fds[2];

	a[0] = 11;
	a[2 * grain / 4 - 1] = 12;
	ok(cuMemRetainAllocationHandle(&handle, a));
	ok(cuMemExportToShareableHandle(&fd, handle, type, 0));
	ok(cuMemRelease(handle));
	assert_int_equal(run_peer("vmm", fd, NULL), 0);
	assert_int_equal(a[1], 13);
	assert_int_equal(run_peer("vmm", fd, "HK_FAKE_NO_VMM"), 0);

	/* In the same process it is one more handle of the same memory. */
	ok(cuMemImportFromShareableHandle(&copy, (void *)(intptr_t)fd, type));
	assert_int_not_equal(copy, handle);
	ok(cuMemRelease(copy));
	close(fd);
	assert_int_equal(pipe(fds), 0);
	fails(cuMemImportFromShareableHandle(&copy, (void *)(intptr_t)fds[0], type),
	      CUDA_ERROR_INVALID_VALUE);
	close(fds[0]);
	close(fds[1]);
	drop_mapped((CUdeviceptr)a, 2);
}

/* Reads a word of a descriptor's memory. */
static unsigned word_of(int fd, size_t at)
{
	unsigned word = 0;

	assert_int_equal(pread(fd, &word, sizeof word, (off_t)at), sizeof word);
	return word;
}

void test_dma_buf(void **state)
{
	CUmemRangeHandleType type = CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD;
	CUdeviceptr at = make_mapped(1);
	unsigned *a = make_memory(300);
	CUdeviceptr page = (CUdeviceptr)a / 4096 * 4096;
	int fd = -1;

	*(unsigned *)(at + 8) = 21;
	ok(cuMemGetHandleForAddressRange(&fd, at, grain, type, 0));
	assert_int_equal(word_of(fd, 8), 21);
	close(fd);
	fails(cuMemGetHandleForAddressRange(&fd, at, 100, type, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemGetHandleForAddressRange(&fd, at, 2 * grain, type, 0), CUDA_ERROR_NOT_SUPPORTED);
	drop_mapped(at, 1);

	/* Memory of cuMemAlloc lies somewhere in its pages. */
	a[299] = 22;
	ok(cuMemGetHandleForAddressRange(&fd, page, 4096, type, 0));
	assert_int_equal(word_of(fd, (CUdeviceptr)&a[299] - page), 22);
	close(fd);
	free_memory(a);
	fails(cuMemGetHandleForAddressRange(&fd, page, 4096, type, 0), CUDA_ERROR_INVALID_VALUE);
}
