/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opens a GPU for a communicator, and launches its calls: see gpu_exec.h. A call is one kernel, a
 * second one if integers are averaged, and copies if a buffer is out of the GPU's reach.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "error.h"
#include "gpu_internal.h"
#include "param.h"

#define MOST_THREADS  512u
#define LEAST_THREADS 64u
#define MOST_BLOCKS   32u	   /* more lanes than that share them */
#define QUIET_MS      20	   /* without a stream that waits, after a failure ... */
#define MOST_MS	      2000	   /* ... or in all */
#define FENCE_STEPS   4		   /* so many take about as long as one with a fence */
#define MOST_PINNED   (16u << 20)  /* reserved for messages that the host moves */
#define PINNED	      (256u << 10) /* reserved, for calls' tables and the like */
#define FENCE_STEPS   4		   /* so many take about as long as one with a fence */
#define SPARE	      8 /* of the blocks that fit, so many in 1/SPARE stay free for others */

int hk_gpu_exec_open(int device, struct hk_gpu_exec **out)
{
	struct hk_gpu_exec *x = calloc(1, sizeof(*x));
	pthread_mutexattr_t nests;
	void *page = NULL;
	int err;

	if (!x)
		return hk_fail(ENOMEM, "no memory for a GPU");
	pthread_mutexattr_init(&nests);
	pthread_mutexattr_settype(&nests, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&x->lock, &nests);
	pthread_mutexattr_destroy(&nests);
	err = hk_gpu_open(device, &x->gpu);
	if (err)
		goto fail;
	x->cuda = hk_gpu_driver(x->gpu);
	err = hk_gpu_reserve_host(x->gpu, PINNED);
	if (!err)
		err = hk_gpu_alloc_host(x->gpu, 4096, &page);
	if (!err)
		err = hk_gpu_alloc(x->gpu, 512, &x->nothing);
	if (!err)
		err = hk_gpu_enter(x->gpu);
	x->control = page;
	if (err)
		goto fail;
	err = hk_cuda_check(x->cuda->cuEventCreate(&x->last, CU_EVENT_DISABLE_TIMING),
			    "making a CUDA event");
	if (!err)
		err = hk_cuda_check(
			x->cuda->cuEventCreate(&x->last_in_graph, CU_EVENT_DISABLE_TIMING),
			"making a CUDA event");
	if (!err)
		err = hk_cuda_check(x->cuda->cuEventCreate(&x->before, CU_EVENT_DISABLE_TIMING),
				    "making a CUDA event");
	hk_gpu_leave(x->gpu);
	if (err)
		goto fail;
	*out = x;
	return 0;
fail:
	hk_gpu_exec_close(x);
	hk_gpu_exec_release(x);
	return err;
}

int hk_gpu_exec_count(void)
{
	return hk_gpu_count();
}

int hk_gpu_exec_current(void)
{
	int device = hk_gpu_current();

	return device >= 0 ? device : hk_gpu_count() ? 0 : -1;
}

int hk_gpu_exec_mem_alloc(int device, size_t bytes, void **at)
{
	uint64_t address = 0;
	int err = hk_gpu_mem_alloc(device, bytes, &address);

	if (!err)
		*at = (void *)(uintptr_t)address;
	return err;
}

int hk_gpu_exec_mem_free(void *at)
{
	return hk_gpu_mem_free((uintptr_t)at);
}

bool hk_gpu_exec_owns(const struct hk_gpu_exec *x, const void *at)
{
	return hk_gpu_place_of(x->gpu, at) == HK_GPU_DEVICE;
}

void hk_gpu_exec_hold(struct hk_gpu_exec *x)
{
	atomic_fetch_add(&x->wanted, 1);
	pthread_mutex_lock(&x->lock);
	atomic_fetch_sub(&x->wanted, 1);
}

void hk_gpu_exec_let_go(struct hk_gpu_exec *x)
{
	pthread_mutex_unlock(&x->lock);
}

struct hk_gpu *hk_gpu_exec_gpu(const struct hk_gpu_exec *x)
{
	return x ? x->gpu : NULL;
}

int hk_gpu_exec_device(const struct hk_gpu_exec *x)
{
	return hk_gpu_device(x->gpu);
}

uint64_t hk_gpu_exec_id(const struct hk_gpu_exec *x)
{
	return hk_gpu_id(x->gpu);
}

size_t hk_gpu_exec_memory(const struct hk_gpu_exec *x)
{
	return x->memory;
}

/* All ranks of a GPU must fit on it at the same time, with some room for the application and for
 * other communicators' kernels, which may have been queued in another order on each rank. */
static unsigned choose_blocks(const struct hk_gpu_exec *x, unsigned sharers)
{
	unsigned asked = (unsigned)hk_param(HK_PARAM_GPU_BLOCKS);
	unsigned all = hk_gpu_most_blocks(x->gpu, HK_GPU_RUN, MOST_THREADS), each;

	if (asked)
		return asked;
	each = (all - all / SPARE) / (sharers ? sharers : 1);
	each = each < MOST_BLOCKS ? each : MOST_BLOCKS;
	return each ? each : 1;
}

int hk_gpu_exec_start(struct hk_gpu_exec *x, int rank, int nranks, uint32_t channels,
		      unsigned sharers, int64_t timeout_ns, struct hk_gpu_guard *guard)
{
	size_t n = (size_t)nranks * channels;
	const uint64_t zero = 0;
	int err;

	x->rank = rank;
	x->nranks = nranks;
	x->channels = channels;
	x->timeout_ns = timeout_ns;
	x->guard = guard;
	x->blocks = choose_blocks(x, sharers);
	x->bound = calloc(n, 1);
	if (!x->bound)
		return hk_fail(ENOMEM, "no memory for the connections of %d ranks", nranks);
	err = hk_gpu_alloc(x->gpu, sizeof(zero), &x->left);
	if (!err)
		err = hk_gpu_write(x->gpu, x->left, &zero, sizeof(zero));
	if (!err)
		err = hk_gpu_alloc(x->gpu, n * sizeof(struct hkd_send), &x->sends);
	if (!err)
		err = hk_gpu_alloc(x->gpu, n * sizeof(struct hkd_recv), &x->recvs);
	if (err)
		return err;
	x->memory += n * (sizeof(struct hkd_send) + sizeof(struct hkd_recv));
	err = hk_gpu_copying_open(x, x->control);
	if (err)
		return err;
	hk_log(HK_LOG_INFO, "rank %d runs on GPU %d, %s, with at most %u blocks of it", rank,
	       hk_gpu_device(x->gpu), hk_gpu_name(x->gpu), x->blocks);
	return hk_gpu_proxy_start(x);
}

int hk_gpu_exec_reserve(struct hk_gpu_exec *x, size_t nconns, uint32_t slots, uint32_t slot_bytes)
{
	size_t bytes = nconns * hk_gpu_proxy_bytes(slots, slot_bytes);

	return hk_gpu_reserve_host(x->gpu, bytes < MOST_PINNED ? bytes : MOST_PINNED);
}

/* --- a call --- */

static uint64_t address(const void *at)
{
	return (uintptr_t)at;
}

/* Pinned room for a call's tables. One that is replayed keeps its own for ever. */
static int take_table(struct hk_gpu_exec *x, size_t bytes, bool capturing, uint8_t **at)
{
	uint64_t ended = __atomic_load_n(&x->control->calls, __ATOMIC_ACQUIRE);
	struct table *t = x->tables;
	int err;

	while (t && (t->bytes < bytes || t->call == UINT64_MAX || t->call > ended))
		t = t->next;
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return hk_fail(ENOMEM, "no memory for a call's blocks");
		t->bytes = bytes > 4096 ? bytes : 4096;
		err = hk_gpu_alloc_host(x->gpu, t->bytes, &t->at);
		if (err) {
			free(t);
			return err;
		}
		t->next = x->tables;
		x->tables = t;
	}
	t->call = capturing ? UINT64_MAX : x->calls + 1;
	*at = t->at;
	return 0;
}

static int lay_tables(struct hk_gpu_exec *x, const struct hk_plan *plan, bool capturing,
		      struct hkd_run *run)
{
	uint64_t *to[HK_NBUFS] = {
		[HK_IN] = &run->in_chunks, [HK_OUT] = &run->out_chunks, [HK_SCRATCH] = &run->sizes};
	size_t n[HK_NBUFS] = {[HK_IN] = plan->prog->nchunks[HK_IN],
			      [HK_OUT] = plan->prog->nchunks[HK_OUT],
			      [HK_SCRATCH] = plan->nsizes};
	uint8_t *at = NULL;
	size_t all = (n[HK_IN] + n[HK_OUT] + n[HK_SCRATCH]) * sizeof(struct hkd_chunk);
	int err;

	_Static_assert(sizeof(struct hkd_chunk) == sizeof(struct plan_chunk), "the same records");
	if (!plan->varied)
		return 0;
	run->table_bytes = (uint32_t)all;
	err = take_table(x, all, capturing, &at);
	for (unsigned b = HK_IN; !err && b < HK_NBUFS; b++) {
		size_t bytes = n[b] * sizeof(struct hkd_chunk);

		*to[b] = address(at);
		if (bytes)
			memcpy(at, plan->chunks[b], bytes);
		at += bytes;
	}
	return err;
}

static void fill_run(const struct hk_gpu_exec *x, const struct hk_plan *plan,
		     const struct hk_call *call, const void *scalar_at, struct hkd_run *run)
{
	run->control = address(x->control);
	run->left = x->left;
	run->in = address(call->in);
	run->out = address(call->out);
	run->count = call->count;
	run->share = call->count / plan->period;
	run->rest = (uint32_t)(call->count % plan->period);
	run->tile_elems = plan->tile_elems;
	run->timeout_ns = (uint64_t)x->timeout_ns;
	run->ntiles = plan->ntiles;
	run->mark = call->mark;
	run->type = call->type;
	run->op = call->op;
	run->esize = (uint32_t)plan->esize;
	run->scaled = call->scalar || scalar_at;
	run->scalar_at = address(scalar_at);
	if (call->scalar)
		memcpy(&run->scalar, call->scalar, sizeof(run->scalar));
}

/* Of the longest message. */
static size_t message_bytes(const struct hk_plan *plan)
{
	return plan->tile_elems * plan->esize * plan->prog->message_chunks;
}

/* Threads of a block: as many as have a word each to move, within bounds. */
static unsigned threads_for(const struct hk_plan *plan)
{
	unsigned n = LEAST_THREADS;

	while (n < MOST_THREADS && (size_t)n * sizeof(uint64_t) < message_bytes(plan))
		n *= 2;
	return n;
}

/* Blocks of a call: one a lane, as far as there are. Between several every short message costs a
 * fence, which takes as long as some steps (device/interpret.h); so few steps are done by one. */
static unsigned blocks_for(const struct hk_gpu_exec *x, const struct hk_plan *plan, bool by_host)
{
	const struct hk_program *prog = plan->prog;
	uint32_t longest = 0;

	for (uint32_t l = 0; l < prog->nlanes; l++)
		longest = prog->lanes[l].nsteps > longest ? prog->lanes[l].nsteps : longest;
	if (longest && !by_host && plan->ntiles <= 1 && message_bytes(plan) <= HKD_LINE_BYTES &&
	    prog->nsteps <= FENCE_STEPS * longest)
		return 1;
	return prog->nlanes < x->blocks ? prog->nlanes : x->blocks;
}

/* Elements of OUT, divided where they are. */
static int divide(struct hk_gpu_exec *x, const struct hk_plan *plan, const struct hk_call *call,
		  CUstream stream)
{
	uint32_t blocks = plan->prog->nchunks[HK_OUT] / plan->period;
	int err = 0;

	if (call->divide <= 1 || hk_type_is_float(call->type))
		return 0;
	for (uint32_t i = 0; !err && i < (plan->varied ? blocks : 1); i++) {
		struct hkd_map map = {
			.type = call->type, .esize = (uint32_t)plan->esize, .divide = call->divide};

		map.out = address(plan->varied ? call->out_blocks[i].at : call->out);
		map.in = map.out;
		map.count = plan->varied ? call->out_blocks[i].count : call->count * blocks;
		if (map.count)
			err = hk_gpu_launch(x->gpu, HK_GPU_MAP, x->blocks, MOST_THREADS, &map,
					    stream);
	}
	return err;
}

/* Calls that end before they return, because they use ordinary host memory, or because they are
 * barriers, need no stream of the application: so ranks of one process that all name the default
 * stream do not stand in each other's way. */
static CUstream stream_for(struct hk_gpu_exec *x, const struct hk_plan *plan,
			   const struct hk_call *call, CUstream asked)
{
	bool waits;

	if (asked)
		return asked;
	waits = plan->problem.coll == HK_BARRIER || hk_gpu_stage_needed(x, plan, call);
	x->staged |= waits;
	return waits ? (CUstream)hk_gpu_stream(x->gpu) : NULL;
}

/* What peers can read in place of a buffer. Asked in every call: so what peers have registered and
 * deregistered is seen to. */
static uint64_t rows_of(struct hk_gpu_exec *x, const struct staged *buffer, bool kept)
{
	bool any = !buffer->copied && buffer->to > buffer->from;

	if (!x->rings)
		return 0;
	return x->rings->transport->rows(x->rings, any ? buffer->from : 0,
					 any ? buffer->to - buffer->from : 0, kept && any);
}

static int launch(struct hk_gpu_exec *x, struct hk_plan *plan, struct hk_call call,
		  const void *scalar_at, CUstream stream, struct hk_block *blocks)
{
	uint32_t nin = plan->prog->nchunks[HK_IN] / plan->period, nblocks;
	const struct hk_call users = call;
	uint64_t capture = 0;
	struct hkd_run run = {0};
	struct gpu_plan *gp = NULL;
	struct staging st = {0};
	CUstream asked = stream;
	int err;

	hk_gpu_retire_all(x, false);
	err = hk_gpu_plan(x, plan, &gp);
	stream = stream_for(x, plan, &call, stream);
	if (stream != asked)
		hk_gpu_follow_default(x, stream);
	if (!err)
		err = hk_gpu_begin(x, stream, &capture);
	if (!err && plan->problem.coll == HK_BARRIER)
		call.in = call.out = (void *)(uintptr_t)x->nothing;
	else if (!err)
		err = hk_gpu_stage_in(x, plan, &call, blocks, blocks ? blocks + nin : NULL,
				      capture != 0, &st);
	if (!err && call.prepare) {
		err = hk_gpu_stage_prepare(x, plan, &call, stream);
		st.in.copied |= call.prepare == HK_PREPARE_IN;
	}
	if (err)
		return err;
	hk_plan_begin(plan, &call);
	run.prog = gp->prog;
	fill_run(x, plan, &call, scalar_at, &run);
	err = lay_tables(x, plan, capture != 0, &run);
	nblocks = blocks_for(x, plan, gp->by_host);
	hk_gpu_exec_hold(x); /* it may talk to peers, as the making of connections does */
	run.in_rows = rows_of(x, &st.in, capture != 0);
	run.out_rows = rows_of(x, &st.out, capture != 0);
	hk_gpu_exec_let_go(x);
	run.call = capture ? 0 : x->calls + 1;
	if (!err && nblocks)
		err = hk_gpu_launch(x->gpu, HK_GPU_RUN, nblocks, threads_for(plan), &run, stream);
	if (!err && nblocks && !capture)
		x->calls++;
	if (!err)
		err = divide(x, plan, &call, stream);
	if (!err)
		err = hk_gpu_stage_out(x, plan, &users, &st);
	return err ? err : hk_gpu_end(x, stream, capture);
}

int hk_gpu_exec_call(struct hk_gpu_exec *x, struct hk_plan *plan, const struct hk_call *call,
		     const void *scalar_at, void *stream)
{
	uint32_t n = plan->varied ? (plan->prog->nchunks[HK_IN] + plan->prog->nchunks[HK_OUT]) /
					    plan->period
				  : 0;
	struct hk_block *blocks = n ? calloc(n, sizeof(*blocks)) : NULL;
	int err = blocks || !n ? 0 : hk_fail(ENOMEM, "no memory for a call's blocks");

	if (!err && atomic_load_explicit(&x->over, memory_order_relaxed))
		err = hk_fail_quiet(HK_EUSAGE, "the process ends, and its GPUs take no more calls");
	if (!err)
		err = hk_gpu_enter(x->gpu);
	if (!err) {
		err = launch(x, plan, *call, scalar_at, stream, blocks);
		hk_gpu_leave(x->gpu);
	}
	free(blocks);
	return err;
}

/* Why the kernels were stopped; whoever stops them says so soon. */
static int why_stopped(struct hk_gpu_exec *x)
{
	struct timespec nap = {0, 1000000};
	int err = 0;

	for (int i = 0; !err && i < 1000; i++) {
		err = x->guard->failed(x->guard);
		if (!err)
			nanosleep(&nap, NULL);
	}
	return err ? err : hk_fail(EIO, "the kernels were stopped, and nobody says why");
}

int hk_gpu_exec_finish(struct hk_gpu_exec *x)
{
	int err = x->staged ? hk_gpu_enter(x->gpu) : 0;

	if (err || !x->staged)
		return err;
	err = hk_gpu_stage_finish(x);
	hk_gpu_leave(x->gpu);
	if (!err && __atomic_load_n(&x->control->stop, __ATOMIC_ACQUIRE))
		err = why_stopped(x);
	return err;
}

void *hk_gpu_exec_stream(const struct hk_gpu_exec *x)
{
	return hk_gpu_stream(x->gpu);
}

int hk_gpu_exec_wait(struct hk_gpu_exec *x)
{
	x->staged = true;
	x->waited = hk_gpu_stream(x->gpu);
	return hk_gpu_exec_finish(x);
}

int hk_gpu_exec_alone(struct hk_gpu_exec *x, const struct hk_call *call, const void *scalar_at,
		      void *stream)
{
	struct hkd_map map = {.in = address(call->in),
			      .out = address(call->out),
			      .count = call->count,
			      .scalar_at = address(scalar_at),
			      .type = call->type,
			      .esize = (uint32_t)hk_type_size(call->type),
			      .scaled = call->scalar || scalar_at};
	uint64_t capture;
	int err;

	if (call->scalar)
		memcpy(&map.scalar, call->scalar, sizeof(map.scalar));
	err = hk_gpu_enter(x->gpu);
	if (err)
		return err;
	err = hk_gpu_begin(x, stream, &capture);
	if (!err)
		err = hk_gpu_stage_plain(x, map.count * map.esize, capture != 0, &map.in, &map.out);
	if (!err && map.scaled)
		err = hk_gpu_launch(x->gpu, HK_GPU_MAP, x->blocks, MOST_THREADS, &map, stream);
	else if (!err && map.in != map.out)
		err = hk_cuda_check(
			x->cuda->cuMemcpyAsync(map.out, map.in, map.count * map.esize, stream),
			"copying a buffer");
	if (!err)
		err = hk_gpu_end(x, stream, capture);
	hk_gpu_leave(x->gpu);
	return err;
}

/* --- the end --- */

void hk_gpu_put(struct hk_gpu_exec *x, uint64_t at)
{
	if (x->late)
		hk_gpu_abandon(x->gpu, at);
	else
		hk_gpu_free(x->gpu, at);
}

void hk_gpu_put_host(struct hk_gpu_exec *x, void *at)
{
	if (x->late)
		hk_gpu_abandon(x->gpu, (uintptr_t)at);
	else
		hk_gpu_free_host(x->gpu, at);
}

/* After a failure graphs may run that nobody can ask about. Their kernels end by the control page,
 * which stays; copies that wait for other ranks pass, as long as our thread lets them: until
 * nothing has waited for a while. */
static void end_replays(struct hk_gpu_exec *x)
{
	struct timespec nap = {0, 1000000};

	if (!x->running || !x->guard->failed(x->guard))
		return;
	__atomic_store_n(&x->control->stop, 1, __ATOMIC_RELEASE);
	x->late = x->captured;
	for (int quiet = 0, all = 0; x->late && quiet < QUIET_MS && all < MOST_MS; all++) {
		nanosleep(&nap, NULL);
		quiet = hk_gpu_copying_waits(x) ? 0 : quiet + 1;
	}
}

void hk_gpu_exec_drain(struct hk_gpu_exec *x)
{
	if (x->launched && !atomic_load(&x->over) && !hk_gpu_enter(x->gpu)) {
		x->cuda->cuEventSynchronize(x->last);
		hk_gpu_leave(x->gpu);
	}
}

bool hk_gpu_exec_settled(struct hk_gpu_exec *x)
{
	size_t n = (size_t)x->nranks * x->channels;
	bool all = true;

	if (!x->bound || !(x->launched || x->captured) || atomic_load(&x->over) ||
	    __atomic_load_n(&x->control->stop, __ATOMIC_ACQUIRE))
		return true;
	for (size_t i = 0; i < n && all; i++) {
		struct hkd_send s;
		uint64_t released = 0;

		if (!(x->bound[i] & 1) ||
		    hk_gpu_read(x->gpu, &s, x->sends + i * sizeof(s), sizeof(s)) || !s.sent)
			continue;
		all = !hk_gpu_read(x->gpu, &released, s.released, sizeof(released)) &&
		      released >= s.sent;
	}
	return all && hk_gpu_proxy_settled(x);
}

void hk_gpu_exec_close(struct hk_gpu_exec *x)
{
	if (!x)
		return;
	end_replays(x);
	hk_gpu_proxy_stop(x);
	hk_gpu_copying_close(x);
	for (struct table *t = x->tables, *next; t; t = next) {
		next = t->next;
		hk_gpu_put_host(x, t->at);
		free(t);
	}
	x->tables = NULL;
	if (x->last && !hk_gpu_enter(x->gpu)) {
		x->cuda->cuEventDestroy(x->last);
		if (x->last_in_graph)
			x->cuda->cuEventDestroy(x->last_in_graph);
		if (x->before)
			x->cuda->cuEventDestroy(x->before);
		hk_gpu_leave(x->gpu);
	}
	if (!x->gpu)
		return;
	hk_gpu_retire_all(x, true);
	hk_gpu_put(x, x->sends);
	hk_gpu_put(x, x->recvs);
	hk_gpu_put(x, x->nothing);
	hk_gpu_put(x, x->left);
	hk_gpu_stage_free(x);
	hk_gpu_put_host(x, x->control);
}

void hk_gpu_exec_release(struct hk_gpu_exec *x)
{
	if (!x)
		return;
	hk_gpu_close(x->gpu);
	free(x->bound);
	pthread_mutex_destroy(&x->lock);
	free(x);
}
