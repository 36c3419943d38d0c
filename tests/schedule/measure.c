/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See measure.h. Rounds are found by running all programs with slots without bound, each message
 * carrying the length of the longest chain that it ends.
 */
#include "measure.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* A message that is under way. */
struct letter {
	int from, to;
	uint32_t channel, depth;
	struct letter *next;
};

struct walk {
	const struct world *w;
	struct letter **boxes; /* [nboxes]: by connection, oldest first */
	uint32_t nboxes;
	struct letter *letters; /* room for all */
	uint32_t nletters;
	uint32_t **depths; /* [rank][step of the table]: the longest chain behind it */
	uint32_t **at;	   /* [rank][lane] */
	uint32_t rounds;
};

static struct letter **box(const struct walk *k, int from, int to, uint32_t channel)
{
	uint64_t key = ((uint64_t)(unsigned)from << 40) ^ ((uint64_t)(unsigned)to << 16) ^ channel;

	return &k->boxes[(key * 0x9e3779b97f4a7c15ull >> 32) % k->nboxes];
}

/* Where the oldest letter of a connection hangs, or the end of its box. */
static struct letter **find(struct letter **at, int from, int to, uint32_t channel)
{
	while (*at && ((*at)->from != from || (*at)->to != to || (*at)->channel != channel))
		at = &(*at)->next;
	return at;
}

static void post(struct walk *k, int from, int to, uint32_t channel, uint32_t depth)
{
	struct letter **at = box(k, from, to, channel);
	struct letter *l = &k->letters[k->nletters++];

	while (*at)
		at = &(*at)->next;
	*l = (struct letter){from, to, channel, depth, NULL};
	*at = l;
	if (depth > k->rounds)
		k->rounds = depth;
}

/* The lane's next step, if it can go: nothing has a bound here. */
static bool advance(struct walk *k, int rank, uint32_t lane)
{
	const struct hk_program *prog = k->w->programs[rank];
	const struct hk_lane *l = &prog->lanes[lane];
	uint32_t at = k->at[rank][lane], depth;
	const struct hk_step *s = &prog->steps[l->first + at];
	struct letter **got = NULL;

	depth = at ? k->depths[rank][l->first + at - 1] : 0;
	for (uint32_t i = 0; i < s->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[s->dep + i];
		uint32_t other = k->depths[rank][prog->lanes[d->lane].first + d->step];

		if (k->at[rank][d->lane] <= d->step)
			return false;
		depth = other > depth ? other : depth;
	}
	if (s->from >= 0) {
		got = find(box(k, s->from, rank, l->channel), s->from, rank, l->channel);
		if (!*got)
			return false;
		depth = (*got)->depth > depth ? (*got)->depth : depth;
		*got = (*got)->next;
	}
	k->depths[rank][l->first + at] = depth;
	if (s->to >= 0)
		post(k, rank, s->to, l->channel, depth + 1);
	k->at[rank][lane]++;
	return true;
}

static uint32_t count_rounds(const struct world *w)
{
	struct walk k = {.w = w, .nboxes = 1};
	bool moved = true;

	k.depths = calloc((size_t)w->n, sizeof(*k.depths));
	k.at = calloc((size_t)w->n, sizeof(*k.at));
	assert_true(k.depths && k.at);
	for (int i = 0; i < w->n; i++) {
		k.depths[i] = calloc(w->programs[i]->nsteps + 1, sizeof(**k.depths));
		k.at[i] = calloc(w->programs[i]->nlanes + 1, sizeof(**k.at));
		assert_true(k.depths[i] && k.at[i]);
		k.nboxes += w->programs[i]->nsteps;
	}
	k.boxes = calloc(k.nboxes, sizeof(struct letter *));
	k.letters = calloc(k.nboxes, sizeof(*k.letters));
	assert_true(k.boxes && k.letters);
	while (moved) {
		moved = false;
		for (int i = 0; i < w->n; i++)
			for (uint32_t l = 0; l < w->programs[i]->nlanes; l++)
				while (k.at[i][l] < w->programs[i]->lanes[l].nsteps &&
				       advance(&k, i, l))
					moved = true;
	}
	for (int i = 0; i < w->n; i++) {
		for (uint32_t l = 0; l < w->programs[i]->nlanes; l++)
			assert_int_equal(k.at[i][l], w->programs[i]->lanes[l].nsteps);
		free(k.depths[i]);
		free(k.at[i]);
	}
	free(k.depths);
	free(k.at);
	free(k.boxes);
	free(k.letters);
	return k.rounds;
}

void world_measure(const struct world *w, struct hk_work *work)
{
	*work = (struct hk_work){.rounds = count_rounds(w)};
	for (int i = 0; i < w->p.nranks; i++) {
		const struct hk_program *prog = w->programs[i];
		uint32_t messages = 0, chunks = 0;

		for (uint32_t k = 0; k < prog->nsteps; k++) {
			if (prog->steps[k].to < 0)
				continue;
			messages++;
			chunks += prog->steps[k].nchunks;
		}
		work->messages = messages > work->messages ? messages : work->messages;
		work->sent = fmax(work->sent, (double)chunks / prog->period);
	}
}
