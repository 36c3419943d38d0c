/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GPUDirect: messages that a network card reads from the GPU's memory. Of a connection whose
 * messages the host moves (gpu_proxy.c) the headers and the counts stay in pinned memory, where the
 * host looks. But long messages are written to slots on the GPU, and lent to the transport from
 * there; their slots go back to the kernel when the transport owes them no more. Short ones are
 * cheaper copied, and take the slots in pinned memory.
 *
 * All slots of an endpoint's connections are in one piece of memory, got and registered when the
 * communicator is made, as the driver may wait for kernels meanwhile. It is of a kind that has
 * dmabufs (cuMemAlloc). Connections that it has no room for go through pinned memory alone.
 *
 * That the card reads what the kernel wrote: the stores of a block come before its first thread's
 * store of the header (a barrier, then a release for the whole system), so whoever has seen the
 * header finds them in the GPU's level 2 cache or memory, which is where the GPU serves reads that
 * come over PCI Express. The host sees the header before it tells the card, and the card reads
 * after that. No copy of the driver's writes there, so none can be unfinished.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_internal.h"
#include "param.h"

#define MOST_DIRECT (32u << 20) /* bytes of an endpoint's slots */
#define GRAIN	    (64u << 10) /* what is registered: whole pages, of any size of the host's */

static size_t slots_bytes(uint32_t slots, uint32_t slot_bytes)
{
	return (size_t)slots * hkd_slot_stride(slot_bytes);
}

/* --- making --- */

/* Memory that the endpoint can send from; or a quiet failure. */
static int get(struct hk_gpu_exec *x, struct direct *d, size_t bytes)
{
	uint64_t at = 0;
	int err = hk_gpu_alloc_shared(x->gpu, bytes, &at);

	if (err)
		return err;
	err = d->ep->transport->admit_device(d->ep, at, bytes, &d->least);
	if (err) {
		hk_gpu_free(x->gpu, at);
		return err;
	}
	hk_gpu_free(x->gpu, d->at);
	d->at = at;
	d->bytes = bytes;
	return 0;
}

void hk_gpu_exec_admit(struct hk_gpu_exec *x, struct hk_endpoint *ep, size_t nsends, uint32_t slots,
		       uint32_t slot_bytes)
{
	size_t bytes = nsends * slots_bytes(slots, slot_bytes);
	struct direct *d = calloc(1, sizeof(*d));
	int err;

	if (!d) /* then it is not used */
		return;
	d->ep = ep;
	if (bytes > MOST_DIRECT)
		bytes = MOST_DIRECT;
	hk_set_last_error("HOCKET_GPUDIRECT is 0");
	err = hk_param(HK_PARAM_GPUDIRECT) ? 0 : -ENOTSUP;
	if (!err && ep->transport->admit_device == hk_admit_device_none)
		err = hk_admit_device_none(ep, 0, 0, NULL); /* why, without any memory */
	if (!err)
		err = get(x, d, GRAIN); /* freed memory stays ours: so first a little */
	if (!err)
		err = get(x, d, (bytes + GRAIN - 1) / GRAIN * GRAIN);
	if (err) {
		hk_gpu_free(x->gpu, d->at);
		d->at = 0;
		d->why = strdup(hk_last_error());
	} else {
		x->memory += d->bytes;
	}
	d->next = x->directs;
	x->directs = d;
}

void hk_gpu_direct_free(struct hk_gpu_exec *x, bool again)
{
	for (struct direct *d = x->directs, *next; d; d = next) {
		next = d->next;
		if (again)
			hk_gpu_free(x->gpu, d->at);
		else
			hk_gpu_abandon(x->gpu, d->at);
		free(d->why);
		free(d);
	}
	x->directs = NULL;
}

/* Whether no connection to that peer has been bound yet. */
static bool is_first(const struct hk_gpu_exec *x, int peer)
{
	const uint8_t *bound = x->bound + (size_t)peer * x->channels;
	bool any = false;

	for (uint32_t i = 0; i < x->channels; i++)
		any |= bound[i] & 1;
	return !any;
}

static void say(const struct hk_gpu_exec *x, const struct hk_send *s, const struct direct *d,
		bool full)
{
	if (full)
		hk_log(HK_LOG_INFO,
		       "rank %d's messages to rank %d on channel %u go through host memory: other "
		       "connections have all %zu bytes of the GPU's that were got for GPUDirect",
		       x->rank, s->peer, s->channel, d->bytes);
	else if (d->at)
		hk_log(HK_LOG_INFO,
		       "rank %d's messages to rank %d go from the GPU's memory by GPUDirect, from "
		       "%u bytes on",
		       x->rank, s->peer, d->least);
	else
		hk_log(HK_LOG_INFO,
		       "rank %d's messages to rank %d go through host memory, not by GPUDirect: %s",
		       x->rank, s->peer, d->why ? d->why : "no memory to say why");
}

void hk_gpu_direct_bind(struct hk_gpu_exec *x, const struct hk_send *s, struct hkd_send *record)
{
	size_t bytes = slots_bytes(s->slots, s->slot_bytes);
	struct direct *d = x->directs;
	bool full;

	while (d && d->ep != s->ep)
		d = d->next;
	if (!d)
		return;
	full = d->at && d->bytes - d->used < bytes;
	if (full || is_first(x, s->peer))
		say(x, s, d, full);
	if (full || !d->at)
		return;
	record->apart = d->at + d->used;
	record->apart_bytes = s->slot_bytes;
	record->apart_from = d->least;
	record->slot_bytes = d->least; /* of those in pinned memory */
	d->used += bytes;
}

/* --- moving --- */

int hk_gpu_direct_send(struct hk_gpu_exec *x, struct hk_send *s, uint64_t at, uint32_t bytes,
		       uint32_t mark)
{
	const void *data = (const void *)(uintptr_t)at;
	void *to = NULL;
	int r = s->ops->reserve(s, 0, &to);

	if (r <= 0)
		return r;
	if (s->ops->lends(s, data, bytes)) {
		r = s->ops->lend(s, data, bytes, mark);
		return r ? r : 1;
	}
	/* Lending is a favour: what is not lent is copied, by the GPU. */
	r = s->ops->reserve(s, bytes, &to);
	if (r <= 0)
		return r;
	r = hk_gpu_read(x->gpu, to, at, bytes);
	if (!r)
		r = s->ops->commit(s, bytes, mark);
	return r ? r : 1;
}
