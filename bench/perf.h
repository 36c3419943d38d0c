/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shared driver of the collective benchmarks. A benchmark is one small file that describes its
 * collective in a struct hk_perf_collective and calls hk_perf_main from main: sizes, threads,
 * launching, timing, checking and reporting are the same for all.
 */
#ifndef HOCKET_BENCH_PERF_H
#define HOCKET_BENCH_PERF_H

#include <stdbool.h>
#include <stddef.h>

#include <hocket/hocket.h>

#include "verify.h"

/* Element counts of a call, from the number of elements that a size is good for. */
struct hk_perf_shape {
	size_t count;	   /* the count argument */
	size_t send, recv; /* elements of the send and receive buffers */
	size_t total;	   /* elements that the size column shows */
	/* In place, where in the one buffer rank r's part starts: these times r. */
	size_t send_stride, recv_stride;
};

struct hk_perf_collective {
	const char *name;
	bool reduces; /* has an operation */
	void (*shape)(size_t elements, int nranks, struct hk_perf_shape *shape);
	/* Bus bandwidth = algorithm bandwidth times this. */
	double (*bus_factor)(int nranks);
	hocketResult_t (*call)(const void *send, void *recv, size_t count, hocketDataType_t type,
			       hocketRedOp_t op, hocketComm_t comm, hocketStream_t stream);
	/* Elements of `rank`'s result that are wrong. */
	size_t (*wrong)(const struct hk_verify *v, const struct hk_perf_shape *shape, int rank,
			const void *recv);
};

int hk_perf_main(int argc, char **argv, const struct hk_perf_collective *coll);

#endif
