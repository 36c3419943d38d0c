/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One machine, as hwloc sees it: live, or recorded in a file that `lstopo FILE.xml` wrote on it
 * (hwloc 2 or 3). Both go through the same reader of XML, which is ours: a recording may come from
 * anybody, and a newer hwloc than the one that is installed may have written it.
 */
#ifndef HK_TOPO_MACHINE_H
#define HK_TOPO_MACHINE_H

#include "graph.h"

#define HK_XML_MAX (16 << 20) /* bytes */

/* Each makes a finished graph of one host. */
int hk_machine_read_xml(const char *xml, size_t size, const char *name, struct hk_graph **graph);
int hk_machine_load_xml(const char *path, struct hk_graph **graph);
int hk_machine_read_live(struct hk_graph **graph);

#endif
