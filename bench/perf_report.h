/* SPDX-License-Identifier: BSD-3-Clause */
/* What the collective benchmarks print (nccl-tests' columns) and write (JSON). Rank 0 alone. */
#ifndef HOCKET_BENCH_PERF_REPORT_H
#define HOCKET_BENCH_PERF_REPORT_H

#include <stdio.h>

#include "launch.h"
#include "perf.h"
#include "perf_options.h"

struct hk_perf_place {
	double us, algbw, busbw; /* GB/s, of 10^9 bytes */
	size_t wrong;
};

struct hk_perf_row {
	size_t bytes, count;
	int type, op, root; /* op, root -1: none */
	bool no_in_place;   /* there is no such form */
	int iters;
	const char *algo; /* what the library ran */
	int channels;
	/* With GPUs: what a copy of as many bytes reaches on rank 0's, reading and writing counted;
	 * and the bytes that the call must read and write there, out of place. */
	double copy_gbs, moved;
	bool moves_all_in_place; /* as many in place */
	struct hk_perf_place out_of_place, in_place;
};

struct hk_perf_report {
	const struct hk_perf_options *options;
	FILE *json; /* NULL: none */
	int device; /* of rank 0; -1: host memory */
	bool blocking;
	size_t rows, wrong;
	double busbw_sum;
};

/* Opens the JSON file, if one was asked for, and prints the header. 0 or -1. device and blocking
 * are set before. */
int hk_perf_report_open(struct hk_perf_report *report, const struct hk_perf_collective *coll,
			const struct hk_perf_options *o, const struct hk_launch *l);
void hk_perf_report_row(struct hk_perf_report *report, const struct hk_perf_row *row);
/* Says that a size that was asked for has no row. */
void hk_perf_report_skipped(size_t bytes, int type);
/* Prints the summary; memory is the most that a communicator took, device_memory on a GPU. 0; -1 if
 * the JSON file could not be written. */
int hk_perf_report_close(struct hk_perf_report *report, size_t memory, size_t device_memory);

#endif
