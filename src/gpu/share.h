/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPU memory that several processes of a host use, whoever allocated it. Its owner describes the
 * allocation that an address lies in; another process opens that, and keeps it until nothing of
 * ours runs in the context any more (pool.h).
 *
 * What cuMemAlloc made has a handle of 64 bytes, what was mapped (cuMemCreate,
 * hocketDeviceMemAlloc, PyTorch's expandable segments) a file descriptor, which the caller must
 * send beside the rest. Of addresses to which memory was mapped piece by piece only the piece
 * around the address is shared.
 */
#ifndef HK_GPU_SHARE_H
#define HK_GPU_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu.h"

struct hk_gpu_share {
	uint64_t base, bytes; /* of the allocation, or of the mapped piece of one */
	uint64_t id;	      /* of the buffer: never given again in its process */
	bool by_fd;
	uint8_t handle[64]; /* else */
};

/* *fd: -1 unless by_fd, and then the caller's to close. -ENOTSUP, quietly, for what cannot be
 * shared. */
int hk_gpu_share(struct hk_gpu *gpu, uint64_t at, struct hk_gpu_share *s, int *fd);
/* *at is where the base is here, for this GPU to use. fd stays the caller's. Quiet failures. */
int hk_gpu_open_share(struct hk_gpu *gpu, const struct hk_gpu_share *s, int fd, uint64_t *at);
/* As often as it was opened. Does not wait; kernels that run may still use it. NULL is fine. */
void hk_gpu_close_share(struct hk_gpu *gpu, uint64_t at);

#endif
