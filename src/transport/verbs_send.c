/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sending half. A message is put together in staging memory of our own, or lent from the
 * user's, and written with an immediate into the receiver's ring of slots, or straight to the place
 * that the receiver offered for it. It may take any path of the link, the one with the least under
 * way; the receiver puts messages in order by their numbers. All is kept until it has been
 * delivered, so that it can take another path.
 *
 * Rings, the receiver's and the staging ring here, are made for short messages (HK_VERBS_SHORT),
 * because registered memory is memory in use; longer ones are lent, and go to offered places. Where
 * one is not lent, or has no place, the ring in question is replaced by one of long slots, once.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "verbs.h"

#define QUIET_BYTES  2048u  /* from here on completions are asked for */
#define HELD_NS	     100000 /* until a message that could not be posted is tried again */
#define HEADER_BYTES ((uint32_t)sizeof(struct hk_verbs_header))

/* Of the staging ring; of a message that is lent only the header lies there. */
static uint8_t *slot_of(const struct hk_verbs_send *s, uint32_t number)
{
	return s->staging.base +
	       (size_t)(number % s->base.slots) * (s->staging_bytes + HK_VERBS_LEAD) +
	       HK_VERBS_LEAD;
}

static struct hk_verbs_outgoing *out_of(struct hk_verbs_send *s, uint32_t number)
{
	return &s->out[number % HK_VERBS_SLOTS];
}

static void forget_reg(struct hk_verbs_send *s, struct hk_verbs_reg **reg)
{
	if (*reg)
		hk_regcache_put(s->link->ep->cache, &(*reg)->reg);
	*reg = NULL;
}

static bool delivered(const struct hk_verbs_send *s, const struct hk_verbs_outgoing *o)
{
	return o->stage == HK_STAGE_DELIVERED ||
	       (o->stage == HK_STAGE_POSTED &&
		hk_verbs_path_did(s->link->paths[o->path], o->generation, o->wr));
}

/* Lets go of what has been delivered. */
static void settle(struct hk_verbs_send *s)
{
	while (s->settled != s->first) {
		struct hk_verbs_outgoing *o = out_of(s, s->settled);

		/* What the receiver has released has come, though a device may still hold memory.
		 */
		if (!delivered(s, o) && (o->reg || (int32_t)(s->settled - s->released) >= 0))
			return;
		o->stage = HK_STAGE_DELIVERED;
		forget_reg(s, &o->reg);
		s->settled++;
	}
}

/* --- posting --- */

/* Whether p is to be preferred to q. */
static bool better(const struct hk_verbs_path *p, const struct hk_verbs_path *q)
{
	if (!q || p->spare != q->spare)
		return !q || q->spare;
	return p->posted_bytes - p->completed_bytes < q->posted_bytes - q->completed_bytes;
}

static struct hk_verbs_path *pick(const struct hk_verbs_link *l)
{
	struct hk_verbs_path *best = NULL;

	for (unsigned i = 0; i < l->npaths; i++) {
		struct hk_verbs_path *p = l->paths[i];

		if (p->state == HK_PATH_UP && hk_verbs_path_has_room(p) && better(p, best))
			best = p;
	}
	return best;
}

/* What is to be written where: to the offered place. */
static uint32_t aim_direct(const struct hk_verbs_send *s, const struct hk_verbs_place *to,
			   const struct hk_verbs_path *p, struct ibv_send_wr *wr)
{
	const struct hk_verbs_outgoing *o = &s->out[to->number % HK_VERBS_SLOTS];

	wr->sg_list[0] = (struct ibv_sge){
		(uintptr_t)(o->lent ? (const uint8_t *)o->lent : slot_of(s, to->number)), o->bytes,
		o->lent ? o->reg->mr[p->rail]->lkey : s->staging.mr[p->rail]->lkey};
	wr->num_sge = 1;
	wr->wr.rdma.remote_addr = to->at;
	wr->wr.rdma.rkey = to->keys[p->index];
	return o->bytes;
}

/* To its slot, with its header. */
static uint32_t aim_slot(const struct hk_verbs_send *s, uint32_t number,
			 const struct hk_verbs_path *p, struct ibv_send_wr *wr)
{
	const struct hk_verbs_outgoing *o = &s->out[number % HK_VERBS_SLOTS];
	uint8_t *payload = slot_of(s, number);

	wr->sg_list[0] = (struct ibv_sge){(uintptr_t)payload - HEADER_BYTES,
					  HEADER_BYTES + (o->lent ? 0 : o->bytes),
					  s->staging.mr[p->rail]->lkey};
	wr->num_sge = 1;
	if (o->lent) {
		wr->sg_list[1] =
			(struct ibv_sge){(uintptr_t)o->lent, o->bytes, o->reg->mr[p->rail]->lkey};
		wr->num_sge = 2;
	}
	wr->wr.rdma.remote_addr = s->ring.at + (uint64_t)(number % s->base.slots) * s->ring.stride +
				  HK_VERBS_LEAD - HEADER_BYTES;
	wr->wr.rdma.rkey = s->ring.keys[p->index];
	return HEADER_BYTES + o->bytes;
}

/* 1: posted; 0: not now. */
static int post(struct hk_verbs_send *s, uint32_t number)
{
	struct hk_verbs_link *l = s->link;
	struct hk_verbs_outgoing *o = out_of(s, number);
	const struct hk_verbs_place *to = &s->places[number % HK_VERBS_SLOTS];
	bool offered = to->at && to->number == number;
	bool direct = offered && to->bytes == o->bytes && to->mark == o->mark;
	struct hk_verbs_recv *back = l->recvs[s->base.channel];
	struct ibv_sge sge[2];
	struct ibv_send_wr wr = {.sg_list = sge};
	struct hk_verbs_path *p = pick(l);
	uint32_t bytes;

	if (!p || (!direct && !s->ring.at))
		return 0;
	if (!direct && o->bytes > s->ring.bytes) {
		/* The receiver makes it when it has released all that comes before. It may have
		 * offered a place meanwhile, and counts on that until it learns that the place is
		 * for another message: one of a call that differs between the ranks. */
		s->grow = true;
		if (offered && !s->grow_unfit) {
			s->grow_unfit = true;
			s->grow_told = false;
		}
		return 0;
	}
	bytes = direct ? aim_direct(s, to, p, &wr) : aim_slot(s, number, p, &wr);
	wr.imm_data = htobe32(
		hk_verbs_imm(HK_IMM_MESSAGE, s->base.channel, number, back ? back->number : 0,
			     (direct ? HK_IMM_DIRECT : 0u) | (back ? HK_IMM_CREDIT : 0u)));
	if (bytes <= l->ep->rails[p->rail].inline_bytes)
		wr.send_flags = IBV_SEND_INLINE;
	if (hk_verbs_path_announce(
		    p, &wr,
		    hk_verbs_imm(HK_IMM_MESSAGE, s->base.channel, number, back ? back->number : 0,
				 (direct ? HK_IMM_DIRECT : 0u) | (back ? HK_IMM_CREDIT : 0u)),
		    l->nstriped > 1 || o->lent || bytes >= QUIET_BYTES, bytes)) {
		hk_verbs_path_lost(p, "it takes no more work requests");
		return 0;
	}
	o->path = (uint8_t)p->index;
	o->generation = p->generation;
	o->wr = p->posted - 1;
	s->last[p->index] = (struct hk_verbs_last){o->wr, o->generation, true};
	o->stage = HK_STAGE_POSTED;
	s->grow = s->grow_told = s->grow_unfit = false;
	if (back)
		back->told = back->number;
	return 1;
}

void hk_verbs_send_push(struct hk_verbs_send *s)
{
	while (s->first != s->number) {
		if (out_of(s, s->first)->stage == HK_STAGE_HELD && !post(s, s->first)) {
			hk_verbs_tend_by(s->link->ep, hk_now_ns() + HELD_NS);
			return;
		}
		s->first++;
	}
}

/* --- the operations --- */

static int __attribute__((cold, noinline)) refuse_length(struct hk_verbs_send *s, uint32_t bytes)
{
	return s->error = hk_fail(EINVAL,
				  "a message of %u bytes to rank %d is longer than a slot (%u), or "
				  "has none reserved",
				  bytes, s->base.peer, s->base.slot_bytes);
}

/* A staging ring of slots for messages of so many bytes. */
static int get_staging(struct hk_verbs_send *s, uint32_t bytes, struct hk_verbs_memory *m)
{
	return hk_verbs_memory_get(s->link->ep, (size_t)s->base.slots * (bytes + HK_VERBS_LEAD), m);
}

/* Whether a device may still read the staging ring: to send a packet again that has come, too. */
static bool reads_staging(const struct hk_verbs_send *s)
{
	for (unsigned i = 0; i < s->link->npaths; i++) {
		const struct hk_verbs_last *last = &s->last[i];
		const struct hk_verbs_path *p = s->link->paths[i];

		if (last->used && p->generation == last->generation &&
		    !hk_verbs_path_did(p, last->generation, last->wr))
			return true;
	}
	return false;
}

/* Makes slots for a message of so many bytes, when no device reads the present ones any more.
 * Messages that have not been posted move over. 1: done; 0: not yet. It will be: that devices have
 * sent what they were given takes nothing of the peer's program. */
static int __attribute__((cold, noinline)) lengthen(struct hk_verbs_send *s, uint32_t bytes)
{
	uint32_t longer = hk_verbs_ring_bytes(s->link->ep, bytes), was = s->staging_bytes;
	struct hk_verbs_memory old = s->staging;
	int err;

	hk_verbs_progress(s->link->ep);
	hk_verbs_send_push(s);
	settle(s);
	if (s->link->error)
		return s->link->error;
	if (reads_staging(s)) {
		for (unsigned i = 0; i < s->link->npaths; i++)
			hk_verbs_path_ask(s->link->paths[i]);
		return s->link->gone ? hk_verbs_peer_gone(s->link, &s->error) : 0;
	}
	err = get_staging(s, longer, &s->staging);
	if (err)
		return s->error = err;
	s->staging_bytes = longer;
	for (uint32_t n = s->settled; n != s->number; n++) {
		const struct hk_verbs_outgoing *o = out_of(s, n);
		size_t at = (size_t)(n % s->base.slots) * (was + HK_VERBS_LEAD) + HK_VERBS_LEAD -
			    HEADER_BYTES;

		if (o->stage == HK_STAGE_HELD)
			memcpy(slot_of(s, n) - HEADER_BYTES, old.base + at,
			       HEADER_BYTES + (o->lent ? 0 : o->bytes));
	}
	hk_verbs_memory_put(s->link->ep, &old);
	return 1;
}

static int verbs_reserve(struct hk_send *base, uint32_t bytes, void **slot)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	int err = s->error ? s->error : s->link->error;

	if (__builtin_expect(err, 0))
		return err;
	if (bytes > base->slot_bytes)
		return refuse_length(s, bytes);
	if (s->number - s->released >= base->slots || out_of(s, s->number)->reg) {
		hk_verbs_progress(s->link->ep);
		hk_verbs_send_push(s);
		settle(s);
		if (s->link->error)
			return s->link->error;
		if (s->number - s->released >= base->slots || out_of(s, s->number)->reg)
			return s->link->gone ? hk_verbs_peer_gone(s->link, &s->error) : 0;
	}
	if (bytes > s->staging_bytes) {
		err = lengthen(s, bytes);
		if (err <= 0)
			return err;
	}
	s->reserved = true;
	*slot = slot_of(s, s->number);
	return 1;
}

static int put_in(struct hk_verbs_send *s, uint32_t bytes, uint32_t mark, const void *lent)
{
	struct hk_verbs_header *h = (struct hk_verbs_header *)(void *)slot_of(s, s->number) - 1;

	*h = (struct hk_verbs_header){htole32(s->number), htole32(bytes), htole32(mark), 0};
	settle(s);
	*out_of(s, s->number) = (struct hk_verbs_outgoing){
		.bytes = bytes, .mark = mark, .lent = lent, .reg = lent ? s->reg : NULL};
	if (lent)
		s->reg = NULL;
	s->reserved = false;
	s->number++;
	hk_verbs_send_push(s);
	return s->link->error;
}

static int verbs_commit(struct hk_send *base, uint32_t bytes, uint32_t mark)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	int err = s->error ? s->error : s->link->error;

	if (__builtin_expect(err, 0))
		return err;
	if (!s->reserved || bytes > s->staging_bytes)
		return refuse_length(s, bytes);
	return put_in(s, bytes, mark, NULL);
}

static bool verbs_lends(struct hk_send *base, const void *data, uint32_t bytes)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;

	if (bytes < HK_VERBS_LEND)
		return false;
	forget_reg(s, &s->reg);
	s->reg = (struct hk_verbs_reg *)hk_regcache_get(s->link->ep->cache, data, bytes);
	return s->reg != NULL;
}

static int verbs_lend(struct hk_send *base, const void *data, uint32_t bytes, uint32_t mark)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	int err = s->error ? s->error : s->link->error;

	if (__builtin_expect(err, 0))
		return err;
	if (!s->reg || !s->reserved)
		return refuse_length(s, bytes);
	return put_in(s, bytes, mark, data);
}

/* The first message that is lent and that a device may still read; s->number: there is none. */
static uint32_t first_lent(struct hk_verbs_send *s)
{
	uint32_t n = s->settled;

	while (n != s->number && (!out_of(s, n)->lent || delivered(s, out_of(s, n))))
		n++;
	return n;
}

static bool lends_any(struct hk_verbs_send *s)
{
	return first_lent(s) != s->number;
}

static int verbs_flush(struct hk_send *base)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	struct hk_verbs_link *l = s->link;

	if (__builtin_expect(l->meeting != NULL, 0))
		hk_verbs_progress(l->ep);
	if (s->first != s->number)
		hk_verbs_send_push(s);
	settle(s);
	if (s->settled == s->number)
		return 1;
	hk_verbs_progress(l->ep);
	settle(s);
	if (s->settled == s->number)
		return 1;
	/* A peer that left in peace has had all that it needed. */
	if (l->gone && s->first == s->number && !lends_any(s))
		return 1;
	if (l->error)
		return l->error;
	if (s->first != s->number)
		return l->gone ? hk_verbs_peer_gone(l, &s->error) : 0;
	/* With other paths to go, what is under way may still need us. */
	return l->nstriped == 1 && !lends_any(s);
}

/* What comes over another path is read again, and is not delivered before. */
static int verbs_owes(struct hk_send *base)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	struct hk_verbs_link *l = s->link;

	if (!lends_any(s))
		return 0;
	hk_verbs_progress(l->ep);
	if (s->first != s->number)
		hk_verbs_send_push(s);
	settle(s);
	if (!lends_any(s))
		return 0;
	return l->error ? l->error : (int)(s->number - first_lent(s));
}

/* Nobody sends again what a device has not delivered when its queue pair is gone. Of short messages
 * no completion was asked for; now it is. */
static int verbs_settle(struct hk_send *base)
{
	struct hk_verbs_send *s = (struct hk_verbs_send *)base;
	int r = verbs_flush(base);

	if (r <= 0)
		return r;
	for (unsigned i = 0; i < s->link->npaths && s->settled != s->number; i++)
		hk_verbs_path_ask(s->link->paths[i]);
	return s->settled == s->number || s->link->gone;
}

const struct hk_send_ops hk_verbs_send_ops = {
	.reserve = verbs_reserve,
	.commit = verbs_commit,
	.lends = verbs_lends,
	.lend = verbs_lend,
	.flush = verbs_flush,
	.owes = verbs_owes,
	.settle = verbs_settle,
};

/* --- from elsewhere --- */

void hk_verbs_credit(struct hk_verbs_send *s, uint8_t released)
{
	uint8_t more = (uint8_t)(released - (uint8_t)s->released);

	/* An older word, or the same. */
	if (!more || more > s->base.slots)
		return;
	if (more > s->number - s->released) {
		hk_verbs_link_fail(
			s->link, hk_fail(HK_EWIRE,
					 "rank %d released messages on channel %u that were never "
					 "sent; do all ranks run the same version?",
					 s->base.peer, s->base.channel));
		return;
	}
	s->released += more;
}

static bool had_come(const struct hk_verbs_arrived *a, uint32_t number)
{
	int32_t ahead = (int32_t)(number - a->number);

	return ahead < 0 || (ahead < (int32_t)HK_VERBS_SLOTS && (a->mask >> ahead & 1));
}

void hk_verbs_send_retake(struct hk_verbs_send *s, const struct hk_verbs_path *p)
{
	const struct hk_verbs_arrived *a = &s->link->arrived[s->base.channel];
	uint32_t again = s->first;

	/* Behind the first that waits there may be some that another path had taken. */
	for (uint32_t n = s->settled; n != s->number; n++) {
		struct hk_verbs_outgoing *o = out_of(s, n);

		if (o->stage != HK_STAGE_POSTED || o->path != p->index ||
		    o->generation != (uint16_t)(p->generation - 1))
			continue;
		if (s->link->gone || had_come(a, n) || (int32_t)(n - s->released) < 0) {
			o->stage = HK_STAGE_DELIVERED;
		} else {
			o->stage = HK_STAGE_HELD;
			if ((int32_t)(n - again) < 0)
				again = n;
		}
	}
	s->first = again;
	settle(s);
	hk_verbs_send_push(s);
}

int hk_verbs_send_new(struct hk_verbs_link *l, uint32_t channel, struct hk_verbs_send **send)
{
	struct hk_verbs_endpoint *ep = l->ep;
	struct hk_verbs_send *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return hk_fail(ENOMEM, "no memory for a connection to rank %d", l->peer);
	s->base = (struct hk_send){.ops = &hk_verbs_send_ops,
				   .ep = &ep->base,
				   .peer = l->peer,
				   .channel = channel,
				   .slots = ep->slots,
				   .slot_bytes = ep->slot_bytes};
	s->link = l;
	s->staging_bytes = hk_verbs_ring_bytes(ep, 0);
	err = get_staging(s, s->staging_bytes, &s->staging);
	if (err) {
		free(s);
		return err;
	}
	ep->memory += sizeof(*s);
	s->ring = l->rings[channel];
	if (l->places[channel])
		memcpy(s->places, l->places[channel], sizeof(s->places));
	free(l->places[channel]);
	l->places[channel] = NULL;
	l->sends[channel] = s;
	*send = s;
	return 0;
}

void hk_verbs_send_sever(struct hk_verbs_send *s)
{
	for (unsigned i = 0; i < HK_VERBS_SLOTS; i++)
		forget_reg(s, &s->out[i].reg);
	forget_reg(s, &s->reg);
}

void hk_verbs_send_free(struct hk_verbs_send *s)
{
	if (!s)
		return;
	hk_verbs_send_sever(s);
	hk_verbs_memory_put(s->link->ep, &s->staging);
	s->link->ep->memory -= sizeof(*s);
	free(s);
}
