/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations: each counts those that it waits for and starts when the last of them is over. Marks
 * (of events, waits, the ends of graphs) are over at once; copies, fills, host functions and
 * memory operations take a thread each, kernels as many as launch.c gives them.
 */
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *fake_realloc(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	if (!p) {
		fprintf(stderr, "fakecuda: no memory for %zu bytes\n", bytes);
		abort();
	}
	return p;
}

void *fake_alloc(size_t bytes)
{
	return memset(fake_realloc(NULL, bytes), 0, bytes);
}

struct fake_work *fake_work_new(enum fake_kind kind, size_t param_bytes)
{
	struct fake_work *work = fake_alloc(sizeof *work + param_bytes);

	work->refs = 1;
	work->kind = kind;
	return work;
}

void fake_work_drop(struct fake_work *work)
{
	if (work && !--work->refs)
		free(work);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct fake_op *fake_op_new(CUcontext ctx, struct fake_work *work, bool blocking)
{
	struct fake_op *op = fake_alloc(sizeof *op);

	op->refs = 1;
	op->ctx = ctx;
	op->work = work;
	op->blocking = blocking;
	op->waits = 1; /* until it is queued */
	if (work)
		work->refs++;
	return op;
}

struct fake_op *fake_op_hold(struct fake_op *op)
{
	if (op)
		op->refs++;
	return op;
}

void fake_op_drop(struct fake_op *op)
{
	if (!op || --op->refs)
		return;
	fake_work_drop(op->work);
	free(op->after);
	free(op);
}

void fake_op_after(struct fake_op *op, struct fake_op *before)
{
	if (!before || before->done)
		return;
	if (before->nafter == before->room) {
		before->room = before->room ? 2 * before->room : 4;
		before->after = fake_realloc(before->after, before->room * sizeof *before->after);
	}
	before->after[before->nafter++] = op;
	op->waits++;
}

/* Aligned words arrive whole, as with a GPU's copy engines: kernels may be looking at them. */
static void copy(void *to, const void *from, size_t bytes)
{
	uint64_t *out = to;
	const uint64_t *in = from;

	if (((uintptr_t)to | (uintptr_t)from | bytes) % sizeof(*out)) {
		memcpy(to, from, bytes);
		return;
	}
	for (size_t i = 0; i < bytes / sizeof(*out); i++)
		__atomic_store_n(&out[i], __atomic_load_n(&in[i], __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
}

static void run_alone(struct fake_task *task)
{
	struct fake_op *op = (struct fake_op *)task;
	struct fake_work *work = op->work;

	switch (work->kind) {
	case FAKE_COPY:
		copy(work->to, work->from, work->bytes);
		break;
	case FAKE_SET:
		memset(work->to, work->value, work->bytes);
		break;
	case FAKE_HOST:
		fake_in_callback = true;
		work->call(work->data);
		fake_in_callback = false;
		break;
	case FAKE_MEMOPS:
		fake_memops_run(work);
		break;
	default:
		break;
	}
	pthread_mutex_lock(&fake.lock);
	fake_op_complete(op);
	pthread_mutex_unlock(&fake.lock);
}

/* Takes a finished operation out; what it held back goes to the front of the ready list. */
static struct fake_op *finish(struct fake_op *op, struct fake_op *ready)
{
	CUcontext ctx = op->ctx;

	op->done = true;
	op->when = now();
	*(op->prev ? &op->prev->next : &ctx->first) = op->next;
	*(op->next ? &op->next->prev : &ctx->last) = op->prev;
	for (unsigned i = op->nafter; i-- > 0;) {
		struct fake_op *next = op->after[i];

		if (!--next->waits) {
			next->link = ready;
			ready = next;
		}
	}
	fake_op_drop(op);
	return ready;
}

/* A list and not a recursion: chains of marks may be long. */
static void start(struct fake_op *ready)
{
	while (ready) {
		struct fake_op *op = ready;

		ready = op->link;
		if (!op->work) {
			ready = finish(op, ready);
		} else if (op->work->kind == FAKE_KERNEL) {
			fake_launch_ready(op);
		} else {
			op->task.run = run_alone;
			fake_pool_submit(&op->task);
		}
	}
	if (fake.waiters)
		pthread_cond_broadcast(&fake.done);
}

void fake_op_queue(struct fake_op *op)
{
	CUcontext ctx = op->ctx;

	op->seq = ++ctx->seq;
	op->prev = ctx->last;
	*(ctx->last ? &ctx->last->next : &ctx->first) = op;
	ctx->last = op;
	if (!--op->waits)
		start(op);
}

void fake_op_complete(struct fake_op *op)
{
	start(finish(op, NULL));
}

void fake_op_wait(struct fake_op *op)
{
	fake_op_hold(op);
	fake.waiters++;
	while (op && !op->done)
		pthread_cond_wait(&fake.done, &fake.lock);
	fake.waiters--;
	fake_op_drop(op);
}

void fake_ctx_wait(CUcontext ctx)
{
	uint64_t last = ctx->seq;

	fake.waiters++;
	while (ctx->first && ctx->first->seq <= last)
		pthread_cond_wait(&fake.done, &fake.lock);
	fake.waiters--;
}
