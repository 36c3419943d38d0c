/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a host's GPUs in a ring. For each bandwidth that occurs, from the widest down: is
 * there a ring of paths at least as wide? The search tries the order as given first and has a
 * budget, because the question is hard in general; hosts have few GPUs, and mostly all pairs are
 * equal.
 */
#include <stdlib.h>

#include "place_internal.h"

#define MOST_PLACES 16
#define BUDGET	    200000 /* places tried for one bandwidth */

struct ring_search {
	int n, budget;
	const double *gbs;
	double narrowest; /* that is allowed */
	int *order;
	bool used[MOST_PLACES];
};

/* Whether order[0 .. at) can be continued to a ring. */
static bool extend(struct ring_search *s, int at)
{
	int before = s->order[at - 1];

	if (at == s->n)
		return s->gbs[before * s->n + s->order[0]] >= s->narrowest;
	for (int i = 1; i < s->n && s->budget > 0; i++) {
		if (s->used[i] || s->gbs[before * s->n + i] < s->narrowest)
			continue;
		s->budget--;
		s->used[i] = true;
		s->order[at] = i;
		if (extend(s, at + 1))
			return true;
		s->used[i] = false;
	}
	return false;
}

double hk_ring_width(int n, const double *gbs, const int *order)
{
	double narrowest = HK_MAX_GBS;

	for (int i = 0; i < n; i++) {
		double width = gbs[order[i] * n + order[(i + 1) % n]];

		narrowest = width < narrowest ? width : narrowest;
	}
	return narrowest;
}

double hk_ring_order(int n, const double *gbs, int *order)
{
	double bound = HK_MAX_GBS * 2, current;

	for (int i = 0; i < n; i++)
		order[i] = i;
	if (n < 2)
		return 0;
	current = hk_ring_width(n, gbs, order);
	for (; n > 2 && n <= MOST_PLACES;) {
		struct ring_search s = {.n = n, .budget = BUDGET, .gbs = gbs, .order = order};

		/* The next bandwidth below the last that was tried. */
		for (int i = 0; i < n * n; i++)
			if (i / n != i % n && gbs[i] < bound && gbs[i] > s.narrowest)
				s.narrowest = gbs[i];
		bound = s.narrowest;
		if (s.narrowest <= current)
			break;
		order[0] = 0;
		if (extend(&s, 1))
			return s.narrowest;
	}
	for (int i = 0; i < n; i++)
		order[i] = i;
	return current;
}
