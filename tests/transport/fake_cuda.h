/* SPDX-License-Identifier: BSD-3-Clause */
/* A CUDA driver with one allocation; see fake_cuda.c. */
#ifndef HK_TEST_FAKE_CUDA_H
#define HK_TEST_FAKE_CUDA_H

#include <stddef.h>

struct fake_cuda {
	unsigned long long base, id;
	size_t bytes;
	unsigned type, managed;
	void *context; /* of the allocation, or NULL */
	/* 0: a reservation, of which these are mapped */
	unsigned legacy;
	unsigned long long mapped;
	size_t mapped_bytes;
	int refuses; /* exporting: the error; 0: it does not */
	/* what was called */
	int exports, depth, most_depth, syncs, retained, retains;
	unsigned long long exported;
	size_t exported_bytes;
};

#endif
