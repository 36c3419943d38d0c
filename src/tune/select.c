/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chooses the cheapest algorithm and number of channels: builds the candidates' programs and prices
 * them, beginning with those that have the least work; one whose mere work takes longer than the
 * best so far is not priced. Of many ranks
 * the programs of the first HK_TUNE_PRICED_RANKS are priced, and what the others add follows from
 * the algorithm's own formula.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "names.h"
#include "tune.h"

#define MOST_CHANNELS	  8u
#define LEAST_CHUNK_BYTES 4096 /* chunks below don't gain from more channels */
#define WORTH_A_CHANNEL	  0.98 /* twice as many channels must get the price below this share */

/* A problem, and the smaller one that is priced in its stead; the layout is owned. */
struct scope {
	const struct hk_machine *m;
	struct hk_problem whole, priced;
	struct hk_layout *head;
	size_t bytes;
	bool parts;
};

static int scope_open(struct scope *s, const struct hk_machine *m, const struct hk_problem *p,
		      size_t bytes, bool parts)
{
	*s = (struct scope){.m = m, .whole = *p, .bytes = bytes, .parts = parts};
	/* Whether a rank's call is in place must not change its choice: the others can't know. */
	s->whole.inplace = false;
	s->priced = s->whole;
	if (p->nranks <= HK_TUNE_PRICED_RANKS)
		return 0;
	s->priced.nranks = HK_TUNE_PRICED_RANKS;
	if (s->priced.root >= s->priced.nranks)
		s->priced.root = 0;
	if (p->layout) {
		int err = hk_layout_head(p->layout, s->priced.nranks, &s->head);

		if (err)
			return err;
		s->priced.layout = s->head;
	}
	return 0;
}

static void scope_close(struct scope *s)
{
	hk_layout_free(s->head);
}

/* --- the price of one candidate --- */

/* The programs of all participants. Returns how many, or an error. */
static int build_all(const struct hk_algo *algo, const struct hk_problem *p,
		     struct hk_program **programs)
{
	int n = hk_algo_participants(algo, p), built = 0, err = 0;

	while (built < n && !err) {
		err = hk_algo_program(algo, p, built, true, &programs[built]);
		built += !err;
	}
	if (!err)
		return built;
	while (built > 0)
		hk_program_free(programs[--built]);
	return err;
}

static int price_programs(const struct scope *s, const struct hk_algo *algo,
			  const struct hk_problem *p, struct hk_price *price)
{
	int most = p->nranks + (p->layout ? p->layout->nswitches : 0), n, err;
	struct hk_program **programs = calloc((size_t)most, sizeof(struct hk_program *));

	if (!programs)
		return -ENOMEM;
	n = err = build_all(algo, p, programs);
	if (n > 0)
		err = hk_tune_price(s->m, p, programs, n, s->bytes, s->parts, NULL, price);
	for (int i = 0; i < n; i++)
		hk_program_free(programs[i]);
	free(programs);
	return err;
}

/* The route of most messages that decide: the farthest that there is. */
static const struct hk_route *far_route(const struct scope *s)
{
	return &s->m->routes[s->whole.layout ? s->whole.layout->nlevels : 0];
}

/* What ranks beyond those that are priced add, by the algorithm's own formula. */
static double add_ranks(const struct scope *s, const struct hk_algo *algo, uint32_t channels)
{
	struct hk_problem whole = s->whole, priced = s->priced;
	const struct hk_route *route = far_route(s);
	struct hk_work w = {0}, v = {0};
	double ns;

	if (whole.nranks == priced.nranks)
		return 0;
	whole.channels = priced.channels = channels;
	algo->work(&whole, &w);
	algo->work(&priced, &v);
	ns = ((double)w.rounds - v.rounds) * (route->latency_ns + route->message_ns) +
	     ((double)w.messages - v.messages) * route->message_ns +
	     (w.sent - v.sent) * (double)s->bytes *
		     (route->fill_ns_per_byte + route->read_ns_per_byte);
	return fmax(0, ns);
}

/* Infinite if the candidate can't be priced. */
static void price_candidate(const struct scope *s, struct hk_candidate *c)
{
	struct hk_problem p = s->priced;
	double ns;

	p.channels = c->channels;
	c->price = (struct hk_price){.ns = INFINITY};
	if (!c->algo->accepts(&p) || price_programs(s, c->algo, &p, &c->price))
		return;
	ns = c->price.ns;
	c->price.ns += add_ranks(s, c->algo, c->channels);
	for (unsigned i = 0; i < HK_NPRICE_PARTS && ns > 0; i++)
		c->price.parts[i] *= c->price.ns / ns;
}

/* --- channels --- */

static void work_with(const struct scope *s, const struct hk_algo *algo, uint32_t channels,
		      struct hk_work *w)
{
	struct hk_problem p = s->whole;

	*w = (struct hk_work){0};
	p.channels = channels;
	algo->work(&p, w);
}

/* Whether the algorithm makes use of so many channels, and chunks stay worth a message. */
static bool uses_channels(const struct scope *s, const struct hk_algo *algo, uint32_t channels)
{
	struct hk_problem p = s->whole, q = s->priced;
	struct hk_work one, more;

	if (s->bytes / channels / (size_t)p.nranks < LEAST_CHUNK_BYTES)
		return false;
	p.channels = q.channels = channels;
	if (!algo->accepts(&p) || !algo->accepts(&q))
		return false;
	work_with(s, algo, 1, &one);
	work_with(s, algo, channels, &more);
	return more.messages != one.messages;
}

/* Prices an algorithm with the channels that are asked for, or with the best number. */
static void price_algo(const struct scope *s, struct hk_candidate *c)
{
	struct hk_candidate more;

	c->channels = s->whole.channels ? s->whole.channels : 1;
	price_candidate(s, c);
	if (s->whole.channels)
		return;
	for (uint32_t n = 2; n <= MOST_CHANNELS && uses_channels(s, c->algo, n); n *= 2) {
		more = *c;
		more.channels = n;
		price_candidate(s, &more);
		if (more.price.ns > WORTH_A_CHANNEL * c->price.ns)
			break;
		*c = more;
	}
}

/* --- choice --- */

static bool solves(const struct hk_algo *algo, const struct hk_problem *p)
{
	struct hk_problem q = *p;

	q.channels = p->channels ? p->channels : 1;
	return algo->coll == p->coll && algo->accepts(&q);
}

/* The first of the names that solves the problem. */
static const struct hk_algo *find_forced(const struct hk_problem *p, const char *names)
{
	const struct hk_algo *algo;
	char name[HK_NAME_BYTES];

	while (hk_names_next(&names, name)) {
		algo = hk_algo_find(name);
		if (algo && solves(algo, p))
			return algo;
	}
	return NULL;
}

/* What the busiest rank's messages and bytes take at least, whatever overlaps. */
static double least_price(const struct scope *s, const struct hk_algo *algo)
{
	unsigned levels = s->whole.layout ? s->whole.layout->nlevels : 0;
	double message = s->m->routes[0].message_ns, byte = s->m->routes[0].fill_ns_per_byte;
	struct hk_work w;

	for (unsigned i = 0; i <= levels; i++) {
		const struct hk_route *route = &s->m->routes[i];

		message = fmin(message, route->message_ns);
		byte = fmin(byte, route->lend_bytes > 0 ? 0 : route->fill_ns_per_byte);
	}
	work_with(s, algo, s->whole.channels ? s->whole.channels : 1, &w);
	return w.messages * message + w.sent * (double)s->bytes * byte;
}

static int no_algorithm(const struct hk_problem *p)
{
	return hk_fail(ENOTSUP, "no algorithm does %s for %d ranks%s", hk_coll_name(p->coll),
		       p->nranks, p->channels > 1 ? " with so many channels" : "");
}

/* A candidate and what it takes at least. */
struct bound {
	const struct hk_algo *algo;
	double ns;
};

static int by_bound(const void *a, const void *b)
{
	const struct bound *x = a, *y = b;

	if (x->ns < y->ns || x->ns > y->ns)
		return x->ns < y->ns ? -1 : 1;
	return strcmp(x->algo->name, y->algo->name);
}

static int choose(const struct scope *s, struct hk_choice *choice)
{
	struct hk_candidate best = {.price.ns = INFINITY}, c;
	struct bound *bounds = calloc(hk_nalgos + 1, sizeof(*bounds));
	unsigned n = 0;

	if (!bounds)
		return hk_fail(ENOMEM, "no memory for %u candidates", hk_nalgos);
	for (unsigned i = 0; i < hk_nalgos; i++)
		if (solves(hk_algos[i], &s->whole))
			bounds[n++] = (struct bound){hk_algos[i], least_price(s, hk_algos[i])};
	qsort(bounds, n, sizeof(*bounds), by_bound);
	for (unsigned i = 0; i < n && !(bounds[i].ns >= best.price.ns); i++) {
		c = (struct hk_candidate){.algo = bounds[i].algo};
		price_algo(s, &c);
		if (!best.algo || c.price.ns < best.price.ns)
			best = c;
	}
	free(bounds);
	if (!best.algo)
		return no_algorithm(&s->whole);
	*choice = (struct hk_choice){
		.algo = best.algo, .channels = best.channels, .ns = best.price.ns};
	return 0;
}

int hk_tune_select(const struct hk_machine *m, const struct hk_problem *p, size_t bytes,
		   const char *forced, struct hk_choice *choice)
{
	const struct hk_algo *algo = forced ? find_forced(p, forced) : NULL;
	struct hk_candidate c = {.algo = algo, .channels = p->channels};
	struct scope s;
	int err;

	/* A name and a number of channels leave nothing to choose. */
	if (algo && p->channels) {
		*choice = (struct hk_choice){algo, p->channels, 0, true};
		return 0;
	}
	err = scope_open(&s, m, p, bytes, false);
	if (err)
		return err;
	if (algo) {
		price_algo(&s, &c);
		*choice = (struct hk_choice){algo, c.channels, 0, true};
	} else {
		err = choose(&s, choice);
	}
	scope_close(&s);
	return err;
}

static int by_price(const void *a, const void *b)
{
	const struct hk_candidate *x = a, *y = b;

	if (x->price.ns < y->price.ns || x->price.ns > y->price.ns)
		return x->price.ns < y->price.ns ? -1 : 1;
	return y->chosen - x->chosen;
}

int hk_tune_rank(const struct hk_machine *m, const struct hk_problem *p, size_t bytes,
		 const char *forced, struct hk_candidate **list, unsigned *n)
{
	struct hk_candidate *all = calloc(hk_nalgos + 1, sizeof(*all));
	struct hk_choice choice = {0};
	struct scope s;
	unsigned count = 0;
	int err;

	if (!all)
		return hk_fail(ENOMEM, "no memory for %u candidates", hk_nalgos);
	err = hk_tune_select(m, p, bytes, forced, &choice);
	if (!err)
		err = scope_open(&s, m, p, bytes, true);
	if (err) {
		free(all);
		return err;
	}
	for (unsigned i = 0; i < hk_nalgos; i++) {
		struct hk_candidate *c = &all[count];

		if (!solves(hk_algos[i], &s.whole))
			continue;
		c->algo = hk_algos[i];
		price_algo(&s, c);
		work_with(&s, c->algo, c->channels, &c->work);
		c->chosen = c->algo == choice.algo;
		count++;
	}
	scope_close(&s);
	qsort(all, count, sizeof(*all), by_price);
	*list = all;
	*n = count;
	return 0;
}
