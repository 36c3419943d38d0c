/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection of the loop transport and its two halves: what loop.c makes and loop_move.c uses. */
#ifndef HK_TRANSPORT_LOOP_CONN_H
#define HK_TRANSPORT_LOOP_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "loop_offer.h"
#include "transport.h"

/* Bits of conn.gone. */
enum { SENDER_GONE = 1, RECEIVER_GONE = 2, KILLED = 4, SEVERED = 8 };

struct message {
	uint32_t bytes, mark;
	const void *at; /* where it is, if not in its slot */
	bool lent;	/* there in the sender's memory, else in the receiver's */
};

struct conn {
	struct conn *next; /* of those into the same rank */
	int src;
	uint32_t channel;
	uint32_t slots, slot_bytes;
	uint32_t credits; /* slots, or fewer as a fault */
	bool taken[2];	  /* which ends exist; under the world's mutex */
	_Atomic unsigned gone;
	_Atomic uint64_t committed; /* messages ever; the sender's */
	_Atomic uint64_t released;  /* the receiver's */
	struct message *messages;
	uint8_t *data;
	struct loop_offers offers;
	_Atomic uint64_t lent; /* messages that were */
};

struct loop_send {
	struct hk_send base;
	struct loop_send *next;
	const struct hk_loop_faults *faults;
	struct conn *conn;
	uint64_t random;
	uint64_t committed; /* as the ring counts: without those that were dropped */
	uint64_t lent;	    /* as committed was after the last message that was lent */
	uint64_t message;   /* number of the next message */
	uint32_t refusals;  /* still due before the next message */
	bool reserved;
	int error;
};

struct loop_recv {
	struct hk_recv base;
	struct loop_recv *next;
	const struct hk_loop_faults *faults;
	struct conn *conn;
	uint64_t random;
	uint64_t released;
	uint64_t offered; /* no message below this number may be offered a place any more */
	uint32_t delay;	  /* peeks in vain that are still due before the next message */
	uint32_t put_off; /* pulls in vain that are still due */
	bool peeked;
	bool pulls; /* the peeked message is not shown */
	int error;
};

extern const struct hk_send_ops hk_loop_send_ops;
extern const struct hk_recv_ops hk_loop_recv_ops;

#endif
