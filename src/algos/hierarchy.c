/* SPDX-License-Identifier: BSD-3-Clause */
/* See hierarchy.h. */
#include "hierarchy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

bool hk_hierarchy_fits(const struct hk_problem *p)
{
	return p->layout && p->layout->nlevels && p->layout->nranks == p->nranks;
}

/* Sorts by the group numbers of one level, and leaves alone what is equal. */
static void sort_by(const int *group, int n, const int *from, int *to, int *start)
{
	memset(start, 0, ((size_t)n + 1) * sizeof(*start));
	for (int i = 0; i < n; i++)
		start[group[i] + 1]++;
	for (int i = 0; i < n; i++)
		start[i + 1] += start[i];
	for (int i = 0; i < n; i++)
		to[start[group[from[i]]]++] = from[i];
}

/* From the innermost level out: then each group of each is a range. place is spare until the end.
 */
static void order_ranks(struct hk_hierarchy *h, const struct hk_layout *layout)
{
	for (int i = 0; i < h->n; i++)
		h->order[i] = i;
	for (unsigned l = 0; l < layout->nlevels; l++) {
		sort_by(layout->group[l], h->n, h->order, h->place, h->first[0]);
		memcpy(h->order, h->place, (size_t)h->n * sizeof(*h->order));
	}
	for (int i = 0; i < h->n; i++)
		h->place[h->order[i]] = i;
}

/* Numbers the groups of a height in the order of positions. */
static void cut_groups(struct hk_hierarchy *h, const struct hk_layout *layout, unsigned height)
{
	const int *group = height && height < h->stages ? layout->group[height - 1] : NULL;
	int n = 0;

	for (int i = 0; i < h->n; i++) {
		if (!i || !height || (group && group[h->order[i]] != group[h->order[i - 1]]))
			h->first[height][n++] = i;
		h->group[height][i] = n - 1;
	}
	h->first[height][n] = h->n;
	h->ngroups[height] = n;
}

int hk_hierarchy_create(const struct hk_problem *p, struct hk_hierarchy *h)
{
	struct hk_hierarchy new = {.n = p->nranks, .stages = p->layout->nlevels + 1};
	size_t n = (size_t)p->nranks, at = 2 * n;

	new.memory = calloc(at + (new.stages + 1) * (2 * n + 1), sizeof(int));
	if (!new.memory)
		return hk_fail(ENOMEM, "no memory for the groups of %d ranks", p->nranks);
	new.order = new.memory;
	new.place = new.memory + n;
	for (unsigned i = 0; i <= new.stages; i++) {
		new.first[i] = new.memory + at;
		new.group[i] = new.memory + at + n + 1;
		at += 2 * n + 1;
	}
	order_ranks(&new, p->layout);
	for (unsigned i = 0; i <= new.stages; i++)
		cut_groups(&new, p->layout, i);
	*h = new;
	return 0;
}

void hk_hierarchy_free(struct hk_hierarchy *h)
{
	free(h->memory);
}

struct hk_circle hk_hierarchy_members(const struct hk_hierarchy *h, unsigned stage, int group)
{
	int first = h->group[stage][h->first[stage + 1][group]];
	int last = h->group[stage][h->first[stage + 1][group + 1] - 1];

	return (struct hk_circle){.first = first, .count = last - first + 1};
}

struct hk_circle hk_hierarchy_circle(const struct hk_hierarchy *h, unsigned stage, int position)
{
	struct hk_circle c = hk_hierarchy_members(h, stage, h->group[stage + 1][position]);

	c.own = h->group[stage][position] - c.first;
	return c;
}

unsigned hk_hierarchy_meet(const struct hk_hierarchy *h, int a, int b)
{
	unsigned stage = 0;

	while (h->group[stage + 1][a] != h->group[stage + 1][b])
		stage++;
	return stage;
}

int hk_hierarchy_partner(const struct hk_hierarchy *h, unsigned height, int position, int group)
{
	const int *first = h->first[height];
	int own = h->group[height][position];
	int64_t into = position - first[own], size = first[own + 1] - first[own];

	return first[group] + (int)(into * (first[group + 1] - first[group]) / size);
}
