/* SPDX-License-Identifier: BSD-3-Clause */
/* Device memory for the registration cache: which allocation an address belongs to, and its dmabuf.
 * They are ops of struct hk_reg_ops (regcache.h); arg is not used. */
#ifndef HK_TRANSPORT_GPU_MEMORY_H
#define HK_TRANSPORT_GPU_MEMORY_H

#include "regcache.h"

/* False also of memory that the CPU and the GPU share (managed memory). */
bool hk_gpu_memory_find(void *arg, const void *at, struct hk_device_memory *memory);
/* Before a device reads or writes it: a driver's copy that has returned may be unfinished, unless
 * the driver is told of such use. */
void hk_gpu_memory_share(const struct hk_device_memory *memory);
/* Shares it. -ENOTSUP where the driver has no dmabufs. The caller closes *fd. */
int hk_gpu_memory_export(void *arg, const struct hk_device_memory *memory, int *fd);

#endif
