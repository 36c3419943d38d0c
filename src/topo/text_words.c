/* SPDX-License-Identifier: BSD-3-Clause */
/* What the statements of the text format are made of: words, numbers, names, rates and links. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text_internal.h"

int hk_text_refuse(struct reader *r, const char *fmt, ...)
{
	char text[384];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return hk_fail(EINVAL, "%s:%d: %s", r->file, r->line, text);
}

int hk_text_check(struct reader *r, int err)
{
	char why[384];

	if (!err)
		return 0;
	snprintf(why, sizeof(why), "%s", hk_last_error());
	return hk_fail(-err, "%s:%d: %s", r->file, r->line, why);
}

const char *hk_text_next(struct reader *r)
{
	return r->at < r->nwords ? r->words[r->at++] : NULL;
}

int hk_text_value(struct reader *r, const char *keyword, const char **value)
{
	const char *word = hk_text_next(r);

	if (!word)
		return hk_text_refuse(r, "%s needs a value behind it", keyword);
	*value = word;
	return 0;
}

int hk_text_number(struct reader *r, const char *keyword, uint64_t max, uint64_t *value)
{
	const char *word = NULL;
	unsigned long long n;
	char *end;
	int err = hk_text_value(r, keyword, &word);

	if (err)
		return err;
	errno = 0;
	n = strtoull(word, &end, 10);
	if (!isdigit((unsigned char)*word) || *end || errno || n > max)
		return hk_text_refuse(r, "%s %s: it must be a number from 0 to %llu", keyword, word,
				      (unsigned long long)max);
	*value = n;
	return 0;
}

int hk_text_pattern(struct reader *r, const char *word, struct hk_pattern *p)
{
	const char *problem = hk_pattern_parse(word, p);

	return problem ? hk_text_refuse(r, "%s: %s", word, problem) : 0;
}

int hk_text_name(struct reader *r, const struct hk_pattern *p, unsigned i,
		 char name[HK_NAME_MAX + 1])
{
	const char *problem = hk_pattern_at(p, i, name, HK_NAME_MAX + 1);

	if (problem)
		return hk_text_refuse(r, "%s: %s; at most %d characters", p->word, problem,
				      HK_NAME_MAX);
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("_-", *c))
			return hk_text_refuse(
				r, "%s: a name has letters, digits, - and _ (and numbers in [])",
				p->word);
	return *name ? 0 : hk_text_refuse(r, "a name is empty");
}

int hk_text_rate(struct reader *r, const char *word, struct hk_rate *rate, bool *found)
{
	int kind = hk_link_find(word);
	const char *problem = NULL;

	*found = kind >= 0;
	if (!*found)
		return 0;
	*rate = hk_rate_default((enum hk_link_kind)kind);
	/* Then a bandwidth, then a latency; either may be missing. */
	if (r->at < r->nwords && hk_latency_parse(r->words[r->at], &rate->ns) &&
	    strchr("~0123456789qefhnx", *r->words[r->at]))
		problem = hk_rate_parse(r->words[r->at++], rate);
	if (!problem && r->at < r->nwords && isdigit((unsigned char)*r->words[r->at]))
		problem = hk_latency_parse(r->words[r->at++], &rate->ns);
	return problem ? hk_text_refuse(r, "%s: %s", r->words[r->at - 1], problem) : 0;
}

/* The vertex that name i of the pattern means at this place. */
static int find_end(struct reader *r, const struct hk_pattern *p, unsigned i, int *vertex)
{
	char name[2 * HK_NAME_MAX + 2];
	const char *problem = hk_pattern_at(p, i, name, sizeof(name));

	if (problem)
		return hk_text_refuse(r, "%s: %s", p->word, problem);
	*vertex = r->open ? hk_graph_find(r->open->graph, 0, name)
			  : hk_graph_find_path(r->graph, name);
	if (r->open && *vertex < 0 && !strcmp(name, "host"))
		*vertex = 0;
	if (*vertex < 0)
		return hk_text_refuse(r, "nothing is called %s%s: name it above this line", name,
				      r->open ? " in this machine" : "");
	return 0;
}

static int add_link(struct reader *r, int a, int b, const struct hk_rate *rate)
{
	struct hk_graph *g = r->open ? r->open->graph : r->graph;
	int err;

	if (!r->open && a != b && g->vertices[a].host >= 0 &&
	    g->vertices[a].host == g->vertices[b].host)
		return hk_text_refuse(r, "a link inside a node belongs in its machine");
	err = hk_text_check(r, hk_graph_add_link(g, a, b, rate));
	if (!err)
		g->links[g->nlinks - 1].line = r->line;
	return err;
}

/* Every a with every b; a set with itself: every pair once. */
static int link_all(struct reader *r, const struct hk_pattern *a, const struct hk_pattern *b,
		    const struct hk_rate *rate)
{
	bool same = !strcmp(a->word, b->word);
	int x = -1, y = -1, err = 0;

	if ((uint64_t)a->count * b->count > 4ull * HK_GRAPH_MAX)
		return hk_text_refuse(r, "a mesh of %u with %u: that is more than %d links",
				      a->count, b->count, 4 * HK_GRAPH_MAX);
	for (unsigned i = 0; i < a->count && !err; i++) {
		err = find_end(r, a, i, &x);
		for (unsigned j = same ? i + 1 : 0; j < b->count && !err; j++) {
			err = find_end(r, b, j, &y);
			if (!err)
				err = add_link(r, x, y, rate);
		}
	}
	return err;
}

/* One by one; if the sides differ in number, equal blocks of the longer with one of the shorter. */
static int link_blocks(struct reader *r, const struct hk_pattern *a, const struct hk_pattern *b,
		       const struct hk_rate *rate)
{
	unsigned n = a->count > b->count ? a->count : b->count;
	int x = -1, y = -1, err = 0;

	if (n % a->count || n % b->count)
		return hk_text_refuse(r,
				      "%u cannot be linked to %u in equal shares: write one line "
				      "for each share",
				      a->count, b->count);
	for (unsigned i = 0; i < n && !err; i++) {
		err = find_end(r, a, i / (n / a->count), &x);
		if (!err)
			err = find_end(r, b, i / (n / b->count), &y);
		if (!err)
			err = add_link(r, x, y, rate);
	}
	return err;
}

int hk_text_link(struct reader *r, bool mesh)
{
	struct hk_rate rate = {0};
	struct hk_pattern a, b;
	bool found = false;
	int err;

	if (r->nwords < 4)
		return hk_text_refuse(r, "%s A B KIND [BANDWIDTH] [LATENCY] is what is expected",
				      r->words[0]);
	err = hk_text_pattern(r, r->words[1], &a);
	if (!err)
		err = hk_text_pattern(r, r->words[2], &b);
	if (err)
		return err;
	r->at = 4;
	err = hk_text_rate(r, r->words[3], &rate, &found);
	if (err)
		return err;
	if (!found)
		return hk_text_refuse(r,
				      "%s is no kind of link: memory, socket, pcie, nvlink, xgmi, "
				      "ib and ethernet are",
				      r->words[3]);
	if (r->at < r->nwords)
		return hk_text_refuse(r, "%s is not understood here", r->words[r->at]);
	return mesh ? link_all(r, &a, &b, &rate) : link_blocks(r, &a, &b, &rate);
}
