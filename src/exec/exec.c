/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs plans. A lane is a cursor over its steps, once per tile; hk_plan_poll takes every lane as
 * far as it goes without waiting. A step goes when its dependencies have passed, its message is
 * there and its slot is free, all three at once; then it computes straight between user memory and
 * the slots.
 *
 * A step's result is computed into its target: the slot to be sent if it sends, else its
 * destination. If it sends and also stores, the target's blocks are copied on while they are in the
 * first-level cache, past the cache when the whole result is too large for it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "message.h"

static inline void store(const struct hk_plan *plan, bool nt, void *dst, const void *src,
			 size_t bytes)
{
	if (nt)
		plan->kernels->copy_nt(dst, src, bytes);
	else
		plan->kernels->copy(dst, src, bytes);
}

/* Whether what the step stores goes past the cache: large results that are not read again. */
static inline bool bypasses(const struct hk_plan *plan, const struct plan_step *st)
{
	return plan->nt && st->dst_buf == HK_OUT && !st->kept;
}

/* target = src (+) other, where src is input to be scaled first if `scaled`. */
static inline void combine(const struct hk_plan *plan, bool scaled, bool flip, void *target,
			   const void *src, const void *other, size_t n)
{
	if (scaled) {
		plan->kernels->scale[plan->call.type](target, src, n, plan->call.scalar);
		src = target;
	}
	plan->reduce(target, flip ? other : src, flip ? src : other, n);
}

/* Receives and reduces one chunk's part: into `slot` if there is one, and to dst if there is one.
 */
static void reduce_piece(struct hk_plan *plan, const struct plan_step *st, size_t n,
			 const uint8_t *src, const uint8_t *received, uint8_t *slot, uint8_t *dst)
{
	bool scaled = plan->call.scalar && st->src_buf == HK_IN;
	bool flip = st->flags & HK_STEP_FLIP;
	bool nt = bypasses(plan, st);
	bool bypass = slot && st->send->bypass;
	size_t block = PLAN_BLOCK / plan->esize;

	if (!slot && !nt) {
		/* Scaling in place would spoil `received` only if dst were it; it is not. */
		combine(plan, scaled, flip, dst, src, received, n);
		return;
	}
	if (slot && !dst && !bypass) {
		combine(plan, scaled, flip, slot, src, received, n);
		return;
	}
	for (size_t done = 0; done < n; done += block) {
		size_t m = n - done < block ? n - done : block;
		size_t at = done * plan->esize;
		uint8_t *target = slot && !bypass ? slot + at : plan->bounce;

		combine(plan, scaled, flip, target, src + at, received + at, m);
		if (bypass)
			plan->kernels->copy_nt(slot + at, target, m * plan->esize);
		if (dst)
			store(plan, nt, dst + at, target, m * plan->esize);
	}
}

/* dst = dst (+) src for one chunk's part, both local. */
static void reduce_local(struct hk_plan *plan, const struct plan_step *st, size_t n,
			 const uint8_t *src, uint8_t *dst)
{
	size_t block = PLAN_BLOCK / plan->esize;
	bool flip = st->flags & HK_STEP_FLIP;

	if (!plan->call.scalar || st->src_buf != HK_IN) {
		plan->reduce(dst, flip ? src : dst, flip ? dst : src, n);
		return;
	}
	for (size_t done = 0; done < n; done += block) {
		size_t m = n - done < block ? n - done : block;
		size_t at = done * plan->esize;

		plan->kernels->scale[plan->call.type](plan->bounce, src + at, m, plan->call.scalar);
		plan->reduce(dst + at, flip ? plan->bounce : dst + at,
			     flip ? dst + at : plan->bounce, m);
	}
}

/* nt: dst is stored to past the cache, unless the input has to be scaled on the way. */
static void copy_piece(struct hk_plan *plan, const struct plan_step *st, bool nt, size_t n,
		       const uint8_t *src, uint8_t *dst)
{
	if (plan->call.scalar && st->src_buf == HK_IN)
		plan->kernels->scale[plan->call.type](dst, src, n, plan->call.scalar);
	else
		store(plan, nt, dst, src, n * plan->esize);
}

/* Keeps a received part; one that came to its place by itself is there. */
static void keep_piece(struct hk_plan *plan, bool nt, size_t bytes, const uint8_t *received,
		       uint8_t *dst)
{
	if (received != dst)
		store(plan, nt, dst, received, bytes);
}

/* Forwards a received part to the slot and keeps a copy. */
static void forward_piece(struct hk_plan *plan, bool nt, bool bypass, size_t bytes,
			  const uint8_t *received, uint8_t *slot, uint8_t *dst)
{
	if (received == dst) {
		store(plan, bypass, slot, received, bytes);
		return;
	}
	for (size_t at = 0; at < bytes; at += PLAN_BLOCK) {
		size_t m = bytes - at < PLAN_BLOCK ? bytes - at : PLAN_BLOCK;

		store(plan, bypass, slot + at, received + at, m);
		store(plan, nt, dst + at, received + at, m);
	}
}

static void move_piece(struct hk_plan *plan, const struct plan_step *st, uint32_t i, struct span s,
		       const uint8_t *received, uint8_t *slot)
{
	size_t bytes = s.length * plan->esize;
	uint8_t *src = place(plan, st->src_buf, st->src + i, s);
	uint8_t *dst = place(plan, st->dst_buf, st->dst + i, s);

	switch (st->op) {
	case HK_SEND:
		if (slot) /* else it is lent */
			copy_piece(plan, st, st->send->bypass, s.length, src, slot);
		break;
	case HK_RECV:
		keep_piece(plan, bypasses(plan, st), bytes, received, dst);
		break;
	case HK_COPY:
		/* In place it may be there already. */
		if (src == dst && !(plan->call.scalar && st->src_buf == HK_IN))
			break;
		copy_piece(plan, st, bypasses(plan, st), s.length, src, dst);
		break;
	case HK_REDUCE:
		reduce_local(plan, st, s.length, src, dst);
		break;
	case HK_RECV_COPY_SEND:
		if (slot)
			forward_piece(plan, bypasses(plan, st), st->send->bypass, bytes, received,
				      slot, dst);
		else
			keep_piece(plan, bypasses(plan, st), bytes, received, dst);
		break;
	default: /* the three that receive and reduce */
		reduce_piece(plan, st, s.length, src, received, slot, dst);
	}
}

static int __attribute__((cold, noinline))
mismatch(const struct hk_plan *plan, const struct plan_step *st, uint32_t tile, uint32_t mark,
	 uint32_t bytes, size_t expected);

/* Where what the step sends lies and may be lent from, or NULL if it goes through a slot. */
static inline const void *to_lend(const struct hk_plan *plan, const struct plan_step *st,
				  uint32_t tile, size_t bytes)
{
	const void *at;

	if (!st->lendable || (plan->call.scalar && st->op == HK_SEND && st->src_buf == HK_IN))
		return NULL;
	if (st->op == HK_SEND)
		at = place(plan, st->src_buf, st->src, span_of(plan, st, 0, tile));
	else
		at = place(plan, st->dst_buf, st->dst, span_of(plan, st, 0, tile));
	return st->send->ops->lends(st->send, at, (uint32_t)bytes) ? at : NULL;
}

/* As reserve: a slot for what the step sends, or where it can be lent from. */
static inline int take_slot(const struct hk_plan *plan, const struct plan_step *st, uint32_t tile,
			    size_t bytes, void **slot, const void **lent)
{
	const struct hk_send_ops *ops = st->send->ops;
	int r;

	/* First whether it can go at all: what lends is to be asked once a message. */
	if (st->lendable) {
		r = ops->reserve(st->send, 0, slot);
		if (r <= 0)
			return r;
		*lent = to_lend(plan, st, tile, bytes);
		if (*lent) {
			*slot = NULL;
			return 1;
		}
	}
	return ops->reserve(st->send, (uint32_t)bytes, slot);
}

/* Fetches a message that only the transport can read. What is to be reduced comes to *received, as
 * a whole before anything is changed, because a pull may have to be repeated; the rest straight to
 * its destination, and on to the slot. 0: not yet. */
static int __attribute__((cold, noinline))
pull(struct hk_plan *plan, const struct plan_step *st, uint32_t tile, size_t bytes, uint8_t *slot,
     const void **received)
{
	const struct hk_recv_ops *ops = st->recv->ops;
	size_t at = 0;
	int r;

	if (st->does & HK_DOES_REDUCE) {
		*received = plan->pulled;
		return ops->pull(st->recv, 0, plan->pulled, (uint32_t)bytes);
	}
	for (uint32_t i = 0; i < st->nchunks; i++) {
		struct span s = span_of(plan, st, i, tile);
		uint8_t *dst = place(plan, st->dst_buf, st->dst + i, s);
		size_t n = s.length * plan->esize;

		if (!n)
			continue;
		r = ops->pull(st->recv, (uint32_t)at, dst, (uint32_t)n);
		if (r <= 0)
			return r;
		if (slot)
			store(plan, st->send->bypass, slot + at, dst, n);
		at += n;
	}
	return 1;
}

/* 1: the step went; 0: not yet; negative: an error. */
static inline int try_step(struct hk_plan *plan, const struct plan_step *st, uint32_t tile)
{
	const void *received = NULL, *lent = NULL;
	void *slot = NULL;
	uint32_t got, mark, own, left = st->nchunks; /* chunks to be moved */
	size_t bytes, at = 0;
	int r;

	if (st->ndeps && !deps_passed(st->deps, st->ndeps, tile))
		return 0;
	if (__builtin_expect(plan->skips, 0) && !step_elems(plan, st, tile))
		return 1; /* the peer knows, too, that there is nothing to come */
	if (st->does & HK_DOES_RECV) {
		r = st->recv->ops->peek(st->recv, &received, &got, &mark);
		if (r <= 0)
			return r;
	}
	bytes = step_elems(plan, st, tile) * plan->esize;
	own = mark_of(plan, st);
	if ((st->does & HK_DOES_RECV) && (mark != own || got != bytes))
		return mismatch(plan, st, tile, mark, got, bytes);
	if (st->does & HK_DOES_SEND) {
		r = take_slot(plan, st, tile, bytes, &slot, &lent);
		if (r <= 0)
			return r;
	}
	if (__builtin_expect((st->does & HK_DOES_RECV) && !received && bytes, 0)) {
		r = pull(plan, st, tile, bytes, slot, &received);
		if (r <= 0)
			return r;
		if (!received)
			left = 0;
	}
	for (uint32_t i = 0; i < left; i++) {
		struct span s = span_of(plan, st, i, tile);

		if (s.length)
			move_piece(plan, st, i, s, received ? (const uint8_t *)received + at : NULL,
				   slot ? (uint8_t *)slot + at : NULL);
		at += s.length * plan->esize;
	}
	if (st->does & HK_DOES_SEND) {
		plan->sent_messages++;
		plan->sent_bytes += bytes;
		r = lent ? st->send->ops->lend(st->send, lent, (uint32_t)bytes, own)
			 : st->send->ops->commit(st->send, (uint32_t)bytes, own);
		if (r < 0)
			return r;
	}
	if (st->does & HK_DOES_RECV) {
		r = st->recv->ops->release(st->recv);
		if (r < 0)
			return r;
		if (__builtin_expect(plan->offering, 0) && st->source)
			st->source->taken++;
	}
	return 1;
}

/* Takes a lane through its sends and one more step. Not further: while a lane works off all that
 * has come in, the lanes that keep the peers busy would stand still. */
static inline int poll_lane(struct hk_plan *plan, struct plan_lane *lane, bool *moved)
{
	while (lane->tile < plan->open) {
		const struct plan_step *st = &lane->steps[lane->step];
		int r = try_step(plan, st, lane->tile);

		if (r <= 0)
			return r;
		*moved = true;
		if (__builtin_expect(plan->observer != NULL, 0))
			plan->observer->step(plan->observer, (uint32_t)(lane - plan->lanes),
					     lane->step, lane->tile);
		lane->progress++;
		if (++lane->step == lane->nsteps) {
			lane->step = 0;
			if (++lane->tile == plan->ntiles)
				plan->active--;
			if (plan->open < plan->ntiles && !--plan->behind) {
				plan->behind = plan->active;
				plan->open++;
			}
		}
		if (st->op != HK_SEND)
			return 0;
	}
	return 0;
}

/* The same for a lane that does all tiles of a step before the next step; nobody waits for it. */
static int poll_lane_by_steps(struct hk_plan *plan, struct plan_lane *lane, bool *moved)
{
	while (lane->step < lane->nsteps) {
		int r = try_step(plan, &lane->steps[lane->step], lane->tile);

		if (r <= 0)
			return r;
		*moved = true;
		if (__builtin_expect(plan->observer != NULL, 0))
			plan->observer->step(plan->observer, (uint32_t)(lane - plan->lanes),
					     lane->step, lane->tile);
		if (++lane->tile < plan->ntiles &&
		    step_elems(plan, &lane->steps[lane->step], lane->tile))
			continue;
		lane->tile = 0;
		if (++lane->step < lane->nsteps)
			continue;
		lane->tile = plan->ntiles;
		plan->active--;
	}
	return 0;
}

static void divide(struct hk_plan *plan)
{
	const struct hk_call *call = &plan->call;
	uint32_t blocks = plan->prog->nchunks[HK_OUT] / plan->period;

	if (!plan->varied)
		plan->kernels->divide[call->type](call->out, call->count * blocks, call->divide);
	for (uint32_t i = 0; plan->varied && i < blocks; i++)
		plan->kernels->divide[call->type](call->out_blocks[i].at, call->out_blocks[i].count,
						  call->divide);
}

/* Each connection is flushed in each round: what one of them waits for may be in another. */
static int finish(struct hk_plan *plan)
{
	const struct hk_call *call = &plan->call;
	int all = 1;

	for (uint32_t i = 0; i < plan->nsends; i++) {
		int r = plan->sends[i]->ops->flush(plan->sends[i]);

		if (r < 0)
			return r;
		all = all && r;
	}
	if (!all)
		return 0;
	if (call->divide > 1 && plan->kernels->divide[call->type])
		divide(plan);
	return 1;
}

int hk_plan_poll(struct hk_plan *plan, bool *moved)
{
	if (__builtin_expect(plan->offering, 0))
		hk_plan_offer(plan);
	for (uint32_t l = 0; l < plan->nlanes; l++) {
		int r = __builtin_expect(plan->by_steps, 0)
				? poll_lane_by_steps(plan, &plan->lanes[l], moved)
				: poll_lane(plan, &plan->lanes[l], moved);

		if (__builtin_expect(r < 0, 0))
			return r;
	}
	return plan->active ? 0 : finish(plan);
}

/* --- marks and sentences --- */

uint32_t hk_mark_make(enum hk_coll coll, enum hk_type type, unsigned op, size_t count,
		      uint32_t sequence)
{
	return (sequence & 0xff) | mark_count(count) | (op & 0xf) << 20 | (uint32_t)type << 24 |
	       (uint32_t)coll << 28;
}

static void describe_mark(uint32_t mark, char *text, size_t bytes)
{
	static const char *const ops[] = {"sum", "prod", "max", "min", "avg", "premulsum"};
	uint32_t coll = mark >> 28, type = mark >> 24 & 0xf, op = mark >> 20 & 0xf;

	if (coll >= HK_NCOLLS || type >= HK_NTYPES || op >= sizeof(ops) / sizeof(ops[0]))
		snprintf(text, bytes, "something unknown (mark %08x)", mark);
	else
		snprintf(text, bytes, "call %u, %s of %s (%s)", mark & 0xff, hk_coll_name(coll),
			 hk_type_name(type), ops[op]);
}

/* A send that is longer or shorter than its receive. How long it is as a whole is known if its last
 * message is here: one that is not as long as messages can be. */
static int mismatch_p2p(const struct hk_plan *plan, const struct plan_step *st, uint32_t tile,
			uint32_t bytes)
{
	size_t most = plan->tile_elems * plan->esize, sent = tile * most + bytes;

	return hk_fail(HK_EMISMATCH,
		       "rank %d sends %s%zu bytes, where rank %d receives %zu bytes from it; a "
		       "rank's k-th send to another must be as long as the other's k-th receive "
		       "from it",
		       st->recv->peer,
		       bytes < most ? "" : "another number of bytes than it should, at least ",
		       sent, plan->prog->rank, plan->chunks[HK_OUT][st->dst].length * plan->esize);
}

static int mismatch(const struct hk_plan *plan, const struct plan_step *st, uint32_t tile,
		    uint32_t mark, uint32_t bytes, size_t expected)
{
	bool other = (mark ^ mark_of(plan, st)) & MARK_COUNT_MASK;
	char theirs[96], ours[96], count[64] = "";

	if (plan->by_steps && mark >> 28 == HK_POINT_TO_POINT)
		return mismatch_p2p(plan, st, tile, bytes);
	describe_mark(mark, theirs, sizeof(theirs));
	describe_mark(plan->call.mark, ours, sizeof(ours));
	if (!plan->varied)
		snprintf(count, sizeof(count), ", count %zu", plan->call.count);
	return hk_fail(HK_EMISMATCH,
		       "rank %d called %s with %s count, in a message of %u bytes, where this rank "
		       "expects %s%s, %zu bytes; all ranks must make the same calls in the same "
		       "order (numbers count modulo 256)",
		       st->recv->peer, theirs,
		       other	      ? "another"
		       : plan->varied ? "perhaps another"
				      : "the same",
		       bytes, ours, count, expected);
}

static const char *kind_of(const struct hk_plan *plan, int participant)
{
	return participant < plan->problem.nranks ? "rank" : "switch";
}

/* All lanes have done their steps, so it is the last messages. */
static void describe_flush(const struct hk_plan *plan, char *text, size_t bytes)
{
	int rank = plan->prog->rank;

	snprintf(text, bytes, "%s %d waits for its last messages to leave", kind_of(plan, rank),
		 rank);
	for (uint32_t i = 0; i < plan->nsends; i++) {
		struct hk_send *s = plan->sends[i];

		if (s->ops->flush(s) != 0)
			continue;
		snprintf(text, bytes, "%s %d waits for %s %d to take what it was sent over %s",
			 kind_of(plan, rank), rank, kind_of(plan, s->peer), s->peer,
			 s->ep->transport->name);
		return;
	}
}

void hk_plan_describe_wait(const struct hk_plan *plan, char *text, size_t bytes)
{
	int rank = plan->prog->rank;

	describe_flush(plan, text, bytes);
	for (uint32_t l = 0; l < plan->nlanes; l++) {
		const struct plan_lane *lane = &plan->lanes[l];
		const struct plan_step *st;
		const struct hk_endpoint *ep;
		bool from;
		int peer;

		if (lane->tile >= plan->open)
			continue;
		st = &lane->steps[lane->step];
		if (st->ndeps && !deps_passed(st->deps, st->ndeps, lane->tile))
			continue; /* the lane that it depends on tells more */
		from = st->recv != NULL;
		if (from && st->send) {
			const void *data;
			uint32_t n, mark;

			from = st->recv->ops->peek(st->recv, &data, &n, &mark) == 0;
		}
		ep = from ? st->recv->ep : st->send ? st->send->ep : NULL;
		peer = from ? st->recv->peer : st->send ? st->send->peer : rank;
		snprintf(text, bytes,
			 "%s %d waits in lane %u, step %u (%s), tile %u of %u, for %s %s %d over "
			 "%s",
			 kind_of(plan, rank), rank, l, lane->step, hk_op_name(st->op),
			 lane->tile + 1, plan->ntiles, from ? "a message from" : "a free slot to",
			 kind_of(plan, peer), peer, ep ? ep->transport->name : "itself");
		return;
	}
}
