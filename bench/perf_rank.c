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

#include "buffers.h"
#include "check.h"
#include "element.h"

#define GUARD_BYTES 64
#define GUARD_VALUE 0x5a
#define BLOCK_US    20000.0
#define MIN_ITERS   3
#define MAX_ITERS   20000
#define COPY_US	    5000.0
#define MAX_COPIES  1000

struct rank {
	const struct hk_perf_job *job;
	int rank;
	hocketComm_t comm;
	/* What the ranks agree over. With GPUs a communicator on the host, so that nothing runs on
	 * them but what is measured, and nobody waits in a kernel for who allocates or captures;
	 * else comm. */
	hocketComm_t agree;
	struct hk_bench_gpu *gpu; /* NULL: host memory */
	hocketStream_t stream;	  /* NULL: blocking calls on the host */
	bool blocking;		  /* waits for each call */
	size_t buffer_bytes;	  /* of send and of recv, less the guard */
	struct hk_bench_buffer send, recv;
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
	bool replays; /* the GPU's graph, instead of calls */
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

static int join(struct rank *r)
{
	const struct hk_perf_options *o = r->job->options;
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	if (r->comm)
		return 0;
	if (o->ndevices)
		config.device = o->devices[r->rank % o->ndevices];
	return try(r,
		   hocketCommInitRankConfig(&r->comm, r->job->nranks, r->job->id, r->rank, &config),
		   "hocketCommInitRankConfig");
}

/* The communicator says whether there is a GPU: HOCKET_DEVICE counts as well as --device. */
static int find_gpu(struct rank *r)
{
	int device;

	if (try(r, hocketCommDevice(r->comm, &device), "hocketCommDevice"))
		return -1;
	r->report.device = device;
	if (device < 0)
		return 0;
	if (hk_bench_gpu_open(device, &r->gpu))
		return -1;
	r->stream = hk_bench_gpu_stream(r->gpu);
	return 0;
}

static int allocate(struct rank *r)
{
	size_t bytes, n = (size_t)r->job->nranks;
	hocketComm_t with = r->job->options->registered ? r->comm : NULL;

	/* Shapes round down to whole elements, so maxbytes is enough for each. */
	r->buffer_bytes = r->job->options->max_bytes;
	bytes = r->buffer_bytes + GUARD_BYTES;
	r->gathered = calloc(n, 2 * sizeof(double));
	r->counts = calloc(n, sizeof(size_t));
	r->recv_counts = calloc(n, sizeof(size_t));
	if (r->gathered && r->counts && r->recv_counts &&
	    !hk_bench_buffer_open(&r->send, r->gpu, bytes, with) &&
	    !hk_bench_buffer_open(&r->recv, r->gpu, bytes, with))
		return 0;
	fprintf(stderr, "rank %d: could not make its buffers\n", r->rank);
	return -1;
}

/* The largest of the ranks' numbers, over the communicator that is measured. */
static int largest(struct rank *r, int mine, int *most)
{
	int *at = r->gpu ? (int *)r->recv.at : most;

	*most = mine;
	if (r->gpu &&
	    (hk_bench_gpu_copy(r->gpu, at, &mine, sizeof(mine)) || hk_bench_gpu_wait(r->gpu)))
		return -1;
	if (try(r, hocketAllReduce(at, at, 1, hocketInt32, hocketMax, r->comm, r->stream),
		"hocketAllReduce of what the ranks have"))
		return -1;
	return r->gpu && (hk_bench_gpu_copy(r->gpu, most, at, sizeof(*most)) ||
			  hk_bench_gpu_wait(r->gpu))
		       ? -1
		       : 0;
}

/* Ranks on the host may be among those with GPUs. */
static int choose_agree(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	int any = 0;

	r->agree = r->comm;
	if (largest(r, r->gpu != NULL, &any))
		return -1;
	if (!any)
		return 0;
	config.device = HOCKET_DEVICE_NONE;
	config.transports = "shm,tcp";
	return try(r, hocketCommSplit(r->comm, 0, r->rank, &r->agree, &config),
		   "hocketCommSplit, for a communicator on the host");
}

/* Making and freeing memory may wait for kernels of this process, and those for a call of this
 * rank. So all threads have their memory before any of them calls. */
static int set_up(struct rank *r)
{
	const struct hk_perf_job *job = r->job;
	const struct hk_perf_options *o = job->options;
	int failed = join(r) || find_gpu(r) || allocate(r);

	pthread_barrier_wait(job->allocated);
	if (failed || choose_agree(r))
		return -1;
	r->blocking = o->blocking < 0 ? !r->gpu : o->blocking;
	if (!r->blocking && !r->gpu && try(r, hocketStreamCreate(&r->stream), "hocketStreamCreate"))
		return -1;
	if (o->graph && !r->gpu) {
		fprintf(stderr, "rank %d: --graph needs a GPU: see --device\n", r->rank);
		return -1;
	}
	r->report.blocking = r->blocking;
	if (r->rank == 0)
		return hk_perf_report_open(&r->report, job->coll, o, job->launch);
	return 0;
}

/* After a failure the peers must not wait for this rank: abort instead of destroy. */
static int tear_down(struct rank *r, int status)
{
	bool apart = r->agree != r->comm && r->agree;

	if (status == 2 && apart)
		hocketCommAbort(r->agree);
	if (status == 2 && r->comm) {
		hocketCommAbort(r->comm);
		r->comm = NULL;
	}
	if (r->gpu)
		hk_bench_gpu_drop_graph(r->gpu);
	else if (r->stream)
		hocketStreamDestroy(r->stream);
	hk_bench_buffer_close(&r->send, r->comm);
	hk_bench_buffer_close(&r->recv, r->comm);
	free(r->gathered);
	free(r->counts);
	free(r->recv_counts);
	if (status != 2 && apart && try(r, hocketCommDestroy(r->agree), "hocketCommDestroy"))
		status = 2;
	if (r->comm && try(r, hocketCommDestroy(r->comm), "hocketCommDestroy"))
		status = 2;
	hk_bench_gpu_close(r->gpu);
	return status;
}

/* --- agreement between ranks --- */

static int barrier(struct rank *r)
{
	int in = 1, out = 0;

	return try(r, hocketAllReduce(&in, &out, 1, hocketInt32, hocketSum, r->agree, NULL),
		   "hocketAllReduce as a barrier");
}

static int gather(struct rank *r, double first, double second)
{
	double mine[2] = {first, second};

	return try(r, hocketAllGather(mine, r->gathered, 2, hocketFloat64, r->agree, NULL),
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
	char *send = r->send.at, *recv = r->recv.at;

	return (struct hk_perf_call){
		.who = who(r),
		.shape = &v->shape,
		.send = v->in_place ? recv + v->shape.send_at * size : send,
		.recv = v->in_place ? recv + v->shape.recv_at * size : recv,
		.type = v->type,
		.op = v->redop,
		.comm = r->comm,
		.stream = r->stream,
		.gpu = r->gpu,
	};
}

/* Until all that was called is done; what failed meanwhile is told here. */
static int wait(struct rank *r)
{
	hocketResult_t failure = hocketSuccess;

	if (!r->gpu)
		return r->stream ? try(r, hocketStreamSynchronize(r->stream), r->job->coll->name)
				 : 0;
	if (hk_bench_gpu_wait(r->gpu) ||
	    try(r, hocketCommGetAsyncError(r->comm, &failure), "hocketCommGetAsyncError"))
		return -1;
	return try(r, failure, r->job->coll->name);
}

static int call(struct rank *r, const struct variant *v, int64_t calls, bool wait_for_each)
{
	struct hk_perf_call c = make_call(r, v);

	for (int64_t i = 0; i < calls; i++)
		if (try(r, r->job->coll->call(&c), r->job->coll->name) ||
		    (wait_for_each && wait(r)))
			return -1;
	return 0;
}

/* So many iterations, of agg_iters calls each. */
static int iterate(struct rank *r, const struct variant *v, int iters)
{
	bool each = r->blocking && r->gpu;

	if (!v->replays)
		return call(r, v, (int64_t)iters * r->job->options->agg_iters, each) ? -1 : wait(r);
	for (int i = 0; i < iters; i++)
		if (hk_bench_gpu_replay(r->gpu) || (each && wait(r)))
			return -1;
	return wait(r);
}

/* The time of `iters` iterations on every rank goes to r->gathered. */
static int time_block(struct rank *r, const struct variant *v, int iters)
{
	double start;

	if (barrier(r))
		return -1;
	start = now_us();
	if (iterate(r, v, iters))
		return -1;
	return gather(r, (now_us() - start) / ((double)iters * r->job->options->agg_iters), 0);
}

/* An iteration becomes a graph. Others wait on the host meanwhile: making a graph, and freeing one,
 * may wait for the device. */
static int capture(struct rank *r, struct variant *v)
{
	int err;

	if (barrier(r))
		return -1;
	hk_bench_gpu_drop_graph(r->gpu);
	if (hk_bench_gpu_begin_capture(r->gpu))
		return -1;
	err = call(r, v, r->job->options->agg_iters, false);
	if (hk_bench_gpu_end_capture(r->gpu) || err || barrier(r))
		return -1;
	v->replays = true;
	return 0;
}

static int warm_up(struct rank *r, struct variant *v)
{
	const struct hk_perf_options *o = r->job->options;

	v->replays = false;
	if (iterate(r, v, o->warmup))
		return -1;
	if (!o->graph)
		return 0;
	return capture(r, v) ? -1 : iterate(r, v, o->warmup);
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

/* Kernels of ours run while none of a call does: such a one may wait for the next call of this
 * rank, and leave us no room meanwhile. So before a call all have filled, and before they check the
 * call has ended on all. */
static int meet(struct rank *r)
{
	if (r->agree == r->comm)
		return 0;
	if (r->gpu && hk_bench_gpu_wait(r->gpu))
		return -1;
	return barrier(r);
}

/* This rank's input of a call. */
static int fill(struct rank *r, const struct variant *v, const struct hk_verify *verify)
{
	struct hk_perf_call c = make_call(r, v);
	struct hk_check k;

	hk_check_begin(&k, verify, r->gpu, c.send);
	return hk_check_fill(&k, r->rank, v->shape.send, (void *)(uintptr_t)c.send) ? -1 : meet(r);
}

/* Wrong elements of a buffer are added to *all. */
static int end_check(struct rank *r, const struct hk_check *k, const char *what, size_t *all)
{
	struct hk_wrong wrong = HK_NONE_WRONG;

	if (hk_check_end(k, &wrong))
		return -1;
	if (wrong.count)
		fprintf(stderr, "rank %d: wrong elements in its %s: %zu, the first at index %zu\n",
			r->rank, what, (size_t)wrong.count, (size_t)wrong.first);
	*all += wrong.count;
	return 0;
}

/* Wrong elements of one call here: in the result, past it, and in an input that had to stay. */
static int check_once(struct rank *r, const struct variant *v, int round, size_t *wrong)
{
	struct hk_verify verify = make_verify(r, v, round);
	struct hk_perf_call c = make_call(r, v);
	const struct hk_perf_shape *s = &v->shape;
	size_t used = reach(v);
	struct hk_check result, input;
	/* A graph of several calls in place would reduce what they have reduced. */
	bool replay = v->replays && (r->job->options->agg_iters == 1 || !v->in_place);

	if (hk_bench_buffer_set(&r->recv, 0, 0xa5, least(used, r->buffer_bytes)) ||
	    hk_bench_buffer_set(&r->recv, used, GUARD_VALUE, GUARD_BYTES) || fill(r, v, &verify))
		return -1;
	if (replay ? iterate(r, v, 1) : call(r, v, 1, false) || wait(r))
		return -1;
	if (meet(r))
		return -1;
	hk_check_begin(&result, &verify, r->gpu, c.recv);
	if (s->recv)
		r->job->coll->check(&result, &c);
	if (end_check(r, &result, "result", wrong) ||
	    hk_bench_buffer_count(&r->recv, used, GUARD_VALUE, GUARD_BYTES, wrong))
		return -1;
	if (v->in_place)
		return 0;
	hk_check_begin(&input, &verify, r->gpu, c.send);
	hk_check_input(&input, r->rank, 0, s->send, c.send);
	return end_check(r, &input, "input", wrong);
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

static int measure_place(struct rank *r, struct variant *v, int *iters,
			 struct hk_perf_place *result)
{
	const struct hk_perf_options *o = r->job->options;
	struct hk_verify verify = make_verify(r, v, -1);

	if (fill(r, v, &verify) || warm_up(r, v))
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

/* --- the limit of the device --- */

/* The time of one copy of a row's size on rank 0's GPU, from its send to its receive buffer. */
static int time_copies(struct rank *r, size_t bytes, double *us)
{
	int n = MIN_ITERS;

	for (int round = 0; round < 3; round++) { /* warm, estimate, measure */
		double start = now_us();

		for (int i = 0; i < n; i++)
			if (hk_bench_gpu_copy(r->gpu, r->recv.at, r->send.at, bytes))
				return -1;
		if (hk_bench_gpu_wait(r->gpu))
			return -1;
		*us = (now_us() - start) / n;
		if (round == 1 && COPY_US / *us > n)
			n = COPY_US / *us > MAX_COPIES ? MAX_COPIES : (int)(COPY_US / *us);
	}
	return 0;
}

/* What a plain copy reaches while all ranks leave the GPUs alone, and the bytes that a call moves
 * there at least: every rank of this GPU reads its input once, and writes its output once. */
static int measure_limit(struct rank *r, const struct variant *v, struct hk_perf_row *row)
{
	double own = r->gpu ? hk_bench_gpu_id(r->gpu) : -1, us = 0;
	size_t moved = (v->shape.send + v->shape.recv) * hk_elements[v->type].size;

	if (r->agree == r->comm || !v->bytes)
		return 0;
	if (barrier(r) || (r->rank == 0 && r->gpu && time_copies(r, v->bytes, &us)) ||
	    gather(r, (double)moved, own))
		return -1;
	row->copy_gbs = us > 0 ? 2 * (double)v->bytes / us * 1e-3 : 0;
	for (int i = 0; i < r->job->nranks; i++)
		row->moved += r->gathered[2 * i + 1] == own ? r->gathered[2 * i] : 0;
	return 0;
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
				  .no_in_place = !coll->in_place,
				  .moves_all_in_place = coll->moves_all_in_place};
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
	if (measure_limit(r, v, &row) || measure_place(r, v, &row.iters, &row.out_of_place))
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
	size_t bytes = 0, device = 0;
	double most;

	if (try(r, hocketCommMemory(r->comm, &bytes), "hocketCommMemory") ||
	    try(r, hocketCommDeviceMemory(r->comm, &device), "hocketCommDeviceMemory") ||
	    gather(r, (double)device, 0))
		return -1;
	most = gathered_time(r, HK_PERF_MAX);
	if (gather(r, (double)bytes, 0))
		return -1;
	if (r->rank)
		return 0;
	return hk_perf_report_close(&r->report, (size_t)gathered_time(r, HK_PERF_MAX),
				    (size_t)most);
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
