/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds layouts. Each level is renumbered so that a group's number says when its first rank comes,
 * and is kept only if it tells something that the levels below it do not (below level 0 stands
 * every rank by itself). The ring sorts the ranks by group, outermost level first: then the ranks
 * of every group of every level are neighbours in it, and no order crosses fewer borders.
 */
#include "layout.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* Far more ranks than a communicator has, and few enough that no size below overflows. */
#define MAX_PARTICIPANTS (1 << 26)

static int no_memory(size_t n)
{
	return hk_fail(ENOMEM, "no memory for the layout of %zu participants", n);
}

struct member {
	int value, rank;
};

static int compare_members(const void *x, const void *y)
{
	const struct member *a = x, *b = y;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	return a->rank < b->rank ? -1 : 1;
}

/* numbers[rank] = the number of the rank's group, counted in the order of the groups' first ranks.
 * Returns how many groups there are. members is room for n of them. */
static int renumber(int n, const int *values, struct member *members, int *numbers)
{
	int ngroups = 0;

	for (int i = 0; i < n; i++)
		members[i] = (struct member){values[i], i};
	qsort(members, (size_t)n, sizeof(*members), compare_members);
	/* At first each rank gets the first rank of its group: sorted, that one is the run's head.
	 */
	for (int i = 0, head = 0; i < n; i++) {
		if (members[i].value != members[head].value)
			head = i;
		numbers[members[i].rank] = members[head].rank;
	}
	for (int i = 0; i < n; i++)
		numbers[i] = numbers[i] == i ? ngroups++ : numbers[numbers[i]];
	return ngroups;
}

/* Whether the groups in `above` are unions of those in `below` (NULL: of single ranks). head is
 * room for n numbers. */
static int check_union(int n, unsigned level, const int *below, const int *above, int *head)
{
	int seen = 0;

	if (!below)
		return 0;
	for (int i = 0; i < n; i++) {
		/* Numbers count in the order of first ranks, so a new one is always the next. */
		if (below[i] == seen)
			head[seen++] = i;
		if (above[i] != above[head[below[i]]])
			return hk_fail(EINVAL,
				       "ranks %d and %d share a group of level %u but not of level "
				       "%u: groups must be unions of the groups one level below",
				       head[below[i]], i, level - 1, level);
	}
	return 0;
}

static int compare_groups(const void *x, const void *y, void *arg)
{
	const struct hk_layout *l = arg;
	int a = *(const int *)x, b = *(const int *)y;

	for (unsigned level = l->nlevels; level-- > 0;)
		if (l->group[level][a] != l->group[level][b])
			return l->group[level][a] < l->group[level][b] ? -1 : 1;
	return a < b ? -1 : a > b;
}

static struct hk_layout *allocate(int nranks)
{
	struct hk_layout *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->nranks = nranks;
	l->ring = malloc((size_t)nranks * sizeof(*l->ring));
	l->parent = malloc((size_t)nranks * sizeof(*l->parent));
	if (!l->ring || !l->parent) {
		hk_layout_free(l);
		return NULL;
	}
	for (int i = 0; i < nranks; i++) {
		l->ring[i] = i;
		l->parent[i] = -1;
	}
	return l;
}

/* Adds the levels that tell something. */
static int add_levels(struct hk_layout *l, unsigned nlevels, const int *const *groups)
{
	int n = l->nranks, groups_below = n, err = 0;
	struct member *members = malloc((size_t)n * sizeof(*members));
	int *below = NULL, *head = malloc((size_t)n * sizeof(*head));
	int *spare[2] = {malloc((size_t)n * sizeof(int)), malloc((size_t)n * sizeof(int))};

	if (!members || !head || !spare[0] || !spare[1])
		err = no_memory((size_t)n);
	for (unsigned level = 0; level < nlevels && !err; level++) {
		int *numbers = spare[level % 2];
		int ngroups = renumber(n, groups[level], members, numbers);

		err = check_union(n, level, below, numbers, head);
		below = numbers;
		/* A union of as many groups as there are below is those groups. */
		if (err || ngroups == 1 || ngroups == groups_below)
			continue;
		groups_below = ngroups;
		if (l->nlevels == HK_MAX_LEVELS) {
			err = hk_fail(EINVAL,
				      "more than %d levels that separate ranks: leave some out",
				      HK_MAX_LEVELS);
			continue;
		}
		l->group[l->nlevels] = malloc((size_t)n * sizeof(int));
		if (!l->group[l->nlevels])
			err = no_memory((size_t)n);
		else
			memcpy(l->group[l->nlevels++], numbers, (size_t)n * sizeof(int));
	}
	free(spare[0]);
	free(spare[1]);
	free(head);
	free(members);
	return err;
}

int hk_layout_create(int nranks, unsigned nlevels, const int *const *groups,
		     struct hk_layout **layout)
{
	struct hk_layout *l;
	int err;

	if (nranks < 1 || nranks > MAX_PARTICIPANTS)
		return hk_fail(EINVAL, "a layout of %d ranks: it must be 1 to %d", nranks,
			       MAX_PARTICIPANTS);
	l = allocate(nranks);
	if (!l)
		return no_memory((size_t)nranks);
	err = add_levels(l, nlevels, groups);
	if (err) {
		hk_layout_free(l);
		return err;
	}
	qsort_r(l->ring, (size_t)nranks, sizeof(*l->ring), compare_groups, l);
	*layout = l;
	return 0;
}

/* Whether every parent is a switch, and going up from every participant ends. */
static int check_parents(int nranks, int total, const int *parent)
{
	/* Set once a participant's way up was walked to its end, so that nobody walks it again. */
	bool *ends = calloc((size_t)total, sizeof(*ends));
	int err = 0;

	if (!ends)
		return no_memory((size_t)total);
	for (int i = 0; i < total && !err; i++)
		if (parent[i] != -1 && (parent[i] < nranks || parent[i] >= total))
			err = hk_fail(
				EINVAL,
				"participant %d hangs on %d, which is no switch: switches are "
				"%d to %d",
				i, parent[i], nranks, total - 1);
	for (int i = 0; i < total && !err; i++) {
		int at = i, steps = 0;

		while (at >= 0 && !ends[at] && steps++ < total)
			at = parent[at];
		if (at >= 0 && !ends[at]) {
			err = hk_fail(EINVAL,
				      "participant %d hangs on itself through its switches: "
				      "they must form trees",
				      at);
			break;
		}
		for (at = i; at >= 0 && !ends[at]; at = parent[at])
			ends[at] = true;
	}
	free(ends);
	return err;
}

int hk_layout_set_switches(struct hk_layout *layout, int nswitches, const int *parent)
{
	int total, *copy, err;

	if (nswitches < 0 || nswitches > MAX_PARTICIPANTS - layout->nranks)
		return hk_fail(EINVAL, "a layout with %d switches: it must be 0 to %d", nswitches,
			       MAX_PARTICIPANTS - layout->nranks);
	total = layout->nranks + nswitches;
	err = check_parents(layout->nranks, total, parent);
	if (err)
		return err;
	copy = malloc((size_t)total * sizeof(*copy));
	if (!copy)
		return no_memory((size_t)total);
	memcpy(copy, parent, (size_t)total * sizeof(*copy));
	free(layout->parent);
	layout->parent = copy;
	layout->nswitches = nswitches;
	return 0;
}

void hk_layout_plain_tree(int nranks, int nswitches, int *parent)
{
	int leaves = nswitches - 1;

	for (int r = 0; r < nranks; r++)
		parent[r] = leaves ? nranks + 1 + (int)((int64_t)r * leaves / nranks) : nranks;
	parent[nranks] = -1;
	for (int i = 1; i <= leaves; i++)
		parent[nranks + i] = nranks;
}

int hk_layout_set_ring(struct hk_layout *layout, const int *ring)
{
	size_t n = (size_t)layout->nranks;
	bool *seen = calloc(n, sizeof(*seen));
	int err = 0;

	if (!seen)
		return no_memory(n);
	for (size_t i = 0; i < n && !err; i++) {
		if (ring[i] < 0 || ring[i] >= layout->nranks || seen[ring[i]])
			err = hk_fail(EINVAL,
				      "place %zu of the ring has rank %d: every rank from 0 "
				      "to %zu must come once",
				      i, ring[i], n - 1);
		else
			seen[ring[i]] = true;
	}
	free(seen);
	if (!err)
		memcpy(layout->ring, ring, n * sizeof(*ring));
	return err;
}

/* The switches above the first n ranks, renumbered from n up. */
static int head_switches(const struct hk_layout *from, int n, struct hk_layout *to)
{
	int total = from->nranks + from->nswitches, kept = 0, err = 0;
	int *number = malloc((size_t)total * sizeof(*number));
	int *parent = malloc((size_t)total * sizeof(*parent));

	if (!number || !parent) {
		err = no_memory((size_t)total);
		goto out;
	}
	for (int i = 0; i < total; i++)
		number[i] = -1;
	for (int i = 0; i < n; i++)
		for (int s = from->parent[i]; s >= 0 && number[s] < 0; s = from->parent[s])
			number[s] = 0; /* kept; numbered below, in the old order */
	for (int s = from->nranks; s < total; s++)
		if (number[s] == 0)
			number[s] = n + kept++;
	for (int i = 0; i < total; i++) {
		int up = from->parent[i] < 0 ? -1 : number[from->parent[i]];

		if (i < n)
			parent[i] = up;
		else if (number[i] >= 0)
			parent[number[i]] = up;
	}
	err = hk_layout_set_switches(to, kept, parent);
out:
	free(parent);
	free(number);
	return err;
}

int hk_layout_head(const struct hk_layout *layout, int n, struct hk_layout **head)
{
	struct hk_layout *l = NULL;
	int err;

	if (n < 1 || n > layout->nranks)
		return hk_fail(EINVAL, "the first %d ranks of a layout of %d", n, layout->nranks);
	err = hk_layout_create(n, layout->nlevels, (const int *const *)layout->group, &l);
	if (err)
		return err;
	/* The ring may have been chosen by the graph: what is left of it keeps its order. */
	for (int i = 0, at = 0; i < layout->nranks; i++)
		if (layout->ring[i] < n)
			l->ring[at++] = layout->ring[i];
	err = head_switches(layout, n, l);
	if (err) {
		hk_layout_free(l);
		return err;
	}
	*head = l;
	return 0;
}

/* FNV-1a, value by value: the same on machines of either byte order. */
static uint64_t mix(uint64_t h, const int *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (unsigned shift = 0; shift < 32; shift += 8)
			h = (h ^ (((unsigned)values[i] >> shift) & 255)) * 0x100000001b3ull;
	return h;
}

uint64_t hk_layout_hash(const struct hk_layout *layout)
{
	size_t n = (size_t)layout->nranks;
	int shape[] = {layout->nranks, (int)layout->nlevels, layout->nswitches};
	uint64_t h = mix(0xcbf29ce484222325ull, shape, 3);

	for (unsigned level = 0; level < layout->nlevels; level++)
		h = mix(h, layout->group[level], n);
	h = mix(h, layout->ring, n);
	return mix(h, layout->parent, n + (size_t)layout->nswitches);
}

void hk_layout_free(struct hk_layout *layout)
{
	if (!layout)
		return;
	for (unsigned level = 0; level < layout->nlevels; level++)
		free(layout->group[level]);
	free(layout->ring);
	free(layout->parent);
	free(layout);
}
