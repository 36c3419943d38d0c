/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket schedule export`: a schedule in the formats of others. text is our own; dot is Graphviz,
 * a box for each participant; goal is what LogGOPSim simulates; trace is a predicted timeline.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "schedule.h"
#include "schedule_trace.h"
#include "tune.h"

uint64_t hk_workbench_block(const struct hk_schedule *s, const struct schedule_options *o)
{
	uint64_t bytes = o->bytes ? o->bytes : 65536;

	return bytes / hk_schedule_bytes(&s->problem, 1);
}

/* --- text --- */

/* An algorithm's programs, made for one kind of call, often do for both. */
static int put_text(const struct hk_schedule *s, const struct schedule_options *o, FILE *out)
{
	struct hk_schedule both = *s;
	struct hk_report report;

	both.inplace = both.outofplace = true;
	if (!o->inplace && !hk_schedule_prove(&both, o->slots, &report))
		return hk_schedule_write(&both, out);
	return hk_schedule_write(s, out);
}

/* --- dot --- */

static void put_dot_steps(const struct hk_program *prog, const char *kind, FILE *out)
{
	fprintf(out, "  subgraph cluster_%d {\n    label=\"%s %d\";\n", prog->rank, kind,
		prog->rank);
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++) {
			const struct hk_step *s = &prog->steps[prog->lanes[l].first + i];

			fprintf(out,
				"    p%dl%" PRIu32 "s%" PRIu32 " [label=\"%" PRIu32 ".%" PRIu32
				": ",
				prog->rank, l, i, l, i);
			hk_step_dump(prog, s, out);
			fputs("\"];\n", out);
			if (i)
				fprintf(out,
					"    p%dl%" PRIu32 "s%" PRIu32 " -> p%dl%" PRIu32
					"s%" PRIu32 " [weight=8];\n",
					prog->rank, l, i - 1, prog->rank, l, i);
			for (uint32_t d = 0; d < s->ndeps; d++)
				fprintf(out,
					"    p%dl%" PRIu32 "s%" PRIu32 " -> p%dl%" PRIu32
					"s%" PRIu32 " [style=dashed];\n",
					prog->rank, prog->deps[s->dep + d].lane,
					prog->deps[s->dep + d].step, prog->rank, l, i);
		}
	}
	fputs("  }\n", out);
}

/* The lane of a participant that receives from another on a channel; nlanes if none does. */
static uint32_t find_receiver(const struct hk_program *prog, int from, uint32_t channel)
{
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		const struct hk_lane *lane = &prog->lanes[l];

		for (uint32_t i = 0; lane->channel == channel && i < lane->nsteps; i++)
			if (prog->steps[lane->first + i].from == from)
				return l;
	}
	return prog->nlanes;
}

/* The next step of a lane from `at` on that sends to (or receives from) the peer. */
static uint32_t next_step(const struct hk_program *prog, uint32_t l, uint32_t at, bool send,
			  int peer)
{
	for (; at < prog->lanes[l].nsteps; at++) {
		const struct hk_step *s = &prog->steps[prog->lanes[l].first + at];

		if ((send ? s->to : s->from) == peer)
			break;
	}
	return at;
}

/* The messages of one lane to one peer. */
static void put_dot_messages(const struct hk_schedule *s, const struct hk_program *prog, uint32_t l,
			     int to, FILE *out)
{
	const struct hk_program *peer = s->programs[to];
	uint32_t r = find_receiver(peer, prog->rank, prog->lanes[l].channel);
	uint32_t i = next_step(prog, l, 0, true, to), k;

	if (r == peer->nlanes)
		return;
	k = next_step(peer, r, 0, false, prog->rank);
	while (i < prog->lanes[l].nsteps && k < peer->lanes[r].nsteps) {
		fprintf(out,
			"  p%dl%" PRIu32 "s%" PRIu32 " -> p%dl%" PRIu32 "s%" PRIu32
			" [color=blue constraint=false];\n",
			prog->rank, l, i, to, r, k);
		i = next_step(prog, l, i + 1, true, to);
		k = next_step(peer, r, k + 1, false, prog->rank);
	}
}

static int put_dot(const struct hk_schedule *s, FILE *out)
{
	bool *done = calloc((size_t)s->n, sizeof(*done));

	if (!done)
		return -ENOMEM;
	fprintf(out, "digraph \"%s\" {\n  node [shape=box fontsize=10];\n", s->name);
	for (int i = 0; i < s->n; i++)
		put_dot_steps(s->programs[i], i < s->problem.nranks ? "rank" : "switch", out);
	for (int i = 0; i < s->n; i++) {
		const struct hk_program *prog = s->programs[i];

		for (uint32_t l = 0; l < prog->nlanes; l++) {
			memset(done, 0, (size_t)s->n * sizeof(*done));
			for (uint32_t k = 0; k < prog->lanes[l].nsteps; k++) {
				int to = prog->steps[prog->lanes[l].first + k].to;

				if (to < 0 || done[to])
					continue;
				done[to] = true;
				put_dot_messages(s, prog, l, to, out);
			}
		}
	}
	fputs("}\n", out);
	free(done);
	return 0;
}

/* --- GOAL --- */

/* Bytes that a step moves, in blocks of `block` bytes. */
static uint64_t step_bytes(const struct hk_problem *p, const struct hk_program *prog,
			   const struct hk_step *s, uint64_t block)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->nchunks; i++) {
		uint64_t c = hk_step_size(p, prog, s, i) % prog->period;

		bytes += (uint64_t)((unsigned __int128)block * (c + 1) / prog->period -
				    (unsigned __int128)block * c / prog->period);
	}
	return bytes;
}

/* A step becomes up to three operations: recv, calc, send. They are numbered from 3 times the
 * step's number in the program on, plus 1. */
enum goal_op { GOAL_RECV, GOAL_CALC, GOAL_SEND };

static uint32_t goal_label(uint32_t step, enum goal_op op)
{
	return step * 3 + op + 1;
}

/* What is left to do once a step's message is there, in ns; 0: nothing. */
static uint64_t goal_calc(const struct hk_machine *m, unsigned does, uint64_t bytes)
{
	double ns = 0;

	if (does & HK_DOES_REDUCE)
		ns += (double)bytes * m->reduce_ns_per_byte;
	if (does & HK_WRITES_DST && !(does & HK_DOES_RECV))
		ns += (double)bytes * m->copy_ns_per_byte;
	return ns > 0 && ns < 1 ? 1 : (uint64_t)ns;
}

static uint32_t goal_first(unsigned does, uint32_t step)
{
	return goal_label(step, does & HK_DOES_RECV			  ? GOAL_RECV
				: does & (HK_DOES_REDUCE | HK_WRITES_DST) ? GOAL_CALC
									  : GOAL_SEND);
}

static uint32_t goal_last(unsigned does, uint32_t step)
{
	if (does & HK_DOES_SEND)
		return goal_label(step, GOAL_SEND);
	return goal_label(step,
			  does & HK_DOES_REDUCE || !(does & HK_DOES_RECV) ? GOAL_CALC : GOAL_RECV);
}

static void put_goal_step(const struct hk_machine *m, const struct hk_program *prog, uint32_t lane,
			  uint32_t i, uint64_t bytes, FILE *out)
{
	const struct hk_step *s = &prog->steps[i];
	unsigned does = hk_op_does[s->op];
	uint32_t channel = prog->lanes[lane].channel, before = 0;
	bool calc = does & HK_DOES_REDUCE || !(does & (HK_DOES_RECV | HK_DOES_SEND));

	/* The simulator takes one byte off what a message costs: there is none without. */
	if (does & HK_DOES_RECV) {
		before = goal_label(i, GOAL_RECV);
		fprintf(out, "l%" PRIu32 ": recv %" PRIu64 "b from %d tag %" PRIu32 "\n", before,
			bytes ? bytes : 1, s->from, channel);
	}
	if (calc) {
		fprintf(out, "l%" PRIu32 ": calc %" PRIu64 "\n", goal_label(i, GOAL_CALC),
			goal_calc(m, does, bytes));
		if (before)
			fprintf(out, "l%" PRIu32 " requires l%" PRIu32 "\n",
				goal_label(i, GOAL_CALC), before);
		before = goal_label(i, GOAL_CALC);
	}
	if (does & HK_DOES_SEND) {
		fprintf(out, "l%" PRIu32 ": send %" PRIu64 "b to %d tag %" PRIu32 "\n",
			goal_label(i, GOAL_SEND), bytes ? bytes : 1, s->to, channel);
		if (before)
			fprintf(out, "l%" PRIu32 " requires l%" PRIu32 "\n",
				goal_label(i, GOAL_SEND), before);
	}
}

/* What must come before a step: its lane's last, and its dependencies. Labels that it names must
 * stand above it in LogGOPSim's reader, so all of this comes after all operations. */
static void put_goal_order(const struct hk_program *prog, uint32_t lane, uint32_t i, FILE *out)
{
	const struct hk_step *s = &prog->steps[i];
	uint32_t first = goal_first(hk_op_does[s->op], i);

	if (i > prog->lanes[lane].first)
		fprintf(out, "l%" PRIu32 " requires l%" PRIu32 "\n", first,
			goal_last(hk_op_does[prog->steps[i - 1].op], i - 1));
	for (uint32_t d = 0; d < s->ndeps; d++) {
		const struct hk_dep *dep = &prog->deps[s->dep + d];
		uint32_t k = prog->lanes[dep->lane].first + dep->step;

		fprintf(out, "l%" PRIu32 " requires l%" PRIu32 "\n", first,
			goal_last(hk_op_does[prog->steps[k].op], k));
	}
}

static int put_goal(const struct hk_schedule *s, const struct schedule_options *o, FILE *out)
{
	uint64_t block = hk_workbench_block(s, o);
	struct hk_machine m;

	hk_tune_machine_default(&m);
	fprintf(out, "num_ranks %d\n", s->n);
	for (int r = 0; r < s->n; r++) {
		const struct hk_program *prog = s->programs[r];

		fprintf(out, "\nrank %d {\n", r);
		for (int order = 0; order < 2; order++)
			for (uint32_t l = 0; l < prog->nlanes; l++)
				for (uint32_t i = prog->lanes[l].first;
				     i < prog->lanes[l].first + prog->lanes[l].nsteps; i++)
					if (order)
						put_goal_order(prog, l, i, out);
					else
						put_goal_step(&m, prog, l, i,
							      step_bytes(&s->problem, prog,
									 &prog->steps[i], block),
							      out);
		fputs("}\n", out);
	}
	return 0;
}

/* --- trace --- */

struct predicted {
	struct hk_price_observer observer;
	struct trace trace;
};

static void on_priced(struct hk_price_observer *o, const struct hk_priced_step *s)
{
	struct predicted *p = (struct predicted *)o;

	hk_trace_add(&p->trace, &(struct trace_event){.participant = s->participant,
						      .lane = s->lane,
						      .step = s->step,
						      .tile = s->tile,
						      .start_ns = s->start_ns,
						      .end_ns = s->end_ns});
}

static int put_trace(const struct hk_schedule *s, const struct schedule_options *o, unsigned slots,
		     FILE *out)
{
	struct hk_problem p = hk_schedule_problem(s, !s->outofplace);
	struct predicted predicted = {.observer = {on_priced}};
	struct hk_price price;
	struct hk_machine m;
	int rc;

	hk_tune_machine_default(&m);
	if (m.slots < slots)
		m.slots = slots;
	rc = hk_tune_price(&m, &p, s->programs, s->n, hk_workbench_block(s, o), false,
			   &predicted.observer, &price);
	if (!rc)
		rc = hk_trace_write(&predicted.trace, s, out);
	free(predicted.trace.events);
	return rc;
}

static int put(const struct hk_schedule *s, const struct schedule_options *o, unsigned slots,
	       FILE *out)
{
	if (!strcmp(o->format, "text"))
		return put_text(s, o, out);
	if (!strcmp(o->format, "dot"))
		return put_dot(s, out);
	if (!strcmp(o->format, "goal"))
		return put_goal(s, o, out);
	return put_trace(s, o, slots, out);
}

int hk_workbench_export(const struct hk_schedule *s, const struct schedule_options *o)
{
	struct hk_report report;
	FILE *out = stdout;
	int rc;

	/* What is wrong can't be priced or drawn; as text it can be looked at. */
	if (hk_workbench_judge(s, o->slots, stderr, &report) && strcmp(o->format, "text") != 0)
		return 1;
	if (o->output)
		out = fopen(o->output, "we");
	if (!out) {
		fprintf(stderr, "hocket schedule: %s: %s\n", o->output, strerror(errno));
		return 1;
	}
	rc = put(s, o, report.slots, out);
	if (fflush(out) || ferror(out))
		rc = -EIO;
	if (out != stdout && fclose(out))
		rc = -EIO;
	if (rc)
		fprintf(stderr, "hocket schedule: cannot write it: %s\n", hk_code_name(rc));
	return rc ? 1 : 0;
}
