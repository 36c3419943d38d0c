/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shared driver of the collective benchmarks. A collective is a row in the table of
 * collectives.c: how big its buffers are, how it is called, and how its result is checked. Sizes,
 * threads, launching, timing, checking and reporting are the same for all.
 */
#ifndef HOCKET_BENCH_PERF_H
#define HOCKET_BENCH_PERF_H

#include <stdbool.h>
#include <stddef.h>

#include <hocket/hocket.h>

#include "check.h"
#include "gpu.h"
#include "verify.h"

/* Who calls: what the shape of a call depends on. */
struct hk_perf_who {
	int rank, nranks, root;
};

/* Elements of a call, from the number of elements that a size is good for. */
struct hk_perf_shape {
	size_t count;	   /* the count argument, and what the count column shows */
	size_t send, recv; /* elements of this rank's send and receive buffers; 0: it has none */
	size_t total;	   /* elements that the size column shows */
	/* In place, where in the one buffer this rank's send and receive parts start. */
	size_t send_at, recv_at;
	/* Of the v-variants, per rank: what the blocks of this rank's larger buffer have; and of
	 * all_to_all_v the blocks that it receives. */
	size_t *counts, *recv_counts;
};

/* One call, with all that it needs. */
struct hk_perf_call {
	struct hk_perf_who who;
	const struct hk_perf_shape *shape;
	const void *send;
	void *recv;
	hocketDataType_t type;
	hocketRedOp_t op;
	hocketComm_t comm;
	hocketStream_t stream;
	const struct hk_bench_gpu *gpu; /* the rank's; NULL: it has none */
};

struct hk_perf_collective {
	const char *name;      /* of the benchmark: NAME_perf */
	const char *algorithm; /* the collective as hocketCommGetAlgorithm knows it; NULL: none */
	bool reduces;	       /* has an operation */
	bool rooted;
	bool in_place;		 /* can be done in place */
	bool sizeless;		 /* moves no data: one row */
	bool powers;		 /* for powers of two of ranks alone */
	bool moves_all_in_place; /* in place a rank moves as much as out of place */
	/* shape->counts have room for an entry per rank. */
	void (*shape)(size_t elements, const struct hk_perf_who *who, struct hk_perf_shape *shape);
	/* Bus bandwidth = algorithm bandwidth times this. */
	double (*bus_factor)(int nranks);
	hocketResult_t (*call)(const struct hk_perf_call *c);
	/* Checks this rank's result, of which there is some. */
	void (*check)(struct hk_check *k, const struct hk_perf_call *c);
};

extern const struct hk_perf_collective hk_perf_collectives[];
extern const unsigned hk_nperf_collectives;
/* By the name of the benchmark, or NULL. */
const struct hk_perf_collective *hk_perf_find(const char *name);

int hk_perf_main(int argc, char **argv, const struct hk_perf_collective *coll);

#endif
