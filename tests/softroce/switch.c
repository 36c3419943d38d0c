/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An Ethernet switch between virtual machines, for `scripts/softroce --hosts N` with more than two:
 * QEMU's dgram network cards send each frame as one datagram over a Unix socket. The cards'
 * addresses end in the number of their host, so there is nothing to learn: a frame goes to the port
 * that its address names, or to all if it is for many.
 *
 * usage: switch PATH HOSTS: the card of host h has the socket PATH.h and sends to PATH.h.switch.
 *
 * A send blocks while its machine is behind, which slows the senders down instead of losing frames.
 * A machine that takes nothing for 50 ms has its card down or is dead, and must not hold up the
 * others: its frames are dropped until it takes some again.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_HOSTS = 64, MAX_FRAME = 65536, ADDRESS = 6 };

struct port {
	struct sockaddr_un card; /* where its card listens */
	bool stuck;
};

static struct port ports[MAX_HOSTS];
static struct pollfd polls[MAX_HOSTS]; /* the switch's end of each port */
static int nports;

static bool path_set(struct sockaddr_un *address, const char *path, int host, const char *suffix)
{
	int length;

	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path), "%s.%d%s", path, host,
			  suffix);
	if (length < 0 || (size_t)length >= sizeof(address->sun_path)) {
		fprintf(stderr, "switch: %s is too long for a socket's path\n", path);
		return false;
	}
	return true;
}

static bool port_open(const char *path, int host)
{
	struct timeval patience = {.tv_usec = 50000};
	struct sockaddr_un own;
	int bytes = 4 << 20;
	int fd;

	if (!path_set(&own, path, host, ".switch") || !path_set(&ports[host].card, path, host, ""))
		return false;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience))) {
		fprintf(stderr, "switch: cannot open %s: %s\n", own.sun_path, strerror(errno));
		return false;
	}
	polls[host] = (struct pollfd){.fd = fd, .events = POLLIN};
	return true;
}

static void port_send(int to, const unsigned char *frame, size_t bytes)
{
	struct port *port = &ports[to];
	int flags = MSG_NOSIGNAL | (port->stuck ? MSG_DONTWAIT : 0);

	if (sendto(polls[to].fd, frame, bytes, flags, (struct sockaddr *)&port->card,
		   sizeof(port->card)) >= 0)
		port->stuck = false;
	else if (errno == EAGAIN || errno == ENOBUFS)
		port->stuck = true;
	/* Any other failure is a machine that has not started or has ended: the frame is lost. */
}

static void forward(int from, const unsigned char *frame, size_t bytes)
{
	bool many = frame[0] & 1;
	int to;

	if (!many) {
		to = frame[ADDRESS - 1];
		if (to < nports && to != from)
			port_send(to, frame, bytes);
		return;
	}
	for (to = 0; to < nports; to++) {
		if (to != from)
			port_send(to, frame, bytes);
	}
}

int main(int argc, char **argv)
{
	static unsigned char frame[MAX_FRAME];
	ssize_t bytes;
	int i;

	nports = argc == 3 ? atoi(argv[2]) : 0;
	if (nports < 1 || nports > MAX_HOSTS) {
		fprintf(stderr, "usage: switch PATH HOSTS, with up to %d hosts\n", MAX_HOSTS);
		return 1;
	}
	for (i = 0; i < nports; i++) {
		if (!port_open(argv[1], i))
			return 1;
	}
	for (;;) {
		if (poll(polls, (nfds_t)nports, -1) < 0 && errno != EINTR)
			return 1;
		for (i = 0; i < nports; i++) {
			if (!(polls[i].revents & POLLIN))
				continue;
			bytes = recv(polls[i].fd, frame, sizeof(frame), MSG_DONTWAIT);
			if (bytes >= 2 * ADDRESS)
				forward(i, frame, (size_t)bytes);
		}
	}
}
