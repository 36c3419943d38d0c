/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache: what it finds, registers, joins, evicts and refuses, and that it forgets
 * memory however that goes away. The device is a fake that really holds the pages (pinned.h), so
 * that a stale registration shows as a difference of contents. Where the kernel has no userfaultfd,
 * the cases that need it are skipped, and say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pinned.h"
#include "regcache.h"
#include "transport.h"

#define MOST_BYTES   (4u << 20)
#define MOST_REGIONS 64u

struct fixture {
	struct pinned_device device;
	struct hk_regcache *cache;
};

static int start(void **state, const struct hk_reg_ops *ops)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(hk_regcache_create(ops, &f->device, MOST_BYTES, MOST_REGIONS, &f->cache),
			 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return start(state, &pinned_ops);
}

static int setup_device(void **state)
{
	return start(state, &pinned_device_ops);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hk_regcache_destroy(f->cache);
	assert_int_equal(f->device.live, 0);
	free(f);
	return 0;
}

static struct hk_regcache_stats stats(struct fixture *f)
{
	struct hk_regcache_stats s;

	hk_regcache_stats(f->cache, &s);
	return s;
}

/* For cases about ordinary memory. */
static void need_watch(struct fixture *f)
{
	if (stats(f).ordinary)
		return;
	print_message("SKIPPED: this kernel does not tell when memory is unmapped\n");
	skip();
}

/* Gives each page a number of its own. */
static void number(void *at, size_t pages)
{
	static uint64_t next = 1;

	for (size_t i = 0; i < pages; i++)
		*(uint64_t *)((uint8_t *)at + i * PAGE) = next++;
}

static uint8_t *map_at(void *at, size_t pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);
	void *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	number(p, pages);
	return p;
}

static uint8_t *map(size_t pages)
{
	return map_at(NULL, pages);
}

/* Gets and puts; whether there was a registration. What it holds must be what is there. */
static bool use(struct fixture *f, const void *at, size_t bytes)
{
	struct hk_reg *r = NULL;
	uint64_t unsettled;

	/* Just after an unmapping it may need a moment. */
	for (int i = 0; i < 1000 && !r; i++) {
		unsettled = stats(f).unsettled;
		r = hk_regcache_get(f->cache, at, bytes);
		if (!r && stats(f).unsettled == unsettled)
			return false;
	}
	if (!r)
		return false;
	assert_true(r->base <= (uintptr_t)at && (uintptr_t)at + bytes <= r->base + r->bytes);
	assert_int_equal(pinned_stale(r, at, bytes), 0);
	hk_regcache_put(f->cache, r);
	return true;
}

/* Nothing is registered any more, or will not be in a moment. */
static void await_removal(struct fixture *f)
{
	for (int i = 0; i < 1000 && f->device.live; i++) {
		sched_yield();
		hk_regcache_tidy(f->cache);
	}
	assert_int_equal(f->device.live, 0);
}

static void test_find(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(8), *b = map(3);

	need_watch(f);
	assert_true(use(f, a + 100, 3 * PAGE));
	assert_int_equal(f->device.base, a);
	assert_int_equal(f->device.bytes, 4 * PAGE);
	assert_true(use(f, a, 4 * PAGE));
	assert_true(use(f, a + 4 * PAGE - 1, 1));
	assert_true(use(f, b, 3 * PAGE));
	assert_int_equal(f->device.adds, 2);
	/* one byte more */
	assert_true(use(f, a, 4 * PAGE + 1));
	assert_int_equal(f->device.adds, 3);
	assert_int_equal(stats(f).hits, 2);
	assert_int_equal(stats(f).misses, 3);
	/* nonsense */
	assert_false(use(f, a, 0));
	assert_false(use(f, a, SIZE_MAX));
	munmap(a, 8 * PAGE);
	munmap(b, 3 * PAGE);
}

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

static void test_refused(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();
	int fd = memfd_create("test", MFD_CLOEXEC), adds;
	uint8_t *a = map(2), *s, *m, *p;

	assert_true(file && fd >= 0 && ftruncate(fd, PAGE) == 0 &&
		    ftruncate(fileno(file), PAGE) == 0);
	s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
	assert_true(s != MAP_FAILED && m != MAP_FAILED && p != MAP_FAILED);
	number(s, 1);
	number(m, 1);
	number(p, 1);
	assert_false(use(f, s, PAGE));
	assert_false(use(f, m, PAGE));
	use(f, p, PAGE); /* as the file system is: once written, a page is the process's own */
	assert_int_equal(mprotect(a, PAGE, PROT_READ), 0);
	assert_false(use(f, a, PAGE));
	/* a hole */
	munmap(a + PAGE, PAGE);
	assert_false(use(f, a + PAGE, PAGE));
	/* nothing is tried twice at once */
	adds = f->device.adds;
	for (int i = 0; i < 10; i++)
		assert_false(use(f, s, PAGE) || use(f, a, PAGE));
	assert_int_equal(f->device.adds, adds);
	munmap(p, PAGE);
	await_removal(f);
	munmap(s, PAGE);
	munmap(m, PAGE);
	munmap(a, PAGE);
	close(fd);
	fclose(file);
}

/* A buffer that is asked for piece by piece. */
static void test_pieces(void **state)
{
	const size_t pages = 96, step = PAGE + 700;
	struct fixture *f = *state;
	uint8_t *a = map(pages);
	int adds;

	need_watch(f);
	for (size_t at = 0; at < pages * PAGE; at += step)
		assert_true(use(f, a + at, at + step < pages * PAGE ? step : pages * PAGE - at));
	assert_true(stats(f).regions <= 8);
	assert_true(stats(f).bytes <= 2 * pages * PAGE);
	adds = f->device.adds;
	for (size_t at = 0; at + step < pages * PAGE; at += step)
		assert_true(use(f, a + at, step));
	assert_int_equal(f->device.adds, adds);
	/* as a whole, in place of all of them */
	hk_regcache_prepare(f->cache, a, pages * PAGE);
	assert_int_equal(stats(f).regions, 1);
	assert_int_equal(stats(f).bytes, pages * PAGE);
	munmap(a, pages * PAGE);
}

/* If joining fails, the piece alone will do. */
static void test_pieces_alone(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(8);

	need_watch(f);
	f->device.fail_above = PAGE;
	for (size_t i = 0; i < 8; i++)
		assert_true(use(f, a + i * PAGE, PAGE));
	assert_int_equal(stats(f).regions, 8);
	munmap(a, 8 * PAGE);
}

static void test_bounds(void **state)
{
	const size_t pages = MOST_BYTES / 4 / PAGE;
	struct fixture *f = *state;
	uint8_t *a[5], *many;
	struct hk_reg *r;

	need_watch(f);
	for (int i = 0; i < 5; i++)
		a[i] = map(pages + 2) + PAGE;
	for (int i = 0; i < 4; i++) {
		munmap(a[i] - PAGE, PAGE);
		assert_true(use(f, a[i], pages * PAGE));
	}
	r = hk_regcache_get(f->cache, a[0], PAGE);
	/* the one used longest ago goes, but not what is in use */
	assert_true(use(f, a[4], pages * PAGE));
	assert_int_equal(stats(f).evictions, 1);
	assert_int_equal(f->device.adds, 5);
	assert_true(use(f, a[0], pages * PAGE) && use(f, a[2], pages * PAGE));
	assert_int_equal(f->device.adds, 5);
	assert_true(use(f, a[1], pages * PAGE));
	assert_int_equal(f->device.adds, 6);
	/* all that can be freed would not do */
	hk_regcache_prepare(f->cache, a[3], pages * PAGE);
	assert_false(use(f, a[3], MOST_BYTES + 1));
	hk_regcache_put(f->cache, r);
	for (int i = 0; i < 5; i++)
		munmap(a[i], (pages + 1) * PAGE);
	many = map(4 * MOST_REGIONS);
	for (size_t i = 0; i < 2 * MOST_REGIONS; i++)
		assert_true(use(f, many + 2 * i * PAGE, 1));
	assert_int_equal(stats(f).regions, MOST_REGIONS);
	munmap(many, 4 * MOST_REGIONS * PAGE);
}

/* Less may be locked than the cache was told. */
static void test_locked_limit(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(64);
	struct hk_reg *r;

	need_watch(f);
	f->device.most_locked = 8 * PAGE;
	for (size_t i = 0; i < 64; i += 4)
		assert_true(use(f, a + i * PAGE, 3 * PAGE));
	/* but not if all is in use */
	r = hk_regcache_get(f->cache, a, 8 * PAGE);
	assert_non_null(r);
	assert_false(use(f, a + 32 * PAGE, PAGE));
	hk_regcache_put(f->cache, r);
	munmap(a, 64 * PAGE);
}

/* A bound of 0 bytes: nothing is registered, nothing watched. */
static void test_off(void **state)
{
	struct fixture *f = *state;
	struct pinned_device device = {.fail_above = 0};
	struct hk_regcache *cache;
	struct hk_vmwatch w;
	uint8_t *a = map(2);

	need_watch(f);
	assert_int_equal(hk_vmwatch_open(&w), 0);
	assert_int_equal(hk_regcache_create(&pinned_ops, &device, 0, 64, &cache), 0);
	assert_null(hk_regcache_get(cache, a, PAGE));
	munmap(a, 2 * PAGE);
	for (int i = 0; i < 1000 && !hk_vmwatch_settled(&w); i++)
		sched_yield();
	assert_false(hk_vmwatch_pending(&w));
	hk_regcache_destroy(cache);
	hk_vmwatch_close(&w);
	assert_int_equal(device.adds, 0);
}

static void test_all_in_use(void **state)
{
	struct fixture *f = *state;
	uint8_t *a = map(2 * MOST_REGIONS + 2);
	struct hk_reg *r[MOST_REGIONS];

	need_watch(f);
	for (unsigned i = 0; i < MOST_REGIONS; i++) {
		r[i] = hk_regcache_get(f->cache, a + 2 * i * PAGE, PAGE);
		assert_non_null(r[i]);
	}
	assert_false(use(f, a + 2 * MOST_REGIONS * PAGE, PAGE));
	hk_regcache_put(f->cache, r[7]);
	assert_true(use(f, a + 2 * MOST_REGIONS * PAGE, PAGE));
	for (unsigned i = 0; i < MOST_REGIONS; i++)
		if (i != 7)
			hk_regcache_put(f->cache, r[i]);
	munmap(a, (2 * MOST_REGIONS + 2) * PAGE);
}

static struct hk_memory shared_memory(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct hk_memory m = {.bytes = bytes, .fd = fd};

	assert_true(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	m.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(m.base, MAP_FAILED);
	return m;
}

static void test_attached(void **state)
{
	struct fixture *f = *state;
	struct hk_memory m = shared_memory(64 * PAGE);
	uint8_t *a = m.base;

	assert_false(use(f, a, PAGE));
	assert_int_equal(hk_regcache_attach(f->cache, &m), 0);
	assert_int_equal(hk_regcache_attach(f->cache, &m), 0);
	number(a, 64);
	assert_true(use(f, a + 5 * PAGE, PAGE));
	assert_int_equal(f->device.bytes, 64 * PAGE);
	assert_true(use(f, a, 64 * PAGE));
	assert_int_equal(stats(f).regions, 1);
	/* attached twice: the first detach leaves it */
	hk_regcache_detach(f->cache, &m);
	assert_true(use(f, a, 64 * PAGE));
	assert_int_equal(stats(f).misses, 2);
	hk_regcache_detach(f->cache, &m);
	assert_int_equal(f->device.live, 0);
	munmap(m.base, m.bytes);
	close(m.fd);
}

/* A large region is registered in pieces, as far as it is used. */
static void test_attached_sparse(void **state)
{
	const size_t piece = (size_t)32 << 20;
	struct fixture *f = *state;
	struct hk_memory m = shared_memory(3 * piece + 5 * PAGE);
	struct hk_reg *r;

	/* Without the bounds of the other cases, and without really holding that much. */
	hk_regcache_destroy(f->cache);
	assert_int_equal(hk_regcache_create(&pinned_device_ops, &f->device, 8 * piece, MOST_REGIONS,
					    &f->cache),
			 0);
	f->device.memory = (struct hk_device_memory){(uintptr_t)m.base, m.bytes, 0, 1};
	r = hk_regcache_get(f->cache, (uint8_t *)m.base + piece + 10, 100);
	assert_non_null(r);
	assert_int_equal(r->base, (uintptr_t)m.base + piece);
	assert_int_equal(r->bytes, piece);
	hk_regcache_put(f->cache, r);
	r = hk_regcache_get(f->cache, (uint8_t *)m.base + 2 * piece - 10, 100);
	assert_non_null(r);
	assert_int_equal(r->base, (uintptr_t)m.base + piece);
	assert_int_equal(r->bytes, 2 * piece);
	hk_regcache_put(f->cache, r);
	assert_int_equal(stats(f).regions, 1);
	r = hk_regcache_get(f->cache, (uint8_t *)m.base + m.bytes - 1, 1);
	assert_non_null(r);
	assert_int_equal(r->base, (uintptr_t)m.base + 3 * piece);
	assert_int_equal(r->bytes, 5 * PAGE);
	hk_regcache_put(f->cache, r);
	munmap(m.base, m.bytes);
	close(m.fd);
}

static void test_device(void **state)
{
	struct fixture *f = *state;
	const uintptr_t base =
		UINTPTR_MAX / 2 + 1 + 64 * (uintptr_t)PAGE; /* never a host address */
	struct hk_reg *r;

	f->device.memory = (struct hk_device_memory){base, 16 * PAGE, base, 41};
	r = hk_regcache_get(f->cache, (void *)(base + 3 * PAGE), 100);
	assert_non_null(r);
	assert_int_equal(r->base, base);
	assert_int_equal(r->bytes, 16 * PAGE);
	assert_int_equal(f->device.offset, 0);
	assert_int_equal(fcntl(f->device.open_fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
	hk_regcache_put(f->cache, r);
	assert_ptr_equal(hk_regcache_get(f->cache, (void *)base, 16 * PAGE), r);
	hk_regcache_put(f->cache, r);
	assert_int_equal(f->device.exports, 1);
	/* past its end */
	assert_null(hk_regcache_get(f->cache, (void *)(base + 16 * PAGE - 1), 2));
	/* freed, and another allocation at the same address */
	f->device.memory.id = 42;
	r = hk_regcache_get(f->cache, (void *)base, PAGE);
	assert_non_null(r);
	assert_int_equal(f->device.exports, 2);
	assert_int_equal(f->device.removes, 1);
	hk_regcache_put(f->cache, r);
	/* freed */
	f->device.memory.bytes = 0;
	assert_null(hk_regcache_get(f->cache, (void *)base, PAGE));
	assert_int_equal(f->device.live, 0);
}

/* Only a part can be registered: at its offset. */
static void test_device_part(void **state)
{
	struct fixture *f = *state;
	const uintptr_t base = UINTPTR_MAX / 2 + 1 + 64 * (uintptr_t)PAGE;
	struct hk_reg *r;

	f->device.memory = (struct hk_device_memory){base, 16 * PAGE, base, 41};
	f->device.fail_above = 2 * PAGE;
	r = hk_regcache_get(f->cache, (void *)(base + 3 * PAGE + 5), PAGE);
	assert_non_null(r);
	assert_int_equal(r->base, base + 3 * PAGE);
	assert_int_equal(f->device.offset, 3 * PAGE);
	hk_regcache_put(f->cache, r);
}

/* No device takes dmabufs: the address is none of this process, and is refused. */
static void test_no_device(void **state)
{
	struct fixture *f = *state;

	assert_null(hk_regcache_get(f->cache, (void *)(UINTPTR_MAX / 2 + 1 + 64 * PAGE), PAGE));
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
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_brk_and_stack, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pieces_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attached, setup, teardown),
		cmocka_unit_test_setup_teardown(test_attached_sparse, setup_device, teardown),
		cmocka_unit_test_setup_teardown(test_device, setup_device, teardown),
		cmocka_unit_test_setup_teardown(test_device_part, setup_device, teardown),
		cmocka_unit_test_setup_teardown(test_no_device, setup, teardown),
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
