/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Element types as the benchmarks need them: nccl-tests' names, sizes, and conversion of values
 * between doubles and memory. Written apart from the library's own kernels on purpose, so that a
 * benchmark that says "0 wrong" is a second opinion.
 */
#ifndef HOCKET_BENCH_ELEMENT_H
#define HOCKET_BENCH_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include <hocket/hocket.h>

struct hk_element {
	const char *name;  /* nccl-tests' name */
	const char *alias; /* another common name */
	size_t size;	   /* bytes */
	bool is_float, is_signed;
	unsigned exponent_bits, mantissa_bits; /* of floats */
	double exact; /* integers of at most this magnitude are exact, and so are their sums */
	int powers;   /* 2^powers is exact too */
};

/* Indexed by hocketDataType_t. */
extern const struct hk_element hk_elements[hocketNumTypes];

struct hk_format;
/* The part of it that conversions need (values.h). */
struct hk_format hk_element_format(hocketDataType_t type);
/* The type of that name, or -1. */
int hk_element_find(const char *name);
/* Writes n values, each exactly representable in the type, to dst. */
void hk_element_store(hocketDataType_t type, const double *values, size_t n, void *dst);
void hk_element_load(hocketDataType_t type, const void *src, size_t n, double *values);

#endif
