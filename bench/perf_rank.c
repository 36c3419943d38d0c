/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rank makes its communicator and buffers, then goes through the sizes: warm up, time, check, out
 * of place and in place. Ranks agree on everything that they decide (the number of iterations comes
 * from gathered times), and gather times and counts of wrong elements with the library itself.
 */
#include "perf_rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "element.h"

#define GUARD_BYTES 64
#define GUARD_VALUE 0x5a
#define BLOCK_US    20000.0
#define MIN_ITERS   3
#define MAX_ITERS   20000

struct rank {
	const struct hk_perf_job *job;
	int rank;
	hocketComm_t comm;
	hocketStream_t stream; /* NULL: blocking calls */
	size_t buffer_bytes;   /* of send and of recv, less the guard */
	char *send, *recv;
	void *send_handle, *recv_handle;
	double *gathered;	      /* 2 per rank */
	size_t *counts, *recv_counts; /* of a shape, per rank */
	struct hk_perf_report report;
};

/* A type and operation on a size, in one place. */
struct variant {
	struct hk_perf_shape shape;
	hocketDataType_t type;
	int op;		     /* as in struct hk_verify, for the checks */
	hocketRedOp_t redop; /* for the library */
	bool in_place;
	size_t bytes;
};

static int try(const struct rank *r, hocketResult_t res, const char *what)
{
	if (res == hocketSuccess)
		return 0;
	fprintf(stderr, "rank %d: %s: %s: %s\n", r->rank, what, hocketGetErrorString(res),
		hocketGetLastError(r->comm));
	return -1;
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* --- set-up --- */

static int allocate(struct rank *r, char **buffer, void **handle)
{
	size_t bytes = r->buffer_bytes + GUARD_BYTES;

	if (!r->job->options->registered) {
		*buffer = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
		if (*buffer)
			return 0;
		fprintf(stderr, "rank %d: no memory for buffers of %zu bytes\n", r->rank, bytes);
		return -1;
	}
	if (try(r, hocketMemAlloc((void **)buffer, bytes), "hocketMemAlloc"))
		return -1;
	return try(r, hocketCommRegister(r->comm, *buffer, bytes, handle), "hocketCommRegister");
}

static int set_up(struct rank *r)
{
	const struct hk_perf_job *job = r->job;

	if (!r->comm && try(r, hocketCommInitRank(&r->comm, job->nranks, job->id, r->rank),
			    "hocketCommInitRank"))
		return -1;
	if (!job->options->blocking && try(r, hocketStreamCreate(&r->stream), "hocketStreamCreate"))
		return -1;
	/* Shapes round down to whole elements, so maxbytes is enough for each. */
	r->buffer_bytes = job->options->max_bytes;
	r->gathered = calloc((size_t)job->nranks, 2 * sizeof(double));
	r->counts = calloc((size_t)job->nranks, sizeof(size_t));
	r->recv_counts = calloc((size_t)job->nranks, sizeof(size_t));
	if (!r->gathered || !r->counts || !r->recv_counts ||
	    allocate(r, &r->send, &r->send_handle) || allocate(r, &r->recv, &r->recv_handle))
		return -1;
	if (r->rank == 0)
		return hk_perf_report_open(&r->report, job->coll, job->options, job->launch);
	return 0;
}

static void release(struct rank *r, char *buffer, void *handle)
{
	if (!r->job->options->registered) {
		free(buffer);
		return;
	}
	if (handle && r->comm)
		try(r, hocketCommDeregister(r->comm, handle), "hocketCommDeregister");
	hocketMemFree(buffer);
}

/* After a failure the peers must not wait for this rank: abort instead of destroy. */
static int tear_down(struct rank *r, int status)
{
	if (status == 2 && r->comm) {
		hocketCommAbort(r->comm);
		r->comm = NULL;
	}
	if (r->stream)
		hocketStreamDestroy(r->stream);
	release(r, r->send, r->send_handle);
	release(r, r->recv, r->recv_handle);
	free(r->gathered);
	free(r->counts);
	free(r->recv_counts);
	if (r->comm && try(r, hocketCommDestroy(r->comm), "hocketCommDestroy"))
		status = 2;
	return status;
}

/* --- agreement between ranks --- */

static int barrier(struct rank *r)
{
	int in = 1, out = 0;

	return try(r, hocketAllReduce(&in, &out, 1, hocketInt32, hocketSum, r->comm, NULL),
		   "hocketAllReduce as a barrier");
}

static int gather(struct rank *r, double first, double second)
{
	double mine[2] = {first, second};

	return try(r, hocketAllGather(mine, r->gathered, 2, hocketFloat64, r->comm, NULL),
		   "hocketAllGather of the results");
}

static double gathered_time(const struct rank *r, enum hk_perf_average how)
{
	double value = r->gathered[0];

	for (int i = 1; i < r->job->nranks && how != HK_PERF_RANK0; i++) {
		double t = r->gathered[2 * i];

		if (how == HK_PERF_MEAN)
			value += t;
		else if (how == HK_PERF_MIN ? t < value : t > value)
			value = t;
	}
	return how == HK_PERF_MEAN ? value / r->job->nranks : value;
}

static double gathered_sum(const struct rank *r)
{
	double sum = 0;

	for (int i = 0; i < r->job->nranks; i++)
		sum += r->gathered[2 * i + 1];
	return sum;
}

/* --- one variant --- */

static struct hk_perf_who who(const struct rank *r)
{
	return (struct hk_perf_who){r->rank, r->job->nranks, r->job->options->root};
}

static struct hk_perf_call make_call(const struct rank *r, const struct variant *v)
{
	size_t size = hk_elements[v->type].size;

	return (struct hk_perf_call){
		.who = who(r),
		.shape = &v->shape,
		.send = v->in_place ? r->recv + v->shape.send_at * size : r->send,
		.recv = v->in_place ? r->recv + v->shape.recv_at * size : r->recv,
		.type = v->type,
		.op = v->redop,
		.comm = r->comm,
		.stream = r->stream,
	};
}

static int run_calls(struct rank *r, const struct variant *v, int calls)
{
	const struct hk_perf_collective *coll = r->job->coll;
	struct hk_perf_call call = make_call(r, v);
	hocketResult_t res = hocketSuccess;

	for (int i = 0; i < calls && res == hocketSuccess; i++)
		res = coll->call(&call);
	if (res == hocketSuccess && r->stream)
		res = hocketStreamSynchronize(r->stream);
	return try(r, res, coll->name);
}

/* The time of `iters` iterations on every rank goes to r->gathered. */
static int time_block(struct rank *r, const struct variant *v, int iters)
{
	int calls = iters * r->job->options->agg_iters;
	double start;

	if (barrier(r))
		return -1;
	start = now_us();
	if (run_calls(r, v, calls))
		return -1;
	return gather(r, (now_us() - start) / calls, 0);
}

/* As many iterations as fill a block, from the slowest rank's time of a few. */
static int choose_iters(struct rank *r, const struct variant *v, int *iters)
{
	double n;

	*iters = r->job->options->iters;
	if (*iters)
		return 0;
	if (time_block(r, v, MIN_ITERS))
		return -1;
	n = BLOCK_US / (gathered_time(r, HK_PERF_MAX) * r->job->options->agg_iters + 1e-3);
	*iters = n < MIN_ITERS ? MIN_ITERS : n > MAX_ITERS ? MAX_ITERS : (int)n;
	return 0;
}

static struct hk_verify make_verify(const struct rank *r, const struct variant *v, int round)
{
	return (struct hk_verify){
		.type = v->type,
		.op = v->op,
		.nranks = r->job->nranks,
		.seed = v->bytes * 1000003 + (uint64_t)round * 2 + v->in_place,
	};
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How far this rank's buffers reach in r->recv. */
static size_t reach(const struct variant *v)
{
	size_t recv = v->shape.recv ? v->shape.recv_at * v->in_place + v->shape.recv : 0;
	size_t send = v->in_place && v->shape.send ? v->shape.send_at + v->shape.send : 0;

	return (send > recv ? send : recv) * hk_elements[v->type].size;
}

/* Wrong elements of one call here: in the result, past it, and in an input that had to stay. */
static int check_once(struct rank *r, const struct variant *v, int round, size_t *wrong)
{
	struct hk_verify verify = make_verify(r, v, round);
	struct hk_perf_call call = make_call(r, v);
	const struct hk_perf_shape *s = &v->shape;
	size_t used = reach(v);

	memset(r->recv, 0xa5, least(used, r->buffer_bytes));
	memset(r->recv + used, GUARD_VALUE, GUARD_BYTES);
	hk_verify_fill(&verify, r->rank, 0, s->send, (char *)(uintptr_t)call.send);
	if (run_calls(r, v, 1))
		return -1;
	*wrong += s->recv ? r->job->coll->wrong(&verify, &call) : 0;
	if (!v->in_place)
		*wrong += hk_verify_input(&verify, r->rank, 0, s->send, call.send);
	for (size_t i = 0; i < GUARD_BYTES; i++)
		*wrong += r->recv[used + i] != GUARD_VALUE;
	return 0;
}

static int check(struct rank *r, const struct variant *v, size_t *wrong)
{
	size_t mine = 0;

	for (int i = 0; i < r->job->options->check; i++)
		if (check_once(r, v, i, &mine))
			return -1;
	if (gather(r, 0, (double)mine))
		return -1;
	*wrong = (size_t)gathered_sum(r);
	return 0;
}

static int measure_place(struct rank *r, const struct variant *v, int *iters,
			 struct hk_perf_place *result)
{
	const struct hk_perf_options *o = r->job->options;
	struct hk_verify verify = make_verify(r, v, -1);
	struct hk_perf_call call = make_call(r, v);

	hk_verify_fill(&verify, r->rank, 0, v->shape.send, (char *)(uintptr_t)call.send);
	if (run_calls(r, v, o->warmup * o->agg_iters))
		return -1;
	if (!*iters && choose_iters(r, v, iters))
		return -1;
	if (time_block(r, v, *iters))
		return -1;
	result->us = gathered_time(r, o->average);
	result->algbw = result->us > 0 ? (double)v->bytes / result->us * 1e-3 : 0;
	result->busbw = result->algbw * r->job->coll->bus_factor(r->job->nranks);
	return o->check ? check(r, v, &result->wrong) : 0;
}

/* --- the loops --- */

/* What the library ran; a benchmark may be of what has no algorithms. */
static void find_algorithm(const struct rank *r, size_t bytes, struct hk_perf_row *row)
{
	row->algo = "-";
	row->channels = 0;
	if (r->job->coll->algorithm)
		hocketCommGetAlgorithm(r->comm, r->job->coll->algorithm, bytes, &row->algo,
				       &row->channels);
}

static int measure_size(struct rank *r, struct variant *v, size_t bytes, size_t *wrong)
{
	const struct hk_perf_collective *coll = r->job->coll;
	size_t size = hk_elements[v->type].size;
	struct hk_perf_row row = {.type = (int)v->type,
				  .op = coll->reduces ? v->op : -1,
				  .root = coll->rooted ? r->job->options->root : -1,
				  .no_in_place = !coll->in_place};
	struct hk_perf_who w = who(r);

	v->shape = (struct hk_perf_shape){.counts = r->counts, .recv_counts = r->recv_counts};
	coll->shape(bytes / size, &w, &v->shape);
	if (!v->shape.total && bytes && !coll->sizeless) {
		if (r->rank == 0)
			hk_perf_report_skipped(bytes, (int)v->type);
		return 0;
	}
	row.count = v->shape.count;
	row.bytes = v->bytes = v->shape.total * size;
	v->in_place = false;
	if (measure_place(r, v, &row.iters, &row.out_of_place))
		return -1;
	v->in_place = true;
	if (coll->in_place && measure_place(r, v, &row.iters, &row.in_place))
		return -1;
	*wrong += row.out_of_place.wrong + row.in_place.wrong;
	find_algorithm(r, v->shape.count * size, &row);
	if (r->rank == 0)
		hk_perf_report_row(&r->report, &row);
	return 0;
}

static int measure_sizes(struct rank *r, struct variant *v, size_t *wrong)
{
	const struct hk_perf_options *o = r->job->options;
	size_t bytes = o->min_bytes;

	while (bytes <= o->max_bytes) {
		size_t next = (size_t)((double)bytes * o->step_factor);

		if (measure_size(r, v, bytes, wrong))
			return -1;
		if (r->job->coll->sizeless)
			break;
		if (o->step_bytes)
			next = bytes + o->step_bytes;
		bytes = next > bytes ? next : bytes + 1;
	}
	return 0;
}

static int measure_variant(struct rank *r, int type, int op, size_t *wrong)
{
	struct variant v = {.type = (hocketDataType_t)type, .op = op, .redop = (hocketRedOp_t)op};
	double value = hk_verify_scalar(r->rank), scalar[1];
	int failed;

	if (op != HK_BENCH_MULSUM)
		return measure_sizes(r, &v, wrong);
	hk_element_store(v.type, &value, 1, scalar);
	if (try(r,
		hocketRedOpCreatePreMulSum(&v.redop, scalar, v.type, hocketScalarHostImmediate,
					   r->comm),
		"hocketRedOpCreatePreMulSum"))
		return -1;
	failed = measure_sizes(r, &v, wrong);
	if (!failed)
		failed = try(r, hocketRedOpDestroy(v.redop, r->comm), "hocketRedOpDestroy");
	return failed;
}

static int measure_all(struct rank *r, size_t *wrong)
{
	const struct hk_perf_options *o = r->job->options;
	bool reduces = r->job->coll->reduces;

	for (int type = 0; type < hocketNumTypes; type++) {
		if (o->type >= 0 && type != o->type)
			continue;
		for (int op = 0; op < (reduces ? HK_BENCH_NOPS : 1); op++) {
			if (reduces && o->op >= 0 && op != o->op)
				continue;
			if (measure_variant(r, type, op, wrong))
				return -1;
		}
	}
	return 0;
}

static int report_memory(struct rank *r)
{
	size_t bytes = 0;

	if (try(r, hocketCommMemory(r->comm, &bytes), "hocketCommMemory") ||
	    gather(r, (double)bytes, 0))
		return -1;
	if (r->rank)
		return 0;
	return hk_perf_report_close(&r->report, (size_t)gathered_time(r, HK_PERF_MAX));
}

int hk_perf_rank_run(const struct hk_perf_job *job, int rank, hocketComm_t comm)
{
	struct rank r = {.job = job, .rank = rank, .comm = comm};
	size_t wrong = 0;
	int status;

	if (set_up(&r) || measure_all(&r, &wrong) || report_memory(&r))
		status = 2;
	else
		status = wrong ? 1 : 0;
	return tear_down(&r, status);
}
