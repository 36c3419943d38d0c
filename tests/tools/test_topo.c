/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket topo` from outside, against recorded output. Arguments: the hocket command's path, the
 * folder of the test data. tests/data/topo/README.md says how to record the output again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *hocket, *data;
static char output[1 << 17]; /* of the last command, both streams */

static int run_with(const char *variables, const char *args)
{
	char command[2048];
	size_t got = 0, n;
	FILE *f;
	int status;

	snprintf(command, sizeof(command), "cd %s && %s %s topo %s 2>&1", data, variables, hocket,
		 args);
	f = popen(command, "r");
	assert_non_null(f);
	while ((n = fread(output + got, 1, sizeof(output) - 1 - got, f)) > 0)
		got += n;
	output[got] = 0;
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int run(const char *args)
{
	return run_with("", args);
}

static void says(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in:\n%s", text, output);
}

/* The last output is what was recorded. */
static void assert_recorded(const char *name)
{
	static char recorded[sizeof(output)];
	char path[1024];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/topo/recorded/%s", data, name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s cannot be read", path);
	n = fread(recorded, 1, sizeof(recorded) - 1, f);
	recorded[n] = 0;
	fclose(f);
	if (strcmp(recorded, output))
		fail_msg("%s is not what is printed:\n%s", path, output);
}

static void test_recorded(void **state)
{
	static const struct {
		const char *args, *name;
	} cases[] = {
		{"--xml hwloc/nvidiaDGX2.xml", "dgx2"},
		{"--xml hwloc/24em64t-2n6c2t-pci.xml", "24em64t"},
		{"--xml hwloc/32em64t-2n8c2t-pci-normalio.xml", "32em64t"},
		{"--file topo/uneven.topo", "uneven"},
		{"--file topo/two-rails.topo --ranks 20", "two-rails"},
		{"--file topo/reducing-tree.topo", "reducing-tree"},
	};
	char args[256], name[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(run(cases[i].args), 0);
		snprintf(name, sizeof(name), "%s.txt", cases[i].name);
		assert_recorded(name);
		snprintf(args, sizeof(args), "%s --text", cases[i].args);
		assert_int_equal(run(args), 0);
		snprintf(name, sizeof(name), "%s.topo", cases[i].name);
		assert_recorded(name);
		/* What was printed is a topology, and prints the same. */
		snprintf(args, sizeof(args), "--file topo/recorded/%s --text", name);
		assert_int_equal(run(args), 0);
		assert_recorded(name);
	}
}

static void test_drawing(void **state)
{
	char path[] = "/tmp/hocket-topo-XXXXXX", args[256];
	int fd = mkstemp(path);
	size_t n;
	FILE *f;

	assert_true(fd >= 0);
	snprintf(args, sizeof(args), "--file topo/two-rails.topo --svg %s", path);
	assert_int_equal(run(args), 0);
	assert_string_equal(output, "");
	f = fdopen(fd, "r");
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = 0;
	fclose(f);
	unlink(path);
	says("<svg xmlns=\"http://www.w3.org/2000/svg\"");
	says(">gpu7</text>");
	says(">leaf1</text>");
	says(">450</text>");
	says("</svg>\n");
	/* Nothing that a browser would fetch. */
	assert_null(strstr(output, "href"));
	assert_int_equal(run("--svg /no/such/folder/x.svg"), 1);
	says("cannot write /no/such/folder/x.svg");
}

static void test_sources(void **state)
{
	assert_int_equal(run(""), 0);
	says("nodes\n");
	says("ranks ");
	assert_int_equal(run_with("HOCKET_TOPO_FILE=topo/uneven.topo", "--ranks 3"), 0);
	says("ProLiant SL390s G7");
	says("ranks 3,");
	assert_int_equal(run_with("HOCKET_TOPO_XML=hwloc/nvidiaDGX2.xml", ""), 0);
	says("NVIDIA DGX-2H");
	assert_int_equal(run_with("HOCKET_TOPO_XML=x HOCKET_TOPO_FILE=y", ""), 1);
	says("HOCKET_TOPO_FILE and HOCKET_TOPO_XML are both set");
	assert_int_equal(run_with("HOCKET_DEBUG=0", "--file no-such-file"), 1);
	says("cannot open no-such-file");
}

static void test_complaints(void **state)
{
	static const char *const wrong[][2] = {
		{"--ranks 0", "--ranks must be"}, {"--ranks 4x", "--ranks must be"},
		{"--xml a --file b", "give one"}, {"--what", "unknown flag --what"},
		{"--xml", "--xml needs a value"}, {"machine", "unknown argument machine"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run(wrong[i][0]), 2);
		says(wrong[i][1]);
		says("usage: hocket topo");
	}
	assert_int_equal(run("--help"), 0);
	says("usage: hocket topo");
	assert_int_equal(run("--file topo/uneven.topo --ranks 17"), 1);
	says("17 ranks do not fit in the topology's 16 slots");
	assert_int_equal(run("--file hwloc/nvidiaDGX2.xml"), 1);
	says("nvidiaDGX2.xml:1: ");
	assert_int_equal(run("--xml topo/uneven.topo"), 1);
	says("uneven.topo:1: this is no XML");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_drawing),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_complaints),
	};

	if (argc != 3)
		return 2;
	hocket = realpath(argv[1], NULL);
	data = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
