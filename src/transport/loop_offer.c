/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offers of the loop transport: a table per connection, in which the receiver enters where messages
 * are wanted, and the sender finds the place when it sends: then it copies there, into the
 * receiver's memory, as a network card would. To find out whoever uses memory while it is the
 * transport's, an offer is scribbled over when it is made, and again on request. One mutex guards
 * all of that; a test transport may.
 */
#include "loop_offer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCRIBBLE 0xd5

int hk_loop_offers_init(struct loop_offers *o, uint32_t slots)
{
	o->offers = calloc(slots, sizeof(*o->offers));
	if (!o->offers)
		return -ENOMEM;
	o->slots = slots;
	pthread_mutex_init(&o->lock, NULL);
	return 0;
}

void hk_loop_offers_free(struct loop_offers *o)
{
	if (!o->offers)
		return;
	pthread_mutex_destroy(&o->lock);
	free(o->offers);
}

void hk_loop_offers_make(struct loop_offers *o, uint64_t message, void *dst, uint32_t bytes,
			 uint32_t mark)
{
	pthread_mutex_lock(&o->lock);
	if (message >= o->come && message - o->come < o->slots && !o->severed) {
		memset(dst, SCRIBBLE, bytes);
		o->offers[message % o->slots] = (struct loop_offer){message + 1, dst, bytes, mark};
	}
	pthread_mutex_unlock(&o->lock);
}

void *hk_loop_offers_come(struct loop_offers *o, uint64_t message, bool direct, const void *data,
			  uint32_t bytes, uint32_t mark)
{
	struct loop_offer *offer = &o->offers[message % o->slots];
	void *dst = NULL;

	pthread_mutex_lock(&o->lock);
	if (direct && !o->severed && offer->number == message + 1 && offer->bytes == bytes &&
	    offer->mark == mark) {
		dst = offer->dst;
		memcpy(dst, data, bytes);
		o->direct++;
	}
	offer->number = 0;
	o->come = message + 1;
	pthread_mutex_unlock(&o->lock);
	return dst;
}

bool hk_loop_offers_read(struct loop_offers *o, void *dst, const void *lent, uint32_t bytes)
{
	bool severed;

	pthread_mutex_lock(&o->lock);
	severed = o->severed;
	if (!severed)
		memcpy(dst, lent, bytes);
	pthread_mutex_unlock(&o->lock);
	return !severed;
}

void hk_loop_offers_sever(struct loop_offers *o)
{
	pthread_mutex_lock(&o->lock);
	o->severed = true;
	pthread_mutex_unlock(&o->lock);
}

uint64_t hk_loop_offers_direct(struct loop_offers *o)
{
	uint64_t messages;

	pthread_mutex_lock(&o->lock);
	messages = o->direct;
	pthread_mutex_unlock(&o->lock);
	return messages;
}

size_t hk_loop_offers_scribble(struct loop_offers *o)
{
	size_t bytes = 0;

	pthread_mutex_lock(&o->lock);
	for (uint32_t i = 0; i < o->slots && !o->severed; i++) {
		const struct loop_offer *offer = &o->offers[i];

		if (!offer->number)
			continue;
		memset(offer->dst, SCRIBBLE, offer->bytes);
		bytes += offer->bytes;
	}
	pthread_mutex_unlock(&o->lock);
	return bytes;
}
