/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Imports MSCCL's XML. A threadblock becomes a lane on its channel, a step one of ours, and:
 *
 * - A step of several chunks is cut where they do not follow each other in our schedule, by place
 *   or by size, and then so is its message at the other end, and further on if it is forwarded.
 * - `re` into memory that still holds input becomes a copy from IN to OUT and the reduction: what
 *   is in place a copy onto itself.
 * - A nop goes; its dependency is one more of the next step. A dependency on a nop is one on the
 *   step before it, and on what the nop waits for.
 * - What an algorithm for calls in place leaves where it is, is copied to OUT at the end, so that
 *   it also serves other calls.
 * - In MSCCL scratch is as long as the call, ours one tile. If the checker finds that successive
 *   tiles would meet in it, the programs become serial.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "assemble.h"
#include "check.h"
#include "error.h"
#include "msccl.h"

/* --- where steps are cut --- */

/* The step that stands for all that handle the same message. */
static uint32_t chain_of(struct hk_msccl *m, uint32_t i)
{
	while (m->steps[i].chain != i)
		i = m->steps[i].chain = m->steps[m->steps[i].chain].chain;
	return i;
}

static bool follows(const struct hk_msccl *m, const struct msccl_move *a,
		    const struct msccl_move *b)
{
	bool scratch_alone = a->src_buf != HK_IN && a->src_buf != HK_OUT && a->dst_buf != HK_OUT;

	return a->src_buf == b->src_buf && a->dst_buf == b->dst_buf && a->old_buf == b->old_buf &&
	       a->flip == b->flip && b->src == a->src + (a->src_buf != HK_NONE) &&
	       b->dst == a->dst + (a->dst_buf != HK_NONE) &&
	       b->old == a->old + (a->old_buf != HK_NONE) &&
	       (!scratch_alone || b->class == (a->class + 1) % m->period);
}

static void cut_steps(struct hk_msccl *m)
{
	for (uint32_t i = 0; i < m->nsteps; i++)
		m->steps[i].chain = i;
	for (uint32_t i = 0; i < m->nsteps; i++)
		if (msccl_does(&m->steps[i]) & HK_DOES_RECV)
			m->steps[chain_of(m, i)].chain = chain_of(m, m->steps[i].match);
	for (uint32_t i = 0; i < m->nsteps; i++) {
		const struct msccl_move *moves = &m->moves[m->steps[i].move];
		struct msccl_move *all = &m->moves[m->steps[chain_of(m, i)].move];

		for (uint32_t k = 1; k < m->steps[i].count; k++)
			all[k].cut |= !follows(m, &moves[k - 1], &moves[k]);
	}
	for (uint32_t i = 0; i < m->nsteps; i++) {
		struct msccl_move *moves = &m->moves[m->steps[i].move];
		const struct msccl_move *all = &m->moves[m->steps[chain_of(m, i)].move];

		for (uint32_t k = 0; k < m->steps[i].count; k++)
			moves[k].cut = !k || all[k].cut;
	}
}

/* How many chunks from k on make one step. */
static uint32_t piece(const struct hk_msccl *m, const struct msccl_step *s, uint32_t k)
{
	uint32_t n = 1;

	while (k + n < s->count && !m->moves[s->move + k + n].cut)
		n++;
	return n;
}

/* Numbers lanes and their steps; the longest message. */
static uint32_t number_steps(struct hk_msccl *m)
{
	uint32_t longest = 1, lane = 0;

	for (uint32_t t = 0; t < m->ntbs; t++) {
		struct msccl_tb *tb = &m->tbs[t];
		uint32_t steps = 0, n;

		for (uint32_t i = tb->first; i < tb->first + tb->nsteps; i++) {
			struct msccl_step *s = &m->steps[i];

			for (uint32_t k = 0; k < s->count; k += n) {
				n = piece(m, s, k);
				steps += 1 + (m->moves[s->move + k].old_buf != HK_NONE);
				if (msccl_does(s) & (HK_DOES_SEND | HK_DOES_RECV) && n > longest)
					longest = n;
			}
			s->end = steps - 1;
		}
		if (t == m->gpus[tb->gpu].first)
			lane = 0;
		tb->lane = steps ? lane++ : MSCCL_NOBODY;
	}
	return longest;
}

/* --- dependencies --- */

/* Makes the dependencies of one GPU's steps. */
struct deps {
	const struct hk_msccl *m;
	struct hk_assembly *a;
	uint32_t *most; /* [tbs]: the latest step of each that the step at hand waits for, plus 1 */
	uint32_t *stack; /* steps of the file: their completion is waited for */
	uint32_t nstack, max_stack;
	uint32_t *seen; /* [steps]: a nop, and for which step it was followed */
	uint64_t work;
};

#define MOST_WORK (1u << 26)

static int push(struct deps *d, uint32_t step)
{
	if (d->nstack == d->max_stack) {
		uint32_t max = d->max_stack ? d->max_stack * 2 : 64;
		uint32_t *more = realloc(d->stack, max * sizeof(*more));

		if (!more)
			return hk_fail_quiet(ENOMEM, "no memory for dependencies");
		d->stack = more;
		d->max_stack = max;
	}
	d->stack[d->nstack++] = step;
	return 0;
}

static int push_dep(struct deps *d, const struct msccl_step *s)
{
	if (s->dep_tb == MSCCL_NOBODY)
		return 0;
	return push(d, d->m->tbs[s->dep_tb].first + s->dep_step);
}

/* From the end of step i backwards: over nops, whose dependencies count, to a step that stays. */
static int follow(struct deps *d, uint32_t i, uint32_t for_step)
{
	const struct hk_msccl *m = d->m;
	const struct msccl_tb *tb = &m->tbs[m->steps[i].tb];
	int rc = 0;

	for (;; i--) {
		if (m->steps[i].type != MSCCL_NOP) {
			uint32_t *most = &d->most[m->steps[i].tb - m->gpus[tb->gpu].first];

			*most = m->steps[i].end + 1 > *most ? m->steps[i].end + 1 : *most;
			return 0;
		}
		if (d->seen[i] == for_step + 1)
			return 0;
		d->seen[i] = for_step + 1;
		if (d->work++ > MOST_WORK)
			return hk_file_fail(m->source, m->steps[i].line,
					    "too many nops wait for each other");
		rc = push_dep(d, &m->steps[i]);
		if (rc || i == tb->first)
			return rc;
	}
}

/* What step i must wait for. The lane's own steps come before it anyway. */
static int add_deps(struct deps *d, uint32_t i)
{
	const struct hk_msccl *m = d->m;
	const struct msccl_step *s = &m->steps[i];
	const struct msccl_gpu *gpu = &m->gpus[m->tbs[s->tb].gpu];
	bool after_nop = i > m->tbs[s->tb].first && m->steps[i - 1].type == MSCCL_NOP;
	int rc = 0;

	if (s->dep_tb == MSCCL_NOBODY && !after_nop)
		return 0;
	memset(d->most, 0, gpu->ntbs * sizeof(*d->most));
	d->nstack = 0;
	rc = push_dep(d, s);
	if (!rc && after_nop)
		rc = push(d, i - 1);
	while (!rc && d->nstack)
		rc = follow(d, d->stack[--d->nstack], i);
	for (uint32_t t = 0; !rc && t < gpu->ntbs; t++)
		if (d->most[t] && gpu->first + t != s->tb)
			rc = hk_assemble_dep(
				d->a, (struct hk_dep){m->tbs[gpu->first + t].lane, d->most[t] - 1});
	return rc;
}

/* --- programs --- */

static struct hk_step step_of(const struct hk_msccl *m, const struct msccl_step *s, uint32_t k)
{
	const struct msccl_move *move = &m->moves[s->move + k];
	const struct msccl_tb *tb = &m->tbs[s->tb];
	unsigned does = msccl_does(s);
	struct hk_step step = {.op = msccl_kinds[s->type].op,
			       .flags = move->flip ? HK_STEP_FLIP : 0,
			       .src_buf = move->src_buf,
			       .dst_buf = move->dst_buf,
			       .nchunks = (uint16_t)piece(m, s, k),
			       .to = does & HK_DOES_SEND ? tb->send : -1,
			       .from = does & HK_DOES_RECV ? tb->recv : -1,
			       .src = move->src,
			       .dst = move->dst};

	if (step.src_buf != HK_IN && step.src_buf != HK_OUT && step.dst_buf != HK_OUT)
		step.size = move->class;
	return step;
}

/* All that becomes of one step of the file. */
static int emit_step(struct deps *d, uint32_t i)
{
	const struct hk_msccl *m = d->m;
	const struct msccl_step *s = &m->steps[i];
	bool first = true;
	int rc = 0;

	for (uint32_t k = 0, n; !rc && k < s->count; k += n) {
		const struct msccl_move *move = &m->moves[s->move + k];
		struct hk_step step = step_of(m, s, k);

		n = step.nchunks;
		if (move->old_buf != HK_NONE) {
			struct hk_step copy = {.op = HK_COPY,
					       .src_buf = move->old_buf,
					       .dst_buf = move->dst_buf,
					       .nchunks = step.nchunks,
					       .to = -1,
					       .from = -1,
					       .src = move->old,
					       .dst = move->dst};

			rc = hk_assemble_step(d->a, &copy);
			if (!rc && first)
				rc = add_deps(d, i);
			first = false;
		}
		rc = rc ? rc : hk_assemble_step(d->a, &step);
		if (!rc && first)
			rc = add_deps(d, i);
		first = false;
	}
	return rc;
}

/* The last step of a lane that reads IN; its number plus 1. */
static uint32_t last_reader(const struct hk_program *prog, const struct hk_lane *lane)
{
	uint32_t n = lane->nsteps;

	while (n && prog->steps[lane->first + n - 1].src_buf != HK_IN)
		n--;
	return n;
}

/* Copies what is still input at the end from IN to OUT, when nobody reads IN any more. */
static int complete(const struct hk_msccl *m, uint32_t gpu, struct hk_assembly *a)
{
	const struct msccl_cell *cells = m->gpus[gpu].cells;
	uint32_t nout = hk_coll_blocks(&m->p, (int)gpu, HK_OUT) * m->period, n;
	uint32_t nlanes = a->prog->nlanes;
	bool first = true;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < nout; i += n) {
		struct hk_step copy = {.op = HK_COPY,
				       .src_buf = HK_IN,
				       .dst_buf = HK_OUT,
				       .to = -1,
				       .from = -1,
				       .src = cells[i].spill,
				       .dst = i};

		for (n = 0; i + n < nout && cells[i + n].state == MSCCL_INPUT && n < UINT16_MAX;
		     n++)
			if (cells[i + n].spill != copy.src + n)
				break;
		copy.nchunks = (uint16_t)n;
		if (!n) {
			n = 1;
			continue;
		}
		if (first)
			rc = hk_assemble_lane(a, 0);
		rc = rc ? rc : hk_assemble_step(a, &copy);
		for (uint32_t l = 0; !rc && first && l < nlanes; l++) {
			uint32_t last = last_reader(a->prog, &a->prog->lanes[l]);

			if (last)
				rc = hk_assemble_dep(a, (struct hk_dep){l, last - 1});
		}
		first = false;
	}
	return rc;
}

static int emit_lanes(struct deps *d, uint32_t gpu)
{
	const struct hk_msccl *m = d->m;
	int rc = 0;

	for (uint32_t t = m->gpus[gpu].first; t < m->gpus[gpu].first + m->gpus[gpu].ntbs; t++) {
		const struct msccl_tb *tb = &m->tbs[t];

		if (tb->lane == MSCCL_NOBODY)
			continue;
		rc = hk_assemble_lane(d->a, tb->channel);
		for (uint32_t i = tb->first; !rc && i < tb->first + tb->nsteps; i++)
			rc = emit_step(d, i);
		if (rc)
			return rc;
	}
	return m->p.inplace ? complete(m, gpu, d->a) : 0;
}

static int emit(struct deps *d, uint32_t gpu, uint32_t longest, struct hk_program **out)
{
	const struct hk_msccl *m = d->m;
	struct hk_report report = {0};
	struct hk_assembly a;
	int rc = hk_assemble_begin(&a, (int)gpu);

	if (rc)
		return rc;
	*out = a.prog;
	d->a = &a;
	rc = hk_check_chunks(&m->p, (int)gpu, m->period, a.prog->nchunks, &report);
	if (rc)
		return hk_fail_quiet(EINVAL, "%s: %s", m->source, report.text);
	a.prog->period = m->period;
	a.prog->message_chunks = longest;
	a.prog->nchunks[HK_SCRATCH] = m->gpus[gpu].scratch + m->gpus[gpu].spilled;
	rc = emit_lanes(d, gpu);
	if (!rc && hk_check_bounds(&m->p, a.prog, (int)gpu, m->p.nranks, &report))
		rc = hk_fail_quiet(EINVAL, "%s: %s", m->source, report.text);
	return rc;
}

static int emit_all(struct hk_msccl *m, struct hk_schedule *s)
{
	uint32_t longest, tbs = 0;
	struct deps d = {.m = m};
	int rc = 0;

	cut_steps(m);
	longest = number_steps(m);
	for (int g = 0; g < m->p.nranks; g++)
		tbs = m->gpus[g].ntbs > tbs ? m->gpus[g].ntbs : tbs;
	d.most = malloc(((size_t)tbs + 1) * sizeof(*d.most));
	d.seen = calloc((size_t)m->nsteps + 1, sizeof(*d.seen));
	if (!d.most || !d.seen)
		rc = hk_fail_quiet(ENOMEM, "%s: no memory to import it", m->source);
	for (uint32_t g = 0; !rc && g < (uint32_t)m->p.nranks; g++)
		rc = emit(&d, g, longest, &s->programs[g]);
	free(d.most);
	free(d.seen);
	free(d.stack);
	return rc;
}

/* Serial where scratch needs it. What else may be wrong is not for here. */
static void set_serial(struct hk_schedule *s, const struct hk_problem *p)
{
	struct hk_report report;
	bool scratch = false;

	for (int i = 0; i < s->n; i++)
		scratch |= s->programs[i]->nchunks[HK_SCRATCH] > 0;
	if (!scratch || !hk_check_any_order(p, s->programs, s->n, UINT32_MAX, &report) ||
	    report.phase != HK_CHECK_RACE)
		return;
	for (int i = 0; i < s->n; i++)
		s->programs[i]->serial = s->programs[i]->nchunks[HK_SCRATCH] > 0;
}

static int import(struct hk_msccl *m, const char *xml, size_t length, struct hk_schedule *s)
{
	int rc = hk_msccl_parse(m, xml, length);

	if (!rc)
		rc = hk_msccl_run(m);
	if (rc)
		return rc;
	memcpy(s->name, m->name, sizeof(s->name));
	s->problem = m->p;
	s->problem.inplace = false;
	s->min_bytes = m->min_bytes;
	s->max_bytes = m->max_bytes;
	s->inplace = m->inplace;
	s->outofplace = true;
	s->n = m->p.nranks;
	s->programs = calloc((size_t)s->n, sizeof(*s->programs));
	if (!s->programs)
		return hk_fail_quiet(ENOMEM, "%s: no memory to import it", m->source);
	rc = emit_all(m, s);
	if (!rc)
		rc = hk_file_check_limits(s, m->source);
	if (!rc)
		set_serial(s, &m->p);
	return rc;
}

int hk_msccl_read(const char *xml, size_t length, const char *source, struct hk_schedule **out)
{
	struct hk_msccl m = {.source = source};
	struct hk_schedule *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return hk_fail_quiet(ENOMEM, "no memory for a schedule");
	rc = import(&m, xml, length, s);
	hk_msccl_free(&m);
	if (rc)
		hk_schedule_free(s);
	else
		*out = s;
	return rc;
}
