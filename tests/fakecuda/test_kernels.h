/* SPDX-License-Identifier: BSD-3-Clause */
/* The parameters of the toy kernels; see test_kernels.c. */
#ifndef HK_FAKECUDA_TEST_KERNELS_H
#define HK_FAKECUDA_TEST_KERNELS_H

#include <stddef.h>

struct toy_fill {
	unsigned *to;
	size_t n;
	unsigned value;
	unsigned *blocks_done;
};

struct toy_meet {
	unsigned *counter;
	unsigned expected;
};

#endif
