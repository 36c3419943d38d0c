/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files that turn a recording into a graph. */
#ifndef HK_TOPO_MACHINE_INTERNAL_H
#define HK_TOPO_MACHINE_INTERNAL_H

#include "graph.h"
#include "xml.h"

/* What is found out about an object of the recording. */
struct note {
	int nnuma, numa; /* NUMA nodes in it, and one of them */
	int branches;	 /* what in it holds devices */
	bool holds;	 /* devices, or is one */
	uint8_t wanted;	 /* PCI: the kind of vertex it becomes, 0: none */
	int vertex;	 /* 0: none (or the host's) */
};

struct builder {
	struct hk_xml *xml;
	struct hk_graph *graph;
	struct note *notes; /* per object */
};

/* Finds out what PCI device i is, from its class and from the devices of the system in it. */
void hk_machine_classify(struct builder *b, int i);
/* NVSwitches, and the NVLinks of GPUs. */
int hk_machine_add_nvlinks(struct builder *b);

#endif
