/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of the collective benchmarks: nccl-tests' flags. */
#ifndef HOCKET_BENCH_PERF_OPTIONS_H
#define HOCKET_BENCH_PERF_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* How the time over ranks is reported, as -a counts. */
enum hk_perf_average { HK_PERF_RANK0, HK_PERF_MEAN, HK_PERF_MIN, HK_PERF_MAX };

struct hk_perf_options {
	size_t min_bytes, max_bytes, step_bytes; /* step_bytes 0: step_factor */
	double step_factor;
	int iters; /* 0: as many as fill a short while */
	int warmup, agg_iters, check, root;
	int threads, ngpus; /* ranks of a process are their product; 0: not given */
	int devices[64],
		ndevices; /* ndevices 0: none was given; rank r takes device r % ndevices */
	int op;		  /* -1: all */
	int type;	  /* -1: all */
	enum hk_perf_average average;
	int blocking; /* -1: on host memory, and not on GPUs */
	bool parallel_init, registered, graph;
	const char *json;
};

enum hk_perf_parse { HK_PERF_RUN, HK_PERF_HELP, HK_PERF_BAD };
/* Reads argv into o. Only if `loud` does it print: the help, or the complaint. */
enum hk_perf_parse hk_perf_parse(int argc, char **argv, bool loud, struct hk_perf_options *o);

#endif
