/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main() of the collective benchmarks: reads the flags, learns its place from the launcher, and
 * runs a thread per rank of this process (perf_rank.c). Rank 0 prints.
 */
#include "perf.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"
#include "perf_options.h"
#include "perf_rank.h"

struct worker {
	const struct hk_perf_job *job;
	pthread_t thread;
	int rank;
	hocketComm_t comm; /* NULL: the rank joins by itself */
	int status;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	w->status = hk_perf_rank_run(w->job, w->rank, w->comm);
	return NULL;
}

/* All communicators by one call, for -p 0. */
static int init_all(struct worker *workers, int n, const struct hk_perf_options *o)
{
	hocketComm_t *comms = calloc((unsigned)n, sizeof(hocketComm_t));
	int *devices = calloc((unsigned)n, sizeof(int));
	hocketResult_t res = hocketSystemError;

	for (int i = 0; i < n && devices; i++)
		devices[i] = o->ndevices ? o->devices[i % o->ndevices] : HOCKET_DEVICE_NONE;
	if (comms && devices)
		res = hocketCommInitAll(comms, n, o->ndevices ? devices : NULL);
	for (int i = 0; i < n && res == hocketSuccess; i++)
		workers[i].comm = comms[i];
	free(devices);
	free(comms);
	if (res == hocketSuccess)
		return 0;
	fprintf(stderr, "hocketCommInitAll: %s: %s\n", hocketGetErrorString(res),
		hocketGetLastError(NULL));
	return -1;
}

static int run_workers(const struct hk_perf_job *job, struct worker *workers)
{
	int n = job->options->threads, started = 0, status = 0;

	for (int i = 0; i < n; i++) {
		workers[i].job = job;
		workers[i].rank = job->launch->rank * n + i;
	}
	if (!job->options->parallel_init && job->launch->nprocs == 1 &&
	    init_all(workers, n, job->options))
		return 2;
	/* Worker 0 runs here, so that one rank per process needs no other thread. */
	for (started = 1; started < n; started++) {
		int err = pthread_create(&workers[started].thread, NULL, work, &workers[started]);

		if (err) {
			fprintf(stderr, "cannot start thread %d: %s\n", started, strerror(err));
			exit(2);
		}
	}
	work(&workers[0]);
	for (int i = 1; i < n; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < n; i++)
		if (workers[i].status > status)
			status = workers[i].status;
	return status;
}

static int run_job(const struct hk_perf_collective *coll, const struct hk_perf_options *o,
		   const struct hk_launch *l)
{
	pthread_barrier_t allocated;
	struct hk_perf_job job = {.allocated = &allocated,
				  .coll = coll,
				  .options = o,
				  .launch = l,
				  .nranks = l->nprocs * o->threads};
	struct worker *workers = calloc((size_t)o->threads, sizeof(*workers));
	const char *problem = NULL;
	int status = 2;

	if (o->root >= job.nranks)
		problem = "--root must be less than the number of ranks";
	else if (coll->powers && (job.nranks & (job.nranks - 1)))
		problem = "the number of ranks must be a power of two";
	if (problem) {
		if (l->rank == 0)
			fprintf(stderr, "%s_perf: %s\n", coll->name, problem);
		free(workers);
		return 2;
	}

	if (workers && !hk_launch_share_id(l, &job.id) &&
	    !pthread_barrier_init(&allocated, NULL, (unsigned)o->threads)) {
		status = run_workers(&job, workers);
		pthread_barrier_destroy(&allocated);
	}
	free(workers);
	return status;
}

int hk_perf_main(int argc, char **argv, const struct hk_perf_collective *coll)
{
	struct hk_perf_options options;
	struct hk_launch launch;
	enum hk_perf_parse parsed;
	int status;

	if (hk_launch_open(&launch))
		return 2;
	parsed = hk_perf_parse(argc, argv, launch.rank == 0, &options);
	/* A list of GPUs alone means a rank on each. */
	if (!options.threads && !options.ngpus && launch.nprocs == 1)
		options.threads = options.ndevices;
	options.threads =
		(options.threads ? options.threads : 1) * (options.ngpus ? options.ngpus : 1);
	/* Streams share queues of the GPU, 8 of them if nothing is said; behind a kernel that waits
	 * for another rank, that rank's would wait for ever. */
	if (options.ndevices)
		setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
	if (parsed == HK_PERF_RUN)
		status = run_job(coll, &options, &launch);
	else
		status = parsed == HK_PERF_HELP ? 0 : 2;
	hk_launch_close(&launch);
	return status;
}
