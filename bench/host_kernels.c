/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernels of kernels.h compiled for a processor, for the stand-in driver of the tests. */
#include "host_kernels.h"

#include "kernels.h"

static void fill(const void *param, void *shared, unsigned block, unsigned nblocks, unsigned thread,
		 unsigned nthreads)
{
	const struct hk_bench_run *run = param;

	hk_values_fill(&run->values, run->rank, run->first, run->n, (void *)run->at,
		       (uint64_t)block * nthreads + thread, (uint64_t)nblocks * nthreads);
}

static void check(const void *param, void *shared, unsigned block, unsigned nblocks,
		  unsigned thread, unsigned nthreads)
{
	const struct hk_bench_run *run = param;
	struct hk_wrong mine = HK_NONE_WRONG, *all = (struct hk_wrong *)run->wrong;
	uint64_t first;

	hk_values_check(&run->values, run->rank, run->first, run->n, (const void *)run->at,
			run->index, (uint64_t)block * nthreads + thread,
			(uint64_t)nblocks * nthreads, &mine);
	if (!mine.count)
		return;
	__atomic_fetch_add(&all->count, mine.count, __ATOMIC_RELAXED);
	first = __atomic_load_n(&all->first, __ATOMIC_RELAXED);
	while (mine.first < first &&
	       !__atomic_compare_exchange_n(&all->first, &first, mine.first, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

const struct hkd_host_kernel *hk_bench_host_find(const char *name)
{
	static const struct hkd_host_kernel kernels[] = {
		{HK_BENCH_FILL_KERNEL, sizeof(struct hk_bench_run), 0, NULL, fill},
		{HK_BENCH_CHECK_KERNEL, sizeof(struct hk_bench_run), 0, NULL, check},
	};

	for (unsigned i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
		if (!strcmp(kernels[i].name, name))
			return &kernels[i];
	return NULL;
}
