/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link_perf from outside: every way has its row with its ratios, in the table and in the JSON file;
 * sizes that fit nothing, registered memory and groups work; what makes no sense is refused. Times
 * are not looked at. Arguments: the paths of `hocket` and of link_perf.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define QUICK "-n 3 -r 2 -w 1"

static char output[65536]; /* of the last command, both streams; or the JSON file */
static const char *hocket, *link_perf;

/* The exit status of link_perf with these flags, as so many ranks. */
static int run(int nranks, const char *flags)
{
	char command[1024];
	size_t got = 0, n;
	FILE *f;
	int status;

	snprintf(command, sizeof(command), "%s run -n %d %s %s 2>&1", hocket, nranks, link_perf,
		 flags);
	f = popen(command, "r");
	assert_non_null(f);
	while ((n = fread(output + got, 1, sizeof(output) - 1 - got, f)) > 0)
		got += n;
	output[got] = 0;
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void passes(const char *flags)
{
	if (run(2, flags))
		fail_msg("link_perf %s failed:\n%s", flags, output);
	if (!strstr(output, "# Messages that differed: 0 OK"))
		fail_msg("link_perf %s found wrong messages:\n%s", flags, output);
}

static void refuses(int nranks, const char *flags, const char *word)
{
	assert_int_equal(run(nranks, flags), 2);
	if (!strstr(output, word))
		fail_msg("link_perf %s does not say '%s':\n%s", flags, word, output);
}

static unsigned count(const char *text)
{
	unsigned n = 0;

	for (const char *at = output; (at = strstr(at, text)); at += strlen(text))
		n++;
	return n;
}

static void every_way_has_a_row(void **state)
{
	passes("-t shm,tcp -b 8 -e 32K -f 64 " QUICK);
	assert_int_equal(count("# shm\n"), 1);
	assert_int_equal(count("# tcp\n"), 1);
	assert_int_equal(count("  raw memcpy  "), 3);
	assert_int_equal(count("  raw socket  "), 3);
	assert_int_equal(count("  transport  "), 6);
	assert_int_equal(count("  api  "), 6);
	assert_int_equal(count("     32768  "), 6);
}

static void without_names_all_that_work_are_measured(void **state)
{
	passes("-b 8 -e 8 " QUICK);
	assert_int_equal(count("# shm\n"), 1);
	assert_int_equal(count("# tcp\n"), 1);
	assert_int_equal(count("# verbs"), count("# verbs (raw: ") + count("# verbs left out: "));
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

/* The numbers after a key: all above zero, and those of the limit itself 1. */
static void assert_ratios(void)
{
	const char *row = output;

	for (unsigned i = 0; i < 6; i++) {
		bool limit;

		row = strstr(row, "\"limit\": ");
		assert_non_null(row);
		limit = !strncmp(row, "\"limit\": true", 13);
		for (unsigned k = 0; k < 3; k++) {
			double ratio;

			row = strstr(row, "\"x_raw\": ");
			assert_non_null(row);
			row += strlen("\"x_raw\": ");
			ratio = strtod(row, NULL);
			assert_true(limit ? ratio == 1 : ratio > 0);
		}
	}
}

static void results_as_json(void **state)
{
	char path[] = "/tmp/hocket-json-XXXXXX", flags[256];
	int fd = mkstemp(path);
	ssize_t n;

	assert_true(fd >= 0);
	/* Quotients of times below what four digits show would be 0. */
	snprintf(flags, sizeof(flags), "-t shm,tcp -b 4K -e 4K %s -J %s", QUICK, path);
	passes(flags);
	n = read(fd, output, sizeof(output) - 1);
	close(fd);
	unlink(path);
	assert_true(n > 0);
	output[n] = 0;
	assert_json();
	assert_int_equal(count("\"transport\": \"shm\""), 3);
	assert_int_equal(count("\"transport\": \"tcp\""), 3);
	assert_int_equal(count("\"level\": \"raw\", \"limit\": true"), 2);
	assert_int_equal(count("\"level\": \"transport\", \"limit\": false"), 2);
	assert_int_equal(count("\"level\": \"api\", \"limit\": false"), 2);
	assert_int_equal(count("\"p50\": "), 6);
	assert_int_equal(count("\"p99\": "), 6);
	assert_int_equal(count("\"messages_s\": "), 12);
	assert_int_equal(count("\"wrong\": 0}"), 1);
	assert_int_equal(count("\"x_raw\": "), 18);
	assert_ratios();
	refuses(2, "-b 8 -e 8 -J /nowhere/x.json", "cannot write /nowhere/x.json");
}

static void other_sizes_and_modes(void **state)
{
	passes("-t shm,tcp -b 9 -e 70001 -i 34996 " QUICK);
	assert_int_equal(count("     70001  "), 6);
	passes("-t shm,tcp -R 1 -m 3 -b 8 -e 200K -f 5000 " QUICK);
	passes("-t tcp -b 64 -e 64 -r 2 -B 1"); /* by time */
	/* Short messages right behind long ones, wherever in its ring a way then is. */
	passes("-t shm -b 35000 -e 35000 -n 1 -r 300 -w 1");
}

static void what_makes_no_sense_is_refused(void **state)
{
	refuses(2, "-b 4", "-b: '4' is no size from 8 bytes to 2 GiB");
	refuses(2, "-b 5G", "-b: '5G' is no size from 8 bytes to 2 GiB");
	refuses(2, "-b '64 '", "-b: '64 ' is no size");
	refuses(2, "-f 1", "-f: '1' is no factor above 1");
	refuses(2, "-b 64 -e 8", "maxbytes (8) is below minbytes (64)");
	refuses(2, "-r 0", "-r: '0'");
	refuses(2, "--smoke", "--smoke");
	refuses(2, "smoke", "unknown argument smoke");
	refuses(2, "-t smoke", "smoke");
	refuses(2, "-t loop", "loop");
	refuses(1, "", "needs two ranks, not 1");
	refuses(3, "", "needs two ranks, not 3");
	assert_int_equal(run(2, "-h"), 0);
	assert_non_null(strstr(output, "--minbytes"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_has_a_row),
		cmocka_unit_test(without_names_all_that_work_are_measured),
		cmocka_unit_test(results_as_json),
		cmocka_unit_test(other_sizes_and_modes),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	if (argc != 3)
		return 2;
	hocket = argv[1];
	link_perf = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
