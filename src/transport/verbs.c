/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RDMA over libibverbs: InfiniBand and RoCE. This file is the endpoint: it opens the ports that
 * discovery has chosen, makes connections, waits for completions, and ends. verbs.h says where the
 * rest is.
 *
 * A rank has one link with each peer that it talks to, made when first needed, with a path for each
 * pair of ports that reach each other. A connection is a ring of slots at the receiver; its
 * messages take whatever path has least to do, and all of them stay with the sender until they are
 * delivered, so that losing a path loses nothing.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "error.h"
#include "param.h"
#include "verbs.h"

#define QUEUE_DEPTH    512u		   /* of a completion queue to begin with */
#define MAGIC	       0x31626976u	   /* "vib1" */
#define GOODBYE_NS     INT64_C(1000000000) /* most that the end waits; a rail may be lost now */
#define GOODBYE_NAP_NS 20000
#define LONG_NS	       INT64_C(1000000000)

/* A device that the kernel plays: a message takes a system call and its packets' processing at each
 * end. */
#define SOFT_NS		 10000
#define SOFT_NS_PER_BYTE 1.0

/* What a rank's address says. */
struct card {
	uint32_t magic;
	uint8_t nrails, roce, routed, zero;
	struct {
		uint8_t family, bits;
		uint16_t gbits;
		uint32_t hash; /* of the network */
	} rails[HK_VERBS_RAILS];
};
_Static_assert(sizeof(struct card) <= HK_ADDR_BYTES, "an address has room for a card");

static uint32_t hash_net(const struct hk_ib_net *net)
{
	uint32_t h = 0x811c9dc5u;

	for (unsigned i = 0; i < sizeof(net->prefix); i++)
		h = (h ^ net->prefix[i]) * 0x01000193u;
	return h;
}

/* --- opening --- */

static int nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_rail(struct hk_verbs_rail *rail)
{
	struct ibv_context *ctx = rail->port.ctx;

	rail->down = !rail->port.active;
	rail->depth = QUEUE_DEPTH;
	rail->pd = hk_ibv()->alloc_pd(ctx);
	rail->events = rail->pd ? hk_ibv()->create_comp_channel(ctx) : NULL;
	rail->cq =
		rail->events ? hk_ibv()->create_cq(ctx, QUEUE_DEPTH, NULL, rail->events, 0) : NULL;
	if (rail->cq && !nonblocking(rail->events->fd) && !nonblocking(ctx->async_fd))
		return 0;
	return hk_fail(errno ? errno : ENOMEM,
		       "%s gives no completion queue: %s; is the limit of locked memory (ulimit "
		       "-l) high enough?",
		       rail->port.name, strerror(errno));
}

static void close_rail(struct hk_verbs_rail *rail)
{
	if (rail->cq)
		hk_ibv()->destroy_cq(rail->cq);
	if (rail->events)
		hk_ibv()->destroy_comp_channel(rail->events);
	if (rail->pd)
		hk_ibv()->dealloc_pd(rail->pd);
}

static void fill_card(const struct hk_verbs_endpoint *ep, struct card *c)
{
	*c = (struct card){.magic = htole32(MAGIC), .nrails = (uint8_t)ep->nrails};
	c->roce = ep->rails[0].port.roce;
	for (unsigned i = 0; i < ep->nrails; i++) {
		const struct hk_ib_port *port = &ep->rails[i].port;
		bool local = port->net.family == AF_INET6 && port->net.prefix[0] == 0xfe &&
			     (port->net.prefix[1] & 0xc0) == 0x80;

		c->routed |= port->roce && port->net.family && !local;
		c->rails[i].family = port->net.family;
		c->rails[i].bits = port->net.bits;
		c->rails[i].gbits = htole16((uint16_t)(port->gbits < 65535 ? port->gbits : 65535));
		c->rails[i].hash = htole32(hash_net(&port->net));
	}
}

static void verbs_close(struct hk_endpoint *base);

static int verbs_open(const struct hk_endpoint_env *env, struct hk_endpoint **out,
		      struct hk_addr *addr)
{
	struct hk_verbs_endpoint *ep;
	unsigned most = (unsigned)hk_param(HK_PARAM_IB_RAILS);
	struct card card;
	int err;

	if (!env->wire)
		return -ENOTSUP;
	if (!env->slots || env->slots > HK_VERBS_SLOTS || !env->slot_bytes ||
	    env->channels > HK_VERBS_CHANNELS)
		return hk_fail(EINVAL, "verbs cannot have %u slots of %u bytes on %u channels",
			       env->slots, env->slot_bytes, env->channels);
	ep = calloc(1, sizeof(*ep));
	if (!ep)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	ep->base = (struct hk_endpoint){&hk_transport_verbs, env->rank, env->nranks};
	ep->wire = env->wire;
	ep->slots = env->slots;
	ep->slot_bytes = env->slot_bytes;
	ep->usual_bytes = env->usual_bytes ? env->usual_bytes : env->slot_bytes;
	ep->memory = sizeof(*ep);
	err = hk_ib_open((unsigned)env->rank, most < HK_VERBS_RAILS ? most : HK_VERBS_RAILS,
			 ep->ports, &ep->nrails);
	if (err) {
		free(ep);
		return err;
	}
	ep->by_peer = calloc((size_t)env->nranks, sizeof(*ep->by_peer));
	if (!ep->by_peer)
		err = hk_fail(ENOMEM, "no memory for %d peers", env->nranks);
	for (unsigned i = 0; i < ep->nrails && !err; i++) {
		ep->rails[i].port = ep->ports[i];
		hk_verbs_limit_mtu(&ep->rails[i].port);
		err = open_rail(&ep->rails[i]);
	}
	if (!err)
		err = hk_verbs_cache_open(ep);
	if (!err)
		err = hk_verbs_cm_open(ep);
	if (err) {
		verbs_close(&ep->base);
		return err;
	}
	fill_card(ep, &card);
	*addr = (struct hk_addr){{0}};
	memcpy(addr->bytes, &card, sizeof(card));
	*out = &ep->base;
	return 0;
}

/* Symmetric: both ends come to the same answer. */
static bool verbs_reach(struct hk_endpoint *base, int peer, const struct hk_addr *addr,
			struct hk_cost *cost)
{
	const struct hk_verbs_endpoint *ep = hk_verbs_endpoint(base);
	unsigned gbits = 0;
	struct card own, c;
	bool shared = false;

	memcpy(&c, addr->bytes, sizeof(c));
	fill_card(ep, &own);
	if (le32toh(c.magic) != MAGIC || c.roce != own.roce || c.nrails > HK_VERBS_RAILS)
		return false;
	for (unsigned i = 0; i < own.nrails; i++)
		for (unsigned k = 0; k < c.nrails; k++)
			shared |= !memcmp(&own.rails[i].family, &c.rails[k].family, 2) &&
				  own.rails[i].hash == c.rails[k].hash;
	if (!shared && !(own.routed && c.routed))
		return false;
	for (unsigned i = 0; i < own.nrails; i++)
		gbits += le16toh(own.rails[i].gbits);
	*cost = (struct hk_cost){.latency_ns = 2000,
				 .message_ns = 300,
				 .ns_per_byte = gbits ? 8.0 / (double)gbits : 0.1};
	for (unsigned i = 0; i < ep->nrails; i++)
		if (ep->rails[i].port.soft)
			*cost = (struct hk_cost){SOFT_NS, SOFT_NS, SOFT_NS_PER_BYTE};
	return true;
}

/* --- connecting --- */

static int find_link(struct hk_verbs_endpoint *ep, int peer, uint32_t channel,
		     struct hk_verbs_link **link)
{
	if (peer < 0 || peer >= ep->base.nranks || peer == ep->base.rank ||
	    channel >= HK_VERBS_CHANNELS)
		return hk_fail(EINVAL, "no connection between ranks %d and %d of %d on channel %u",
			       ep->base.rank, peer, ep->base.nranks, channel);
	return hk_verbs_link_get(ep, peer, link);
}

static int verbs_connect_send(struct hk_endpoint *base, int peer, uint32_t channel,
			      const struct hk_addr *addr, struct hk_send **conn)
{
	struct hk_verbs_send *s = NULL;
	struct hk_verbs_link *l = NULL;
	int err = find_link(hk_verbs_endpoint(base), peer, channel, &l);

	if (!err)
		err = hk_verbs_send_new(l, channel, &s);
	if (!err)
		*conn = &s->base;
	return err;
}

static int verbs_connect_recv(struct hk_endpoint *base, int peer, uint32_t channel,
			      const struct hk_addr *addr, struct hk_recv **conn)
{
	struct hk_verbs_recv *r = NULL;
	struct hk_verbs_link *l = NULL;
	int err = find_link(hk_verbs_endpoint(base), peer, channel, &l);

	if (!err)
		err = hk_verbs_recv_new(l, channel, &r);
	if (!err)
		*conn = &r->base;
	return err;
}

static int verbs_attach(struct hk_endpoint *base, const struct hk_memory *m)
{
	if (m->fd < 0) /* a GPU's memory is found out by asking the driver */
		return 0;
	return hk_regcache_attach(hk_verbs_endpoint(base)->cache, m);
}

static void verbs_detach(struct hk_endpoint *base, const struct hk_memory *m)
{
	if (m->fd >= 0)
		hk_regcache_detach(hk_verbs_endpoint(base)->cache, m);
}

/* --- waiting --- */

static void verbs_arm(struct hk_endpoint *base)
{
	struct hk_verbs_endpoint *ep = hk_verbs_endpoint(base);

	for (unsigned i = 0; i < ep->nrails; i++)
		ibv_req_notify_cq(ep->rails[i].cq, 0);
}

/* Takes the events of completions. Whether anything else has news. */
static bool drain_events(struct hk_verbs_endpoint *ep, const struct pollfd *polls, unsigned n)
{
	bool news = false;
	struct ibv_cq *cq;
	void *context;

	for (unsigned i = 0; i < n; i++) {
		if (i >= ep->nrails)
			news |= polls[i].revents != 0;
		else if (polls[i].revents)
			while (!hk_ibv()->get_cq_event(ep->rails[i].events, &cq, &context))
				hk_ibv()->ack_cq_events(cq, 1);
	}
	return news;
}

static void verbs_wait(struct hk_endpoint *base, int64_t timeout_ns)
{
	struct hk_verbs_endpoint *ep = hk_verbs_endpoint(base);
	struct pollfd polls[2 * HK_VERBS_RAILS + 1 + HK_VERBS_MEETINGS];
	struct timespec timeout;
	bool news = false;
	unsigned n = 0;
	int64_t most;

	/* What one look left in the queues, no event will tell of. */
	if (hk_verbs_progress(ep))
		return;
	most = ep->tend_at - hk_now_ns();
	if (timeout_ns > most)
		timeout_ns = most;
	if (timeout_ns > LONG_NS)
		timeout_ns = LONG_NS;
	for (unsigned i = 0; i < ep->nrails; i++)
		polls[n++] = (struct pollfd){.fd = ep->rails[i].events->fd, .events = POLLIN};
	for (unsigned i = 0; i < ep->nrails; i++)
		polls[n++] =
			(struct pollfd){.fd = ep->rails[i].port.ctx->async_fd, .events = POLLIN};
	if (ep->cm)
		polls[n++] = (struct pollfd){.fd = hk_verbs_cm_fd(ep), .events = POLLIN};
	for (struct hk_verbs_link *l = ep->links; l && n < sizeof(polls) / sizeof(*polls);
	     l = l->next)
		if (!l->error && hk_verbs_meeting_socket(l) >= 0)
			polls[n++] =
				(struct pollfd){.fd = hk_verbs_meeting_socket(l), .events = POLLIN};
	if (timeout_ns > 0) {
		timeout = (struct timespec){timeout_ns / 1000000000, timeout_ns % 1000000000};
		if (ppoll(polls, n, &timeout, NULL) > 0)
			news = drain_events(ep, polls, n);
	}
	if (news || hk_now_ns() >= ep->tend_at)
		hk_verbs_tend(ep, hk_now_ns());
}

static size_t verbs_memory(struct hk_endpoint *base)
{
	return hk_verbs_endpoint(base)->memory;
}

/* --- the end --- */

static void verbs_sever(struct hk_endpoint *base)
{
	struct hk_verbs_endpoint *ep = hk_verbs_endpoint(base);

	for (struct hk_verbs_link *l = ep->links; l; l = l->next) {
		/* A peer that has dialled is to hear of it. */
		if (l->meeting && !l->error)
			hk_verbs_meet(l);
		hk_verbs_meeting_free(l);
		hk_verbs_link_fail(l, -HK_EABORT);
		for (unsigned i = 0; i < l->npaths; i++) {
			hk_verbs_path_close(l->paths[i]);
			l->paths[i]->state = HK_PATH_NONE;
		}
		for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++) {
			if (l->sends[i])
				hk_verbs_send_sever(l->sends[i]);
			if (l->recvs[i])
				hk_verbs_recv_sever(l->recvs[i]);
		}
	}
}

static bool all_delivered(const struct hk_verbs_link *l)
{
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++)
		if (l->sends[i] && l->sends[i]->base.ops->flush(&l->sends[i]->base) == 0)
			return false;
	return true;
}

/* What was sent is still to arrive, and the peers are to know that nothing will follow. */
static void say_goodbye(struct hk_verbs_endpoint *ep)
{
	int64_t deadline = hk_now_ns() + GOODBYE_NS;
	struct timespec nap = {0, GOODBYE_NAP_NS};

	for (struct hk_verbs_link *l = ep->links; l; l = l->next) {
		bool said = false;

		if (l->error || l->gone || !l->up)
			continue;
		while (!l->error && !l->gone && hk_now_ns() < deadline) {
			if (!said && all_delivered(l)) {
				hk_verbs_tell_bye(l);
				said = true;
			}
			hk_verbs_progress(ep);
			if (said && hk_verbs_control_idle(l))
				break;
			nanosleep(&nap, NULL);
		}
	}
}

static void verbs_close(struct hk_endpoint *base)
{
	struct hk_verbs_endpoint *ep = (struct hk_verbs_endpoint *)base;

	if (!ep)
		return;
	say_goodbye(ep);
	for (struct hk_verbs_link *l = ep->links, *next; l; l = next) {
		next = l->next;
		hk_verbs_link_free(l);
	}
	hk_verbs_cm_close(ep);
	hk_verbs_cache_close(ep);
	for (unsigned i = 0; i < ep->nrails; i++)
		close_rail(&ep->rails[i]);
	hk_ib_close(ep->ports, ep->nrails);
	free(ep->paths);
	free(ep->by_peer);
	free(ep);
}

const struct hk_transport hk_transport_verbs = {
	.name = "verbs",
	.open = verbs_open,
	.reach = verbs_reach,
	.connect_send = verbs_connect_send,
	.connect_recv = verbs_connect_recv,
	.attach = verbs_attach,
	.detach = verbs_detach,
	.arm = verbs_arm,
	.wait = verbs_wait,
	.sever = verbs_sever,
	.leave = hk_leave_none,
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.rows = hk_rows_none,
	.peer_memory = hk_peer_memory_none,
	.memory = verbs_memory,
	.device_memory = hk_device_memory_none,
	.admit_device = hk_verbs_admit,
	.close = verbs_close,
};
