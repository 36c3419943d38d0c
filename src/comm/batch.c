/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs batches: see batch.h. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One communicator's part. */
struct track {
	hocketComm_t handle;
	struct hk_comm *comm;
	uint64_t ticket;
	struct hk_request *reqs; /* collectives */
	unsigned nreqs, max_reqs, next;
	struct hk_plan *plan; /* of the collective that runs; NULL: none */
	struct hk_call call;
	struct hk_request *p2p; /* sends and receives */
	unsigned np2p, max_p2p;
	int *peers;		 /* of the sends, then of the receives */
	struct hk_block *blocks; /* likewise */
	struct hk_plan *p2p_plan;
	uint32_t turn; /* of its last call for a GPU */
	bool started;  /* its ticket's turn has come */
	bool done;
};

/* When a call is queued on its CUDA stream: see take_turn. */
struct turn {
	uint32_t turn, number; /* among those of one turn: in the order of the calls */
	unsigned track;
	bool p2p; /* all sends and receives of the track */
};

struct queue {
	hocketStream_t stream;
	uint32_t turn; /* of its last call */
};

struct hk_batch {
	struct hk_drive drive;
	struct hk_watch watch;
	struct track *tracks;
	unsigned ntracks;
	struct hk_endpoint **endpoints;
	struct hk_exec_stats stats;
	struct turn *turns; /* of communicators with GPUs */
	unsigned nturns, max_turns;
	struct queue *queues;
	unsigned nqueues;
	int err; /* the first failure */
	char error[512];

	pthread_mutex_t lock; /* for the streams */
	pthread_cond_t ran;
	unsigned awaited, users;
	bool over;
};

int hk_batch_create(struct hk_batch **batch)
{
	struct hk_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return hk_fail(ENOMEM, "no memory for a batch of calls");
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->ran, NULL);
	*batch = b;
	return 0;
}

static void release(struct hk_batch *b)
{
	for (unsigned i = 0; i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];

		for (unsigned k = 0; k < t->nreqs; k++)
			hk_request_free(&t->reqs[k]);
		free(t->reqs);
		free(t->p2p);
		free(t->peers);
		free(t->blocks);
		hk_handle_leave(t->handle);
	}
	free(b->tracks);
	free(b->turns);
	free(b->queues);
	free(b->endpoints);
	pthread_mutex_destroy(&b->lock);
	pthread_cond_destroy(&b->ran);
	free(b);
}

void hk_batch_free(struct hk_batch *b)
{
	release(b);
}

/* The communicator's track; made, as a user of the handle, if there is none. */
static int find_track(struct hk_batch *b, hocketComm_t handle, struct hk_comm *c,
		      struct track **track)
{
	struct track *tracks;
	struct hk_comm *now;

	for (unsigned i = 0; i < b->ntracks; i++)
		if (b->tracks[i].comm == c) {
			*track = &b->tracks[i];
			return 0;
		}
	tracks = realloc(b->tracks, (b->ntracks + 1) * sizeof(*tracks));
	if (!tracks)
		return hk_fail(ENOMEM, "no memory for a batch of %u communicators", b->ntracks);
	b->tracks = tracks;
	now = hk_handle_enter(handle);
	if (now != c) {
		if (now)
			hk_handle_leave(handle);
		return hk_fail_quiet(EINVAL, "a communicator was destroyed inside a group that "
					     "uses it");
	}
	*track = &tracks[b->ntracks++];
	**track = (struct track){.handle = handle, .comm = c};
	return 0;
}

/* NULL: the stream is none that orders ranks, or there is no memory, and then *err is set. */
static struct queue *find_queue(struct hk_batch *b, hocketStream_t stream, int *err)
{
	struct queue *more;

	*err = 0;
	if (!stream)
		return NULL;
	for (unsigned i = b->nqueues; i-- > 0;)
		if (b->queues[i].stream == stream)
			return &b->queues[i];
	more = realloc(b->queues, (b->nqueues + 1) * sizeof(*more));
	if (!more) {
		*err = hk_fail(ENOMEM, "no memory for a batch on %u streams", b->nqueues + 1);
		return NULL;
	}
	b->queues = more;
	more += b->nqueues++;
	*more = (struct queue){.stream = stream};
	return more;
}

/* The communicators take turns, one call each: a driver's queue of launches is bounded, so a thread
 * that queues many calls of one rank before those of another would wait for room, and the kernels
 * for the calls that it has not made yet. But calls of one stream stay in order, also those of
 * several communicators. (Not on the default stream, which ranks of one process may all name.) */
static int take_turn(struct hk_batch *b, struct track *t, bool p2p, hocketStream_t stream)
{
	uint32_t turn = t->turn + 1;
	struct queue *q;
	int err;

	if (p2p && t->np2p)
		return 0;
	if (b->nturns == b->max_turns) {
		unsigned more = b->max_turns ? 2 * b->max_turns : 16;
		struct turn *turns = realloc(b->turns, more * sizeof(*turns));

		if (!turns)
			return hk_fail(ENOMEM, "no memory for a batch of %u calls", more);
		b->turns = turns;
		b->max_turns = more;
	}
	q = find_queue(b, stream, &err);
	if (err)
		return err;
	if (p2p && t->nreqs) { /* they run before its collectives */
		turn = 0;
	} else {
		if (q && q->turn > turn)
			turn = q->turn;
		t->turn = turn;
		if (q)
			q->turn = turn;
	}
	b->turns[b->nturns] = (struct turn){turn, b->nturns, (unsigned)(t - b->tracks), p2p};
	b->nturns++;
	return 0;
}

int hk_batch_add(struct hk_batch *b, hocketComm_t handle, struct hk_comm *c,
		 const struct hk_request *req)
{
	bool p2p = req->coll == HK_POINT_TO_POINT;
	struct hk_request **list;
	unsigned *n, *max;
	struct track *t = NULL;
	int err = find_track(b, handle, c, &t);

	if (err)
		return err;
	if (c->gpu)
		err = take_turn(b, t, p2p, req->stream);
	if (err)
		return err;
	list = p2p ? &t->p2p : &t->reqs;
	n = p2p ? &t->np2p : &t->nreqs;
	max = p2p ? &t->max_p2p : &t->max_reqs;
	if (*n == *max) {
		unsigned more = *max ? 2 * *max : 4;
		struct hk_request *grown = realloc(*list, more * sizeof(*grown));

		if (!grown)
			return hk_fail(ENOMEM, "no memory for a batch of %u calls", more);
		*list = grown;
		*max = more;
	}
	(*list)[(*n)++] = *req;
	return 0;
}

/* --- before it runs --- */

/* The next send or receive of this rank to or from itself, from number i on. */
static unsigned next_self(const struct track *t, unsigned i, bool send)
{
	while (i < t->np2p && (t->p2p[i].send != send || t->p2p[i].root != t->comm->rank))
		i++;
	return i;
}

/* The k-th send to oneself must be as long as the k-th receive. */
static int check_self(const struct track *t)
{
	unsigned n = t->np2p, send = next_self(t, 0, true), recv = next_self(t, 0, false);
	int me = t->comm->rank;

	while (send < n && recv < n) {
		if (t->p2p[send].block != t->p2p[recv].block)
			return hk_fail_quiet(EINVAL,
					     "rank %d sends %zu bytes to itself, but receives %zu",
					     me, t->p2p[send].block, t->p2p[recv].block);
		send = next_self(t, send + 1, true);
		recv = next_self(t, recv + 1, false);
	}
	if (send == n && recv == n)
		return 0;
	return hk_fail_quiet(EINVAL, "rank %d %s itself in a group that does not %s", me,
			     send < n ? "sends to" : "receives from",
			     send < n ? "receive it" : "send it");
}

/* Sends first, then receives: the order of the plan's blocks. */
static int lay_p2p(struct track *t)
{
	unsigned at = 0;

	t->peers = calloc(t->np2p, sizeof(*t->peers));
	t->blocks = calloc(t->np2p, sizeof(*t->blocks));
	if (!t->peers || !t->blocks)
		return hk_fail(ENOMEM, "no memory for %u sends and receives", t->np2p);
	for (int send = 1; send >= 0; send--)
		for (unsigned i = 0; i < t->np2p; i++) {
			const struct hk_request *req = &t->p2p[i];

			if (req->send != send)
				continue;
			t->peers[at] = req->root;
			t->blocks[at++] = (struct hk_block){
				send ? (void *)(uintptr_t)req->in : req->out, req->block};
		}
	return 0;
}

int hk_batch_check(struct hk_batch *b)
{
	int err = 0;

	for (unsigned i = 0; !err && i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];

		if (t->comm->finalized)
			return hk_fail_quiet(HK_EUSAGE, "a group uses a finalized communicator");
		if (t->np2p)
			err = check_self(t);
		if (!err && t->np2p)
			err = lay_p2p(t);
	}
	if (err)
		return err;
	b->endpoints = calloc(b->ntracks * 2 * HK_MAX_TRANSPORTS, sizeof(struct hk_endpoint *));
	return b->endpoints ? 0 : hk_fail(ENOMEM, "no memory for a batch");
}

void hk_batch_issue(struct hk_batch *b)
{
	for (unsigned i = 0; i < b->ntracks; i++)
		b->tracks[i].ticket = atomic_fetch_add(&b->tracks[i].comm->issued, 1);
}

/* --- running --- */

/* The endpoints that may wake the batch: those of all communicators whose turn has come. Those of
 * the others are still in use by an earlier call, in another thread. */
static void collect_endpoints(struct hk_batch *b)
{
	b->watch.nendpoints = 0;
	b->watch.unseen = false;
	for (unsigned i = 0; i < b->ntracks; i++) {
		const struct hk_watch *w = &b->tracks[i].comm->watch.watch;

		if (!b->tracks[i].started) {
			b->watch.unseen |= !b->tracks[i].done;
			continue;
		}
		for (unsigned k = 0; k < w->nendpoints; k++)
			b->endpoints[b->watch.nendpoints++] = w->endpoints[k];
	}
}

/* One call for all messages, on the first one's stream, between what is before and behind them on
 * the others'. */
static int launch_p2p(struct track *t, const struct hk_call *call)
{
	hocketStream_t one = t->p2p[0].stream;
	int err = 0;

	for (unsigned i = 1; !err && i < t->np2p; i++)
		err = hk_comm_order_streams(t->comm, t->p2p[i].stream, one);
	if (!err)
		err = hk_comm_launch_plan(t->comm, t->p2p_plan, call, NULL, one);
	for (unsigned i = 1; !err && i < t->np2p; i++)
		err = hk_comm_order_streams(t->comm, one, t->p2p[i].stream);
	return err;
}

static int start_p2p(struct track *t)
{
	unsigned sends = 0;
	struct hk_call call;
	int err;

	for (unsigned i = 0; i < t->np2p; i++)
		sends += t->p2p[i].send;
	err = hk_comm_p2p_plan(t->comm, sends, t->peers, t->np2p - sends, t->peers + sends,
			       &t->p2p_plan);
	if (err)
		return err;
	call = (struct hk_call){.in_blocks = t->blocks,
				.out_blocks = t->blocks + sends,
				.type = HK_UINT8,
				.op = HK_SUM,
				.mark = hk_p2p_mark()};
	if (t->comm->gpu)
		return launch_p2p(t, &call);
	hk_plan_begin(t->p2p_plan, &call);
	return 0;
}

/* Starts the track's next collective that has something to do. */
static int start_next(struct track *t)
{
	int err = 0;

	t->plan = NULL;
	while (!err && !t->plan && t->next < t->nreqs)
		err = hk_comm_start(t->comm, &t->reqs[t->next++], &t->plan, &t->call);
	if (!err && t->plan)
		hk_plan_begin(t->plan, &t->call);
	return err;
}

/* One that has not started leaves the connections to the call before it, which another thread runs.
 * The track's failure, whatever it is, is the batch's if it is the first. Where a switch failed,
 * the communicator is well and its other ranks go on to the next call, so the track does, too. */
static void fail(struct hk_batch *b, struct track *t, int err)
{
	bool over = false;

	while (err && !over) {
		err = t->started ? hk_comm_fail_call(t->comm, err) : hk_comm_fail(t->comm, err);
		if (!b->err) {
			b->err = err;
			strncpy(b->error, hk_last_error(), sizeof(b->error) - 1);
		}
		over = err != -HK_ESWITCH || !t->started;
		if (!over)
			err = start_next(t);
	}
	t->done = over || (!t->p2p_plan && !t->plan);
	collect_endpoints(b); /* a switch's may be gone */
}

/* Its turn has come. */
static int start_track(struct hk_batch *b, struct track *t)
{
	int err = hk_comm_check(t->comm);

	t->started = true;
	if (!err && t->np2p)
		err = start_p2p(t);
	if (!err)
		err = start_next(t);
	collect_endpoints(b);
	return err;
}

static int poll_track(struct hk_batch *b, struct track *t, bool *moved)
{
	int r;

	if (__builtin_expect(!t->started, 0)) {
		if (!hk_comm_is_turn(t->comm, t->ticket))
			return 0;
		*moved = true;
		r = start_track(b, t);
		if (r < 0)
			return r;
	}
	if (t->p2p_plan) {
		r = hk_plan_poll(t->p2p_plan, moved);
		if (r < 0)
			return r;
		if (r) {
			hk_plan_count(t->p2p_plan, &t->comm->stats);
			t->p2p_plan = NULL;
		}
	}
	if (t->plan) {
		r = hk_plan_poll(t->plan, moved);
		if (r < 0)
			return r;
		if (r) {
			hk_plan_count(t->plan, &t->comm->stats);
			r = start_next(t);
			if (r)
				return r;
			collect_endpoints(b);
			*moved = true;
		}
	}
	return !t->p2p_plan && !t->plan;
}

static int poll_batch(struct hk_drive *d, bool *moved)
{
	struct hk_batch *b = (struct hk_batch *)d;
	bool all = true;

	for (unsigned i = 0; i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];
		int r;

		if (t->done)
			continue;
		r = poll_track(b, t, moved);
		if (r < 0)
			fail(b, t, r);
		else
			t->done = r;
		all = all && t->done;
	}
	return all;
}

/* Those that have started fail; the others wait for earlier calls, which have deadlines of their
 * own. */
static int batch_expired(struct hk_drive *d)
{
	struct hk_batch *b = (struct hk_batch *)d;

	for (unsigned i = 0; i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];

		if (t->started && !t->done)
			fail(b, t, hk_plan_expired(t->plan ? t->plan : t->p2p_plan, d->watch));
	}
	return 0; /* the next poll tells whether that was all */
}

/* Failed communicators leave the batch; the others go on. */
static int batch_failed(struct hk_watch *w)
{
	struct hk_batch *b = (struct hk_batch *)((char *)w - offsetof(struct hk_batch, watch));

	for (unsigned i = 0; i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];
		struct hk_watch *own = &t->comm->watch.watch;
		int err = 0;

		/* Before its turn the means of the call are another thread's, switches too. */
		if (!t->done)
			err = t->started ? own->failed(own) : hk_comm_check(t->comm);
		if (err)
			fail(b, t, err);
	}
	return 0;
}

/* The shortest deadline and spin of all. Nothing starts yet: a communicator whose turn has not come
 * must not keep the others waiting, for the call before it may need them to get on. */
static void set_watch(struct hk_batch *b)
{
	b->watch = (struct hk_watch){.failed = batch_failed,
				     .timeout_ns = INT64_MAX,
				     .spin_ns = INT64_MAX,
				     .endpoints = b->endpoints};
	for (unsigned i = 0; i < b->ntracks; i++) {
		const struct hk_watch *own = &b->tracks[i].comm->watch.watch;

		if (own->timeout_ns < b->watch.timeout_ns)
			b->watch.timeout_ns = own->timeout_ns;
		if (own->spin_ns < b->watch.spin_ns)
			b->watch.spin_ns = own->spin_ns;
	}
	collect_endpoints(b);
}

/* --- on GPUs --- */

static void note(struct hk_batch *b, int err)
{
	if (!err || b->err)
		return;
	b->err = err;
	strncpy(b->error, hk_last_error(), sizeof(b->error) - 1);
}

static int by_turn(const void *a, const void *b)
{
	const struct turn *one = a, *two = b;

	if (one->turn != two->turn)
		return one->turn < two->turn ? -1 : 1;
	return one->number < two->number ? -1 : 1;
}

/* All communicators' calls are queued, also if one of them fails, before any is waited for. */
static int launch(struct hk_batch *b)
{
	for (unsigned i = 0; i < b->ntracks; i++) {
		int err = hk_comm_check(b->tracks[i].comm);

		note(b, err);
		b->tracks[i].done = err;
	}
	qsort(b->turns, b->nturns, sizeof(*b->turns), by_turn);
	for (unsigned i = 0; i < b->nturns; i++) {
		struct track *t = &b->tracks[b->turns[i].track];
		int err = 0;

		if (t->done)
			continue;
		if (b->turns[i].p2p)
			err = start_p2p(t);
		else
			err = hk_comm_launch(t->comm, &t->reqs[t->next++]);
		note(b, err);
		t->done = err;
	}
	for (unsigned i = 0; i < b->ntracks; i++)
		note(b, hk_comm_finish(b->tracks[i].comm));
	if (b->err)
		hk_set_last_error(b->error);
	return b->err;
}

int hk_batch_launch(struct hk_batch *b)
{
	int err;

	/* Those on host streams come first, as before a single call. */
	for (unsigned i = 0; i < b->ntracks; i++)
		hk_comm_quiesce(b->tracks[i].comm);
	err = launch(b);

	release(b);
	return err;
}

/* On host streams, which wait for what they run. */
static void launch_and_wait(struct hk_batch *b)
{
	for (unsigned i = 0; i < b->ntracks; i++) {
		struct track *t = &b->tracks[i];

		hk_comm_await_ticket(t->comm, t->ticket);
		for (unsigned k = 0; k < t->nreqs; k++)
			t->reqs[k].stream = hk_gpu_exec_stream(t->comm->gpu);
		for (unsigned k = 0; k < t->np2p; k++)
			t->p2p[k].stream = hk_gpu_exec_stream(t->comm->gpu);
	}
	launch(b);
	for (unsigned i = 0; i < b->ntracks; i++) {
		int err = hk_gpu_exec_wait(b->tracks[i].comm->gpu);

		note(b, err ? hk_comm_fail(b->tracks[i].comm, err) : 0);
	}
}

static int run(struct hk_batch *b)
{
	static const struct hk_drive_ops ops = {poll_batch, batch_expired};

	if (b->ntracks && b->tracks[0].comm->gpu) {
		launch_and_wait(b);
	} else {
		b->drive = (struct hk_drive){&ops, &b->watch};
		set_watch(b);
		hk_drive_run(&b->drive, &b->stats);
	}
	for (unsigned i = 0; i < b->ntracks; i++) {
		/* One that failed may not have had its turn. */
		hk_comm_await_ticket(b->tracks[i].comm, b->tracks[i].ticket);
		atomic_store_explicit(&b->tracks[i].comm->finished, b->tracks[i].ticket + 1,
				      memory_order_release);
	}
	if (b->err)
		hk_set_last_error(b->error);
	return b->err;
}

int hk_batch_run(struct hk_batch *b)
{
	int err = run(b);

	release(b);
	return err;
}

/* --- on streams --- */

void hk_batch_expect(struct hk_batch *b, unsigned streams)
{
	b->awaited = b->users = streams;
}

int hk_batch_arrive(struct hk_batch *b)
{
	bool last;
	int err;

	pthread_mutex_lock(&b->lock);
	if (--b->awaited == 0) {
		pthread_mutex_unlock(&b->lock);
		run(b);
		pthread_mutex_lock(&b->lock);
		b->over = true;
		pthread_cond_broadcast(&b->ran);
	}
	while (!b->over)
		pthread_cond_wait(&b->ran, &b->lock);
	err = b->err;
	if (err)
		hk_set_last_error(b->error);
	last = --b->users == 0;
	pthread_mutex_unlock(&b->lock);
	if (last)
		release(b);
	return err;
}
