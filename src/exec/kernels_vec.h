/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vectors of HK_VEC bytes (16, 32 or 64), for the files that compile the kernels once per kernel
 * set: loads and stores at any address, and parts of a vector.
 *
 * They are the compiler's own vector types, which gcc and clang lower to whatever the target has,
 * so one text serves SSE2, AVX2, AVX-512 and Arm; the few intrinsics here are for what those types
 * cannot say. A `vec` carries any element type; it is cast to a typed vector where lanes matter.
 * Everything is inlined into its caller, where element types and operations are constants.
 */
#ifndef HK_EXEC_KERNELS_VEC_H
#define HK_EXEC_KERNELS_VEC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum { VEC = HK_VEC };

typedef uint64_t vec __attribute__((vector_size(HK_VEC)));
typedef int8_t vs8 __attribute__((vector_size(HK_VEC)));
typedef int16_t vs16 __attribute__((vector_size(HK_VEC)));
typedef int32_t vs32 __attribute__((vector_size(HK_VEC)));
typedef int64_t vs64 __attribute__((vector_size(HK_VEC)));
typedef uint8_t vu8 __attribute__((vector_size(HK_VEC)));
typedef uint16_t vu16 __attribute__((vector_size(HK_VEC)));
typedef uint32_t vu32 __attribute__((vector_size(HK_VEC)));
typedef float vf32 __attribute__((vector_size(HK_VEC)));
typedef double vf64 __attribute__((vector_size(HK_VEC)));
typedef uint64_t vec16 __attribute__((vector_size(16)));
typedef uint64_t vec32 __attribute__((vector_size(32)));

/* The same in memory: at any address, over elements of any type. */
typedef uint64_t any_vec __attribute__((vector_size(HK_VEC), aligned(1), may_alias));
typedef uint64_t any_vec32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t any_vec16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t any_u64 __attribute__((aligned(1), may_alias));
typedef uint32_t any_u32 __attribute__((aligned(1), may_alias));
typedef uint16_t any_u16 __attribute__((aligned(1), may_alias));

INLINE vec load(const char *p)
{
	return *(const any_vec *)p;
}

INLINE void store(char *p, vec v)
{
	*(any_vec *)p = v;
}

/* a where the mask's lane is all ones, b where it is zero. */
INLINE vec pick(vec mask, vec a, vec b)
{
#if HK_VEC == 32
	return (vec)_mm256_blendv_epi8((__m256i)b, (__m256i)a, (__m256i)mask);
#else
	return (mask & a) | (~mask & b);
#endif
}

/* x, of `size` bytes, in every lane. */
INLINE vec every(uint64_t x, unsigned size)
{
	if (size == 1)
		x *= 0x0101010101010101;
	else if (size == 2)
		x *= 0x0001000100010001;
	else if (size == 4)
		x *= 0x0000000100000001;
	return (vec){0} + x;
}

/* Halves and quarters. */
#if HK_VEC == 32
INLINE vec join16(vec16 low, vec16 high)
{
	return (vec)_mm256_set_m128i((__m128i)high, (__m128i)low);
}

INLINE vec16 low16(vec v)
{
	return (vec16)_mm256_castsi256_si128((__m256i)v);
}

INLINE vec16 high16(vec v)
{
	return (vec16)_mm256_extracti128_si256((__m256i)v, 1);
}
#elif HK_VEC == 64 && defined(__AVX512F__)
INLINE vec join32(vec32 low, vec32 high)
{
	return (vec)_mm512_inserti64x4(_mm512_castsi256_si512((__m256i)low), (__m256i)high, 1);
}

INLINE vec32 low32(vec v)
{
	return (vec32)_mm512_castsi512_si256((__m512i)v);
}

INLINE vec32 high32(vec v)
{
	return (vec32)_mm512_extracti64x4_epi64((__m512i)v, 1);
}

INLINE vec join16(vec16 low, vec16 high)
{
	return (vec)_mm512_zextsi256_si512(_mm256_set_m128i((__m128i)high, (__m128i)low));
}

INLINE vec16 low16(vec v)
{
	return (vec16)_mm512_castsi512_si128((__m512i)v);
}

INLINE vec16 high16(vec v)
{
	return (vec16)_mm256_extracti128_si256(_mm512_castsi512_si256((__m512i)v), 1);
}
#elif HK_VEC == 64 /* only in a test, on processors without AVX-512 */
INLINE vec join32(vec32 low, vec32 high)
{
	return (vec){low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]};
}

INLINE vec32 low32(vec v)
{
	return (vec32){v[0], v[1], v[2], v[3]};
}

INLINE vec32 high32(vec v)
{
	return (vec32){v[4], v[5], v[6], v[7]};
}

INLINE vec join16(vec16 low, vec16 high)
{
	return (vec){low[0], low[1], high[0], high[1]};
}

INLINE vec16 low16(vec v)
{
	return (vec16){v[0], v[1]};
}

INLINE vec16 high16(vec v)
{
	return (vec16){v[2], v[3]};
}
#endif

/*
 * The n bytes at p, 0 < n < VEC, as a vector: two loads that overlap, side by side. Elements may
 * appear twice, with zeros beside them; store_part puts them back as they came.
 */
INLINE vec load_part(const char *p, size_t n)
{
	uint64_t low, high = 0;

#if HK_VEC >= 64
	if (n >= 32)
		return join32(*(const any_vec32 *)p, *(const any_vec32 *)(p + n - 32));
#endif
#if HK_VEC >= 32
	if (n >= 16)
		return join16(*(const any_vec16 *)p, *(const any_vec16 *)(p + n - 16));
#endif
	if (n >= 8) {
		low = *(const any_u64 *)p;
		high = *(const any_u64 *)(p + n - 8);
	} else if (n >= 4) {
		low = *(const any_u32 *)p | (uint64_t) * (const any_u32 *)(p + n - 4) << 32;
	} else if (n >= 2) {
		low = *(const any_u16 *)p | (uint64_t) * (const any_u16 *)(p + n - 2) << 16;
	} else {
		low = *(const uint8_t *)p;
	}
	return (vec){low, high};
}

INLINE void store_part(char *p, size_t n, vec v)
{
#if HK_VEC >= 64
	if (n >= 32) {
		*(any_vec32 *)p = low32(v);
		*(any_vec32 *)(p + n - 32) = high32(v);
		return;
	}
#endif
#if HK_VEC >= 32
	if (n >= 16) {
		*(any_vec16 *)p = low16(v);
		*(any_vec16 *)(p + n - 16) = high16(v);
		return;
	}
#endif
	if (n >= 8) {
		*(any_u64 *)p = v[0];
		*(any_u64 *)(p + n - 8) = v[1];
	} else if (n >= 4) {
		*(any_u32 *)p = (uint32_t)v[0];
		*(any_u32 *)(p + n - 4) = (uint32_t)(v[0] >> 32);
	} else if (n >= 2) {
		*(any_u16 *)p = (uint16_t)v[0];
		*(any_u16 *)(p + n - 2) = (uint16_t)(v[0] >> 16);
	} else {
		*(uint8_t *)p = (uint8_t)v[0];
	}
}

#endif
