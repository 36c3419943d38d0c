/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The graph's container: vertices and links are appended to arrays while it is built, then sorted
 * and indexed once by hk_graph_finish. A cluster of equal nodes is made by copying one host.
 */
#include "graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "store.h"

static const char *const kind_names[HK_V_NKINDS] = {
	[HK_V_HOST] = "node",	  [HK_V_PACKAGE] = "package", [HK_V_NUMA] = "numa",
	[HK_V_BRIDGE] = "bridge", [HK_V_GPU] = "gpu",	      [HK_V_NVSWITCH] = "nvswitch",
	[HK_V_NIC] = "nic",	  [HK_V_SWITCH] = "switch",
};

const char *hk_vertex_name(enum hk_vertex_kind kind)
{
	return kind_names[kind];
}

static int no_memory(void)
{
	return hk_fail(ENOMEM, "no memory for the topology");
}

int hk_graph_create(struct hk_graph **graph)
{
	struct hk_graph *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return no_memory();
	err = hk_store_create(&g->store);
	if (err) {
		free(g);
		return err;
	}
	*graph = g;
	return 0;
}

void hk_graph_free(struct hk_graph *g)
{
	if (!g)
		return;
	hk_store_free(g->store);
	free(g->vertices);
	free(g->links);
	free(g->reducers);
	free(g->hosts);
	free(g->first);
	free(g->near);
	free(g);
}

/* Room for one more of the array's elements: it is full whenever n is 0 or a power of two. */
static int more(void *array, int n, size_t each)
{
	void **p = array, *grown;

	if (n & (n - 1))
		return 0;
	grown = realloc(*p, each * (n ? 2 * (size_t)n : 1));
	if (!grown)
		return no_memory();
	*p = grown;
	return 0;
}

/* Copies the texts of v into the graph. */
static int keep_texts(struct hk_graph *g, struct hk_vertex *v)
{
	const char **texts[] = {&v->name, &v->machine, &v->model};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (*texts[i] && !(*texts[i] = hk_store_text(g->store, *texts[i])))
			return no_memory();
	return 0;
}

/* Appends v, whose texts belong to the graph already. */
static int append(struct hk_graph *g, const struct hk_vertex *v, int *vertex)
{
	bool is_host = v->kind == HK_V_HOST;
	int at = g->nvertices, err;
	struct hk_vertex *new;

	if (at == HK_GRAPH_MAX)
		return hk_fail_quiet(EINVAL,
				     "the topology has more than %d parts: describe a smaller one",
				     HK_GRAPH_MAX);
	err = more(&g->vertices, at, sizeof(*g->vertices));
	if (!err && is_host)
		err = more(&g->hosts, g->nhosts, sizeof(*g->hosts));
	if (err)
		return err;
	new = &g->vertices[at];
	*new = *v;
	new->reducer = -1;
	new->host = is_host ? at : v->parent < 0 ? -1 : g->vertices[v->parent].host;
	if (hk_store_find(g->store, g, is_host ? -1 : new->host, v->name) >= 0)
		return hk_fail_quiet(EINVAL, "%s is there already: names must differ", v->name);
	err = hk_store_enter(g->store, g, at);
	if (err)
		return err;
	if (is_host)
		g->hosts[g->nhosts++] = at;
	g->nvertices++;
	*vertex = at;
	return 0;
}

int hk_graph_add(struct hk_graph *g, const struct hk_vertex *v, int *vertex)
{
	struct hk_vertex copy = *v;
	int err = keep_texts(g, &copy);

	return err ? err : append(g, &copy, vertex);
}

int hk_graph_add_link(struct hk_graph *g, int a, int b, const struct hk_rate *rate)
{
	int err;

	if (a == b)
		return hk_fail_quiet(EINVAL, "%s is linked with itself", g->vertices[a].name);
	if (g->nlinks == 4 * HK_GRAPH_MAX)
		return hk_fail_quiet(EINVAL,
				     "the topology has more than %d links: describe a smaller one",
				     4 * HK_GRAPH_MAX);
	err = more(&g->links, g->nlinks, sizeof(*g->links));
	if (err)
		return err;
	g->links[g->nlinks++] =
		(struct hk_link){.a = a < b ? a : b, .b = a < b ? b : a, .rate = *rate};
	return 0;
}

int hk_graph_set_model(struct hk_graph *g, int vertex, const char *model)
{
	const char *copy = hk_store_text(g->store, model);

	if (!copy)
		return no_memory();
	g->vertices[vertex].model = copy;
	return 0;
}

int hk_graph_set_machine(struct hk_graph *g, int host, const char *machine)
{
	const char *copy = hk_store_text(g->store, machine);

	if (!copy)
		return no_memory();
	g->vertices[host].machine = copy;
	return 0;
}

int hk_graph_add_reducer(struct hk_graph *g, int vertex, const struct hk_reducer *r)
{
	struct hk_reducer copy = *r;
	int err = more(&g->reducers, g->nreducers, sizeof(*g->reducers));

	if (err)
		return err;
	copy.address = hk_store_text(g->store, r->address);
	if (!copy.address)
		return no_memory();
	g->vertices[vertex].reducer = g->nreducers;
	g->reducers[g->nreducers++] = copy;
	return 0;
}

/* The first of the sorted links that start at v or behind it. */
static int first_link(const struct hk_graph *g, int v)
{
	int low = 0, high = g->nlinks;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (g->links[middle].a < v)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int hk_graph_add_host(struct hk_graph *g, const struct hk_graph *from, int host, const char *name,
		      const char *machine, unsigned slots)
{
	int base = g->nvertices, end = host + 1, at = -1, err = 0;

	/* A host's vertices follow it. */
	while (end < from->nvertices && from->vertices[end].host == host)
		end++;
	for (int i = host; i < end && !err; i++) {
		struct hk_vertex v = from->vertices[i];

		if (i == host) {
			v.name = name;
			v.machine = machine;
			v.slots = slots;
		} else {
			v.parent += base - host;
		}
		err = hk_graph_add(g, &v, &at);
	}
	for (int i = first_link(from, host); i < from->nlinks && from->links[i].a < end && !err;
	     i++) {
		const struct hk_link *l = &from->links[i];

		if (l->b < end) /* inside the host */
			err = hk_graph_add_link(g, l->a + base - host, l->b + base - host,
						&l->rate);
	}
	return err;
}

static int compare_links(const void *x, const void *y)
{
	const struct hk_link *p = x, *q = y;

	if (p->a != q->a)
		return p->a < q->a ? -1 : 1;
	return p->b < q->b ? -1 : p->b > q->b;
}

static int index_links(struct hk_graph *g)
{
	int n = g->nvertices;

	g->first = calloc((size_t)n + 2, sizeof(*g->first));
	g->near = malloc((2 * (size_t)g->nlinks + 1) * sizeof(*g->near));
	if (!g->first || !g->near)
		return no_memory();
	/* Counted one place further on, so that filling moves each start to where it belongs. */
	for (int i = 0; i < g->nlinks; i++) {
		g->first[g->links[i].a + 2]++;
		g->first[g->links[i].b + 2]++;
	}
	for (int v = 2; v <= n; v++)
		g->first[v] += g->first[v - 1];
	for (int i = 0; i < g->nlinks; i++) {
		g->near[g->first[g->links[i].a + 1]++] = i;
		g->near[g->first[g->links[i].b + 1]++] = i;
	}
	return 0;
}

/* Switches that hosts hang on are of tier 1, the ones next to those of tier 2, and so on. */
static int find_tiers(struct hk_graph *g)
{
	int *queue = malloc(((size_t)g->nvertices + 1) * sizeof(*queue));
	int head = 0, tail = 0;

	if (!queue)
		return no_memory();
	for (int v = 0; v < g->nvertices; v++) {
		g->vertices[v].tier = 0;
		if (g->vertices[v].kind != HK_V_SWITCH)
			queue[tail++] = v;
	}
	while (head < tail) {
		int v = queue[head++];

		for (int i = g->first[v]; i < g->first[v + 1]; i++) {
			const struct hk_link *l = &g->links[g->near[i]];
			struct hk_vertex *to = &g->vertices[l->a == v ? l->b : l->a];

			if (to->kind != HK_V_SWITCH || to->tier)
				continue;
			to->tier = g->vertices[v].tier + 1;
			queue[tail++] = (int)(to - g->vertices);
		}
	}
	free(queue);
	return 0;
}

static int refuse_twice(const struct hk_graph *g, const struct hk_link *l)
{
	char a[2 * HK_NAME_MAX + 2], b[2 * HK_NAME_MAX + 2], where[64] = "";

	if (l[0].line)
		snprintf(where, sizeof(where), " (lines %d and %d)",
			 l[0].line < l[1].line ? l[0].line : l[1].line,
			 l[0].line < l[1].line ? l[1].line : l[0].line);
	return hk_fail_quiet(EINVAL,
			     "%s and %s are linked twice%s: give the links as one, with their "
			     "bandwidths added",
			     hk_graph_name(g, l->a, a, sizeof(a)),
			     hk_graph_name(g, l->b, b, sizeof(b)), where);
}

unsigned hk_graph_default_slots(const struct hk_graph *g)
{
	unsigned gpus = 0, cores = 0;

	for (int i = 0; i < g->nvertices; i++) {
		gpus += g->vertices[i].kind == HK_V_GPU;
		cores += g->vertices[i].cores;
	}
	return gpus ? gpus : cores ? cores : 1;
}

int hk_graph_finish(struct hk_graph *g)
{
	int err;

	if (g->nlinks)
		qsort(g->links, (size_t)g->nlinks, sizeof(*g->links), compare_links);
	for (int i = 1; i < g->nlinks; i++)
		if (!compare_links(&g->links[i - 1], &g->links[i]))
			return refuse_twice(g, &g->links[i - 1]);
	err = index_links(g);
	return err ? err : find_tiers(g);
}

int hk_graph_find(const struct hk_graph *g, int host, const char *name)
{
	return hk_store_find(g->store, g, host, name);
}

int hk_graph_find_path(const struct hk_graph *g, const char *name)
{
	const char *dot = strchr(name, '.');
	char outer[HK_NAME_MAX + 1];
	int host;

	if (!dot)
		return hk_graph_find(g, -1, name);
	if (dot - name > HK_NAME_MAX)
		return -1;
	memcpy(outer, name, (size_t)(dot - name));
	outer[dot - name] = 0;
	host = hk_graph_find(g, -1, outer);
	return host < 0 ? -1 : hk_graph_find(g, host, dot + 1);
}

const char *hk_graph_name(const struct hk_graph *g, int vertex, char *text, size_t size)
{
	const struct hk_vertex *v = &g->vertices[vertex];

	if (v->host < 0 || v->host == vertex)
		snprintf(text, size, "%s", v->name);
	else
		snprintf(text, size, "%s.%s", g->vertices[v->host].name, v->name);
	return text;
}

const struct hk_link *hk_graph_link(const struct hk_graph *g, int a, int b)
{
	struct hk_link key = {.a = a < b ? a : b, .b = a < b ? b : a};

	if (!g->nlinks)
		return NULL;
	return bsearch(&key, g->links, (size_t)g->nlinks, sizeof(*g->links), compare_links);
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ull;
	return h;
}

static uint64_t mix_text(uint64_t h, const char *text)
{
	return text ? mix(h, text, strlen(text) + 1) : mix(h, "\1", 1);
}

static uint64_t mix_vertex(uint64_t h, const struct hk_graph *g, const struct hk_vertex *v)
{
	int64_t numbers[] = {v->kind,  v->rdma,	 v->host, v->parent,
			     v->cores, v->slots, v->rail, v->reducer >= 0};

	h = mix(mix_text(h, v->name), numbers, sizeof(numbers));
	h = mix_text(mix_text(h, v->machine), v->model);
	if (v->reducer >= 0) {
		const struct hk_reducer *r = &g->reducers[v->reducer];
		uint64_t can[] = {r->types, r->ops, r->fan_in, r->payload, r->reproducible};

		h = mix(mix_text(h, r->address), can, sizeof(can));
	}
	return h;
}

uint64_t hk_graph_hash(const struct hk_graph *g)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (int i = 0; i < g->nvertices; i++)
		h = mix_vertex(h, g, &g->vertices[i]);
	for (int i = 0; i < g->nlinks; i++) {
		const struct hk_link *l = &g->links[i];
		int64_t numbers[] = {l->a,	  l->b,		 l->rate.kind,
				     l->rate.gen, l->rate.width, l->rate.assumed};
		double speed[] = {l->rate.gbs, l->rate.ns};

		h = mix(mix(h, numbers, sizeof(numbers)), speed, sizeof(speed));
	}
	return h;
}
