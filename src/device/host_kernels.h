/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels for a processor, by name: a block is a few host threads. For tests, which have a
 * driver of their own (tests/fakecuda).
 */
#ifndef HKD_HOST_KERNELS_H
#define HKD_HOST_KERNELS_H

#include <stddef.h>

struct hkd_host_kernel {
	const char *name;
	size_t param_bytes;  /* of the one parameter */
	size_t shared_bytes; /* of a block */
	/* Before a thread of the block runs; may be NULL. */
	void (*init_shared)(void *shared, unsigned nthreads);
	/* Called by each thread of each block. */
	void (*run)(const void *param, void *shared, unsigned block, unsigned nblocks,
		    unsigned thread, unsigned nthreads);
};
/* NULL: there is none of this name. */
const struct hkd_host_kernel *hkd_host_find(const char *name);

#endif
