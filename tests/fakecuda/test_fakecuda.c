/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stand-in for the CUDA driver: memory, streams, events, kernels, memory of other processes,
 * failures on demand. Its argument is the library as others load it, whose names are looked up.
 * With the word `peer` it is the process that opens what is on standard input.
 */
#include "test_fakecuda.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

CUfunction toy_fill, toy_meet;
static const char *library;
static CUcontext contexts[2];

CUstream make_stream(unsigned flags)
{
	CUstream stream;

	ok(cuStreamCreate(&stream, flags));
	return stream;
}

CUevent make_event(unsigned flags)
{
	CUevent event;

	ok(cuEventCreate(&event, flags));
	return event;
}

unsigned *make_memory(size_t words)
{
	CUdeviceptr p;

	ok(cuMemAlloc(&p, words * sizeof(unsigned)));
	memset((void *)p, 0, words * sizeof(unsigned));
	return (unsigned *)p;
}

void free_memory(void *p)
{
	ok(cuMemFree((CUdeviceptr)p));
}

CUresult launch(CUfunction f, unsigned blocks, const void *param, CUstream stream)
{
	void *params[] = {(void *)(uintptr_t)param};

	return cuLaunchKernel(f, blocks, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

void wait_for_word(void *word)
{
	while (!__atomic_load_n((unsigned *)word, __ATOMIC_ACQUIRE))
		sched_yield();
}

void stays_busy(CUstream stream)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	nanosleep(&pause, NULL);
	fails(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
}

void let_go(unsigned *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
}

static void set_word(void *word)
{
	let_go(word);
}

/* Of the driver, with the versions that callers look up. */
static const char names[][48] = {"cuInit",
				 "cuDriverGetVersion",
				 "cuDeviceGetCount",
				 "cuDeviceGet",
				 "cuDeviceGetName",
				 "cuDeviceGetUuid",
				 "cuDeviceGetUuid_v2",
				 "cuDeviceGetAttribute",
				 "cuDeviceGetPCIBusId",
				 "cuDeviceTotalMem_v2",
				 "cuDevicePrimaryCtxRetain",
				 "cuDevicePrimaryCtxRelease_v2",
				 "cuCtxGetCurrent",
				 "cuCtxSetCurrent",
				 "cuCtxPushCurrent_v2",
				 "cuCtxPopCurrent_v2",
				 "cuCtxGetDevice",
				 "cuCtxSynchronize",
				 "cuDeviceCanAccessPeer",
				 "cuCtxEnablePeerAccess",
				 "cuMemAlloc_v2",
				 "cuMemFree_v2",
				 "cuMemHostAlloc",
				 "cuMemFreeHost",
				 "cuMemHostRegister_v2",
				 "cuMemHostUnregister",
				 "cuMemHostGetDevicePointer_v2",
				 "cuMemcpyAsync",
				 "cuMemcpy",
				 "cuMemcpyDtoHAsync_v2",
				 "cuMemcpyHtoDAsync_v2",
				 "cuMemcpyDtoDAsync_v2",
				 "cuMemsetD8Async",
				 "cuMemsetD8_v2",
				 "cuPointerGetAttribute",
				 "cuPointerGetAttributes",
				 "cuPointerSetAttribute",
				 "cuMemGetAddressRange_v2",
				 "cuMemGetHandleForAddressRange",
				 "cuMemGetAllocationGranularity",
				 "cuMemCreate",
				 "cuMemRelease",
				 "cuMemAddressReserve",
				 "cuMemAddressFree",
				 "cuMemMap",
				 "cuMemUnmap",
				 "cuMemSetAccess",
				 "cuMemGetAccess",
				 "cuMemRetainAllocationHandle",
				 "cuMemExportToShareableHandle",
				 "cuMemImportFromShareableHandle",
				 "cuMemGetAllocationPropertiesFromHandle",
				 "cuStreamWriteValue32_v2",
				 "cuStreamWriteValue64_v2",
				 "cuStreamWaitValue32_v2",
				 "cuStreamWaitValue64_v2",
				 "cuStreamBatchMemOp_v2",
				 "cuIpcGetMemHandle",
				 "cuIpcOpenMemHandle_v2",
				 "cuIpcCloseMemHandle",
				 "cuStreamCreate",
				 "cuStreamDestroy_v2",
				 "cuStreamSynchronize",
				 "cuStreamQuery",
				 "cuStreamWaitEvent",
				 "cuStreamIsCapturing",
				 "cuStreamGetCaptureInfo_v2",
				 "cuStreamGetCaptureInfo_v3",
				 "cuStreamBeginCapture_v2",
				 "cuStreamEndCapture",
				 "cuGraphInstantiateWithFlags",
				 "cuGraphLaunch",
				 "cuGraphExecDestroy",
				 "cuGraphDestroy",
				 "cuThreadExchangeStreamCaptureMode",
				 "cuEventCreate",
				 "cuEventDestroy_v2",
				 "cuEventRecord",
				 "cuEventSynchronize",
				 "cuEventQuery",
				 "cuEventElapsedTime",
				 "cuEventElapsedTime_v2",
				 "cuLaunchKernel",
				 "cuLaunchHostFunc",
				 "cuModuleLoadData",
				 "cuModuleUnload",
				 "cuModuleGetFunction",
				 "cuFuncGetAttribute",
				 "cuFuncSetAttribute",
				 "cuOccupancyMaxActiveBlocksPerMultiprocessor",
				 "cuGetErrorName",
				 "cuGetErrorString",
				 "fakecuda_fail",
				 "fakecuda_calls"};

static void test_names(void **state)
{
	void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);

	assert_non_null(lib);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!dlsym(lib, names[i]))
			fail_msg("no %s", names[i]);
	assert_null(dlsym(lib, "fake_enter"));
	dlclose(lib);
}

static void test_devices(void **state)
{
	CUuuid one, two;
	CUdevice device;
	int value;

	ok(cuDeviceGetCount(&value));
	assert_int_equal(value, 2);
	ok(cuDeviceGetUuid(&one, 0));
	ok(cuDeviceGetUuid(&two, 1));
	assert_memory_not_equal(&one, &two, sizeof one);
	ok(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1));
	assert_int_equal(value, 4);
	fails(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 2),
	      CUDA_ERROR_INVALID_DEVICE);
	ok(cuCtxPushCurrent(contexts[1]));
	ok(cuCtxGetDevice(&device));
	assert_int_equal(device, 1);
	ok(cuCtxEnablePeerAccess(contexts[0], 0));
	fails(cuCtxEnablePeerAccess(contexts[0], 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
	fails(cuCtxEnablePeerAccess(contexts[1], 0), CUDA_ERROR_INVALID_CONTEXT);
	/* A kernel and an event belong to their context. */
	fails(launch(toy_meet, 1, &(struct toy_meet){0}, NULL), CUDA_ERROR_INVALID_HANDLE);
	ok(cuCtxPopCurrent(NULL));
	ok(cuCtxGetDevice(&device));
	assert_int_equal(device, 0);
}

static void ask(CUdeviceptr p, unsigned *type, uint64_t *id, CUdeviceptr *start, size_t *bytes)
{
	CUpointer_attribute which[] = {
		CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_BUFFER_ID,
		CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
	void *data[] = {type, id, start, bytes};

	ok(cuPointerGetAttributes(4, which, data, p));
}

static void test_memory(void **state)
{
	uint64_t id, other;
	CUdeviceptr p, start;
	unsigned type;
	size_t bytes;
	void *host;

	fails(cuMemAlloc(&p, 0), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemAlloc(&p, (size_t)1 << 40), CUDA_ERROR_OUT_OF_MEMORY);
	ok(cuMemAlloc(&p, 5000));
	assert_int_equal(p % 512, 0);
	assert_int_equal(*(unsigned char *)p, 0xa5);
	ask(p + 4999, &type, &id, &start, &bytes);
	assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
	assert_int_equal(start, p);
	assert_int_equal(bytes, 5000);
	ask(p + 5000, &type, &other, &start, &bytes);
	assert_int_equal(type, 0);
	fails(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)&type),
	      CUDA_ERROR_INVALID_VALUE);
	fails(cuPointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_HOST_POINTER, p),
	      CUDA_ERROR_INVALID_VALUE);
	fails(cuMemsetD8(p + 1, 0, 5000), CUDA_ERROR_INVALID_VALUE);
	fails(cuMemFree(p + 1), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemFree(p));
	fails(cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
	ok(cuMemAlloc(&p, 5000));
	ask(p, &type, &other, &start, &bytes);
	assert_true(other > id);
	ok(cuMemFree(p));

	ok(cuMemHostAlloc(&host, 100, 0));
	ok(cuMemHostGetDevicePointer(&p, host, 0));
	assert_ptr_equal((void *)p, host);
	ask(p, &type, &id, &start, &bytes);
	assert_int_equal(type, CU_MEMORYTYPE_HOST);
	fails(cuMemHostRegister(host, 1, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	ok(cuMemFreeHost(host));
	fails(cuMemHostUnregister(&type), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	ok(cuMemHostRegister(&type, sizeof type, 0));
	ok(cuMemHostGetDevicePointer(&p, &type, 0));
	ok(cuMemHostUnregister(&type));
}

static void test_order(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(4), go = 0, host[4] = {0};
	CUevent event = make_event(0), later = make_event(0);
	float ms = -1;

	ok(cuLaunchHostFunc(stream, wait_for_word, &go));
	ok(cuEventRecord(event, stream));
	ok(cuMemsetD8Async((CUdeviceptr)a, 1, 16, stream));
	ok(cuMemsetD8Async((CUdeviceptr)a + 4, 2, 4, stream));
	ok(cuEventRecord(later, stream));
	stays_busy(stream);
	fails(cuEventQuery(event), CUDA_ERROR_NOT_READY);
	fails(cuEventElapsedTime(&ms, event, later), CUDA_ERROR_NOT_READY);
	assert_int_equal(a[0], 0);
	let_go(&go);
	ok(cuEventSynchronize(later));
	ok(cuEventElapsedTime(&ms, event, later));
	assert_true(ms >= 0 && ms < 60000);
	assert_int_equal(a[0], 0x01010101);
	assert_int_equal(a[1], 0x02020202);
	/* Pageable: it is over when the call is. */
	ok(cuMemcpyDtoHAsync(host, (CUdeviceptr)a, 16, stream));
	assert_int_equal(host[1], 0x02020202);
	fails(cuMemcpyHtoDAsync((CUdeviceptr)host, a, 16, stream), CUDA_ERROR_INVALID_VALUE);
	ok(cuStreamQuery(stream));
	ok(cuEventDestroy(event));
	ok(cuEventDestroy(later));
	ok(cuStreamDestroy(stream));
	free_memory(a);
}

struct giver {
	CUstream stream;
	unsigned given;
};

/* As much as a queue takes, and more. */
static void *give(void *arg)
{
	struct giver *g = arg;
	unsigned word;

	ok(cuCtxSetCurrent(contexts[0]));
	for (unsigned i = 0; i < 1030; i++) {
		ok(cuLaunchHostFunc(g->stream, set_word, &word));
		__atomic_store_n(&g->given, i + 1, __ATOMIC_RELEASE);
	}
	ok(cuStreamSynchronize(g->stream));
	return NULL;
}

static void test_queue(void **state)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct giver full = {.stream = make_stream(CU_STREAM_NON_BLOCKING)};
	CUstream other = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned go = 0, word = 0;
	pthread_t thread;

	ok(cuLaunchHostFunc(full.stream, wait_for_word, &go));
	assert_int_equal(pthread_create(&thread, NULL, give, &full), 0);
	while (__atomic_load_n(&full.given, __ATOMIC_ACQUIRE) < 1023)
		nanosleep(&pause, NULL);
	stays_busy(full.stream);
	assert_int_equal(__atomic_load_n(&full.given, __ATOMIC_ACQUIRE), 1023);
	ok(cuLaunchHostFunc(other, set_word, &word)); /* each stream has its own */
	ok(cuStreamSynchronize(other));
	assert_int_equal(word, 1);
	let_go(&go);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(full.given, 1030);
	ok(cuStreamDestroy(full.stream));
	ok(cuStreamDestroy(other));
}

static void test_events(void **state)
{
	CUstream one = make_stream(CU_STREAM_NON_BLOCKING),
		 two = make_stream(CU_STREAM_NON_BLOCKING);
	CUevent event = make_event(CU_EVENT_DISABLE_TIMING);
	unsigned go = 0, *a = make_memory(1);
	float ms;

	ok(cuStreamWaitEvent(two, event, 0)); /* never recorded */
	ok(cuStreamSynchronize(two));
	ok(cuLaunchHostFunc(one, wait_for_word, &go));
	ok(cuEventRecord(event, one));
	ok(cuStreamWaitEvent(two, event, 0));
	ok(cuEventRecord(event, two)); /* does not matter to the wait */
	ok(cuMemsetD8Async((CUdeviceptr)a, 1, 4, two));
	stays_busy(two);
	assert_int_equal(*a, 0);
	let_go(&go);
	ok(cuStreamDestroy(one)); /* its work goes on */
	ok(cuStreamSynchronize(two));
	assert_int_equal(*a, 0x01010101);
	fails(cuEventElapsedTime(&ms, event, event), CUDA_ERROR_INVALID_HANDLE);
	ok(cuEventDestroy(event));
	ok(cuStreamDestroy(two));
	free_memory(a);
}

static void test_legacy(void **state)
{
	CUstream blocking = make_stream(CU_STREAM_DEFAULT), other = make_stream(CU_STREAM_DEFAULT),
		 free_one = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned go = 0, legacy = 0, after = 0, apart = 0;

	ok(cuLaunchHostFunc(blocking, wait_for_word, &go));
	ok(cuLaunchHostFunc(NULL, set_word, &legacy));
	ok(cuLaunchHostFunc(other, set_word, &after));
	ok(cuLaunchHostFunc(free_one, set_word, &apart));
	ok(cuStreamSynchronize(free_one));
	assert_int_equal(apart, 1);
	stays_busy(other);
	stays_busy(NULL);
	let_go(&go);
	ok(cuStreamSynchronize(other));
	assert_int_equal(after, 1);
	assert_int_equal(legacy, 1);
	ok(cuStreamDestroy(blocking));
	ok(cuStreamDestroy(other));
	ok(cuStreamDestroy(free_one));
}

static void test_kernels(void **state)
{
	CUstream one = make_stream(CU_STREAM_NON_BLOCKING),
		 two = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(1000), *done = make_memory(1), *counter = make_memory(2), go = 0;
	struct toy_fill fill = {a, 1000, 9, done};
	struct toy_meet meet = {counter, 4}, full = {counter + 1, 16};
	CUmodule mod;
	CUfunction f;

	ok(cuModuleLoadData(&mod, "anything"));
	fails(cuModuleGetFunction(&f, mod, "none"), CUDA_ERROR_NOT_FOUND);
	ok(cuModuleUnload(mod));
	ok(launch(toy_fill, 40, &fill, one)); /* more than fit at once */
	ok(cuStreamSynchronize(one));
	assert_int_equal(a[0], 9);
	assert_int_equal(a[999], 9);
	assert_int_equal(*done, 40);

	ok(launch(toy_meet, 2, &meet, one));
	ok(launch(toy_meet, 2, &meet, two));
	ok(cuCtxSynchronize());
	assert_int_equal(*counter, 4);

	/* All of the device: a second launch waits for room. */
	full.expected = 17;
	ok(launch(toy_meet, 16, &full, one));
	ok(launch(toy_fill, 1, &fill, two));
	ok(cuLaunchHostFunc(two, set_word, &go));
	wait_for_word(&counter[1]);
	stays_busy(two);
	assert_int_equal(*done, 40);
	__atomic_add_fetch(&counter[1], 1, __ATOMIC_ACQ_REL);
	ok(cuStreamSynchronize(two));
	assert_int_equal(*done, 41);
	ok(cuStreamDestroy(one));
	ok(cuStreamDestroy(two));
	free_memory(a);
	free_memory(done);
	free_memory(counter);
}

static void *free_it(void *p)
{
	cuCtxSetCurrent(contexts[0]);
	cuMemFree((CUdeviceptr)p);
	return NULL;
}

/* Freeing memory waits for kernels that do not even use it. */
static void test_free_waits(void **state)
{
	CUstream stream = make_stream(CU_STREAM_NON_BLOCKING);
	unsigned *a = make_memory(1), go = 0;
	const struct timespec pause = {.tv_nsec = 20000000};
	pthread_t thread;

	ok(cuLaunchHostFunc(stream, wait_for_word, &go));
	assert_int_equal(pthread_create(&thread, NULL, free_it, a), 0);
	nanosleep(&pause, NULL);
	assert_int_not_equal(pthread_tryjoin_np(thread, NULL), 0);
	let_go(&go);
	pthread_join(thread, NULL);
	ok(cuStreamDestroy(stream));
}

static void call_driver(void *result)
{
	int version;

	*(CUresult *)result = cuDriverGetVersion(&version);
}

static void test_refusals(void **state)
{
	CUresult inside = CUDA_SUCCESS;
	unsigned long calls = fakecuda_calls("cuMemAlloc");
	const char *name;
	CUdeviceptr p;
	pid_t child;
	int status;

	ok(cuLaunchHostFunc(NULL, call_driver, &inside));
	ok(cuStreamSynchronize(NULL));
	assert_int_equal(inside, CUDA_ERROR_NOT_PERMITTED);

	assert_int_equal(fakecuda_fail("cuMemAlloc", 2, CUDA_ERROR_OUT_OF_MEMORY), 0);
	ok(cuMemAlloc(&p, 1));
	ok(cuMemFree(p));
	fails(cuMemAlloc(&p, 1), CUDA_ERROR_OUT_OF_MEMORY);
	ok(cuMemAlloc(&p, 1));
	ok(cuMemFree(p));
	assert_int_equal(fakecuda_calls("cuMemAlloc_v2") - calls, 3);
	ok(cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &name));
	assert_string_equal(name, "CUDA_ERROR_OUT_OF_MEMORY");

	child = fork();
	if (!child)
		_exit(cuInit(0) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Opens the handle on standard input twice, checks and changes the memory. */
static int peer_ipc(void)
{
	CUdeviceptr p, again;
	CUipcMemHandle handle;
	CUcontext ctx;

	if (read(0, &handle, sizeof handle) != sizeof handle || cuInit(0) ||
	    cuDevicePrimaryCtxRetain(&ctx, 1) || cuCtxSetCurrent(ctx))
		return 1;
	if (getenv("HK_FAKE_NO_IPC"))
		return cuIpcOpenMemHandle(&p, handle, 1) == CUDA_ERROR_MAP_FAILED ? 0 : 2;
	if (cuIpcOpenMemHandle(&p, handle, 1) || cuIpcOpenMemHandle(&again, handle, 1) ||
	    p != again || p % 512)
		return 3;
	if (((unsigned *)p)[0] != 11 || ((unsigned *)p)[999] != 12)
		return 4;
	((unsigned *)p)[1] = 13;
	if (cuIpcCloseMemHandle(p) || cuIpcCloseMemHandle(p) || !cuIpcCloseMemHandle(p))
		return 5;
	handle.reserved[0] ^= 1; /* another secret */
	return cuIpcOpenMemHandle(&p, handle, 1) ? 0 : 6;
}

int run_peer(const char *role, int input, const char *turned_on)
{
	pid_t child = fork();
	int status;

	if (!child) {
		dup2(input, 0);
		if (turned_on)
			setenv(turned_on, "1", 1);
		execl("/proc/self/exe", "test_fakecuda", "peer", role, (char *)NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static int give_handle(const CUipcMemHandle *handle, const char *turned_on)
{
	int fds[2], status;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], handle, sizeof *handle), sizeof *handle);
	status = run_peer("ipc", fds[0], turned_on);
	close(fds[0]);
	close(fds[1]);
	return status;
}

static void test_processes(void **state)
{
	unsigned *a = make_memory(1000);
	CUipcMemHandle handle;
	CUdeviceptr p;

	a[0] = 11;
	a[999] = 12;
	ok(cuIpcGetMemHandle(&handle, (CUdeviceptr)(a + 5))); /* of all of it */
	fails(cuIpcGetMemHandle(&handle, (CUdeviceptr)&p), CUDA_ERROR_INVALID_VALUE);
	fails(cuIpcOpenMemHandle(&p, handle, 1), CUDA_ERROR_INVALID_CONTEXT);
	assert_int_equal(give_handle(&handle, NULL), 0);
	assert_int_equal(a[1], 13);
	assert_int_equal(give_handle(&handle, "HK_FAKE_NO_IPC"), 0);
	free_memory(a);
}

static int start(void **state)
{
	CUmodule mod;
	CUdeviceptr p;

	if (cuDeviceGet(&(CUdevice){0}, 0) != CUDA_ERROR_NOT_INITIALIZED || cuInit(0) ||
	    cuMemAlloc(&p, 1) != CUDA_ERROR_INVALID_CONTEXT)
		return -1;
	for (int i = 0; i < 2; i++)
		if (cuDevicePrimaryCtxRetain(&contexts[i], i))
			return -1;
	return cuCtxSetCurrent(contexts[0]) || cuModuleLoadData(&mod, "") ||
			       cuModuleGetFunction(&toy_fill, mod, "toy_fill") ||
			       cuModuleGetFunction(&toy_meet, mod, "toy_meet")
		       ? -1
		       : 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_free_waits),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_capture_replays),
		cmocka_unit_test(test_capture_branches),
		cmocka_unit_test(test_capture_errors),
		cmocka_unit_test(test_capture_modes),
		cmocka_unit_test(test_vmm_steps),
		cmocka_unit_test(test_vmm_refusals),
		cmocka_unit_test(test_vmm_pieces),
		cmocka_unit_test(test_vmm_devices),
		cmocka_unit_test(test_vmm_unmap_waits),
		cmocka_unit_test(test_vmm_processes),
		cmocka_unit_test(test_dma_buf),
		cmocka_unit_test(test_memops_order),
		cmocka_unit_test(test_memops_conditions),
		cmocka_unit_test(test_memops_errors),
		cmocka_unit_test(test_memops_replay),
		cmocka_unit_test(test_memops_at_exit),
	};

	if (argc > 2 && !strcmp(argv[1], "peer"))
		return !strcmp(argv[2], "vmm")	   ? peer_vmm()
		       : !strcmp(argv[2], "waits") ? peer_waits()
						   : peer_ipc();
	library = argc > 1 ? argv[1] : "libfakecuda.so";
	return cmocka_run_group_tests(tests, start, NULL);
}
