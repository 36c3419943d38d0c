/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the registration cache have in common: a cache over the fake device of
 * pinned.h, and memory whose pages can be told apart.
 */
#ifndef HK_TEST_REGCACHE_FIXTURE_H
#define HK_TEST_REGCACHE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pinned.h"
#include "regcache.h"
#include "transport.h"

#define MOST_BYTES   (4u << 20)
#define MOST_REGIONS 64u

struct fixture {
	struct pinned_device device;
	struct hk_regcache *cache;
};

int setup(void **state);
/* With device memory. */
int setup_device(void **state);
int teardown(void **state);
struct hk_regcache_stats stats(struct fixture *f);
/* For cases about ordinary memory: skips them where the kernel does not tell of unmapping. */
void need_watch(struct fixture *f);
/* Gives each page a number of its own. */
void number(void *at, size_t pages);
/* So many numbered pages, at this place if it is not NULL. */
uint8_t *map_at(void *at, size_t pages);
uint8_t *map(size_t pages);
/* Gets and puts; whether there was a registration. What it holds must be what is there. */
bool use(struct fixture *f, const void *at, size_t bytes);
/* Nothing is registered any more, or will not be in a moment. */
void await_removal(struct fixture *f);
struct hk_memory shared_memory(size_t bytes);

#endif
