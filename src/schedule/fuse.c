/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fusion pass. First, a receive and the send of the same chunks right after it in its lane
 * become one step, so that an executor forwards from the slot it received into, without a second
 * look at memory. Then the store of a forwarded partial result goes if nobody reads it before it is
 * overwritten. What remains unused of SCRATCH is given back.
 *
 * The result means the same whatever the program: a pair stays apart if the send waits for
 * something of its own, or if another lane waits for the receive alone, which must not come to wait
 * for the send. One thing may differ: a fused step holds its message until the next connection has
 * a free slot, so that a program may need a slot more, and the checker says how many.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "check.h"
#include "error.h"
#include "place.h"
#include "schedule.h"

static bool same_sizes(const struct hk_problem *p, const struct hk_program *prog,
		       const struct hk_step *recv, const struct hk_step *send)
{
	for (uint32_t i = 0; i < send->nchunks; i++)
		if (hk_step_size(p, prog, recv, i) != hk_step_size(p, prog, send, i))
			return false;
	return true;
}

static bool can_fuse(const struct hk_problem *p, const struct hk_program *prog,
		     const struct hk_step *recv, const struct hk_step *send, bool awaited)
{
	return (recv->op == HK_RECV || recv->op == HK_RECV_REDUCE) && send->op == HK_SEND &&
	       send->src_buf == recv->dst_buf && send->src == recv->dst &&
	       send->nchunks == recv->nchunks && !send->ndeps && !awaited &&
	       same_sizes(p, prog, recv, send);
}

/* Fuses and closes the gaps. renumber[old step of the table] = new number in its lane. */
static void fuse_pairs(const struct hk_problem *p, struct hk_program *prog, const bool *awaited,
		       uint32_t *renumber)
{
	uint32_t w = 0;

	for (uint32_t i = 0; i < prog->nlanes; i++) {
		struct hk_lane *lane = &prog->lanes[i];
		uint32_t first = w, end = lane->first + lane->nsteps;

		for (uint32_t r = lane->first; r < end; r++) {
			struct hk_step s = prog->steps[r];

			renumber[r] = w - first;
			if (r + 1 < end && can_fuse(p, prog, &s, &prog->steps[r + 1], awaited[r])) {
				s.op = s.op == HK_RECV ? HK_RECV_COPY_SEND
						       : HK_RECV_REDUCE_COPY_SEND;
				s.to = prog->steps[++r].to;
				renumber[r] = w - first;
			}
			prog->steps[w++] = s;
		}
		lane->first = first;
		lane->nsteps = w - first;
	}
	prog->nsteps = w;
}

static int fuse_all(const struct hk_problem *p, struct hk_program *prog)
{
	bool *awaited = calloc((size_t)prog->nsteps + 1, sizeof(*awaited));
	uint32_t *renumber = malloc(((size_t)prog->nsteps + 1) * sizeof(*renumber));
	uint32_t *was_first = malloc(((size_t)prog->nlanes + 1) * sizeof(*was_first));
	int rc = 0;

	if (!awaited || !renumber || !was_first) {
		rc = hk_fail(ENOMEM, "no memory to fuse %u steps", prog->nsteps);
		goto out;
	}
	for (uint32_t i = 0; i < prog->nlanes; i++)
		was_first[i] = prog->lanes[i].first;
	for (uint32_t i = 0; i < prog->ndeps; i++)
		awaited[was_first[prog->deps[i].lane] + prog->deps[i].step] = true;
	fuse_pairs(p, prog, awaited, renumber);
	for (uint32_t i = 0; i < prog->ndeps; i++) {
		struct hk_dep *d = &prog->deps[i];

		d->step = renumber[was_first[d->lane] + d->step];
	}
out:
	free(awaited);
	free(renumber);
	free(was_first);
	return rc;
}

#define NOBODY	UINT32_MAX
#define SEVERAL (UINT32_MAX - 1)

/* What the second half knows about a place. */
struct use {
	uint32_t lane;	 /* the one lane that uses it, NOBODY or SEVERAL */
	bool read_first; /* that lane's first step here reads */
	bool live;	 /* going backwards: what is stored here now will be read */
};

struct uses {
	const struct hk_problem *p;
	const struct hk_program *prog;
	struct use *places;
};

static struct use *use_of(const struct uses *u, unsigned buf, uint32_t chunk)
{
	return &u->places[hk_place(u->p, u->prog, buf, chunk)];
}

static void touch(struct use *use, uint32_t lane, bool read)
{
	if (use->lane == NOBODY) {
		use->lane = lane;
		use->read_first = read;
	} else if (use->lane != lane) {
		use->lane = SEVERAL;
	}
}

static void touch_all(const struct uses *u)
{
	for (uint32_t i = 0; i < u->prog->nlanes; i++) {
		const struct hk_lane *l = &u->prog->lanes[i];

		for (uint32_t k = l->first; k < l->first + l->nsteps; k++) {
			const struct hk_step *s = &u->prog->steps[k];
			unsigned does = hk_op_does[s->op];

			for (uint32_t c = 0; c < s->nchunks; c++) {
				if (does & HK_READS_SRC)
					touch(use_of(u, s->src_buf, s->src + c), i, true);
				if (does & HK_WRITES_DST)
					touch(use_of(u, s->dst_buf, s->dst + c), i,
					      does & HK_READS_DST);
			}
		}
	}
}

static bool is_dead(const struct uses *u, const struct hk_step *s, uint32_t lane)
{
	for (uint32_t c = 0; c < s->nchunks; c++) {
		const struct use *use = use_of(u, s->dst_buf, s->dst + c);

		if (use->lane != lane || use->live)
			return false;
	}
	return true;
}

/* Backwards over a lane: liveness of what its steps store, and the stores that go. */
static void drop_stores(const struct uses *u, struct hk_program *prog, uint32_t lane)
{
	const struct hk_lane *l = &prog->lanes[lane];

	for (uint32_t k = l->first + l->nsteps; k-- > l->first;) {
		struct hk_step *s = &prog->steps[k];
		unsigned does;

		if (s->op == HK_RECV_REDUCE_COPY_SEND && is_dead(u, s, lane)) {
			if (s->src_buf == HK_SCRATCH) /* OUT told the size until now */
				s->size = (uint32_t)hk_step_size(u->p, prog, s, 0);
			s->op = HK_RECV_REDUCE_SEND;
			s->dst_buf = HK_NONE;
			s->dst = 0;
		}
		does = hk_op_does[s->op];
		for (uint32_t c = 0; c < s->nchunks && does & HK_WRITES_DST; c++)
			use_of(u, s->dst_buf, s->dst + c)->live = does & HK_READS_DST;
		for (uint32_t c = 0; c < s->nchunks && does & HK_READS_SRC; c++)
			use_of(u, s->src_buf, s->src + c)->live = true;
	}
}

static void shrink_scratch(struct hk_program *prog)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < prog->nsteps; i++) {
		const struct hk_step *s = &prog->steps[i];

		if (s->src_buf == HK_SCRATCH && s->src + s->nchunks > used)
			used = s->src + s->nchunks;
		if (s->dst_buf == HK_SCRATCH && s->dst + s->nchunks > used)
			used = s->dst + s->nchunks;
	}
	prog->nchunks[HK_SCRATCH] = used;
}

int hk_fuse(const struct hk_problem *p, struct hk_program *prog)
{
	struct uses u = {.p = p, .prog = prog};
	struct hk_report report = {0};
	uint64_t n;
	int rc;

	if (hk_check_bounds(p, prog, prog->rank, INT_MAX, &report))
		return hk_fail(EINVAL, "%s", report.text);
	n = hk_places(prog);
	u.places = malloc((n + 1) * sizeof(*u.places));
	if (!u.places)
		return hk_fail(ENOMEM, "no memory to fuse a program of %llu chunks",
			       (unsigned long long)n);
	rc = fuse_all(p, prog);
	if (rc)
		goto out;
	for (uint64_t i = 0; i < n; i++)
		u.places[i] = (struct use){.lane = NOBODY};
	touch_all(&u);
	/* After a tile's last step OUT is the result. SCRATCH has the next tile's first step yet
	 * to come; IN as such is never written. */
	for (uint64_t i = 0; i < n; i++)
		u.places[i].live = i < prog->nchunks[HK_OUT] || u.places[i].read_first;
	for (uint32_t i = 0; i < prog->nlanes; i++)
		drop_stores(&u, prog, i);
	shrink_scratch(prog);
out:
	free(u.places);
	return rc;
}
