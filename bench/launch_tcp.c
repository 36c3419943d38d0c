/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line of hello, one id back. A client says "hocket-id RANK\n" in a fixed length, so that a
 * stray connection gets nothing, and process 0 counts ranks rather than connections, so that a
 * client that comes twice is served twice. Every read and write has a deadline: a silent stranger
 * costs a second.
 */
#include "launch_tcp.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct hello {
	char text[32];
};

static struct hello make_hello(int rank)
{
	struct hello h;

	memset(&h, 0, sizeof(h));
	snprintf(h.text, sizeof(h.text), "hocket-id %d\n", rank);
	return h;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct addrinfo *resolve(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int err = getaddrinfo(host, port, &hints, &list);

	if (!err)
		return list;
	fprintf(stderr, "MASTER_ADDR=%s, port %s: %s\n", host, port, gai_strerror(err));
	return NULL;
}

/* MASTER_ADDR as this host sees it: an address of its own, or else any (behind a translated one).
 */
static int listen_at(const char *host, const char *port)
{
	struct addrinfo *list = resolve(host, port);
	struct addrinfo any = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *all = NULL;
	int fd = -1, on = 1;

	if (!list)
		return -1;
	if (getaddrinfo(NULL, port, &any, &all))
		all = NULL;
	for (struct addrinfo *try[] = {list, all}, **t = try; fd < 0 && t < try + 2; t++) {
		for (struct addrinfo *a = *t; fd < 0 && a; a = a->ai_next) {
			fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (fd < 0)
				continue;
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
			if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1024)) {
				close(fd);
				fd = -1;
			}
		}
	}
	if (fd < 0)
		fprintf(stderr,
			"cannot listen on port %s for handing the id over: %s; set "
			"HOCKET_ID_PORT to a free port\n",
			port, strerror(errno));
	freeaddrinfo(list);
	if (all)
		freeaddrinfo(all);
	return fd;
}

/* 0 when all bytes passed; data is sent if `out`, else received. */
static int transfer(int fd, void *data, size_t bytes, bool out)
{
	struct timeval limit = {.tv_sec = 1};
	char *p = data;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	while (bytes) {
		ssize_t n = out ? send(fd, p, bytes, MSG_NOSIGNAL) : recv(fd, p, bytes, 0);

		if (n <= 0)
			return -1;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* The rank that was served, or -1. */
static int serve_one(int fd, int nprocs, hocketUniqueId id)
{
	struct hello h, expected;
	int rank;

	if (transfer(fd, &h, sizeof(h), false) || h.text[sizeof(h.text) - 1] ||
	    sscanf(h.text, "hocket-id %d", &rank) != 1 || rank <= 0 || rank >= nprocs)
		return -1;
	expected = make_hello(rank);
	if (memcmp(&h, &expected, sizeof(h)) || transfer(fd, &id, sizeof(id), true))
		return -1;
	return rank;
}

int hk_launch_tcp_serve(const char *host, const char *port, int nprocs, double timeout_s,
			const hocketUniqueId *id)
{
	bool *served = calloc((size_t)nprocs, sizeof(*served));
	double deadline = now_s() + timeout_s;
	int left = nprocs - 1, fd = nprocs > 1 ? listen_at(host, port) : -1;

	if (!served || (fd < 0 && left)) {
		free(served);
		return -1;
	}
	while (left && now_s() < deadline) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int client, rank;

		if (poll(&p, 1, 100) <= 0)
			continue;
		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		rank = serve_one(client, nprocs, *id);
		if (rank > 0 && !served[rank]) {
			served[rank] = true;
			left--;
		}
		close(client);
	}
	if (fd >= 0)
		close(fd);
	free(served);
	if (left)
		fprintf(stderr,
			"%d of %d processes did not fetch the id within %g s "
			"(HOCKET_INIT_TIMEOUT_MS)\n",
			left, nprocs - 1, timeout_s);
	return left ? -1 : 0;
}

/* A connection that is not answered ends at the deadline, not when the system gives up. */
static int connect_once(const struct addrinfo *list, double deadline)
{
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		double left = fmax(deadline - now_s(), 0.001);
		struct timeval limit = {(time_t)left, (suseconds_t)((left - floor(left)) * 1e6)};

		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

int hk_launch_tcp_fetch(const char *host, const char *port, int rank, double timeout_s,
			hocketUniqueId *id)
{
	struct addrinfo *list = resolve(host, port);
	double deadline = now_s() + timeout_s;
	struct hello h = make_hello(rank);
	bool done = false;

	if (!list)
		return -1;
	while (!done && now_s() < deadline) {
		int fd = connect_once(list, deadline);

		if (fd >= 0) {
			done = !transfer(fd, &h, sizeof(h), true) &&
			       !transfer(fd, id, sizeof(*id), false);
			close(fd);
		}
		if (!done)
			usleep(20000);
	}
	freeaddrinfo(list);
	if (done)
		return 0;
	fprintf(stderr,
		"process 0 did not hand the id over at %s:%s within %g s "
		"(HOCKET_INIT_TIMEOUT_MS)\n",
		host, port, timeout_s);
	return -1;
}
