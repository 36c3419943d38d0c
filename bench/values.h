/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The values of a benchmark's buffers: what is in an input, what a result must be, how near it must
 * come, and how a type's elements are stored. One text for processors (verify.c, element.c) and for
 * GPUs (kernels.cu), C and C++ at once, so that a check on a GPU is the check on the host.
 *
 * Values are doubles, which hold all of them exactly. They are compared by value, so that a
 * negative zero is no error. A buffer is worked through by any number of threads: each takes every
 * stride-th element from its own on.
 */
#ifndef HOCKET_BENCH_VALUES_H
#define HOCKET_BENCH_VALUES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "verify.h"

#ifdef __CUDACC__
#define HK_VALUES_FN static inline __device__
#else
#define HK_VALUES_FN static inline
#endif

/* How elements are stored: see struct hk_element. */
struct hk_format {
	int32_t type; /* hocketDataType_t */
	uint32_t size, is_float, is_signed;
	uint32_t exponent_bits, mantissa_bits;
};

/* What is the same for all elements of a call; hk_verify_values fills it in. */
struct hk_values {
	struct hk_format format;
	int32_t op, nranks;
	int32_t contributors; /* how many ranks hold something other than the neutral value; -1: all
			       */
	int32_t rounded;      /* the result is an average that need not be exact */
	double limit;	      /* values are drawn from [-limit, limit], or [0, limit] if unsigned */
	double eps, quantum;  /* the type's precision and its smallest number, if rounded */
	uint64_t seed;
};

/* Elements that are not what they should be: how many, and the index of the first of them. */
struct hk_wrong {
	uint64_t count, first;
};
#define HK_NONE_WRONG                                                                              \
	{                                                                                          \
		0, UINT64_MAX                                                                      \
	}

/* --- elements in memory --- */

HK_VALUES_FN double hk_value_of_bits(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* Bits of a small float: 0, or a value that is normal and exact in it. */
HK_VALUES_FN uint32_t hk_value_encode(const struct hk_format *f, double value)
{
	int bias = (1 << (f->exponent_bits - 1)) - 1;
	float x = (float)value;
	uint32_t bits, sign, rest;

	memcpy(&bits, &x, sizeof(bits));
	sign = bits >> 31 << (f->exponent_bits + f->mantissa_bits);
	rest = bits & 0x7fffffff;
	if (!rest)
		return sign;
	return sign |
	       ((rest >> (23 - f->mantissa_bits)) - ((uint32_t)(127 - bias) << f->mantissa_bits));
}

/* Any bits of a small float. e4m3 has no infinity and one NaN per sign (OFP8). */
HK_VALUES_FN double hk_value_decode(const struct hk_format *f, uint32_t bits)
{
	const uint64_t nan = 0x7ff8000000000000u, infinity = 0x7ff0000000000000u;
	int bias = (1 << (f->exponent_bits - 1)) - 1, man = (int)f->mantissa_bits;
	uint32_t top = (1u << f->exponent_bits) - 1;
	uint32_t exponent = bits >> man & top, mantissa = bits & ((1u << man) - 1);
	double v;

	if (f->type == hocketFloat8e4m3 && (bits & 0x7f) == 0x7f)
		v = hk_value_of_bits(nan);
	else if (f->type != hocketFloat8e4m3 && exponent == top)
		v = hk_value_of_bits(mantissa ? nan : infinity);
	else if (exponent)
		v = hk_value_of_bits((uint64_t)(1023 - bias + (int)exponent) << 52 |
				     (uint64_t)mantissa << (52 - man));
	else
		v = mantissa * hk_value_of_bits((uint64_t)(1023 + 1 - bias - man) << 52);
	return bits >> (f->exponent_bits + man) & 1 ? -v : v;
}

/* The value must be exact in the type. */
HK_VALUES_FN void hk_value_store(const struct hk_format *f, double value, void *base, uint64_t i)
{
	switch (f->type) {
	case hocketInt8:
		((int8_t *)base)[i] = (int8_t)value;
		return;
	case hocketUint8:
		((uint8_t *)base)[i] = (uint8_t)value;
		return;
	case hocketInt32:
		((int32_t *)base)[i] = (int32_t)value;
		return;
	case hocketUint32:
		((uint32_t *)base)[i] = (uint32_t)value;
		return;
	case hocketInt64:
		((int64_t *)base)[i] = (int64_t)value;
		return;
	case hocketUint64:
		((uint64_t *)base)[i] = (uint64_t)value;
		return;
	case hocketFloat32:
		((float *)base)[i] = (float)value;
		return;
	case hocketFloat64:
		((double *)base)[i] = value;
		return;
	default:
		if (f->size == 2)
			((uint16_t *)base)[i] = (uint16_t)hk_value_encode(f, value);
		else
			((uint8_t *)base)[i] = (uint8_t)hk_value_encode(f, value);
	}
}

/* Any bits, because what a collective returns may be anything. */
HK_VALUES_FN double hk_value_load(const struct hk_format *f, const void *base, uint64_t i)
{
	switch (f->type) {
	case hocketInt8:
		return ((const int8_t *)base)[i];
	case hocketUint8:
		return ((const uint8_t *)base)[i];
	case hocketInt32:
		return ((const int32_t *)base)[i];
	case hocketUint32:
		return ((const uint32_t *)base)[i];
	case hocketInt64:
		return (double)((const int64_t *)base)[i];
	case hocketUint64:
		return (double)((const uint64_t *)base)[i];
	case hocketFloat32:
		return ((const float *)base)[i];
	case hocketFloat64:
		return ((const double *)base)[i];
	default:
		return hk_value_decode(f, f->size == 2 ? ((const uint16_t *)base)[i]
						       : ((const uint8_t *)base)[i]);
	}
}

/* --- inputs and results --- */

/* The factor by which a rank multiplies its input under HK_BENCH_MULSUM. */
HK_VALUES_FN double hk_value_scalar(int rank)
{
	return 1 + rank % 2;
}

/* splitmix64, of an index. */
HK_VALUES_FN uint64_t hk_value_hash(const struct hk_values *v, uint64_t index)
{
	uint64_t x = v->seed + (index + 1) * 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* A whole number in [-limit, limit], or [0, limit]. */
HK_VALUES_FN double hk_value_draw(const struct hk_values *v, uint64_t hash)
{
	uint64_t span = (uint64_t)v->limit * (v->format.is_signed ? 2 : 1) + 1;
	uint64_t n = (uint64_t)((unsigned __int128)hash * span >> 64);

	return v->format.is_signed ? (double)n - v->limit : (double)n;
}

/* `rank`'s input where `index_hash` is the element's hash. */
HK_VALUES_FN double hk_value_input(const struct hk_values *v, uint64_t index_hash, int rank)
{
	uint64_t h =
		(index_hash ^ (uint64_t)(rank + 1) * 0xd6e8feb86659fd93u) * 0xa0761d6478bd642fu;
	uint64_t turn = (unsigned)rank + (index_hash >> 40);
	bool minus = v->format.is_signed && (h >> 33 & 1);

	h ^= h >> 32;
	h *= 0xe7037ed1a0b428dbu;
	if (v->contributors < 0)
		return hk_value_draw(v, h);
	turn %= (unsigned)v->nranks;
	if (v->op == hocketProd) {
		unsigned twos = (unsigned)(index_hash % (unsigned)(v->contributors + 1));
		double magnitude = turn < twos ? 2 : 1;

		return minus ? -magnitude : magnitude;
	}
	if (turn >= (unsigned)v->contributors)
		return 0;
	return minus ? -1 : 1;
}

HK_VALUES_FN double hk_value_combine(int op, double a, double b)
{
	switch (op) {
	case hocketProd:
		return a * b;
	case hocketMax:
		return a > b ? a : b;
	case hocketMin:
		return a < b ? a : b;
	default:
		return a + b;
	}
}

/* The result over all ranks; *tolerance is the error allowed in it. */
HK_VALUES_FN double hk_value_reduced(const struct hk_values *v, uint64_t index_hash,
				     double *tolerance)
{
	double acc = 0, magnitude = 0;

	for (int r = 0; r < v->nranks; r++) {
		double x = hk_value_input(v, index_hash, r);

		if (v->op == HK_BENCH_MULSUM)
			x *= hk_value_scalar(r);
		acc = r ? hk_value_combine(v->op, acc, x) : x;
		magnitude += fabs(x);
	}
	*tolerance = 0;
	if (v->op != hocketAvg)
		return acc;
	if (!v->format.is_float)
		return trunc(acc / v->nranks);
	/* 1/n, each product and each partial sum are rounded once. */
	if (v->rounded)
		*tolerance = (v->nranks + 2) * (v->eps * magnitude / v->nranks + v->quantum);
	return acc / v->nranks;
}

/* --- buffers --- */

/* `rank`'s inputs at indices [first, first + n), to dst; the part of the thread at `from`. */
HK_VALUES_FN void hk_values_fill(const struct hk_values *v, int rank, uint64_t first, uint64_t n,
				 void *dst, uint64_t from, uint64_t stride)
{
	for (uint64_t i = from; i < n; i += stride)
		hk_value_store(&v->format, hk_value_input(v, hk_value_hash(v, first + i), rank),
			       dst, i);
}

/* Elements of src that are not `rank`'s inputs at [first, first + n), or the reduction of all if
 * rank is -1; the part of the thread at `from`. Their indices start with that of src. */
HK_VALUES_FN void hk_values_check(const struct hk_values *v, int rank, uint64_t first, uint64_t n,
				  const void *src, uint64_t index, uint64_t from, uint64_t stride,
				  struct hk_wrong *wrong)
{
	for (uint64_t i = from; i < n; i += stride) {
		uint64_t hash = hk_value_hash(v, first + i);
		double tolerance = 0;
		double want = rank < 0 ? hk_value_reduced(v, hash, &tolerance)
				       : hk_value_input(v, hash, rank);

		if (fabs(hk_value_load(&v->format, src, i) - want) <= tolerance)
			continue;
		wrong->count++;
		if (index + i < wrong->first)
			wrong->first = index + i;
	}
}

#endif
