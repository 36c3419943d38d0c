/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hot path neither allocates nor enters the kernel while the peers keep pace. Allocations are
 * counted by wrapping malloc in this program. System calls are caught by the kernel's syscall user
 * dispatch, which turns each into a signal: a batch of calls without a signal had none. On a
 * crowded machine a peer may not run for a while; here a wait spins for longer than that, so that
 * it need not enter the kernel. Should it do so all the same, a batch may contain only what waiting
 * is made of, and some batches must be clean.
 */
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define DISPATCH_ON  1
#define DISPATCH_OFF 0

#define BATCH	50
#define BATCHES 40

#ifdef SANITIZED

static void run_hotpath(struct rank *r)
{
}

static void test_hotpath(void **state)
{
	print_message("sanitizers allocate and make system calls of their own: not tested\n");
	skip();
}

#else

static _Thread_local uint64_t allocations;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t a, size_t n);

void *malloc(size_t n)
{
	allocations++;
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t m)
{
	allocations++;
	return __libc_calloc(n, m);
}

void *realloc(void *p, size_t n)
{
	allocations++;
	return __libc_realloc(p, n);
}

void *aligned_alloc(size_t a, size_t n)
{
	allocations++;
	return __libc_memalign(a, n);
}

static volatile char selector; /* 0: system calls pass, 1: they raise SIGSYS */
static volatile int caught;    /* number of the batch's first system call, -1: none */

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	selector = 0;
	caught = info->si_syscall;
}

static int start_dispatch(void)
{
	struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};

	CHECK(sigaction(SIGSYS, &action, NULL) == 0);
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_ON, 0, 0, &selector);
}

static int waits(int number)
{
	return number == SYS_sched_yield || number == SYS_futex || number == SYS_membarrier;
}

static void run_size(const struct rank *r, hocketComm_t comm, size_t count)
{
	float *in = calloc(count, sizeof(*in)), *out = calloc(count, sizeof(*out));
	int clean = 0;
	uint64_t before;

	CHECK(in && out);
	for (int i = 0; i < BATCH; i++)
		OK(hocketAllReduce(in, out, count, hocketFloat32, hocketSum, comm, NULL));
	for (int b = 0; b < BATCHES; b++) {
		before = allocations;
		caught = -1;
		selector = 1;
		for (int i = 0; i < BATCH; i++)
			OK(hocketAllReduce(in, out, count, hocketFloat32, hocketSum, comm, NULL));
		selector = 0;
		CHECK(allocations == before);
		CHECK(caught == -1 || waits(caught));
		clean += caught == -1;
	}
	if (!clean)
		fprintf(stderr, "rank %d, %zu elements: every batch had a system call\n", r->rank,
			count);
	CHECK(clean > 0);
	free(in);
	free(out);
}

static void run_hotpath(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	uint64_t before = allocations;
	void *volatile p = malloc(10); /* volatile, or the compiler leaves both calls out */

	CHECK(p && allocations == before + 1); /* the counter counts */
	free(p);
	if (start_dispatch() == 0) {
		selector = 1;
		caught = -1;
		getppid();
		selector = 0;
		CHECK(caught == SYS_getppid); /* and the trap traps */
	} else {
		fprintf(stderr, "this kernel has no syscall user dispatch: only allocations are "
				"counted\n");
	}
	run_size(r, comm, 2);
	run_size(r, comm, 1000);
	run_size(r, comm, 40000);
	prctl(PR_SET_SYSCALL_USER_DISPATCH, DISPATCH_OFF, 0, 0, 0);
	OK(hocketCommDestroy(comm));
}

static void test_hotpath(void **state)
{
	cpu_set_t cpus;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	if (CPU_COUNT(&cpus) < 2) {
		print_message("one processor: a peer can't keep pace, not tested\n");
		skip();
	}
	setenv("HOCKET_SPIN_US", "100000", 1);
	e2e_run("hotpath", 2, -1);
	unsetenv("HOCKET_SPIN_US");
}

#endif

static const struct scenario scenarios[] = {{"hotpath", run_hotpath}, {NULL, NULL}};

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hotpath)};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
