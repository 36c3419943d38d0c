/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has to be seen to besides completions, now and then: links that come about, paths that drain
 * or are to be renewed, and what the devices report of their ports. Each says when it wants to be
 * looked at again; looking is cheap when there is nothing.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "verbs.h"

#define IDLE_NS	 INT64_C(100000000) /* between looks when nothing is due */
#define DRAIN_NS INT64_C(50000000)  /* most that a stopped queue pair may take to say all */
#define SOON_NS	 INT64_C(200000)
#define DOWN_NS	 INT64_C(500000000)  /* most that the only port may be down */
#define LOST_NS	 INT64_C(1000000000) /* most without a path that works, while one is tried */

void hk_verbs_tend_by(struct hk_verbs_endpoint *ep, int64_t at)
{
	if (at < ep->tend_at)
		ep->tend_at = at;
}

/* --- what devices report --- */

static void rail_went(struct hk_verbs_endpoint *ep, unsigned rail, const char *why)
{
	for (struct hk_verbs_link *l = ep->links; l; l = l->next)
		for (unsigned i = 0; i < l->npaths; i++) {
			struct hk_verbs_path *p = l->paths[i];
			bool other = false;

			for (unsigned k = 0; k < l->npaths; k++)
				other |= l->paths[k]->state == HK_PATH_UP &&
					 l->paths[k]->rail != rail;
			/* The only one may survive: its packets are sent again for a while. */
			if (p->rail == rail && other)
				hk_verbs_path_lost(p, why);
		}
}

static void rail_came(struct hk_verbs_endpoint *ep, unsigned rail)
{
	for (struct hk_verbs_link *l = ep->links; l; l = l->next)
		for (unsigned i = 0; i < l->npaths; i++)
			if (l->paths[i]->rail == rail) {
				l->paths[i]->retry_at = 0;
				l->paths[i]->pause = 0;
			}
	ep->tend_at = 0;
}

static void refresh(struct hk_verbs_endpoint *ep, unsigned i, enum ibv_event_type type)
{
	struct hk_verbs_rail *rail = &ep->rails[i];
	bool was_down = rail->down;
	unsigned changed = 0;

	if (hk_ib_refresh(&rail->port, &changed))
		rail->port.active = false;
	hk_verbs_limit_mtu(&rail->port);
	rail->down = !rail->port.active || type == IBV_EVENT_DEVICE_FATAL;
	if (rail->down && !was_down)
		rail->down_since = hk_now_ns();
	if (rail->down && !was_down)
		hk_log(HK_LOG_WARN, "rank %d: port %s (%s) is down: %s", ep->base.rank,
		       rail->port.name, rail->port.netdev, hk_ibv()->event_type_str(type));
	if (rail->down)
		rail_went(ep, i, "its port went down");
	else if (changed & (HK_IB_GID | HK_IB_LID))
		rail_went(ep, i, "its port's address changed");
	if (!rail->down && (was_down || changed))
		rail_came(ep, i);
}

static void take_event(struct hk_verbs_endpoint *ep, const struct ibv_context *ctx,
		       const struct ibv_async_event *e)
{
	for (unsigned i = 0; i < ep->nrails; i++) {
		if (ep->rails[i].port.ctx != ctx)
			continue;
		if (e->event_type == IBV_EVENT_DEVICE_FATAL ||
		    e->element.port_num == ep->rails[i].port.port)
			refresh(ep, i, e->event_type);
	}
}

/* The only port may come back soon; but not every device reports what it can't send meanwhile. */
static void give_up(struct hk_verbs_endpoint *ep, unsigned rail)
{
	for (struct hk_verbs_link *l = ep->links; l; l = l->next)
		for (unsigned i = 0; i < l->npaths && !l->error; i++)
			if (l->paths[i]->rail == rail)
				hk_verbs_path_lost(l->paths[i], "its port is down");
}

static void look_at_devices(struct hk_verbs_endpoint *ep)
{
	for (unsigned i = 0; i < ep->nrails; i++) {
		struct ibv_context *ctx = ep->rails[i].port.ctx;
		struct ibv_async_event e;

		while (!hk_ibv()->get_async_event(ctx, &e)) { /* it does not block: see open */
			enum ibv_event_type type = e.event_type;
			bool port = type == IBV_EVENT_PORT_ACTIVE || type == IBV_EVENT_PORT_ERR ||
				    type == IBV_EVENT_LID_CHANGE || type == IBV_EVENT_PKEY_CHANGE ||
				    type == IBV_EVENT_GID_CHANGE || type == IBV_EVENT_SM_CHANGE ||
				    type == IBV_EVENT_CLIENT_REREGISTER ||
				    type == IBV_EVENT_DEVICE_FATAL;

			/* What befalls a queue pair its completions tell. */
			if (port)
				take_event(ep, ctx, &e);
			hk_ibv()->ack_async_event(&e);
		}
	}
}

/* --- paths and links --- */

static void tend_path(struct hk_verbs_path *p, int64_t now)
{
	struct hk_verbs_link *l = p->link;

	switch (p->state) {
	case HK_PATH_DRAINING:
		/* The time may have passed while nobody looked: what has come is not to be lost. */
		if (p->receives && now - p->since > DRAIN_NS)
			hk_verbs_take_all(l->ep, p->rail);
		if (!p->receives || now - p->since > DRAIN_NS)
			hk_verbs_path_drained(p);
		else
			hk_verbs_tend_by(l->ep, now + SOON_NS);
		break;
	case HK_PATH_CONNECTING:
		hk_verbs_tend_by(l->ep, now + SOON_NS);
		hk_verbs_path_connected(p);
		break;
	case HK_PATH_NONE:
		if (l->ep->base.rank > l->peer || !l->up)
			break;
		if (now >= p->retry_at)
			hk_verbs_path_renew(p);
		else
			hk_verbs_tend_by(l->ep, p->retry_at);
		break;
	case HK_PATH_JOINING:
		if (l->ep->cm)
			hk_verbs_tend_by(l->ep, now + SOON_NS);
		break;
	case HK_PATH_PROBING:
		if (l->lost_at && now - l->lost_at > LOST_NS)
			hk_verbs_path_lost(p, "no answer to a probe");
		break;
	default:
		break;
	}
}

/* What waited for room, or for others to be delivered. */
static void push(struct hk_verbs_link *l)
{
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++)
		if (l->sends[i])
			hk_verbs_send_push(l->sends[i]);
	hk_verbs_control_push(l);
}

void hk_verbs_tend(struct hk_verbs_endpoint *ep, int64_t now)
{
	ep->tend_at = now + IDLE_NS;
	look_at_devices(ep);
	for (unsigned i = 0; i < ep->nrails; i++)
		if (ep->rails[i].down && now - ep->rails[i].down_since > DOWN_NS)
			give_up(ep, i);
	hk_verbs_cm_tend(ep);
	for (struct hk_verbs_link *l = ep->links; l; l = l->next) {
		if (l->error)
			continue;
		if (l->meeting) {
			hk_verbs_meet(l);
			if (l->meeting)
				hk_verbs_tend_by(ep, now + SOON_NS);
		}
		for (unsigned i = 0; i < l->npaths; i++)
			tend_path(l->paths[i], now);
		if (l->up)
			push(l);
	}
	hk_regcache_tidy(ep->cache);
}
