/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker: proves a schedule by interpreting all participants symbolically, one phase after the
 * other, each in a file of its own:
 *
 *   bounds    check_bounds.c  every number in every program makes sense by itself
 *   fifo      check_fifo.c    the k-th send of each connection fits the k-th receive
 *   progress  check_run.c     with so many slots per connection, everything runs to the end
 *   race      check_race.c    whatever touches the same memory is ordered
 *   result    check_result.c  every output chunk is what the collective promises
 *
 * One run of one tile says it all. A connection has one sender and one receiver, and a step that
 * can go stays able to go whatever others do, so all interleavings reach the same end and differ
 * only in the order of steps that no message and no dependency orders; the race phase makes sure
 * that these do not meet in memory. And as a tile ends with all connections empty, running tile
 * after tile is one of the interleavings of many tiles: if it ends, all do.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"

int hk_check_fail(struct hk_report *report, enum hk_check_phase phase, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(report->text, sizeof(report->text), fmt, ap);
	va_end(ap);
	report->phase = phase;
	return -HK_EPROOF;
}

struct hk_check_name hk_check_where(const struct hk_check *c, uint32_t lane, uint32_t at)
{
	struct hk_check_name name;
	uint32_t part = c->owner[lane];

	snprintf(name.text, sizeof(name.text), "%s %u, lane %u, step %u (%s)",
		 part < (uint32_t)c->p->nranks ? "rank" : "switch", part, lane - c->lane_base[part],
		 at, hk_op_name(hk_check_step(c, lane, at)->op));
	return name;
}

static int check_problem(const struct hk_problem *p, struct hk_program *const *programs, int n,
			 struct hk_report *report)
{
	if ((unsigned)p->coll >= HK_NCOLLS || p->nranks < 1 || p->channels < 1 || p->root < 0 ||
	    p->root >= p->nranks)
		return hk_check_fail(report, HK_CHECK_BOUNDS, "the problem itself makes no sense");
	if (p->coll == HK_POINT_TO_POINT)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "sends and receives promise nothing that could be proved");
	if (n < p->nranks)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "%d programs are too few for %d ranks", n, p->nranks);
	for (int i = 0; i < n; i++) {
		int rc;

		if (!programs[i])
			return hk_check_fail(report, HK_CHECK_BOUNDS,
					     "participant %d has no program", i);
		rc = hk_check_bounds(p, programs[i], i, n, report);
		if (rc)
			return rc;
		if (programs[i]->period != programs[0]->period ||
		    programs[i]->message_chunks != programs[0]->message_chunks)
			return hk_check_fail(report, HK_CHECK_BOUNDS,
					     "participants 0 and %d disagree: period %u and %u, "
					     "messages of up to "
					     "%u and %u chunks",
					     i, programs[0]->period, programs[i]->period,
					     programs[0]->message_chunks,
					     programs[i]->message_chunks);
	}
	return 0;
}

static int number_all(struct hk_check *c)
{
	uint64_t lanes = 0, steps = 0;

	c->lane_base = calloc((size_t)c->n + 1, sizeof(*c->lane_base));
	c->step_base = calloc((size_t)c->n + 1, sizeof(*c->step_base));
	if (!c->lane_base || !c->step_base)
		return -ENOMEM;
	for (int i = 0; i < c->n; i++) {
		lanes += c->programs[i]->nlanes;
		steps += c->programs[i]->nsteps;
		if (steps > INT32_MAX) /* no lane is empty: there are no more lanes than steps */
			return hk_check_fail(c->report, HK_CHECK_BOUNDS,
					     "the programs have more than %d steps together",
					     INT32_MAX);
		c->lane_base[i + 1] = (uint32_t)lanes;
		c->step_base[i + 1] = (uint32_t)steps;
	}
	c->nlanes = (uint32_t)lanes;
	c->nsteps = (uint32_t)steps;
	c->owner = malloc((lanes + 1) * sizeof(*c->owner));
	if (!c->owner)
		return -ENOMEM;
	for (int i = 0; i < c->n; i++)
		for (uint32_t l = c->lane_base[i]; l < c->lane_base[i + 1]; l++)
			c->owner[l] = (uint32_t)i;
	c->report->steps = steps;
	return 0;
}

static void free_all(struct hk_check *c)
{
	free(c->lane_base);
	free(c->step_base);
	free(c->owner);
	free(c->conns);
	free(c->out_conn);
	free(c->in_conn);
	free(c->match);
	free(c->order);
}

static int check(const struct hk_problem *p, struct hk_program *const *programs, int n,
		 unsigned max_slots, bool any_order, struct hk_report *report)
{
	struct hk_report own;
	struct hk_check c = {.p = p,
			     .programs = programs,
			     .n = n,
			     .any_order = any_order,
			     .report = report ? report : &own};
	int rc;

	memset(c.report, 0, sizeof(*c.report));
	c.report->participant = -1;
	rc = check_problem(p, programs, n, c.report);
	if (!rc)
		rc = number_all(&c);
	if (!rc)
		rc = hk_check_connect(&c);
	if (!rc)
		rc = hk_check_fifo(&c);
	if (!rc)
		rc = hk_check_progress(&c, max_slots);
	if (!rc)
		rc = hk_check_race(&c);
	if (!rc)
		rc = hk_check_result(&c);
	free_all(&c);
	if (rc == -HK_EPROOF)
		return hk_fail_quiet(HK_EPROOF, "%s", c.report->text);
	if (rc)
		return hk_fail(rc, "no memory to check a schedule of %d participants", n);
	return 0;
}

int hk_check(const struct hk_problem *p, struct hk_program *const *programs, int n,
	     unsigned max_slots, struct hk_report *report)
{
	return check(p, programs, n, max_slots, false, report);
}

int hk_check_any_order(const struct hk_problem *p, struct hk_program *const *programs, int n,
		       unsigned max_slots, struct hk_report *report)
{
	return check(p, programs, n, max_slots, true, report);
}
