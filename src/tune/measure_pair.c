/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two ranks in one process. Their transport finds its other end through a wire that has no
 * bootstrap: descriptors wait in a short list until the other rank asks for them. Only this process
 * sees it.
 */
#include "measure_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"

#define MOST_PARCELS 16
#define NAP_US	     100
#define MOST_NAPS    10000 /* a second */

/* A descriptor that waits: published for anybody, who gets a duplicate, or dialled for one rank. */
struct parcel {
	int from, fd;
	uint32_t tag;
	bool dialled;
};

struct pair_end {
	struct hk_wire wire;
	struct pair_wire *all;
	int rank;
};

struct pair_wire {
	pthread_mutex_t lock;
	struct pair_end ends[2];
	struct parcel parcels[MOST_PARCELS];
	unsigned nparcels;
};

/* --- the wire --- */

static int post(struct pair_end *e, uint32_t tag, bool dialled, int fd)
{
	struct pair_wire *w = e->all;
	int err = 0;

	pthread_mutex_lock(&w->lock);
	if (w->nparcels < MOST_PARCELS)
		w->parcels[w->nparcels++] = (struct parcel){e->rank, fd, tag, dialled};
	else
		err = hk_fail(ENOSPC, "too many descriptors for a measurement");
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* A duplicate of the other rank's descriptor, or the one that it dialled; -1 if it is not there. */
static int take(struct pair_end *e, uint32_t tag, bool dialled)
{
	struct pair_wire *w = e->all;
	int fd = -1;

	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < w->nparcels && fd < 0; i++) {
		struct parcel *p = &w->parcels[i];

		if (p->from == e->rank || p->tag != tag || p->dialled != dialled)
			continue;
		fd = dialled ? p->fd : dup(p->fd);
		if (dialled)
			*p = w->parcels[--w->nparcels];
	}
	pthread_mutex_unlock(&w->lock);
	return fd;
}

static int await(struct pair_end *e, uint32_t tag, int *fd)
{
	for (int i = 0; i < MOST_NAPS; i++) {
		int found = take(e, tag, false);

		if (found >= 0) {
			*fd = found;
			return 0;
		}
		usleep(NAP_US);
	}
	return hk_fail(ETIMEDOUT, "the other end of a measurement did not come");
}

static int wire_publish(struct hk_wire *wire, uint32_t tag, int fd)
{
	int copy = dup(fd), err;

	if (copy < 0)
		return hk_fail(errno, "cannot duplicate a descriptor: %s", strerror(errno));
	err = post((struct pair_end *)wire, tag, false, copy);
	if (err)
		close(copy);
	return err;
}

static int wire_fetch(struct hk_wire *wire, int peer, uint32_t tag, int *fd)
{
	return await((struct pair_end *)wire, tag, fd);
}

/* A connected pair of sockets over loopback. */
static int connect_sockets(int *out, int *in)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, err = 0;
	socklen_t len = sizeof(at);

	*in = -1;
	*out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *out < 0 || bind(listener, (struct sockaddr *)&at, len) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&at, &len) ||
	    connect(*out, (struct sockaddr *)&at, len))
		err = errno;
	if (!err) {
		*in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		err = *in < 0 ? errno : 0;
	}
	if (listener >= 0)
		close(listener);
	if (!err) {
		setsockopt(*out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(*in, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return 0;
	}
	if (*out >= 0)
		close(*out);
	return hk_fail(err, "no sockets over loopback: %s", strerror(err));
}

static int wire_dial(struct hk_wire *wire, int peer, uint32_t tag, int *sock)
{
	int out = -1, in = -1, err = connect_sockets(&out, &in);

	if (err)
		return err;
	err = post((struct pair_end *)wire, tag, true, in);
	if (err) {
		close(in);
		close(out);
		return err;
	}
	*sock = out;
	return 0;
}

static int wire_answer(struct hk_wire *wire, int peer, uint32_t tag, int *sock)
{
	int fd = take((struct pair_end *)wire, tag, true);

	if (fd >= 0)
		*sock = fd;
	return fd >= 0;
}

static const struct hk_wire_ops wire_ops = {
	.publish = wire_publish,
	.fetch = wire_fetch,
	.dial = wire_dial,
	.answer = wire_answer,
	.routes = hk_routes_one,
	.dial_by = hk_dial_by_none,
};

static int make_wire(struct pair *p)
{
	struct pair_wire *w = calloc(1, sizeof(*w));

	if (!w)
		return hk_fail(ENOMEM, "no memory for a measurement");
	pthread_mutex_init(&w->lock, NULL);
	for (int i = 0; i < 2; i++)
		w->ends[i] = (struct pair_end){{&wire_ops}, w, i};
	p->wire = w;
	return 0;
}

/* --- the pair --- */

int hk_pair_open(struct pair *p, const struct hk_transport *t, uint32_t slots, uint32_t slot_bytes)
{
	int err;

	memset(p, 0, sizeof(*p));
	err = make_wire(p);
	if (err)
		return err;
	pthread_barrier_init(&p->start, NULL, 2);
	for (int i = 0; i < 2 && !err; i++) {
		struct hk_endpoint_env env = {.rank = i,
					      .nranks = 2,
					      .host = 1,
					      .wire = &p->wire->ends[i].wire,
					      .channels = 1,
					      .slots = slots,
					      .slot_bytes = slot_bytes};

		p->ranks[i].pair = p;
		p->ranks[i].rank = i;
		err = t->open(&env, &p->ranks[i].ep, &p->ranks[i].addr);
	}
	for (int i = 0; i < 2 && !err; i++)
		err = t->connect_send(p->ranks[i].ep, !i, 0, &p->ranks[!i].addr, &p->ranks[i].send);
	for (int i = 0; i < 2 && !err; i++)
		err = t->connect_recv(p->ranks[i].ep, !i, 0, &p->ranks[!i].addr, &p->ranks[i].recv);
	if (err)
		hk_pair_close(p);
	return err;
}

void hk_pair_close(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		if (p->ranks[i].ep)
			p->ranks[i].ep->transport->close(p->ranks[i].ep);
	for (unsigned i = 0; i < p->wire->nparcels; i++)
		close(p->wire->parcels[i].fd);
	pthread_mutex_destroy(&p->wire->lock);
	pthread_barrier_destroy(&p->start);
	free(p->wire);
}

/* --- threads --- */

struct pair_job {
	struct pair_rank *rank;
	enum pair_cores cores;
	int (*fn)(struct pair_rank *r, void *arg);
	void *arg;
	int err;
};

/* The first and the middle of the processors that this process may run on: those next to each
 * other may be one core. */
static void go_to_core(const struct pair_job *job)
{
	cpu_set_t allowed, one;
	int n, which;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	n = CPU_COUNT(&allowed);
	which = job->cores == PAIR_APART && job->rank->rank ? n / 2 : 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || which-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
		return;
	}
}

bool hk_pair_has_two_cores(void)
{
	cpu_set_t allowed;

	return !sched_getaffinity(0, sizeof(allowed), &allowed) && CPU_COUNT(&allowed) > 1;
}

static void *run_job(void *arg)
{
	struct pair_job *job = arg;

	go_to_core(job);
	pthread_barrier_wait(&job->rank->pair->start);
	job->err = job->fn(job->rank, job->arg);
	return NULL;
}

int hk_pair_run(struct pair *p, enum pair_cores cores, int (*fn)(struct pair_rank *r, void *arg),
		void *arg)
{
	struct pair_job jobs[2];
	pthread_t thread;
	cpu_set_t before;
	bool known = !pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	int err;

	for (int i = 0; i < 2; i++)
		jobs[i] = (struct pair_job){&p->ranks[i], cores, fn, arg, 0};
	err = pthread_create(&thread, NULL, run_job, &jobs[1]);
	if (err)
		return hk_fail(err, "no thread to measure with: %s", strerror(err));
	run_job(&jobs[0]);
	pthread_join(thread, NULL);
	if (known)
		pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	return jobs[0].err ? jobs[0].err : jobs[1].err;
}
