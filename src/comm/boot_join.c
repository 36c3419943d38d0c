/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rank's visits to the roots. With one id there is one root, which knows all ranks. With several,
 * the ranks are cut in as many contiguous parts, and the root of an id knows the ranks of its part:
 * a rank visits the root of its own part, to be known there, and then the roots of those parts that
 * have partners of it, a partner being a rank at distance 1, 2, 4 ... above. A root answers when
 * its part is complete. So a root of m ranks has visits from these and from at most m log2 n
 * others, no root needs to know another, and each visit takes one exchange of messages.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"

struct hk_part hk_boot_part(uint32_t nranks, uint32_t nparts, uint32_t index)
{
	uint32_t share = nranks / nparts, longer = nranks % nparts;

	return (struct hk_part){index * share + (index < longer ? index : longer),
				share + (index < longer)};
}

static bool is_in(const struct hk_part *p, uint32_t rank)
{
	return rank >= p->first && rank - p->first < p->count;
}

static bool has_partner(const struct hk_boot *b, const struct hk_part *p)
{
	for (unsigned k = 0; k < b->rounds; k++)
		if (is_in(p, hk_boot_above(b, k)))
			return true;
	return false;
}

static int read_ids(const uint8_t *ids, uint32_t nids, struct hk_boot_id *list,
		    struct hk_boot_key *keys)
{
	for (uint32_t i = 0; i < nids; i++) {
		int err = hk_id_read(ids + (size_t)i * HK_ID_BYTES, &list[i]);

		if (err)
			return err;
		hk_auth_key(&list[i], &keys[i]);
	}
	return 0;
}

/* The own part's root first. */
static void choose_visits(struct hk_boot *b, const struct hk_boot_id *list,
			  const struct hk_boot_key *keys, uint32_t nids)
{
	b->nvisits = 0;
	for (unsigned pass = 0; pass < 2; pass++) {
		for (uint32_t i = 0; i < nids; i++) {
			struct hk_part part = hk_boot_part(b->nranks, nids, i);
			struct hk_visit *v = &b->visits[b->nvisits];
			bool own = is_in(&part, b->rank);

			if (pass ? own || !has_partner(b, &part) : !own)
				continue;
			v->key = keys[i];
			v->part = part;
			memcpy(v->addr, list[i].addr, sizeof(v->addr));
			b->nvisits++;
		}
	}
}

int hk_boot_prepare_visits(struct hk_boot *b, const uint8_t *ids, uint32_t nids)
{
	struct hk_boot_id *list = calloc(nids, sizeof(*list));
	struct hk_boot_key *keys = calloc(nids, sizeof(*keys));
	int err;

	b->visits = calloc(1 + HK_BOOT_MAX_ROUNDS, sizeof(*b->visits));
	if (!list || !keys || !b->visits)
		err = hk_fail(ENOMEM, "no memory for %u unique ids", nids);
	else
		err = read_ids(ids, nids, list, keys);
	if (!err) {
		if (nids == 1)
			b->key = keys[0];
		else
			hk_auth_group_key(keys, nids, &b->key);
		choose_visits(b, list, keys, nids);
	}
	if (list)
		sodium_memzero(list, nids * sizeof(*list));
	if (keys)
		sodium_memzero(keys, nids * sizeof(*keys));
	free(list);
	free(keys);
	return err;
}

/* The partners in the visited part, as the root tells them: in order of distance. */
static int note_partners(struct hk_boot *b, const struct hk_part *part, const struct hk_frame *f)
{
	struct hk_contact list[HK_BOOT_MAX_ROUNDS];
	unsigned count = 0, i = 0;

	for (unsigned k = 0; k < b->rounds; k++)
		count += is_in(part, hk_boot_above(b, k));
	if (hk_boot_parse_partners(f->payload, f->len, count, list))
		return hk_fail(HK_EWIRE,
			       "the root's list of partners makes no sense: are all ranks "
			       "of the same version of Hocket?");
	for (unsigned k = 0; k < b->rounds; k++)
		if (is_in(part, hk_boot_above(b, k)))
			b->contacts[hk_boot_above(b, k)] = list[i++];
	return 0;
}

/* Waits at the root until its part is complete. */
static int visit(struct hk_boot *b, const struct hk_visit *v)
{
	uint8_t payload[HK_JOIN_BYTES], buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .fd = -1};
	struct hk_session s = {.fd = -1};
	struct hk_frame f;
	struct hk_join join = {.contact = b->self, .part = v->part};
	struct hk_call call = {
		.key = &v->key,
		.hello = {.purpose = HK_FOR_JOIN,
			  .src = b->rank,
			  .dst = HK_BOOT_ROOT,
			  .nranks = b->nranks},
		.deadline = b->deadline,
		.failfd = b->service.failure.fd,
		.whom = "the root of this unique id",
		.remedy = "is the process that made the id alive, and does HOCKET_IFNAME choose a "
			  "network that joins the hosts?",
	};
	int err;

	memcpy(call.addr, v->addr, sizeof(v->addr));
	err = hk_dial(&call, &s);
	if (!err) {
		hk_boot_format_join(&join, payload);
		/* Whatever hinders it shows at once in the answer. */
		hk_frame_send(&s, HK_FRAME_JOIN, payload, sizeof(payload), b->deadline,
			      call.failfd);
		err = hk_dial_reply(&call, &s, &r, HK_FRAME_PARTNERS, &f);
	}
	if (!err)
		err = note_partners(b, &v->part, &f);
	hk_session_close(&s);
	/* From the failure state there is no sentence yet. */
	if (err == -HK_EPEER && hk_failure_report(&b->service.failure))
		err = atomic_load_explicit(&b->service.failure.code, memory_order_acquire);
	return err;
}

int hk_boot_visit(struct hk_boot *b)
{
	int err = 0;

	for (unsigned i = 0; i < b->nvisits && !err; i++)
		err = visit(b, &b->visits[i]);
	if (b->visits)
		sodium_memzero(b->visits, b->nvisits * sizeof(*b->visits));
	free(b->visits);
	b->visits = NULL;
	b->nvisits = 0;
	return err;
}
