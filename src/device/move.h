/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves a piece of a message, all threads of a block together: from one or two sources to one or
 * two targets, combined and scaled on the way. Eight bytes at a time in general, also to and from
 * lines, whatever the addresses are; sixteen, several in flight, where nothing goes through lines
 * and all addresses are aligned alike, or the targets are and one source is only copied.
 */
#ifndef HKD_MOVE_H
#define HKD_MOVE_H

#include "elements.h"
#include "records.h"

#define HKD_FLIGHT  8 /* most vectors of 16 bytes per thread and turn */
#define HKD_SHIFTED 4 /* the same where each takes two loads */

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
	uint32_t *broken; /* raised if the rest of a message did not come before all was stopped */
};

/* --- memory by up to eight bytes --- */

/* At any address, or fewer than eight: in units of four, two or one byte. */
HKD_COLD uint64_t hkd_load_units(uint64_t at, uint32_t n)
{
	uint32_t any = (uint32_t)at | n;
	uint64_t x = 0;

	HKD_NO_UNROLL
	for (uint32_t i = 0; i < n;) {
		uint64_t from = at + i;

		if (!(any & 3)) {
			x |= (uint64_t)hkd_load_u32(from) << 8 * i;
			i += 4;
		} else if (!(any & 1)) {
			x |= (uint64_t)hkd_load_u16(from) << 8 * i;
			i += 2;
		} else {
			x |= (uint64_t)hkd_load_u8(from) << 8 * i;
			i++;
		}
	}
	return x;
}

HKD_COLD void hkd_store_units(uint64_t at, uint32_t n, uint64_t x)
{
	uint32_t any = (uint32_t)at | n;

	HKD_NO_UNROLL
	for (uint32_t i = 0; i < n;) {
		uint64_t to = at + i;

		if (!(any & 3)) {
			hkd_store_u32(to, (uint32_t)(x >> 8 * i));
			i += 4;
		} else if (!(any & 1)) {
			hkd_store_u16(to, (uint16_t)(x >> 8 * i));
			i += 2;
		} else {
			hkd_store_u8(to, (uint8_t)(x >> 8 * i));
			i++;
		}
	}
}

HKD_FN uint64_t hkd_load(uint64_t at, uint32_t n)
{
	return n == 8 && !(at & 7) ? hkd_load_relaxed(at) : hkd_load_units(at, n);
}

HKD_FN void hkd_store(uint64_t at, uint32_t n, uint64_t x)
{
	if (n == 8 && !(at & 7))
		hkd_store_relaxed(at, x);
	else
		hkd_store_units(at, n, x);
}

/* --- lines --- */

HKD_FN void hkd_line_out(uint64_t at, uint32_t flag, uint64_t x)
{
	uint64_t f = (uint64_t)flag << 32;

	hkd_store_line(at, (x & 0xffffffffu) | f, x >> 32 | f);
}

/* Waits for the line; 0 if the call is to stop first. */
HKD_FN int hkd_line_in(const struct hkd_piece *p, uint64_t at, uint64_t *word)
{
	const uint32_t flag = p->flag_in;
	uint64_t x, y, since = 0;

	for (unsigned idle = 0;; idle++) {
		hkd_load_line(at, &x, &y);
		if (x >> 32 == flag && y >> 32 == flag) {
			*word = (x & 0xffffffffu) | y << 32;
			return 1;
		}
		hkd_pause(idle);
		if (idle % HKD_LOOKS != HKD_LOOKS - 1)
			continue;
		if (hkd_load32(p->control))
			return 0;
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

/* Bytes before head and from body on; both are 0 where there are lines. What would have been made
 * of lines that don't come goes nowhere: least of all on to another rank. */
HKD_FN void hkd_move_words(const struct hkd_piece *p, uint64_t head, uint64_t body, unsigned thread,
			   unsigned nthreads)
{
	uint64_t nhead = (head + HKD_WORD - 1) / HKD_WORD,
		 words = nhead + (p->bytes - body + HKD_WORD - 1) / HKD_WORD;

	HKD_NO_UNROLL
	for (uint64_t i = thread; i < words; i += nthreads) {
		uint64_t at = i < nhead ? i * HKD_WORD : body + (i - nhead) * HKD_WORD;
		uint64_t left = (i < nhead ? head : p->bytes) - at;
		uint32_t n = left < HKD_WORD ? (uint32_t)left : HKD_WORD;
		uint64_t a = p->a ? hkd_load(p->a + at, n) : 0, b = 0, r;

		if (p->lines_in) {
			if (!hkd_line_in(p, p->lines_in + at * 2, &b)) {
				hkd_raise(p->broken);
				return;
			}
		} else if (p->b) {
			b = hkd_load(p->b + at, n);
		}
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

/* How many vectors a thread has in flight: as many as the code for them is short. What one
 * multiprocessor can read in the time that a load takes is some 64 KiB. */
HKD_FN int hkd_flight(enum hkd_how how, enum hk_type type)
{
	if (how == HKD_PLAIN)
		return HKD_FLIGHT;
	return how == HKD_SCALED || hkd_bits(type) == 8 ? 1 : hkd_bits(type) == 16 ? 2 : 4;
}

HKD_FN void hkd_make_vector(uint64_t x[2], const uint64_t y[2], enum hkd_how how, int combines,
			    enum hk_type type, enum hk_redop op, uint64_t scalar)
{
	HKD_UNROLL
	for (int k = 0; k < 2; k++) {
		if (how == HKD_SCALED)
			x[k] = hkd_scale(type, x[k], scalar);
		if (combines)
			x[k] = hkd_combine(type, op, x[k], y[k]);
	}
}

/* The full vectors of bytes [from, to). How, type and op are constants; the piece is read once, as
 * stores might change it for all that a compiler knows. */
HKD_FN void hkd_move_vectors(const struct hkd_piece *p, uint64_t from, uint64_t to, unsigned thread,
			     unsigned nthreads, enum hkd_how how, enum hk_type type,
			     enum hk_redop op)
{
	const uint64_t stride = (uint64_t)nthreads * 16, scalar = p->scalar;
	const uint64_t a = p->a || how == HKD_COMBINED ? p->a : p->b, b = p->b;
	const uint64_t out0 = p->out0, out1 = p->out1;
	const int flight = hkd_flight(how, type);
	const int combines = how == HKD_COMBINED || (how == HKD_SCALED && p->combines);

	for (uint64_t at = from + (uint64_t)thread * 16; at < to; at += stride * (uint64_t)flight) {
		uint64_t x[HKD_FLIGHT][2], y[HKD_FLIGHT][2];

		HKD_UNROLL
		for (int i = 0; i < flight; i++) {
			uint64_t here = at + (uint64_t)i * stride;

			x[i][0] = x[i][1] = y[i][0] = y[i][1] = 0;
			if (here < to)
				hkd_load16(a + here, x[i]);
			if (combines && here < to)
				hkd_load16(b + here, y[i]);
		}
		HKD_UNROLL
		for (int i = 0; i < flight; i++) {
			uint64_t here = at + (uint64_t)i * stride;

			hkd_make_vector(x[i], y[i], how, combines, type, op, scalar);
			if (out0 && here < to)
				hkd_store16(out0 + here, x[i]);
			if (out1 && here < to)
				hkd_store16(out1 + here, x[i]);
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

/* --- vectors from another alignment than theirs --- */

/* Which 16 bytes begin `shift` (1 to 15) bytes into x and y. */
HKD_FN void hkd_shift_vector(uint64_t x[2], const uint64_t y[2], unsigned shift)
{
	const unsigned bits = shift % 8 * 8;
	uint64_t w[3];

	w[0] = shift < 8 ? x[0] : x[1];
	w[1] = shift < 8 ? x[1] : y[0];
	w[2] = shift < 8 ? y[0] : y[1];
	x[0] = bits ? w[0] >> bits | w[1] << (64 - bits) : w[0];
	x[1] = bits ? w[1] >> bits | w[2] << (64 - bits) : w[1];
}

/* The vectors of bytes [from, to) of a copy whose targets are alike, from the two aligned vectors
 * of the source that each has parts of. */
HKD_COLD void hkd_shift_vectors(const struct hkd_piece *p, uint64_t from, uint64_t to,
				unsigned thread, unsigned nthreads)
{
	const uint64_t stride = (uint64_t)nthreads * 16, source = p->a ? p->a : p->b;
	const uint64_t out0 = p->out0, out1 = p->out1;
	const unsigned shift = (unsigned)(source + from) & 15;

	HKD_NO_UNROLL
	for (uint64_t at = from + (uint64_t)thread * 16; at < to; at += stride * HKD_SHIFTED) {
		uint64_t x[HKD_SHIFTED][2], y[HKD_SHIFTED][2];

		HKD_UNROLL
		for (int i = 0; i < HKD_SHIFTED; i++) {
			uint64_t here = at + (uint64_t)i * stride;

			x[i][0] = x[i][1] = y[i][0] = y[i][1] = 0;
			if (here < to) {
				hkd_load16(source + here - shift, x[i]);
				hkd_load16(source + here - shift + 16, y[i]);
			}
		}
		HKD_UNROLL
		for (int i = 0; i < HKD_SHIFTED; i++) {
			uint64_t here = at + (uint64_t)i * stride;

			hkd_shift_vector(x[i], y[i], shift);
			if (out0 && here < to)
				hkd_store16(out0 + here, x[i]);
			if (out1 && here < to)
				hkd_store16(out1 + here, x[i]);
		}
	}
}

/* --- a piece --- */

/* How the body of a piece moves, between `head` and `body`: what is before and behind it is words.
 * Nothing outside the piece is read. */
enum hkd_way { HKD_WORDS, HKD_VECTORS, HKD_SHIFTS };

HKD_FN enum hkd_way hkd_way(const struct hkd_piece *p, uint64_t *head, uint64_t *body)
{
	uint64_t source = p->a ? p->a : p->b, target = p->out0 ? p->out0 : p->out1;
	uint64_t other = p->a && p->b ? p->b : source, also = p->out0 && p->out1 ? p->out1 : target;
	uint64_t shift = (source - target) & 15, end;

	*head = *body = 0;
	if (p->lines_in || p->lines_out || ((target ^ also) & 15))
		return HKD_WORDS;
	end = -target & 15;
	if (!shift && !((other ^ target) & 15) &&
	    !(end & (hkd_bits((enum hk_type)p->type) / 8 - 1))) {
		if (p->bytes < end + 16)
			return HKD_WORDS;
		*head = end;
		*body = end + (p->bytes - end) / 16 * 16;
		return HKD_VECTORS;
	}
	if (!shift || p->combines || p->scales)
		return HKD_WORDS;
	if (end < shift)
		end += 16;
	if (p->bytes < end + 32)
		return HKD_WORDS;
	*head = end;
	*body = end + (p->bytes - end - (16 - shift)) / 16 * 16;
	return HKD_SHIFTS;
}

HKD_FN void hkd_move(const struct hkd_piece *p, unsigned thread, unsigned nthreads)
{
	uint64_t head, body;
	enum hkd_way way = hkd_way(p, &head, &body);

	if (way != HKD_WORDS) {
		const struct hkd_piece copy = *p; /* so that p itself can be in registers */

		if (way == HKD_SHIFTS)
			hkd_shift_vectors(&copy, head, body, thread, nthreads);
		else if (p->combines || p->scales)
			hkd_vectors_of(&copy, head, body, thread, nthreads);
		else
			hkd_move_vectors(p, head, body, thread, nthreads, HKD_PLAIN, HK_UINT64,
					 HK_SUM);
	}
	hkd_move_words(p, head, body, thread, nthreads);
}

#endif
