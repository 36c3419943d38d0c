/* SPDX-License-Identifier: BSD-3-Clause */
/* Every algorithm in the table is proved, for 1 to 64 ranks and for 257, in all its forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "programs.h"

static void prove(const struct hk_algo *algo, int n, uint32_t channels, bool inplace, bool fuse)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = n,
			       .root = 0,
			       .channels = channels,
			       .inplace = inplace};
	struct hk_report report;
	struct world w;

	if (!algo->accepts(&p))
		return;
	assert_int_equal(world_build(&w, algo, n, channels, inplace, fuse), 0);
	if (world_check(&w, 2, &report))
		fail_msg("%s, %d ranks, %u channels%s%s: %s", algo->name, n, channels,
			 inplace ? ", in place" : "", fuse ? ", fused" : "", report.text);
	assert_true(report.slots <= 2);
	/* All ranks take part. */
	assert_true(report.messages >= (uint64_t)n - 1);
	world_free(&w);
}

static void prove_forms(int n)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		for (unsigned form = 0; form < 8; form++)
			prove(hk_algos[a], n, 1 + (form & 1), form & 2, form & 4);
}

static void test_1_to_64(void **state)
{
	for (int n = 1; n <= 64; n++)
		prove_forms(n);
}

static void test_257(void **state)
{
	prove_forms(257);
}

static void test_many_channels(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		for (uint32_t channels = 3; channels <= 16; channels++)
			prove(hk_algos[a], 6, channels, true, true);
}

/* Each collective must have an algorithm for any number of ranks. */
static void test_coverage(void **state)
{
	for (int coll = 0; coll <= HK_ALL_GATHER; coll++) {
		for (int n = 1; n <= 64; n++) {
			struct hk_problem p = {.coll = coll,
					       .nranks = n,
					       .root = 0,
					       .channels = 1,
					       .inplace = false};
			bool found = false;

			for (unsigned a = 0; a < hk_nalgos; a++)
				found |= hk_algos[a]->coll == (enum hk_coll)coll &&
					 hk_algos[a]->accepts(&p);
			assert_true(found);
		}
	}
}

struct event {
	int to, from;
	uint32_t channel, nchunks, class;
};

/* The messages of a program in the order of its lanes, receives and sends apart. */
static unsigned list_events(const struct hk_program *prog, struct event *events, unsigned max)
{
	unsigned n = 0;

	for (uint32_t l = 0; l < prog->nlanes; l++) {
		for (uint32_t k = 0; k < prog->lanes[l].nsteps; k++) {
			const struct hk_step *s = &prog->steps[prog->lanes[l].first + k];
			struct event e = {-1, -1, prog->lanes[l].channel, s->nchunks,
					  (s->src_buf ? s->src : s->dst) % prog->period};

			assert_true(n + 2 <= max);
			if (s->from >= 0) {
				e.from = s->from;
				events[n++] = e;
				e.from = -1;
			}
			if (s->to >= 0) {
				e.to = s->to;
				events[n++] = e;
			}
		}
	}
	return n;
}

/* Ranks may mix calls in place and not: the messages must be the same, and nothing may get stuck.
 */
static void test_mixed_inplace(void **state)
{
	static struct event in_events[1024], out_events[1024];

	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int n = 2; n <= 17; n++) {
			for (unsigned form = 0; form < 4; form++) {
				struct hk_report report;
				struct world in, out;
				int rc;

				assert_int_equal(world_build(&in, hk_algos[a], n, 1 + (form & 1),
							     true, form & 2),
						 0);
				assert_int_equal(world_build(&out, hk_algos[a], n, 1 + (form & 1),
							     false, form & 2),
						 0);
				for (int r = 0; r < n; r++) {
					struct hk_program *t = in.programs[r];
					unsigned k = list_events(t, in_events, 1024);

					assert_int_equal(
						k, list_events(out.programs[r], out_events, 1024));
					assert_memory_equal(in_events, out_events,
							    k * sizeof(*in_events));
					if (r % 2) {
						in.programs[r] = out.programs[r];
						out.programs[r] = t;
					}
				}
				/* Judged as out of place, where a block that stays in place is
				 * not copied: the checker sees that last, if at all. */
				out.p.inplace = false;
				rc = world_check(&out, 2, &report);
				assert_true(!rc || (!hk_coll_reduces(hk_algos[a]->coll) &&
						    report.phase == HK_CHECK_RESULT));
				world_free(&in);
				world_free(&out);
			}
		}
	}
}

static void test_find(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		assert_ptr_equal(hk_algo_find(hk_algos[a]->name), hk_algos[a]);
	assert_null(hk_algo_find("no such algorithm"));
	assert_null(hk_algo_find(""));
}

static void test_refused(void **state)
{
	const struct hk_algo *ring = hk_algo_find("ring_all_reduce");
	struct hk_problem p = {
		.coll = HK_ALL_REDUCE, .nranks = 4, .root = 0, .channels = 1, .inplace = false};
	struct hk_program *prog = NULL;

	assert_true(hk_algo_program(ring, &p, 4, false, &prog) < 0);
	assert_true(hk_algo_program(ring, &p, -1, false, &prog) < 0);
	p.coll = HK_ALL_GATHER;
	assert_true(hk_algo_program(ring, &p, 0, false, &prog) < 0);
	p = (struct hk_problem){
		.coll = HK_ALL_REDUCE, .nranks = 1, .root = 0, .channels = 1, .inplace = false};
	assert_true(hk_algo_program(hk_algo_find("two_shot_all_reduce"), &p, 0, false, &prog) < 0);
	assert_null(prog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_1_to_64),	      cmocka_unit_test(test_257),
		cmocka_unit_test(test_many_channels), cmocka_unit_test(test_coverage),
		cmocka_unit_test(test_mixed_inplace), cmocka_unit_test(test_find),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
