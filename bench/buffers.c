/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of a rank, of either kind: see buffers.h. */
#include "buffers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int try(hocketResult_t res, const char *what)
{
	if (res == hocketSuccess)
		return 0;
	fprintf(stderr, "%s: %s: %s\n", what, hocketGetErrorString(res), hocketGetLastError(NULL));
	return -1;
}

static int open_host(struct hk_bench_buffer *b, size_t bytes, bool librarys)
{
	if (librarys)
		return try(hocketMemAlloc((void **)&b->at, bytes), "hocketMemAlloc");
	b->at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	if (b->at)
		return 0;
	fprintf(stderr, "no memory for buffers of %zu bytes\n", bytes);
	return -1;
}

int hk_bench_buffer_open(struct hk_bench_buffer *b, struct hk_bench_gpu *gpu, size_t bytes,
			 hocketComm_t comm)
{
	*b = (struct hk_bench_buffer){.gpu = gpu, .comm = comm};
	if (gpu) {
		b->at = hk_bench_gpu_alloc(gpu, bytes);
		if (!b->at)
			return -1;
	} else if (open_host(b, bytes, comm != NULL)) {
		return -1;
	}
	return comm ? try(hocketCommRegister(comm, b->at, bytes, &b->handle), "hocketCommRegister")
		    : 0;
}

void hk_bench_buffer_close(struct hk_bench_buffer *b, bool comm_alive)
{
	if (b->handle && comm_alive)
		try(hocketCommDeregister(b->comm, b->handle), "hocketCommDeregister");
	if (b->gpu)
		hk_bench_gpu_free(b->gpu, b->at);
	else if (b->comm)
		hocketMemFree(b->at);
	else
		free(b->at);
}

int hk_bench_buffer_set(const struct hk_bench_buffer *b, size_t from, unsigned char byte,
			size_t bytes)
{
	if (b->gpu)
		return hk_bench_gpu_set(b->gpu, b->at + from, byte, bytes);
	memset(b->at + from, byte, bytes);
	return 0;
}

int hk_bench_buffer_count(const struct hk_bench_buffer *b, size_t from, unsigned char byte,
			  size_t bytes, size_t *wrong)
{
	unsigned char copied[64];
	const unsigned char *at = (const unsigned char *)b->at + from;

	if (b->gpu) {
		at = copied;
		if (bytes > sizeof(copied) ||
		    hk_bench_gpu_copy(b->gpu, copied, b->at + from, bytes) ||
		    hk_bench_gpu_wait(b->gpu))
			return -1;
	}
	for (size_t i = 0; i < bytes; i++)
		*wrong += at[i] != byte;
	return 0;
}
