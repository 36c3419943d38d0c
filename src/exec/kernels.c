/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The choice of the kernel set: the best one that the build has, the processor runs and HOCKET_CPU
 * allows.
 */
#include "kernels_sets.h"

#include <stdatomic.h>

#include "param.h"

#ifdef HK_KERNELS_X86
#include <cpuid.h>

static int has_avx2(void)
{
	unsigned a, b, c, d;

	/* The first asks for the operating system's consent too; f16c has no name in older clangs.
	 */
	return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl");
}
#endif

const struct hk_kernels *hk_kernels_level(int level)
{
	if (level == 0)
		return &hk_kernels_portable;
#ifdef HK_KERNELS_X86
	if (level == 1 && has_avx2())
		return &hk_kernels_avx2;
	if (level == 2 && has_avx512())
		return &hk_kernels_avx512;
#endif
	return NULL;
}

const struct hk_kernels *hk_kernels(void)
{
	static const struct hk_kernels *_Atomic chosen;
	const struct hk_kernels *set = atomic_load_explicit(&chosen, memory_order_relaxed);

	/* Threads that come here together find the same answer. */
	for (int level = (int)hk_param(HK_PARAM_CPU); !set; level--)
		set = hk_kernels_level(level);
	atomic_store_explicit(&chosen, set, memory_order_relaxed);
	return set;
}
