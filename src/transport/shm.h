/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the shared memory transport: its endpoints and connections, which shm.c makes and
 * shm_move.c moves messages over. shm.c says how it all works.
 */
#ifndef HK_TRANSPORT_SHM_H
#define HK_TRANSPORT_SHM_H

#include "loan.h"
#include "pull.h"
#include "shm_segment.h"
#include "transport.h"
#include "way.h"

#define HK_SHM_FILE_TAG 0x73686e00u /* what the file of registered memory is published under */

_Static_assert(sizeof(struct hk_loan) <= HK_SHM_INLINE, "a loan fits a header");

struct hk_shm_send {
	struct hk_send s;
	struct hk_shm_region region;
	struct hk_shm_bell *bell; /* the receiver's */
	uint32_t sent, released;
	struct hk_shm_header *header; /* of the slot to be sent next */
	uint32_t index;
	int error;
	bool owing;	 /* lent messages may still be to be read */
	bool same;	 /* the receiver is in this process */
	uint32_t way;	 /* of this message */
	uint64_t since;	 /* when its slot was reserved */
	int64_t look_at; /* no look at the released count before, when there was no slot */
	uint8_t small[HK_SHM_INLINE]; /* a small message until it is committed */
	struct hk_ways ways[HK_WAY_CLASSES];
	uint32_t lent;			      /* number of the last message that was lent */
	uint32_t served;		      /* of the last that was refused, and then filled in */
	struct hk_loan loan;		      /* of what is about to be lent */
	const void *pulled[HK_SHM_MAX_SLOTS]; /* what each slot's message offers to be pulled */
	struct hk_shm_send *next;
};

struct hk_shm_recv {
	struct hk_recv r;
	struct hk_shm_region region;
	struct hk_shm_bell *bell; /* the sender's */
	uint32_t received;
	struct hk_shm_header *header; /* of the slot to be received next */
	uint32_t index;
	int error;
	uint64_t since; /* when the message was seen */
	uint32_t bytes;
	struct hk_warmth warmth[HK_WAY_CLASSES];
	bool refused;		  /* the message could not be pulled */
	bool same;		  /* the sender is in this process */
	struct hk_pull_id memory; /* the sender's */
	struct hk_shm_recv *next;
};

struct hk_shm_peer {
	int fd;
	struct hk_shm_bell *bell;
	struct hk_borrower borrowed;
};

struct hk_shm_endpoint {
	struct hk_endpoint ep;
	struct hk_endpoint_env env;
	int fd;
	struct hk_shm_bell *bell;
	bool ordered;	  /* membarrier works */
	bool cannot_pull; /* and it was said */
	size_t regions, region_bytes;
	struct hk_shm_peer *peers;
	struct hk_shm_send *sends;
	struct hk_shm_recv *recvs;
	struct hk_lender lender;
};

static inline struct hk_shm_endpoint *hk_shm_endpoint(struct hk_endpoint *ep)
{
	return (struct hk_shm_endpoint *)ep;
}

/* shm_move.c */
extern const struct hk_send_ops hk_shm_send_ops;
extern const struct hk_recv_ops hk_shm_recv_ops;
/* Copies a message that the receiver could not pull, if there is one, to its slot. */
void hk_shm_serve(struct hk_shm_send *s);
/* Says once that there is memory that this rank can't read, with the code of the failure. */
void hk_shm_say_cannot_pull(struct hk_shm_recv *r, int code);

#endif
