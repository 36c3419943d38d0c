/* SPDX-License-Identifier: BSD-3-Clause */
/* See rails.h. */
#include "rails.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/*
 * A message has no more pieces than that. Tiles are cut by the longest message, so that long ones,
 * in the first stage, would make those of the last stage short, where messages cost most.
 */
#define LONGEST 4

/* So many pieces at most, for all channels together. */
#define MOST_PIECES (1u << 18)

/* The values of a stage's digit that belong to member i. */
struct share {
	uint32_t first, count;
};

static struct share share_of(const struct hk_rails *r, unsigned stage, const struct hk_circle *c,
			     int member)
{
	uint64_t w = r->width[stage], n = (uint64_t)c->count, i = (uint64_t)member;
	uint32_t first = (uint32_t)((i * w + n - 1) / n), end = (uint32_t)((i * w + w + n - 1) / n);

	return (struct share){first, end - first};
}

/* Whose share a value is: of groups one below the given one, the number of one. */
static int member_of(const struct hk_rails *r, unsigned stage, const struct hk_circle *c,
		     uint32_t digit)
{
	return c->first + (int)((uint64_t)digit * (uint64_t)c->count / r->width[stage]);
}

/* Returns false where the pieces would be too many. */
static bool measure(struct hk_rails *r)
{
	uint64_t pieces = 1;
	uint32_t longest = 1;

	for (unsigned stage = r->h.stages; stage-- > 0;) {
		for (int g = 0; g < r->h.ngroups[stage + 1]; g++) {
			uint32_t n = (uint32_t)hk_hierarchy_members(&r->h, stage, g).count;

			r->width[stage] = n > r->width[stage] ? n : r->width[stage];
		}
		r->stride[stage] = (uint32_t)pieces;
		pieces *= r->width[stage];
		if (pieces > MOST_PIECES)
			return false;
	}
	for (unsigned stage = 0; stage < r->h.stages; stage++) {
		for (int g = 0; g < r->h.ngroups[stage + 1]; g++) {
			struct hk_circle c = hk_hierarchy_members(&r->h, stage, g);
			uint32_t run = share_of(r, stage, &c, 0).count * r->stride[stage];

			if (c.count > 1 && run > longest)
				longest = run;
		}
	}
	r->pieces = (uint32_t)pieces;
	r->message = longest < LONGEST ? longest : LONGEST;
	return true;
}

bool hk_rails_fit(const struct hk_problem *p)
{
	struct hk_rails r = {0};
	bool fit;

	if (!hk_hierarchy_fits(p) || p->varied || p->channels > MOST_PIECES ||
	    hk_hierarchy_create(p, &r.h))
		return false;
	fit = measure(&r) && r.pieces * p->channels <= MOST_PIECES;
	hk_hierarchy_free(&r.h);
	return fit;
}

int hk_rails_create(const struct hk_problem *p, struct hk_rails *r)
{
	struct hk_rails new = {.root = -1};
	int err = hk_hierarchy_create(p, &new.h);

	if (err)
		return err;
	measure(&new);
	*r = new;
	return 0;
}

void hk_rails_free(struct hk_rails *r)
{
	hk_hierarchy_free(&r->h);
}

void hk_rails_own(const struct hk_rails *r, int position, uint32_t *first, uint32_t *count)
{
	struct hk_circle c = hk_hierarchy_circle(&r->h, 0, position);
	struct share s = share_of(r, 0, &c, c.own);

	*first = s.first * r->stride[0];
	*count = s.count * r->stride[0];
}

/* The rank in a group of height `stage` that owns the pieces with these leading digits. */
static int owner(const struct hk_rails *r, unsigned stage, int group, const uint32_t *digits)
{
	while (stage-- > 0) {
		struct hk_circle c = hk_hierarchy_members(&r->h, stage, group);

		group = member_of(r, stage, &c, digits[stage]);
	}
	return r->h.order[group];
}

static int add_part(struct hk_rail_parts *parts, struct hk_rail_part part)
{
	if (parts->n == parts->room) {
		uint32_t room = parts->room ? 2 * parts->room : 64;
		struct hk_rail_part *more = realloc(parts->parts, room * sizeof(*more));

		if (!more)
			return hk_fail(ENOMEM, "no memory for %u messages of a schedule", room);
		parts->parts = more;
		parts->room = room;
	}
	parts->parts[parts->n++] = part;
	return 0;
}

/* A range of pieces, in messages of bounded length. */
static int add_range(const struct hk_rails *r, struct hk_rail_parts *parts,
		     struct hk_rail_part part)
{
	uint32_t end = part.first + part.count;
	int err = 0;

	for (; !err && part.first < end; part.first += r->message) {
		part.count = end - part.first < r->message ? end - part.first : r->message;
		err = add_part(parts, part);
	}
	return err;
}

/* Where a position is in a stage, and the leading digits that it owns: an odometer. */
struct view {
	const struct hk_rails *r;
	unsigned stage;
	struct hk_circle circle;
	struct share own[HK_MAX_STAGES];
	uint32_t digits[HK_MAX_STAGES];
};

static struct view view_of(const struct hk_rails *r, unsigned stage, int position)
{
	struct view v = {
		.r = r, .stage = stage, .circle = hk_hierarchy_circle(&r->h, stage, position)};

	for (unsigned i = 0; i <= stage; i++) {
		struct hk_circle c = hk_hierarchy_circle(&r->h, i, position);

		v.own[i] = share_of(r, i, &c, c.own);
		v.digits[i] = v.own[i].first;
	}
	return v;
}

/* The next choice of leading digits; false, and the first one again, after the last. */
static bool next_digits(struct view *v)
{
	for (unsigned i = v->stage; i-- > 0;) {
		if (++v->digits[i] < v->own[i].first + v->own[i].count)
			return true;
		v->digits[i] = v->own[i].first;
	}
	return false;
}

/* For all leading digits: messages with the owner in one other member of the circle, which is
 * `steps` away, of the pieces that are its share, or this position's. */
static int add_member(struct view *v, int steps, bool own, bool fresh, struct hk_rail_parts *parts)
{
	int group = hk_circle_group(&v->circle, steps), err;
	struct share s =
		share_of(v->r, v->stage, &v->circle, own ? v->circle.own : group - v->circle.first);

	do {
		uint32_t first = s.first * v->r->stride[v->stage];

		for (unsigned i = 0; i < v->stage; i++)
			first += v->digits[i] * v->r->stride[i];
		err = add_range(
			v->r, parts,
			(struct hk_rail_part){.peer = owner(v->r, v->stage, group, v->digits),
					      .first = first,
					      .count = s.count * v->r->stride[v->stage],
					      .fresh = fresh});
	} while (next_digits(v) && !err);
	return err;
}

/* The member of the circle that has the root; -1 if none has. */
static int root_member(const struct view *v, int position)
{
	const struct hk_hierarchy *h = &v->r->h;

	if (v->r->root < 0 ||
	    h->group[v->stage + 1][v->r->root] != h->group[v->stage + 1][position])
		return -1;
	return h->group[v->stage][v->r->root] - v->circle.first;
}

int hk_rails_sends(const struct hk_rails *r, enum hk_rail_phase phase, unsigned stage, int position,
		   struct hk_rail_parts *parts)
{
	struct view v = view_of(r, stage, position);
	int root = root_member(&v, position), err = 0;
	bool own = phase == HK_RAIL_ALL_GATHER || phase == HK_RAIL_GATHER;

	parts->n = 0;
	for (int i = 1; !err && i < v.circle.count; i++) {
		int member = (v.circle.own + i) % v.circle.count;

		if ((phase == HK_RAIL_SCATTER && v.circle.own != root) ||
		    (phase == HK_RAIL_GATHER && member != root) ||
		    (phase == HK_RAIL_ALL_GATHER && member == root))
			continue;
		err = add_member(&v, i, own, i == 1, parts);
	}
	return err;
}

int hk_rails_receives(const struct hk_rails *r, enum hk_rail_phase phase, unsigned stage,
		      int position, struct hk_rail_parts *parts)
{
	struct view v = view_of(r, stage, position);
	int root = root_member(&v, position), err = 0;
	bool own = phase == HK_RAIL_REDUCE_SCATTER || phase == HK_RAIL_SCATTER;

	parts->n = 0;
	for (int i = 1; !err && i < v.circle.count; i++) {
		int member = (v.circle.own - i + v.circle.count) % v.circle.count;

		if ((phase == HK_RAIL_SCATTER && (root < 0 || member != root)) ||
		    (phase == HK_RAIL_GATHER && v.circle.own != root) ||
		    (phase == HK_RAIL_ALL_GATHER && v.circle.own == root))
			continue;
		err = add_member(&v, -i, own, i == 1, parts);
	}
	return err;
}

/* --- costs --- */

struct load {
	uint32_t depth, after; /* the longest chain that ends here before, and after a phase */
	uint32_t messages, pieces;
};

static int add_phase(const struct hk_rails *r, enum hk_rail_phase phase, unsigned stage,
		     struct load *loads, struct hk_rail_parts *parts, struct hk_work *w)
{
	for (int x = 0; x < r->h.n; x++)
		loads[x].after = loads[x].depth;
	for (int x = 0; x < r->h.n; x++) {
		int err = hk_rails_sends(r, phase, stage, x, parts);

		if (err)
			return err;
		loads[x].messages += parts->n;
		for (uint32_t i = 0; i < parts->n; i++) {
			struct load *to = &loads[r->h.place[parts->parts[i].peer]];

			loads[x].pieces += parts->parts[i].count;
			if (loads[x].depth + 1 > to->after)
				to->after = loads[x].depth + 1;
			if (to->after > w->rounds)
				w->rounds = to->after;
		}
	}
	for (int x = 0; x < r->h.n; x++)
		loads[x].depth = loads[x].after;
	return 0;
}

void hk_rails_work(const struct hk_problem *p, enum hk_rail_phase up, enum hk_rail_phase down,
		   bool rooted, struct hk_work *w)
{
	struct load *loads = calloc((size_t)p->nranks, sizeof(*loads));
	struct hk_rail_parts parts = {0};
	struct hk_rails r;

	*w = (struct hk_work){0};
	if (!loads || hk_rails_create(p, &r))
		goto out;
	if (rooted)
		r.root = r.h.place[p->root];
	for (unsigned i = 0; i < 2 * r.h.stages; i++) {
		bool back = i >= r.h.stages;
		unsigned stage = back ? 2 * r.h.stages - 1 - i : i;

		if (add_phase(&r, back ? down : up, stage, loads, &parts, w))
			break;
	}
	for (int x = 0; x < p->nranks; x++) {
		double sent = (double)loads[x].pieces / r.pieces;

		w->messages = loads[x].messages * p->channels > w->messages
				      ? loads[x].messages * p->channels
				      : w->messages;
		w->sent = sent > w->sent ? sent : w->sent;
	}
	free(parts.parts);
	hk_rails_free(&r);
out:
	free(loads);
}
