/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Draws a topology as SVG. On top the network: a row for each tier of switches and a row of nodes.
 * Below it every kind of machine once, as a tree with its devices in one row and what NVLink joins
 * under them. Colours say the kind of a link, thickness and a number its bandwidth.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "topo.h"

#define CELL	      92 /* width of a device with its margin */
#define BOX_WIDTH     82
#define BOX_HEIGHT    36
#define ROW	      86
#define MARGIN	      24
#define MOST_NODES    24 /* that are drawn in the row of nodes */
#define MOST_SWITCHES 24
#define MOST_LABELS   400 /* links of a large network that still get their labels */

static const char *const link_colours[HK_NLINKS] = {
	[HK_LINK_MEMORY] = "#8a8a8a",	[HK_LINK_SOCKET] = "#b0562a", [HK_LINK_PCIE] = "#3f6fb5",
	[HK_LINK_NVLINK] = "#4c9a2a",	[HK_LINK_XGMI] = "#c0392b",   [HK_LINK_IB] = "#7d3c98",
	[HK_LINK_ETHERNET] = "#148f8f",
};

static const char *const box_colours[HK_V_NKINDS] = {
	[HK_V_HOST] = "#eceff4",   [HK_V_PACKAGE] = "#f5e6da", [HK_V_NUMA] = "#f7f3d7",
	[HK_V_BRIDGE] = "#dfe8f5", [HK_V_GPU] = "#d9efcf",     [HK_V_NVSWITCH] = "#bfe3ad",
	[HK_V_NIC] = "#ead9f2",	   [HK_V_SWITCH] = "#ddc6ea",
};

struct drawing {
	const struct hk_graph *g;
	FILE *out;
	double *x, *y; /* per vertex: the middle of its box */
	bool *placed;  /* per vertex: it is drawn in the part at hand */
	bool used[HK_NLINKS];
	double width, height;
	int depth; /* of the machine at hand */
};

static void put_text(FILE *out, const char *text, size_t most)
{
	size_t length = strlen(text), shown = length > most ? most - 1 : length;

	/* A name is cut between characters. */
	while (shown < length && shown && ((unsigned char)text[shown] & 0xc0) == 0x80)
		shown--;
	for (size_t i = 0; i < shown; i++)
		if (text[i] == '<')
			fputs("&lt;", out);
		else if (text[i] == '&')
			fputs("&amp;", out);
		else
			fputc(text[i], out);
	if (shown < length)
		fputs("&#8230;", out);
}

static void draw_label(FILE *out, double x, double y, const char *style, const char *text,
		       size_t most)
{
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
	put_text(out, text, most);
	fputs("</text>\n", out);
}

static void draw_box(struct drawing *d, int v, const char *note)
{
	const struct hk_vertex *x = &d->g->vertices[v];
	double left = d->x[v] - BOX_WIDTH / 2.0, top = d->y[v] - BOX_HEIGHT / 2.0;

	fprintf(d->out, "<g><title>%s ", hk_vertex_name((enum hk_vertex_kind)x->kind));
	put_text(d->out, x->name, 256);
	if (x->model) {
		fputs(": ", d->out);
		put_text(d->out, x->model, 256);
	}
	fprintf(d->out,
		"</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" rx=\"5\" "
		"fill=\"%s\" stroke=\"#555\"/>\n",
		left, top, BOX_WIDTH, BOX_HEIGHT, box_colours[x->kind]);
	draw_label(d->out, d->x[v], d->y[v] + (*note ? -3 : 4), "class=\"n\"", x->name, 13);
	if (*note)
		draw_label(d->out, d->x[v], d->y[v] + 11, "class=\"s\"", note, 16);
	fputs("</g>\n", d->out);
}

/* Lines are drawn first and their labels over all of them. */
enum pass { LINES, LABELS };

/* From the bottom of one box to the top of another; its label stands at `where` of the way. */
static void draw_link(struct drawing *d, const struct hk_link *l, int from, int to, double where,
		      enum pass pass)
{
	bool down = d->y[from] < d->y[to], level = fabs(d->y[from] - d->y[to]) < 1;
	double half = BOX_HEIGHT / 2.0, bend = level ? 16 + 0.06 * fabs(d->x[from] - d->x[to]) : 0;
	double x1 = d->x[from], x2 = d->x[to];
	double y1 = d->y[from] + (level || down ? half : -half);
	double y2 = d->y[to] + (level || !down ? half : -half);
	char label[32];

	if (pass == LABELS) {
		snprintf(label, sizeof(label), "%s%.4g", l->rate.assumed ? "~" : "", l->rate.gbs);
		draw_label(d->out, x1 + (x2 - x1) * where, y1 + (y2 - y1) * where + 3 + 0.75 * bend,
			   "class=\"b\"", label, 12);
		return;
	}
	d->used[l->rate.kind] = true;
	fprintf(d->out,
		"<path d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\" fill=\"none\" stroke=\"%s\" "
		"stroke-width=\"%.1f\"%s/>\n",
		x1, y1, x1, y1 + bend, x2, y2 + bend, x2, y2, link_colours[l->rate.kind],
		1 + 0.5 * log2(1 + l->rate.gbs / 8),
		l->rate.assumed ? " stroke-dasharray=\"5 3\"" : "");
}

static bool is_device(const struct hk_vertex *v)
{
	return v->kind == HK_V_GPU || v->kind == HK_V_NIC;
}

/* How far below its host v lies, devices not counted: they share one row. */
static int depth_of(const struct hk_graph *g, int v)
{
	int depth = 0;

	while ((v = g->vertices[v].parent) >= 0)
		depth++;
	return depth;
}

/* Places v and what is in it from *next on; returns nothing, moves *next to the right. */
static void place_tree(struct drawing *d, int v, double top, double *next)
{
	const struct hk_graph *g = d->g;
	const struct hk_vertex *x = &g->vertices[v];
	double left = 0, right = 0;
	int children = 0, depth = is_device(x) ? d->depth : depth_of(g, v);

	for (int c = v + 1; c < g->nvertices && g->vertices[c].host == x->host; c++) {
		if (g->vertices[c].parent != v || g->vertices[c].kind == HK_V_NVSWITCH)
			continue;
		place_tree(d, c, top, next);
		left = children++ ? left : d->x[c];
		right = d->x[c];
	}
	if (children) {
		d->x[v] = (left + right) / 2;
	} else {
		d->x[v] = *next + CELL / 2.0;
		*next += CELL;
	}
	d->y[v] = top + depth * ROW + BOX_HEIGHT / 2.0;
	d->placed[v] = true;
}

static const char *note_of(const struct hk_graph *g, int v, char *note, size_t size)
{
	const struct hk_vertex *x = &g->vertices[v];

	*note = 0;
	if (x->kind == HK_V_NIC)
		snprintf(note, size, "%s, rail %u", x->rdma ? "verbs" : "tcp", x->rail);
	else if (x->cores)
		snprintf(note, size, "%u cores", x->cores);
	else if (x->kind == HK_V_SWITCH && x->reducer >= 0)
		snprintf(note, size, "reduces");
	else if (x->kind == HK_V_SWITCH)
		snprintf(note, size, "tier %u", x->tier);
	else if (x->kind == HK_V_HOST)
		snprintf(note, size, "%u slot%s", x->slots, x->slots == 1 ? "" : "s");
	else if (x->model && x->kind == HK_V_NVSWITCH)
		snprintf(note, size, "%s", x->model);
	else if (x->kind == HK_V_BRIDGE)
		snprintf(note, size, "shared PCI");
	return note;
}

static void draw_links(struct drawing *d, enum pass pass)
{
	const struct hk_graph *g = d->g;

	for (int i = 0; i < g->nlinks; i++) {
		const struct hk_link *l = &g->links[i];
		bool tree = g->vertices[l->b].parent == l->a;

		if (!d->placed[l->a] || !d->placed[l->b])
			continue;
		/* The label stands near the end that tells most. */
		draw_link(d, l, l->a, l->b,
			  tree			    ? 0.62
			  : d->y[l->a] < d->y[l->b] ? 0.3
						    : 0.45,
			  pass);
	}
}

static void draw_boxes(struct drawing *d)
{
	const struct hk_graph *g = d->g;
	char note[64];

	for (int v = 0; v < g->nvertices; v++)
		if (d->placed[v])
			draw_box(d, v, note_of(g, v, note, sizeof(note)));
}

static void draw_machine(struct drawing *d, int host)
{
	const struct hk_graph *g = d->g;
	const struct hk_vertex *h = &g->vertices[host];
	double top = d->height + 34, next = MARGIN;
	int nswitches = 0, placed = 0, rows;
	char title[256];

	memset(d->placed, 0, (size_t)g->nvertices * sizeof(*d->placed));
	d->depth = 0;
	for (int v = host; v < g->nvertices && g->vertices[v].host == host; v++) {
		int depth = depth_of(g, v);

		d->depth = depth > d->depth ? depth : d->depth;
		nswitches += g->vertices[v].kind == HK_V_NVSWITCH;
	}
	snprintf(title, sizeof(title), "machine %s%s%s", h->machine ? h->machine : h->name,
		 h->model ? ": " : "", h->model ? h->model : "");
	draw_label(d->out, MARGIN, d->height + 14, "class=\"t\"", title, 200);
	place_tree(d, host, top, &next);
	for (int v = host; v < g->nvertices && g->vertices[v].host == host; v++)
		if (g->vertices[v].kind == HK_V_NVSWITCH) {
			d->x[v] = MARGIN + (next - MARGIN) * (2 * placed++ + 1) / (2 * nswitches);
			d->y[v] = top + (d->depth + 1) * ROW + BOX_HEIGHT / 2.0;
			d->placed[v] = true;
		}
	rows = d->depth + 1 + (nswitches > 0);
	draw_links(d, LINES);
	draw_links(d, LABELS);
	draw_boxes(d);
	d->width = next + MARGIN > d->width ? next + MARGIN : d->width;
	d->height = top + rows * ROW;
}

/* Spreads a row of n boxes over the width. */
static double spread(const struct drawing *d, int i, int n)
{
	return MARGIN + (d->width - 2 * MARGIN) * (2 * i + 1) / (2 * n);
}

/* The row of a tier of switches, or with tier 0 of nodes. Draws how many are left out. */
static void place_row(struct drawing *d, unsigned tier)
{
	const struct hk_graph *g = d->g;
	int most = tier ? MOST_SWITCHES : MOST_NODES, all = 0, n = 0;
	char more[64];

	for (int v = 0; v < g->nvertices; v++)
		all += g->vertices[v].kind == (tier ? HK_V_SWITCH : HK_V_HOST) &&
		       g->vertices[v].tier == tier;
	for (int v = 0; v < g->nvertices && n < most; v++) {
		if (g->vertices[v].kind != (tier ? HK_V_SWITCH : HK_V_HOST) ||
		    g->vertices[v].tier != tier)
			continue;
		d->x[v] = spread(d, n++, (all < most ? all : most + 1));
		d->y[v] = d->height + BOX_HEIGHT / 2.0;
		d->placed[v] = true;
	}
	if (all > most) {
		snprintf(more, sizeof(more), "and %d more", all - most);
		draw_label(d->out, spread(d, most, most + 1), d->height + 22, "class=\"n\"", more,
			   40);
	}
	d->height += ROW + 14;
}

/* Links of NICs are drawn from their nodes. */
static void draw_cables(struct drawing *d, enum pass pass)
{
	const struct hk_graph *g = d->g;

	for (int i = 0; i < g->nlinks; i++) {
		const struct hk_link *l = &g->links[i];
		const struct hk_vertex *a = &g->vertices[l->a], *b = &g->vertices[l->b];
		int from = a->host >= 0 ? a->host : l->a, to = b->host >= 0 ? b->host : l->b;

		if (from == to || (a->host >= 0 && a->host == b->host) || !d->placed[from] ||
		    !d->placed[to])
			continue;
		draw_link(d, l, from, to, d->y[from] > d->y[to] ? 0.25 : 0.75, pass);
	}
}

static void draw_network(struct drawing *d)
{
	const struct hk_graph *g = d->g;
	unsigned tiers = 0;
	int drawn = g->nhosts < MOST_NODES ? g->nhosts : MOST_NODES + 1, most = drawn;

	for (int v = 0; v < g->nvertices; v++)
		tiers = g->vertices[v].tier > tiers ? g->vertices[v].tier : tiers;
	if (!tiers && g->nhosts < 2)
		return;
	for (unsigned tier = 1; tier <= tiers; tier++) {
		int n = 0;

		for (int v = 0; v < g->nvertices; v++)
			n += g->vertices[v].tier == tier;
		most = n > most ? n : most;
	}
	most = most > MOST_SWITCHES + 1 ? MOST_SWITCHES + 1 : most;
	d->width = 2 * MARGIN + most * (CELL + 8.0);
	if (d->width < 480)
		d->width = 480;
	draw_label(d->out, MARGIN, d->height + 14, "class=\"t\"", "network", 20);
	d->height += 34;
	for (unsigned tier = tiers; tier > 0; tier--)
		place_row(d, tier);
	place_row(d, 0);
	draw_cables(d, LINES);
	if (g->nlinks < MOST_LABELS || g->nhosts < MOST_NODES)
		draw_cables(d, LABELS);
	draw_boxes(d);
}

/* Every kind of machine once. */
static void draw_machines(struct drawing *d)
{
	const struct hk_graph *g = d->g;

	for (int i = 0; i < g->nhosts; i++) {
		const char *machine = g->vertices[g->hosts[i]].machine;
		int k = 0;

		while (k < i && machine &&
		       (!g->vertices[g->hosts[k]].machine ||
			strcmp(g->vertices[g->hosts[k]].machine, machine)))
			k++;
		if (machine && k == i)
			draw_machine(d, g->hosts[i]);
	}
}

static void draw_legend(struct drawing *d)
{
	double x = MARGIN, y = d->height + 16;

	for (int kind = 0; kind < HK_NLINKS; kind++) {
		if (!d->used[kind])
			continue;
		fprintf(d->out, "<path d=\"M%.1f %.1fh26\" stroke=\"%s\" stroke-width=\"3\"/>\n", x,
			y, link_colours[kind]);
		draw_label(d->out, x + 32, y + 4, "class=\"l\"",
			   hk_link_name((enum hk_link_kind)kind), 20);
		x += 100;
	}
	draw_label(d->out, MARGIN, y + 24, "class=\"l\"",
		   "numbers: GB/s in one direction; dashed, ~: typical of its kind, not read", 100);
	d->width = d->width > x + MARGIN ? d->width : x + MARGIN;
	d->height = y + 40;
}

/* The size stands first in the file and is known last: the body is written to memory. */
static int draw_body(struct drawing *d, char **body, size_t *size)
{
	size_t n = (size_t)d->g->nvertices;
	int err = 0;

	d->out = open_memstream(body, size);
	d->x = calloc(n, sizeof(*d->x));
	d->y = calloc(n, sizeof(*d->y));
	d->placed = calloc(n, sizeof(*d->placed));
	if (d->out && d->x && d->y && d->placed) {
		draw_network(d);
		draw_machines(d);
		draw_legend(d);
	} else {
		err = hk_fail(ENOMEM, "no memory to draw the topology");
	}
	if (d->out && fclose(d->out) && !err)
		err = hk_fail(ENOMEM, "no memory to draw the topology");
	free(d->x);
	free(d->y);
	free(d->placed);
	return err;
}

int hk_topo_draw(const struct hk_graph *g, FILE *out)
{
	struct drawing d = {.g = g, .width = 480, .height = 16};
	char *body = NULL;
	size_t size = 0;
	int err = draw_body(&d, &body, &size);

	if (!err) {
		fprintf(out,
			"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
			"viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n"
			"<style>.n{font-size:11px;text-anchor:middle}"
			".s{font-size:9px;text-anchor:middle;fill:#444}"
			".b{font-size:9px;text-anchor:middle;fill:#000;paint-order:stroke;"
			"stroke:#fff;stroke-width:3px}"
			".t{font-size:15px;font-weight:bold}.l{font-size:11px}</style>\n"
			"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
			d.width, d.height, d.width, d.height);
		fwrite(body, 1, size, out);
		fputs("</svg>\n", out);
		if (ferror(out))
			err = hk_fail(EIO, "the drawing could not be written");
	}
	free(body);
	return err;
}
