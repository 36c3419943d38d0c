/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree of switches that reduce. Its root is a reducing switch as far up as there is one, the
 * best connected of those. Every rank's shortest way to the root leads over switches; those that
 * reduce are its ancestors. A switch that would get more below it than it can take reduces nothing,
 * and what hung on it hangs on the next one up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "place_internal.h"

struct tree {
	const struct hk_graph *g;
	int *up;      /* per vertex: the next one on its way to the root, -1: none */
	bool *usable; /* per vertex: a switch that reduces, and not too many below it */
	int *below;   /* per vertex: participants that hang on it */
	int *number;  /* per vertex: its participant, -1: none */
};

static int degree(const struct hk_graph *g, int v)
{
	return g->first[v + 1] - g->first[v];
}

static int find_root(const struct tree *t)
{
	const struct hk_graph *g = t->g;
	int best = -1;

	for (int v = 0; v < g->nvertices; v++) {
		if (!t->usable[v])
			continue;
		if (best < 0 || g->vertices[v].tier > g->vertices[best].tier ||
		    (g->vertices[v].tier == g->vertices[best].tier &&
		     degree(g, v) > degree(g, best)))
			best = v;
	}
	return best;
}

/* Breadth first from the root, outwards over switches; hosts and NICs are where ways begin. */
static int find_ways(struct tree *t, int root)
{
	const struct hk_graph *g = t->g;
	int *queue = malloc((size_t)g->nvertices * sizeof(*queue));
	int head = 0, tail = 0;

	if (!queue)
		return hk_fail(ENOMEM, "no memory to place ranks");
	for (int v = 0; v < g->nvertices; v++)
		t->up[v] = -1;
	queue[tail++] = root;
	while (head < tail) {
		int v = queue[head++];

		for (int i = g->first[v]; i < g->first[v + 1]; i++) {
			const struct hk_link *l = &g->links[g->near[i]];
			int to = l->a == v ? l->b : l->a;

			if (to == root || t->up[to] >= 0)
				continue;
			t->up[to] = v;
			if (g->vertices[to].host < 0)
				queue[tail++] = to;
		}
	}
	free(queue);
	return 0;
}

/* The first usable switch on the way from v up, v excluded; -1: there is none. */
static int next_up(const struct tree *t, int v)
{
	do
		v = t->up[v];
	while (v >= 0 && !t->usable[v]);
	return v;
}

/* Where a rank's way begins: its NIC if that is on the network, another NIC of its host, or its
 * host. */
static int door_of(const struct tree *t, const struct hk_placement *p, int rank)
{
	int host = t->g->vertices[p->vertex[rank]].host;

	if (p->nic[rank] >= 0 && t->up[p->nic[rank]] >= 0)
		return p->nic[rank];
	for (int v = host; v < t->g->nvertices && t->g->vertices[v].host == host; v++)
		if (t->up[v] >= 0)
			return v;
	return host;
}

/* Counts what hangs on each switch; makes those unusable that have too much. Returns whether any
 * was. */
static bool count_below(struct tree *t, const struct hk_placement *p)
{
	const struct hk_graph *g = t->g;
	bool changed = false;

	memset(t->below, 0, (size_t)g->nvertices * sizeof(*t->below));
	for (int rank = 0; rank < p->nranks; rank++) {
		int v = next_up(t, door_of(t, p, rank));

		/* A switch is counted above when the first one hangs on it. */
		while (v >= 0 && t->below[v]++ == 0)
			v = next_up(t, v);
	}
	for (int v = 0; v < g->nvertices; v++) {
		uint32_t most = t->usable[v] ? g->reducers[g->vertices[v].reducer].fan_in : 0;

		if (most && (uint32_t)t->below[v] > most) {
			hk_log(HK_LOG_INFO,
			       "topology: switch %s can reduce for %u, but %d hang on it; left out",
			       g->vertices[v].name, most, t->below[v]);
			t->usable[v] = false;
			changed = true;
		}
	}
	return changed;
}

static int hang(struct tree *t, struct hk_placement *p)
{
	const struct hk_graph *g = t->g;
	int n = 0, err, *parent;

	for (int v = 0; v < g->nvertices; v++)
		t->number[v] = t->usable[v] && t->below[v] ? p->nranks + n++ : -1;
	parent = malloc(((size_t)p->nranks + (size_t)n) * sizeof(*parent));
	p->reducer = malloc(((size_t)n + 1) * sizeof(*p->reducer));
	if (!parent || !p->reducer) {
		free(parent);
		return hk_fail(ENOMEM, "no memory to place ranks");
	}
	for (int rank = 0; rank < p->nranks; rank++) {
		int v = next_up(t, door_of(t, p, rank));

		parent[rank] = v < 0 ? -1 : t->number[v];
	}
	for (int v = 0; v < g->nvertices; v++)
		if (t->number[v] >= 0) {
			int up = next_up(t, v);

			parent[t->number[v]] = up < 0 ? -1 : t->number[up];
			p->reducer[t->number[v] - p->nranks] = v;
		}
	err = hk_layout_set_switches(p->layout, n, parent);
	free(parent);
	return err;
}

int hk_place_reducers(const struct hk_graph *g, struct hk_placement *p)
{
	size_t n = (size_t)g->nvertices;
	struct tree t = {.g = g};
	int root, err = 0;

	if (!g->nreducers)
		return 0;
	t.up = malloc(n * sizeof(*t.up));
	t.usable = calloc(n, sizeof(*t.usable));
	t.below = calloc(n, sizeof(*t.below));
	t.number = malloc(n * sizeof(*t.number));
	if (!t.up || !t.usable || !t.below || !t.number)
		err = hk_fail(ENOMEM, "no memory to place ranks");
	for (size_t v = 0; v < n && !err; v++)
		t.usable[v] = g->vertices[v].reducer >= 0;
	while (!err) {
		root = find_root(&t);
		if (root < 0)
			break;
		err = find_ways(&t, root);
		if (!err && !count_below(&t, p)) {
			err = hang(&t, p);
			break;
		}
	}
	free(t.up);
	free(t.usable);
	free(t.below);
	free(t.number);
	return err;
}
