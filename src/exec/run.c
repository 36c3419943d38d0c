/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waits for a plan, or for several (struct hk_drive): polls; when nothing moves spins, then yields
 * the core, then sleeps on the transports, so that a rank whose peers keep pace never enters the
 * kernel and one whose peers are late costs nothing. While it waits it watches for failures and for
 * the deadline.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "clock.h"
#include "error.h"
#include "plan.h"

#define SPINS_PER_LOOK	64	   /* polls between two looks at the clock */
#define POLLS_PER_CHECK 64	   /* polls between two looks for an abort */
#define BARE_SPINS	32	   /* polls before the first pause: a pause costs tens of ns */
#define YIELD_NS	2000000	   /* yields this long before it sleeps */
#define SLEEP_NS	20000000   /* and looks up at least this often */
#define STOPPED_NS	1000000000 /* no look at the clock for this long: we were stopped */
#define MIXED_SLEEP_NS	200000	   /* when something else than one transport might end the wait */

struct plan_drive {
	struct hk_drive drive;
	struct hk_plan *plan;
};

int hk_plan_expired(const struct hk_plan *plan, const struct hk_watch *w)
{
	char what[256];

	hk_plan_describe_wait(plan, what, sizeof(what));
	return hk_fail(ETIMEDOUT,
		       "%s made no progress for %.1f s: %s; that rank may be stuck, gone or in "
		       "another call (HOCKET_TIMEOUT_MS sets the deadline)",
		       hk_coll_name(plan->problem.coll), (double)w->timeout_ns / 1e9, what);
}

static int sleep_on(struct hk_drive *d, bool *moved)
{
	struct hk_watch *w = d->watch;
	int64_t most = w->nendpoints != 1 || w->unseen ? MIXED_SLEEP_NS : SLEEP_NS;
	struct timespec nap = {0, MIXED_SLEEP_NS};
	int r;

	for (unsigned i = 0; i < w->nendpoints; i++)
		w->endpoints[i]->transport->arm(w->endpoints[i]);
	r = d->ops->poll(d, moved);
	if (r || *moved)
		return r;
	for (unsigned i = 0; i < w->nendpoints; i++)
		w->endpoints[i]->transport->wait(w->endpoints[i], most);
	if (!w->nendpoints)
		nanosleep(&nap, NULL);
	return 0;
}

/* Nothing has moved for a while. Returns as poll does once something has. */
static int wait_long(struct hk_drive *d, struct hk_exec_stats *stats)
{
	struct hk_watch *w = d->watch;
	int64_t start = hk_now_ns(), last = start;
	bool moved = false;
	int r;

	while (!moved) {
		int64_t now = hk_now_ns(), waited;

		/* This process, and perhaps the whole job, was stopped: that time does not count.
		 */
		if (now - last > STOPPED_NS)
			start += now - last;
		last = now;
		waited = now - start;
		r = w->failed(w);
		if (r)
			return r;
		if (waited > w->timeout_ns) {
			r = d->ops->poll(d, &moved);
			return r || moved ? r : d->ops->expired(d);
		}
		if (waited < w->spin_ns) {
			for (int i = 0; i < SPINS_PER_LOOK && !moved; i++) {
				hk_cpu_relax();
				r = d->ops->poll(d, &moved);
				if (r)
					return r;
			}
			continue;
		}
		if (waited < w->spin_ns + YIELD_NS || (!w->nendpoints && !w->unseen)) {
			stats->yields++;
			sched_yield();
			r = d->ops->poll(d, &moved);
		} else {
			stats->sleeps++;
			r = sleep_on(d, &moved);
		}
		if (r)
			return r;
	}
	return 0;
}

/* In line with poll, for the sake of a single plan's latency. */
static inline __attribute__((always_inline)) int run(struct hk_drive *d,
						     int (*poll)(struct hk_drive *d, bool *moved),
						     struct hk_exec_stats *stats)
{
	unsigned idle = 0, polls = 0;

	for (;;) {
		bool moved = false;
		int r = poll(d, &moved);

		if (r)
			return r;
		/* Also while everybody keeps pace, this process may abort, or another one fail. */
		if (__builtin_expect(++polls % POLLS_PER_CHECK == 0, 0)) {
			r = d->watch->failed(d->watch);
			if (r)
				return r;
		}
		if (moved) {
			idle = 0;
		} else if (++idle > (d->watch->spin_ns ? SPINS_PER_LOOK : 0)) {
			r = wait_long(d, stats);
			if (r)
				return r;
			idle = 0;
		} else if (idle > BARE_SPINS) {
			hk_cpu_relax();
		}
	}
}

int hk_drive_run(struct hk_drive *d, struct hk_exec_stats *stats)
{
	int r = run(d, d->ops->poll, stats);

	return r < 0 ? r : 0;
}

static inline int poll_plan(struct hk_drive *d, bool *moved)
{
	return hk_plan_poll(((struct plan_drive *)d)->plan, moved);
}

static int plan_expired(struct hk_drive *d)
{
	return hk_plan_expired(((struct plan_drive *)d)->plan, d->watch);
}

void hk_plan_count(struct hk_plan *plan, struct hk_exec_stats *stats)
{
	stats->messages += plan->sent_messages;
	stats->bytes += plan->sent_bytes;
	plan->sent_messages = 0;
	plan->sent_bytes = 0;
}

int hk_plan_run(struct hk_plan *plan, const struct hk_call *call, struct hk_watch *w,
		struct hk_exec_stats *stats)
{
	static const struct hk_drive_ops ops = {poll_plan, plan_expired};
	struct plan_drive d = {{&ops, w}, plan};
	int r;

	hk_plan_begin(plan, call);
	r = run(&d.drive, poll_plan, stats);
	hk_plan_count(plan, stats);
	return r < 0 ? r : 0;
}
