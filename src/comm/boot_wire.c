/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hk_wire that transports get: publish and fetch pass descriptors between ranks of one host
 * through the service threads' Unix sockets, dial and answer make TCP connections between any two
 * ranks. The asking side talks to the peer's service thread only, so that it never waits for what
 * the peer's application does (a fetch waits for the publish, of course). answer only looks into
 * the inbox of the own one. routes and dial_by are for transports that use several interfaces at a
 * time; what the ways are is boot_links.c's to say.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"

#define REFUSED_NS (1000 * HK_BOOT_MS)

static struct hk_boot *boot_of(struct hk_wire *w)
{
	return (struct hk_boot *)(void *)((char *)w - offsetof(struct hk_boot, wire));
}

/* Loopback is first to a rank on this host and last to others, where only a tunnel would help. */
static void order_addrs(const struct hk_contact *c, bool same_host,
			struct hk_boot_addr out[HK_CONTACT_ADDRS])
{
	unsigned n = 0;

	memset(out, 0, HK_CONTACT_ADDRS * sizeof(*out));
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < HK_CONTACT_ADDRS && c->addr[i].family; i++)
			if (hk_net_is_loopback(&c->addr[i]) == (same_host == (pass == 0)))
				out[n++] = c->addr[i];
}

int hk_boot_call(struct hk_boot *b, uint32_t peer, const struct hk_contact *contact,
		 uint32_t purpose, uint32_t tag, int64_t deadline, int *fd, struct hk_session *s)
{
	uint8_t buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .want_fd = fd != NULL, .fd = -1};
	struct hk_session got = {.fd = -1};
	struct hk_frame f;
	char whom[32];
	struct hk_call call = {
		.key = &b->key,
		.local = purpose == HK_FOR_FETCH ? contact->local : NULL,
		.hello = {.purpose = purpose,
			  .src = b->rank,
			  .dst = peer,
			  .nranks = b->nranks,
			  .tag = tag},
		.deadline = deadline,
		.failfd = b->service.failure.fd,
		.refused_ns = REFUSED_NS,
		.whom = whom,
		.remedy = "does that process still run, and does HOCKET_IFNAME choose a network "
			  "that joins the hosts?",
	};
	int err;

	snprintf(whom, sizeof(whom), "rank %u", peer);
	order_addrs(contact, contact->host == b->host, call.addr);
	err = hk_dial(&call, &got);
	if (!err)
		err = hk_dial_reply(&call, &got, &r, HK_FRAME_OK, &f);
	if (!err && fd && r.fd < 0)
		err = hk_fail(EMFILE,
			      "the descriptor from rank %u got lost: raise the limit of open "
			      "files (ulimit -n)",
			      peer);
	if (err) {
		hk_session_close(&got);
		hk_net_close(&r.fd);
		/* From the failure state there is no sentence yet. */
		if (err == -HK_EPEER && hk_failure_report(&b->service.failure))
			err = atomic_load_explicit(&b->service.failure.code, memory_order_acquire);
		return err;
	}
	if (fd)
		*fd = r.fd;
	*s = got;
	return 0;
}

static int check_peer(const struct hk_boot *b, int peer, const char *what)
{
	if (peer >= 0 && (uint32_t)peer < b->nranks)
		return 0;
	return hk_fail(EINVAL, "rank %u cannot %s rank %d of %u", b->rank, what, peer, b->nranks);
}

static int publish(struct hk_wire *w, uint32_t tag, int fd)
{
	return hk_service_publish(&boot_of(w)->service, tag, fd);
}

static void withdraw(struct hk_wire *w, uint32_t tag)
{
	hk_service_withdraw(&boot_of(w)->service, tag);
}

static int fetch(struct hk_wire *w, int peer, uint32_t tag, int *fd)
{
	struct hk_boot *b = boot_of(w);
	int64_t deadline = hk_now_ns() + b->timeout_ns;
	struct hk_session s;
	int err = check_peer(b, peer, "fetch from");

	if (err)
		return err;
	if (b->contacts[peer].host != b->host)
		return hk_fail_quiet(ENOTSUP,
				     "ranks %u and %d are on different hosts and share no "
				     "descriptors",
				     b->rank, peer);
	err = hk_boot_call(b, (uint32_t)peer, &b->contacts[peer], HK_FOR_FETCH, tag, deadline, fd,
			   &s);
	if (!err)
		hk_session_close(&s);
	return err;
}

/* Makes a session's socket the transport's. */
static int hand_over(struct hk_session *s, int peer, int *sock)
{
	int err = hk_net_blocking(s->fd);

	if (err) {
		hk_session_close(s);
		return hk_fail(err, "the connection with rank %d cannot be used: %s", peer,
			       hk_code_name(err));
	}
	*sock = s->fd;
	s->fd = -1;
	hk_session_close(s);
	return 0;
}

static int dial(struct hk_wire *w, int peer, uint32_t tag, int *sock)
{
	struct hk_boot *b = boot_of(w);
	int64_t deadline = hk_now_ns() + b->timeout_ns;
	struct hk_session s;
	int err = check_peer(b, peer, "dial");

	if (!err)
		err = hk_boot_call(b, (uint32_t)peer, &b->contacts[peer], HK_FOR_DIAL, tag,
				   deadline, NULL, &s);
	return err ? err : hand_over(&s, peer, sock);
}

static int answer(struct hk_wire *w, int peer, uint32_t tag, int *sock)
{
	struct hk_boot *b = boot_of(w);
	struct hk_session s;
	int err = check_peer(b, peer, "answer");

	if (err)
		return err;
	if (!hk_service_try(&b->service, HK_FOR_DIAL, (uint32_t)peer, tag, &s))
		return hk_failure_report(&b->service.failure);
	err = hand_over(&s, peer, sock);
	return err ? err : 1;
}

static unsigned routes(struct hk_wire *w, int peer)
{
	struct hk_boot *b = boot_of(w);
	struct hk_routes *r;

	if (check_peer(b, peer, "route to"))
		return 1;
	if (!b->routes[peer]) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return 1;
		hk_links_routes(&b->self, &b->contacts[peer], r);
		b->routes[peer] = r;
	}
	return b->routes[peer]->n;
}

/* Without sentences in the log, as it may well fail. */
static int call_quietly(struct hk_boot *b, uint32_t peer, uint32_t purpose, uint32_t tag,
			const struct hk_route *via, int64_t deadline, int stop,
			struct hk_session *s)
{
	uint8_t buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .fd = -1};
	struct hk_session got = {.fd = -1};
	struct hk_frame f;
	char whom[32];
	struct hk_call call = {
		.key = &b->key,
		.via = via,
		.hello = {.purpose = purpose,
			  .src = b->rank,
			  .dst = peer,
			  .nranks = b->nranks,
			  .tag = tag},
		.deadline = deadline,
		.failfd = b->service.failure.fd,
		.stopfd = stop,
		.quiet = true,
		.refused_ns = REFUSED_NS,
		.whom = whom,
		.remedy = "that way is not used",
	};
	int err;

	snprintf(whom, sizeof(whom), "rank %u", peer);
	if (via)
		memcpy(call.addr, via->to, sizeof(call.addr));
	else
		order_addrs(&b->contacts[peer], b->contacts[peer].host == b->host, call.addr);
	err = hk_dial(&call, &got);
	if (!err)
		err = hk_dial_reply(&call, &got, &r, HK_FRAME_OK, &f);
	if (err)
		hk_session_close(&got);
	else
		*s = got;
	return err;
}

static int dial_by(struct hk_wire *w, int peer, uint32_t tag, unsigned route, int64_t timeout_ns,
		   int stop, int *sock)
{
	struct hk_boot *b = boot_of(w);
	const struct hk_routes *list = b->routes[peer];
	const struct hk_route *via = NULL;
	struct hk_session s;
	int err;

	if (list && route < list->n && list->list[route].naddrs)
		via = &list->list[route];
	err = call_quietly(b, (uint32_t)peer, HK_FOR_DIAL, tag, via, hk_now_ns() + timeout_ns, stop,
			   &s);
	return err ? err : hand_over(&s, peer, sock);
}

int hk_boot_rewatch(struct hk_service *sv, uint32_t peer, int64_t deadline, struct hk_session *s)
{
	struct hk_boot *b =
		(struct hk_boot *)(void *)((char *)sv - offsetof(struct hk_boot, service));

	return call_quietly(b, peer, HK_FOR_WATCH, 0, NULL, deadline, sv->stopfd, s);
}

const struct hk_wire_ops hk_boot_wire_ops = {
	.publish = publish,
	.withdraw = withdraw,
	.fetch = fetch,
	.dial = dial,
	.answer = answer,
	.routes = routes,
	.dial_by = dial_by,
};
