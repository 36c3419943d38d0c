/* SPDX-License-Identifier: BSD-3-Clause */
/* The wire inside one process: one list of descriptors that wait for whoever asks for them. */
#include "test_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

#define PATIENCE_S 5

/* A dialled socket waits for one rank and goes to it; a published descriptor waits for anyone
 * (to is -1), and each gets a duplicate. */
struct parcel {
	struct parcel *next;
	int from, to;
	uint32_t tag;
	int fd;
};

struct wire {
	struct hk_wire base;
	struct test_wires *world;
	int rank;
	bool gone; /* under the world's lock */
};

struct test_wires {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int nranks, sndbuf, rcvbuf;
	struct parcel *parcels;
	struct wire ranks[];
};

static int post(struct wire *w, int to, uint32_t tag, int fd)
{
	struct parcel *p = malloc(sizeof(*p));
	struct parcel **end = &w->world->parcels;

	if (!p)
		return hk_fail(ENOMEM, "no memory for a parcel");
	*p = (struct parcel){NULL, w->rank, to, tag, fd};
	pthread_mutex_lock(&w->world->lock);
	while (*end)
		end = &(*end)->next;
	*end = p;
	pthread_cond_broadcast(&w->world->changed);
	pthread_mutex_unlock(&w->world->lock);
	return 0;
}

static struct parcel **find(struct test_wires *world, int from, int to, uint32_t tag)
{
	struct parcel **p = &world->parcels;

	while (*p && ((*p)->from != from || (*p)->to != to || (*p)->tag != tag))
		p = &(*p)->next;
	return *p ? p : NULL;
}

static int wire_publish(struct hk_wire *base, uint32_t tag, int fd)
{
	int copy = dup(fd);
	int rc;

	if (copy < 0)
		return hk_fail(errno, "cannot duplicate a descriptor");
	rc = post((struct wire *)base, -1, tag, copy);
	if (rc)
		close(copy);
	return rc;
}

static int wire_fetch(struct hk_wire *base, int peer, uint32_t tag, int *fd)
{
	struct wire *w = (struct wire *)base;
	struct test_wires *world = w->world;
	struct parcel **p;
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&world->lock);
	while (!(p = find(world, peer, -1, tag)) && !rc)
		rc = pthread_cond_timedwait(&world->changed, &world->lock, &end);
	if (p) {
		*fd = dup((*p)->fd);
		rc = *fd < 0 ? hk_fail(errno, "cannot duplicate a descriptor") : 0;
	} else {
		rc = hk_fail(ETIMEDOUT, "rank %d did not offer tag %#x to rank %d in %d s", peer,
			     tag, w->rank, PATIENCE_S);
	}
	pthread_mutex_unlock(&world->lock);
	return rc;
}

/* A connected pair of TCP sockets over loopback. */
static int tcp_pair(const struct test_wires *world, int *dialled, int *answered)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	const int on = 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int in = -1, err = 0;

	/* Buffer sizes shape the window, so they come before the handshake. */
	if (world->rcvbuf)
		setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &world->rcvbuf, sizeof(int));
	if (world->sndbuf)
		setsockopt(out, SOL_SOCKET, SO_SNDBUF, &world->sndbuf, sizeof(int));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &len) ||
	    connect(out, (struct sockaddr *)&at, sizeof(at)) ||
	    setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    (in = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		err = errno;
	if (listener >= 0)
		close(listener);
	if (err) {
		if (out >= 0)
			close(out);
		return hk_fail(err, "no TCP connection over loopback");
	}
	*dialled = out;
	*answered = in;
	return 0;
}

static int wire_dial(struct hk_wire *base, int peer, uint32_t tag, int *sock)
{
	struct wire *w = (struct wire *)base;
	int out = -1, in = -1;
	int rc = tcp_pair(w->world, &out, &in);

	if (rc)
		return rc;
	rc = post(w, peer, tag, in);
	if (rc) {
		close(in);
		close(out);
		return rc;
	}
	*sock = out;
	return 0;
}

static bool is_gone(struct test_wires *world, int rank)
{
	bool gone;

	pthread_mutex_lock(&world->lock);
	gone = world->ranks[rank].gone;
	pthread_mutex_unlock(&world->lock);
	return gone;
}

/* Between processes nobody would listen any more for one that is gone, and what came just before is
 * closed. */
static int wire_dial_by(struct hk_wire *base, int peer, uint32_t tag, unsigned route,
			int64_t timeout_ns, int stop, int *sock)
{
	struct test_wires *world = ((struct wire *)base)->world;
	int rc = is_gone(world, peer) ? -HK_EPEER : wire_dial(base, peer, tag, sock);

	if (!rc && is_gone(world, peer)) {
		close(*sock);
		rc = -HK_EPEER;
	}
	return rc == -HK_EPEER ? hk_fail_quiet(HK_EPEER, "rank %d no longer listens", peer) : rc;
}

static int wire_answer(struct hk_wire *base, int peer, uint32_t tag, int *sock)
{
	struct wire *w = (struct wire *)base;
	struct parcel **p, *taken = NULL;

	pthread_mutex_lock(&w->world->lock);
	p = find(w->world, peer, w->rank, tag);
	if (p) {
		taken = *p;
		*p = taken->next;
	}
	pthread_mutex_unlock(&w->world->lock);
	if (!taken)
		return 0;
	*sock = taken->fd;
	free(taken);
	return 1;
}

static const struct hk_wire_ops wire_ops = {
	.publish = wire_publish,
	.fetch = wire_fetch,
	.dial = wire_dial,
	.answer = wire_answer,
	.routes = hk_routes_one,
	.dial_by = wire_dial_by,
};

int test_wires_create(int nranks, int sndbuf, int rcvbuf, struct test_wires **wires)
{
	struct test_wires *world = calloc(1, sizeof(*world) + (size_t)nranks * sizeof(struct wire));

	if (!world)
		return hk_fail(ENOMEM, "no memory for %d wires", nranks);
	pthread_mutex_init(&world->lock, NULL);
	pthread_cond_init(&world->changed, NULL);
	world->nranks = nranks;
	world->sndbuf = sndbuf;
	world->rcvbuf = rcvbuf;
	for (int i = 0; i < nranks; i++)
		world->ranks[i] = (struct wire){{&wire_ops}, world, i, false};
	*wires = world;
	return 0;
}

struct hk_wire *test_wires_rank(struct test_wires *wires, int rank)
{
	return &wires->ranks[rank].base;
}

void test_wires_leave(struct test_wires *world, int rank)
{
	struct parcel **p = &world->parcels, *gone;

	pthread_mutex_lock(&world->lock);
	world->ranks[rank].gone = true;
	while ((gone = *p)) {
		if (gone->to != rank) {
			p = &gone->next;
			continue;
		}
		*p = gone->next;
		close(gone->fd);
		free(gone);
	}
	pthread_mutex_unlock(&world->lock);
}

void test_wires_destroy(struct test_wires *world)
{
	if (!world)
		return;
	for (struct parcel *p = world->parcels, *next; p; p = next) {
		next = p->next;
		close(p->fd);
		free(p);
	}
	pthread_cond_destroy(&world->changed);
	pthread_mutex_destroy(&world->lock);
	free(world);
}
