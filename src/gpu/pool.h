/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a context that communicators had. The driver's own freeing waits for the kernels of
 * the GPU, and one of them may wait for what the freeing thread does next: another rank of this
 * process, in another communicator. So pieces are kept, and used again, until nothing of ours runs
 * in the context any more; likewise the opened memory of other processes.
 */
#ifndef HK_GPU_POOL_H
#define HK_GPU_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "driver.h"

struct hk_gpu_piece;
struct hk_gpu_pool {
	struct hk_gpu_piece *pieces;
};

/* With the context current. -ENOMEM, with the driver's sentence. host: pinned. */
int hk_gpu_pool_take(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, bool host, size_t bytes,
		     CUdeviceptr *at);
/* again: whether it may be used again. */
void hk_gpu_pool_give(struct hk_gpu_pool *pool, CUdeviceptr at, bool again);
/* Closes opened memory of another process, once the pool is emptied. */
void hk_gpu_pool_close(struct hk_gpu_pool *pool, CUdeviceptr at);
/* With the context current. */
void hk_gpu_pool_empty(struct hk_gpu_pool *pool, const struct hk_cuda *cuda);

#endif
