/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The opener: a few threads of an endpoint with striped connections. They dial the sockets that
 * these want beside their first ones, and again those that were lost, so that nobody who sends has
 * to wait for an address that does not answer; and they are a few so that such an address delays no
 * others. A path waits in the list until its dial succeeds; failures make its pauses longer. What
 * is opened is left in the path, whose owner looks there.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "tcp.h"

#define DIAL_NS	    INT64_C(1000000000)
#define FIRST_PAUSE INT64_C(200000000)
#define LAST_PAUSE  INT64_C(10000000000)

enum { THREADS = 4 };

struct hk_tcp_opener {
	struct hk_wire *wire;
	pthread_t threads[THREADS];
	unsigned nthreads;
	int stopfd;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	bool stopping;
	struct hk_tcp_path *wanted;
};

/* The path whose turn is first, taken out of the list. Under the lock. */
static struct hk_tcp_path *take_first(struct hk_tcp_opener *o)
{
	struct hk_tcp_path **first = &o->wanted, *path;

	for (struct hk_tcp_path **p = &o->wanted; *p; p = &(*p)->next_wanted)
		if ((*p)->due < (*first)->due)
			first = p;
	path = *first;
	if (path)
		*first = path->next_wanted;
	return path;
}

static void put_back(struct hk_tcp_opener *o, struct hk_tcp_path *path)
{
	path->next_wanted = o->wanted;
	o->wanted = path;
}

/* Without the lock. */
static bool open_path(struct hk_tcp_opener *o, struct hk_tcp_path *path)
{
	int fd = -1;

	if (o->wire->ops->dial_by(o->wire, path->peer, path->tag, path->route, DIAL_NS, o->stopfd,
				  &fd)) {
		path->due = hk_now_ns() + path->pause;
		path->pause = 2 * path->pause < LAST_PAUSE ? 2 * path->pause : LAST_PAUSE;
		return false;
	}
	hk_tcp_prepare_send(fd);
	/* From here on the path is its owner's. */
	atomic_store_explicit(&path->opened, fd, memory_order_release);
	return true;
}

static void *run(void *arg)
{
	struct hk_tcp_opener *o = arg;

	pthread_mutex_lock(&o->lock);
	while (!o->stopping) {
		struct hk_tcp_path *path = take_first(o);
		bool opened;

		if (!path) {
			pthread_cond_wait(&o->changed, &o->lock);
			continue;
		}
		if (path->due > hk_now_ns()) {
			struct timespec until = {path->due / 1000000000, path->due % 1000000000};

			put_back(o, path);
			pthread_cond_timedwait(&o->changed, &o->lock, &until);
			continue;
		}
		pthread_mutex_unlock(&o->lock);
		opened = open_path(o, path);
		pthread_mutex_lock(&o->lock);
		if (!opened)
			put_back(o, path);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* As many threads as can be had; one will do. */
static int start(struct hk_tcp_opener *o)
{
	sigset_t all, old;
	int err = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!err && o->nthreads < THREADS) {
		err = pthread_create(&o->threads[o->nthreads], NULL, run, o);
		if (!err)
			pthread_setname_np(o->threads[o->nthreads++], "hocket-opener");
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (o->nthreads)
		return 0;
	return hk_fail(
		err, "no thread for opening sockets: %s; raise the limit of processes (ulimit -u)",
		strerror(err));
}

int hk_tcp_opener_create(struct hk_wire *wire, struct hk_tcp_opener **opener)
{
	struct hk_tcp_opener *o = calloc(1, sizeof(*o));
	pthread_condattr_t attr;
	int rc;

	if (!o)
		return hk_fail(ENOMEM, "no memory for opening sockets");
	o->wire = wire;
	o->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->stopfd < 0) {
		rc = hk_fail(errno, "no eventfd: %s; raise the limit of open files (ulimit -n)",
			     strerror(errno));
		free(o);
		return rc;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = start(o);
	if (rc) {
		pthread_cond_destroy(&o->changed);
		pthread_mutex_destroy(&o->lock);
		close(o->stopfd);
		free(o);
		return rc;
	}
	*opener = o;
	return 0;
}

void hk_tcp_opener_want(struct hk_tcp_opener *o, struct hk_tcp_path *path)
{
	bool again = path->pause != 0;

	path->pause = FIRST_PAUSE;
	path->due = hk_now_ns() + (again ? FIRST_PAUSE : 0);
	pthread_mutex_lock(&o->lock);
	put_back(o, path);
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
}

void hk_tcp_opener_destroy(struct hk_tcp_opener *o)
{
	if (!o)
		return;
	eventfd_write(o->stopfd, 1);
	pthread_mutex_lock(&o->lock);
	o->stopping = true;
	pthread_cond_broadcast(&o->changed);
	pthread_mutex_unlock(&o->lock);
	for (unsigned i = 0; i < o->nthreads; i++)
		pthread_join(o->threads[i], NULL);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	close(o->stopfd);
	free(o);
}
