/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiving half: a ring of slots that the sender writes to, and places in the user's memory
 * that it was offered instead. Messages may come in any order over several paths, and are shown in
 * theirs. Released slots are told with whatever this rank sends on the same channel, or by
 * themselves when half of the slots have been released and nothing was sent.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "verbs.h"

#define OFFER_BYTES 4096u /* less is cheaper copied */
#define GROW_LOOKS  8u	  /* at a message without an offer before a ring of long slots is made */

static uint8_t *slot_of(const struct hk_verbs_recv *r, uint32_t number)
{
	return r->ring.base + (size_t)(number % r->base.slots) * r->stride + HK_VERBS_LEAD;
}

static struct hk_verbs_incoming *in_of(struct hk_verbs_recv *r, uint32_t number)
{
	return &r->in[number % r->base.slots];
}

static struct hk_verbs_offered *offered_of(struct hk_verbs_recv *r, uint32_t number)
{
	struct hk_verbs_offered *o = &r->offered[number % HK_VERBS_SLOTS];

	return o->at && o->number == number ? o : NULL;
}

static void forget_offer(struct hk_verbs_recv *r, struct hk_verbs_offered *o)
{
	if (!o->at)
		return;
	hk_regcache_put(r->link->ep->cache, &o->reg->reg);
	r->untold -= !o->told;
	*o = (struct hk_verbs_offered){0};
}

int __attribute__((cold, noinline)) hk_verbs_peer_gone(const struct hk_verbs_link *l, int *error)
{
	if (!*error)
		*error = hk_fail(
			HK_EPEER,
			"rank %d on host %s has destroyed its communicator, or aborted it, and "
			"takes no part in this call; do all ranks make the same calls?",
			l->peer, l->host);
	return *error;
}

/* --- what comes --- */

static void __attribute__((cold, noinline)) nonsense(struct hk_verbs_link *l, uint32_t imm)
{
	hk_verbs_link_fail(l, hk_fail(HK_EWIRE,
				      "rank %d on host %s announced a message that makes no sense "
				      "(%08x); do all ranks run the same version?",
				      l->peer, l->host, imm));
}

static void take_message(struct hk_verbs_link *l, struct hk_verbs_recv *r, uint32_t imm)
{
	uint8_t ahead = (uint8_t)((uint8_t)(imm >> 16) - (uint8_t)r->number);
	struct hk_verbs_incoming *in;

	if (ahead >= r->base.slots) {
		/* Sent again, because a path was lost before it could say that it had come. */
		if (ahead < 256 - HK_VERBS_SLOTS)
			nonsense(l, imm);
		return;
	}
	in = in_of(r, r->number + ahead);
	in->direct = imm & HK_IMM_DIRECT;
	if (in->direct && !offered_of(r, r->number + ahead)) {
		nonsense(l, imm);
		return;
	}
	in->here = true;
}

void hk_verbs_arrive(struct hk_verbs_path *p, uint32_t imm)
{
	struct hk_verbs_link *l = p->link;
	uint32_t channel = imm >> 24 & (HK_VERBS_CHANNELS - 1);
	struct hk_verbs_send *back = l->sends[channel];
	struct hk_verbs_recv *r = l->recvs[channel];
	unsigned kind = imm >> 30;

	if (kind > HK_IMM_RELEASED || (kind == HK_IMM_MESSAGE && !r)) {
		nonsense(l, imm);
		return;
	}
	if (kind == HK_IMM_MESSAGE)
		take_message(l, r, imm);
	if (back && (imm & HK_IMM_CREDIT))
		hk_verbs_credit(back, (uint8_t)(imm >> 8));
}

/* --- what goes back --- */

static void tell_released(struct hk_verbs_recv *r)
{
	struct hk_verbs_link *l = r->link;
	struct ibv_send_wr wr = {.send_flags = IBV_SEND_INLINE};
	uint32_t imm = hk_verbs_imm(HK_IMM_RELEASED, r->base.channel, 0, r->number, HK_IMM_CREDIT);

	for (unsigned i = 0; i < l->npaths; i++) {
		struct hk_verbs_path *p = l->paths[i];

		if (p->state != HK_PATH_UP || !hk_verbs_path_has_room(p))
			continue;
		if (hk_verbs_path_announce(p, &wr, imm, false, 0))
			hk_verbs_path_lost(p, "it takes no more work requests");
		else
			r->told = r->number;
		return;
	}
}

/* Makes a ring of long slots; nothing is under way to the short one, as the sender waits. */
static void grow(struct hk_verbs_recv *r)
{
	struct hk_verbs_memory ring;
	uint32_t bytes = hk_verbs_ring_bytes(r->link->ep, r->grow_bytes);
	uint32_t stride = bytes + HK_VERBS_LEAD;
	int err = hk_verbs_memory_get(r->link->ep, (size_t)r->base.slots * stride, &ring);

	r->grow = false;
	if (err) {
		hk_verbs_link_fail(r->link, err);
		return;
	}
	hk_verbs_memory_put(r->link->ep, &r->ring);
	r->ring = ring;
	r->ring_bytes = bytes;
	r->stride = stride;
	r->announced = false;
	hk_verbs_control_push(r->link);
}

void hk_verbs_recv_grow(struct hk_verbs_recv *r, uint32_t number, uint32_t bytes, bool unfit)
{
	/* Told again, over another path: the sender knows of the ring by now, or soon will. */
	if (bytes <= r->ring_bytes)
		return;
	r->grow = true;
	r->grow_number = number;
	r->grow_bytes = bytes;
	r->grow_looks = 0;
	r->grow_unfit = unfit;
}

void hk_verbs_recv_push(struct hk_verbs_recv *r)
{
	if (r->number - r->told >= (r->base.slots + 1) / 2)
		tell_released(r);
	if (r->untold)
		hk_verbs_tell_places(r);
}

/* --- the operations --- */

static int __attribute__((noinline)) not_here(struct hk_verbs_recv *r)
{
	struct hk_verbs_link *l = r->link;

	if (l->error)
		return r->error = l->error;
	hk_verbs_recv_push(r);
	if (r->grow && r->grow_number == r->number &&
	    (r->grow_unfit || !offered_of(r, r->number)) && ++r->grow_looks >= GROW_LOOKS)
		grow(r);
	if (!l->gone)
		return 0;
	/* It left when its last message had been delivered: that may still be queued here. */
	for (unsigned i = 0; i < l->ep->nrails; i++)
		hk_verbs_take_all(l->ep, i);
	return in_of(r, r->number)->here ? 0 : hk_verbs_peer_gone(l, &r->error);
}

static int __attribute__((cold, noinline))
bad_header(struct hk_verbs_recv *r, const struct hk_verbs_header *h)
{
	return r->error = hk_fail(
		       HK_EWIRE,
		       "rank %d sent a malformed message on channel %u: number %u (%u is next), %u "
		       "bytes (at most %u); do all ranks run the same version?",
		       r->base.peer, r->base.channel, le32toh(h->number), r->number,
		       le32toh(h->bytes), r->ring_bytes);
}

static int verbs_peek(struct hk_recv *base, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct hk_verbs_recv *r = (struct hk_verbs_recv *)base;
	struct hk_verbs_incoming *in = in_of(r, r->number);
	const struct hk_verbs_header *h;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (!in->here) {
		hk_verbs_progress(r->link->ep);
		if (!in->here)
			return not_here(r);
	}
	r->held = true;
	if (in->direct) {
		const struct hk_verbs_offered *o = offered_of(r, r->number);

		*data = o->at;
		*bytes = o->bytes;
		*mark = o->mark;
		return 1;
	}
	h = (const struct hk_verbs_header *)(const void *)slot_of(r, r->number) - 1;
	if (__builtin_expect(le32toh(h->number) != r->number || le32toh(h->bytes) > r->ring_bytes,
			     0))
		return bad_header(r, h);
	*data = h + 1;
	*bytes = le32toh(h->bytes);
	*mark = le32toh(h->mark);
	return 1;
}

static int verbs_release(struct hk_recv *base)
{
	struct hk_verbs_recv *r = (struct hk_verbs_recv *)base;
	struct hk_verbs_offered *o;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (!r->held)
		return r->error = hk_fail(EINVAL,
					  "release of a message from rank %d that was not peeked",
					  base->peer);
	r->held = false;
	in_of(r, r->number)->here = false;
	o = offered_of(r, r->number);
	if (__builtin_expect(o != NULL, 0))
		forget_offer(r, o);
	r->number++;
	r->grow_looks = 0;
	if (r->number - r->told >= (base->slots + 1) / 2)
		tell_released(r);
	return 0;
}

static void verbs_offer(struct hk_recv *base, uint32_t ahead, void *dst, uint32_t bytes,
			uint32_t mark)
{
	struct hk_verbs_recv *r = (struct hk_verbs_recv *)base;
	uint32_t number = r->number + ahead;
	struct hk_verbs_offered *o = &r->offered[number % HK_VERBS_SLOTS];
	struct hk_verbs_reg *reg;

	if (bytes < OFFER_BYTES || ahead >= base->slots || !r->link->up || r->link->error ||
	    in_of(r, number)->here || o->at)
		return;
	reg = (struct hk_verbs_reg *)hk_regcache_get(r->link->ep->cache, dst, bytes);
	if (!reg)
		return;
	*o = (struct hk_verbs_offered){dst, number, bytes, mark, false, reg};
	if (++r->untold >= (base->slots + 1) / 2)
		hk_verbs_tell_places(r);
}

const struct hk_recv_ops hk_verbs_recv_ops = {
	.peek = verbs_peek,
	.pull = hk_pull_none,
	.release = verbs_release,
	.offer = verbs_offer,
};

/* --- from elsewhere --- */

void hk_verbs_recv_retake(struct hk_verbs_recv *r)
{
	/* What was told over the lost path may not have come. */
	r->told = r->number - r->base.slots;
	hk_verbs_recv_push(r);
}

int hk_verbs_recv_new(struct hk_verbs_link *l, uint32_t channel, struct hk_verbs_recv **recv)
{
	struct hk_verbs_endpoint *ep = l->ep;
	struct hk_verbs_recv *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection from rank %d", l->peer);
	r->base = (struct hk_recv){&hk_verbs_recv_ops, &ep->base,     l->peer, channel,
				   ep->slots,	       ep->slot_bytes};
	r->link = l;
	r->ring_bytes = hk_verbs_ring_bytes(ep, 0);
	r->stride = r->ring_bytes + HK_VERBS_LEAD;
	err = hk_verbs_memory_get(ep, (size_t)ep->slots * r->stride, &r->ring);
	if (err) {
		free(r);
		return err;
	}
	ep->memory += sizeof(*r);
	l->recvs[channel] = r;
	if (l->npaths)
		hk_verbs_control_push(l);
	*recv = r;
	return 0;
}

void hk_verbs_recv_sever(struct hk_verbs_recv *r)
{
	for (unsigned i = 0; i < HK_VERBS_SLOTS; i++)
		forget_offer(r, &r->offered[i]);
}

void hk_verbs_recv_free(struct hk_verbs_recv *r)
{
	if (!r)
		return;
	hk_verbs_recv_sever(r);
	hk_verbs_memory_put(r->link->ep, &r->ring);
	r->link->ep->memory -= sizeof(*r);
	free(r);
}
