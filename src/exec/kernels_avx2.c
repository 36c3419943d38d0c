/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel set for x86-64 processors with AVX2 and F16C, compiled for those.
 */
#define HK_VEC	    32
#define HK_SET	    hk_kernels_avx2
#define HK_SET_NAME "avx2"
#include "kernels_impl.h"
