/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels: the interpreter (interpret.h) as a GPU runs it. This file is all that nvcc compiles;
 * what comes out is a part of the library, and the driver loads it when a communicator first needs
 * it (src/gpu).
 */
#include "interpret.h"

extern "C" __global__ void __launch_bounds__(512, 1)
	hkd_run_kernel(const __grid_constant__ struct hkd_run run)
{
	__shared__ struct hkd_shared shared;

	hkd_interpret(&run, &shared, blockIdx.x, gridDim.x, threadIdx.x, blockDim.x);
}

extern "C" __global__ void __launch_bounds__(512)
	hkd_map_kernel(const __grid_constant__ struct hkd_map map)
{
	hkd_map(&map, blockIdx.x, gridDim.x, threadIdx.x, blockDim.x);
}
