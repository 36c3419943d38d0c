/* SPDX-License-Identifier: BSD-3-Clause */
/* Layouts: renumbering, what is dropped and refused, rings, switches, the layout of a few ranks. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "layout.h"

static struct hk_layout *make(int n, unsigned nlevels, const int *const *groups)
{
	struct hk_layout *l = NULL;

	assert_int_equal(hk_layout_create(n, nlevels, groups, &l), 0);
	assert_int_equal(l->nranks, n);
	return l;
}

static void assert_ints(const int *got, const int *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got[i], want[i]);
}

static void test_flat(void **state)
{
	struct hk_layout *l = make(3, 0, NULL);

	assert_int_equal(l->nlevels, 0);
	assert_int_equal(l->nswitches, 0);
	assert_ints(l->ring, (int[]){0, 1, 2}, 3);
	assert_ints(l->parent, (int[]){-1, -1, -1}, 3);
	hk_layout_free(l);
	hk_layout_free(NULL);
	l = NULL;
	assert_int_equal(hk_layout_create(0, 0, NULL, &l), -EINVAL);
	assert_int_equal(hk_layout_create(INT_MAX, 0, NULL, &l), -EINVAL);
	assert_null(l);
}

static void test_renumber(void **state)
{
	/* Two uneven nodes dealt out of order, in two racks. */
	const int node[] = {70, -4, 70, INT_MAX, -4, 70, INT_MIN};
	const int rack[] = {9, 9, 9, 8, 9, 9, 8};
	const int *const groups[] = {node, rack};
	struct hk_layout *l = make(7, 2, groups);

	assert_int_equal(l->nlevels, 2);
	assert_ints(l->group[0], (int[]){0, 1, 0, 2, 1, 0, 3}, 7);
	assert_ints(l->group[1], (int[]){0, 0, 0, 1, 0, 0, 1}, 7);
	assert_ints(l->ring, (int[]){0, 2, 5, 1, 4, 3, 6}, 7);
	hk_layout_free(l);
}

static void test_dropped_levels(void **state)
{
	const int alone[] = {0, 1, 2, 3}, pairs[] = {0, 0, 1, 1}, same[] = {7, 7, 5, 5};
	const int all[] = {1, 1, 1, 1};
	const int *const groups[] = {alone, pairs, same, all, all, all};
	struct hk_layout *l = make(4, 6, groups);

	assert_int_equal(l->nlevels, 1);
	assert_ints(l->group[0], (int[]){0, 0, 1, 1}, 4);
	hk_layout_free(l);
	l = make(1, 3, groups);
	assert_int_equal(l->nlevels, 0);
	hk_layout_free(l);
}

static void test_refused_levels(void **state)
{
	const int pairs[] = {0, 0, 1, 1}, across[] = {0, 1, 1, 0}, all[] = {0, 0, 0, 0};
	const int *const groups[] = {pairs, across}, *const shrinks[] = {all, pairs};
	struct hk_layout *l = NULL;

	assert_int_equal(hk_layout_create(4, 2, groups, &l), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "ranks 0 and 1 share a group of level 0"));
	/* A level that separates nobody is dropped, and still must be a union. */
	assert_int_equal(hk_layout_create(4, 2, shrinks, &l), -EINVAL);
	assert_null(l);
}

static void test_too_many_levels(void **state)
{
	enum { N = 64 };
	int level[HK_MAX_LEVELS + 1][N];
	const int *groups[HK_MAX_LEVELS + 1];
	struct hk_layout *l = NULL;

	for (unsigned k = 0; k <= HK_MAX_LEVELS; k++) {
		groups[k] = level[k];
		for (int i = 0; i < N; i++)
			level[k][i] = i >> (k + 1);
	}
	assert_int_equal(hk_layout_create(N, HK_MAX_LEVELS + 1, groups, &l), -EINVAL);
	assert_null(l);
	l = make(N, HK_MAX_LEVELS, groups);
	assert_int_equal(l->nlevels, HK_MAX_LEVELS);
	hk_layout_free(l);
}

static void test_ring(void **state)
{
	struct hk_layout *l = make(4, 0, NULL);
	uint64_t before = hk_layout_hash(l);

	assert_int_equal(hk_layout_set_ring(l, (int[]){0, 1, 2, 2}), -EINVAL);
	assert_int_equal(hk_layout_set_ring(l, (int[]){0, 1, 2, 4}), -EINVAL);
	assert_int_equal(hk_layout_set_ring(l, (int[]){0, 1, 2, -1}), -EINVAL);
	assert_true(hk_layout_hash(l) == before);
	assert_int_equal(hk_layout_set_ring(l, (int[]){0, 2, 1, 3}), 0);
	assert_ints(l->ring, (int[]){0, 2, 1, 3}, 4);
	assert_true(hk_layout_hash(l) != before);
	hk_layout_free(l);
}

static void test_switches(void **state)
{
	struct hk_layout *l = make(4, 0, NULL);
	/* Two leaves under a spine; the last rank is on none. */
	const int tree[] = {4, 4, 5, -1, 6, 6, -1};
	const int circle[] = {4, 4, 5, -1, 6, 6, 5}, self[] = {4, 4, 4, 4, 4};
	uint64_t before = hk_layout_hash(l);

	assert_int_equal(hk_layout_set_switches(l, 3, circle), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "hangs on itself"));
	assert_int_equal(hk_layout_set_switches(l, 1, self), -EINVAL);
	/* A rank is no switch, and neither is what lies past the last one. */
	assert_int_equal(hk_layout_set_switches(l, 1, (int[]){1, -1, -1, -1, -1}), -EINVAL);
	assert_int_equal(hk_layout_set_switches(l, 1, (int[]){5, -1, -1, -1, -1}), -EINVAL);
	assert_int_equal(hk_layout_set_switches(l, 1, (int[]){-2, -1, -1, -1, -1}), -EINVAL);
	assert_int_equal(hk_layout_set_switches(l, -1, tree), -EINVAL);
	assert_int_equal(l->nswitches, 0);
	assert_true(hk_layout_hash(l) == before);

	assert_int_equal(hk_layout_set_switches(l, 3, tree), 0);
	assert_int_equal(l->nswitches, 3);
	assert_ints(l->parent, tree, 7);
	assert_true(hk_layout_hash(l) != before);
	hk_layout_free(l);
}

static void test_head(void **state)
{
	const int node[] = {0, 1, 0, 1, 2, 2}, rack[] = {0, 0, 0, 0, 1, 1};
	const int *const groups[] = {node, rack};
	struct hk_layout *l = make(6, 2, groups), *head = NULL;
	/* Leaf 6 serves the first rack, 7 nobody, 8 the second; 9 is the spine. */
	const int parent[] = {6, 6, 6, 6, 8, 8, 9, 9, 9, -1};

	assert_int_equal(hk_layout_set_switches(l, 4, parent), 0);
	assert_int_equal(hk_layout_set_ring(l, (int[]){5, 4, 3, 1, 2, 0}), 0);

	assert_int_equal(hk_layout_head(l, 5, &head), 0);
	assert_int_equal(head->nlevels, 2);
	assert_ints(head->group[0], (int[]){0, 1, 0, 1, 2}, 5);
	assert_ints(head->ring, (int[]){4, 3, 1, 2, 0}, 5);
	assert_int_equal(head->nswitches, 3);
	assert_ints(head->parent, (int[]){5, 5, 5, 5, 6, 7, 7, -1}, 8);
	hk_layout_free(head);

	/* In the first rack the outer level tells nothing any more. */
	assert_int_equal(hk_layout_head(l, 4, &head), 0);
	assert_int_equal(head->nlevels, 1);
	assert_int_equal(head->nswitches, 2);
	assert_ints(head->parent, (int[]){4, 4, 4, 4, 5, -1}, 6);
	hk_layout_free(head);

	head = NULL;
	assert_int_equal(hk_layout_head(l, 7, &head), -EINVAL);
	assert_int_equal(hk_layout_head(l, 0, &head), -EINVAL);
	assert_null(head);
	hk_layout_free(l);
}

static void test_hash(void **state)
{
	const int even[] = {0, 0, 1, 1}, dealt[] = {0, 1, 0, 1}, renamed[] = {5, 5, 2, 2};
	const int *const by_even = even, *const by_dealt = dealt, *const by_renamed = renamed;
	struct hk_layout *a = make(4, 1, &by_even), *b = make(4, 1, &by_dealt);
	struct hk_layout *c = make(4, 1, &by_renamed), *d = make(4, 0, NULL);

	assert_true(hk_layout_hash(a) == hk_layout_hash(c));
	assert_true(hk_layout_hash(a) != hk_layout_hash(b));
	assert_true(hk_layout_hash(a) != hk_layout_hash(d));
	hk_layout_free(a);
	hk_layout_free(b);
	hk_layout_free(c);
	hk_layout_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flat),
		cmocka_unit_test(test_renumber),
		cmocka_unit_test(test_dropped_levels),
		cmocka_unit_test(test_refused_levels),
		cmocka_unit_test(test_too_many_levels),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_switches),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
