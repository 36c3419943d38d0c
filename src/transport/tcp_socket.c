/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One socket of the tcp transport: how it is set up, whether the other end still answers, and what
 * it is called in sentences.
 *
 * Whether a path is dead is asked of the kernel's own bookkeeping (TCP_INFO), not left to
 * TCP_USER_TIMEOUT, which also ends a connection whose peer is alive but has not read for that
 * long: a rank that computes for a minute is late, not lost. A socket that was written to is silent
 * when retransmissions, or probes of a closed window, stay unanswered; the peer's kernel answers
 * both whatever its process does. A socket that is only read from has nothing to retransmit; there
 * keep-alive probes find out, and end it with ETIMEDOUT.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "error.h"
#include "param.h"
#include "tcp.h"

#define MS 1000000

/* None of these has an effect on a socket that is not TCP, and none does harm. */
static void set(int fd, int option, int value)
{
	setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

void hk_tcp_prepare_send(int fd)
{
	set(fd, TCP_NODELAY, 1);
}

void hk_tcp_prepare_recv(int fd)
{
	int seconds = (int)((hk_param(HK_PARAM_TCP_TIMEOUT_MS) + 999) / 1000), on = 1;
	int idle = seconds > 3 ? seconds / 3 : 1, interval = seconds > 7 ? seconds / 7 : 1;
	int probes = (seconds - idle) / interval;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	set(fd, TCP_KEEPIDLE, idle);
	set(fd, TCP_KEEPINTVL, interval);
	set(fd, TCP_KEEPCNT, probes > 1 ? probes : 1);
}

int64_t hk_tcp_unacked(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) ? -1 : bytes;
}

int64_t hk_tcp_silence_ns(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	/* One of either may be under way; two in a row without an answer are a sign. */
	if (info.tcpi_retransmits < 2 && info.tcpi_probes < 2)
		return 0;
	return (int64_t)info.tcpi_last_ack_recv * MS;
}

static void print_address(const struct sockaddr_storage *sa, char *out, size_t size)
{
	const void *ip = sa->ss_family == AF_INET6
				 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
				 : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;

	if ((sa->ss_family != AF_INET && sa->ss_family != AF_INET6) ||
	    !inet_ntop(sa->ss_family, ip, out, (socklen_t)size))
		snprintf(out, size, "an unknown address");
}

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (!a || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return !memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
			       &((const struct sockaddr_in *)b)->sin_addr, 4);
	return a->sa_family == AF_INET6 &&
	       !memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		       &((const struct sockaddr_in6 *)b)->sin6_addr, 16);
}

void hk_tcp_name(int fd, char name[HK_TCP_NAME])
{
	char local[INET6_ADDRSTRLEN] = "", remote[INET6_ADDRSTRLEN] = "";
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ifaddrs *all = NULL;
	const char *interface = "interface";

	if (!getpeername(fd, (struct sockaddr *)&sa, &len))
		print_address(&sa, remote, sizeof(remote));
	len = sizeof(sa);
	if (getsockname(fd, (struct sockaddr *)&sa, &len)) {
		snprintf(name, HK_TCP_NAME, "a socket");
		return;
	}
	print_address(&sa, local, sizeof(local));
	if (getifaddrs(&all))
		all = NULL;
	for (struct ifaddrs *i = all; i; i = i->ifa_next)
		if (same_address(i->ifa_addr, &sa))
			interface = i->ifa_name;
	snprintf(name, HK_TCP_NAME, "%s, %s%s%s", interface, local, remote[0] ? " to " : "",
		 remote);
	if (all)
		freeifaddrs(all);
}

int hk_tcp_lost(int peer, const char *host, uint32_t channel, const char *name, int err)
{
	if (!err || err == EPIPE || err == ECONNRESET)
		return hk_fail(HK_EPEER,
			       "rank %d on host %s closed its connection on channel %u (%s) while "
			       "it was needed: it died or aborted, and its own log says why",
			       peer, host, channel, name);
	if (err == ETIMEDOUT)
		return hk_fail(
			HK_EPEER,
			"rank %d on host %s no longer answers on channel %u (%s): that host, "
			"the interface here or the network between them is down; "
			"HOCKET_TCP_TIMEOUT_MS, now %lld, sets how long that is borne",
			peer, host, channel, name, (long long)hk_param(HK_PARAM_TCP_TIMEOUT_MS));
	return hk_fail(HK_EPEER,
		       "the connection with rank %d on host %s on channel %u (%s) broke: %s; its "
		       "host, the interface here or the network between them failed",
		       peer, host, channel, name, strerrordesc_np(err));
}
