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

static const char *const coll_names[HK_NCOLLS] = {"all_reduce", "reduce_scatter", "all_gather"};

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

const char *hk_coll_name(enum hk_coll coll)
{
	return (unsigned)coll < HK_NCOLLS ? coll_names[coll] : "unknown collective";
}

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
	uint64_t first = (uint64_t)prog->rank * prog->period;

	if (!p->inplace || prog->rank >= p->nranks)
		return -1;
	switch (p->coll) {
	case HK_ALL_REDUCE:
		return in_chunk;
	case HK_REDUCE_SCATTER:
		if (in_chunk < first || in_chunk - first >= prog->period)
			return -1;
		return (int64_t)(in_chunk - first);
	case HK_ALL_GATHER:
		return (int64_t)(first + in_chunk);
	default:
		return -1;
	}
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
