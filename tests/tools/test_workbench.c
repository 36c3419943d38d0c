/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket schedule` on files, from outside: the published algorithms are listed, proved and run,
 * what is wrong with damaged ones is said, and every format of export is what it claims to be.
 * Arguments: the hocket command's path; the folder with the algorithms.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *hocket, *folder;
static char *output; /* of the last command, both streams */
static size_t length;
static char scratch[] = "/tmp/hocket-test-XXXXXX";

/* Runs a shell command in which %H is the hocket command, %D the folder and %T a temporary one. */
static int run(const char *pattern)
{
	char command[2048], chunk[4096];
	size_t n = 0, got;
	FILE *f, *all;
	int status;

	for (; *pattern && n < sizeof(command) - 256; pattern++) {
		const char *what = *pattern != '%'     ? NULL
				   : pattern[1] == 'H' ? hocket
				   : pattern[1] == 'D' ? folder
				   : pattern[1] == 'T' ? scratch
						       : NULL;

		if (what) {
			n += (size_t)snprintf(command + n, sizeof(command) - n, "%s", what);
			pattern++;
		} else {
			command[n++] = *pattern;
		}
	}
	snprintf(command + n, sizeof(command) - n, " 2>&1");
	free(output);
	output = NULL;
	all = open_memstream(&output, &length);
	f = popen(command, "r");
	assert_true(f && all);
	while ((got = fread(chunk, 1, sizeof(chunk), f)) > 0)
		fwrite(chunk, 1, got, all);
	fclose(all);
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static unsigned count(const char *text)
{
	unsigned n = 0;

	for (const char *at = output; (at = strstr(at, text)); at += strlen(text))
		n++;
	return n;
}

static void says(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in:\n%.4000s", text, output);
}

static void test_list(void **state)
{
	assert_int_equal(run("%H schedule list %D"), 0);
	assert_int_equal(count("\n"), 19);
	says("ndv4-ap4ll.xml ");
	says("allreduce_pairs");
	says("8  both         40K to 266239\n");
	says("4  out of place 774K to 1G\n");
}

static void test_check_all(void **state)
{
	assert_int_equal(run("%H schedule check %D"), 0);
	assert_int_equal(count("proved: "), 18);
	assert_int_equal(count(" in place and not"), 14);
	says("2056 steps, 1792 messages, 2 slots per connection\n");
	assert_int_equal(count("ranks add up in different orders"), 1);
	/* With one slot one of them gets stuck. */
	assert_int_equal(run("%H schedule check %D --slots 1"), 1);
	assert_int_equal(count("proved: "), 17);
	assert_int_equal(count("refuted: all_gather_llm: deadlock with 1 slots"), 1);
}

static void test_run_all(void **state)
{
	assert_int_equal(run("%H schedule run %D --count 20011"), 0);
	assert_int_equal(count("right: "), 18 + 14);
	assert_int_equal(count("WRONG"), 0);
	assert_int_equal(run("%H schedule run %D/ncv4-ar_hier_12_Simple.xml --in-place"), 0);
	assert_int_equal(count("right: "), 1);
	says("in place; int32, float32, uint8; counts 1, 7, 1000, 100003;");
}

static void test_run_algorithms(void **state)
{
	assert_int_equal(run("%H schedule run ring_all_reduce direct_gather -n 5 --root 3"), 0);
	assert_int_equal(count("right: "), 2);
	assert_int_equal(run("%H schedule run direct_scatter -n 4 --varied --in-place"), 0);
	says("in place");
	assert_int_equal(run("%H schedule run dissemination_barrier -n 3 --count 1"), 0);
}

/* The rank, the lane, the step and the chunk are named. */
static void test_refuted(void **state)
{
	/* a dependency goes */
	assert_int_equal(
		run("sed 's/depid=\"24\" deps=\"2\"/depid=\"-1\" deps=\"-1\"/' "
		    "%D/ncv4-ar_hier_12_Simple.xml > %T/a.xml; %H schedule check %T/a.xml"),
		1);
	says("refuted: allreduce_ncv4: rank 1, lane 1, step 0 (send) reads out[1] while rank 1");
	assert_int_equal(run("%H schedule run %T/a.xml"), 1);
	says("refuted: ");
	assert_int_equal(count("right: "), 0);
	/* a step sends another chunk */
	assert_int_equal(run("%H schedule export ring_all_gather -n 3 -o %T/b.hks && "
			     "sed -i '0,/recv_copy_send from 2 -> out.2./s//recv_copy_send from 2 "
			     "-> out[1]/' %T/b.hks; %H schedule check %T/b.hks"),
			 1);
	says("refuted: ring_all_gather: rank 0: out[");
	/* and what can't be read, by line */
	assert_int_equal(run("sed 's/type=\"r\"/type=\"q\"/' %D/ndv4-a2a2ll.xml > %T/a.xml; "
			     "%H schedule check %T/a.xml"),
			 1);
	says("/a.xml:4: type=\"q\" is no type of step\n");
	assert_int_equal(run("head -c 3000 %D/ndv4-a2a2ll.xml > %T/a.xml; %H schedule check %T"),
			 1);
	says("/a.xml:");
	says("this is not XML: ");
	assert_int_equal(run("rm %T/a.xml %T/b.hks"), 0);
}

static void test_text(void **state)
{
	assert_int_equal(run("%H schedule export %D/ndv4-ap4ll.xml --output %T/c.hks && "
			     "%H schedule check %T/c.hks && "
			     "%H schedule export %T/c.hks 2>/dev/null | cmp - %T/c.hks"),
			 0);
	says("proved: allreduce_pairs on 8 ranks in place and not; 2944 steps");
	assert_int_equal(run("%H schedule show %T/c.hks --rank 3"), 0);
	assert_int_equal(count("program rank"), 1);
	assert_int_equal(run("rm %T/c.hks"), 0);
}

static void test_dot(void **state)
{
	assert_int_equal(run("%H schedule export ring_all_reduce -n 4 --format dot"), 0);
	says("digraph \"ring_all_reduce\" {");
	assert_int_equal(count("subgraph"), 4);
	assert_int_equal(count("[color=blue"), 24); /* messages */
}

static void test_goal(void **state)
{
	assert_int_equal(run("(%H schedule export two_shot_all_reduce -n 4 --format goal "
			     "--bytes 64K 2>/dev/null)"),
			 0);
	assert_int_equal(strncmp(output, "num_ranks 4\n\nrank 0 {\nl", 22), 0);
	assert_int_equal(count(": send 16384b to "), 24);
	assert_int_equal(count(": recv 16384b from "), 24);
	assert_true(count("requires") > 24 && count(": calc ") >= 12);
}

/* Strings closed, brackets matched, no comma before a closing one. */
static void assert_json(void)
{
	char open[16];
	int depth = 0;
	bool comma = false;

	for (const char *at = output; *at; at++) {
		if (*at == '"') {
			at = strchr(at + 1, '"');
			assert_non_null(at);
			comma = false;
		} else if (*at == '{' || *at == '[') {
			assert_true(depth < 15);
			open[depth++] = *at;
			comma = false;
		} else if (*at == '}' || *at == ']') {
			assert_true(depth-- > 0 && !comma);
			assert_int_equal(open[depth], *at == '}' ? '{' : '[');
		} else if (*at != ' ' && *at != '\n') {
			comma = *at == ',';
		}
	}
	assert_int_equal(depth, 0);
}

static void assert_trace(unsigned steps, unsigned messages)
{
	assert_json();
	assert_int_equal(count("\"ph\":\"X\""), steps);
	assert_int_equal(count("\"ph\":\"s\""), messages);
	assert_int_equal(count("\"ph\":\"f\""), messages);
	says("\"name\":\"rank 3\"");
}

static void test_traces(void **state)
{
	/* small enough for one tile: each step once */
	assert_int_equal(run("(%H schedule export %D/ncv4-ag_hier_4_LL.xml --format trace "
			     "--bytes 64K 2>/dev/null)"),
			 0);
	assert_trace(96, 48);
	assert_int_equal(run("%H schedule run %D/ncv4-ag_hier_4_LL.xml --trace %T/t.json "
			     "--count 1000"),
			 0);
	says("96 steps of a call of 1000 float32");
	assert_int_equal(run("cat %T/t.json"), 0);
	assert_trace(96, 48);
	assert_int_equal(run("rm %T/t.json"), 0);
}

static void test_complaints(void **state)
{
	static const char *const wrong[][2] = {
		{"check", "an algorithm or a file is missing after check"},
		{"show ring_all_reduce ring_all_gather", "one algorithm at a time"},
		{"check nothing", "no algorithm is called nothing"},
		{"check ring_all_reduce --format dot", "a flag that this does not take"},
		{"export ring_all_reduce --format pdf", "--format is one of"},
		{"export ring_all_reduce --bytes many", "--bytes is a number"},
		{"run ring_all_reduce --count -3", "--count is a number"},
		{"check ring_all_reduce --root 4", "--root must be less"},
		{"check ring_all_reduce --slots 0", "--slots must be"},
		{"check -n 3 x/y.xml", "a file says all that itself: x/y.xml"},
		{"show %D/ndv4-ap4ll.xml --rank 8", "no such --rank in"},
	};
	char command[256];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(command, sizeof(command), "%%H schedule %s", wrong[i][0]);
		if (run(command) != 2)
			fail_msg("%s: not a complaint: %s", command, output);
		says(wrong[i][1]);
	}
	assert_int_equal(run("%H schedule check /nonexistent.xml"), 1);
	says("/nonexistent.xml: No such file or directory");
	assert_int_equal(run("%H schedule check %D/ndv4-a2a2ll.xml --in-place"), 1);
	says("is not for calls in place");
	assert_int_equal(run("%H schedule run ring_all_reduce -n 300"), 1);
	says("300 participants are more than");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_check_all),
		cmocka_unit_test(test_run_all),
		cmocka_unit_test(test_refuted),
		cmocka_unit_test(test_run_algorithms),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_dot),
		cmocka_unit_test(test_goal),
		cmocka_unit_test(test_traces),
		cmocka_unit_test(test_complaints),
	};
	int failed;

	if (argc != 3 || !mkdtemp(scratch))
		return 2;
	hocket = argv[1];
	folder = argv[2];
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(scratch);
	free(output);
	return failed;
}
