/* SPDX-License-Identifier: BSD-3-Clause */
/* Measuring which way of moving data is cheaper, where only trying tells. */
#ifndef HK_TRANSPORT_WAY_H
#define HK_TRANSPORT_WAY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the kernels have stores that bypass the cache. */
#ifdef __x86_64__
#define HK_WAY_HAVE_BYPASS true
#else
#define HK_WAY_HAVE_BYPASS false
#endif

#define HK_WAY_MOST_COST ((int64_t)1 << 29)

/* Averages a measurement in; one that was interrupted must not count for much. Costs are in ticks
 * per 64 KiB, 0 being unknown: ticks may be tens of nanoseconds, and an average needs room below.
 */
static inline uint32_t hk_way_average(uint32_t cost, uint64_t ticks, uint32_t bytes)
{
	int64_t sample = (int64_t)((ticks << 16) / bytes) + 1;

	if (sample > HK_WAY_MOST_COST)
		sample = HK_WAY_MOST_COST;
	if (!cost)
		return (uint32_t)sample;
	if (sample > 3 * (int64_t)cost)
		sample = 3 * (int64_t)cost;
	return (uint32_t)(cost + (sample - (int64_t)cost) / 8);
}

#endif
