/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a recording's objects to the graph of one host. Packages and NUMA nodes become vertices with
 * their cores counted; of the devices, GPUs and NICs. Of PCI only those bridges stay that several
 * devices share; the ports between them are folded into one link, as narrow as the narrowest. What
 * a recording does not tell (how packages are joined) is assumed, and marked so.
 */
#include "machine.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "machine_internal.h"
#include "text.h"

/* More than any machine has, and few enough to look for a free name one by one. */
#define MAX_DEVICES 4096

/* What links packages: see rates.c for UPI; AMD's EPYC 7002 and 7003 have three or four xGMI links
 * of 16 lanes at 16 GT/s and more, 32 GB/s each. */
static struct hk_rate socket_rate(const struct hk_xml *x)
{
	struct hk_rate rate = hk_rate_default(HK_LINK_SOCKET);

	if (x->amd)
		rate.gbs = 3 * 32;
	return rate;
}

/* The text with what a name may not have replaced, and a number at its end if it is taken. */
static void make_name(const struct builder *b, int host, const char *text, char *name)
{
	size_t n = 0;

	for (; *text && n < HK_NAME_MAX - 8; text++)
		name[n++] = isalnum((unsigned char)*text) || *text == '-' ? *text : '_';
	if (!n)
		name[n++] = '_';
	name[n] = 0;
	for (int again = 2; hk_graph_find(b->graph, host, name) >= 0 || !strcmp(name, "host");
	     again++)
		snprintf(name + n, 8, "_%u", (unsigned)again % 1000000);
}

static int add(struct builder *b, struct hk_vertex *v, const struct hk_rate *uplink, int *vertex)
{
	int err = hk_graph_add(b->graph, v, vertex);

	if (!err && uplink)
		err = hk_graph_add_link(b->graph, v->parent, *vertex, uplink);
	return err;
}

/* The vertex that stands for the processors which object i belongs to: a NUMA node if they are of
 * one, their package, or the host. */
static int home_of(const struct builder *b, int i)
{
	for (; i > 0; i = b->xml->objects[i].parent) {
		if (b->notes[i].nnuma == 1)
			return b->notes[b->notes[i].numa].vertex;
		if (b->xml->objects[i].type == HK_XML_PACKAGE)
			return b->notes[i].vertex;
	}
	return b->notes[0].nnuma == 1 ? b->notes[b->notes[0].numa].vertex : 0;
}

/* Counts the NUMA nodes and the devices in every object: children come behind their parents. */
static void count(struct builder *b)
{
	for (int i = b->xml->nobjects - 1; i >= 0; i--) {
		const struct hk_xml_object *o = &b->xml->objects[i];
		struct note *n = &b->notes[i], *up = o->parent < 0 ? NULL : &b->notes[o->parent];

		if (o->type == HK_XML_NUMA) {
			n->nnuma = 1;
			n->numa = i;
		}
		if (o->type == HK_XML_PCI)
			hk_machine_classify(b, i);
		/* NVSwitches hang on PCI only to be managed. */
		n->holds |= n->wanted && n->wanted != HK_V_NVSWITCH;
		if (!up)
			continue;
		if (n->nnuma) {
			up->nnuma += n->nnuma;
			up->numa = n->numa;
		}
		if (n->holds) {
			up->holds = true;
			up->branches++;
		}
	}
}

static int add_processors(struct builder *b)
{
	const struct hk_xml *x = b->xml;
	struct hk_rate memory = hk_rate_default(HK_LINK_MEMORY), socket = socket_rate(x);
	unsigned npackages = 0, nnuma = 0, cores = 0, all_packages = 0;
	char name[HK_NAME_MAX + 1];
	int err = 0;

	for (int i = 0; i < x->nobjects; i++) {
		cores += x->objects[i].type == HK_XML_CORE;
		all_packages += x->objects[i].type == HK_XML_PACKAGE;
	}
	for (int i = 0; i < x->nobjects && !err; i++) {
		const struct hk_xml_object *o = &x->objects[i];
		struct hk_vertex v = {.name = name, .model = o->model};

		if (o->type != HK_XML_PACKAGE && o->type != HK_XML_NUMA)
			continue;
		for (v.parent = o->parent;
		     v.parent > 0 && x->objects[v.parent].type != HK_XML_PACKAGE;)
			v.parent = x->objects[v.parent].parent;
		v.parent = v.parent > 0 ? b->notes[v.parent].vertex : 0;
		v.kind = o->type == HK_XML_PACKAGE ? HK_V_PACKAGE : HK_V_NUMA;
		snprintf(name, sizeof(name), "%s%u", hk_vertex_name((enum hk_vertex_kind)v.kind),
			 o->type == HK_XML_PACKAGE ? npackages++ : nnuma++);
		err = add(b, &v, v.parent == 0 && all_packages > 1 ? &socket : &memory,
			  &b->notes[i].vertex);
	}
	for (int i = 0; i < x->nobjects && !err; i++)
		if (x->objects[i].type == (cores ? HK_XML_CORE : HK_XML_PU))
			b->graph->vertices[home_of(b, i)].cores++;
	return err;
}

/* The nearest object above i that became a vertex of PCI; or -1, and *home is the processors'. */
static int pci_parent(const struct builder *b, int i, int *home)
{
	int up = b->xml->objects[i].parent;

	while (up > 0 && (b->xml->objects[up].type == HK_XML_BRIDGE ||
			  b->xml->objects[up].type == HK_XML_PCI)) {
		if (b->notes[up].vertex > 0)
			return up;
		up = b->xml->objects[up].parent;
	}
	*home = home_of(b, up);
	return -1;
}

/* How many bridges are above object i on PCI. The root complex has none above it; below a root port
 * lies a cable or a slot, below a switch's upward port its inside, below its downward ports cables
 * again. */
static bool is_below_port(const struct builder *b, int i)
{
	int depth = 0;

	for (int up = b->xml->objects[i].parent;
	     up > 0 && b->xml->objects[up].type == HK_XML_BRIDGE &&
	     !b->xml->objects[up].host_bridge;
	     up = b->xml->objects[up].parent)
		depth++;
	return depth % 2 == 1;
}

static struct hk_rate pci_rate(const struct builder *b, int i, int stop)
{
	struct hk_rate rate = hk_rate_default(HK_LINK_PCIE);
	double narrowest = 0;
	int cables = 0;

	for (; i > 0 && i != stop; i = b->xml->objects[i].parent) {
		const struct hk_xml_object *o = &b->xml->objects[i];

		if (o->type != HK_XML_BRIDGE && o->type != HK_XML_PCI)
			break;
		if (o->gbs > 0 && (narrowest == 0 || o->gbs < narrowest))
			narrowest = o->gbs;
		cables += is_below_port(b, i);
	}
	rate.ns *= cables > 1 ? cables : 1;
	if (narrowest > 0) {
		rate.gbs = narrowest;
		rate.assumed = false;
	}
	return rate;
}

/* The name and the model of a device, from what the system calls it. */
static void describe_device(const struct builder *b, int i, struct hk_vertex *v, const char **name)
{
	for (int k = i + 1; k < b->xml->nobjects && b->xml->objects[k].parent >= i; k++) {
		const struct hk_xml_object *o = &b->xml->objects[k];

		if (o->type != HK_XML_OS || o->parent != i)
			continue;
		if (o->os == HK_OS_GPU && !v->model)
			v->model = o->model;
		/* The verbs name before the interface's, and the first of each. */
		if (v->kind == HK_V_NIC && (!*name || (o->os == HK_OS_RDMA && !v->rdma)) &&
		    (o->os == HK_OS_RDMA || o->os == HK_OS_NETWORK))
			*name = o->name;
		v->rdma |= v->kind == HK_V_NIC && o->os == HK_OS_RDMA;
	}
}

static int add_devices(struct builder *b)
{
	static const char *const prefixes[HK_V_NKINDS] = {
		[HK_V_BRIDGE] = "pci", [HK_V_GPU] = "gpu"};
	unsigned counts[HK_V_NKINDS] = {0}, rails[2] = {0}, ndevices = 0;
	char name[HK_NAME_MAX + 1], numbered[16];
	int err = 0;

	for (int i = 0; i < b->xml->nobjects && !err; i++) {
		const struct hk_xml_object *o = &b->xml->objects[i];
		struct note *n = &b->notes[i];
		struct hk_vertex v = {.name = name, .kind = n->wanted};
		const char *text = NULL;
		struct hk_rate rate;
		int up;

		if (o->type == HK_XML_BRIDGE && !o->host_bridge && n->branches > 1)
			v.kind = HK_V_BRIDGE;
		else if (!n->wanted || n->wanted == HK_V_NVSWITCH)
			continue;
		if (++ndevices > MAX_DEVICES)
			return hk_fail_quiet(EINVAL, "more than %d GPUs, NICs and PCI switches",
					     MAX_DEVICES);
		up = pci_parent(b, i, &v.parent);
		if (up >= 0)
			v.parent = b->notes[up].vertex;
		describe_device(b, i, &v, &text);
		if (!text) {
			snprintf(numbered, sizeof(numbered), "%s%u", prefixes[v.kind],
				 counts[v.kind]++);
			text = numbered;
		}
		if (v.kind == HK_V_NIC)
			v.rail = rails[v.rdma]++;
		make_name(b, 0, text, name);
		rate = pci_rate(b, i, up);
		err = add(b, &v, &rate, &n->vertex);
	}
	return err;
}

static int build(struct builder *b)
{
	const struct hk_xml *x = b->xml;
	struct hk_vertex host = {.kind = HK_V_HOST, .parent = -1, .model = x->objects[0].model};
	char name[HK_NAME_MAX + 1], machine[HK_NAME_MAX + 1];
	int err;

	make_name(b, -1, x->host ? x->host : "localhost", name);
	make_name(b, -1, host.model ? host.model : name, machine);
	host.name = name;
	host.machine = machine;
	err = hk_graph_add(b->graph, &host, &b->notes[0].vertex);
	if (err)
		return err;
	count(b);
	err = add_processors(b);
	if (!err)
		err = add_devices(b);
	if (!err)
		err = hk_machine_add_nvlinks(b);
	if (!err)
		b->graph->vertices[0].slots = hk_graph_default_slots(b->graph);
	return err ? err : hk_graph_finish(b->graph);
}

int hk_machine_read_xml(const char *xml, size_t size, const char *name, struct hk_graph **graph)
{
	struct builder b = {0};
	locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), old = uselocale(plain);
	char why[320];
	int err = hk_xml_read(xml, size, name, &b.xml);

	uselocale(old);
	if (plain)
		freelocale(plain);
	if (err)
		return err;
	b.notes = calloc((size_t)b.xml->nobjects, sizeof(*b.notes));
	err = b.notes ? hk_graph_create(&b.graph) : hk_fail(ENOMEM, "no memory to read %s", name);
	if (!err) {
		err = build(&b);
		if (err) {
			snprintf(why, sizeof(why), "%s", hk_last_error());
			hk_fail(-err, "%s: %s", name, why);
		}
	}
	if (err)
		hk_graph_free(b.graph);
	else
		*graph = b.graph;
	free(b.notes);
	hk_xml_free(b.xml);
	return err;
}

int hk_machine_load_xml(const char *path, struct hk_graph **graph)
{
	char *text = NULL;
	size_t size = 0;
	int err = hk_text_slurp(path, HK_XML_MAX, &text, &size);

	if (err)
		return err;
	err = hk_machine_read_xml(text, size, path, graph);
	free(text);
	return err;
}
