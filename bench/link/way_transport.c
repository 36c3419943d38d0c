/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport's connections, driven as the executor drives them and no more: a message is cut in
 * pieces of a slot; each is lent where the transport wants that, or else copied to a slot; the
 * receiver says where it wants them, and copies what has come elsewhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "polled.h"

#define CHANNEL	    (HK_COLL_CHANNELS - 1) /* nobody calls a collective on this communicator */
#define OFFER_BYTES 4096		   /* shorter pieces are not worth an offer */

struct way {
	struct hk_lp_polled polled;
	struct hk_send *send;
	struct hk_recv *recv;
	size_t piece; /* bytes */
	uint8_t *in;
	size_t sent, came; /* of the message under way */
	/* Pieces that are expected, and how many of them have been offered a place. */
	uint64_t expected, offered, taken;
	size_t bytes; /* of the messages expected */
};

static struct way *way_of(struct hk_lp_polled *p)
{
	return (struct way *)(void *)p;
}

static uint32_t piece_at(const struct way *w, size_t at, size_t bytes)
{
	return (uint32_t)(bytes - at < w->piece ? bytes - at : w->piece);
}

/* 1 sent, 0 not yet. */
static int send_piece(struct hk_send *s, const uint8_t *data, uint32_t bytes)
{
	bool lend = s->ops->lends(s, data, bytes);
	void *slot = NULL;
	int r = s->ops->reserve(s, lend ? 0 : bytes, &slot);

	if (r <= 0)
		return r;
	if (lend) {
		r = s->ops->lend(s, data, bytes, 0);
	} else {
		memcpy(slot, data, bytes);
		r = s->ops->commit(s, bytes, 0);
	}
	return r < 0 ? r : 1;
}

static int post(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);

	while (w->sent < bytes) {
		uint32_t n = piece_at(w, w->sent, bytes);
		int r = send_piece(w->send, p->way.out + w->sent, n);

		if (r <= 0)
			return r;
		w->sent += n;
	}
	w->sent = 0;
	return 1;
}

static void expect(struct hk_lp_polled *p, size_t bytes, unsigned n)
{
	struct way *w = way_of(p);

	w->bytes = bytes;
	w->expected += n * (uint64_t)((bytes + w->piece - 1) / w->piece);
}

/* Offers places to the pieces that may come next. */
static void offer(struct way *w)
{
	uint64_t pieces = (w->bytes + w->piece - 1) / w->piece;
	uint64_t first = w->taken - w->came / w->piece; /* of the message under way */

	while (w->offered < w->expected && w->offered < w->taken + w->recv->slots) {
		size_t at = (size_t)((w->offered - first) % pieces) * w->piece;
		uint32_t n = piece_at(w, at, w->bytes);

		if (n >= OFFER_BYTES)
			w->recv->ops->offer(w->recv, (uint32_t)(w->offered - w->taken), w->in + at,
					    n, 0);
		w->offered++;
	}
}

/* 1 received, 0 not yet. */
static int receive_piece(struct hk_recv *r, uint8_t *dst, uint32_t want)
{
	const void *data = NULL;
	uint32_t bytes = 0, mark = 0;
	int got = r->ops->peek(r, &data, &bytes, &mark);

	if (got <= 0)
		return got;
	if (bytes != want || mark)
		return hk_fail(HK_EWIRE, "a piece of %u bytes and mark %u came instead of %u bytes",
			       bytes, mark, want);
	if (!data)
		got = r->ops->pull(r, 0, dst, bytes);
	else if (data != dst)
		memcpy(dst, data, bytes);
	if (got <= 0)
		return got;
	got = r->ops->release(r);
	return got < 0 ? got : 1;
}

static int take(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);

	while (w->came < bytes) {
		uint32_t n = piece_at(w, w->came, bytes);
		int r;

		offer(w);
		r = receive_piece(w->recv, w->in + w->came, n);
		if (r <= 0)
			return r;
		w->came += n;
		w->taken++;
		if (w->offered < w->taken)
			w->offered = w->taken;
	}
	w->came = 0;
	p->way.in = w->in;
	return 1;
}

static int flush(struct hk_lp_polled *p)
{
	struct hk_send *s = way_of(p)->send;

	return s->ops->flush(s);
}

/* The communicator owns the connections, and somebody else the buffers. */
static void close_way(struct hk_lp_way *w)
{
	free(w);
}

static const struct hk_lp_way_ops ops = {
	.pass = hk_lp_polled_pass,
	.await = hk_lp_polled_await,
	.stream = hk_lp_polled_stream,
	.close = close_way,
};

static const struct hk_lp_poll_ops poll_ops = {
	.post = post,
	.take = take,
	.expect = expect,
	.tend = flush,
	.settle = flush,
};

int hk_lp_open_transport(struct hk_lp_run *run, hocketComm_t comm, const struct hk_lp_buffers *b,
			 struct hk_lp_way **way)
{
	struct hk_comm *c = hk_handle_enter(comm);
	struct way *w = calloc(1, sizeof(*w));
	int err = !c ? hk_handle_why() : w ? 0 : hk_fail(ENOMEM, "no memory for a way");

	if (!err)
		err = hk_comm_bind_send(&c->binder.binder, run->peer, CHANNEL, &w->send);
	if (!err)
		err = hk_comm_bind_recv(&c->binder.binder, run->peer, CHANNEL, &w->recv);
	if (!err) {
		w->polled.way = (struct hk_lp_way){.ops = &ops,
						   .run = run,
						   .name = "transport",
						   .level = HK_LP_TRANSPORT,
						   .out = b->out};
		w->polled.poll = &poll_ops;
		w->in = b->in;
		w->piece = c->config.slot_bytes;
		*way = &w->polled.way;
	} else {
		free(w);
	}
	if (c)
		hk_handle_leave(comm);
	return err;
}
