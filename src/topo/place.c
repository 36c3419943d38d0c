/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts ranks on hosts and derives the layout. The levels are arrays of one number per rank (which
 * NUMA node, package, host, leaf switch); hk_layout_create drops those that tell nothing.
 */
#include "place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "place_internal.h"

/* What one channel carries: a GPU's thread block moves 20 to 25 GB/s, as much as one NVLink. */
#define CHANNEL_GBS 25

enum { LEVEL_NUMA, LEVEL_PACKAGE, LEVEL_HOST, LEVEL_LEAF, NLEVELS };

struct placing {
	const struct hk_graph *g;
	struct hk_placement *p;
	int *host;	      /* of each rank */
	int *local;	      /* of each rank: its number on its host */
	int *count;	      /* per vertex: ranks on that host */
	int *leaf;	      /* per vertex: the leaf switch of that host, -1: none */
	struct shape **shape; /* per vertex */
	struct shape *shapes;
	int *levels[NLEVELS];
};

int hk_leaf_of(const struct hk_graph *g, int host)
{
	for (int v = host; v < g->nvertices && g->vertices[v].host == host; v++)
		for (int i = g->first[v]; i < g->first[v + 1]; i++) {
			const struct hk_link *l = &g->links[g->near[i]];
			int to = l->a == v ? l->b : l->a;

			if (g->vertices[to].kind == HK_V_SWITCH)
				return to;
		}
	return -1;
}

/* host and local of each rank, count of each host. */
static int take_hosts(struct placing *w, const int *hosts)
{
	const struct hk_graph *g = w->g;
	uint64_t slots = 0;
	int rank = 0;

	for (int i = 0; !hosts && i < g->nhosts; i++) {
		unsigned n = g->vertices[g->hosts[i]].slots;

		slots += n;
		for (unsigned k = 0; k < n && rank < w->p->nranks; k++)
			w->host[rank++] = g->hosts[i];
	}
	if (!hosts && rank < w->p->nranks)
		return hk_fail(EINVAL,
			       "%d ranks do not fit in the topology's %llu slots: give its nodes "
			       "more slots, or start fewer ranks",
			       w->p->nranks, (unsigned long long)slots);
	for (rank = 0; rank < w->p->nranks; rank++) {
		int host = hosts ? hosts[rank] : w->host[rank];

		if (host < 0 || host >= g->nvertices || g->vertices[host].kind != HK_V_HOST)
			return hk_fail(EINVAL, "rank %d is placed on no node of the topology",
				       rank);
		w->host[rank] = host;
		w->local[rank] = w->count[host]++;
	}
	return 0;
}

static int take_shapes(struct placing *w)
{
	int err = 0;

	for (int rank = 0; rank < w->p->nranks && !err; rank++) {
		int host = w->host[rank], local = w->local[rank];
		struct shape *s;

		if (!w->shape[host]) {
			w->leaf[host] = hk_leaf_of(w->g, host);
			err = hk_shape_find(w->g, host, w->count[host], &w->shapes,
					    &w->shape[host]);
		}
		if (err)
			break;
		s = w->shape[host];
		w->p->vertex[rank] = host + s->vertex[local];
		w->p->nic[rank] = s->nic[local] < 0 ? -1 : host + s->nic[local];
		w->levels[LEVEL_NUMA][rank] =
			host + (s->numa[local] ? s->numa[local] : s->package[local]);
		w->levels[LEVEL_PACKAGE][rank] = host + s->package[local];
		w->levels[LEVEL_HOST][rank] = host;
		w->levels[LEVEL_LEAF][rank] = w->leaf[host];
	}
	return err;
}

/* The layout's ring keeps hosts together; inside a host of GPUs their own order counts. */
static int set_ring(struct placing *w)
{
	struct hk_layout *l = w->p->layout;
	int n = l->nranks, err;
	int *ring = malloc((size_t)n * sizeof(*ring)), *members = malloc((size_t)n * sizeof(int));

	if (!ring || !members) {
		free(ring);
		free(members);
		return hk_fail(ENOMEM, "no memory to place ranks");
	}
	for (int i = 0, end; i < n; i = end) {
		const struct shape *s = w->shape[w->host[l->ring[i]]];

		for (end = i; end < n && w->host[l->ring[end]] == w->host[l->ring[i]]; end++)
			members[w->local[l->ring[end]]] = l->ring[end];
		for (int k = i; k < end; k++)
			ring[k] = s->ring_gbs > 0 && end - i == s->n ? members[s->ring[k - i]]
								     : l->ring[k];
	}
	err = hk_layout_set_ring(l, ring);
	free(ring);
	free(members);
	return err;
}

/* The middle one of starts[low .. high) is the parent of the middles of both halves. */
static void join_hosts(int *tree, const int *leaders, int low, int high, int parent)
{
	int middle = low + (high - low) / 2;

	if (low >= high)
		return;
	tree[leaders[middle]] = parent;
	join_hosts(tree, leaders, low, middle, leaders[middle]);
	join_hosts(tree, leaders, middle + 1, high, leaders[middle]);
}

/*
 * Between hosts a balanced tree over the ring, so that most of its edges stay on a leaf switch;
 * inside a host a chain of GPUs, which keeps every link busy when a long message is cut up, or a
 * binary tree of processes, which takes fewest steps.
 */
static int make_tree(struct placing *w)
{
	const int *ring = w->p->layout->ring;
	int n = w->p->nranks, nleaders = 0;
	int *leaders = malloc((size_t)n * sizeof(*leaders));

	if (!leaders)
		return hk_fail(ENOMEM, "no memory to place ranks");
	for (int i = 0, start = 0; i < n; i++) {
		if (i && w->host[ring[i]] != w->host[ring[i - 1]])
			start = i;
		if (i == start)
			leaders[nleaders++] = ring[i];
		else if (w->shape[w->host[ring[i]]]->gpus)
			w->p->tree[ring[i]] = ring[i - 1];
		else
			w->p->tree[ring[i]] = ring[start + (i - start - 1) / 2];
	}
	join_hosts(w->p->tree, leaders, 0, nleaders, -1);
	free(leaders);
	return 0;
}

/* As many as the ring inside a host can feed, and one for each network at least. */
static unsigned count_channels(const struct placing *w)
{
	unsigned channels = 0, rails = 1; /* 0: no two ranks on a host */
	bool several = false;

	for (const struct shape *s = w->shapes; s; s = s->next) {
		double wanted = s->ring_gbs / CHANNEL_GBS;
		unsigned n = 1;

		while (n < wanted && n < HK_MAX_CHANNELS_DERIVED)
			n++;
		if (s->n > 1 && (!channels || n < channels))
			channels = n;
	}
	for (int rank = 0; rank < w->p->nranks; rank++) {
		const int *nic = w->p->nic;

		several |= w->host[rank] != w->host[0];
		if (nic[rank] >= 0 && w->g->vertices[nic[rank]].rail >= rails)
			rails = w->g->vertices[nic[rank]].rail + 1;
	}
	if (several && channels < rails)
		channels = rails < HK_MAX_CHANNELS_DERIVED ? rails : HK_MAX_CHANNELS_DERIVED;
	return channels ? channels : 1;
}

static int place(struct placing *w, const int *hosts)
{
	int err = take_hosts(w, hosts);

	if (!err)
		err = take_shapes(w);
	if (!err)
		err = hk_layout_create(w->p->nranks, NLEVELS, (const int *const *)w->levels,
				       &w->p->layout);
	if (!err)
		err = set_ring(w);
	if (!err)
		err = make_tree(w);
	if (err)
		return err;
	w->p->channels = count_channels(w);
	return hk_place_reducers(w->g, w->p);
}

static bool allocate(struct placing *w)
{
	size_t n = (size_t)w->p->nranks, vertices = (size_t)w->g->nvertices;
	int **arrays[] = {&w->host, &w->local, &w->p->vertex, &w->p->nic, &w->p->tree};
	bool ok = true;

	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
		ok &= (*arrays[i] = malloc(n * sizeof(int))) != NULL;
	for (int level = 0; level < NLEVELS; level++)
		ok &= (w->levels[level] = malloc(n * sizeof(int))) != NULL;
	w->count = calloc(vertices, sizeof(*w->count));
	w->shape = calloc(vertices, sizeof(*w->shape));
	w->leaf = calloc(vertices, sizeof(*w->leaf));
	return ok && w->count && w->shape && w->leaf;
}

int hk_place(const struct hk_graph *g, int nranks, const int *hosts,
	     struct hk_placement **placement)
{
	struct placing w = {.g = g};
	int err;

	if (nranks < 1)
		return hk_fail(EINVAL, "%d ranks cannot be placed", nranks);
	w.p = calloc(1, sizeof(*w.p));
	if (!w.p)
		return hk_fail(ENOMEM, "no memory to place ranks");
	w.p->nranks = nranks;
	err = allocate(&w) ? place(&w, hosts) : hk_fail(ENOMEM, "no memory to place ranks");
	hk_shapes_free(w.shapes);
	for (int level = 0; level < NLEVELS; level++)
		free(w.levels[level]);
	free(w.shape);
	free(w.count);
	free(w.leaf);
	free(w.local);
	free(w.host);
	if (err)
		hk_placement_free(w.p);
	else
		*placement = w.p;
	return err;
}

void hk_placement_free(struct hk_placement *p)
{
	if (!p)
		return;
	hk_layout_free(p->layout);
	free(p->vertex);
	free(p->nic);
	free(p->tree);
	free(p->reducer);
	free(p);
}
