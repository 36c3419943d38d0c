/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves a piece of a message, all threads of a block together: from one or two sources to one or
 * two targets, combined and scaled on the way. Eight bytes at a time in general, also to and from
 * lines, whatever the addresses are; sixteen, several in flight, where all addresses are aligned
 * alike and nothing goes through lines.
 */
#ifndef HKD_MOVE_H
#define HKD_MOVE_H

#include "elements.h"
#include "records.h"

#define HKD_WORD   8u
#define HKD_LINE   16u
#define HKD_FLIGHT 4 /* most vectors of 16 bytes per thread and turn */

struct hkd_piece {
	uint64_t a, b;	     /* sources: addresses; 0: none */
	uint64_t out0, out1; /* targets; 0: none */
	uint64_t bytes;
	uint64_t scalar;
	/* Lines instead of b, or beside the targets; and the number of the first. */
	uint64_t lines_in, lines_out;
	uint32_t flag_in, flag_out;
	uint8_t type, op;
	/* What comes out is a and b combined, or else whichever there is; a scaled before. All
	 * operations give the same bits with their operands exchanged, so that flags of steps that
	 * ask for one order need no code; and only sums are scaled. */
	uint8_t combines, scales;
	uint64_t control;
	uint64_t timeout_ns;
};

/* --- memory by up to eight bytes --- */

HKD_FN uint64_t hkd_load(uint64_t at, uint32_t n)
{
	uint64_t x = 0;

	if (n == 8 && !(at & 7))
		return *(const volatile uint64_t *)at;
	if (!((at | n) & 3)) {
		for (uint32_t i = 0; i < n; i += 4)
			x |= (uint64_t)(*(const volatile uint32_t *)(at + i)) << 8 * i;
		return x;
	}
	for (uint32_t i = 0; i < n; i++)
		x |= (uint64_t)(*(const volatile uint8_t *)(at + i)) << 8 * i;
	return x;
}

HKD_FN void hkd_store(uint64_t at, uint32_t n, uint64_t x)
{
	if (n == 8 && !(at & 7)) {
		*(volatile uint64_t *)at = x;
		return;
	}
	if (!((at | n) & 3)) {
		for (uint32_t i = 0; i < n; i += 4)
			*(volatile uint32_t *)(at + i) = (uint32_t)(x >> 8 * i);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		*(volatile uint8_t *)(at + i) = (uint8_t)(x >> 8 * i);
}

/* --- lines --- */

HKD_FN void hkd_line_out(uint64_t at, uint32_t flag, uint64_t x)
{
	uint64_t f = (uint64_t)flag << 32;

	hkd_store_line(at, (x & 0xffffffffu) | f, x >> 32 | f);
}

/* Waits for the line; 0 if the call is to stop. */
HKD_FN uint64_t hkd_line_in(const struct hkd_piece *p, uint64_t at)
{
	uint64_t x, y, since = 0;

	for (unsigned idle = 0;; idle++) {
		hkd_load_line(at, &x, &y);
		if (x >> 32 == p->flag_in && y >> 32 == p->flag_in)
			return (x & 0xffffffffu) | y << 32;
		hkd_pause(idle);
		if (idle % 256 != 255)
			continue;
		if (hkd_load32(p->control))
			return 0;
		/* The block's first thread says what is missing when it looks for its next step. */
		if (!since)
			since = hkd_now_ns();
		else if (p->timeout_ns && hkd_now_ns() - since > p->timeout_ns)
			hkd_claim32(p->control, 1);
	}
}

/* --- words --- */

/* Not constants: switches, and no loop around them. */
HKD_COLD uint64_t hkd_word_of_type(uint64_t a, uint64_t b, enum hk_type type, enum hk_redop op)
{
	return hkd_combine(type, op, a, b);
}

HKD_COLD uint64_t hkd_scale_of_type(uint64_t x, enum hk_type type, uint64_t scalar)
{
	return hkd_scale(type, x, scalar);
}

HKD_FN uint64_t hkd_word_of(const struct hkd_piece *p, uint64_t a, uint64_t b)
{
	if (p->scales)
		a = hkd_scale_of_type(a, (enum hk_type)p->type, p->scalar);
	if (p->combines)
		return hkd_word_of_type(a, b, (enum hk_type)p->type, (enum hk_redop)p->op);
	return p->a ? a : b;
}

/* Bytes [from, to) of the piece; `from` is a multiple of eight where there are lines. */
HKD_FN void hkd_move_words(const struct hkd_piece *p, uint64_t from, uint64_t to, unsigned thread,
			   unsigned nthreads)
{
	for (uint64_t at = from + (uint64_t)thread * HKD_WORD; at < to;
	     at += (uint64_t)nthreads * HKD_WORD) {
		uint32_t n = to - at < HKD_WORD ? (uint32_t)(to - at) : HKD_WORD;
		uint64_t a = p->a ? hkd_load(p->a + at, n) : 0, b = 0, r;

		if (p->lines_in)
			b = hkd_line_in(p, p->lines_in + at * 2);
		else if (p->b)
			b = hkd_load(p->b + at, n);
		r = hkd_word_of(p, a, b);
		if (p->lines_out)
			hkd_line_out(p->lines_out + at * 2, p->flag_out, r);
		if (p->out0)
			hkd_store(p->out0 + at, n, r);
		if (p->out1)
			hkd_store(p->out1 + at, n, r);
	}
}

/* --- vectors --- */

enum hkd_how { HKD_PLAIN, HKD_COMBINED, HKD_SCALED };

/* How many vectors a thread has in flight: as many as the code for them is short. */
HKD_FN int hkd_flight(enum hkd_how how, enum hk_type type)
{
	if (how == HKD_PLAIN)
		return HKD_FLIGHT;
	return how == HKD_SCALED || hkd_bits(type) == 8 ? 1 : hkd_bits(type) == 16 ? 2 : HKD_FLIGHT;
}

HKD_FN uint64_t hkd_vector_word(const struct hkd_piece *p, uint64_t a, uint64_t b, enum hkd_how how,
				enum hk_type type, enum hk_redop op)
{
	if (how == HKD_PLAIN)
		return p->a ? a : b;
	if (how == HKD_COMBINED)
		return hkd_combine(type, op, a, b);
	a = hkd_scale(type, a, p->scalar);
	return p->combines ? hkd_combine(type, HK_SUM, a, b) : a;
}

/* The full vectors of bytes [from, to). How, type and op are constants. */
HKD_FN void hkd_move_vectors(const struct hkd_piece *p, uint64_t from, uint64_t to, unsigned thread,
			     unsigned nthreads, enum hkd_how how, enum hk_type type,
			     enum hk_redop op)
{
	const uint64_t stride = (uint64_t)nthreads * 16;
	const int flight = hkd_flight(how, type);

	for (uint64_t at = from + (uint64_t)thread * 16; at < to; at += stride * (uint64_t)flight) {
		uint64_t a[HKD_FLIGHT][2], b[HKD_FLIGHT][2], r[2];

		HKD_UNROLL
		for (int i = 0; i < flight; i++) {
			a[i][0] = a[i][1] = b[i][0] = b[i][1] = 0;
			if (p->a && at + (uint64_t)i * stride < to)
				hkd_load16(p->a + at + (uint64_t)i * stride, a[i]);
			if (p->b && at + (uint64_t)i * stride < to)
				hkd_load16(p->b + at + (uint64_t)i * stride, b[i]);
		}
		HKD_UNROLL
		for (int i = 0; i < flight; i++) {
			uint64_t here = at + (uint64_t)i * stride;

			r[0] = hkd_vector_word(p, a[i][0], b[i][0], how, type, op);
			r[1] = hkd_vector_word(p, a[i][1], b[i][1], how, type, op);
			if (p->out0 && here < to)
				hkd_store16(p->out0 + here, r);
			if (p->out1 && here < to)
				hkd_store16(p->out1 + here, r);
		}
	}
}

HKD_FN void hkd_order_vectors(const struct hkd_piece *p, uint64_t from, uint64_t to,
			      unsigned thread, unsigned nthreads, enum hk_type type)
{
	if (p->op == HK_MAX)
		hkd_move_vectors(p, from, to, thread, nthreads, HKD_COMBINED, type, HK_MAX);
	else
		hkd_move_vectors(p, from, to, thread, nthreads, HKD_COMBINED, type, HK_MIN);
}

HKD_FN void hkd_vectors_of_op(const struct hkd_piece *p, uint64_t from, uint64_t to,
			      unsigned thread, unsigned nthreads, enum hk_type type)
{
	if (p->scales)
		hkd_move_vectors(p, from, to, thread, nthreads, HKD_SCALED, type, HK_SUM);
	else if (p->op == HK_SUM)
		hkd_move_vectors(p, from, to, thread, nthreads, HKD_COMBINED, type, HK_SUM);
	else if (p->op == HK_PROD)
		hkd_move_vectors(p, from, to, thread, nthreads, HKD_COMBINED, type, HK_PROD);
	else
		hkd_order_vectors(p, from, to, thread, nthreads, type);
}

HKD_COLD void hkd_vectors_of(const struct hkd_piece *p, uint64_t from, uint64_t to, unsigned thread,
			     unsigned nthreads)
{
	enum hk_type type = (enum hk_type)p->type;

	/* Of the two signs of an integer one will do where neither order nor code depends on it. */
	if (p->scales || p->op == HK_SUM || p->op == HK_PROD)
		type = type == HK_INT8	  ? HK_UINT8
		       : type == HK_INT32 ? HK_UINT32
		       : type == HK_INT64 ? HK_UINT64
					  : type;
	switch (type) {
	case HK_INT8:
		hkd_order_vectors(p, from, to, thread, nthreads, HK_INT8);
		break;
	case HK_UINT8:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_UINT8);
		break;
	case HK_INT32:
		hkd_order_vectors(p, from, to, thread, nthreads, HK_INT32);
		break;
	case HK_UINT32:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_UINT32);
		break;
	case HK_INT64:
		hkd_order_vectors(p, from, to, thread, nthreads, HK_INT64);
		break;
	case HK_UINT64:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_UINT64);
		break;
	case HK_FLOAT16:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_FLOAT16);
		break;
	case HK_FLOAT32:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_FLOAT32);
		break;
	case HK_FLOAT64:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_FLOAT64);
		break;
	case HK_BFLOAT16:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_BFLOAT16);
		break;
	case HK_FLOAT8E4M3:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_FLOAT8E4M3);
		break;
	default:
		hkd_vectors_of_op(p, from, to, thread, nthreads, HK_FLOAT8E5M2);
	}
}

/* --- a piece --- */

/* How far the addresses are before the next multiple of 16, all alike; 16: they are not alike, or
 * not at a whole element. */
HKD_FN uint64_t hkd_head(const struct hkd_piece *p)
{
	uint64_t any = p->a ? p->a : p->b, head = -any & 15;
	uint64_t differ = ((p->a ? p->a : any) ^ any) | ((p->b ? p->b : any) ^ any) |
			  ((p->out0 ? p->out0 : any) ^ any) | ((p->out1 ? p->out1 : any) ^ any);

	if (p->lines_in || p->lines_out || (differ & 15) ||
	    head % (hkd_bits((enum hk_type)p->type) / 8))
		return 16;
	return head;
}

HKD_FN void hkd_move(const struct hkd_piece *p, unsigned thread, unsigned nthreads)
{
	uint64_t head = hkd_head(p), body;

	if (head == 16 || p->bytes < head + 16) {
		hkd_move_words(p, 0, p->bytes, thread, nthreads);
		return;
	}
	body = head + (p->bytes - head) / 16 * 16;
	if (head)
		hkd_move_words(p, 0, head, thread, nthreads);
	if (p->combines || p->scales)
		hkd_vectors_of(p, head, body, thread, nthreads);
	else
		hkd_move_vectors(p, head, body, thread, nthreads, HKD_PLAIN, HK_UINT64, HK_SUM);
	hkd_move_words(p, body, p->bytes, thread, nthreads);
}

#endif
