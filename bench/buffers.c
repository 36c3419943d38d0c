/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of a rank, of either kind: see buffers.h. */
#include "buffers.h"

#include <stdio.h>
#include <stdlib.h>

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
		b->host = b->at ? hk_bench_gpu_alloc_host(gpu, bytes) : NULL;
		if (!b->host)
			return -1;
	} else {
		if (open_host(b, bytes, comm != NULL))
			return -1;
		b->host = b->at;
	}
	return comm ? try(hocketCommRegister(comm, b->at, bytes, &b->handle), "hocketCommRegister")
		    : 0;
}

void hk_bench_buffer_close(struct hk_bench_buffer *b, bool comm_alive)
{
	if (b->handle && comm_alive)
		try(hocketCommDeregister(b->comm, b->handle), "hocketCommDeregister");
	if (b->gpu) {
		hk_bench_gpu_free(b->gpu, b->at);
		hk_bench_gpu_free_host(b->gpu, b->host);
	} else if (b->comm) {
		hocketMemFree(b->at);
	} else {
		free(b->at);
	}
}

int hk_bench_buffer_put(const struct hk_bench_buffer *b, size_t from, size_t bytes)
{
	if (!b->gpu)
		return 0;
	if (hk_bench_gpu_copy(b->gpu, b->at + from, b->host + from, bytes))
		return -1;
	return hk_bench_gpu_wait(b->gpu); /* the host's copy is about to change */
}

int hk_bench_buffer_get(const struct hk_bench_buffer *b, size_t from, size_t bytes)
{
	if (!b->gpu)
		return 0;
	if (hk_bench_gpu_copy(b->gpu, b->host + from, b->at + from, bytes))
		return -1;
	return hk_bench_gpu_wait(b->gpu);
}
