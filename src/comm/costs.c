/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the choice of algorithms goes by, made alike on all ranks: every rank tells what it knows of
 * its host and of its ways to the others, and the worst of each number counts. What a rank knows is
 * what `hocket tune` measured on its host, or else defaults. Nothing is measured here: all ranks of
 * a host start at once and would measure each other, and a job would choose otherwise from run to
 * run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"
#include "measured.h"

/* What is known of the way to a peer. */
static struct hk_route route_to(struct hk_comm *c, const struct hk_measured *m, int peer)
{
	unsigned i = c->via[peer];
	struct hk_endpoint *ep = c->endpoints[i];
	const struct hk_route *measured = hk_measured_find(m, ep->transport->name);
	struct hk_cost cost = {0};
	struct hk_route route;

	if (measured)
		return *measured;
	if (hk_route_default(ep->transport->name, &route))
		return route;
	ep->transport->reach(ep, peer, &c->addrs[i * (size_t)c->nranks + (size_t)peer], &cost);
	return hk_route_of_cost(cost.latency_ns, cost.message_ns, cost.ns_per_byte);
}

/* By how far the peer is, as the layout has it. */
static unsigned distance(const struct hk_comm *c, int peer)
{
	const struct hk_layout *l = c->layout;
	unsigned far = 0;

	while (l && far < l->nlevels && l->group[far][c->rank] != l->group[far][peer])
		far++;
	return far;
}

/* The worst way at each distance; where there is none, that of the next nearer. A rank that has no
 * peer at some distance tells nothing of it: zeros, which lose against what others tell. */
static void look_around(struct hk_comm *c, const struct hk_measured *m, struct hk_machine *own)
{
	bool known[HK_NROUTES] = {false};

	memset(own->routes, 0, sizeof(own->routes));
	for (int peer = 0; peer < c->nranks; peer++) {
		unsigned far = distance(c, peer);
		struct hk_route route;

		if (peer == c->rank)
			continue;
		route = route_to(c, m, peer);
		if (known[far])
			hk_route_merge(&own->routes[far], &route);
		else
			own->routes[far] = route;
		known[far] = true;
	}
	own->to_switch = own->routes[0];
	for (unsigned i = 1; i < HK_NROUTES; i++)
		if (known[i])
			own->to_switch = own->routes[i];
}

int hk_comm_agree_costs(struct hk_comm *c, double ranks_per_core)
{
	struct hk_machine *all = calloc((size_t)c->nranks, sizeof(*all)), *own;
	struct hk_measured measured;
	int err;

	if (!all)
		return hk_fail(ENOMEM, "no memory for what %d ranks know", c->nranks);
	own = &all[c->rank];
	hk_measured_get(&measured);
	*own = measured.machine;
	own->ranks_per_core = ranks_per_core > 1 ? ranks_per_core : 1;
	look_around(c, &measured, own);
	err = hk_boot_allgather(c->boot, all, sizeof(*all));
	if (!err) {
		c->machine = all[0];
		for (int i = 1; i < c->nranks; i++)
			hk_tune_machine_merge(&c->machine, &all[i]);
		c->machine.slots = c->config.slots;
		c->machine.slot_bytes = c->config.slot_bytes;
	}
	free(all);
	return err;
}
