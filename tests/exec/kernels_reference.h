/* SPDX-License-Identifier: BSD-3-Clause */
/* One element at a time, slowly and plainly: what the kernels must give, bit by bit. */
#ifndef HK_TESTS_EXEC_KERNELS_REFERENCE_H
#define HK_TESTS_EXEC_KERNELS_REFERENCE_H

#include <stdint.h>

#include "types.h"

/* The number that a floating-point element's bits mean, and the bits nearest to a number. */
double ref_decode(enum hk_type type, uint64_t bits);
uint64_t ref_encode(enum hk_type type, double x);
/* Elements travel as their bits, in the low end of a word. */
uint64_t ref_reduce(enum hk_type type, enum hk_redop op, uint64_t a, uint64_t b);
uint64_t ref_divide(enum hk_type type, uint64_t x, uint32_t by);
/* First bits, without sign, past the finite numbers, and the canonical NaN. */
uint64_t ref_huge(enum hk_type type);
uint64_t ref_nan(enum hk_type type);

#endif
