/* SPDX-License-Identifier: BSD-3-Clause */
/* Opens the driver: see cuda_test.h. */
#include "cuda_test.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct test_cuda cu;
static int ndevices;

/* cuda.h gives functions that have changed a name with a version, as a macro. */
#define NAME_OF(name)	STRING_OF(name)
#define STRING_OF(name) #name

static void *need(void *lib, const char *name)
{
	void *at = dlsym(lib, name);

	if (!at) {
		fprintf(stderr, "the CUDA driver has no %s\n", name);
		exit(77);
	}
	return at;
}

int gpu_start(void)
{
	const char *path = getenv("HOCKET_CUDA_DRIVER");
	void *lib = dlopen(path && *path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *at;

	if (!lib) {
		fprintf(stderr, "skipped: %s\n", dlerror());
		exit(77);
	}
#define TEST_CUDA_FIND(name)                                                                       \
	at = need(lib, NAME_OF(name));                                                             \
	memcpy(&cu.name, &at, sizeof(at));
	TEST_CUDA(TEST_CUDA_FIND)
	at = dlsym(lib, "fakecuda_fail");
	memcpy(&cu.make_fail, &at, sizeof(at));
	at = dlsym(lib, "fakecuda_calls");
	memcpy(&cu.calls, &at, sizeof(at));
	if (cu.cuInit(0) || cu.cuDeviceGetCount(&ndevices) || !ndevices) {
		fprintf(stderr, "skipped: the driver finds no GPU\n");
		exit(77);
	}
	return ndevices;
}

int gpu_use(int device)
{
	CUcontext context;

	device %= ndevices;
	CU(cu.cuDevicePrimaryCtxRetain(&context, device)); /* for ever */
	CU(cu.cuCtxSetCurrent(context));
	return device;
}
