/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every function of the driver does first: count the call, fail it where a test asked for
 * that, and refuse it where a real driver would: before cuInit, in a forked child, at exit, in a
 * host function, without a context, during a capture. The names of the errors are here too.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Thread_local bool fake_in_callback;

static struct {
	char function[64];
	int nth; /* 0: free */
	CUresult error;
} faults[16];

static struct {
	const char *function;
	unsigned long calls;
} counts[128];

/* Whether a name, which may have a version at its end, is that of a function without one. */
static bool same(const char *name, const char *function)
{
	size_t n = strlen(function);

	if (n > 3 && function[n - 3] == '_' && function[n - 2] == 'v')
		n -= 3;
	return !strncmp(name, function, n) &&
	       (!name[n] || (name[n] == '_' && name[n + 1] == 'v' && !name[n + 3]));
}

int fakecuda_fail(const char *function, int nth, int error)
{
	int slot = -1;

	pthread_mutex_lock(&fake.lock);
	for (int i = 15; i >= 0; i--)
		if (!faults[i].nth)
			slot = i;
	for (int i = 0; i < 16; i++)
		if (faults[i].nth && same(faults[i].function, function))
			slot = i;
	if (slot >= 0) {
		strncpy(faults[slot].function, function, sizeof faults[slot].function - 1);
		faults[slot].nth = nth;
		faults[slot].error = (CUresult)error;
	}
	pthread_mutex_unlock(&fake.lock);
	return slot < 0 ? -1 : 0;
}

unsigned long fakecuda_calls(const char *function)
{
	unsigned long calls = 0;

	pthread_mutex_lock(&fake.lock);
	for (int i = 0; i < 128 && counts[i].function; i++)
		if (same(counts[i].function, function))
			calls += counts[i].calls;
	pthread_mutex_unlock(&fake.lock);
	return calls;
}

static CUresult injected(const char *function)
{
	int i = 0;

	while (i < 127 && counts[i].function && strcmp(counts[i].function, function))
		i++;
	counts[i].function = function;
	counts[i].calls++;
	for (i = 0; i < 16; i++)
		if (faults[i].nth > 0 && same(function, faults[i].function) && !--faults[i].nth)
			return faults[i].error;
	return CUDA_SUCCESS;
}

CUresult fake_enter(const char *function, unsigned needs, CUcontext *current)
{
	pid_t pid = __atomic_load_n(&fake.pid, __ATOMIC_RELAXED);
	CUcontext ctx;
	CUresult err;

	/* The lock of a child of fork may be held by a thread that it does not have. */
	if (pid && pid != getpid())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (fake_in_callback)
		return CUDA_ERROR_NOT_PERMITTED;
	ctx = fake_current();
	pthread_mutex_lock(&fake.lock);
	err = injected(function);
	if (!err && fake.over)
		err = CUDA_ERROR_DEINITIALIZED;
	if (!err && needs && !fake.ready)
		err = CUDA_ERROR_NOT_INITIALIZED;
	if (!err && (needs & FAKE_CONTEXT) && !ctx)
		err = CUDA_ERROR_INVALID_CONTEXT;
	if (!err && (needs & FAKE_CONTEXT) && !ctx->retained)
		err = CUDA_ERROR_CONTEXT_IS_DESTROYED;
	if (!err && (needs & FAKE_UNSAFE))
		err = fake_capture_refuses(ctx);
	pthread_mutex_unlock(&fake.lock);
	if (!err && current)
		*current = ctx;
	return err;
}

static const struct {
	CUresult error;
	const char *name, *words;
} errors[] = {
	{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
	{CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
	{CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
	{CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
	{CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
	{CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{CUDA_ERROR_MAP_FAILED, "CUDA_ERROR_MAP_FAILED", "mapping of buffer object failed"},
	{CUDA_ERROR_ALREADY_MAPPED, "CUDA_ERROR_ALREADY_MAPPED", "resource already mapped"},
	{CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
	 "no kernel image is available for execution on the device"},
	{CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
	{CUDA_ERROR_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM",
	 "OS call failed or operation not supported on this OS"},
	{CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
	 "an illegal memory access was encountered"},
	{CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
	 "too many resources requested for launch"},
	{CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
	 "peer access is already enabled"},
	{CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
	 "peer access is not supported between these two devices"},
	{CUDA_ERROR_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED",
	 "context is destroyed"},
	{CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
	 "part or all of the requested memory range is already mapped"},
	{CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
	 "pointer does not correspond to a registered memory region"},
	{CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
	{CUDA_ERROR_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
	{CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
	{CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
	 "operation not permitted when stream is capturing"},
	{CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
	 "operation failed due to a previous error during capture"},
	{CUDA_ERROR_STREAM_CAPTURE_MERGE, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
	 "operation would result in a merge of separate capture sequences"},
	{CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
	 "capture was not ended in the same stream as it began"},
	{CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
	 "capturing stream has unjoined work"},
	{CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
	 "dependency created on uncaptured work in another stream"},
	{CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
	 "operation would make the legacy stream depend on a capturing blocking stream"},
	{CUDA_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
	 "operation not permitted on an event last recorded in a capturing stream"},
	{CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
	 "attempt to terminate a thread-local capture sequence from another thread"},
	{CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult cuGetErrorName(CUresult error, const char **pStr)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].error == error)
			return *pStr = errors[i].name, CUDA_SUCCESS;
	*pStr = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **pStr)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].error == error)
			return *pStr = errors[i].words, CUDA_SUCCESS;
	*pStr = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}
