/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that only move data, by the GPU's copy engines: no kernel, so no multiprocessor is taken
 * from the application. Each rank copies what it has for the others right to where they want it,
 * which it knows if OUT is in windows (comm/window.c). Ranks meet by words in their GPUs' memory,
 * two for each pair, which the streams write and wait for:
 *
 *     receiver: ready at the sender            sender: waits for ready, clears it
 *                                                      copies
 *     receiver: waits for done, clears it              done at the receiver
 *
 * A word is cleared before the other side can set it again, so a call leaves all as it was, and can
 * be recorded and replayed. `ready` is the call's mark; marks are compared by the host, afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "gpu_internal.h"

#define AT_ONCE 64u /* operations given to the driver */

/* What a call found in its ready words, in pinned memory; one that is replayed keeps its own. */
struct check {
	struct check *next;
	uint32_t *got;
	uint8_t *from; /* which of them are this call's */
	uint32_t mark;
	uint64_t call; /* UINT64_MAX: of a graph */
};

struct hk_gpu_copying {
	uint64_t words;	 /* ready by rank, then done by rank */
	uint32_t *stage; /* pinned: what the stream waits for, as wait_code; 0: nothing */
	struct check *checks;
	_Atomic bool used;
	uint32_t seen; /* the watch's: the last stage, and since when */
	uint64_t calls;
	int64_t since;
};

enum wait { READY, DONE };

static uint32_t wait_code(int peer, enum wait what)
{
	return ((uint32_t)peer + 1) << 1 | (uint32_t)what;
}

static uint64_t word(uint64_t words, int nranks, int peer, enum wait what)
{
	return words + ((uint64_t)nranks * (unsigned)what + (unsigned)peer) * sizeof(uint32_t);
}

/* Operations on words, in the order of a stream. */
struct ops {
	struct hk_gpu_exec *x;
	CUstream stream;
	unsigned n;
	int err;
	CUstreamBatchMemOpParams list[AT_ONCE];
};

static void flush(struct ops *o)
{
	if (o->n && !o->err)
		o->err = hk_cuda_check(o->x->cuda->cuStreamBatchMemOp(o->stream, o->n, o->list, 0),
				       "queueing a stream's memory operations");
	o->n = 0;
}

static CUstreamBatchMemOpParams *next(struct ops *o)
{
	CUstreamBatchMemOpParams *p;

	if (o->n == AT_ONCE)
		flush(o);
	p = &o->list[o->n++];
	memset(p, 0, sizeof(*p));
	return p;
}

static void put(struct ops *o, uint64_t at, uint32_t value)
{
	CUstreamBatchMemOpParams *p = next(o);

	p->operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
	p->writeValue.address = at;
	p->writeValue.value = value;
}

static void put_stage(struct ops *o, uint32_t code)
{
	put(o, (uintptr_t)o->x->copying->stage, code);
}

/* Until the word is odd; so says its mark, and the host that ends all waiting. */
static void await(struct ops *o, int peer, enum wait what)
{
	CUstreamBatchMemOpParams *p;

	put_stage(o, wait_code(peer, what));
	p = next(o);
	p->operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
	p->waitValue.address = word(o->x->copying->words, o->x->nranks, peer, what);
	p->waitValue.value = 1;
	p->waitValue.flags = CU_STREAM_WAIT_VALUE_AND;
}

static void clear(struct ops *o, int peer, enum wait what)
{
	put(o, word(o->x->copying->words, o->x->nranks, peer, what), 0);
}

/* --- making --- */

int hk_gpu_copying_open(struct hk_gpu_exec *x, struct hkd_control *page)
{
	struct hk_gpu_copying *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return hk_fail(ENOMEM, "no memory for copies between GPUs");
	x->copying = k;
	k->stage = (uint32_t *)(page + 1);
	err = hk_gpu_alloc_shared(x->gpu, hk_gpu_exec_words_bytes(x), &k->words);
	if (!err)
		x->memory += hk_gpu_exec_words_bytes(x);
	return err;
}

bool hk_gpu_exec_can_copy(const struct hk_gpu_exec *x)
{
	int words = 0;
	CUdevice device;

	/* Without it the driver may still know the functions. */
	return x->cuda->cuStreamBatchMemOp &&
	       !x->cuda->cuDeviceGet(&device, hk_gpu_device(x->gpu)) &&
	       !x->cuda->cuDeviceGetAttribute(
		       &words, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, device) &&
	       words;
}

uint64_t hk_gpu_exec_words(const struct hk_gpu_exec *x)
{
	return x->copying->words;
}

size_t hk_gpu_exec_words_bytes(const struct hk_gpu_exec *x)
{
	return (size_t)x->nranks * 2 * sizeof(uint32_t);
}

void hk_gpu_copying_close(struct hk_gpu_exec *x)
{
	struct hk_gpu_copying *k = x->copying;

	if (!k)
		return;
	for (struct check *c = k->checks, *next; c; c = next) {
		next = c->next;
		hk_gpu_put_host(x, c->got);
		free(c->from);
		free(c);
	}
	/* After a failure peers may still write to the words. */
	if (__atomic_load_n(&x->control->stop, __ATOMIC_ACQUIRE))
		hk_gpu_abandon(x->gpu, k->words);
	else
		hk_gpu_free(x->gpu, k->words);
	free(k);
	x->copying = NULL;
}

/* --- marks --- */

/* The first rank that made another call, and its mark; or -1. */
static int find_stranger(const struct hk_gpu_exec *x, const struct check *c, uint32_t *mark)
{
	for (int i = 0; i < x->nranks; i++) {
		*mark = __atomic_load_n(&c->got[i], __ATOMIC_RELAXED);
		if (c->from[i] && *mark && *mark != c->mark)
			return i;
	}
	return -1;
}

/* Whole words of 8 bytes, which arrive whole: the watch may be looking. */
static size_t marks_bytes(const struct hk_gpu_exec *x)
{
	return ((size_t)x->nranks + 1) / 2 * sizeof(uint64_t);
}

static int check_marks(struct hk_gpu_exec *x)
{
	for (struct check *c = x->copying->checks; c; c = c->next) {
		uint32_t mark;
		int who = find_stranger(x, c, &mark);

		if (who >= 0)
			return hk_fail(HK_EMISMATCH,
				       "rank %d made another call than rank %d (mark %08x, here "
				       "%08x), and its data may be wrong: all ranks must make the "
				       "same calls in the same order",
				       who, x->rank, mark, c->mark);
	}
	return 0;
}

/* A record that no queued call uses, for this one. With the lock, for the watch looks at all. */
static int take_check(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, bool capturing,
		      struct check **out)
{
	uint64_t ended = __atomic_load_n(&x->control->calls, __ATOMIC_ACQUIRE);
	struct check *c = x->copying->checks;
	size_t n = (size_t)x->nranks;
	void *got = NULL;
	uint32_t mark;
	int err;

	while (c && (c->call == UINT64_MAX || c->call > ended))
		c = c->next;
	if (c) {
		if (find_stranger(x, c, &mark) >= 0)
			return check_marks(x);
		goto found;
	}
	c = calloc(1, sizeof(*c));
	if (c)
		c->from = calloc(n, 1);
	if (!c || !c->from) {
		free(c);
		return hk_fail(ENOMEM, "no memory for a call's copies");
	}
	err = hk_gpu_alloc_host(x->gpu, marks_bytes(x), &got);
	if (err) {
		free(c->from);
		free(c);
		return err;
	}
	c->got = got;
	c->next = x->copying->checks;
	x->copying->checks = c;
found:
	memset(c->got, 0, marks_bytes(x));
	memset(c->from, 0, n);
	for (unsigned i = 0; i < job->n; i++)
		c->from[job->pushes[i].peer] |= job->pushes[i].peer != x->rank;
	c->mark = job->mark | 1;
	c->call = capturing ? UINT64_MAX : x->calls + 1;
	*out = c;
	return 0;
}

/* --- a call --- */

static int copy(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, uint64_t in,
		CUstream stream)
{
	int err = 0;

	for (unsigned i = 0; !err && i < job->n; i++) {
		const struct hk_gpu_push *p = &job->pushes[i];

		if (p->to != in + p->from)
			err = hk_cuda_check(
				x->cuda->cuMemcpyAsync(p->to, in + p->from, p->bytes, stream),
				"copying between GPUs");
	}
	return err;
}

static int queue(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, uint64_t in,
		 struct check *check, CUstream stream, bool capturing)
{
	struct hk_gpu_copying *k = x->copying;
	struct ops o = {.x = x, .stream = stream};
	int n = x->nranks;

	for (int i = 0; i < n; i++)
		if (job->from[i])
			put(&o, word(job->words[i], n, x->rank, READY), check->mark);
	for (int i = 0; i < n; i++)
		if (check->from[i])
			await(&o, i, READY);
	flush(&o);
	if (!o.err)
		o.err = hk_cuda_check(x->cuda->cuMemcpyAsync((uintptr_t)check->got,
							     word(k->words, n, 0, READY),
							     marks_bytes(x), stream),
				      "copying the ranks' marks");
	for (int i = 0; i < n; i++)
		if (check->from[i])
			clear(&o, i, READY);
	flush(&o);
	if (!o.err)
		o.err = copy(x, job, in, stream);
	for (int i = 0; i < n; i++)
		if (check->from[i])
			put(&o, word(job->words[i], n, x->rank, DONE), check->mark);
	for (int i = 0; i < n; i++) {
		if (!job->from[i])
			continue;
		await(&o, i, DONE);
		clear(&o, i, DONE);
	}
	put_stage(&o, 0);
	if (!capturing) {
		CUstreamBatchMemOpParams *p = next(&o);

		p->operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
		p->writeValue.address = (uintptr_t)&x->control->calls;
		p->writeValue.value64 = x->calls + 1;
	}
	flush(&o);
	if (!o.err && !capturing)
		x->calls++;
	return o.err;
}

static int run(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, CUstream stream)
{
	uint64_t capture = 0, in = (uintptr_t)job->in;
	struct check *check = NULL;
	int err = hk_gpu_begin(x, stream, &capture);

	if (!err)
		err = hk_gpu_stage_input(x, job->in_bytes, capture != 0, &in);
	if (err)
		return err;
	hk_gpu_exec_hold(x);
	err = take_check(x, job, capture != 0, &check);
	hk_gpu_exec_let_go(x);
	if (err)
		return err;
	atomic_store(&x->copying->used, true);
	err = queue(x, job, in, check, stream, capture != 0);
	return err ? err : hk_gpu_end(x, stream, capture);
}

int hk_gpu_exec_copy(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, void *stream)
{
	int err = hk_gpu_enter(x->gpu);

	if (err)
		return err;
	err = run(x, job, stream);
	hk_gpu_leave(x->gpu);
	return err;
}

/* --- watching --- */

int hk_gpu_copying_watch(struct hk_gpu_exec *x)
{
	struct hk_gpu_copying *k = x->copying;
	uint32_t stage = __atomic_load_n(k->stage, __ATOMIC_RELAXED);
	uint64_t calls = __atomic_load_n(&x->control->calls, __ATOMIC_RELAXED);
	int64_t now = hk_now_ns();
	int err = 0;

	if (!atomic_load(&k->used))
		return 0;
	if (!pthread_mutex_trylock(&x->lock)) {
		err = check_marks(x);
		pthread_mutex_unlock(&x->lock);
	}
	if (err)
		return err;
	if (!stage || stage != k->seen || calls != k->calls) {
		k->seen = stage;
		k->calls = calls;
		k->since = now;
	} else if (now - k->since > x->timeout_ns) {
		return hk_fail(ETIMEDOUT,
			       "rank %d's copies made no progress for %.1f s: they wait for rank "
			       "%d to %s; that rank may be stuck, gone or in another call "
			       "(HOCKET_TIMEOUT_MS sets the deadline)",
			       x->rank, (double)x->timeout_ns / 1e9, (int)(stage >> 1) - 1,
			       stage & 1 ? "end its own" : "make this call");
	}
	return 0;
}

bool hk_gpu_copying_waits(const struct hk_gpu_exec *x)
{
	return x->copying && __atomic_load_n(x->copying->stage, __ATOMIC_RELAXED) != 0;
}

void hk_gpu_copying_release(struct hk_gpu_exec *x)
{
	size_t n = 2 * (size_t)x->nranks;
	uint32_t *ones;

	if (!atomic_load(&x->copying->used))
		return;
	ones = malloc(n * sizeof(*ones));
	for (size_t i = 0; ones && i < n; i++)
		ones[i] = 1;
	if (ones)
		hk_gpu_write(x->gpu, x->copying->words, ones, n * sizeof(*ones));
	free(ones);
}
