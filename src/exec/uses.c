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
