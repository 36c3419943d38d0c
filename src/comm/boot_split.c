/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Splitting a group. Two all-gathers over the parent tell every rank all that a root would: first
 * who wants which color and key, from which each computes its new group and its rank in it; then
 * where the new services listen. The new group's key is derived from the parent's and from the
 * all-gather's number, so no secret travels; whoever knows the parent's key is of the same job
 * anyway. A rank that cannot take part says so in the second all-gather, and its whole color fails
 * at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

struct seat {
	int32_t key;
	uint32_t old; /* rank in the parent */
};

static int by_key(const void *a, const void *b)
{
	const struct seat *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->old > y->old) - (x->old < y->old);
}

/* All-gathers the wishes; the seats of the own color, in the order of the new ranks. */
static int gather_wishes(struct hk_boot *parent, const struct hk_wish *own, int64_t timeout_ns,
			 struct seat *seats, uint32_t *count)
{
	uint8_t *table = malloc((size_t)parent->nranks * HK_WISH_BYTES);
	int err;

	if (!table)
		return hk_fail(ENOMEM, "no memory for the colors of %u ranks", parent->nranks);
	hk_boot_format_wish(own, table + (size_t)parent->rank * HK_WISH_BYTES);
	err = hk_boot_gather(parent, table, HK_WISH_BYTES, timeout_ns);
	*count = 0;
	for (uint32_t r = 0; r < parent->nranks && !err; r++) {
		struct hk_wish c;

		hk_boot_parse_wish(table + (size_t)r * HK_WISH_BYTES, &c);
		if (c.color == own->color)
			seats[(*count)++] = (struct seat){c.key, r};
	}
	free(table);
	qsort(seats, *count, sizeof(*seats), by_key);
	return err;
}

/* The new group's boot, listening. NULL for a rank without a color. */
static int begin(const struct hk_boot *parent, int color, const struct seat *seats, uint32_t count,
		 int64_t timeout_ms, struct hk_boot **boot)
{
	uint32_t rank = 0;
	int err;

	if (color < 0)
		return 0;
	while (seats[rank].old != parent->rank)
		rank++;
	err = hk_boot_alloc(count, rank, timeout_ms, boot);
	if (err)
		return err;
	hk_auth_split_key(&parent->key, parent->op, (uint32_t)color, &(*boot)->key);
	return hk_boot_start(*boot);
}

/* All-gathers the offers: the contacts of the new group, or why it cannot be. */
static int gather_offers(struct hk_boot *parent, struct hk_boot *b, int code, int64_t timeout_ns,
			 const struct seat *seats, bool *ours)
{
	uint8_t *table = malloc((size_t)parent->nranks * HK_OFFER_BYTES);
	struct hk_offer offer = {.code = b || code ? code : -HK_EUSAGE};
	int err;

	if (!table)
		return hk_fail(ENOMEM, "no memory for the addresses of %u ranks", parent->nranks);
	if (!offer.code)
		offer.contact = b->self;
	hk_boot_format_offer(&offer, table + (size_t)parent->rank * HK_OFFER_BYTES);
	err = hk_boot_gather(parent, table, HK_OFFER_BYTES, timeout_ns);
	*ours = !err;
	for (uint32_t i = 0; b && i < b->nranks && !err; i++) {
		uint32_t old = seats[i].old;

		if (hk_boot_parse_offer(table + (size_t)old * HK_OFFER_BYTES, HK_OFFER_BYTES,
					&offer))
			err = hk_fail(HK_EWIRE,
				      "the addresses of rank %u make no sense: are all ranks of "
				      "the same version of Hocket?",
				      old);
		else if (offer.code)
			err = old == parent->rank
				      ? code
				      : hk_fail(HK_EPEER,
						"rank %u cannot take part in the split (%s): its "
						"own log says why",
						old, hk_code_name(offer.code));
		else
			b->contacts[i] = offer.contact;
	}
	free(table);
	return err;
}

int hk_boot_split(struct hk_boot *parent, int color, int key, int64_t timeout_ms,
		  struct hk_boot **boot, bool *ours)
{
	struct hk_wish wish = {color, key};
	struct seat *seats = calloc(parent->nranks, sizeof(*seats));
	struct hk_boot *b = NULL;
	uint32_t count = 0;
	int64_t timeout_ns;
	int err, code;

	*ours = false;
	if (timeout_ms <= 0)
		timeout_ms = hk_param(HK_PARAM_INIT_TIMEOUT_MS);
	timeout_ns = timeout_ms * HK_BOOT_MS;
	if (!seats)
		return hk_fail(ENOMEM, "no memory to split %u ranks", parent->nranks);
	err = gather_wishes(parent, &wish, timeout_ns, seats, &count);
	if (err)
		goto out;
	/* The others must hear of it if that fails. */
	code = begin(parent, color, seats, count, timeout_ms, &b);
	err = gather_offers(parent, b, code, timeout_ns, seats, ours);
	if (!err && code)
		err = code;
	if (!err)
		*boot = b;
	else if (b && !code)
		hk_boot_close(b);
	else
		hk_boot_free(b);
out:
	free(seats);
	return err;
}
