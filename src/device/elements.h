/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to elements, eight bytes of them at a time: combine and scale for every type and
 * operation, with the same bits as the processor's kernels (exec/kernels_lanes.h says which: small
 * floats go through float32 and are rounded once, NaNs are canonical, max and min order by bits).
 * Type and operation are constants wherever speed matters; what is left of the switches then is one
 * line of arithmetic.
 */
#ifndef HKD_ELEMENTS_H
#define HKD_ELEMENTS_H

#include "portable.h"
#include "types.h"

/* Codes are the bits of an element without its sign; see exec/kernels_lanes.h. */
struct hkd_format {
	unsigned bits, exp_bits;
	uint64_t huge, top, nan;
};

HKD_FN struct hkd_format hkd_format(enum hk_type type)
{
	switch (type) {
	case HK_FLOAT16:
		return (struct hkd_format){16, 5, 0x7c00, 0x7c00, 0x7e00};
	case HK_BFLOAT16:
		return (struct hkd_format){16, 8, 0x7f80, 0x7f80, 0x7fc0};
	case HK_FLOAT8E4M3:
		return (struct hkd_format){8, 4, 0x7f, 0x7e, 0x7f};
	case HK_FLOAT8E5M2:
		return (struct hkd_format){8, 5, 0x7c, 0x7c, 0x7e};
	case HK_FLOAT64:
		return (struct hkd_format){64, 11, 0x7ff0000000000000u, 0x7ff0000000000000u,
					   0x7ff8000000000000u};
	default:
		return (struct hkd_format){32, 8, 0x7f800000, 0x7f800000, 0x7fc00000};
	}
}

HKD_FN unsigned hkd_bits(enum hk_type type)
{
	switch (type) {
	case HK_INT8:
	case HK_UINT8:
	case HK_FLOAT8E4M3:
	case HK_FLOAT8E5M2:
		return 8;
	case HK_FLOAT16:
	case HK_BFLOAT16:
		return 16;
	case HK_INT64:
	case HK_UINT64:
	case HK_FLOAT64:
		return 64;
	default:
		return 32;
	}
}

HKD_FN int hkd_is_float(enum hk_type type)
{
	return type == HK_FLOAT16 || type == HK_FLOAT32 || type == HK_FLOAT64 ||
	       type == HK_BFLOAT16 || type == HK_FLOAT8E4M3 || type == HK_FLOAT8E5M2;
}

HKD_FN int hkd_is_signed(enum hk_type type)
{
	return type == HK_INT8 || type == HK_INT32 || type == HK_INT64;
}

/* float32's exponent bias less the format's, where float32 has its exponent. */
HKD_FN uint32_t hkd_rebias(struct hkd_format f)
{
	return (uint32_t)(128 - (1 << (f.exp_bits - 1))) << 23;
}

HKD_FN float hkd_widen(uint32_t code, struct hkd_format f)
{
	const uint32_t one = 1u << 23; /* of a float32's exponent */
	unsigned drop = 8 - f.exp_bits;
	uint32_t word = code << (32 - f.bits), mag, tiny;

	if (!drop)
		return hkd_float_of(word);
#ifdef HKD_HAS_HALF
	if (f.bits == 16)
		return hkd_half_widen(code);
#endif
	mag = (word & 0x7fffffffu) >> drop;
	tiny = mag < one;
	if (mag >= (uint32_t)(f.huge << (32 - f.bits - drop)))
		mag = (mag + hkd_rebias(f)) | 0x7f800000u;
	else
		mag += hkd_rebias(f);
	/* A denormal gets the leading one that it lacks, which is then subtracted as a float. */
	if (tiny)
		mag = hkd_bits_of(hkd_float_of(mag + one) - hkd_float_of(hkd_rebias(f) + one));
	return hkd_float_of(mag | (word & 0x80000000u));
}

/* Rounded to nearest even. */
HKD_FN uint32_t hkd_narrow(float x, struct hkd_format f)
{
	unsigned mantissa = f.bits - 1 - f.exp_bits, shift = 23 - mantissa;
	uint32_t word = hkd_bits_of(x), mag = word & 0x7fffffffu, code;

	if (mag > 0x7f800000u)
		return (uint32_t)f.nan;
#ifdef HKD_HAS_HALF
	if (f.bits == 16 && f.exp_bits == 5)
		return hkd_half_narrow(x);
#endif
	code = (mag + ((mag >> shift) & 1u) + ((1u << (shift - 1)) - 1) - hkd_rebias(f)) >> shift;
	if (f.exp_bits < 8) {
		/* Adding this to what becomes a denormal has it rounded. */
		uint32_t magic = hkd_rebias(f) + ((24 - mantissa) << 23);

		if (mag < hkd_rebias(f) + (1u << 23))
			code = hkd_bits_of(hkd_float_of(mag) + hkd_float_of(magic)) - magic;
		if (code > (uint32_t)f.huge)
			code = (uint32_t)f.huge;
	}
	return code | ((word >> (32 - f.bits)) & (1u << (f.bits - 1)));
}

HKD_FN uint64_t hkd_order_float(struct hkd_format f, enum hk_redop op, uint64_t a, uint64_t b)
{
	uint64_t sign = 1ull << (f.bits - 1), mask = sign - 1;
	uint64_t key_a = a & sign ? ~a & (sign | mask) : a | sign;
	uint64_t key_b = b & sign ? ~b & (sign | mask) : b | sign;
	int nan_a = (a & mask) > f.top, nan_b = (b & mask) > f.top;

	if (nan_a || nan_b)
		return nan_a && nan_b ? f.nan : nan_a ? b : a;
	return (op == HK_MAX ? key_a > key_b : key_a < key_b) ? a : b;
}

HKD_FN uint64_t hkd_combine_float(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b)
{
	struct hkd_format f = hkd_format(type);
	float x, y, r;

	if (op == HK_MAX || op == HK_MIN)
		return hkd_order_float(f, op, a, b);
	if (type == HK_FLOAT64) {
		double p = hkd_double_of(a), q = hkd_double_of(b), s = op == HK_SUM ? p + q : p * q;

		return s == s ? hkd_bits_of_double(s) : f.nan;
	}
	if (type == HK_FLOAT32) {
		x = hkd_float_of((uint32_t)a);
		y = hkd_float_of((uint32_t)b);
		r = op == HK_SUM ? x + y : x * y;
		return r == r ? hkd_bits_of(r) : f.nan;
	}
	x = hkd_widen((uint32_t)a, f);
	y = hkd_widen((uint32_t)b, f);
	return hkd_narrow(op == HK_SUM ? x + y : x * y, f);
}

/* One element each, in the low bits; what is above them in the result does not count. */
HKD_FN uint64_t hkd_combine_one(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b)
{
	uint64_t flip = hkd_is_signed(type) ? 1ull << (hkd_bits(type) - 1) : 0;

	if (hkd_is_float(type))
		return hkd_combine_float(type, op, a, b);
	if (op == HK_SUM)
		return a + b;
	if (op == HK_PROD)
		return a * b;
	return (op == HK_MAX ? (a ^ flip) > (b ^ flip) : (a ^ flip) < (b ^ flip)) ? a : b;
}

HKD_FN uint64_t hkd_mask(unsigned bits)
{
	return ~0ull >> (64 - bits);
}

/* Eight bytes of elements. */
HKD_FN uint64_t hkd_combine(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b)
{
	const unsigned bits = hkd_bits(type);
	const uint64_t mask = hkd_mask(bits);
	uint64_t r = 0;

	HKD_UNROLL
	for (unsigned at = 0; at < 64; at += bits)
		r |= (hkd_combine_one(type, op, a >> at & mask, b >> at & mask) & mask) << at;
	return r;
}

/* Elements times the scalar: of the type itself, or a float32 for the small floats. */
HKD_FN uint64_t hkd_scale(enum hk_type type, uint64_t x, uint64_t scalar)
{
	const unsigned bits = hkd_bits(type);
	const uint64_t mask = hkd_mask(bits);
	struct hkd_format f = hkd_format(type);
	uint64_t r = 0;

	HKD_UNROLL
	for (unsigned at = 0; at < 64; at += bits) {
		uint64_t one = x >> at & mask;

		if (hkd_is_float(type) && bits < 32)
			one = hkd_narrow(
				hkd_widen((uint32_t)one, f) * hkd_float_of((uint32_t)scalar), f);
		else
			one = hkd_combine_one(type, HK_PROD, one, scalar & mask) & mask;
		r |= one << at;
	}
	return r;
}

/* Integers divided, towards zero. */
HKD_FN uint64_t hkd_divide_one(enum hk_type type, uint64_t x, uint32_t by)
{
	const unsigned bits = hkd_bits(type);
	uint64_t sign = 1ull << (bits - 1), mag;

	if (!hkd_is_signed(type) || !(x & sign))
		return x / by;
	mag = (~x + 1) & hkd_mask(bits);
	return ~(mag / by) + 1;
}

HKD_FN uint64_t hkd_divide(enum hk_type type, uint64_t x, uint32_t by)
{
	const unsigned bits = hkd_bits(type);
	const uint64_t mask = hkd_mask(bits);
	uint64_t r = 0;

	HKD_UNROLL
	for (unsigned at = 0; at < 64; at += bits)
		r |= (hkd_divide_one(type, x >> at & mask, by) & mask) << at;
	return r;
}

/* A scalar as the functions above take it, from its bits in the type. */
HKD_FN uint64_t hkd_scalar_of(enum hk_type type, uint64_t bits)
{
	if (hkd_is_float(type) && hkd_bits(type) < 32)
		return hkd_bits_of(
			hkd_widen((uint32_t)(bits & hkd_mask(hkd_bits(type))), hkd_format(type)));
	return bits;
}

#endif
