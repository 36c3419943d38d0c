/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times all ways of a transport at one size. What is timed is cut in blocks of some milliseconds:
 * ping-pong, a stream one way, streams both ways. In each round every way has a block of each kind,
 * and begins in turn, so that whatever else the machine does meets all ways alike. A ratio is that
 * of two blocks of the same round, and the median over the rounds is reported.
 *
 * A ping-pong reads the clock once per round trip. A stream ends with a short message there and
 * back, which shows that all has arrived whatever the way itself notices.
 */
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "link.h"

#define WARM_BYTES (4u << 20) /* most that warming up and calibrating moves per kind and way */
#define TOO_LONG   3	      /* times as long as a block is meant to take */
/* Messages of a block, if their number is not given. */
#define LEAST_PINGS  5
#define MOST_PINGS   20000
#define LEAST_STREAM 8
#define MOST_STREAM  1000000

enum kind { PING_PONG, ONE_WAY, BOTH_WAYS, KINDS };

/* What one way showed. */
struct record {
	uint32_t iters[KINDS];
	double took_ms[KINDS]; /* the last block */
	double *samples;       /* us of every ping-pong of all rounds ... */
	size_t nsamples;       /* ... and how many */
	double *blocks[KINDS]; /* per round: the median us; messages per second */
};

struct session {
	struct hk_lp_run *run;
	size_t bytes;
	struct record *records; /* of each way */
};

/* --- statistics --- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Of n sorted values, the least that is not below the given share of them. */
static double percentile(const double *sorted, size_t n, double share)
{
	size_t at = (size_t)(share * (double)n);

	return sorted[at < n ? at : n - 1];
}

static double sort_for_median(double *values, size_t n)
{
	qsort(values, n, sizeof(double), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* --- blocks --- */

/* n round trips; each one's half goes to *samples in us, on rank 0, if it is not NULL. */
static int ping_pong(struct hk_lp_way *w, size_t bytes, unsigned n, double *samples)
{
	int64_t last = hk_now_ns();
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		int64_t now;

		err = w->run->rank ? w->ops->await(w, bytes) : w->ops->pass(w, bytes);
		if (!err)
			err = w->run->rank ? w->ops->pass(w, bytes) : w->ops->await(w, bytes);
		now = hk_now_ns();
		if (samples)
			samples[i] = (double)(now - last) / 2e3;
		last = now;
	}
	return err;
}

/* Nothing that this rank has sent needs it any more. */
static int drain(struct hk_lp_way *w)
{
	return w->ops->stream(w, HK_LP_MIN_BYTES, 0, true, false);
}

/* Seconds that n messages took to arrive; of both ways, n each way. */
static int stream(struct hk_lp_way *w, size_t bytes, unsigned n, enum kind kind, double *seconds)
{
	bool both = kind == BOTH_WAYS, first = !w->run->rank;
	int64_t start;
	int err = ping_pong(w, HK_LP_MIN_BYTES, 1, NULL); /* both are here */

	/* Who only receives now does not look after what it has sent any more. */
	err = err ? err : drain(w);
	start = hk_now_ns();
	if (!err)
		err = w->ops->stream(w, bytes, n, both || first, both || !first);
	if (!err)
		err = ping_pong(w, HK_LP_MIN_BYTES, 1, NULL);
	*seconds = (double)(hk_now_ns() - start) * 1e-9;
	return err ? err : drain(w);
}

/* One block of a way. *figure: us, or messages per second. samples: room for n, or NULL. */
static int run_block(struct session *s, struct hk_lp_way *w, enum kind kind, unsigned n,
		     double *samples, double *figure)
{
	double seconds = 0;
	int err;

	if (kind != PING_PONG) {
		err = stream(w, s->bytes, n, kind, &seconds);
		*figure = (kind == BOTH_WAYS ? 2 : 1) * (double)n / (seconds > 0 ? seconds : 1e-9);
		return err;
	}
	err = ping_pong(w, s->bytes, 1, NULL); /* both are here */
	if (!err)
		err = ping_pong(w, s->bytes, n, samples);
	if (!err)
		err = drain(w);
	return err;
}

/* --- before the rounds --- */

static uint32_t fit(double messages, enum kind kind)
{
	uint32_t least = kind == PING_PONG ? LEAST_PINGS : LEAST_STREAM;
	uint32_t most = kind == PING_PONG ? MOST_PINGS : MOST_STREAM;

	return messages < least ? least : messages > most ? most : (uint32_t)messages;
}

/* How many messages a block has: as asked, or as many as take a block's time. Also warms up. */
static int calibrate(struct session *s, struct hk_lp_way *w, struct record *r, enum kind kind)
{
	const struct hk_lp_options *o = s->run->options;
	unsigned warm = (unsigned)o->warmup + 1, most = (unsigned)(WARM_BYTES / s->bytes) + 2;
	uint32_t mine, theirs = 0;
	int64_t start;
	double each, figure = 0;
	int err;

	warm = warm < most ? warm : most;
	start = hk_now_ns();
	err = run_block(s, w, kind, warm, NULL, &figure);
	if (err)
		return err;
	each = (double)(hk_now_ns() - start) / 1e6 / warm;
	mine = o->iters ? (uint32_t)o->iters : fit(o->block_ms / (each > 1e-6 ? each : 1e-6), kind);
	if (hk_lp_swap(s->run, &mine, &theirs, sizeof(mine)))
		return hk_fail(HK_EPEER, "the two ranks could not agree how long to measure");
	r->iters[kind] = s->run->rank ? theirs : mine; /* rank 0's */
	return 0;
}

static int make_room(struct record *r, unsigned rounds)
{
	r->samples = calloc((size_t)rounds * r->iters[PING_PONG], sizeof(double));
	for (int k = 0; k < KINDS; k++)
		r->blocks[k] = calloc(rounds, sizeof(double));
	if (r->samples && r->blocks[PING_PONG] && r->blocks[ONE_WAY] && r->blocks[BOTH_WAYS])
		return 0;
	return hk_fail(ENOMEM, "no memory for the times of %u messages", r->iters[PING_PONG]);
}

static int prepare(struct session *s, struct hk_lp_way **ways, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int err = 0;

		for (int k = 0; k < KINDS && !err; k++)
			err = calibrate(s, ways[i], &s->records[i], (enum kind)k);
		if (!err)
			err = make_room(&s->records[i], (unsigned)s->run->options->rounds);
		if (err)
			return err;
	}
	return 0;
}

/* A block that took much longer than meant, because the ranks did not run at the same time any
 * more, makes the next ones shorter. */
static int adapt(struct session *s, struct record *r)
{
	const struct hk_lp_options *o = s->run->options;
	uint32_t mine[KINDS], theirs[KINDS];

	for (int k = 0; k < KINDS; k++) {
		double share = o->block_ms / (r->took_ms[k] > 1e-6 ? r->took_ms[k] : 1e-6);

		mine[k] = r->iters[k];
		if (share < 1.0 / TOO_LONG)
			mine[k] = fit(r->iters[k] * share, (enum kind)k);
		if (mine[k] > r->iters[k])
			mine[k] = r->iters[k]; /* there is no room for more samples */
	}
	if (hk_lp_swap(s->run, mine, theirs, sizeof(mine)))
		return hk_fail(HK_EPEER, "the two ranks could not agree how long to measure");
	for (int k = 0; k < KINDS; k++)
		r->iters[k] = s->run->rank ? theirs[k] : mine[k];
	return 0;
}

/* --- the rounds --- */

static int run_round(struct session *s, struct hk_lp_way **ways, unsigned n, unsigned round)
{
	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned turn = 0; turn < n; turn++) {
			unsigned i = (turn + round) % n;
			struct record *r = &s->records[i];
			double *samples = r->samples + r->nsamples;
			int64_t start = hk_now_ns();
			int err = run_block(s, ways[i], (enum kind)k, r->iters[k], samples,
					    &r->blocks[k][round]);

			if (err)
				return err;
			r->took_ms[k] = (double)(hk_now_ns() - start) * 1e-6;
			if (k != PING_PONG)
				continue;
			r->blocks[k][round] = sort_for_median(samples, r->iters[k]);
			r->nsamples += r->iters[k];
		}
	}
	for (unsigned i = 0; i < n && !s->run->options->iters; i++) {
		int err = adapt(s, &s->records[i]);

		if (err)
			return err;
	}
	return 0;
}

/* Divides the blocks of a way by those of the raw one, round by round; the median. */
static double ratio(const struct record *r, const struct record *raw, enum kind kind, unsigned n)
{
	double quotients[HK_LP_MOST_ROUNDS];

	for (unsigned i = 0; i < n; i++)
		quotients[i] = r->blocks[kind][i] / raw->blocks[kind][i];
	return sort_for_median(quotients, n);
}

static void conclude(struct record *r, const struct record *raw, unsigned rounds,
		     struct hk_lp_figures *f)
{
	f->latency_ratio = ratio(r, raw, PING_PONG, rounds);
	f->one_way_ratio = ratio(r, raw, ONE_WAY, rounds);
	f->both_ways_ratio = ratio(r, raw, BOTH_WAYS, rounds);
	f->latency.p50 = sort_for_median(r->samples, r->nsamples);
	f->latency = (struct hk_lp_spread){
		.p50 = f->latency.p50,
		.min = r->samples[0],
		.p90 = percentile(r->samples, r->nsamples, 0.90),
		.p99 = percentile(r->samples, r->nsamples, 0.99),
		.max = r->samples[r->nsamples - 1],
	};
}

static void release(struct record *records, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(records[i].samples);
		for (int k = 0; k < KINDS; k++)
			free(records[i].blocks[k]);
	}
}

int hk_lp_measure(struct hk_lp_run *run, struct hk_lp_way **ways, unsigned n, size_t bytes,
		  struct hk_lp_figures *figures)
{
	struct record records[HK_LP_WAYS] = {0};
	struct session s = {.run = run, .bytes = bytes, .records = records};
	unsigned rounds = (unsigned)run->options->rounds;
	int err = prepare(&s, ways, n);

	for (unsigned round = 0; round < rounds && !err; round++)
		err = run_round(&s, ways, n, round);
	for (unsigned i = 0; i < n && !err; i++)
		conclude(&records[i], &records[0], rounds, &figures[i]);
	/* The ratios needed the rounds in their order; the medians don't. */
	for (unsigned i = 0; i < n && !err; i++) {
		figures[i].one_way = sort_for_median(records[i].blocks[ONE_WAY], rounds);
		figures[i].both_ways = sort_for_median(records[i].blocks[BOTH_WAYS], rounds);
	}
	release(records, n);
	return err;
}
