/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree and the tables of `hocket topo`. Long clusters are cut short where they repeat. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "topo.h"

#define MOST_NODES 16 /* nodes and switches that are listed */
#define MOST_RANKS 64
#define MOST_PAIRS 16
#define NAME	   (2 * HK_NAME_MAX + 2)

static const char *s(long n)
{
	return n == 1 ? "" : "s";
}

static void show_rate(const struct hk_rate *rate, FILE *out)
{
	char lanes[40] = "", latency[40];

	if (rate->gen)
		hk_rate_print(rate, lanes, sizeof(lanes));
	snprintf(latency, sizeof(latency), rate->ns < 1e6 ? "%.0f ns" : "%.3g ns", rate->ns);
	fprintf(out, "  %s %s%s%s%.4g GB/s, %s", hk_link_name((enum hk_link_kind)rate->kind), lanes,
		*lanes ? " " : "", rate->assumed && !*lanes ? "~" : "", rate->gbs, latency);
}

/* The links of a part that are not its uplink: NVLinks, and cables to switches. */
static void show_links(const struct hk_graph *g, int v, FILE *out)
{
	int shown = 0;
	char name[NAME];

	for (int i = g->first[v]; i < g->first[v + 1]; i++) {
		const struct hk_link *l = &g->links[g->near[i]];
		int to = l->a == v ? l->b : l->a;

		if (g->vertices[to].parent == v || g->vertices[v].parent == to)
			continue;
		/* Each once: where it is an end of a cable, or the GPU's end. */
		if (g->vertices[v].host < 0 && g->vertices[to].host >= 0)
			continue;
		if (g->vertices[v].kind == HK_V_NVSWITCH && g->vertices[to].kind == HK_V_GPU)
			continue;
		if (shown++ == 4) {
			fprintf(out, " ...");
			break;
		}
		fprintf(out, "%s -> %s", shown > 1 ? "," : "",
			g->vertices[to].host == g->vertices[v].host && g->vertices[v].host >= 0
				? g->vertices[to].name
				: hk_graph_name(g, to, name, sizeof(name)));
		show_rate(&l->rate, out);
	}
}

static void show_part(const struct hk_graph *g, int v, int depth, FILE *out)
{
	const struct hk_vertex *x = &g->vertices[v];
	const struct hk_link *up = x->parent < 0 ? NULL : hk_graph_link(g, v, x->parent);

	fprintf(out, "%*s%s", 2 * depth, "", x->name);
	if (x->kind == HK_V_BRIDGE)
		fprintf(out, " (shared PCI)");
	if (x->kind == HK_V_NIC)
		fprintf(out, " (NIC, %s, rail %u)", x->rdma ? "verbs" : "tcp", x->rail);
	if (x->cores)
		fprintf(out, ", %u core%s", x->cores, s(x->cores));
	if (x->model)
		fprintf(out, ", %s", x->model);
	if (x->kind == HK_V_HOST && x->slots)
		fprintf(out, ", %u slot%s", x->slots, s(x->slots));
	if (up)
		show_rate(&up->rate, out);
	show_links(g, v, out);
	fputc('\n', out);
}

/* What is in v, in order; v's children follow it. */
static void show_inside(const struct hk_graph *g, int v, int depth, FILE *out)
{
	int host = g->vertices[v].host;

	show_part(g, v, depth, out);
	for (int c = v + 1; c < g->nvertices && g->vertices[c].host == host; c++)
		if (g->vertices[c].parent == v)
			show_inside(g, c, depth + 1, out);
}

/* Whether an earlier host is of the same machine; *first is it then. */
static bool is_repeated(const struct hk_graph *g, int i, int *first)
{
	const char *machine = g->vertices[g->hosts[i]].machine;

	for (int k = 0; k < i && k < MOST_NODES; k++) {
		const char *other = g->vertices[g->hosts[k]].machine;

		if (machine && other && !strcmp(machine, other)) {
			*first = g->hosts[k];
			return true;
		}
	}
	return false;
}

static void show_switches(const struct hk_graph *g, FILE *out)
{
	int shown = 0, n = 0;

	for (int v = 0; v < g->nvertices; v++) {
		const struct hk_vertex *x = &g->vertices[v];

		if (x->kind != HK_V_SWITCH || n++ >= MOST_NODES)
			continue;
		if (!shown++)
			fprintf(out, "switches\n");
		fprintf(out, "  %s, tier %u", x->name, x->tier);
		if (x->reducer >= 0)
			fprintf(out, ", reduces at %s", g->reducers[x->reducer].address);
		show_links(g, v, out);
		fputc('\n', out);
	}
	if (n > MOST_NODES)
		fprintf(out, "  ... %d more\n", n - MOST_NODES);
}

void hk_topo_show_tree(const struct hk_graph *g, FILE *out)
{
	char name[NAME];
	int first = -1;

	fprintf(out, "nodes\n");
	for (int i = 0; i < g->nhosts && i < MOST_NODES; i++) {
		if (!is_repeated(g, i, &first)) {
			show_inside(g, g->hosts[i], 1, out);
			continue;
		}
		fprintf(out, "  %s, %u slot%s, as %s\n", g->vertices[g->hosts[i]].name,
			g->vertices[g->hosts[i]].slots, s(g->vertices[g->hosts[i]].slots),
			hk_graph_name(g, first, name, sizeof(name)));
	}
	if (g->nhosts > MOST_NODES)
		fprintf(out, "  ... %d more\n", g->nhosts - MOST_NODES);
	show_switches(g, out);
}

static void show_groups(const struct hk_placement *p, FILE *out)
{
	const struct hk_layout *l = p->layout;

	fprintf(out, "ranks %d, channels %u, levels %u", p->nranks, p->channels, l->nlevels);
	for (unsigned level = 0; level < l->nlevels; level++) {
		int n = 0;

		for (int rank = 0; rank < l->nranks; rank++)
			n = l->group[level][rank] >= n ? l->group[level][rank] + 1 : n;
		fprintf(out, "%s%d group%s", level ? " in " : ": ", n, s(n));
	}
	if (l->nswitches)
		fprintf(out, ", switches that reduce %d", l->nswitches);
	fprintf(out, "\nring");
	for (int i = 0; i < l->nranks && i < MOST_RANKS; i++)
		fprintf(out, " %d", l->ring[i]);
	fprintf(out, "%s\n", l->nranks > MOST_RANKS ? " ..." : "");
	for (int i = l->nranks; i < l->nranks + l->nswitches && i < l->nranks + MOST_RANKS; i++)
		fprintf(out, "switch %d below %d\n", i, l->parent[i]);
}

/* One line a rank. */
static int show_places(const struct hk_graph *g, const struct hk_placement *p, FILE *out)
{
	char place[NAME], nic[NAME], groups[64];
	int wide = 5, err = 0;

	for (int rank = 0; rank < p->nranks && rank < MOST_RANKS; rank++) {
		int n = (int)strlen(hk_graph_name(g, p->vertex[rank], place, sizeof(place)));

		wide = n > wide ? n : wide;
	}
	fprintf(out, "%5s  %-*s  %-*s  %-8s %5s  %6s  %s\n", "rank", wide, "place", wide, "nic",
		"over", "tree", "switch", "groups");
	for (int rank = 0; rank < p->nranks && rank < MOST_RANKS && !err; rank++) {
		struct hk_path path = {0};
		int used = 0;

		if (p->nic[rank] >= 0)
			err = hk_graph_path(g, p->vertex[rank], p->nic[rank], HK_PATH_SHORTEST,
					    &path, NULL);
		groups[0] = 0;
		for (unsigned level = 0; level < p->layout->nlevels; level++)
			used += snprintf(groups + used, sizeof(groups) - (size_t)used, "%s%d",
					 level ? " " : "", p->layout->group[level][rank]);
		fprintf(out, "%5d  %-*s  %-*s  %-8s %5d  %6d%s%s\n", rank, wide,
			hk_graph_name(g, p->vertex[rank], place, sizeof(place)), wide,
			p->nic[rank] < 0 ? "-" : hk_graph_name(g, p->nic[rank], nic, sizeof(nic)),
			p->nic[rank] < 0 ? "-" : hk_reach_name(path.reach), p->tree[rank],
			p->layout->parent[rank], *groups ? "  " : "", groups);
	}
	if (p->nranks > MOST_RANKS)
		fprintf(out, "  ... %d more\n", p->nranks - MOST_RANKS);
	return err;
}

/* One number of the widest path between two ranks: GB/s and how far it goes, or ns. */
static int show_pair(const struct hk_graph *g, int from, int to, bool latency, FILE *out)
{
	struct hk_path path = {0};
	char cell[32];
	int err = hk_graph_path(g, from, to, HK_PATH_WIDEST, &path, NULL);

	if (err == -ENOENT)
		snprintf(cell, sizeof(cell), "none");
	else if (err)
		return err;
	else if (path.reach == HK_REACH_SELF)
		snprintf(cell, sizeof(cell), "-");
	else if (latency)
		snprintf(cell, sizeof(cell), "%.0f", path.ns);
	else
		snprintf(cell, sizeof(cell), "%.3g%c", path.gbs, "-lpnhe"[path.reach]);
	fprintf(out, " %6s", cell);
	return 0;
}

/* The paths between the first ranks. */
static int show_pairs(const struct hk_graph *g, const struct hk_placement *p, bool latency,
		      FILE *out)
{
	int n = p->nranks < MOST_PAIRS ? p->nranks : MOST_PAIRS, err = 0;

	if (n < 2)
		return 0;
	fprintf(out, "%s%s\n     ",
		latency ? "latency of these paths, ns"
			: "widest path between two ranks, GB/s, and the farthest that it goes: "
			  "nv(l)ink, (p)cie, (n)uma, (h)ost, n(e)twork",
		!latency && n < p->nranks ? "; the first ranks" : "");
	for (int j = 0; j < n; j++)
		fprintf(out, " %6d", j);
	fputc('\n', out);
	for (int i = 0; i < n && !err; i++) {
		fprintf(out, "%5d", i);
		for (int j = 0; j < n && !err; j++)
			err = show_pair(g, p->vertex[i], p->vertex[j], latency, out);
		fputc('\n', out);
	}
	return err;
}

int hk_topo_show_ranks(const struct hk_graph *g, const struct hk_placement *p, FILE *out)
{
	int err;

	show_groups(p, out);
	err = show_places(g, p, out);
	if (!err)
		err = show_pairs(g, p, false, out);
	return err ? err : show_pairs(g, p, true, out);
}
