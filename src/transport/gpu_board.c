/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The boards of registered GPU memory: see gpu_board.h. A board's file is
 *
 *     head | entries | by entry and peer: {serial number that the peer has opened, where}
 *
 * An entry's serial number is new each time it is filled, and 0 while it is empty, so that what a
 * peer said of an earlier filling is seen to be old. What has been opened is given to the pool when
 * no entry is for it any more, and closed there when it is in the way of something else, or at the
 * end: closing waits for kernels.
 */
#include "gpu_board.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "gpu.h"
#include "share.h"

#define MAGIC	   0x6472616f62757067ull
#define ENTRIES	   128u /* of a rank; what is more is copied */
#define MOST_OPEN  512u /* of all peers */
#define BOARD_TAG  0x67626f00u
#define MEMORY_TAG 0x80000000u /* and the entry's serial number */

struct entry {
	_Atomic uint64_t serial; /* 0: empty */
	uint64_t at, bytes;	 /* what is registered, within the share */
	struct hk_gpu_share share;
};

/* Said by a peer. */
struct opened {
	uint64_t where; /* to be added to an address, plus 1 */
	_Atomic uint64_t serial;
};

struct board {
	uint64_t magic;
	uint32_t nranks;
	_Atomic uint32_t filled; /* counts changes by the owner */
	_Atomic uint32_t told;	 /* and by peers */
	struct entry entries[ENTRIES];
	struct opened opened[]; /* entry * nranks + peer */
};

/* Another rank's board, and what of it has been looked at. */
struct peer_board {
	struct board *board; /* NULL: not met */
	bool same_process;
	uint32_t filled;
	uint64_t seen[ENTRIES]; /* serial numbers */
	struct import *imports[ENTRIES];
};

/* Somebody's allocation, opened here. */
struct import {
	int peer;	  /* -1: unused */
	unsigned entries; /* that it is for */
	uint64_t id, base, bytes, here;
	bool ours_to_close;
};

struct hk_board {
	struct hk_board *next; /* of this process */
	pthread_mutex_t lock;  /* of imports, and of what has been seen */
	struct hk_endpoint_env env;
	struct board *own;
	size_t bytes;
	uint64_t serial;
	uint32_t told;
	uint64_t rows; /* on the GPU: by entry, by peer */
	uint64_t *row; /* the same as last written there */
	/* Graphs have the row's address, so it is for no other memory. */
	bool kept[ENTRIES];
	struct peer_board *peers;
	struct import *imports; /* MOST_OPEN */
};

static struct hk_board *boards;
static pthread_mutex_t boards_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t board_bytes(int nranks)
{
	return sizeof(struct board) + (size_t)ENTRIES * (size_t)nranks * sizeof(struct opened);
}

static size_t row_bytes(const struct hk_board *b)
{
	return (size_t)b->env.nranks * sizeof(uint64_t);
}

/* --- boards --- */

static int map_board(struct hk_board *b, int fd, struct board **board)
{
	void *at = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return hk_fail(errno, "a board of registered GPU memory can't be mapped: %s",
			       strerror(errno));
	*board = at;
	return 0;
}

/* The file can't become shorter, so that nobody who maps it is hurt. */
static int make_board(struct hk_board *b)
{
	int fd = memfd_create("hocket-board", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0 || ftruncate(fd, (off_t)b->bytes) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		err = hk_fail(errno, "no file for the board of registered GPU memory: %s",
			      strerror(errno));
		if (fd >= 0)
			close(fd);
		return err;
	}
	err = map_board(b, fd, &b->own);
	if (!err) {
		b->own->magic = MAGIC;
		b->own->nranks = (uint32_t)b->env.nranks;
		err = b->env.wire->ops->publish(b->env.wire, BOARD_TAG, fd);
	}
	close(fd);
	return err;
}

int hk_board_open(const struct hk_endpoint_env *env, struct hk_board **out)
{
	struct hk_board *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return hk_fail(ENOMEM, "no memory for a board of registered GPU memory");
	pthread_mutex_init(&b->lock, NULL);
	b->env = *env;
	b->bytes = board_bytes(env->nranks);
	b->row = calloc(ENTRIES, row_bytes(b));
	b->peers = calloc((size_t)env->nranks, sizeof(*b->peers));
	b->imports = calloc(MOST_OPEN, sizeof(*b->imports));
	for (unsigned i = 0; b->imports && i < MOST_OPEN; i++)
		b->imports[i].peer = -1;
	err = b->row && b->peers && b->imports
		      ? hk_gpu_alloc(env->gpu, ENTRIES * row_bytes(b), &b->rows)
		      : hk_fail(ENOMEM, "no memory for a board of registered GPU memory");
	if (!err)
		err = make_board(b);
	if (err) {
		hk_board_close(b);
		return err;
	}
	pthread_mutex_lock(&boards_lock);
	b->next = boards;
	boards = b;
	pthread_mutex_unlock(&boards_lock);
	*out = b;
	return 0;
}

int hk_board_meet(struct hk_board *b, int peer, bool same_process)
{
	struct peer_board *p = &b->peers[peer];
	struct stat st;
	int fd, err;

	if (p->board)
		return 0;
	err = b->env.wire->ops->fetch(b->env.wire, peer, BOARD_TAG, &fd);
	if (err)
		return err;
	if (fstat(fd, &st) || (uint64_t)st.st_size != b->bytes ||
	    !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
		err = hk_fail(HK_EWIRE, "rank %d's board of registered GPU memory is none", peer);
	else
		err = map_board(b, fd, &p->board);
	close(fd);
	if (!err && (p->board->magic != MAGIC || p->board->nranks != (uint32_t)b->env.nranks)) {
		munmap(p->board, b->bytes);
		p->board = NULL;
		err = hk_fail(HK_EWIRE, "rank %d's board of registered GPU memory is none", peer);
	}
	p->same_process = same_process;
	return err;
}

/* --- what this rank registers --- */

static uint32_t tag_of(uint64_t serial)
{
	return MEMORY_TAG | (uint32_t)serial;
}

int hk_board_attach(struct hk_board *b, uint64_t at, size_t bytes)
{
	struct hk_gpu_share share;
	struct entry *e = NULL;
	int fd = -1, err;

	for (unsigned i = 0; i < ENTRIES && !e; i++)
		if (!b->own->entries[i].serial && !b->kept[i])
			e = &b->own->entries[i];
	if (!e)
		return 0;
	err = hk_gpu_share(b->env.gpu, at, &share, &fd);
	if (!err && bytes > share.base + share.bytes - at)
		err = hk_fail_quiet(ENOTSUP, "it is in more than one allocation");
	if (!err && share.by_fd)
		err = b->env.wire->ops->publish(b->env.wire, tag_of(b->serial + 1), fd);
	if (fd >= 0)
		close(fd);
	if (err) {
		hk_log(HK_LOG_INFO,
		       "rank %d's registered GPU memory is not read in place by other processes: "
		       "%s",
		       b->env.rank, hk_last_error());
		return 0;
	}
	atomic_thread_fence(memory_order_release); /* who reads this sees that it was empty */
	e->share = share;
	e->at = at;
	e->bytes = bytes;
	atomic_store_explicit(&e->serial, ++b->serial, memory_order_release);
	atomic_fetch_add_explicit(&b->own->filled, 1, memory_order_release);
	return 0;
}

static int write_row(struct hk_board *b, unsigned entry)
{
	size_t n = (size_t)b->env.nranks;

	return hk_gpu_write(b->env.gpu, b->rows + entry * row_bytes(b), b->row + entry * n,
			    row_bytes(b));
}

void hk_board_detach(struct hk_board *b, uint64_t at, size_t bytes)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		struct entry *e = &b->own->entries[i];

		if (!e->serial || e->at != at || e->bytes != bytes)
			continue;
		if (e->share.by_fd)
			b->env.wire->ops->withdraw(b->env.wire, tag_of(e->serial));
		atomic_store_explicit(&e->serial, 0, memory_order_release);
		atomic_fetch_add_explicit(&b->own->filled, 1, memory_order_release);
		/* Graphs that have the row's address have messages copied from now on. */
		memset(b->row + i * (size_t)b->env.nranks, 0, row_bytes(b));
		write_row(b, i);
		return;
	}
}

/* What peers have told since the last time goes to the rows. */
static void take_answers(struct hk_board *b)
{
	uint32_t told = atomic_load_explicit(&b->own->told, memory_order_acquire);
	unsigned n = (unsigned)b->env.nranks;

	if (told == b->told)
		return;
	b->told = told;
	for (unsigned i = 0; i < ENTRIES; i++) {
		bool news = false;

		for (unsigned p = 0; p < n && b->own->entries[i].serial; p++) {
			const struct opened *o = &b->own->opened[i * n + p];

			if (b->row[i * n + p] ||
			    atomic_load_explicit(&o->serial, memory_order_acquire) !=
				    b->own->entries[i].serial)
				continue;
			b->row[i * n + p] = o->where;
			news = true;
		}
		if (news && write_row(b, i))
			hk_log(HK_LOG_WARN, "%s", hk_last_error());
	}
}

/* --- what peers register --- */

static struct import *find_import(const struct hk_board *b, int peer,
				  const struct hk_gpu_share *share)
{
	for (struct import *m = b->imports; m < b->imports + MOST_OPEN; m++)
		if (m->peer == peer && m->id == share->id && m->base == share->base &&
		    m->bytes == share->bytes)
			return m;
	return NULL;
}

static void drop(struct hk_board *b, struct import *m)
{
	if (m->peer >= 0 && m->ours_to_close)
		hk_gpu_close_share(b->env.gpu, m->here);
	m->peer = -1;
}

static struct import *free_import(struct hk_board *b)
{
	for (struct import *m = b->imports; m < b->imports + MOST_OPEN; m++)
		if (m->peer < 0)
			return m;
	return NULL;
}

/* The allocation, opened now or before; NULL: it can't be. */
static struct import *open_share(struct hk_board *b, int peer, const struct hk_gpu_share *share,
				 uint64_t serial)
{
	struct import *m = find_import(b, peer, share);
	int fd = -1, err = 0;

	if (m)
		return m;
	m = free_import(b);
	if (!m)
		return NULL;
	*m = (struct import){.peer = peer,
			     .id = share->id,
			     .base = share->base,
			     .bytes = share->bytes,
			     .here = share->base};
	m->ours_to_close = share->by_fd || !b->peers[peer].same_process;
	if (share->by_fd)
		err = b->env.wire->ops->fetch(b->env.wire, peer, tag_of(serial), &fd);
	if (!err && m->ours_to_close)
		err = hk_gpu_open_share(b->env.gpu, share, fd, &m->here);
	if (fd >= 0)
		close(fd);
	if (!err)
		return m;
	m->peer = -1;
	hk_log(HK_LOG_INFO, "rank %d can't read the registered GPU memory of rank %d in place: %s",
	       b->env.rank, peer, hk_last_error());
	return NULL;
}

static void take_entry(struct hk_board *b, int peer, unsigned i)
{
	struct peer_board *p = &b->peers[peer];
	struct entry *e = &p->board->entries[i];
	uint64_t serial = atomic_load_explicit(&e->serial, memory_order_acquire);
	struct opened *o = &p->board->opened[i * (unsigned)b->env.nranks + (unsigned)b->env.rank];
	const struct hk_gpu_share share = e->share;

	atomic_thread_fence(memory_order_acquire);
	if (serial == p->seen[i] ||
	    atomic_load_explicit(&e->serial, memory_order_relaxed) != serial)
		return; /* or it changes at the moment, and there will be news of it */
	p->seen[i] = serial;
	if (p->imports[i] && --p->imports[i]->entries == 0)
		drop(b, p->imports[i]);
	p->imports[i] = serial ? open_share(b, peer, &share, serial) : NULL;
	if (!p->imports[i])
		return;
	p->imports[i]->entries++;
	o->where = (p->imports[i]->here - p->imports[i]->base) + 1;
	atomic_store_explicit(&o->serial, serial, memory_order_release);
	atomic_fetch_add_explicit(&p->board->told, 1, memory_order_release);
}

/* What is gone: it may be in the way of what has come, here or elsewhere. */
static void take_gone(struct hk_board *b, int peer)
{
	struct peer_board *p = &b->peers[peer];

	for (unsigned i = 0; p->board && i < ENTRIES; i++)
		if (p->imports[i] && atomic_load_explicit(&p->board->entries[i].serial,
							  memory_order_acquire) != p->seen[i]) {
			if (--p->imports[i]->entries == 0)
				drop(b, p->imports[i]);
			p->imports[i] = NULL;
		}
}

static void take_up(struct hk_board *b)
{
	pthread_mutex_lock(&b->lock);
	for (int p = 0; p < b->env.nranks; p++) {
		struct peer_board *peer = &b->peers[p];
		uint32_t filled;

		if (!peer->board)
			continue;
		filled = atomic_load_explicit(&peer->board->filled, memory_order_acquire);
		if (filled == peer->filled)
			continue;
		peer->filled = filled;
		take_gone(b, p);
		for (unsigned i = 0; i < ENTRIES; i++)
			take_entry(b, p, i);
	}
	pthread_mutex_unlock(&b->lock);
}

void hk_boards_refresh(void)
{
	pthread_mutex_lock(&boards_lock);
	for (struct hk_board *b = boards; b; b = b->next) {
		pthread_mutex_lock(&b->lock);
		for (int p = 0; p < b->env.nranks; p++)
			take_gone(b, p);
		pthread_mutex_unlock(&b->lock);
	}
	pthread_mutex_unlock(&boards_lock);
}

uint64_t hk_board_rows(struct hk_board *b, uint64_t at, size_t bytes, bool kept)
{
	take_up(b);
	take_answers(b);
	for (unsigned i = 0; b->serial && i < ENTRIES; i++) {
		const struct entry *e = &b->own->entries[i];

		if (e->serial && at >= e->at && at - e->at <= e->bytes &&
		    bytes <= e->bytes - (at - e->at)) {
			b->kept[i] |= kept;
			return b->rows + i * row_bytes(b);
		}
	}
	return 0;
}

uint64_t hk_board_peer_memory(struct hk_board *b, int peer, uint64_t at, size_t bytes)
{
	const struct peer_board *p = &b->peers[peer];
	uint64_t here = 0;

	take_up(b);
	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; p->board && !here && i < ENTRIES; i++) {
		const struct entry *e = &p->board->entries[i];

		if (p->imports[i] && e->serial == p->seen[i] && at >= e->at &&
		    at - e->at <= e->bytes && bytes <= e->bytes - (at - e->at))
			here = p->imports[i]->here + (at - p->imports[i]->base);
	}
	pthread_mutex_unlock(&b->lock);
	return here;
}

size_t hk_board_device_memory(const struct hk_board *b)
{
	return ENTRIES * row_bytes(b);
}

void hk_board_close(struct hk_board *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&boards_lock);
	for (struct hk_board **place = &boards; *place; place = &(*place)->next)
		if (*place == b) {
			*place = b->next;
			break;
		}
	pthread_mutex_unlock(&boards_lock);
	for (unsigned i = 0; b->imports && i < MOST_OPEN; i++)
		drop(b, &b->imports[i]);
	for (int p = 0; b->peers && p < b->env.nranks; p++)
		if (b->peers[p].board)
			munmap(b->peers[p].board, b->bytes);
	if (b->own)
		munmap(b->own, b->bytes);
	hk_gpu_free(b->env.gpu, b->rows);
	free(b->imports);
	free(b->peers);
	free(b->row);
	pthread_mutex_destroy(&b->lock);
	free(b);
}
