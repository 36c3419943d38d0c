/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Races. Two steps of one participant that touch the same memory, one of them writing, must be
 * ordered by happens-before: the order of a lane, a dependency, or a chain that leaves through a
 * message and comes back. A free slot orders nothing, as there may be more slots. Each step gets a
 * vector clock, one column per lane being watched, and each chunk remembers who wrote it last and
 * who has read it since.
 *
 * Most programs are ordered by their own lanes and dependencies alone, which is cheap to see. The
 * lanes whose steps seem to collide with later ones go through a second scan, which follows
 * messages through all participants. Both scans make the same comparisons in the same order, so
 * the second may take those that the first has found ordered for granted.
 *
 * SCRATCH is shared by successive tiles, so two tiles are scanned for it. More would show nothing
 * new: a step of tile t that is ordered before all of its rivals of tile t + 1 is ordered before
 * those of later tiles by their lanes. IN and OUT belong to one tile, and one is scanned; so does
 * the SCRATCH of a serial program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "place.h"

#define NONE UINT32_MAX

/* A step of a lane, over all tiles: the lane (from the first watched participant's on), and its
 * clock after the step. 0: no step. */
struct epoch {
	uint32_t lane, clock;
};

struct read {
	struct epoch epoch;
	uint32_t next; /* in its list, NONE at the end */
};

struct place {
	struct epoch write;
	uint32_t reads; /* since that write, at most one per lane */
};

struct scan {
	struct hk_check *c;
	int first, last; /* participants whose memory is watched, [first, last) */
	bool local;	 /* only their own steps: no messages */
	bool *suspect;	 /* [all lanes]: their steps must be seen to come before others */
	bool *scratch;	 /* [n]: also over two tiles */
	uint32_t lane0, nlanes, width;
	uint32_t *column; /* [nlanes]: of the clocks, NONE if not watched */
	uint32_t step0;	  /* rows count from this step on */
	uint32_t *rows;	  /* [steps][width] */
	uint32_t *at;	  /* [all lanes]: steps done, over all tiles */
	uint64_t *place0; /* [last - first] */
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

static bool is_before(const struct scan *s, const uint32_t *clock, struct epoch e)
{
	return s->column[e.lane] == NONE || clock[s->column[e.lane]] >= e.clock;
}

static bool is_watched(const struct scan *s, uint32_t lane)
{
	return lane >= s->lane0 && lane - s->lane0 < s->nlanes;
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
	if (is_watched(s, lane) && s->column[lane - s->lane0] != NONE)
		clock[s->column[lane - s->lane0]] = s->at[lane];
	return clock;
}

static struct hk_check_name name_of(const struct scan *s, struct epoch e)
{
	uint32_t lane = s->lane0 + e.lane;

	return hk_check_where(s->c, lane, (e.clock - 1) % hk_check_lane(s->c, lane)->nsteps);
}

static uint32_t tile_of(const struct scan *s, struct epoch e)
{
	return (e.clock - 1) / hk_check_lane(s->c, s->lane0 + e.lane)->nsteps;
}

/* `now` may still be ordered through messages if the scan was local: then a suspicion, no report.
 */
static int collide(struct scan *s, struct epoch now, bool writes, struct epoch before, bool wrote,
		   unsigned buf, uint32_t chunk)
{
	if (s->local) {
		s->suspect[s->lane0 + before.lane] = true;
		s->scratch[s->first] |= buf == HK_SCRATCH;
		return 0;
	}
	return hk_check_fail(s->c->report, HK_CHECK_RACE,
			     "%s %s %s[%u]%s while %s may still be %s it: nothing orders them",
			     name_of(s, now).text, writes ? "writes" : "reads", hk_buf_name(buf),
			     chunk,
			     tile_of(s, now) != tile_of(s, before) ? " for the next tile" : "",
			     name_of(s, before).text, wrote ? "writing" : "reading");
}

static int add_read(struct scan *s, struct place *p, struct epoch now)
{
	uint32_t i;

	for (i = p->reads; i != NONE; i = s->reads[i].next) {
		if (s->reads[i].epoch.lane == now.lane) {
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
	uint32_t part = s->c->owner[s->lane0 + now.lane], i;
	struct place *p = &s->places[s->place0[part - (uint32_t)s->first] +
				     hk_place(s->c->p, s->c->programs[part], buf, chunk)];
	int rc = 0;

	if (p->write.clock && !is_before(s, clock, p->write))
		rc = collide(s, now, writes, p->write, true, buf, chunk);
	if (!rc && !writes)
		return add_read(s, p, now);
	while (!rc && (i = p->reads) != NONE) {
		if (!is_before(s, clock, s->reads[i].epoch))
			rc = collide(s, now, true, s->reads[i].epoch, false, buf, chunk);
		p->reads = s->reads[i].next;
		s->reads[i].next = s->free_read;
		s->free_read = i;
	}
	p->write = now;
	return rc;
}

static int access_range(struct scan *s, struct epoch now, const uint32_t *clock, unsigned buf,
			uint32_t first, uint32_t n, bool writes)
{
	int rc = 0;

	for (uint32_t i = 0; !rc && i < n; i++)
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

	if (!is_watched(s, lane) || (tile && s->c->programs[s->c->owner[lane]]->serial))
		return 0;
	now = (struct epoch){lane - s->lane0, s->at[lane]};
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
		if (!s->c->programs[i]->serial &&
		    (s->local ? s->c->programs[i]->nchunks[HK_SCRATCH] : s->scratch[i]))
			tiles = 2;
	for (unsigned tile = 0; tile < tiles; tile++)
		for (uint32_t i = 0; !rc && i < norder; i++)
			rc = scan_step(s, order[i], tile);
	return rc;
}

static int prepare(struct scan *s)
{
	const struct hk_check *c = s->c;
	size_t steps = s->local ? c->step_base[s->last] - s->step0 : c->nsteps;
	uint64_t nplaces = 0;

	s->place0 = malloc((size_t)(s->last - s->first) * sizeof(*s->place0));
	s->column = malloc(s->nlanes * sizeof(*s->column));
	if (!s->place0 || !s->column)
		return -ENOMEM;
	for (int i = s->first; i < s->last; i++) {
		s->place0[i - s->first] = nplaces;
		nplaces += hk_places(c->programs[i]);
	}
	for (uint32_t l = 0; l < s->nlanes; l++)
		s->column[l] = s->local || s->suspect[s->lane0 + l] ? s->width++ : NONE;
	if (steps > SIZE_MAX / sizeof(*s->rows) / s->width)
		return -ENOMEM;
	s->places = malloc((nplaces + 1) * sizeof(*s->places));
	s->at = calloc((size_t)c->nlanes + 1, sizeof(*s->at));
	s->rows = malloc(steps * s->width * sizeof(*s->rows));
	if (!s->places || !s->at || !s->rows)
		return -ENOMEM;
	for (uint64_t i = 0; i < nplaces; i++)
		s->places[i] = (struct place){.reads = NONE};
	return 0;
}

/* Scans the memory of s->first up to s->last, along the given order of lanes. */
static int scan(struct scan *s, const uint32_t *order, uint32_t norder)
{
	int rc;

	s->lane0 = s->c->lane_base[s->first];
	s->nlanes = s->c->lane_base[s->last] - s->lane0;
	s->step0 = s->local ? s->c->step_base[s->first] : 0;
	s->free_read = NONE;
	rc = prepare(s);
	if (!rc)
		rc = scan_tiles(s, order, norder);
	free(s->place0);
	free(s->column);
	free(s->places);
	free(s->at);
	free(s->rows);
	free(s->reads);
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

static int scan_local(struct hk_check *c, bool *suspect, bool *scratch)
{
	uint32_t *cut = cut_order(c);
	int rc = cut ? 0 : -ENOMEM;

	for (int i = 0; !rc && i < c->n; i++) {
		struct scan s = {.c = c,
				 .first = i,
				 .last = i + 1,
				 .local = true,
				 .suspect = suspect,
				 .scratch = scratch};

		if (c->programs[i]->nlanes > 1)
			rc = scan(&s, cut + c->step_base[i], c->step_base[i + 1] - c->step_base[i]);
	}
	free(cut);
	return rc;
}

static uint32_t count_suspects(const struct hk_check *c, int part, const bool *suspect)
{
	uint32_t n = 0;

	for (uint32_t l = c->lane_base[part]; l < c->lane_base[part + 1]; l++)
		n += suspect[l];
	return n;
}

/* Neighbours share a scan of all messages, up to so many lanes. */
#define WIDTH 16

static int scan_all(struct hk_check *c, bool *suspect, bool *scratch)
{
	int rc = 0, last;

	for (int i = 0; !rc && i < c->n; i = last) {
		struct scan s = {.c = c, .first = i, .suspect = suspect, .scratch = scratch};
		uint32_t width = count_suspects(c, i, suspect);

		for (last = i + 1; width && last < c->n; last++) {
			uint32_t more = count_suspects(c, last, suspect);

			if (!more || width + more > WIDTH)
				break;
			width += more;
		}
		s.last = last;
		if (width)
			rc = scan(&s, c->order, c->nsteps);
	}
	return rc;
}

int hk_check_race(struct hk_check *c)
{
	bool *suspect = calloc((size_t)c->nlanes + 1, sizeof(*suspect));
	bool *scratch = calloc((size_t)c->n, sizeof(*scratch));
	int rc = -ENOMEM;

	if (suspect && scratch)
		rc = scan_local(c, suspect, scratch);
	if (!rc)
		rc = scan_all(c, suspect, scratch);
	free(suspect);
	free(scratch);
	return rc;
}
