/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the kernel sets share: the sets, and the division that all of them use. */
#ifndef HK_EXEC_KERNELS_SETS_H
#define HK_EXEC_KERNELS_SETS_H

#include "kernels.h"

extern const struct hk_kernels hk_kernels_portable;
/* Only in builds for x86-64. */
extern const struct hk_kernels hk_kernels_avx2;
extern const struct hk_kernels hk_kernels_avx512;

hk_divide_fn hk_kernels_divide_int8, hk_kernels_divide_uint8;
hk_divide_fn hk_kernels_divide_int32, hk_kernels_divide_uint32;
hk_divide_fn hk_kernels_divide_int64, hk_kernels_divide_uint64;

#endif
