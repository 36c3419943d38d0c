/* SPDX-License-Identifier: BSD-3-Clause */
/* Recorded machines: what is in them, and what becomes of damaged and hostile recordings. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "machine.h"
#include "place.h"
#include "roundtrip.h"
#include "text.h"
#include "topo.h"

static const char *data;

static const char *const files[] = {"nvidiaDGX2.xml", "24em64t-2n6c2t-pci.xml",
				    "32em64t-2n8c2t-pci-normalio.xml"};

static struct hk_graph *load(const char *name)
{
	struct hk_graph *g = NULL;
	char path[1024];
	const char *broken;

	snprintf(path, sizeof(path), "%s/hwloc/%s", data, name);
	if (hk_machine_load_xml(path, &g))
		fail_msg("%s", hk_last_error());
	broken = check_graph(g);
	if (broken)
		fail_msg("%s: %s", name, broken);
	return g;
}

static int count(const struct hk_graph *g, enum hk_vertex_kind kind)
{
	int n = 0;

	for (int v = 0; v < g->nvertices; v++)
		n += g->vertices[v].kind == kind;
	return n;
}

static struct hk_path path(const struct hk_graph *g, const char *from, const char *to,
			   enum hk_path_by by)
{
	struct hk_path p = {0};
	int a = hk_graph_find(g, 0, from), b = hk_graph_find(g, 0, to);

	assert_true(a >= 0 && b >= 0);
	assert_int_equal(hk_graph_path(g, a, b, by, &p, NULL), 0);
	return p;
}

static void test_dgx2(void **state)
{
	struct hk_graph *g = load("nvidiaDGX2.xml");
	struct hk_path p;

	assert_int_equal(g->nhosts, 1);
	assert_string_equal(g->vertices[0].model, "NVIDIA DGX-2H");
	assert_int_equal(g->vertices[0].slots, 16);
	assert_int_equal(count(g, HK_V_PACKAGE), 2);
	assert_int_equal(count(g, HK_V_NUMA), 2);
	assert_int_equal(count(g, HK_V_GPU), 16);
	assert_int_equal(count(g, HK_V_NVSWITCH), 2); /* six on each board */
	assert_int_equal(count(g, HK_V_NIC), 0);
	/* Two levels of PCI switches: a pair of GPUs shares one, two pairs the next. */
	assert_int_equal(count(g, HK_V_BRIDGE), 12);
	/* Six NVLinks of 25 GB/s; between the boards over one more hop. */
	p = path(g, "gpu0", "gpu1", HK_PATH_WIDEST);
	assert_true(p.gbs == 150 && p.hops == 2 && p.reach == HK_REACH_NVLINK);
	p = path(g, "gpu0", "gpu15", HK_PATH_WIDEST);
	assert_true(p.gbs == 150 && p.hops == 3 && p.reach == HK_REACH_NVLINK);
	assert_true(
		hk_graph_link(g, hk_graph_find(g, 0, "nvswitch0"), hk_graph_find(g, 0, "nvswitch1"))
			->rate.assumed);
	p = path(g, "gpu0", "pci0", HK_PATH_SHORTEST);
	assert_true(p.gbs > 15.75 && p.gbs < 15.76 && p.reach == HK_REACH_PCIE);
	hk_graph_free(g);
}

static void test_older_machines(void **state)
{
	struct hk_graph *g = load("24em64t-2n6c2t-pci.xml");
	const struct hk_vertex *nic;
	struct hk_path p;

	assert_int_equal(count(g, HK_V_GPU), 3);
	assert_int_equal(count(g, HK_V_NIC), 3);
	nic = &g->vertices[hk_graph_find(g, 0, "mlx4_0")];
	assert_true(nic->rdma);
	assert_int_equal(nic->rail, 0);
	assert_false(g->vertices[hk_graph_find(g, 0, "eth1")].rdma);
	assert_int_equal(g->vertices[hk_graph_find(g, 0, "numa1")].cores, 6);
	p = path(g, "gpu0", "mlx4_0", HK_PATH_SHORTEST);
	assert_true(p.gbs == 2 && p.reach == HK_REACH_NUMA);
	assert_int_equal(path(g, "gpu1", "mlx4_0", HK_PATH_SHORTEST).reach, HK_REACH_HOST);
	assert_int_equal(path(g, "eth0", "eth1", HK_PATH_SHORTEST).reach, HK_REACH_PCIE);
	hk_graph_free(g);

	g = load("32em64t-2n8c2t-pci-normalio.xml");
	assert_int_equal(count(g, HK_V_GPU), 4); /* also one of another maker that can compute */
	assert_string_equal(g->vertices[hk_graph_find(g, 0, "gpu2")].model, "Tesla K40m");
	/* Its speeds were not recorded. */
	assert_true(hk_graph_link(g, hk_graph_find(g, 0, "numa0"), hk_graph_find(g, 0, "gpu0"))
			    ->rate.assumed);
	hk_graph_free(g);
}

/* NVLinks without NVML's matrix: from the PCI numbers of GPUs and NVSwitches. */
static void test_guessed_nvlinks(void **state)
{
	static const char gpu[] =
		"<object type=\"PCIDev\" pci_type=\"0302 [10de:2330] [0:0] a1\"/>";
	static const char nvswitch[] =
		"<object type=\"PCIDev\" pci_type=\"0680 [10de:22a3] [0:0] a1\"/>";
	struct hk_graph *g = NULL;
	const struct hk_link *l;
	char xml[1024];

	snprintf(xml, sizeof(xml),
		 "<topology version=\"2.0\"><object type=\"Machine\">"
		 "<object type=\"Package\"><object type=\"NUMANode\"/>"
		 "<object type=\"Core\"/><object type=\"Bridge\" "
		 "bridge_type=\"0-1\">%s%s%s%s</object>"
		 "</object></object></topology>",
		 gpu, gpu, nvswitch, nvswitch);
	if (hk_machine_read_xml(xml, strlen(xml), "test", &g))
		fail_msg("%s", hk_last_error());
	assert_int_equal(count(g, HK_V_GPU), 2);
	assert_int_equal(count(g, HK_V_NVSWITCH), 1);
	l = hk_graph_link(g, hk_graph_find(g, 0, "gpu1"), hk_graph_find(g, 0, "nvswitch0"));
	assert_non_null(l);
	assert_true(l->rate.gbs == 450 && l->rate.assumed);
	hk_graph_free(g);
}

#define HEAD "<topology version=\"2.0\">"
#define OPEN HEAD "<object type=\"Machine\">"
#define SHUT "</object></topology>"

static const struct {
	const char *xml, *says;
} wrong[] = {
	{"", "no element found"},
	{"node a\n", "this is no XML"},
	{"<html></html>", "it begins with <html>"},
	{"<topology></topology>", "hwloc 1 wrote it"},
	{"<topology version=\"1.2\"></topology>", "hwloc 1.2 wrote it"},
	{"<topology version=\"x\"></topology>", "wrote it"},
	{HEAD "</topology>", "it has no objects"},
	{HEAD "<object type=\"Machine\">", "this is no XML"},
	{HEAD "<object type=\"Core\"/></topology>", "must be in one Machine"},
	{OPEN "<object type=\"Machine\"/>" SHUT, "must be in one Machine"},
	{OPEN "</object><object type=\"Machine\"/></topology>", "must be in one Machine"},
	{OPEN "<object/>" SHUT, "an object has no type"},
	{OPEN "<object type=\"Core\" gp_index=\"-1\"/>" SHUT, "gp_index=\"-1\" is no number"},
	{OPEN "<object type=\"PU\" os_index=\"4294967296\"/>" SHUT, "is no number from 0"},
	{OPEN "<object type=\"PCIDev\" pci_type=\"x\"/>" SHUT, "is not CLASS"},
	{OPEN "<object type=\"PCIDev\" pci_link_speed=\"-1\"/>" SHUT, "no number of GB/s"},
	{OPEN "<object type=\"PCIDev\" pci_link_speed=\"1e99\"/>" SHUT, "no number of GB/s"},
	{OPEN "<object type=\"PCIDev\" pci_link_speed=\"nan\"/>" SHUT, "no number of GB/s"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" nbobjs=\"513\"/></topology>",
	 "nbobjs=\"513\" is no number from 0 to 512"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" nbobjs=\"2\"><indexes>1 2</indexes>"
	      "<u64values>0 1 1</u64values></distances2></topology>",
	 "has 2 numbers of objects and 3 values"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" nbobjs=\"1\"><indexes>1 2</indexes>"
	      "</distances2></topology>",
	 "more numbers than its 1"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" nbobjs=\"1\"><indexes>x</indexes>"
	      "</distances2></topology>",
	 "is no number"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" nbobjs=\"2\"><indexes>1 2</indexes>"
	      "<u64values>1 2 3 4</u64values><u64values> 5 6 7 8 9 10 11 12 13 14 15 16 17"
	      "<distances2 name=\"x\"></distances2></u64values></distances2></topology>",
	 "ends inside its numbers"},
	{OPEN "</object><distances2 name=\"NVLinkBandwidth\" indexing=\"os\"/></topology>",
	 "indexed by os"},
	{"<!DOCTYPE t [<!ENTITY a \"b\">]>" OPEN SHUT, "declares an entity"},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct hk_graph *g = NULL;

		if (hk_machine_read_xml(wrong[i].xml, strlen(wrong[i].xml), "test", &g) != -EINVAL)
			fail_msg("taken for good: %s", wrong[i].xml);
		assert_null(g);
		assert_memory_equal(hk_last_error(), "test:1: ", 8);
		if (!strstr(hk_last_error(), wrong[i].says))
			fail_msg("'%s' is not said of %s but: %s", wrong[i].says, wrong[i].xml,
				 hk_last_error());
	}
}

/* Several matrices, and empty ones: the first counts, and nothing is left over. */
static void test_matrices(void **state)
{
	static const char *const matrices[] = {
		"<distances2 name=\"NVLinkBandwidth\" nbobjs=\"0\"/>",
		"<distances2 name=\"NUMALatency\" nbobjs=\"9\"><indexes>x</indexes></distances2>",
		("<distances2 name=\"NVLinkBandwidth\" nbobjs=\"1\"><indexes>1</indexes>"
		 "<u64values>0</u64values></distances2>"),
	};
	char xml[1024];

	for (int i = 0; i < 9; i++) {
		struct hk_graph *g = NULL;

		snprintf(xml, sizeof(xml), OPEN "</object>%s%s</topology>", matrices[i / 3],
			 matrices[i % 3]);
		assert_int_equal(hk_machine_read_xml(xml, strlen(xml), "test", &g), 0);
		hk_graph_free(g);
	}
}

static void test_deep_and_many(void **state)
{
	static const char object[] = "<object type=\"Group\">";
	static const char gpu[] = "<object type=\"PCIDev\" pci_type=\"0302 [1:1]\"/>";
	struct hk_graph *g = NULL;
	enum { N = 5000 };
	char *xml = malloc(N * sizeof(gpu) + 200);
	size_t n = (size_t)sprintf(xml, "%s", OPEN);

	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(xml + n, "%s", object);
	assert_int_equal(hk_machine_read_xml(xml, n, "test", &g), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "inside each other"));
	n = (size_t)sprintf(xml, "%s", OPEN);
	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(xml + n, "%s", gpu);
	n += (size_t)sprintf(xml + n, "%s", SHUT);
	assert_int_equal(hk_machine_read_xml(xml, n, "test", &g), -EINVAL);
	assert_non_null(strstr(hk_last_error(), "more than 4096 GPUs"));
	assert_int_equal(hk_machine_read_xml(xml, HK_XML_MAX + 1, "test", &g), -EFBIG);
	assert_null(g);
	free(xml);
}

/* Cut short and with a byte changed, at many places: refused, or a sound graph. */
static void test_damaged(void **state)
{
	unsigned good = 0, bad = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char name[1024], *xml = NULL;
		size_t size = 0;

		snprintf(name, sizeof(name), "%s/hwloc/%s", data, files[i]);
		assert_int_equal(hk_text_slurp(name, HK_XML_MAX, &xml, &size), 0);
		for (size_t at = i; at < size; at += 331) {
			struct hk_graph *g = NULL;
			const char *broken;
			char old = xml[at];

			assert_int_equal(hk_machine_read_xml(xml, at, "cut", &g), -EINVAL);
			xml[at] = "0<\"9x/ >"[at % 8];
			if (hk_machine_read_xml(xml, size, "changed", &g)) {
				bad++;
			} else {
				good++;
				broken = check_graph(g);
				if (broken)
					fail_msg("%s, byte %zu: %s", files[i], at, broken);
			}
			hk_graph_free(g);
			xml[at] = old;
		}
		free(xml);
	}
	assert_true(good > 20 && bad > 20);
}

static void test_this_machine(void **state)
{
	struct hk_graph *g = NULL;
	struct hk_placement *p = NULL;
	struct hk_host host;
	const char *broken;
	bool given = true;

	assert_int_equal(hk_topo_load(&g, &given), 0);
	assert_false(given);
	assert_int_equal(g->nhosts, 1);
	broken = check_graph(g);
	if (broken)
		fail_msg("%s", broken);
	assert_int_equal(hk_place(g, 1, NULL, &p), 0);
	hk_placement_free(p);
	hk_topo_host(&host);
	assert_true(host.cores > 0);
	assert_true(host.package >= -1 && host.numa >= -1);
	if (count(g, HK_V_NUMA) == 1)
		assert_int_equal(host.numa, 0);
	hk_graph_free(g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dgx2),
		cmocka_unit_test(test_older_machines),
		cmocka_unit_test(test_guessed_nvlinks),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_matrices),
		cmocka_unit_test(test_deep_and_many),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_this_machine),
	};

	if (argc != 2)
		return 2;
	data = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
