/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the text format: cuts lines into words and hands each line to the function of its first
 * word. A machine is read into a graph of its own, and each node copies it. A part can only be in
 * one that was named above it, so that no description can turn in circles; every number is bounded
 * before it is used, and a graph refuses to grow past its limits.
 */
#include "text.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "machine.h"
#include "text_internal.h"
#include "types.h"

static struct machine *find_machine(struct reader *r, const char *name)
{
	for (struct machine *m = r->machines; m; m = m->next)
		if (!strcmp(m->name, name))
			return m;
	return NULL;
}

static void free_machines(struct reader *r)
{
	for (struct machine *m = r->machines, *next; m; m = next) {
		next = m->next;
		hk_graph_free(m->graph);
		free(m);
	}
}

/* machine NAME xml FILE */
static int read_recording(struct reader *r, struct machine *m)
{
	const char *file = NULL;
	char path[1024];
	int err = hk_text_value(r, "xml", &file);

	if (err)
		return err;
	if (!r->folder)
		return hk_text_refuse(r, "a text that is no file cannot refer to the recording %s",
				      file);
	if (snprintf(path, sizeof(path), "%s%s%s", *file == '/' ? "" : r->folder,
		     *file == '/' || !*r->folder ? "" : "/", file) >= (int)sizeof(path))
		return hk_text_refuse(r, "the path of the recording %s is too long", file);
	return hk_text_check(r, hk_machine_load_xml(path, &m->graph));
}

static int read_machine(struct reader *r)
{
	struct hk_vertex host = {.kind = HK_V_HOST, .name = "host", .parent = -1};
	struct hk_pattern pattern;
	char name[HK_NAME_MAX + 1];
	const char *word = NULL;
	struct machine *m;
	int at = -1, err = hk_text_value(r, "machine", &word);

	if (!err)
		err = hk_text_pattern(r, word, &pattern);
	if (!err)
		err = hk_text_name(r, &pattern, 0, name);
	if (err)
		return err;
	if (pattern.nparts)
		return hk_text_refuse(r, "one machine at a time: nodes are many");
	if (find_machine(r, name))
		return hk_text_refuse(r, "machine %s is described already", name);
	m = calloc(1, sizeof(*m));
	if (!m)
		return hk_fail(ENOMEM, "no memory for machine %s", name);
	m->next = r->machines;
	r->machines = m;
	m->name = "";
	word = hk_text_next(r);
	if (word && strcmp(word, "xml"))
		return hk_text_refuse(r, "%s is not understood here: xml FILE, or nothing", word);
	if (word) {
		err = read_recording(r, m);
	} else {
		err = hk_text_check(r, hk_graph_create(&m->graph));
		if (!err)
			err = hk_text_check(r, hk_graph_add(m->graph, &host, &at));
		if (!err)
			r->open = m;
	}
	/* The graph keeps the name for as long as the machine is. */
	if (!err)
		err = hk_text_check(r, hk_graph_set_machine(m->graph, 0, name));
	if (!err)
		m->name = m->graph->vertices[0].machine;
	return err;
}

static int read_node(struct reader *r)
{
	struct hk_vertex alone = {.kind = HK_V_HOST, .parent = -1, .slots = 1};
	struct machine *m = NULL;
	struct hk_pattern names;
	char name[HK_NAME_MAX + 1];
	const char *word = NULL;
	uint64_t slots = UINT64_MAX;
	int at = -1, err = hk_text_value(r, "node", &word);

	if (!err)
		err = hk_text_pattern(r, word, &names);
	while (!err && (word = hk_text_next(r))) {
		if (!strcmp(word, "slots")) {
			err = hk_text_number(r, word, 1 << 16, &slots);
		} else if (!strcmp(word, "machine")) {
			err = hk_text_value(r, word, &word);
			m = err ? NULL : find_machine(r, word);
			if (!err && !m)
				err = hk_text_refuse(r,
						     "no machine is called %s: describe it "
						     "above this line",
						     word);
		} else {
			err = hk_text_refuse(r,
					     "%s is not understood here: machine NAME and slots "
					     "NUMBER are",
					     word);
		}
	}
	if (slots == UINT64_MAX)
		slots = m ? hk_graph_default_slots(m->graph) : 1;
	for (unsigned i = 0; !err && i < names.count; i++) {
		err = hk_text_name(r, &names, i, name);
		if (err)
			break;
		alone.name = name;
		alone.slots = (unsigned)slots;
		err = hk_text_check(r, m ? hk_graph_add_host(r->graph, m->graph, 0, name, m->name,
							     (unsigned)slots)
					 : hk_graph_add(r->graph, &alone, &at));
	}
	return err;
}

/* A comma-separated list of names, as bits; name_of(i) is the name of bit i. */
static int read_set(struct reader *r, const char *keyword, int n, const char *(*name_of)(int),
		    uint32_t *set)
{
	const char *list = NULL;
	int err = hk_text_value(r, keyword, &list);

	*set = 0;
	while (!err && *list) {
		size_t length = strcspn(list, ",");
		int i = 0;

		while (i < n && (strlen(name_of(i)) != length || strncmp(name_of(i), list, length)))
			i++;
		if (i == n)
			return hk_text_refuse(r, "%.*s is none of the %s", (int)length, list,
					      keyword);
		*set |= 1u << i;
		list += length + (list[length] == ',');
	}
	if (!err && !*set)
		err = hk_text_refuse(r, "%s needs at least one", keyword);
	return err;
}

static const char *type_name(int i)
{
	return hk_type_name((enum hk_type)i);
}

static const char *op_name(int i)
{
	return hk_redop_name((enum hk_redop)i);
}

static int read_reducer(struct reader *r, struct hk_reducer *c)
{
	const char *word;
	uint64_t n = 0;
	int err = 0;

	*c = (struct hk_reducer){.types = (1u << HK_NTYPES) - 1,
				 .ops = (1u << HK_NREDOPS) - 1,
				 .reproducible = true};
	while (!err && (word = hk_text_next(r))) {
		if (!strcmp(word, "types")) {
			err = read_set(r, word, HK_NTYPES, type_name, &c->types);
		} else if (!strcmp(word, "ops")) {
			err = read_set(r, word, HK_NREDOPS, op_name, &c->ops);
		} else if (!strcmp(word, "fan-in")) {
			err = hk_text_number(r, word, HK_GRAPH_MAX, &n);
			c->fan_in = (uint32_t)n;
		} else if (!strcmp(word, "payload")) {
			err = hk_text_number(r, word, UINT64_MAX >> 1, &c->payload);
		} else if (!strcmp(word, "unordered")) {
			c->reproducible = false;
		} else {
			err = hk_text_refuse(r,
					     "%s is not understood here: types, ops, fan-in, "
					     "payload and unordered are",
					     word);
		}
	}
	return err;
}

/* host:port, where an IPv6 address stands in brackets of its own, which patterns do not have. */
static bool is_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	char *end;
	long port = colon ? strtol(colon + 1, &end, 10) : 0;

	return colon && colon > text && colon[1] >= '0' && colon[1] <= '9' && !*end && port > 0 &&
	       port < 65536 && !strpbrk(text, " \t\"");
}

static int add_switches(struct reader *r, const struct hk_pattern *names,
			const struct hk_pattern *addresses, struct hk_reducer *c)
{
	struct hk_vertex v = {.kind = HK_V_SWITCH, .parent = -1};
	char name[HK_NAME_MAX + 1], address[256];
	const char *problem;
	int at = -1, err = 0;

	for (unsigned i = 0; i < names->count && !err; i++) {
		err = hk_text_name(r, names, i, name);
		if (err)
			break;
		v.name = name;
		err = hk_text_check(r, hk_graph_add(r->graph, &v, &at));
		if (err || !addresses)
			continue;
		problem = hk_pattern_at(addresses, i, address, sizeof(address));
		if (problem || !is_address(address))
			return hk_text_refuse(r, "%s: %s", addresses->word,
					      problem ? problem
						      : "an address is host:port, with a port from "
							"1 to 65535");
		c->address = address;
		err = hk_text_check(r, hk_graph_add_reducer(r->graph, at, c));
	}
	return err;
}

static int read_switch(struct reader *r)
{
	struct hk_pattern names, addresses;
	struct hk_reducer c = {0};
	const char *word = NULL;
	int err = hk_text_value(r, "switch", &word);

	if (!err)
		err = hk_text_pattern(r, word, &names);
	if (err)
		return err;
	word = hk_text_next(r);
	if (!word)
		return add_switches(r, &names, NULL, NULL);
	if (strcmp(word, "reduces"))
		return hk_text_refuse(r, "%s is not understood here: reduces HOST:PORT, or nothing",
				      word);
	err = hk_text_value(r, "reduces", &word);
	if (!err)
		err = hk_text_pattern(r, word, &addresses);
	if (!err && addresses.count != names.count)
		err = hk_text_refuse(r, "%u switches with %u addresses: each needs its own",
				     names.count, addresses.count);
	if (!err)
		err = read_reducer(r, &c);
	return err ? err : add_switches(r, &names, &addresses, &c);
}

static int read_end(struct reader *r)
{
	struct hk_graph *g = r->open->graph;

	r->open = NULL;
	return hk_text_check(r, hk_graph_finish(g));
}

static int read_statement(struct reader *r)
{
	const char *word = hk_text_next(r);

	if (r->open && strcmp(word, "end"))
		return hk_text_part(r, word);
	if (r->open)
		return r->nwords > 1 ? hk_text_refuse(r, "nothing can follow end") : read_end(r);
	if (!strcmp(word, "machine"))
		return read_machine(r);
	if (!strcmp(word, "node"))
		return read_node(r);
	if (!strcmp(word, "switch"))
		return read_switch(r);
	if (!strcmp(word, "link") || !strcmp(word, "mesh"))
		return hk_text_link(r, !strcmp(word, "mesh"));
	return hk_text_refuse(
		r, "%s is not understood here: machine, node, switch, link and mesh are", word);
}

/* Cuts the line into words, in place. A word in quotes may have blanks in it. */
static int cut(struct reader *r, char *line)
{
	r->nwords = r->at = 0;
	for (char *c = line; *c;) {
		while (*c == ' ' || *c == '\t' || *c == '\r')
			c++;
		if (!*c || *c == '#')
			break;
		if (r->nwords == MAX_WORDS)
			return hk_text_refuse(r, "more than %d words on a line", MAX_WORDS);
		if (*c == '"') {
			r->words[r->nwords++] = ++c;
			c = strchr(c, '"');
			if (!c)
				return hk_text_refuse(r, "a quote is not closed on its line");
			*c++ = 0;
			if (*c && !strchr(" \t\r#", *c))
				return hk_text_refuse(r, "a blank must follow a closing quote");
			continue;
		}
		r->words[r->nwords++] = c;
		c += strcspn(c, " \t\r#\"");
		if (*c == '"')
			return hk_text_refuse(r, "a quote stands inside a word");
		if (*c == '#')
			*c = 0;
		else if (*c)
			*c++ = 0;
	}
	return 0;
}

static int read_lines(struct reader *r, const char *text, size_t size)
{
	char line[HK_TEXT_LINE_MAX + 1];
	int err = 0;

	for (size_t at = 0; at < size && !err; at++) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t length = end ? (size_t)(end - text) - at : size - at;

		r->line++;
		if (length > HK_TEXT_LINE_MAX)
			return hk_text_refuse(r, "the line is longer than %d characters",
					      HK_TEXT_LINE_MAX);
		for (size_t i = 0; i < length; i++)
			if ((unsigned char)text[at + i] < ' ' && text[at + i] != '\t' &&
			    text[at + i] != '\r')
				return hk_text_refuse(r, "the line has a control character: this "
							 "is no text file");
		memcpy(line, text + at, length);
		line[length] = 0;
		err = cut(r, line);
		if (!err && r->nwords)
			err = read_statement(r);
		at += length;
	}
	if (!err && r->open)
		err = hk_text_refuse(r, "machine %s has no end", r->open->name);
	if (!err && !r->graph->nhosts)
		err = hk_text_refuse(r, "the file describes no node: a line such as node a[0-3] "
					"slots 4 does");
	return err;
}

int hk_text_read(const char *text, size_t size, const char *name, const char *folder,
		 struct hk_graph **graph)
{
	struct reader r = {.file = name, .folder = folder};
	locale_t plain, old;
	int err;

	if (size > HK_TEXT_MAX)
		return hk_fail(EINVAL, "%s: a topology has at most %d bytes", name, HK_TEXT_MAX);
	err = hk_graph_create(&r.graph);
	if (err)
		return err;
	/* Numbers have a point, whatever the program's language. */
	plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
	old = uselocale(plain);
	err = read_lines(&r, text, size);
	if (!err)
		err = hk_text_check(&r, hk_graph_finish(r.graph));
	uselocale(old);
	if (plain)
		freelocale(plain);
	free_machines(&r);
	if (err) {
		hk_graph_free(r.graph);
		return err;
	}
	*graph = r.graph;
	return 0;
}

int hk_text_load(const char *path, struct hk_graph **graph)
{
	const char *slash = strrchr(path, '/');
	char *text = NULL, folder[1024] = "";
	size_t size = 0;
	int err;

	if (slash && snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path + (slash == path)),
			      path) >= (int)sizeof(folder))
		return hk_fail(ENAMETOOLONG, "%s: the path is too long", path);
	err = hk_text_slurp(path, HK_TEXT_MAX, &text, &size);
	if (err)
		return err;
	err = hk_text_read(text, size, path, folder, graph);
	free(text);
	return err;
}
