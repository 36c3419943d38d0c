/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a graph keeps besides its arrays: the bytes of all names, and a hash table from (host, name)
 * to vertex, so that reading a cluster of many nodes stays linear.
 */
#ifndef HK_TOPO_STORE_H
#define HK_TOPO_STORE_H

#include "graph.h"

int hk_store_create(struct hk_graph_store **store);
void hk_store_free(struct hk_graph_store *store);
/* A copy that lives as long as the store; NULL if there is no memory. */
const char *hk_store_text(struct hk_graph_store *store, const char *text);
/* Enters the graph's vertex, whose name must not be there yet. */
int hk_store_enter(struct hk_graph_store *store, const struct hk_graph *g, int vertex);
/* The vertex of that name in host (-1: hosts and switches), or -1. */
int hk_store_find(const struct hk_graph_store *store, const struct hk_graph *g, int host,
		  const char *name);

#endif
