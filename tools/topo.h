/* SPDX-License-Identifier: BSD-3-Clause */
/* What `hocket topo` can do with a topology once it is read. */
#ifndef HOCKET_TOOLS_TOPO_H
#define HOCKET_TOOLS_TOPO_H

#include <stdio.h>

#include "graph.h"
#include "place.h"

/* Machines and switches, as a tree. */
void hk_topo_show_tree(const struct hk_graph *g, FILE *out);
/* Where each rank is and what it uses, and the paths between ranks. */
int hk_topo_show_ranks(const struct hk_graph *g, const struct hk_placement *p, FILE *out);
/* A drawing that needs nothing else. */
int hk_topo_draw(const struct hk_graph *g, FILE *out);

#endif
