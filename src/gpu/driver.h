/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CUDA driver, opened when it is first needed, so that the same library works on machines
 * without one. All that we call of it is in one table, with the types of cuda.h; every call's
 * result goes through hk_cuda_check.
 */
#ifndef HK_GPU_DRIVER_H
#define HK_GPU_DRIVER_H

#include <cuda.h>

/* Newer headers keep the declaration of the one that drivers have had for long to themselves. */
CUresult CUDAAPI cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status,
					   cuuint64_t *id, CUgraph *graph,
					   const CUgraphNode **dependencies, size_t *ndependencies);

/* The functions of the driver that we use: F is applied to each name. */
#define HK_CUDA_FUNCTIONS(F)                                                                       \
	F(cuInit)                                                                                  \
	F(cuDeviceGetCount)                                                                        \
	F(cuDeviceGet)                                                                             \
	F(cuDeviceGetName)                                                                         \
	F(cuDeviceGetAttribute)                                                                    \
	F(cuDeviceGetPCIBusId)                                                                     \
	F(cuDevicePrimaryCtxRetain)                                                                \
	F(cuDevicePrimaryCtxRelease)                                                               \
	F(cuCtxGetCurrent)                                                                         \
	F(cuCtxPushCurrent)                                                                        \
	F(cuCtxPopCurrent)                                                                         \
	F(cuCtxGetDevice)                                                                          \
	F(cuCtxSynchronize)                                                                        \
	F(cuDeviceCanAccessPeer)                                                                   \
	F(cuCtxEnablePeerAccess)                                                                   \
	F(cuMemAlloc)                                                                              \
	F(cuMemPoolCreate)                                                                         \
	F(cuMemPoolDestroy)                                                                        \
	F(cuMemAllocFromPoolAsync)                                                                 \
	F(cuMemFree)                                                                               \
	F(cuMemHostAlloc)                                                                          \
	F(cuMemFreeHost)                                                                           \
	F(cuMemcpyAsync)                                                                           \
	F(cuMemsetD8Async)                                                                         \
	F(cuMemGetAddressRange)                                                                    \
	F(cuPointerGetAttributes)                                                                  \
	F(cuIpcGetMemHandle)                                                                       \
	F(cuIpcOpenMemHandle)                                                                      \
	F(cuIpcCloseMemHandle)                                                                     \
	F(cuCtxGetStreamPriorityRange)                                                             \
	F(cuStreamCreate)                                                                          \
	F(cuStreamCreateWithPriority)                                                              \
	F(cuStreamDestroy)                                                                         \
	F(cuStreamSynchronize)                                                                     \
	F(cuStreamWaitEvent)                                                                       \
	F(cuStreamGetCaptureInfo_v2)                                                               \
	F(cuThreadExchangeStreamCaptureMode)                                                       \
	F(cuEventCreate)                                                                           \
	F(cuEventDestroy)                                                                          \
	F(cuEventRecord)                                                                           \
	F(cuEventSynchronize)                                                                      \
	F(cuLaunchKernel)                                                                          \
	F(cuModuleLoadData)                                                                        \
	F(cuModuleUnload)                                                                          \
	F(cuModuleGetFunction)                                                                     \
	F(cuFuncGetAttribute)                                                                      \
	F(cuOccupancyMaxActiveBlocksPerMultiprocessor)                                             \
	F(cuGetErrorString)

/* Those that a driver may lack, and then are NULL. Of memory that is mapped (mapping.h): */
#define HK_CUDA_MAPPING_FUNCTIONS(F)                                                               \
	F(cuMemGetAllocationGranularity)                                                           \
	F(cuMemCreate)                                                                             \
	F(cuMemRelease)                                                                            \
	F(cuMemAddressReserve)                                                                     \
	F(cuMemAddressFree)                                                                        \
	F(cuMemMap)                                                                                \
	F(cuMemUnmap)                                                                              \
	F(cuMemSetAccess)                                                                          \
	F(cuMemRetainAllocationHandle)                                                             \
	F(cuMemGetAllocationPropertiesFromHandle)                                                  \
	F(cuMemExportToShareableHandle)                                                            \
	F(cuMemImportFromShareableHandle)

/* All of those. */
#define HK_CUDA_OPTIONAL_FUNCTIONS(F)                                                              \
	HK_CUDA_MAPPING_FUNCTIONS(F)                                                               \
	F(cuStreamBatchMemOp)                                                                      \
	F(cuStreamGetId)

#define HK_CUDA_MEMBER(name) __typeof__(&(name)) name;
struct hk_cuda {
	HK_CUDA_FUNCTIONS(HK_CUDA_MEMBER)
	HK_CUDA_OPTIONAL_FUNCTIONS(HK_CUDA_MEMBER)
};

/* The driver, ready for use. -ENOTSUP, with a quiet sentence, where there is none. */
int hk_cuda_open(const struct hk_cuda **cuda);

/* What to do at the process's end before the driver does anything. After that the driver may refuse
 * all, and pinned memory may be gone. One function, once the driver is open; again does nothing. */
void hk_cuda_at_exit(void (*end)(void));

/* 0, or -HK_ECUDA (-ENOMEM) with a sentence: what was tried, and what the driver says. */
int hk_cuda_check(CUresult result, const char *what);
/* The same for a failure that the caller is to handle. */
int hk_cuda_try(CUresult result, const char *what);

#endif
