/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The benchmarks' own kernels, which fill inputs and check results on a GPU: their names, and the
 * one parameter that both have. kernels.cu is for nvcc, host_kernels.c for the stand-in driver of
 * the tests (tests/fakecuda). They are apart from the library's.
 */
#ifndef HOCKET_BENCH_KERNELS_H
#define HOCKET_BENCH_KERNELS_H

#include "values.h"

#define HK_BENCH_FILL_KERNEL  "hk_bench_fill_kernel"
#define HK_BENCH_CHECK_KERNEL "hk_bench_check_kernel"

/* Of hk_values_fill and hk_values_check, see values.h. */
struct hk_bench_run {
	struct hk_values values;
	int32_t rank;
	uint64_t first, n;
	uint64_t at;	/* address of the elements */
	uint64_t index; /* to check: of the first of them */
	uint64_t wrong; /* to check: address of a struct hk_wrong, which is added to */
};

struct hkd_host_kernel;
/* Those of host_kernels.c; NULL: there is none of this name. */
const struct hkd_host_kernel *hk_bench_host_find(const char *name);

#endif
