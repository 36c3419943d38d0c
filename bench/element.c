/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of element types; values.h has the conversions. Stored values are integers that the
 * type represents exactly, or zero, so storing a small float needs no rounding: it cuts the bits of
 * the float32.
 */
#include "element.h"

#include <string.h>

#include "values.h"

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

struct hk_format hk_element_format(hocketDataType_t type)
{
	const struct hk_element *e = &hk_elements[type];

	return (struct hk_format){
		.type = (int32_t)type,
		.size = (uint32_t)e->size,
		.is_float = e->is_float,
		.is_signed = e->is_signed,
		.exponent_bits = e->exponent_bits,
		.mantissa_bits = e->mantissa_bits,
	};
}

void hk_element_store(hocketDataType_t type, const double *values, size_t n, void *dst)
{
	struct hk_format f = hk_element_format(type);

	for (size_t i = 0; i < n; i++)
		hk_value_store(&f, values[i], dst, i);
}

void hk_element_load(hocketDataType_t type, const void *src, size_t n, double *values)
{
	struct hk_format f = hk_element_format(type);

	for (size_t i = 0; i < n; i++)
		values[i] = hk_value_load(&f, src, i);
}
