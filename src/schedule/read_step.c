/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a step as text.c prints it: "NUMBER: OP OPERANDS -> TARGET size N, to PEER (after lane L
 * step S, ...)". The operands are one or two terms, a range of chunks or "from PEER"; what they
 * mean follows from the op.
 */
#include "read_step.h"

#include <string.h>

#include "file.h"

struct term {
	unsigned buf; /* HK_NONE: received */
	uint32_t chunk, n;
	int32_t peer;
};

static int read_peer(struct hk_scan *scan, int32_t *peer)
{
	uint64_t v = 0;
	int rc = hk_scan_number(scan, "a participant", INT32_MAX, &v);

	*peer = (int32_t)v;
	return rc;
}

/* "out[3]" or "out[3..5]" */
static int read_range(struct hk_scan *scan, struct term *t)
{
	uint64_t first = 0, last = 0;
	int rc;

	t->peer = -1;
	for (t->buf = HK_IN; t->buf < HK_NBUFS; t->buf++)
		if (hk_scan_word(scan, hk_buf_name(t->buf)))
			break;
	if (t->buf == HK_NBUFS)
		return hk_scan_fail(scan, "chunks of in, out or scratch");
	rc = hk_scan_need(scan, "[");
	rc = rc ? rc : hk_scan_number(scan, "a chunk", UINT32_MAX, &first);
	last = first;
	if (!rc && hk_scan_sign(scan, ".."))
		rc = hk_scan_number(scan, "the last chunk", UINT32_MAX, &last);
	rc = rc ? rc : hk_scan_need(scan, "]");
	if (rc)
		return rc;
	if (last < first || last - first >= UINT16_MAX)
		return hk_file_fail(scan->source, scan->line, "a step moves 1 to %u chunks",
				    UINT16_MAX);
	t->chunk = (uint32_t)first;
	t->n = (uint32_t)(last - first + 1);
	return 0;
}

static int read_term(struct hk_scan *scan, struct term *t)
{
	if (!hk_scan_word(scan, "from"))
		return read_range(scan, t);
	*t = (struct term){.buf = HK_NONE};
	return read_peer(scan, &t->peer);
}

static int read_op(struct hk_scan *scan, struct hk_step *s)
{
	for (unsigned op = 1; op < HK_NOPS; op++) {
		if (!hk_op_does[op] || !hk_scan_word(scan, hk_op_name(op)))
			continue;
		s->op = (uint8_t)op;
		return 0;
	}
	return hk_scan_fail(scan, "an op (send, recv, recv_reduce ...)");
}

static int set_chunks(struct hk_scan *scan, struct hk_step *s, const struct term *t)
{
	if (s->nchunks && s->nchunks != t->n)
		return hk_file_fail(scan->source, scan->line, "%u chunks meet %u", s->nchunks,
				    t->n);
	s->nchunks = (uint16_t)t->n;
	return 0;
}

static int set_source(struct hk_scan *scan, struct hk_step *s, const struct term *t)
{
	s->src_buf = (uint8_t)t->buf;
	s->src = t->chunk;
	return set_chunks(scan, s, t);
}

static bool is_target(const struct hk_step *s, const struct term *t)
{
	return t->buf == s->dst_buf && t->chunk == s->dst;
}

/* What the terms left of the arrow mean. */
static int set_operands(struct hk_scan *scan, struct hk_step *s, const struct term *t, unsigned n)
{
	unsigned does = hk_op_does[s->op];
	bool recv = does & HK_DOES_RECV, source = does & HK_READS_SRC;
	unsigned own = 0; /* which term is the source */

	if (n != 1u + ((does & HK_DOES_REDUCE) != 0))
		return hk_file_fail(scan->source, scan->line, "%s takes %s", hk_op_name(s->op),
				    does & HK_DOES_REDUCE ? "two operands" : "one operand");
	if (recv && source)
		own = t[0].buf == HK_NONE;
	else if (does & HK_READS_DST)
		own = is_target(s, &t[0]);
	for (unsigned i = 0; i < n; i++)
		if ((t[i].buf == HK_NONE) != (recv && !(source && i == own)))
			return hk_file_fail(scan->source, scan->line,
					    recv ? "%s takes one operand from a peer"
						 : "%s takes nothing from a peer",
					    hk_op_name(s->op));
	if (does & HK_DOES_REDUCE && own == (recv ? 1u : 0u))
		s->flags |= HK_STEP_FLIP;
	if (does & HK_READS_DST && !is_target(s, &t[!own]))
		return hk_file_fail(scan->source, scan->line,
				    "one operand of reduce must be its target");
	if (recv)
		s->from = t[source ? !own : 0].peer;
	if (does & HK_READS_DST) {
		int rc = set_chunks(scan, s, &t[!own]);

		if (rc)
			return rc;
	}
	return source ? set_source(scan, s, &t[own]) : 0;
}

static int read_deps(struct hk_scan *scan, struct hk_assembly *a)
{
	const struct hk_program *prog = a->prog;
	int rc;

	do {
		uint64_t lane = 0, step = 0;

		rc = hk_scan_need(scan, "lane");
		rc = rc ? rc : hk_scan_number(scan, "a lane", UINT32_MAX, &lane);
		rc = rc ? rc : hk_scan_need(scan, "step");
		rc = rc ? rc : hk_scan_number(scan, "a step", UINT32_MAX, &step);
		if (!rc && prog->steps[prog->nsteps - 1].ndeps == UINT16_MAX)
			rc = hk_file_fail(scan->source, scan->line,
					  "a step has more than %u dependencies", UINT16_MAX);
		rc = rc ? rc : hk_assemble_dep(a, (struct hk_dep){(uint32_t)lane, (uint32_t)step});
	} while (!rc && hk_scan_sign(scan, ","));
	return rc ? rc : hk_scan_need(scan, ")");
}

/* The step but for its dependencies. */
static int read_body(struct hk_scan *scan, const struct hk_program *prog, struct hk_step *s)
{
	struct term terms[2] = {0}, target = {0};
	uint64_t size = 0;
	unsigned n = 0;
	int rc = read_op(scan, s);

	do
		rc = rc ? rc : read_term(scan, &terms[n++]);
	while (!rc && n < 2 && hk_scan_sign(scan, "+"));
	if (!rc && hk_op_does[s->op] & HK_WRITES_DST) {
		rc = hk_scan_need(scan, "->");
		rc = rc ? rc : read_range(scan, &target);
		s->dst_buf = (uint8_t)target.buf;
		s->dst = target.chunk;
		rc = rc ? rc : set_chunks(scan, s, &target);
	}
	rc = rc ? rc : set_operands(scan, s, terms, n);
	if (rc)
		return rc;
	if (hk_scan_word(scan, "size")) {
		rc = hk_scan_number(scan, "a size", UINT32_MAX, &size);
		s->size = (uint32_t)size;
	} else if (s->src_buf != HK_IN && s->src_buf != HK_OUT && s->dst_buf != HK_OUT) {
		s->size = (s->src_buf == HK_SCRATCH ? s->src : s->dst) % prog->period;
	}
	if (rc || !(hk_op_does[s->op] & HK_DOES_SEND))
		return rc;
	rc = hk_scan_need(scan, ",");
	rc = rc ? rc : hk_scan_need(scan, "to");
	return rc ? rc : read_peer(scan, &s->to);
}

int hk_read_step(struct hk_scan *scan, struct hk_assembly *a)
{
	uint32_t expected = a->prog->lanes[a->prog->nlanes - 1].nsteps;
	struct hk_step step = {.to = -1, .from = -1};
	uint64_t number = 0;
	int rc = hk_scan_number(scan, "'lane', 'program' or a step's number", UINT32_MAX, &number);

	rc = rc ? rc : hk_scan_need(scan, ":");
	if (!rc && number != expected)
		rc = hk_file_fail(scan->source, scan->line, "this is step %u, not %llu", expected,
				  (unsigned long long)number);
	rc = rc ? rc : read_body(scan, a->prog, &step);
	rc = rc ? rc : hk_assemble_step(a, &step);
	if (!rc && hk_scan_sign(scan, "(")) {
		rc = hk_scan_need(scan, "after");
		rc = rc ? rc : read_deps(scan, a);
	}
	return rc ? rc : hk_scan_need_end(scan);
}
