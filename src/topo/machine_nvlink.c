/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPUs and how NVLink joins them. A recording made with NVML has a matrix of bandwidths. Without
 * it, GPUs are known by their PCI numbers, and a machine that has NVSwitches joins all its GPUs
 * through them. NVSwitches that serve the same GPUs are one vertex: a transfer is spread over them,
 * so its bandwidth is their sum.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "machine_internal.h"

#define NVIDIA 0x10de

/* PCI numbers of GPUs with NVLink (pci.ids), and NVLink's bandwidth of all their links together in
 * one direction: half of what NVIDIA's data sheets give for both. */
static const struct {
	uint16_t device;
	double gbs;
} nvlink_gpus[] = {
	{0x1db1, 150}, {0x1db5, 150}, {0x1db8, 150}, /* V100 SXM2, SXM3 */
	{0x20b0, 300}, {0x20b2, 300},		     /* A100 SXM4 */
	{0x2330, 450}, {0x2335, 450},		     /* H100 SXM5, H200 SXM */
	{0x2901, 900},				     /* B200 */
};

void hk_machine_classify(struct builder *b, int i)
{
	const struct hk_xml *x = b->xml;
	const struct hk_xml_object *o = &x->objects[i];
	bool compute = false, network = false;

	for (int k = i + 1; k < x->nobjects && x->objects[k].parent >= i; k++)
		if (x->objects[k].parent == i) {
			compute |= x->objects[k].os == HK_OS_GPU;
			network |=
				x->objects[k].os == HK_OS_NETWORK || x->objects[k].os == HK_OS_RDMA;
		}
	/* Classes: 0302 3D controllers, 1200 accelerators; other displays (03) may be the screen of
	 * a management processor, unless there is a way to compute on them. */
	if (o->nvswitch)
		b->notes[i].wanted = HK_V_NVSWITCH;
	else if (o->class == 0x0302 || o->class == 0x1200 ||
		 (o->class >> 8 == 3 && (compute || o->vendor == NVIDIA)))
		b->notes[i].wanted = HK_V_GPU;
	else if (network)
		b->notes[i].wanted = HK_V_NIC;
}

/* An end of NVLinks: a GPU, or NVSwitches that serve the same GPUs. */
struct end {
	int object; /* the PCI device */
	int vertex; /* 0: an NVSwitch that is not in the graph yet */
	int nswitches;
	double *gbs; /* to GPU number i */
};

struct nvlinks {
	struct end *gpus, *switches;
	int ngpus, nswitches;
	bool assumed;
};

static int allocate(const struct builder *b, struct nvlinks *l)
{
	for (int i = 0; i < b->xml->nobjects; i++) {
		l->ngpus += b->notes[i].wanted == HK_V_GPU;
		l->nswitches += b->notes[i].wanted == HK_V_NVSWITCH;
	}
	if (l->ngpus > HK_XML_MATRIX || l->nswitches > HK_XML_MATRIX)
		return hk_fail_quiet(EINVAL, "%d GPUs with %d NVSwitches: at most %d are read",
				     l->ngpus, l->nswitches, HK_XML_MATRIX);
	l->gpus = calloc((size_t)l->ngpus + 1, sizeof(*l->gpus));
	l->switches = calloc((size_t)l->nswitches + 1, sizeof(*l->switches));
	if (!l->gpus || !l->switches)
		return hk_fail(ENOMEM, "no memory for NVLinks");
	l->ngpus = l->nswitches = 0;
	for (int i = 0; i < b->xml->nobjects; i++) {
		if (b->notes[i].wanted == HK_V_GPU)
			l->gpus[l->ngpus++] = (struct end){i, b->notes[i].vertex, 0, NULL};
		if (b->notes[i].wanted == HK_V_NVSWITCH)
			l->switches[l->nswitches++] = (struct end){i, 0, 1, NULL};
	}
	for (int k = 0; k < l->ngpus + l->nswitches; k++) {
		struct end *e = k < l->ngpus ? &l->gpus[k] : &l->switches[k - l->ngpus];

		e->gbs = calloc((size_t)l->ngpus + 1, sizeof(*e->gbs));
		if (!e->gbs)
			return hk_fail(ENOMEM, "no memory for NVLinks");
	}
	return 0;
}

static void release(struct nvlinks *l)
{
	for (int i = 0; l->gpus && i < l->ngpus; i++)
		free(l->gpus[i].gbs);
	for (int i = 0; l->switches && i < l->nswitches; i++)
		free(l->switches[i].gbs);
	free(l->gpus);
	free(l->switches);
}

/* The end that hwloc's number stands for: of the device, or of the system's device in it. */
static struct end *find_end(const struct builder *b, struct nvlinks *l, uint64_t gp, int *gpu)
{
	const struct hk_xml *x = b->xml;

	*gpu = -1;
	for (int i = 0; i < l->nswitches; i++)
		if (x->objects[l->switches[i].object].gp == gp)
			return &l->switches[i];
	for (int i = 0; i < l->ngpus; i++) {
		int device = l->gpus[i].object;

		for (int k = device;
		     k < x->nobjects && (k == device || x->objects[k].parent >= device); k++)
			if (x->objects[k].gp == gp) {
				*gpu = i;
				return &l->gpus[i];
			}
	}
	return NULL;
}

/* Bandwidths from the matrix of MB/s; of two directions that differ the greater. */
static int take_matrix(const struct builder *b, struct nvlinks *l)
{
	const struct hk_xml *x = b->xml;
	struct end **ends = calloc((size_t)x->n, sizeof(struct end *));
	int *gpus = calloc((size_t)x->n, sizeof(*gpus));
	int err = ends && gpus ? 0 : hk_fail(ENOMEM, "no memory for NVLinks");

	for (unsigned i = 0; i < x->n && !err; i++)
		ends[i] = find_end(b, l, x->gp[i], &gpus[i]);
	for (unsigned i = 0; i < x->n && !err; i++)
		for (unsigned j = 0; j < x->n; j++) {
			uint64_t a = x->values[i * x->n + j], c = x->values[j * x->n + i];
			double gbs = (double)(a > c ? a : c) / 1000;

			if (i == j || !ends[i] || !ends[j] || gpus[j] < 0 || ends[i] == ends[j])
				continue;
			if (gbs > HK_MAX_GBS) {
				err = hk_fail_quiet(EINVAL, "an NVLink of %g GB/s", gbs);
				break;
			}
			ends[i]->gbs[gpus[j]] = gbs;
		}
	free(ends);
	free(gpus);
	return err;
}

/* Without a matrix: the bandwidth of each GPU, in equal shares over all NVSwitches. */
static void guess(const struct builder *b, struct nvlinks *l)
{
	l->assumed = true;
	for (int i = 0; i < l->ngpus && l->nswitches; i++) {
		const struct hk_xml_object *o = &b->xml->objects[l->gpus[i].object];

		for (size_t k = 0; k < sizeof(nvlink_gpus) / sizeof(nvlink_gpus[0]); k++)
			if (o->vendor == NVIDIA && o->device == nvlink_gpus[k].device)
				for (int s = 0; s < l->nswitches; s++)
					l->switches[s].gbs[i] = nvlink_gpus[k].gbs / l->nswitches;
	}
}

static bool same_gpus(const struct nvlinks *l, const struct end *x, const struct end *y)
{
	for (int i = 0; i < l->ngpus; i++)
		if ((x->gbs[i] > 0) != (y->gbs[i] > 0))
			return false;
	return true;
}

/* Adds every switch to the first that serves the same GPUs. */
static void merge_switches(struct nvlinks *l)
{
	int kept = 0;

	for (int s = 0; s < l->nswitches; s++) {
		struct end *e = &l->switches[s];
		int k = 0;

		while (k < kept && !same_gpus(l, &l->switches[k], e))
			k++;
		if (k < kept) {
			l->switches[k].nswitches++;
			for (int i = 0; i < l->ngpus; i++)
				l->switches[k].gbs[i] += e->gbs[i];
			free(e->gbs);
		} else {
			l->switches[kept++] = *e;
		}
	}
	l->nswitches = kept;
}

static int add_switches(struct builder *b, struct nvlinks *l)
{
	char name[32], model[32];
	int err = 0;

	for (int s = 0; s < l->nswitches && !err; s++) {
		struct hk_vertex v = {.kind = HK_V_NVSWITCH, .name = name, .model = model};

		snprintf(name, sizeof(name), "nvswitch%d", s);
		snprintf(model, sizeof(model), "%d x NVSwitch", l->switches[s].nswitches);
		err = hk_graph_add(b->graph, &v, &l->switches[s].vertex);
	}
	return err;
}

static int link_end(struct builder *b, const struct nvlinks *l, const struct end *e, int from)
{
	struct hk_rate rate = hk_rate_default(HK_LINK_NVLINK);
	int err = 0;

	rate.assumed = l->assumed;
	for (int i = from; i < l->ngpus && !err; i++) {
		rate.gbs = e->gbs[i] < HK_MAX_GBS ? e->gbs[i] : HK_MAX_GBS;
		if (rate.gbs > 0)
			err = hk_graph_add_link(b->graph, e->vertex, l->gpus[i].vertex, &rate);
	}
	return err;
}

/*
 * NVML does not tell what joins NVSwitches. In a DGX-2 eight of the eighteen ports of each go to
 * its partner on the other board, 25 GB/s each (NVIDIA's overview of NVSwitch, 2018).
 */
static int join_boards(struct builder *b, const struct nvlinks *l)
{
	const char *model = b->xml->objects[0].model;
	struct hk_rate rate = hk_rate_default(HK_LINK_NVLINK);

	if (!model || strncmp(model, "NVIDIA DGX-2", 12) || l->nswitches != 2 ||
	    l->switches[0].nswitches != l->switches[1].nswitches)
		return 0;
	rate.gbs = l->switches[0].nswitches * 8 * 25;
	return hk_graph_add_link(b->graph, l->switches[0].vertex, l->switches[1].vertex, &rate);
}

int hk_machine_add_nvlinks(struct builder *b)
{
	struct nvlinks l = {0};
	int err = allocate(b, &l);

	if (!err && b->xml->n)
		err = take_matrix(b, &l);
	else if (!err)
		guess(b, &l);
	if (!err) {
		merge_switches(&l);
		err = add_switches(b, &l);
	}
	for (int i = 0; i < l.ngpus && !err; i++)
		err = link_end(b, &l, &l.gpus[i], i + 1);
	for (int s = 0; s < l.nswitches && !err; s++)
		err = link_end(b, &l, &l.switches[s], 0);
	if (!err)
		err = join_boards(b, &l);
	release(&l);
	return err;
}
