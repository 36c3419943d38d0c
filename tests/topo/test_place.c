/* SPDX-License-Identifier: BSD-3-Clause */
/* What follows from ranks' places: groups, rings, NICs, trees, channels and switches. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "place.h"
#include "text.h"

static const char *data;

static struct hk_graph *load(const char *name)
{
	struct hk_graph *g = NULL;
	char path[1024];

	snprintf(path, sizeof(path), "%s/topo/%s", data, name);
	if (hk_text_load(path, &g))
		fail_msg("%s", hk_last_error());
	return g;
}

static struct hk_graph *parse(const char *text)
{
	struct hk_graph *g = NULL;

	if (hk_text_read(text, strlen(text), "test", NULL, &g))
		fail_msg("%s", hk_last_error());
	return g;
}

static struct hk_placement *place(const struct hk_graph *g, int n, const int *hosts)
{
	struct hk_placement *p = NULL;

	if (hk_place(g, n, hosts, &p))
		fail_msg("%s", hk_last_error());
	return p;
}

static void assert_ints(const int *got, const int *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got[i] != want[i])
			fail_msg("number %zu is %d, not %d", i, got[i], want[i]);
}

static void test_two_rails(void **state)
{
	struct hk_graph *g = load("two-rails.topo");
	struct hk_placement *p = place(g, 64, NULL);
	char name[160];

	/* A host's GPUs are all equally near; hosts differ, but all are on both leaves. */
	assert_int_equal(p->layout->nlevels, 1);
	for (int rank = 0; rank < 64; rank++) {
		assert_int_equal(p->layout->group[0][rank], rank / 8);
		snprintf(name, sizeof(name), "dgx%d.mlx5_%d", rank / 8, rank % 8 / 4);
		assert_int_equal(p->nic[rank], hk_graph_find_path(g, name));
		snprintf(name, sizeof(name), "dgx%d.gpu%d", rank / 8, rank % 8);
		assert_int_equal(p->vertex[rank], hk_graph_find_path(g, name));
		assert_int_equal(p->layout->ring[rank], rank);
	}
	assert_int_equal(p->channels, 16); /* 450 GB/s, 25 each, but no more than that */
	/* Inside a host a chain, between hosts a balanced tree. */
	assert_int_equal(p->tree[5], 4);
	assert_int_equal(p->tree[8 * 4], -1);
	assert_int_equal(p->tree[8 * 2], 8 * 4);
	assert_int_equal(p->tree[8 * 6], 8 * 4);
	hk_placement_free(p);
	hk_placement_free(NULL);
	hk_graph_free(g);
}

static void test_uneven(void **state)
{
	struct hk_graph *g = load("uneven.topo");
	struct hk_placement *p = place(g, 16, NULL);
	static const int numa[] = {0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5};
	static const int host[] = {0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4};
	static const int leaf[] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1};

	assert_int_equal(p->layout->nlevels, 3);
	assert_ints(p->layout->group[0], numa, 16);
	assert_ints(p->layout->group[1], host, 16);
	assert_ints(p->layout->group[2], leaf, 16);
	assert_int_equal(p->nic[0], hk_graph_find_path(g, "old.mlx4_0"));
	assert_int_equal(p->nic[15], -1);
	/* Processes of a host form a binary tree. */
	assert_int_equal(p->tree[5], p->tree[4]);
	assert_int_equal(p->layout->nswitches, 0);
	hk_placement_free(p);
	/* The first ranks alone. */
	p = place(g, 3, NULL);
	assert_int_equal(p->layout->nlevels, 1);
	assert_int_equal(p->channels, 1);
	hk_placement_free(p);
	p = NULL;
	assert_int_equal(hk_place(g, 17, NULL, &p), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "17 ranks do not fit in the topology's 16 slots"));
	assert_int_equal(hk_place(g, 0, NULL, &p), -EINVAL);
	assert_null(p);
	hk_graph_free(g);
}

static void test_given_hosts(void **state)
{
	struct hk_graph *g = load("uneven.topo");
	int small0 = hk_graph_find(g, -1, "small0"), tiny = hk_graph_find(g, -1, "tiny");
	int old = hk_graph_find(g, -1, "old");
	/* Dealt out in turn, with more ranks than slots. */
	const int hosts[] = {tiny, old, small0, tiny, old, small0, tiny};
	const int wrong[] = {tiny, old + 1}, *nowhere = (const int[]){-1};
	struct hk_placement *p = place(g, 7, hosts), *none = NULL;

	assert_ints(p->layout->ring, (int[]){0, 3, 6, 1, 4, 2, 5}, 7);
	assert_int_equal(p->vertex[6], tiny);
	assert_int_equal(p->vertex[4], hk_graph_find_path(g, "old.gpu1"));
	hk_placement_free(p);
	assert_int_equal(hk_place(g, 2, wrong, &none), -EINVAL);
	assert_int_equal(hk_place(g, 1, nowhere, &none), -EINVAL);
	assert_null(none);
	hk_graph_free(g);
}

static void test_reducing_tree(void **state)
{
	struct hk_graph *g = load("reducing-tree.topo");
	struct hk_placement *p = place(g, 32, NULL);

	assert_int_equal(p->layout->nswitches, 5);
	for (int rank = 0; rank < 32; rank++)
		assert_int_equal(p->layout->parent[rank], 32 + rank / 8);
	for (int s = 0; s < 4; s++)
		assert_int_equal(p->layout->parent[32 + s], 36);
	assert_int_equal(p->layout->parent[36], -1);
	assert_int_equal(p->reducer[4], hk_graph_find(g, -1, "spine0"));
	hk_placement_free(p);
	/* Two leaves have ranks: the others are left out. */
	p = place(g, 16, NULL);
	assert_int_equal(p->layout->nswitches, 3);
	assert_int_equal(p->layout->parent[15], 17);
	assert_int_equal(p->reducer[2], hk_graph_find(g, -1, "spine0"));
	hk_placement_free(p);
	hk_graph_free(g);
}

static void test_fan_in(void **state)
{
	/* Three ranks are too many for the first leaf: they hang on the spine. */
	struct hk_graph *g = parse("node n[0-4]\nswitch a reduces h:1 fan-in 2\n"
				   "switch b reduces h:2 fan-in 2\nswitch top reduces h:3\n"
				   "link n[0-2] a ib\nlink n[3-4] b ib\nlink a top ib\n"
				   "link b top ib\n");
	struct hk_placement *p = place(g, 5, NULL);

	assert_int_equal(p->layout->nswitches, 2);
	assert_ints(p->layout->parent, (int[]){6, 6, 6, 5, 5, 6, -1}, 7);
	hk_placement_free(p);
	hk_graph_free(g);
	/* No switch can take them, and not all are on it. */
	g = parse("node n[0-3]\nswitch a reduces h:1 fan-in 2\nlink n[0-2] a ib\n");
	p = place(g, 4, NULL);
	assert_int_equal(p->layout->nswitches, 0);
	assert_int_equal(p->layout->parent[0], -1);
	hk_placement_free(p);
	p = place(g, 2, NULL);
	assert_int_equal(p->layout->nswitches, 1);
	hk_placement_free(p);
	hk_graph_free(g);
	g = parse("node n[0-3]\nswitch a reduces h:1\nlink n[0-2] a ib\n");
	p = place(g, 4, NULL);
	assert_ints(p->layout->parent, (int[]){4, 4, 4, -1, -1}, 5);
	hk_placement_free(p);
	hk_graph_free(g);
}

static void test_ring_of_nvlinks(void **state)
{
	/* Eight GPUs as a cube with diagonals, as in a DGX-1: two links on some edges. */
	struct hk_graph *g =
		parse("machine cube\n package p[0-1]\n gpu g[0-7] in p[0-1] pcie 3x16\n"
		      " link g0 g1 nvlink 2x1\n link g0 g2 nvlink 2x1\n"
		      " link g0 g3 nvlink 2x2\n link g0 g4 nvlink 2x2\n"
		      " link g1 g2 nvlink 2x2\n link g1 g3 nvlink 2x1\n"
		      " link g1 g5 nvlink 2x2\n link g2 g3 nvlink 2x2\n"
		      " link g2 g6 nvlink 2x1\n link g3 g7 nvlink 2x1\n"
		      " link g4 g5 nvlink 2x1\n link g4 g6 nvlink 2x1\n"
		      " link g4 g7 nvlink 2x2\n link g5 g6 nvlink 2x2\n"
		      " link g5 g7 nvlink 2x1\n link g6 g7 nvlink 2x2\nend\n"
		      "node n machine cube\n");
	struct hk_placement *p = place(g, 8, NULL);

	for (int i = 0; i < 8; i++) {
		const struct hk_link *l = hk_graph_link(g, p->vertex[p->layout->ring[i]],
							p->vertex[p->layout->ring[(i + 1) % 8]]);

		assert_non_null(l);
		assert_int_equal(l->rate.width, 2);
	}
	assert_int_equal(p->channels, 2); /* of 25 GB/s each */
	hk_placement_free(p);
	hk_graph_free(g);
}

static void test_nics_in_balance(void **state)
{
	/* Near ones first; of equally near ones each gets its share; verbs before tcp. */
	struct hk_graph *g = parse("machine m\n numa n[0-1]\n gpu g[0-7] in n[0-1]\n"
				   " nic far in n1\n nic ib[0-2] in n0\n nic eth0 in n1 tcp\nend\n"
				   "node a machine m\n");
	struct hk_placement *p = place(g, 8, NULL);
	int nic = hk_graph_find_path(g, "a.ib0"), far = hk_graph_find_path(g, "a.far");

	assert_ints(p->nic, (int[]){nic, nic + 1, nic + 2, nic, far, far, far, far}, 8);
	hk_placement_free(p);
	hk_graph_free(g);
}

static void test_cores(void **state)
{
	/* No GPUs: the ranks are spread over NUMA nodes in blocks. */
	struct hk_graph *g =
		parse("machine m\n package p[0-1]\n numa n[0-3] in p[0-1] cores 2\nend\n"
		      "node a[0-1] machine m\n");
	struct hk_placement *p = place(g, 16, NULL);
	static const int numa[] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};

	assert_int_equal(p->layout->nlevels, 3);
	assert_ints(p->layout->group[0], numa, 16);
	assert_int_equal(p->layout->group[1][5], 1);
	assert_int_equal(p->layout->group[2][9], 1);
	assert_int_equal(p->channels, 1);
	hk_placement_free(p);
	hk_graph_free(g);
}

static void test_from_ids(void **state)
{
	static const uint64_t host[] = {~0ull, 1, ~0ull, 1, ~0ull, 7};
	static const int package[] = {0, 0, 1, 0, 1, -1}, numa[] = {0, 3, 1, 3, 2, -1};
	struct hk_layout *l = NULL;

	assert_int_equal(hk_layout_from_ids(6, host, package, numa, &l), 0);
	assert_int_equal(l->nlevels, 3);
	assert_ints(l->group[0], (int[]){0, 1, 2, 1, 3, 4}, 6);
	assert_ints(l->group[1], (int[]){0, 1, 2, 1, 2, 3}, 6);
	assert_ints(l->group[2], (int[]){0, 1, 0, 1, 0, 2}, 6);
	assert_ints(l->ring, (int[]){0, 2, 4, 1, 3, 5}, 6);
	hk_layout_free(l);
	assert_int_equal(hk_layout_from_ids(6, host, NULL, NULL, &l), 0);
	assert_int_equal(l->nlevels, 1);
	hk_layout_free(l);
	/* All on one host: the packages alone tell something. */
	assert_int_equal(hk_layout_from_ids(4, (const uint64_t[]){5, 5, 5, 5}, package, NULL, &l),
			 0);
	assert_int_equal(l->nlevels, 1);
	assert_ints(l->group[0], (int[]){0, 0, 1, 0}, 4);
	hk_layout_free(l);
	l = NULL;
	assert_int_equal(hk_layout_from_ids(0, host, NULL, NULL, &l), -EINVAL);
	assert_null(l);
}

static void test_large(void **state)
{
	struct hk_graph *g =
		parse("machine m\n package p[0-1]\n gpu g[0-7] in p[0-1]\n"
		      " nic ib[0-7] in p[0-1]\n nvswitch nv\n link g[0-7] nv nvlink\nend\n"
		      "node n[0-2047] machine m\nswitch leaf[0-63] reduces h[0-63]:1\n"
		      "switch spine[0-7] reduces s[0-7]:1\n"
		      "link n[0-2047].ib0 leaf[0-63] ib ndr\n"
		      "mesh leaf[0-63] spine[0-7] ib ndr\n");
	struct hk_placement *p = place(g, 16384, NULL);

	assert_int_equal(p->layout->nlevels, 2);
	assert_int_equal(p->layout->nswitches, 65);
	assert_int_equal(p->layout->parent[16383], 16384 + 63);
	hk_placement_free(p);
	hk_graph_free(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_rails),	cmocka_unit_test(test_uneven),
		cmocka_unit_test(test_given_hosts),	cmocka_unit_test(test_reducing_tree),
		cmocka_unit_test(test_fan_in),		cmocka_unit_test(test_ring_of_nvlinks),
		cmocka_unit_test(test_nics_in_balance), cmocka_unit_test(test_cores),
		cmocka_unit_test(test_from_ids),	cmocka_unit_test(test_large),
	};

	if (argc != 2)
		return 2;
	data = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
