/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CUDA driver for tests, opened as the library opens it: HOCKET_CUDA_DRIVER, or libcuda.so.1.
 * So the same test runs on the stand-in (tests/fakecuda) and on a real GPU, whose memory is filled
 * and read by copies only. A call of the driver that fails ends the test program.
 */
#ifndef TESTS_GPU_CUDA_H
#define TESTS_GPU_CUDA_H

#include <cuda.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "hocket/hocket.h"

#define TEST_CUDA(F)                                                                               \
	F(cuInit)                                                                                  \
	F(cuDeviceGetCount)                                                                        \
	F(cuDevicePrimaryCtxRetain)                                                                \
	F(cuCtxSetCurrent)                                                                         \
	F(cuMemAlloc)                                                                              \
	F(cuMemFree)                                                                               \
	F(cuMemHostAlloc)                                                                          \
	F(cuMemFreeHost)                                                                           \
	F(cuMemcpy)                                                                                \
	F(cuMemcpyAsync)                                                                           \
	F(cuMemsetD8Async)                                                                         \
	F(cuStreamCreate)                                                                          \
	F(cuStreamDestroy)                                                                         \
	F(cuStreamSynchronize)                                                                     \
	F(cuStreamQuery)                                                                           \
	F(cuStreamWaitEvent)                                                                       \
	F(cuEventCreate)                                                                           \
	F(cuEventRecord)                                                                           \
	F(cuEventDestroy)                                                                          \
	F(cuStreamBeginCapture)                                                                    \
	F(cuStreamEndCapture)                                                                      \
	F(cuGraphInstantiateWithFlags)                                                             \
	F(cuGraphLaunch)                                                                           \
	F(cuGraphExecDestroy)                                                                      \
	F(cuGraphDestroy)

#define TEST_CUDA_MEMBER(name) __typeof__(&(name)) name;
struct test_cuda {
	TEST_CUDA(TEST_CUDA_MEMBER)
	/* Of the stand-in alone; NULL on a GPU. */
	int (*make_fail)(const char *function, int nth, int error);
	unsigned long (*calls)(const char *function);
};
extern struct test_cuda cu;

/* Opens the driver; the program ends with 77 (skipped) where there is none, or no GPU. Returns how
 * many GPUs there are. */
int gpu_start(void);
/* GPU number `device` modulo how many there are, which is returned, becomes the thread's. */
int gpu_use(int device);

#ifndef CHECK /* tests/e2e/harness.h has one for processes */
/* Threads are ranks here, so the first that fails ends the process, without its destructors. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__,          \
				__LINE__, #cond, hocketGetLastError(NULL));                        \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
#define OK(call) CHECK((call) == hocketSuccess)
#endif
#define CU(call) CHECK((call) == CUDA_SUCCESS)

#endif
