/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program does with the data of a step, as far as it tells how to move it.
 *
 * Which sends may be lent: the receiver then reads the sender's user memory itself, some time
 * before the call ends. That is right if nothing changes that memory in between, which is decided
 * here from the program alone: every step that writes the chunk must come before the send, by the
 * order of its lane or by a dependency. (A write that is ordered behind the receiver's reading only
 * by messages would be fine too, and is refused.) SCRATCH is reused by the next tile and so is
 * never lent.
 *
 * Which receives may be offered: the message then comes to its place in OUT by itself, at any time
 * from the offer on. That is right once everything of this call that uses the memory before the
 * step does has passed: steps that read or write those chunks, also through IN where it is the same
 * memory, except those that are known to come after the receive. (Also a step that could not have
 * its turn before the message is there, because what lies between goes over other ranks, is waited
 * for: offered memory is the transport's, whether or not anybody sends yet.)
 */
#include "plan.h"

/* Whether step `at` of `lane` is known to come after step `earlier` of lane `other`. */
static bool comes_after(const struct hk_program *prog, uint32_t lane, uint32_t at, uint32_t other,
			uint32_t earlier)
{
	const struct hk_step *steps = prog->steps + prog->lanes[lane].first;

	if (lane == other)
		return earlier <= at; /* the step itself stores before it sends */
	for (uint32_t i = 0; i <= at; i++)
		for (uint32_t d = 0; d < steps[i].ndeps; d++) {
			const struct hk_dep *dep = &prog->deps[steps[i].dep + d];

			if (dep->lane == other && dep->step >= earlier)
				return true;
		}
	return false;
}

static bool writes(const struct hk_step *st, uint32_t out_chunk)
{
	return (hk_op_does[st->op] & HK_WRITES_DST) && st->dst_buf == HK_OUT &&
	       out_chunk >= st->dst && out_chunk - st->dst < st->nchunks;
}

/* Whether every step that writes a chunk of OUT comes before the send. */
static bool written_before(const struct hk_program *prog, uint32_t lane, uint32_t at,
			   uint32_t out_chunk)
{
	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++)
			if (writes(&prog->steps[prog->lanes[l].first + i], out_chunk) &&
			    !comes_after(prog, lane, at, l, i))
				return false;
	return true;
}

bool hk_plan_lendable(const struct hk_problem *p, const struct hk_program *prog, uint32_t lane,
		      uint32_t at)
{
	const struct hk_step *st = &prog->steps[prog->lanes[lane].first + at];
	unsigned does = hk_op_does[st->op];
	uint32_t buf = st->op == HK_SEND ? st->src_buf : st->dst_buf;
	uint32_t chunk = st->op == HK_SEND ? st->src : st->dst;
	int64_t alias;

	if (!(does & HK_DOES_SEND) || st->nchunks != 1)
		return false;
	if (buf == HK_OUT)
		return written_before(prog, lane, at, chunk);
	if (buf != HK_IN)
		return false;
	alias = hk_alias_out(p, prog, chunk); /* negative: nobody writes there */
	return alias < 0 || written_before(prog, lane, at, (uint32_t)alias);
}

bool hk_plan_rereads(const struct hk_program *prog, const struct hk_step *st)
{
	if (!(hk_op_does[st->op] & HK_WRITES_DST) || st->dst_buf != HK_OUT)
		return false;
	for (uint32_t i = 0; i < prog->nsteps; i++) {
		const struct hk_step *other = &prog->steps[i];

		if (other->src_buf == HK_OUT && other->src < st->dst + st->nchunks &&
		    st->dst < other->src + other->nchunks)
			return true;
	}
	return false;
}

static bool overlap(uint32_t a, uint32_t na, uint32_t b, uint32_t nb)
{
	return a < b + nb && b < a + na;
}

/* Whether a step reads or writes any of n chunks of OUT. */
static bool touches(const struct hk_problem *p, const struct hk_program *prog,
		    const struct hk_step *st, uint32_t out_chunk, uint32_t n)
{
	unsigned does = hk_op_does[st->op];

	if ((does & (HK_WRITES_DST | HK_READS_DST)) && st->dst_buf == HK_OUT &&
	    overlap(st->dst, st->nchunks, out_chunk, n))
		return true;
	if (!(does & HK_READS_SRC))
		return false;
	if (st->src_buf == HK_OUT)
		return overlap(st->src, st->nchunks, out_chunk, n);
	for (uint32_t i = 0; st->src_buf == HK_IN && p->inplace && i < st->nchunks; i++) {
		int64_t alias = hk_alias_out(p, prog, st->src + i);

		if (alias >= out_chunk && alias < (int64_t)out_chunk + n)
			return true;
	}
	return false;
}

bool hk_plan_offerable(const struct hk_problem *p, const struct hk_program *prog, uint32_t lane,
		       uint32_t at, uint32_t *before)
{
	const struct hk_step *st = &prog->steps[prog->lanes[lane].first + at];

	if ((st->op != HK_RECV && st->op != HK_RECV_COPY_SEND) || st->dst_buf != HK_OUT)
		return false;
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		const struct hk_step *steps = prog->steps + prog->lanes[l].first;
		uint32_t end = l == lane ? at : prog->lanes[l].nsteps;

		before[l] = 0;
		for (uint32_t i = 0; i < end; i++)
			if (touches(p, prog, &steps[i], st->dst, st->nchunks) &&
			    (l == lane || !comes_after(prog, l, i, lane, at)))
				before[l] = i + 1;
	}
	return true;
}
