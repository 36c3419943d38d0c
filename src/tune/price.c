/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The price of a schedule: three quarters of what one more call adds to a row of calls, run
 * abstractly (run.c), and a quarter of what a call takes alone. How much of the start of a call
 * overlaps with the end of the one before is a property of the schedule, and programs call in
 * loops; but what is only fast in a row, as a long chain is, had better not be chosen.
 *
 * A call of many tiles is run with a few, and with twice as many: the difference is what each
 * further one adds.
 *
 * The costs are those of LogGP (Alexandrov, Ionescu, Schauser, Scheiman 1995), with the overhead
 * and the gap per byte told apart for the two ends, and with slots, cores and caches besides.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "exec.h"
#include "run.h"

#define ALONE	   4	 /* one call of so many comes alone */
#define MANY_STEPS 3000u /* from here on fewer tiles must tell */
#define SOME_TILES 3u
#define FEW_TILES  1u

/* How much of the user's memory is in no cache when a call comes to it: what ranks of a host work
 * on together, against the cache that they share. */
static double memory_share(const struct tune_run *r, size_t bytes)
{
	const struct hk_problem *p = r->p;
	double blocks = 0, used;

	for (int i = 0; i < p->nranks; i++)
		blocks += hk_coll_blocks(p, i, HK_IN) + hk_coll_blocks(p, i, HK_OUT);
	if (p->layout && p->layout->nlevels) {
		int ngroups = 1;

		for (int i = 0; i < p->nranks; i++)
			if (p->layout->group[0][i] >= ngroups)
				ngroups = p->layout->group[0][i] + 1;
		blocks /= ngroups;
	}
	used = blocks * (double)bytes;
	if (used <= r->m->cache_bytes || r->m->cache_bytes <= 0)
		return 0;
	return fmin(1, (used - r->m->cache_bytes) / r->m->cache_bytes);
}

/* Cuts the chunks in tiles, as the executor does; returns how many. */
static double cut(struct tune_run *r, size_t bytes)
{
	double chunk = (double)bytes / r->programs[0]->period;
	double most = (double)r->m->slot_bytes / r->programs[0]->message_chunks, tiles;

	if (hk_plan_long_chunks(r->p, r->programs[0], (size_t)chunk))
		most *= hk_plan_stretch(r->p->nranks, r->m->slot_bytes);
	tiles = fmax(1, ceil(chunk / most));
	r->chunk_bytes = chunk / tiles;
	r->memory_share = memory_share(r, bytes);
	hk_tune_set_costs(r);
	return tiles;
}

/* Walks back along what waited for what, down to the time `from`. */
static void follow_trail(const struct tune_run *r, double from, double parts[HK_NPRICE_PARTS])
{
	uint32_t at = r->last_of_turn;

	while (at != TUNE_NOBODY && r->trail[at].start >= from) {
		const struct tune_trail *t = &r->trail[at];
		const struct tune_step *st = &r->steps[t->step];
		uint32_t part = r->lanes[st->lane].part;
		bool crowded = r->cores[r->parts[part].core].nparts > 1;
		double before = t->before == TUNE_NOBODY ? 0 : r->trail[t->before].end;

		hk_tune_step_cost(r, st, parts);
		parts[t->why] += fmax(0, t->ready - before);
		parts[crowded ? HK_PRICE_SWITCH : HK_PRICE_MESSAGE] += t->start - t->ready;
		at = t->before < at ? t->before : TUNE_NOBODY;
	}
}

static void fill_parts(const struct tune_run *r, double from, struct hk_price *price)
{
	double sum = 0;

	follow_trail(r, from, price->parts);
	for (unsigned i = 0; i < HK_NPRICE_PARTS; i++)
		sum += price->parts[i];
	for (unsigned i = 0; i < HK_NPRICE_PARTS && sum > 0; i++)
		price->parts[i] *= price->ns / sum;
}

/* Runs calls of so many tiles, one after the other; *ns is when all are done. */
static int run_row(struct tune_run *r, const uint32_t *tiles, uint32_t calls, double *ns)
{
	int err = hk_tune_go(r, tiles, calls);

	*ns = 0;
	for (uint32_t i = 0; i < r->turns && !err; i++)
		*ns = fmax(*ns, r->ends[i]);
	return err;
}

/* Rows are compared as wholes: whatever a rank does ahead of the others is done in both. */
static int price_row(struct tune_run *r, double tiles, struct hk_price *price)
{
	bool many = r->nsteps > MANY_STEPS;
	uint32_t few = (uint32_t)fmin(tiles, many ? FEW_TILES : SOME_TILES);
	uint32_t row[] = {few, few, few}, longer[] = {few, 2 * few}, more = many ? 1 : 2;
	double first = 0, all = 0, two = 0, doubled = 0;
	int err = run_row(r, row, 1, &first);

	if (!err && tiles > few)
		err = run_row(r, longer, 2, &doubled);
	if (!err && tiles > few)
		err = run_row(r, row, 2, &two);
	if (!err)
		err = run_row(r, row, 1 + more, &all);
	if (err)
		return err;
	price->ns = ((ALONE - 1) * (all - first) / more + first) / ALONE;
	if (tiles > few)
		price->ns += (tiles - few) * fmax(0, doubled - two) / few;
	if (r->trail)
		fill_parts(r, first, price);
	return 0;
}

static int price_one(struct tune_run *r, double tiles, struct hk_price *price)
{
	uint32_t all = (uint32_t)fmin(tiles, 1e6);
	int err;

	if (all < tiles)
		return hk_fail(E2BIG, "a call of %.0f tiles is too long to watch", tiles);
	err = run_row(r, &all, 1, &price->ns);
	if (!err && r->trail)
		fill_parts(r, 0, price);
	return err;
}

static int alloc_trail(struct tune_run *r, double tiles)
{
	double n = r->nsteps * (r->observer ? tiles : 6 * SOME_TILES);

	r->most_trail = n < 1e7 ? (uint32_t)n + 1 : 10000000;
	r->trail = malloc(r->most_trail * sizeof(*r->trail));
	return r->trail ? 0 : hk_fail(ENOMEM, "no memory to follow %u steps", r->most_trail);
}

int hk_tune_price(const struct hk_machine *m, const struct hk_problem *p,
		  struct hk_program *const *programs, int n, size_t bytes, bool parts,
		  struct hk_price_observer *observer, struct hk_price *price)
{
	struct tune_run r = {
		.m = m, .p = p, .programs = programs, .nparts = (uint32_t)n, .observer = observer};
	struct hk_price result = {0};
	double tiles;
	int err = hk_tune_load(&r);

	if (!err) {
		tiles = cut(&r, bytes);
		err = parts ? alloc_trail(&r, tiles) : 0;
		if (!err)
			err = observer ? price_one(&r, tiles, &result)
				       : price_row(&r, tiles, &result);
	}
	hk_tune_unload(&r);
	if (!err)
		*price = result;
	return err;
}
