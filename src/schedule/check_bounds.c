/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker's first phase: all that can be wrong with one program without looking at the others.
 * Whoever comes after may index lanes, steps, dependencies, chunks and peers without a check of its
 * own, so nothing here may trust any number of the program: sums are made in 64 bits.
 */
#include "check.h"

int hk_check_chunks(const struct hk_problem *p, int rank, uint32_t period,
		    uint32_t nchunks[HK_NBUFS], struct hk_report *report)
{
	enum hk_buf bufs[] = {HK_IN, HK_OUT};

	nchunks[HK_NONE] = nchunks[HK_SCRATCH] = nchunks[HK_IN] = nchunks[HK_OUT] = 0;
	if (period < 1 || period > HK_MAX_CHUNKS)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d: period %u is not from 1 to %u", rank, period,
				     HK_MAX_CHUNKS);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t blocks = hk_coll_blocks(p, rank, bufs[i]);

		if ((uint64_t)blocks * period > HK_MAX_CHUNKS)
			return hk_check_fail(report, HK_CHECK_BOUNDS,
					     "participant %d: %u blocks of %u chunks are more "
					     "than %u",
					     rank, blocks, period, HK_MAX_CHUNKS);
		nchunks[bufs[i]] = blocks * period;
	}
	return 0;
}

/* Where a sentence points: set while the walk is there. */
struct here {
	const struct hk_problem *p;
	const struct hk_program *prog;
	struct hk_report *report;
	int nparticipants;
	uint32_t lane, step; /* step within the lane */
};

static int bad(const struct here *h, const struct hk_step *s, const char *what)
{
	h->report->participant = h->prog->rank;
	h->report->lane = h->lane;
	h->report->step = h->step;
	return hk_check_fail(h->report, HK_CHECK_BOUNDS,
			     "participant %d, lane %u, step %u (%s): %s", h->prog->rank, h->lane,
			     h->step, hk_op_name(s->op), what);
}

static int check_range(const struct here *h, const struct hk_step *s, bool present, unsigned buf,
		       uint32_t chunk, bool write)
{
	if (!present) {
		if (buf != HK_NONE || chunk)
			return bad(h, s, "names a buffer that its op does not use");
		return 0;
	}
	if (buf <= HK_NONE || buf >= HK_NBUFS)
		return bad(h, s, "lacks a buffer that its op needs");
	if (write && buf == HK_IN)
		return bad(h, s, "writes IN");
	if ((uint64_t)chunk + s->nchunks > h->prog->nchunks[buf])
		return bad(h, s,
			   write ? "writes chunks past the end of the buffer"
				 : "reads chunks past the end of the buffer");
	return 0;
}

/* A kernel's operands are the same memory or do not overlap. */
static bool overlaps(const struct here *h, const struct hk_step *s)
{
	if (s->src_buf == s->dst_buf)
		return s->src != s->dst && (uint64_t)s->src < (uint64_t)s->dst + s->nchunks &&
		       (uint64_t)s->dst < (uint64_t)s->src + s->nchunks;
	if (s->src_buf != HK_IN || s->dst_buf != HK_OUT || !h->p->inplace)
		return false;
	for (uint32_t i = 0; i < s->nchunks; i++) {
		int64_t o = hk_alias_out(h->p, h->prog, s->src + i) - (int64_t)s->dst;

		if (o >= 0 && o < s->nchunks && o != i)
			return true;
	}
	return false;
}

static int check_peer(const struct here *h, const struct hk_step *s, bool present, int32_t peer)
{
	if (!present)
		return peer == -1 ? 0 : bad(h, s, "names a peer that its op does not use");
	if (peer < 0 || peer >= h->nparticipants)
		return bad(h, s, "names a peer that does not exist");
	if (peer == h->prog->rank)
		return bad(h, s, "names itself as its peer");
	return 0;
}

static bool dep_exists(const struct hk_program *prog, const struct hk_dep *d)
{
	return d->lane < prog->nlanes && d->step < prog->lanes[d->lane].nsteps;
}

static int check_deps(const struct here *h, const struct hk_step *s)
{
	const struct hk_program *prog = h->prog;

	if (!s->ndeps)
		return 0;
	if ((uint64_t)s->dep + s->ndeps > prog->ndeps)
		return bad(h, s, "has dependencies past the end of the table");
	for (uint32_t i = 0; i < s->ndeps; i++)
		if (!dep_exists(prog, &prog->deps[s->dep + i]))
			return bad(h, s, "waits for a step that does not exist");
	return 0;
}

/* The size is given if, and only if, nothing else tells it. */
static int check_size(const struct here *h, const struct hk_step *s)
{
	bool told = (s->src_buf != HK_NONE && s->src_buf != HK_SCRATCH) ||
		    (s->dst_buf != HK_NONE && s->dst_buf != HK_SCRATCH);
	uint64_t ids = h->prog->period;

	if (told)
		return s->size ? bad(h, s, "gives a size although its buffers tell it") : 0;
	if (h->p->varied && !hk_coll_sizes_known(h->p->coll))
		return bad(h, s, "moves a block whose size this rank is not told at the call");
	if (h->p->varied)
		ids *= (uint64_t)h->p->nranks;
	return s->size < ids ? 0 : bad(h, s, "gives a size that does not exist");
}

/* IN and OUT must agree; SCRATCH has room for all. */
static bool equal_sizes(const struct here *h, const struct hk_step *s)
{
	struct hk_step out = {.dst_buf = s->dst_buf, .dst = s->dst};

	if (s->src_buf == HK_SCRATCH || s->dst_buf == HK_SCRATCH)
		return true;
	for (uint32_t i = 0; i < s->nchunks; i++)
		if (hk_step_size(h->p, h->prog, s, i) != hk_step_size(h->p, h->prog, &out, i))
			return false;
	return true;
}

static int check_step(const struct here *h, const struct hk_step *s)
{
	unsigned does;
	bool src, dst;
	int rc;

	if (s->op >= HK_NOPS || !hk_op_does[s->op])
		return bad(h, s, "is not an op");
	does = hk_op_does[s->op];
	src = does & HK_READS_SRC;
	dst = does & (HK_WRITES_DST | HK_READS_DST);
	rc = check_size(h, s);
	if (rc)
		return rc;
	if (s->flags & ~(does & HK_DOES_REDUCE ? HK_STEP_FLIP : 0))
		return bad(h, s, "sets a flag that its op does not have");
	if (!s->nchunks)
		return bad(h, s, "moves no chunks");
	if (does & (HK_DOES_SEND | HK_DOES_RECV) && s->nchunks > h->prog->message_chunks)
		return bad(h, s, "has a longer message than its program announces");
	rc = check_range(h, s, src, s->src_buf, s->src, false);
	if (!rc)
		rc = check_range(h, s, dst, s->dst_buf, s->dst, true);
	if (!rc)
		rc = check_peer(h, s, does & HK_DOES_SEND, s->to);
	if (!rc)
		rc = check_peer(h, s, does & HK_DOES_RECV, s->from);
	if (!rc)
		rc = check_deps(h, s);
	if (rc || !src || !dst)
		return rc;
	if (!equal_sizes(h, s))
		return bad(h, s, "connects chunks of different sizes");
	return overlaps(h, s) ? bad(h, s, "reads and writes memory that overlaps") : 0;
}

static int check_header(const struct hk_problem *p, const struct hk_program *prog, int rank,
			struct hk_report *report)
{
	uint32_t nchunks[HK_NBUFS];
	int rc = hk_check_chunks(p, rank, prog->period, nchunks, report);

	if (rc)
		return rc;
	if (prog->rank != rank)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d has the program of rank %d", rank, prog->rank);
	if (prog->nchunks[HK_NONE] || prog->nchunks[HK_IN] != nchunks[HK_IN] ||
	    prog->nchunks[HK_OUT] != nchunks[HK_OUT])
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d: in and out have %u and %u chunks, but "
				     "%s over %d ranks with period %u has %u and %u",
				     rank, prog->nchunks[HK_IN], prog->nchunks[HK_OUT],
				     hk_coll_name(p->coll), p->nranks, prog->period, nchunks[HK_IN],
				     nchunks[HK_OUT]);
	if (!prog->message_chunks || prog->message_chunks > UINT16_MAX)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d: messages of up to %u chunks are not from 1 "
				     "to %u",
				     rank, prog->message_chunks, UINT16_MAX);
	if (prog->nchunks[HK_SCRATCH] > HK_MAX_CHUNKS)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d: %u chunks of scratch are more than %u", rank,
				     prog->nchunks[HK_SCRATCH], HK_MAX_CHUNKS);
	return 0;
}

/* The lanes must cut the steps without gap or overlap, in order. */
static int check_lanes(const struct hk_program *prog, struct hk_report *report)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < prog->nlanes; i++) {
		if (!prog->lanes[i].nsteps)
			return hk_check_fail(report, HK_CHECK_BOUNDS,
					     "participant %d, lane %u: has no steps", prog->rank,
					     i);
		if (prog->lanes[i].first != next)
			return hk_check_fail(report, HK_CHECK_BOUNDS,
					     "participant %d, lane %u: starts at step %u of the "
					     "table, not at %llu",
					     prog->rank, i, prog->lanes[i].first,
					     (unsigned long long)next);
		next += prog->lanes[i].nsteps;
		if (next > prog->nsteps)
			break;
	}
	if (next != prog->nsteps)
		return hk_check_fail(report, HK_CHECK_BOUNDS,
				     "participant %d: the lanes' steps do not make up the %u steps "
				     "of the table",
				     prog->rank, prog->nsteps);
	return 0;
}

int hk_check_bounds(const struct hk_problem *p, const struct hk_program *prog, int rank,
		    int nparticipants, struct hk_report *report)
{
	struct here h = {.p = p, .prog = prog, .report = report, .nparticipants = nparticipants};
	int rc = check_header(p, prog, rank, report);

	if (!rc)
		rc = check_lanes(prog, report);
	for (h.lane = 0; !rc && h.lane < prog->nlanes; h.lane++) {
		const struct hk_lane *l = &prog->lanes[h.lane];

		for (h.step = 0; !rc && h.step < l->nsteps; h.step++)
			rc = check_step(&h, &prog->steps[l->first + h.step]);
	}
	/* Also those that no step uses: who renumbers steps walks the table. */
	for (uint32_t i = 0; !rc && i < prog->ndeps; i++)
		if (!dep_exists(prog, &prog->deps[i]))
			rc = hk_check_fail(report, HK_CHECK_BOUNDS,
					   "participant %d: dependency %u of the table names a "
					   "step that does not exist",
					   rank, i);
	return rc;
}
