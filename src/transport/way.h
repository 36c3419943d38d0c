/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choosing between ways of moving large messages, where only trying tells which is cheaper: the
 * sender measures what filling a slot costs it, the receiver what reading costs it, and the way
 * with the least sum is taken, but for bursts that try another. One struct per sending half.
 */
#ifndef HK_TRANSPORT_WAY_H
#define HK_TRANSPORT_WAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum hk_way {
	HK_WAY_CACHED, /* a slot is filled by plain stores */
	HK_WAY_BYPASS, /* a slot is filled by stores that bypass the cache */
	HK_WAY_LENT,   /* the receiver reads the sender's memory */
	HK_NWAYS,
};

struct hk_ways {
	uint32_t filled, offered;      /* large messages through slots, and that might be lent */
	uint32_t write_cost[HK_NWAYS]; /* the sender's own measurements */
	const _Atomic uint32_t *read_cost; /* the receiver's, HK_NWAYS of them */
};

/* Averages a measurement into a cost; one that was interrupted must not count for much. Costs are
 * in ticks per MiB, 0 being unknown: ticks may be tens of nanoseconds, and an average needs room
 * below. */
uint32_t hk_way_average(uint32_t cost, uint64_t ticks, uint32_t bytes);
/* What this way costs both ends together; 0: not known. */
uint64_t hk_way_cost(const struct hk_ways *w, enum hk_way way);
/* How to fill the slot of the next large message. */
enum hk_way hk_way_to_fill(struct hk_ways *w);
/* Whether to lend a message that can be lent. */
bool hk_way_to_lend(struct hk_ways *w);

#endif
