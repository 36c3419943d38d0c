/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of kernels.h as a GPU runs them: all that nvcc compiles of the benchmarks. */
#include "kernels.h"

extern "C" __global__ void __launch_bounds__(256)
	hk_bench_fill_kernel(const __grid_constant__ struct hk_bench_run run)
{
	hk_values_fill(&run.values, run.rank, run.first, run.n, (void *)run.at,
		       (uint64_t)blockIdx.x * blockDim.x + threadIdx.x,
		       (uint64_t)gridDim.x * blockDim.x);
}

extern "C" __global__ void __launch_bounds__(256)
	hk_bench_check_kernel(const __grid_constant__ struct hk_bench_run run)
{
	struct hk_wrong mine = HK_NONE_WRONG, *all = (struct hk_wrong *)run.wrong;

	hk_values_check(&run.values, run.rank, run.first, run.n, (const void *)run.at, run.index,
			(uint64_t)blockIdx.x * blockDim.x + threadIdx.x,
			(uint64_t)gridDim.x * blockDim.x, &mine);
	if (!mine.count)
		return;
	atomicAdd((unsigned long long *)&all->count, (unsigned long long)mine.count);
	atomicMin((unsigned long long *)&all->first, (unsigned long long)mine.first);
}
