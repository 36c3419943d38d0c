/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels of the stand-in's own test. `toy_fill` writes a word to its part of an array and
 * counts in shared memory which threads did; `toy_meet` adds itself to a counter and spins until as
 * many as it expects have come, so that it ends only if all of those run at the same time.
 */
#include "test_kernels.h"

#include "fakecuda.h"

#include <sched.h>
#include <string.h>

static void fill_init(void *shared, unsigned nthreads)
{
	*(unsigned *)shared = nthreads;
}

static void fill(const void *param, void *shared, unsigned block, unsigned nblocks, unsigned thread,
		 unsigned nthreads)
{
	const struct toy_fill *p = param;
	size_t n = p->n;

	for (size_t i = (size_t)block * nthreads + thread; i < n; i += (size_t)nblocks * nthreads)
		p->to[i] = p->value;
	/* The last thread of each block. */
	if (__atomic_sub_fetch((unsigned *)shared, 1, __ATOMIC_ACQ_REL) == 0)
		__atomic_add_fetch(p->blocks_done, 1, __ATOMIC_ACQ_REL);
}

static void meet(const void *param, void *shared, unsigned block, unsigned nblocks, unsigned thread,
		 unsigned nthreads)
{
	const struct toy_meet *p = param;

	if (thread)
		return;
	__atomic_add_fetch(p->counter, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(p->counter, __ATOMIC_ACQUIRE) < p->expected)
		sched_yield();
}

static const struct hkd_host_kernel kernels[] = {
	{"toy_fill", sizeof(struct toy_fill), sizeof(unsigned), fill_init, fill},
	{"toy_meet", sizeof(struct toy_meet), 0, NULL, meet},
};

const struct hkd_host_kernel *fakecuda_kernel(const char *name)
{
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
		if (!strcmp(kernels[i].name, name))
			return &kernels[i];
	return NULL;
}
