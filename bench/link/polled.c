/* SPDX-License-Identifier: BSD-3-Clause */
/* See polled.h. */
#include "polled.h"

#include <errno.h>
#include <sched.h>

#include "clock.h"

#define SPINS_PER_LOOK 64 /* polls between looks at the clock, which take longer than polls */

static struct hk_lp_polled *polled(struct hk_lp_way *w)
{
	return (struct hk_lp_polled *)(void *)w;
}

int hk_lp_idle(struct hk_lp_run *run, struct hk_lp_waiting *w)
{
	struct hk_watch *watch = &run->inside->watch.watch;
	int64_t now, waited;
	int err;

	if (watch->spin_ns && ++w->idle % SPINS_PER_LOOK) {
		hk_cpu_relax();
		return 0;
	}
	now = hk_now_ns();
	if (!w->since)
		w->since = now;
	waited = now - w->since;
	if (waited >= watch->spin_ns)
		sched_yield();
	err = watch->failed(watch);
	if (err || waited < watch->timeout_ns)
		return err;
	return hk_fail(ETIMEDOUT,
		       "no message moved between the two ranks for %lld ms (HOCKET_TIMEOUT_MS)",
		       (long long)(watch->timeout_ns / 1000000));
}

void hk_lp_expect_none(struct hk_lp_polled *p, size_t bytes, unsigned n)
{
}

int hk_lp_tend_none(struct hk_lp_polled *p)
{
	return 0;
}

int hk_lp_polled_pass(struct hk_lp_way *w, size_t bytes)
{
	struct hk_lp_waiting waiting = {0};
	int r;

	while (!(r = polled(w)->poll->post(polled(w), bytes))) {
		r = hk_lp_idle(w->run, &waiting);
		if (r)
			return r;
	}
	return r < 0 ? r : 0;
}

int hk_lp_polled_await(struct hk_lp_way *w, size_t bytes)
{
	struct hk_lp_polled *p = polled(w);
	struct hk_lp_waiting waiting = {0};
	int r;

	p->poll->expect(p, bytes, 1);
	while (!(r = p->poll->take(p, bytes))) {
		r = p->poll->tend(p);
		if (r >= 0)
			r = hk_lp_idle(w->run, &waiting);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

int hk_lp_polled_stream(struct hk_lp_way *w, size_t bytes, unsigned n, bool out, bool in)
{
	const struct hk_lp_poll_ops *poll = polled(w)->poll;
	unsigned posted = out ? 0 : n, taken = in ? 0 : n;
	struct hk_lp_waiting waiting = {0};
	bool settled = !out;

	if (in)
		poll->expect(polled(w), bytes, n);
	while (posted < n || taken < n || !settled) {
		int sent = posted < n ? poll->post(polled(w), bytes) : 0;
		int came = taken < n ? poll->take(polled(w), bytes) : 0;
		int left = posted == n && !settled ? poll->settle(polled(w)) : 0;

		if (sent < 0 || came < 0 || left < 0)
			return sent < 0 ? sent : came < 0 ? came : left;
		posted += (unsigned)sent;
		taken += (unsigned)came;
		settled |= left == 1;
		if (sent || came || left) {
			waiting = (struct hk_lp_waiting){0};
		} else {
			int err = hk_lp_idle(w->run, &waiting);

			if (err)
				return err;
		}
	}
	return 0;
}
