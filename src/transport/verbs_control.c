/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What links tell each other: where rings and wanted places are, that a path was given up and what
 * had come until then, how a path is joined again, goodbye. These messages are few. They are
 * numbered, kept until they have been delivered, and sent again over another path when theirs was
 * lost, so that together they are one stream that lasts as long as any path does; the receiver
 * drops what it has seen and holds back what overtook.
 *
 * What is to be told is kept as state (a ring that was not announced, a path not told to be given
 * up), and told when there is room: nothing is lost when there is none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "verbs.h"

enum kind { PROBE = 1, RING, PLACES, GROW, ARRIVED, JOIN, BYE };
enum { LAST = 1, ANSWER = 2, UNFIT = 4 }; /* flags */

#define PLACES_MOST  4u
#define ARRIVED_MOST 20u
#define UNNUMBERED   UINT32_MAX

struct place {
	uint64_t at;
	uint32_t number, bytes, mark;
	uint32_t keys[HK_VERBS_PATHS];
	uint32_t zero;
};

struct arrived {
	uint32_t number, mask;
	uint8_t channel, zero[3];
};

/* All little-endian. */
struct control {
	uint32_t number;
	uint8_t kind, channel, path, count;
	uint16_t generation, flags;
	uint32_t message; /* GROW: the one that waits */
	union {
		struct {
			uint64_t at;
			uint32_t bytes, stride;
			uint32_t keys[HK_VERBS_PATHS];
		} ring;
		struct place places[PLACES_MOST];
		struct arrived arrived[ARRIVED_MOST];
		struct hk_verbs_address join;
		uint32_t grow; /* bytes of the message */
	};
};
_Static_assert(sizeof(struct control) <= HK_VERBS_CONTROL, "a control message has its room");

#define HEAD offsetof(struct control, ring)

/* Messages that overtook others on their way, by number. */
struct hk_verbs_early {
	uint32_t lengths[HK_VERBS_KEPT]; /* 0: none */
	uint8_t bytes[HK_VERBS_KEPT][HK_VERBS_CONTROL];
};

/* --- sending --- */

static bool has_room(const struct hk_verbs_link *l)
{
	return l->control_next - l->control_done < HK_VERBS_KEPT;
}

/* Room for the next message, cleared; there must be some. */
static struct control *begin(struct hk_verbs_link *l, enum kind kind)
{
	struct control *c = (struct control *)(void *)(l->control.base +
						       (size_t)(l->control_next % HK_VERBS_KEPT) *
							       HK_VERBS_CONTROL);

	memset(c, 0, sizeof(*c));
	c->number = htole32(l->control_next);
	c->kind = (uint8_t)kind;
	return c;
}

static void end(struct hk_verbs_link *l, size_t body)
{
	l->kept[l->control_next % HK_VERBS_KEPT] =
		(struct hk_verbs_kept){.bytes = (uint32_t)(HEAD + body)};
	l->control_next++;
}

/* The path for control messages: the last one as long as it works, so that they stay in order. */
static struct hk_verbs_path *choose(struct hk_verbs_link *l)
{
	struct hk_verbs_path *p = l->paths[l->control_path];

	if (p && p->state == HK_PATH_UP)
		return p;
	for (unsigned i = 0; i < l->npaths; i++)
		if (l->paths[i]->state == HK_PATH_UP) {
			l->control_path = i;
			return l->paths[i];
		}
	return NULL;
}

static int post(struct hk_verbs_path *p, const void *bytes, uint32_t length, bool probe)
{
	const struct hk_verbs_link *l = p->link;
	struct ibv_sge sge = {(uintptr_t)bytes, length, l->control.mr[p->rail]->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND};

	if (length <= l->ep->rails[p->rail].inline_bytes)
		wr.send_flags = IBV_SEND_INLINE;
	return hk_verbs_path_post(p, &wr, true, probe, length);
}

static void send_kept(struct hk_verbs_link *l)
{
	struct hk_verbs_path *p = l->control_posted == l->control_next ? NULL : choose(l);

	while (p && l->control_posted != l->control_next && hk_verbs_path_has_room(p)) {
		uint32_t i = l->control_posted % HK_VERBS_KEPT;
		struct hk_verbs_kept *k = &l->kept[i];
		uint32_t wr = p->posted;
		int err = post(p, l->control.base + (size_t)i * HK_VERBS_CONTROL, k->bytes, false);

		if (err) {
			hk_verbs_path_lost(p, strerror(-err));
			return;
		}
		*k = (struct hk_verbs_kept){k->bytes, p->index, wr, p->generation};
		l->control_posted++;
	}
}

static void settle(struct hk_verbs_link *l)
{
	while (l->control_done != l->control_posted) {
		const struct hk_verbs_kept *k = &l->kept[l->control_done % HK_VERBS_KEPT];

		if (!hk_verbs_path_did(l->paths[k->path], k->generation, k->wr))
			return;
		l->control_done++;
	}
}

bool hk_verbs_control_idle(struct hk_verbs_link *l)
{
	settle(l);
	return l->control_done == l->control_next;
}

void hk_verbs_control_retake(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;

	settle(l);
	for (uint32_t n = l->control_done; n != l->control_posted; n++) {
		const struct hk_verbs_kept *k = &l->kept[n % HK_VERBS_KEPT];

		if (k->path == p->index && !hk_verbs_path_did(p, k->generation, k->wr)) {
			l->control_posted = n;
			return;
		}
	}
}

int hk_verbs_probe(struct hk_verbs_path *p)
{
	/* In a place of its own behind the kept ones: it is the same each time. */
	struct control *c = (struct control *)(void *)(p->link->control.base +
						       (size_t)HK_VERBS_KEPT * HK_VERBS_CONTROL);

	memset(c, 0, sizeof(*c));
	c->number = htole32(UNNUMBERED);
	c->kind = PROBE;
	/* A whole packet, so that no switch on the way that has a smaller MTU goes unnoticed. */
	return post(p, c, p->packet, true);
}

/* --- what is to be told --- */

static void tell_ring(struct hk_verbs_recv *r)
{
	struct hk_verbs_link *l = r->link;
	struct control *c = begin(l, RING);

	c->channel = (uint8_t)r->base.channel;
	c->ring.at = htole64((uintptr_t)r->ring.base);
	c->ring.bytes = htole32(r->ring_bytes);
	c->ring.stride = htole32(r->stride);
	for (unsigned i = 0; i < l->npaths; i++)
		c->ring.keys[i] = htole32(r->ring.mr[l->paths[i]->rail]->rkey);
	end(l, sizeof(c->ring));
	r->announced = true;
}

static void tell_grow(struct hk_verbs_send *s)
{
	struct control *c = begin(s->link, GROW);

	c->channel = (uint8_t)s->base.channel;
	c->message = htole32(s->first);
	c->flags = htole16(s->grow_unfit ? UNFIT : 0);
	c->grow = htole32(s->out[s->first % HK_VERBS_SLOTS].bytes);
	end(s->link, sizeof(c->grow));
	s->grow_told = true;
}

void hk_verbs_tell_places(struct hk_verbs_recv *r)
{
	struct hk_verbs_link *l = r->link;
	struct control *c;
	unsigned n = 0;

	if (!has_room(l))
		return; /* it is only a hint */
	c = begin(l, PLACES);
	for (uint32_t k = 0; k < r->base.slots && n < PLACES_MOST; k++) {
		struct hk_verbs_offered *o = &r->offered[(r->number + k) % HK_VERBS_SLOTS];
		struct place *q = &c->places[n];

		if (!o->at || o->told)
			continue;
		q->at = htole64((uintptr_t)o->at);
		q->number = htole32(o->number);
		q->bytes = htole32(o->bytes);
		q->mark = htole32(o->mark);
		for (unsigned i = 0; i < l->npaths; i++)
			q->keys[i] = htole32(o->reg->mr[l->paths[i]->rail]->rkey);
		o->told = true;
		r->untold--;
		n++;
	}
	if (!n)
		return;
	c->channel = (uint8_t)r->base.channel;
	c->count = (uint8_t)n;
	end(l, n * sizeof(struct place));
	send_kept(l);
}

/* What has come on a channel, for good as far as the path's messages go. */
static struct arrived arrived_of(const struct hk_verbs_recv *r)
{
	struct arrived a = {.number = htole32(r->number), .channel = (uint8_t)r->base.channel};
	uint32_t mask = 0;

	for (uint32_t k = 0; k < r->base.slots; k++)
		if (r->in[(r->number + k) % r->base.slots].here)
			mask |= 1u << k;
	a.mask = htole32(mask);
	return a;
}

static void tell_fenced(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;
	unsigned channel = 0, more = 1;

	/* All of it or nothing, so that the last one is true for all. */
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++)
		more += l->recvs[i] != NULL;
	if (l->control_next - l->control_done + (more / ARRIVED_MOST) + 1 > HK_VERBS_KEPT)
		return;
	do {
		struct control *c = begin(l, ARRIVED);
		unsigned n = 0;

		for (; channel < HK_VERBS_CHANNELS && n < ARRIVED_MOST; channel++)
			if (l->recvs[channel])
				c->arrived[n++] = arrived_of(l->recvs[channel]);
		c->count = (uint8_t)n;
		c->path = (uint8_t)p->index;
		c->generation = htole16((uint16_t)(p->generation - 1));
		c->flags = htole16(channel == HK_VERBS_CHANNELS ? LAST : 0);
		end(l, n * sizeof(struct arrived));
	} while (channel < HK_VERBS_CHANNELS);
	p->tell_fenced = false;
}

static void tell_join(struct hk_verbs_path *p)
{
	struct hk_verbs_link *l = p->link;
	struct control *c = begin(l, JOIN);

	c->path = (uint8_t)p->index;
	c->generation = htole16(p->generation);
	c->flags = htole16(p->tell_answer ? ANSWER : 0);
	hk_verbs_path_address(p, &c->join);
	end(l, sizeof(c->join));
	p->tell_join = false;
}

void hk_verbs_tell_bye(struct hk_verbs_link *l)
{
	if (!has_room(l))
		return;
	begin(l, BYE);
	end(l, 0);
	send_kept(l);
}

void hk_verbs_control_push(struct hk_verbs_link *l)
{
	settle(l);
	for (unsigned i = 0; i < l->npaths; i++) {
		struct hk_verbs_path *p = l->paths[i];

		if (p->tell_fenced)
			tell_fenced(p);
		if (p->tell_join && has_room(l))
			tell_join(p);
	}
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++) {
		struct hk_verbs_recv *r = l->recvs[i];
		struct hk_verbs_send *s = l->sends[i];

		if (r && !r->announced && has_room(l))
			tell_ring(r);
		if (s && s->grow && !s->grow_told && has_room(l))
			tell_grow(s);
	}
	send_kept(l);
}

/* --- receiving --- */

static void nonsense(struct hk_verbs_link *l, const char *what)
{
	hk_verbs_link_fail(l, hk_fail(HK_EWIRE,
				      "rank %d on host %s told of %s, which makes no sense; do all "
				      "ranks run the same version?",
				      l->peer, l->host, what));
}

static void take_ring(struct hk_verbs_link *l, const struct control *c)
{
	struct hk_verbs_send *s = l->sends[c->channel];
	struct hk_verbs_ring *ring = &l->rings[c->channel];
	uint32_t bytes = le32toh(c->ring.bytes), stride = le32toh(c->ring.stride);

	if (bytes > l->ep->slot_bytes || stride < bytes + HK_VERBS_LEAD || !c->ring.at) {
		nonsense(l, "a ring of messages");
		return;
	}
	*ring = (struct hk_verbs_ring){le64toh(c->ring.at), bytes, stride, {0}};
	for (unsigned i = 0; i < HK_VERBS_PATHS; i++)
		ring->keys[i] = le32toh(c->ring.keys[i]);
	if (!s)
		return; /* it takes it when it is made */
	s->ring = *ring;
	hk_verbs_send_push(s);
}

static void take_places(struct hk_verbs_link *l, const struct control *c)
{
	struct hk_verbs_send *s = l->sends[c->channel];
	struct hk_verbs_place *places = s ? s->places : l->places[c->channel];

	/* They are told once: a half that is made later takes them then. */
	if (!places)
		places = l->places[c->channel] = calloc(HK_VERBS_SLOTS, sizeof(*places));
	if (!places) {
		hk_verbs_link_fail(l, hk_fail(ENOMEM, "no memory for offers of rank %d", l->peer));
		return;
	}
	for (unsigned k = 0; k < c->count; k++) {
		const struct place *q = &c->places[k];
		uint32_t number = le32toh(q->number);
		struct hk_verbs_place *to = &places[number % HK_VERBS_SLOTS];

		if (s && (int32_t)(number - s->released) < 0)
			continue; /* that message has been sent already */
		*to = (struct hk_verbs_place){
			le64toh(q->at), number, le32toh(q->bytes), le32toh(q->mark), {0}};
		for (unsigned i = 0; i < HK_VERBS_PATHS; i++)
			to->keys[i] = le32toh(q->keys[i]);
	}
	if (s)
		hk_verbs_send_push(s);
}

static void take_arrived(struct hk_verbs_link *l, const struct control *c)
{
	for (unsigned k = 0; k < c->count; k++) {
		const struct arrived *a = &c->arrived[k];

		if (a->channel >= HK_VERBS_CHANNELS) {
			nonsense(l, "a channel");
			return;
		}
		l->arrived[a->channel] =
			(struct hk_verbs_arrived){le32toh(a->number), le32toh(a->mask)};
	}
	if (le16toh(c->flags) & LAST)
		hk_verbs_path_fenced(l->paths[c->path], le16toh(c->generation));
}

static void take(struct hk_verbs_link *l, const struct control *c, uint32_t length)
{
	if (c->channel >= HK_VERBS_CHANNELS || c->path >= (l->npaths ? l->npaths : 1)) {
		nonsense(l, "a channel or a path");
		return;
	}
	if (c->kind == RING && length >= HEAD + sizeof(c->ring))
		take_ring(l, c);
	else if (c->kind == PLACES && c->count <= PLACES_MOST &&
		 length >= HEAD + c->count * sizeof(struct place))
		take_places(l, c);
	else if (c->kind == GROW && length >= HEAD + sizeof(c->grow) && l->recvs[c->channel] &&
		 le32toh(c->grow) <= l->ep->slot_bytes)
		hk_verbs_recv_grow(l->recvs[c->channel], le32toh(c->message), le32toh(c->grow),
				   le16toh(c->flags) & UNFIT);
	else if (c->kind == ARRIVED && c->count <= ARRIVED_MOST &&
		 length >= HEAD + c->count * sizeof(struct arrived))
		take_arrived(l, c);
	else if (c->kind == JOIN && length >= HEAD + sizeof(c->join))
		hk_verbs_path_join(l->paths[c->path], le16toh(c->generation), &c->join,
				   le16toh(c->flags) & ANSWER);
	else if (c->kind == BYE)
		hk_verbs_link_gone(l);
	else
		nonsense(l, "something unknown");
}

/* Keeps a message whose predecessors have not come. */
static void hold(struct hk_verbs_link *l, uint32_t number, const void *bytes, uint32_t length)
{
	uint32_t i = number % HK_VERBS_KEPT;

	if (number - l->control_seen >= HK_VERBS_KEPT) {
		nonsense(l, "something far ahead");
		return;
	}
	if (!l->early)
		l->early = calloc(1, sizeof(*l->early));
	if (!l->early) {
		hk_verbs_link_fail(l,
				   hk_fail(ENOMEM, "no memory for messages of rank %d", l->peer));
		return;
	}
	memcpy(l->early->bytes[i], bytes, length);
	l->early->lengths[i] = length;
}

void hk_verbs_control_take(struct hk_verbs_path *p, const void *bytes, uint32_t length)
{
	struct hk_verbs_link *l = p->link;
	struct control c = {0};
	uint32_t number;

	if (length >= HEAD)
		memcpy(&c, bytes, length < sizeof(c) ? length : sizeof(c));
	number = le32toh(c.number);
	if (length >= HEAD && number == UNNUMBERED) {
		hk_verbs_path_up(p);
		return;
	}
	if (length < HEAD || length > HK_VERBS_CONTROL) {
		nonsense(l, "too little or too much");
		return;
	}
	if ((int32_t)(number - l->control_seen) < 0)
		return; /* it came over a path before that was then given up */
	if (number != l->control_seen) {
		hold(l, number, bytes, length);
		return;
	}
	for (;;) {
		uint32_t i;

		l->control_seen++;
		take(l, &c, length);
		i = l->control_seen % HK_VERBS_KEPT;
		if (l->error || !l->early || !l->early->lengths[i])
			return;
		length = l->early->lengths[i];
		l->early->lengths[i] = 0;
		memset(&c, 0, sizeof(c));
		memcpy(&c, l->early->bytes[i], length < sizeof(c) ? length : sizeof(c));
	}
}
