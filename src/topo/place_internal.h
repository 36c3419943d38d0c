/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files that derive things from ranks' places. */
#ifndef HK_TOPO_PLACE_INTERNAL_H
#define HK_TOPO_PLACE_INTERNAL_H

#include "place.h"

/* What `n` ranks on a host are: equal for all hosts of one machine, so found out once for each. */
struct shape {
	struct shape *next;
	const char *machine;
	int host, n; /* the host that it was found out on */
	/* Per rank of the host, in order; vertices as offsets from the host's. */
	int *vertex, *nic;   /* nic -1: none */
	int *numa, *package; /* the vertex of its NUMA node and package, or 0: the host itself */
	int *ring;	     /* the ranks in ring order */
	double ring_gbs;     /* between neighbours in it, 0: a single rank */
	bool gpus;
};

/* The shape of n ranks on the host, from the list or new. */
int hk_shape_find(const struct hk_graph *g, int host, int n, struct shape **shapes,
		  struct shape **shape);
void hk_shapes_free(struct shape *shapes);

/* An order of n places in which the narrowest of the paths between neighbours, last to first
 * included, is as wide as can be found: gbs[i * n + j]. Prefers the order as given. Returns the
 * narrowest. */
double hk_ring_order(int n, const double *gbs, int *order);
/* The narrowest path between neighbours in the ring as it is. */
double hk_ring_width(int n, const double *gbs, const int *order);

/* The leaf switch that a host hangs on, -1: none. */
int hk_leaf_of(const struct hk_graph *g, int host);
/* Hangs the layout's ranks on the switches that reduce. */
int hk_place_reducers(const struct hk_graph *g, struct hk_placement *p);

#endif
