/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The copies of a kernel set. Not memcpy: which instructions that uses depends on the C library,
 * the size and the alignment, and the transports measure ways of copying, which must then be what
 * they are. Copies of a few bytes are on the path of the smallest messages.
 */
#ifndef HK_EXEC_KERNELS_COPY_H
#define HK_EXEC_KERNELS_COPY_H

#include "kernels_vec.h"

enum { LINE = 64, BLOCK = 2 * LINE };

INLINE void copy_line(char *dst, const char *src)
{
	for (unsigned i = 0; i < LINE; i += VEC)
		store(dst + i, load(src + i));
}

/* n <= LINE: loads that overlap, as many as the size needs. */
INLINE void copy_small(char *dst, const char *src, size_t n)
{
	if (n >= 16) {
		vec16 first = *(const any_vec16 *)src;
		vec16 last = *(const any_vec16 *)(src + n - 16);

		if (n > 32) {
			vec16 second = *(const any_vec16 *)(src + 16);
			vec16 third = *(const any_vec16 *)(src + n - 32);

			*(any_vec16 *)(dst + 16) = second;
			*(any_vec16 *)(dst + n - 32) = third;
		}
		*(any_vec16 *)dst = first;
		*(any_vec16 *)(dst + n - 16) = last;
	} else if (n >= 8) {
		uint64_t first = *(const any_u64 *)src, last = *(const any_u64 *)(src + n - 8);

		*(any_u64 *)dst = first;
		*(any_u64 *)(dst + n - 8) = last;
	} else if (n >= 4) {
		uint32_t first = *(const any_u32 *)src, last = *(const any_u32 *)(src + n - 4);

		*(any_u32 *)dst = first;
		*(any_u32 *)(dst + n - 4) = last;
	} else if (n) {
		char first = src[0], middle = src[n / 2], last = src[n - 1];

		dst[0] = first;
		dst[n / 2] = middle;
		dst[n - 1] = last;
	}
}

static void copy(void *to, const void *from, size_t n)
{
	char *dst = to;
	const char *src = from;

	if (n <= LINE) {
		copy_small(dst, src, n);
		return;
	}
	for (; n > BLOCK; dst += BLOCK, src += BLOCK, n -= BLOCK) {
		copy_line(dst, src);
		copy_line(dst + LINE, src + LINE);
	}
	if (n > LINE)
		copy_line(dst, src);
	/* At least a line came before the last one, so that it may reach back. */
	copy_line(dst + n - LINE, src + n - LINE);
}

#ifdef __x86_64__
/* dst is a multiple of VEC. */
INLINE void stream(char *dst, vec v)
{
#if HK_VEC == 16
	_mm_stream_si128((__m128i *)dst, (__m128i)v);
#elif HK_VEC == 32
	_mm256_stream_si256((__m256i *)dst, (__m256i)v);
#elif defined(__AVX512F__)
	_mm512_stream_si512((__m512i *)dst, (__m512i)v);
#else
	store(dst, v);
#endif
}

/* Whole lines of dst bypass the cache; the ends, which share their lines with others, do not. */
static void copy_nt(void *to, const void *from, size_t n)
{
	char *dst = to;
	const char *src = from;
	size_t head = -(uintptr_t)dst % LINE;

	if (n < 4 * LINE) {
		copy(dst, src, n);
		return;
	}
	copy_small(dst, src, head);
	for (dst += head, src += head, n -= head; n >= LINE; dst += LINE, src += LINE, n -= LINE)
		for (unsigned i = 0; i < LINE; i += VEC)
			stream(dst + i, load(src + i));
	copy_small(dst, src, n);
	_mm_sfence();
}
#else
static void copy_nt(void *to, const void *from, size_t n)
{
	copy(to, from, n);
}
#endif

#endif
