/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ranks of one host are: where each runs, which NIC is its own, and in which order they
 * form a ring. A cluster has thousands of hosts of a few machines, so this is done once for each
 * machine and number of ranks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "place_internal.h"

/* With more ranks on one host their paths are not compared. */
#define MOST_PAIRED 64

/* Past the last vertex of the host. */
static int end_of(const struct hk_graph *g, int host)
{
	int end = host + 1;

	while (end < g->nvertices && g->vertices[end].host == host)
		end++;
	return end;
}

static int count_kind(const struct hk_graph *g, int host, enum hk_vertex_kind kind)
{
	int n = 0, end = end_of(g, host);

	for (int v = host; v < end; v++)
		n += g->vertices[v].kind == kind;
	return n;
}

/* The vertex of that kind which v is in, as an offset from the host; 0: in none. */
static int around(const struct hk_graph *g, int v, enum hk_vertex_kind kind)
{
	int host = g->vertices[v].host;

	for (; v >= 0; v = g->vertices[v].parent)
		if (g->vertices[v].kind == kind)
			return v - host;
	return 0;
}

/* GPUs in turn; or NUMA nodes in equal blocks; or the host. */
static void seat(const struct hk_graph *g, struct shape *s)
{
	enum hk_vertex_kind kind = HK_V_GPU;
	int n = count_kind(g, s->host, kind), seen = 0, end = end_of(g, s->host);

	s->gpus = n > 0;
	if (!n)
		n = count_kind(g, s->host, kind = HK_V_NUMA);
	for (int v = s->host; v < end && n; v++) {
		if (g->vertices[v].kind != kind)
			continue;
		for (int i = 0; i < s->n; i++) {
			int mine = s->gpus ? i % n : (int)((int64_t)i * n / s->n);

			if (mine == seen)
				s->vertex[i] = v - s->host;
		}
		seen++;
	}
	for (int i = 0; i < s->n; i++) {
		s->numa[i] = around(g, s->host + s->vertex[i], HK_V_NUMA);
		s->package[i] = around(g, s->host + s->vertex[i], HK_V_PACKAGE);
	}
}

static bool reaches_switch(const struct hk_graph *g, int v)
{
	for (int i = g->first[v]; i < g->first[v + 1]; i++) {
		const struct hk_link *l = &g->links[g->near[i]];

		if (g->vertices[l->a == v ? l->b : l->a].host < 0)
			return true;
	}
	return false;
}

/* How well a NIC is suited to be used at all: verbs count more than a cable that is described. */
static int merit(const struct hk_graph *g, int nic)
{
	return 2 * g->vertices[nic].rdma + reaches_switch(g, nic);
}

/* Each rank takes the NIC that is nearest, among those equally near the one with the fewest ranks.
 */
static int choose_nics(const struct hk_graph *g, struct shape *s)
{
	int end = end_of(g, s->host), best_merit = 0, err = 0;
	int *load = calloc((size_t)(end - s->host), sizeof(*load));

	if (!load)
		return hk_fail(ENOMEM, "no memory to place ranks");
	for (int v = s->host; v < end; v++)
		if (g->vertices[v].kind == HK_V_NIC && merit(g, v) > best_merit)
			best_merit = merit(g, v);
	for (int i = 0; i < s->n && !err; i++) {
		struct hk_path best = {0};

		s->nic[i] = -1;
		for (int v = s->host; v < end; v++) {
			struct hk_path p = {0};

			if (g->vertices[v].kind != HK_V_NIC || merit(g, v) < best_merit)
				continue;
			err = hk_graph_path(g, s->host + s->vertex[i], v, HK_PATH_SHORTEST, &p,
					    NULL);
			if (err == -ENOENT)
				err = 0;
			else if (err)
				break;
			else if (s->nic[i] >= 0 &&
				 (p.reach > best.reach ||
				  (p.reach == best.reach && load[v - s->host] >= load[s->nic[i]])))
				continue;
			else {
				s->nic[i] = v - s->host;
				best = p;
			}
		}
		if (s->nic[i] >= 0)
			load[s->nic[i]]++;
	}
	free(load);
	return err;
}

/* The widest paths between the ranks; nvlink has those over NVLink (or xGMI) alone, else 0. */
static int measure_pairs(const struct hk_graph *g, const struct shape *s, double *gbs,
			 double *nvlink)
{
	size_t n = (size_t)s->n;
	int err = 0;

	for (size_t i = 0; i < n && !err; i++)
		for (size_t j = 0; j < i && !err; j++) {
			struct hk_path p = {0};

			err = hk_graph_path(g, s->host + s->vertex[i], s->host + s->vertex[j],
					    HK_PATH_WIDEST, &p, NULL);
			gbs[i * n + j] = gbs[j * n + i] = p.gbs;
			if (p.reach <= HK_REACH_NVLINK)
				nvlink[i * n + j] = nvlink[j * n + i] = p.gbs;
		}
	return err;
}

/* GPUs that NVLink joins to a ring take that one, and it makes no difference which NUMA node or
 * package they are in. */
static int order_ring(const struct hk_graph *g, struct shape *s)
{
	size_t n = (size_t)s->n;
	double *gbs, *nvlink;
	int err;

	for (int i = 0; i < s->n; i++)
		s->ring[i] = i;
	if (!s->gpus || s->n < 2 || s->n > MOST_PAIRED)
		return 0;
	gbs = calloc(2 * n * n, sizeof(*gbs));
	if (!gbs)
		return hk_fail(ENOMEM, "no memory to place ranks");
	nvlink = gbs + n * n;
	err = measure_pairs(g, s, gbs, nvlink);
	if (err == -ENOENT) {
		err = 0; /* a part that hangs on nothing: then the order as given */
	} else if (!err) {
		s->ring_gbs = hk_ring_order(s->n, nvlink, s->ring);
		for (int i = 0; i < s->n && s->ring_gbs > 0; i++)
			s->numa[i] = s->package[i] = 0;
		if (s->ring_gbs <= 0)
			s->ring_gbs = hk_ring_width(s->n, gbs, s->ring);
	}
	free(gbs);
	return err;
}

static void free_shape(struct shape *s)
{
	if (!s)
		return;
	free(s->vertex);
	free(s->nic);
	free(s->numa);
	free(s->package);
	free(s->ring);
	free(s);
}

void hk_shapes_free(struct shape *shapes)
{
	for (struct shape *next; shapes; shapes = next) {
		next = shapes->next;
		free_shape(shapes);
	}
}

static struct shape *allocate(int host, int n)
{
	struct shape *s = calloc(1, sizeof(*s));
	int **arrays[] = {&s->vertex, &s->nic, &s->numa, &s->package, &s->ring};

	for (size_t i = 0; s && i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		*arrays[i] = calloc((size_t)n, sizeof(int));
		if (!*arrays[i]) {
			free_shape(s);
			s = NULL;
		}
	}
	if (s) {
		s->host = host;
		s->n = n;
	}
	return s;
}

int hk_shape_find(const struct hk_graph *g, int host, int n, struct shape **shapes,
		  struct shape **shape)
{
	const char *machine = g->vertices[host].machine ? g->vertices[host].machine : "";
	struct shape *s;
	int err;

	for (s = *shapes; s; s = s->next)
		if (s->n == n && !strcmp(s->machine, machine)) {
			*shape = s;
			return 0;
		}
	s = allocate(host, n);
	if (!s)
		return hk_fail(ENOMEM, "no memory to place ranks");
	s->machine = machine;
	seat(g, s);
	err = choose_nics(g, s);
	if (!err)
		err = order_ring(g, s);
	if (err) {
		free_shape(s);
		return err;
	}
	s->next = *shapes;
	*shapes = s;
	*shape = s;
	return 0;
}
