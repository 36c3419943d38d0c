/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that fight for a few addresses: each maps memory wherever the kernel says that an address
 * is free, be it that the one who unmapped it has not yet returned, uses it through the cache, and
 * unmaps, empties, replaces or moves it. Never may a registration hold other pages than those that
 * its user sees. The ranges lie side by side, so that registrations are joined across owners. The C
 * library's allocator, too, gives memory back under the device's calls, as it does under real ones.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "pinned.h"
#include "regcache.h"

#define THREADS	    4u
#define ROUNDS	    1500u
#define PLACES	    6u
#define PLACE_PAGES 4u
#define PLACE_BYTES (PLACE_PAGES * PAGE)
#define HOLE_BYTES  ((size_t)4 << 30)
#define LIMIT_NS    (INT64_C(8) * 1000000000)

struct world {
	struct pinned_device device;
	struct hk_regcache *cache;
	uint8_t *places; /* PLACES, side by side */
	atomic_uint_fast64_t number;
	atomic_uint claimed, used, stale, unknown;
	int64_t end;
};

struct worker {
	struct world *w;
	pthread_t thread;
	uint64_t random;
};

static unsigned pick(struct worker *k, unsigned n)
{
	k->random = k->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(k->random >> 33) % n;
}

static void number(struct world *w, uint8_t *at)
{
	for (unsigned i = 0; i < PLACE_PAGES; i++)
		*(uint64_t *)(at + i * PAGE) = atomic_fetch_add(&w->number, 1);
}

static void use(struct worker *k, uint8_t *at)
{
	struct world *w = k->w;
	unsigned first = pick(k, PLACE_PAGES), n = 1 + pick(k, PLACE_PAGES - first);
	struct hk_reg *r = hk_regcache_get(w->cache, at + first * PAGE, n * PAGE);
	int stale;

	if (!r)
		return;
	stale = pinned_stale(r, at + first * PAGE, n * PAGE);
	if (stale < 0)
		w->unknown++;
	else
		w->stale += (unsigned)stale;
	w->used++;
	hk_regcache_put(w->cache, r);
}

/* Changes the pages at a place that this thread owns. */
static void change(struct worker *k, uint8_t *at)
{
	void *to;

	switch (pick(k, 4)) {
	case 0:
		madvise(at, PLACE_BYTES, MADV_DONTNEED);
		break;
	case 1:
		mmap(at, PLACE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 2:
		to = mremap(at, PLACE_BYTES, PLACE_BYTES, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		if (to != MAP_FAILED)
			munmap(to, PLACE_BYTES);
		break;
	default:
		madvise(at + PAGE, PAGE, MADV_DONTNEED);
	}
	number(k->w, at);
}

/* Memory from the C library, some of which it returns to the kernel at once. */
static void use_heap(struct worker *k)
{
	size_t bytes = (8 + pick(k, 64)) * PAGE;
	uint8_t *a = malloc(bytes);
	struct hk_reg *r;

	if (!a)
		return;
	memset(a, (int)pick(k, 256), bytes);
	r = hk_regcache_get(k->w->cache, a, bytes);
	if (r)
		hk_regcache_put(k->w->cache, r);
	free(a);
}

static void *work(void *arg)
{
	struct worker *k = arg;
	struct world *w = k->w;

	for (unsigned i = 0; i < ROUNDS && hk_now_ns() < w->end; i++) {
		uint8_t *at = w->places + pick(k, PLACES) * PLACE_BYTES;

		if (mmap(at, PLACE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED) {
			if (i % 16 == 0)
				use_heap(k);
			continue;
		}
		w->claimed++;
		number(w, at);
		use(k, at);
		if (pick(k, 2)) {
			change(k, at);
			use(k, at);
		}
		munmap(at, PLACE_BYTES);
	}
	return NULL;
}

static void test_stress(void **state)
{
	struct world w = {.number = 1, .end = hk_now_ns() + LIMIT_NS};
	struct worker k[THREADS];
	struct hk_regcache_stats s;

	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_TRIM_THRESHOLD, 64 << 10);
	assert_int_equal(hk_regcache_create(&pinned_ops, &w.device, 4u << 20, 32, &w.cache), 0);
	hk_regcache_stats(w.cache, &s);
	if (!s.ordinary) {
		hk_regcache_destroy(w.cache);
		print_message("SKIPPED: this kernel does not tell when memory is unmapped\n");
		skip();
	}
	/* In a hole so large that the kernel puts nothing else there: it fills holes from above. */
	w.places = mmap(NULL, HOLE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	assert_ptr_not_equal(w.places, MAP_FAILED);
	munmap(w.places, HOLE_BYTES);
	for (unsigned i = 0; i < THREADS; i++) {
		k[i] = (struct worker){.w = &w, .random = 77 + i};
		assert_int_equal(pthread_create(&k[i].thread, NULL, work, &k[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(k[i].thread, NULL);
	hk_regcache_stats(w.cache, &s);
	hk_regcache_destroy(w.cache);
	print_message("%u mapped, %u used: %llu hits, %llu misses, %llu refused (%llu unsettled), "
		      "%llu invalidated, %llu evicted\n",
		      w.claimed, w.used, (unsigned long long)s.hits, (unsigned long long)s.misses,
		      (unsigned long long)s.refused, (unsigned long long)s.unsettled,
		      (unsigned long long)s.invalidations, (unsigned long long)s.evictions);
	assert_int_equal(w.stale, 0);
	assert_int_equal(w.unknown, 0);
	assert_int_equal(w.device.live, 0);
	assert_true(w.used > 0 && s.hits > 0 && s.invalidations > 0);
}

int main(void)
{
	int missing = pinned_open();

	const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};

	if (missing)
		return missing;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
