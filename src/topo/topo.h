/* SPDX-License-Identifier: BSD-3-Clause */
/* What this host is and where in it this process runs: processors and caches, from hwloc. It takes
 * milliseconds; the graph of links and devices (graph.h) takes tens of them. */
#ifndef HK_TOPO_H
#define HK_TOPO_H

#include <stddef.h>
#include <stdint.h>

#define HK_CPUSET_WORDS 32 /* processors 0 to 2047 */

struct hk_host {
	unsigned cores;			  /* processors that this process's control group allows */
	size_t l2_bytes, l3_bytes;	  /* 0: unknown */
	uint64_t cpuset[HK_CPUSET_WORDS]; /* processors that this process may run on now */
	int package, numa; /* the one that all of cpuset is in; -1: it spans several, or unknown */
	char model[96];	   /* of the processor; "": unknown */
	unsigned processors; /* of the whole machine */
};

/* Never fails: what hwloc can't tell is filled from the system or left 0. */
void hk_topo_host(struct hk_host *host);

#endif
