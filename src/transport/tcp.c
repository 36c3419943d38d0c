/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tcp: the fallback that always works. A connection is a stream socket, dialled by the sender and
 * answered by the receiver through the bootstrap, which has authenticated it; no call blocks. A
 * receiver asks for the sender's dial whenever it looks for a message, until it has come. What such
 * a connection does is in tcp_move.c.
 *
 * Where the bootstrap knows of several ways to the peer that share no interface, or
 * HOCKET_TCP_SOCKETS asks for more sockets, the sender makes the connection a striped one
 * (tcp_stripe.c, tcp_gather.c), and the receiver follows it: the first dial tells.
 *
 * This file has the endpoint: opening, connecting, waiting. An endpoint and its connections belong
 * to one thread at a time; only the opener (tcp_opener.c) has one of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "param.h"
#include "tcp.h"

#define SLOT_LIMIT (1u << 30)
/* Pauses between two looks for what no socket tells of: they grow, as it may be long. */
#define NAP_LAST 2000000
#define GREET_NS 5000000   /* the like for further sockets of a connection that has some */
#define LOOK_NS	 100000000 /* between two looks at a blocked socket's health */

/* --- waiting --- */

/* A socket that the kernel cannot empty may be dead. An error stays in the connection. */
static void look(struct hk_tcp_send *s)
{
	const struct hk_tcp_endpoint *ep = (const struct hk_tcp_endpoint *)s->base.ep;
	char name[HK_TCP_NAME];
	int64_t now = hk_now_ns();
	int err;

	if (now - s->looked_ns < LOOK_NS)
		return;
	s->looked_ns = now;
	err = hk_tcp_judge(s->fd, ep->timeout_ns);
	if (!err)
		return;
	hk_tcp_name(s->fd, name);
	s->error = hk_tcp_lost(s->base.peer, s->host, s->base.channel, name, err);
}

/* What the waiting knows so far. */
struct waiting {
	struct pollfd *next; /* free place */
	bool ready;	     /* there is something already */
	bool due;	     /* something may come that no socket tells of ... */
	int64_t most_ns;     /* ... and this is as long as it may wait */
};

static void await_dial(struct hk_tcp_recv *r, struct waiting *w)
{
	int rc;

	if (r->error || r->fd >= 0 || r->gather)
		return;
	rc = hk_tcp_meet(r);
	w->due |= rc == 0;
	w->ready |= rc < 0;
}

/*
 * A receiver that the last wait() reported and that nobody peeked since is left out: its lane is
 * waiting for something else, and would make this a spin.
 */
static void prepare_recv(struct hk_tcp_recv *r, struct waiting *w)
{
	struct pollfd *first = w->next;

	r->polled = 0;
	if (r->error || r->told || r->held || (r->fd < 0 && !r->gather))
		return;
	if (r->gather) {
		r->told = hk_tcp_gather_greet(r) < 0 || hk_tcp_gather_ready(r);
		if (w->most_ns > GREET_NS)
			w->most_ns = GREET_NS;
		w->next += hk_tcp_gather_polls(r, w->next);
	} else {
		r->told = hk_tcp_has_message(r) != 0;
		*w->next++ = (struct pollfd){.fd = r->fd, .events = POLLIN};
	}
	w->ready |= r->told;
	r->polled = (unsigned)(w->next - first);
}

static void prepare_stripe(struct hk_tcp_stripe *s, struct waiting *w)
{
	uint32_t first = s->first;
	int rc;

	if (s->error)
		return;
	rc = hk_tcp_stripe_tend(s);
	/* Errors stay in the connection, for whoever asks it next. */
	w->ready |= rc < 0 || s->first != first;
	if (rc)
		return;
	w->due = true;
	w->next += hk_tcp_stripe_polls(s, w->next);
}

/* Fills polls, receivers first. Returns how long to wait. */
static int64_t prepare_polls(struct hk_tcp_endpoint *ep, int64_t timeout_ns, unsigned *npolls)
{
	struct waiting w = {.most_ns = timeout_ns};

	for (struct hk_tcp_recv *r = ep->recvs; r; r = r->next)
		await_dial(r, &w);
	w.next = ep->polls; /* they are where they stay only now */
	for (struct hk_tcp_recv *r = ep->recvs; r; r = r->next)
		prepare_recv(r, &w);
	for (struct hk_tcp_send *s = ep->sends; s; s = s->next) {
		s->polled = !s->error && s->pending;
		if (!s->polled)
			continue;
		look(s);
		w.ready |= s->error != 0;
		*w.next++ = (struct pollfd){.fd = s->fd, .events = POLLOUT};
	}
	for (struct hk_tcp_stripe *s = ep->stripes; s; s = s->next)
		prepare_stripe(s, &w);
	*npolls = (unsigned)(w.next - ep->polls);
	if (w.ready || timeout_ns < 0)
		return 0;
	if (w.due && w.most_ns > ep->nap_ns) {
		w.most_ns = ep->nap_ns;
		ep->nap_ns = 2 * ep->nap_ns < NAP_LAST ? 2 * ep->nap_ns : NAP_LAST;
	}
	return w.most_ns;
}

static void tcp_wait(struct hk_endpoint *base, int64_t timeout_ns)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)base;
	const struct pollfd *p;
	struct timespec timeout;
	unsigned n = 0;

	timeout_ns = prepare_polls(ep, timeout_ns, &n);
	p = ep->polls;
	timeout = (struct timespec){timeout_ns / 1000000000, timeout_ns % 1000000000};
	if (ppoll(ep->polls, n, &timeout, NULL) <= 0)
		return;
	for (struct hk_tcp_recv *r = ep->recvs; r; r = r->next)
		for (; r->polled; r->polled--)
			r->told |= p++->revents != 0;
	/* An error stays in the connection, for whoever asks it next. */
	for (struct hk_tcp_send *s = ep->sends; s; s = s->next)
		if (s->polled && p++->revents && !s->error)
			hk_tcp_push(s);
	for (struct hk_tcp_stripe *s = ep->stripes; s; s = s->next)
		hk_tcp_stripe_tend(s);
}

/* --- connecting --- */

static int check_peer(const struct hk_tcp_endpoint *ep, int peer, uint32_t channel)
{
	if (peer < 0 || peer >= ep->base.nranks || peer == ep->base.rank ||
	    channel >= HK_TCP_CHANNELS)
		return hk_fail(EINVAL, "no connection between ranks %d and %d of %d on channel %u",
			       ep->base.rank, peer, ep->base.nranks, channel);
	return 0;
}

int hk_tcp_grow_polls(struct hk_tcp_endpoint *ep, unsigned more)
{
	struct pollfd *polls = realloc(ep->polls, (ep->npolls + more) * sizeof(*polls));

	if (!polls)
		return hk_fail(ENOMEM, "no memory for a connection");
	ep->polls = polls;
	ep->npolls += more;
	ep->memory += more * sizeof(*polls);
	return 0;
}

/* The name of a host, as its rank published it. */
static char *host_of(const struct hk_addr *addr)
{
	char *name = strndup((const char *)addr->bytes, sizeof(addr->bytes));

	/* It came from afar and goes to a terminal. */
	for (char *c = name; c && *c; c++)
		if (*c <= ' ' || *c > '~')
			*c = '?';
	return name;
}

static void send_free(struct hk_tcp_send *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->lengths);
	free(s->frames);
	free(s->host);
	free(s);
}

static int connect_one(struct hk_tcp_endpoint *ep, int peer, uint32_t channel,
		       const struct hk_addr *addr, struct hk_send **conn)
{
	struct hk_tcp_send *s = calloc(1, sizeof(*s));
	int rc = hk_tcp_grow_polls(ep, 1);

	if (rc || !s) {
		free(s);
		return rc ? rc : hk_fail(ENOMEM, "no memory for a connection to rank %d", peer);
	}
	s->base = (struct hk_send){.ops = &hk_tcp_send_ops,
				   .ep = &ep->base,
				   .peer = peer,
				   .channel = channel,
				   .slots = ep->slots,
				   .slot_bytes = ep->slot_bytes};
	s->fd = -1;
	s->stride = HK_TCP_LINE + (size_t)ep->slot_bytes;
	s->frames = aligned_alloc(HK_TCP_LINE, s->stride * ep->slots);
	s->lengths = calloc(ep->slots, sizeof(*s->lengths));
	s->host = host_of(addr);
	if (!s->frames || !s->lengths || !s->host) {
		send_free(s);
		return hk_fail(ENOMEM, "no memory for %u slots of %u bytes to rank %d", ep->slots,
			       ep->slot_bytes, peer);
	}
	rc = ep->wire->ops->dial(ep->wire, peer, HK_TCP_TAG | channel, &s->fd);
	if (rc) {
		send_free(s);
		return rc;
	}
	hk_tcp_prepare_send(s->fd);
	s->next = ep->sends;
	ep->sends = s;
	ep->memory += sizeof(*s) + ep->slots * (s->stride + sizeof(*s->lengths));
	*conn = &s->base;
	return 0;
}

static int connect_several(struct hk_tcp_endpoint *ep, int peer, uint32_t channel, unsigned routes,
			   const struct hk_addr *addr, struct hk_send **conn)
{
	unsigned sockets = (unsigned)hk_param(HK_PARAM_TCP_SOCKETS);
	struct hk_tcp_stripe *s = NULL;
	char *host = host_of(addr);
	int fd = -1, rc;

	if (!host)
		return hk_fail(ENOMEM, "no memory for a connection to rank %d", peer);
	rc = hk_tcp_grow_polls(ep, HK_TCP_PATHS);
	if (!rc && !ep->opener)
		rc = hk_tcp_opener_create(ep->wire, &ep->opener);
	if (!rc)
		rc = ep->wire->ops->dial(ep->wire, peer, HK_TCP_STRIPE_TAG | channel, &fd);
	if (!rc) {
		hk_tcp_prepare_send(fd);
		rc = hk_tcp_stripe_create(ep, peer, channel, routes, sockets, fd, host, &s);
	}
	free(host);
	if (rc)
		return rc;
	s->next = ep->stripes;
	ep->stripes = s;
	*conn = &s->base;
	return 0;
}

static int tcp_connect_send(struct hk_endpoint *base, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)base;
	unsigned routes;
	int rc = check_peer(ep, peer, channel);

	if (rc)
		return rc;
	routes = ep->wire->ops->routes(ep->wire, peer);
	if (routes > HK_TCP_ROUTES)
		routes = HK_TCP_ROUTES;
	if (routes == 1 && hk_param(HK_PARAM_TCP_SOCKETS) == 1)
		return connect_one(ep, peer, channel, addr, conn);
	return connect_several(ep, peer, channel, routes, addr, conn);
}

static void recv_free(struct hk_tcp_recv *r)
{
	if (r->fd >= 0)
		close(r->fd);
	hk_tcp_gather_free(r->gather);
	free(r->buffer);
	free(r->host);
	free(r);
}

static int tcp_connect_recv(struct hk_endpoint *base, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)base;
	struct hk_tcp_recv *r;
	int rc = check_peer(ep, peer, channel);

	if (!rc)
		rc = hk_tcp_grow_polls(ep, 1);
	if (rc)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection from rank %d", peer);
	r->base =
		(struct hk_recv){&hk_tcp_recv_ops, base, peer, channel, ep->slots, ep->slot_bytes};
	r->fd = -1;
	r->head = r->tail = HK_TCP_LEAD;
	r->size = ep->slots * (HK_TCP_LINE + (size_t)ep->slot_bytes);
	r->buffer = aligned_alloc(HK_TCP_LINE, r->size);
	r->host = host_of(addr);
	if (!r->buffer || !r->host) {
		recv_free(r);
		return hk_fail(ENOMEM, "no memory for %u slots of %u bytes from rank %d", ep->slots,
			       ep->slot_bytes, peer);
	}
	r->next = ep->recvs;
	ep->recvs = r;
	ep->nap_ns = HK_TCP_FIRST_NAP;
	ep->memory += sizeof(*r) + r->size;
	*conn = &r->base;
	return 0;
}

/* --- endpoint --- */

extern const struct hk_transport hk_transport_tcp;

/* For the peers' sentences. */
static void publish_host(struct hk_addr *addr)
{
	*addr = (struct hk_addr){{0}};
	if (gethostname((char *)addr->bytes, sizeof(addr->bytes) - 1) || !addr->bytes[0])
		addr->bytes[0] = '?';
}

static int tcp_open(const struct hk_endpoint_env *env, struct hk_endpoint **out,
		    struct hk_addr *addr)
{
	struct hk_tcp_endpoint *ep;

	if (!env->wire)
		return -ENOTSUP; /* a world without a bootstrap: nothing to tell */
	if (!env->slots || !env->slot_bytes || env->slot_bytes % HK_TCP_LINE ||
	    env->slot_bytes > SLOT_LIMIT)
		return hk_fail(EINVAL,
			       "tcp cannot have %u slots of %u bytes: set HOCKET_SLOT_BYTES to a "
			       "multiple of 4096 up to %u",
			       env->slots, env->slot_bytes, SLOT_LIMIT);
	ep = calloc(1, sizeof(*ep));
	if (!ep)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	ep->base = (struct hk_endpoint){&hk_transport_tcp, env->rank, env->nranks};
	ep->wire = env->wire;
	ep->slots = env->slots;
	ep->slot_bytes = env->slot_bytes;
	ep->failover_ns = hk_param(HK_PARAM_TCP_FAILOVER_MS) * 1000000;
	ep->timeout_ns = hk_param(HK_PARAM_TCP_TIMEOUT_MS) * 1000000;
	ep->nap_ns = HK_TCP_FIRST_NAP;
	ep->memory = sizeof(*ep);
	publish_host(addr);
	*out = &ep->base;
	return 0;
}

/* What loopback and a good Ethernet have in common; the tuner measures if it wants to know. */
static bool tcp_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		      struct hk_cost *cost)
{
	*cost = (struct hk_cost){.latency_ns = 15000, .message_ns = 1500, .ns_per_byte = 0.5};
	return true;
}

static size_t tcp_memory(struct hk_endpoint *base)
{
	const struct hk_tcp_endpoint *ep = (const struct hk_tcp_endpoint *)base;
	size_t bytes = ep->memory;

	for (const struct hk_tcp_stripe *s = ep->stripes; s; s = s->next)
		bytes += hk_tcp_stripe_memory(s);
	for (const struct hk_tcp_recv *r = ep->recvs; r; r = r->next)
		bytes += r->gather ? hk_tcp_gather_memory(r->gather) : 0;
	return bytes;
}

/* The senders' sockets tell. */
static void tcp_leave(struct hk_endpoint *base)
{
	const struct hk_tcp_endpoint *ep = (const struct hk_tcp_endpoint *)base;

	for (struct hk_tcp_recv *r = ep->recvs; r; r = r->next) {
		if (r->fd >= 0)
			shutdown(r->fd, SHUT_RDWR);
		hk_tcp_gather_leave(r->gather);
	}
}

static void tcp_close(struct hk_endpoint *base)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)base;

	if (!ep)
		return;
	hk_tcp_opener_destroy(ep->opener);
	for (struct hk_tcp_send *s = ep->sends, *next; s; s = next) {
		next = s->next;
		send_free(s);
	}
	for (struct hk_tcp_stripe *s = ep->stripes, *next; s; s = next) {
		next = s->next;
		hk_tcp_stripe_free(s);
	}
	for (struct hk_tcp_recv *r = ep->recvs, *next; r; r = next) {
		next = r->next;
		recv_free(r);
	}
	free(ep->polls);
	free(ep);
}

const struct hk_transport hk_transport_tcp = {
	.name = "tcp",
	.open = tcp_open,
	.reach = tcp_reach,
	.connect_send = tcp_connect_send,
	.connect_recv = tcp_connect_recv,
	.attach = hk_attach_none,
	.detach = hk_detach_none,
	.arm = hk_arm_none,
	.wait = tcp_wait,
	.sever = hk_sever_none,
	.leave = tcp_leave,
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.rows = hk_rows_none,
	.peer_memory = hk_peer_memory_none,
	.memory = tcp_memory,
	.device_memory = hk_device_memory_none,
	.admit_device = hk_admit_device_none,
	.close = tcp_close,
};
