/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages over a connection of the shared memory transport: the fast path, both ends. The sender's
 * half comes first, then the receiver's. See shm.c for how it works.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "shm.h"

#define LARGE_BYTES 4096u	      /* from here on a message is measured */
#define LEND_BYTES  8192u	      /* less is faster copied than waited for */
#define PULL_BYTES  HK_WAY_LONG_BYTES /* less is not worth a system call */
#define LOOK_NS	    400

static int __attribute__((cold, noinline)) peer_gone(int peer, int *error)
{
	if (!*error)
		*error = hk_fail(
			HK_EPEER,
			"rank %d has destroyed its communicator, or aborted it, and takes no "
			"part in this call; do all ranks make the same calls?",
			peer);
	return *error;
}

/*
 * Ranks of one process see the same segment at different addresses: to the language, and to the
 * thread sanitizer, these are different objects, which order nothing between the threads. As long
 * as all data is in the segment nobody can tell. But what one lends the other from ordinary memory
 * needs an object that both know.
 */
static struct {
	_Alignas(64) _Atomic uint32_t passed;
} orders[16];

static _Atomic uint32_t *order_between(int from, int to)
{
	return &orders[(unsigned)(from * 3 + to) % 16].passed;
}

static void pass_on(bool same, int from, int to)
{
	if (same)
		atomic_fetch_add_explicit(order_between(from, to), 1, memory_order_release);
}

static void take_over(bool same, int from, int to)
{
	if (same)
		(void)atomic_load_explicit(order_between(from, to), memory_order_acquire);
}

/* Copies a message that the receiver could not pull to its slot. */
void hk_shm_serve(struct hk_shm_send *s)
{
	uint32_t number =
		atomic_load_explicit(&hk_shm_credit(&s->region)->refused, memory_order_acquire);
	uint32_t behind = s->sent - number, index;

	if (number == s->served || behind >= s->s.slots)
		return;
	s->served = number;
	index = (s->index + s->s.slots - 1 - behind) % s->s.slots;
	memcpy(s->region.slots + (size_t)index * s->s.slot_bytes, s->pulled[index],
	       hk_shm_header(&s->region, index)->bytes);
	atomic_store_explicit(&hk_shm_sender(&s->region)->served, number, memory_order_release);
	hk_shm_ring_if_armed(s->bell);
}

static int shm_reserve(struct hk_send *send, uint32_t bytes, void **slot)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;
	int64_t now;

	if (s->sent - s->released >= s->s.slots) {
		/* Not at every poll: each look takes the line away from the receiver, who counts in
		 * it. */
		now = hk_now_ns();
		if (now < s->look_at)
			return 0;
		s->look_at = now + LOOK_NS;
		s->released = atomic_load_explicit(&hk_shm_credit(&s->region)->released,
						   memory_order_acquire);
		if (s->sent - s->released >= s->s.slots) {
			if (atomic_load_explicit(&hk_shm_credit(&s->region)->gone,
						 memory_order_relaxed))
				return peer_gone(s->s.peer, &s->error);
			hk_shm_serve(s);
			return 0;
		}
	}
	/* The receiver polls the header's line, and would take it away between two stores: so a
	 * small message is put together here, and its line is written at once. */
	s->s.bypass = false;
	if (bytes >= LARGE_BYTES) {
		s->way = hk_way_to_fill(&s->ways[hk_way_class(bytes)]);
		s->s.bypass = s->way == HK_WAY_BYPASS;
		s->since = hk_ticks();
	}
	*slot = bytes <= HK_SHM_INLINE ? s->small
				       : s->region.slots + (size_t)s->index * s->s.slot_bytes;
	return 1;
}

/* Makes the header's message visible, and goes on to the next slot. */
static inline void publish_header(struct hk_shm_send *s, struct hk_shm_header *h)
{
	atomic_store_explicit(&h->seq, ++s->sent, memory_order_release);
	s->index = s->index + 1 == s->s.slots ? 0 : s->index + 1;
	s->header = hk_shm_header(&s->region, s->index);
	hk_shm_ring_if_armed(s->bell);
}

static int shm_commit(struct hk_send *send, uint32_t bytes, uint32_t mark)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;
	struct hk_shm_header *h = s->header;

	if (__builtin_expect(s->error, 0))
		return s->error;
	if (bytes <= HK_SHM_INLINE)
		memcpy(h->small, s->small, HK_SHM_INLINE);
	h->bytes = bytes;
	h->mark = mark;
	h->way = HK_WAY_CACHED;
	if (bytes >= LARGE_BYTES) {
		struct hk_ways *w = &s->ways[hk_way_class(bytes)];

		h->way = s->way;
		if (hk_way_warm(&w->warmth, bytes, s->s.slots))
			w->write_cost[s->way] =
				hk_way_average(w->write_cost[s->way], hk_ticks() - s->since, bytes);
	}
	publish_header(s, h);
	return 0;
}

static bool shm_lends(struct hk_send *send, const void *data, uint32_t bytes)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;

	if (bytes < LEND_BYTES)
		return false;
	s->way = HK_WAY_LENT;
	if (!hk_lender_find(&hk_shm_endpoint(send->ep)->lender, data, bytes, &s->loan)) {
		s->loan = (struct hk_loan){.at = (uintptr_t)data};
		if (!s->same) {
			if (bytes < PULL_BYTES ||
			    !atomic_load_explicit(&hk_shm_credit(&s->region)->pulls,
						  memory_order_relaxed))
				return false;
			s->way = HK_WAY_PULLED;
		}
	}
	return hk_way_to_lend(&s->ways[hk_way_class(bytes)], s->way);
}

static int shm_lend(struct hk_send *send, const void *data, uint32_t bytes, uint32_t mark)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;
	struct hk_shm_header *h = s->header;

	memcpy(h->small, &s->loan, sizeof(s->loan));
	h->bytes = bytes;
	h->mark = mark;
	h->way = s->way;
	s->pulled[s->index] = data;
	pass_on(s->same, send->ep->rank, send->peer);
	publish_header(s, h);
	s->lent = s->sent;
	s->owing = true;
	return 0;
}

static int shm_flush(struct hk_send *send)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;

	uint32_t gone;

	if (!s->owing)
		return 1;
	/* In this order: once the receiver is gone, the count read after it is final. */
	gone = atomic_load_explicit(&hk_shm_credit(&s->region)->gone, memory_order_acquire);
	s->released =
		atomic_load_explicit(&hk_shm_credit(&s->region)->released, memory_order_acquire);
	s->owing = (int32_t)(s->released - s->lent) < 0;
	if (!s->owing) {
		take_over(s->same, send->ep->rank, send->peer);
		return 1;
	}
	if (gone)
		return peer_gone(s->s.peer, &s->error);
	hk_shm_serve(s);
	return 0;
}

/* All that the receiver has not released, if something that was lent is among it. */
static int shm_owes(struct hk_send *send)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;
	int flushed = shm_flush(send);

	if (flushed)
		return flushed < 0 ? flushed : 0;
	take_over(s->same, send->ep->rank, send->peer);
	return (int)(s->sent - s->released);
}

/* Messages are in the receiver's memory. But it must have found ours, too, to make its half. */
static int shm_settle(struct hk_send *send)
{
	struct hk_shm_send *s = (struct hk_shm_send *)send;
	struct hk_shm_credit *c = hk_shm_credit(&s->region);
	int r = shm_flush(send);

	if (r <= 0)
		return r;
	return !s->sent || atomic_load_explicit(&c->met, memory_order_acquire) ||
	       atomic_load_explicit(&c->gone, memory_order_relaxed) ||
	       atomic_load_explicit(&s->bell->left, memory_order_relaxed);
}

static const void *slot_of(const struct hk_shm_recv *r)
{
	return r->region.slots + (size_t)r->index * r->r.slot_bytes;
}

/* The bytes of a lent message, which the header says where to find. NULL: only by a pull. */
static int borrow(struct hk_shm_recv *r, uint32_t way, uint32_t bytes, const void **data)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(r->r.ep);
	struct hk_loan loan;

	memcpy(&loan, r->header->small, sizeof(loan));
	if (way == HK_WAY_PULLED) {
		bool served =
			r->refused && atomic_load_explicit(&hk_shm_sender(&r->region)->served,
							   memory_order_acquire) == r->received + 1;

		*data = served ? slot_of(r) : NULL;
	} else if (!loan.region_bytes && r->same) {
		take_over(true, r->r.peer, e->ep.rank);
		*data = (const void *)(uintptr_t)loan.at;
	} else {
		r->error = hk_borrower_find(&e->peers[r->r.peer].borrowed, e->env.wire, r->r.peer,
					    HK_SHM_FILE_TAG, &loan, bytes, data);
	}
	return r->error;
}

static int __attribute__((cold, noinline)) bad_length(struct hk_shm_recv *r, uint32_t bytes)
{
	return r->error = hk_fail(
		       HK_EWIRE,
		       "rank %d announced a message of %u bytes over shared memory, but a slot has "
		       "%u; its memory is damaged or it runs another version",
		       r->r.peer, bytes, r->r.slot_bytes);
}

static int shm_peek(struct hk_recv *recv, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct hk_shm_recv *r = (struct hk_shm_recv *)recv;
	struct hk_shm_header *h = r->header;
	uint32_t n, way;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (atomic_load_explicit(&h->seq, memory_order_acquire) != r->received + 1) {
		if (!atomic_load_explicit(&hk_shm_sender(&r->region)->gone, memory_order_acquire))
			return 0;
		/* Its last messages came before it said so. */
		if (atomic_load_explicit(&h->seq, memory_order_acquire) != r->received + 1)
			return peer_gone(r->r.peer, &r->error);
	}
	n = h->bytes;
	if (__builtin_expect(n > r->r.slot_bytes, 0))
		return bad_length(r, n);
	*bytes = n;
	*mark = h->mark;
	r->bytes = n;
	way = h->way;
	if (__builtin_expect(way >= HK_WAY_LENT, 0)) {
		int err = borrow(r, way, n, data);

		if (err)
			return err;
	} else {
		*data = n <= HK_SHM_INLINE ? h->small : slot_of(r);
	}
	if (n >= LARGE_BYTES)
		r->since = hk_ticks();
	return 1;
}

void __attribute__((cold, noinline)) hk_shm_say_cannot_pull(struct hk_shm_recv *r, int code)
{
	struct hk_shm_endpoint *e = hk_shm_endpoint(r->r.ep);

	if (!e->cannot_pull)
		hk_log(HK_LOG_INFO,
		       "rank %d can't read rank %d's memory (process_vm_readv: %s), and perhaps "
		       "not others' either: long messages are copied twice; a container must "
		       "allow that call, and kernel.yama.ptrace_scope be 0",
		       e->ep.rank, r->r.peer, strerror(-code));
	e->cannot_pull = true;
}

/* The message can't be pulled: its sender is to copy it to its slot. */
static int __attribute__((cold, noinline)) refuse(struct hk_shm_recv *r, int code)
{
	struct hk_shm_credit *c = hk_shm_credit(&r->region);

	if (code == -ESRCH)
		return r->error = hk_fail(HK_EPEER,
					  "rank %d's process ended while its memory was read",
					  r->r.peer);
	hk_shm_say_cannot_pull(r, code);
	r->refused = true;
	atomic_store_explicit(&c->pulls, 0, memory_order_relaxed);
	atomic_store_explicit(&c->refused, r->received + 1, memory_order_release);
	hk_shm_ring_if_armed(r->bell);
	return 0;
}

static int shm_pull(struct hk_recv *recv, uint32_t offset, void *dst, uint32_t bytes)
{
	struct hk_shm_recv *r = (struct hk_shm_recv *)recv;
	struct hk_loan loan;
	int err;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (r->refused)
		return 0; /* until a peek sees it in its slot */
	memcpy(&loan, r->header->small, sizeof(loan));
	err = hk_pull_read(&r->memory, loan.at + offset, dst, bytes);
	return err ? refuse(r, err) : 1;
}

static void measure_reading(struct hk_shm_recv *r)
{
	unsigned class = hk_way_class(r->bytes), way = r->header->way % HK_NWAYS;
	_Atomic uint32_t *cost = &hk_shm_credit(&r->region)->read_cost[class][way];
	uint32_t known = atomic_load_explicit(cost, memory_order_relaxed);

	if (way < HK_WAY_LENT && !hk_way_warm(&r->warmth[class], r->bytes, r->r.slots))
		return;
	atomic_store_explicit(cost, hk_way_average(known, hk_ticks() - r->since, r->bytes),
			      memory_order_relaxed);
}

/* What else a large message needs when it is released. */
static void __attribute__((noinline)) finish_large(struct hk_shm_recv *r)
{
	measure_reading(r);
	r->refused = false;
	pass_on(r->same, r->r.peer, r->r.ep->rank);
}

static int shm_release(struct hk_recv *recv)
{
	struct hk_shm_recv *r = (struct hk_shm_recv *)recv;

	if (__builtin_expect(r->error, 0))
		return r->error;
	if (r->bytes >= LARGE_BYTES)
		finish_large(r);
	atomic_store_explicit(&hk_shm_credit(&r->region)->released, ++r->received,
			      memory_order_release);
	r->index = r->index + 1 == r->r.slots ? 0 : r->index + 1;
	r->header = hk_shm_header(&r->region, r->index);
	hk_shm_ring_if_armed(r->bell);
	return 0;
}

const struct hk_send_ops hk_shm_send_ops = {
	.reserve = shm_reserve,
	.commit = shm_commit,
	.lends = shm_lends,
	.lend = shm_lend,
	.flush = shm_flush,
	.owes = shm_owes,
	.settle = shm_settle,
};

const struct hk_recv_ops hk_shm_recv_ops = {
	.peek = shm_peek,
	.pull = shm_pull,
	.release = shm_release,
	.offer = hk_offer_none,
};
