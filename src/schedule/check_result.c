/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The result: runs the programs on symbolic values and looks at every output chunk. A value is what
 * has been added up: a 128-bit sum of keys, one for each chunk of each rank's IN, so that equal
 * sums mean equal multisets of contributions (but for a chance of 2^-128, or a sum that wraps,
 * which the count gives away); and a hash of the expression, in which a (+) b is not b (+) a, so
 * that equal hashes mean the same bits. One order of the steps is enough, since no two orders
 * differ: see check.c.
 *
 * A barrier promises less and more: not how often a rank's word has arrived, but that every rank's
 * has. Its values are sets of ranks, a bit each, so it takes a run for every 128 ranks.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"

struct value {
	unsigned __int128 sum;
	uint64_t expr;
	uint32_t count; /* contributions, saturated; 0: never written */
	uint64_t size;	/* its size id: SCRATCH has no sizes of its own */
};

#define WINDOW 128

struct machine {
	struct hk_check *c;
	struct value **memory;	/* [n]: chunks of OUT, then of SCRATCH */
	struct value **message; /* [nsteps]: what a sending step sent, until it is received */
	uint32_t *at;		/* [nlanes] */
	uint32_t window;	/* of a barrier: the first rank whose bit is kept */
};

/* splitmix64's finaliser. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static struct value leaf(const struct machine *m, uint32_t rank, uint32_t chunk)
{
	const struct hk_program *prog = m->c->programs[rank];
	struct hk_step in = {.src_buf = HK_IN, .src = chunk};
	uint64_t size = hk_step_size(m->c->p, prog, &in, 0);
	uint64_t a = mix((uint64_t)rank << 32 | chunk), b = mix(a ^ 0x5851f42d4c957f2dull);

	if (m->c->p->coll == HK_BARRIER)
		return (struct value){
			rank - m->window < WINDOW ? (unsigned __int128)1 << (rank - m->window) : 0,
			0, 1, size};
	return (struct value){(unsigned __int128)a << 64 | b, mix(b), 1, size};
}

static struct value combine(const struct machine *m, struct value left, struct value right)
{
	uint64_t count = (uint64_t)left.count + right.count;

	if (m->c->p->coll == HK_BARRIER)
		return (struct value){left.sum | right.sum, 0, 1, left.size};
	return (struct value){left.sum + right.sum, mix(left.expr + 3 * mix(right.expr)),
			      count > UINT32_MAX ? UINT32_MAX : (uint32_t)count, left.size};
}

static struct value *cell(const struct machine *m, uint32_t part, unsigned buf, uint32_t chunk)
{
	if (buf == HK_SCRATCH)
		chunk += m->c->programs[part]->nchunks[HK_OUT];
	return &m->memory[part][chunk];
}

/* size: of which size the step takes the chunk to be. */
static int read_chunk(struct machine *m, uint32_t lane, uint32_t at, unsigned buf, uint32_t chunk,
		      uint64_t size, struct value *value)
{
	const struct hk_check *c = m->c;
	uint32_t part = c->owner[lane];
	int64_t alias;

	if (buf != HK_IN) {
		*value = *cell(m, part, buf, chunk);
		if (value->count && value->size == size)
			return 0;
		if (value->count)
			return hk_check_fail(c->report, HK_CHECK_RESULT,
					     "%s reads %s[%u] as a chunk of size %llu, but it "
					     "holds one of size %llu",
					     hk_check_where(c, lane, at).text, hk_buf_name(buf),
					     chunk, (unsigned long long)size,
					     (unsigned long long)value->size);
		return hk_check_fail(c->report, HK_CHECK_RESULT,
				     "%s reads %s[%u], where nothing has been written",
				     hk_check_where(c, lane, at).text, hk_buf_name(buf), chunk);
	}
	alias = hk_alias_out(c->p, c->programs[part], chunk);
	if (alias >= 0 && m->memory[part][alias].count)
		return hk_check_fail(
			c->report, HK_CHECK_RESULT,
			"%s reads in[%u] after out[%lld], the same memory in place, was written",
			hk_check_where(c, lane, at).text, chunk, (long long)alias);
	*value = leaf(m, part, chunk);
	return 0;
}

/* Chunk i of a step: *result is what it computes. */
static int compute(struct machine *m, uint32_t lane, uint32_t at, uint32_t i,
		   const struct value *received, struct value *result)
{
	const struct hk_step *s = hk_check_step(m->c, lane, at);
	unsigned does = hk_op_does[s->op];
	uint32_t part = m->c->owner[lane];
	uint64_t size = hk_step_size(m->c->p, m->c->programs[part], s, i);
	struct value own, other;
	int rc = 0;

	if (does & HK_READS_SRC)
		rc = read_chunk(m, lane, at, s->src_buf, s->src + i, size, &own);
	if (rc)
		return rc;
	if (!(does & HK_DOES_REDUCE)) {
		*result = does & HK_READS_SRC ? own : received[i];
		return 0;
	}
	if (does & HK_DOES_RECV) {
		other = received[i];
	} else { /* dst (+) src: the source is what a flip brings to the left */
		other = own;
		rc = read_chunk(m, lane, at, s->dst_buf, s->dst + i, size, &own);
		if (rc)
			return rc;
	}
	*result = s->flags & HK_STEP_FLIP ? combine(m, other, own) : combine(m, own, other);
	return 0;
}

static int do_step(struct machine *m, uint32_t lane)
{
	const struct hk_check *c = m->c;
	uint32_t at = m->at[lane]++, number = hk_check_number(c, lane, at);
	const struct hk_step *s = hk_check_step(c, lane, at);
	unsigned does = hk_op_does[s->op];
	struct value *received = NULL, *sent = NULL, result;
	int rc = 0;

	if (does & HK_DOES_RECV) {
		received = m->message[c->match[number]];
		m->message[c->match[number]] = NULL;
	}
	if (does & HK_DOES_SEND) {
		sent = malloc(s->nchunks * sizeof(*sent));
		m->message[number] = sent;
		if (!sent)
			rc = -ENOMEM;
	}
	for (uint32_t i = 0; !rc && i < s->nchunks; i++) {
		rc = compute(m, lane, at, i, received, &result);
		if (rc)
			break;
		if (sent)
			sent[i] = result;
		if (does & HK_WRITES_DST)
			*cell(m, c->owner[lane], s->dst_buf, s->dst + i) = result;
	}
	free(received);
	return rc;
}

/* Contribution number i to an output chunk. */
static struct value contribution(const struct machine *m, uint32_t rank, uint32_t chunk, uint32_t i)
{
	uint32_t period = m->c->programs[rank]->period, block = 0;
	int from = 0;

	hk_coll_contribution(m->c->p, (int)rank, chunk / period, i, &from, &block);
	return leaf(m, (uint32_t)from, block * period + chunk % period);
}

/* What is in an output chunk in the end; in place, it may be IN as it was. */
static struct value output(const struct machine *m, uint32_t rank, uint32_t chunk)
{
	const struct hk_program *prog = m->c->programs[rank];
	struct value v = m->memory[rank][chunk];

	if (v.count || !m->c->p->inplace)
		return v;
	for (uint32_t block = 0; block < hk_coll_blocks(m->c->p, (int)rank, HK_IN); block++)
		if (hk_coll_alias(m->c->p, (int)rank, block) == chunk / prog->period)
			return leaf(m, rank, block * prog->period + chunk % prog->period);
	return v;
}

/* A barrier's: the first rank of the window that is not in the set. */
static int explain_barrier(const struct machine *m, uint32_t rank, struct value v)
{
	uint32_t i = m->window;

	if (!v.count)
		return hk_check_fail(m->c->report, HK_CHECK_RESULT,
				     "rank %u: out[0] is never written", rank);
	while (v.sum >> (i - m->window) & 1)
		i++;
	return hk_check_fail(m->c->report, HK_CHECK_RESULT,
			     "rank %u can leave the barrier before rank %u has come", rank, i);
}

static int explain(const struct machine *m, uint32_t rank, uint32_t chunk, struct value v,
		   struct value promised)
{
	struct hk_report *report = m->c->report;
	uint32_t n = promised.count;

	if (!v.count)
		return hk_check_fail(report, HK_CHECK_RESULT, "rank %u: out[%u] is never written",
				     rank, chunk);
	for (uint32_t i = 0; n > 1 && i < n; i++) {
		struct value k = contribution(m, rank, chunk, i);

		if (v.sum + k.sum == promised.sum && v.count + 1 == n)
			return hk_check_fail(report, HK_CHECK_RESULT,
					     "rank %u: out[%u] lacks the contribution of rank %u",
					     rank, chunk, i);
		if (v.sum - k.sum == promised.sum && v.count - 1 == n)
			return hk_check_fail(
				report, HK_CHECK_RESULT,
				"rank %u: out[%u] has the contribution of rank %u twice", rank,
				chunk, i);
	}
	for (uint32_t r = 0; v.count == 1 && r < (uint32_t)m->c->p->nranks; r++)
		for (uint32_t i = 0; i < m->c->programs[r]->nchunks[HK_IN]; i++)
			if (leaf(m, r, i).sum == v.sum)
				return hk_check_fail(report, HK_CHECK_RESULT,
						     "rank %u: out[%u] is in[%u] of rank %u alone",
						     rank, chunk, i, r);
	return hk_check_fail(report, HK_CHECK_RESULT,
			     "rank %u: out[%u] is made of %u contributions, but not of the %u that "
			     "%s promises",
			     rank, chunk, v.count, n, hk_coll_name(m->c->p->coll));
}

static int check_chunk(const struct machine *m, uint32_t rank, uint32_t chunk,
		       struct value promised)
{
	struct value v = output(m, rank, chunk), first;

	if (m->c->p->coll == HK_BARRIER)
		return v.sum == promised.sum && v.count ? 0 : explain_barrier(m, rank, v);
	if (v.sum != promised.sum || v.count != promised.count)
		return explain(m, rank, chunk, v, promised);
	if (m->c->p->coll != HK_ALL_REDUCE)
		return 0;
	first = output(m, 0, chunk);
	if (v.expr == first.expr)
		return 0;
	if (m->c->any_order) {
		m->c->report->bits_differ = true;
		return 0;
	}
	return hk_check_fail(m->c->report, HK_CHECK_RESULT,
			     "out[%u] is not the same expression on ranks 0 and %u: its bits may "
			     "differ",
			     chunk, rank);
}

static struct value promise(const struct machine *m, uint32_t rank, uint32_t chunk)
{
	struct value v = contribution(m, rank, chunk, 0);

	for (uint32_t i = 1; i < hk_coll_contributions(m->c->p); i++)
		v = combine(m, v, contribution(m, rank, chunk, i));
	return v;
}

/* Chunk by chunk, over all ranks: where all have the same, it is added up once. */
static int check_outputs(const struct machine *m)
{
	const struct hk_check *c = m->c;
	bool alike = c->p->coll == HK_ALL_REDUCE || c->p->coll == HK_ALL_GATHER ||
		     c->p->coll == HK_BARRIER;
	uint32_t most = 0;
	int rc = 0;

	for (int r = 0; r < c->p->nranks; r++)
		if (c->programs[r]->nchunks[HK_OUT] > most)
			most = c->programs[r]->nchunks[HK_OUT];
	for (uint32_t chunk = 0; !rc && chunk < most; chunk++) {
		struct value promised = {0};

		for (uint32_t r = 0; !rc && r < (uint32_t)c->p->nranks; r++) {
			if (chunk >= c->programs[r]->nchunks[HK_OUT])
				continue;
			if (!alike || !r)
				promised = promise(m, r, chunk);
			rc = check_chunk(m, r, chunk, promised);
		}
	}
	return rc;
}

static int run(struct machine *m)
{
	struct hk_check *c = m->c;
	int rc = 0;

	for (int i = 0; i < c->n; i++) {
		const uint32_t *nchunks = c->programs[i]->nchunks;

		m->memory[i] = calloc((size_t)nchunks[HK_OUT] + nchunks[HK_SCRATCH] + 1,
				      sizeof(**m->memory));
		if (!m->memory[i])
			return -ENOMEM;
	}
	for (uint32_t i = 0; !rc && i < c->nsteps; i++)
		rc = do_step(m, c->order[i]);
	return rc ? rc : check_outputs(m);
}

static int run_window(struct hk_check *c, uint32_t window)
{
	struct machine m = {.c = c, .window = window};
	int rc = -ENOMEM;

	m.memory = calloc((size_t)c->n, sizeof(*m.memory));
	m.message = calloc((size_t)c->nsteps + 1, sizeof(*m.message));
	m.at = calloc((size_t)c->nlanes + 1, sizeof(*m.at));
	if (m.memory && m.message && m.at)
		rc = run(&m);
	for (int i = 0; m.memory && i < c->n; i++)
		free(m.memory[i]);
	for (uint32_t i = 0; m.message && i < c->nsteps; i++)
		free(m.message[i]);
	free(m.memory);
	free(m.message);
	free(m.at);
	return rc;
}

int hk_check_result(struct hk_check *c)
{
	uint32_t step = c->p->coll == HK_BARRIER ? WINDOW : (uint32_t)c->p->nranks;
	int rc = 0;

	for (uint32_t w = 0; !rc && w < (uint32_t)c->p->nranks; w += step)
		rc = run_window(c, w);
	return rc;
}
