/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interpreter: runs a program's steps on a GPU, block by block. A block serves some of the
 * program's lanes. Its first thread looks which of them can take its next step (what it depends on
 * has passed, its message is there, its slot is free, all at once, as on the host: exec/exec.c),
 * tells the others, and all of them move the data; then the first announces it. So any number of
 * blocks, even one, gets through any program, and all ranks of a GPU fit on it together.
 *
 * All waiting is in one place (hkd_choose), but for the lines of a message whose header has come.
 * Each look at nothing is counted, and now and then the page that the host shares is looked at: its
 * `stop` ends the kernel. When nothing has moved for too long, the block says there what it waits
 * for, and stops all.
 *
 * Between calls everything is as it was before, but for the connections' counts; so a launch can be
 * recorded and replayed. The last block to end sees to that.
 */
#ifndef HKD_INTERPRET_H
#define HKD_INTERPRET_H

#include "move.h"

#define HKD_LOOKS 64 /* at nothing, between two looks at the page and the clock */

enum hkd_what { HKD_MOVE, HKD_LEAVE };

/* What a block's threads share: the step in hand. */
struct hkd_shared {
	struct hkd_barrier barrier;
	uint64_t scalar;
	uint32_t what, lane, tile, skipped;
	const struct hk_step *st;
	uint64_t in, out; /* the message received, and where to put the one to be sent; 0: none */
	uint64_t lines_in, lines_out;
	uint32_t flag_in, flag_out, bytes, kind_out;
};

/* --- records --- */

HKD_FN struct hkd_cursor *hkd_cursor(const struct hkd_run *run, uint32_t lane)
{
	return (struct hkd_cursor *)run->prog.cursors + lane;
}

HKD_FN const struct hk_lane *hkd_lane(const struct hkd_run *run, uint32_t lane)
{
	return (const struct hk_lane *)run->prog.lanes + lane;
}

HKD_FN const struct hk_step *hkd_step(const struct hkd_run *run, uint32_t lane, uint32_t step)
{
	return (const struct hk_step *)run->prog.steps + hkd_lane(run, lane)->first + step;
}

HKD_FN struct hkd_send *hkd_send_of(const struct hkd_run *run, const struct hk_step *st)
{
	return (struct hkd_send *)run->prog.sends + st->to;
}

HKD_FN struct hkd_recv *hkd_recv_of(const struct hkd_run *run, const struct hk_step *st)
{
	return (struct hkd_recv *)run->prog.recvs + st->from;
}

/* As hk_op_does (schedule/coll.c). */
HKD_FN unsigned hkd_does(unsigned op)
{
	switch (op) {
	case HK_SEND:
		return HK_DOES_SEND | HK_READS_SRC;
	case HK_RECV:
		return HK_DOES_RECV | HK_WRITES_DST;
	case HK_RECV_REDUCE:
		return HK_DOES_RECV | HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST;
	case HK_COPY:
		return HK_READS_SRC | HK_WRITES_DST;
	case HK_REDUCE:
		return HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST | HK_READS_DST;
	case HK_RECV_COPY_SEND:
		return HK_DOES_RECV | HK_DOES_SEND | HK_WRITES_DST;
	case HK_RECV_REDUCE_SEND:
		return HK_DOES_RECV | HK_DOES_SEND | HK_DOES_REDUCE | HK_READS_SRC;
	default:
		return HK_DOES_RECV | HK_DOES_SEND | HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST;
	}
}

/* --- places: exec/message.h tells what they are --- */

struct hkd_span {
	uint64_t start, length; /* elements */
};

HKD_FN struct hkd_span hkd_cut(const struct hkd_run *run, uint64_t start, uint64_t length,
			       uint32_t tile)
{
	uint64_t from = tile * run->tile_elems, left;
	struct hkd_span s;

	if (from >= length) {
		s.start = start + length;
		s.length = 0;
		return s;
	}
	left = length - from;
	s.start = start + from;
	s.length = left < run->tile_elems ? left : run->tile_elems;
	return s;
}

HKD_FN const struct hkd_chunk *hkd_chunk(const struct hkd_run *run, unsigned buf, uint32_t i)
{
	uint64_t table = buf == HK_IN	 ? run->in_chunks
			 : buf == HK_OUT ? run->out_chunks
					 : run->sizes;

	return (const struct hkd_chunk *)table + i;
}

/* floor(i * n / parts) without overflow. */
HKD_FN uint64_t hkd_share(uint64_t n, uint32_t i, uint32_t parts)
{
	return n / parts * i + n % parts * i / parts;
}

/* Of chunk number i of a step. */
HKD_FN struct hkd_span hkd_span(const struct hkd_run *run, const struct hk_step *st, uint32_t i,
				uint32_t tile)
{
	uint32_t period = run->prog.period, class_of = st->size + i;
	uint64_t start;

	if (run->prog.varied) {
		if (st->src_buf == HK_IN || st->src_buf == HK_OUT)
			return hkd_cut(run, 0, hkd_chunk(run, st->src_buf, st->src + i)->length,
				       tile);
		if (st->dst_buf == HK_OUT)
			return hkd_cut(run, 0, hkd_chunk(run, HK_OUT, st->dst + i)->length, tile);
		return hkd_cut(run, 0, hkd_chunk(run, HK_SCRATCH, class_of)->length, tile);
	}
	class_of %= period;
	start = hkd_share(run->count, class_of, period);
	return hkd_cut(run, start, hkd_share(run->count, class_of + 1, period) - start, tile);
}

/* Address of the current tile's part of a chunk. */
HKD_FN uint64_t hkd_place(const struct hkd_run *run, unsigned buf, uint32_t chunk,
			  struct hkd_span s)
{
	if (buf == HK_SCRATCH)
		return run->prog.scratch + chunk * run->prog.scratch_stride;
	if (buf == HK_NONE)
		return 0;
	if (run->prog.varied)
		return hkd_chunk(run, buf, chunk)->at + s.start * run->esize;
	return (buf == HK_IN ? run->in : run->out) +
	       (chunk / run->prog.period * run->count + s.start) * run->esize;
}

HKD_FN uint64_t hkd_elems(const struct hkd_run *run, const struct hk_step *st, uint32_t tile)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < st->nchunks; i++)
		n += hkd_span(run, st, i, tile).length;
	return n;
}

/* Data of a step's message in lines: every chunk begins a line of its own. */
HKD_FN uint64_t hkd_line_bytes(const struct hkd_run *run, const struct hk_step *st, uint32_t tile)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < st->nchunks; i++)
		n += (hkd_span(run, st, i, tile).length * run->esize + HKD_WORD - 1) / HKD_WORD *
		     HKD_WORD;
	return n;
}

/* As mark_of (exec/message.h). */
#define HKD_COUNT_SHIFT 8
#define HKD_COUNT_BITS	12

HKD_FN uint32_t hkd_mark(const struct hkd_run *run, const struct hk_step *st)
{
	const uint32_t mask = ((1u << HKD_COUNT_BITS) - 1) << HKD_COUNT_SHIFT;
	int in = st->src_buf == HK_IN || st->src_buf == HK_OUT;
	uint64_t n = 0;

	if (!run->prog.skips)
		return run->mark;
	for (uint32_t i = 0; i < st->nchunks; i++)
		n += in ? hkd_chunk(run, st->src_buf, st->src + i)->length
			: hkd_chunk(run, HK_OUT, st->dst + i)->length;
	return (run->mark & ~mask) | (uint32_t)(n * 0x9e3779b97f4a7c15ull >> (64 - HKD_COUNT_BITS))
					     << HKD_COUNT_SHIFT;
}

/* --- failure --- */

HKD_FN struct hkd_control *hkd_control(const struct hkd_run *run)
{
	return (struct hkd_control *)run->control;
}

HKD_FN int hkd_stopped(const struct hkd_run *run)
{
	return hkd_load32(run->control) != 0;
}

/* Says what went wrong, if it is the first to, and stops all. */
HKD_COLD void hkd_fail(const struct hkd_run *run, uint32_t lane, enum hkd_failure failure,
		       struct hkd_control what)
{
	const struct hkd_cursor *c = hkd_cursor(run, lane);
	struct hkd_control *page = hkd_control(run);

	if (hkd_claim32((uint64_t)&page->failure, failure)) {
		page->lane = lane;
		page->step = c->step;
		page->tile = c->tile;
		page->peer = what.peer;
		page->waits = what.waits;
		page->mark = what.mark;
		page->bytes = what.bytes;
		page->expected = what.expected;
		page->own_mark = what.own_mark;
		hkd_store32((uint64_t)&page->told, 1);
	}
	hkd_claim32((uint64_t)&page->stop, 1);
}

/* --- connections --- */

HKD_FN uint64_t hkd_header_at(uint64_t ring, uint32_t slot)
{
	return ring + (uint64_t)slot * sizeof(struct hkd_header);
}

HKD_FN uint64_t hkd_lines_at(uint64_t ring, uint32_t slots, uint32_t line_bytes, uint32_t slot)
{
	return ring + hkd_ring_lines(slots) + (uint64_t)slot * line_bytes * 2;
}

HKD_FN uint64_t hkd_slot_at(uint64_t ring, uint32_t slots, uint32_t line_bytes, uint32_t slot_bytes,
			    uint32_t slot)
{
	return ring + hkd_ring_slots(slots, line_bytes) + (uint64_t)slot * slot_bytes;
}

/* Looks at the oldest message; 1: sh tells where it is, and *mark and sh->bytes what it is. */
HKD_FN int hkd_peek(struct hkd_recv *r, struct hkd_shared *sh, uint32_t *mark)
{
	uint64_t header = hkd_header_at(r->ring, r->slot), x, y;
	uint32_t flag = (uint32_t)(r->got + 1), kind;

	x = hkd_load_acquire(header);
	if (x >> 32 != flag) {
		if (r->wants && r->asked != r->got + 1) {
			r->asked = r->got + 1;
			hkd_store_relaxed(r->wants, r->asked);
		}
		return 0;
	}
	y = hkd_load_acquire(header + 8);
	if (y >> 32 != flag)
		return 0;
	*mark = (uint32_t)x;
	kind = (uint32_t)y >> HKD_KIND_SHIFT;
	sh->bytes = (uint32_t)y & ((1u << HKD_KIND_SHIFT) - 1);
	sh->flag_in = flag;
	if (kind == HKD_LINES)
		sh->lines_in = hkd_lines_at(r->ring, r->slots, r->line_bytes, r->slot);
	else if (kind == HKD_LENT)
		sh->in = ((const volatile struct hkd_header *)header)->at;
	else
		sh->in = hkd_slot_at(r->ring, r->slots, r->line_bytes, r->slot_bytes, r->slot);
	return 1;
}

/* Whether a message can be sent. */
HKD_FN int hkd_reserve(struct hkd_send *s)
{
	if (!s->ring) {
		uint64_t at = hkd_load_acquire(s->door);

		if (!at)
			return 0;
		s->ring = s->base + at;
	}
	if (s->sent - s->seen < s->slots)
		return 1;
	s->seen = hkd_load_acquire(s->released);
	return s->sent - s->seen < s->slots;
}

/* Where what the step sends lies, if it may be lent; else 0. */
HKD_FN uint64_t hkd_to_lend(const struct hkd_run *run, const struct hk_step *st,
			    const struct hkd_send *s, uint32_t tile, uint64_t bytes)
{
	struct hkd_span span;

	if (!(st->flags & HKD_STEP_LENDABLE) || !s->lends || bytes < s->lends ||
	    (run->scaled && st->op == HK_SEND && st->src_buf == HK_IN))
		return 0;
	span = hkd_span(run, st, 0, tile);
	return st->op == HK_SEND ? hkd_place(run, st->src_buf, st->src, span)
				 : hkd_place(run, st->dst_buf, st->dst, span);
}

HKD_FN void hkd_announce(const struct hkd_send *s, uint32_t mark, uint32_t bytes, uint32_t kind,
			 uint64_t at, uint32_t flag)
{
	uint64_t header = hkd_header_at(s->ring, s->slot), f = (uint64_t)flag << 32;

	if (kind == HKD_LENT)
		((volatile struct hkd_header *)header)->at = at;
	hkd_store_relaxed(header + 8, bytes | kind << HKD_KIND_SHIFT | f);
	hkd_store_release(header, mark | f);
}

/* Ahead of its lines, which say themselves when they are there. */
HKD_FN void hkd_announce_lines(const struct hkd_send *s, uint32_t mark, uint32_t bytes,
			       uint32_t flag)
{
	uint64_t f = (uint64_t)flag << 32;

	hkd_store_line(hkd_header_at(s->ring, s->slot), mark | f,
		       bytes | (uint32_t)HKD_LINES << HKD_KIND_SHIFT | f);
}

/* Lines alone order nothing but themselves. That will do where a rank has one lane; of several, one
 * may rely on what another did before it sent a message, to which an answer has come. So there a
 * message in lines is announced like any other, once everything before it is done. */
HKD_FN int hkd_announces_ahead(const struct hkd_run *run, const struct hkd_shared *sh)
{
	return sh->lines_out && run->prog.nlanes == 1;
}

/* Where the message goes: a slot, lines, or nowhere since it is lent. */
HKD_FN void hkd_aim(const struct hkd_run *run, const struct hk_step *st, struct hkd_send *s,
		    uint32_t tile, struct hkd_shared *sh)
{
	uint64_t lent = hkd_to_lend(run, st, s, tile, sh->bytes);

	sh->flag_out = (uint32_t)(s->sent + 1);
	sh->kind_out = HKD_SLOT;
	sh->out = sh->lines_out = 0;
	if (lent) {
		sh->kind_out = HKD_LENT;
		sh->out = lent; /* to be announced; not a target */
	} else if (s->line_bytes && hkd_line_bytes(run, st, tile) <= s->line_bytes) {
		sh->kind_out = HKD_LINES;
		sh->lines_out = hkd_lines_at(s->ring, s->slots, s->line_bytes, s->slot);
	} else {
		sh->out = hkd_slot_at(s->ring, s->slots, s->line_bytes, s->slot_bytes, s->slot);
	}
}

/* --- the first thread: which step --- */

HKD_FN int hkd_deps_passed(const struct hkd_run *run, const struct hk_step *st, uint32_t tile)
{
	const struct hk_dep *deps = (const struct hk_dep *)run->prog.deps + st->dep;

	for (uint32_t i = 0; i < st->ndeps; i++) {
		uint64_t progress =
			hkd_load_acquire_near((uint64_t)&hkd_cursor(run, deps[i].lane)->progress);

		if (progress <
		    (uint64_t)tile * hkd_lane(run, deps[i].lane)->nsteps + deps[i].step + 1)
			return 0;
	}
	return 1;
}

/* Of a serial program: whether all lanes are through with the tiles before this one. */
HKD_FN int hkd_is_open(const struct hkd_run *run, uint32_t tile)
{
	for (uint32_t l = 0; l < run->prog.nlanes; l++)
		if (hkd_load_acquire_near((uint64_t)&hkd_cursor(run, l)->progress) <
		    (uint64_t)tile * hkd_lane(run, l)->nsteps)
			return 0;
	return 1;
}

/* The cursor passes a step. */
HKD_FN void hkd_pass(const struct hkd_run *run, uint32_t lane)
{
	struct hkd_cursor *c = hkd_cursor(run, lane);
	uint32_t nsteps = hkd_lane(run, lane)->nsteps;

	if (run->prog.by_steps) {
		if (++c->tile < run->ntiles &&
		    hkd_elems(run, hkd_step(run, lane, c->step), c->tile))
			return;
		c->tile = ++c->step < nsteps ? 0 : run->ntiles;
		return;
	}
	hkd_store_release_near((uint64_t)&c->progress, c->progress + 1);
	if (++c->step == nsteps) {
		c->step = 0;
		c->tile++;
	}
}

/* All that the lane lent has been read. */
HKD_FN int hkd_settled(const struct hkd_run *run, uint32_t lane)
{
	const struct hk_lane *l = hkd_lane(run, lane);

	for (uint32_t i = 0; i < l->nsteps; i++) {
		const struct hk_step *st = hkd_step(run, lane, i);
		struct hkd_send *s;

		if (!(hkd_does(st->op) & HK_DOES_SEND))
			continue;
		s = hkd_send_of(run, st);
		if (s->lent > s->seen)
			s->seen = hkd_load_acquire(s->released);
		if (s->lent > s->seen)
			return 0;
	}
	return 1;
}

/* Whether what has come is what the step expects; else all ends. */
HKD_FN int hkd_matches(const struct hkd_run *run, uint32_t lane, const struct hk_step *st,
		       uint32_t mark, uint32_t got, uint64_t expected)
{
	uint32_t own = hkd_mark(run, st);
	struct hkd_control what;

	if (mark == own && got == expected)
		return 1;
	what.peer = hkd_recv_of(run, st)->peer;
	what.waits = HK_DOES_RECV;
	what.mark = mark;
	what.bytes = got;
	what.expected = (uint32_t)expected;
	what.own_mark = own;
	hkd_fail(run, lane, HKD_MISMATCH, what);
	return 0;
}

/* Whether the lane can take its next step: then sh says all about it. */
HKD_FN int hkd_look(const struct hkd_run *run, uint32_t lane, struct hkd_shared *sh)
{
	const struct hkd_cursor *c = hkd_cursor(run, lane);
	const struct hk_step *st = hkd_step(run, lane, c->step);
	unsigned does = hkd_does(st->op);
	uint64_t bytes;
	uint32_t mark;

	if (run->prog.serial && !c->step && !hkd_is_open(run, c->tile))
		return 0;
	if (st->ndeps && !hkd_deps_passed(run, st, c->tile))
		return 0;
	sh->in = sh->out = sh->lines_in = sh->lines_out = 0;
	bytes = hkd_elems(run, st, c->tile) * run->esize;
	sh->lane = lane;
	sh->tile = c->tile;
	sh->st = st;
	sh->skipped = run->prog.skips && !bytes;
	if (sh->skipped)
		return 1; /* the peer knows, too, that there is nothing to come */
	if (does & HK_DOES_RECV) {
		if (!hkd_peek(hkd_recv_of(run, st), sh, &mark) ||
		    !hkd_matches(run, lane, st, mark, sh->bytes, bytes))
			return 0;
	}
	sh->bytes = (uint32_t)bytes;
	if (!(does & HK_DOES_SEND))
		return 1;
	if (!hkd_reserve(hkd_send_of(run, st)))
		return 0;
	hkd_aim(run, st, hkd_send_of(run, st), c->tile, sh);
	return 1;
}

/* Nothing has moved for too long: says what the first lane that could move waits for. */
HKD_COLD void hkd_expire(const struct hkd_run *run, unsigned block, unsigned nblocks)
{
	struct hkd_control what;
	uint32_t lane = block;

	what.waits = 0;
	what.peer = -1;
	what.mark = what.bytes = what.expected = what.own_mark = 0;
	for (uint32_t l = block; l < run->prog.nlanes; l += nblocks) {
		const struct hkd_cursor *c = hkd_cursor(run, l);
		const struct hk_step *st;
		struct hkd_shared sh;
		uint32_t mark;

		if (c->tile >= run->ntiles) {
			if (c->lends && !c->ended) {
				lane = l;
				what.waits = HK_DOES_SEND;
			}
			continue;
		}
		st = hkd_step(run, l, c->step);
		lane = l;
		if (st->ndeps && !hkd_deps_passed(run, st, c->tile))
			continue; /* the lane that it depends on tells more */
		if ((hkd_does(st->op) & HK_DOES_RECV) &&
		    !hkd_peek(hkd_recv_of(run, st), &sh, &mark)) {
			what.waits = HK_DOES_RECV;
			what.peer = hkd_recv_of(run, st)->peer;
			break;
		}
		if (hkd_does(st->op) & HK_DOES_SEND) {
			what.waits = HK_DOES_SEND;
			what.peer = hkd_send_of(run, st)->peer;
			break;
		}
	}
	hkd_fail(run, lane, HKD_TIMEOUT, what);
}

/* One turn over the block's lanes, from *next on. 1: sh has a step; 0: none can move; -1: all have
 * ended. */
HKD_FN int hkd_turn(const struct hkd_run *run, struct hkd_shared *sh, unsigned block,
		    unsigned nblocks, uint32_t *next)
{
	uint32_t n = (run->prog.nlanes - block + nblocks - 1) / nblocks, ended = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = *next + i < n ? *next + i : *next + i - n,
			 lane = block + at * nblocks;
		struct hkd_cursor *c = hkd_cursor(run, lane);

		if (c->ended) {
			ended++;
			continue;
		}
		if (c->tile >= run->ntiles || !hkd_lane(run, lane)->nsteps) {
			c->ended = !c->lends || hkd_settled(run, lane);
			ended += c->ended;
			continue;
		}
		if (hkd_look(run, lane, sh)) {
			*next = at + 1 < n ? at + 1 : 0;
			return 1;
		}
	}
	return ended == n ? -1 : 0;
}

HKD_FN void hkd_choose(const struct hkd_run *run, struct hkd_shared *sh, unsigned block,
		       unsigned nblocks, uint32_t *next)
{
	uint64_t since = 0;

	sh->what = HKD_LEAVE;
	for (unsigned idle = 0;; idle++) {
		int r = hkd_turn(run, sh, block, nblocks, next);

		if (r > 0 && sh->skipped) {
			hkd_pass(run, sh->lane);
			since = idle = 0;
			continue;
		}
		if (r > 0)
			sh->what = HKD_MOVE;
		if (r)
			return;
		hkd_pause(idle);
		if (idle % HKD_LOOKS != HKD_LOOKS - 1)
			continue;
		if (hkd_stopped(run))
			return;
		if (!since)
			since = hkd_now_ns();
		else if (run->timeout_ns && hkd_now_ns() - since > run->timeout_ns)
			hkd_expire(run, block, nblocks);
	}
}

/* --- all threads: the step --- */

HKD_FN void hkd_move_step(const struct hkd_run *run, const struct hkd_shared *sh, unsigned thread,
			  unsigned nthreads)
{
	const struct hk_step *st = sh->st;
	unsigned does = hkd_does(st->op);
	int scaled = run->scaled && st->src_buf == HK_IN;
	uint64_t at = 0, lines = 0;

	for (uint32_t i = 0; i < st->nchunks; i++) {
		struct hkd_span s = hkd_span(run, st, i, sh->tile);
		uint64_t bytes = s.length * run->esize;
		uint64_t src =
			does & HK_READS_SRC ? hkd_place(run, st->src_buf, st->src + i, s) : 0;
		uint64_t dst = hkd_place(run, st->dst_buf, st->dst + i, s);
		struct hkd_piece p;

		if (!bytes)
			continue;
		p.a = src;
		p.b = sh->in ? sh->in + at : 0;
		p.out0 = sh->out && sh->kind_out != HKD_LENT ? sh->out + at : 0;
		p.out1 = does & HK_WRITES_DST ? dst : 0;
		p.bytes = bytes;
		p.scalar = sh->scalar;
		p.lines_in = sh->lines_in ? sh->lines_in + lines * 2 : 0;
		p.lines_out = sh->lines_out ? sh->lines_out + lines * 2 : 0;
		p.flag_in = sh->flag_in;
		p.flag_out = sh->flag_out;
		p.type = (uint8_t)run->type;
		p.op = (uint8_t)run->op;
		p.combines = (does & HK_DOES_REDUCE) != 0;
		p.scales = (uint8_t)scaled;
		p.control = run->control;
		p.timeout_ns = run->timeout_ns;
		if (st->op == HK_REDUCE) /* dst = dst (+) src */
			p.b = dst;
		at += bytes;
		lines += (bytes + HKD_WORD - 1) / HKD_WORD * HKD_WORD;
		/* What is lent stays where it is, and a copy in place is there already. */
		if (p.out0 || p.lines_out || (p.out1 && (p.out1 != p.a || p.combines || p.scales)))
			hkd_move(&p, thread, nthreads);
	}
}

/* --- the first thread: says that it is done --- */

HKD_FN void hkd_complete(const struct hkd_run *run, const struct hkd_shared *sh)
{
	const struct hk_step *st = sh->st;
	unsigned does = hkd_does(st->op);

	if (does & HK_DOES_SEND) {
		struct hkd_send *s = hkd_send_of(run, st);

		if (!hkd_announces_ahead(run, sh))
			hkd_announce(s, hkd_mark(run, st), sh->bytes, sh->kind_out, sh->out,
				     sh->flag_out);
		s->sent++;
		s->slot = s->slot + 1 == s->slots ? 0 : s->slot + 1;
		if (sh->kind_out == HKD_LENT) {
			s->lent = s->sent;
			hkd_cursor(run, sh->lane)->lends = 1;
		}
	}
	if (does & HK_DOES_RECV) {
		struct hkd_recv *r = hkd_recv_of(run, st);

		r->got++;
		r->slot = r->slot + 1 == r->slots ? 0 : r->slot + 1;
		hkd_store_release(r->released, r->got);
	}
	hkd_pass(run, sh->lane);
}

/* The block has ended; the last one leaves everything as it was before the call. */
HKD_FN void hkd_end(const struct hkd_run *run, unsigned nblocks)
{
	if (hkd_add_near(run->prog.ended, 1) + 1 != nblocks)
		return;
	for (uint32_t l = 0; l < run->prog.nlanes; l++) {
		struct hkd_cursor *c = hkd_cursor(run, l);

		c->progress = 0;
		c->step = c->tile = c->lends = c->ended = 0;
	}
	*(volatile uint64_t *)run->prog.ended = 0;
	if (run->counts)
		hkd_store_release((uint64_t)&hkd_control(run)->calls, hkd_control(run)->calls + 1);
}

HKD_FN void hkd_interpret(const struct hkd_run *run, struct hkd_shared *sh, unsigned block,
			  unsigned nblocks, unsigned thread, unsigned nthreads)
{
	uint32_t next = 0;

	if (thread == 0)
		sh->scalar = run->scalar_at ? hkd_scalar_of((enum hk_type)run->type,
							    hkd_load(run->scalar_at, run->esize))
					    : run->scalar;
	for (;;) {
		if (thread == 0)
			hkd_choose(run, sh, block, nblocks, &next);
		hkd_sync(&sh->barrier);
		if (sh->what == HKD_LEAVE)
			break;
		if (thread == 0 && hkd_announces_ahead(run, sh))
			hkd_announce_lines(hkd_send_of(run, sh->st), hkd_mark(run, sh->st),
					   sh->bytes, sh->flag_out);
		hkd_move_step(run, sh, thread, nthreads);
		hkd_sync(&sh->barrier);
		if (thread == 0)
			hkd_complete(run, sh);
	}
	if (thread == 0)
		hkd_end(run, nblocks);
}

/* The other kernel: element by element, in words. */
HKD_FN void hkd_map(const struct hkd_map *m, unsigned block, unsigned nblocks, unsigned thread,
		    unsigned nthreads)
{
	enum hk_type type = (enum hk_type)m->type;
	uint64_t bytes = m->count * m->esize;
	uint64_t scalar = m->scalar_at && m->scaled
				  ? hkd_scalar_of(type, hkd_load(m->scalar_at, m->esize))
				  : m->scalar;

	for (uint64_t at = ((uint64_t)block * nthreads + thread) * HKD_WORD; at < bytes;
	     at += (uint64_t)nblocks * nthreads * HKD_WORD) {
		uint32_t n = bytes - at < HKD_WORD ? (uint32_t)(bytes - at) : HKD_WORD;
		uint64_t x = hkd_load(m->in + at, n);

		if (m->scaled)
			x = hkd_scale(type, x, scalar);
		if (m->divide > 1)
			x = hkd_divide(type, x, m->divide);
		hkd_store(m->out + at, n, x);
	}
}

#endif
