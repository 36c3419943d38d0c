/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of element types and their conversions. Stored values are integers that the type
 * represents exactly, or zero, so storing a small float needs no rounding: it cuts the bits of the
 * float32. Loading takes any bits, because what a collective returns may be anything.
 */
#include "element.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 64-bit integers stop at 2^52, where a double still counts exactly. */
#define EXACT_WIDE 4503599627370496.0

const struct hk_element hk_elements[hocketNumTypes] = {
	[hocketInt8] = {"int8", "char", 1, false, true, 0, 0, 127, 6},
	[hocketUint8] = {"uint8", "uchar", 1, false, false, 0, 0, 255, 7},
	[hocketInt32] = {"int32", "int", 4, false, true, 0, 0, 2147483647.0, 30},
	[hocketUint32] = {"uint32", "uint", 4, false, false, 0, 0, 4294967295.0, 31},
	[hocketInt64] = {"int64", "long", 8, false, true, 0, 0, EXACT_WIDE, 52},
	[hocketUint64] = {"uint64", "ulong", 8, false, false, 0, 0, EXACT_WIDE, 52},
	[hocketFloat16] = {"half", "float16", 2, true, true, 5, 10, 2048, 15},
	[hocketFloat32] = {"float", "float32", 4, true, true, 8, 23, 16777216, 100},
	[hocketFloat64] = {"double", "float64", 8, true, true, 11, 52, EXACT_WIDE, 1000},
	[hocketBfloat16] = {"bfloat16", "bf16", 2, true, true, 8, 7, 256, 100},
	[hocketFloat8e4m3] = {"f8e4m3", "fp8_e4m3", 1, true, true, 4, 3, 16, 8},
	[hocketFloat8e5m2] = {"f8e5m2", "fp8_e5m2", 1, true, true, 5, 2, 8, 15},
};

int hk_element_find(const char *name)
{
	for (int t = 0; t < hocketNumTypes; t++)
		if (!strcmp(name, hk_elements[t].name) || !strcmp(name, hk_elements[t].alias))
			return t;
	return -1;
}

/* Bits of a small float: 0, or a value that is normal and exact in it. */
static uint32_t encode(const struct hk_element *e, double value)
{
	int bias = (1 << (e->exponent_bits - 1)) - 1;
	float f = (float)value;
	uint32_t bits, sign, rest;

	memcpy(&bits, &f, sizeof(bits));
	sign = bits >> 31 << (e->exponent_bits + e->mantissa_bits);
	rest = bits & 0x7fffffff;
	if (!rest)
		return sign;
	return sign |
	       ((rest >> (23 - e->mantissa_bits)) - ((uint32_t)(127 - bias) << e->mantissa_bits));
}

/* Any bits of a small float. e4m3 has no infinity and one NaN per sign (OFP8). */
static double decode(const struct hk_element *e, uint32_t bits)
{
	int bias = (1 << (e->exponent_bits - 1)) - 1, man = (int)e->mantissa_bits;
	uint32_t top = (1u << e->exponent_bits) - 1;
	uint32_t exponent = bits >> man & top, mantissa = bits & ((1u << man) - 1);
	double v;

	if (e == &hk_elements[hocketFloat8e4m3] && (bits & 0x7f) == 0x7f)
		v = NAN;
	else if (e != &hk_elements[hocketFloat8e4m3] && exponent == top)
		v = mantissa ? NAN : INFINITY;
	else if (exponent)
		v = ldexp(mantissa + (double)(1u << man), (int)exponent - bias - man);
	else
		v = ldexp(mantissa, 1 - bias - man);
	return bits >> (e->exponent_bits + e->mantissa_bits) & 1 ? -v : v;
}

static void store_small_float(const struct hk_element *e, const double *values, size_t n, void *dst)
{
	if (e->size == 2) {
		uint16_t *d = dst;

		for (size_t i = 0; i < n; i++)
			d[i] = (uint16_t)encode(e, values[i]);
	} else {
		uint8_t *d = dst;

		for (size_t i = 0; i < n; i++)
			d[i] = (uint8_t)encode(e, values[i]);
	}
}

static void load_small_float(const struct hk_element *e, const void *src, size_t n, double *values)
{
	if (e->size == 2) {
		const uint16_t *s = src;

		for (size_t i = 0; i < n; i++)
			values[i] = decode(e, s[i]);
	} else {
		const uint8_t *s = src;

		for (size_t i = 0; i < n; i++)
			values[i] = decode(e, s[i]);
	}
}

void hk_element_store(hocketDataType_t type, const double *values, size_t n, void *dst)
{
	switch ((int)type) {
	case hocketInt8:
		for (size_t i = 0; i < n; i++)
			((int8_t *)dst)[i] = (int8_t)values[i];
		return;
	case hocketUint8:
		for (size_t i = 0; i < n; i++)
			((uint8_t *)dst)[i] = (uint8_t)values[i];
		return;
	case hocketInt32:
		for (size_t i = 0; i < n; i++)
			((int32_t *)dst)[i] = (int32_t)values[i];
		return;
	case hocketUint32:
		for (size_t i = 0; i < n; i++)
			((uint32_t *)dst)[i] = (uint32_t)values[i];
		return;
	case hocketInt64:
		for (size_t i = 0; i < n; i++)
			((int64_t *)dst)[i] = (int64_t)values[i];
		return;
	case hocketUint64:
		for (size_t i = 0; i < n; i++)
			((uint64_t *)dst)[i] = (uint64_t)values[i];
		return;
	case hocketFloat32:
		for (size_t i = 0; i < n; i++)
			((float *)dst)[i] = (float)values[i];
		return;
	case hocketFloat64:
		memcpy(dst, values, n * sizeof(double));
		return;
	default:
		store_small_float(&hk_elements[type], values, n, dst);
	}
}

void hk_element_load(hocketDataType_t type, const void *src, size_t n, double *values)
{
	switch ((int)type) {
	case hocketInt8:
		for (size_t i = 0; i < n; i++)
			values[i] = ((const int8_t *)src)[i];
		return;
	case hocketUint8:
		for (size_t i = 0; i < n; i++)
			values[i] = ((const uint8_t *)src)[i];
		return;
	case hocketInt32:
		for (size_t i = 0; i < n; i++)
			values[i] = ((const int32_t *)src)[i];
		return;
	case hocketUint32:
		for (size_t i = 0; i < n; i++)
			values[i] = ((const uint32_t *)src)[i];
		return;
	case hocketInt64:
		for (size_t i = 0; i < n; i++)
			values[i] = (double)((const int64_t *)src)[i];
		return;
	case hocketUint64:
		for (size_t i = 0; i < n; i++)
			values[i] = (double)((const uint64_t *)src)[i];
		return;
	case hocketFloat32:
		for (size_t i = 0; i < n; i++)
			values[i] = ((const float *)src)[i];
		return;
	case hocketFloat64:
		memcpy(values, src, n * sizeof(double));
		return;
	default:
		load_small_float(&hk_elements[type], src, n, values);
	}
}
