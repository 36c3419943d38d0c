/* SPDX-License-Identifier: BSD-3-Clause */
/* `hocket explain` and `hocket tune` from outside. Argument: the hocket command's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static const char *hocket;
static char folder[] = "/tmp/hocket-tune-XXXXXX";
static char output[65536]; /* of the last command, both streams */

/* Runs `VARIABLES hocket ARGS`; returns its exit status. */
static int run_with(const char *variables, const char *args)
{
	char command[1024];
	size_t got = 0, n;
	FILE *f;
	int status;

	snprintf(command, sizeof(command), "XDG_CACHE_HOME=%s %s %s %s 2>&1", folder, variables,
		 hocket, args);
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

static void refused(const char *args, const char *why)
{
	assert_int_equal(run(args), 2);
	says(why);
	says("usage: hocket explain");
}

/* --- explain; by the defaults, since nothing has been measured yet --- */

static void test_explain(void **state)
{
	assert_int_equal(run("explain allreduce --ranks 8 --bytes 8 --cores 8"), 0);
	says("all_reduce on 8 ranks; 1 rank to a core\ncosts: defaults");
	says("blocks of 8 B: all_pairs_all_reduce, 1 channel\n");
	says("\n*");
	says("  ring_all_reduce                     1       14        14     1.750");
	says("all_pairs_all_reduce spends most of its time handling messages; ");
	says(" times as long");
	/* The same whatever the collective is spelled like. */
	assert_int_equal(run("explain All-Reduce -n 8 -b 8 --cores 8"), 0);
	says("blocks of 8 B: all_pairs_all_reduce");
	/* Crowded cores: switching rules. */
	assert_int_equal(run("explain all_reduce -n 8 -b 8 --cores 1"), 0);
	says("8 ranks to a core");
	says("spends most of its time switching ranks");
	/* Much data: copying rules, and whoever sends everything to everybody is last. */
	assert_int_equal(run("explain all_reduce -n 8 -b 64M --cores 8"), 0);
	says("blocks of 64 MiB: ");
	says("spends most of its time copying");
}

static void test_sizes(void **state)
{
	assert_int_equal(run("explain broadcast -n 4 --sizes=8-1K --root 3"), 0);
	says("broadcast on 4 ranks, root 3");
	says("       8 B ");
	says("     512 B ");
	says("     1 KiB ");
	assert_null(strstr(output, "     2 KiB "));
	assert_int_equal(run("explain barrier -n 4 --sizes"), 0);
	says("    64 MiB ");
}

static void test_hosts(void **state)
{
	assert_int_equal(run("explain all_reduce --hosts 2x4 -b 1M"), 0);
	says("all_reduce on 8 ranks, in groups of 1 level");
	assert_int_equal(run("explain all_reduce --hosts 4,4,3 -b 1M"), 0);
	says("all_reduce on 11 ranks");
	assert_int_equal(run("explain all_reduce --hosts 16x8 -b 1K --cores 8"), 0);
	says("priced: the first 32 ranks");
	assert_int_equal(run("explain all_reduce --hosts 3x1 -b 1K"), 0);
	says("all_reduce on 3 ranks; 1 rank to a core");
}

static void test_topology(void **state)
{
	char args[256];
	FILE *f;

	snprintf(args, sizeof(args), "%s/one.topo", folder);
	f = fopen(args, "w");
	assert_non_null(f);
	fclose(f);
	snprintf(args, sizeof(args), "topo --text > %s/one.topo", folder);
	assert_int_equal(run(args), 0);
	snprintf(args, sizeof(args), "explain all_gather --file %s/one.topo -n 1 -b 64K", folder);
	assert_int_equal(run(args), 0);
	says("all_gather on 1 rank");
	assert_int_equal(run("explain all_gather --file /no/such/file -n 2"), 1);
	says("/no/such/file");
}

static void test_forced(void **state)
{
	assert_int_equal(run_with("HOCKET_ALGO=direct_broadcast,ring_all_reduce",
				  "explain all_reduce -n 4 -b 8 --cores 4"),
			 0);
	says("blocks of 8 B: ring_all_reduce");
	says("ring_all_reduce is forced by HOCKET_ALGO; by its price it would be "
	     "all_pairs_all_reduce.");
	assert_int_equal(run_with("HOCKET_ALGO=ring_all_reduced", "explain all_reduce -n 4"), 1);
	says("did you mean ring_all_reduce");
}

static void test_refused(void **state)
{
	refused("explain", "which collective?");
	refused("explain all_reduce", "--ranks is missing");
	refused("explain all_red -n 2", "no such collective");
	refused("explain point_to_point -n 2", "no such collective");
	refused("explain all_reduce all_gather -n 2", "one collective at a time");
	refused("explain all_reduce -n 0", "--ranks must be");
	refused("explain all_reduce -n 2 -b 1X", "--bytes takes");
	refused("explain all_reduce -n 2 -b -1", "--bytes takes");
	refused("explain all_reduce -n 2 --sizes=8", "--sizes takes");
	refused("explain all_reduce -n 2 --sizes=64-8", "--sizes takes");
	refused("explain broadcast -n 2 --root 2", "--root must be less");
	refused("explain all_reduce -n 2 --hosts 2x1 --file x", "give one");
	refused("explain all_reduce -n 2 --nonsense", "unknown flag --nonsense");
	assert_int_equal(run("explain all_reduce --hosts 2x"), 1);
	says("--hosts takes");
	assert_int_equal(run("explain all_reduce --hosts 4,,3"), 1);
	says("--hosts takes");
	assert_int_equal(run("explain all_reduce --hosts 99999x99999"), 1);
	says("--hosts takes");
	assert_int_equal(run("explain all_reduce --hosts 2x4 -n 9"), 1);
	says("8 ranks, and --ranks says 9");
}

/* --- tune --- */

static void test_tune(void **state)
{
	char variables[128] = "";

	assert_int_equal(run("tune --show"), 0);
	says("defaults; `hocket tune` would write");
	says(folder);
	assert_int_equal(run("tune"), 0);
	says("written to /tmp/hocket-tune-");
	says("switch");
	assert_int_equal(run("tune --show"), 0);
	says("measured; from");
	assert_int_equal(run("explain all_reduce -n 2 -b 8"), 0);
	says("costs: measured, /tmp/hocket-tune-");
	/* Damaged: said, and done without. */
	snprintf(variables, sizeof(variables), "true; for f in %s/hocket/*; do echo x >> $f; done;",
		 folder);
	assert_int_equal(run_with(variables, "version"), 0);
	assert_int_equal(run("tune --show"), 0);
	says("there is more after the end; it is ignored");
	says("is damaged, `hocket tune` makes a new one");
	assert_int_equal(run("tune more"), 2);
	assert_int_equal(run_with("HOME= XDG_CACHE_HOME=", "tune"), 1);
	says("neither XDG_CACHE_HOME nor HOME");
}

static int tear_down(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explain), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_hosts),	cmocka_unit_test(test_topology),
		cmocka_unit_test(test_forced),	cmocka_unit_test(test_refused),
		cmocka_unit_test(test_tune),
	};

	if (argc < 2 || !mkdtemp(folder))
		return 2;
	hocket = argv[1];
	return cmocka_run_group_tests_name("tools_tune", tests, NULL, tear_down);
}
