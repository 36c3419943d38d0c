/* SPDX-License-Identifier: BSD-3-Clause */
/* Chooses the cheapest algorithm: builds every candidate's programs and prices them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune.h"

/* Above this many ranks the ranks' programs are alike enough that a price at fewer ranks orders the
 * algorithms; what matters then is how steps and bytes grow, and that is kept. */
#define MOST_PRICED_RANKS 64

static double price_algo(const struct hk_machine *m, const struct hk_algo *algo,
			 const struct hk_problem *p, size_t bytes)
{
	int n = hk_algo_participants(algo, p);
	struct hk_program **programs = calloc((size_t)n, sizeof(struct hk_program *));
	double price = INFINITY;
	int built = 0;

	if (!programs)
		return price;
	while (built < n && hk_algo_program(algo, p, built, true, &programs[built]) == 0)
		built++;
	if (built == n)
		price = hk_tune_price(m, programs, n, bytes);
	while (built > 0)
		hk_program_free(programs[--built]);
	free(programs);
	return price;
}

const struct hk_algo *hk_tune_select(const struct hk_machine *m, const struct hk_problem *p,
				     size_t bytes, const char *forced)
{
	const struct hk_algo *best = NULL;
	struct hk_problem priced = *p;
	double least = INFINITY;

	/* Whether a rank's call is in place must not change its choice: the others can't know. */
	priced.inplace = false;
	if (priced.nranks > MOST_PRICED_RANKS)
		priced.nranks = MOST_PRICED_RANKS;
	for (unsigned i = 0; i < hk_nalgos; i++) {
		const struct hk_algo *algo = hk_algos[i];
		double price;

		if (algo->coll != p->coll || !algo->accepts(p))
			continue;
		if (forced && strcmp(forced, algo->name) == 0)
			return algo;
		price = algo->accepts(&priced) ? price_algo(m, algo, &priced, bytes) : INFINITY;
		if (!best || price < least) {
			best = algo;
			least = price;
		}
	}
	return best;
}
