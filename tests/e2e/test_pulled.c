/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large calls on ordinary memory, in which ranks read each other's memory where the system allows
 * it: with the rights, without them, with fewer of them from the middle on, between threads, and
 * while a peer is killed. Every element is checked, and the buffers change from call to call, so
 * that whatever is read too late or too early shows.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "harness.h"

#define MOST                                                                                       \
	300007 /* elements of a block: more than a tile between 2 ranks, and than 2 between 3 */

static const size_t counts[] = {MOST, 40000, 100003, 9000};

struct memory {
	int64_t *in, *out;
	void *blocks[2];
};

static int64_t value(int rank, int call, size_t i)
{
	return (int64_t)i * 31 + rank * 1000003 + call * 77;
}

/* Buffers that lie differently in their pages on each rank. */
static struct memory make(const struct rank *r)
{
	size_t bytes = ((size_t)r->nranks * MOST + 64) * sizeof(int64_t);
	struct memory m = {.blocks = {malloc(bytes), malloc(bytes)}};

	CHECK(m.blocks[0] && m.blocks[1]);
	m.in = (int64_t *)m.blocks[0] + 3 * r->rank;
	m.out = (int64_t *)m.blocks[1] + 7 * r->rank;
	return m;
}

static void drop(struct memory *m)
{
	free(m->blocks[0]);
	free(m->blocks[1]);
}

static void all_gather(const struct rank *r, hocketComm_t comm, struct memory *m, size_t count,
		       int call)
{
	for (size_t i = 0; i < count; i++)
		m->in[i] = value(r->rank, call, i);
	OK(hocketAllGather(m->in, m->out, count, hocketInt64, comm, NULL));
	/* It is ours again. */
	memset(m->in, 0xa5, count * sizeof(int64_t));
	for (int from = 0; from < r->nranks; from++)
		for (size_t i = 0; i < count; i++)
			CHECK(m->out[(size_t)from * count + i] == value(from, call, i));
}

static void all_gather_in_place(const struct rank *r, hocketComm_t comm, struct memory *m,
				size_t count, int call)
{
	int64_t *own = m->out + (size_t)r->rank * count;

	for (size_t i = 0; i < count; i++)
		own[i] = value(r->rank, call, i);
	OK(hocketAllGather(own, m->out, count, hocketInt64, comm, NULL));
	for (int from = 0; from < r->nranks; from++)
		for (size_t i = 0; i < count; i++)
			CHECK(m->out[(size_t)from * count + i] == value(from, call, i));
}

static void all_reduce(const struct rank *r, hocketComm_t comm, struct memory *m, size_t count,
		       int call)
{
	for (size_t i = 0; i < count; i++)
		m->in[i] = value(r->rank, call, i);
	OK(hocketAllReduce(m->in, m->out, count, hocketInt64, hocketSum, comm, NULL));
	memset(m->in, 0xa5, count * sizeof(int64_t));
	for (size_t i = 0; i < count; i++) {
		int64_t want = 0;

		for (int from = 0; from < r->nranks; from++)
			want += value(from, call, i);
		CHECK(m->out[i] == want);
	}
}

static void exchange(const struct rank *r, hocketComm_t comm, struct memory *m, int first)
{
	for (int call = first; call < first + 24; call++) {
		size_t count = counts[call % 4];

		all_gather(r, comm, m, count, call);
		if (call % 3 == 0)
			all_gather_in_place(r, comm, m, count, call);
		if (call % 3 == 1)
			all_reduce(r, comm, m, count, call);
	}
}

static void run_exchange(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	struct memory m = make(r);

	exchange(r, comm, &m, 0);
	OK(hocketCommDestroy(comm));
	drop(&m);
}

/* From here on this process may not read others' memory, as in a strict container. */
static void forbid(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* Some may and some may not. */
static void run_forbidden(struct rank *r)
{
	if (r->rank > 0)
		forbid();
	run_exchange(r);
}

static void run_forbidden_later(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	struct memory m = make(r);

	exchange(r, comm, &m, 0);
	if (r->rank > 0)
		forbid();
	exchange(r, comm, &m, 24);
	OK(hocketCommDestroy(comm));
	drop(&m);
}

static void *kill_soon(void *arg)
{
	const struct timespec nap = {0, 150000000};

	nanosleep(&nap, NULL);
	kill(getpid(), SIGKILL);
	return NULL;
}

/* The last rank is killed while memory is read in both directions. */
static void run_killed(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	time_t end = time(NULL) + 20;
	hocketResult_t result = hocketSuccess;
	struct memory m = make(r);
	pthread_t killer;

	memset(m.in, 1, MOST * sizeof(int64_t));
	OK(hocketAllGather(m.in, m.out, MOST, hocketInt64, comm, NULL));
	if (r->rank == r->nranks - 1)
		CHECK(pthread_create(&killer, NULL, kill_soon, NULL) == 0);
	while (result == hocketSuccess && time(NULL) < end)
		result = hocketAllGather(m.in, m.out, MOST, hocketInt64, comm, NULL);
	CHECK(result == hocketRemoteError);
	CHECK(strstr(hocketGetLastError(comm), "rank"));
	OK(hocketCommDestroy(comm));
	drop(&m);
}

/* --- ranks that are threads --- */

struct job {
	struct rank r;
	hocketComm_t comm;
};

static void *thread_job(void *arg)
{
	struct job *job = arg;
	struct memory m = make(&job->r);

	exchange(&job->r, job->comm, &m, 0);
	drop(&m);
	return NULL;
}

static void test_threads(void **state)
{
	hocketComm_t comms[3];
	struct job jobs[3];
	pthread_t threads[3];

	for (int n = 2; n <= 3; n++) {
		OK(hocketCommInitAll(comms, n, NULL));
		for (int i = 0; i < n; i++) {
			jobs[i] = (struct job){{.rank = i, .nranks = n}, comms[i]};
			CHECK(pthread_create(&threads[i], NULL, thread_job, &jobs[i]) == 0);
		}
		for (int i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < n; i++)
			OK(hocketCommDestroy(comms[i]));
	}
}

static const struct scenario scenarios[] = {{"exchange", run_exchange},
					    {"forbidden", run_forbidden},
					    {"forbidden_later", run_forbidden_later},
					    {"killed", run_killed},
					    {NULL, NULL}};

static void test_exchange(void **state)
{
	e2e_run("exchange", 2, -1);
	e2e_run("exchange", 3, -1);
	setenv("HOCKET_CMA", "0", 1);
	e2e_run("exchange", 2, -1);
	unsetenv("HOCKET_CMA");
}

/* Slots so long that messages that are reduced are pulled as well. */
static void test_long_slots(void **state)
{
	setenv("HOCKET_SLOT_BYTES", "131072", 1);
	e2e_run("exchange", 2, -1);
	unsetenv("HOCKET_SLOT_BYTES");
}

static void test_forbidden(void **state)
{
	e2e_run("forbidden", 2, -1);
	e2e_run("forbidden_later", 2, -1);
	e2e_run("forbidden_later", 3, -1);
}

static void test_killed(void **state)
{
	e2e_run("killed", 2, 1);
	e2e_run("killed", 3, 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange),  cmocka_unit_test(test_long_slots),
		cmocka_unit_test(test_forbidden), cmocka_unit_test(test_killed),
		cmocka_unit_test(test_threads),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
