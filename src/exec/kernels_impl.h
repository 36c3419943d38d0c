/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One kernel set. A file defines HK_VEC, the vector's bytes, HK_SET, the table to define, and
 * HK_SET_NAME, and then includes this; the build gives that file the compiler flags of its level.
 *
 * Every kernel is the same loop with its type and operation as constants. The last vector is
 * computed before the loop and stored after it, reaching back over elements that the loop stores
 * too: the same values, so there is no scalar tail, and it stays right when dst is a or b. Fewer
 * bytes than a vector go through one vector that is partly filled.
 */
#ifndef HK_EXEC_KERNELS_IMPL_H
#define HK_EXEC_KERNELS_IMPL_H

#include "kernels.h"
#include "kernels_copy.h"
#include "kernels_lanes.h"
#include "kernels_sets.h"
#include "kernels_vec.h"

INLINE void reduce(enum hk_type type, enum hk_redop op, char *dst, const char *a, const char *b,
		   size_t n)
{
	size_t bytes = n * traits[type].size;
	vec last;

	if (bytes < VEC) {
		if (bytes)
			store_part(dst, bytes,
				   combine(type, op, load_part(a, bytes), load_part(b, bytes)));
		return;
	}
	bytes -= VEC;
	last = combine(type, op, load(a + bytes), load(b + bytes));
	for (size_t i = 0; i < bytes; i += VEC)
		store(dst + i, combine(type, op, load(a + i), load(b + i)));
	store(dst + bytes, last);
}

INLINE void scale(enum hk_type type, char *dst, const char *src, size_t n, const void *scalar)
{
	size_t size = traits[type].size, bytes = n * size;
	vec last, by;

	if (size == 4 || traits[type].is_float)
		by = size == 8 ? every(*(const any_u64 *)scalar, 8)
			       : every(*(const any_u32 *)scalar, 4);
	else if (size == 1)
		by = every(*(const uint8_t *)scalar, 1);
	else
		by = every(*(const any_u64 *)scalar, 8);
	if (bytes < VEC) {
		if (bytes)
			store_part(dst, bytes, scaled(type, load_part(src, bytes), by));
		return;
	}
	bytes -= VEC;
	last = scaled(type, load(src + bytes), by);
	for (size_t i = 0; i < bytes; i += VEC)
		store(dst + i, scaled(type, load(src + i), by));
	store(dst + bytes, last);
}

#define REDUCE(type, op)                                                                           \
	static void reduce_##type##_##op(void *dst, const void *a, const void *b, size_t n)        \
	{                                                                                          \
		reduce(HK_##type, HK_##op, dst, a, b, n);                                          \
	}

#define KERNELS(type)                                                                              \
	REDUCE(type, SUM)                                                                          \
	REDUCE(type, PROD)                                                                         \
	REDUCE(type, MAX)                                                                          \
	REDUCE(type, MIN)                                                                          \
	static void scale_##type(void *dst, const void *src, size_t n, const void *scalar)         \
	{                                                                                          \
		scale(HK_##type, dst, src, n, scalar);                                             \
	}

KERNELS(INT8)
KERNELS(UINT8)
KERNELS(INT32)
KERNELS(UINT32)
KERNELS(INT64)
KERNELS(UINT64)
KERNELS(FLOAT16)
KERNELS(FLOAT32)
KERNELS(FLOAT64)
KERNELS(BFLOAT16)
KERNELS(FLOAT8E4M3)
KERNELS(FLOAT8E5M2)

#define REDUCE_ROW(type)                                                                           \
	{                                                                                          \
		reduce_##type##_SUM, reduce_##type##_PROD, reduce_##type##_MAX,                    \
			reduce_##type##_MIN                                                        \
	}

_Static_assert(HK_SUM == 0 && HK_PROD == 1 && HK_MAX == 2 && HK_MIN == 3, "the order of a row");

const struct hk_kernels HK_SET = {
	.name = HK_SET_NAME,
	.reduce =
		{
			[HK_INT8] = REDUCE_ROW(INT8),
			[HK_UINT8] = REDUCE_ROW(UINT8),
			[HK_INT32] = REDUCE_ROW(INT32),
			[HK_UINT32] = REDUCE_ROW(UINT32),
			[HK_INT64] = REDUCE_ROW(INT64),
			[HK_UINT64] = REDUCE_ROW(UINT64),
			[HK_FLOAT16] = REDUCE_ROW(FLOAT16),
			[HK_FLOAT32] = REDUCE_ROW(FLOAT32),
			[HK_FLOAT64] = REDUCE_ROW(FLOAT64),
			[HK_BFLOAT16] = REDUCE_ROW(BFLOAT16),
			[HK_FLOAT8E4M3] = REDUCE_ROW(FLOAT8E4M3),
			[HK_FLOAT8E5M2] = REDUCE_ROW(FLOAT8E5M2),
		},
	.scale =
		{
			[HK_INT8] = scale_INT8,
			[HK_UINT8] = scale_UINT8,
			[HK_INT32] = scale_INT32,
			[HK_UINT32] = scale_UINT32,
			[HK_INT64] = scale_INT64,
			[HK_UINT64] = scale_UINT64,
			[HK_FLOAT16] = scale_FLOAT16,
			[HK_FLOAT32] = scale_FLOAT32,
			[HK_FLOAT64] = scale_FLOAT64,
			[HK_BFLOAT16] = scale_BFLOAT16,
			[HK_FLOAT8E4M3] = scale_FLOAT8E4M3,
			[HK_FLOAT8E5M2] = scale_FLOAT8E5M2,
		},
	.divide =
		{
			[HK_INT8] = hk_kernels_divide_int8,
			[HK_UINT8] = hk_kernels_divide_uint8,
			[HK_INT32] = hk_kernels_divide_int32,
			[HK_UINT32] = hk_kernels_divide_uint32,
			[HK_INT64] = hk_kernels_divide_int64,
			[HK_UINT64] = hk_kernels_divide_uint64,
		},
	.copy = copy,
	.copy_nt = copy_nt,
};

#endif
