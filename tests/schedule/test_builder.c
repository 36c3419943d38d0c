/* SPDX-License-Identifier: BSD-3-Clause */
/* The builder's layout and its refusals, names, copies, aliases, and programs as text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "programs.h"

static const struct hk_problem pair = {
	.coll = HK_ALL_REDUCE, .nranks = 2, .root = 0, .channels = 1, .inplace = false};

static struct hk_builder *begin(uint32_t period, uint32_t scratch)
{
	struct hk_builder *b;

	assert_int_equal(hk_build_begin(&pair, 0, &b), 0);
	hk_build_chunks(b, period, scratch);
	return b;
}

static void refused(struct hk_builder *b, const char *why)
{
	struct hk_program *prog = NULL;

	assert_int_equal(hk_build_finish(b, &prog), -EINVAL);
	assert_null(prog);
	if (!strstr(hk_last_error(), why))
		fail_msg("\"%s\" does not say \"%s\"", hk_last_error(), why);
}

static void test_layout(void **state)
{
	struct hk_builder *b = begin(4, 2);
	struct hk_program *prog;
	uint32_t l0 = hk_build_lane(b, 3), l1 = hk_build_lane(b, 5);

	/* Lanes may be filled in turns, and dependencies may point forward. */
	assert_int_equal(hk_build_send(b, l0, 1, HK_IN, 0, 1), 0);
	assert_int_equal(hk_build_copy(b, l1, HK_IN, 0, HK_OUT, 0, 2), 0);
	hk_build_after(b, l1, l0, 1);
	assert_int_equal(hk_build_recv(b, l0, 1, HK_SCRATCH, 1, 1), 1);
	assert_int_equal(hk_build_reduce(b, l1, HK_SCRATCH, 1, HK_OUT, 1, 1, HK_STEP_FLIP), 1);
	hk_build_after(b, l1, l0, 0);
	hk_build_after(b, l1, l0, 1);
	assert_int_equal(hk_build_finish(b, &prog), 0);

	assert_int_equal(prog->rank, 0);
	assert_int_equal(prog->period, 4);
	assert_int_equal(prog->message_chunks, 1);
	assert_int_equal(prog->nchunks[HK_IN], 4);
	assert_int_equal(prog->nchunks[HK_OUT], 4);
	assert_int_equal(prog->nchunks[HK_SCRATCH], 2);
	assert_string_equal(
		program_text(prog),
		"program rank 0: period 4, chunks in 4 out 4 scratch 2, messages of up to 1\n"
		"lane 0 channel 3\n"
		"  0: send in[0], to 1\n"
		"  1: recv from 1 -> scratch[1]\n"
		"lane 1 channel 5\n"
		"  0: copy in[0..1] -> out[0..1] (after lane 0 step 1)\n"
		"  1: reduce scratch[1] + out[1] -> out[1] (after lane 0 step 0, lane 0 step 1)\n");
	hk_program_free(prog);
}

static void test_chunks_of_collectives(void **state)
{
	static const uint32_t in[] = {3, 12, 3, 0, 3, 12, 3, 0, 3, 6};
	static const uint32_t out[] = {3, 3, 12, 3, 0, 12, 0, 3, 3, 9};

	for (int coll = 0; coll < HK_NCOLLS; coll++) {
		struct hk_problem p = {
			.coll = coll, .nranks = 4, .channels = 1, .sends = 2, .receives = 3};
		struct hk_program *prog;
		struct hk_builder *b;

		assert_int_equal(hk_build_begin(&p, 1, &b), 0);
		hk_build_chunks(b, 3, 0);
		assert_int_equal(hk_build_finish(b, &prog), 0);
		assert_int_equal(prog->nchunks[HK_IN], in[coll]);
		assert_int_equal(prog->nchunks[HK_OUT], out[coll]);
		assert_int_equal(prog->nlanes, 0);
		hk_program_free(prog);
	}
}

static void test_refusals(void **state)
{
	struct hk_builder *b = begin(4, 0);

	hk_build_send(b, 0, 1, HK_IN, 0, 1);
	refused(b, "lane 0 of 0");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 1, HK_IN, 0, 0);
	refused(b, "0 chunks");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 1, HK_IN, 0, 65536);
	refused(b, "65536 chunks");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 1, HK_IN, 4, 1);
	refused(b, "past the end");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 1, HK_IN, UINT32_MAX, 1);
	refused(b, "past the end");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 0, HK_IN, 0, 1);
	refused(b, "itself");
	b = begin(4, 0);
	hk_build_recv(b, hk_build_lane(b, 0), 1, HK_IN, 0, 1);
	refused(b, "writes IN");
	b = begin(4, 0);
	hk_build_copy(b, hk_build_lane(b, 0), HK_IN, 0, HK_OUT, 1, 1);
	refused(b, "chunks of different sizes");
	b = begin(4, 0);
	hk_build_send(b, hk_build_lane(b, 0), 1, HK_IN, 0, 2);
	refused(b, "longer message");
	b = begin(0, 0);
	refused(b, "period 0");
	b = begin(4, 0);
	hk_build_lane(b, 0);
	refused(b, "no steps");
}

static void test_refused_dependencies(void **state)
{
	struct hk_builder *b = begin(4, 0);
	uint32_t lane = hk_build_lane(b, 0);

	hk_build_after(b, lane, lane, 0);
	refused(b, "no step that could take it");
	b = begin(4, 0);
	lane = hk_build_lane(b, 0);
	hk_build_send(b, lane, 1, HK_IN, 0, 1);
	hk_build_after(b, lane, lane, 1);
	refused(b, "does not exist");
	b = begin(4, 0);
	lane = hk_build_lane(b, 0);
	hk_build_send(b, lane, 1, HK_IN, 0, 1);
	hk_build_after(b, lane, 1, 0);
	refused(b, "does not exist");
}

/* The first error is the one that is told. */
static void test_sticky(void **state)
{
	struct hk_builder *b = begin(4, 0);
	uint32_t lane = hk_build_lane(b, 0);

	hk_build_send(b, lane, 1, HK_IN, 0, 0);
	hk_build_send(b, lane, 0, HK_IN, 99, 1);
	hk_build_after(b, 77, 0, 0);
	refused(b, "of 0 chunks");
}

static void test_begin_refuses(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 0, .root = 0, .channels = 1, .inplace = false};
	struct hk_builder *b = NULL;

	assert_int_equal(hk_build_begin(&p, 0, &b), -EINVAL);
	p = (struct hk_problem){
		.coll = HK_NCOLLS, .nranks = 2, .root = 0, .channels = 1, .inplace = false};
	assert_int_equal(hk_build_begin(&p, 0, &b), -EINVAL);
	p = (struct hk_problem){
		.coll = HK_ALL_REDUCE, .nranks = 2, .root = 0, .channels = 0, .inplace = false};
	assert_int_equal(hk_build_begin(&p, 0, &b), -EINVAL);
	assert_int_equal(hk_build_begin(&pair, -1, &b), -EINVAL);
	assert_null(b);
}

/* A switch has SCRATCH only. */
static void test_switch(void **state)
{
	struct hk_program *prog;
	struct hk_builder *b;

	assert_int_equal(hk_build_begin(&pair, 2, &b), 0);
	hk_build_chunks(b, 4, 4);
	hk_build_recv(b, hk_build_lane(b, 0), 0, HK_SCRATCH, 3, 1);
	assert_int_equal(hk_build_finish(b, &prog), 0);
	assert_int_equal(prog->nchunks[HK_IN] + prog->nchunks[HK_OUT], 0);
	hk_program_free(prog);
}

static void test_clone(void **state)
{
	struct hk_program *copy;
	char text[8192];
	struct world w;

	assert_int_equal(world_build(&w, hk_algo_find("all_pairs_all_reduce"), 3, 1, true, false),
			 0);
	assert_int_equal(hk_program_clone(w.programs[2], &copy), 0);
	strcpy(text, program_text(w.programs[2]));
	world_free(&w);
	assert_string_equal(program_text(copy), text);
	hk_program_free(copy);
	hk_program_free(NULL);
}

static void test_alias(void **state)
{
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 3, .root = 0, .channels = 1, .inplace = true};
	struct hk_program prog = {.rank = 1, .period = 4};

	assert_int_equal(hk_alias_out(&p, &prog, 3), 3);
	p.coll = HK_REDUCE_SCATTER;
	assert_int_equal(hk_alias_out(&p, &prog, 3), -1);
	assert_int_equal(hk_alias_out(&p, &prog, 4), 0);
	assert_int_equal(hk_alias_out(&p, &prog, 7), 3);
	assert_int_equal(hk_alias_out(&p, &prog, 8), -1);
	p.coll = HK_ALL_GATHER;
	assert_int_equal(hk_alias_out(&p, &prog, 3), 7);
	p.inplace = false;
	assert_int_equal(hk_alias_out(&p, &prog, 3), -1);
}

static void test_names(void **state)
{
	assert_string_equal(hk_op_name(HK_RECV_REDUCE_COPY_SEND), "recv_reduce_copy_send");
	assert_string_equal(hk_op_name(0), "unknown op");
	assert_string_equal(hk_op_name(HK_NOPS), "unknown op");
	assert_string_equal(hk_buf_name(HK_SCRATCH), "scratch");
	assert_string_equal(hk_buf_name(HK_NBUFS), "unknown buffer");
	assert_string_equal(hk_coll_name(HK_ALL_GATHER), "all_gather");
	assert_string_equal(hk_coll_name(HK_NCOLLS), "unknown collective");
}

/* An algorithm's whole program, in the order its comment promises. */
static void test_golden(void **state)
{
	struct world w;

	assert_int_equal(world_build(&w, hk_algo_find("all_pairs_all_reduce"), 4, 1, true, true),
			 0);
	assert_string_equal(
		program_text(w.programs[1]),
		"program rank 1: period 1, chunks in 1 out 1 scratch 1, messages of up to 1\n"
		"lane 0 channel 0\n"
		"  0: send in[0], to 2\n"
		"  1: send in[0], to 3\n"
		"  2: send in[0], to 0\n"
		"lane 1 channel 0\n"
		"  0: recv_reduce from 0 + in[0] -> scratch[0]\n"
		"  1: recv_reduce scratch[0] + from 2 -> scratch[0]\n"
		"  2: recv_reduce scratch[0] + from 3 -> out[0] (after lane 0 step 2)\n");
	world_free(&w);
	assert_int_equal(
		world_build(&w, hk_algo_find("halving_doubling_all_reduce"), 5, 1, false, true), 0);
	assert_string_equal(
		program_text(w.programs[0]),
		"program rank 0: period 4, chunks in 4 out 4 scratch 0, messages of up to 4\n"
		"lane 0 channel 0\n"
		"  0: recv_reduce in[0..3] + from 4 -> out[0..3]\n"
		"  1: send out[2..3], to 2\n"
		"  2: recv_reduce out[0..1] + from 2 -> out[0..1]\n"
		"  3: send out[1], to 1\n"
		"  4: recv_reduce_copy_send out[0] + from 1 -> out[0], to 1\n"
		"  5: recv from 1 -> out[1]\n"
		"  6: send out[0..1], to 2\n"
		"  7: recv from 2 -> out[2..3]\n"
		"  8: send out[0..3], to 4\n");
	world_free(&w);
	assert_int_equal(world_build(&w, hk_algo_find("two_shot_all_reduce"), 3, 1, true, true), 0);
	assert_string_equal(
		program_text(w.programs[2]),
		"program rank 2: period 3, chunks in 3 out 3 scratch 3, messages of up to 1\n"
		"lane 0 channel 0\n"
		"  0: send in[0], to 0\n"
		"  1: send in[1], to 1\n"
		"lane 1 channel 0\n"
		"  0: recv from 0 -> scratch[2]\n"
		"  1: recv_reduce scratch[2] + from 1 -> scratch[2]\n"
		"  2: reduce scratch[2] + in[2] -> scratch[2]\n"
		"  3: copy scratch[2] -> out[2]\n"
		"lane 2 channel 1\n"
		"  0: send out[2], to 0 (after lane 1 step 3)\n"
		"  1: send out[2], to 1\n"
		"lane 3 channel 1\n"
		"  0: recv from 1 -> out[1]\n"
		"  1: recv from 0 -> out[0]\n");
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),	 cmocka_unit_test(test_chunks_of_collectives),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_refused_dependencies),
		cmocka_unit_test(test_sticky),	 cmocka_unit_test(test_begin_refuses),
		cmocka_unit_test(test_switch),	 cmocka_unit_test(test_clone),
		cmocka_unit_test(test_alias),	 cmocka_unit_test(test_names),
		cmocka_unit_test(test_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
