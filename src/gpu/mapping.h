/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is made or opened first and given addresses afterwards (the driver's virtual memory
 * management). Other processes can open it by a file descriptor.
 */
#ifndef HK_GPU_MAPPING_H
#define HK_GPU_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#include "driver.h"

/* Whether the driver has it for the device, file descriptors included. */
bool hk_gpu_can_map(const struct hk_cuda *cuda, CUdevice device);
/* Gives the memory addresses and access; with a context current. Quiet failures. */
int hk_gpu_map(const struct hk_cuda *cuda, CUmemGenericAllocationHandle memory, size_t bytes,
	       const CUmemAccessDesc *access, size_t naccess, CUdeviceptr *at);
/* Waits for the kernels of the GPUs that have access. */
int hk_gpu_unmap(const struct hk_cuda *cuda, CUdeviceptr at, size_t bytes);

#endif
