/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Batches: calls that run together, polled in turn by one thread. Each communicator has a track:
 * its collectives one after the other, and beside them all of its sends and receives as one plan.
 */
#ifndef HK_COMM_BATCH_H
#define HK_COMM_BATCH_H

#include "comm.h"

int hk_batch_create(struct hk_batch **batch);
/* Adds a call, in its communicator's order. On success the request is the batch's. c is what the
 * handle meant at the call: -EINVAL if it does not mean it any more. */
int hk_batch_add(struct hk_batch *b, hocketComm_t handle, struct hk_comm *c,
		 const struct hk_request *req);
/* Whether it can run: what goes to oneself comes from oneself. A communicator that has failed is no
 * hindrance: when that becomes known is a matter of chance, and the others must not depend on it.
 */
int hk_batch_check(struct hk_batch *b);
/* Takes a ticket on each of its communicators: from here on it must be run. */
void hk_batch_issue(struct hk_batch *b);
/* Frees a batch that was not issued. */
void hk_batch_free(struct hk_batch *b);

/* For the streams that it is queued on: how many they are; and each calls arrive when it gets to
 * it. The last one runs it, the others wait until it has run, and all get its result. */
void hk_batch_expect(struct hk_batch *b, unsigned streams);
int hk_batch_arrive(struct hk_batch *b);

#endif
