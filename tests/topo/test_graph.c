/* SPDX-License-Identifier: BSD-3-Clause */
/* The graph itself: rates as text, patterns of names, names that clash, tiers, and paths. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "graph.h"
#include "pattern.h"
#include "text.h"

static struct hk_graph *parse(const char *text)
{
	struct hk_graph *g = NULL;

	if (hk_text_read(text, strlen(text), "test", NULL, &g))
		fail_msg("%s", hk_last_error());
	return g;
}

static void test_rates(void **state)
{
	static const struct {
		enum hk_link_kind kind;
		const char *text, *printed;
		double gbs;
	} good[] = {
		{HK_LINK_PCIE, "3x16", "3x16", 15.753846},
		{HK_LINK_PCIE, "5x16", "5x16", 63.015385},
		{HK_LINK_PCIE, "1x1", "1x1", 0.25},
		{HK_LINK_NVLINK, "4x18", "4x18", 450},
		{HK_LINK_IB, "hdr", "hdr", 25},
		{HK_LINK_IB, "7x4", "ndr", 50},
		{HK_LINK_IB, "7x1", "7x1", 12.5},
		{HK_LINK_ETHERNET, "100Gb/s", "12.5GB/s", 12.5},
		{HK_LINK_SOCKET, "~41.6GB/s", "~41.6GB/s", 41.6},
		{HK_LINK_IB, "~edr", "~edr", 12.5},
		{HK_LINK_MEMORY, "1e3GB/s", "1000GB/s", 1000},
	};
	static const char *const bad[] = {"",	      "0GB/s",	   "-1GB/s", "nanGB/s", "infGB/s",
					  "0x10GB/s", "1e300GB/s", "12",     "12MB/s",	"4x",
					  "4x0",      "9x16",	   "x16",    "4x16x",	"4x 16",
					  "hdr",      "4x-1",	   "~",	     "4x65",	"1e7GB/s"};
	char text[40];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct hk_rate rate = {.kind = (uint8_t)good[i].kind};

		assert_null(hk_rate_parse(good[i].text, &rate));
		assert_true(rate.gbs > good[i].gbs * 0.999999 && rate.gbs < good[i].gbs * 1.000001);
		assert_string_equal(hk_rate_print(&rate, text, sizeof(text)), good[i].printed);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hk_rate rate = {.kind = HK_LINK_PCIE, .gbs = 1};

		if (!hk_rate_parse(bad[i], &rate))
			fail_msg("'%s' was taken for a rate", bad[i]);
		assert_true(rate.gbs == 1);
	}
}

static void test_latencies(void **state)
{
	double ns = -1;
	char text[40];

	assert_null(hk_latency_parse("1.5us", &ns));
	assert_string_equal(hk_latency_print(ns, text, sizeof(text)), "1500ns");
	assert_null(hk_latency_parse("0ns", &ns));
	assert_true(ns == 0);
	assert_non_null(hk_latency_parse("5", &ns));
	assert_non_null(hk_latency_parse("5ms", &ns));
	assert_non_null(hk_latency_parse("1e10ns", &ns));
	assert_non_null(hk_latency_parse("-5ns", &ns));
	assert_true(ns == 0);
}

static void test_patterns(void **state)
{
	static const char *const names[] = {"a0.b01", "a0.b02", "a1.b01",
					    "a1.b02", "a7.b01", "a7.b02"};
	static const char *const bad[] = {"a[",
					  "a]",
					  "a[]",
					  "a[1-]",
					  "a[-1]",
					  "a[2-1]",
					  "a[0-1",
					  "a[0,]",
					  "a[x]",
					  "a[0-12345678]",
					  "a[0-1]]",
					  "a[0-999999][0-99]",
					  "[0][0][0][0][0]",
					  "a[0-1048576]",
					  "b]a[0]"};
	struct hk_pattern p;
	char name[64];

	assert_null(hk_pattern_parse("a[0-1,7].b[01-02]", &p));
	assert_int_equal(p.count, 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_null(hk_pattern_at(&p, i, name, sizeof(name)));
		assert_string_equal(name, names[i]);
	}
	assert_non_null(hk_pattern_at(&p, 0, name, 6));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!hk_pattern_parse(bad[i], &p))
			fail_msg("'%s' was taken for a pattern", bad[i]);
}

static void test_names(void **state)
{
	struct hk_graph *g = parse("machine m\n gpu g0\nend\nnode a machine m\nnode b machine m\n"
				   "switch s\nlink a s ib\n");
	struct hk_vertex again = {.kind = HK_V_SWITCH, .name = "a", .parent = -1};
	int v = -7;
	char name[160];

	assert_int_equal(g->nhosts, 2);
	assert_int_equal(hk_graph_find_path(g, "b.g0"), 3);
	assert_string_equal(hk_graph_name(g, 3, name, sizeof(name)), "b.g0");
	assert_int_equal(hk_graph_find_path(g, "c.g0"), -1);
	assert_int_equal(hk_graph_find_path(g, "b.g1"), -1);
	assert_int_equal(hk_graph_find_path(g, "g0"), -1);
	assert_int_equal(hk_graph_add(g, &again, &v), -EINVAL);
	assert_int_equal(v, -7);
	hk_graph_free(g);
	hk_graph_free(NULL);
}

static void test_tiers(void **state)
{
	struct hk_graph *g = parse("switch core\nswitch lone\nnode n[0-3]\nswitch leaf[0-1]\n"
				   "switch spine\nlink n[0-3] leaf[0-1] ib\n"
				   "link leaf[0-1] spine ib\nlink spine core ib\n");

	assert_int_equal(g->vertices[hk_graph_find(g, -1, "leaf1")].tier, 1);
	assert_int_equal(g->vertices[hk_graph_find(g, -1, "spine")].tier, 2);
	assert_int_equal(g->vertices[hk_graph_find(g, -1, "core")].tier, 3);
	assert_int_equal(g->vertices[hk_graph_find(g, -1, "lone")].tier, 0);
	hk_graph_free(g);
}

static struct hk_path path(const struct hk_graph *g, const char *from, const char *to,
			   enum hk_path_by by)
{
	struct hk_path p = {0};

	if (hk_graph_path(g, hk_graph_find_path(g, from), hk_graph_find_path(g, to), by, &p, NULL))
		fail_msg("%s", hk_last_error());
	return p;
}

static void test_widest_and_shortest(void **state)
{
	/* A wide detour, a wide and long one, and a narrow link that is quick. */
	struct hk_graph *g = parse("node a\nnode b\nswitch s[0-4]\n"
				   "link a s0 ib 100GB/s 10ns\nlink b s1 ib 100GB/s 10ns\n"
				   "link s0 s1 ib 1GB/s 1ns\nlink s0 s2 ib 50GB/s 5ns\n"
				   "link s2 s1 ib 60GB/s 5ns\nlink s0 s3 ib 50GB/s 500ns\n"
				   "link s3 s1 ib 99GB/s 1ns\n");
	struct hk_path p = path(g, "a", "b", HK_PATH_WIDEST);
	int way[HK_PATH_MAX], lone = hk_graph_find_path(g, "s4");

	assert_true(p.gbs == 50 && p.ns == 30);
	assert_int_equal(p.hops, 4);
	assert_int_equal(p.reach, HK_REACH_NETWORK);
	p = path(g, "a", "b", HK_PATH_SHORTEST);
	assert_true(p.gbs == 1 && p.ns == 21);
	assert_int_equal(hk_graph_path(g, 0, 1, HK_PATH_SHORTEST, &p, way), 0);
	assert_int_equal(way[0], 0);
	assert_int_equal(way[1], 2);
	assert_int_equal(way[2], 3);
	assert_int_equal(way[3], 1);
	p.hops = -1;
	assert_int_equal(hk_graph_path(g, 0, lone, HK_PATH_WIDEST, &p, NULL), -ENOENT);
	assert_int_equal(p.hops, -1);
	assert_non_null(strstr(hk_last_error(), "from a to s4"));
	assert_int_equal(hk_graph_path(g, 0, 0, HK_PATH_WIDEST, &p, NULL), 0);
	assert_int_equal(p.reach, HK_REACH_SELF);
	hk_graph_free(g);
}

static void test_what_paths_avoid(void **state)
{
	/* g1 has wide links to both, and the NIC's network is wider than the way inside. */
	struct hk_graph *g =
		parse("machine m\n package p[0-1] socket 10GB/s 50ns\n"
		      " gpu g[0-2] in p0 pcie 5GB/s\n nic n[0-1] in p[0-1] pcie 4GB/s\n"
		      " link g0 g1 nvlink 100GB/s\n link g1 g2 nvlink 100GB/s\nend\n"
		      "node a machine m\nnode b machine m\nswitch s\n"
		      "link a.n[0-1] s ib 400GB/s\nlink b.n[0-1] s ib 400GB/s\n");
	struct hk_path p = path(g, "a.g0", "a.g2", HK_PATH_WIDEST);

	assert_true(p.gbs == 5); /* not through another GPU */
	assert_int_equal(p.reach, HK_REACH_NUMA);
	p = path(g, "a.g0", "a.g1", HK_PATH_WIDEST);
	assert_int_equal(p.reach, HK_REACH_NVLINK);
	p = path(g, "a.n0", "a.n1", HK_PATH_WIDEST);
	assert_true(p.gbs == 4); /* inside the host, though the switch joins them too */
	assert_int_equal(p.reach, HK_REACH_HOST);
	p = path(g, "a.g0", "b.g0", HK_PATH_WIDEST);
	assert_true(p.gbs == 4);
	assert_int_equal(p.reach, HK_REACH_NETWORK);
	p = path(g, "a.p0", "a.n0", HK_PATH_SHORTEST);
	assert_int_equal(p.reach, HK_REACH_PCIE);
	hk_graph_free(g);
}

static void test_hash(void **state)
{
	static const char *const texts[] = {
		"node a slots 1\n",
		"node a slots 2\n",
		"node b slots 1\n",
		"node a slots 1\nnode c slots 1\n",
		"node a\nswitch s\nlink a s ib hdr\n",
		"node a\nswitch s\nlink a s ib 25GB/s\n",
		"node a\nswitch s\nlink a s ib hdr 301ns\n",
		"node a\nswitch s reduces h:1\nlink a s ib hdr\n",
		"node a\nswitch s reduces h:1 ops sum\nlink a s ib hdr\n",
		"machine m\nend\nnode a machine m slots 1\n",
		"machine m\n gpu g\nend\nnode a machine m slots 1\n",
		"machine m\n gpu g model \"x\"\nend\nnode a machine m slots 1\n",
		"machine m\n nic g\nend\nnode a machine m slots 1\n",
		"machine m\n nic g tcp\nend\nnode a machine m slots 1\n",
		"machine m\n nic g rail 1\nend\nnode a machine m slots 1\n",
	};
	enum { N = sizeof(texts) / sizeof(texts[0]) };
	uint64_t hashes[N];

	for (int i = 0; i < N; i++) {
		struct hk_graph *g = parse(texts[i]);

		hashes[i] = hk_graph_hash(g);
		hk_graph_free(g);
		for (int k = 0; k < i; k++)
			assert_true(hashes[i] != hashes[k]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_latencies),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_widest_and_shortest),
		cmocka_unit_test(test_what_paths_avoid),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
