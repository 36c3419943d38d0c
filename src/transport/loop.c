/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop: ranks of one process, over rings in its heap. It is there for tests: it never blocks, so
 * that one thread can step many ranks; it is deterministic; and it injects the faults of loop.h.
 * (Offers: loop_offer.c.)
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
#include "loop_draw.h"
#include "loop_offer.h"
#include "transport.h"

/* Bits of conn.gone. */
enum { SENDER_GONE = 1, RECEIVER_GONE = 2, KILLED = 4, SEVERED = 8 };

enum end { SEND_END, RECV_END };

struct message {
	uint32_t bytes, mark;
	const void *at; /* where it is, if not in its slot */
	bool lent;	/* there in the sender's memory, else in the receiver's */
};

struct conn {
	struct conn *next; /* of those into the same rank */
	int src;
	uint32_t channel;
	uint32_t slots, slot_bytes;
	uint32_t credits; /* slots, or fewer as a fault */
	bool taken[2];	  /* which ends exist; under the world's mutex */
	_Atomic unsigned gone;
	_Atomic uint64_t committed; /* messages ever; the sender's */
	_Atomic uint64_t released;  /* the receiver's */
	struct message *messages;
	uint8_t *data;
	struct loop_offers offers;
};

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

struct loop_send {
	struct hk_send base;
	struct loop_send *next;
	const struct hk_loop_faults *faults;
	struct conn *conn;
	uint64_t random;
	uint64_t committed; /* as the ring counts: without those that were dropped */
	uint64_t lent;	    /* as committed was after the last message that was lent */
	uint64_t message;   /* number of the next message */
	uint32_t refusals;  /* still due before the next message */
	bool reserved;
	int error;
};

struct loop_recv {
	struct hk_recv base;
	struct loop_recv *next;
	const struct hk_loop_faults *faults;
	struct conn *conn;
	uint64_t random;
	uint64_t released;
	uint64_t offered; /* no message below this number may be offered a place any more */
	uint32_t delay;	  /* peeks in vain that are still due before the next message */
	uint32_t put_off; /* pulls in vain that are still due */
	bool peeked;
	bool pulls; /* the peeked message is not shown */
	int error;
};

struct loop_endpoint {
	struct hk_endpoint base;
	struct hk_loop *loop;
	uint32_t slots, slot_bytes;
	struct loop_send *sends;
	struct loop_recv *recvs;
	size_t memory;
};

/* --- fast path --- */

static int peer_gone(int peer, uint32_t channel, unsigned gone)
{
	if (gone & KILLED)
		return hk_fail(HK_EPEER,
			       "the connection with rank %d on channel %u broke (a fault that the "
			       "test asked for)",
			       peer, channel);
	if (gone & SEVERED)
		return hk_fail(HK_EPEER,
			       "the connection with rank %d on channel %u was severed after a "
			       "failure of one of its ends",
			       peer, channel);
	return hk_fail(HK_EPEER,
		       "rank %d closed its connection on channel %u while it was needed (it died "
		       "or aborted; its own log says why)",
		       peer, channel);
}

static int loop_reserve(struct hk_send *base, uint32_t bytes, void **slot)
{
	struct loop_send *s = (struct loop_send *)base;
	struct conn *c = s->conn;
	unsigned gone;

	if (s->error)
		return s->error;
	if (bytes > c->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "a message of %u bytes to rank %d is longer than "
					  "a slot (%u)",
					  bytes, base->peer, c->slot_bytes);
	gone = atomic_load_explicit(&c->gone, memory_order_acquire);
	if (gone & (RECEIVER_GONE | KILLED | SEVERED))
		return s->error = peer_gone(base->peer, base->channel, gone);
	if (!s->reserved) {
		if (s->refusals) {
			s->refusals--;
			return 0;
		}
		if (s->committed - atomic_load_explicit(&c->released, memory_order_acquire) >=
		    c->credits)
			return 0;
		s->reserved = true;
	}
	*slot = c->data + s->committed % c->slots * c->slot_bytes;
	return 1;
}

static enum hk_loop_hit_kind hit_of(const struct loop_send *s)
{
	for (unsigned i = 0; i < HK_LOOP_HITS; i++) {
		const struct hk_loop_hit *h = &s->faults->hits[i];

		if (h->kind && h->src == s->base.ep->rank && h->dst == s->base.peer &&
		    h->channel == s->base.channel && h->message == s->message)
			return h->kind;
	}
	return HK_LOOP_NONE;
}

/* Whether a message goes where it is wanted, if that is known. */
static bool goes_direct(struct loop_send *s)
{
	return s->faults->offers == HK_LOOP_OFFERS_TAKEN || draw(&s->random) % 2;
}

/* What the receiver finds: the message in its place already, or where it is to be read. */
static struct message hand_over(struct loop_send *s, const void *lent, uint32_t bytes,
				uint32_t mark)
{
	struct conn *c = s->conn;
	const void *data = lent ? lent : c->data + s->committed % c->slots * c->slot_bytes;
	void *place = NULL;

	if (s->faults->offers)
		place = hk_loop_offers_come(&c->offers, s->committed, goes_direct(s), data, bytes,
					    mark);
	if (place)
		return (struct message){bytes, mark, place, false};
	return (struct message){bytes, mark, lent, lent != NULL};
}

/* Sends a message that lies in its slot, or is lent. */
static int send_message(struct hk_send *base, const void *lent, uint32_t bytes, uint32_t mark)
{
	struct loop_send *s = (struct loop_send *)base;
	struct conn *c = s->conn;
	enum hk_loop_hit_kind hit;
	struct message *m;
	unsigned gone;

	if (s->error)
		return s->error;
	gone = atomic_load_explicit(&c->gone, memory_order_acquire);
	if (gone & SEVERED)
		return s->error = peer_gone(base->peer, base->channel, gone);
	if (!s->reserved || bytes > c->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "commit of %u bytes to rank %d without a slot "
					  "reserved for them",
					  bytes, base->peer);
	hit = hit_of(s);
	if (hit == HK_LOOP_KILL) {
		atomic_fetch_or_explicit(&c->gone, KILLED, memory_order_release);
		return s->error = peer_gone(base->peer, base->channel, KILLED);
	}
	s->message++;
	s->reserved = false;
	s->refusals = draw_up_to(&s->random, s->faults->max_refusals);
	if (hit == HK_LOOP_DROP)
		return 0;
	if (hit == HK_LOOP_TRUNCATE)
		bytes = bytes ? bytes - 1 : 1;
	if (hit == HK_LOOP_MARK)
		mark ^= UINT32_C(1) << draw_up_to(&s->random, 31);
	m = &c->messages[s->committed % c->slots];
	*m = hand_over(s, lent, bytes, mark);
	if (m->lent)
		s->lent = s->committed + 1;
	atomic_store_explicit(&c->committed, ++s->committed, memory_order_release);
	return 0;
}

static int loop_commit(struct hk_send *base, uint32_t bytes, uint32_t mark)
{
	return send_message(base, NULL, bytes, mark);
}

static bool loop_lends(struct hk_send *base, const void *data, uint32_t bytes)
{
	return ((struct loop_send *)base)->faults->lend;
}

static int loop_lend(struct hk_send *base, const void *data, uint32_t bytes, uint32_t mark)
{
	return send_message(base, data, bytes, mark);
}

static int loop_flush(struct hk_send *base)
{
	struct loop_send *s = (struct loop_send *)base;
	unsigned gone;

	if (s->error)
		return s->error;
	/* In this order: once the receiver is gone, the count read after it is final. */
	gone = atomic_load_explicit(&s->conn->gone, memory_order_acquire);
	if (!(gone & SEVERED) &&
	    atomic_load_explicit(&s->conn->released, memory_order_acquire) >= s->lent)
		return 1;
	if (gone & (RECEIVER_GONE | KILLED | SEVERED))
		return s->error = peer_gone(base->peer, base->channel, gone);
	return 0;
}

static int loop_peek(struct hk_recv *base, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct loop_recv *r = (struct loop_recv *)base;
	struct conn *c = r->conn;
	const struct message *m;
	unsigned gone;

	if (r->error)
		return r->error;
	/* In this order: once the sender is gone, the count read after it is final. */
	gone = atomic_load_explicit(&c->gone, memory_order_acquire);
	if (gone & SEVERED)
		return r->error = peer_gone(base->peer, base->channel, gone);
	if (!r->peeked) {
		if (r->released == atomic_load_explicit(&c->committed, memory_order_acquire)) {
			if (gone & (SENDER_GONE | KILLED))
				return r->error = peer_gone(base->peer, base->channel, gone);
			return 0;
		}
		if (r->delay) {
			r->delay--;
			return 0;
		}
		r->peeked = true;
		r->pulls = r->faults->pull && c->messages[r->released % c->slots].lent;
		r->put_off = r->pulls ? draw_up_to(&r->random, r->faults->max_delay) : 0;
	}
	m = &c->messages[r->released % c->slots];
	*data = m->at ? m->at : c->data + r->released % c->slots * c->slot_bytes;
	if (r->pulls)
		*data = NULL;
	*bytes = m->bytes;
	*mark = m->mark;
	return 1;
}

static int loop_pull(struct hk_recv *base, uint32_t offset, void *dst, uint32_t bytes)
{
	struct loop_recv *r = (struct loop_recv *)base;
	const struct message *m = &r->conn->messages[r->released % r->conn->slots];

	if (r->error)
		return r->error;
	if (!r->peeked || offset > m->bytes || bytes > m->bytes - offset)
		return r->error = hk_fail(EINVAL,
					  "a pull of %u bytes at %u from rank %d, where there are "
					  "none",
					  bytes, offset, base->peer);
	if (r->put_off) {
		/* The last one is a refusal in one case of two. */
		if (!--r->put_off && draw(&r->random) % 2)
			r->pulls = false;
		return 0;
	}
	if (!r->pulls)
		return 0;
	if (!hk_loop_offers_read(&r->conn->offers, dst, (const uint8_t *)m->at + offset, bytes))
		return r->error = peer_gone(base->peer, base->channel, SEVERED);
	if (draw(&r->random) % 4 == 0) /* what comes after this one may be put off, too */
		r->put_off = draw_up_to(&r->random, r->faults->max_delay);
	return 1;
}

static int loop_release(struct hk_recv *base)
{
	struct loop_recv *r = (struct loop_recv *)base;

	if (r->error)
		return r->error;
	if (!r->peeked)
		return r->error = hk_fail(EINVAL,
					  "release of a message from rank %d that was not "
					  "peeked",
					  base->peer);
	r->peeked = false;
	r->delay = draw_up_to(&r->random, r->faults->max_delay);
	atomic_store_explicit(&r->conn->released, ++r->released, memory_order_release);
	return 0;
}

static void loop_offer(struct hk_recv *base, uint32_t ahead, void *dst, uint32_t bytes,
		       uint32_t mark)
{
	struct loop_recv *r = (struct loop_recv *)base;
	uint64_t message = r->released + ahead;

	if (!r->faults->offers || r->error)
		return;
	if (message < r->offered || bytes > r->conn->slot_bytes) {
		r->error = hk_fail(EINVAL,
				   "%u bytes were offered for message %llu from rank %d, after an "
				   "offer for number %llu, and with slots of %u bytes",
				   bytes, (unsigned long long)message, base->peer,
				   (unsigned long long)r->offered, r->conn->slot_bytes);
		return;
	}
	r->offered = message + 1;
	if (r->faults->offers == HK_LOOP_OFFERS_TAKEN || draw(&r->random) % 4)
		hk_loop_offers_make(&r->conn->offers, message, dst, bytes, mark);
}

static const struct hk_send_ops send_ops = {
	.reserve = loop_reserve,
	.commit = loop_commit,
	.lends = loop_lends,
	.lend = loop_lend,
	.flush = loop_flush,
};
static const struct hk_recv_ops recv_ops = {
	.peek = loop_peek,
	.pull = loop_pull,
	.release = loop_release,
	.offer = loop_offer,
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
	s->base = (struct hk_send){.ops = &send_ops,
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
	r->base = (struct hk_recv){&recv_ops, base, peer, channel, ep->slots, ep->slot_bytes};
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
	.ring_send = hk_ring_send_none,
	.ring_recv = hk_ring_recv_none,
	.memory = loop_memory,
	.device_memory = hk_device_memory_none,
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
