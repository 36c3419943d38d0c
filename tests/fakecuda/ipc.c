/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device memory of another process on this machine. A handle names the memfd by process and number,
 * and the one that opens it maps it from /proc. The owner may free it meanwhile: the memory stays
 * as long as it is mapped anywhere, but it can no longer be opened. While it is open here, nothing
 * that the owner has at the same address now can be opened: that is so with a real driver, too.
 */
#include "fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct handle {
	uint64_t secret, bytes, file_bytes, offset, at;
	int32_t pid, fd, device;
};

_Static_assert(sizeof(struct handle) <= CU_IPC_HANDLE_SIZE, "a handle has 64 bytes");

/* The handle of an address inside an allocation is that of the allocation: what the other side gets
 * is its beginning, as with a real driver. */
CUresult cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);
	struct fake_range *r;
	struct handle h = {0};

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)dptr);
	if (!r || r->kind != RANGE_DEVICE || r->pooled) {
		err = CUDA_ERROR_INVALID_VALUE;
	} else {
		h = (struct handle){r->secret, r->bytes, r->file_bytes, r->offset,
				    r->at,     getpid(), r->fd,		r->device};
		memset(pHandle, 0, sizeof *pHandle);
		memcpy(pHandle, &h, sizeof h);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* A descriptor of the file, if it is still that one. */
static int open_file(const struct handle *h)
{
	char path[64], expected[64], target[96];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/fd/%d", h->pid, h->fd);
	snprintf(expected, sizeof expected, "/memfd:hkfake-%016llx", (unsigned long long)h->secret);
	n = readlink(path, target, sizeof target - 1);
	if (n < 0)
		return -1;
	target[n] = '\0';
	return strncmp(target, expected, strlen(expected)) ? -1 : open(path, O_RDWR | O_CLOEXEC);
}

/* Under the lock, so that two threads that open the same get the same. */
static CUresult open_range(const struct handle *h, CUcontext ctx, struct fake_range **range)
{
	struct fake_range *r = fake_range_opened(h->secret);
	int fd;

	if (!r && fake_range_overlaid(h->pid, h->at, h->bytes))
		return CUDA_ERROR_ALREADY_MAPPED;
	if (!r) {
		fd = open_file(h);
		if (fd < 0)
			return CUDA_ERROR_INVALID_VALUE;
		r = fake_alloc(sizeof *r);
		if (fake_map(r, fd, h->file_bytes)) {
			close(fd);
			free(r);
			return CUDA_ERROR_MAP_FAILED;
		}
		close(fd);
		r->kind = RANGE_IPC;
		r->at = (uintptr_t)r->map + (r->map_bytes - h->file_bytes) / 2 + h->offset;
		r->bytes = h->bytes;
		r->ctx = ctx;
		r->device = h->device;
		r->secret = h->secret;
		r->owner = h->pid;
		r->from = h->at;
		fake_range_add(r);
	}
	r->opened++;
	*range = r;
	return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned Flags)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);
	struct fake_range *r;
	struct handle h;

	if (err)
		return err;
	memcpy(&h, &handle, sizeof h);
	if (Flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
		return CUDA_ERROR_INVALID_VALUE;
	if (fake.no_ipc)
		return CUDA_ERROR_MAP_FAILED;
	if (h.pid == getpid())
		return CUDA_ERROR_INVALID_CONTEXT;
	if (fake.no_peers && h.device != ctx->device)
		return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
	pthread_mutex_lock(&fake.lock);
	err = open_range(&h, ctx, &r);
	if (!err)
		*pdptr = (CUdeviceptr)r->at;
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* As often as it was opened; the last one waits for what may still use it. */
CUresult cuIpcCloseMemHandle(CUdeviceptr dptr)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);
	struct fake_range *r;

	if (err)
		return err;
	pthread_mutex_lock(&fake.lock);
	r = fake_range_find((uintptr_t)dptr);
	if (!r || r->kind != RANGE_IPC || r->at != (uintptr_t)dptr) {
		err = CUDA_ERROR_INVALID_VALUE;
	} else if (!--r->opened) {
		fake_range_remove(r);
		fake_ctx_wait(r->ctx);
		fake_unmap(r);
		free(r);
	}
	pthread_mutex_unlock(&fake.lock);
	return err;
}
