/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices, their primary contexts (there are no others), the stack of contexts of each thread, and
 * the beginning and the end of the driver. The environment is read at the first cuInit.
 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fake_driver fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

enum { DEPTH = 16, PCI_DOMAIN = 0xfa /* nobody's */ };

static _Thread_local struct {
	CUcontext at[DEPTH];
	unsigned n;
} stack;

CUcontext fake_current(void)
{
	return stack.n ? stack.at[stack.n - 1] : NULL;
}

static int env(const char *name, int otherwise, int least, int most)
{
	const char *text = getenv(name);
	int value = text && *text ? atoi(text) : otherwise;

	return value < least ? least : value > most ? most : value;
}

static void begin(void)
{
	fake.ndevices = env("HK_FAKE_DEVICES", 2, 0, FAKE_DEVICES);
	fake.nsms = env("HK_FAKE_SMS", 4, 1, 64);
	fake.nthreads = env("HK_FAKE_THREADS", 2, 1, 64);
	fake.queue = env("HK_FAKE_QUEUE", 1024, 1, 1 << 20);
	fake.host = env("HK_FAKE_HOST", 0, 0, 255);
	fake.no_ipc = env("HK_FAKE_NO_IPC", 0, 0, 1);
	fake.alloc_waits = env("HK_FAKE_ALLOC_WAITS", 0, 0, FAKE_REFUSES);
	fake.no_peers = env("HK_FAKE_NO_PEERS", 0, 0, 1);
	fake.no_vmm = env("HK_FAKE_NO_VMM", 0, 0, 1);
	for (int i = 0; i < fake.ndevices; i++)
		fake.ctx[i].device = i;
	fake.ready = fake.ndevices > 0;
	__atomic_store_n(&fake.pid, getpid(), __ATOMIC_RELAXED);
}

static void drop_context(CUcontext ctx)
{
	ctx->retained = 0;
	fake_modules_drop(ctx);
	fake_streams_drop(ctx);
	fake_memory_drop(ctx);
	ctx->peers = 0;
}

static bool idle(void)
{
	for (int i = 0; i < fake.ndevices; i++)
		if (fake.ctx[i].first)
			return false;
	return true;
}

/*
 * A process that exits while kernels wait for a peer must come to its end: what is still running
 * after a second is left alone, and so is what it uses. Otherwise pinned memory is gone from here
 * on; who still looks at it has a moment to do so.
 */
static void end(void)
{
	const struct timespec pause = {.tv_nsec = 1000000}, moment = {.tv_nsec = 20000000};

	if (fake.pid != getpid())
		return;
	pthread_mutex_lock(&fake.lock);
	fake.over = true;
	for (int i = 0; i < 1000 && !idle(); i++) {
		pthread_mutex_unlock(&fake.lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&fake.lock);
	}
	if (!idle()) {
		fprintf(stderr, "fakecuda: warning: kernels run at the process's end\n");
	} else {
		bool some = fake_memory_hide();

		fake_pool_stop();
		for (int i = 0; i < fake.ndevices; i++)
			drop_context(&fake.ctx[i]);
		fake_memory_drop(NULL);
		fake_reservations_drop();
		fake_physicals_drop();
		if (some)
			nanosleep(&moment, NULL);
	}
	pthread_mutex_unlock(&fake.lock);
}

CUresult cuInit(unsigned Flags)
{
	CUresult err = fake_enter(__func__, FAKE_ANY, NULL);

	if (err)
		return err;
	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (!fake.pid) {
		begin();
		atexit(end); /* so whoever comes later to do that is called before */
	}
	if (!fake.ready)
		err = CUDA_ERROR_NO_DEVICE;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuDriverGetVersion(int *driverVersion)
{
	CUresult err = fake_enter(__func__, FAKE_ANY, NULL);

	if (!err)
		*driverVersion = CUDA_VERSION;
	return err;
}

CUresult cuDeviceGetCount(int *count)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (!err)
		*count = fake.ndevices;
	return err;
}

static CUresult enter_device(const char *function, CUdevice dev)
{
	CUresult err = fake_enter(function, FAKE_INIT, NULL);

	return err ? err : dev < 0 || dev >= fake.ndevices ? CUDA_ERROR_INVALID_DEVICE : 0;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult err = enter_device(__func__, ordinal);

	if (!err)
		*device = ordinal;
	return err;
}

CUresult cuDeviceGetName(char *name, int len, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err)
		snprintf(name, (size_t)len, "Hocket's stand-in");
	return err;
}

static void fill_uuid(CUuuid *uuid, CUdevice dev)
{
	memcpy(uuid->bytes, "hocket-fake-GPU", 16);
	uuid->bytes[14] = (char)fake.host;
	uuid->bytes[15] = (char)dev;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err)
		fill_uuid(uuid, dev);
	return err;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err)
		*bytes = fake_total_memory;
	return err;
}

CUresult cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err && len < 13)
		err = CUDA_ERROR_INVALID_VALUE;
	if (!err)
		snprintf(pciBusId, (size_t)len, "%04X:%02X:00.0", PCI_DOMAIN, 16 + dev);
	return err;
}

/* Those of an H100 where it matters, and 0 for what there is not. */
static int attribute(CUdevice_attribute attrib, CUdevice dev)
{
	switch (attrib) {
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return fake.nsms;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return 9;
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
	case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
	case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
	case CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED:
		return 1;
	case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED:
		return !fake.no_vmm;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
		return 1024;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
		return INT32_MAX;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
		return 2048;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
		return FAKE_BLOCKS_PER_SM;
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
		return 32;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
		return 49152;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
		return 232448;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
		return 233472;
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		return 3;
	case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
		return PCI_DOMAIN;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		return 16 + dev;
	default:
		return 0;
	}
}

CUresult cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err && (attrib < 1 || attrib >= CU_DEVICE_ATTRIBUTE_MAX))
		err = CUDA_ERROR_INVALID_VALUE;
	if (!err)
		*pi = attribute(attrib, dev);
	return err;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	if (!fake.ctx[dev].retained++) {
		CUstream legacy = fake_alloc(sizeof *legacy);

		legacy->ctx = &fake.ctx[dev];
		legacy->blocking = legacy->legacy = true;
		fake.ctx[dev].legacy = legacy;
	}
	pthread_mutex_unlock(&fake.lock);
	*pctx = &fake.ctx[dev];
	return CUDA_SUCCESS;
}

/* The last release takes the streams and the memory of the context with it. */
CUresult cuDevicePrimaryCtxRelease(CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	if (!fake.ctx[dev].retained) {
		err = CUDA_ERROR_INVALID_CONTEXT;
	} else if (!--fake.ctx[dev].retained) {
		fake_ctx_wait(&fake.ctx[dev]);
		drop_context(&fake.ctx[dev]);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

CUresult cuCtxGetCurrent(CUcontext *pctx)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (!err)
		*pctx = fake_current();
	return err;
}

static bool is_context(CUcontext ctx)
{
	for (int i = 0; i < fake.ndevices; i++)
		if (ctx == &fake.ctx[i])
			return true;
	return false;
}

CUresult cuCtxSetCurrent(CUcontext ctx)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err)
		return err;
	if (ctx && !is_context(ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (!ctx)
		stack.n -= stack.n > 0;
	else
		stack.at[stack.n ? stack.n - 1 : stack.n++] = ctx;
	return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext ctx)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err)
		return err;
	if (!is_context(ctx))
		return CUDA_ERROR_INVALID_CONTEXT;
	if (stack.n == DEPTH)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stack.at[stack.n++] = ctx;
	return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *pctx)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err)
		return err;
	if (!stack.n)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack.n--;
	if (pctx)
		*pctx = stack.at[stack.n];
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);

	if (!err)
		*device = ctx->device;
	return err;
}

CUresult cuCtxSynchronize(void)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	fake_ctx_wait(ctx);
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err && (peerDev < 0 || peerDev >= fake.ndevices))
		err = CUDA_ERROR_INVALID_DEVICE;
	if (!err)
		*canAccessPeer = dev != peerDev && !fake.no_peers;
	return err;
}

CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned Flags)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);

	if (err)
		return err;
	if (Flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!is_context(peerContext) || peerContext == ctx)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (fake.no_peers)
		return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
	pthread_mutex_lock(&fake.lock);
	if (ctx->peers >> peerContext->device & 1)
		err = CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
	ctx->peers |= (uint64_t)1 << peerContext->device;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* The name of old, which cuda.h redirects. */
#undef cuDeviceGetUuid
__attribute__((visibility("default"))) CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	CUresult err = enter_device(__func__, dev);

	if (!err)
		fill_uuid(uuid, dev);
	return err;
}
