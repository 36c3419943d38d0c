/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The making of communicators, in the calling thread or in one of its own. The handle is claimed
 * first and gets the communicator when that is ready, so that a non-blocking creation has a handle
 * at once, by which it can be asked for its state and ended. Ending it aborts its bootstrap, which
 * wakes it wherever it waits.
 *
 * A split first works over its parent's bootstrap, together with all ranks of the parent. That part
 * is never left half done, as the parent would be unusable afterwards: who aborts the new
 * communicator then goes on, and the thread cleans up behind it. Splits of one parent take their
 * turns in the order of the calls, which is the same on all ranks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

struct hk_make {
	hocketComm_t handle; /* NULL: a rank without a color */
	struct hk_config config;
	hocketComm_t parent_handle;
	struct hk_comm *parent; /* of a split */
	uint64_t turn;
	int color, key;

	_Atomic unsigned refs;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct hk_comm *comm; /* while it is being made */
	bool sharing;	      /* works over the parent */
	bool cancelled, done;
	int err;
	char error[512];
};

/* For the turns of all parents: they are rare, and short. */
static pthread_mutex_t turns = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next_turn = PTHREAD_COND_INITIALIZER;

void hk_make_let_go(struct hk_make *m)
{
	if (atomic_fetch_sub(&m->refs, 1) > 1)
		return;
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* --- splits --- */

uint64_t hk_comm_take_turn(struct hk_comm *c)
{
	uint64_t turn;

	pthread_mutex_lock(&turns);
	turn = c->turns++;
	pthread_mutex_unlock(&turns);
	return turn;
}

void hk_comm_await_turn(struct hk_comm *c, uint64_t turn)
{
	pthread_mutex_lock(&turns);
	while (c->turns_done != turn)
		pthread_cond_wait(&next_turn, &turns);
	pthread_mutex_unlock(&turns);
}

void hk_comm_end_turn(struct hk_comm *c)
{
	pthread_mutex_lock(&turns);
	c->turns_done++;
	pthread_cond_broadcast(&next_turn);
	pthread_mutex_unlock(&turns);
}

/* The part of a split that works over the parent. */
static int split(struct hk_make *m)
{
	struct hk_boot *boot = NULL;
	bool ours = false;
	int err;

	hk_comm_await_turn(m->parent, m->turn);
	err = hk_comm_check(m->parent);
	if (!err) {
		err = hk_boot_split(m->parent->boot, m->color, m->key, m->config.init_timeout_ms,
				    &boot, &ours);
		if (err && !ours)
			hk_comm_fail(m->parent, err); /* or the others would wait for us */
	}
	hk_comm_end_turn(m->parent);
	hk_handle_leave(m->parent_handle);
	pthread_mutex_lock(&m->lock);
	if (m->comm)
		m->comm->boot = boot;
	m->sharing = false;
	if (!err && m->cancelled)
		err = hk_fail_quiet(HK_EABORT, "the communicator was aborted during its creation");
	pthread_mutex_unlock(&m->lock);
	return err;
}

/* Checks the parent, and becomes a user of it. */
static int enter_parent(struct hk_make *m, const struct hk_make_how *how)
{
	int err = 0;

	if (how->color < HOCKET_SPLIT_NOCOLOR)
		return hk_fail_quiet(EINVAL,
				     "color is %d; it must be 0 or more, or HOCKET_SPLIT_NOCOLOR",
				     how->color);
	m->parent = hk_handle_enter(how->parent);
	if (!m->parent)
		return hk_handle_why();
	m->parent_handle = how->parent;
	m->color = how->color;
	m->key = how->key;
	m->sharing = true;
	if (atomic_load(&m->parent->finalized))
		err = hk_fail_quiet(HK_EUSAGE, "a finalized communicator cannot be split");
	return err ? err : hk_comm_check(m->parent);
}

/* --- beginning --- */

static int check_ranks(const struct hk_make_how *how)
{
	if (how->nranks < 1 || how->nranks > 1 << 20)
		return hk_fail_quiet(EINVAL, "nranks is %d; it must be from 1 to %d", how->nranks,
				     1 << 20);
	if (how->rank < 0 || how->rank >= how->nranks)
		return hk_fail_quiet(EINVAL, "rank is %d; it must be from 0 to %d", how->rank,
				     how->nranks - 1);
	if (how->nids < 1 || how->nids > how->nranks)
		return hk_fail_quiet(EINVAL, "nId is %d; it must be from 1 to nranks, %d",
				     how->nids, how->nranks);
	return 0;
}

static int prepare(struct hk_make *m, const struct hk_make_how *how)
{
	int err = how->split ? enter_parent(m, how) : check_ranks(how);

	if (err)
		return err;
	if (how->split && !how->config)
		m->config = m->parent->config;
	else
		err = hk_config_resolve(how->config, &m->config);
	if (err || (how->split && how->color < 0))
		return err;
	err = hk_comm_new(&m->config, &m->comm);
	if (!err && !how->split)
		err = hk_boot_new(how->ids, how->nids, how->nranks, how->rank,
				  m->config.init_timeout_ms, &m->comm->boot);
	if (!err)
		err = hk_handle_claim(m, &m->handle);
	if (!err)
		atomic_fetch_add(&m->refs, 1);
	return err;
}

/* Undoes what prepare did. */
static void discard(struct hk_make *m)
{
	if (m->parent)
		hk_handle_leave(m->parent_handle);
	hk_comm_destroy(m->comm);
	m->comm = NULL;
	if (m->handle) {
		hk_handle_take(m->handle);
		hk_handle_drain(m->handle);
		hk_handle_release(m->handle);
		hk_make_let_go(m);
	}
	hk_make_let_go(m);
}

static int begin(const struct hk_make_how *how, struct hk_make **make)
{
	struct hk_make *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return hk_fail(ENOMEM, "out of memory for a communicator");
	atomic_init(&m->refs, 1);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	err = prepare(m, how);
	if (err) {
		discard(m);
		return err;
	}
	if (m->parent)
		m->turn = hk_comm_take_turn(m->parent);
	*make = m;
	return 0;
}

/* --- work --- */

/* Publishes the communicator, or frees what there is of it. */
static void conclude(struct hk_make *m, int err)
{
	struct hk_comm *c;
	char error[sizeof(m->error)] = "";

	if (err)
		strncpy(error, hk_last_error(), sizeof(error) - 1);
	pthread_mutex_lock(&m->lock);
	c = m->comm;
	m->comm = NULL;
	if (!err && c && m->cancelled)
		err = -HK_EABORT;
	if (!err && c) {
		hk_handle_publish(m->handle, c);
		c = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	if (c && c->boot)
		hk_boot_abort(c->boot, err); /* those who are further need not wait for us */
	hk_comm_destroy(c);
	pthread_mutex_lock(&m->lock);
	m->err = err;
	memcpy(m->error, error, sizeof(error));
	m->done = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static void work(struct hk_make *m)
{
	int err = m->parent ? split(m) : 0;

	if (!err && m->comm)
		err = hk_comm_join(m->comm);
	conclude(m, err);
}

static void *thread(void *arg)
{
	struct hk_make *m = arg;

	work(m);
	hk_make_let_go(m);
	return NULL;
}

/* Starts the thread; on failure frees m. */
static int launch(struct hk_make *m)
{
	int err;

	atomic_fetch_add(&m->refs, 1);
	err = hk_net_thread(NULL, "hocket-make", thread, m);
	if (!err)
		return 0;
	hk_make_let_go(m);
	if (m->parent) {
		/* Nobody else can have taken one since. */
		pthread_mutex_lock(&turns);
		m->parent->turns--;
		pthread_mutex_unlock(&turns);
	}
	discard(m);
	return err;
}

int hk_make_start(const struct hk_make_how *how, struct hk_make **make, hocketComm_t *comm)
{
	struct hk_make *m = NULL;
	hocketComm_t handle;
	int err = begin(how, &m);

	if (err)
		return err;
	handle = m->handle;
	err = launch(m);
	if (err)
		return err;
	*make = m;
	*comm = handle;
	return 0;
}

int hk_make(const struct hk_make_how *how, hocketComm_t *comm)
{
	struct hk_make *m = NULL;
	hocketComm_t handle;
	int err = begin(how, &m);

	if (err)
		return err;
	handle = m->handle;
	if (m->config.blocking) {
		work(m);
		err = hk_make_finish(m);
	} else {
		err = launch(m);
		if (!err)
			hk_make_let_go(m);
		if (!err && handle)
			err = -EINPROGRESS;
	}
	if (!err || err == -EINPROGRESS)
		*comm = handle;
	return err;
}

int hk_make_finish(struct hk_make *m)
{
	int err;

	pthread_mutex_lock(&m->lock);
	while (!m->done)
		pthread_cond_wait(&m->changed, &m->lock);
	err = m->err;
	pthread_mutex_unlock(&m->lock);
	/* Unless another thread has ended it meanwhile. */
	if (err && m->handle && hk_handle_take(m->handle)) {
		hk_handle_drain(m->handle);
		hk_handle_release(m->handle);
		hk_make_let_go(m);
	}
	if (err)
		hk_set_last_error(m->error);
	hk_make_let_go(m);
	return err;
}

/* --- asking and ending --- */

int hk_make_status(struct hk_make *m)
{
	int err;

	pthread_mutex_lock(&m->lock);
	err = m->done ? m->err : -EINPROGRESS;
	if (m->done && err)
		hk_set_last_error(m->error);
	pthread_mutex_unlock(&m->lock);
	return err;
}

int hk_make_refuse(struct hk_make *m)
{
	int err = hk_make_status(m);

	if (err == -EINPROGRESS)
		return hk_fail_quiet(HK_EUSAGE,
				     "the communicator is still being made: wait until "
				     "hocketCommGetAsyncError no longer says hocketInProgress");
	return err ? err : hk_fail_quiet(EINVAL, "the communicator was destroyed or aborted");
}

bool hk_make_blocking(const struct hk_make *m)
{
	return m->config.blocking;
}

void hk_make_cancel(struct hk_make *m)
{
	pthread_mutex_lock(&m->lock);
	m->cancelled = true;
	if (m->comm && m->comm->boot)
		hk_boot_abort(m->comm->boot, -HK_EABORT);
	while (!m->done && !m->sharing)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}
