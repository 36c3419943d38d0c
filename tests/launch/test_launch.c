/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libhocket_launch under real launchers, as far as they are installed, and under stand-ins:
 * torchrun as variables and a busy port, PMI-1 as a socket pair whose other end says what a test
 * wants. Slurm has a test of its own, slurm.sh. Arguments: the all-reduce example and the hocket
 * command.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hocket/launch.h>

static const char *example, *hocket;
static char output[16384]; /* of the last command, both streams */

/* The exit status of a shell command. MPI's and PMIx's own leaks are not ours. */
static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char command[2048];
	size_t got = 0, n;
	va_list ap;
	FILE *f;
	int status, length;

	length = snprintf(command, sizeof(command),
			  "exec 2>&1; export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0; ");
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

/* How often the last command said it. */
static int times(const char *text)
{
	int n = 0;

	for (const char *at = output; (at = strstr(at, text)); at++)
		n++;
	return n;
}

static const char *const open_mpi =
	"OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 60 $m --oversubscribe";

/* Skips the test unless this mpirun is of that family; the shell then finds it as $m. */
static void need_mpirun(const char *family, const char *other_name)
{
	char command[512];

	snprintf(
		command, sizeof(command),
		"for m in %s mpirun; do $m --version 2>&1 | grep -q '%s' && echo $m && exit; done; "
		"exit 9",
		other_name, family);
	if (run("%s", command) == 9) {
		print_message("no mpirun of %s here\n", family);
		skip();
	}
	output[strcspn(output, "\n")] = 0;
	setenv("m", output, 1);
}

/* --- real launchers --- */

static void under_open_mpi(void **state)
{
	need_mpirun("Open MPI", "mpirun.openmpi");
	if (run("%s -n 3 %s", open_mpi, example)) {
		said("built without"); /* both: the only excuse */
		skip();
	}
	assert_int_equal(times("of 3: the sum is 6\n"), 3);
}

static void under_open_mpi_through_mpi(void **state)
{
	need_mpirun("Open MPI", "mpirun.openmpi");
	if (run("%s -n 2 -x HOCKET_LAUNCH=mpi %s", open_mpi, example)) {
		said("built without MPI"); /* the only excuse */
		skip();
	}
	assert_int_equal(times("of 2: the sum is 3\n"), 2);
}

static void under_mpich(void **state)
{
	need_mpirun("HYDRA", "mpirun.mpich");
	assert_int_equal(run("timeout 60 $m -n 3 %s", example), 0);
	assert_int_equal(times("of 3: the sum is 6\n"), 3);
	assert_int_equal(run("timeout 60 $m -n 1 %s", example), 0);
	said("rank 0 of 1: the sum is 1\n");
}

/* The launcher says who is who, the file or the address how the id travels. */
static void a_file_or_an_address_goes_before_the_launcher(void **state)
{
	char path[] = "/tmp/hocket-id-XXXXXX";

	close(mkstemp(path));
	unlink(path);
	need_mpirun("HYDRA", "mpirun.mpich");
	assert_int_equal(run("HOCKET_ID_FILE=%s timeout 60 $m -n 2 %s", path, example), 0);
	assert_int_equal(times("of 2: the sum is 3\n"), 2);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* Under PMIx the goodbye comes early, yet the launcher ends the job of a process that fails. */
static void a_failure_ends_the_job(void **state)
{
	need_mpirun("HYDRA", "mpirun.mpich");
	assert_int_equal(
		run("timeout 40 $m -n 2 sh -c '%s; test $PMI_RANK = 0 || exit 7'", example), 7);
	need_mpirun("Open MPI", "mpirun.openmpi");
	assert_int_equal(run("%s -n 2 sh -c '%s && test $PMIX_RANK = 0 "
			     "&& exec sleep 50; exit 7'",
			     open_mpi, example),
			 7);
}

static void under_hocket_run(void **state)
{
	assert_int_equal(run("%s run -n 3 %s", hocket, example), 0);
	assert_int_equal(times("of 3: the sum is 6\n"), 3);
}

/* --- torchrun and by hand --- */

/* A free port below those that the kernel hands out by itself. */
static int free_port(void)
{
	static int tried;

	for (int tries = 0; tries < 1000; tries++) {
		int port = 20000 + (getpid() + 2 * tried++) % 12000;
		struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		int err = bind(fd, (struct sockaddr *)&at, sizeof(at));

		close(fd);
		if (!err)
			return port;
	}
	fail_msg("no port is free");
	return 0;
}

/* torchrun's own store listens on MASTER_PORT. */
static void under_torchrun(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr = {htonl(INADDR_LOOPBACK)},
				 .sin_port = htons((uint16_t)free_port())};
	int store = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(store, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(store, 8), 0);
	assert_int_equal(run("export WORLD_SIZE=3 MASTER_ADDR=localhost MASTER_PORT=%d "
			     "HOCKET_ID_PORT=%d; for r in 1 2; do RANK=$r LOCAL_RANK=$r %s & done; "
			     "RANK=0 LOCAL_RANK=0 %s && wait",
			     ntohs(at.sin_port), free_port(), example, example),
			 0);
	close(store);
	assert_int_equal(times("of 3: the sum is 6\n"), 3);
}

static void an_address_by_hand(void **state)
{
	const char *hosts[] = {"127.0.0.1", "localhost", "[::1]"};

	for (int i = 0; i < 3; i++) {
		if (i == 2 && access("/proc/net/if_inet6", R_OK))
			continue;
		assert_int_equal(run("export HOCKET_NRANKS=2 HOCKET_ID_ADDR=%s:%d; "
				     "HOCKET_RANK=1 %s & HOCKET_RANK=0 %s && wait",
				     hosts[i], free_port(), example, example),
				 0);
		assert_int_equal(times("of 2: the sum is 3\n"), 2);
	}
}

/* Many systems know their own name as 127.0.1.1, where nobody else finds them: process 0 then
 * listens elsewhere, too. In a view of the files of our own, as the names are in one. */
static void a_name_of_the_host_itself(void **state)
{
	int port = free_port();

	if (run("unshare -m mount --bind /etc/hosts /etc/hosts"))
		skip();
	assert_int_equal(run("names=$(mktemp); echo 127.0.1.1 hocket-test > $names; "
			     "export HOCKET_NRANKS=2 HOCKET_INIT_TIMEOUT_MS=10000; "
			     "unshare -m sh -c \"mount --bind $names /etc/hosts && rm -f $names; "
			     "HOCKET_RANK=0 HOCKET_ID_ADDR=hocket-test:%d exec %s\" & "
			     "HOCKET_RANK=1 HOCKET_ID_ADDR=127.0.0.1:%d %s && wait; rm -f $names",
			     port, example, port, example),
			 0);
	assert_int_equal(times("of 2: the sum is 3\n"), 2);
}

static void bad_addresses_are_refused(void **state)
{
	const char *bad[] = {"localhost", "::1", "[::1]", ":77", "[]:77", "host:", "::1:77"};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			run("HOCKET_RANK=0 HOCKET_NRANKS=1 HOCKET_ID_ADDR=%s %s", bad[i], example),
			1);
		said("is no HOST:PORT");
	}
}

static void a_lonely_process_is_told(void **state)
{
	assert_int_equal(run("HOCKET_INIT_TIMEOUT_MS=200 HOCKET_RANK=1 HOCKET_NRANKS=2 "
			     "HOCKET_ID_ADDR=127.0.0.1:%d %s",
			     free_port(), example),
			 1);
	said("did not hand the id over at 127.0.0.1:");
	assert_int_equal(run("HOCKET_ID_ADDR=127.0.0.1:77 %s", example), 1);
	said("set HOCKET_RANK and HOCKET_NRANKS");
	assert_int_equal(run("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 %s", example), 1);
	said("srun --mpi=pmix");
	assert_int_equal(run("SLURM_PROCID=0 SLURM_NTASKS=2 %s", example), 0); /* a batch script */
}

static void the_launcher_can_be_named(void **state)
{
	assert_int_equal(run("HOCKET_LAUNCH=alone RANK=0 WORLD_SIZE=2 MASTER_ADDR=x MASTER_PORT=1 "
			     "%s",
			     example),
			 0);
	said("rank 0 of 1");
	assert_int_equal(run("HOCKET_LAUNCH=psychic %s", example), 1);
	said("HOCKET_LAUNCH=psychic is none of");
	assert_int_equal(run("HOCKET_LAUNCH=pmi PMI_RANK=0 PMI_SIZE=1 %s", example), 1);
	said("PMI_FD is not set");
}

/* --- PMI-1's other end --- */

/* A manager that gives these answers, one a question, and keeps what it was asked. */
struct manager {
	int fd;
	pid_t pid;
};

static struct manager start_manager(const char *const *answers)
{
	struct manager m;
	char number[16];
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	m.pid = fork();
	assert_true(m.pid >= 0);
	if (m.pid == 0) {
		char question[4096];

		close(ends[0]);
		for (; *answers && read(ends[1], question, sizeof(question)) > 0; answers++)
			if (write(ends[1], *answers, strlen(*answers)) < 0)
				_exit(1);
		if (!*answers) /* silent from now on, until the other end goes */
			while (read(ends[1], question, sizeof(question)) > 0)
				;
		_exit(*answers ? 1 : 0);
	}
	close(ends[1]);
	m.fd = ends[0];
	snprintf(number, sizeof(number), "%d", m.fd);
	setenv("PMI_FD", number, 1);
	setenv("PMI_RANK", "1", 1);
	setenv("PMI_SIZE", "2", 1);
	return m;
}

/* Whether it has been asked as many questions as it had answers. */
static bool stop_manager(struct manager m)
{
	int status;

	close(m.fd);
	waitpid(m.pid, &status, 0);
	unsetenv("PMI_FD");
	unsetenv("PMI_RANK");
	unsetenv("PMI_SIZE");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#define INIT	"cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n"
#define KVSNAME "cmd=my_kvsname kvsname=kvs_1\n"
#define BARRIER "cmd=barrier_out\n"

static void pmi_brings_the_id(void **state)
{
	char answer[512] = "cmd=get_result rc=0 msg=success value=";
	const char *answers[] = {INIT, KVSNAME, BARRIER, answer, "cmd=finalize_ack rc=0\n", NULL};
	size_t length = strlen(answer);
	hocketLaunch_t launch;
	struct manager m;
	hocketUniqueId id;
	int rank, nranks, local;

	memset(answer + length, 'a', 256);
	answer[length + 256] = '\n';
	m = start_manager(answers);
	assert_int_equal(hocketLaunchOpen(&launch, &rank, &nranks), hocketSuccess);
	assert_int_equal(rank, 1);
	assert_int_equal(nranks, 2);
	assert_string_equal(hocketLaunchName(launch), "pmi");
	assert_int_equal(hocketLaunchLocalRank(launch, &local), hocketSuccess);
	assert_int_equal(local, -1);
	assert_int_equal(hocketLaunchShareId(launch, &id), hocketSuccess);
	for (int i = 0; i < HOCKET_UNIQUE_ID_BYTES; i++)
		assert_int_equal((unsigned char)id.internal[i], 0xaa);
	assert_int_equal(hocketLaunchShareId(launch, &id), hocketInvalidUsage);
	assert_int_equal(hocketLaunchClose(launch), hocketSuccess);
	assert_true(stop_manager(m)); /* the fifth question was the goodbye */
}

/* Opens, and shares if that works; returns the code that ends it. */
static hocketResult_t try_pmi(const char *const *answers)
{
	struct manager m = start_manager(answers);
	hocketLaunch_t launch = NULL;
	hocketUniqueId id;
	int rank, nranks;
	hocketResult_t result = hocketLaunchOpen(&launch, &rank, &nranks);

	if (result == hocketSuccess)
		result = hocketLaunchShareId(launch, &id);
	hocketLaunchClose(launch);
	stop_manager(m);
	return result;
}

static void pmi_misunderstandings_are_errors(void **state)
{
	static char endless[4096];
	const char *refused[] = {"cmd=response_to_init rc=-1\n", NULL};
	const char *other[] = {"cmd=something_else rc=0\n", NULL};
	const char *garbage[] = {"\n", NULL};
	const char *too_long[] = {endless, NULL};
	const char *no_name[] = {INIT, "cmd=my_kvsname\n", NULL};
	const char *bad_id[] = {INIT, KVSNAME, BARRIER, "cmd=get_result rc=0 value=abc\n", NULL};
	const char *silent[] = {INIT, NULL};

	memset(endless, 'x', sizeof(endless) - 1);
	assert_int_equal(try_pmi(refused), hocketSystemError);
	assert_int_equal(try_pmi(other), hocketSystemError);
	assert_int_equal(try_pmi(garbage), hocketSystemError);
	assert_int_equal(try_pmi(too_long), hocketSystemError);
	assert_non_null(strstr(hocketLaunchGetLastError(), "too long"));
	assert_int_equal(try_pmi(no_name), hocketSystemError);
	assert_int_equal(try_pmi(bad_id), hocketRemoteError);
	setenv("HOCKET_INIT_TIMEOUT_MS", "200", 1);
	assert_int_equal(try_pmi(silent), hocketRemoteError);
	assert_non_null(strstr(hocketLaunchGetLastError(), "HOCKET_INIT_TIMEOUT_MS"));
	unsetenv("HOCKET_INIT_TIMEOUT_MS");
}

static void a_closed_descriptor_is_an_error(void **state)
{
	hocketLaunch_t launch = NULL;
	int rank = -1, nranks;

	setenv("PMI_FD", "1000000", 1);
	setenv("PMI_RANK", "0", 1);
	setenv("PMI_SIZE", "2", 1);
	assert_int_equal(hocketLaunchOpen(&launch, &rank, &nranks), hocketSystemError);
	assert_null(launch);
	assert_int_equal(rank, -1);
	assert_non_null(strstr(hocketLaunchGetLastError(), "PMI_FD=1000000"));
	unsetenv("PMI_FD");
	unsetenv("PMI_RANK");
	unsetenv("PMI_SIZE");
}

/* Variables of a PMIx launcher that is not there any more. */
static void a_lost_pmix_is_told(void **state)
{
	assert_int_equal(run("PMIX_NAMESPACE=gone PMIX_RANK=0 timeout 30 %s", example), 1);
	if (!strstr(output, "built without PMIx"))
		said("PMIx_Init failed");
}

static void arguments_are_checked(void **state)
{
	hocketLaunch_t launch;
	int rank, nranks, local;

	assert_int_equal(hocketLaunchOpen(NULL, &rank, &nranks), hocketInvalidArgument);
	assert_int_equal(hocketLaunchOpen(&launch, NULL, &nranks), hocketInvalidArgument);
	assert_int_equal(hocketLaunchShareId(NULL, NULL), hocketInvalidArgument);
	assert_int_equal(hocketLaunchLocalRank(NULL, &local), hocketInvalidArgument);
	assert_int_equal(hocketLaunchClose(NULL), hocketSuccess);
	assert_string_equal(hocketLaunchName(NULL), "none");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(under_open_mpi),
		cmocka_unit_test(under_open_mpi_through_mpi),
		cmocka_unit_test(under_mpich),
		cmocka_unit_test(a_file_or_an_address_goes_before_the_launcher),
		cmocka_unit_test(a_failure_ends_the_job),
		cmocka_unit_test(under_hocket_run),
		cmocka_unit_test(under_torchrun),
		cmocka_unit_test(an_address_by_hand),
		cmocka_unit_test(a_name_of_the_host_itself),
		cmocka_unit_test(bad_addresses_are_refused),
		cmocka_unit_test(a_lonely_process_is_told),
		cmocka_unit_test(the_launcher_can_be_named),
		cmocka_unit_test(pmi_brings_the_id),
		cmocka_unit_test(pmi_misunderstandings_are_errors),
		cmocka_unit_test(a_closed_descriptor_is_an_error),
		cmocka_unit_test(a_lost_pmix_is_told),
		cmocka_unit_test(arguments_are_checked),
	};

	if (argc != 3) {
		fprintf(stderr, "arguments: the all-reduce example, the hocket command\n");
		return 2;
	}
	example = argv[1];
	hocket = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
