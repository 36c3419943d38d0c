/* SPDX-License-Identifier: BSD-3-Clause */
/* Fills and checks where the buffers are: see check.h. */
#include "check.h"

#include "kernels.h"

void hk_check_begin(struct hk_check *k, const struct hk_verify *v, const struct hk_bench_gpu *gpu,
		    const void *base)
{
	*k = (struct hk_check){.gpu = gpu, .base = base, .wrong = HK_NONE_WRONG};
	hk_verify_values(v, &k->values);
}

int hk_check_fill(const struct hk_check *k, int rank, size_t n, void *dst)
{
	struct hk_bench_run run = {.values = k->values, .rank = rank, .n = n, .at = (uintptr_t)dst};

	if (k->gpu)
		return hk_bench_gpu_fill(k->gpu, &run);
	hk_values_fill(&k->values, rank, 0, n, dst, 0, 1);
	return 0;
}

void hk_check_input(struct hk_check *k, int rank, size_t first, size_t n, const void *at)
{
	size_t index = (size_t)((const char *)at - k->base) / k->values.format.size;
	struct hk_bench_run run = {.values = k->values,
				   .rank = rank,
				   .first = first,
				   .n = n,
				   .at = (uintptr_t)at,
				   .index = index};

	if (k->gpu)
		k->failed |= hk_bench_gpu_check(k->gpu, &run) != 0;
	else
		hk_values_check(&k->values, rank, first, n, at, index, 0, 1, &k->wrong);
}

void hk_check_reduced(struct hk_check *k, size_t first, size_t n, const void *at)
{
	hk_check_input(k, -1, first, n, at);
}

int hk_check_end(const struct hk_check *k, struct hk_wrong *wrong)
{
	if (k->gpu)
		return hk_bench_gpu_wrong(k->gpu, wrong) || k->failed ? -1 : 0;
	*wrong = k->wrong;
	return 0;
}
