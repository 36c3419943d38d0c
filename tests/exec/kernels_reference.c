/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reference for the kernels' tests. Floats are decoded to double and encoded by scaling with
 * ldexp and rounding with nearbyint, integers are computed in 128 bits and cut: nothing is shared
 * with the kernels' own tricks.
 */
#include "kernels_reference.h"

#include <math.h>
#include <string.h>

struct shape {
	int exponent, mantissa; /* bits */
	uint64_t nan;
};

static const struct shape shapes[HK_NTYPES] = {
	[HK_FLOAT16] = {5, 10, 0x7e00},
	[HK_FLOAT32] = {8, 23, 0x7fc00000},
	[HK_FLOAT64] = {11, 52, 0x7ff8000000000000},
	[HK_BFLOAT16] = {8, 7, 0x7fc0},
	[HK_FLOAT8E4M3] = {4, 3, 0x7f},
	[HK_FLOAT8E5M2] = {5, 2, 0x7e},
};

static int bias(const struct shape *s)
{
	return (1 << (s->exponent - 1)) - 1;
}

static uint64_t sign_bit(const struct shape *s)
{
	return 1ull << (s->exponent + s->mantissa);
}

uint64_t ref_huge(enum hk_type type)
{
	const struct shape *s = &shapes[type];

	/* Only e4m3 uses its last exponent for numbers. */
	return type == HK_FLOAT8E4M3 ? 0x7f : ((1ull << s->exponent) - 1) << s->mantissa;
}

uint64_t ref_nan(enum hk_type type)
{
	return shapes[type].nan;
}

double ref_decode(enum hk_type type, uint64_t bits)
{
	const struct shape *s = &shapes[type];
	uint64_t code = bits & (sign_bit(s) - 1);
	int exponent = (int)(code >> s->mantissa);
	double mantissa = (double)(code & ((1ull << s->mantissa) - 1)), x;

	if (code > ref_huge(type) || (code == 0x7f && type == HK_FLOAT8E4M3))
		return NAN;
	if (code == ref_huge(type))
		x = INFINITY;
	else if (exponent)
		x = ldexp(mantissa + ldexp(1, s->mantissa), exponent - bias(s) - s->mantissa);
	else
		x = ldexp(mantissa, 1 - bias(s) - s->mantissa);
	return bits & sign_bit(s) ? -x : x;
}

uint64_t ref_encode(enum hk_type type, double x)
{
	const struct shape *s = &shapes[type];
	uint64_t sign = signbit(x) ? sign_bit(s) : 0, huge = ref_huge(type), code;
	int lowest = 1 - bias(s), exponent = lowest;

	if (isnan(x))
		return s->nan;
	if (isinf(x))
		return sign | huge;
	x = fabs(x);
	if (x > 0 && ilogb(x) > lowest)
		exponent = ilogb(x);
	/* Units in the last place; their number carries into the exponent by itself. */
	code = (uint64_t)nearbyint(ldexp(x, s->mantissa - exponent));
	code += (uint64_t)(exponent - lowest) << s->mantissa;
	return sign | (code < huge ? code : huge);
}

static double narrow_result(double a, double b, enum hk_redop op)
{
	float x = (float)a, y = (float)b;
	volatile float r = op == HK_SUM ? x + y : x * y;

	return (double)r;
}

static int below(double a, double b)
{
	return a < b || (a == b && signbit(a) && !signbit(b));
}

static uint64_t reduce_float(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b)
{
	double x = ref_decode(type, a), y = ref_decode(type, b);

	if (op == HK_MAX || op == HK_MIN) {
		if (isnan(x) || isnan(y))
			return !isnan(x) ? a : !isnan(y) ? b : ref_nan(type);
		return below(x, y) == (op == HK_MAX) ? b : a;
	}
	if (type == HK_FLOAT64) {
		volatile double r = op == HK_SUM ? x + y : x * y;

		return ref_encode(type, r);
	}
	return ref_encode(type, narrow_result(x, y, op));
}

/* The integer that the bits mean. */
static __int128 number(enum hk_type type, uint64_t bits)
{
	switch (type) {
	case HK_INT8:
		return (int8_t)bits;
	case HK_INT32:
		return (int32_t)bits;
	case HK_INT64:
		return (int64_t)bits;
	default:
		return bits;
	}
}

static uint64_t cut(enum hk_type type, unsigned __int128 x)
{
	unsigned bits = 8 * (unsigned)hk_type_size(type);

	return (uint64_t)x & (UINT64_MAX >> (64 - bits));
}

uint64_t ref_reduce(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b)
{
	__int128 x, y;

	if (hk_type_is_float(type))
		return reduce_float(type, op, a, b);
	x = number(type, a);
	y = number(type, b);
	switch (op) {
	case HK_SUM:
		return cut(type, (unsigned __int128)(x + y));
	case HK_PROD:
		return cut(type, (unsigned __int128)x * (unsigned __int128)y);
	case HK_MAX:
		return x < y ? b : a;
	default:
		return x < y ? a : b;
	}
}

uint64_t ref_divide(enum hk_type type, uint64_t x, uint32_t by)
{
	return cut(type, (unsigned __int128)(number(type, x) / by));
}
