/* SPDX-License-Identifier: BSD-3-Clause */
/* Opens the CUDA driver: see driver.h. HOCKET_CUDA_DRIVER names another file than libcuda.so.1. */
#include "driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "param.h"

/* cuda.h gives functions that have changed a name with a version, as a macro. */
#define NAME_OF(name)	STRING_OF(name)
#define STRING_OF(name) #name

struct entry {
	const char *name;
	size_t offset;
	bool optional;
};

static const struct entry entries[] = {
#define ENTRY(name) {NAME_OF(name), offsetof(struct hk_cuda, name), false},
	HK_CUDA_FUNCTIONS(ENTRY)
#undef ENTRY
#define ENTRY(name) {NAME_OF(name), offsetof(struct hk_cuda, name), true},
		HK_CUDA_OPTIONAL_FUNCTIONS(ENTRY)
#undef ENTRY
};

static struct {
	pthread_once_t once;
	int err;
	char error[400];
	struct hk_cuda functions;
	_Atomic(void (*)(void)) end;
} driver = {.once = PTHREAD_ONCE_INIT};

static void refuse(const char *why, const char *detail)
{
	driver.err = -ENOTSUP;
	snprintf(driver.error, sizeof(driver.error), "no CUDA: %s%s%s", why, detail ? ": " : "",
		 detail ? detail : "");
}

static void at_exit(void)
{
	void (*end)(void) = atomic_load(&driver.end);

	if (end)
		end();
}

void hk_cuda_at_exit(void (*end)(void))
{
	atomic_store(&driver.end, end);
}

/* The library stays loaded: what runs at the process's end may need it. */
static void load(void)
{
	const char *path = hk_param_str(HK_PARAM_CUDA_DRIVER);
	const char *text = NULL;
	void *lib = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	CUresult r;

	if (!lib) {
		refuse("the NVIDIA driver's library can't be opened", dlerror());
		return;
	}
	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		void *at = dlsym(lib, entries[i].name);

		if (!at && !entries[i].optional) {
			refuse("the NVIDIA driver is too old, it lacks", entries[i].name);
			return;
		}
		memcpy((char *)&driver.functions + entries[i].offset, &at, sizeof(at));
	}
	r = driver.functions.cuInit(0);
	/* Handlers run in the reverse order: ours before those of a driver that has started. */
	if (!r && atexit(at_exit))
		hk_log(HK_LOG_INFO, "no memory for a handler of the process's end");
	if (!r)
		return;
	driver.functions.cuGetErrorString(r, &text);
	refuse("the NVIDIA driver does not start", text);
}

int hk_cuda_open(const struct hk_cuda **cuda)
{
	pthread_once(&driver.once, load);
	if (driver.err)
		return hk_fail_quiet(-driver.err, "%s", driver.error);
	*cuda = &driver.functions;
	return 0;
}

static int code_of(CUresult r)
{
	return r == CUDA_ERROR_OUT_OF_MEMORY ? ENOMEM : HK_ECUDA;
}

static const char *text_of(CUresult r)
{
	const char *text = NULL;

	if (driver.functions.cuGetErrorString)
		driver.functions.cuGetErrorString(r, &text);
	return text ? text : "an error that it does not know";
}

int hk_cuda_check(CUresult r, const char *what)
{
	if (!r)
		return 0;
	return hk_fail(code_of(r), "%s failed: the CUDA driver says \"%s\" (%d)", what, text_of(r),
		       (int)r);
}

int hk_cuda_try(CUresult r, const char *what)
{
	if (!r)
		return 0;
	return hk_fail_quiet(code_of(r), "%s failed: the CUDA driver says \"%s\" (%d)", what,
			     text_of(r), (int)r);
}
