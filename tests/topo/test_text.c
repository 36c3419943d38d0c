/* SPDX-License-Identifier: BSD-3-Clause */
/* The text format: what it says, that what is printed reads back, and that nothing else gets in. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "roundtrip.h"
#include "text.h"
#include "types.h"

static const char *data; /* the folder of the test data */

static const char *const files[] = {"uneven.topo", "two-rails.topo", "reducing-tree.topo"};

static struct hk_graph *load(const char *name)
{
	struct hk_graph *g = NULL;
	char path[1024];

	snprintf(path, sizeof(path), "%s/topo/%s", data, name);
	if (hk_text_load(path, &g))
		fail_msg("%s", hk_last_error());
	return g;
}

static void test_files(void **state)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct hk_graph *g = load(files[i]);
		const char *broken = check_graph(g);

		if (broken)
			fail_msg("%s: %s", files[i], broken);
		hk_graph_free(g);
	}
}

static void test_meaning(void **state)
{
	struct hk_graph *g = load("reducing-tree.topo");
	const struct hk_link *l;
	const struct hk_reducer *r;
	int leaf;

	assert_int_equal(g->nhosts, 16);
	assert_int_equal(g->nvertices, 22);
	assert_int_equal(g->nlinks, 16 + 8);
	leaf = hk_graph_find(g, -1, "leaf2");
	assert_int_equal(g->vertices[leaf].tier, 1);
	r = &g->reducers[g->vertices[leaf].reducer];
	assert_string_equal(r->address, "10.0.0.3:7000");
	assert_int_equal(r->types, 1u << HK_FLOAT32 | 1u << HK_FLOAT16 | 1u << HK_BFLOAT16);
	assert_int_equal(r->ops, 1u << HK_SUM | 1u << HK_MAX);
	assert_int_equal(r->fan_in, 8);
	assert_int_equal(r->payload, 0);
	assert_true(r->reproducible);
	/* Sixteen nodes on four switches: four each. */
	l = hk_graph_link(g, hk_graph_find(g, -1, "n11"), leaf);
	assert_non_null(l);
	assert_int_equal(l->rate.kind, HK_LINK_IB);
	assert_true(l->rate.gbs == 25 && !l->rate.assumed);
	assert_null(hk_graph_link(g, hk_graph_find(g, -1, "n12"), leaf));
	hk_graph_free(g);

	g = load("uneven.topo");
	assert_int_equal(g->vertices[hk_graph_find(g, -1, "small1")].slots, 4);
	assert_int_equal(g->vertices[hk_graph_find_path(g, "old.mlx4_0")].kind, HK_V_NIC);
	hk_graph_free(g);
}

/* The example in docs/topology.md is one. */
static void test_documented(void **state)
{
	char path[1024], *text = NULL, *start, *end, *recording;
	struct hk_graph *g = NULL;
	const char *broken;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/../../docs/topology.md", data);
	assert_int_equal(hk_text_slurp(path, HK_TEXT_MAX, &text, &size), 0);
	start = strstr(text, "# Four nodes");
	end = start ? strstr(start, "```") : NULL;
	assert_non_null(end);
	/* The recording that it names is not there. */
	recording = strstr(start, "machine old xml");
	assert_non_null(recording);
	*recording = '#';
	if (hk_text_read(start, (size_t)(end - start), "docs/topology.md", NULL, &g))
		fail_msg("%s", hk_last_error());
	broken = check_graph(g);
	if (broken)
		fail_msg("%s", broken);
	assert_int_equal(g->nhosts, 5);
	assert_int_equal(g->nreducers, 2);
	hk_graph_free(g);
	free(text);
}

/* Each is refused on that line, with that in its sentence. */
static const struct {
	const char *text;
	int line;
	const char *says;
} wrong[] = {
	{"", 0, "describes no node"},
	{"# nothing\n\n", 2, "describes no node"},
	{"node a\nfrob b\n", 2, "frob is not understood"},
	{"node a\nnode a\n", 2, "a is there already"},
	{"node a[0-2]\nnode a[2-3]\n", 2, "a2 is there already"},
	{"node a\nswitch a\n", 2, "a is there already"},
	{"node\n", 1, "node needs a value"},
	{"node a slots\n", 1, "slots needs a value"},
	{"node a slots -1\n", 1, "number from 0"},
	{"node a slots 4x\n", 1, "number from 0"},
	{"node a slots 99999999999999999999999\n", 1, "number from 0"},
	{"node a machine m\n", 1, "no machine is called m"},
	{"node a/b\n", 1, "a name has letters"},
	{"node a.b\n", 1, "a name has letters"},
	{"node aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 1,
	 "too long"},
	{"node a[0-999999]\n", 1, "more than 524288 parts"},
	{"node a[0-9999999]\n", 1, "at most 1048576 names"},
	{"node a[0-99][0-99][0-999]\n", 1, "at most 1048576 names"},
	{"node a[3-1]\n", 1, "counts upwards"},
	{"node a\nlink a b ib\n", 2, "nothing is called b"},
	{"node a\nlink a\n", 2, "is what is expected"},
	{"node a\nlink a a ib\n", 2, "linked with itself"},
	{"node a[0-1]\nlink a0 a1 warp\n", 2, "warp is no kind of link"},
	{"node a[0-1]\nlink a0 a1 ib fast\n", 2, "a bandwidth is a number"},
	{"node a[0-1]\nlink a0 a1 ib 0GB/s\n", 2, "more than 0"},
	{"node a[0-1]\nlink a0 a1 ib 1e30GB/s\n", 2, "at most 1000000"},
	{"node a[0-1]\nlink a0 a1 ib 1GB/s 1e30ns\n", 2, "at most 1 s"},
	{"node a[0-1]\nlink a0 a1 ib 1GB/s 5ns 6\n", 2, "6 is not understood"},
	{"node a[0-1]\nlink a0 a1 ib\n\nlink a1 a0 ib\n", 4, "linked twice (lines 2 and 4)"},
	{"node a[0-2]\nnode b[0-1]\nlink a[0-2] b[0-1] ib\n", 3, "in equal shares"},
	{"node a[0-1999]\nnode b[0-1999]\nmesh a[0-1999] b[0-1999] ib\n", 3, "more than 2097152"},
	{"machine m\n gpu g\n", 2, "machine m has no end"},
	{"machine m\nend\nmachine m\nend\n", 3, "described already"},
	{"machine m\n gpu g in g\nend\n", 2, "no g is in this machine"},
	{"machine m\n gpu g in p\n package p\nend\n", 2, "no p is in this machine"},
	{"machine m\n gpu g\n gpu g\nend\n", 3, "g is there already"},
	{"machine m\n gpu host\nend\n", 2, "the machine itself"},
	{"machine m\n gpu g[0-2] in [\nend\n", 2, "brackets hold numbers"},
	{"machine m\n package p[0-1]\n gpu g[0-2] in p[0-1]\nend\n", 3, "in equal shares"},
	{"machine m\n switch s\nend\n", 2, "not understood in a machine"},
	{"machine m\n machine n\nend\n", 2, "not understood in a machine"},
	{"machine m\n gpu g rail 1\nend\n", 2, "rail is not understood"},
	{"machine m\n nic n rail 99999\nend\n", 2, "number from 0"},
	{"machine m\n host in host\nend\n", 2, "the host is in nothing"},
	{"machine m\nend now\n", 2, "nothing can follow end"},
	{"machine m[0-1]\nend\n", 1, "one machine at a time"},
	{"machine m\n gpu g[0-1]\nend\nnode a machine m\nlink a.g0 a.g1 nvlink\n", 5,
	 "belongs in its machine"},
	{"machine m\n gpu g[0-1]\n link g0 g1 nvlink\n link g1 g0 nvlink\nend\n", 5,
	 "linked twice (lines 3 and 4)"},
	{"machine m xml x.xml\n", 1, "cannot refer to"},
	{"machine m csv x\n", 1, "csv is not understood"},
	{"node a\nswitch s reduces\n", 2, "reduces needs a value"},
	{"node a\nswitch s reduces here\n", 2, "host:port"},
	{"node a\nswitch s reduces h:0\n", 2, "host:port"},
	{"node a\nswitch s reduces h:65536\n", 2, "host:port"},
	{"node a\nswitch s[0-1] reduces h:1\n", 2, "each needs its own"},
	{"node a\nswitch s reduces h:1 types int128\n", 2, "int128 is none of the types"},
	{"node a\nswitch s reduces h:1 ops ,\n", 2, "none of the ops"},
	{"node a\nswitch s reduces h:1 magic\n", 2, "magic is not understood"},
	{"node a\nswitch s tier 1\n", 2, "tier is not understood"},
	{"node \"a\n", 1, "a quote is not closed"},
	{"node \"a\"b\n", 1, "a blank must follow"},
	{"node a\"b\"\n", 1, "a quote stands inside"},
	{"node a\n\x01\n", 2, "control character"},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct hk_graph *g = NULL;
		char where[32];

		snprintf(where, sizeof(where), "test:%d: ", wrong[i].line);
		if (hk_text_read(wrong[i].text, strlen(wrong[i].text), "test", NULL, &g) != -EINVAL)
			fail_msg("taken for good:\n%s", wrong[i].text);
		assert_null(g);
		if (strncmp(hk_last_error(), where, strlen(where)) ||
		    !strstr(hk_last_error(), wrong[i].says))
			fail_msg("'%s...%s' is not said of\n%sbut: %s", where, wrong[i].says,
				 wrong[i].text, hk_last_error());
	}
}

static void test_long_lines(void **state)
{
	struct hk_graph *g = NULL;
	size_t n = HK_TEXT_LINE_MAX + 2;
	char *line = malloc(n);

	memset(line, ' ', n);
	assert_int_equal(hk_text_read(line, n, "test", NULL, &g), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "test:1: the line is longer"));
	for (size_t i = 0; i < n - 3; i += 2)
		line[i] = 'x';
	assert_int_equal(hk_text_read(line, n - 3, "test", NULL, &g), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "more than 64 words"));
	assert_int_equal(hk_text_read("node a\0b", 8, "test", NULL, &g), -EINVAL);
	assert_int_equal(hk_text_read(line, HK_TEXT_MAX + 1, "test", NULL, &g), -EINVAL);
	free(line);
	assert_null(g);
}

/* Every beginning of every file, and every file with one byte changed: refused, or sound. */
static void test_damaged(void **state)
{
	unsigned good = 0, bad = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[1024], *text = NULL;
		size_t size = 0;

		snprintf(path, sizeof(path), "%s/topo/%s", data, files[i]);
		assert_int_equal(hk_text_slurp(path, HK_TEXT_MAX, &text, &size), 0);
		for (size_t k = 0; k < 2 * size; k++) {
			struct hk_graph *g = NULL;
			char old = text[k / 2];
			const char *broken = NULL;

			if (k % 2)
				text[k / 2] = "0]-x \"~\n"[k / 2 % 8];
			if (hk_text_read(text, k % 2 ? size : k / 2, "test", NULL, &g)) {
				bad++;
				assert_memory_equal(hk_last_error(), "test:", 5);
			} else {
				good++;
				if (g->nvertices < 1000)
					broken = check_graph(g);
			}
			if (broken)
				fail_msg("%s, byte %zu: %s", files[i], k / 2, broken);
			hk_graph_free(g);
			text[k / 2] = old;
		}
		free(text);
	}
	assert_true(good > 50 && bad > 50);
}

static void test_no_such_files(void **state)
{
	char folder[] = "/tmp/hocket-topo-XXXXXX", path[64];
	struct hk_graph *g = NULL;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/pipe", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(hk_text_load(path, &g), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "no regular file"));
	unlink(path);
	assert_int_equal(hk_text_load(path, &g), -ENOENT);
	assert_int_equal(hk_text_load(folder, &g), -EINVAL);
	assert_int_equal(hk_text_load("/dev/zero", &g), -EINVAL);
	rmdir(folder);
	assert_null(g);
}

/* A program whose numbers have a comma reads and writes the same files. */
static void test_other_languages(void **state)
{
	static const char *const languages[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
	static const char text[] = "node a[0-1]\nlink a0 a1 ib 1.5GB/s 2.5ns\n";
	struct hk_graph *g = NULL;
	const char *set = NULL;

	for (size_t i = 0; i < 4 && !set; i++)
		set = setlocale(LC_NUMERIC, languages[i]);
	assert_int_equal(hk_text_read(text, sizeof(text) - 1, "test", NULL, &g), 0);
	assert_true(g->links[0].rate.gbs == 1.5);
	assert_null(check_graph(g));
	hk_graph_free(g);
	setlocale(LC_NUMERIC, "C");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),	      cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_documented),    cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_lines),    cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_no_such_files), cmocka_unit_test(test_other_languages),
	};

	if (argc != 2)
		return 2;
	data = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
