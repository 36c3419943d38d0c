/* SPDX-License-Identifier: BSD-3-Clause */
/* The choice between ways, see way.h. Decisions depend on the measurements and on counts alone. */
#include "way.h"

#define MOST_COST ((int64_t)1 << 29)
#define PROBE	  64u /* one burst in so many tries another way */
/* Several messages in a row: a slot that is used seldom is cold, and would always seem worse. */
#define BURST 8u

/* Whether the kernels have stores that bypass the cache. */
#ifdef __x86_64__
#define HAVE_BYPASS true
#else
#define HAVE_BYPASS false
#endif

uint32_t hk_way_average(uint32_t cost, uint64_t ticks, uint32_t bytes)
{
	int64_t sample = (int64_t)((ticks << 20) / bytes) + 1;

	if (sample > MOST_COST)
		sample = MOST_COST;
	if (!cost)
		return (uint32_t)sample;
	if (sample > 3 * (int64_t)cost)
		sample = 3 * (int64_t)cost;
	return (uint32_t)(cost + (sample - (int64_t)cost) / 8);
}

bool hk_way_warm(struct hk_warmth *w, uint32_t bytes, uint32_t slots)
{
	if (bytes > w->longest)
		*w = (struct hk_warmth){.longest = bytes};
	if (w->count >= slots)
		return true;
	w->count++;
	return false;
}

uint64_t hk_way_cost(const struct hk_ways *w, enum hk_way way)
{
	uint32_t read = atomic_load_explicit(&w->read_cost[way], memory_order_relaxed);

	if (way == HK_WAY_LENT || way == HK_WAY_PULLED)
		return read;
	return w->write_cost[way] && read ? (uint64_t)w->write_cost[way] + read : 0;
}

static bool tries(uint32_t n)
{
	return n / BURST % PROBE == PROBE - 1;
}

enum hk_way hk_way_to_fill(struct hk_ways *w)
{
	uint64_t cached = hk_way_cost(w, HK_WAY_CACHED), bypass = hk_way_cost(w, HK_WAY_BYPASS);
	bool take_bypass = bypass < cached;

	w->filled++;
	if (!HAVE_BYPASS)
		return HK_WAY_CACHED;
	if (!cached || !bypass)
		take_bypass = w->filled / BURST % 2;
	else if (tries(w->filled))
		take_bypass = !take_bypass;
	return take_bypass ? HK_WAY_BYPASS : HK_WAY_CACHED;
}

bool hk_way_to_lend(struct hk_ways *w, enum hk_way how)
{
	uint64_t cached = hk_way_cost(w, HK_WAY_CACHED), bypass = hk_way_cost(w, HK_WAY_BYPASS);
	uint64_t lent = hk_way_cost(w, how);
	bool lend;

	w->offered++;
	if (!lent)
		return true;
	if (!cached || (!bypass && HAVE_BYPASS))
		return w->offered / BURST % 2;
	lend = lent <= (bypass && bypass < cached ? bypass : cached);
	return tries(w->offered) ? !lend : lend;
}
