/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket run --hosts` with a stand-in for ssh that runs everything here: who gets which rank, what
 * reaches the ranks, and how jobs end. tests/launch/hosts.sh does it with a real ssh. Argument: the
 * hocket command.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char *hocket;
static char folder[] = "/tmp/hocket-run-XXXXXX";
static char output[65536]; /* of the last command, both streams */

/* The exit status of `hocket run FLAGS`, with the stand-in where --ssh is $ssh. */
static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char command[4096];
	size_t got = 0, n;
	va_list ap;
	FILE *f;
	int status, length;

	length = snprintf(command, sizeof(command),
			  "exec 2>&1; cd %s; ssh='--ssh %s/ssh'; exec timeout 60 %s run ", folder,
			  folder, hocket);
	va_start(ap, fmt);
	vsnprintf(command + length, sizeof(command) - (size_t)length, fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	assert_non_null(f);
	while (got < sizeof(output) - 1 &&
	       (n = fread(output + got, 1, sizeof(output) - 1 - got, f)))
		got += n;
	output[got] = 0;
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void said(const char *text)
{
	if (strstr(output, text))
		return;
	print_error("'%s' is not in:\n%s", text, output);
	fail();
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void ranks_are_dealt_out_in_order(void **state)
{
	const char *places = "sh -c 'echo =$HOST,$RANK/$WORLD_SIZE,$LOCAL_RANK/$LOCAL_WORLD_SIZE='";

	assert_int_equal(run("--hosts a:2,u@b,a $ssh %s", places), 0);
	said("=a,0/4,0/3=");
	said("=a,1/4,1/3=");
	said("=a,2/4,2/3=");
	said("=u@b,3/4,0/1=");
	assert_int_equal(run("-n 2 --hosts a,b:3,c:9 $ssh %s", places), 0);
	said("=a,0/2,0/1=");
	said("=b,1/2,0/1=");
	assert_null(strstr(output, "=c"));
}

static void all_hosts_share_one_id(void **state)
{
	assert_int_equal(run("--hosts a,b $ssh sh -c 'echo $HOCKET_ID'"), 0);
	assert_int_equal(strlen(output), 2 * 257);
	assert_memory_equal(output, output + 257, 257);
	/* It is in nobody's arguments. */
	output[256] = 0;
	assert_int_equal(run("--hosts a $ssh sh -c 'tr \"\\0\" \" \" </proc/$PPID/cmdline'"), 0);
	said(" run --agent");
	assert_null(strstr(output, "HOCKET_ID"));
}

static void hosts_come_from_a_file(void **state)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/hosts", folder);
	f = fopen(path, "w");
	fprintf(f, "# all of them\n\na slots=2 max_slots=4\n  b:1 # one\nc\n");
	fclose(f);
	assert_int_equal(run("--hostfile hosts $ssh --prefix sh -c 'echo $HOST'"), 0);
	said("[0] a\n");
	said("[1] a\n");
	said("[2] b\n");
	said("[3] c\n");
	assert_int_equal(run("--hostfile nowhere $ssh true"), 2);
	said("nowhere: No such file");
	assert_int_equal(run("--hostfile /dev/null $ssh true"), 2);
	said("no host");
}

static void wrong_hosts_are_refused(void **state)
{
	const char *wrong[] = {"a:0", "a:x", ":2", "a,", "-oProxyCommand=x", "a:9999", "a:2x"};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(run("--hosts %s $ssh true", wrong[i]), 2);
	assert_int_equal(run("-n 3 --hosts a,b $ssh true"), 2);
	said("more than the hosts take");
	assert_int_equal(run("-n 3 $ssh true"), 2);
	said("are for --hosts");
}

static void variables_and_the_folder_travel(void **state)
{
	setenv("HOCKET_SLOTS", "7", 1);
	setenv("MINE", "two words", 1);
	assert_int_equal(run("--hosts a $ssh -x MINE -x YOURS=3 -x NOBODYS sh -c "
			     "'echo \"$HOCKET_SLOTS,$MINE,$YOURS,$OTHER,$NOBODYS\"; pwd'"),
			 0);
	unsetenv("HOCKET_SLOTS");
	unsetenv("MINE");
	said("7,two words,3,,\n");
	said(folder);
}

static void arguments_arrive_as_they_are(void **state)
{
	assert_int_equal(
		run("--hosts a $ssh -- printf '<%%s>' 'a b' '' '$x' \"it's\" 'two\nlines'"), 0);
	assert_string_equal(output, "<a b><><$x><it's><two\nlines>");
}

static void lines_get_a_prefix(void **state)
{
	assert_int_equal(run("-n 2 --prefix sh -c 'echo one; echo two >&2; printf three'"), 0);
	said("[0] one\n");
	said("[1] one\n");
	said("[1] two\n");
	said("[0] three");
	assert_int_equal(run("-n 1 --prefix sh -c 'head -c 20000 /dev/zero | tr \"\\0\" x'"), 0);
	assert_int_equal(strspn(output, "[0] x"), strlen(output));
	assert_true(strlen(output) >= 20000);
}

static void the_first_failure_is_the_status(void **state)
{
	double start = now_s(), took;

	assert_int_equal(
		run("--hosts a:2,b:2 $ssh sh -c 'test $RANK != 3 || exit 7; exec sleep 60'"), 7);
	took = now_s() - start;
	assert_true(took > 1.5 && took < 30); /* the grace, on all hosts alike */
	said("hocket run: rank 3 (pid ");
	said(" on b) exited with status 7\n");
	assert_int_equal(run("--hosts a,b $ssh sh -c 'test $RANK = 0 || kill -SEGV $$'"),
			 128 + SIGSEGV);
	assert_int_equal(run("--hosts a,b $ssh /no/such/program"), 127);
	said("cannot execute /no/such/program");
}

static void the_deadline_is_everybodys(void **state)
{
	assert_int_equal(run("--hosts a,b $ssh --timeout 0.3 sh -c 'trap \"\" TERM; while :; do "
			     "sleep 0.1; done'"),
			 124);
	said("time is up, ending 2 hosts");
}

static void hosts_that_do_not_answer_are_named(void **state)
{
	assert_int_equal(run("--hosts a,bad $ssh sleep 60"), 125);
	said("nothing was started on bad: ");
	said("ended with status 255");
	assert_int_equal(run("--hosts a --ssh /no/such/ssh true"), 125);
	assert_int_equal(run("--hosts a --remote-hocket \"/no/it's/hocket\" $ssh true"), 125);
	said("--remote-hocket");
	assert_int_equal(run("--agent </dev/null"), 2);
	said("for `hocket run --hosts`");
}

static void localhost_needs_no_ssh(void **state)
{
	assert_int_equal(run("--hosts localhost:2 --ssh false sh -c 'echo $RANK'"), 0);
	said("0\n");
	said("1\n");
}

static void too_many_arguments_are_refused(void **state)
{
	assert_int_equal(run("--hosts a $ssh true $(head -c 70000 /dev/zero | tr '\\0' x)"), 125);
	said("take more than 60000 bytes");
}

/* Starts a job whose ranks say "up" and then stay; kills the launcher or what -n names; waits until
 * nobody holds the pipe. Returns the launcher's status. */
static int start_and_signal(int sig, const char *script)
{
	double start = now_s();
	int ends[2], status;
	char seen[256];
	size_t got = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char ssh[64];

		snprintf(ssh, sizeof(ssh), "%s/ssh", folder);
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl(hocket, "hocket", "run", "--hosts", "a,b", "--ssh", ssh, "sh", "-c", script,
		      (char *)NULL);
		_exit(126);
	}
	close(ends[1]);
	while (got < strlen("up\nup\n")) {
		ssize_t n = read(ends[0], seen + got, sizeof(seen) - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	kill(pid, sig);
	got = 0;
	for (ssize_t n; (n = read(ends[0], output + got, sizeof(output) - 1 - got)) > 0;)
		got += (size_t)n;
	output[got] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(now_s() - start < 30);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void signals_are_passed_on(void **state)
{
	assert_int_equal(start_and_signal(SIGINT,
					  "trap \"echo caught; exit 0\" INT; echo up; while "
					  ":; do sleep 0.05; done"),
			 128 + SIGINT);
	said("caught");
	assert_non_null(strstr(strstr(output, "caught") + 1, "caught"));
	assert_int_equal(start_and_signal(SIGTERM,
					  "trap \"\" TERM; echo up; while :; do sleep 0.1; "
					  "done"),
			 128 + SIGTERM);
}

/* The pipe's end shows that the ranks are gone too. */
static void nothing_outlives_the_launcher(void **state)
{
	assert_int_equal(start_and_signal(SIGKILL, "echo up; exec sleep 60"), -SIGKILL);
}

/* The stand-in; the host `bad` is not there. */
static int make_ssh(void **state)
{
	char path[64];
	FILE *f;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/ssh", folder);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n[ $1 != bad ] || exit 255\n"
		   "unset OTHER\nexport HOST=$1\ncd /\nexec sh -c \"$2\"\n");
	fclose(f);
	chmod(path, 0700);
	setenv("OTHER", "stays here", 1);
	return 0;
}

static int remove_ssh(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_are_dealt_out_in_order),
		cmocka_unit_test(all_hosts_share_one_id),
		cmocka_unit_test(hosts_come_from_a_file),
		cmocka_unit_test(wrong_hosts_are_refused),
		cmocka_unit_test(variables_and_the_folder_travel),
		cmocka_unit_test(arguments_arrive_as_they_are),
		cmocka_unit_test(lines_get_a_prefix),
		cmocka_unit_test(the_first_failure_is_the_status),
		cmocka_unit_test(the_deadline_is_everybodys),
		cmocka_unit_test(hosts_that_do_not_answer_are_named),
		cmocka_unit_test(localhost_needs_no_ssh),
		cmocka_unit_test(too_many_arguments_are_refused),
		cmocka_unit_test(signals_are_passed_on),
		cmocka_unit_test(nothing_outlives_the_launcher),
	};

	if (argc != 2) {
		fprintf(stderr, "argument: the hocket command\n");
		return 2;
	}
	hocket = realpath(argv[1], NULL);
	return cmocka_run_group_tests(tests, make_ssh, remove_ssh);
}
