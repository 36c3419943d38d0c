/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths, by Dijkstra's algorithm. The widest path comes from two searches: one that finds how wide
 * a path can be, and one for the least latency among the links that are as wide as that.
 */
#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "graph.h"

struct entry {
	double cost; /* smaller is better */
	int vertex;
};

struct search {
	const struct hk_graph *g;
	int from, to;
	bool leave;    /* the host that both ends are in */
	bool widest;   /* cost is the negative of the width; or the latency */
	double narrow; /* links narrower than this are not used */
	double *cost;  /* per vertex, DBL_MAX: not reached */
	int *before;   /* the vertex before it on its best path */
	struct entry *heap;
	size_t n, capacity;
};

const char *hk_reach_name(enum hk_reach reach)
{
	static const char *const names[] = {
		[HK_REACH_SELF] = "self", [HK_REACH_NVLINK] = "nvlink",
		[HK_REACH_PCIE] = "pcie", [HK_REACH_NUMA] = "numa",
		[HK_REACH_HOST] = "host", [HK_REACH_NETWORK] = "network",
	};

	return names[reach];
}

static bool less(const struct entry *x, const struct entry *y)
{
	return x->cost < y->cost || (x->cost == y->cost && x->vertex < y->vertex);
}

static int push(struct search *s, double cost, int vertex)
{
	struct entry new = {cost, vertex};
	size_t i = s->n;

	if (s->n == s->capacity) {
		size_t capacity = s->capacity ? 2 * s->capacity : 64;
		struct entry *grown = realloc(s->heap, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->heap = grown;
		s->capacity = capacity;
	}
	for (s->n++; i && less(&new, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = new;
	return 0;
}

static struct entry pop(struct search *s)
{
	struct entry top = s->heap[0], last = s->heap[--s->n];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < s->n && less(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (child >= s->n || !less(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

/* Whether a path may lead over vertex v. */
static bool may_visit(const struct search *s, int v)
{
	const struct hk_vertex *x = &s->g->vertices[v];

	if (v == s->from || v == s->to)
		return true;
	if (x->kind == HK_V_GPU)
		return false;
	if (x->host < 0)
		return s->leave;
	return x->host == s->g->vertices[s->from].host || x->host == s->g->vertices[s->to].host;
}

static int visit(struct search *s, int v, const struct hk_link *l)
{
	int to = l->a == v ? l->b : l->a;
	double cost = s->widest ? -l->rate.gbs : s->cost[v] + l->rate.ns;

	if (s->widest && cost < s->cost[v])
		cost = s->cost[v];
	if (l->rate.gbs < s->narrow || cost >= s->cost[to] || !may_visit(s, to))
		return 0;
	s->cost[to] = cost;
	s->before[to] = v;
	return push(s, cost, to);
}

/* Fills cost and before. -ENOENT if there is no path. */
static int search(struct search *s)
{
	const struct hk_graph *g = s->g;
	int err;

	for (int v = 0; v < g->nvertices; v++)
		s->cost[v] = DBL_MAX;
	s->n = 0;
	s->cost[s->from] = s->widest ? -DBL_MAX : 0;
	err = push(s, s->cost[s->from], s->from);
	while (!err && s->n) {
		struct entry e = pop(s);

		if (e.cost > s->cost[e.vertex])
			continue;
		if (e.vertex == s->to)
			return 0;
		for (int i = g->first[e.vertex]; i < g->first[e.vertex + 1] && !err; i++)
			err = visit(s, e.vertex, &g->links[g->near[i]]);
	}
	return err ? err : -ENOENT;
}

static int search_by(struct search *s, enum hk_path_by by)
{
	int err;

	s->narrow = 0;
	s->widest = by == HK_PATH_WIDEST;
	err = search(s);
	if (err || !s->widest)
		return err;
	s->narrow = -s->cost[s->to];
	s->widest = false;
	return search(s);
}

static enum hk_reach reach_over(const struct hk_graph *g, const struct hk_link *l, int v, bool end)
{
	enum hk_reach reach = HK_REACH_PCIE;

	if (l->rate.kind == HK_LINK_NVLINK || l->rate.kind == HK_LINK_XGMI)
		reach = HK_REACH_NVLINK;
	else if (l->rate.kind == HK_LINK_MEMORY)
		reach = HK_REACH_NUMA;
	else if (l->rate.kind == HK_LINK_SOCKET)
		reach = HK_REACH_HOST;
	if (end)
		return reach;
	switch (g->vertices[v].kind) {
	case HK_V_SWITCH:
		return HK_REACH_NETWORK;
	case HK_V_HOST:
		return HK_REACH_HOST;
	case HK_V_PACKAGE:
	case HK_V_NUMA:
		return reach > HK_REACH_NUMA ? reach : HK_REACH_NUMA;
	default:
		return reach;
	}
}

/* Walks back from the path's end. */
static int measure(const struct search *s, struct hk_path *path, int *way)
{
	struct hk_path p = {.gbs = DBL_MAX};
	const struct hk_graph *g = s->g;

	for (int v = s->to; v != s->from; v = s->before[v]) {
		const struct hk_link *l = hk_graph_link(g, v, s->before[v]);
		enum hk_reach reach = reach_over(g, l, s->before[v], s->before[v] == s->from);

		p.hops++;
		p.ns += l->rate.ns;
		p.gbs = l->rate.gbs < p.gbs ? l->rate.gbs : p.gbs;
		p.reach = reach > p.reach ? reach : p.reach;
	}
	if (g->vertices[s->from].host != g->vertices[s->to].host)
		p.reach = HK_REACH_NETWORK;
	if (way && p.hops >= HK_PATH_MAX)
		return hk_fail_quiet(EINVAL, "a path of %d links: at most %d can be listed", p.hops,
				     HK_PATH_MAX - 1);
	if (way)
		for (int v = s->to, i = p.hops; i >= 0; v = s->before[v], i--) {
			way[i] = v;
			if (v == s->from)
				break;
		}
	*path = p;
	return 0;
}

int hk_graph_path(const struct hk_graph *g, int from, int to, enum hk_path_by by,
		  struct hk_path *path, int *way)
{
	char a[2 * HK_NAME_MAX + 2], b[2 * HK_NAME_MAX + 2];
	size_t n = (size_t)g->nvertices;
	struct search s = {.g = g, .from = from, .to = to};
	int err = -ENOMEM;

	if (from == to) {
		*path = (struct hk_path){.gbs = HK_MAX_GBS, .reach = HK_REACH_SELF};
		if (way)
			way[0] = from;
		return 0;
	}
	s.leave = g->vertices[from].host < 0 || g->vertices[from].host != g->vertices[to].host;
	s.cost = malloc(n * sizeof(*s.cost));
	s.before = malloc(n * sizeof(*s.before));
	if (s.cost && s.before)
		err = search_by(&s, by);
	if (err == -ENOENT && !s.leave) {
		s.leave = true;
		err = search_by(&s, by);
	}
	if (!err)
		err = measure(&s, path, way);
	else if (err == -ENOENT)
		err = hk_fail_quiet(ENOENT, "no path leads from %s to %s",
				    hk_graph_name(g, from, a, sizeof(a)),
				    hk_graph_name(g, to, b, sizeof(b)));
	else
		err = hk_fail(ENOMEM, "no memory for a path in the topology");
	free(s.heap);
	free(s.before);
	free(s.cost);
	return err;
}
