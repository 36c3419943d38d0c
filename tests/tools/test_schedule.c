/* SPDX-License-Identifier: BSD-3-Clause */
/* `hocket schedule`, `doctor` and `help` from outside. Argument: the hocket command's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static const char *hocket;
static char output[65536]; /* of the last command, both streams */

/* Runs `VARIABLES hocket ARGS`; returns its exit status. */
static int run_with(const char *variables, const char *args)
{
	char command[1024];
	size_t got = 0, n;
	FILE *f;
	int status;

	snprintf(command, sizeof(command), "%s %s %s 2>&1", variables, hocket, args);
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

static void test_list(void **state)
{
	assert_int_equal(run("schedule"), 0);
	says("ring_all_reduce");
	says("all_reduce");
	says("ring_all_gather");
}

/* docs/design.md explains this very output. */
static void test_ring(void **state)
{
	assert_int_equal(run("schedule ring_all_reduce -n 2 --rank 0"), 0);
	assert_string_equal(
		output,
		"program rank 0: period 2, chunks in 2 out 2 scratch 0, messages of up to 1\n"
		"lane 0 channel 0\n"
		"  0: send in[0], to 1\n"
		"  1: recv_reduce_copy_send in[1] + from 1 -> out[1], to 1\n"
		"  2: recv from 1 -> out[0]\n"
		"proved: ring_all_reduce on 2 ranks; 6 steps, 4 messages, 2 slots per "
		"connection\n");
}

static void test_variants(void **state)
{
	assert_int_equal(run("schedule ring_all_reduce -n 3 --unfused --rank 1"), 0);
	says("recv_reduce ");
	assert_null(strstr(output, "copy_send"));
	assert_int_equal(run("schedule all_pairs_all_reduce -n 5 --in-place"), 0);
	says("in place");
	says("after lane 0");
	assert_int_equal(run("schedule ring_all_reduce -n 300 --rank 299 --channels 2"), 0);
	says("proved: ring_all_reduce on 300 ranks");
}

static void test_complaints(void **state)
{
	static const char *const wrong[][2] = {
		{"schedule nope", "no algorithm is called nope"},
		{"schedule ring_all_reduce -n 0", "-n must be"},
		{"schedule ring_all_reduce -n 4 --rank 4", "--rank must be"},
		{"schedule ring_all_reduce --channels 99", "--channels must be"},
		{"schedule ring_all_reduce --what", "schedule: unknown flag --what\n"},
		{"schedule ring_all_reduce -c 2", "schedule: unknown flag -c\n"},
		{"schedule ring_all_reduce --rank", "schedule: --rank needs a value\n"},
		{"schedule ring_all_reduce --in-place=1", "--in-place=1: that flag takes no value"},
		{"run -n", "run: -n needs a value\n"},
		{"run -n 2 --timeout", "run: --timeout needs a value\n"},
		{"run -n 2 -q true", "run: unknown flag -q\n"},
		{"doctor --what", "unknown argument --what\nusage: hocket doctor\n"},
		{"schedule ring_all_reduce ring_all_gather", "one algorithm at a time"},
		{"nothing", "there is no command nothing"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run(wrong[i][0]), 2);
		says(wrong[i][1]);
	}
}

static void test_help(void **state)
{
	static const char *const commands[] = {"run", "schedule", "doctor", "version", "help"};
	char args[64];

	for (size_t i = 0; i < 2 * sizeof(commands) / sizeof(commands[0]); i++) {
		snprintf(args, sizeof(args), "%s %s", commands[i / 2], i % 2 ? "--help" : "-h");
		assert_int_equal(run(args), 0);
		snprintf(args, sizeof(args), "usage: hocket %s", commands[i / 2]);
		says(args);
	}
	assert_int_equal(run("run -n 2 --help"), 0);
	says("usage: hocket run");
	assert_int_equal(run("schedule ring_all_reduce --help"), 0);
	says("usage: hocket schedule");
	/* What follows the program is the program's. */
	assert_int_equal(run("run -n 1 printf %s -h"), 0);
	assert_string_equal(output, "-h");
}

static void test_one_rank(void **state)
{
	assert_int_equal(run("schedule ring_all_reduce -n 1"), 0);
	says(" on 1 rank; 1 step, 0 messages,");
}

static void test_doctor(void **state)
{
	assert_int_equal(run("doctor"), 0);
	says("HOCKET_SLOT_BYTES");
	says("RDMA devices");
	says("CUDA devices");
	assert_int_equal(run("help"), 0);
	says("schedule");
	assert_int_equal(run("version"), 0);
	says("hocket 0.");
}

static void test_doctor_on_variables(void **state)
{
	assert_int_equal(run_with("HOCKET_SLOT=8 HOCKET_SLOTS=8 HOCKET_NRANKS=77 HOCKET_ID=c0ffee",
				  "doctor"),
			 0);
	says("unknown, ignored: HOCKET_SLOT\n");
	assert_null(strstr(output, "ignored: HOCKET_SLOTS"));
	assert_null(strstr(output, "ignored: HOCKET_ID"));
	says("* HOCKET_SLOTS           8 ");
	says("* HOCKET_NRANKS          77 ");
	says("* HOCKET_ID              (secret) ");
	assert_null(strstr(output, "c0ffee"));
	says("  HOCKET_ID_FILE         - ");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),	 cmocka_unit_test(test_ring),
		cmocka_unit_test(test_variants), cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_help),	 cmocka_unit_test(test_one_rank),
		cmocka_unit_test(test_doctor),	 cmocka_unit_test(test_doctor_on_variables),
	};

	if (argc != 2)
		return 2;
	hocket = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
