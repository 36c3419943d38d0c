/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inputs and expected results. Every input element is a hash of (seed, index, rank), drawn so that
 * every order of reduction gives the same exact result in the element's type: small integers whose
 * sums cannot be rounded, products of ones and twos. So results are compared exactly; only a
 * floating-point average over a number of ranks that is no power of two needs a tolerance.
 */
#ifndef HOCKET_BENCH_VERIFY_H
#define HOCKET_BENCH_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#include <hocket/hocket.h>

/* The benchmarks' operations: the library's, then the pre-multiplied sum. */
enum { HK_BENCH_MULSUM = hocketNumOps, HK_BENCH_NOPS };
extern const char *const hk_bench_op_names[HK_BENCH_NOPS];

struct hk_verify {
	hocketDataType_t type;
	int op; /* hocketRedOp_t or HK_BENCH_MULSUM; unused for collectives without a reduction */
	int nranks;
	uint64_t seed; /* differs from call to call, so that yesterday's result is no success */
};

struct hk_values;

/* As values.h has it. */
void hk_verify_values(const struct hk_verify *v, struct hk_values *values);
/* The factor by which `rank` multiplies its input under HK_BENCH_MULSUM. */
double hk_verify_scalar(int rank);
/* Fills dst with `rank`'s inputs at indices [first, first + n). */
void hk_verify_fill(const struct hk_verify *v, int rank, size_t first, size_t n, void *dst);
/* Number of elements of buf that differ from `rank`'s inputs at [first, first + n). */
size_t hk_verify_input(const struct hk_verify *v, int rank, size_t first, size_t n,
		       const void *buf);
/* Number of elements of buf that differ from the reduction of all inputs at [first, first + n). */
size_t hk_verify_reduced(const struct hk_verify *v, size_t first, size_t n, const void *buf);

#endif
