/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing a rank's part in the bootstrap: start the service thread, join at the root
 * and learn the partners at distance 1, 2, 4 ... above, connect to them (one ring connection for
 * data and one watch connection for failures each), then all-gather everyone's addresses, which
 * also makes sure that all have got so far. Then any rank can reach any other.
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

/* Waits at the root until all have come. */
static int join(struct hk_boot *b, const struct hk_boot_id *id, const struct hk_contact *self,
		int64_t deadline, struct hk_contact partners[HK_BOOT_MAX_ROUNDS])
{
	uint8_t contact[HK_CONTACT_BYTES], buf[HK_CONTROL_MAX + HK_FRAME_OVER];
	struct hk_reader r = {.buf = buf, .cap = sizeof(buf), .fd = -1};
	struct hk_session s;
	struct hk_frame f;
	struct hk_call call = {
		.key = &b->key,
		.hello = {.purpose = HK_FOR_JOIN,
			  .src = b->rank,
			  .dst = HK_BOOT_ROOT,
			  .nranks = b->nranks},
		.deadline = deadline,
		.failfd = -1,
		.whom = "the root of this unique id",
		.remedy = "is the process that made the id alive, and does HOCKET_IFNAME choose a "
			  "network that joins the hosts?",
	};
	int err;

	memcpy(call.addr, id->addr, sizeof(call.addr));
	err = hk_dial(&call, &s);
	if (err)
		return err;
	hk_boot_format_contact(self, contact);
	/* Whatever hinders it shows at once in the answer. */
	hk_frame_send(&s, HK_FRAME_JOIN, contact, sizeof(contact), deadline, -1);
	err = hk_dial_reply(&call, &s, &r, HK_FRAME_PARTNERS, &f);
	if (!err && hk_boot_parse_partners(f.payload, f.len, b->rounds, partners))
		err = hk_fail(HK_EWIRE, "the root's list of partners makes no sense: are all ranks "
					"of the same version of Hocket?");
	hk_session_close(&s);
	return err;
}

static int connect_partners(struct hk_boot *b, const struct hk_contact *partners, int64_t deadline)
{
	struct hk_session watch;
	int err = 0;

	for (unsigned k = 0; k < b->rounds && !err; k++) {
		uint32_t peer = hk_boot_above(b, k);

		err = hk_boot_call(b, peer, &partners[k], HK_FOR_WATCH, k, deadline, NULL, &watch);
		if (!err)
			err = hk_service_adopt(&b->service, peer, &watch);
		if (!err)
			err = hk_boot_call(b, peer, &partners[k], HK_FOR_RING, k, deadline, NULL,
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

static int gather_contacts(struct hk_boot *b, const struct hk_contact *self)
{
	uint8_t *table = malloc((size_t)b->nranks * HK_CONTACT_BYTES);
	int err;

	if (!table)
		return hk_fail(ENOMEM, "no memory for the addresses of %u ranks", b->nranks);
	hk_boot_format_contact(self, table + (size_t)b->rank * HK_CONTACT_BYTES);
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

static int alloc(uint32_t nranks, uint32_t rank, int64_t timeout_ms, struct hk_boot **out)
{
	struct hk_boot *b = calloc(1, sizeof(*b));

	if (!b)
		return hk_fail(ENOMEM, "no memory for the bootstrap of rank %u", rank);
	b->wire.ops = &hk_boot_wire_ops;
	b->rank = rank;
	b->nranks = nranks;
	while ((uint64_t)1 << b->rounds < nranks)
		b->rounds++;
	b->timeout_ns = timeout_ms * HK_BOOT_MS;
	for (unsigned k = 0; k < HK_BOOT_MAX_ROUNDS; k++)
		b->out[k].fd = b->in[k].fd = -1;
	b->contacts = calloc(nranks, sizeof(*b->contacts));
	b->tx = (struct hk_writer){.buf = malloc(DATA_FRAME), .cap = DATA_FRAME};
	b->rx = (struct hk_reader){.buf = malloc(DATA_FRAME), .cap = DATA_FRAME, .fd = -1};
	*out = b;
	if (b->contacts && b->tx.buf && b->rx.buf)
		return 0;
	return hk_fail(ENOMEM, "no memory for the bootstrap of rank %u of %u", rank, nranks);
}

static void release(struct hk_boot *b)
{
	if (!b)
		return;
	for (unsigned k = 0; k < HK_BOOT_MAX_ROUNDS; k++) {
		hk_session_close(&b->out[k]);
		hk_session_close(&b->in[k]);
	}
	free(b->contacts);
	free(b->tx.buf);
	free(b->rx.buf);
	sodium_memzero(&b->key, sizeof(b->key));
	free(b);
}

int hk_boot_open(const uint8_t bytes[HK_ID_BYTES], int nranks, int rank, int64_t timeout_ms,
		 struct hk_boot **boot)
{
	struct hk_contact self, partners[HK_BOOT_MAX_ROUNDS];
	struct hk_boot *b = NULL;
	struct hk_boot_id id;
	int64_t deadline;
	int err;

	if (nranks < 1 || nranks > HK_BOOT_MAX_RANKS || rank < 0 || rank >= nranks)
		return hk_fail(EINVAL,
			       "rank %d of %d ranks: there must be 1 to %d ranks, numbered "
			       "from 0",
			       rank, nranks, HK_BOOT_MAX_RANKS);
	if (timeout_ms <= 0)
		timeout_ms = hk_param(HK_PARAM_INIT_TIMEOUT_MS);
	deadline = hk_now_ns() + timeout_ms * HK_BOOT_MS;
	err = hk_auth_init();
	if (!err)
		err = hk_id_read(bytes, &id);
	if (err)
		return err;
	err = alloc((uint32_t)nranks, (uint32_t)rank, timeout_ms, &b);
	if (err)
		goto undo_alloc;
	hk_auth_key(&id, &b->key);
	b->host = self.host = hk_net_host(&b->key);
	err = hk_service_start(&b->service, &b->key, b->rank, b->nranks, &self);
	if (err)
		goto undo_alloc;
	err = join(b, &id, &self, deadline, partners);
	if (!err)
		err = connect_partners(b, partners, deadline);
	if (!err)
		err = gather_contacts(b, &self);
	if (err)
		goto undo_service;
	sodium_memzero(&id, sizeof(id));
	*boot = b;
	return 0;
undo_service:
	/* Those who are further need not wait for us. */
	hk_boot_abort(b, err);
	hk_service_stop(&b->service);
undo_alloc:
	sodium_memzero(&id, sizeof(id));
	release(b);
	return err;
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
	release(b);
}

size_t hk_boot_memory(const struct hk_boot *b)
{
	/* The lock inside is why the service is not const. */
	struct hk_service *sv = (struct hk_service *)&b->service;

	return sizeof(*b) + b->nranks * sizeof(*b->contacts) + b->tx.cap + b->rx.cap +
	       hk_service_memory(sv);
}

void hk_boot_set_timeout(struct hk_boot *b, int64_t timeout_ns)
{
	b->timeout_ns = timeout_ns;
}
