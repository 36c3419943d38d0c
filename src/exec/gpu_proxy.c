/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages that the host moves for kernels, and the watch over them. A kernel writes to and reads
 * from a ring in pinned host memory as it does with any other (records.h); here the host is the
 * ring's other end, and moves each message between it and the connection's transport: shared
 * memory, RDMA or TCP, so to ranks on other hosts, and to ranks without a GPU. Long messages may
 * lie in slots on the GPU, from where a network card takes them (gpu_direct.c).
 *
 * One thread per communicator does that. It also looks whether the communicator or a peer has
 * failed, and then stops the kernels; and whether a kernel has failed, and then fails the
 * communicator. Between calls it sleeps most of the time.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "gpu_internal.h"

#define BUSY_NS	    2000000 /* looks all the time for so long after a message */
#define NAP_NS	    50000
#define IDLE_NAP_NS 1000000 /* nothing to move: the watch alone */
#define WATCH_NS    1000000

/* --- making --- */

size_t hk_gpu_proxy_bytes(uint32_t slots, uint32_t slot_bytes)
{
	return (hkd_ring_bytes(slots, slot_bytes, 0) + 128 + 511) / 512 * 512;
}

static int make(struct hk_gpu_exec *x, uint32_t slots, uint32_t slot_bytes, struct proxy **out)
{
	struct proxy *p = calloc(1, sizeof(*p));
	size_t ring = hkd_ring_bytes(slots, slot_bytes, 0);
	void *at = NULL;
	int err;

	if (!p)
		return hk_fail(ENOMEM, "no memory for a connection");
	err = hk_gpu_alloc_host(x->gpu, hk_gpu_proxy_bytes(slots, slot_bytes), &at);
	if (err) {
		free(p);
		return err;
	}
	p->ring = at;
	p->released = (uint64_t *)(p->ring + ring);
	p->wants = p->released + 1;
	p->slots = slots;
	p->slot_bytes = slot_bytes;
	*out = p;
	return 0;
}

static void add(struct hk_gpu_exec *x, struct proxy *p)
{
	pthread_mutex_lock(&x->lock);
	p->next = x->proxies;
	__atomic_store_n(&x->proxies, p, __ATOMIC_RELAXED); /* run looks without the lock */
	pthread_mutex_unlock(&x->lock);
}

int hk_gpu_proxy_send(struct hk_gpu_exec *x, struct hk_send *s, struct hkd_send *record)
{
	struct proxy *p = NULL;
	int err;

	*record =
		(struct hkd_send){.slots = s->slots, .slot_bytes = s->slot_bytes, .peer = s->peer};
	hk_gpu_direct_bind(x, s, record);
	err = make(x, s->slots, record->slot_bytes, &p);
	if (err)
		return err;
	p->send = s;
	p->apart = record->apart;
	p->apart_bytes = record->apart_bytes;
	record->ring = (uintptr_t)p->ring;
	record->released = (uintptr_t)p->released;
	add(x, p);
	return 0;
}

int hk_gpu_proxy_recv(struct hk_gpu_exec *x, struct hk_recv *r, struct hkd_recv *record)
{
	struct proxy *p = NULL;
	int err = make(x, r->slots, r->slot_bytes, &p);

	if (err)
		return err;
	p->recv = r;
	*record = (struct hkd_recv){.ring = (uintptr_t)p->ring,
				    .released = (uintptr_t)p->released,
				    .slots = r->slots,
				    .slot_bytes = r->slot_bytes,
				    .peer = r->peer,
				    .wants = (uintptr_t)p->wants};
	add(x, p);
	return 0;
}

/* --- moving --- */

static struct hkd_header *header_of(const struct proxy *p, uint32_t slot)
{
	return (struct hkd_header *)p->ring + slot;
}

static uint8_t *slot_of(const struct proxy *p, uint32_t slot)
{
	return p->ring + hkd_ring_slots(p->slots, 0) + slot * hkd_slot_stride(p->slot_bytes);
}

/* A message in a slot of the ring. 1: it went; 0: not now; or a failure. */
static int copy_out(struct hk_send *s, const uint8_t *from, uint32_t bytes, uint32_t mark)
{
	void *to = NULL;
	int r = s->ops->reserve(s, bytes, &to);

	if (r <= 0)
		return r;
	if (bytes)
		memcpy(to, from, bytes);
	r = s->ops->commit(s, bytes, mark);
	return r ? r : 1;
}

/* From the kernel's ring to the transport, likewise. */
static int move_out(struct hk_gpu_exec *x, struct proxy *p)
{
	uint32_t slot = (uint32_t)(p->moved % p->slots), bytes, place;
	struct hkd_header *h = header_of(p, slot);
	uint64_t mark = __atomic_load_n(&h->mark, __ATOMIC_ACQUIRE), size;
	int r;

	if (mark >> 32 != (uint32_t)(p->moved + 1))
		return 0;
	size = __atomic_load_n(&h->bytes, __ATOMIC_ACQUIRE);
	bytes = hkd_header_bytes(size);
	place = hkd_header_place(size);
	if (hkd_header_kind(size) == HKD_APART)
		r = hk_gpu_direct_send(x, p->send,
				       p->apart + slot * hkd_slot_stride(p->apart_bytes) + place,
				       bytes, (uint32_t)mark);
	else
		r = copy_out(p->send, slot_of(p, slot) + place, bytes, (uint32_t)mark);
	if (r > 0)
		p->moved++;
	return r;
}

/* Gives the kernel the slots that nobody reads any more. 1: some; 0: none; or a failure. */
static int give_back(struct proxy *p)
{
	int owed = p->returned != p->moved ? p->send->ops->owes(p->send) : 0;

	if (owed < 0 || p->returned == p->moved - (uint64_t)owed)
		return owed < 0 ? owed : 0;
	p->returned = p->moved - (uint64_t)owed;
	__atomic_store_n(p->released, p->returned, __ATOMIC_RELEASE);
	return 1;
}

/* A message that only the transport can read, to its slot. */
static int take(struct proxy *p, const void *data, uint32_t bytes, uint8_t *slot)
{
	if (!data && bytes)
		return p->recv->ops->pull(p->recv, 0, slot, bytes);
	if (bytes)
		memcpy(slot, data, bytes);
	return 1;
}

static int try_in(struct proxy *p)
{
	uint32_t slot = (uint32_t)(p->moved % p->slots), bytes, mark;
	struct hkd_header *h = header_of(p, slot);
	uint64_t flag = (uint64_t)(uint32_t)(p->moved + 1) << 32;
	const void *data;
	int r;

	if (p->moved - __atomic_load_n(p->released, __ATOMIC_ACQUIRE) >= p->slots)
		return 0;
	r = p->recv->ops->peek(p->recv, &data, &bytes, &mark);
	if (r <= 0)
		return r;
	if (bytes > p->slot_bytes)
		return hk_fail(HK_EWIRE, "rank %d sent %u bytes where a slot has %u", p->recv->peer,
			       bytes, p->slot_bytes);
	r = take(p, data, bytes, slot_of(p, slot));
	if (r <= 0)
		return r;
	__atomic_store_n(&h->bytes, bytes | flag, __ATOMIC_RELAXED);
	__atomic_store_n(&h->mark, mark | flag, __ATOMIC_RELEASE);
	p->moved++;
	r = p->recv->ops->release(p->recv);
	return r ? r : 1;
}

/* A peer may leave as soon as it has sent what we want of it: that its connection has failed
 * matters, and is said, only if the kernel waits for another message. busy: kernels may be running,
 * and soon want some. */
static int move_in(struct proxy *p, bool busy)
{
	bool wanted = __atomic_load_n(p->wants, __ATOMIC_RELAXED) > p->moved;
	int r;

	if (p->err)
		return wanted ? hk_fail(p->err, "%s", p->error ? p->error : "a connection failed")
			      : 0;
	if (!busy && !wanted)
		return 0;
	hk_hush(!wanted);
	r = try_in(p);
	hk_hush(false);
	if (r >= 0 || wanted)
		return r;
	p->err = r;
	p->error = strdup(hk_last_error());
	return 0;
}

/* What was sent may need more calls to leave. */
static int flush(struct proxy *p)
{
	int r;

	if (p->flushed == p->moved)
		return 0;
	r = p->send->ops->flush(p->send);
	if (r > 0)
		p->flushed = p->moved;
	return r < 0 ? r : 0;
}

static int move_sending(struct hk_gpu_exec *x, struct proxy *p)
{
	int out = move_out(x, p), back = out < 0 ? out : give_back(p);

	if (back < 0)
		return back;
	return out || back ? 1 : flush(p);
}

/* Everything once; whether anything moved, or a failure. */
static int move_all(struct hk_gpu_exec *x)
{
	bool busy = x->calls != __atomic_load_n(&x->control->calls, __ATOMIC_ACQUIRE);
	int moved = 0;

	/* Whoever makes connections at the moment may take its time. */
	if (pthread_mutex_trylock(&x->lock))
		return 0;
	for (struct proxy *p = x->proxies; p; p = p->next) {
		int r = p->send ? move_sending(x, p) : move_in(p, busy);

		if (r < 0) {
			moved = r;
			break;
		}
		moved |= r;
	}
	pthread_mutex_unlock(&x->lock);
	return moved;
}

bool hk_gpu_proxy_settled(struct hk_gpu_exec *x)
{
	bool settled = true;

	hk_gpu_exec_hold(x);
	for (struct proxy *p = x->proxies; p && settled; p = p->next)
		settled = !p->send || p->send->ops->settle(p->send) != 0;
	hk_gpu_exec_let_go(x);
	return settled;
}

/* --- watching --- */

static int describe(const struct hk_gpu_exec *x)
{
	const struct hkd_control *c = x->control;

	if (__atomic_load_n(&c->failure, __ATOMIC_RELAXED) == HKD_MISMATCH)
		return hk_fail(
			HK_EMISMATCH,
			"rank %d sent a message of another call than rank %d is in (mark %08x, %u "
			"bytes; here %08x, %u bytes; lane %u, step %u): all ranks must make the "
			"same calls in the same order",
			c->peer, x->rank, c->mark, c->bytes, c->own_mark, c->expected, c->lane,
			c->step);
	return hk_fail(ETIMEDOUT,
		       "rank %d's kernel made no progress for %.1f s: it waits in lane %u, step "
		       "%u, tile %u for %s rank %d; that rank may be stuck, gone or in another "
		       "call, or its kernel can't run beside this one (HOCKET_TIMEOUT_MS sets the "
		       "deadline)",
		       x->rank, (double)x->timeout_ns / 1e9, c->lane, c->step, c->tile,
		       c->waits == HK_DOES_RECV	  ? "a message from"
		       : c->waits == HK_DOES_SEND ? "a free slot to"
						  : "another lane of",
		       c->peer >= 0 ? c->peer : x->rank);
}

/* Ends the kernels. */
static void stop(struct hk_gpu_exec *x)
{
	__atomic_store_n(&x->control->stop, 1, __ATOMIC_RELEASE);
}

/* A failure of kernels, or of the communicator; 0: there is none. */
static int watch(struct hk_gpu_exec *x)
{
	int err = 0;

	if (__atomic_load_n(&x->control->told, __ATOMIC_ACQUIRE)) {
		err = describe(x);
		x->guard->fail(x->guard, err);
	}
	if (!err) {
		err = hk_gpu_copying_watch(x);
		if (err)
			x->guard->fail(x->guard, err);
	}
	if (!err)
		err = x->guard->failed(x->guard);
	/* A thread that waited too long for the rest of a message stops all, and says no more. */
	if (!err && __atomic_load_n(&x->control->stop, __ATOMIC_ACQUIRE) &&
	    !__atomic_load_n(&x->control->failure, __ATOMIC_ACQUIRE)) {
		err = hk_fail(ETIMEDOUT, "rank %d's kernel waited %.1f s for the rest of a message",
			      x->rank, (double)x->timeout_ns / 1e9);
		x->guard->fail(x->guard, err);
	}
	if (err)
		stop(x);
	return err;
}

static void *run(void *arg)
{
	struct hk_gpu_exec *x = arg;
	int64_t moved_at = 0, watched_at = 0;
	bool some;
	int err = 0;

	while (!atomic_load(&x->quit)) {
		struct timespec nap = {0, NAP_NS};
		int64_t now = hk_now_ns();
		int r = err ? 0 : move_all(x);

		if (r < 0) {
			x->guard->fail(x->guard, r);
			stop(x);
			err = r;
		}
		if (r > 0)
			moved_at = now;
		if (!err && now - watched_at > WATCH_NS) {
			err = watch(x);
			watched_at = now;
		}
		some = __atomic_load_n(&x->proxies, __ATOMIC_RELAXED) != NULL;
		if (some && now - moved_at < BUSY_NS && !atomic_load(&x->wanted))
			continue;
		if (err)
			hk_gpu_copying_release(x);
		if (!some || err)
			nap.tv_nsec = IDLE_NAP_NS;
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static struct {
	pthread_mutex_t lock;
	struct hk_gpu_exec *first;
} running = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A forked child has neither the threads nor kernels, but the handler. */
static void end_process(void)
{
	pthread_mutex_lock(&running.lock);
	for (struct hk_gpu_exec *x = running.first; x; x = x->next_running) {
		if (x->pid != getpid())
			continue;
		atomic_store(&x->over, true);
		stop(x);
		atomic_store(&x->quit, true);
	}
	for (struct hk_gpu_exec *x = running.first; x; x = x->next_running)
		if (x->running && x->pid == getpid()) {
			pthread_join(x->thread, NULL);
			x->running = false;
		}
	pthread_mutex_unlock(&running.lock);
}

int hk_gpu_proxy_start(struct hk_gpu_exec *x)
{
	sigset_t all, old;
	int err;

	hk_cuda_at_exit(end_process);
	/* The application's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&x->thread, NULL, run, x);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return hk_fail(err, "starting the thread that watches a GPU failed: %s",
			       strerror(err));
	x->running = true;
	x->pid = getpid();
	pthread_mutex_lock(&running.lock);
	x->next_running = running.first;
	running.first = x;
	pthread_mutex_unlock(&running.lock);
	return 0;
}

static void forget_running(struct hk_gpu_exec *x)
{
	struct hk_gpu_exec **place = &running.first;

	pthread_mutex_lock(&running.lock);
	while (*place && *place != x)
		place = &(*place)->next_running;
	if (*place)
		*place = x->next_running;
	pthread_mutex_unlock(&running.lock);
}

void hk_gpu_proxy_stop(struct hk_gpu_exec *x)
{
	bool all = true; /* slots have come back */

	forget_running(x);
	if (x->running) {
		atomic_store(&x->quit, true);
		pthread_join(x->thread, NULL);
		x->running = false;
	}
	for (struct proxy *p = x->proxies, *next; p; p = next) {
		next = p->next;
		all = all && (!p->apart || p->returned == p->moved);
		hk_gpu_put_host(x, p->ring);
		free(p->error);
		free(p);
	}
	x->proxies = NULL;
	hk_gpu_direct_free(x, all && !x->late);
}
