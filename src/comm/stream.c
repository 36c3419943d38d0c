/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host streams: a thread and a queue each. A call gets its communicator's next ticket when it is
 * queued, and runs when its stream reaches it and all earlier tickets have finished: so calls on
 * one communicator run in the order in which they were made, whichever streams they are on. The
 * call that was made first of all those queued can always run, so streams never wait for each other
 * in a circle.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch.h"
#include "clock.h"

#define MAX_STREAMS   1024
#define QUEUE	      1024 /* calls; enqueueing more waits */
#define QUIESCE_SPINS 200

/* A call, or a batch of them. */
struct queued {
	struct hk_batch *batch; /* NULL: the call below */
	hocketComm_t handle;
	struct hk_comm *comm;
	uint64_t ticket;
	struct hk_request req;
};

struct hocketStream {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool used, stop;
	uint64_t head, tail; /* calls run, calls queued */
	int err;	     /* first failure since the last synchronise */
	char error[512];
	struct queued *queue;
};

static struct hocketStream table[MAX_STREAMS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned next_entry;

bool hk_stream_is_ours(hocketStream_t s)
{
	uintptr_t at = (uintptr_t)s, base = (uintptr_t)table;

	return at >= base && at < base + sizeof(table);
}

static struct hocketStream *lookup(hocketStream_t s)
{
	uintptr_t at = (uintptr_t)s, base = (uintptr_t)table;
	bool used;

	if (at < base || at >= base + sizeof(table) || (at - base) % sizeof(table[0])) {
		hk_fail_quiet(EINVAL, "%p is not a host stream", (void *)s);
		return NULL;
	}
	pthread_mutex_lock(&table_lock);
	used = s->used;
	pthread_mutex_unlock(&table_lock);
	if (!used) {
		hk_fail_quiet(EINVAL, "host stream %p was destroyed", (void *)s);
		return NULL;
	}
	return s;
}

static void pause_briefly(unsigned *spins)
{
	struct timespec t = {0, 50000};

	if (++*spins < QUIESCE_SPINS)
		sched_yield();
	else
		nanosleep(&t, NULL);
}

void hk_comm_quiesce(struct hk_comm *c)
{
	uint64_t until = atomic_load(&c->issued);
	unsigned spins = 0;

	while (atomic_load_explicit(&c->finished, memory_order_acquire) < until)
		pause_briefly(&spins);
}

void hk_comm_await_ticket(struct hk_comm *c, uint64_t ticket)
{
	unsigned spins = 0;

	while (!hk_comm_is_turn(c, ticket))
		pause_briefly(&spins);
}

static int run_one(struct queued *q)
{
	int err;

	if (q->batch)
		return hk_batch_arrive(q->batch);
	hk_comm_await_ticket(q->comm, q->ticket);
	err = hk_comm_check(q->comm);
	if (!err)
		err = hk_comm_run(q->comm, &q->req);
	hk_request_free(&q->req);
	atomic_store_explicit(&q->comm->finished, q->ticket + 1, memory_order_release);
	hk_handle_leave(q->handle);
	return err;
}

static void *stream_thread(void *arg)
{
	struct hocketStream *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct queued q;
		int err;

		while (s->head == s->tail && !s->stop)
			pthread_cond_wait(&s->changed, &s->lock);
		if (s->head == s->tail)
			break;
		q = s->queue[s->head % QUEUE];
		pthread_mutex_unlock(&s->lock);
		err = run_one(&q);
		pthread_mutex_lock(&s->lock);
		if (err && !s->err) {
			s->err = err;
			strncpy(s->error, hk_last_error(), sizeof(s->error) - 1);
		}
		s->head++;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void lock_with_room(struct hocketStream *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->tail - s->head >= QUEUE)
		pthread_cond_wait(&s->changed, &s->lock);
}

/* Of a stream that lock_with_room has locked; unlocks it. */
static void append(struct hocketStream *s, struct queued call)
{
	s->queue[s->tail++ % QUEUE] = call;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

int hk_stream_enqueue(hocketStream_t stream, hocketComm_t handle, struct hk_comm *c,
		      const struct hk_request *req)
{
	struct hocketStream *s = lookup(stream);

	if (!s)
		return -EINVAL;
	/* The queued call is a user of the communicator until it has run. */
	if (!hk_handle_enter(handle))
		return -EINVAL;
	lock_with_room(s);
	append(s, (struct queued){.handle = handle,
				  .comm = c,
				  .ticket = atomic_fetch_add(&c->issued, 1),
				  .req = *req});
	return 0;
}

int hk_stream_check(hocketStream_t stream)
{
	return lookup(stream) ? 0 : -EINVAL;
}

static int by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t) * (const hocketStream_t *)a;
	uintptr_t y = (uintptr_t) * (const hocketStream_t *)b;

	return (x > y) - (x < y);
}

/* Locks all streams once all of them have room. */
static void lock_all_with_room(hocketStream_t *streams, unsigned n)
{
	unsigned locked = 0;

	while (locked < n) {
		struct hocketStream *s = streams[locked];

		pthread_mutex_lock(&s->lock);
		if (s->tail - s->head < QUEUE) {
			locked++;
			continue;
		}
		/* Whoever else wants to must get at the others while this waits. */
		while (locked > 0)
			pthread_mutex_unlock(&streams[--locked]->lock);
		while (s->tail - s->head >= QUEUE)
			pthread_cond_wait(&s->changed, &s->lock);
		pthread_mutex_unlock(&s->lock);
	}
}

/* To all streams at one moment: a call that came in between would be before the batch on one stream
 * and the next call on its communicator, which waits for it, behind the batch on another, or the
 * other way round, and no stream could go on. */
void hk_stream_enqueue_batch(hocketStream_t *streams, unsigned nstreams, struct hk_batch *batch)
{
	hk_batch_expect(batch, nstreams);
	qsort(streams, nstreams, sizeof(hocketStream_t), by_address);
	lock_all_with_room(streams, nstreams);
	for (unsigned i = 0; i < nstreams; i++)
		append(streams[i], (struct queued){.batch = batch});
}

static int create(struct hocketStream *s)
{
	sigset_t all, old;
	int err;

	s->queue = calloc(QUEUE, sizeof(*s->queue));
	if (!s->queue)
		return hk_fail(ENOMEM, "no memory for a stream's queue");
	s->head = s->tail = 0;
	s->err = 0;
	s->stop = false;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	/* The application's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&s->thread, NULL, stream_thread, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		pthread_cond_destroy(&s->changed);
		pthread_mutex_destroy(&s->lock);
		free(s->queue);
		return hk_fail(err, "starting a stream's thread failed: %s", strerror(err));
	}
	s->used = true;
	return 0;
}

hocketResult_t hocketStreamCreate(hocketStream_t *stream)
{
	struct hocketStream *s = NULL;
	int err = EMFILE;

	if (!stream)
		return hk_result(hk_fail_quiet(EINVAL, "hocketStreamCreate: stream is NULL"));
	pthread_mutex_lock(&table_lock);
	for (unsigned i = 0; i < MAX_STREAMS && !s; i++) {
		s = &table[next_entry++ % MAX_STREAMS];
		if (s->used)
			s = NULL;
	}
	err = s ? create(s)
		: hk_fail(EMFILE, "this process has %d streams; destroy some", MAX_STREAMS);
	pthread_mutex_unlock(&table_lock);
	if (!err)
		*stream = s;
	return hk_result(err);
}

static int synchronize(struct hocketStream *s)
{
	int err;

	pthread_mutex_lock(&s->lock);
	while (s->head != s->tail)
		pthread_cond_wait(&s->changed, &s->lock);
	err = s->err;
	s->err = 0;
	if (err)
		hk_set_last_error(s->error);
	pthread_mutex_unlock(&s->lock);
	return err;
}

hocketResult_t hocketStreamSynchronize(hocketStream_t stream)
{
	struct hocketStream *s = lookup(stream);

	return s ? hk_result(synchronize(s)) : hocketInvalidArgument;
}

hocketResult_t hocketStreamQuery(hocketStream_t stream)
{
	struct hocketStream *s = lookup(stream);
	bool idle;

	if (!s)
		return hocketInvalidArgument;
	pthread_mutex_lock(&s->lock);
	idle = s->head == s->tail;
	pthread_mutex_unlock(&s->lock);
	return idle ? hocketSuccess : hocketInProgress;
}

hocketResult_t hocketStreamDestroy(hocketStream_t stream)
{
	struct hocketStream *s = lookup(stream);
	int err;

	if (!s)
		return hocketInvalidArgument;
	err = synchronize(s);
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->queue);
	pthread_mutex_lock(&table_lock);
	s->used = false; /* last: from here on another thread may take the entry */
	pthread_mutex_unlock(&table_lock);
	return hk_result(err);
}
