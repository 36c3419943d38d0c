/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes a graph in the text format: every machine once, then nodes and switches in their order,
 * then the links between them. Lines that differ in one number that counts up become one line with
 * a range. Everything that has a default is written out, so that a change of defaults changes no
 * written file.
 */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"
#include "types.h"

#define FULL_NAME (2 * HK_NAME_MAX + 2)

/* A name, or a range of names that differ in the number which starts at `at`. */
struct run {
	char first[FULL_NAME];
	int at; /* -1: there is but one name so far */
	unsigned count;
	unsigned long from;
};

static void run_start(struct run *run, const char *name)
{
	snprintf(run->first, sizeof(run->first), "%s", name);
	run->at = -1;
	run->count = 1;
}

/* How many digits the number that starts there has; *fixed if it has leading zeros, and so all
 * numbers of its range must have as many. */
static int count_digits(const char *number, bool *fixed)
{
	int digits = 0;

	while (isdigit((unsigned char)number[digits]))
		digits++;
	*fixed = digits > 1 && *number == '0';
	return digits;
}

/* Whether name is the next one of the run, by the number that starts at `at` of the first name. */
static bool follows(const struct run *run, const char *name, int at, unsigned long *from)
{
	char next[FULL_NAME + 16];
	bool fixed = false;
	int digits = count_digits(run->first + at, &fixed);

	if (digits > 6)
		return false;
	*from = strtoul(run->first + at, NULL, 10);
	snprintf(next, sizeof(next), "%.*s%0*lu%s", at, run->first, fixed ? digits : 1,
		 *from + run->count, run->first + at + digits);
	return !strcmp(next, name);
}

/* Adds name to the run if it continues it. */
static bool run_add(struct run *run, const char *name)
{
	if (run->at >= 0) {
		if (!follows(run, name, run->at, &run->from))
			return false;
		run->count++;
		return true;
	}
	for (int at = 0; run->first[at]; at++) {
		if (!isdigit((unsigned char)run->first[at]) ||
		    (at && isdigit((unsigned char)run->first[at - 1])))
			continue;
		if (follows(run, name, at, &run->from)) {
			run->at = at;
			run->count = 2;
			return true;
		}
	}
	return false;
}

static void run_print(const struct run *run, FILE *out)
{
	bool fixed = false;
	int digits = run->at < 0 ? 0 : count_digits(run->first + run->at, &fixed);

	if (run->at < 0)
		fputs(run->first, out);
	else
		fprintf(out, "%.*s[%0*lu-%0*lu]%s", run->at, run->first, fixed ? digits : 1,
			run->from, fixed ? digits : 1, run->from + run->count - 1,
			run->first + run->at + digits);
}

static void print_rate(const struct hk_rate *rate, FILE *out)
{
	char bandwidth[40], latency[40];

	fprintf(out, " %s %s %s", hk_link_name((enum hk_link_kind)rate->kind),
		hk_rate_print(rate, bandwidth, sizeof(bandwidth)),
		hk_latency_print(rate->ns, latency, sizeof(latency)));
}

static bool same_rate(const struct hk_rate *x, const struct hk_rate *y)
{
	return x->kind == y->kind && x->gen == y->gen && x->width == y->width &&
	       x->assumed == y->assumed && x->gbs == y->gbs && x->ns == y->ns;
}

static bool same_text(const char *x, const char *y)
{
	return x && y ? !strcmp(x, y) : x == y;
}

/* Whether two parts of a machine differ in their names alone. */
static bool same_part(const struct hk_graph *g, int x, int y)
{
	const struct hk_vertex *a = &g->vertices[x], *b = &g->vertices[y];
	const struct hk_link *p, *q;

	if (a->kind != b->kind || a->parent != b->parent || a->cores != b->cores ||
	    a->rdma != b->rdma || !same_text(a->model, b->model) || a->kind == HK_V_NIC)
		return false;
	p = hk_graph_link(g, x, a->parent);
	q = hk_graph_link(g, y, b->parent);
	return p && q ? same_rate(&p->rate, &q->rate) : p == q;
}

static void print_part(const struct hk_graph *g, int v, int n, FILE *out)
{
	const struct hk_vertex *x = &g->vertices[v];
	const struct hk_link *up = hk_graph_link(g, v, x->parent);
	struct run names;

	run_start(&names, x->name);
	for (int i = 1; i < n; i++)
		run_add(&names, g->vertices[v + i].name);
	fprintf(out, "  %s ", hk_vertex_name((enum hk_vertex_kind)x->kind));
	run_print(&names, out);
	if (x->parent != x->host)
		fprintf(out, " in %s", g->vertices[x->parent].name);
	if (x->cores)
		fprintf(out, " cores %u", x->cores);
	if (x->kind == HK_V_NIC)
		fprintf(out, " rail %u%s", x->rail, x->rdma ? "" : " tcp");
	if (x->model)
		fprintf(out, " model \"%s\"", x->model);
	if (up)
		print_rate(&up->rate, out);
	fputc('\n', out);
}

static const char *end_name(const struct hk_graph *g, int v, bool inside, char *text)
{
	if (!inside)
		return hk_graph_name(g, v, text, FULL_NAME);
	snprintf(text, FULL_NAME, "%s",
		 g->vertices[v].kind == HK_V_HOST ? "host" : g->vertices[v].name);
	return text;
}

/* A link as it is written: the second end is the one that more links share, a switch. */
struct line {
	const struct hk_link *link;
	int near, far;
};

static int compare_lines(const void *x, const void *y)
{
	const struct line *p = x, *q = y;

	if (p->far != q->far)
		return p->far < q->far ? -1 : 1;
	return p->near < q->near ? -1 : p->near > q->near;
}

/* Prints as many of lines[0 .. n) as can be written as one: returns their number. */
static int print_run(const struct hk_graph *g, const struct line *lines, int n, bool inside,
		     FILE *out)
{
	char near[FULL_NAME], far[FULL_NAME];
	struct run x, y;
	int taken = 1;

	run_start(&x, end_name(g, lines->near, inside, near));
	run_start(&y, end_name(g, lines->far, inside, far));
	for (; taken < n; taken++) {
		const struct line *l = &lines[taken];
		bool same_near = l->near == lines->near, same_far = l->far == lines->far;
		struct run before = x;

		/* One end stays and the other counts on, or both count on. */
		if (!same_rate(&l->link->rate, &lines->link->rate) ||
		    (taken > 1 && (same_near != (x.count == 1) || same_far != (y.count == 1))))
			break;
		/* Not both, if the next one begins a longer run of its own. */
		if (taken == 1 && !same_near && !same_far && n > 2 && lines[2].far == l->far)
			break;
		if (!same_near && !run_add(&x, end_name(g, l->near, inside, near)))
			break;
		if (!same_far && !run_add(&y, end_name(g, l->far, inside, far))) {
			x = before;
			break;
		}
	}
	fprintf(out, "%slink ", inside ? "  " : "");
	run_print(&x, out);
	fputc(' ', out);
	run_print(&y, out);
	print_rate(&lines->link->rate, out);
	fputc('\n', out);
	return taken;
}

/* Links inside the host that are no uplinks, which are written with their parts; or, for -1, the
 * links between hosts and switches. */
static int print_links(const struct hk_graph *g, int host, FILE *out)
{
	struct line *lines = malloc(((size_t)g->nlinks + 1) * sizeof(*lines));
	size_t n = 0;

	if (!lines)
		return hk_fail(ENOMEM, "no memory to print the topology");
	for (int i = 0; i < g->nlinks; i++) {
		const struct hk_link *l = &g->links[i];
		const struct hk_vertex *a = &g->vertices[l->a], *b = &g->vertices[l->b];
		bool inside = a->host >= 0 && a->host == b->host;

		if (host >= 0 ? !inside || a->host != host || b->parent == l->a : inside)
			continue;
		lines[n++] = a->kind == HK_V_SWITCH && b->kind != HK_V_SWITCH
				     ? (struct line){l, l->b, l->a}
				     : (struct line){l, l->a, l->b};
	}
	qsort(lines, n, sizeof(*lines), compare_lines);
	for (size_t i = 0; i < n;)
		i += (size_t)print_run(g, lines + i, (int)(n - i), host >= 0, out);
	free(lines);
	return 0;
}

static int print_machine(const struct hk_graph *g, int host, FILE *out)
{
	const struct hk_vertex *h = &g->vertices[host];
	int err;

	fprintf(out, "machine %s\n", h->machine);
	if (h->cores || h->model) {
		fputs("  host", out);
		if (h->cores)
			fprintf(out, " cores %u", h->cores);
		if (h->model)
			fprintf(out, " model \"%s\"", h->model);
		fputc('\n', out);
	}
	for (int v = host + 1; v < g->nvertices && g->vertices[v].host == host;) {
		struct run names;
		int n = 1;

		run_start(&names, g->vertices[v].name);
		while (v + n < g->nvertices && g->vertices[v + n].host == host &&
		       same_part(g, v, v + n) && run_add(&names, g->vertices[v + n].name))
			n++;
		print_part(g, v, n, out);
		v += n;
	}
	err = print_links(g, host, out);
	fputs("end\n", out);
	return err;
}

/* The hosts of a machine are alike: it is written at the first of them. */
static int print_machines(const struct hk_graph *g, FILE *out)
{
	const char **done = malloc(((size_t)g->nhosts + 1) * sizeof(*done));
	int ndone = 0, err = 0;

	if (!done)
		return hk_fail(ENOMEM, "no memory to print the topology");
	for (int i = 0; i < g->nhosts && !err; i++) {
		const char *machine = g->vertices[g->hosts[i]].machine;
		int k = ndone;

		/* Neighbours are mostly of the same machine. */
		while (k > 0 && machine && strcmp(done[k - 1], machine))
			k--;
		if (!machine || k > 0)
			continue;
		done[ndone++] = machine;
		err = print_machine(g, g->hosts[i], out);
	}
	free(done);
	return err;
}

static void print_nodes(const struct hk_graph *g, const struct run *names, int v, FILE *out)
{
	fputs("node ", out);
	run_print(names, out);
	if (g->vertices[v].machine)
		fprintf(out, " machine %s", g->vertices[v].machine);
	fprintf(out, " slots %u\n", g->vertices[v].slots);
}

static void print_set(const char *keyword, uint32_t set, int n, const char *(*name_of)(int),
		      FILE *out)
{
	const char *separator = "";

	if (set == (1u << n) - 1)
		return;
	fprintf(out, " %s ", keyword);
	for (int i = 0; i < n; i++)
		if (set >> i & 1) {
			fprintf(out, "%s%s", separator, name_of(i));
			separator = ",";
		}
}

static const char *type_name(int i)
{
	return hk_type_name((enum hk_type)i);
}

static const char *op_name(int i)
{
	return hk_redop_name((enum hk_redop)i);
}

static void print_switches(const struct hk_graph *g, const struct run *names, int v, FILE *out)
{
	const struct hk_reducer *r;

	fputs("switch ", out);
	run_print(names, out);
	if (g->vertices[v].reducer >= 0) {
		r = &g->reducers[g->vertices[v].reducer];
		fprintf(out, " reduces %s", r->address);
		print_set("types", r->types, HK_NTYPES, type_name, out);
		print_set("ops", r->ops, HK_NREDOPS, op_name, out);
		if (r->fan_in)
			fprintf(out, " fan-in %u", r->fan_in);
		if (r->payload)
			fprintf(out, " payload %llu", (unsigned long long)r->payload);
		if (!r->reproducible)
			fputs(" unordered", out);
	}
	fputc('\n', out);
}

static bool same_outside(const struct hk_vertex *x, const struct hk_vertex *y)
{
	if (x->kind != y->kind)
		return false;
	if (x->kind == HK_V_SWITCH)
		return x->reducer < 0 && y->reducer < 0;
	return x->slots == y->slots && same_text(x->machine, y->machine);
}

/* Nodes and switches, in order. */
static void print_outside(const struct hk_graph *g, FILE *out)
{
	int v = 0;

	while (v < g->nvertices) {
		const struct hk_vertex *x = &g->vertices[v];
		struct run names;
		int next = v;

		run_start(&names, x->name);
		for (;;) {
			/* Past what is inside the host. */
			for (next++; next < g->nvertices && g->vertices[next].parent >= 0;)
				next++;
			if (next == g->nvertices || !same_outside(x, &g->vertices[next]) ||
			    !run_add(&names, g->vertices[next].name))
				break;
		}
		if (x->kind == HK_V_HOST)
			print_nodes(g, &names, v, out);
		else
			print_switches(g, &names, v, out);
		v = next;
	}
}

int hk_text_print(const struct hk_graph *g, FILE *out)
{
	locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), old = uselocale(plain);
	int err = print_machines(g, out);

	if (!err) {
		print_outside(g, out);
		err = print_links(g, -1, out);
	}
	if (!err && ferror(out))
		err = hk_fail(EIO, "the topology could not be written");
	uselocale(old);
	if (plain)
		freelocale(plain);
	return err;
}
