/* SPDX-License-Identifier: BSD-3-Clause */
/* One rank of a collective benchmark: what a thread of perf.c runs. */
#ifndef HOCKET_BENCH_PERF_RANK_H
#define HOCKET_BENCH_PERF_RANK_H

#include <pthread.h>

#include "launch.h"
#include "perf.h"
#include "perf_options.h"
#include "perf_report.h"

/* Shared by the threads of a process, which only read it. */
struct hk_perf_job {
	pthread_barrier_t *allocated; /* of the threads */
	const struct hk_perf_collective *coll;
	const struct hk_perf_options *options;
	const struct hk_launch *launch;
	hocketUniqueId id;
	int nranks;
};

/* Runs every type, operation and size. comm NULL: joins by itself. Returns the exit status: 0, 1 if
 * an element was wrong here or on another rank, 2 after another failure (said on standard error).
 */
int hk_perf_rank_run(const struct hk_perf_job *job, int rank, hocketComm_t comm);

#endif
