/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RDMA and CUDA devices of this machine, for `hocket doctor`: what the verbs transport finds,
 * if the build has it, and what the CUDA driver says, which is opened at run time so that one build
 * serves machines with and without it.
 */
#include "devices.h"

#include <dlfcn.h>
#include <stdio.h>

#if HOCKET_WITH_VERBS
#include "verbs_device.h"
#endif
#if HOCKET_WITH_CUDA
#include <cuda.h>
#endif

void hk_devices_print_rdma(void)
{
#if HOCKET_WITH_VERBS
	hk_ib_print(stdout);
#else
	printf("  RDMA devices        not looked for: built without libibverbs\n");
#endif
}

#if HOCKET_WITH_CUDA
/* The number of devices, or -1 with what is in the way. */
static int count_gpus(void *driver, const char **problem)
{
	CUresult (*init)(unsigned) = (CUresult(*)(unsigned))dlsym(driver, "cuInit");
	CUresult (*count)(int *) = (CUresult(*)(int *))dlsym(driver, "cuDeviceGetCount");
	int n = 0;

	*problem = "its driver library lacks cuInit";
	if (!init || !count)
		return -1;
	*problem = "the driver does not start";
	if (init(0) != CUDA_SUCCESS || count(&n) != CUDA_SUCCESS)
		return -1;
	return n;
}
#endif

void hk_devices_print_cuda(void)
{
#if HOCKET_WITH_CUDA
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	const char *problem = "no driver (libcuda.so.1) on this machine";
	int n = driver ? count_gpus(driver, &problem) : -1;

	if (n < 0)
		printf("  CUDA devices        none: %s\n", problem);
	else
		printf("  CUDA devices        %d\n", n);
	if (driver)
		dlclose(driver);
#else
	printf("  CUDA devices        not looked for: built without the CUDA toolkit\n");
#endif
}
