/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completions: of what this rank posted, and of what came. Everything that a link hears comes
 * through here, also that a path is lost. A completion names its path by its place in the
 * endpoint's table and by the generation of its queue pair: what an earlier queue pair of the path
 * left behind is dropped.
 */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "verbs.h"

#define BATCH	   16
#define TEND_EVERY 32u /* looks between two at the clock */

static struct hk_verbs_path *path_of(const struct hk_verbs_endpoint *ep, uint64_t id)
{
	unsigned place = (unsigned)(id >> 48 & 0x7fff);
	struct hk_verbs_path *p = place < ep->npaths ? ep->paths[place] : NULL;

	return p && p->qp && p->generation == (uint16_t)(id >> 32) ? p : NULL;
}

static void __attribute__((cold, noinline)) failed(struct hk_verbs_path *p, const struct ibv_wc *wc)
{
	char why[96];

	if (wc->status == IBV_WC_WR_FLUSH_ERR)
		snprintf(why, sizeof(why), "its queue pair was stopped");
	else
		snprintf(why, sizeof(why), "%s (status %d, vendor %#x)",
			 hk_ibv()->wc_status_str(wc->status), (int)wc->status, wc->vendor_err);
	hk_verbs_path_lost(p, why);
}

static void received(struct hk_verbs_path *p, const struct ibv_wc *wc)
{
	uint32_t buffer = (uint32_t)wc->wr_id, word;
	const uint8_t *from = p->buffers.base + (size_t)buffer * HK_VERBS_CONTROL;

	p->receives--;
	if (wc->status != IBV_WC_SUCCESS) {
		failed(p, wc);
		return;
	}
	if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
		hk_verbs_arrive(p, be32toh(wc->imm_data));
	} else if (wc->byte_len == sizeof(word)) {
		memcpy(&word, from, sizeof(word));
		hk_verbs_arrive(p, be32toh(word));
	} else {
		hk_verbs_control_take(p, from, wc->byte_len);
	}
	/* A path that drains takes nothing any more. */
	if (p->qp && p->state != HK_PATH_DRAINING && hk_verbs_path_receive(p, buffer))
		hk_verbs_path_lost(p, "no buffer can be posted");
}

static void sent(struct hk_verbs_path *p, const struct ibv_wc *wc)
{
	uint32_t wr = (uint32_t)wc->wr_id;
	const struct hk_verbs_posted *note = &p->ring[wr % HK_VERBS_SENDS];

	if (wc->status != IBV_WC_SUCCESS) {
		failed(p, wc);
		return;
	}
	/* Those before it that were not to be signalled have been carried out, too. */
	p->completed = wr + 1;
	p->completed_bytes = note->bytes;
	if (note->probe)
		hk_verbs_path_up(p);
}

/* Takes some of a rail's; returns how many. */
static inline int take(struct hk_verbs_endpoint *ep, unsigned rail)
{
	struct ibv_wc wc[BATCH];
	int n = ibv_poll_cq(ep->rails[rail].cq, BATCH, wc);

	for (int k = 0; k < n; k++) {
		struct hk_verbs_path *p = path_of(ep, wc[k].wr_id);

		if (!p)
			continue;
		if (wc[k].wr_id & HK_VERBS_ID_RECV)
			received(p, &wc[k]);
		else
			sent(p, &wc[k]);
	}
	return n;
}

void hk_verbs_take_all(struct hk_verbs_endpoint *ep, unsigned rail)
{
	for (unsigned left = ep->rails[rail].depth; left; left -= left < BATCH ? left : BATCH)
		if (take(ep, rail) <= 0)
			return;
}

int hk_verbs_progress(struct hk_verbs_endpoint *ep)
{
	int total = 0;

	for (unsigned i = 0; i < ep->nrails; i++) {
		int n = take(ep, i);

		if (n > 0)
			total += n;
	}
	if (__builtin_expect(++ep->looks % TEND_EVERY == 0, 0)) {
		int64_t now = hk_now_ns();

		if (now >= ep->tend_at)
			hk_verbs_tend(ep, now);
	}
	return total;
}
