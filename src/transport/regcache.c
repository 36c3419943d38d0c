/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registrations that can be found are in an index sorted by address, in which none contains
 * another: so the last one that starts at or before an address reaches farthest of those that do,
 * and one look says whether a range is covered. A registration that leaves the index while it is in
 * use is `dead`, and goes with its last user.
 *
 * Safety. An entry of ordinary memory is only as good as the knowledge that its pages are still
 * those that the application sees. So its memory is watched (vmwatch.h) from before it is pinned
 * until it leaves the index; whatever went away leaves the index before the next look; and while
 * it is not certain that all that went away was told, get() answers NULL. Memory whose pages can
 * change unseen, because it is shared or belongs to a file, is refused after it was pinned, when
 * the kernel can say what it is.
 *
 * Never is a page registered of which the caller does not use some bytes now, nor one beyond what
 * was registered and watched all along: another thread might just be giving it back, which would be
 * told before it is done (see vmwatch.c). So a buffer that is asked for piece by piece becomes few
 * registrations not by looking ahead but by looking back: a piece is registered together with its
 * neighbours, unless they are much larger. Each page is so registered about log(pieces) times at
 * worst, and only at the first use of the buffer. Attached memory and device memory have known
 * bounds, and are registered in aligned pieces within them.
 */
#include "regcache.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "transport.h"

#define PIECE_BYTES  ((size_t)32 << 20) /* of attached and device memory */
#define JOIN_BYTES   ((size_t)64 << 20) /* registrations do not grow past it by neighbours */
#define REFUSALS     16u
#define REFUSED_NS   INT64_C(1000000000)
#define SETTLE_TRIES 4u

struct hk_regcache {
	const struct hk_reg_ops *ops;
	void *arg;
	size_t page;
	struct hk_vmwatch watch;
	pthread_mutex_t lock; /* of the rest */
	struct hk_reg **index;
	unsigned n;
	struct hk_reg *last; /* found; in the index */
	struct hk_reg uses;  /* head of the ring of those in the index, in order of use */
	struct hk_memory *attached;
	unsigned nattached, room_attached;
	/* What could not be registered lately: trying again is not cheap. */
	struct {
		uintptr_t base, end;
		int64_t until;
	} refusals[REFUSALS];
	unsigned next_refusal;
	struct hk_regcache_stats stats;
};

/* What a get asks for, and what is known about it. */
struct want {
	uintptr_t base, end;
	uintptr_t lowest, highest; /* bounds of what may be registered with it */
	int from;
	struct hk_device_memory device;
};

/* ---- entries ---- */

/* Number of entries that start at or before `at`. */
static unsigned count_before(const struct hk_regcache *c, uintptr_t at)
{
	unsigned low = 0, high = c->n;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (c->index[mid]->base <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool covers(const struct hk_reg *r, uintptr_t base, uintptr_t end)
{
	return r->base <= base && end - r->base <= r->bytes;
}

static struct hk_reg *find(struct hk_regcache *c, uintptr_t base, uintptr_t end)
{
	unsigned i;

	if (c->last && covers(c->last, base, end))
		return c->last;
	i = count_before(c, base);
	if (!i || !covers(c->index[i - 1], base, end))
		return NULL;
	c->last = c->index[i - 1];
	return c->last;
}

static void unlink_use(struct hk_reg *r)
{
	r->newer->older = r->older;
	r->older->newer = r->newer;
}

static void link_use(struct hk_regcache *c, struct hk_reg *r)
{
	r->older = c->uses.older; /* the head's older is the newest */
	r->newer = &c->uses;
	r->older->newer = r->newer->older = r;
}

static void erase(struct hk_regcache *c, struct hk_reg *r)
{
	c->stats.bytes -= r->bytes;
	c->stats.regions--;
	c->ops->remove(c->arg, r);
}

/* Takes entry i out of the index, and away if it is not in use. */
static void retire(struct hk_regcache *c, unsigned i)
{
	struct hk_reg *r = c->index[i];

	c->n--;
	memmove(&c->index[i], &c->index[i + 1], (c->n - i) * sizeof(c->index[0]));
	if (c->last == r)
		c->last = NULL;
	unlink_use(r);
	hk_vmwatch_remove(&r->watch);
	r->dead = true;
	if (!r->users)
		erase(c, r);
}

static void retire_entry(struct hk_regcache *c, const struct hk_reg *r)
{
	unsigned i = count_before(c, r->base);

	while (c->index[i - 1] != r)
		i--;
	retire(c, i - 1);
}

/* Puts r in the index, in place of the entries that it contains. */
static void insert(struct hk_regcache *c, struct hk_reg *r)
{
	unsigned i = count_before(c, r->base);

	if (i && c->index[i - 1]->base == r->base)
		i--;
	memmove(&c->index[i + 1], &c->index[i], (c->n - i) * sizeof(c->index[0]));
	c->index[i] = r;
	c->n++;
	link_use(c, r);
	while (i + 1 < c->n &&
	       covers(r, c->index[i + 1]->base, c->index[i + 1]->base + c->index[i + 1]->bytes))
		retire(c, i + 1);
}

/* Retires what overlaps [base, end) and is `from` there. */
static unsigned retire_range(struct hk_regcache *c, uintptr_t base, uintptr_t end, int from)
{
	unsigned count = 0;

	/* Ends are sorted, too: what follows the first that does not reach base is all below. */
	for (unsigned i = count_before(c, end - 1); i-- > 0;) {
		struct hk_reg *r = c->index[i];

		if (r->base + r->bytes <= base)
			break;
		if ((int)r->from != from)
			continue;
		retire(c, i);
		count++;
	}
	return count;
}

/* Makes room for a registration of `bytes`. */
static bool make_room(struct hk_regcache *c, size_t bytes)
{
	struct hk_regcache_stats *s = &c->stats;
	struct hk_reg *r = c->uses.newer, *newer; /* the oldest */

	if (bytes > s->most_bytes)
		return false;
	while (s->bytes > s->most_bytes - bytes || s->regions >= s->most_regions) {
		while (r != &c->uses && r->users)
			r = r->newer;
		if (r == &c->uses)
			return false;
		newer = r->newer;
		retire_entry(c, r);
		s->evictions++;
		r = newer;
	}
	return true;
}

/* Less memory may be locked than we were told: gives up half of it. Whether anything went. */
static bool halve(struct hk_regcache *c)
{
	uint64_t before = c->stats.evictions;

	make_room(c, c->stats.most_bytes - c->stats.bytes / 2);
	return c->stats.evictions != before;
}

/* ---- what went away ---- */

static void drain(struct hk_regcache *c)
{
	struct hk_vmwatch_gone gone[HK_VMWATCH_GONE];
	unsigned n = hk_vmwatch_take(&c->watch, gone);

	for (unsigned i = 0; i < n; i++)
		c->stats.invalidations +=
			retire_range(c, gone[i].base, gone[i].end, HK_REG_ORDINARY);
}

/* Whether the entries of ordinary memory can be believed now. If not, then in microseconds; but the
 * thread that reads what happened may need this core. */
static bool settle(struct hk_regcache *c)
{
	if (!c->stats.ordinary)
		return false;
	for (unsigned i = 0; i < SETTLE_TRIES; i++) {
		if (hk_vmwatch_settled(&c->watch)) {
			drain(c);
			return true;
		}
		sched_yield();
	}
	c->stats.unsettled++;
	return false;
}

/* ---- a miss ---- */

static bool was_refused(const struct hk_regcache *c, uintptr_t base, uintptr_t end)
{
	for (unsigned i = 0; i < REFUSALS; i++)
		if (c->refusals[i].base < end && base < c->refusals[i].end &&
		    hk_now_ns() < c->refusals[i].until)
			return true;
	return false;
}

static void note_refusal(struct hk_regcache *c, uintptr_t base, uintptr_t end)
{
	unsigned i = c->next_refusal++ % REFUSALS;

	c->refusals[i].base = base;
	c->refusals[i].end = end;
	c->refusals[i].until = hk_now_ns() + REFUSED_NS;
}

static void forget_refusals(struct hk_regcache *c, uintptr_t base, uintptr_t end)
{
	for (unsigned i = 0; i < REFUSALS; i++)
		if (c->refusals[i].base < end && base < c->refusals[i].end)
			c->refusals[i].until = 0;
}

/* Registers [base, end) with the devices. */
static int add(struct hk_regcache *c, const struct want *w, uintptr_t base, uintptr_t end,
	       struct hk_reg **reg)
{
	struct hk_reg_range range = {.base = (void *)base,
				     .bytes = end - base,
				     .device = w->from == HK_REG_DEVICE,
				     .dmabuf_fd = -1};
	int err;

	if (range.device) {
		err = c->ops->export_device(c->arg, &w->device, &range.dmabuf_fd);
		if (err)
			return err;
		range.dmabuf_offset = base - w->device.base;
	}
	err = c->ops->add(c->arg, &range, reg);
	if (range.dmabuf_fd >= 0)
		close(range.dmabuf_fd);
	return err;
}

/* Registers [base, end), which holds what is wanted, and makes it an entry. */
static int make(struct hk_regcache *c, const struct want *w, uintptr_t base, uintptr_t end,
		struct hk_reg **reg)
{
	struct hk_vmwatch_range watch = {.base = base, .end = end};
	struct hk_reg *r = NULL;
	int err;

	if (w->from == HK_REG_ORDINARY && !hk_vmwatch_add(&watch))
		return -ENOTSUP;
	/* Not sooner: it may evict entries that this one takes over, and whose pages would then
	 * not have been watched all the time. */
	err = make_room(c, end - base) ? 0 : -ENOBUFS;
	if (!err)
		err = add(c, w, base, end, &r);
	if (err)
		goto unwatch;
	r->base = base;
	r->bytes = end - base;
	r->from = (typeof(r->from))w->from;
	r->device_id = w->device.id;
	c->stats.bytes += r->bytes;
	c->stats.regions++;
	if (w->from == HK_REG_ORDINARY) {
		if (!hk_vmwatch_private(&c->watch, base, end)) {
			erase(c, r);
			err = -ENOTSUP;
			goto unwatch;
		}
		hk_vmwatch_move(&watch, &r->watch);
	}
	insert(c, r);
	*reg = r;
	return 0;
unwatch:
	hk_vmwatch_remove(&watch);
	return err;
}

/* Widens [*base, *end) over neighbours that are not much larger. */
static void join_neighbours(struct hk_regcache *c, uintptr_t *base, uintptr_t *end)
{
	for (bool grew = true; grew;) {
		grew = false;
		for (unsigned i = count_before(c, *end); i-- > 0;) {
			const struct hk_reg *r = c->index[i];
			uintptr_t r_end = r->base + r->bytes;
			uintptr_t low = r->base < *base ? r->base : *base;
			uintptr_t high = r_end > *end ? r_end : *end;

			if (r_end < *base)
				break;
			if (r->from != HK_REG_ORDINARY || r->bytes / 2 > *end - *base ||
			    high - low > JOIN_BYTES || (low == *base && high == *end))
				continue;
			*base = low;
			*end = high;
			grew = true;
		}
	}
}

/* Widens [*base, *end) to whole pieces within the bounds. */
static void fill_pieces(const struct want *w, uintptr_t *base, uintptr_t *end)
{
	uintptr_t up = w->highest - w->lowest;

	*base = w->lowest + (*base - w->lowest) / PIECE_BYTES * PIECE_BYTES;
	if (*end - w->lowest <= up - up % PIECE_BYTES)
		*end = w->lowest + (*end - w->lowest + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
	else
		*end = w->highest;
}

static struct hk_reg *miss(struct hk_regcache *c, const struct want *w)
{
	uintptr_t base = w->base / c->page * c->page;
	uintptr_t end = (w->end + c->page - 1) / c->page * c->page;
	uintptr_t wide_base = base, wide_end = end;
	struct hk_reg *r = NULL;
	int err;

	/* A bound of 0 turns everything off: then not even watch it. */
	if (end <= base || end - base > c->stats.most_bytes || was_refused(c, base, end))
		return NULL;
	if (w->from == HK_REG_ORDINARY) {
		join_neighbours(c, &wide_base, &wide_end);
	} else {
		base = base > w->lowest ? base : w->lowest;
		end = end < w->highest ? end : w->highest;
		wide_base = base;
		wide_end = end;
		fill_pieces(w, &wide_base, &wide_end);
	}
	if ((wide_base != base || wide_end != end) && make(c, w, wide_base, wide_end, &r) == 0)
		return r;
	err = make(c, w, base, end, &r);
	while (err == -ENOMEM && halve(c))
		err = make(c, w, base, end, &r);
	if (!err)
		return r;
	/* Lack of room passes with the next put. */
	if (err != -ENOBUFS)
		note_refusal(c, base, end);
	return NULL;
}

/* ---- a get ---- */

/* Finds out what memory is wanted. False if it can't be registered, or not now. */
static bool classify(struct hk_regcache *c, struct want *w)
{
	for (unsigned i = 0; i < c->nattached; i++) {
		uintptr_t base = (uintptr_t)c->attached[i].base;

		if (w->base < base || w->end - base > c->attached[i].bytes)
			continue;
		w->from = HK_REG_ATTACHED;
		w->lowest = base;
		w->highest = base + c->attached[i].bytes;
		return true;
	}
	if (c->ops->find_device && c->ops->find_device(c->arg, (const void *)w->base, &w->device)) {
		w->from = HK_REG_DEVICE;
		w->lowest = w->device.base;
		w->highest = w->device.base + w->device.bytes;
		return w->base >= w->lowest && w->end <= w->highest;
	}
	w->from = HK_REG_ORDINARY;
	return settle(c);
}

/* The registration of [at, at + bytes), found or made. */
static struct hk_reg *find_or_make(struct hk_regcache *c, const void *at, size_t bytes)
{
	struct want w = {.base = (uintptr_t)at, .end = (uintptr_t)at + bytes};
	struct hk_reg *r;

	if (!bytes || w.end < w.base)
		return NULL;
	r = find(c, w.base, w.end);
	if (r && r->from == HK_REG_ORDINARY) {
		if (!settle(c))
			return NULL;
		r = find(c, w.base, w.end);
	}
	if (!r || r->from == HK_REG_DEVICE) {
		if (!classify(c, &w))
			return NULL;
		r = find(c, w.base, w.end);
		if (r && ((int)r->from != w.from || r->device_id != w.device.id)) {
			retire_entry(c, r);
			c->stats.invalidations++;
			r = NULL;
		}
	}
	if (r) {
		c->stats.hits++;
		return r;
	}
	c->stats.misses++;
	return miss(c, &w);
}

struct hk_reg *hk_regcache_get(struct hk_regcache *c, const void *at, size_t bytes)
{
	struct hk_reg *r;

	/* Before the lock, which a thread that the child lacks may have held. */
	if (hk_vmwatch_forked(&c->watch))
		return NULL;
	pthread_mutex_lock(&c->lock);
	r = find_or_make(c, at, bytes);
	if (r) {
		r->users++;
		if (r->newer != &c->uses) {
			unlink_use(r);
			link_use(c, r);
		}
	} else {
		c->stats.refused++;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

void hk_regcache_put(struct hk_regcache *c, struct hk_reg *r)
{
	if (hk_vmwatch_forked(&c->watch))
		return;
	pthread_mutex_lock(&c->lock);
	if (--r->users == 0 && r->dead)
		erase(c, r);
	drain(c);
	pthread_mutex_unlock(&c->lock);
}

void hk_regcache_prepare(struct hk_regcache *c, const void *base, size_t bytes)
{
	if (hk_vmwatch_forked(&c->watch))
		return;
	pthread_mutex_lock(&c->lock);
	find_or_make(c, base, bytes);
	pthread_mutex_unlock(&c->lock);
}

void hk_regcache_tidy(struct hk_regcache *c)
{
	if (hk_vmwatch_forked(&c->watch) || !hk_vmwatch_pending(&c->watch))
		return;
	pthread_mutex_lock(&c->lock);
	drain(c);
	pthread_mutex_unlock(&c->lock);
}

/* ---- attached memory ---- */

int hk_regcache_attach(struct hk_regcache *c, const struct hk_memory *m)
{
	int err = 0;

	pthread_mutex_lock(&c->lock);
	if (c->nattached == c->room_attached) {
		unsigned room = c->room_attached ? c->room_attached * 2 : 16;
		struct hk_memory *more = realloc(c->attached, room * sizeof(*more));

		if (more) {
			c->attached = more;
			c->room_attached = room;
		} else {
			err = hk_fail(ENOMEM, "out of memory for a list of %u regions", room);
		}
	}
	if (!err) {
		c->attached[c->nattached++] = *m;
		forget_refusals(c, (uintptr_t)m->base, (uintptr_t)m->base + m->bytes);
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

void hk_regcache_detach(struct hk_regcache *c, const struct hk_memory *m)
{
	uintptr_t base = (uintptr_t)m->base;
	unsigned same = 0, found = 0;

	if (hk_vmwatch_forked(&c->watch))
		return;
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->nattached; i++) {
		if (c->attached[i].base != m->base || c->attached[i].bytes != m->bytes)
			continue;
		same++;
		found = i;
	}
	if (same)
		c->attached[found] = c->attached[--c->nattached];
	/* One allocation may have been attached for several buffers. */
	if (same == 1)
		retire_range(c, base, base + m->bytes, HK_REG_ATTACHED);
	pthread_mutex_unlock(&c->lock);
}

/* ---- life ---- */

int hk_regcache_create(const struct hk_reg_ops *ops, void *arg, size_t most_bytes,
		       unsigned most_regions, struct hk_regcache **cache)
{
	struct hk_regcache *c = calloc(1, sizeof(*c));

	if (c)
		c->index = calloc(most_regions + 1, sizeof(c->index[0]));
	if (!c || !c->index) {
		free(c);
		return hk_fail(ENOMEM, "out of memory for a cache of %u registrations",
			       most_regions);
	}
	c->ops = ops;
	c->arg = arg;
	c->page = (size_t)sysconf(_SC_PAGESIZE);
	c->uses.newer = c->uses.older = &c->uses;
	c->stats.most_bytes = most_bytes;
	c->stats.most_regions = most_regions;
	pthread_mutex_init(&c->lock, NULL);
	/* Without it ordinary memory is copied; it has been said. */
	c->stats.ordinary = hk_vmwatch_open(&c->watch) == 0;
	*cache = c;
	return 0;
}

void hk_regcache_destroy(struct hk_regcache *c)
{
	const struct hk_regcache_stats *s;

	/* A child's copies of the devices' handles are not its own. */
	if (!c || hk_vmwatch_forked(&c->watch))
		return;
	s = &c->stats;
	hk_log(HK_LOG_INFO,
	       "registrations: %zu bytes in %u at last, %llu hits, %llu misses, %llu evicted, "
	       "%llu whose memory went away; %llu times none could be had",
	       s->bytes, s->regions, (unsigned long long)s->hits, (unsigned long long)s->misses,
	       (unsigned long long)s->evictions, (unsigned long long)s->invalidations,
	       (unsigned long long)s->refused);
	while (c->n)
		retire(c, c->n - 1);
	hk_vmwatch_close(&c->watch);
	pthread_mutex_destroy(&c->lock);
	free(c->attached);
	free(c->index);
	free(c);
}

void hk_regcache_stats(struct hk_regcache *c, struct hk_regcache_stats *stats)
{
	pthread_mutex_lock(&c->lock);
	*stats = c->stats;
	pthread_mutex_unlock(&c->lock);
}
