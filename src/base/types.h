/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Element types and reduction operations, numbered as in the public header (comm asserts that they
 * agree), so that no layer below comm needs to include it.
 */
#ifndef HK_BASE_TYPES_H
#define HK_BASE_TYPES_H

#include <stddef.h>

enum hk_type {
	HK_INT8,
	HK_UINT8,
	HK_INT32,
	HK_UINT32,
	HK_INT64,
	HK_UINT64,
	HK_FLOAT16,
	HK_FLOAT32,
	HK_FLOAT64,
	HK_BFLOAT16,
	HK_FLOAT8E4M3,
	HK_FLOAT8E5M2,
	HK_NTYPES,
};

enum hk_redop { HK_SUM, HK_PROD, HK_MAX, HK_MIN, HK_NREDOPS };

/* Bytes of one element. */
size_t hk_type_size(enum hk_type type);
/* "float32" and so on. */
const char *hk_type_name(enum hk_type type);
const char *hk_redop_name(enum hk_redop op);
int hk_type_is_float(enum hk_type type);
/* Value of a float16, bfloat16 or float8 element; exact. */
float hk_type_to_float(enum hk_type type, const void *element);

#endif
