/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hocket's collectives beside MPI's, fairly: in the same processes, on the same buffers, in blocks
 * that alternate, so that a change of the machine's clock or load meets both alike. A round is a
 * block of each, and rounds take turns in who goes first. The ratio is taken within rounds, and its
 * median over rounds is reported. Both results are verified on every size.
 */
#include <getopt.h>
#include <limits.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hocket/hocket.h>

#include "compare_calls.h"
#include "compare_report.h"
#include "numbers.h"
#include "perf_options.h"
#include "verify.h"

#define BLOCK_S	   0.008
#define MIN_ITERS  2
#define MAX_ITERS  20000
#define MAX_ROUNDS 99

struct options {
	size_t min_bytes, max_bytes;
	double factor, target;
	int rounds;
	bool registered, memory_only;
	const char *json, *csv;
	const struct hk_perf_collective *coll;
};

struct place {
	int rank, nprocs;
};

struct bench {
	struct options o;
	struct place launch;
	hocketComm_t comm;
	float *send, *recv;
	struct hk_perf_shape shape;
	struct hk_mpi_counts mpi;
};

enum side { HOCKET, MPI, NSIDES };

static const char help[] =
	"usage: mpirun -n N %s [flags]\n"
	"  -C NAME   the collective, as in NAME_perf (default all_reduce)\n"
	"  -b SIZE   smallest size; suffixes K, M, G (default 8)\n"
	"  -e SIZE   largest size (default 64M)\n"
	"  -f X      sizes grow by this factor (default 2)\n"
	"  -R N      rounds, each a block of both (default 15, at most 99)\n"
	"  -T X      the ratio to reach at every size (default: this project's targets for one "
	"host)\n"
	"  -r        register the buffers with Hocket\n"
	"  -M        no comparison: only run a few calls and print the memory per communicator\n"
	"  -J FILE   also write the results there as JSON\n"
	"  -V FILE   also write the results there as CSV\n"
	"  -h        this\n"
	"The exit status is 1 if any element was wrong, 2 after another failure.\n";

static int parse(int argc, char **argv, struct options *o)
{
	int flag, bad = 0;

	*o = (struct options){.min_bytes = 8,
			      .max_bytes = 64u << 20,
			      .factor = 2,
			      .rounds = 15,
			      .coll = hk_perf_find("all_reduce")};
	opterr = 0;
	while ((flag = getopt(argc, argv, "C:b:e:f:R:T:rMJ:V:h")) != -1) {
		if (flag == 'C')
			o->coll = hk_perf_find(optarg);
		else if (flag == 'b')
			bad |= hk_bench_parse_size(optarg, &o->min_bytes);
		else if (flag == 'e')
			bad |= hk_bench_parse_size(optarg, &o->max_bytes);
		else if (flag == 'f')
			o->factor = strtod(optarg, NULL);
		else if (flag == 'R')
			o->rounds = (int)strtol(optarg, NULL, 10);
		else if (flag == 'T')
			o->target = strtod(optarg, NULL);
		else if (flag == 'r')
			o->registered = true;
		else if (flag == 'M')
			o->memory_only = true;
		else if (flag == 'J')
			o->json = optarg;
		else if (flag == 'V')
			o->csv = optarg;
		else
			bad = 1;
	}
	return bad || optind < argc || !o->coll || !hk_mpi_has(o->coll) || !(o->factor > 1) ||
			       o->rounds < 1 || o->rounds > MAX_ROUNDS ||
			       o->min_bytes < sizeof(float) || o->max_bytes < o->min_bytes ||
			       o->max_bytes / sizeof(float) > INT_MAX /* MPI counts in int */
		       ? -1
		       : 0;
}

/* A failure on one rank ends the job: the others are waiting in MPI or Hocket. */
static void must(const struct bench *b, hocketResult_t res, const char *what)
{
	if (res == hocketSuccess)
		return;
	fprintf(stderr, "rank %d: %s: %s: %s\n", b->launch.rank, what, hocketGetErrorString(res),
		hocketGetLastError(b->comm));
	MPI_Abort(MPI_COMM_WORLD, 2);
}

static struct hk_perf_call make_call(const struct bench *b)
{
	return (struct hk_perf_call){
		.who = {b->launch.rank, b->launch.nprocs, 0},
		.shape = &b->shape,
		/* MPI broadcasts in place only. */
		.send = strcmp(b->o.coll->name, "broadcast") ? b->send : b->recv,
		.recv = b->recv,
		.type = hocketFloat32,
		.op = hocketSum,
		.comm = b->comm,
	};
}

static void run_calls(struct bench *b, enum side side, int calls)
{
	struct hk_perf_call call = make_call(b);

	for (int i = 0; i < calls && side == MPI; i++)
		hk_mpi_call(b->o.coll, &call, &b->mpi);
	for (int i = 0; i < calls && side == HOCKET; i++)
		must(b, b->o.coll->call(&call), b->o.coll->name);
}

/* Seconds per call, of the slowest rank. */
static double time_block(struct bench *b, enum side side, int calls)
{
	double start, took, slowest;

	MPI_Barrier(MPI_COMM_WORLD);
	start = MPI_Wtime();
	run_calls(b, side, calls);
	took = MPI_Wtime() - start;
	MPI_Allreduce(&took, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
	return slowest / calls;
}

/* Wrong elements of a call over all ranks. */
static size_t check(struct bench *b, enum side side)
{
	struct hk_verify v = {hocketFloat32, hocketSum, b->launch.nprocs,
			      b->shape.total * 2 + side};
	struct hk_perf_call call = make_call(b);
	struct hk_wrong found = HK_NONE_WRONG;
	unsigned long long wrong, all;
	struct hk_check k;

	hk_check_begin(&k, &v, NULL, call.recv);
	memset(b->recv, 0xa5, b->shape.recv * sizeof(float));
	hk_verify_fill(&v, b->launch.rank, 0, b->shape.send, (void *)(uintptr_t)call.send);
	run_calls(b, side, 1);
	wrong = hk_verify_input(&v, b->launch.rank, 0, b->shape.send, call.send);
	if (b->shape.recv)
		b->o.coll->check(&k, &call);
	hk_check_end(&k, &found);
	wrong += found.count;
	MPI_Allreduce(&wrong, &all, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
	return (size_t)all;
}

/* Checks and warms up; chooses the calls that fill a block. */
static void prepare(struct bench *b, enum side side, struct hk_compare_side *result)
{
	double calls;

	result->wrong = check(b, side);
	calls = BLOCK_S / (time_block(b, side, MIN_ITERS) + 1e-9);
	/* The first calls of a size may set things up: warm up by half a block, then look again. */
	if (calls > 2 * MIN_ITERS)
		calls = BLOCK_S /
			(time_block(b, side, calls > MAX_ITERS ? MAX_ITERS / 2 : (int)calls / 2) +
			 1e-9);
	result->iters = calls < MIN_ITERS ? MIN_ITERS : calls > MAX_ITERS ? MAX_ITERS : (int)calls;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The q-quantile of n sorted values, interpolated. */
static double quantile(const double *sorted, int n, double q)
{
	double at = q * (n - 1);
	int low = (int)at, high = low + 1 < n ? low + 1 : low;

	return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/* The shape of a size; false if it is too small to share out. */
static bool set_shape(struct bench *b, size_t bytes)
{
	struct hk_perf_who who = {b->launch.rank, b->launch.nprocs, 0};

	b->shape = (struct hk_perf_shape){.counts = b->mpi.send_counts,
					  .recv_counts = b->mpi.recv_counts};
	b->o.coll->shape(bytes / sizeof(float), &who, &b->shape);
	hk_mpi_prepare(&b->mpi, &b->shape, b->launch.nprocs);
	return b->shape.total || b->o.coll->sizeless;
}

static void compare_size(struct bench *b, struct hk_compare_row *row)
{
	struct hk_compare_side *sides[NSIDES] = {[HOCKET] = &row->hocket, [MPI] = &row->mpi};
	double times[NSIDES][MAX_ROUNDS], ratios[MAX_ROUNDS];
	int n = b->o.rounds;

	row->bytes = b->shape.total * sizeof(float);
	prepare(b, MPI, sides[MPI]);
	prepare(b, HOCKET, sides[HOCKET]);
	for (int round = 0; round < n; round++) {
		for (int turn = 0; turn < NSIDES; turn++) {
			enum side side = (round + turn) % NSIDES ? HOCKET : MPI;

			times[side][round] = time_block(b, side, sides[side]->iters) * 1e6;
		}
		ratios[round] = times[MPI][round] / times[HOCKET][round];
	}
	for (int side = 0; side < NSIDES; side++) {
		qsort(times[side], (size_t)n, sizeof(double), ascending);
		sides[side]->us = quantile(times[side], n, 0.5);
	}
	qsort(ratios, (size_t)n, sizeof(double), ascending);
	row->ratio_q1 = quantile(ratios, n, 0.25);
	row->ratio = quantile(ratios, n, 0.5);
	row->ratio_q3 = quantile(ratios, n, 0.75);
}

/* Enough traffic to touch what a communicator touches: the small, the middle and the large path. */
static void touch_memory(struct bench *b)
{
	for (size_t bytes = 8; bytes <= b->o.max_bytes; bytes *= 32) {
		memset(b->send, 0, bytes);
		if (set_shape(b, bytes))
			run_calls(b, HOCKET, 10);
	}
}

static size_t most_memory(struct bench *b)
{
	unsigned long long mine, most;
	size_t bytes = 0;

	must(b, hocketCommMemory(b->comm, &bytes), "hocketCommMemory");
	mine = bytes;
	MPI_Allreduce(&mine, &most, 1, MPI_UNSIGNED_LONG_LONG, MPI_MAX, MPI_COMM_WORLD);
	return (size_t)most;
}

static void open_bench(struct bench *b, void *handles[2])
{
	size_t bytes = (b->o.max_bytes + 4095) / 4096 * 4096;
	hocketUniqueId id = {{0}};

	if (hk_mpi_open(&b->mpi, b->launch.nprocs))
		MPI_Abort(MPI_COMM_WORLD, 2);
	if (b->launch.rank == 0)
		must(b, hocketGetUniqueId(&id), "hocketGetUniqueId");
	MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
	must(b, hocketCommInitRank(&b->comm, b->launch.nprocs, id, b->launch.rank),
	     "hocketCommInitRank");
	if (b->o.registered) {
		must(b, hocketMemAlloc((void **)&b->send, bytes), "hocketMemAlloc");
		must(b, hocketMemAlloc((void **)&b->recv, bytes), "hocketMemAlloc");
		must(b, hocketCommRegister(b->comm, b->send, bytes, &handles[0]),
		     "hocketCommRegister");
		must(b, hocketCommRegister(b->comm, b->recv, bytes, &handles[1]),
		     "hocketCommRegister");
		return;
	}
	b->send = aligned_alloc(4096, bytes);
	b->recv = aligned_alloc(4096, bytes);
	if (!b->send || !b->recv) {
		fprintf(stderr, "no memory for buffers of %zu bytes\n", bytes);
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
}

static void close_bench(struct bench *b, void *handles[2])
{
	for (int i = 0; i < 2; i++)
		if (handles[i])
			must(b, hocketCommDeregister(b->comm, handles[i]), "hocketCommDeregister");
	must(b, hocketCommDestroy(b->comm), "hocketCommDestroy");
	b->comm = NULL;
	hk_mpi_close(&b->mpi);
	if (b->o.registered) {
		must(b, hocketMemFree(b->send), "hocketMemFree");
		must(b, hocketMemFree(b->recv), "hocketMemFree");
		return;
	}
	free(b->send);
	free(b->recv);
}

/* The exit status; only rank 0 prints. */
static int run(struct bench *b)
{
	struct hk_compare_setting setting = {b->o.coll,	       b->o.json,   b->o.csv,
					     b->launch.nprocs, b->o.rounds, b->o.registered,
					     b->o.target};
	struct hk_compare_report report = {.nranks = b->launch.nprocs};
	bool root = b->launch.rank == 0;
	size_t memory, wrong = 0;
	int failed = 0;

	if (b->o.memory_only)
		touch_memory(b);
	else if (root && hk_compare_report_open(&report, &setting))
		MPI_Abort(MPI_COMM_WORLD, 2);
	for (double s = (double)b->o.min_bytes; !b->o.memory_only && s <= (double)b->o.max_bytes;
	     s *= b->o.factor) {
		struct hk_compare_row row;

		if (!set_shape(b, (size_t)s))
			continue;
		compare_size(b, &row);
		wrong += row.hocket.wrong + row.mpi.wrong;
		if (root)
			hk_compare_report_row(&report, &row);
		if (b->o.coll->sizeless)
			break;
	}
	memory = most_memory(b);
	if (root)
		failed = hk_compare_report_close(&report, memory);
	return failed ? 2 : wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	void *handles[2] = {NULL, NULL};
	int status = 2;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &b.launch.rank);
	MPI_Comm_size(MPI_COMM_WORLD, &b.launch.nprocs);
	if (b.launch.nprocs < 2) {
		fprintf(stderr,
			"compare_mpi runs under the mpirun of the MPI that it was built with: "
			"mpirun -n 2 %s\n",
			argv[0]);
	} else if (parse(argc, argv, &b.o)) {
		if (b.launch.rank == 0)
			fprintf(stderr, help, argv[0]);
	} else {
		open_bench(&b, handles);
		status = run(&b);
		close_bench(&b, handles);
	}
	MPI_Finalize();
	return status;
}
