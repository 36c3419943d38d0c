/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every algorithm in the table is proved: for 1 to 64 ranks and some primes beyond, any root, in
 * place and not, fused and not, with blocks of differing sizes, over layouts of odd shapes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "programs.h"

static void prove(const struct hk_algo *algo, const struct hk_problem *p, bool fuse)
{
	struct hk_report report;
	static struct world w;

	if (!algo->accepts(p))
		return;
	if (world_build_problem(&w, algo, p, fuse))
		fail_msg("%s, %d ranks, root %d, %u channels%s%s: %s", algo->name, p->nranks,
			 p->root, p->channels, p->inplace ? ", in place" : "",
			 p->varied ? ", varied" : "", hk_last_error());
	if (world_check(&w, 2, &report))
		fail_msg("%s, %d ranks, root %d, %u channels%s%s%s: %s", algo->name, p->nranks,
			 p->root, p->channels, p->inplace ? ", in place" : "",
			 p->varied ? ", varied" : "", fuse ? ", fused" : "", report.text);
	assert_true(report.slots <= 2);
	/* All ranks take part. */
	assert_true(report.messages >= (uint64_t)p->nranks - 1);
	world_free(&w);
}

/* The bits of a form: two channels, in place, fused, varied. */
static void prove_form(const struct hk_algo *algo, int n, int root, const struct hk_layout *layout,
		       unsigned form)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = n,
			       .root = root,
			       .channels = 1 + (form & 1),
			       .inplace = form & 2,
			       .varied = form & 8,
			       .layout = layout};

	if (!p.varied || has_v_variant(p.coll))
		prove(algo, &p, form & 4);
}

/* How many ranks are worth being the root, and which. */
static int count_roots(const struct hk_algo *algo, int n)
{
	if (!hk_coll_rooted(algo->coll))
		return 1;
	return n <= 9 ? n : 3;
}

static int nth_root(int n, int i)
{
	return n <= 9 ? i : i * (n - 1) / 2;
}

/* All forms while they are small, and some of each of all the larger ones. */
static void test_1_to_64(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		for (int n = 1; n <= 64; n++)
			for (int i = 0; i < count_roots(hk_algos[a], n); i++)
				for (unsigned form = 0; form < 16; form++)
					if (n <= 9 || form % 8 == (unsigned)(n + i) % 8)
						prove_form(hk_algos[a], n, nth_root(n, i), NULL,
							   form);
}

static void test_primes(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		bool rooted = hk_coll_rooted(hk_algos[a]->coll);

		prove_form(hk_algos[a], 67, rooted ? 66 : 0, NULL, 1);
		prove_form(hk_algos[a], 127, rooted ? 45 : 0, NULL, 8 + 4);
		prove_form(hk_algos[a], 127, rooted ? 126 : 0, NULL, 2);
		prove_form(hk_algos[a], 257, rooted ? 100 : 0, NULL, 4 + 2);
	}
}

static void test_layouts(void **state)
{
	static const int sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 23, 30, 48, 61};

	for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		for (unsigned kind = LAYOUT_NONE + 1; kind < NLAYOUTS; kind++) {
			struct hk_layout *layout = world_layout(kind, sizes[k]);

			for (unsigned a = 0; a < hk_nalgos; a++) {
				int root = hk_coll_rooted(hk_algos[a]->coll) ? sizes[k] / 2 : 0;

				for (unsigned form = 0; form < 16; form += 3)
					prove_form(hk_algos[a], sizes[k], root, layout, form);
			}
			hk_layout_free(layout);
		}
	}
}

static void test_many_channels(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		for (uint32_t channels = 3; channels <= 16; channels++)
			prove(hk_algos[a],
			      &(struct hk_problem){.coll = hk_algos[a]->coll,
						   .nranks = 6,
						   .channels = channels,
						   .inplace = true},
			      true);
}

static void test_1024(void **state)
{
	const struct hk_algo *algo = hk_algo_find("double_tree_all_reduce");

	prove_form(algo, 1024, 0, NULL, 2);
	prove_form(algo, 1024, 0, NULL, 4);
}

/*
 * Each collective must have an algorithm for any number of ranks, any root and uneven blocks. That
 * a rank calls in place must change nothing, as the others can't know; only an all-to-all in place
 * is more than some can do, and nobody can if its blocks differ in size.
 */
static void cover(struct hk_problem p)
{
	bool found = false, found_inplace = p.coll == HK_ALL_TO_ALL && p.varied;

	for (unsigned a = 0; a < hk_nalgos; a++) {
		bool accepts, accepts_inplace;

		if (hk_algos[a]->coll != p.coll)
			continue;
		p.inplace = false;
		accepts = hk_algos[a]->accepts(&p);
		p.inplace = true;
		accepts_inplace = hk_algos[a]->accepts(&p);
		assert_true(accepts == accepts_inplace || (accepts && p.coll == HK_ALL_TO_ALL));
		found |= accepts;
		found_inplace |= accepts_inplace;
	}
	if (!found || !found_inplace)
		fail_msg("no algorithm does %s for %d ranks, root %d%s", hk_coll_name(p.coll),
			 p.nranks, p.root, p.varied ? ", varied" : "");
}

static void test_coverage(void **state)
{
	for (int coll = 0; coll < HK_POINT_TO_POINT; coll++) {
		for (int n = 1; n <= 64; n++) {
			for (int root = 0; root < (hk_coll_rooted(coll) ? n : 1); root++) {
				struct hk_problem p = {
					.coll = coll, .nranks = n, .root = root, .channels = 1};

				cover(p);
				p.varied = true;
				if (has_v_variant(coll))
					cover(p);
			}
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

static void check_mixed(const struct hk_algo *algo, struct hk_problem p, bool fuse)
{
	static struct event in_events[1024], out_events[1024];
	static struct world in, out;
	struct hk_report report;
	int rc;

	p.inplace = true;
	if (!algo->accepts(&p))
		return;
	assert_int_equal(world_build_problem(&in, algo, &p, fuse), 0);
	p.inplace = false;
	assert_int_equal(world_build_problem(&out, algo, &p, fuse), 0);
	for (int r = 0; r < p.nranks; r++) {
		struct hk_program *t = in.programs[r];
		unsigned k = list_events(t, in_events, 1024);

		assert_int_equal(k, list_events(out.programs[r], out_events, 1024));
		assert_memory_equal(in_events, out_events, k * sizeof(*in_events));
		assert_int_equal(t->period, out.programs[r]->period);
		assert_int_equal(t->message_chunks, out.programs[r]->message_chunks);
		if (r % 2) {
			in.programs[r] = out.programs[r];
			out.programs[r] = t;
		}
	}
	/* Judged as out of place, where a block that stays in place is not copied: the checker sees
	 * that last, if at all. */
	rc = world_check(&out, 2, &report);
	assert_true(!rc || (!hk_coll_reduces(algo->coll) && report.phase == HK_CHECK_RESULT));
	world_free(&in);
	world_free(&out);
}

/* Ranks may mix calls in place and not: the messages must be the same, and nothing may get stuck.
 */
static void test_mixed_inplace(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++)
		for (int n = 2; n <= 17; n++)
			for (unsigned form = 0; form < 8; form++) {
				struct hk_problem p = {.coll = hk_algos[a]->coll,
						       .nranks = n,
						       .channels = 1 + (form & 1)};

				if (hk_coll_rooted(p.coll))
					p.root = form & 4 ? n / 2 : n - 1;
				else if (form & 4)
					continue;
				check_mixed(hk_algos[a], p, form & 2);
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
		cmocka_unit_test(test_1_to_64),	      cmocka_unit_test(test_primes),
		cmocka_unit_test(test_layouts),	      cmocka_unit_test(test_1024),
		cmocka_unit_test(test_many_channels), cmocka_unit_test(test_coverage),
		cmocka_unit_test(test_mixed_inplace), cmocka_unit_test(test_find),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
