/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranks placed in a graph, and what follows from their places: the layout that algorithms take, the
 * NIC of each rank, a tree, and how many channels are worth it. All of it is a function of the
 * graph and the places alone, so ranks that agree on those agree on this.
 */
#ifndef HK_TOPO_PLACE_H
#define HK_TOPO_PLACE_H

#include "graph.h"
#include "layout.h"

#define HK_MAX_CHANNELS_DERIVED 16

struct hk_placement {
	int nranks;
	/* Groups, from the innermost: the ranks of a NUMA node, of a package, of a host, of the
	 * hosts on a leaf switch; where a group is no closer than the one around it, it is left
	 * out. The switches are those that reduce and have ranks below them. */
	struct hk_layout *layout;
	int *vertex;  /* of each rank: a GPU, a NUMA node or a host */
	int *nic;     /* of each rank: a NIC of its host, -1: the host has none */
	int *tree;    /* of each rank: the rank above it in a tree over all, -1: the root */
	int *reducer; /* of each switch of the layout: its vertex */
	unsigned channels;
};

/*
 * Places nranks ranks. hosts[rank] is the vertex of its host; NULL: the hosts' slots are filled in
 * order. The ranks of a host get its GPUs in turn, or, if it has none, equal shares of its NUMA
 * nodes. -EINVAL if the ranks exceed the slots, or a vertex is no host.
 */
int hk_place(const struct hk_graph *g, int nranks, const int *hosts,
	     struct hk_placement **placement);
void hk_placement_free(struct hk_placement *p);

/*
 * The layout without any graph, from what the ranks know of themselves: equal host[rank] mean the
 * same host; package and numa are the numbers of where it runs, in its host, -1: unknown or
 * several. Either of those two may be NULL.
 */
int hk_layout_from_ids(int nranks, const uint64_t *host, const int *package, const int *numa,
		       struct hk_layout **layout);

/*
 * The topology that the user gave with HOCKET_TOPO_FILE or HOCKET_TOPO_XML, or else this machine's.
 * given, if not NULL, tells whether it was the user's.
 */
int hk_topo_load(struct hk_graph **graph, bool *given);

#endif
