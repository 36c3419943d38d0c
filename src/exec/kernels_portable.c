/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel set that any processor runs: vectors of 16 bytes, as SSE2 and Neon have. x86-64 and
 * 64-bit Arm have these in every processor; elsewhere the compiler makes do with what there is.
 */
#define HK_VEC	    16
#define HK_SET	    hk_kernels_portable
#define HK_SET_NAME "portable"
#include "kernels_impl.h"
