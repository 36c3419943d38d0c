/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The primitives of ibverbs, as perftest's programs use them:
 *
 *     write      RDMA writes. A receiver learns of a message by watching its last byte; that of a
 *                stream does not learn of it at all, and the sender's completions tell its end.
 *     imm        RDMA writes with an immediate: each takes a receive and completes it
 *     send       sends, each into a receive
 *
 * Short messages are inline; one completion in 32 is asked for. Messages of a stream take all
 * rails in turn; a ping-pong takes the first. Watching the last byte relies on a message's bytes
 * being written in order, which devices do and the specification does not promise: good enough to
 * measure with, and not for the library.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "polled.h"
#include "verbs_pair.h"

#define SIGNAL_EVERY 32u
#define BATCH	     16

struct way {
	struct hk_lp_polled polled;
	enum hk_lp_verbs how;
	struct hk_lp_pair pair;
	/* The pair's memory: what is sent, where pings arrive, where streams arrive. */
	size_t part;
	uint8_t *in;
	uint8_t sent_mark, came_mark; /* the last byte of the last ping, 1 to 255 */
	bool streaming;
	unsigned turn;	  /* rail of the next message of a stream */
	uint64_t waiting; /* messages that came and were not taken yet */
};

static struct way *way_of(struct hk_lp_polled *p)
{
	return (struct way *)(void *)p;
}

static int broken(const struct way *w, unsigned rail, const struct ibv_wc *wc)
{
	return hk_fail(HK_EPEER,
		       "raw verbs on %s: a work request ended with '%s' (%d): is the other rank "
		       "alive, and its port up?",
		       w->pair.ports[rail].name, hk_ibv()->wc_status_str(wc->status),
		       (int)wc->status);
}

/* --- sending --- */

/* Takes the completions of sends; each stands for all before it. */
static int reap_sends(struct way *w, unsigned rail)
{
	struct hk_lp_rail *r = &w->pair.rails[rail];
	struct ibv_wc wc[BATCH];
	int n = ibv_poll_cq(r->sends, BATCH, wc);

	for (int i = 0; i < n; i++) {
		if (wc[i].status != IBV_WC_SUCCESS)
			return broken(w, rail, &wc[i]);
		r->completed = (uint32_t)wc[i].wr_id;
	}
	return n < 0 ? hk_fail(EIO, "a completion queue of %s can't be read",
			       w->pair.ports[rail].name)
		     : 0;
}

static int put(struct way *w, unsigned rail, size_t bytes, bool signal)
{
	static const enum ibv_wr_opcode opcodes[] = {
		[HK_LP_WRITE] = IBV_WR_RDMA_WRITE,
		[HK_LP_WRITE_IMM] = IBV_WR_RDMA_WRITE_WITH_IMM,
		[HK_LP_SEND] = IBV_WR_SEND,
	};
	struct hk_lp_rail *r = &w->pair.rails[rail];
	struct ibv_sge sge = {(uintptr_t)w->polled.way.out, (uint32_t)bytes, r->mr->lkey};
	struct ibv_send_wr wr = {
		.wr_id = r->posted + 1,
		.sg_list = &sge,
		.num_sge = bytes ? 1 : 0,
		.opcode = opcodes[bytes ? w->how : HK_LP_WRITE],
		.send_flags = (signal ? IBV_SEND_SIGNALED : 0u) |
			      (bytes <= r->inline_bytes ? IBV_SEND_INLINE : 0u),
		.wr.rdma = {r->peer_at + (w->streaming ? 2 : 1) * w->part, r->peer_key},
	};
	struct ibv_send_wr *bad = NULL;
	int err = ibv_post_send(r->qp, &wr, &bad);

	if (err)
		return hk_fail(err, "raw verbs on %s takes no work request: %s",
			       w->pair.ports[rail].name, strerror(err));
	r->posted++;
	if (signal)
		r->signalled = r->posted;
	return 1;
}

static int post(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);
	unsigned rail = w->streaming ? w->turn : 0;
	struct hk_lp_rail *r = &w->pair.rails[rail];
	int err = 0;

	if (r->posted - r->completed >= HK_LP_WINDOW - SIGNAL_EVERY)
		err = reap_sends(w, rail);
	if (err || r->posted - r->completed >= HK_LP_WINDOW)
		return err;
	w->turn = (w->turn + 1) % w->pair.nrails;
	return put(w, rail, bytes, (r->posted + 1) % SIGNAL_EVERY == 0);
}

/* Everything has completed. What is the last may not have been signalled: then an empty write
 * follows that is. */
static int settle(struct hk_lp_polled *p)
{
	struct way *w = way_of(p);
	bool all = true;

	for (unsigned i = 0; i < w->pair.nrails; i++) {
		struct hk_lp_rail *r = &w->pair.rails[i];
		int err = reap_sends(w, i);

		if (!err && r->completed != r->posted && r->signalled != r->posted)
			err = put(w, i, 0, true);
		if (err < 0)
			return err;
		all &= r->completed == r->posted;
	}
	return all;
}

/* --- receiving --- */

static int post_receive(struct way *w, unsigned rail)
{
	struct hk_lp_rail *r = &w->pair.rails[rail];
	struct ibv_sge sge = {(uintptr_t)w->in, (uint32_t)w->part, r->mr->lkey};
	struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1};
	struct ibv_recv_wr *bad = NULL;
	int err = ibv_post_recv(r->qp, &wr, &bad);

	return err ? hk_fail(err, "raw verbs on %s takes no receive: %s", w->pair.ports[rail].name,
			     strerror(err))
		   : 0;
}

static int reap_receives(struct way *w, unsigned rail)
{
	struct ibv_wc wc[BATCH];
	int n = ibv_poll_cq(w->pair.rails[rail].receives, BATCH, wc), err = 0;

	for (int i = 0; i < n && !err; i++) {
		if (wc[i].status != IBV_WC_SUCCESS)
			return broken(w, rail, &wc[i]);
		w->waiting++;
		err = post_receive(w, rail);
	}
	return err;
}

static int take_completion(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);
	int err = 0;

	for (unsigned i = 0; i < w->pair.nrails && !w->waiting && !err; i++)
		err = reap_receives(w, i);
	if (err || !w->waiting)
		return err;
	w->waiting--;
	p->way.in = w->in;
	return 1;
}

/* A ping of the write way has come when its last byte is the next mark. */
static int take_mark(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);
	volatile uint8_t *last = w->in + bytes - 1;
	uint8_t want = (uint8_t)(w->came_mark % 255 + 1);

	if (*last != want)
		return 0;
	atomic_thread_fence(memory_order_acquire);
	*last = 0; /* so that no ping of another size finds it there */
	w->came_mark = want;
	p->way.in = w->in;
	return 1;
}

/* --- the way --- */

static int pass_marked(struct hk_lp_way *way, size_t bytes)
{
	struct way *w = (struct way *)(void *)way;

	w->sent_mark = (uint8_t)(w->sent_mark % 255 + 1);
	way->out[bytes - 1] = w->sent_mark;
	return hk_lp_polled_pass(way, bytes);
}

/* Messages of a stream of writes are not seen to come. */
static int stream(struct hk_lp_way *way, size_t bytes, unsigned n, bool out, bool in)
{
	struct way *w = (struct way *)(void *)way;
	int err;

	w->streaming = true;
	w->turn = 0;
	err = hk_lp_polled_stream(way, bytes, n, out, in && w->how != HK_LP_WRITE);
	w->streaming = false;
	return err;
}

static void close_way(struct hk_lp_way *way)
{
	struct way *w = (struct way *)(void *)way;

	hk_lp_pair_close(&w->pair);
	free(w);
}

static const struct hk_lp_way_ops write_ops = {
	.pass = pass_marked,
	.await = hk_lp_polled_await,
	.stream = stream,
	.close = close_way,
};

static const struct hk_lp_way_ops completion_ops = {
	.pass = hk_lp_polled_pass,
	.await = hk_lp_polled_await,
	.stream = stream,
	.close = close_way,
};

static const struct hk_lp_poll_ops write_poll_ops = {
	.post = post,
	.take = take_mark,
	.expect = hk_lp_expect_none,
	.tend = hk_lp_tend_none,
	.settle = settle,
};

static const struct hk_lp_poll_ops completion_poll_ops = {
	.post = post,
	.take = take_completion,
	.expect = hk_lp_expect_none,
	.tend = hk_lp_tend_none,
	.settle = settle,
};

/* The receives that the peer's messages need, before it may send any. */
static int fill_receives(struct way *w)
{
	int err = 0;

	for (unsigned i = 0; i < w->pair.nrails && w->how != HK_LP_WRITE; i++)
		for (unsigned k = 0; k < 2 * HK_LP_WINDOW && !err; k++)
			err = post_receive(w, i);
	return err;
}

static void name_path(struct way *w)
{
	char *path = w->polled.way.path;
	size_t room = sizeof(w->polled.way.path);

	for (unsigned i = 0; i < w->pair.nrails; i++) {
		size_t used = strlen(path);

		snprintf(path + used, room - used, "%s%s", i ? "," : "", w->pair.ports[i].name);
	}
}

int hk_lp_open_verbs(struct hk_lp_run *run, enum hk_lp_verbs how, struct hk_lp_way **way)
{
	static const char *const names[] = {"raw write", "raw imm", "raw send"};
	struct way *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return hk_fail(ENOMEM, "no memory for a way");
	w->how = how;
	w->part = (run->options->max_bytes + 4095) / 4096 * 4096;
	err = hk_lp_pair_open(run, 3 * w->part, &w->pair);
	if (!err) {
		w->in = w->pair.memory + w->part;
		err = fill_receives(w);
	}
	if (err) {
		close_way(&w->polled.way);
		return err;
	}
	w->polled.poll = how == HK_LP_WRITE ? &write_poll_ops : &completion_poll_ops;
	w->polled.way = (struct hk_lp_way){
		.ops = how == HK_LP_WRITE ? &write_ops : &completion_ops,
		.run = run,
		.name = names[how],
		.level = how == HK_LP_WRITE ? HK_LP_RAW : HK_LP_BESIDE,
		.out = w->pair.memory,
		.marked = how == HK_LP_WRITE,
	};
	name_path(w);
	*way = &w->polled.way;
	return 0;
}
