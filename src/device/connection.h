/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections as a block's first thread uses them: whether a message has come or can be sent, where
 * it lies or goes, and its announcement. records.h says what a ring is. While a lane is at a
 * connection its cursor has a copy of the record; what changes goes to both.
 */
#ifndef HKD_CONNECTION_H
#define HKD_CONNECTION_H

#include "place.h"

/* Where a message lies: 0 where it does not. Of a lent one that is sent, `at` is no target. */
struct hkd_message {
	uint64_t at, lines;
	uint32_t flag, kind;
};

HKD_FN uint64_t hkd_header_at(uint64_t ring, uint32_t slot)
{
	return ring + (uint64_t)slot * sizeof(struct hkd_header);
}

HKD_FN uint64_t hkd_lines_at(uint64_t ring, uint32_t slots, uint32_t line_bytes, uint32_t slot)
{
	return ring + hkd_ring_lines(slots) + (uint64_t)slot * line_bytes * 2;
}

HKD_FN uint64_t hkd_slot_apart(uint64_t apart, uint32_t apart_bytes, uint32_t slot)
{
	return apart + slot * hkd_slot_stride(apart_bytes);
}

HKD_FN uint64_t hkd_slot_at(uint64_t ring, uint32_t slots, uint32_t line_bytes, uint32_t slot_bytes,
			    uint32_t slot)
{
	return ring + hkd_ring_slots(slots, line_bytes) + slot * hkd_slot_stride(slot_bytes);
}

HKD_FN struct hkd_send *hkd_send_of(const struct hkd_run *run, int32_t number)
{
	return (struct hkd_send *)run->prog.sends + number;
}

HKD_FN struct hkd_recv *hkd_recv_of(const struct hkd_run *run, int32_t number)
{
	return (struct hkd_recv *)run->prog.recvs + number;
}

/* Puts the cursor at a connection. */
HKD_FN void hkd_take_send(const struct hkd_run *run, struct hkd_cursor *c, int32_t number)
{
	if (c->to != number)
		c->send = *hkd_send_of(run, number);
	c->to = number;
}

HKD_FN void hkd_take_recv(const struct hkd_run *run, struct hkd_cursor *c, int32_t number)
{
	if (c->from != number)
		c->recv = *hkd_recv_of(run, number);
	c->from = number;
}

/* --- receiving --- */

/* The message that the cursor's step will receive. */
HKD_FN void hkd_expect(struct hkd_cursor *c)
{
	c->flag = (uint32_t)(c->recv.got + 1);
	c->watch = hkd_header_at(c->recv.ring, c->recv.slot);
}

/* Says to a host that moves messages which one is wanted. */
HKD_COLD void hkd_want(struct hkd_recv *r)
{
	if (r->asked == r->got + 1)
		return;
	r->asked = r->got + 1;
	hkd_store_relaxed(r->wants, r->asked);
}

/* Looks at it; 1: m tells where it is, and *mark and *bytes what it is. */
HKD_FN int hkd_peek(struct hkd_cursor *c, struct hkd_message *m, uint32_t *mark, uint32_t *bytes)
{
	struct hkd_recv *r = &c->recv;
	uint32_t flag = c->flag;
	uint64_t x, y;

	hkd_load_line_acquire(c->watch, &x, &y);
	if (x >> 32 != flag || y >> 32 != flag) {
		if (r->wants)
			hkd_want(r);
		return 0;
	}
	*mark = (uint32_t)x;
	*bytes = hkd_header_bytes(y);
	m->flag = flag;
	m->kind = hkd_header_kind(y);
	m->at = m->lines = 0;
	if (m->kind == HKD_LINES)
		m->lines = hkd_lines_at(r->ring, r->slots, r->line_bytes, r->slot);
	else if (m->kind == HKD_LENT)
		m->at = ((const volatile struct hkd_header *)c->watch)->at;
	else
		m->at = hkd_slot_at(r->ring, r->slots, r->line_bytes, r->slot_bytes, r->slot) +
			hkd_header_place(y);
	return 1;
}

/* The message has been read, by all threads of the block. */
HKD_FN void hkd_release(const struct hkd_run *run, struct hkd_cursor *c)
{
	struct hkd_recv *r = &c->recv, *record = hkd_recv_of(run, c->from);

	r->got++;
	r->slot = r->slot + 1 == r->slots ? 0 : r->slot + 1;
	hkd_store_after_loads(r->released, r->got);
	record->got = r->got;
	record->slot = r->slot;
}

/* --- sending --- */

/* Whether a message can be sent. */
HKD_FN int hkd_reserve(const struct hkd_run *run, struct hkd_cursor *c)
{
	struct hkd_send *s = &c->send, *record;

	if (!s->ring) {
		uint64_t at = hkd_load_acquire(s->door);

		if (!at)
			return 0;
		s->ring = s->base + at / HKD_DOOR_SLOTS * HKD_DOOR_SLOTS;
		s->slots = (uint32_t)(at % HKD_DOOR_SLOTS);
		record = hkd_send_of(run, c->to);
		record->ring = s->ring;
		record->slots = s->slots;
	}
	if (s->sent - s->seen < s->slots)
		return 1;
	s->seen = hkd_load_acquire(s->released);
	return s->sent - s->seen < s->slots;
}

/* Where the peer's kernels find what is here at `at`, in this buffer of the call; 0: nowhere. */
HKD_FN uint64_t hkd_at_peer(const struct hkd_run *run, const struct hkd_send *s, unsigned buf,
			    uint64_t at)
{
	uint64_t rows = buf == HK_IN ? run->in_rows : buf == HK_OUT ? run->out_rows : 0, add;

	if (s->anything)
		return at;
	add = rows ? hkd_load_relaxed(rows + (uint64_t)(uint32_t)s->peer * sizeof(uint64_t)) : 0;
	return add ? at + (add - 1) : 0;
}

/* Whether what the step sends may stay where it is. */
HKD_FN int hkd_may_lend(const struct hkd_run *run, const struct hk_step *st,
			const struct hkd_cursor *c)
{
	return (st->flags & HKD_STEP_LENDABLE) && c->send.lends && c->bytes >= c->send.lends &&
	       !(run->scaled && st->op == HK_SEND && st->src_buf == HK_IN);
}

/* Where the message goes: to lines, a slot, or nowhere since it is lent. */
HKD_FN void hkd_aim(const struct hkd_run *run, const struct hk_step *st, const struct hkd_cursor *c,
		    struct hkd_message *m)
{
	const struct hkd_send *s = &c->send;
	unsigned buf = c->does & HK_WRITES_DST ? st->dst_buf : st->src_buf;
	struct hkd_span span;
	uint64_t at, lent;

	m->flag = (uint32_t)(s->sent + 1);
	m->at = m->lines = 0;
	if (s->line_bytes && c->line_bytes <= s->line_bytes) {
		m->kind = HKD_LINES;
		m->lines = hkd_lines_at(s->ring, s->slots, s->line_bytes, s->slot);
		return;
	}
	span = hkd_span(run, st, 0, c->tile);
	at = hkd_place(run, buf, c->does & HK_WRITES_DST ? st->dst : st->src, span);
	lent = hkd_may_lend(run, st, c) ? hkd_at_peer(run, s, buf, at) : 0;
	if (lent) {
		m->kind = HKD_LENT;
		m->at = lent;
	} else if (s->apart && c->bytes >= s->apart_from) {
		m->kind = HKD_APART;
		m->at = hkd_slot_apart(s->apart, s->apart_bytes, s->slot) + (at & 15);
	} else {
		m->kind = HKD_SLOT;
		m->at = hkd_slot_at(s->ring, s->slots, s->line_bytes, s->slot_bytes, s->slot) +
			(at & 15);
	}
}

HKD_FN uint64_t hkd_header_word(const struct hkd_cursor *c, const struct hkd_message *m)
{
	uint32_t place = m->kind == HKD_SLOT || m->kind == HKD_APART ? (uint32_t)m->at & 15 : 0;

	return (uint32_t)c->bytes | place << HKD_PLACE_SHIFT | m->kind << HKD_KIND_SHIFT |
	       (uint64_t)m->flag << 32;
}

/* After everything that the block did before. */
HKD_FN void hkd_announce(const struct hkd_cursor *c, const struct hkd_message *m)
{
	uint64_t header = hkd_header_at(c->send.ring, c->send.slot), f = (uint64_t)m->flag << 32;

	if (m->kind == HKD_LENT)
		((volatile struct hkd_header *)header)->at = m->at;
	hkd_store_relaxed(header + 8, hkd_header_word(c, m));
	hkd_store_release(header, c->mark | f);
}

/* Ahead of its lines, which say themselves when they are there. */
HKD_FN void hkd_announce_lines(const struct hkd_cursor *c, const struct hkd_message *m)
{
	hkd_store_line(hkd_header_at(c->send.ring, c->send.slot), c->mark | (uint64_t)m->flag << 32,
		       hkd_header_word(c, m));
}

/* The message is on its way. */
HKD_FN void hkd_commit(const struct hkd_run *run, struct hkd_cursor *c, const struct hkd_message *m)
{
	struct hkd_send *s = &c->send, *record = hkd_send_of(run, c->to);

	s->sent++;
	s->slot = s->slot + 1 == s->slots ? 0 : s->slot + 1;
	if (m->kind == HKD_LENT) {
		s->lent = s->sent;
		c->lends = 1;
		record->lent = s->lent;
	}
	record->sent = s->sent;
	record->seen = s->seen;
	record->slot = s->slot;
}

/* Whether all that was lent there has been read. */
HKD_FN int hkd_returned(struct hkd_send *s)
{
	if (s->lent > s->seen)
		s->seen = hkd_load_acquire(s->released);
	return s->lent <= s->seen;
}

#endif
