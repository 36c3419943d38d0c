/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * That the registration cache forgets memory however it goes away: unmapped, mapped over, moved,
 * shrunk, inherited by a child. The device really holds the pages (pinned.h), so that a stale
 * registration shows as a difference of contents. Where the kernel has no userfaultfd, the cases
 * that need it are skipped, and say so.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "regcache_fixture.h"

/* All ways in which the page at `a` may become another one, or none. Returns what is there now. */
static uint8_t *unmap_map(uint8_t *a)
{
	munmap(a, 4 * PAGE);
	return map_at(a, 4);
}

static uint8_t *map_over(uint8_t *a)
{
	return map_at(a, 4);
}

static uint8_t *unmap_part(uint8_t *a)
{
	munmap(a + PAGE, PAGE);
	map_at(a + PAGE, 1);
	return a;
}

static uint8_t *map_over_more(uint8_t *a)
{
	map_at(a - PAGE, 6);
	return a;
}

static uint8_t *empty(uint8_t *a)
{
	assert_int_equal(madvise(a, 4 * PAGE, MADV_DONTNEED), 0);
	number(a, 4);
	return a;
}

static uint8_t *free_lazily(uint8_t *a)
{
	assert_int_equal(madvise(a, 4 * PAGE, MADV_FREE), 0);
	number(a, 4);
	return a;
}

static uint8_t *move_away(uint8_t *a)
{
	uint8_t *to = map(4);

	assert_ptr_equal(mremap(a, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	map_at(a, 4);
	munmap(to, 4 * PAGE);
	return a;
}

static uint8_t *follow(uint8_t *a)
{
	uint8_t *to = map(4);

	assert_ptr_equal(mremap(a, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	map_at(a, 4);
	return to;
}

static uint8_t *move_here(uint8_t *a)
{
	uint8_t *from = map(4);

	assert_ptr_equal(mremap(from, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a), a);
	return a;
}

static uint8_t *leave_behind(uint8_t *a)
{
	uint8_t *to = mremap(a, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	assert_ptr_not_equal(to, MAP_FAILED);
	munmap(to, 4 * PAGE);
	number(a, 4);
	return a;
}

static uint8_t *shrink(uint8_t *a)
{
	assert_ptr_equal(mremap(a, 4 * PAGE, PAGE, 0), a);
	map_at(a + PAGE, 3);
	return a;
}

/* All again after each: the memory must be watched as before. */
static void test_gone(void **state)
{
	static uint8_t *(*const ways[])(uint8_t *) = {
		unmap_map, map_over, unmap_part, map_over_more, empty,	free_lazily,
		move_away, follow,   move_here,	 leave_behind,	shrink,
	};
	struct fixture *f = *state;
	uint8_t *a;

	need_watch(f);
	for (unsigned i = 0; i < 2 * sizeof(ways) / sizeof(ways[0]); i++) {
		uint64_t before = stats(f).invalidations;
		int adds;

		a = map(6) + PAGE;
		assert_true(use(f, a, 4 * PAGE));
		a = ways[i / 2](a);
		adds = f->device.adds;
		assert_true(use(f, a, 4 * PAGE));
		assert_int_equal(f->device.adds, adds + 1);
		assert_int_equal(stats(f).invalidations, before + 1);
		assert_true(use(f, a, 4 * PAGE));
		assert_int_equal(f->device.adds, adds + 1);
		/* and no page that went is still held */
		munmap(a, 4 * PAGE);
		await_removal(f);
	}
}

/* Memory that the C library got by brk, and stack. */
static void test_brk_and_stack(void **state)
{
	struct fixture *f = *state;
	uint8_t stack[2 * PAGE], *a;

	need_watch(f);
	number(stack, 1);
	assert_true(use(f, stack, sizeof(stack)));
	a = sbrk(16 * PAGE);
	assert_ptr_not_equal(a, (void *)-1);
	a = (uint8_t *)(((uintptr_t)a + PAGE - 1) / PAGE * PAGE);
	number(a, 8);
	assert_true(use(f, a, 8 * PAGE));
	assert_ptr_not_equal(sbrk(-16 * (intptr_t)PAGE), (void *)-1);
	assert_ptr_not_equal(sbrk(16 * PAGE), (void *)-1);
	number(a, 8);
	assert_true(use(f, a, 8 * PAGE));
	assert_true(stats(f).invalidations >= 1);
}

/* Growing in place moves nothing. */
static void test_grow(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(8);

	need_watch(f);
	munmap(a + 4 * PAGE, 4 * PAGE);
	assert_true(use(f, a, 4 * PAGE));
	assert_ptr_equal(mremap(a, 4 * PAGE, 8 * PAGE, 0), a);
	number(a + 4 * PAGE, 4);
	assert_true(use(f, a, 4 * PAGE));
	assert_int_equal(f->device.adds, 1);
	assert_true(use(f, a, 8 * PAGE));
	munmap(a, 8 * PAGE);
}

/* What is in use when its memory goes stays registered until its last user puts it, but no one
 * else gets it. */
static void test_gone_in_use(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(4);
	struct hk_reg *one, *two, *three;

	need_watch(f);
	one = hk_regcache_get(f->cache, a, 4 * PAGE);
	two = hk_regcache_get(f->cache, a, PAGE);
	assert_non_null(one);
	assert_ptr_equal(one, two);
	map_at(a, 4);
	three = hk_regcache_get(f->cache, a, 4 * PAGE);
	assert_non_null(three);
	assert_ptr_not_equal(one, three);
	assert_int_equal(pinned_stale(three, a, 4 * PAGE), 0);
	assert_int_equal(pinned_stale(one, a, 4 * PAGE), 4);
	hk_regcache_put(f->cache, one);
	assert_int_equal(f->device.removes, 0);
	hk_regcache_put(f->cache, two);
	assert_int_equal(f->device.removes, 1);
	/* the new one is watched although the old one went later */
	hk_regcache_put(f->cache, three);
	map_at(a, 4);
	assert_true(use(f, a, 4 * PAGE));
	munmap(a, 4 * PAGE);
}

/* Two caches watch the same memory: that one forgets it must not blind the other. */
static void test_two_caches(void **state)
{
	struct fixture *f = *state, *g;
	uint8_t *a = map(4);

	need_watch(f);
	assert_int_equal(setup((void **)&g), 0);
	assert_true(use(f, a, 4 * PAGE) && use(g, a + PAGE, 2 * PAGE));
	assert_int_equal(teardown((void **)&g), 0);
	a = unmap_map(a);
	assert_true(use(f, a, 4 * PAGE));
	assert_int_equal(stats(f).invalidations, 1);
	assert_int_equal(setup((void **)&g), 0);
	assert_true(use(g, a, 4 * PAGE));
	/* f alone knows of it first */
	a = unmap_map(a);
	assert_true(use(f, a, 4 * PAGE));
	a = unmap_map(a);
	assert_true(use(g, a, 4 * PAGE) && use(f, a, 4 * PAGE));
	assert_int_equal(teardown((void **)&g), 0);
	munmap(a, 4 * PAGE);
}

/* What is no longer cached is no longer watched: its owner's unmapping must not wait for us. */
static void test_unwatched(void **state)
{
	struct fixture *f = *state;
	struct hk_vmwatch w;
	uint8_t *a = map(4);

	need_watch(f);
	assert_int_equal(hk_vmwatch_open(&w), 0);
	assert_true(use(f, a, 2 * PAGE));
	f->device.fail_above = PAGE;
	assert_true(use(f, a + 2 * PAGE, PAGE));
	/* Takes the place of both. */
	f->device.fail_above = 0;
	assert_true(use(f, a, 3 * PAGE));
	assert_int_equal(stats(f).regions, 1);
	munmap(a, PAGE);
	for (int i = 0; i < 1000 && !hk_vmwatch_settled(&w); i++)
		sched_yield();
	assert_true(hk_vmwatch_pending(&w));
	await_removal(f);
	hk_vmwatch_take(&w, (struct hk_vmwatch_gone[HK_VMWATCH_GONE]){{0}});
	munmap(a + PAGE, 3 * PAGE);
	for (int i = 0; i < 1000 && !hk_vmwatch_settled(&w); i++)
		sched_yield();
	assert_false(hk_vmwatch_pending(&w));
	hk_vmwatch_close(&w);
}

/* Makes system call `number` fail with EPERM from now on; of ioctl only with this request. */
static int forbid(unsigned number, unsigned request)
{
	bool any = number != SYS_ioctl;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, any ? 0 : 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &filter);
}

/* In a container that forbids userfaultfd, and the device too. */
static int contained(void)
{
	struct hk_memory m = shared_memory(4 * PAGE);
	struct pinned_device device = {.fail_above = 0};
	struct hk_regcache *cache;
	struct hk_regcache_stats s;
	uint8_t *a = map(1);
	struct hk_reg *r;

	if (forbid(SYS_userfaultfd, 0) || forbid(SYS_ioctl, 0xaa00) ||
	    hk_regcache_create(&pinned_ops, &device, MOST_BYTES, MOST_REGIONS, &cache))
		return 1;
	hk_regcache_stats(cache, &s);
	if (s.ordinary || hk_regcache_get(cache, a, PAGE) || device.adds)
		return 2;
	if (hk_regcache_attach(cache, &m))
		return 3;
	r = hk_regcache_get(cache, m.base, PAGE);
	if (!r)
		return 4;
	hk_regcache_put(cache, r);
	hk_regcache_detach(cache, &m);
	hk_regcache_destroy(cache);
	return device.live ? 5 : 0;
}

static void test_contained(void **state)
{
	struct fixture *f = *state;
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(contained());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(f->device.adds, 0);
}

/* More goes away than can be listed. */
static void test_much_gone(void **state)
{
	const unsigned pages = 4 * HK_VMWATCH_GONE;
	struct fixture *f = *state;
	uint8_t *a = map(pages);

	need_watch(f);
	hk_regcache_prepare(f->cache, a, pages * PAGE);
	for (unsigned i = 0; i < pages; i += 2)
		map_at(a + i * PAGE, 1);
	for (unsigned i = 0; i < pages; i++)
		assert_true(use(f, a + i * PAGE, PAGE));
	munmap(a, pages * PAGE);
}

/* The thread sanitizer allows no thread in a child of a process that had some. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_THREADS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_THREADS 0
#endif
#endif
#ifndef CHILD_THREADS
#define CHILD_THREADS 1
#endif

/* In a child: nothing is cached, nothing waits, and it can start anew. */
static int child(struct fixture *f, uint8_t *a)
{
	struct pinned_device device = {.fail_above = 0};
	struct hk_regcache *cache;
	struct hk_reg *r;

	if (hk_regcache_get(f->cache, a, PAGE))
		return 1;
	munmap(a + PAGE, PAGE);
	hk_regcache_destroy(f->cache);
	if (f->device.removes)
		return 2;
	if (!CHILD_THREADS || !pinned_in_child)
		return 0;
	if (hk_regcache_create(&pinned_ops, &device, MOST_BYTES, MOST_REGIONS, &cache))
		return 3;
	number(a, 1);
	r = hk_regcache_get(cache, a, PAGE);
	if (!r || pinned_stale(r, a, PAGE))
		return 4;
	hk_regcache_put(cache, r);
	map_at(a, 1);
	r = hk_regcache_get(cache, a, PAGE);
	if (!r || pinned_stale(r, a, PAGE))
		return 5;
	hk_regcache_put(cache, r);
	hk_regcache_destroy(cache);
	return device.live ? 6 : 0;
}

static void test_fork(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(4);
	int status = -1;
	pid_t pid;

	need_watch(f);
	assert_true(use(f, a, 4 * PAGE));
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(child(f, a));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(use(f, a, 4 * PAGE));
	assert_int_equal(f->device.adds, 1);
	a = unmap_map(a);
	assert_true(use(f, a, 4 * PAGE));
	assert_int_equal(f->device.adds, 2);
	munmap(a, 4 * PAGE);
}

/* A child that lives on must not keep the parent's memory watched with nobody to listen. */
static void test_fork_lives_on(void **state)
{
	struct fixture *f = *state, *g;
	uint8_t *a = map(4);
	pid_t pid;

	need_watch(f);
	munmap(a + 2 * PAGE, 2 * PAGE);
	assert_true(use(f, a, 2 * PAGE));
	/* what it grows by is watched by accident, and known to nobody */
	assert_ptr_equal(mremap(a, 2 * PAGE, 4 * PAGE, 0), a);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	hk_regcache_destroy(f->cache);
	munmap(a, 4 * PAGE);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(setup((void **)&g), 0);
	f->cache = g->cache; /* for teardown */
	free(g);
}

int main(void)
{
	int missing = pinned_open();

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_brk_and_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_caches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_much_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unwatched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contained, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork_lives_on, setup, teardown),
	};

	if (missing)
		return missing;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
