/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel set for x86-64 processors with AVX-512 F, BW, DQ and VL, compiled for those.
 */
#define HK_VEC	    64
#define HK_SET	    hk_kernels_avx512
#define HK_SET_NAME "avx512"
#include "kernels_impl.h"
