/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world of the loop transport: ranks inside one process, stepped by one thread or by many, with
 * faults on request. Make one world per communicator, hand it to every rank's hk_endpoint_env, and
 * destroy it after all endpoints are closed. Each rank can be opened once per world.
 *
 * Faults come from a seed. Every end of every connection draws from a generator of its own, so
 * that the k-th message of a connection meets the same fate in every run with that seed, whatever
 * the threads do; if one thread steps all ranks then the whole run repeats exactly.
 */
#ifndef HK_TRANSPORT_LOOP_H
#define HK_TRANSPORT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hk_loop_hit_kind {
	HK_LOOP_NONE,
	HK_LOOP_KILL,	  /* the connection dies instead of carrying it: -HK_EPEER at both ends,
			   * at the receiver after the messages before it */
	HK_LOOP_DROP,	  /* it never arrives, and nobody is told; later messages do arrive */
	HK_LOOP_TRUNCATE, /* it arrives one byte short (an empty one: one byte too long) */
	HK_LOOP_MARK,	  /* it arrives with one bit of its mark turned over */
};

/* What happens to one message of one connection. */
struct hk_loop_hit {
	enum hk_loop_hit_kind kind;
	int src, dst;
	uint32_t channel;
	uint64_t message; /* its number on its connection, from 0 */
};

#define HK_LOOP_HITS   4
#define HK_LOOP_ADMITS 2048u /* bytes of the shortest messages that are lent from GPUs' memory */

/* What becomes of receivers' offers. Whatever is not ignored is scribbled over at once: the memory
 * is the transport's until the message has come. */
enum hk_loop_offers {
	HK_LOOP_OFFERS_IGNORED,
	HK_LOOP_OFFERS_TAKEN, /* by every message that comes after its offer */
	HK_LOOP_OFFERS_MIXED, /* by some of them; others come through slots */
};

/* All zero: no faults. */
struct hk_loop_faults {
	uint64_t seed;
	/* A message shows up only after 0 to max_delay peeks in vain. As each connection draws its
	 * own delays, messages of different connections overtake each other. */
	uint32_t max_delay;
	/* Each connection has only 1 to max_slots slots, without its ends knowing. 0: as asked. */
	uint32_t max_slots;
	/* Reserve refuses 0 to max_refusals times before each message. */
	uint32_t max_refusals;
	/* Not a fault: whatever the executor would lend is lent, and read where it lies. */
	bool lend;
	/* Not a fault: with `lend`, the receiver must pull it. Pulls are put off 0 to max_delay
	 * times, and now and then refused: then it is read where it lies after all. */
	bool pull;
	/* Not a fault: takes GPUs' memory (admit_device), to lend from it or not. */
	bool admit;
	/* Not a fault either. What is lent and has been offered a place is copied there at once. */
	enum hk_loop_offers offers;
	struct hk_loop_hit hits[HK_LOOP_HITS];
};

struct hk_loop;

/* faults may be NULL and is copied. */
int hk_loop_create(int nranks, const struct hk_loop_faults *faults, struct hk_loop **loop);
/* NULL is fine. */
void hk_loop_destroy(struct hk_loop *loop);

/* Endpoints that are opened without a world join this one; NULL, as at first: they are not opened.
 * For tests of the layers above, which know of no worlds. */
void hk_loop_stand_in(struct hk_loop *loop);
/* How many messages came straight to where their receivers wanted them. */
uint64_t hk_loop_direct(struct hk_loop *loop);
/* How many were lent. */
uint64_t hk_loop_lent(struct hk_loop *loop);
/* Scribbles again over all that is offered and whose message has not come, as a peer may that is
 * late, except where the connection was severed. From any thread. Returns how many bytes. */
size_t hk_loop_scribble(struct hk_loop *loop);

#endif
