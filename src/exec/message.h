/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a step's message is in the call at hand: which parts of which chunks, where they lie, how
 * long they are, and with which mark it travels. For those who run steps (exec.c) and for who says
 * ahead where their messages are wanted (offers.c).
 */
#ifndef HK_EXEC_MESSAGE_H
#define HK_EXEC_MESSAGE_H

#include "plan.h"

/* The current tile's part of a chunk, in elements: from `start` of the chunk's block on; where
 * blocks vary, of the chunk itself. */
struct span {
	size_t start, length;
};

static inline struct span cut(const struct hk_plan *plan, size_t start, size_t length,
			      uint32_t tile)
{
	size_t from = tile * plan->tile_elems, left;

	if (from >= length)
		return (struct span){start + length, 0};
	left = length - from;
	return (struct span){start + from, left < plan->tile_elems ? left : plan->tile_elems};
}

static inline struct span varied_span(const struct hk_plan *plan, const struct plan_step *st,
				      uint32_t i, uint32_t tile)
{
	const struct plan_chunk *k;

	if (st->src_buf == HK_IN || st->src_buf == HK_OUT)
		k = &plan->chunks[st->src_buf][st->src + i];
	else if (st->dst_buf == HK_OUT)
		k = &plan->chunks[HK_OUT][st->dst + i];
	else
		k = &plan->chunks[HK_SCRATCH][st->class + i];
	return cut(plan, 0, k->length, tile);
}

/* Of chunk number i of a step. */
static inline struct span span_of(const struct hk_plan *plan, const struct plan_step *st,
				  uint32_t i, uint32_t tile)
{
	const struct plan_class *k;
	uint32_t c = st->class + i;

	if (__builtin_expect(plan->varied, 0))
		return varied_span(plan, st, i, tile);
	k = &plan->classes[c < plan->period ? c : c % plan->period];
	return cut(plan, k->start, k->length, tile);
}

static inline size_t block_start(const struct hk_plan *plan, uint32_t chunk)
{
	return chunk < plan->period ? 0 : chunk / plan->period * plan->call.count;
}

/* Address of the current tile's part of a chunk. */
static inline uint8_t *place(const struct hk_plan *plan, enum hk_buf buf, uint32_t chunk,
			     struct span s)
{
	if (buf == HK_SCRATCH)
		return plan->scratch + chunk * plan->scratch_stride;
	if (buf == HK_NONE)
		return NULL;
	if (__builtin_expect(plan->varied, 0))
		return plan->chunks[buf][chunk].at + s.start * plan->esize;
	return (buf == HK_IN ? (uint8_t *)(uintptr_t)plan->call.in : (uint8_t *)plan->call.out) +
	       (block_start(plan, chunk) + s.start) * plan->esize;
}

/* Whether the lanes have passed these steps in this tile. */
static inline bool deps_passed(const struct plan_dep *deps, uint32_t n, uint32_t tile)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct plan_dep *d = &deps[i];

		if (d->lane->progress < (uint64_t)tile * d->nsteps + d->step + 1)
			return false;
	}
	return true;
}

/* Elements of the current tile in all chunks of a step. */
static inline size_t step_elems(const struct hk_plan *plan, const struct plan_step *st,
				uint32_t tile)
{
	size_t n = span_of(plan, st, 0, tile).length;

	for (uint32_t i = 1; i < st->nchunks; i++)
		n += span_of(plan, st, i, tile).length;
	return n;
}

#define MARK_COUNT_SHIFT 8
#define MARK_COUNT_BITS	 12
#define MARK_COUNT_MASK	 (((1u << MARK_COUNT_BITS) - 1) << MARK_COUNT_SHIFT)

static inline uint32_t mark_count(size_t count)
{
	return (uint32_t)(((uint64_t)count * 0x9e3779b97f4a7c15ull) >> (64 - MARK_COUNT_BITS))
	       << MARK_COUNT_SHIFT;
}

/* The mark of a step's messages. Where ranks know only their own blocks, there is no count that
 * all share: then it is that of the blocks that the message is a part of. */
static inline uint32_t mark_of(const struct hk_plan *plan, const struct plan_step *st)
{
	uint32_t mark = plan->call.mark;
	const struct plan_chunk *k;
	size_t n = 0;

	if (__builtin_expect(!plan->skips, 1))
		return mark;
	k = st->src_buf == HK_IN || st->src_buf == HK_OUT ? &plan->chunks[st->src_buf][st->src]
							  : &plan->chunks[HK_OUT][st->dst];
	for (uint32_t i = 0; i < st->nchunks; i++)
		n += k[i].length;
	return (mark & ~MARK_COUNT_MASK) | mark_count(n);
}

#endif
