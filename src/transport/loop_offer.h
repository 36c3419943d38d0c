/* SPDX-License-Identifier: BSD-3-Clause */
/* The offers of one connection of the loop transport; see loop_offer.c. */
#ifndef HK_TRANSPORT_LOOP_OFFER_H
#define HK_TRANSPORT_LOOP_OFFER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop_offer {
	uint64_t number; /* of its message, plus one; 0: no offer */
	void *dst;
	uint32_t bytes, mark;
};

struct loop_offers {
	/* Held while one end uses the other's user memory. */
	pthread_mutex_t lock;
	struct loop_offer *offers; /* of message k: entry k % slots */
	uint32_t slots;
	uint64_t come;	 /* messages that have come ... */
	uint64_t direct; /* ... and those among them that came to their place */
	bool severed;
};

int hk_loop_offers_init(struct loop_offers *o, uint32_t slots);
void hk_loop_offers_free(struct loop_offers *o);
/* The receiver's. The message must be less than `slots` ahead, or the offer is forgotten. */
void hk_loop_offers_make(struct loop_offers *o, uint64_t message, void *dst, uint32_t bytes,
			 uint32_t mark);
/* The sender's: the message comes now; `direct`: to where it is wanted, if it is known. Returns
 * that place, with the data in it; or NULL, and then it must be shown elsewhere. */
void *hk_loop_offers_come(struct loop_offers *o, uint64_t message, bool direct, const void *data,
			  uint32_t bytes, uint32_t mark);
/* As memcpy, of what the peer has lent. False: it is severed. */
bool hk_loop_offers_read(struct loop_offers *o, void *dst, const void *lent, uint32_t bytes);
/* Once it returns, no end uses the other's memory. */
void hk_loop_offers_sever(struct loop_offers *o);
uint64_t hk_loop_offers_direct(struct loop_offers *o);
/* Over all offers whose message has not come; how many bytes. */
size_t hk_loop_offers_scribble(struct loop_offers *o);

#endif
