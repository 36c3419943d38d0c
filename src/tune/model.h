/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as the cost model sees it. Defaults, or measured by `hocket tune` (measure.h) and
 * kept in a file (cache.h). All ranks' views are merged, the worst of each counting, so that all
 * ranks choose by the same.
 */
#ifndef HK_TUNE_MODEL_H
#define HK_TUNE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

/* What messages cost between two participants. */
struct hk_route {
	double latency_ns;	 /* from the end of a send to when a waiting receiver sees it */
	double message_ns;	 /* a step that sends or receives, besides its bytes; each end */
	double slot_ns;		 /* more latency of a message too long for its header */
	double fill_ns_per_byte; /* a slot filled by its sender */
	double read_ns_per_byte; /* a slot read by its receiver */
	double link_ns_per_byte; /* a link that all ranks of a group share, to others; 0: none */
	/* Messages of at least lend_bytes that need no slot are read where they are. 0: none. */
	double lend_bytes, lend_ns, lend_ns_per_byte;
};

/* Paths by how far the ranks are apart: 0, in the same innermost group of the layout; 1, in the
 * same group of the next level, and so on. */
#define HK_NROUTES (HK_MAX_LEVELS + 1)

struct hk_machine {
	struct hk_route routes[HK_NROUTES];
	struct hk_route to_switch; /* between a rank and a switch, or switches */
	double call_ns;		   /* what a call costs besides its steps */
	double step_ns;		   /* a step without a message */
	double chunk_ns;	   /* each chunk of a step */
	double copy_ns_per_byte;   /* from the cache to the cache */
	double reduce_ns_per_byte; /* a byte reduced costs so much more than copied */
	double memory_ns_per_byte; /* and so much more if it is in no cache */
	double cache_bytes;	   /* of the last cache, that ranks of a host share */
	/* Slots and bytes: what the slots of a core's ranks occupy beyond spread_bytes makes each
	 * byte dearer, for both ends, with every doubling (caches and their address tables). */
	double spread_bytes, spread_ns_per_byte;
	double ranks_per_core; /* how many ranks share one core, at least 1 */
	double switch_ns;      /* from one rank to another on a core */
	uint32_t slots, slot_bytes;
};

/* A connection's slots: as HOCKET_SLOTS and HOCKET_SLOT_BYTES say, or else chosen. near: no message
 * leaves the host. */
struct hk_slots {
	uint32_t count, bytes;
};
struct hk_slots hk_tune_slots(bool near);
/* The same where ranks have GPUs. */
struct hk_slots hk_tune_gpu_slots(void);

/* Messages up to so many bytes travel in their headers. */
#define HK_HEADER_BYTES 48u

/* Defaults, everything as if within a host. */
void hk_tune_machine_default(struct hk_machine *m);
/* What is assumed of a transport; false if nothing is known of it. */
bool hk_route_default(const char *transport, struct hk_route *route);
/* A route from what a transport says of itself (struct hk_cost). */
struct hk_route hk_route_of_cost(double latency_ns, double message_ns, double ns_per_byte);

/* The worse of every number (of caches the smaller). A number of `from` that makes no sense is left
 * out, and so is a route of zeros. slots and slot_bytes are not merged: they are equal. */
void hk_route_merge(struct hk_route *into, const struct hk_route *from);
void hk_tune_machine_merge(struct hk_machine *into, const struct hk_machine *from);

#endif
