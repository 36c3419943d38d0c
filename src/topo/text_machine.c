/* SPDX-License-Identifier: BSD-3-Clause */
/* The lines between `machine NAME` and `end`: the parts of one machine, each in an earlier one. */
#include <errno.h>
#include <string.h>

#include "text_internal.h"

/* What a line of parts says besides their names. */
struct part {
	struct hk_vertex vertex;
	const char *in; /* NULL: the host */
	struct hk_rate uplink;
	bool linked, railed;
};

static int parse_attributes(struct reader *r, struct part *p)
{
	const char *word;
	uint64_t n = 0;
	bool found;
	int err = 0;

	while (!err && (word = hk_text_next(r))) {
		if (!strcmp(word, "in")) {
			err = hk_text_value(r, word, &p->in);
		} else if (!strcmp(word, "model")) {
			err = hk_text_value(r, word, &p->vertex.model);
		} else if (!strcmp(word, "cores")) {
			err = hk_text_number(r, word, 1 << 20, &n);
			p->vertex.cores = (unsigned)n;
		} else if (!strcmp(word, "rail") && p->vertex.kind == HK_V_NIC) {
			err = hk_text_number(r, word, 1 << 10, &n);
			p->vertex.rail = (unsigned)n;
			p->railed = true;
		} else if (!strcmp(word, "tcp") && p->vertex.kind == HK_V_NIC) {
			p->vertex.rdma = false;
		} else {
			err = hk_text_rate(r, word, &p->uplink, &found);
			if (!err && !found)
				err = hk_text_refuse(r, "%s is not understood here", word);
			p->linked = true;
		}
	}
	return err;
}

/* Adds one part for each name, in equal shares to the vertices that it is in. */
static int add_parts(struct reader *r, const struct hk_pattern *names, struct part *p)
{
	struct hk_graph *g = r->open->graph;
	char name[HK_NAME_MAX + 1];
	struct hk_pattern in = {.count = 1};
	int at = -1, err = p->in ? hk_text_pattern(r, p->in, &in) : 0;

	if (!err && names->count % in.count)
		err = hk_text_refuse(r,
				     "%u parts cannot be in %u others in equal shares: write a "
				     "line for each share",
				     names->count, in.count);
	for (unsigned i = 0; i < names->count && !err; i++) {
		p->vertex.parent = 0;
		if (p->in && strcmp(p->in, "host")) {
			err = hk_text_name(r, &in, i / (names->count / in.count), name);
			if (err)
				break;
			p->vertex.parent = hk_graph_find(g, 0, name);
			if (p->vertex.parent < 0)
				return hk_text_refuse(r,
						      "no %s is in this machine: name it above "
						      "this line",
						      name);
		}
		err = hk_text_name(r, names, i, name);
		if (err)
			break;
		if (!strcmp(name, "host"))
			return hk_text_refuse(r, "host is the name of the machine itself");
		p->vertex.name = name;
		if (p->vertex.kind == HK_V_NIC && !p->railed)
			p->vertex.rail = r->open->nnics;
		r->open->nnics += p->vertex.kind == HK_V_NIC;
		err = hk_text_check(r, hk_graph_add(g, &p->vertex, &at));
		if (!err && p->linked) {
			err = hk_text_check(r,
					    hk_graph_add_link(g, p->vertex.parent, at, &p->uplink));
			if (!err)
				g->links[g->nlinks - 1].line = r->line;
		}
	}
	return err;
}

/* host cores N model "..." */
static int describe_host(struct reader *r)
{
	struct part p = {.vertex = {.kind = HK_V_HOST}};
	struct hk_vertex *host = &r->open->graph->vertices[0];
	const char *model;
	int err = parse_attributes(r, &p);

	if (err)
		return err;
	if (p.in || p.linked)
		return hk_text_refuse(r, "the host is in nothing: it has cores and a model");
	if (p.vertex.cores)
		host->cores = p.vertex.cores;
	model = p.vertex.model;
	return model ? hk_text_check(r, hk_graph_set_model(r->open->graph, 0, model)) : 0;
}

int hk_text_part(struct reader *r, const char *word)
{
	static const enum hk_link_kind uplinks[HK_V_NKINDS] = {
		[HK_V_PACKAGE] = HK_LINK_SOCKET, [HK_V_NUMA] = HK_LINK_MEMORY,
		[HK_V_BRIDGE] = HK_LINK_PCIE,	 [HK_V_GPU] = HK_LINK_PCIE,
		[HK_V_NIC] = HK_LINK_PCIE,
	};
	struct part p = {.vertex = {.rdma = true}};
	struct hk_pattern names;
	const char *name = NULL;
	int kind, err;

	if (!strcmp(word, "link") || !strcmp(word, "mesh"))
		return hk_text_link(r, !strcmp(word, "mesh"));
	if (!strcmp(word, "host"))
		return describe_host(r);
	for (kind = HK_V_PACKAGE; kind < HK_V_SWITCH; kind++)
		if (!strcmp(word, hk_vertex_name((enum hk_vertex_kind)kind)))
			break;
	if (kind == HK_V_SWITCH)
		return hk_text_refuse(r,
				      "%s is not understood in a machine: host, package, numa, "
				      "bridge, gpu, nvswitch, nic, link, mesh and end are",
				      word);
	p.vertex.kind = (uint8_t)kind;
	p.vertex.rdma = kind == HK_V_NIC;
	/* NVSwitches hang on PCI only to be managed. */
	p.linked = kind != HK_V_NVSWITCH;
	p.uplink = hk_rate_default(uplinks[kind]);
	err = hk_text_value(r, word, &name);
	if (!err)
		err = hk_text_pattern(r, name, &names);
	if (!err)
		err = parse_attributes(r, &p);
	return err ? err : add_parts(r, &names, &p);
}
