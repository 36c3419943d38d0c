/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups: what a thread calls between start and end is kept, and at the end sorted into batches.
 * Calls that have a communicator or a stream in common are in one batch, which polls them all at
 * once (batch.c); so nothing in a group waits for its neighbour, in whatever order the calls came.
 * Communicators that are made in a group begin at once, each in a thread of its own, and the end
 * waits for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

struct item {
	hocketComm_t handle;
	struct hk_comm *comm; /* what the handle meant at the call; looked up again at the end, and
			       * not to be used before: it may have been destroyed */
	bool gpu, launch;     /* it has a GPU, and the call goes to a CUDA stream */
	hocketStream_t stream;
	struct hk_request req;
	unsigned batch; /* which batch it goes to: the lowest number of an item of it */
};

/* A communicator that is being made, and where its user wants it. */
struct making {
	struct hk_make *make;
	hocketComm_t comm, *place;
};

/* Something that goes on in a thread of its own, and how it is waited for. */
struct awaited {
	int (*finish)(void *arg);
	void *arg;
};

struct group {
	int err;
	char error[512];
	struct item *items;
	unsigned n, max;
	struct making *makings;
	unsigned nmakings;
	struct awaited *awaited;
	unsigned nawaited;
};

static _Thread_local unsigned depth __attribute__((tls_model("initial-exec")));
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The group will not run: communicators that it began to make are ended. */
static void drop_makings(struct group *g)
{
	for (unsigned i = 0; i < g->nmakings; i++) {
		hk_make_let_go(g->makings[i].make);
		if (g->makings[i].comm)
			hocketCommAbort(g->makings[i].comm);
	}
	g->nmakings = 0;
}

/* Waits for what goes on, in whatever state the group is; the first failure. */
static int finish_awaited(struct group *g)
{
	char error[512] = "";
	int err = 0;

	for (unsigned i = 0; i < g->nawaited; i++) {
		int one = g->awaited[i].finish(g->awaited[i].arg);

		if (!one || err)
			continue;
		err = one;
		strncpy(error, hk_last_error(), sizeof(error) - 1);
	}
	g->nawaited = 0;
	if (err)
		hk_set_last_error(error);
	return err;
}

/* A thread ends, perhaps with a group open. */
static void group_free(void *p)
{
	struct group *g = p;

	for (unsigned i = 0; i < g->n; i++)
		hk_request_free(&g->items[i].req);
	finish_awaited(g);
	drop_makings(g); /* their places may have been the thread's own */
	free(g->items);
	free(g->makings);
	free(g->awaited);
	free(g);
}

static void make_key(void)
{
	if (pthread_key_create(&key, group_free))
		abort(); /* a process has 1024 keys, and this one is asked for once */
}

static struct group *this_group(void)
{
	struct group *g;

	pthread_once(&once, make_key);
	g = pthread_getspecific(key);
	if (g)
		return g;
	g = calloc(1, sizeof(*g));
	if (g && pthread_setspecific(key, g)) {
		free(g);
		g = NULL;
	}
	if (!g)
		hk_fail(ENOMEM, "no memory for a group");
	return g;
}

bool hk_group_open(void)
{
	return depth > 0;
}

void hk_group_refuse(int err)
{
	struct group *g = this_group();

	if (!g || g->err)
		return;
	g->err = err;
	strncpy(g->error, hk_last_error(), sizeof(g->error) - 1);
}

int hk_group_add(hocketComm_t handle, struct hk_comm *c, struct hk_request *req,
		 hocketStream_t stream)
{
	struct group *g = this_group();
	bool cuda = c->gpu && !hk_stream_is_ours(stream);
	int err = g && (!stream || cuda) ? 0 : -ENOMEM;

	if (g && stream && !cuda)
		err = hk_stream_check(stream);
	if (!err && g->n == g->max) {
		unsigned more = g->max ? 2 * g->max : 16;
		struct item *items = realloc(g->items, more * sizeof(*items));

		if (items) {
			g->items = items;
			g->max = more;
		} else {
			err = hk_fail(ENOMEM, "no memory for a group of %u calls", more);
		}
	}
	if (err) {
		hk_request_free(req);
		return err;
	}
	g->items[g->n] = (struct item){.handle = handle,
				       .comm = c,
				       .gpu = c->gpu,
				       .launch = cuda,
				       .stream = stream,
				       .req = *req,
				       .batch = g->n};
	g->n++;
	return 0;
}

int hk_group_make(const struct hk_make_how *how, hocketComm_t *comm)
{
	struct group *g = this_group();
	struct making *more = g ? realloc(g->makings, (g->nmakings + 1) * sizeof(*more)) : NULL;
	hocketComm_t handle = NULL;
	int err;

	if (!more) {
		err = g ? hk_fail(ENOMEM, "no memory for a group") : -ENOMEM;
	} else {
		g->makings = more;
		more += g->nmakings;
		err = hk_make_start(how, &more->make, &handle);
	}
	if (err) {
		hk_group_refuse(err);
		return err;
	}
	*comm = more->comm = handle;
	more->place = comm;
	g->nmakings++;
	return 0;
}

int hk_group_await(int (*finish)(void *arg), void *arg)
{
	struct group *g = this_group();
	struct awaited *more = g ? realloc(g->awaited, (g->nawaited + 1) * sizeof(*more)) : NULL;

	if (!more)
		return g ? hk_fail(ENOMEM, "no memory for a group") : -ENOMEM;
	g->awaited = more;
	more[g->nawaited++] = (struct awaited){finish, arg};
	return 0;
}

void hk_group_forget(const void *arg)
{
	struct group *g = this_group();

	if (g && g->nawaited && g->awaited[g->nawaited - 1].arg == arg)
		g->nawaited--;
}

/* --- the end --- */

/* Waits for the communicators that were made, but for those whose user does not want to. */
static int finish_makings(struct group *g)
{
	bool going_on = false;
	char error[512];
	int err = 0;

	for (unsigned i = 0; i < g->nmakings; i++) {
		struct making *k = &g->makings[i];
		int one = 0;

		if (hk_make_blocking(k->make)) {
			one = hk_make_finish(k->make);
		} else {
			going_on = true;
			hk_make_let_go(k->make);
		}
		if (one)
			*k->place = NULL;
		if (!one || err)
			continue;
		err = one;
		strncpy(error, hk_last_error(), sizeof(error) - 1);
		error[sizeof(error) - 1] = 0;
	}
	g->nmakings = 0;
	if (err)
		hk_set_last_error(error);
	return err ? err : going_on ? -EINPROGRESS : 0;
}

static void join(struct group *g, unsigned a, unsigned b)
{
	unsigned from = g->items[a].batch, to = g->items[b].batch;

	if (from < to) {
		from = to;
		to = g->items[a].batch;
	}
	for (unsigned i = 0; from != to && i < g->n; i++)
		if (g->items[i].batch == from)
			g->items[i].batch = to;
}

/* Which items go to one batch. */
static int sort(struct group *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct item *last = i ? &g->items[i - 1] : NULL;

		/* As most are: what goes for the one before goes for it. */
		if (last && last->comm == g->items[i].comm &&
		    (last->stream == g->items[i].stream || (last->launch && g->items[i].launch))) {
			g->items[i].batch = last->batch;
			continue;
		}
		for (unsigned j = 0; j < i; j++) {
			const struct item *a = &g->items[i], *b = &g->items[j];

			/* CUDA's streams order themselves; and all that has GPUs is queued before
			 * any of it is waited for. */
			if (a->launch || b->launch) {
				if (a->launch && b->launch && a->batch != b->batch)
					join(g, i, j);
				if (a->launch != b->launch && a->comm == b->comm)
					return hk_fail_quiet(
						HK_EUSAGE,
						"a group has calls of one communicator on host "
						"streams and on CUDA streams; use one kind");
				continue;
			}
			if (a->stream && a->stream == b->stream && a->gpu != b->gpu)
				return hk_fail_quiet(
					HK_EUSAGE,
					"a group has calls of communicators with and without a GPU "
					"on one host stream; use a stream for each");
			if (a->comm == b->comm && !a->stream != !b->stream)
				return hk_fail_quiet(
					HK_EUSAGE,
					"a group has calls of one communicator with a stream and "
					"without; use a stream for all of them or for none");
			if (a->batch != b->batch && (a->comm == b->comm || a->stream == b->stream))
				join(g, i, j);
		}
	}
	return 0;
}

static unsigned streams_of(const struct group *g, unsigned batch, hocketStream_t *streams)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n; i++) {
		unsigned k = 0;

		if (g->items[i].batch != batch || !g->items[i].stream)
			continue;
		while (k < n && streams[k] != g->items[i].stream)
			k++;
		if (k == n)
			streams[n++] = g->items[i].stream;
	}
	return n;
}

/* Moves the items of one batch into it. */
static int fill(struct group *g, unsigned number, struct hk_batch **batch)
{
	int err = hk_batch_create(batch);

	for (unsigned i = 0; !err && i < g->n; i++) {
		struct item *item = &g->items[i];

		if (item->batch != number)
			continue;
		err = hk_batch_add(*batch, item->handle, item->comm, &item->req);
		if (!err)
			item->req.own_tables = false; /* they are the batch's now */
	}
	return err;
}

/* All batches are filled before the first one starts: a group runs as a whole or not at all. */
static int run(struct group *g)
{
	struct hk_batch **batches = calloc(g->n + 1, sizeof(struct hk_batch *)), *blocking = NULL;
	int launched = 0;
	hocketStream_t *streams = calloc(g->n + 1, sizeof(hocketStream_t));
	int err = batches && streams ? sort(g) : hk_fail(ENOMEM, "no memory to run a group");

	for (unsigned i = 0; !err && i < g->n; i++)
		if (g->items[i].batch == i)
			err = fill(g, i, &batches[i]);
	for (unsigned i = 0; !err && i < g->n; i++) {
		if (batches[i])
			err = hk_batch_check(batches[i]);
		/* It was one at the call. */
		if (!err && g->items[i].stream && !g->items[i].launch)
			err = hk_stream_check(g->items[i].stream);
	}
	for (unsigned i = 0; i < g->n && batches; i++) {
		unsigned n;

		if (!batches[i])
			continue;
		if (err) {
			hk_batch_free(batches[i]);
			continue;
		}
		if (g->items[i].launch) {
			int one = hk_batch_launch(batches[i]);

			launched = launched ? launched : one;
			continue;
		}
		hk_batch_issue(batches[i]);
		n = streams_of(g, i, streams);
		if (n)
			hk_stream_enqueue_batch(streams, n, batches[i]);
		else
			blocking = batches[i];
	}
	free(batches);
	free(streams);
	if (blocking)
		err = hk_batch_run(blocking);
	return err ? err : launched;
}

hocketResult_t hocketGroupStart(void)
{
	if (!this_group())
		return hocketSystemError;
	depth++;
	return hocketSuccess;
}

hocketResult_t hocketGroupEnd(void)
{
	struct group *g = this_group();
	int err;

	if (!depth)
		return hk_result(hk_fail_quiet(HK_EUSAGE,
					       "hocketGroupEnd without a hocketGroupStart before"));
	if (--depth)
		return hocketSuccess;
	err = finish_awaited(g);
	if (g->err) {
		err = g->err;
		for (unsigned i = 0; i < g->nmakings; i++)
			*g->makings[i].place = NULL;
		drop_makings(g);
		hk_set_last_error(g->error);
	} else {
		int made = finish_makings(g);

		err = err ? err : made;
		if (g->n && (!err || err == -EINPROGRESS)) {
			int ran = run(g);

			err = ran ? ran : err;
		}
	}
	for (unsigned i = 0; i < g->n; i++)
		hk_request_free(&g->items[i].req);
	g->n = 0;
	g->err = 0;
	return hk_result(err);
}
