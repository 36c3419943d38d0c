/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A recording of hwloc, read with expat into a list of objects: only what the graph is made of.
 * Whatever it says is bounded and checked before it is believed.
 */
#ifndef HK_TOPO_XML_H
#define HK_TOPO_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_XML_OBJECTS (1 << 17)
#define HK_XML_DEPTH   128
#define HK_XML_MATRIX  512 /* objects between which bandwidths are given */

enum hk_xml_type {
	HK_XML_MACHINE,
	HK_XML_PACKAGE,
	HK_XML_NUMA,
	HK_XML_CORE,
	HK_XML_PU,
	HK_XML_BRIDGE,
	HK_XML_PCI,
	HK_XML_OS,
	HK_XML_OTHER, /* caches, groups, dies ... */
};

enum hk_xml_os { HK_OS_NONE, HK_OS_NETWORK, HK_OS_RDMA, HK_OS_GPU };

struct hk_xml_object {
	uint8_t type;
	uint8_t os;	  /* OS: what kind of device it is */
	bool host_bridge; /* BRIDGE: from the processor to PCI */
	bool nvswitch;	  /* PCI */
	int parent;	  /* -1: the machine */
	int line;
	uint64_t gp;	   /* hwloc's number of the object, UINT64_MAX: none */
	unsigned os_index; /* UINT_MAX: none */
	uint16_t class, vendor, device;
	double gbs;	   /* BRIDGE, PCI: of its link upwards, 0: unknown */
	const char *name;  /* OS */
	const char *model; /* product, processor or GPU; NULL: unknown */
};

struct hk_graph_store;

struct hk_xml {
	int nobjects;
	struct hk_xml_object *objects; /* a parent comes before what is in it */
	const char *host;	       /* its name, NULL: unknown */
	bool amd;		       /* the processors' maker */
	/* NVLink bandwidths in MB/s between objects with the numbers gp[0 .. n): values[i * n + j].
	 */
	unsigned n;
	uint64_t *gp, *values;
	struct hk_graph_store *store;
};

/* name: for messages. -EINVAL with line and cause. */
int hk_xml_read(const char *text, size_t size, const char *name, struct hk_xml **xml);
void hk_xml_free(struct hk_xml *xml);

#endif
