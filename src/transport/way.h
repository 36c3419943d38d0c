/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choosing between ways of moving large messages, where only trying tells which is cheaper: the
 * sender measures what filling a slot costs it, the receiver what reading costs it, and the way
 * with the least sum is taken, but for bursts that try another. One struct per sending half and
 * class of lengths: what costs something per message is cheap per byte for a long one.
 */
#ifndef HK_TRANSPORT_WAY_H
#define HK_TRANSPORT_WAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum hk_way {
	HK_WAY_CACHED, /* a slot is filled by plain stores */
	HK_WAY_BYPASS, /* a slot is filled by stores that bypass the cache */
	HK_WAY_LENT,   /* the receiver reads the sender's memory where it is */
	HK_WAY_PULLED, /* the kernel copies from the sender's memory for the receiver */
	HK_NWAYS,
};

#define HK_WAY_CLASSES	  2u
#define HK_WAY_LONG_BYTES 65536u /* from here on a message is of the second class */

static inline unsigned hk_way_class(uint32_t bytes)
{
	return bytes >= HK_WAY_LONG_BYTES;
}

/* Whether the slots are warm: what a slot costs whose pages have yet to be mapped tells nothing. */
struct hk_warmth {
	uint32_t longest, count; /* message so far, and messages in slots since the first such */
};

struct hk_ways {
	struct hk_warmth warmth;
	uint32_t filled, offered;      /* large messages through slots, and that might be lent */
	uint32_t write_cost[HK_NWAYS]; /* the sender's own measurements */
	const _Atomic uint32_t *read_cost; /* the receiver's, HK_NWAYS of them */
};

/* Averages a measurement into a cost; one that was interrupted must not count for much. Costs are
 * in ticks per MiB, 0 being unknown: ticks may be tens of nanoseconds, and an average needs room
 * below. */
uint32_t hk_way_average(uint32_t cost, uint64_t ticks, uint32_t bytes);
/* Counts a message in one of so many slots, and says whether it may be measured. */
bool hk_way_warm(struct hk_warmth *w, uint32_t bytes, uint32_t slots);
/* What this way costs both ends together; 0: not known. */
uint64_t hk_way_cost(const struct hk_ways *w, enum hk_way way);
/* How to fill the slot of the next large message. */
enum hk_way hk_way_to_fill(struct hk_ways *w);
/* Whether to lend a message that can be lent; `how` is HK_WAY_LENT or HK_WAY_PULLED. */
bool hk_way_to_lend(struct hk_ways *w, enum hk_way how);

#endif
