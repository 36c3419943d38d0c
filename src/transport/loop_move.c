/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages over a connection of the loop transport: the fast path, both ends, with its faults. The
 * sender's half comes first, then the receiver's. See loop.c for how it works.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "error.h"
#include "loop_conn.h"
#include "loop_draw.h"

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
	if (m->lent) {
		s->lent = s->committed + 1;
		atomic_fetch_add_explicit(&c->lent, 1, memory_order_relaxed);
	}
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

static int loop_owes(struct hk_send *base)
{
	struct loop_send *s = (struct loop_send *)base;
	int flushed = loop_flush(base);

	if (flushed)
		return flushed < 0 ? flushed : 0;
	return (int)(s->committed - atomic_load_explicit(&s->conn->released, memory_order_acquire));
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

const struct hk_send_ops hk_loop_send_ops = {
	.reserve = loop_reserve,
	.commit = loop_commit,
	.lends = loop_lends,
	.lend = loop_lend,
	.flush = loop_flush,
	.owes = loop_owes,
	.settle = hk_settle_flushed,
};
const struct hk_recv_ops hk_loop_recv_ops = {
	.peek = loop_peek,
	.pull = loop_pull,
	.release = loop_release,
	.offer = loop_offer,
};
