/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a context that communicators had. The driver's own freeing waits for the kernels of
 * the GPU, and one of them may wait for what the freeing thread does next: another rank of this
 * process, in another communicator. So pieces are kept, and used again, until nothing of ours runs
 * in the context any more; likewise the opened memory of other processes.
 *
 * The driver's allocating may wait, too, by its documentation. What is needed while kernels run
 * comes from where it does not: device memory from the driver's stream-ordered allocator, by a
 * pool of our own (in the driver's default one a piece that the application has just freed may be
 * given out that its kernels still have to leave), and pinned memory from what was reserved when
 * communicators were made, which is cut into pieces.
 */
#ifndef HK_GPU_POOL_H
#define HK_GPU_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"

enum hk_gpu_memory {
	HK_GPU_OWN,    /* of the device; allocating never waits for kernels */
	HK_GPU_SHARED, /* of the device; other processes can open it; allocating may wait */
	HK_GPU_HOST,   /* pinned; allocating more than is reserved may wait */
	HK_GPU_OPENED, /* another process's, by a handle ... */
	HK_GPU_MAPPED, /* ... or mapped */
};

struct hk_gpu;
struct hk_gpu_piece;
struct hk_gpu_pool {
	struct hk_gpu_piece *pieces;
	CUmemoryPool driver;	     /* NULL: the driver has no pools */
	size_t host_bytes, promised; /* pinned memory that there is, and that was reserved */
};

/* That of the GPU's context. */
struct hk_gpu_pool *hk_gpu_pool_of(const struct hk_gpu *gpu);

/* Makes it ready for use, empty. 0 or an error. */
int hk_gpu_pool_open(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUdevice device);
/* With the context current, and a stream of it on which nothing waits for kernels. -ENOMEM, with
 * the driver's sentence. */
int hk_gpu_pool_take(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUstream stream,
		     enum hk_gpu_memory kind, size_t bytes, CUdeviceptr *at);
/* From now on, until unreserve, so much pinned memory is there for the caller, too. Amounts are
 * multiples of 512. */
int hk_gpu_pool_reserve(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, size_t bytes);
void hk_gpu_pool_unreserve(struct hk_gpu_pool *pool, size_t bytes);
/* again: whether it may be used again. */
void hk_gpu_pool_give(struct hk_gpu_pool *pool, CUdeviceptr at, bool again);
/* Notes opened memory of another process, where it has it, and how it was opened: mapped, or by a
 * handle. -ENOMEM. */
int hk_gpu_pool_note(struct hk_gpu_pool *pool, bool mapped, CUdeviceptr at, uint64_t base,
		     uint64_t bytes);
/* It is closed once the pool is emptied. */
void hk_gpu_pool_close(struct hk_gpu_pool *pool, CUdeviceptr at);
/* Closes now, with the context current, what is left of such memory of whoever had it at these
 * addresses. Waits for kernels. Returns how many. */
unsigned hk_gpu_pool_close_spent(struct hk_gpu_pool *pool, const struct hk_cuda *cuda,
				 uint64_t base, uint64_t bytes);
/* Ends it. With the context current. */
void hk_gpu_pool_empty(struct hk_gpu_pool *pool, const struct hk_cuda *cuda);

#endif
