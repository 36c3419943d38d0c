/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels that libfakecuda.so has: the library's, and the benchmarks'. */
#include "fakecuda.h"

#include "kernels.h"

const struct hkd_host_kernel *fakecuda_kernel(const char *name)
{
	const struct hkd_host_kernel *kernel = hkd_host_find(name);

	return kernel ? kernel : hk_bench_host_find(name);
}
