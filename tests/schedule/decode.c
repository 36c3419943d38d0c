/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first byte chooses between a schedule made up field by field, where most values are small
 * enough to make sense and some are not; one of ours with a few fields overwritten; and one made up
 * of messages that fit, which gets further into the checker. Bytes that are missing read as 0.
 */
#include "decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "programs.h"

struct input {
	const uint8_t *data;
	size_t left;
};

static uint32_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

/* Mostly below `below`; one time in 128 anything. */
static uint32_t number(struct input *in, uint32_t below)
{
	uint32_t b = byte(in);

	if (b < 254)
		return below ? b % below : 0;
	return b < 255 ? UINT32_MAX - byte(in) % 4 : byte(in) << 24 | byte(in) << 8 | byte(in);
}

/* Another participant than this one, as a rule. */
static int32_t decode_peer(struct input *in, int rank, int n)
{
	return n < 2 ? 0
		     : (int32_t)(((uint32_t)rank + 1 + number(in, (uint32_t)n - 1)) % (uint32_t)n);
}

static void decode_step(struct input *in, struct hk_step *s, const struct hk_program *prog, int n)
{
	unsigned does;

	s->op = (uint8_t)(1 + number(in, HK_NOPS - 1));
	if (n < 2 && s->op != HK_REDUCE)
		s->op = HK_COPY;
	does = s->op < HK_NOPS ? hk_op_does[s->op] : 0xff;
	s->flags = does & HK_DOES_REDUCE ? (uint8_t)number(in, 2) : 0;
	s->nchunks = (uint16_t)(1 + (byte(in) > 240));
	s->from = does & HK_DOES_RECV ? decode_peer(in, prog->rank, n) : -1;
	s->to = does & HK_DOES_SEND ? decode_peer(in, prog->rank, n) : -1;
	if (does & HK_READS_SRC) {
		s->src_buf = (uint8_t)(1 + number(in, 3));
		s->src = number(in, prog->nchunks[s->src_buf % HK_NBUFS]);
	}
	s->size = number(in, 4) % (1 + byte(in) % 3);
	if (does & HK_WRITES_DST) {
		s->dst_buf = (uint8_t)(2 + number(in, 2));
		s->dst = number(in, prog->nchunks[s->dst_buf % HK_NBUFS]);
		if (does & HK_READS_SRC && byte(in) < 250)
			s->dst += s->src % prog->period - s->dst % prog->period;
	}
	if (prog->ndeps && byte(in) < 32) {
		s->ndeps = 1;
		s->dep = number(in, prog->ndeps);
	}
}

static struct hk_program *decode_program(struct input *in, const struct hk_problem *p, int rank,
					 uint32_t period, int n)
{
	struct hk_program *prog = calloc(1, sizeof(*prog));
	uint32_t nout = period * hk_coll_blocks(p, rank, HK_OUT);
	uint32_t nin = period * hk_coll_blocks(p, rank, HK_IN);

	if (!prog)
		abort();
	prog->rank = rank;
	prog->period = period;
	prog->message_chunks = 2;
	prog->nchunks[HK_IN] = rank < p->nranks ? nin : 0;
	prog->nchunks[HK_OUT] = rank < p->nranks ? nout : 0;
	prog->nchunks[HK_SCRATCH] = (1 + byte(in) % 3) * period;
	prog->nlanes = byte(in) % 4;
	prog->ndeps = byte(in) % 4;
	prog->lanes = calloc(prog->nlanes + 1, sizeof(*prog->lanes));
	prog->deps = calloc(prog->ndeps + 1, sizeof(*prog->deps));
	prog->steps = calloc(4 * 8 + 1, sizeof(*prog->steps));
	if (!prog->lanes || !prog->deps || !prog->steps)
		abort();
	for (uint32_t i = 0; i < prog->nlanes; i++) {
		uint32_t nsteps = 1 + byte(in) % 8;

		prog->lanes[i] = (struct hk_lane){prog->nsteps, nsteps, i + number(in, 1)};
		for (uint32_t k = 0; k < nsteps; k++)
			decode_step(in, &prog->steps[prog->nsteps++], prog, n);
		if (byte(in) == 255) /* a table that lies about itself */
			prog->lanes[i].nsteps += number(in, 3);
	}
	for (uint32_t i = 0; i < prog->ndeps; i++)
		prog->deps[i] = (struct hk_dep){number(in, prog->nlanes), number(in, 1)};
	return prog;
}

static void decode_random(struct input *in, struct world *w)
{
	uint32_t period = 1 + byte(in) % 3;

	w->p.coll = byte(in) % HK_NCOLLS;
	w->p.nranks = (int)(1 + byte(in) % 3);
	w->p.channels = 1;
	w->p.inplace = byte(in) & 1;
	w->p.varied = byte(in) & 1;
	w->p.root = byte(in) % w->p.nranks;
	w->p.sends = byte(in) % 4;
	w->p.receives = byte(in) % 4;
	w->n = w->p.nranks + (byte(in) < 16);
	for (int i = 0; i < w->n; i++)
		w->programs[i] = decode_program(in, &w->p, i, period, w->n);
}

struct matched {
	struct hk_builder *b[3];
	uint32_t nlanes;
	uint32_t nsteps[3][2];
};

/* Counts the step that was just added, and may make it wait for one of the other lane's. */
static void added(struct input *in, struct matched *m, int at, uint32_t lane)
{
	uint32_t others = m->nsteps[at][!lane];

	m->nsteps[at][lane]++;
	if (others && byte(in) < 64)
		hk_build_after(m->b[at], lane, !lane, byte(in) % others);
}

/* A message from one lane to the same lane of another rank, or a local step. */
static void decode_event(struct input *in, struct matched *m, int n, uint32_t period)
{
	uint32_t what = byte(in), lane = byte(in) % m->nlanes, chunk = byte(in) % period;
	enum hk_buf src = 1 + byte(in) % 3, dst = 2 + byte(in) % 2;
	int at = (int)(byte(in) % (uint32_t)n),
	    to = (at + 1 + (int)(byte(in) % ((uint32_t)n - 1))) % n;

	if (what < 32) {
		hk_build_copy(m->b[at], lane, src, chunk, dst, chunk, 1);
		added(in, m, at, lane);
		return;
	}
	if (what < 64) {
		hk_build_reduce(m->b[at], lane, src, chunk, dst, chunk, 1, what % 2);
		added(in, m, at, lane);
		return;
	}
	hk_build_send(m->b[at], lane, to, src, chunk, 1);
	added(in, m, at, lane);
	if (what % 2)
		hk_build_recv(m->b[to], lane, at, dst, chunk, 1);
	else
		hk_build_recv_reduce(m->b[to], lane, at, 1 + what / 2 % 3, chunk, dst, chunk, 1,
				     what >> 7);
	added(in, m, to, lane);
}

/* A schedule whose messages fit, which the builder accepts; whether it does any good is another
 * matter. */
static void decode_matched(struct input *in, struct world *w)
{
	uint32_t period = 1 + byte(in) % 2, nevents = 1 + byte(in) % 12;
	struct matched m = {.nlanes = 1 + byte(in) % 2};

	w->p = (struct hk_problem){
		.coll = HK_ALL_REDUCE, .nranks = (int)(2 + byte(in) % 2), .channels = 1};
	w->p.inplace = byte(in) & 1;
	w->n = w->p.nranks;
	for (int i = 0; i < w->n; i++) {
		if (hk_build_begin(&w->p, i, &m.b[i]))
			abort();
		hk_build_chunks(m.b[i], period, period);
		for (uint32_t l = 0; l < m.nlanes; l++)
			hk_build_lane(m.b[i], l);
	}
	while (nevents--)
		decode_event(in, &m, w->n, period);
	for (int i = 0; i < w->n; i++) {
		for (uint32_t l = 0; l < m.nlanes; l++)
			if (!m.nsteps[i][l])
				hk_build_copy(m.b[i], l, HK_SCRATCH, 0, HK_SCRATCH, 0, 1);
		if (hk_build_finish(m.b[i], &w->programs[i]))
			abort();
	}
}

static void spoil(struct input *in, struct world *w)
{
	struct hk_program *prog = w->programs[byte(in) % (uint32_t)w->n];
	struct hk_step *s;
	uint32_t which = byte(in);

	if (!prog->nsteps)
		return;
	s = &prog->steps[(byte(in) << 8 | byte(in)) % prog->nsteps];
	switch (which % 12) {
	case 0:
		s->op = (uint8_t)number(in, HK_NOPS);
		break;
	case 1:
		s->src_buf = (uint8_t)number(in, HK_NBUFS);
		break;
	case 2:
		s->dst_buf = (uint8_t)number(in, HK_NBUFS);
		break;
	case 3:
		s->src = number(in, prog->nchunks[HK_IN]);
		break;
	case 4:
		s->dst = number(in, prog->nchunks[HK_OUT]);
		break;
	case 5:
		s->to = (int32_t)number(in, (uint32_t)w->n);
		break;
	case 6:
		s->from = (int32_t)number(in, (uint32_t)w->n);
		break;
	case 7:
		s->nchunks = (uint16_t)number(in, 4);
		break;
	case 8:
		s->flags = (uint8_t)number(in, 2);
		break;
	case 9:
		s->ndeps = (uint16_t)number(in, prog->ndeps + 1);
		s->dep = number(in, prog->ndeps);
		break;
	case 10:
		if (prog->ndeps)
			prog->deps[byte(in) % prog->ndeps] =
				(struct hk_dep){number(in, prog->nlanes), number(in, 8)};
		break;
	default: {
		struct hk_step t = prog->steps[number(in, prog->nsteps) % prog->nsteps];

		*s = t;
	}
	}
}

static void decode_spoiled(struct input *in, struct world *w)
{
	static const int sizes[] = {2, 3, 4, 5, 8};
	uint32_t which = byte(in), flags = byte(in), nspoils;
	struct hk_problem p = {.nranks = sizes[byte(in) % 5],
			       .channels = 1 + (flags >> 2 & 1),
			       .inplace = flags & 1};
	const struct hk_algo *algo;

	do { /* the next one that solves it: not all do so few ranks, or without switches */
		algo = hk_algos[which++ % hk_nalgos];
		p.coll = algo->coll;
	} while (!algo->accepts(&p));
	if (world_build_problem(w, algo, &p, flags & 2))
		abort();
	nspoils = byte(in) % 4;
	while (nspoils--)
		spoil(in, w);
}

static void must(int ok, const char *what, const struct hk_report *report)
{
	if (ok)
		return;
	fprintf(stderr, "%s: phase %d: %s\n", what, report->phase, report->text);
	abort();
}

int try_bytes(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct world w = {0};
	struct hk_report report;
	int rc, phase;

	switch (byte(&in) % 3) {
	case 0:
		decode_random(&in, &w);
		break;
	case 1:
		decode_spoiled(&in, &w);
		break;
	default:
		decode_matched(&in, &w);
	}
	rc = world_check(&w, 8, &report);
	must(rc == 0 || rc == -HK_EPROOF, "undocumented code", &report);
	must(!rc == !report.phase && !rc == !report.text[0], "report does not fit code", &report);
	phase = report.phase;
	for (int i = 0; !rc && i < w.n; i++)
		must(!hk_fuse(&w.p, w.programs[i]), "cannot fuse", &report);
	/* A fused step may need a slot more than the two steps it was. */
	if (!rc)
		must(!world_check(&w, 64, &report), "wrong once fused", &report);
	world_free(&w);
	return phase;
}
