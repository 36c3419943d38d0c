/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plain queue pairs between the two ranks, one per rail, on the ports that the verbs transport
 * would use, too: HOCKET_IB_HCA, HOCKET_IB_GID_INDEX and so on choose both alike. Everything is
 * checked once here, so that way_verbs.c has nothing but the primitives.
 */
#ifndef HOCKET_BENCH_LINK_VERBS_PAIR_H
#define HOCKET_BENCH_LINK_VERBS_PAIR_H

#include "ibv.h"
#include "link.h"
#include "verbs_device.h"

#define HK_LP_RAILS  8
#define HK_LP_WINDOW 128u /* messages under way on a rail */

struct hk_lp_rail {
	struct ibv_pd *pd;
	struct ibv_mr *mr; /* of all of the pair's memory */
	struct ibv_cq *sends, *receives;
	struct ibv_qp *qp;
	uint32_t inline_bytes;
	uint32_t posted, completed; /* sends, so far */
	uint32_t signalled;	    /* the last of them that asked for a completion */
	uint64_t peer_at;	    /* the peer's memory ... */
	uint32_t peer_key;	    /* ... and this rail's key of it */
};

struct hk_lp_pair {
	struct hk_ib_port ports[HK_LP_RAILS];
	unsigned nports;
	struct hk_lp_rail rails[HK_LP_RAILS]; /* those that both ranks have */
	unsigned nrails;
	uint8_t *memory;
	size_t bytes;
};

/* Both ranks call it. bytes: of memory, zeroed. -ENOTSUP: no RDMA here or there. */
int hk_lp_pair_open(struct hk_lp_run *run, size_t bytes, struct hk_lp_pair *p);
void hk_lp_pair_close(struct hk_lp_pair *p);

#endif
