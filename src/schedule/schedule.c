/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names and tables of the schedule, and the life of a program. A program is four allocations:
 * itself, its lanes, its steps and its dependencies; it is immutable once published.
 */
#include "schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static const char *const buf_names[HK_NBUFS] = {"none", "in", "out", "scratch"};

static const char *const op_names[HK_NOPS] = {
	[HK_SEND] = "send",
	[HK_RECV] = "recv",
	[HK_RECV_REDUCE] = "recv_reduce",
	[HK_COPY] = "copy",
	[HK_REDUCE] = "reduce",
	[HK_RECV_COPY_SEND] = "recv_copy_send",
	[HK_RECV_REDUCE_SEND] = "recv_reduce_send",
	[HK_RECV_REDUCE_COPY_SEND] = "recv_reduce_copy_send",
};

const uint8_t hk_op_does[HK_NOPS] = {
	[HK_SEND] = HK_DOES_SEND | HK_READS_SRC,
	[HK_RECV] = HK_DOES_RECV | HK_WRITES_DST,
	[HK_RECV_REDUCE] = HK_DOES_RECV | HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST,
	[HK_COPY] = HK_READS_SRC | HK_WRITES_DST,
	[HK_REDUCE] = HK_DOES_REDUCE | HK_READS_SRC | HK_READS_DST | HK_WRITES_DST,
	[HK_RECV_COPY_SEND] = HK_DOES_RECV | HK_DOES_SEND | HK_WRITES_DST,
	[HK_RECV_REDUCE_SEND] = HK_DOES_RECV | HK_DOES_REDUCE | HK_DOES_SEND | HK_READS_SRC,
	[HK_RECV_REDUCE_COPY_SEND] =
		HK_DOES_RECV | HK_DOES_REDUCE | HK_DOES_SEND | HK_READS_SRC | HK_WRITES_DST,
};

const char *hk_op_name(enum hk_op op)
{
	return (unsigned)op < HK_NOPS && op_names[op] ? op_names[op] : "unknown op";
}

const char *hk_buf_name(enum hk_buf buf)
{
	return (unsigned)buf < HK_NBUFS ? buf_names[buf] : "unknown buffer";
}

int64_t hk_alias_out(const struct hk_problem *p, const struct hk_program *prog, uint32_t in_chunk)
{
	int64_t block;

	if (!p->inplace)
		return -1;
	block = hk_coll_alias(p, prog->rank, in_chunk / prog->period);
	return block < 0 ? -1 : block * prog->period + in_chunk % prog->period;
}

/* Size id of chunk i of IN or OUT. */
static uint64_t chunk_size(const struct hk_problem *p, const struct hk_program *prog, unsigned buf,
			   uint32_t i)
{
	if (!p->varied)
		return i % prog->period;
	return hk_coll_size_id(p, prog->rank, buf, i / prog->period) * prog->period +
	       i % prog->period;
}

uint64_t hk_step_size(const struct hk_problem *p, const struct hk_program *prog,
		      const struct hk_step *s, uint32_t i)
{
	if (s->src_buf == HK_IN || s->src_buf == HK_OUT)
		return chunk_size(p, prog, s->src_buf, s->src + i);
	if (s->dst_buf == HK_OUT)
		return chunk_size(p, prog, s->dst_buf, s->dst + i);
	return p->varied ? (uint64_t)s->size + i : ((uint64_t)s->size + i) % prog->period;
}

void hk_program_free(struct hk_program *prog)
{
	if (!prog)
		return;
	free(prog->lanes);
	free(prog->steps);
	free(prog->deps);
	free(prog);
}

/* A copy of n records; one byte more, so that an empty table is not NULL. */
static void *copy_table(const void *table, size_t n, size_t size)
{
	void *copy = malloc(n * size + 1);

	if (copy && n)
		memcpy(copy, table, n * size);
	return copy;
}

int hk_program_clone(const struct hk_program *prog, struct hk_program **copy)
{
	struct hk_program *c = malloc(sizeof(*c));

	if (!c)
		return hk_fail(ENOMEM, "no memory for a copy of a program");
	*c = *prog;
	c->lanes = copy_table(prog->lanes, prog->nlanes, sizeof(*c->lanes));
	c->steps = copy_table(prog->steps, prog->nsteps, sizeof(*c->steps));
	c->deps = copy_table(prog->deps, prog->ndeps, sizeof(*c->deps));
	if (!c->lanes || !c->steps || !c->deps) {
		hk_program_free(c);
		return hk_fail(ENOMEM, "no memory for a copy of a program of %u steps",
			       prog->nsteps);
	}
	*copy = c;
	return 0;
}
