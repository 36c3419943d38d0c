/* SPDX-License-Identifier: BSD-3-Clause */
/* The interpreter compiled for a processor: see host_kernels.h. */
#include "host_kernels.h"

#include <string.h>

#include "interpret.h"

static void init_shared(void *shared, unsigned nthreads)
{
	struct hkd_shared *sh = shared;

	memset(sh, 0, sizeof(*sh));
	sh->barrier.threads = nthreads;
	pthread_barrier_init(&sh->barrier.barrier, NULL, nthreads);
}

static void run(const void *param, void *shared, unsigned block, unsigned nblocks, unsigned thread,
		unsigned nthreads)
{
	hkd_interpret(param, shared, block, nblocks, thread, nthreads);
}

static void map(const void *param, void *shared, unsigned block, unsigned nblocks, unsigned thread,
		unsigned nthreads)
{
	hkd_map(param, block, nblocks, thread, nthreads);
}

const struct hkd_host_kernel *hkd_host_find(const char *name)
{
	static const struct hkd_host_kernel kernels[] = {
		{HKD_RUN_KERNEL, sizeof(struct hkd_run), sizeof(struct hkd_shared), init_shared,
		 run},
		{HKD_MAP_KERNEL, sizeof(struct hkd_map), sizeof(struct hkd_shared), init_shared,
		 map},
	};

	for (unsigned i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
		if (!strcmp(kernels[i].name, name))
			return &kernels[i];
	return NULL;
}
