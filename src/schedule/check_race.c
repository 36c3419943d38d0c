/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Races. Two steps of one participant that touch the same memory, one of them writing, must be
 * ordered by happens-before: the order of a lane, a dependency, or a chain that leaves through a
 * message and comes back. A free slot orders nothing, as there may be more slots. Each step gets a
 * vector clock, one column per lane of the participants being looked at, and each chunk remembers
 * who wrote it last and who has read it since.
 *
 * Most programs are ordered by their own lanes and dependencies, which is cheap to see; only those
 * that are not go through a second scan, which follows messages through all participants.
 *
 * SCRATCH is shared by successive tiles, so two tiles are scanned for it. More would show nothing
 * new: a step of tile t that is ordered before all of its rivals of tile t + 1 is ordered before
 * those of later tiles by their lanes. IN and OUT belong to one tile, and one is scanned.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "place.h"

/* A step of a lane, over all tiles: the lane's column, and its clock after the step. 0: none. */
struct epoch {
	uint32_t column, clock;
};

struct read {
	struct epoch epoch;
	uint32_t next; /* in its list, NONE at the end */
};

#define NONE UINT32_MAX

struct place {
	struct epoch write;
	uint32_t reads; /* since that write, at most one per lane */
};

struct scan {
	struct hk_check *c;
	int first, last; /* participants whose memory is watched, [first, last) */
	bool local;	 /* only their own steps: no messages */
	bool ordered;	 /* nothing found yet */
	uint32_t column0, width;
	uint32_t step0; /* rows count from this step on */
	uint32_t *rows; /* [steps][width] */
	uint32_t *at;	/* [nlanes]: steps done, over all tiles */
	uint64_t *place0;
	struct place *places;
	struct read *reads;
	uint32_t nreads, max_reads, free_read;
};

static uint32_t *row(const struct scan *s, uint32_t number)
{
	return s->rows + (size_t)(number - s->step0) * s->width;
}

static void join(uint32_t *clock, const uint32_t *other, uint32_t width)
{
	for (uint32_t i = 0; i < width; i++)
		clock[i] = clock[i] > other[i] ? clock[i] : other[i];
}

static bool is_before(const uint32_t *clock, struct epoch e)
{
	return clock[e.column] >= e.clock;
}

static bool watched(const struct scan *s, uint32_t lane)
{
	return lane >= s->column0 && lane - s->column0 < s->width;
}

/* Sets the row of the lane's next step, which is step `at` of this tile. */
static uint32_t *tick(const struct scan *s, uint32_t lane, uint32_t at)
{
	const struct hk_check *c = s->c;
	const struct hk_step *step = hk_check_step(c, lane, at);
	const struct hk_program *prog = c->programs[c->owner[lane]];
	uint32_t number = hk_check_number(c, lane, at), *clock = row(s, number);
	uint32_t nsteps = hk_check_lane(c, lane)->nsteps;

	/* Before the first step of a tile comes the last one of the tile before, if any. */
	if (s->at[lane]) {
		uint32_t before = hk_check_number(c, lane, (at ? at : nsteps) - 1);

		memmove(clock, row(s, before), s->width * sizeof(*clock));
	} else {
		memset(clock, 0, s->width * sizeof(*clock));
	}
	for (uint32_t i = 0; i < step->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[step->dep + i];
		uint32_t other = c->lane_base[c->owner[lane]] + d->lane;

		join(clock, row(s, hk_check_number(c, other, d->step)), s->width);
	}
	if (!s->local && hk_op_does[step->op] & HK_DOES_RECV)
		join(clock, row(s, c->match[number]), s->width);
	s->at[lane]++;
	if (watched(s, lane))
		clock[lane - s->column0] = s->at[lane];
	return clock;
}

static struct hk_check_name name_of(const struct scan *s, struct epoch e)
{
	uint32_t lane = s->column0 + e.column;

	return hk_check_where(s->c, lane, (e.clock - 1) % hk_check_lane(s->c, lane)->nsteps);
}

/* The participant may still be in order through messages if the scan was local: no report then. */
static int conflict(struct scan *s, struct epoch now, bool writes, struct epoch before, bool wrote,
		    unsigned buf, uint32_t chunk)
{
	uint32_t nsteps = hk_check_lane(s->c, s->column0 + now.column)->nsteps;
	uint32_t nbefore = hk_check_lane(s->c, s->column0 + before.column)->nsteps;
	bool later = (now.clock - 1) / nsteps != (before.clock - 1) / nbefore;

	s->ordered = false;
	if (s->local)
		return 0;
	return hk_check_fail(s->c->report, HK_CHECK_RACE,
			     "%s %s %s[%u]%s while %s may still be %s it: nothing orders them",
			     name_of(s, now).text, writes ? "writes" : "reads", hk_buf_name(buf),
			     chunk, later ? " for the next tile" : "", name_of(s, before).text,
			     wrote ? "writing" : "reading");
}

static int add_read(struct scan *s, struct place *p, struct epoch now)
{
	uint32_t i;

	for (i = p->reads; i != NONE; i = s->reads[i].next) {
		if (s->reads[i].epoch.column == now.column) {
			s->reads[i].epoch = now;
			return 0;
		}
	}
	i = s->free_read;
	if (i != NONE) {
		s->free_read = s->reads[i].next;
	} else {
		if (s->nreads == s->max_reads) {
			uint32_t max = s->max_reads ? s->max_reads * 2 : 256;
			struct read *more;

			if (max > INT32_MAX)
				return -ENOMEM;
			more = realloc(s->reads, max * sizeof(*more));
			if (!more)
				return -ENOMEM;
			s->reads = more;
			s->max_reads = max;
		}
		i = s->nreads++;
	}
	s->reads[i] = (struct read){now, p->reads};
	p->reads = i;
	return 0;
}

static int access_chunk(struct scan *s, struct epoch now, const uint32_t *clock, unsigned buf,
			uint32_t chunk, bool writes)
{
	uint32_t part = s->c->owner[s->column0 + now.column], i;
	struct place *p = &s->places[s->place0[part - (uint32_t)s->first] +
				     hk_place(s->c->p, s->c->programs[part], buf, chunk)];

	if (p->write.clock && !is_before(clock, p->write))
		return conflict(s, now, writes, p->write, true, buf, chunk);
	if (!writes)
		return add_read(s, p, now);
	while ((i = p->reads) != NONE) {
		if (!is_before(clock, s->reads[i].epoch))
			return conflict(s, now, true, s->reads[i].epoch, false, buf, chunk);
		p->reads = s->reads[i].next;
		s->reads[i].next = s->free_read;
		s->free_read = i;
	}
	p->write = now;
	return 0;
}

static int access_range(struct scan *s, struct epoch now, const uint32_t *clock, unsigned buf,
			uint32_t first, uint32_t n, bool writes)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && s->ordered && i < n; i++)
		rc = access_chunk(s, now, clock, buf, first + i, writes);
	return rc;
}

static int scan_step(struct scan *s, uint32_t lane, unsigned tile)
{
	uint32_t nsteps = hk_check_lane(s->c, lane)->nsteps;
	uint32_t at = s->at[lane] - tile * nsteps;
	const struct hk_step *step = hk_check_step(s->c, lane, at);
	unsigned does = hk_op_does[step->op];
	const uint32_t *clock = tick(s, lane, at);
	struct epoch now;
	int rc = 0;

	if (!watched(s, lane))
		return 0;
	now = (struct epoch){lane - s->column0, s->at[lane]};
	if (does & HK_READS_SRC && (!tile || step->src_buf == HK_SCRATCH))
		rc = access_range(s, now, clock, step->src_buf, step->src, step->nchunks, false);
	/* What reads its destination writes it too, and that is the stronger access. */
	if (!rc && does & HK_WRITES_DST && (!tile || step->dst_buf == HK_SCRATCH))
		rc = access_range(s, now, clock, step->dst_buf, step->dst, step->nchunks, true);
	return rc;
}

static int scan_tiles(struct scan *s, const uint32_t *order, uint32_t norder)
{
	unsigned tiles = 1;
	int rc = 0;

	for (int i = s->first; i < s->last; i++)
		if (s->c->programs[i]->nchunks[HK_SCRATCH])
			tiles = 2;
	for (unsigned tile = 0; tile < tiles; tile++)
		for (uint32_t i = 0; !rc && s->ordered && i < norder; i++)
			rc = scan_step(s, order[i], tile);
	return rc;
}

/* Scans the memory of participants [first, last) along the given order of lanes. */
static int scan(struct hk_check *c, int first, int last, bool local, const uint32_t *order,
		uint32_t norder, bool *ordered)
{
	struct scan s = {.c = c,
			 .first = first,
			 .last = last,
			 .local = local,
			 .ordered = true,
			 .column0 = c->lane_base[first],
			 .width = c->lane_base[last] - c->lane_base[first],
			 .step0 = local ? c->step_base[first] : 0,
			 .free_read = NONE};
	size_t steps = local ? c->step_base[last] - s.step0 : c->nsteps;
	uint64_t nplaces = 0;
	int rc = -ENOMEM;

	s.place0 = malloc((size_t)(last - first) * sizeof(*s.place0));
	if (!s.place0)
		return -ENOMEM;
	for (int i = first; i < last; i++) {
		s.place0[i - first] = nplaces;
		nplaces += hk_places(c->programs[i]);
	}
	s.places = malloc((nplaces + 1) * sizeof(*s.places));
	s.at = calloc((size_t)c->nlanes + 1, sizeof(*s.at));
	if (s.width && steps < SIZE_MAX / sizeof(*s.rows) / s.width)
		s.rows = malloc(steps * s.width * sizeof(*s.rows));
	if (s.places && s.at && s.rows) {
		for (uint64_t i = 0; i < nplaces; i++)
			s.places[i] = (struct place){.reads = NONE};
		rc = scan_tiles(&s, order, norder);
		*ordered = s.ordered;
	}
	free(s.place0);
	free(s.places);
	free(s.at);
	free(s.rows);
	free(s.reads);
	return rc;
}

/* The order of all, cut into one order for each participant; it begins at step_base. */
static uint32_t *cut_order(const struct hk_check *c)
{
	uint32_t *cut = malloc(((size_t)c->nsteps + 1) * sizeof(*cut));
	uint32_t *next = malloc((size_t)c->n * sizeof(*next));

	if (cut && next) {
		memcpy(next, c->step_base, (size_t)c->n * sizeof(*next));
		for (uint32_t i = 0; i < c->nsteps; i++)
			cut[next[c->owner[c->order[i]]]++] = c->order[i];
	} else {
		free(cut);
		cut = NULL;
	}
	free(next);
	return cut;
}

/* Several participants share a scan of all messages, up to this many lanes. */
#define WIDTH 16

int hk_check_race(struct hk_check *c)
{
	uint32_t *cut = cut_order(c);
	bool *ordered = calloc((size_t)c->n, sizeof(*ordered)), all;
	int rc = cut && ordered ? 0 : -ENOMEM, last;

	for (int i = 0; !rc && i < c->n; i++) {
		uint32_t first = c->step_base[i];

		ordered[i] = c->programs[i]->nlanes < 2;
		if (!ordered[i])
			rc = scan(c, i, i + 1, true, cut + first, c->step_base[i + 1] - first,
				  &ordered[i]);
	}
	for (int i = 0; !rc && i < c->n; i = last) {
		last = i + 1;
		if (ordered[i])
			continue;
		while (last < c->n && !ordered[last] &&
		       c->lane_base[last + 1] - c->lane_base[i] <= WIDTH)
			last++;
		rc = scan(c, i, last, false, c->order, c->nsteps, &all);
	}
	free(cut);
	free(ordered);
	return rc;
}
