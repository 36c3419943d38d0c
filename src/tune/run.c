/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The abstract run: always the core whose next step starts first goes on. A core runs one step at a
 * time, of any lane of any of its ranks, and stays with a rank as long as that has something to do.
 * A step starts when its dependencies have passed, its message is there and its slot is free; when
 * it ends, its message is under way and the slot that it read is on its way back. As steps start in
 * the order of time, whatever a step can know has been simulated before.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "run.h"

static inline double later(double a, double b)
{
	return a > b ? a : b;
}

/* --- the heap of cores, by when their next steps start --- */

static bool sooner(const struct tune_run *r, uint32_t a, uint32_t b)
{
	double x = r->cores[a].start, y = r->cores[b].start;

	return x < y || (x <= y && a < b);
}

static void put(struct tune_run *r, uint32_t place, uint32_t core)
{
	r->heap[place] = core;
	r->cores[core].place = place;
}

static void rise(struct tune_run *r, uint32_t place, uint32_t core)
{
	while (place && sooner(r, core, r->heap[(place - 1) / 2])) {
		put(r, place, r->heap[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(r, place, core);
}

static void sink(struct tune_run *r, uint32_t place, uint32_t core)
{
	for (;;) {
		uint32_t child = 2 * place + 1;

		if (child + 1 < r->nheap && sooner(r, r->heap[child + 1], r->heap[child]))
			child++;
		if (child >= r->nheap || !sooner(r, r->heap[child], core))
			break;
		put(r, place, r->heap[child]);
		place = child;
	}
	put(r, place, core);
}

static void move(struct tune_run *r, uint32_t core)
{
	uint32_t place = r->cores[core].place;

	if (place && sooner(r, core, r->heap[(place - 1) / 2]))
		rise(r, place, core);
	else
		sink(r, place, core);
}

/* --- what can start when --- */

/* The first lane of a participant that can start before `least`, which it lowers. */
static uint32_t first_lane(const struct tune_run *r, const struct tune_part *part, double now,
			   double extra, double *least)
{
	uint32_t found = TUNE_NOBODY;

	for (uint32_t i = 0; i < part->nlanes; i++) {
		uint32_t l = part->next_lane + i;
		double start;

		if (l >= part->first_lane + part->nlanes)
			l -= part->nlanes;
		if (!r->lanes[l].enabled)
			continue;
		start = later(r->lanes[l].ready, now) + extra;
		if (start < *least) {
			*least = start;
			found = l;
		}
	}
	return found;
}

/* Chooses what a core does next. It stays with its rank if that can go on at once. Otherwise the
 * others have their turn, as they do when ranks that wait yield the core. */
static void choose(struct tune_run *r, uint32_t number)
{
	struct tune_core *core = &r->cores[number];
	uint32_t next = core->last == TUNE_NOBODY ? 0 : r->parts[core->last].turn + 1;
	double cost = core->nparts > 1 ? r->m->switch_ns : 0, least = INFINITY;

	core->lane = TUNE_NOBODY;
	if (core->last != TUNE_NOBODY) {
		core->lane = first_lane(r, &r->parts[core->last], core->free, 0, &least);
		if (core->nparts > 1 && least > core->free)
			least += cost / 2;
	}
	if (core->nparts > 1 && least > core->free) {
		for (uint32_t i = 0; i < core->nparts; i++) {
			uint32_t turn = (next + i) % core->nparts;
			uint32_t part = r->parts_of_cores[core->first_part + turn], found;

			if (part == core->last)
				continue;
			found = first_lane(r, &r->parts[part], core->free,
					   core->last == TUNE_NOBODY ? 0 : cost, &least);
			core->lane = found == TUNE_NOBODY ? core->lane : found;
		}
	} else if (core->last == TUNE_NOBODY) {
		core->lane = first_lane(r, &r->parts[r->parts_of_cores[core->first_part]],
					core->free, 0, &least);
	}
	if (core->start < least || core->start > least) {
		core->start = least;
		move(r, number);
	}
}

static bool deps_passed(const struct tune_run *r, const struct tune_lane *lane,
			const struct tune_step *st)
{
	for (uint32_t i = 0; i < st->step->ndeps; i++) {
		const struct hk_dep *d = &st->deps[i];
		const struct tune_lane *on = &r->lanes[r->parts[lane->part].first_lane + d->lane];

		if (on->turn < lane->turn || (on->turn == lane->turn && on->step <= d->step))
			return false;
	}
	return true;
}

/* Whether a lane's next step can start, which was not known before, and from when on. */
static bool look(struct tune_run *r, uint32_t l)
{
	struct tune_lane *lane = &r->lanes[l];
	const struct tune_part *part = &r->parts[lane->part];
	const struct tune_step *st;
	const struct tune_conn *c;

	if (lane->enabled || lane->turn >= r->turns || r->calls[lane->turn] > part->call)
		return false;
	st = &r->steps[lane->first + lane->step];
	if (!deps_passed(r, lane, st))
		return false;
	lane->ready = part->not_before;
	if (st->in != TUNE_NOBODY) {
		c = &r->conns[st->in];
		if (c->received == c->sent)
			return false;
		lane->ready = later(lane->ready, c->arrive[c->received % r->m->slots]);
	}
	if (st->out != TUNE_NOBODY) {
		c = &r->conns[st->out];
		if (c->sent - c->received >= r->m->slots)
			return false;
		if (c->sent >= r->m->slots)
			lane->ready = later(lane->ready, c->freed[c->sent % r->m->slots]);
	}
	return lane->enabled = true;
}

static void look_and_choose(struct tune_run *r, uint32_t l)
{
	if (look(r, l))
		choose(r, r->parts[r->lanes[l].part].core);
}

/* --- the trail --- */

static void leave_trail(struct tune_run *r, const struct tune_core *core,
			const struct tune_lane *lane, uint32_t step, double end)
{
	const struct tune_step *st = &r->steps[step];
	uint32_t number = (uint32_t)(core - r->cores), before = r->last_of_core[number];
	double latest = core->free;
	uint8_t why = HK_PRICE_MESSAGE;

	if (!r->trail || r->ntrail == r->most_trail)
		return;
	if (st->in != TUNE_NOBODY) {
		const struct tune_conn *c = &r->conns[st->in];
		uint32_t k = c->received % r->m->slots;

		if (c->arrive[k] > latest) {
			latest = c->arrive[k];
			before = c->arrive_by[k];
			why = HK_PRICE_LATENCY;
		}
	}
	if (st->out != TUNE_NOBODY) {
		const struct tune_conn *c = &r->conns[st->out];
		uint32_t k = c->sent % r->m->slots;

		if (c->sent >= r->m->slots && c->freed[k] > latest) {
			latest = c->freed[k];
			before = c->freed_by[k];
			why = HK_PRICE_LATENCY;
		}
	}
	r->trail[r->ntrail] =
		(struct tune_trail){.ready = latest < core->start ? latest : core->start,
				    .start = core->start,
				    .end = end,
				    .step = step,
				    .before = before,
				    .why = why};
	r->last_of_core[number] = r->ntrail++;
}

/* --- a step --- */

/* When what was sent at `at` has gone over the links that ranks share. */
static double pass_links(struct tune_run *r, const struct tune_conn *c, double at, double delay,
			 double bytes)
{
	double takes = bytes * c->route->link_ns_per_byte;
	double *out = &r->ports[2 * r->parts[c->from].port];
	double *in = &r->ports[2 * r->parts[c->to].port + 1];

	if (takes <= 0)
		return at + delay;
	*out = later(*out, at) + takes;
	*in = later(*in + takes, *out + delay);
	return *in;
}

static void end_call(struct tune_run *r, struct tune_part *part, double at)
{
	if (part->lanes_done < part->nlanes || part->lent)
		return;
	part->lanes_done = part->lanes_empty;
	part->call++;
	part->not_before = later(part->not_before, at + r->m->call_ns);
	for (uint32_t i = 0; i < part->nlanes; i++)
		look(r, part->first_lane + i);
}

static void receive(struct tune_run *r, const struct tune_step *st, double end)
{
	struct tune_conn *c = &r->conns[st->in];
	struct tune_part *sender = &r->parts[c->from];
	uint32_t k = c->received++ % r->m->slots;

	c->freed[k] = end + c->route->latency_ns;
	c->freed_by[k] = r->ntrail ? r->ntrail - 1 : 0;
	if (r->steps[st->match].lent) {
		sender->lent--;
		sender->not_before = later(sender->not_before, c->freed[k]);
		end_call(r, sender, c->freed[k]);
		choose(r, sender->core);
	}
}

static void send(struct tune_run *r, const struct tune_step *st, double end)
{
	struct tune_conn *c = &r->conns[st->out];
	double bytes = r->chunk_bytes * st->step->nchunks;
	uint32_t k = c->sent++ % r->m->slots;

	c->arrive[k] = pass_links(r, c, end, st->delay, bytes);
	c->arrive_by[k] = r->ntrail ? r->ntrail - 1 : 0;
	r->parts[c->from].lent += st->lent;
}

static void end_turn(struct tune_run *r, struct tune_lane *lane, double end)
{
	struct tune_part *part = &r->parts[lane->part];
	uint32_t turn = lane->turn;

	lane->step = 0;
	lane->turn++;
	r->left[turn]--;
	if (end > r->ends[turn]) {
		r->ends[turn] = end;
		if (r->ntrail && turn + 1 == r->turns)
			r->last_of_turn = r->ntrail - 1;
	}
	if (r->calls[turn + 1] != r->calls[turn]) {
		part->lanes_done++;
		end_call(r, part, end);
	}
}

static void tell(struct tune_run *r, const struct tune_lane *lane, uint32_t l, double start,
		 double end)
{
	struct hk_priced_step s = {.participant = (int)lane->part,
				   .lane = l - r->parts[lane->part].first_lane,
				   .step = lane->step,
				   .tile = lane->turn,
				   .start_ns = start,
				   .end_ns = end};

	r->observer->step(r->observer, &s);
}

/* Runs the next step of a core, and sees what that lets others do. */
static void run_step(struct tune_run *r, struct tune_core *core)
{
	uint32_t l = core->lane;
	struct tune_lane *lane = &r->lanes[l];
	struct tune_part *part = &r->parts[lane->part];
	uint32_t number = lane->first + lane->step;
	const struct tune_step *st = &r->steps[number];
	double start = core->start, end = start + st->cost;

	leave_trail(r, core, lane, number, end);
	if (r->observer)
		tell(r, lane, l, start, end);
	core->free = end;
	core->last = lane->part;
	/* As the executor does: a lane goes on after a send, otherwise the next has its turn. */
	part->next_lane = st->step->op == HK_SEND		     ? l
			  : l + 1 == part->first_lane + part->nlanes ? part->first_lane
								     : l + 1;
	lane->enabled = false;
	if (st->in != TUNE_NOBODY)
		receive(r, st, end);
	if (st->out != TUNE_NOBODY)
		send(r, st, end);
	if (++lane->step == lane->nsteps)
		end_turn(r, lane, end);
	for (uint32_t i = 0; i < part->nlanes; i++)
		look(r, part->first_lane + i);
	choose(r, part->core);
	if (st->in != TUNE_NOBODY)
		look_and_choose(r, r->conns[st->in].sender);
	if (st->out != TUNE_NOBODY)
		look_and_choose(r, r->conns[st->out].receiver);
}

static int reset(struct tune_run *r, const uint32_t *tiles, uint32_t ncalls)
{
	free(r->ends);
	free(r->left);
	free(r->calls);
	r->ends = calloc(r->turns, sizeof(*r->ends));
	r->left = calloc(r->turns, sizeof(*r->left));
	r->calls = calloc(r->turns + 1, sizeof(*r->calls));
	if (!r->ends || !r->left || !r->calls)
		return hk_fail(ENOMEM, "no memory to price %u tiles", r->turns);
	for (uint32_t call = 0, turn = 0; call < ncalls; turn += tiles[call++])
		for (uint32_t t = 0; t < tiles[call]; t++)
			r->calls[turn + t] = call;
	r->calls[r->turns] = ncalls;
	memset(r->ports, 0, (size_t)r->nports * 2 * sizeof(*r->ports));
	memset(r->last_of_core, 0xff, r->ncores * sizeof(*r->last_of_core));
	r->ntrail = 0;
	r->last_of_turn = TUNE_NOBODY;
	r->nheap = 0;
	for (uint32_t i = 0; i < r->nconns; i++)
		r->conns[i].sent = r->conns[i].received = 0;
	for (uint32_t i = 0; i < r->nparts; i++) {
		struct tune_part *part = &r->parts[i];

		part->next_lane = part->first_lane;
		part->call = part->lanes_done = part->lanes_empty = part->lent = 0;
		part->not_before = r->m->call_ns;
	}
	for (uint32_t i = 0; i < r->nlanes; i++) {
		struct tune_lane *lane = &r->lanes[i];

		lane->step = lane->turn = 0;
		lane->enabled = false;
		if (!lane->nsteps) {
			lane->turn = r->turns;
			r->parts[lane->part].lanes_empty++;
			r->parts[lane->part].lanes_done++;
			continue;
		}
		for (uint32_t t = 0; t < r->turns; t++)
			r->left[t]++;
	}
	return 0;
}

int hk_tune_go(struct tune_run *r, const uint32_t *tiles, uint32_t ncalls)
{
	int err;

	r->turns = 0;
	for (uint32_t i = 0; i < ncalls; i++)
		r->turns += tiles[i];
	err = reset(r, tiles, ncalls);
	if (err)
		return err;
	for (uint32_t i = 0; i < r->ncores; i++) {
		struct tune_core *core = &r->cores[i];

		core->free = 0;
		core->last = TUNE_NOBODY;
		core->start = INFINITY;
		r->nheap++;
		put(r, i, i);
	}
	for (uint32_t i = 0; i < r->nlanes; i++)
		look_and_choose(r, i);
	while (r->nheap && r->cores[r->heap[0]].start < INFINITY)
		run_step(r, &r->cores[r->heap[0]]);
	for (uint32_t i = 0; i < r->turns; i++)
		if (r->left[i])
			return hk_fail_quiet(
				EDEADLK, "the schedule does not end with %u slots per connection",
				r->m->slots);
	return 0;
}
