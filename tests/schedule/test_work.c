/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each algorithm says that it costs (hk_algo.work) is what its programs contain (measure.h),
 * fused and not.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure.h"

static void compare(const struct hk_algo *algo, const struct hk_problem *p, bool fuse)
{
	struct hk_work said = {0}, is;
	static struct world w;

	if ((p->varied && !has_v_variant(p->coll)) || !algo->accepts(p))
		return;
	assert_int_equal(world_build_problem(&w, algo, p, fuse), 0);
	algo->work(p, &said);
	world_measure(&w, &is);
	if (said.rounds != is.rounds || said.messages != is.messages ||
	    fabs(said.sent - is.sent) > 1e-9)
		fail_msg("%s, %d ranks, root %d, %u channels%s%s: says %u rounds, %u messages, %g "
			 "blocks; has %u, %u, %g",
			 algo->name, p->nranks, p->root, p->channels,
			 p->layout ? ", with a layout" : "", fuse ? ", fused" : "", said.rounds,
			 said.messages, said.sent, is.rounds, is.messages, is.sent);
	world_free(&w);
}

/* Both fused and not, in place or not, and with differing blocks in turn. */
static void compare_both(const struct hk_algo *algo, int n, int root, uint32_t channels,
			 const struct hk_layout *layout)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = n,
			       .root = root,
			       .channels = channels,
			       .layout = layout};

	for (int fuse = 0; fuse < 2; fuse++) {
		p.inplace = (n + fuse) % 2;
		compare(algo, &p, fuse);
		p.varied = true;
		if (n <= 16)
			compare(algo, &p, fuse);
		p.varied = false;
	}
}

static void test_formulas(void **state)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		bool rooted = hk_coll_rooted(hk_algos[a]->coll);

		for (int n = 1; n <= 64; n++) {
			for (int root = 0; root < (rooted && n <= 9 ? n : 1); root++)
				compare_both(hk_algos[a], n, root, 1 + (uint32_t)n % 2, NULL);
			if (rooted && n > 9)
				compare_both(hk_algos[a], n, n * 2 / 3, 1 + (uint32_t)n % 3, NULL);
		}
		compare_both(hk_algos[a], 127, rooted ? 99 : 0, 1, NULL);
	}
}

static void test_layouts(void **state)
{
	for (int n = 1; n <= 40; n += 1 + n / 8) {
		for (unsigned kind = LAYOUT_NONE + 1; kind < NLAYOUTS; kind++) {
			struct hk_layout *layout = world_layout(kind, n);

			for (unsigned a = 0; a < hk_nalgos; a++)
				compare_both(hk_algos[a], n,
					     hk_coll_rooted(hk_algos[a]->coll) ? n / 2 : 0, 1,
					     layout);
			hk_layout_free(layout);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formulas),
		cmocka_unit_test(test_layouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
