/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine, or the cluster, as a graph: what computes, moves or switches data are vertices, and
 * links carry a bandwidth and a latency. Whoever wants to know something about the machine asks the
 * graph. It is filled from hwloc (live or a recording) or from a text file, finished once, and
 * immutable from then on.
 *
 * Inside a host the vertices form a tree (host - packages - NUMA nodes - PCI switches - devices),
 * and NVLinks cross it. The host's own vertex stands for what connects its packages. Networks are
 * switches and links between hosts, NICs and switches.
 */
#ifndef HK_TOPO_GRAPH_H
#define HK_TOPO_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rates.h"

/* More is refused: 16384 hosts of 32 vertices. Links: four times as many. */
#define HK_GRAPH_MAX (1 << 19)
/* Longest name of one vertex. */
#define HK_NAME_MAX 63

enum hk_vertex_kind {
	HK_V_HOST,
	HK_V_PACKAGE,
	HK_V_NUMA,
	HK_V_BRIDGE, /* a PCI switch, or a PCI port that several devices share */
	HK_V_GPU,
	HK_V_NVSWITCH,
	HK_V_NIC,
	HK_V_SWITCH, /* of a network; in no host */
	HK_V_NKINDS,
};

/* A network switch that reduces, and what it can do. */
struct hk_reducer {
	const char *address; /* host:port of its process */
	uint32_t types, ops; /* bit i: enum hk_type or hk_redop i */
	uint32_t fan_in;     /* most participants below it, 0: any number */
	uint64_t payload;    /* most bytes of one operation, 0: any number */
	bool reproducible;   /* the same inputs give the same bits */
};

struct hk_vertex {
	const char *name; /* unique in its host; of a host or switch: unique in the graph */
	uint8_t kind;
	bool rdma;	     /* NIC: speaks verbs */
	int host;	     /* the vertex of its host (a host's: itself), -1: a switch */
	int parent;	     /* what it is in or hangs on inside its host; -1: host, switch */
	unsigned cores;	     /* NUMA node, package, host: processors that are in it directly */
	unsigned slots;	     /* host: ranks that it is to have */
	unsigned rail;	     /* NIC: which of the host's networks */
	unsigned tier;	     /* switch: 1 if hosts hang on it, 2 above those ... (finish) */
	const char *machine; /* host: the machine that it is an instance of */
	const char *model;   /* GPU, host, package: what its maker calls it, or NULL */
	int reducer;	     /* switch: index in reducers, -1: it does not reduce */
};

struct hk_link {
	int a, b; /* a < b */
	int line; /* of the file that it was read from, 0: of none; for messages */
	struct hk_rate rate;
};

struct hk_graph {
	int nvertices, nlinks, nhosts, nreducers;
	struct hk_vertex *vertices;
	struct hk_link *links; /* sorted by a, then b */
	struct hk_reducer *reducers;
	int *hosts; /* the vertices of the hosts, in order */
	/* near[first[v] .. first[v + 1]) are the links of vertex v. */
	int *first, *near;
	struct hk_graph_store *store; /* names, and an index of them */
};

/* --- building; each refuses with -EINVAL or -ENOMEM and a sentence --- */

int hk_graph_create(struct hk_graph **graph);
/* Copies name, machine, model. v->host is set from parent, or to the vertex itself for a host. */
int hk_graph_add(struct hk_graph *g, const struct hk_vertex *v, int *vertex);
int hk_graph_add_link(struct hk_graph *g, int a, int b, const struct hk_rate *rate);
/* Both copy the text. */
int hk_graph_set_model(struct hk_graph *g, int vertex, const char *model);
int hk_graph_set_machine(struct hk_graph *g, int host, const char *machine);
/* Makes a switch reduce. Copies the address. */
int hk_graph_add_reducer(struct hk_graph *g, int vertex, const struct hk_reducer *r);
/* Copies a host of `from` with all that is in it, under another name and with its own slots. */
int hk_graph_add_host(struct hk_graph *g, const struct hk_graph *from, int host, const char *name,
		      const char *machine, unsigned slots);
/* How many ranks a graph of one host is for: one for each GPU, or for each core, or one. */
unsigned hk_graph_default_slots(const struct hk_graph *g);
/* Sorts the links, finds tiers and checks that no two links join the same two vertices. */
int hk_graph_finish(struct hk_graph *g);
void hk_graph_free(struct hk_graph *g);

/* --- asking --- */

/* A vertex of `host` (-1: a host or a switch) by name; -1 if there is none. */
int hk_graph_find(const struct hk_graph *g, int host, const char *name);
/* By its whole name, such as node3.gpu0 or leaf1; -1 if there is none. */
int hk_graph_find_path(const struct hk_graph *g, const char *name);
/* "node3.gpu0"; returns text. */
const char *hk_graph_name(const struct hk_graph *g, int vertex, char *text, size_t size);
/* The link between two vertices, NULL if there is none. The graph must be finished. */
const struct hk_link *hk_graph_link(const struct hk_graph *g, int a, int b);
/* Of all that is said above, names included: graphs with equal hashes are equal. */
uint64_t hk_graph_hash(const struct hk_graph *g);
const char *hk_vertex_name(enum hk_vertex_kind kind);

/* --- paths --- */

/* How far a path goes: what the slowest part of its way is made of. In order of preference. */
enum hk_reach {
	HK_REACH_SELF,
	HK_REACH_NVLINK,  /* NVLink or xGMI between GPUs */
	HK_REACH_PCIE,	  /* PCI switches alone */
	HK_REACH_NUMA,	  /* through a NUMA node or a package */
	HK_REACH_HOST,	  /* between packages */
	HK_REACH_NETWORK, /* between hosts */
};
const char *hk_reach_name(enum hk_reach reach);

struct hk_path {
	double gbs, ns; /* of its narrowest link; of all its links together */
	int hops;	/* links */
	enum hk_reach reach;
};

enum hk_path_by { HK_PATH_WIDEST, HK_PATH_SHORTEST };

/*
 * The best path between two vertices: of the widest the one of least latency, or the one of least
 * latency. It leads through no GPU and no third host, and stays in its host if it can. `way`, if
 * not NULL, is room for HK_PATH_MAX vertices and gets the path's, ends included. -ENOENT if there
 * is none.
 */
#define HK_PATH_MAX 64
int hk_graph_path(const struct hk_graph *g, int from, int to, enum hk_path_by by,
		  struct hk_path *path, int *way);

#endif
