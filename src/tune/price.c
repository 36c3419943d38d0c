/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The price of a schedule: all programs run abstractly on clocks, one per rank. A step costs a
 * fixed time and a time per byte; a receive also waits for its send plus the latency of the link.
 * Tiles after the first overlap with one another's latency, so they are charged their work only.
 *
 * It is a model in the manner of LogGP (Alexandrov et al. 1995): good enough to order algorithms,
 * not to predict times. The simulator proper is another reader of the same schedules.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune.h"

struct lane_clock {
	uint32_t step;
	double *done; /* when each step ended */
};

struct message {
	double at;
	int from, to;
	uint32_t channel;
	struct message *next;
};

/* FIFOs, hashed by connection; all messages of a run live in one array. */
struct wires {
	struct message **heads, **tails;
	struct message *all;
	size_t used, buckets;
};

struct run {
	const struct hk_machine *m;
	struct hk_program *const *programs;
	int n;
	double chunk_bytes; /* of one chunk in one tile */
	struct lane_clock **lanes;
	double *now;  /* each rank's clock */
	double *work; /* each rank's work without waiting, for the tiles after the first */
	struct wires wires;
};

static size_t bucket(const struct run *r, int from, int to, uint32_t channel)
{
	uint64_t key = ((uint64_t)(uint32_t)from << 40) ^ ((uint64_t)(uint32_t)to << 16) ^ channel;

	return (size_t)((key * 0x9e3779b97f4a7c15ull) >> 32) % r->wires.buckets;
}

static void push(struct run *r, int from, int to, uint32_t channel, double at)
{
	size_t b = bucket(r, from, to, channel);
	struct message *msg = &r->wires.all[r->wires.used++];

	*msg = (struct message){at, from, to, channel, NULL};
	if (r->wires.heads[b])
		r->wires.tails[b]->next = msg;
	else
		r->wires.heads[b] = msg;
	r->wires.tails[b] = msg;
}

/* The oldest message of the connection, unlinked; NULL if it has not been sent. */
static struct message *pop(struct run *r, int from, int to, uint32_t channel)
{
	size_t b = bucket(r, from, to, channel);
	struct message **at = &r->wires.heads[b], *prev = NULL;

	for (struct message *msg = *at; msg; prev = msg, at = &msg->next, msg = msg->next) {
		if (msg->from != from || msg->to != to || msg->channel != channel)
			continue;
		*at = msg->next;
		if (r->wires.tails[b] == msg)
			r->wires.tails[b] = prev;
		return msg;
	}
	return NULL;
}

static double step_work(const struct run *r, const struct hk_step *st)
{
	unsigned does = hk_op_does[st->op];
	double bytes = r->chunk_bytes * st->nchunks;
	double t = 0;

	if (does & (HK_DOES_SEND | HK_DOES_RECV))
		t += r->m->step_ns;
	if (does & HK_DOES_REDUCE)
		t += bytes * r->m->reduce_ns_per_byte;
	if (does & HK_DOES_SEND)
		t += bytes * r->m->copy_ns_per_byte;
	if ((does & HK_WRITES_DST) && !((does & HK_DOES_REDUCE) && !(does & HK_DOES_SEND)))
		t += bytes * r->m->copy_ns_per_byte;
	return t * r->m->ranks_per_core;
}

/* Runs one step of a lane if it can. */
static bool advance(struct run *r, int rank, uint32_t l)
{
	const struct hk_program *prog = r->programs[rank];
	const struct hk_lane *lane = &prog->lanes[l];
	struct lane_clock *clock = &r->lanes[rank][l];
	const struct hk_step *st = &prog->steps[lane->first + clock->step];
	unsigned does = hk_op_does[st->op];
	double start = r->now[rank], work = step_work(r, st);

	for (uint32_t i = 0; i < st->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[st->dep + i];

		if (r->lanes[rank][d->lane].step <= d->step)
			return false;
		start = fmax(start, r->lanes[rank][d->lane].done[d->step]);
	}
	if (does & HK_DOES_RECV) {
		struct message *msg = pop(r, st->from, rank, lane->channel);

		if (!msg)
			return false;
		if (msg->at > start) /* it had to wait: then another rank has the core */
			start = msg->at + (r->m->ranks_per_core > 1 ? r->m->switch_ns : 0);
	}
	r->now[rank] = start + work;
	r->work[rank] += work;
	clock->done[clock->step++] = r->now[rank];
	if (does & HK_DOES_SEND)
		push(r, rank, st->to, lane->channel, r->now[rank] + r->m->latency_ns);
	return true;
}

static void run_all(struct run *r)
{
	bool moved = true;

	while (moved) {
		moved = false;
		for (int rank = 0; rank < r->n; rank++)
			for (uint32_t l = 0; l < r->programs[rank]->nlanes; l++)
				while (r->lanes[rank][l].step <
					       r->programs[rank]->lanes[l].nsteps &&
				       advance(r, rank, l))
					moved = true;
	}
}

static void run_free(struct run *r)
{
	for (int i = 0; r->lanes && i < r->n; i++) {
		for (uint32_t l = 0; r->lanes[i] && l < r->programs[i]->nlanes; l++)
			free(r->lanes[i][l].done);
		free(r->lanes[i]);
	}
	free(r->lanes);
	free(r->now);
	free(r->work);
	free(r->wires.heads);
	free(r->wires.tails);
	free(r->wires.all);
}

static int run_init(struct run *r)
{
	size_t steps = 1;

	r->lanes = calloc((size_t)r->n, sizeof(*r->lanes));
	r->now = calloc((size_t)r->n, sizeof(*r->now));
	r->work = calloc((size_t)r->n, sizeof(*r->work));
	if (!r->lanes || !r->now || !r->work)
		return -ENOMEM;
	for (int i = 0; i < r->n; i++) {
		const struct hk_program *prog = r->programs[i];

		steps += prog->nsteps;
		r->lanes[i] = calloc(prog->nlanes + 1, sizeof(**r->lanes));
		if (!r->lanes[i])
			return -ENOMEM;
		for (uint32_t l = 0; l < prog->nlanes; l++) {
			r->lanes[i][l].done = calloc(prog->lanes[l].nsteps + 1, sizeof(double));
			if (!r->lanes[i][l].done)
				return -ENOMEM;
		}
	}
	r->wires.buckets = steps;
	r->wires.heads = calloc(steps, sizeof(*r->wires.heads));
	r->wires.tails = calloc(steps, sizeof(*r->wires.tails));
	r->wires.all = calloc(steps, sizeof(*r->wires.all));
	return r->wires.heads && r->wires.tails && r->wires.all ? 0 : -ENOMEM;
}

double hk_tune_price(const struct hk_machine *m, struct hk_program *const *programs, int n,
		     size_t bytes)
{
	struct run r = {.m = m, .programs = programs, .n = n};
	double chunk = (double)bytes / programs[0]->period;
	double most = (double)m->slot_bytes / programs[0]->message_chunks;
	double tiles = fmax(1, ceil(chunk / most)), price = 0;

	r.chunk_bytes = chunk / tiles;
	if (run_init(&r) == 0) {
		run_all(&r);
		for (int i = 0; i < n; i++)
			price = fmax(price, r.now[i] + (tiles - 1) * r.work[i]);
	} else {
		price = INFINITY;
	}
	run_free(&r);
	return price;
}
