/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache: what it finds, registers, joins, evicts and refuses. The device is a fake
 * that really holds the pages (pinned.h), so that a stale registration shows as a difference of
 * contents. That the cache forgets memory which goes away is test_regcache_watch.c's matter. Where
 * the kernel has no userfaultfd, the cases that need it are skipped, and say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "regcache_fixture.h"

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

/* Without dmabufs the address itself is registered, as device memory all the same. */
static void test_device_address(void **state)
{
	struct fixture *f = *state;
	const uintptr_t base = UINTPTR_MAX / 2 + 1 + 64 * (uintptr_t)PAGE;
	struct hk_reg *r;

	f->device.memory = (struct hk_device_memory){base, 16 * PAGE, base, 41};
	f->device.no_dmabufs = true;
	r = hk_regcache_get(f->cache, (void *)(base + 3 * PAGE), 100);
	assert_non_null(r);
	assert_int_equal(f->device.base, base);
	assert_int_equal(f->device.offset, UINT64_MAX);
	hk_regcache_put(f->cache, r);
	/* freed, and another allocation at the same address */
	f->device.memory.id = 42;
	r = hk_regcache_get(f->cache, (void *)base, PAGE);
	assert_non_null(r);
	assert_int_equal(f->device.adds, 2);
	hk_regcache_put(f->cache, r);
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

int main(void)
{
	int missing = pinned_open();

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
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
		cmocka_unit_test_setup_teardown(test_device_address, setup_device, teardown),
		cmocka_unit_test_setup_teardown(test_device_part, setup_device, teardown),
		cmocka_unit_test_setup_teardown(test_no_device, setup, teardown),
	};

	if (missing)
		return missing;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
