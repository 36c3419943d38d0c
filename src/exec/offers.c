/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Says ahead where messages are wanted, so that a transport can put them there (hk_recv_ops.offer)
 * and nothing has to be copied out of slots. Each connection that takes offers is a source: the
 * order of its messages is known, for one lane receives them all, and a cursor runs over them, up
 * to a window of slots ahead of what has been received. A message is offered a place if its step
 * only receives, to OUT, if it is one piece there, and if it is long enough to be worth it; and not
 * before the steps that use the same memory earlier have passed (uses.c): the cursor waits for
 * them. Whatever comes through a slot all the same is copied as ever.
 *
 * A call that makes offers has used them up when it ends, since it receives all its messages. So
 * memory is never offered outside the call that it was given to; a call that fails is another
 * matter, and ends in hk_transport.sever.
 */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "message.h"
#include "param.h"

/* --- when the plan is made --- */

static bool takes_offers(const struct plan_step *st)
{
	return st->recv && st->recv->ops->offer != hk_offer_none;
}

static struct plan_source *find_source(struct hk_plan *plan, const struct hk_recv *recv)
{
	for (uint32_t i = 0; i < plan->nsources; i++)
		if (plan->sources[i].recv == recv)
			return &plan->sources[i];
	return NULL;
}

/* Finds the connections that take offers, and the number of steps that receive from each. */
static uint32_t list_sources(struct hk_plan *plan)
{
	uint32_t nwants = 0;

	for (uint32_t l = 0; l < plan->nlanes; l++) {
		for (uint32_t i = 0; i < plan->lanes[l].nsteps; i++) {
			struct plan_step *st = &plan->steps[plan->prog->lanes[l].first + i];
			struct plan_source *s;

			if (!takes_offers(st))
				continue;
			s = find_source(plan, st->recv);
			if (!s) {
				s = &plan->sources[plan->nsources++];
				*s = (struct plan_source){
					.recv = st->recv, .lane = l, .ordered = true};
			}
			st->source = s;
			s->nwants++;
			nwants++;
		}
	}
	return nwants;
}

/* Appends the steps to be waited for: the last of the first before[l] of each lane. */
static int add_afters(struct hk_plan *plan, const uint32_t *before, struct plan_want *w)
{
	uint32_t n = plan->nafters;
	struct plan_dep *grown;

	w->after = n;
	for (uint32_t l = 0; l < plan->nlanes; l++)
		w->nafter += before[l] > 0;
	if (!w->nafter)
		return 0;
	grown = realloc(plan->afters, (n + w->nafter) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	plan->afters = grown;
	for (uint32_t l = 0; l < plan->nlanes; l++)
		if (before[l])
			grown[n++] = (struct plan_dep){.lane = &plan->lanes[l],
						       .nsteps = plan->lanes[l].nsteps,
						       .step = before[l] - 1};
	plan->nafters = n;
	return 0;
}

static int add_want(struct hk_plan *plan, uint32_t lane, uint32_t at, uint32_t *before)
{
	const struct plan_step *st = &plan->lanes[lane].steps[at];
	struct plan_source *s = st->source;
	struct plan_want *w = &s->wants[s->nwants++];
	int err;

	*w = (struct plan_want){.step = st};
	/* Between lanes there would be no order; schedules are not like that. */
	s->ordered &= s->lane == lane;
	if (!hk_plan_offerable(&plan->problem, plan->prog, lane, at, before))
		return 0;
	err = add_afters(plan, before, w);
	/* Lanes that go by steps don't tell how far they are. */
	w->offerable = !err && !(plan->by_steps && w->nafter);
	s->offers |= w->offerable;
	return err;
}

static int fill_wants(struct hk_plan *plan, uint32_t *before)
{
	int err = 0;

	for (uint32_t i = 0, first = 0; i < plan->nsources; i++) {
		plan->sources[i].wants = plan->wants + first;
		first += plan->sources[i].nwants;
		plan->sources[i].nwants = 0;
	}
	for (uint32_t l = 0; l < plan->nlanes && !err; l++)
		for (uint32_t i = 0; i < plan->lanes[l].nsteps && !err; i++)
			if (plan->lanes[l].steps[i].source)
				err = add_want(plan, l, i, before);
	return err;
}

int hk_plan_find_sources(struct hk_plan *plan)
{
	uint32_t nreceives = 0, nwants, *before;
	int err = -ENOMEM;

	plan->offer_bytes = (size_t)hk_param(HK_PARAM_OFFER_BYTES);
	for (uint32_t i = 0; i < plan->prog->nsteps; i++)
		nreceives += takes_offers(&plan->steps[i]);
	if (!nreceives)
		return 0;
	plan->sources = calloc(nreceives, sizeof(*plan->sources));
	plan->wants = calloc(nreceives, sizeof(*plan->wants));
	before = calloc(plan->nlanes, sizeof(*before));
	if (plan->sources && plan->wants && before) {
		nwants = list_sources(plan);
		err = fill_wants(plan, before);
		plan->memory += nreceives * sizeof(*plan->sources) + nwants * sizeof(*plan->wants) +
				plan->nafters * sizeof(*plan->afters);
	}
	free(before);
	return err ? hk_fail(ENOMEM, "no memory for the offers of a plan of %u steps",
			     plan->prog->nsteps)
		   : 0;
}

void hk_plan_free_sources(struct hk_plan *plan)
{
	free(plan->sources);
	free(plan->wants);
	free(plan->afters);
}

/* --- while it runs --- */

void hk_plan_reset_sources(struct hk_plan *plan)
{
	for (uint32_t i = 0; i < plan->nsources; i++) {
		struct plan_source *s = &plan->sources[i];

		s->want = s->tile = 0;
		s->looked = s->taken = 0;
	}
}

/* Where a message is wanted as a whole; NULL: it is of several pieces. */
static void *destination(const struct hk_plan *plan, const struct plan_step *st, uint32_t tile)
{
	uint8_t *first = NULL, *end = NULL;

	for (uint32_t i = 0; i < st->nchunks; i++) {
		struct span s = span_of(plan, st, i, tile);
		uint8_t *at = place(plan, HK_OUT, st->dst + i, s);

		if (!s.length)
			continue;
		if (end && at != end)
			return NULL;
		first = first ? first : at;
		end = at + s.length * plan->esize;
	}
	return first;
}

/* The cursor goes on; `empty`: from a message of nothing, after which no tile has more. */
static void look_further(const struct hk_plan *plan, struct plan_source *s, bool empty)
{
	if (plan->by_steps) {
		if (!empty && ++s->tile < plan->ntiles)
			return;
		s->tile = 0;
		s->want++;
	} else if (++s->want == s->nwants) {
		s->want = 0;
		s->tile++;
	}
}

static bool at_end(const struct hk_plan *plan, const struct plan_source *s)
{
	return plan->by_steps ? s->want == s->nwants : s->tile == plan->ntiles;
}

/* Offers the message at the cursor, if it is to be. False: not yet. */
static bool offer_one(struct hk_plan *plan, struct plan_source *s, size_t bytes)
{
	const struct plan_want *w = &s->wants[s->want];
	void *dst;

	if (!w->offerable || bytes < plan->offer_bytes || s->looked < s->taken)
		return true;
	if (!deps_passed(plan->afters + w->after, w->nafter, s->tile))
		return false;
	dst = destination(plan, w->step, s->tile);
	if (dst)
		s->recv->ops->offer(s->recv, (uint32_t)(s->looked - s->taken), dst, (uint32_t)bytes,
				    mark_of(plan, w->step));
	return true;
}

static void offer_ahead(struct hk_plan *plan, struct plan_source *s)
{
	while (!at_end(plan, s) && s->looked < s->taken + s->recv->slots) {
		size_t bytes = step_elems(plan, s->wants[s->want].step, s->tile) * plan->esize;
		bool sent = bytes || !plan->skips;

		if (sent && !offer_one(plan, s, bytes))
			return;
		s->looked += sent;
		look_further(plan, s, !bytes);
	}
}

void hk_plan_offer(struct hk_plan *plan)
{
	for (uint32_t i = 0; i < plan->nsources; i++)
		if (plan->sources[i].offers && plan->sources[i].ordered)
			offer_ahead(plan, &plan->sources[i]);
}
