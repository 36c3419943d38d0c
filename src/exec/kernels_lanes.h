/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to a vector's lanes: combine(type, op, a, b) for every type and operation.
 *
 * Integers wrap (added and multiplied as unsigned). Floats add and multiply with the processor's
 * arithmetic, in its default environment; the types below 32 bits are first widened to float32,
 * exactly, and the result is rounded once, to nearest even. So that every kernel set, and every
 * kind of processor, gives the same bits:
 *   - a NaN result is the type's canonical one (positive, quiet), whatever NaN went in;
 *   - float8e4m3 follows OFP8 without saturation: no infinities, and what rounds past 448 is NaN,
 *     with the result's sign; float8e5m2 overflows to infinity as IEEE types do;
 *   - max and min order numbers by their bits, -0 below +0, and a NaN loses against any number.
 */
#ifndef HK_EXEC_KERNELS_LANES_H
#define HK_EXEC_KERNELS_LANES_H

#include "kernels_vec.h"
#include "types.h"

/* Codes are the bits of an element without its sign. */
struct format {
	unsigned bits, exp_bits;
	uint64_t huge; /* first code past the finite numbers: infinity, or for e4m3 NaN */
	uint64_t top;  /* last code that is no NaN */
	uint64_t nan;  /* canonical NaN */
};

static const struct format formats[HK_NTYPES] = {
	[HK_FLOAT16] = {16, 5, 0x7c00, 0x7c00, 0x7e00},
	[HK_FLOAT32] = {32, 8, 0x7f800000, 0x7f800000, 0x7fc00000},
	[HK_FLOAT64] = {64, 11, 0x7ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000},
	[HK_BFLOAT16] = {16, 8, 0x7f80, 0x7f80, 0x7fc0},
	[HK_FLOAT8E4M3] = {8, 4, 0x7f, 0x7e, 0x7f},
	[HK_FLOAT8E5M2] = {8, 5, 0x7c, 0x7c, 0x7e},
};

/* hk_type_size and its like as constants. */
static const struct {
	unsigned size;
	int is_signed, is_float;
} traits[HK_NTYPES] = {
	[HK_INT8] = {1, 1, 0},	   [HK_UINT8] = {1, 0, 0},	[HK_INT32] = {4, 1, 0},
	[HK_UINT32] = {4, 0, 0},   [HK_INT64] = {8, 1, 0},	[HK_UINT64] = {8, 0, 0},
	[HK_FLOAT16] = {2, 1, 1},  [HK_FLOAT32] = {4, 1, 1},	[HK_FLOAT64] = {8, 1, 1},
	[HK_BFLOAT16] = {2, 1, 1}, [HK_FLOAT8E4M3] = {1, 1, 1}, [HK_FLOAT8E5M2] = {1, 1, 1},
};

/* All ones in the lanes where a < b, as signed integers. */
INLINE vec less(vec a, vec b, unsigned size)
{
	switch (size) {
	case 1:
		return (vec)((vs8)a < (vs8)b);
	case 2:
		return (vec)((vs16)a < (vs16)b);
	case 4:
		return (vec)((vs32)a < (vs32)b);
	default:
		return (vec)((vs64)a < (vs64)b);
	}
}

INLINE vec int_arith(vec a, vec b, unsigned size, enum hk_redop op)
{
	switch (size) {
	case 1:
		return op == HK_SUM ? (vec)((vu8)a + (vu8)b) : (vec)((vu8)a * (vu8)b);
	case 4:
		return op == HK_SUM ? (vec)((vu32)a + (vu32)b) : (vec)((vu32)a * (vu32)b);
	default:
		return op == HK_SUM ? a + b : a * b;
	}
}

INLINE vec int_order(vec a, vec b, unsigned size, int is_signed, enum hk_redop op)
{
	vec flip = every(is_signed ? 0 : 1ull << (8 * size - 1), size);
	vec below = less(a ^ flip, b ^ flip, size);

	return op == HK_MAX ? pick(below, b, a) : pick(below, a, b);
}

/* Sign and magnitude become two's complement, whose order is the order of the numbers. */
INLINE vec float_order(vec a, vec b, struct format f, enum hk_redop op)
{
	unsigned size = f.bits / 8;
	vec mask = every((1ull << (f.bits - 1)) - 1, size), top = every(f.top, size);
	vec nan_a = less(top, a & mask, size), nan_b = less(top, b & mask, size);
	vec key_a = a ^ (less(a, (vec){0}, size) & mask);
	vec key_b = b ^ (less(b, (vec){0}, size) & mask);
	vec take_a = op == HK_MAX ? less(key_b, key_a, size) : less(key_a, key_b, size);

	take_a = (take_a & ~nan_a) | nan_b;
	return pick(nan_a & nan_b, every(f.nan, size), pick(take_a, a, b));
}

INLINE vf32 f32_arith(vf32 a, vf32 b, enum hk_redop op)
{
	return op == HK_SUM ? a + b : a * b;
}

INLINE vec f32_quiet(vf32 x)
{
	return pick((vec)(x == x), (vec)x, every(formats[HK_FLOAT32].nan, 4));
}

INLINE vec f64_arith(vf64 a, vf64 b, enum hk_redop op)
{
	vf64 x = op == HK_SUM ? a + b : a * b;

	return pick((vec)(x == x), (vec)x, every(formats[HK_FLOAT64].nan, 8));
}

/* float32's exponent bias less the format's, where float32 has its exponent. */
INLINE uint32_t rebias(struct format f)
{
	return (uint32_t)(128 - (1 << (f.exp_bits - 1))) << 23;
}

/* The elements at bit `at` of every 32-bit word, as float32. */
INLINE vf32 widen(vec x, struct format f, unsigned at)
{
	const uint32_t one = 1u << 23; /* of a float32's exponent */
	unsigned drop = 8 - f.exp_bits;
	vu32 word = (vu32)x << (32 - f.bits - at);
	vu32 mag, tiny, special;

	if (!drop)
		return (vf32)(word & 0xffff0000u);
	mag = (word & ((1u << 31) - (1u << (32 - f.bits)))) >> drop;
	tiny = (vu32)((vs32)mag < (int32_t)one);
	special = (vu32)((vs32)mag >= (int32_t)(f.huge << (32 - f.bits - drop)));
	/* A denormal gets the leading one that it lacks, which is then subtracted as a float. */
	mag = (mag + rebias(f) + (tiny & one)) | (special & 0x7f800000u);
	mag = (vu32)((vf32)mag - (vf32)(tiny & (rebias(f) + one)));
	return (vf32)(mag | (word & 0x80000000u));
}

/* float32 to the format's bits, rounded to nearest even, in the low end of every word. */
INLINE vec narrow(vf32 x, struct format f)
{
	unsigned mantissa = f.bits - 1 - f.exp_bits, shift = 23 - mantissa;
	vu32 word = (vu32)x, mag = word & 0x7fffffffu;
	vu32 sign = (word >> (32 - f.bits)) & (1u << (f.bits - 1));
	vu32 odd = (mag >> shift) & 1u;
	vec nan = less(every(formats[HK_FLOAT32].top, 4), (vec)mag, 4);
	vec code = (vec)((mag + odd + ((1u << (shift - 1)) - 1 - rebias(f))) >> shift);

	if (f.exp_bits < 8) {
		/* Adding this to what becomes a denormal has the processor round it. */
		uint32_t magic = rebias(f) + ((24 - mantissa) << 23);
		vec tiny = less((vec)mag, every(rebias(f) + (1u << 23), 4), 4);
		vec rounded = (vec)((vu32)((vf32)mag + (vf32)((vu32){0} + magic)) - magic);

		code = pick(tiny, rounded, code);
		code = pick(less(every(f.huge, 4), code, 4), every(f.huge, 4), code);
	}
	return pick(nan, every(f.nan, 4), code | (vec)sign);
}

INLINE vec narrow_arith(vec a, vec b, struct format f, unsigned at, enum hk_redop op)
{
	vf32 x = f32_arith(widen(a, f, at), widen(b, f, at), op);

	return (vec)((vu32)narrow(x, f) << at);
}

/* float16 through the processor's own conversions where there are some. */
#if HK_VEC == 32 && defined(__F16C__)
INLINE vec f16_arith(vec a, vec b, enum hk_redop op)
{
	vf32 low = f32_arith((vf32)_mm256_cvtph_ps((__m128i)low16(a)),
			     (vf32)_mm256_cvtph_ps((__m128i)low16(b)), op);
	vf32 high = f32_arith((vf32)_mm256_cvtph_ps((__m128i)high16(a)),
			      (vf32)_mm256_cvtph_ps((__m128i)high16(b)), op);

	return join16((vec16)_mm256_cvtps_ph((__m256)f32_quiet(low), _MM_FROUND_TO_NEAREST_INT),
		      (vec16)_mm256_cvtps_ph((__m256)f32_quiet(high), _MM_FROUND_TO_NEAREST_INT));
}
#elif HK_VEC == 64 && defined(__AVX512F__)
INLINE vec f16_arith(vec a, vec b, enum hk_redop op)
{
	vf32 low = f32_arith((vf32)_mm512_cvtph_ps((__m256i)low32(a)),
			     (vf32)_mm512_cvtph_ps((__m256i)low32(b)), op);
	vf32 high = f32_arith((vf32)_mm512_cvtph_ps((__m256i)high32(a)),
			      (vf32)_mm512_cvtph_ps((__m256i)high32(b)), op);

	return join32((vec32)_mm512_cvtps_ph((__m512)f32_quiet(low), _MM_FROUND_TO_NEAREST_INT),
		      (vec32)_mm512_cvtps_ph((__m512)f32_quiet(high), _MM_FROUND_TO_NEAREST_INT));
}
#else
INLINE vec f16_arith(vec a, vec b, enum hk_redop op)
{
	struct format f = formats[HK_FLOAT16];

	return narrow_arith(a, b, f, 0, op) | narrow_arith(a, b, f, 16, op);
}
#endif

INLINE vec float_arith(enum hk_type type, enum hk_redop op, vec a, vec b)
{
	struct format f = formats[type];

	switch (type) {
	case HK_FLOAT64:
		return f64_arith((vf64)a, (vf64)b, op);
	case HK_FLOAT32:
		return f32_quiet(f32_arith((vf32)a, (vf32)b, op));
	case HK_FLOAT16:
		return f16_arith(a, b, op);
	case HK_BFLOAT16:
		return narrow_arith(a, b, f, 0, op) | narrow_arith(a, b, f, 16, op);
	default:
		return narrow_arith(a, b, f, 0, op) | narrow_arith(a, b, f, 8, op) |
		       narrow_arith(a, b, f, 16, op) | narrow_arith(a, b, f, 24, op);
	}
}

INLINE vec combine(enum hk_type type, enum hk_redop op, vec a, vec b)
{
	int arith = op == HK_SUM || op == HK_PROD;

	if (traits[type].is_float)
		return arith ? float_arith(type, op, a, b) : float_order(a, b, formats[type], op);
	return arith ? int_arith(a, b, traits[type].size, op)
		     : int_order(a, b, traits[type].size, traits[type].is_signed, op);
}

/* x times the scalar that fills `by`: of the type itself, or float32 for the small floats. */
INLINE vec scaled(enum hk_type type, vec x, vec by)
{
	struct format f = formats[type];
	vec product = {0};

	if (!traits[type].is_float || f.bits >= 32)
		return combine(type, HK_PROD, x, by);
	for (unsigned at = 0; at < 32; at += f.bits)
		product |= (vec)((vu32)narrow(widen(x, f, at) * (vf32)by, f) << at);
	return product;
}

#endif
