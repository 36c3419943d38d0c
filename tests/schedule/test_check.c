/* SPDX-License-Identifier: BSD-3-Clause */
/* What the checker refuses, phase by phase, and how it says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "programs.h"

static void expect(struct world *w, unsigned slots, enum hk_check_phase phase, const char *why)
{
	struct hk_report report;
	int rc = world_check(w, slots, &report);

	if (!rc || report.phase != (int)phase || !strstr(report.text, why))
		fail_msg("phase %d expected, saying \"%s\", but %d: %s", phase, why, report.phase,
			 report.text);
	assert_int_equal(rc, -HK_EPROOF);
	assert_string_equal(hk_last_error(), report.text);
	world_free(w);
}

static void begin(struct world *w, const char *algo, int n, bool inplace, bool fuse)
{
	assert_int_equal(world_build(w, hk_algo_find(algo), n, 1, inplace, fuse), 0);
}

/* Two ranks, unfused ring: send in[0]; recv_reduce; send; recv. */
static struct hk_program *ring(struct world *w)
{
	begin(w, "ring_all_reduce", 2, false, false);
	return w->programs[0];
}

static void test_bounds_of_steps(void **state)
{
	struct world w;

	ring(&w)->steps[0].op = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "is not an op");
	ring(&w)->steps[0].op = 200;
	expect(&w, 2, HK_CHECK_BOUNDS, "is not an op");
	ring(&w)->steps[0].size = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "gives a size");
	ring(&w)->steps[0].flags = HK_STEP_FLIP;
	expect(&w, 2, HK_CHECK_BOUNDS, "flag");
	ring(&w)->steps[1].flags = 2;
	expect(&w, 2, HK_CHECK_BOUNDS, "participant 0, lane 0, step 1 (recv_reduce)");
	ring(&w)->steps[0].nchunks = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "no chunks");
	ring(&w)->steps[0].nchunks = 2;
	expect(&w, 2, HK_CHECK_BOUNDS, "longer message");
	ring(&w)->steps[0].src = 2;
	expect(&w, 2, HK_CHECK_BOUNDS, "past the end");
	ring(&w)->steps[0].src = UINT32_MAX;
	expect(&w, 2, HK_CHECK_BOUNDS, "past the end");
	ring(&w)->steps[1].dst = UINT32_MAX;
	expect(&w, 2, HK_CHECK_BOUNDS, "past the end");
	ring(&w)->steps[1].dst_buf = HK_IN;
	expect(&w, 2, HK_CHECK_BOUNDS, "writes IN");
	ring(&w)->steps[1].dst_buf = HK_NBUFS;
	expect(&w, 2, HK_CHECK_BOUNDS, "lacks a buffer");
	ring(&w)->steps[0].src_buf = HK_NONE;
	expect(&w, 2, HK_CHECK_BOUNDS, "lacks a buffer");
	ring(&w)->steps[0].dst_buf = HK_OUT;
	expect(&w, 2, HK_CHECK_BOUNDS, "does not use");
	ring(&w)->steps[1].dst = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "chunks of different sizes");
}

static void test_bounds_of_peers(void **state)
{
	struct world w;

	ring(&w)->steps[0].to = 2;
	expect(&w, 2, HK_CHECK_BOUNDS, "does not exist");
	ring(&w)->steps[0].to = -1;
	expect(&w, 2, HK_CHECK_BOUNDS, "does not exist");
	ring(&w)->steps[0].to = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "itself");
	ring(&w)->steps[0].from = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "names a peer that its op does not use");
	ring(&w)->steps[1].from = INT32_MIN;
	expect(&w, 2, HK_CHECK_BOUNDS, "does not exist");
}

static void test_bounds_of_tables(void **state)
{
	struct world w;

	ring(&w)->rank = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "program of rank 1");
	ring(&w)->period = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "period 0");
	ring(&w)->period = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "in and out have 2 and 2 chunks");
	ring(&w)->nchunks[HK_SCRATCH] = UINT32_MAX;
	expect(&w, 2, HK_CHECK_BOUNDS, "scratch");
	ring(&w)->message_chunks = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "messages of up to 0");
	ring(&w)->message_chunks = 2;
	expect(&w, 2, HK_CHECK_BOUNDS, "disagree");
	ring(&w)->lanes[0].first = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "starts at step 1");
	ring(&w)->lanes[0].nsteps = UINT32_MAX;
	expect(&w, 2, HK_CHECK_BOUNDS, "do not make up");
	ring(&w)->lanes[0].nsteps = 3;
	expect(&w, 2, HK_CHECK_BOUNDS, "do not make up");
	ring(&w)->nlanes = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "do not make up");
	ring(&w)->steps[0].ndeps = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "past the end of the table");
	ring(&w);
	w.p.nranks = 3;
	expect(&w, 2, HK_CHECK_BOUNDS, "too few");
	ring(&w);
	w.p.coll = 99;
	expect(&w, 2, HK_CHECK_BOUNDS, "the problem itself");
	begin(&w, "two_shot_all_reduce", 2, false, false);
	w.programs[0]->deps[0].step = 1;
	expect(&w, 2, HK_CHECK_BOUNDS, "waits for a step that does not exist");
	begin(&w, "two_shot_all_reduce", 2, false, false);
	w.programs[0]->deps[0].lane = UINT32_MAX;
	expect(&w, 2, HK_CHECK_BOUNDS, "waits for a step that does not exist");
	begin(&w, "two_shot_all_reduce", 2, false, false);
	w.programs[0]->lanes[2].channel = 0; /* the scatter's */
	expect(&w, 2, HK_CHECK_BOUNDS, "connection 0 -> 1 on channel 0 has another sending lane");
	begin(&w, "two_shot_all_reduce", 2, false, false);
	w.programs[0]->lanes[3].channel = 0;
	expect(&w, 2, HK_CHECK_BOUNDS, "connection 1 -> 0 on channel 0 has another receiving lane");
}

/* A kernel may not write chunks 1..2 from 0..1. */
static void test_overlap(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_GATHER, .nranks = 2, .root = 0, .channels = 1, .inplace = false};
	struct hk_report report;
	struct hk_builder *b;
	struct world w = {.p = p, .n = 2};

	for (int i = 0; i < 2; i++) {
		assert_int_equal(hk_build_begin(&p, i, &b), 0);
		hk_build_chunks(b, 2, 0);
		hk_build_lane(b, 0);
		hk_build_copy(b, 0, HK_IN, 0, HK_OUT, 0, 1);
		assert_int_equal(hk_build_finish(b, &w.programs[i]), 0);
	}
	w.programs[1]->steps[0] = (struct hk_step){.op = HK_COPY,
						   .src_buf = HK_OUT,
						   .dst_buf = HK_OUT,
						   .src = 0,
						   .dst = 2,
						   .nchunks = 2,
						   .to = -1,
						   .from = -1};
	world_check(&w, 1, &report);
	assert_int_equal(report.phase, HK_CHECK_RESULT); /* that was no overlap */
	w.programs[1]->nchunks[HK_SCRATCH] = 6;
	w.programs[1]->steps[0].src_buf = w.programs[1]->steps[0].dst_buf = HK_SCRATCH;
	w.programs[1]->steps[0].nchunks = 3;
	expect(&w, 1, HK_CHECK_BOUNDS, "overlaps");
}

static void test_fifo(void **state)
{
	struct hk_program *prog;
	struct world w;

	/* The last receive of rank 0 is gone. */
	prog = ring(&w);
	prog->nsteps = prog->lanes[0].nsteps = 3;
	expect(&w, 2, HK_CHECK_FIFO, "sends to 0 on channel 0 what nobody receives");
	prog = ring(&w);
	prog->steps[2] = prog->steps[1];
	expect(&w, 2, HK_CHECK_FIFO, "rank 1, lane 0, step 3 (recv) receives from 0");
	/* Another channel is another connection. */
	ring(&w)->lanes[0].channel = 7;
	expect(&w, 2, HK_CHECK_FIFO, "channel 7");
	/* The other chunk is of another size. */
	ring(&w)->steps[0].src = 1;
	expect(&w, 2, HK_CHECK_FIFO, "1 chunks of sizes from 1 on, but expects 1 from 0 on");
	begin(&w, "halving_doubling_all_reduce", 4, false, false);
	w.programs[0]->steps[0].nchunks = 1;
	expect(&w, 2, HK_CHECK_FIFO, "rank 2, lane 0, step 1");
}

static void test_progress(void **state)
{
	struct hk_report report;
	struct hk_step s;
	struct world w;

	/* All receive first. */
	begin(&w, "ring_all_gather", 3, true, false);
	for (int i = 0; i < 3; i++) {
		s = w.programs[i]->steps[0];
		w.programs[i]->steps[0] = w.programs[i]->steps[1];
		w.programs[i]->steps[1] = s;
		w.programs[i]->steps[1].src_buf = HK_IN;
	}
	expect(&w, 64, HK_CHECK_PROGRESS, "waits for a message from");
	/* A lane that waits for itself. */
	begin(&w, "all_pairs_all_reduce", 2, true, false);
	w.programs[1]->deps[0].lane = 1;
	w.programs[1]->deps[0].step = 0;
	expect(&w, 64, HK_CHECK_PROGRESS,
	       "rank 1, lane 1, step 0 (recv_reduce) waits for its lane 1");
	/* A fused ring needs a second slot, and says so. */
	begin(&w, "ring_all_reduce", 4, false, true);
	assert_int_equal(world_check(&w, 64, &report), 0);
	assert_int_equal(report.slots, 2);
	assert_int_equal(report.steps, 4 * 7);
	assert_int_equal(report.messages, 4 * 6);
	expect(&w, 1, HK_CHECK_PROGRESS, "deadlock with 1 slots");
	begin(&w, "ring_all_reduce", 4, false, false);
	assert_int_equal(world_check(&w, 64, &report), 0);
	assert_int_equal(report.slots, 1);
	expect(&w, 0, HK_CHECK_PROGRESS, "deadlock with 0 slots");
}

/* Rank 0 sends `burst` messages before it receives any, and so does rank 1. */
static void test_smallest_slots(void **state)
{
	for (uint32_t burst = 1; burst <= 9; burst++) {
		struct hk_problem p = {.coll = HK_ALL_REDUCE,
				       .nranks = 2,
				       .root = 0,
				       .channels = 1,
				       .inplace = false};
		struct world w = {.p = p, .n = 2};
		struct hk_report report;

		for (int i = 0; i < 2; i++) {
			struct hk_builder *b;

			assert_int_equal(hk_build_begin(&p, i, &b), 0);
			hk_build_chunks(b, burst, 0);
			hk_build_lane(b, 0);
			for (uint32_t k = 0; k < burst; k++)
				hk_build_send(b, 0, !i, HK_IN, k, 1);
			for (uint32_t k = 0; k < burst; k++)
				hk_build_recv_reduce(b, 0, !i, HK_IN, k, HK_OUT, k, 1,
						     i ? HK_STEP_FLIP : 0);
			assert_int_equal(hk_build_finish(b, &w.programs[i]), 0);
		}
		assert_int_equal(world_check(&w, 9, &report), 0);
		assert_int_equal(report.slots, burst);
		if (burst > 1)
			assert_int_equal(world_check(&w, burst - 1, &report), -HK_EPROOF);
		/* Without the flip the two sums are not the same expression. */
		w.programs[1]->steps[burst].flags = 0;
		expect(&w, 9, HK_CHECK_RESULT, "not the same expression on ranks 0 and 1");
	}
}

static void test_race(void **state)
{
	struct world w;

	/* The gather no longer waits for the fold. */
	begin(&w, "two_shot_all_reduce", 3, false, false);
	w.programs[1]->steps[w.programs[1]->lanes[2].first].ndeps = 0;
	expect(&w, 2, HK_CHECK_RACE, "rank 1, lane");
	/* In place, the result may overwrite IN while it is being sent. */
	begin(&w, "all_pairs_all_reduce", 3, true, false);
	for (uint32_t i = 0; i < w.programs[2]->nsteps; i++)
		w.programs[2]->steps[i].ndeps = 0;
	expect(&w, 2, HK_CHECK_RACE, "rank 2");
	/* Out of place it waits for nothing: the same program is fine. */
	begin(&w, "all_pairs_all_reduce", 3, true, false);
	for (uint32_t i = 0; i < w.programs[2]->nsteps; i++)
		w.programs[2]->steps[i].ndeps = 0;
	w.p.inplace = false;
	assert_int_equal(world_check(&w, 2, NULL), 0);
	world_free(&w);
}

/*
 * Rank 0 alone: lane 0 copies its chunk into scratch and lane 1 from there into OUT. Within a tile
 * that is in order; but the next tile's first copy may come before this tile's second.
 */
static void test_race_between_tiles(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_GATHER, .nranks = 1, .root = 0, .channels = 1, .inplace = false};
	struct world w = {.p = p, .n = 1};
	struct hk_builder *b;

	assert_int_equal(hk_build_begin(&p, 0, &b), 0);
	hk_build_chunks(b, 1, 1);
	hk_build_lane(b, 0);
	hk_build_lane(b, 1);
	hk_build_copy(b, 0, HK_IN, 0, HK_SCRATCH, 0, 1);
	hk_build_copy(b, 1, HK_SCRATCH, 0, HK_OUT, 0, 1);
	hk_build_after(b, 1, 0, 0);
	assert_int_equal(hk_build_finish(b, &w.programs[0]), 0);
	expect(&w, 1, HK_CHECK_RACE, "for the next tile");
}

/*
 * A message orders what no dependency does: lane 0 stores into scratch and sends to rank 1, which
 * answers into lane 1, which reads there. The answer must be the message's own.
 */
static void build_answer(struct world *w, bool answer_first)
{
	struct hk_builder *b;

	w->p = (struct hk_problem){
		.coll = HK_ALL_GATHER, .nranks = 2, .root = 0, .channels = 1, .inplace = false};
	w->n = 2;
	assert_int_equal(hk_build_begin(&w->p, 0, &b), 0);
	hk_build_chunks(b, 1, 0);
	hk_build_lane(b, 0);
	hk_build_lane(b, 0);
	hk_build_copy(b, 0, HK_IN, 0, HK_OUT, 0, 1);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	hk_build_recv(b, 1, 1, HK_OUT, 1, 1);
	hk_build_copy(b, 1, HK_OUT, 0, HK_OUT, 0, 1);
	assert_int_equal(hk_build_finish(b, &w->programs[0]), 0);
	assert_int_equal(hk_build_begin(&w->p, 1, &b), 0);
	hk_build_chunks(b, 1, 0);
	hk_build_lane(b, 0);
	if (answer_first)
		hk_build_send(b, 0, 0, HK_IN, 0, 1);
	hk_build_recv(b, 0, 0, HK_OUT, 0, 1);
	if (!answer_first)
		hk_build_send(b, 0, 0, HK_IN, 0, 1);
	hk_build_copy(b, 0, HK_IN, 0, HK_OUT, 1, 1);
	assert_int_equal(hk_build_finish(b, &w->programs[1]), 0);
}

static void test_messages_order(void **state)
{
	struct world w;

	build_answer(&w, false);
	assert_int_equal(world_check(&w, 1, NULL), 0);
	world_free(&w);
	build_answer(&w, true);
	expect(&w, 1, HK_CHECK_RACE, "out[0]");
}

static void test_result(void **state)
{
	struct hk_program *prog;
	struct world w;

	/* Reads what was never written. */
	prog = ring(&w);
	prog->steps[1].src_buf = HK_OUT;
	expect(&w, 2, HK_CHECK_RESULT, "rank 0, lane 0, step 1 (recv_reduce) reads out[1], where");
	/* Rank 0 forwards its input instead of the sum. */
	prog = ring(&w);
	prog->steps[2].src_buf = HK_IN;
	expect(&w, 2, HK_CHECK_RESULT, "rank 1: out[1] lacks the contribution of rank 1");
	/* An own block that is not copied. */
	begin(&w, "ring_all_gather", 3, true, false);
	w.p.inplace = false;
	expect(&w, 2, HK_CHECK_RESULT, "rank 0: out[0] is never written");
	/* IN overwritten by the answer before it is read. */
	begin(&w, "ring_all_reduce", 1, false, false);
	w.p.inplace = true;
	w.programs[0]->steps[0].src_buf = HK_OUT;
	expect(&w, 2, HK_CHECK_RESULT, "where nothing has been written");
	/* The wrong block, of the same size. */
	begin(&w, "ring_all_gather", 4, false, false);
	w.programs[2]->steps[1].dst = 3;
	expect(&w, 2, HK_CHECK_RESULT, "rank 2: out[2] is never written");
	begin(&w, "ring_reduce_scatter", 4, false, false);
	w.programs[2]->steps[0].src = 3;
	expect(&w, 2, HK_CHECK_RESULT, "rank 1: out[0] is made of 4 contributions");
}

/* Adds its own contribution a second time at the end; and once in the place of another. */
static void test_doubled(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 2, .root = 0, .channels = 1, .inplace = false};
	struct world w = {.p = p, .n = 2};

	for (int i = 0; i < 2; i++) {
		struct hk_builder *b;

		assert_int_equal(hk_build_begin(&p, i, &b), 0);
		hk_build_chunks(b, 1, 0);
		hk_build_lane(b, 0);
		hk_build_send(b, 0, !i, HK_IN, 0, 1);
		hk_build_recv_reduce(b, 0, !i, HK_IN, 0, HK_OUT, 0, 1, i ? HK_STEP_FLIP : 0);
		if (i)
			hk_build_reduce(b, 0, HK_IN, 0, HK_OUT, 0, 1, 0);
		assert_int_equal(hk_build_finish(b, &w.programs[i]), 0);
	}
	expect(&w, 1, HK_CHECK_RESULT, "rank 1: out[0] has the contribution of rank 1 twice");
}

/* Doubling 128 times makes any 128-bit sum vanish; the checker counts as well. */
static void test_sum_that_wraps(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 1, .root = 0, .channels = 1, .inplace = false};
	struct world w = {.p = p, .n = 1};
	struct hk_builder *b;

	assert_int_equal(hk_build_begin(&p, 0, &b), 0);
	hk_build_chunks(b, 1, 0);
	hk_build_lane(b, 0);
	hk_build_copy(b, 0, HK_IN, 0, HK_OUT, 0, 1);
	for (int i = 0; i < 128; i++)
		hk_build_reduce(b, 0, HK_OUT, 0, HK_OUT, 0, 1, 0);
	hk_build_reduce(b, 0, HK_IN, 0, HK_OUT, 0, 1, 0);
	assert_int_equal(hk_build_finish(b, &w.programs[0]), 0);
	expect(&w, 1, HK_CHECK_RESULT, "rank 0: out[0]");
}

/* The reading of IN after OUT over it was written, in one lane: no race, but wrong. */
static void test_in_overwritten(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 2, .root = 0, .channels = 1, .inplace = true};
	struct world w = {.p = p, .n = 2};

	for (int i = 0; i < 2; i++) {
		struct hk_builder *b;

		assert_int_equal(hk_build_begin(&p, i, &b), 0);
		hk_build_chunks(b, 1, 0);
		hk_build_lane(b, 0);
		hk_build_lane(b, 1);
		hk_build_recv_reduce(b, 0, !i, HK_IN, 0, HK_OUT, 0, 1, i ? HK_STEP_FLIP : 0);
		hk_build_send(b, 0, !i, HK_IN, 0, 1);
		hk_build_copy(b, 1, HK_OUT, 0, HK_OUT, 0, 1);
		hk_build_after(b, 1, 0, 1);
		assert_int_equal(hk_build_finish(b, &w.programs[i]), 0);
		if (!i) { /* one of the two sends first, so that they do not wait for each other */
			struct hk_step s = w.programs[0]->steps[0];

			w.programs[0]->steps[0] = w.programs[0]->steps[1];
			w.programs[0]->steps[1] = s;
		}
	}
	expect(&w, 1, HK_CHECK_RESULT, "reads in[0] after out[0]");
}

/* Two ranks send to a switch, which adds and answers both. */
static void test_switch(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 2, .root = 0, .channels = 1, .inplace = false};
	struct world w = {.p = p, .n = 3};
	struct hk_report report;
	struct hk_builder *b;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(hk_build_begin(&p, i, &b), 0);
		hk_build_chunks(b, 1, 0);
		hk_build_lane(b, 0);
		hk_build_send(b, 0, 2, HK_IN, 0, 1);
		hk_build_recv(b, 0, 2, HK_OUT, 0, 1);
		assert_int_equal(hk_build_finish(b, &w.programs[i]), 0);
	}
	assert_int_equal(hk_build_begin(&p, 2, &b), 0);
	hk_build_chunks(b, 1, 1);
	hk_build_lane(b, 0);
	hk_build_recv(b, 0, 0, HK_SCRATCH, 0, 1);
	hk_build_recv_reduce(b, 0, 1, HK_SCRATCH, 0, HK_SCRATCH, 0, 1, 0);
	hk_build_send(b, 0, 0, HK_SCRATCH, 0, 1);
	hk_build_send(b, 0, 1, HK_SCRATCH, 0, 1);
	assert_int_equal(hk_build_finish(b, &w.programs[2]), 0);
	assert_int_equal(world_check(&w, 1, &report), 0);
	assert_int_equal(report.messages, 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hk_fuse(&p, w.programs[i]), 0);
	assert_int_equal(world_check(&w, 1, &report), 0);
	/* A switch has no input of its own. */
	w.programs[2]->steps[0].op = HK_COPY;
	w.programs[2]->steps[0].from = -1;
	w.programs[2]->steps[0].src_buf = HK_IN;
	expect(&w, 1, HK_CHECK_BOUNDS, "past the end");
}

/* What a rank exchanges with others by itself has no promise, whatever its programs. */
static void test_point_to_point(void **state)
{
	struct hk_problem p = {
		.coll = HK_POINT_TO_POINT, .nranks = 2, .channels = 1, .sends = 1, .receives = 3};
	struct hk_program *programs[2];
	struct hk_report report;
	struct hk_builder *b;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(hk_build_begin(&p, i, &b), 0);
		hk_build_chunks(b, 1, 0);
		hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 2, 1);
		assert_int_equal(hk_build_finish(b, &programs[i]), 0);
	}
	assert_int_equal(hk_check(&p, programs, 2, 2, &report), -HK_EPROOF);
	assert_int_equal(report.phase, HK_CHECK_BOUNDS);
	for (int i = 0; i < 2; i++)
		hk_program_free(programs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_of_steps),
		cmocka_unit_test(test_bounds_of_peers),
		cmocka_unit_test(test_bounds_of_tables),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_smallest_slots),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_race_between_tiles),
		cmocka_unit_test(test_messages_order),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_doubled),
		cmocka_unit_test(test_sum_that_wraps),
		cmocka_unit_test(test_in_overwritten),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_point_to_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
