/* SPDX-License-Identifier: BSD-3-Clause */
/* The fusion pass: what becomes of the rings, and what must stay as it is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "programs.h"

static void expect_rank0(const char *algo, bool inplace, const char *text)
{
	struct world w;

	assert_int_equal(world_build(&w, hk_algo_find(algo), 4, 1, inplace, true), 0);
	assert_string_equal(program_text(w.programs[0]), text);
	world_free(&w);
}

static void test_ring_all_reduce(void **state)
{
	/* The partial sums of chunks 3 and 2 are stored nowhere. */
	for (int inplace = 0; inplace < 2; inplace++)
		expect_rank0(
			"ring_all_reduce", inplace,
			"program rank 0: period 4, chunks in 4 out 4 scratch 0, messages of up "
			"to 1\n"
			"lane 0 channel 0\n"
			"  0: send in[0], to 1\n"
			"  1: recv_reduce_send in[3] + from 3, to 1\n"
			"  2: recv_reduce_send in[2] + from 3, to 1\n"
			"  3: recv_reduce_copy_send in[1] + from 3 -> out[1], to 1\n"
			"  4: recv_copy_send from 3 -> out[0], to 1\n"
			"  5: recv_copy_send from 3 -> out[3], to 1\n"
			"  6: recv from 3 -> out[2]\n");
}

static void test_ring_reduce_scatter(void **state)
{
	/* The scratch that the unfused program passes partial sums through is given back. */
	expect_rank0("ring_reduce_scatter", false,
		     "program rank 0: period 1, chunks in 4 out 1 scratch 0, messages of up to 1\n"
		     "lane 0 channel 0\n"
		     "  0: send in[3], to 1\n"
		     "  1: recv_reduce_send in[2] + from 3, to 1\n"
		     "  2: recv_reduce_send in[1] + from 3, to 1\n"
		     "  3: recv_reduce in[0] + from 3 -> out[0]\n");
}

static void test_ring_all_gather(void **state)
{
	expect_rank0("ring_all_gather", true,
		     "program rank 0: period 1, chunks in 1 out 4 scratch 0, messages of up to 1\n"
		     "lane 0 channel 0\n"
		     "  0: send in[0], to 1\n"
		     "  1: recv_copy_send from 3 -> out[3], to 1\n"
		     "  2: recv_copy_send from 3 -> out[2], to 1\n"
		     "  3: recv from 3 -> out[1]\n");
}

/* A program of rank 0 of 3 over four chunks, in lanes on channels of their own. */
static struct hk_builder *begin(bool inplace)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 3, .root = 0, .channels = 1, .inplace = inplace};
	struct hk_builder *b;

	assert_int_equal(hk_build_begin(&p, 0, &b), 0);
	hk_build_chunks(b, 4, 4);
	hk_build_message(b, 4);
	hk_build_lane(b, 0);
	return b;
}

/* Expects the lanes of the fused program, without the line above them. */
static void expect(struct hk_builder *b, bool inplace, const char *lanes)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 3, .root = 0, .channels = 1, .inplace = inplace};
	struct hk_program *prog;

	assert_int_equal(hk_build_finish(b, &prog), 0);
	assert_int_equal(hk_fuse(&p, prog), 0);
	assert_string_equal(strchr(program_text(prog), '\n') + 1, lanes);
	/* What is fused stays as it is. */
	assert_int_equal(hk_fuse(&p, prog), 0);
	assert_string_equal(strchr(program_text(prog), '\n') + 1, lanes);
	hk_program_free(prog);
}

static void test_other_chunks_stay_apart(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_recv(b, 0, 2, HK_OUT, 0, 2);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 2, 1);
	hk_build_send(b, 0, 1, HK_OUT, 3, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 1, 1);
	hk_build_send(b, 0, 1, HK_SCRATCH, 1, 1);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv from 2 -> out[0..1]\n"
	       "  1: send out[0], to 1\n"
	       "  2: recv from 2 -> out[2]\n"
	       "  3: send out[3], to 1\n"
	       "  4: recv from 2 -> out[1]\n"
	       "  5: send scratch[1], to 1\n");
}

/* The fused step would receive only when the other lane has come so far. */
static void test_waiting_send_stays_apart(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_lane(b, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 0, 1);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	hk_build_after(b, 0, 1, 0);
	hk_build_recv(b, 1, 1, HK_OUT, 1, 1);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv from 2 -> out[0]\n"
	       "  1: send out[0], to 1 (after lane 1 step 0)\n"
	       "lane 1 channel 1\n"
	       "  0: recv from 1 -> out[1]\n");
}

/* Lane 1 would come to wait for the send. */
static void test_awaited_receive_stays_apart(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_lane(b, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 0, 1);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	hk_build_send(b, 1, 1, HK_OUT, 0, 1);
	hk_build_after(b, 1, 0, 0);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv from 2 -> out[0]\n"
	       "  1: send out[0], to 1\n"
	       "lane 1 channel 1\n"
	       "  0: send out[0], to 1 (after lane 0 step 0)\n");
}

/* Dependencies are renumbered, and one on the send means the fused step. */
static void test_dependencies_follow(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_lane(b, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 0, 1);
	hk_build_after(b, 0, 1, 0);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 1, 1);
	hk_build_send(b, 0, 1, HK_OUT, 1, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 2, 1);
	hk_build_send(b, 1, 1, HK_IN, 0, 1);
	hk_build_send(b, 1, 1, HK_OUT, 1, 1);
	hk_build_after(b, 1, 0, 1);
	hk_build_after(b, 1, 0, 3);
	hk_build_after(b, 1, 0, 4);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv_copy_send from 2 -> out[0], to 1 (after lane 1 step 0)\n"
	       "  1: recv_copy_send from 2 -> out[1], to 1\n"
	       "  2: recv from 2 -> out[2]\n"
	       "lane 1 channel 1\n"
	       "  0: send in[0], to 1\n"
	       "  1: send out[1], to 1 (after lane 0 step 0, lane 0 step 1, lane 0 step 2)\n");
}

/* Stores that somebody reads, or that are the result, stay. */
static void test_stores_stay(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_lane(b, 1);
	/* the result */
	hk_build_recv_reduce(b, 0, 2, HK_IN, 0, HK_OUT, 0, 1, 0);
	hk_build_send(b, 0, 1, HK_OUT, 0, 1);
	/* read by another lane, although overwritten here */
	hk_build_recv_reduce(b, 0, 2, HK_IN, 1, HK_OUT, 1, 1, 0);
	hk_build_send(b, 0, 1, HK_OUT, 1, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 1, 1);
	/* half of it read before it is overwritten */
	hk_build_recv_reduce(b, 0, 2, HK_IN, 2, HK_OUT, 2, 2, 0);
	hk_build_send(b, 0, 1, HK_OUT, 2, 2);
	hk_build_copy(b, 0, HK_OUT, 3, HK_SCRATCH, 3, 1);
	hk_build_recv(b, 0, 2, HK_OUT, 2, 2);
	hk_build_send(b, 1, 1, HK_OUT, 1, 1);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv_reduce_copy_send in[0] + from 2 -> out[0], to 1\n"
	       "  1: recv_reduce_copy_send in[1] + from 2 -> out[1], to 1\n"
	       "  2: recv from 2 -> out[1]\n"
	       "  3: recv_reduce_copy_send in[2..3] + from 2 -> out[2..3], to 1\n"
	       "  4: copy out[3] -> scratch[3]\n"
	       "  5: recv from 2 -> out[2..3]\n"
	       "lane 1 channel 1\n"
	       "  0: send out[1], to 1\n");
}

/* In place, reading IN is reading OUT's memory: the pass must not think that nobody looks. */
static void test_store_under_in_stays(void **state)
{
	for (int inplace = 0; inplace < 2; inplace++) {
		struct hk_builder *b = begin(inplace);

		hk_build_lane(b, 1);
		hk_build_recv_reduce(b, 0, 2, HK_SCRATCH, 0, HK_OUT, 0, 1, 0);
		hk_build_send(b, 0, 1, HK_OUT, 0, 1);
		hk_build_recv(b, 0, 2, HK_OUT, 0, 1);
		hk_build_send(b, 1, 1, HK_IN, 0, 1);
		expect(b, inplace,
		       inplace ? "lane 0 channel 0\n"
				 "  0: recv_reduce_copy_send scratch[0] + from 2 -> out[0], to 1\n"
				 "  1: recv from 2 -> out[0]\n"
				 "lane 1 channel 1\n"
				 "  0: send in[0], to 1\n"
			       : "lane 0 channel 0\n"
				 "  0: recv_reduce_send scratch[0] + from 2, to 1\n"
				 "  1: recv from 2 -> out[0]\n"
				 "lane 1 channel 1\n"
				 "  0: send in[0], to 1\n");
	}
}

/* What the next tile's first step reads is alive at the end of this one. */
static void test_scratch_lives_on(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_copy(b, 0, HK_SCRATCH, 0, HK_OUT, 0, 1);
	hk_build_recv_reduce(b, 0, 2, HK_IN, 0, HK_SCRATCH, 0, 1, 0);
	hk_build_send(b, 0, 1, HK_SCRATCH, 0, 1);
	hk_build_recv_reduce(b, 0, 2, HK_IN, 1, HK_SCRATCH, 1, 1, 0);
	hk_build_send(b, 0, 1, HK_SCRATCH, 1, 1);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: copy scratch[0] -> out[0]\n"
	       "  1: recv_reduce_copy_send in[0] + from 2 -> scratch[0], to 1\n"
	       "  2: recv_reduce_send in[1] + from 2, to 1\n");
}

static void test_flags_stay(void **state)
{
	struct hk_builder *b = begin(false);

	hk_build_recv_reduce(b, 0, 2, HK_IN, 0, HK_SCRATCH, 0, 1, HK_STEP_FLIP);
	hk_build_send(b, 0, 1, HK_SCRATCH, 0, 1);
	expect(b, false,
	       "lane 0 channel 0\n"
	       "  0: recv_reduce_send from 2 + in[0], to 1\n");
}

static void test_nonsense_is_refused(void **state)
{
	struct world w;

	assert_int_equal(world_build(&w, hk_algo_find("ring_all_gather"), 3, 1, false, false), 0);
	w.programs[1]->steps[0].src = 1000;
	assert_int_equal(hk_fuse(&w.p, w.programs[1]), -EINVAL);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_all_reduce),
		cmocka_unit_test(test_ring_reduce_scatter),
		cmocka_unit_test(test_ring_all_gather),
		cmocka_unit_test(test_other_chunks_stay_apart),
		cmocka_unit_test(test_waiting_send_stays_apart),
		cmocka_unit_test(test_awaited_receive_stays_apart),
		cmocka_unit_test(test_dependencies_follow),
		cmocka_unit_test(test_stores_stay),
		cmocka_unit_test(test_store_under_in_stays),
		cmocka_unit_test(test_scratch_lives_on),
		cmocka_unit_test(test_flags_stay),
		cmocka_unit_test(test_nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
