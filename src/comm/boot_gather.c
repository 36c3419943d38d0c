/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-gather and barrier by dissemination (Bruck et al., 1997, without the final rotation, as
 * entries go straight to their places). In round k, rank r sends to r + 2^k and receives from
 * r - 2^k, all modulo n: before the round it holds the entries of r, r-1, ..., r-2^k+1; it passes
 * on min(2^k, n-2^k) of them, in this order. After ceil(log2 n) rounds it has all n. Each rank
 * sends n-1 entries in all. A barrier is an all-gather of empty entries.
 *
 * Entries travel as a stream cut into frames of at most 16 KiB, so that memory stays small; one
 * poll loop sends and receives at once, so that two ranks whose buffers are full do not wait for
 * each other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"

/* One round under way. */
struct exchange {
	struct hk_boot *b;
	uint8_t *table;
	uint32_t bytes;
	unsigned round;
	uint32_t count; /* entries each way */
	uint64_t total; /* their bytes */
	uint64_t sent, received;
	bool all_sent, all_received; /* an empty stream is one empty frame */
	int64_t timeout_ns, deadline;
};

/* The place in the table of byte `at` of the stream whose first entry is that of rank `first`;
 * *run gets the bytes up to the end of the entry. */
static uint8_t *place(const struct exchange *x, uint32_t first, uint64_t at, size_t *run)
{
	uint32_t n = x->b->nranks, entry = (uint32_t)(at / x->bytes);

	*run = x->bytes - at % x->bytes;
	return x->table + (size_t)((first + n - entry) % n) * x->bytes + at % x->bytes;
}

static void pack(const struct exchange *x, uint64_t at, uint8_t *to, size_t len)
{
	while (len) {
		size_t run;
		const uint8_t *from = place(x, x->b->rank, at, &run);

		run = run < len ? run : len;
		memcpy(to, from, run);
		to += run;
		at += run;
		len -= run;
	}
}

static void unpack(const struct exchange *x, uint64_t at, const uint8_t *from, size_t len)
{
	while (len) {
		size_t run;
		uint8_t *to = place(x, hk_boot_below(x->b, x->round), at, &run);

		run = run < len ? run : len;
		memcpy(to, from, run);
		from += run;
		at += run;
		len -= run;
	}
}

/* Queues frames and sends what the socket takes. */
static int push(struct exchange *x)
{
	struct hk_session *s = &x->b->out[x->round];
	uint8_t head[HK_DATA_HEAD], chunk[HK_DATA_CHUNK];

	while (!x->all_sent) {
		struct hk_data d = {x->b->op, x->bytes, x->round, x->sent};
		uint64_t len = x->total - x->sent;
		int n = hk_frame_flush(s, &x->b->tx);

		if (n <= 0)
			return n;
		len = len < sizeof(chunk) ? len : sizeof(chunk);
		hk_boot_format_data(&d, head);
		pack(x, x->sent, chunk, len);
		n = hk_frame_queue(s, &x->b->tx, HK_FRAME_DATA, head, sizeof(head), chunk,
				   (uint32_t)len);
		if (n)
			return n;
		x->sent += len;
		x->all_sent = x->sent == x->total;
	}
	return hk_frame_flush(s, &x->b->tx) < 0 ? -ECONNRESET : 0;
}

static int accept_frame(struct exchange *x, const struct hk_frame *f)
{
	uint32_t peer = hk_boot_below(x->b, x->round);
	uint64_t len = f->len - HK_DATA_HEAD;
	struct hk_data d;

	if (f->type != HK_FRAME_DATA || hk_boot_parse_data(f->payload, f->len, &d) ||
	    d.round != x->round)
		return -HK_EWIRE;
	if (d.op != x->b->op || d.bytes != x->bytes)
		return hk_fail(HK_EMISMATCH,
			       "rank %u is in its start-up exchange number %u, of %u bytes per "
			       "rank, while rank %u is in number %u, of %u: all must make the same "
			       "calls in the same order",
			       peer, d.op, d.bytes, x->b->rank, x->b->op, x->bytes);
	if (d.offset != x->received || len > x->total - x->received || (!len && x->total))
		return -HK_EWIRE;
	unpack(x, x->received, f->payload + HK_DATA_HEAD, len);
	x->received += len;
	x->all_received = x->received == x->total;
	return 0;
}

static int pull(struct exchange *x)
{
	struct hk_frame f;

	while (!x->all_received) {
		int n = hk_frame_read(&x->b->in[x->round], &x->b->rx, &f);

		if (n <= 0)
			return n;
		n = accept_frame(x, &f);
		if (n)
			return n;
	}
	return 0;
}

static int wait_for_both(struct exchange *x)
{
	bool sending = !x->all_sent || x->b->tx.len;
	struct pollfd p[3] = {
		{.fd = sending ? x->b->out[x->round].fd : -1, .events = POLLOUT},
		{.fd = x->all_received ? -1 : x->b->in[x->round].fd, .events = POLLIN},
		{.fd = x->b->service.failure.fd, .events = POLLIN},
	};
	int n = poll(p, 3, hk_net_poll_ms(x->deadline));

	if (n > 0 && p[2].revents)
		return -HK_EPEER;
	return n <= 0 && hk_now_ns() >= x->deadline ? -ETIMEDOUT : 0;
}

/* "ranks 4 and 5": whose entries did not come in this round. */
static void print_missing(const struct exchange *x, char *out, size_t size)
{
	uint32_t n = x->b->nranks, first = hk_boot_below(x->b, x->round);
	uint8_t *mark = calloc(n, 1);

	snprintf(out, size, "some ranks");
	if (!mark)
		return;
	for (uint32_t i = x->bytes ? (uint32_t)(x->received / x->bytes) : 0; i < x->count; i++)
		mark[(first + n - i) % n] = 1;
	hk_boot_print_ranks(mark, n, out, size);
	free(mark);
}

static int fail_round(struct exchange *x, int err)
{
	uint32_t below = hk_boot_below(x->b, x->round), above = hk_boot_above(x->b, x->round);
	char names[160];

	if (err == -HK_EMISMATCH)
		return err;
	if (err == -HK_EWIRE || err == -HK_EAUTH)
		return hk_fail(
			err,
			"rank %u sent rank %u bytes that make no sense: are all ranks of the "
			"same version of Hocket?",
			below, x->b->rank);
	/* An end of the stream mostly comes with a notice that says more. */
	if (err != -ETIMEDOUT && err != -HK_EPEER)
		hk_net_wait(-1, 0, hk_now_ns() + 500 * HK_BOOT_MS, x->b->service.failure.fd);
	if (atomic_load_explicit(&x->b->service.failure.code, memory_order_acquire))
		return hk_failure_report(&x->b->service.failure);
	if (err != -ETIMEDOUT)
		return hk_fail(HK_EPEER,
			       "rank %u or %u closed its communicator while rank %u still waited "
			       "for them",
			       below, above, x->b->rank);
	print_missing(x, names, sizeof(names));
	if (x->all_received)
		return hk_fail(err,
			       "rank %u waited %.1f s for rank %u to take its data: is it "
			       "stopped?",
			       x->b->rank, (double)x->timeout_ns / 1e9, above);
	return hk_fail(err,
		       "rank %u waited %.1f s for rank %u to pass on the data of %s: did all ranks "
		       "make this call?",
		       x->b->rank, (double)x->timeout_ns / 1e9, below, names);
}

static int run_round(struct exchange *x)
{
	for (;;) {
		int err = push(x);

		if (!err)
			err = pull(x);
		if (!err && x->all_sent && !x->b->tx.len && x->all_received)
			return 0;
		if (!err)
			err = wait_for_both(x);
		if (err)
			return fail_round(x, err);
	}
}

int hk_boot_gather(struct hk_boot *b, void *table, size_t bytes, int64_t timeout_ns)
{
	int64_t deadline = hk_now_ns() + timeout_ns;

	if (bytes > HK_BOOT_MAX_ENTRY)
		return hk_fail(EINVAL, "start-up exchanges take at most %u bytes per rank, not %zu",
			       HK_BOOT_MAX_ENTRY, bytes);
	if (b->ring_error)
		return hk_fail_quiet(b->ring_error,
				     "an earlier start-up exchange of rank %u "
				     "failed, so that no other can follow",
				     b->rank);
	b->op++;
	for (unsigned k = 0; k < b->rounds; k++) {
		uint32_t held = 1u << k, rest = b->nranks - held;
		uint32_t count = held < rest ? held : rest;
		struct exchange x = {.b = b,
				     .table = table,
				     .bytes = (uint32_t)bytes,
				     .round = k,
				     .count = count,
				     .total = (uint64_t)count * bytes,
				     .timeout_ns = timeout_ns,
				     .deadline = deadline};

		b->ring_error = run_round(&x);
		if (b->ring_error)
			return b->ring_error;
	}
	return 0;
}

int hk_boot_allgather(struct hk_boot *b, void *table, size_t bytes)
{
	return hk_boot_gather(b, table, bytes, b->timeout_ns);
}

int hk_boot_barrier(struct hk_boot *b)
{
	return hk_boot_gather(b, NULL, 0, b->timeout_ns);
}
