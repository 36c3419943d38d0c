/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The benchmark programs on GPUs, from outside, over the stand-in driver: what is reported, that
 * results are checked, and that wrong ones are noticed. Arguments: the stand-in driver, and the
 * programs' paths, see meson.build.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static char output[65536]; /* of the last command */
static const char *all_reduce, *wrong_perf, *hocket;
static char **programs; /* every NAME_perf */

/* The exit status of a shell command, whose output is kept. */
static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *fmt, ...)
{
	char command[2048] = "exec 2>&1; timeout 100 ";
	size_t got = strlen(command), n;
	va_list ap;
	int status;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command + got, sizeof(command) - got, fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	assert_non_null(f);
	got = 0;
	while ((n = fread(output + got, 1, sizeof(output) - 1 - got, f)) > 0)
		got += n;
	output[got] = 0;
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void says(const char *text)
{
	if (!strstr(output, text))
		fail_msg("'%s' is not in:\n%s", text, output);
}

/* The number behind the first `key` of the output. */
static double number(const char *key)
{
	const char *at = strstr(output, key);

	if (!at)
		fail_msg("'%s' is not in:\n%s", key, output);
	return strtod(at + strlen(key), NULL);
}

static void a_list_of_gpus_is_a_rank_on_each(void **state)
{
	assert_int_equal(shell("%s --device 0,0 -b 8 -e 64K -f 16 -n 3", all_reduce), 0);
	says("2 ranks = 1 process (alone) x 2 threads\n");
	says("# GPUs of the ranks in turn: 0 0; calls on a stream each");
	assert_true(number("# GPU memory per communicator :") > 0);
}

/* Whatever a collective does: the threads' ranks, on one GPU and on two. */
static void every_collective(void **state)
{
	for (int i = 0; programs[i]; i++) {
		assert_int_equal(shell("%s -g 2 --device 0 -b 8 -e 32K -f 64 -n 2", programs[i]),
				 0);
		says("# Out of bounds values : 0 OK\n");
		assert_int_equal(shell("%s -t 2 -g 2 -D 0,1 -b 32K -e 32K -n 2 -c 2", programs[i]),
				 0);
		says("4 ranks = 1 process (alone) x 4 threads\n");
	}
}

static void replays_of_a_graph(void **state)
{
	assert_int_equal(
		shell("%s --device 0,0 --graph -b 8 -e 64K -f 64 -n 3 -m 2 -c 2", all_reduce), 0);
	says("replays of a captured graph");
	assert_int_equal(shell("%s --graph -b 8 -e 8", all_reduce), 2);
	says("--graph needs a GPU");
}

static void other_ways_to_call(void **state)
{
	assert_int_equal(shell("%s --device 0,0 -p 0 -z 1 -R 1 -e 4K -f 8 -n 2", all_reduce), 0);
	says("blocking: 1 registered: 1");
	assert_int_equal(shell("env HOCKET_DEVICE=0 %s -g 2 -e 4K -f 8 -n 2", all_reduce), 0);
	says("by HOCKET_DEVICE");
	assert_int_equal(shell("%s run -n 2 %s --device 0,1 -e 4K -f 8 -n 2", hocket, all_reduce),
			 0);
	says("2 ranks = 2 processes");
}

/* Two ranks of one GPU, of 4096 bytes each: both read and write them. */
static void the_least_traffic_is_counted(void **state)
{
	double us, gbs;

	assert_int_equal(shell("%s --device 0,0 -b 4K -e 4K -n 2 -J /dev/stderr", all_reduce), 0);
	assert_true(number("\"must_move\": ") == 4 * 4096);
	us = number("\"time_us\": ");
	gbs = number("\"copy_gbs\": ");
	assert_true(us > 0 && gbs > 0);
	assert_true(number("\"device_memory_bytes\": ") > 0);
	/* One of the two is on the GPU of rank 0. */
	assert_int_equal(shell("%s --device 1,0 -b 4K -e 4K -n 2 -J /dev/stderr", all_reduce), 0);
	assert_true(number("\"must_move\": ") == 2 * 4096);
}

/* Of 1024 elements one, on one of the ranks; seen by a plain call and by a replay, in both places.
 */
static void a_wrong_element_is_found(void **state)
{
	const char *how[] = {"", "--graph"};

	for (int i = 0; i < 2; i++) {
		assert_int_equal(shell("%s --device 0,0 %s -b 4K -e 4K -n 2", wrong_perf, how[i]),
				 1);
		says("rank 0: wrong elements in its result: 1, the first at index 512\n");
		says("# Out of bounds values : 2 FAILED\n");
	}
}

/* A small one has less elements than a block has threads, a large one more than the kernels have
 * threads at all. */
static void every_type_and_operation(void **state)
{
	assert_int_equal(
		shell("%s --device 0,0,0 -d all -o all -b 24 -e 3K -f 128 -n 1 -w 0", all_reduce),
		0);
	says("# Out of bounds values : 0 OK\n");
	says("f8e5m2  mulsum");
	assert_int_equal(shell("%s --device 0,0 -d uint8 -b 1M -e 1M -n 1 -w 0", all_reduce), 0);
	says("# Out of bounds values : 0 OK\n");
}

static void what_makes_no_sense_is_refused(void **state)
{
	const char *bad[] = {"0,", ",0", "x", "-1", "0,-1", "", "0;1", "9999"};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(shell("%s --device='%s' -e 8", all_reduce, bad[i]), 2);
	assert_int_equal(shell("%s --device 77 -e 8", all_reduce), 2);
	says("there is no GPU 77");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_list_of_gpus_is_a_rank_on_each),
		cmocka_unit_test(every_collective),
		cmocka_unit_test(replays_of_a_graph),
		cmocka_unit_test(other_ways_to_call),
		cmocka_unit_test(the_least_traffic_is_counted),
		cmocka_unit_test(a_wrong_element_is_found),
		cmocka_unit_test(every_type_and_operation),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	if (argc < 5) {
		fprintf(stderr, "arguments: DRIVER wrong_perf hocket NAME_perf...\n");
		return 2;
	}
	setenv("HOCKET_CUDA_DRIVER", argv[1], 1);
	wrong_perf = argv[2];
	hocket = argv[3];
	programs = argv + 4; /* ends with NULL */
	for (int i = 0; programs[i]; i++)
		if (strstr(programs[i], "/all_reduce_perf"))
			all_reduce = programs[i];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
