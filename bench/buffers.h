/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A buffer of a rank: host memory, or memory of its GPU. What fails says so on standard error, and
 * returns -1.
 */
#ifndef HOCKET_BENCH_BUFFERS_H
#define HOCKET_BENCH_BUFFERS_H

#include "gpu.h"

struct hk_bench_buffer {
	struct hk_bench_gpu *gpu; /* NULL: host memory */
	char *at;
	hocketComm_t comm; /* what it is registered with; NULL: nothing */
	void *handle;
};

/* comm: registers it there, as the library's memory where it is on the host; NULL: plain memory. */
int hk_bench_buffer_open(struct hk_bench_buffer *b, struct hk_bench_gpu *gpu, size_t bytes,
			 hocketComm_t comm);
/* comm_alive: the communicator is there to be told. A buffer that never was is fine. */
void hk_bench_buffer_close(struct hk_bench_buffer *b, bool comm_alive);
/* Sets bytes [from, from + bytes); on a GPU later, on the stream. */
int hk_bench_buffer_set(const struct hk_bench_buffer *b, size_t from, unsigned char byte,
			size_t bytes);
/* How many of these bytes are not `byte` is added to *wrong; waits for the stream. At most 64. */
int hk_bench_buffer_count(const struct hk_bench_buffer *b, size_t from, unsigned char byte,
			  size_t bytes, size_t *wrong);

#endif
