/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows: memory that all ranks register together, so that each knows where its GPU has the
 * others'. A registered buffer (memory.c) is read by others where it lies; in a window, calls that
 * only move data can be left to the GPUs' copy engines, which write right to where it is wanted.
 *
 * For that a rank has to know where the others want it without asking: a window may say that it is
 * symmetric, that is, that all ranks name the same place of it in a call. What goes where is what
 * the collective promises (schedule/coll.c).
 *
 * Registering is an exchange of all ranks, in the turn of splits. In a group it runs in a thread of
 * its own, so that one thread can do it for several ranks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

struct hocketWindow {
	struct hocketWindow *next;
	uintptr_t base;
	size_t bytes; /* of this rank, and the least of all */
	size_t least;
	int flags;
	void *region;
	uint64_t *peers; /* where this rank's GPU has each one; 0: nowhere */
	bool copies;	 /* every rank's GPU has every window */
};

/* What calls by copies need, by rank: made with the first window, not by each call. */
struct hk_copy_room {
	uint64_t *words;	    /* as this rank's GPU has them */
	struct hk_gpu_push *pushes; /* of one call: at most one to each rank */
	bool *from;
};

/* What each rank says first, and then whether it reaches all others'. */
struct window_record {
	uint64_t base, bytes, words;
	int32_t err, flags, device;
	int32_t reaches;
};

/* --- the exchange --- */

/* Where this rank's GPU has a peer's memory that the peer has attached. */
static uint64_t at_peer(struct hk_comm *c, int peer, uint64_t at, size_t bytes)
{
	struct hk_endpoint *ep = c->endpoints[c->via[peer]];

	return peer == c->rank ? at : ep->transport->peer_memory(ep, peer, at, bytes);
}

/* The ranks' words for copies, once. */
static bool find_words(struct hk_comm *c, const struct window_record *all)
{
	uint64_t *words = c->copying->words;
	bool found = true;

	for (int i = 0; i < c->nranks; i++) {
		if (!words[i])
			words[i] = at_peer(c, i, all[i].words, hk_gpu_exec_words_bytes(c->gpu));
		found &= words[i] != 0;
	}
	return found;
}

static int judge(const struct hk_comm *c, const struct window_record *all)
{
	for (int i = 0; i < c->nranks; i++) {
		if (all[i].err)
			return hk_fail_quiet(all[i].err,
					     "hocketCommWindowRegister: rank %d could not register "
					     "its memory",
					     i);
		if (all[i].flags != all[0].flags)
			return hk_fail_quiet(
				EINVAL,
				"hocketCommWindowRegister: the flags are %d on rank %d "
				"and %d on rank 0; they must be the same",
				all[i].flags, i, all[0].flags);
	}
	return 0;
}

static bool reaches_all(struct hk_comm *c, const struct window_record *all, struct hocketWindow *w)
{
	bool all_there = true;

	w->least = w->bytes;
	for (int i = 0; i < c->nranks; i++) {
		w->least = all[i].bytes < w->least ? all[i].bytes : w->least;
		if (all[i].device && c->gpu)
			w->peers[i] = at_peer(c, i, all[i].base, all[i].bytes);
		all_there &= w->peers[i] != 0;
	}
	return all_there && find_words(c, all);
}

/* With what the rank has done for itself so far: err. */
static int exchange(struct hk_comm *c, struct hocketWindow *w, int err)
{
	struct window_record *all = calloc((size_t)c->nranks, sizeof(*all)), *own;
	int first;

	if (!all)
		return hk_comm_fail(c, hk_fail(ENOMEM, "no memory for a window"));
	own = &all[c->rank];
	*own = (struct window_record){.base = w->base, .bytes = w->bytes, .err = err};
	own->flags = w->flags;
	own->device = c->gpu && hk_gpu_exec_owns(c->gpu, (void *)w->base);
	own->words = c->gpu ? hk_gpu_exec_words(c->gpu) : 0;
	first = hk_boot_allgather(c->boot, all, sizeof(*all));
	if (!first && !err)
		err = judge(c, all);
	for (int i = 0; !first && i < c->nranks && !err; i++)
		err = all[i].err ? -EIO : 0;
	if (first || err)
		goto out;
	if (c->gpu) {
		hk_gpu_exec_hold(c->gpu);
		own->reaches = reaches_all(c, all, w) && hk_gpu_exec_can_copy(c->gpu);
		hk_gpu_exec_let_go(c->gpu);
	}
	first = hk_boot_allgather(c->boot, all, sizeof(*all));
	w->copies = w->flags & HOCKET_WINDOW_SYMMETRIC;
	for (int i = 0; i < c->nranks; i++)
		w->copies &= all[i].reaches;
out:
	free(all);
	if (first)
		return hk_comm_fail(c, first); /* the others may be on their way without us */
	return err;
}

static void free_room(struct hk_copy_room *room)
{
	if (!room)
		return;
	free(room->words);
	free(room->pushes);
	free(room->from);
	free(room);
}

static struct hk_copy_room *make_room(int nranks)
{
	struct hk_copy_room *room = calloc(1, sizeof(*room));
	size_t n = (size_t)nranks;

	if (!room)
		return NULL;
	room->words = calloc(n, sizeof(*room->words));
	room->pushes = calloc(n, sizeof(*room->pushes));
	room->from = calloc(n, sizeof(*room->from));
	if (room->words && room->pushes && room->from)
		return room;
	free_room(room);
	return NULL;
}

/* Other ranks write to the words from their first window on. */
static int attach_words(struct hk_comm *c)
{
	void *region;
	int err;

	if (!c->gpu || c->copying)
		return 0;
	err = hk_comm_register(c, (void *)(uintptr_t)hk_gpu_exec_words(c->gpu),
			       hk_gpu_exec_words_bytes(c->gpu), &region);
	if (err)
		return err;
	c->copying = make_room(c->nranks);
	return c->copying ? 0 : hk_fail(ENOMEM, "no memory for a window");
}

static void discard(struct hk_comm *c, struct hocketWindow *w)
{
	if (w->region)
		hk_comm_deregister(c, w->region);
	free(w->peers);
	free(w);
}

static const char *objection(const void *buff, size_t size, const hocketWindow_t *win, int flags)
{
	if (!buff)
		return "buff is NULL";
	if (!size)
		return "size is 0";
	if (!win)
		return "win is NULL";
	return flags & ~HOCKET_WINDOW_SYMMETRIC ? "flags has bits that are none of HOCKET_WINDOW_*"
						: NULL;
}

/* A rank whose arguments are wrong takes part, too: or the others would wait for it. */
static int make(struct hk_comm *c, void *buff, size_t size, int flags, uint64_t turn,
		struct hocketWindow **out)
{
	struct hocketWindow *w = calloc(1, sizeof(*w));
	const char *wrong = objection(buff, size, out, flags);
	int err;

	hk_comm_await_turn(c, turn);
	if (w) {
		*w = (struct hocketWindow){.base = (uintptr_t)buff, .bytes = size, .flags = flags};
		w->peers = calloc((size_t)c->nranks, sizeof(*w->peers));
	}
	err = w && w->peers ? hk_comm_check(c) : hk_fail(ENOMEM, "no memory for a window");
	if (!err && wrong)
		err = hk_fail_quiet(EINVAL, "hocketCommWindowRegister: %s", wrong);
	if (!err)
		err = hk_comm_register(c, buff, size, &w->region);
	if (!err)
		err = attach_words(c);
	if (w && !hk_comm_check(c))
		err = exchange(c, w, err);
	if (!err) {
		hk_comm_lock_memory(c);
		w->next = c->windows;
		c->windows = w;
		hk_comm_unlock_memory(c);
		*out = w;
	} else if (w) {
		discard(c, w);
	}
	hk_comm_end_turn(c);
	return err;
}

/* --- calls --- */

/* The window that the range lies in, on every rank. */
static const struct hocketWindow *find(const struct hk_comm *c, uintptr_t at, size_t bytes)
{
	for (const struct hocketWindow *w = c->windows; w; w = w->next)
		if (w->copies && at >= w->base && at - w->base <= w->least &&
		    bytes <= w->least - (at - w->base))
			return w;
	return NULL;
}

/* Whether a call's OUT is at the same place on all ranks, if that is what they say of windows: each
 * has one, and what it is does not depend on who is in place. */
static bool is_symmetric(const struct hk_problem *p)
{
	for (int i = 0; i < p->nranks; i++)
		if (!hk_coll_blocks(p, i, HK_OUT))
			return false;
	return !hk_coll_rooted(p->coll) || hk_coll_blocks(p, p->root, HK_IN) == 1;
}

/* What this rank has for others, and who has something for it. What only moves data brings no rank
 * more than one block of another. */
static unsigned list_pushes(const struct hk_comm *c, const struct hk_problem *p,
			    const struct hk_request *req, const struct hocketWindow *w,
			    struct hk_gpu_push *pushes, bool *from)
{
	uint64_t offset = (uintptr_t)req->out - w->base;
	size_t block = req->count * hk_type_size((enum hk_type)req->type);
	unsigned n = 0;

	for (int k = 0; k < c->nranks; k++) {
		int peer = (c->rank + k) % c->nranks; /* not all to the same one at once */

		for (uint32_t b = 0; b < hk_coll_blocks(p, peer, HK_OUT); b++) {
			uint32_t in_block;
			int who;

			hk_coll_contribution(p, peer, b, 0, &who, &in_block);
			if (peer == c->rank)
				from[who] = who != peer;
			if (who != c->rank)
				continue;
			pushes[n++] =
				(struct hk_gpu_push){.peer = peer,
						     .to = w->peers[peer] + offset + b * block,
						     .from = in_block * block,
						     .bytes = block};
		}
	}
	return n;
}

/* And nobody has said which schedule is to do it. */
static bool only_moves(const struct hk_comm *c, const struct hk_request *req)
{
	return !hk_coll_reduces(req->coll) && req->coll != HK_POINT_TO_POINT && !req->varied &&
	       !req->empty && !req->scaled && c->nranks > 1 && !c->config.algorithms[0] &&
	       !c->ngiven;
}

int hk_comm_copy(struct hk_comm *c, const struct hk_request *req)
{
	struct hk_problem p = {
		.coll = req->coll, .nranks = c->nranks, .root = req->root, .channels = 1};
	size_t block = req->block;
	const struct hk_copy_room *room = c->copying;
	struct hk_gpu_copies job = {.in = req->in};
	const struct hocketWindow *w;
	int err;

	if (!c->windows || !only_moves(c, req) || !c->config.copy_bytes ||
	    block < (size_t)c->config.copy_bytes || !is_symmetric(&p))
		return 0;
	w = find(c, (uintptr_t)req->out, hk_coll_blocks(&p, c->rank, HK_OUT) * block);
	if (!w)
		return 0;
	memset(room->from, 0, (size_t)c->nranks * sizeof(*room->from));
	job.n = list_pushes(c, &p, req, w, room->pushes, room->from);
	job.in_bytes = hk_coll_blocks(&p, c->rank, HK_IN) * block;
	job.pushes = room->pushes;
	job.from = room->from;
	job.words = room->words;
	job.mark = hk_mark_make(req->coll, (enum hk_type)req->type, req->name,
				req->count + ((size_t)req->root << 40), ++c->sequence);
	err = hk_gpu_exec_copy(c->gpu, &job, req->stream);
	if (err == -EINVAL) /* it can't be captured, and has not been */
		c->sequence--;
	if (err)
		return err != -EINVAL ? hk_comm_fail(c, err) : err;
	return 1;
}

void hk_comm_free_windows(struct hk_comm *c)
{
	for (struct hocketWindow *w = c->windows, *next; w; w = next) {
		next = w->next;
		free(w->peers);
		free(w);
	}
	c->windows = NULL;
	free_room(c->copying);
	c->copying = NULL;
}

/* --- the public functions --- */

/* A registration that goes on while its group collects. */
struct registering {
	hocketComm_t comm;
	struct hk_comm *c;
	void *buff;
	size_t size;
	int flags;
	uint64_t turn;
	hocketWindow_t *win;
	pthread_t thread;
	int err;
	char error[512];
};

static void *run(void *arg)
{
	struct registering *r = arg;

	hk_comm_quiesce(r->c); /* as outside a group */
	r->err = make(r->c, r->buff, r->size, r->flags, r->turn, r->win);
	if (r->err)
		strncpy(r->error, hk_last_error(), sizeof(r->error) - 1);
	return NULL;
}

static int finish(void *arg)
{
	struct registering *r = arg;
	int err;

	pthread_join(r->thread, NULL);
	hk_handle_leave(r->comm);
	err = r->err;
	if (err)
		hk_set_last_error(r->error);
	free(r);
	return err;
}

/* In a thread of its own, which the end of the group waits for. */
static int begin_in_group(const struct registering *what)
{
	struct registering *r = malloc(sizeof(*r));
	int err;

	if (!r)
		return hk_fail(ENOMEM, "no memory for a window");
	*r = *what;
	err = hk_group_await(finish, r);
	if (!err)
		err = hk_net_thread(&r->thread, "hocket-window", run, r);
	if (err) {
		hk_group_forget(r);
		free(r);
	}
	return err;
}

hocketResult_t hocketCommWindowRegister(hocketComm_t comm, void *buff, size_t size,
					hocketWindow_t *win, int flags)
{
	struct registering r = {
		.comm = comm, .buff = buff, .size = size, .win = win, .flags = flags};
	int err;

	if (win)
		*win = NULL;
	r.c = hk_handle_enter(comm);
	if (!r.c) {
		err = hk_handle_why();
		if (hk_group_open())
			hk_group_refuse(err);
		return hk_result(err);
	}
	r.turn = hk_comm_take_turn(r.c);
	if (hk_group_open()) {
		err = begin_in_group(&r);
		if (!err)
			return hocketSuccess;
		hk_comm_await_turn(r.c, r.turn);
		hk_comm_end_turn(r.c);
		hk_comm_fail(r.c, err); /* or the others would wait for us */
	} else {
		hk_comm_quiesce(r.c);
		err = make(r.c, buff, size, flags, r.turn, win);
	}
	hk_handle_leave(comm);
	return hk_result(err);
}

static struct hocketWindow **find_handle(struct hk_comm *c, hocketWindow_t win)
{
	struct hocketWindow **place = &c->windows;

	while (*place && *place != win)
		place = &(*place)->next;
	if (!*place)
		hk_fail_quiet(EINVAL, "%p is no window of this communicator", (void *)win);
	return *place ? place : NULL;
}

hocketResult_t hocketCommWindowDeregister(hocketComm_t comm, hocketWindow_t win)
{
	struct hk_comm *c = hk_handle_enter(comm);
	struct hocketWindow **place, *w;

	if (!c)
		return hk_result(hk_handle_why());
	hk_comm_quiesce(c);
	hk_comm_lock_memory(c);
	place = find_handle(c, win);
	if (place) {
		w = *place;
		*place = w->next;
		discard(c, w);
	}
	hk_comm_unlock_memory(c);
	hk_handle_leave(comm);
	return hk_result(place ? 0 : -EINVAL);
}

hocketResult_t hocketWindowGetPtr(hocketComm_t comm, hocketWindow_t win, void **ptr)
{
	struct hk_comm *c = hk_handle_enter(comm);
	struct hocketWindow **place;

	if (!c)
		return hk_result(hk_handle_why());
	place = find_handle(c, win);
	if (place && ptr)
		*ptr = (void *)(*place)->base;
	hk_handle_leave(comm);
	if (place && !ptr)
		return hk_result(hk_fail_quiet(EINVAL, "hocketWindowGetPtr: ptr is NULL"));
	return hk_result(place ? 0 : -EINVAL);
}
