/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapped memory: see mapping.h. */
#include "mapping.h"

#include "error.h"

bool hk_gpu_can_map(const struct hk_cuda *cuda, CUdevice device)
{
	int maps = 0, descriptors = 0;

#define MISSING(name) || !cuda->name
	if (0 HK_CUDA_MAPPING_FUNCTIONS(MISSING))
		return false;
#undef MISSING
	if (cuda->cuDeviceGetAttribute(
		    &maps, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device) ||
	    cuda->cuDeviceGetAttribute(
		    &descriptors, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
		    device))
		return false;
	return maps && descriptors;
}

int hk_gpu_map(const struct hk_cuda *cuda, CUmemGenericAllocationHandle memory, size_t bytes,
	       const CUmemAccessDesc *access, size_t naccess, CUdeviceptr *out)
{
	CUdeviceptr at = 0;
	int err = hk_cuda_try(cuda->cuMemAddressReserve(&at, bytes, 0, 0, 0),
			      "reserving addresses for GPU memory");

	if (err)
		return err;
	err = hk_cuda_try(cuda->cuMemMap(at, bytes, 0, memory, 0), "mapping GPU memory");
	if (err)
		goto free_addresses;
	err = hk_cuda_try(cuda->cuMemSetAccess(at, bytes, access, naccess),
			  "giving GPUs access to mapped memory");
	if (err)
		goto unmap;
	*out = at;
	return 0;
unmap:
	cuda->cuMemUnmap(at, bytes);
free_addresses:
	cuda->cuMemAddressFree(at, bytes);
	return err;
}

int hk_gpu_unmap(const struct hk_cuda *cuda, CUdeviceptr at, size_t bytes)
{
	int err = hk_cuda_check(cuda->cuMemUnmap(at, bytes), "unmapping GPU memory");

	return err ? err
		   : hk_cuda_check(cuda->cuMemAddressFree(at, bytes),
				   "freeing addresses of GPU memory");
}
