/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The builder: algorithms add lanes, steps and dependencies in any order that suits them; each lane
 * collects its own, and hk_build_finish() lays them out as one program. The first error sticks, so
 * that an algorithm needs no error handling of its own, and the bounds of the finished program are
 * checked by the same code as those of a program from a file.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "error.h"
#include "schedule.h"

struct lane {
	uint32_t channel;
	uint32_t nsteps, max_steps;
	uint32_t ndeps, max_deps;
	struct hk_step *steps; /* .dep counts from the lane's first dependency */
	struct hk_dep *deps;
};

struct hk_builder {
	struct hk_problem problem;
	int rank;
	int error;
	uint32_t period, scratch, message_chunks;
	uint32_t nlanes, max_lanes;
	struct lane *lanes;
};

int hk_build_begin(const struct hk_problem *p, int rank, struct hk_builder **b)
{
	struct hk_builder *n;

	if ((unsigned)p->coll >= HK_NCOLLS || p->nranks < 1 || p->channels < 1 || rank < 0 ||
	    p->root < 0 || p->root >= p->nranks)
		return hk_fail(EINVAL, "no schedule for rank %d of %d with %u channels and root %d",
			       rank, p->nranks, p->channels, p->root);
	n = calloc(1, sizeof(*n));
	if (!n)
		return hk_fail(ENOMEM, "no memory for a schedule builder");
	n->problem = *p;
	n->rank = rank;
	n->message_chunks = 1;
	*b = n;
	return 0;
}

void hk_build_chunks(struct hk_builder *b, uint32_t period, uint32_t scratch)
{
	b->period = period;
	b->scratch = scratch;
}

void hk_build_message(struct hk_builder *b, uint32_t max_chunks)
{
	b->message_chunks = max_chunks;
}

/* Makes room for one record more. */
static int grow(void **table, uint32_t n, uint32_t *max, size_t size)
{
	uint32_t more = *max ? *max * 2 : 16;
	void *t;

	if (n < *max)
		return 0;
	if (n > INT32_MAX / 2)
		return hk_fail(EOVERFLOW, "a schedule has more than %u steps in a lane", n);
	t = realloc(*table, more * size);
	if (!t)
		return hk_fail(ENOMEM, "no memory for a schedule of %u steps in a lane", n);
	*table = t;
	*max = more;
	return 0;
}

uint32_t hk_build_lane(struct hk_builder *b, uint32_t channel)
{
	if (!b->error)
		b->error = grow((void **)&b->lanes, b->nlanes, &b->max_lanes, sizeof(*b->lanes));
	if (b->error)
		return 0;
	b->lanes[b->nlanes] = (struct lane){.channel = channel};
	return b->nlanes++;
}

static bool scratch_alone(const struct hk_step *s)
{
	return (s->src_buf == HK_NONE || s->src_buf == HK_SCRATCH) &&
	       (s->dst_buf == HK_NONE || s->dst_buf == HK_SCRATCH);
}

static uint32_t add(struct hk_builder *b, uint32_t lane, uint32_t nchunks, struct hk_step step)
{
	struct lane *l;

	if (b->error)
		return 0;
	if (lane >= b->nlanes || nchunks < 1 || nchunks > UINT16_MAX) {
		b->error = hk_fail(EINVAL, "rank %d adds %s of %u chunks to lane %u of %u", b->rank,
				   hk_op_name(step.op), nchunks, lane, b->nlanes);
		return 0;
	}
	l = &b->lanes[lane];
	b->error = grow((void **)&l->steps, l->nsteps, &l->max_steps, sizeof(*l->steps));
	if (b->error)
		return 0;
	step.nchunks = (uint16_t)nchunks;
	if (scratch_alone(&step) && b->period)
		step.size = (step.src_buf ? step.src : step.dst) % b->period;
	step.dep = l->ndeps;
	l->steps[l->nsteps] = step;
	return l->nsteps++;
}

uint32_t hk_build_send(struct hk_builder *b, uint32_t lane, int to, enum hk_buf src_buf,
		       uint32_t src, uint32_t nchunks)
{
	return add(b, lane, nchunks,
		   (struct hk_step){
			   .op = HK_SEND, .src_buf = src_buf, .src = src, .to = to, .from = -1});
}

uint32_t hk_build_recv(struct hk_builder *b, uint32_t lane, int from, enum hk_buf dst_buf,
		       uint32_t dst, uint32_t nchunks)
{
	return add(b, lane, nchunks,
		   (struct hk_step){
			   .op = HK_RECV, .dst_buf = dst_buf, .dst = dst, .to = -1, .from = from});
}

uint32_t hk_build_recv_reduce(struct hk_builder *b, uint32_t lane, int from, enum hk_buf src_buf,
			      uint32_t src, enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks,
			      unsigned flags)
{
	return add(b, lane, nchunks,
		   (struct hk_step){.op = HK_RECV_REDUCE,
				    .flags = (uint8_t)flags,
				    .src_buf = src_buf,
				    .src = src,
				    .dst_buf = dst_buf,
				    .dst = dst,
				    .to = -1,
				    .from = from});
}

uint32_t hk_build_copy(struct hk_builder *b, uint32_t lane, enum hk_buf src_buf, uint32_t src,
		       enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks)
{
	return add(b, lane, nchunks,
		   (struct hk_step){.op = HK_COPY,
				    .src_buf = src_buf,
				    .src = src,
				    .dst_buf = dst_buf,
				    .dst = dst,
				    .to = -1,
				    .from = -1});
}

uint32_t hk_build_reduce(struct hk_builder *b, uint32_t lane, enum hk_buf src_buf, uint32_t src,
			 enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks, unsigned flags)
{
	return add(b, lane, nchunks,
		   (struct hk_step){.op = HK_REDUCE,
				    .flags = (uint8_t)flags,
				    .src_buf = src_buf,
				    .src = src,
				    .dst_buf = dst_buf,
				    .dst = dst,
				    .to = -1,
				    .from = -1});
}

void hk_build_size(struct hk_builder *b, uint32_t lane, uint64_t size)
{
	struct hk_step *s;

	if (b->error)
		return;
	if (lane >= b->nlanes || !b->lanes[lane].nsteps || size > UINT32_MAX) {
		b->error = hk_fail(EINVAL, "rank %d gives size %llu to lane %u, which has no step",
				   b->rank, (unsigned long long)size, lane);
		return;
	}
	s = &b->lanes[lane].steps[b->lanes[lane].nsteps - 1];
	if (scratch_alone(s))
		s->size = (uint32_t)size;
}

void hk_build_after(struct hk_builder *b, uint32_t lane, uint32_t on_lane, uint32_t on_step)
{
	struct lane *l;

	if (b->error)
		return;
	if (lane >= b->nlanes || !b->lanes[lane].nsteps ||
	    b->lanes[lane].steps[b->lanes[lane].nsteps - 1].ndeps == UINT16_MAX) {
		b->error = hk_fail(EINVAL,
				   "rank %d adds a dependency to lane %u, which has no "
				   "step that could take it",
				   b->rank, lane);
		return;
	}
	l = &b->lanes[lane];
	b->error = grow((void **)&l->deps, l->ndeps, &l->max_deps, sizeof(*l->deps));
	if (b->error)
		return;
	l->deps[l->ndeps++] = (struct hk_dep){.lane = on_lane, .step = on_step};
	l->steps[l->nsteps - 1].ndeps++;
}

static int count(const struct hk_builder *b, uint32_t *nsteps, uint32_t *ndeps)
{
	uint64_t steps = 0, deps = 0;

	for (uint32_t i = 0; i < b->nlanes; i++) {
		steps += b->lanes[i].nsteps;
		deps += b->lanes[i].ndeps;
	}
	if (steps > INT32_MAX || deps > INT32_MAX)
		return hk_fail(EOVERFLOW, "the program of rank %d has too many steps", b->rank);
	*nsteps = (uint32_t)steps;
	*ndeps = (uint32_t)deps;
	return 0;
}

static void lay_out(const struct hk_builder *b, struct hk_program *prog)
{
	uint32_t step = 0, dep = 0;

	for (uint32_t i = 0; i < b->nlanes; i++) {
		const struct lane *l = &b->lanes[i];

		prog->lanes[i] = (struct hk_lane){step, l->nsteps, l->channel};
		for (uint32_t j = 0; j < l->nsteps; j++) {
			prog->steps[step + j] = l->steps[j];
			prog->steps[step + j].dep = l->steps[j].ndeps ? l->steps[j].dep + dep : 0;
		}
		if (l->ndeps)
			memcpy(prog->deps + dep, l->deps, l->ndeps * sizeof(*l->deps));
		step += l->nsteps;
		dep += l->ndeps;
	}
}

static int finish(struct hk_builder *b, struct hk_program **out)
{
	struct hk_report report = {0};
	struct hk_program *prog;
	int rc;

	if (b->error)
		return b->error;
	prog = calloc(1, sizeof(*prog));
	if (!prog)
		return hk_fail(ENOMEM, "no memory for a program");
	prog->rank = b->rank;
	prog->period = b->period;
	prog->message_chunks = b->message_chunks;
	prog->nlanes = b->nlanes;
	rc = count(b, &prog->nsteps, &prog->ndeps);
	if (rc)
		goto free_prog;
	if (hk_check_chunks(&b->problem, b->rank, b->period, prog->nchunks, &report)) {
		rc = hk_fail(EINVAL, "%s", report.text);
		goto free_prog;
	}
	prog->nchunks[HK_SCRATCH] = b->scratch;
	/* One more than needed: an empty table is not NULL. */
	prog->lanes = calloc(prog->nlanes + 1, sizeof(*prog->lanes));
	prog->steps = calloc((size_t)prog->nsteps + 1, sizeof(*prog->steps));
	prog->deps = calloc((size_t)prog->ndeps + 1, sizeof(*prog->deps));
	if (!prog->lanes || !prog->steps || !prog->deps) {
		rc = hk_fail(ENOMEM, "no memory for a program of %u steps", prog->nsteps);
		goto free_prog;
	}
	lay_out(b, prog);
	/* How many switches there are is not known here, so any peer is fine. */
	if (hk_check_bounds(&b->problem, prog, b->rank, INT_MAX, &report)) {
		rc = hk_fail(EINVAL, "%s", report.text);
		goto free_prog;
	}
	*out = prog;
	return 0;

free_prog:
	hk_program_free(prog);
	return rc;
}

void hk_build_drop(struct hk_builder *b)
{
	for (uint32_t i = 0; i < b->nlanes; i++) {
		free(b->lanes[i].steps);
		free(b->lanes[i].deps);
	}
	free(b->lanes);
	free(b);
}

int hk_build_finish(struct hk_builder *b, struct hk_program **prog)
{
	int rc = finish(b, prog);

	hk_build_drop(b);
	return rc;
}
