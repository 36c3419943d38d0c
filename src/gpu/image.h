/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels, compiled by nvcc for several generations of GPUs: a fat binary, as the driver loads
 * it. */
#ifndef HK_GPU_IMAGE_H
#define HK_GPU_IMAGE_H

extern const unsigned char hk_gpu_image[];

#endif
