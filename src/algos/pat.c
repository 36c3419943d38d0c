/* SPDX-License-Identifier: BSD-3-Clause */
/* See pat.h. Ranges first count from number 0's place, which is 0, and then from the first one. */
#include "pat.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "patterns.h"

/* Returns the first place, which is 0 or before it. */
static int64_t cut_rounds(uint32_t n, struct hk_pat *pat, int64_t to[])
{
	int64_t low = 0, high = 1;
	uint32_t greatest = 0;

	for (uint32_t k = pat->rounds; k-- > 0;) {
		uint32_t d = 1u << k;
		bool all = d < n - greatest;

		pat->round[k].count = (uint32_t)(high - low) - !all;
		pat->round[k].from = (uint32_t)-low; /* the first place is not known yet */
		to[k] = all ? high : low - pat->round[k].count;
		if (all) {
			high += pat->round[k].count;
			greatest += d;
		} else {
			low = to[k];
		}
	}
	return low;
}

int hk_pat_create(uint32_t n, struct hk_pat *pat)
{
	struct hk_pat new = {.rounds = hk_log2_up(n)};
	int64_t to[32] = {0}, low = cut_rounds(n, &new, to);

	new.number = calloc(n, sizeof(*new.number));
	if (!new.number)
		return hk_fail(ENOMEM, "no memory for the trees of %u ranks", n);
	new.own = (uint32_t)-low;
	for (uint32_t k = new.rounds; k-- > 0;) {
		struct hk_pat_round *r = &new.round[k];

		r->from = new.own - r->from;
		r->to = (uint32_t)(to[k] - low);
		for (uint32_t i = 0; i < r->count; i++)
			new.number[r->to + i] = new.number[r->from + i] + (1u << k);
	}
	*pat = new;
	return 0;
}

void hk_pat_free(struct hk_pat *pat)
{
	free(pat->number);
}
