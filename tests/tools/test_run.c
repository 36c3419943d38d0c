/* SPDX-License-Identifier: BSD-3-Clause */
/* `hocket run` from outside: what ranks get, what comes of their failures, and that nothing stays
 * behind. Argument: the hocket command's path. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *hocket;
static const char *before = ""; /* what the shell does before it starts a run */
static char output[8192];	/* of the last finished run, both streams */

struct run {
	pid_t pid;
	int fd;
};

/* Starts `hocket run FLAGS... sh -c SCRIPT`. */
static struct run start(const char *flags, const char *script)
{
	struct run run;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	run.pid = fork();
	assert_true(run.pid >= 0);
	if (run.pid == 0) {
		char command[1024];

		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		snprintf(command, sizeof(command), "%s exec %s run %s sh -c '%s'", before, hocket,
			 flags, script);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(126);
	}
	close(ends[1]);
	run.fd = ends[0];
	return run;
}

/* Reads until everyone who holds the pipe has ended; returns the exit status. */
static int finish(struct run run)
{
	size_t got = 0;
	ssize_t n;
	int status;

	while ((n = read(run.fd, output + got, sizeof(output) - 1 - got)) > 0)
		got += (size_t)n;
	output[got] = 0;
	close(run.fd);
	assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void ranks_get_their_places(void **state)
{
	char line[64];

	assert_int_equal(finish(start("-n 3", "echo =$HOCKET_RANK/$HOCKET_NRANKS,$RANK/$WORLD_SIZE,"
					      "$LOCAL_RANK,${#HOCKET_ID}=")),
			 0);
	for (int r = 0; r < 3; r++) {
		snprintf(line, sizeof(line), "=%d/3,%d/3,%d,256=", r, r, r);
		assert_non_null(strstr(output, line));
	}
}

static void ranks_share_one_id(void **state)
{
	assert_int_equal(finish(start("-n 2", "echo $HOCKET_ID")), 0);
	assert_int_equal(strlen(output), 2 * 257);
	assert_memory_equal(output, output + 257, 257);
}

static void standard_input_is_empty(void **state)
{
	assert_int_equal(finish(start("-n 2", "cat; echo done")), 0);
	assert_string_equal(output, "done\ndone\n");
}

static void the_first_failure_is_the_status(void **state)
{
	assert_int_equal(finish(start("-n 3", "test $RANK != 1 || exit 7")), 7);
	assert_non_null(strstr(output, "rank 1 "));
	assert_non_null(strstr(output, "exited with status 7"));
}

static void a_signal_shows_in_the_status(void **state)
{
	assert_int_equal(finish(start("-n 2", "test $RANK = 0 || kill -SEGV $$")), 128 + SIGSEGV);
	assert_non_null(strstr(output, "rank 1 "));
	assert_non_null(strstr(output, "signal 11"));
}

static void a_missing_program_is_said(void **state)
{
	char command[1024];
	int status;

	snprintf(command, sizeof(command), "%s run -n 2 /no/such/program 2>/dev/null", hocket);
	status = system(command);
	assert_int_equal(WEXITSTATUS(status), 127);
	snprintf(command, sizeof(command), "%s run -n 0 true 2>/dev/null", hocket);
	status = system(command);
	assert_int_equal(WEXITSTATUS(status), 2);
}

static void a_failure_ends_the_others_after_a_grace(void **state)
{
	double start_s = now_s(), took;

	assert_int_equal(finish(start("-n 2", "test $RANK = 0 && exit 3; exec sleep 60")), 3);
	took = now_s() - start_s;
	assert_true(took > 1.5 && took < 20);
}

static void who_ignores_the_request_is_killed(void **state)
{
	double start_s = now_s();

	assert_int_equal(finish(start("-n 1 --timeout 0.2", "trap \"\" TERM; while :; do sleep 1; "
							    "done")),
			 124);
	assert_true(now_s() - start_s < 20);
	assert_non_null(strstr(output, "time is up"));
}

static void signals_are_passed_on(void **state)
{
	struct run run = start("-n 2", "trap \"echo caught; exit 0\" INT; echo ready; "
				       "while :; do sleep 0.05; done");
	char seen[64];
	size_t got = 0;

	while (got < strlen("ready\nready\n")) {
		ssize_t n = read(run.fd, seen + got, sizeof(seen) - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	kill(run.pid, SIGINT);
	assert_int_equal(finish(run), 128 + SIGINT);
	assert_non_null(strstr(strstr(output, "caught") + 1, "caught"));
}

/* finish() returns only when the last holder of the pipe is gone: background children of ranks
 * hold it too. */
static void children_of_ranks_do_not_stay(void **state)
{
	double start_s = now_s();

	assert_int_equal(finish(start("-n 2", "sleep 60 & exit 0")), 0);
	assert_true(now_s() - start_s < 20);
}

static void ranks_die_with_the_launcher(void **state)
{
	struct run run = start("-n 2", "echo ready; exec sleep 60");
	double start_s = now_s();
	char seen[64];
	int status;

	assert_true(read(run.fd, seen, sizeof(seen)) > 0);
	kill(run.pid, SIGKILL);
	while (read(run.fd, seen, sizeof(seen)) > 0)
		;
	close(run.fd);
	waitpid(run.pid, &status, 0);
	assert_true(now_s() - start_s < 20);
}

/* One that prints without pause, to somebody who reads little of it, keeps nothing else from its
 * time. */
static void a_flood_does_not_stop_the_clock(void **state)
{
	double start_s = now_s();

	assert_int_equal(finish(start("-n 2 --prefix --timeout 1", "exec yes")), 124);
	assert_true(now_s() - start_s < 20);
}

/* Who started us may have ignored signals, and that is inherited. */
static void what_was_ignored_before(void **state)
{
	before = "trap \"\" CHLD;";
	assert_int_equal(finish(start("-n 2", "test $RANK = 0 || exit 3")), 3);
	before = "trap \"\" HUP INT;";
	assert_int_equal(
		finish(start("-n 1", "kill -HUP $PPID; kill -INT $PPID; sleep 0.3; echo lived")),
		0);
	before = "";
	assert_string_equal(output, "lived\n");
}

/* Whoever read our output has gone: the ranks go on. */
static void nobody_reads(void **state)
{
	char name[] = "/tmp/hocket_run_XXXXXX", script[256], said[8] = {0};
	int fd = mkstemp(name);
	struct run run;
	int status;

	assert_true(fd >= 0);
	snprintf(script, sizeof(script), "echo one; sleep 0.3; echo two; sleep 0.3; echo on > %s",
		 name);
	run = start("-n 1 --prefix", script);
	assert_true(read(run.fd, output, 1) == 1);
	close(run.fd);
	assert_int_equal(waitpid(run.pid, &status, 0), run.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(read(fd, said, sizeof(said) - 1), 3);
	assert_string_equal(said, "on\n");
	close(fd);
	unlink(name);
}

static void ranks_get_cores_of_their_own(void **state)
{
	const char *script = "grep Cpus_allowed_list /proc/self/status";
	char *second;

	if (finish(start("-n 2 --bind", script)) == 2)
		skip(); /* one core */
	second = strchr(output, '\n');
	assert_non_null(second);
	*second++ = 0;
	*strchr(second, '\n') = 0;
	assert_string_not_equal(output, second);
	assert_int_equal(finish(start("-n 4096 --bind", script)), 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_get_their_places),
		cmocka_unit_test(ranks_share_one_id),
		cmocka_unit_test(standard_input_is_empty),
		cmocka_unit_test(the_first_failure_is_the_status),
		cmocka_unit_test(a_signal_shows_in_the_status),
		cmocka_unit_test(a_missing_program_is_said),
		cmocka_unit_test(a_failure_ends_the_others_after_a_grace),
		cmocka_unit_test(who_ignores_the_request_is_killed),
		cmocka_unit_test(signals_are_passed_on),
		cmocka_unit_test(children_of_ranks_do_not_stay),
		cmocka_unit_test(ranks_die_with_the_launcher),
		cmocka_unit_test(a_flood_does_not_stop_the_clock),
		cmocka_unit_test(what_was_ignored_before),
		cmocka_unit_test(nobody_reads),
		cmocka_unit_test(ranks_get_cores_of_their_own),
	};

	if (argc != 2) {
		fprintf(stderr, "argument: the hocket command\n");
		return 2;
	}
	hocket = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
