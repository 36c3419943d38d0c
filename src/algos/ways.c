/* SPDX-License-Identifier: BSD-3-Clause */
/* See ways.h. */
#include "ways.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

static struct hk_way way_of(const struct hk_hierarchy *h, int position, int block)
{
	struct hk_way way = {.born = hk_hierarchy_meet(h, position, block)};
	int holder = block;

	for (unsigned stage = way.born + 1; stage-- > 0;) {
		int group = h->group[stage][position];

		if (h->group[stage][holder] == group)
			continue;
		way.stage = stage;
		way.from = holder;
		holder = hk_hierarchy_partner(h, stage, holder, group);
	}
	return way;
}

int hk_ways_create(const struct hk_hierarchy *h, int position, struct hk_way **ways)
{
	struct hk_way *w = calloc((size_t)h->n, sizeof(*w));

	if (!w)
		return hk_fail(ENOMEM, "no memory for the ways of %d blocks", h->n);
	for (int i = 0; i < h->n; i++)
		if (i != position)
			w[i] = way_of(h, position, i);
	*ways = w;
	return 0;
}

int hk_ways_born(const struct hk_hierarchy *h, unsigned born, int position, int i)
{
	const int *inner = &h->first[born][h->group[born][position]];
	const int *outer = &h->first[born + 1][h->group[born + 1][position]];
	int at = inner[1] + i; /* from the end of the own group on, and round */

	if (i >= outer[1] - outer[0] - (inner[1] - inner[0]))
		return -1;
	return at < outer[1] ? at : outer[0] + at - outer[1];
}
