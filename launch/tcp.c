/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Process 0 hands the id over at an address: one line of hello, one id back. A client says
 * "hocket-id RANK\n" in a fixed length, so that a stray connection gets nothing, and process 0
 * counts ranks rather than connections, so that a client that comes twice is served twice. Every
 * read and write has a deadline: a silent stranger costs a second. Whoever can connect there while
 * it lasts can read the id: it trusts that network, as torchrun's own store does.
 *
 * By hand the address is HOCKET_ID_ADDR. Under torchrun it is MASTER_ADDR, with HOCKET_ID_PORT, by
 * default MASTER_PORT + 1, as torchrun itself listens on MASTER_PORT.
 */
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launch_internal.h"

#define STRANGER_S 1.0 /* what a silent connection costs process 0 at most */

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

static hocketResult_t resolve(const char *host, const char *port, struct addrinfo **list)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int err = getaddrinfo(host, port, &hints, list);

	if (!err)
		return hocketSuccess;
	return hk_launch_fail(hocketSystemError, "the address of process 0, host %s, port %s: %s",
			      host, port, gai_strerror(err));
}

static bool is_loopback(const struct addrinfo *a)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)a->ai_addr;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)a->ai_addr;

	if (a->ai_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return a->ai_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

/* Whether a loopback address is what the name stands for. On many systems that of the host itself
 * has one, too (127.0.1.1), but others find the host elsewhere. */
static bool means_loopback(const char *host, const char *port)
{
	struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;

	if (getaddrinfo(host, port, &numeric, &list))
		return !strcasecmp(host, "localhost");
	freeaddrinfo(list);
	return true;
}

/* The first of the addresses on which this host can listen, or -1. */
static int listen_on(const struct addrinfo *list, bool loopback)
{
	int on = 1;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = loopback || !is_loopback(a)
				 ? socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)
				 : -1;

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 1024))
			return fd;
		close(fd);
	}
	return -1;
}

/* At the host's address as this host sees it: one of its own that others reach, or else any (behind
 * a translated one). */
static hocketResult_t listen_at(const char *host, const char *port, int *fd)
{
	struct addrinfo any = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL, *all = NULL;
	hocketResult_t result = resolve(host, port, &list);

	if (result != hocketSuccess)
		return result;
	*fd = listen_on(list, means_loopback(host, port));
	if (*fd < 0 && !getaddrinfo(NULL, port, &any, &all))
		*fd = listen_on(all, true);
	if (*fd < 0)
		result = hk_launch_fail(hocketSystemError,
					"cannot listen on port %s for handing the id over: %s; set "
					"HOCKET_ID_PORT, or the port in HOCKET_ID_ADDR, to a free "
					"one",
					port, strerror(errno));
	freeaddrinfo(list);
	if (all)
		freeaddrinfo(all);
	return result;
}

static struct timeval period(double seconds)
{
	double whole = floor(fmax(seconds, 0.001)), rest = fmax(seconds, 0.001) - whole;

	return (struct timeval){(time_t)whole, (suseconds_t)(rest * 1e6)};
}

/* 0 when all bytes passed, none of them later than the limit after the one before; data is sent if
 * `out`, else received. */
static int transfer(int fd, void *data, size_t bytes, bool out, double limit_s)
{
	struct timeval limit = period(limit_s);
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

	if (transfer(fd, &h, sizeof(h), false, STRANGER_S) || h.text[sizeof(h.text) - 1] ||
	    sscanf(h.text, "hocket-id %d", &rank) != 1 || rank <= 0 || rank >= nprocs)
		return -1;
	expected = make_hello(rank);
	if (memcmp(&h, &expected, sizeof(h)) || transfer(fd, &id, sizeof(id), true, STRANGER_S))
		return -1;
	return rank;
}

/* Serves the others at fd until all have come or the time is over; returns how many have not. */
static int serve_all(int fd, bool *served, int nprocs, double deadline, const hocketUniqueId *id)
{
	int left = nprocs - 1;

	while (left && hk_launch_now_s() < deadline) {
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
	return left;
}

static hocketResult_t serve(const struct hocketLaunch *l, const char *host, const char *port,
			    const hocketUniqueId *id)
{
	double timeout_s = hk_launch_timeout_s();
	bool *served = calloc((size_t)l->nranks, sizeof(*served));
	hocketResult_t result;
	int fd, left;

	if (!served)
		return hk_launch_fail(hocketSystemError, "out of memory");
	result = listen_at(host, port, &fd);
	if (result == hocketSuccess) {
		left = serve_all(fd, served, l->nranks, hk_launch_now_s() + timeout_s, id);
		close(fd);
		if (left)
			result = hk_launch_fail(hocketRemoteError,
						"%d of %d processes did not fetch the id within %g "
						"s (HOCKET_INIT_TIMEOUT_MS)",
						left, l->nranks - 1, timeout_s);
	}
	free(served);
	return result;
}

/* A connection that is not answered ends at the deadline, not when the system gives up. */
static int connect_once(const struct addrinfo *list, double deadline)
{
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		double left = deadline - hk_launch_now_s();
		struct timeval limit = period(left);

		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static hocketResult_t fetch(const struct hocketLaunch *l, const char *host, const char *port,
			    hocketUniqueId *id)
{
	double timeout_s = hk_launch_timeout_s(), deadline = hk_launch_now_s() + timeout_s;
	struct hello h = make_hello(l->rank);
	struct addrinfo *list = NULL;
	hocketResult_t result = resolve(host, port, &list);
	bool done = false;

	if (result != hocketSuccess)
		return result;
	while (!done && hk_launch_now_s() < deadline) {
		int fd = connect_once(list, deadline);

		if (fd >= 0) {
			/* Whoever gave up early and came again would count as served by then. */
			done = !transfer(fd, &h, sizeof(h), true, STRANGER_S) &&
			       !transfer(fd, id, sizeof(*id), false, deadline - hk_launch_now_s());
			close(fd);
		}
		if (!done)
			usleep(20000);
	}
	freeaddrinfo(list);
	if (done)
		return hocketSuccess;
	return hk_launch_fail(
		hocketRemoteError,
		"process 0 did not hand the id over at %s:%s within %g s "
		"(HOCKET_INIT_TIMEOUT_MS): is it running, and can this host reach it?",
		host, port, timeout_s);
}

hocketResult_t hk_launch_share_at(const struct hocketLaunch *l, const char *host, const char *port,
				  hocketUniqueId *id)
{
	hocketResult_t result;

	if (l->rank)
		return fetch(l, host, port, id);
	result = hk_launch_make_id(id);
	if (result != hocketSuccess || l->nranks == 1)
		return result;
	return serve(l, host, port, id);
}

hocketResult_t hk_launch_share_at_address(const struct hocketLaunch *l, const char *address,
					  hocketUniqueId *id)
{
	const char *colon = strrchr(address, ':');
	char host[256];
	size_t length;

	/* Two colons without brackets are an IPv6 address without a port. */
	if (colon && (*address == '[' ? colon[-1] == ']' : strchr(address, ':') == colon)) {
		bool bracketed = *address == '[';

		length = (size_t)(colon - address) - 2 * bracketed;
		if (length && length < sizeof(host) && colon[1]) {
			memcpy(host, address + bracketed, length);
			host[length] = 0;
			return hk_launch_share_at(l, host, colon + 1, id);
		}
	}
	return hk_launch_fail(hocketInvalidUsage,
			      "HOCKET_ID_ADDR=%s is no HOST:PORT (an IPv6 address is written "
			      "[ADDRESS]:PORT)",
			      address);
}

/* --- torchrun --- */

static bool torchrun_here(void)
{
	return hk_launch_env("RANK") && hk_launch_env("WORLD_SIZE") &&
	       hk_launch_env("MASTER_ADDR") && hk_launch_env("MASTER_PORT");
}

static hocketResult_t open_torchrun(struct hocketLaunch *l)
{
	return hk_launch_place(l, "RANK", "WORLD_SIZE");
}

static hocketResult_t share_torchrun(struct hocketLaunch *l, hocketUniqueId *id)
{
	const char *host = hk_launch_env("MASTER_ADDR"), *port = hk_launch_env("HOCKET_ID_PORT");
	char next[16];
	int master;

	if (!host)
		return hk_launch_fail(hocketInvalidUsage, "MASTER_ADDR is not set");
	if (!port) {
		hocketResult_t result = hk_launch_number("MASTER_PORT", &master);

		if (result != hocketSuccess)
			return result;
		snprintf(next, sizeof(next), "%d", master + 1);
		port = next;
	}
	return hk_launch_share_at(l, host, port, id);
}

const struct hk_way hk_way_torchrun = {
	.name = "torchrun",
	.here = torchrun_here,
	.open = open_torchrun,
	.share = share_torchrun,
	.close = hk_launch_close_nothing,
};
