/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies where in the shared memory transport's segments, for shm.c, which says how it is used.
 * The names hold for both ends of a connection, each of which maps the receiver's memory.
 */
#ifndef HK_TRANSPORT_SHM_SEGMENT_H
#define HK_TRANSPORT_SHM_SEGMENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "way.h"

#define HK_SHM_PAGE   4096u
#define HK_SHM_INLINE 48u /* payload bytes that fit a header */

#define HK_SHM_HEADER_STRIDE 128u /* two lines: some processors prefetch lines in pairs */
#define HK_SHM_SENDER_AT     128u
#define HK_SHM_HEADERS_AT    512u
#define HK_SHM_MAX_SLOTS     ((HK_SHM_PAGE - HK_SHM_HEADERS_AT) / HK_SHM_HEADER_STRIDE)

/* The start of a segment. */
struct hk_shm_bell {
	_Atomic uint32_t armed;
	_Atomic uint32_t left; /* the segment's owner receives nothing any more */
};

struct hk_shm_header {
	_Atomic uint32_t seq; /* number of the message in this slot, from 1 on */
	uint32_t bytes, mark, way;
	uint8_t small[HK_SHM_INLINE];
};
_Static_assert(sizeof(struct hk_shm_header) == 64, "a header is one cache line");

/* First line of a control page; only the receiver writes it. */
struct hk_shm_credit {
	_Atomic uint32_t released;
	_Atomic uint32_t met;  /* the receiver is there, and needs nothing of the sender but data */
	_Atomic uint32_t gone; /* the receiver has closed */
	/* As hk_way_average() has it, 0: not known. */
	_Atomic uint32_t read_cost[HK_WAY_CLASSES][HK_NWAYS];
	_Atomic uint32_t pulls;	  /* the receiver can read the sender's memory */
	_Atomic uint32_t refused; /* number of the last message that it could not, after all */
};
_Static_assert(sizeof(struct hk_shm_credit) <= 64, "the receiver's counts are one cache line");

/* Second line of a control page; only the sender writes it. */
struct hk_shm_sender {
	_Atomic uint32_t gone;	 /* the sender has closed */
	_Atomic uint32_t served; /* the refused message whose bytes are in its slot now */
};

/* A mapped connection region, seen from either end. */
struct hk_shm_region {
	uint8_t *base;
	uint8_t *slots;
};

static inline struct hk_shm_credit *hk_shm_credit(const struct hk_shm_region *r)
{
	return (struct hk_shm_credit *)r->base;
}

static inline struct hk_shm_sender *hk_shm_sender(const struct hk_shm_region *r)
{
	return (struct hk_shm_sender *)(r->base + HK_SHM_SENDER_AT);
}

static inline struct hk_shm_header *hk_shm_header(const struct hk_shm_region *r, uint32_t slot)
{
	return (struct hk_shm_header *)(r->base + HK_SHM_HEADERS_AT + slot * HK_SHM_HEADER_STRIDE);
}

/* Wakes whoever sleeps on the bell. */
void hk_shm_ring(struct hk_shm_bell *bell);

static inline void hk_shm_ring_if_armed(struct hk_shm_bell *bell)
{
	/* The compiler must not move this load up; the processor may (see shm.c on sleeping). */
	atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(atomic_load_explicit(&bell->armed, memory_order_relaxed) != 0, 0))
		hk_shm_ring(bell);
}

/* Makes a segment with room for so many connections. */
int hk_shm_create(size_t regions, size_t region_bytes, int *fd, struct hk_shm_bell **bell);
/* Maps the bell of the peer's segment fd, after a look whether the segment is as large as ours. */
int hk_shm_map_bell(int fd, int peer, size_t regions, size_t region_bytes,
		    struct hk_shm_bell **bell);
int hk_shm_map_region(int fd, size_t index, size_t region_bytes, struct hk_shm_region *region);

#endif
