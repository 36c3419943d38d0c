/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A buffer of a rank: host memory, or memory of its GPU with a mirror on the host, in which inputs
 * are made and results are checked. On host memory the mirror is the buffer, and put and get do
 * nothing. What fails says so on standard error, and returns -1.
 */
#ifndef HOCKET_BENCH_BUFFERS_H
#define HOCKET_BENCH_BUFFERS_H

#include "gpu.h"

struct hk_bench_buffer {
	struct hk_bench_gpu *gpu; /* NULL: host memory */
	char *at;		  /* for calls */
	char *host;		  /* for filling and checking */
	hocketComm_t comm;	  /* what it is registered with; NULL: nothing */
	void *handle;
};

/* comm: registers it there, as the library's memory where it is on the host; NULL: plain memory. */
int hk_bench_buffer_open(struct hk_bench_buffer *b, struct hk_bench_gpu *gpu, size_t bytes,
			 hocketComm_t comm);
/* comm_alive: the communicator is there to be told. A buffer that never was is fine. */
void hk_bench_buffer_close(struct hk_bench_buffer *b, bool comm_alive);
/* Bytes [from, from + bytes) of the mirror to the buffer, before what the stream runs next. */
int hk_bench_buffer_put(const struct hk_bench_buffer *b, size_t from, size_t bytes);
/* And back, when the stream has come there; it is there on return. */
int hk_bench_buffer_get(const struct hk_bench_buffer *b, size_t from, size_t bytes);

#endif
