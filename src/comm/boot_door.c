/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door: listeners, and strangers whose handshake is under way. The root thread and the service
 * threads each have one. Nothing here waits for any one stranger: sockets do not block, a handshake
 * that takes more than five seconds ends, and when all places are taken, the oldest that has not
 * shown a good hello makes room (one that has is most likely a rank), though everyone has at least
 * a quarter of a second, which is plenty for a rank in a crowd of ranks. So silent, slow and
 * garbled connections cost a place for a while and nothing else, and get no answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"

#define GRACE_NS (250 * HK_BOOT_MS)

enum stage { HELLO, PROOF, ADMITTED };

struct hk_pending {
	int fd;
	bool local;
	enum stage stage;
	unsigned slot;
	uint32_t got;
	int64_t since;
	struct hk_hello hello;
	uint8_t bytes[HK_HELLO_BYTES];	       /* the hello as it came */
	uint8_t challenge[HK_CHALLENGE_BYTES]; /* our answer */
	uint8_t proof[HK_PROOF_BYTES];
};

void hk_door_init(struct hk_door *d, const struct hk_boot_key *key, uint32_t self,
		  uint32_t purposes, unsigned most)
{
	*d = (struct hk_door){.key = key, .self = self, .purposes = purposes, .most = most};
	d->local = HK_CONTACT_ADDRS + 1;
}

void hk_door_listen(struct hk_door *d, int fd, bool local)
{
	if (local)
		d->local = d->nlisteners;
	d->listeners[d->nlisteners++] = fd;
}

void hk_door_close(struct hk_door *d)
{
	for (unsigned i = 0; i < d->nlisteners; i++)
		hk_net_close(&d->listeners[i]);
	for (unsigned i = 0; i < d->npending; i++)
		hk_net_close(&d->pending[i].fd);
	free(d->pending);
	d->pending = NULL;
	d->nlisteners = d->npending = d->cap = 0;
}

size_t hk_door_memory(const struct hk_door *d)
{
	return d->cap * sizeof(*d->pending);
}

unsigned hk_door_fds(const struct hk_door *d)
{
	return d->nlisteners + d->npending;
}

/* Who would make room; there is someone. */
static unsigned find_oldest(const struct hk_door *d)
{
	unsigned oldest = 0;

	for (unsigned i = 1; i < d->npending; i++) {
		const struct hk_pending *p = &d->pending[i], *o = &d->pending[oldest];

		if (p->stage != o->stage ? p->stage < o->stage : p->since < o->since)
			oldest = i;
	}
	return oldest;
}

/* When the next stranger may come in; the past if now. */
static int64_t opens_at(const struct hk_door *d)
{
	int64_t at = d->muted_until;

	if (d->npending == d->most) {
		int64_t grace = d->pending[find_oldest(d)].since + GRACE_NS;

		at = grace > at ? grace : at;
	}
	return at;
}

void hk_door_watch(struct hk_door *d, struct hk_pollset *ps)
{
	short events = hk_now_ns() < opens_at(d) ? 0 : POLLIN;

	for (unsigned i = 0; i < d->nlisteners; i++)
		d->listener_slot[i] = hk_poll_add(ps, d->listeners[i], events);
	for (unsigned i = 0; i < d->npending; i++)
		d->pending[i].slot = hk_poll_add(ps, d->pending[i].fd, POLLIN);
}

int64_t hk_door_deadline(const struct hk_door *d)
{
	int64_t first = INT64_MAX, opens = opens_at(d);

	for (unsigned i = 0; i < d->npending; i++)
		if (d->pending[i].since + HK_BOOT_HANDSHAKE_NS < first)
			first = d->pending[i].since + HK_BOOT_HANDSHAKE_NS;
	return opens > hk_now_ns() && opens < first ? opens : first;
}

static void drop(struct hk_door *d, unsigned i, const char *why)
{
	hk_log(HK_LOG_INFO, "a start-up connection was dropped: %s", why);
	hk_net_close(&d->pending[i].fd);
	d->pending[i] = d->pending[--d->npending];
}

static int make_room(struct hk_door *d)
{
	unsigned cap = d->cap ? 2 * d->cap : 8;
	struct hk_pending *grown;

	if (d->npending == d->most)
		drop(d, find_oldest(d), "too many wait at a time, and it was the oldest");
	if (d->npending < d->cap)
		return 0;
	grown = realloc(d->pending, cap * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->pending = grown;
	d->cap = cap;
	return 0;
}

static void accept_some(struct hk_door *d, unsigned listener)
{
	while (hk_now_ns() >= opens_at(d)) {
		int fd = accept4(d->listeners[listener], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM) {
				/* Polling on would spin: make room and come back. */
				if (d->npending)
					drop(d, find_oldest(d), "no descriptors are left");
				d->muted_until = hk_now_ns() + 20 * HK_BOOT_MS;
			}
			return;
		}
		if (make_room(d)) {
			close(fd);
			return;
		}
		hk_net_nodelay(fd);
		d->pending[d->npending++] = (struct hk_pending){.fd = fd,
								.local = listener == d->local,
								.since = hk_now_ns(),
								.slot = UINT32_MAX};
	}
}

/* 1: all of buf has come; 0: not yet; negative: it will not. */
static int collect(struct hk_pending *p, uint8_t *buf, uint32_t want)
{
	while (p->got < want) {
		ssize_t n = recv(p->fd, buf + p->got, want - p->got, 0);

		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			p->got += (uint32_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
	p->got = 0;
	return 1;
}

/* Whether the hello is genuine, calls us and wants what is served here; answers it then. */
static const char *judge_hello(const struct hk_door *d, struct hk_pending *p)
{
	if (hk_boot_parse_hello(p->bytes, sizeof(p->bytes), &p->hello))
		return "it does not speak Hocket's start-up protocol";
	if (!hk_auth_check_hello(d->key, p->bytes))
		return "it does not know the secret of this unique id";
	if (p->hello.dst != d->self || !(d->purposes & 1u << p->hello.purpose))
		return "it took this rank for another";
	/* Descriptors pass only through the Unix socket, and all else is meant for the network. */
	if (d->self != HK_BOOT_ROOT && p->local != (p->hello.purpose == HK_FOR_FETCH))
		return "it came to the wrong kind of socket";
	hk_auth_challenge(d->key, p->bytes, p->challenge);
	if (send(p->fd, p->challenge, sizeof(p->challenge), MSG_NOSIGNAL) !=
	    (ssize_t)sizeof(p->challenge))
		return "it does not take the challenge";
	return NULL;
}

/* Returns why the stranger has to go, or NULL. */
static const char *examine(const struct hk_door *d, struct hk_pending *p)
{
	const char *why;
	int n;

	if (p->stage == HELLO) {
		n = collect(p, p->bytes, sizeof(p->bytes));
		if (n <= 0)
			return n < 0 ? "it went away before its hello" : NULL;
		why = judge_hello(d, p);
		if (why)
			return why;
		p->stage = PROOF;
	}
	if (p->stage == PROOF) {
		n = collect(p, p->proof, sizeof(p->proof));
		if (n <= 0)
			return n < 0 ? "it went away before its proof" : NULL;
		if (!hk_auth_check_proof(d->key, p->bytes, p->challenge, p->proof))
			return "its proof is wrong";
		p->stage = ADMITTED;
	}
	return NULL;
}

void hk_door_work(struct hk_door *d, const struct hk_pollset *ps)
{
	int64_t now = hk_now_ns();

	/* First, while nobody here is admitted: making room must not hit such a one. */
	for (unsigned i = 0; i < d->nlisteners; i++)
		if (hk_poll_got(ps, d->listener_slot[i]))
			accept_some(d, i);
	/* Downwards: drop() moves the last into the gap. */
	for (unsigned i = d->npending; i-- > 0;) {
		struct hk_pending *p = &d->pending[i];
		const char *why = NULL;

		if (p->stage == ADMITTED)
			continue;
		if (hk_poll_got(ps, p->slot))
			why = examine(d, p);
		if (!why && p->stage != ADMITTED && now - p->since >= HK_BOOT_HANDSHAKE_NS)
			why = "its handshake took more than 5 s";
		if (why)
			drop(d, i, why);
	}
}

int hk_door_next(struct hk_door *d, struct hk_guest *g)
{
	for (unsigned i = 0; i < d->npending; i++) {
		struct hk_pending *p = &d->pending[i];

		if (p->stage != ADMITTED)
			continue;
		g->hello = p->hello;
		g->session.fd = p->fd;
		hk_auth_session(d->key, p->bytes, p->challenge, true, &g->session);
		*p = d->pending[--d->npending];
		return 1;
	}
	return 0;
}
