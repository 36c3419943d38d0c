/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The benchmark programs from outside: every launcher's variables lead to a communicator, exit
 * statuses tell right from wrong, and the JSON file is written. Arguments: the programs' paths, see
 * meson.build.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char output[16384]; /* of the last command given to says() */
static const char *all_reduce, *reduce_scatter, *all_gather, *wrong_perf, *hocket;
static char **programs; /* every NAME_perf */

static const char *program(const char *end)
{
	for (int i = 0; programs[i]; i++) {
		const char *found = strstr(programs[i], end);

		if (found && !strcmp(found, end))
			return programs[i];
	}
	fail_msg("%s was not built", end);
	return NULL;
}

/* The exit status of a shell command, whose output is dropped. */
static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;
	int status, n;

	va_start(ap, fmt);
	n = vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	snprintf(command + n, sizeof(command) - (size_t)n, " >/dev/null");
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Fails unless the command, given like shell()'s, prints the text on either stream. */
static void says(const char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void says(const char *text, const char *fmt, ...)
{
	char command[2048];
	size_t got = 0, n;
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	assert_non_null(f);
	while ((n = fread(output + got, 1, sizeof(output) - 1 - got, f)) > 0)
		got += n;
	output[got] = 0;
	pclose(f);
	if (!strstr(output, text))
		fail_msg("'%s' is not in:\n%s", text, output);
}

/* The thread sanitizer makes it fifteen times as slow, and what it finds is there with four. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEAST_THREADS 4
#endif
#elif defined(__SANITIZE_THREAD__)
#define LEAST_THREADS 4
#endif
#ifndef LEAST_THREADS
#define LEAST_THREADS 1
#endif

static void threads_alone(void **state)
{
	for (int i = 0; programs[i]; i++)
		for (int n = LEAST_THREADS; n <= 4; n++)
			if (n != 3 || !strstr(programs[i], "hypercube"))
				assert_int_equal(shell("%s -t %d -b 8 -e 64K -f 16 -n 2 -c 2",
						       programs[i], n),
						 0);
	assert_int_equal(shell("%s -t 3 2>&1", program("/hypercube_perf")), 2);
}

static void other_roots(void **state)
{
	const char *rooted[] = {"/broadcast_perf", "/reduce_perf",   "/gather_perf",
				"/scatter_perf",   "/gather_v_perf", "/scatter_v_perf"};

	for (unsigned i = 0; i < sizeof(rooted) / sizeof(rooted[0]); i++) {
		assert_int_equal(shell("%s -t 3 -e 64K -f 64 -n 2 -r 2", program(rooted[i])), 0);
		assert_int_equal(shell("%s -t 3 -e 64K -f 64 -n 2 -r 3 2>&1", program(rooted[i])),
				 2);
	}
}

static void one_call_makes_all_ranks(void **state)
{
	assert_int_equal(shell("%s -t 3 -p 0 -e 4K -f 8 -n 2", all_reduce), 0);
}

static void all_types_and_operations(void **state)
{
	assert_int_equal(shell("%s -t 3 -b 4K -e 4K -n 1 -w 1 -d all -o all", all_reduce), 0);
	assert_int_equal(shell("%s -t 2 -b 4K -e 4K -n 1 -w 1 -d all -o all", reduce_scatter), 0);
	assert_int_equal(shell("%s -t 2 -b 4K -e 4K -n 1 -w 1 -d all", all_gather), 0);
}

static void streams_and_registered_memory(void **state)
{
	assert_int_equal(shell("%s -t 2 -z 0 -m 4 -e 64K -f 8 -n 3", all_reduce), 0);
	assert_int_equal(shell("%s -t 2 -R 1 -e 64K -f 8 -n 3", all_reduce), 0);
}

static void under_hocket_run(void **state)
{
	assert_int_equal(shell("%s run -n 2 %s -e 64K -f 8 -n 3", hocket, all_reduce), 0);
	assert_int_equal(shell("%s run -n 2 %s -t 2 -e 64K -f 8 -n 3", hocket, all_gather), 0);
}

static void with_an_id_file(void **state)
{
	char path[] = "/tmp/hocket-id-XXXXXX";

	close(mkstemp(path));
	unlink(path);
	assert_int_equal(shell("export HOCKET_NRANKS=2 HOCKET_ID_FILE=%s; "
			       "HOCKET_RANK=1 %s -e 4K -n 2 & "
			       "HOCKET_RANK=0 %s -e 4K -n 2 && wait $!",
			       path, all_reduce, all_reduce),
			 0);
	assert_int_not_equal(access(path, F_OK), 0);
	says("(hand)", "HOCKET_RANK=0 HOCKET_NRANKS=1 HOCKET_ID_FILE=%s %s -e 8 -n 1 -c 0", path,
	     all_reduce);
	says("(hocket)", "%s run -n 1 %s -e 8 -n 1 -c 0", hocket, all_reduce);
}

/* A port whose successor is free, below those that the kernel hands out by itself. */
static int port_before_a_free_one(void)
{
	static int tried;

	for (int tries = 0; tries < 1000; tries++) {
		int port = 20000 + (getpid() + 2 * tried++) % 12000;
		struct sockaddr_in at = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)(port + 1))};
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		int err = bind(fd, (struct sockaddr *)&at, sizeof(at));

		close(fd);
		if (!err)
			return port;
	}
	fail_msg("no port is free");
	return 0;
}

static void with_torchrun_variables(void **state)
{
	int port = port_before_a_free_one();

	assert_int_equal(shell("export WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=%d; "
			       "RANK=1 %s -e 4K -n 2 & one=$!; RANK=2 %s -e 4K -n 2 & two=$!; "
			       "RANK=0 %s -e 4K -n 2 && wait $one && wait $two",
			       port, all_reduce, all_reduce, all_reduce),
			 0);
}

static void half_of_torchrun_is_warned_of(void **state)
{
	const char *warning = "RANK and WORLD_SIZE are set but MASTER_ADDR is not; running alone";

	says(warning, "RANK=0 WORLD_SIZE=2 %s -e 8 -n 1 -c 0 2>&1", all_reduce);
	says("(alone)", "RANK=0 WORLD_SIZE=1 %s -e 8 -n 1 -c 0 2>&1", all_reduce);
	assert_null(strstr(output, "MASTER_ADDR"));
}

static void bad_variables_are_refused(void **state)
{
	assert_int_equal(shell("HOCKET_RANK=2 HOCKET_NRANKS=2 %s 2>&1", all_reduce), 2);
	assert_int_equal(shell("HOCKET_RANK=x HOCKET_NRANKS=2 %s 2>&1", all_reduce), 2);
	assert_int_equal(shell("HOCKET_RANK=0 HOCKET_NRANKS=1 %s 2>&1", all_reduce), 2);
	assert_int_equal(shell("HOCKET_RANK=0 HOCKET_NRANKS=1 HOCKET_ID=00 %s 2>&1", all_reduce),
			 2);
}

/* Rank 1 of 2, or rank 0, whose peer never comes: far sooner than the default of a minute. */
static void a_missing_process_is_noticed_in_time(void **state)
{
	const char *hand = "HOCKET_INIT_TIMEOUT_MS=300 timeout 20 env HOCKET_NRANKS=2 "
			   "HOCKET_ID_FILE=/tmp/hocket-no-such-id";
	const char *torch = "HOCKET_INIT_TIMEOUT_MS=300 timeout 20 env WORLD_SIZE=2 "
			    "MASTER_ADDR=127.0.0.1";
	int port = port_before_a_free_one();

	assert_int_equal(shell("%s HOCKET_RANK=1 %s 2>&1", hand, all_reduce), 2);
	assert_int_equal(shell("%s MASTER_PORT=%d RANK=1 %s 2>&1", torch, port, all_reduce), 2);
	assert_int_equal(shell("%s MASTER_PORT=%d RANK=0 %s 2>&1", torch, port, all_reduce), 2);
}

static void a_wrong_element_shows_in_the_status(void **state)
{
	assert_int_equal(shell("%s -t 2 -e 4K -n 2", wrong_perf), 1);
	assert_int_equal(shell("%s -t 2 -e 4K -n 2 -c 0", wrong_perf), 0);
	/* Where rank 1 sees nothing wrong by itself, and across processes. */
	assert_int_equal(shell("%s run -n 2 %s -e 4K -n 2 2>&1", hocket, wrong_perf), 1);
}

static void flags_that_make_no_sense_are_refused(void **state)
{
	assert_int_equal(shell("%s -q 2>&1", all_reduce), 2);
	says("-d: 'nope' is no data type\n-h lists the flags\n", "%s -d nope 2>&1", all_reduce);
	assert_null(strstr(output, "usage"));
	says("-b: '8X' is no size\n", "%s --minbytes 8X 2>&1", all_reduce);
	says("-t: '0' is no number of threads", "%s -t 0 2>&1", all_reduce);
	says("-e: maxbytes (4) is below minbytes (8)\n", "%s -e 4 2>&1", all_reduce);
	says("unknown flag -q\n", "%s -q 2>&1", all_reduce);
	says("unknown flag --size\n", "%s --size 2>&1", all_reduce);
	says("-b: its value is missing\n", "%s -b 2>&1", all_reduce);
	says("unknown argument 8\n", "%s 8 2>&1", all_reduce);
	assert_int_equal(shell("%s -h", all_reduce), 0);
	says("HOCKET_ID_PORT", "%s -h", all_reduce);
}

static void what_is_not_measured_is_said(void **state)
{
	const char *parted[] = {reduce_scatter, all_gather};

	says("1 rank = 1 process (alone) x 1 thread\n"
	     "# 1 rank: nothing is communicated; use hocket run -n N, or -t N\n",
	     "%s -e 8 -n 1", all_reduce);
	for (int i = 0; i < 2; i++) {
		says("# 8 B left out: too small to give every rank an element (float, 4 B)\n",
		     "%s -t 3 -e 16 -n 1", parted[i]);
		says("3 ranks = 1 process (alone) x 3 threads\n", "%s -t 3 -e 16 -n 1",
		     programs[i]);
		assert_null(strstr(output, "# 16 B"));
		assert_null(strstr(output, "# 3 ranks"));
	}
}

static void results_as_json(void **state)
{
	char path[] = "/tmp/hocket-json-XXXXXX", text[8192];
	int fd = mkstemp(path);
	ssize_t n;

	assert_int_equal(shell("%s -t 2 -b 8 -e 16 -n 2 -J %s", all_reduce, path), 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	unlink(path);
	assert_true(n > 0);
	text[n] = 0;
	assert_non_null(strstr(text, "\"ranks\": 2"));
	assert_non_null(strstr(text, "\"size\": 16"));
	assert_non_null(strstr(text, "\"out_of_bounds\": 0"));
	assert_non_null(strstr(text, "\"memory_bytes\": "));
	assert_int_equal(shell("%s -e 16 -J /nowhere/x.json 2>&1", all_reduce), 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_alone),
		cmocka_unit_test(other_roots),
		cmocka_unit_test(one_call_makes_all_ranks),
		cmocka_unit_test(all_types_and_operations),
		cmocka_unit_test(streams_and_registered_memory),
		cmocka_unit_test(under_hocket_run),
		cmocka_unit_test(with_an_id_file),
		cmocka_unit_test(with_torchrun_variables),
		cmocka_unit_test(half_of_torchrun_is_warned_of),
		cmocka_unit_test(bad_variables_are_refused),
		cmocka_unit_test(a_missing_process_is_noticed_in_time),
		cmocka_unit_test(a_wrong_element_shows_in_the_status),
		cmocka_unit_test(flags_that_make_no_sense_are_refused),
		cmocka_unit_test(what_is_not_measured_is_said),
		cmocka_unit_test(results_as_json),
	};

	if (argc < 4) {
		fprintf(stderr, "arguments: wrong_perf hocket NAME_perf...\n");
		return 2;
	}
	wrong_perf = argv[1];
	hocket = argv[2];
	programs = argv + 3; /* ends with NULL */
	all_reduce = program("/all_reduce_perf");
	reduce_scatter = program("/reduce_scatter_perf");
	all_gather = program("/all_gather_perf");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
