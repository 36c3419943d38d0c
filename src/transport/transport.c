/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What transports share: looking one up by name, and the named defaults that a transport puts into
 * its tables where it has nothing of its own to do. The table of transports itself is generated
 * (transport_table.c) from the list in meson.build.
 */
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "error.h"

/* Long enough to leave the core to others, short enough not to show beside a wake-up. */
#define NAP_NS 50000

const struct hk_transport *hk_transport_find(const char *name)
{
	for (unsigned i = 0; i < hk_ntransports; i++)
		if (!strcmp(hk_transports[i]->name, name))
			return hk_transports[i];
	return NULL;
}

int hk_attach_none(struct hk_endpoint *ep, const struct hk_memory *m)
{
	return 0;
}

void hk_detach_none(struct hk_endpoint *ep, const struct hk_memory *m)
{
}

bool hk_lends_never(struct hk_send *s, const void *data, uint32_t bytes)
{
	return false;
}

int hk_lend_none(struct hk_send *s, const void *data, uint32_t bytes, uint32_t mark)
{
	return hk_fail(ENOTSUP, "%s lends nothing", s->ep->transport->name);
}

void hk_arm_none(struct hk_endpoint *ep)
{
}

void hk_wait_nap(struct hk_endpoint *ep, int64_t timeout_ns)
{
	struct timespec nap = {0, NAP_NS};

	if (timeout_ns <= 0)
		return;
	if (timeout_ns < NAP_NS)
		nap.tv_nsec = timeout_ns;
	nanosleep(&nap, NULL);
}

int hk_flush_done(struct hk_send *s)
{
	return 1;
}

int hk_owes_none(struct hk_send *s)
{
	return 0;
}

int hk_admit_device_none(struct hk_endpoint *ep, uint64_t at, size_t bytes, uint32_t *least)
{
	return hk_fail_quiet(ENOTSUP, "%s reads no GPU's memory", ep->transport->name);
}

uint64_t hk_rows_none(struct hk_endpoint *ep, uint64_t at, size_t bytes, bool kept)
{
	return 0;
}

uint64_t hk_peer_memory_none(struct hk_endpoint *ep, int peer, uint64_t at, size_t bytes)
{
	return 0;
}

int hk_settle_flushed(struct hk_send *s)
{
	return s->ops->flush(s);
}

int hk_pull_none(struct hk_recv *r, uint32_t offset, void *dst, uint32_t bytes)
{
	return hk_fail(ENOTSUP, "%s has no messages to be pulled", r->ep->transport->name);
}

void hk_offer_none(struct hk_recv *r, uint32_t ahead, void *dst, uint32_t bytes, uint32_t mark)
{
}

void hk_sever_none(struct hk_endpoint *ep)
{
}

void hk_leave_none(struct hk_endpoint *ep)
{
}

size_t hk_device_memory_none(struct hk_endpoint *ep)
{
	return 0;
}

int hk_ring_send_none(struct hk_send *s, struct hkd_send *record)
{
	return -ENOTSUP;
}

int hk_ring_recv_none(struct hk_recv *r, struct hkd_recv *record)
{
	return -ENOTSUP;
}

unsigned hk_routes_one(struct hk_wire *w, int peer)
{
	return 1;
}

int hk_dial_by_none(struct hk_wire *w, int peer, uint32_t tag, unsigned route, int64_t timeout_ns,
		    int stop, int *sock)
{
	return hk_fail_quiet(ENOTSUP, "there is one way to rank %d only", peer);
}
