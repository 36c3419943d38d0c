/* SPDX-License-Identifier: BSD-3-Clause */
#include "regcache_fixture.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int start(void **state, const struct hk_reg_ops *ops)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(hk_regcache_create(ops, &f->device, MOST_BYTES, MOST_REGIONS, &f->cache),
			 0);
	*state = f;
	return 0;
}

int setup(void **state)
{
	return start(state, &pinned_ops);
}

int setup_device(void **state)
{
	return start(state, &pinned_device_ops);
}

int teardown(void **state)
{
	struct fixture *f = *state;

	hk_regcache_destroy(f->cache);
	assert_int_equal(f->device.live, 0);
	free(f);
	return 0;
}

struct hk_regcache_stats stats(struct fixture *f)
{
	struct hk_regcache_stats s;

	hk_regcache_stats(f->cache, &s);
	return s;
}

/* For cases about ordinary memory. */
void need_watch(struct fixture *f)
{
	if (stats(f).ordinary)
		return;
	print_message("SKIPPED: this kernel does not tell when memory is unmapped\n");
	skip();
}

/* Gives each page a number of its own. */
void number(void *at, size_t pages)
{
	static uint64_t next = 1;

	for (size_t i = 0; i < pages; i++)
		*(uint64_t *)((uint8_t *)at + i * PAGE) = next++;
}

uint8_t *map_at(void *at, size_t pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);
	void *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	number(p, pages);
	return p;
}

uint8_t *map(size_t pages)
{
	return map_at(NULL, pages);
}

/* Gets and puts; whether there was a registration. What it holds must be what is there. */
bool use(struct fixture *f, const void *at, size_t bytes)
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
void await_removal(struct fixture *f)
{
	for (int i = 0; i < 1000 && f->device.live; i++) {
		sched_yield();
		hk_regcache_tidy(f->cache);
	}
	assert_int_equal(f->device.live, 0);
}

struct hk_memory shared_memory(size_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct hk_memory m = {.bytes = bytes, .fd = fd};

	assert_true(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	m.base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(m.base, MAP_FAILED);
	return m;
}
