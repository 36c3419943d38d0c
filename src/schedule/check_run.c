/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Progress: runs all lanes of one tile abstractly, with a given number of slots per connection. A
 * step goes when its dependencies have passed, its message is there and its slot is free, all at
 * once, as in an executor. A lane that cannot go on is looked at again when what it waits for has
 * moved. More slots never hurt, so the smallest number that works is found by doubling and halving.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct run {
	struct hk_check *c;
	uint32_t slots;
	uint32_t done;
	uint32_t *at;	      /* [nlanes]: the step that the lane is about to do */
	uint32_t *sent, *got; /* [nconns] */
	uint32_t *queue;      /* lanes to look at, a stack */
	uint32_t nqueue;
	bool *queued;	       /* [nlanes] */
	uint32_t *waiter;      /* [nlanes]: first of the lanes that wait for this one's steps */
	uint32_t *next_waiter; /* [nlanes] */
	bool *waits;	       /* [nlanes]: is in such a list; its need stays until it is woken */
};

enum need { GOES, NEEDS_STEP, NEEDS_MESSAGE, NEEDS_SLOT };

/* Whether a lane's next step can go; if not, *what is the lane or connection that it waits for. */
static enum need look(const struct run *r, uint32_t lane, uint32_t *what)
{
	const struct hk_check *c = r->c;
	const struct hk_program *prog = c->programs[c->owner[lane]];
	const struct hk_step *s = hk_check_step(c, lane, r->at[lane]);
	uint32_t number = hk_check_number(c, lane, r->at[lane]);

	for (uint32_t i = 0; i < s->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[s->dep + i];

		*what = c->lane_base[c->owner[lane]] + d->lane;
		if (r->at[*what] <= d->step)
			return NEEDS_STEP;
	}
	if (hk_op_does[s->op] & HK_DOES_RECV) {
		*what = c->in_conn[number];
		if (r->sent[*what] == r->got[*what])
			return NEEDS_MESSAGE;
	}
	if (hk_op_does[s->op] & HK_DOES_SEND) {
		*what = c->out_conn[number];
		if (r->sent[*what] - r->got[*what] >= r->slots)
			return NEEDS_SLOT;
	}
	return GOES;
}

static void enqueue(struct run *r, uint32_t lane)
{
	if (r->queued[lane])
		return;
	r->queued[lane] = true;
	r->queue[r->nqueue++] = lane;
}

static void go(struct run *r, uint32_t lane)
{
	struct hk_check *c = r->c;
	unsigned does = hk_op_does[hk_check_step(c, lane, r->at[lane])->op];
	uint32_t number = hk_check_number(c, lane, r->at[lane]);

	if (does & HK_DOES_RECV) {
		r->got[c->in_conn[number]]++;
		enqueue(r, c->conns[c->in_conn[number]].sender);
	}
	if (does & HK_DOES_SEND) {
		r->sent[c->out_conn[number]]++;
		enqueue(r, c->conns[c->out_conn[number]].receiver);
	}
	r->at[lane]++;
	c->order[r->done++] = lane;
}

/* Takes a lane as far as it goes, and wakes the lanes that wait for its steps. */
static void advance(struct run *r, uint32_t lane)
{
	uint32_t nsteps = hk_check_lane(r->c, lane)->nsteps, before = r->at[lane], what;
	enum need need = GOES;

	while (r->at[lane] < nsteps) {
		need = look(r, lane, &what);
		if (need != GOES)
			break;
		go(r, lane);
	}
	if (need == NEEDS_STEP && !r->waits[lane]) {
		r->waits[lane] = true;
		r->next_waiter[lane] = r->waiter[what];
		r->waiter[what] = lane;
	}
	if (r->at[lane] == before)
		return;
	for (uint32_t w = r->waiter[lane]; w != HK_CHECK_NOBODY; w = r->next_waiter[w]) {
		r->waits[w] = false;
		enqueue(r, w);
	}
	r->waiter[lane] = HK_CHECK_NOBODY;
}

static bool run(struct run *r, uint32_t slots)
{
	uint32_t nlanes = r->c->nlanes;

	r->slots = slots;
	r->done = r->nqueue = 0;
	memset(r->at, 0, nlanes * sizeof(*r->at));
	memset(r->sent, 0, r->c->nconns * sizeof(*r->sent));
	memset(r->got, 0, r->c->nconns * sizeof(*r->got));
	memset(r->waiter, 0xff, nlanes * sizeof(*r->waiter)); /* HK_CHECK_NOBODY */
	memset(r->queued, 0, nlanes * sizeof(*r->queued));
	memset(r->waits, 0, nlanes * sizeof(*r->waits));
	for (uint32_t l = nlanes; l-- > 0;)
		enqueue(r, l);
	while (r->nqueue) {
		uint32_t lane = r->queue[--r->nqueue];

		r->queued[lane] = false;
		advance(r, lane);
	}
	return r->done == r->c->nsteps;
}

/* The lane whose next step's need is what stands in the way of this one. */
static uint32_t blocker(const struct run *r, uint32_t lane)
{
	uint32_t what = 0;
	enum need need = look(r, lane, &what);

	if (need == NEEDS_STEP)
		return what;
	return need == NEEDS_MESSAGE ? r->c->conns[what].sender : r->c->conns[what].receiver;
}

static int report_stuck(const struct run *r)
{
	const struct hk_check *c = r->c;
	uint32_t lane = 0, what = 0;
	struct hk_check_name name;

	while (r->at[lane] == hk_check_lane(c, lane)->nsteps)
		lane++;
	/* Along the chain of what waits for what: after so many hops, this is within its cycle. */
	for (uint32_t i = 0; i < c->nlanes; i++)
		lane = blocker(r, lane);
	name = hk_check_where(c, lane, r->at[lane]);
	switch (look(r, lane, &what)) {
	case NEEDS_STEP:
		return hk_check_fail(c->report, HK_CHECK_PROGRESS,
				     "deadlock with %u slots per connection: %s waits for its lane "
				     "%u, which waits for others at step %u",
				     r->slots, name.text, what - c->lane_base[c->owner[what]],
				     r->at[what]);
	case NEEDS_MESSAGE:
		return hk_check_fail(
			c->report, HK_CHECK_PROGRESS,
			"deadlock with %u slots per connection: %s waits for a message "
			"from %d on channel %u",
			r->slots, name.text, c->conns[what].src, c->conns[what].channel);
	default:
		return hk_check_fail(c->report, HK_CHECK_PROGRESS,
				     "deadlock with %u slots per connection: %s waits for a free "
				     "slot to %d on channel %u",
				     r->slots, name.text, c->conns[what].dst,
				     c->conns[what].channel);
	}
}

static int find_slots(struct run *r, unsigned max_slots)
{
	uint32_t low = 0, high, most = 1; /* low fails, high works */

	/* Beyond one slot for every message there is nothing to gain. */
	for (uint32_t i = 0; i < r->c->nconns; i++)
		if (r->c->conns[i].nsends > most)
			most = r->c->conns[i].nsends;
	if (most > max_slots)
		most = max_slots;
	for (high = 1; !run(r, high < most ? high : most); high *= 2) {
		if (high >= most)
			return report_stuck(r);
		low = high;
	}
	if (high > most)
		high = most;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (run(r, middle))
			high = middle;
		else
			low = middle;
	}
	if (r->slots != high) /* the order must be one of a run that ends */
		run(r, high);
	r->c->report->slots = high;
	return 0;
}

int hk_check_progress(struct hk_check *c, unsigned max_slots)
{
	struct run r = {.c = c};
	size_t lanes = (size_t)c->nlanes + 1, conns = (size_t)c->nconns + 1;
	int rc = -ENOMEM;

	c->order = malloc(((size_t)c->nsteps + 1) * sizeof(*c->order));
	r.at = malloc(lanes * sizeof(*r.at));
	r.sent = malloc(conns * sizeof(*r.sent));
	r.got = malloc(conns * sizeof(*r.got));
	r.queue = malloc(lanes * sizeof(*r.queue));
	r.queued = malloc(lanes * sizeof(*r.queued));
	r.waits = malloc(lanes * sizeof(*r.waits));
	r.waiter = malloc(lanes * sizeof(*r.waiter));
	r.next_waiter = malloc(lanes * sizeof(*r.next_waiter));
	if (c->order && r.at && r.sent && r.got && r.queue && r.queued && r.waits && r.waiter &&
	    r.next_waiter)
		rc = find_slots(&r, max_slots);
	free(r.at);
	free(r.sent);
	free(r.got);
	free(r.queue);
	free(r.queued);
	free(r.waits);
	free(r.waiter);
	free(r.next_waiter);
	return rc;
}
