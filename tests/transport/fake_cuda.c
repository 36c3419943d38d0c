/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library that calls itself libcuda.so.1 and has what src/transport/gpu_memory.c uses of it, for
 * machines without a GPU. The test writes into fake_cuda_state what memory there is.
 */
#include "fake_cuda.h"

#include <sys/mman.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED struct fake_cuda fake_cuda_state;

EXPORTED int cuPointerGetAttributes(unsigned n, int *attributes, void **data,
				    unsigned long long at);
EXPORTED int cuPointerSetAttribute(const void *value, int attribute, unsigned long long at);
EXPORTED int cuMemGetHandleForAddressRange(void *handle, unsigned long long at, size_t bytes,
					   int type, unsigned long long flags);
EXPORTED int cuMemGetAddressRange_v2(unsigned long long *base, size_t *bytes,
				     unsigned long long at);
EXPORTED int cuDevicePrimaryCtxRetain(void **context, int device);
EXPORTED int cuDevicePrimaryCtxRelease_v2(int device);
EXPORTED int cuCtxPushCurrent_v2(void *context);
EXPORTED int cuCtxPopCurrent_v2(void **context);

static int get_attribute(const struct fake_cuda *f, int attribute, void *data)
{
	switch (attribute) {
	case 1:
		*(void **)data = f->context;
		return 0;
	case 2:
		*(unsigned *)data = f->type;
		return 0;
	case 7:
		*(unsigned long long *)data = f->id;
		return 0;
	case 8:
		*(unsigned *)data = f->managed;
		return 0;
	case 9:
		*(int *)data = 3;
		return 0;
	case 10:
		*(unsigned char *)data = (unsigned char)f->legacy;
		return 0;
	case 11:
		*(unsigned long long *)data = f->base;
		return 0;
	case 12:
		*(size_t *)data = f->bytes;
		return 0;
	default:
		return 1;
	}
}

int cuPointerGetAttributes(unsigned n, int *attributes, void **data, unsigned long long at)
{
	const struct fake_cuda *f = &fake_cuda_state;
	int err = at - f->base < f->bytes ? 0 : 1;

	for (unsigned i = 0; i < n && !err; i++)
		err = get_attribute(f, attributes[i], data[i]);
	return err;
}

int cuPointerSetAttribute(const void *value, int attribute, unsigned long long at)
{
	fake_cuda_state.syncs += attribute == 6 && *(const int *)value == 1;
	return 0;
}

int cuMemGetHandleForAddressRange(void *handle, unsigned long long at, size_t bytes, int type,
				  unsigned long long flags)
{
	struct fake_cuda *f = &fake_cuda_state;

	f->exports++;
	f->exported = at;
	f->exported_bytes = bytes;
	if (!f->depth)
		return 201; /* no context */
	if (f->refuses || type != 1 || flags)
		return f->refuses ? f->refuses : 1;
	*(int *)handle = memfd_create("dmabuf", MFD_CLOEXEC);
	return *(int *)handle < 0;
}

int cuMemGetAddressRange_v2(unsigned long long *base, size_t *bytes, unsigned long long at)
{
	const struct fake_cuda *f = &fake_cuda_state;

	if (!f->depth)
		return 201;
	if (at - f->mapped >= f->mapped_bytes)
		return 500;
	*base = f->mapped;
	*bytes = f->mapped_bytes;
	return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
	struct fake_cuda *f = &fake_cuda_state;

	*context = f;
	f->retained++;
	f->retains++;
	return device != 3;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
	fake_cuda_state.retained--;
	return device != 3;
}

int cuCtxPushCurrent_v2(void *context)
{
	struct fake_cuda *f = &fake_cuda_state;

	f->depth++;
	f->most_depth = f->depth > f->most_depth ? f->depth : f->most_depth;
	return context != (f->context ? f->context : f);
}

int cuCtxPopCurrent_v2(void **context)
{
	*context = fake_cuda_state.context;
	fake_cuda_state.depth--;
	return 0;
}
