/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and names of element types and reductions. */
#include "types.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const struct {
	const char *name;
	size_t size;
	int is_float;
} types[HK_NTYPES] = {
	[HK_INT8] = {"int8", 1, 0},
	[HK_UINT8] = {"uint8", 1, 0},
	[HK_INT32] = {"int32", 4, 0},
	[HK_UINT32] = {"uint32", 4, 0},
	[HK_INT64] = {"int64", 8, 0},
	[HK_UINT64] = {"uint64", 8, 0},
	[HK_FLOAT16] = {"float16", 2, 1},
	[HK_FLOAT32] = {"float32", 4, 1},
	[HK_FLOAT64] = {"float64", 8, 1},
	[HK_BFLOAT16] = {"bfloat16", 2, 1},
	[HK_FLOAT8E4M3] = {"float8e4m3", 1, 1},
	[HK_FLOAT8E5M2] = {"float8e5m2", 1, 1},
};

static const char *const redops[HK_NREDOPS] = {"sum", "prod", "max", "min"};

size_t hk_type_size(enum hk_type type)
{
	return types[type].size;
}

const char *hk_type_name(enum hk_type type)
{
	return types[type].name;
}

int hk_type_is_float(enum hk_type type)
{
	return types[type].is_float;
}

const char *hk_redop_name(enum hk_redop op)
{
	return redops[op];
}

/* Formats smaller than float32: bits of exponent and mantissa. */
static void small_format(enum hk_type type, int *exponent, int *mantissa)
{
	*exponent = type == HK_BFLOAT16 ? 8 : type == HK_FLOAT8E4M3 ? 4 : 5;
	*mantissa = type == HK_FLOAT16	    ? 10
		    : type == HK_BFLOAT16   ? 7
		    : type == HK_FLOAT8E4M3 ? 3
					    : 2;
}

float hk_type_to_float(enum hk_type type, const void *element)
{
	int ebits, mbits, bias, e, m;
	uint16_t wide = 0;
	uint8_t byte;
	float value;

	small_format(type, &ebits, &mbits);
	if (types[type].size == 1) {
		memcpy(&byte, element, 1);
		wide = byte;
	} else {
		memcpy(&wide, element, 2);
	}
	bias = (1 << (ebits - 1)) - 1;
	e = wide >> mbits & ((1 << ebits) - 1);
	m = wide & ((1 << mbits) - 1);
	if (type == HK_FLOAT8E4M3 && e == 15 && m == 7)
		value = NAN;
	else if (type != HK_FLOAT8E4M3 && e == (1 << ebits) - 1)
		value = m ? NAN : INFINITY;
	else if (e == 0)
		value = ldexpf((float)m, 1 - bias - mbits);
	else
		value = ldexpf((float)(m | 1 << mbits), e - bias - mbits);
	return wide >> (ebits + mbits) ? -value : value;
}
