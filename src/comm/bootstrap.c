/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing a rank's part in the bootstrap: start the service thread, visit the roots and
 * learn the partners at distance 1, 2, 4 ... above (boot_join.c; a group that split off knows
 * them), connect to them (one ring connection for data and one watch connection for failures each),
 * then all-gather everyone's addresses, which also makes sure that all have got so far. Then any
 * rank can reach any other.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "boot_internal.h"
#include "clock.h"
#include "error.h"
#include "param.h"

enum { DATA_FRAME = HK_FRAME_OVER + HK_DATA_HEAD + HK_DATA_CHUNK };

uint32_t hk_boot_above(const struct hk_boot *b, unsigned round)
{
	return (uint32_t)((b->rank + ((uint64_t)1 << round)) % b->nranks);
}

uint32_t hk_boot_below(const struct hk_boot *b, unsigned round)
{
	return (uint32_t)((b->rank + (uint64_t)b->nranks - ((uint64_t)1 << round)) % b->nranks);
}

static int connect_partners(struct hk_boot *b)
{
	struct hk_session watch;
	int64_t deadline = b->deadline;
	int err = 0;

	for (unsigned k = 0; k < b->rounds && !err; k++) {
		uint32_t peer = hk_boot_above(b, k);
		const struct hk_contact *contact = &b->contacts[peer];

		err = hk_boot_call(b, peer, contact, HK_FOR_WATCH, k, deadline, NULL, &watch);
		if (!err)
			err = hk_service_adopt(&b->service, peer, &watch);
		if (!err)
			err = hk_boot_call(b, peer, contact, HK_FOR_RING, k, deadline, NULL,
					   &b->out[k]);
	}
	for (unsigned k = 0; k < b->rounds && !err; k++) {
		uint32_t peer = hk_boot_below(b, k);

		err = hk_service_take(&b->service, HK_FOR_RING, peer, k, deadline, &b->in[k]);
		if (err == -HK_EPEER)
			return hk_failure_report(&b->service.failure);
		if (err)
			return hk_fail(
				err,
				"rank %u joined, but did not connect to rank %u in time: can "
				"its host reach this one?",
				peer, b->rank);
	}
	return err;
}

static int gather_contacts(struct hk_boot *b)
{
	uint8_t *table = malloc((size_t)b->nranks * HK_CONTACT_BYTES);
	int err;

	if (!table)
		return hk_fail(ENOMEM, "no memory for the addresses of %u ranks", b->nranks);
	hk_boot_format_contact(&b->self, table + (size_t)b->rank * HK_CONTACT_BYTES);
	err = hk_boot_allgather(b, table, HK_CONTACT_BYTES);
	for (uint32_t r = 0; r < b->nranks && !err; r++)
		if (hk_boot_parse_contact(table + (size_t)r * HK_CONTACT_BYTES, HK_CONTACT_BYTES,
					  &b->contacts[r]))
			err = hk_fail(HK_EWIRE,
				      "the addresses of rank %u make no sense: are all "
				      "ranks of the same version of Hocket?",
				      r);
	free(table);
	return err;
}

uint32_t hk_boot_rounds(uint32_t nranks)
{
	uint32_t rounds = 0;

	while ((uint64_t)1 << rounds < nranks)
		rounds++;
	return rounds;
}

int hk_boot_alloc(uint32_t nranks, uint32_t rank, int64_t timeout_ms, struct hk_boot **out)
{
	struct hk_boot *b = calloc(1, sizeof(*b));

	if (!b)
		return hk_fail(ENOMEM, "no memory for the bootstrap of rank %u", rank);
	b->wire.ops = &hk_boot_wire_ops;
	b->rank = rank;
	b->nranks = nranks;
	b->rounds = hk_boot_rounds(nranks);
	b->timeout_ns = timeout_ms * HK_BOOT_MS;
	b->deadline = hk_now_ns() + b->timeout_ns;
	for (unsigned k = 0; k < HK_BOOT_MAX_ROUNDS; k++)
		b->out[k].fd = b->in[k].fd = -1;
	b->contacts = calloc(nranks, sizeof(*b->contacts));
	b->routes = calloc(nranks, sizeof(struct hk_routes *));
	b->tx = (struct hk_writer){.buf = malloc(DATA_FRAME), .cap = DATA_FRAME};
	b->rx = (struct hk_reader){.buf = malloc(DATA_FRAME), .cap = DATA_FRAME, .fd = -1};
	if (!b->contacts || !b->routes || !b->tx.buf || !b->rx.buf) {
		hk_boot_free(b);
		return hk_fail(ENOMEM, "no memory for the bootstrap of rank %u of %u", rank,
			       nranks);
	}
	*out = b;
	return 0;
}

void hk_boot_free(struct hk_boot *b)
{
	if (!b)
		return;
	for (unsigned k = 0; k < HK_BOOT_MAX_ROUNDS; k++) {
		hk_session_close(&b->out[k]);
		hk_session_close(&b->in[k]);
	}
	if (b->visits)
		sodium_memzero(b->visits, b->nvisits * sizeof(*b->visits));
	free(b->visits);
	for (uint32_t r = 0; b->routes && r < b->nranks; r++)
		free(b->routes[r]);
	free(b->routes);
	free(b->contacts);
	free(b->tx.buf);
	free(b->rx.buf);
	sodium_memzero(&b->key, sizeof(b->key));
	free(b);
}

int hk_boot_start(struct hk_boot *b)
{
	b->host = b->self.host = hk_net_host(&b->key);
	return hk_service_start(&b->service, &b->key, b->rank, b->nranks, &b->self);
}

int hk_boot_new(const uint8_t *ids, int nids, int nranks, int rank, int64_t timeout_ms,
		struct hk_boot **boot)
{
	struct hk_boot *b = NULL;
	int err;

	if (nranks < 1 || nranks > HK_BOOT_MAX_RANKS || rank < 0 || rank >= nranks)
		return hk_fail(EINVAL,
			       "rank %d of %d ranks: there must be 1 to %d ranks, numbered "
			       "from 0",
			       rank, nranks, HK_BOOT_MAX_RANKS);
	if (nids < 1 || nids > nranks)
		return hk_fail(EINVAL, "%d unique ids for %d ranks: there must be 1 to %d", nids,
			       nranks, nranks);
	if (timeout_ms <= 0)
		timeout_ms = hk_param(HK_PARAM_INIT_TIMEOUT_MS);
	err = hk_auth_init();
	if (!err)
		err = hk_boot_alloc((uint32_t)nranks, (uint32_t)rank, timeout_ms, &b);
	if (err)
		return err;
	err = hk_boot_prepare_visits(b, ids, (uint32_t)nids);
	if (!err)
		err = hk_boot_start(b);
	if (err)
		hk_boot_free(b);
	else
		*boot = b;
	return err;
}

int hk_boot_join(struct hk_boot *b)
{
	int err = hk_boot_visit(b);

	if (!err)
		err = connect_partners(b);
	return err ? err : gather_contacts(b);
}

int hk_boot_open(const uint8_t id[HK_ID_BYTES], int nranks, int rank, int64_t timeout_ms,
		 struct hk_boot **boot)
{
	struct hk_boot *b = NULL;
	int err = hk_boot_new(id, 1, nranks, rank, timeout_ms, &b);

	if (err)
		return err;
	err = hk_boot_join(b);
	if (err) {
		/* Those who are further need not wait for us. */
		hk_boot_abort(b, err);
		hk_boot_close(b);
		return err;
	}
	*boot = b;
	return 0;
}

int hk_boot_rank(const struct hk_boot *b)
{
	return (int)b->rank;
}

int hk_boot_nranks(const struct hk_boot *b)
{
	return (int)b->nranks;
}

struct hk_wire *hk_boot_wire(struct hk_boot *b)
{
	return &b->wire;
}

uint64_t hk_boot_host(const struct hk_boot *b, int rank)
{
	return b->contacts[rank].host;
}

int hk_boot_failed(struct hk_boot *b, const char **text)
{
	int code = atomic_load_explicit(&b->service.failure.code, memory_order_acquire);

	if (code && text)
		*text = b->service.failure.text;
	return code;
}

void hk_boot_failure(struct hk_boot *b, int *rank, int *code)
{
	*rank = (int)b->service.failure.notice.origin;
	*code = b->service.failure.notice.code;
}

void hk_boot_abort(struct hk_boot *b, int code)
{
	struct hk_notice m = {HK_NOTICE_GAVE_UP, b->rank,
			      code < 0 && code >= -4095 ? code : -HK_EABORT};

	hk_failure_set(&b->service.failure, &m);
	hk_service_wake(&b->service);
}

void hk_boot_close(struct hk_boot *b)
{
	if (!b)
		return;
	hk_service_stop(&b->service);
	hk_boot_free(b);
}

size_t hk_boot_memory(const struct hk_boot *b)
{
	/* The lock inside is why the service is not const. */
	struct hk_service *sv = (struct hk_service *)&b->service;
	size_t bytes = sizeof(*b) + b->tx.cap + b->rx.cap + hk_service_memory(sv);

	bytes += b->nranks * (sizeof(*b->contacts) + sizeof(struct hk_routes *));
	for (uint32_t r = 0; r < b->nranks; r++)
		bytes += b->routes[r] ? sizeof(struct hk_routes) : 0;
	return bytes;
}

void hk_boot_set_timeout(struct hk_boot *b, int64_t timeout_ns)
{
	b->timeout_ns = timeout_ns;
}
