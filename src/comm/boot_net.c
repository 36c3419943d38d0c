/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets for the bootstrap: listeners, addresses, host identity, waiting with deadlines, and
 * threads. A process listens on the addresses of its interfaces (boot_links.c), best first, as many
 * as the caller has room for, and on loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

enum { BACKLOG = 4096 };

bool hk_net_is_loopback(const struct hk_boot_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return a->family == 4 ? a->ip[0] == 127 : memcmp(a->ip, one, sizeof(one)) == 0;
}

socklen_t hk_net_sockaddr(const struct hk_boot_addr *a, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	if (a->family == 4) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};

		memcpy(&in.sin_addr, a->ip, 4);
		memcpy(sa, &in, sizeof(in));
		return sizeof(in);
	}
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

	memcpy(&in6.sin6_addr, a->ip, 16);
	memcpy(sa, &in6, sizeof(in6));
	return sizeof(in6);
}

socklen_t hk_net_sockaddr_local(const uint8_t name[HK_BOOT_LOCAL], struct sockaddr_storage *sa)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char hex[2 * HK_BOOT_LOCAL + 1];
	int n;

	sodium_bin2hex(hex, sizeof(hex), name, HK_BOOT_LOCAL);
	/* A zero byte first: the abstract namespace, where no file is left behind. */
	n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "hocket-%s", hex);
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &un, sizeof(un));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

int hk_net_local_port(int fd, uint16_t *port)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return -1;
	if (sa.ss_family == AF_INET)
		*port = ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port);
	else
		*port = ntohs(((struct sockaddr_in6 *)(void *)&sa)->sin6_port);
	return 0;
}

/* Listens on addr, whose port it fills. */
static int listen_on(struct hk_boot_addr *addr, int *out)
{
	struct sockaddr_storage sa;
	socklen_t len = hk_net_sockaddr(addr, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, len) || listen(fd, BACKLOG) ||
	    hk_net_local_port(fd, &addr->port)) {
		err = -errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

int hk_net_listen(struct hk_boot_addr *addr, unsigned most, int *fds, unsigned *count)
{
	struct hk_boot_addr found[HK_LINKS_MOST];
	unsigned nfound = 0, n = 0;
	bool have_loopback = false;
	int err = hk_links_find(found, &nfound), last = -EADDRNOTAVAIL;

	if (err)
		return err;
	memset(addr, 0, most * sizeof(*addr));
	for (unsigned i = 0; i < nfound; i++) {
		bool loopback = hk_net_is_loopback(&found[i]);

		/* The last place is loopback's, which needs only one. */
		if (loopback ? have_loopback : n == most - 1)
			continue;
		/* An address may be tentative or gone by now: the others do. */
		err = listen_on(&found[i], &fds[n]);
		if (err) {
			last = err;
			continue;
		}
		addr[n++] = found[i];
		have_loopback |= loopback;
	}
	if (!n)
		return hk_fail(last,
			       "no network address to listen on, not even loopback (%s): "
			       "bring up an interface (ip link set lo up), or raise the limit of "
			       "open files",
			       hk_code_name(last));
	*count = n;
	return 0;
}

int hk_net_listen_local(uint8_t name[HK_BOOT_LOCAL], int *out)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	randombytes_buf(name, HK_BOOT_LOCAL);
	len = hk_net_sockaddr_local(name, &sa);
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&sa, len) && !listen(fd, BACKLOG)) {
		*out = fd;
		return 0;
	}
	err = errno;
	if (fd >= 0)
		close(fd);
	return hk_fail(err, "no Unix socket to listen on: %s", strerror(err));
}

void hk_net_print(const struct hk_boot_addr *addr, unsigned count, char *out, size_t size)
{
	size_t len = 0;

	out[0] = 0;
	for (unsigned i = 0; i < count && addr[i].family && len < size; i++) {
		char text[INET6_ADDRSTRLEN];
		bool six = addr[i].family == 6;

		inet_ntop(six ? AF_INET6 : AF_INET, addr[i].ip, text, sizeof(text));
		len += (size_t)snprintf(out + len, size - len, "%s%s%s%s:%u", i ? ", " : "",
					six ? "[" : "", text, six ? "]" : "", addr[i].port);
	}
}

/*
 * Ranks with equal identities share memory and abstract Unix sockets: same boot of the same kernel,
 * same network namespace. HOCKET_HOST_ID is mixed in, so that it can only split a host, never pass
 * two hosts off as one. Keyed, as nobody else needs to know.
 */
uint64_t hk_net_host(const struct hk_boot_key *key)
{
	const char *own = hk_param_str(HK_PARAM_HOST_ID);
	crypto_generichash_state st;
	char boot_id[64] = "";
	struct stat ns = {0};
	uint8_t hash[16];
	uint64_t host;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, boot_id, sizeof(boot_id) - 1) < 0)
			boot_id[0] = 0;
		close(fd);
	}
	if (stat("/proc/self/ns/net", &ns))
		ns.st_ino = 0;
	if (!boot_id[0] && gethostname(boot_id, sizeof(boot_id) - 1))
		boot_id[0] = 0;
	crypto_generichash_init(&st, key->bytes, sizeof(key->bytes), sizeof(hash));
	crypto_generichash_update(&st, (const uint8_t *)boot_id, sizeof(boot_id));
	crypto_generichash_update(&st, (const uint8_t *)&ns.st_ino, sizeof(ns.st_ino));
	if (own)
		crypto_generichash_update(&st, (const uint8_t *)own, strlen(own));
	crypto_generichash_final(&st, hash, sizeof(hash));
	memcpy(&host, hash, sizeof(host));
	return host;
}

int hk_net_poll_ms(int64_t deadline)
{
	int64_t left = deadline - hk_now_ns();

	if (left <= 0)
		return 0;
	left = (left + HK_BOOT_MS - 1) / HK_BOOT_MS;
	return left > 3600000 ? 3600000 : (int)left;
}

int hk_net_wait(int fd, short events, int64_t deadline, int failfd)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = events},
				      {.fd = failfd, .events = POLLIN}};
		int n = poll(p, 2, hk_net_poll_ms(deadline));

		if (n > 0 && p[0].revents)
			return 0;
		if (n > 0 && p[1].revents)
			return -HK_EPEER;
		if (hk_now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

void hk_net_nodelay(int fd)
{
	int one = 1;

	/* Fails on Unix sockets, which do not delay. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int hk_net_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		return -errno;
	return 0;
}

void hk_net_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int hk_net_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	pthread_t made;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&made, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return hk_fail(err,
			       "no thread for %s: %s; raise the limit of processes (ulimit -u)",
			       name, strerror(err));
	pthread_setname_np(made, name);
	if (thread)
		*thread = made;
	else
		pthread_detach(made);
	return 0;
}

int hk_poll_begin(struct hk_pollset *ps, unsigned most)
{
	if (most > ps->cap) {
		struct pollfd *grown = realloc(ps->fds, 2 * most * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ps->fds = grown;
		ps->cap = 2 * most;
	}
	ps->n = 0;
	return 0;
}

unsigned hk_poll_add(struct hk_pollset *ps, int fd, short events)
{
	ps->fds[ps->n] = (struct pollfd){.fd = fd, .events = events};
	return ps->n++;
}

void hk_poll_wait(struct hk_pollset *ps, int64_t deadline)
{
	if (poll(ps->fds, ps->n, hk_net_poll_ms(deadline)) < 0)
		for (unsigned i = 0; i < ps->n; i++)
			ps->fds[i].revents = 0;
}

short hk_poll_got(const struct hk_pollset *ps, unsigned slot)
{
	return slot < ps->n ? ps->fds[slot].revents : 0;
}
