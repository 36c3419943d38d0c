/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interpreter: runs a program's steps on a GPU, block by block. A block serves some of the
 * program's lanes. Its first thread looks which of them can take its next step (what it depends on
 * has passed, its message is there, its slot is free, all at once, as on the host: exec/exec.c),
 * tells the others, and all of them move the data; then the first announces it. So any number of
 * blocks, even one, gets through any program, and all ranks of a GPU fit on it together.
 *
 * A look must be cheap, and so must the way from one step to the next: each load that waits for
 * another one's result costs hundreds of nanoseconds. So a block brings the program, and the tables
 * of blocks that differ, into its own memory at the start; keeps its lanes' cursors there, with the
 * step in hand worked out and the connection's record; and looks at nothing but the word that it
 * waits for.
 *
 * All waiting is in one place (hkd_choose), but for the lines of a message whose header has come.
 * Each look at nothing is counted, and now and then the page that the host shares is looked at: its
 * `stop` ends the kernel. What then is half done stays so, and nobody else is told of it; kernels
 * that were queued behind end at once, as their messages would pass for those that are missing.
 * When nothing has moved for too long, the block says there what it waits for, and stops all.
 *
 * Between calls everything is as it was before, but for the connections' counts; so a launch can be
 * recorded and replayed. The last block to end sees to that, where lanes of other blocks look at
 * each other's progress.
 */
#ifndef HKD_INTERPRET_H
#define HKD_INTERPRET_H

#include "connection.h"
#include "move.h"

#define HKD_CURSORS 8	  /* of a block, in its own memory; the others' are the program's */
#define HKD_ARENA   16384 /* bytes for what a block brings into its own memory ... */
#define HKD_BRINGS  4	  /* ... so many vectors per thread at once */

enum hkd_what { HKD_MOVE, HKD_DONE, HKD_STOPPED };

/* What a block's threads share: the call as they see it, and the step in hand. */
struct hkd_shared {
	struct hkd_barrier barrier;
	uint64_t scalar;
	uint32_t block, nblocks, nlanes; /* the block's lanes */
	uint32_t what, lane;
	uint32_t broken; /* the step can't be completed, nor can any after it */
	struct hkd_cursor *c;
	struct hkd_message in, out;
	struct hkd_run run; /* with the addresses of what was brought */
	struct hkd_cursor cursors[HKD_CURSORS];
	uint64_t arena[HKD_ARENA / 8];
};

/* Of lane number i of the block. */
HKD_FN struct hkd_cursor *hkd_cursor(struct hkd_shared *sh, uint32_t i)
{
	return i < HKD_CURSORS ? &sh->cursors[i]
			       : (struct hkd_cursor *)sh->run.prog.cursors + sh->block +
					 (uint64_t)i * sh->nblocks;
}

/* --- failure --- */

HKD_FN int hkd_stopped(const struct hkd_run *run)
{
	return hkd_load32(run->control) != 0;
}

/* Says what went wrong, if it is the first to, and stops all. */
HKD_COLD void hkd_fail(const struct hkd_run *run, uint32_t lane, const struct hkd_cursor *c,
		       enum hkd_failure failure, struct hkd_control what)
{
	struct hkd_control *page = (struct hkd_control *)run->control;

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

/* --- the start --- */

/* Brings bytes into the block's own memory, if they have room behind the *used ones; where they
 * are then. All of it a multiple of 16. */
HKD_FN uint64_t hkd_bring(struct hkd_shared *sh, uint32_t *used, uint64_t from, uint32_t bytes,
			  unsigned thread, unsigned nthreads)
{
	uint8_t *to = (uint8_t *)sh->arena + *used;
	uint64_t w[HKD_BRINGS][2] = {{0}};
	uint32_t n = bytes / 16;

	if (bytes > HKD_ARENA - *used)
		return from;
	*used += bytes;
	for (uint32_t at = thread; at < n; at += HKD_BRINGS * nthreads) {
		HKD_UNROLL
		for (uint32_t i = 0; i < HKD_BRINGS; i++)
			if (at + i * nthreads < n)
				hkd_load16(from + (uint64_t)(at + i * nthreads) * 16, w[i]);
		HKD_UNROLL
		for (uint32_t i = 0; i < HKD_BRINGS; i++)
			if (at + i * nthreads < n)
				memcpy(to + (at + i * nthreads) * 16, w[i], 16);
	}
	return (uint64_t)to;
}

/* The first connections of both kinds are on their way together. */
HKD_FN void hkd_start_cursor(const struct hkd_run *run, struct hkd_cursor *c,
			     const struct hkd_lane *lane)
{
	struct hkd_send send = {0};
	struct hkd_recv recv = {0};

	if (lane->to >= 0)
		send = *hkd_send_of(run, lane->to);
	if (lane->from >= 0)
		recv = *hkd_recv_of(run, lane->from);
	c->progress = 0;
	c->step = c->tile = 0;
	c->lends = 0;
	c->stage = lane->nsteps && run->ntiles ? HKD_NEXT : HKD_ENDED;
	c->to = lane->to;
	c->from = lane->from;
	c->send = send;
	c->recv = recv;
}

/* All threads: what the block needs of the call, where it is near. */
HKD_FN void hkd_begin(const struct hkd_run *run, struct hkd_shared *sh, unsigned block,
		      unsigned nblocks, unsigned thread, unsigned nthreads)
{
	uint32_t used = 0, n;
	uint64_t image, tables = run->in_chunks, lanes, left = hkd_load_relaxed(run->left);

	image = hkd_bring(sh, &used, run->prog.steps, run->prog.image_bytes, thread, nthreads);
	if (run->table_bytes)
		tables = hkd_bring(sh, &used, tables, run->table_bytes, thread, nthreads);
	n = (run->prog.nlanes - block + nblocks - 1) / nblocks;
	if (thread == 0) {
		sh->run = *run;
		sh->block = block;
		sh->nblocks = nblocks;
		sh->nlanes = n;
		sh->broken = left != 0;
		sh->what = HKD_DONE;
		sh->scalar = run->scalar_at ? hkd_scalar_of((enum hk_type)run->type,
							    hkd_load(run->scalar_at, run->esize))
					    : run->scalar;
	}
	hkd_sync(&sh->barrier);
	lanes = image + (run->prog.lanes - run->prog.steps);
	if (thread == 0) {
		sh->run.prog.steps = image;
		sh->run.prog.deps = image + (run->prog.deps - run->prog.steps);
		sh->run.prog.lanes = lanes;
		sh->run.in_chunks = tables;
		sh->run.out_chunks = tables + (run->out_chunks - run->in_chunks);
		sh->run.sizes = tables + (run->sizes - run->in_chunks);
	}
	for (uint32_t i = thread; i < n; i += nthreads)
		hkd_start_cursor(run, hkd_cursor(sh, i),
				 (const struct hkd_lane *)lanes + block + (uint64_t)i * nblocks);
	hkd_sync(&sh->barrier);
}

/* --- the first thread: which step --- */

/* Of any lane. A block that has them all needs no word that others see. */
HKD_FN uint64_t hkd_progress(struct hkd_shared *sh, uint32_t lane)
{
	if (sh->nblocks == 1)
		return hkd_cursor(sh, lane)->progress;
	return hkd_load_acquire_near(sh->run.prog.progress + (uint64_t)lane * 8);
}

HKD_FN int hkd_deps_passed(struct hkd_shared *sh, struct hkd_cursor *c)
{
	const struct hk_step *st = (const struct hk_step *)c->step_at;
	const struct hk_dep *deps = (const struct hk_dep *)sh->run.prog.deps + st->dep;

	for (; c->passed < st->ndeps; c->passed++) {
		const struct hk_dep *d = &deps[c->passed];

		if (hkd_progress(sh, d->lane) <
		    (uint64_t)c->tile * hkd_lane(&sh->run, d->lane)->nsteps + d->step + 1)
			return 0;
	}
	return 1;
}

/* Of a serial program: whether all lanes are through with the tiles before this one. */
HKD_FN int hkd_is_open(struct hkd_shared *sh, uint32_t tile)
{
	for (uint32_t l = 0; l < sh->run.prog.nlanes; l++)
		if (hkd_progress(sh, l) < (uint64_t)tile * hkd_lane(&sh->run, l)->nsteps)
			return 0;
	return 1;
}

/* Whether nothing of this rank holds the step back. */
HKD_FN int hkd_is_free(struct hkd_shared *sh, struct hkd_cursor *c)
{
	return (!sh->run.prog.serial || c->step || hkd_is_open(sh, c->tile)) &&
	       hkd_deps_passed(sh, c);
}

/* Works out the step at the cursor. */
HKD_FN void hkd_enter(const struct hkd_run *run, struct hkd_cursor *c, uint32_t lane)
{
	const struct hk_step *st = hkd_step(run, lane, c->step);

	c->step_at = (uint64_t)st;
	c->does = (uint8_t)hkd_does(st->op);
	c->bytes = hkd_bytes(run, st, c->tile, &c->line_bytes);
	c->mark = hkd_mark(run, st);
	c->passed = 0;
	c->skipped = run->prog.skips && !c->bytes;
	if (c->does & HK_DOES_SEND)
		hkd_take_send(run, c, st->to);
	if (c->does & HK_DOES_RECV) {
		hkd_take_recv(run, c, st->from);
		hkd_expect(c);
	}
	c->stage = HKD_DEPENDS;
}

/* The cursor passes a step. */
HKD_FN void hkd_pass(struct hkd_shared *sh, uint32_t lane, struct hkd_cursor *c)
{
	const struct hkd_run *run = &sh->run;
	const struct hk_step *st = (const struct hk_step *)c->step_at;
	uint32_t nsteps = hkd_lane(run, lane)->nsteps;

	c->stage = HKD_NEXT;
	if (run->prog.by_steps) {
		if (++c->tile < run->ntiles && hkd_bytes(run, st, c->tile, &c->line_bytes))
			return;
		c->tile = ++c->step < nsteps ? 0 : run->ntiles;
	} else {
		c->progress++;
		if (sh->nblocks > 1 && (st->flags & HKD_STEP_AWAITED))
			hkd_store_release_near(run->prog.progress + (uint64_t)lane * 8,
					       c->progress);
		if (++c->step == nsteps) {
			c->step = 0;
			c->tile++;
		}
	}
	if (c->tile < run->ntiles)
		return;
	c->step = 0; /* of those whose loans are still to be looked at */
	c->stage = c->lends ? HKD_SETTLES : HKD_ENDED;
}

/* Whether all that the lane lent has been read. */
HKD_COLD int hkd_settled(const struct hkd_run *run, uint32_t lane, struct hkd_cursor *c)
{
	uint32_t nsteps = hkd_lane(run, lane)->nsteps;

	for (; c->step < nsteps; c->step++) {
		const struct hk_step *st = hkd_step(run, lane, c->step);

		if (!(hkd_does(st->op) & HK_DOES_SEND))
			continue;
		hkd_take_send(run, c, st->to);
		if (!hkd_returned(&c->send))
			return 0;
	}
	return 1;
}

/* Whether what has come is what the step expects; else all ends. */
HKD_FN int hkd_matches(const struct hkd_run *run, uint32_t lane, const struct hkd_cursor *c,
		       uint32_t mark, uint32_t got)
{
	struct hkd_control what;

	if (mark == c->mark && got == c->bytes)
		return 1;
	what.peer = c->recv.peer;
	what.waits = HK_DOES_RECV;
	what.mark = mark;
	what.bytes = got;
	what.expected = (uint32_t)c->bytes;
	what.own_mark = c->mark;
	hkd_fail(run, lane, c, HKD_MISMATCH, what);
	return 0;
}

/* Whether the lane can take its next step: then sh says all about it. */
HKD_FN int hkd_look(struct hkd_shared *sh, uint32_t lane, struct hkd_cursor *c)
{
	const struct hkd_run *run = &sh->run;
	uint32_t mark, bytes;

	if (c->stage == HKD_NEXT)
		hkd_enter(run, c, lane);
	if (c->stage == HKD_DEPENDS && !hkd_is_free(sh, c))
		return 0;
	c->stage = HKD_WAITS;
	sh->lane = lane;
	sh->c = c;
	sh->in.at = sh->in.lines = sh->out.at = sh->out.lines = 0;
	if (c->skipped)
		return 1; /* the peer knows, too, that there is nothing to come */
	if (c->does & HK_DOES_RECV) {
		if (!hkd_peek(c, &sh->in, &mark, &bytes) || !hkd_matches(run, lane, c, mark, bytes))
			return 0;
	}
	if (!(c->does & HK_DOES_SEND))
		return 1;
	if (!hkd_reserve(run, c))
		return 0;
	hkd_aim(run, (const struct hk_step *)c->step_at, c, &sh->out);
	return 1;
}

/* Nothing has moved for too long: says what the first lane that could move waits for. */
HKD_COLD void hkd_expire(struct hkd_shared *sh)
{
	struct hkd_control what;
	uint32_t worst = 0;

	what.waits = 0;
	what.peer = -1;
	what.mark = what.bytes = what.expected = what.own_mark = 0;
	for (uint32_t i = 0; i < sh->nlanes; i++) {
		struct hkd_cursor *c = hkd_cursor(sh, i);
		struct hkd_message m;
		uint32_t mark, bytes;

		if (c->stage == HKD_ENDED)
			continue;
		worst = i;
		if (c->stage == HKD_SETTLES) {
			what.waits = HK_DOES_SEND;
			what.peer = c->send.peer;
			continue;
		}
		if (c->stage != HKD_WAITS)
			continue; /* the lane that it depends on tells more */
		if ((c->does & HK_DOES_RECV) && !hkd_peek(c, &m, &mark, &bytes)) {
			what.waits = HK_DOES_RECV;
			what.peer = c->recv.peer;
			break;
		}
		if (c->does & HK_DOES_SEND) {
			what.waits = HK_DOES_SEND;
			what.peer = c->send.peer;
			break;
		}
	}
	hkd_fail(&sh->run, sh->block + worst * sh->nblocks, hkd_cursor(sh, worst), HKD_TIMEOUT,
		 what);
}

/* One turn over the block's lanes, from *next on. 1: sh has a step; 0: none can move; -1: all have
 * ended. */
HKD_FN int hkd_turn(struct hkd_shared *sh, uint32_t *next)
{
	uint32_t n = sh->nlanes, ended = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = *next + i < n ? *next + i : *next + i - n,
			 lane = sh->block + at * sh->nblocks;
		struct hkd_cursor *c = hkd_cursor(sh, at);

		if (c->stage < HKD_SETTLES && hkd_look(sh, lane, c)) {
			*next = at + 1 < n ? at + 1 : 0;
			return 1;
		}
		if (c->stage == HKD_SETTLES && hkd_settled(&sh->run, lane, c))
			c->stage = HKD_ENDED;
		ended += c->stage == HKD_ENDED;
	}
	return ended == n ? -1 : 0;
}

HKD_FN void hkd_choose(struct hkd_shared *sh, uint32_t *next)
{
	const struct hkd_run *run = &sh->run;
	uint64_t since = 0;

	for (unsigned idle = 0;; idle++) {
		int r = hkd_turn(sh, next);

		if (r > 0 && sh->c->skipped) {
			hkd_pass(sh, sh->lane, sh->c);
			since = idle = 0;
			continue;
		}
		if (r) {
			sh->what = r > 0 ? HKD_MOVE : HKD_DONE;
			return;
		}
		hkd_pause(idle);
		if (idle % HKD_LOOKS != HKD_LOOKS - 1)
			continue;
		if (hkd_stopped(run)) {
			sh->what = HKD_STOPPED;
			return;
		}
		if (!since)
			since = hkd_now_ns();
		else if (run->timeout_ns && hkd_now_ns() - since > run->timeout_ns)
			hkd_expire(sh);
	}
}

/* --- all threads: the step --- */

HKD_FN void hkd_move_step(struct hkd_shared *sh, unsigned thread, unsigned nthreads)
{
	const struct hkd_run *run = &sh->run;
	const struct hk_step *st = (const struct hk_step *)sh->c->step_at;
	unsigned does = sh->c->does;
	uint32_t tile = sh->c->tile;
	uint64_t at = 0, lines = 0;
	struct hkd_piece p;

	p.scalar = sh->scalar;
	p.flag_in = sh->in.flag;
	p.flag_out = sh->out.flag;
	p.type = (uint8_t)run->type;
	p.op = (uint8_t)run->op;
	p.combines = (does & HK_DOES_REDUCE) != 0;
	p.scales = run->scaled && st->src_buf == HK_IN;
	p.control = run->control;
	p.timeout_ns = run->timeout_ns;
	p.broken = &sh->broken;
	HKD_NO_UNROLL
	for (uint32_t i = 0; i < st->nchunks; i++) {
		struct hkd_span s = hkd_span(run, st, i, tile);
		uint64_t bytes = s.length * run->esize, dst;

		if (!bytes)
			continue;
		dst = hkd_place(run, st->dst_buf, st->dst + i, s);
		p.a = does & HK_READS_SRC ? hkd_place(run, st->src_buf, st->src + i, s) : 0;
		p.b = sh->in.at ? sh->in.at + at : 0;
		p.out0 = sh->out.at && sh->out.kind != HKD_LENT ? sh->out.at + at : 0;
		p.out1 = does & HK_WRITES_DST ? dst : 0;
		p.bytes = bytes;
		p.lines_in = sh->in.lines ? sh->in.lines + lines * 2 : 0;
		p.lines_out = sh->out.lines ? sh->out.lines + lines * 2 : 0;
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

/* Lines alone order nothing but themselves. That will do where one block has all of a rank's lanes:
 * its barriers do the rest. Of several blocks, one may rely on what another did before it sent a
 * message, to which an answer has come. So there a message in lines is announced like any other,
 * once everything before it is done. */
HKD_FN int hkd_announces_ahead(const struct hkd_shared *sh)
{
	return sh->out.lines && sh->nblocks == 1;
}

HKD_FN void hkd_complete(struct hkd_shared *sh)
{
	const struct hkd_run *run = &sh->run;
	struct hkd_cursor *c = sh->c;

	if (c->does & HK_DOES_SEND) {
		if (!hkd_announces_ahead(sh))
			hkd_announce(c, &sh->out);
		hkd_commit(run, c, &sh->out);
	}
	if (c->does & HK_DOES_RECV)
		hkd_release(run, c);
	hkd_pass(sh, sh->lane, c);
}

/* The block has ended; the last one leaves everything as it was before the call, and counts it. */
HKD_FN void hkd_end(const struct hkd_run *run, unsigned nblocks)
{
	int awaited = nblocks > 1 && run->prog.awaited;

	if (!awaited && !run->call)
		return;
	if (nblocks > 1) {
		if (hkd_add_near(run->prog.ended, 1) + 1 != nblocks)
			return;
		*(volatile uint64_t *)run->prog.ended = 0;
	}
	for (uint32_t l = 0; awaited && l < run->prog.nlanes; l++)
		*((volatile uint64_t *)run->prog.progress + l) = 0;
	if (run->call)
		hkd_store_release((uint64_t) & ((struct hkd_control *)run->control)->calls,
				  run->call);
}

HKD_FN void hkd_interpret(const struct hkd_run *run, struct hkd_shared *sh, unsigned block,
			  unsigned nblocks, unsigned thread, unsigned nthreads)
{
	uint32_t next = 0;

	hkd_begin(run, sh, block, nblocks, thread, nthreads);
	while (!sh->broken) {
		if (thread == 0) {
			hkd_choose(sh, &next);
			if (sh->what == HKD_MOVE && hkd_announces_ahead(sh))
				hkd_announce_lines(sh->c, &sh->out);
		}
		hkd_sync(&sh->barrier);
		if (sh->what != HKD_MOVE)
			break;
		hkd_move_step(sh, thread, nthreads);
		hkd_sync(&sh->barrier);
		if (thread == 0 && !sh->broken)
			hkd_complete(sh);
	}
	if (thread == 0) {
		if (sh->broken || sh->what == HKD_STOPPED)
			hkd_store_relaxed(run->left, 1);
		hkd_end(run, nblocks);
	}
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
