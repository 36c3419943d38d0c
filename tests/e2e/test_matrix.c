/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The matrix (matrix.h) for 1 to 9 and 16 ranks, over each transport. A process has all ranks as
 * threads, and is told one algorithm for each collective (HOCKET_ALGO), so there are as many
 * processes as the collective with the most algorithms has; some numbers of ranks run as processes,
 * too. The ranks are said to be on nodes of several sizes, so that the hierarchical algorithms have
 * levels. (Over the loop transport, with faults, tests/exec/test_exec.c does the same; switches
 * have their own test, and so has verbs: test_verbs.c.)
 *
 * With arguments, one round over one transport: `test_matrix tcp 0/6 3,7` is the first of the 6
 * rounds, with 3 and with 7 threads. So tests/gpu has it run in parts, and thinner where it is
 * slow.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"
#include "matrix.h"

struct rank_thread {
	pthread_t thread;
	hocketComm_t comm;
	int rank, n;
	struct matrix_seen *seen;
};

static unsigned round_number(void)
{
	return (unsigned)atoi(getenv("MATRIX_ROUND"));
}

static void *rank_main(void *arg)
{
	struct rank_thread *t = arg;

	matrix_run(t->comm, t->rank, t->n, round_number(), t->seen);
	OK(hocketCommDestroy(t->comm));
	return NULL;
}

/* The thread sanitizer makes it ten times as slow, and what it finds depends less on numbers. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FEW
#endif
#elif defined(__SANITIZE_THREAD__)
#define FEW
#endif
#ifdef FEW
#define NUMBERS "1,3,7,16"
#else
#define NUMBERS "1,2,3,4,5,6,7,8,9,16"
#endif

/* All numbers of ranks, as threads of this one. */
static void run_threads(struct rank *r)
{
	struct matrix_seen seen = {{false}}, others[MATRIX_RANKS];
	char *numbers = getenv("MATRIX_NUMBERS");

	matrix_complete();
	for (int n; *numbers; numbers += *numbers == ',') {
		struct rank_thread ranks[MATRIX_RANKS];
		hocketComm_t comms[MATRIX_RANKS];

		n = (int)strtol(numbers, &numbers, 10);
		CHECK(n > 0 && n <= MATRIX_RANKS && (!*numbers || *numbers == ','));
		OK(hocketCommInitAll(comms, n, NULL));
		for (int i = 0; i < n; i++) {
			ranks[i] = (struct rank_thread){
				.comm = comms[i],
				.rank = i,
				.n = n,
				.seen = i ? &others[i] : &seen,
			};
			CHECK(!pthread_create(&ranks[i].thread, NULL, rank_main, &ranks[i]));
		}
		for (int i = 0; i < n; i++)
			CHECK(!pthread_join(ranks[i].thread, NULL));
	}
	matrix_all_seen(&seen, round_number());
}

static void run_process(struct rank *r)
{
	struct matrix_seen seen;
	struct rank_thread t = {
		.comm = e2e_init(r, NULL), .rank = r->rank, .n = r->nranks, .seen = &seen};

	rank_main(&t);
}

static const struct scenario scenarios[] = {
	{"threads", run_threads}, {"process", run_process}, {NULL, NULL}};

/* Nodes of 5, 1, 6 and 4 ranks, two of them of two NUMA nodes. */
static const char topology[] = "machine two\n"
			       "  numa numa[0-1] cores 3\n"
			       "end\n"
			       "node a machine two slots 5\n"
			       "node b slots 1\n"
			       "node c machine two slots 6\n"
			       "node d slots 4\n"
			       "switch leaf\n"
			       "mesh a leaf ethernet 10Gb/s\n"
			       "mesh b leaf ethernet 10Gb/s\n"
			       "mesh c leaf ethernet 10Gb/s\n"
			       "mesh d leaf ethernet 10Gb/s\n";

static void with_round(unsigned round, const char *transport, const char *scenario, int n)
{
	char list[MATRIX_LIST], number[8];

	snprintf(number, sizeof(number), "%u", round);
	setenv("MATRIX_ROUND", number, 1);
	matrix_algorithms(round, list, sizeof(list));
	setenv("HOCKET_ALGO", list, 1);
	setenv("HOCKET_CHANNELS", round % 2 ? "1" : "3", 1);
	setenv("HOCKET_TRANSPORTS", transport, 1);
	e2e_run(scenario, n, -1);
}

static void over(const char *transport, unsigned first, unsigned last)
{
	char path[] = "/tmp/hocket-matrix-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, topology, sizeof(topology) - 1), sizeof(topology) - 1);
	close(fd);
	setenv("HOCKET_TOPO_FILE", path, 1);
	setenv("HOCKET_SLOT_BYTES", "4096", 1); /* more tiles */
	setenv("HOCKET_PROVE_MAX", "3", 1);	/* others prove */
	for (unsigned round = first; round <= last; round++) {
		with_round(round, transport, "threads", 1);
		with_round(round, transport, "process", 2 + (int)round % 3 * 2);
	}
	unlink(path);
}

static void test_shm(void **state)
{
	over("shm", 0, MATRIX_ROUNDS - 1);
}

static void test_tcp(void **state)
{
	over("tcp", 0, MATRIX_ROUNDS - 1);
}

/* What the arguments say. */
static const char *part_transport;
static unsigned part_round;

static void test_part(void **state)
{
	over(part_transport, part_round, part_round);
}

/* The number of rounds is given so that whoever lists them sees that there are more now. */
static int run_part(char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_part),
	};
	unsigned rounds;

	if (sscanf(argv[2], "%u/%u", &part_round, &rounds) != 2 || rounds != MATRIX_ROUNDS ||
	    part_round >= rounds) {
		fprintf(stderr, "%s is no round: there are %d, from 0/%d on\n", argv[2],
			MATRIX_ROUNDS, MATRIX_ROUNDS);
		return 2;
	}
	part_transport = argv[1];
	setenv("MATRIX_NUMBERS", argv[3], 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shm),
		cmocka_unit_test(test_tcp),
	};

	e2e_main(argc, argv, scenarios);
	if (argc == 4)
		return run_part(argv);
	setenv("MATRIX_NUMBERS", NUMBERS, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
