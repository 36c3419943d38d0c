/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop: ranks of one process, over rings in its heap. It is there for tests: it never blocks, so
 * that one thread can step many ranks; it is deterministic; and it injects the faults of loop.h.
 * (The fast path: loop_move.c. Offers: loop_offer.c.)
 *
 * A connection is a ring with one producer and one consumer, found by (src, dst, channel) in the
 * world by whichever end comes first, and owned by the world. The only shared words are the two
 * counters of the ring and the word that says which end is gone; the mutex is for connecting and
 * closing alone. As with a socket, closing an endpoint lets its peers read what was sent, and is a
 * dead peer (-HK_EPEER) to whoever wants more.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "loop_conn.h"
#include "loop_draw.h"
#include "transport.h"

enum end { SEND_END, RECV_END };

enum rank_state { NOT_OPENED, OPEN, CLOSED };

struct hk_loop {
	pthread_mutex_t lock;
	struct hk_loop_faults faults;
	int nranks;
	struct {
		enum rank_state state;
		struct conn *into;
	} ranks[];
};

struct loop_endpoint {
	struct hk_endpoint base;
	struct hk_loop *loop;
	uint32_t slots, slot_bytes;
	struct loop_send *sends;
	struct loop_recv *recvs;
	size_t memory;
};

/* --- connecting --- */

static void conn_free(struct conn *c)
{
	if (!c)
		return;
	hk_loop_offers_free(&c->offers);
	free(c->data);
	free(c->messages);
	free(c);
}

static struct conn *conn_create(const struct loop_endpoint *ep, int src, int dst, uint32_t channel)
{
	const struct hk_loop_faults *faults = &ep->loop->faults;
	uint64_t random = random_of(faults->seed, src, dst, channel, 2);
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->src = src;
	c->channel = channel;
	c->slots = c->credits = ep->slots;
	c->slot_bytes = ep->slot_bytes;
	if (faults->max_slots) {
		c->credits = 1 + draw_up_to(&random, faults->max_slots - 1);
		if (c->credits > c->slots)
			c->credits = c->slots;
	}
	c->messages = calloc(c->slots, sizeof(*c->messages));
	c->data = calloc(c->slots, c->slot_bytes);
	if (!c->messages || !c->data || hk_loop_offers_init(&c->offers, c->slots)) {
		conn_free(c);
		return NULL;
	}
	return c;
}

/* Finds or makes the connection, and takes one end of it. Under the mutex. */
static int conn_take(struct loop_endpoint *ep, int src, int dst, uint32_t channel, enum end end,
		     struct conn **conn)
{
	struct hk_loop *w = ep->loop;
	int peer = end == SEND_END ? dst : src;
	struct conn *c = w->ranks[dst].into;

	while (c && (c->src != src || c->channel != channel))
		c = c->next;
	if (c && c->taken[end])
		return hk_fail(EEXIST, "rank %d connects twice with rank %d on channel %u",
			       ep->base.rank, peer, channel);
	if (c && (c->slots != ep->slots || c->slot_bytes != ep->slot_bytes))
		return hk_fail(EINVAL,
			       "rank %d has %u slots of %u bytes but rank %d has %u of %u: set "
			       "HOCKET_SLOTS and HOCKET_SLOT_BYTES alike on all ranks",
			       peer, c->slots, c->slot_bytes, ep->base.rank, ep->slots,
			       ep->slot_bytes);
	if (!c) {
		c = conn_create(ep, src, dst, channel);
		if (!c)
			return hk_fail(ENOMEM, "no memory for a connection with rank %d", peer);
		c->next = w->ranks[dst].into;
		w->ranks[dst].into = c;
	}
	c->taken[end] = true;
	if (w->ranks[peer].state == CLOSED)
		atomic_fetch_or(&c->gone, end == SEND_END ? RECEIVER_GONE : SENDER_GONE);
	*conn = c;
	return 0;
}

static int take_end(struct loop_endpoint *ep, int src, int dst, uint32_t channel, enum end end,
		    struct conn **conn)
{
	int rc;

	if (src < 0 || dst < 0 || src >= ep->base.nranks || dst >= ep->base.nranks || src == dst)
		return hk_fail(EINVAL, "no connection from rank %d to rank %d among %d", src, dst,
			       ep->base.nranks);
	pthread_mutex_lock(&ep->loop->lock);
	rc = conn_take(ep, src, dst, channel, end, conn);
	pthread_mutex_unlock(&ep->loop->lock);
	return rc;
}

static int loop_connect_send(struct hk_endpoint *base, int peer, uint32_t channel,
			     const struct hk_addr *addr, struct hk_send **conn)
{
	struct loop_endpoint *ep = (struct loop_endpoint *)base;
	const struct hk_loop_faults *faults = &ep->loop->faults;
	struct loop_send *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return hk_fail(ENOMEM, "no memory for a connection to rank %d", peer);
	rc = take_end(ep, base->rank, peer, channel, SEND_END, &s->conn);
	if (rc) {
		free(s);
		return rc;
	}
	s->base = (struct hk_send){.ops = &hk_loop_send_ops,
				   .ep = base,
				   .peer = peer,
				   .channel = channel,
				   .slots = ep->slots,
				   .slot_bytes = ep->slot_bytes};
	s->faults = faults;
	s->random = random_of(faults->seed, base->rank, peer, channel, SEND_END);
	s->refusals = draw_up_to(&s->random, faults->max_refusals);
	s->next = ep->sends;
	ep->sends = s;
	/* The sender answers for the ring, so that the sum over ranks is right. */
	ep->memory += sizeof(*s) + sizeof(struct conn) +
		      (size_t)ep->slots *
			      (ep->slot_bytes + sizeof(struct message) + sizeof(struct loop_offer));
	*conn = &s->base;
	return 0;
}

static int loop_connect_recv(struct hk_endpoint *base, int peer, uint32_t channel,
			     const struct hk_addr *addr, struct hk_recv **conn)
{
	struct loop_endpoint *ep = (struct loop_endpoint *)base;
	const struct hk_loop_faults *faults = &ep->loop->faults;
	struct loop_recv *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection from rank %d", peer);
	rc = take_end(ep, peer, base->rank, channel, RECV_END, &r->conn);
	if (rc) {
		free(r);
		return rc;
	}
	r->base =
		(struct hk_recv){&hk_loop_recv_ops, base, peer, channel, ep->slots, ep->slot_bytes};
	r->faults = faults;
	r->random = random_of(faults->seed, peer, base->rank, channel, RECV_END);
	r->delay = draw_up_to(&r->random, faults->max_delay);
	r->next = ep->recvs;
	ep->recvs = r;
	ep->memory += sizeof(*r);
	*conn = &r->base;
	return 0;
}

/* --- endpoint and world --- */

extern const struct hk_transport hk_transport_loop;

static struct hk_loop *_Atomic stand_in;

static int loop_open(const struct hk_endpoint_env *env, struct hk_endpoint **out,
		     struct hk_addr *addr)
{
	struct hk_loop *w = env->loop ? env->loop : atomic_load(&stand_in);
	struct loop_endpoint *ep;
	bool first;

	if (!w)
		return -ENOTSUP; /* the usual case outside of tests: nothing to tell */
	if (env->rank < 0 || env->rank >= env->nranks || env->nranks != w->nranks || !env->slots)
		return hk_fail(EINVAL, "rank %d of %d with %u slots does not fit a world of %d",
			       env->rank, env->nranks, env->slots, w->nranks);
	ep = calloc(1, sizeof(*ep));
	if (!ep)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	pthread_mutex_lock(&w->lock);
	first = w->ranks[env->rank].state == NOT_OPENED;
	if (first)
		w->ranks[env->rank].state = OPEN;
	pthread_mutex_unlock(&w->lock);
	if (!first) {
		free(ep);
		return hk_fail(EEXIST, "rank %d was opened before in this world", env->rank);
	}
	ep->base = (struct hk_endpoint){&hk_transport_loop, env->rank, env->nranks};
	ep->loop = w;
	ep->slots = env->slots;
	ep->slot_bytes = env->slot_bytes;
	ep->memory = sizeof(*ep);
	*addr = (struct hk_addr){{0}};
	*out = &ep->base;
	return 0;
}

static bool loop_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		       struct hk_cost *cost)
{
	*cost = (struct hk_cost){.latency_ns = 100, .message_ns = 40, .ns_per_byte = 0.1};
	return peer >= 0 && peer < ep->nranks && peer != ep->rank;
}

/* Whoever we wait for may be stepped by this very thread. */
static void loop_wait(struct hk_endpoint *ep, int64_t timeout_ns)
{
	sched_yield();
}

static void sever(struct conn *c)
{
	hk_loop_offers_sever(&c->offers);
	atomic_fetch_or_explicit(&c->gone, SEVERED, memory_order_release);
}

/* What is lent without `pull` is read by the peer's executor, not by this transport: it may finish
 * the message that it has before it. */
static void loop_sever(struct hk_endpoint *base)
{
	struct loop_endpoint *ep = (struct loop_endpoint *)base;

	for (struct loop_send *s = ep->sends; s; s = s->next)
		sever(s->conn);
	for (struct loop_recv *r = ep->recvs; r; r = r->next)
		sever(r->conn);
}

/* Here a GPU's memory is read by the receiver, as all that is lent. */
static int loop_admit(struct hk_endpoint *base, uint64_t at, size_t bytes, uint32_t *least)
{
	if (!((struct loop_endpoint *)base)->loop->faults.admit)
		return hk_admit_device_none(base, at, bytes, least);
	*least = HK_LOOP_ADMITS;
	return 0;
}

static size_t loop_memory(struct hk_endpoint *base)
{
	return ((struct loop_endpoint *)base)->memory;
}

static void loop_close(struct hk_endpoint *base)
{
	struct loop_endpoint *ep = (struct loop_endpoint *)base;

	if (!ep)
		return;
	pthread_mutex_lock(&ep->loop->lock);
	ep->loop->ranks[base->rank].state = CLOSED;
	for (struct loop_send *s = ep->sends, *next; s; s = next) {
		next = s->next;
		atomic_fetch_or_explicit(&s->conn->gone, SENDER_GONE, memory_order_release);
		free(s);
	}
	for (struct loop_recv *r = ep->recvs, *next; r; r = next) {
		next = r->next;
		atomic_fetch_or_explicit(&r->conn->gone, RECEIVER_GONE, memory_order_release);
		free(r);
	}
	pthread_mutex_unlock(&ep->loop->lock);
	free(ep);
}

const struct hk_transport hk_transport_loop = {
	.name = "loop",
	.open = loop_open,
	.reach = loop_reach,
	.connect_send = loop_connect_send,
	.connect_recv = loop_connect_recv,
	.attach = hk_attach_none,
	.detach = hk_detach_none,
	.arm = hk_arm_none,
	.wait = loop_wait,
	.sever = loop_sever,
	.leave = hk_leave_none,
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.rows = hk_rows_none,
	.peer_memory = hk_peer_memory_none,
	.memory = loop_memory,
	.device_memory = hk_device_memory_none,
	.admit_device = loop_admit,
	.close = loop_close,
};

int hk_loop_create(int nranks, const struct hk_loop_faults *faults, struct hk_loop **loop)
{
	struct hk_loop *w;

	if (nranks < 1)
		return hk_fail(EINVAL, "a world of %d ranks", nranks);
	w = calloc(1, sizeof(*w) + (size_t)nranks * sizeof(w->ranks[0]));
	if (!w)
		return hk_fail(ENOMEM, "no memory for a world of %d ranks", nranks);
	pthread_mutex_init(&w->lock, NULL);
	w->nranks = nranks;
	if (faults)
		w->faults = *faults;
	*loop = w;
	return 0;
}

void hk_loop_destroy(struct hk_loop *w)
{
	if (!w)
		return;
	for (int i = 0; i < w->nranks; i++)
		for (struct conn *c = w->ranks[i].into, *next; c; c = next) {
			next = c->next;
			conn_free(c);
		}
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void hk_loop_stand_in(struct hk_loop *w)
{
	atomic_store(&stand_in, w);
}

uint64_t hk_loop_lent(struct hk_loop *w)
{
	uint64_t messages = 0;

	pthread_mutex_lock(&w->lock);
	for (int i = 0; i < w->nranks; i++)
		for (struct conn *c = w->ranks[i].into; c; c = c->next)
			messages += atomic_load_explicit(&c->lent, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
	return messages;
}

uint64_t hk_loop_direct(struct hk_loop *w)
{
	uint64_t messages = 0;

	pthread_mutex_lock(&w->lock);
	for (int i = 0; i < w->nranks; i++)
		for (struct conn *c = w->ranks[i].into; c; c = c->next)
			messages += hk_loop_offers_direct(&c->offers);
	pthread_mutex_unlock(&w->lock);
	return messages;
}

size_t hk_loop_scribble(struct hk_loop *w)
{
	size_t bytes = 0;

	pthread_mutex_lock(&w->lock);
	for (int i = 0; i < w->nranks; i++)
		for (struct conn *c = w->ranks[i].into; c; c = c->next)
			bytes += hk_loop_offers_scribble(&c->offers);
	pthread_mutex_unlock(&w->lock);
	return bytes;
}
