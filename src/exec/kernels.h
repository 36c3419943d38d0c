/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU kernels: element-wise reductions, scaling and copies, vectorised for every type, chosen once
 * per process for the processor it runs on (portable, AVX2, AVX-512; HOCKET_CPU lowers the choice).
 * float16, bfloat16 and float8 are computed in float32 and rounded to nearest even, so every kernel
 * set gives the same bits. Pointers need no alignment beyond the element's. dst may be a or b
 * exactly, or not overlap them at all.
 */
#ifndef HK_EXEC_KERNELS_H
#define HK_EXEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "types.h"

/* dst[i] = a[i] (+) b[i], i < n. max and min of floats: a NaN loses against a number. */
typedef void hk_reduce_fn(void *dst, const void *a, const void *b, size_t n);
/* dst[i] = src[i] * *scalar; dst may be src. scalar has the element's type, but for float16,
 * bfloat16 and float8 it is a float32, and the product is one of float32, rounded to the type. */
typedef void hk_scale_fn(void *dst, const void *src, size_t n, const void *scalar);
/* dst[i] = dst[i] / by, towards zero; integer types only (NULL for floats). */
typedef void hk_divide_fn(void *dst, size_t n, uint32_t by);

struct hk_kernels {
	const char *name; /* "portable", "avx2", "avx512" */
	hk_reduce_fn *reduce[HK_NTYPES][HK_NREDOPS];
	hk_scale_fn *scale[HK_NTYPES];
	hk_divide_fn *divide[HK_NTYPES];
	/* Plain copy, and one whose stores bypass the cache (and are ordered before it returns). */
	void (*copy)(void *dst, const void *src, size_t bytes);
	void (*copy_nt)(void *dst, const void *src, size_t bytes);
};

/* The set for this processor. Thread-safe, the same for the whole process. */
const struct hk_kernels *hk_kernels(void);
/* Set by level (0 portable, 1 AVX2, 2 AVX-512), NULL if this processor or build lacks it: for
 * tests. */
const struct hk_kernels *hk_kernels_level(int level);

#endif
