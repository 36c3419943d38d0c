/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared memory of GPUs: see share.h. */
#include "share.h"

#include <errno.h>
#include <string.h>

#include "driver.h"
#include "error.h"
#include "mapping.h"
#include "pool.h"

_Static_assert(sizeof(CUipcMemHandle) == sizeof(((struct hk_gpu_share *)0)->handle),
	       "a handle is 64 bytes");

/* Which memory an address is in, and whether it has a handle of the old kind. */
static int identify(const struct hk_cuda *cuda, uint64_t at, struct hk_gpu_share *s, bool *legacy)
{
	CUpointer_attribute attributes[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED,
		CU_POINTER_ATTRIBUTE_BUFFER_ID, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE};
	unsigned type = 0, managed = 0, capable = 0;
	unsigned long long id = 0;
	void *data[] = {&type, &managed, &id, &capable};
	CUdeviceptr base = 0;
	size_t bytes = 0;
	int err;

	if (cuda->cuPointerGetAttributes(4, attributes, data, at) || type != CU_MEMORYTYPE_DEVICE ||
	    managed)
		return hk_fail_quiet(ENOTSUP,
				     "%#llx is no memory of a GPU alone: other processes can't be "
				     "given it",
				     (unsigned long long)at);
	/* The range among an address's attributes is what was reserved, not what is mapped. */
	err = hk_cuda_try(cuda->cuMemGetAddressRange(&base, &bytes, at),
			  "finding an allocation of GPU memory");
	if (err)
		return err;
	s->base = base;
	s->bytes = bytes;
	s->id = id;
	*legacy = capable;
	return 0;
}

static int share_handle(const struct hk_cuda *cuda, struct hk_gpu_share *s)
{
	CUipcMemHandle handle;
	int err = hk_cuda_try(cuda->cuIpcGetMemHandle(&handle, s->base),
			      "giving GPU memory to other processes");

	if (!err)
		memcpy(s->handle, &handle, sizeof(handle));
	return err;
}

static int share_descriptor(const struct hk_cuda *cuda, CUdevice device, struct hk_gpu_share *s,
			    int *fd)
{
	CUmemGenericAllocationHandle memory;
	CUmemAllocationProp prop;
	int got = -1, err = 0;

	if (!hk_gpu_can_map(cuda, device) ||
	    cuda->cuMemRetainAllocationHandle(&memory, (void *)(uintptr_t)s->base))
		return hk_fail_quiet(ENOTSUP,
				     "GPU memory of a pool (cudaMallocAsync), or of another "
				     "process, can't be given to other processes; allocate it by "
				     "hocketDeviceMemAlloc or cudaMalloc");
	if (cuda->cuMemGetAllocationPropertiesFromHandle(&prop, memory) ||
	    !(prop.requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR))
		err = hk_fail_quiet(ENOTSUP,
				    "this GPU memory was made (cuMemCreate) without a POSIX file "
				    "descriptor as its handle type: other processes can't be given "
				    "it");
	if (!err)
		err = hk_cuda_try(
			cuda->cuMemExportToShareableHandle(
				&got, memory, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
			"getting a file descriptor of GPU memory");
	cuda->cuMemRelease(memory);
	if (err)
		return err;
	s->by_fd = true;
	*fd = got;
	return 0;
}

int hk_gpu_share(struct hk_gpu *gpu, uint64_t at, struct hk_gpu_share *s, int *fd)
{
	const struct hk_cuda *cuda = hk_gpu_driver(gpu);
	struct hk_gpu_share share;
	bool legacy = false;
	int got = -1, err = hk_gpu_enter(gpu);

	if (err)
		return err;
	memset(&share, 0, sizeof(share)); /* it is sent to others, holes and all */
	err = identify(cuda, at, &share, &legacy);
	if (!err)
		err = legacy ? share_handle(cuda, &share)
			     : share_descriptor(cuda, hk_gpu_device(gpu), &share, &got);
	hk_gpu_leave(gpu);
	if (err)
		return err;
	memcpy(s, &share, sizeof(share));
	*fd = got;
	return 0;
}

/* The owner may have freed what we have not closed yet, and have something else there now. */
static int open_handle(struct hk_gpu_pool *pool, const struct hk_cuda *cuda,
		       const struct hk_gpu_share *s, CUdeviceptr *at)
{
	CUipcMemHandle handle;
	CUresult r;

	memcpy(&handle, s->handle, sizeof(handle));
	r = cuda->cuIpcOpenMemHandle(at, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
	if (r == CUDA_ERROR_ALREADY_MAPPED &&
	    hk_gpu_pool_close_spent(pool, cuda, s->base, s->bytes))
		r = cuda->cuIpcOpenMemHandle(at, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
	return hk_cuda_try(r, "opening another process's GPU memory");
}

static int open_descriptor(const struct hk_cuda *cuda, int device, const struct hk_gpu_share *s,
			   int fd, CUdeviceptr *at)
{
	CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, device},
				  CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle memory;
	int err;

	if (!hk_gpu_can_map(cuda, device))
		return hk_fail_quiet(ENOTSUP, "GPU %d can't open memory by a file descriptor",
				     device);
	err = hk_cuda_try(
		cuda->cuMemImportFromShareableHandle(&memory, (void *)(intptr_t)fd,
						     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
		"opening another process's GPU memory by its file descriptor");
	if (err)
		return err;
	err = hk_gpu_map(cuda, memory, s->bytes, &access, 1, at);
	cuda->cuMemRelease(memory); /* the mapping keeps it */
	return err;
}

int hk_gpu_open_share(struct hk_gpu *gpu, const struct hk_gpu_share *s, int fd, uint64_t *out)
{
	const struct hk_cuda *cuda = hk_gpu_driver(gpu);
	struct hk_gpu_pool *pool = hk_gpu_pool_of(gpu);
	CUdeviceptr at = 0;
	int err = hk_gpu_enter(gpu);

	if (err)
		return err;
	err = s->by_fd ? open_descriptor(cuda, hk_gpu_device(gpu), s, fd, &at)
		       : open_handle(pool, cuda, s, &at);
	if (!err) {
		err = hk_gpu_pool_note(pool, s->by_fd, at, s->base, s->bytes);
		if (err && s->by_fd)
			hk_gpu_unmap(cuda, at, s->bytes);
		else if (err)
			cuda->cuIpcCloseMemHandle(at);
	}
	hk_gpu_leave(gpu);
	if (!err)
		*out = at;
	return err;
}

void hk_gpu_close_share(struct hk_gpu *gpu, uint64_t at)
{
	if (at)
		hk_gpu_pool_close(hk_gpu_pool_of(gpu), at);
}
