/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the ranks are: the communicator's layout, from the topology that the user described
 * (HOCKET_TOPO_FILE, HOCKET_TOPO_XML) or else from what the ranks know of themselves: their hosts,
 * packages and NUMA nodes. All of it is equal on all ranks, so the layout is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"
#include "graph.h"
#include "param.h"
#include "place.h"

static bool described(void)
{
	return hk_param_str(HK_PARAM_TOPO_FILE) || hk_param_str(HK_PARAM_TOPO_XML);
}

int hk_comm_hash_topology(uint64_t *hash)
{
	struct hk_graph *g = NULL;
	int err;

	*hash = 0;
	if (!described())
		return 0;
	err = hk_topo_load(&g, NULL);
	if (err)
		return err;
	*hash = hk_graph_hash(g);
	hk_graph_free(g);
	return 0;
}

/* The vertices of the ranks' hosts by name; false if one is not there, and then the hosts' slots
 * are filled in order. */
static bool find_hosts(const struct hk_graph *g, const struct hk_seat *seats, int n, int *hosts)
{
	for (int i = 0; i < n; i++) {
		hosts[i] = hk_graph_find(g, -1, seats[i].host_name);
		if (hosts[i] < 0 || g->vertices[hosts[i]].kind != HK_V_HOST)
			return false;
	}
	return true;
}

/* Calls of every type may come to a switch, and their bits must not depend on the network. */
static bool does_all(const struct hk_reducer *r)
{
	return r->types == (1u << HK_NTYPES) - 1 && r->ops == (1u << HK_NREDOPS) - 1 &&
	       !r->payload && r->reproducible;
}

/* Where the switches that reduce are to be reached; the list ends with NULL. */
static int take_addresses(struct hk_comm *c, const struct hk_graph *g,
			  const struct hk_placement *placement)
{
	int n = placement->layout->nswitches;

	for (int i = 0; i < n; i++) {
		const struct hk_vertex *v = &g->vertices[placement->reducer[i]];

		if (does_all(&g->reducers[v->reducer]))
			continue;
		hk_log(HK_LOG_WARN,
		       "the switch %s of the topology does not do all types, operations and sizes "
		       "reproducibly, so this job goes without switches",
		       v->name);
		return 0;
	}
	c->switch_addresses = calloc((size_t)n + 1, sizeof(char *));
	for (int i = 0; c->switch_addresses && i < n; i++) {
		const struct hk_vertex *v = &g->vertices[placement->reducer[i]];

		c->switch_addresses[i] = strdup(g->reducers[v->reducer].address);
		if (!c->switch_addresses[i])
			return hk_fail(ENOMEM, "no memory for the addresses of switches");
	}
	return c->switch_addresses ? 0 : hk_fail(ENOMEM, "no memory for %d addresses", n);
}

static int place_described(struct hk_comm *c, const struct hk_seat *seats)
{
	int *hosts = calloc((size_t)c->nranks, sizeof(*hosts)), err;
	struct hk_placement *placement = NULL;
	struct hk_graph *g = NULL;
	bool named = false;

	if (!hosts)
		return hk_fail(ENOMEM, "no memory for the hosts of %d ranks", c->nranks);
	err = hk_topo_load(&g, NULL);
	if (!err) {
		named = find_hosts(g, seats, c->nranks, hosts);
		err = hk_place(g, c->nranks, named ? hosts : NULL, &placement);
	}
	if (!err)
		err = take_addresses(c, g, placement);
	if (!err) {
		hk_log(HK_LOG_INFO, "rank %d is placed by the topology that was given, %s", c->rank,
		       named ? "by its host's name"
			     : "hosts' slots in order: not all ranks' hosts are in it by name");
		c->layout = placement->layout;
		placement->layout = NULL;
	}
	hk_placement_free(placement);
	hk_graph_free(g);
	free(hosts);
	return err;
}

int hk_comm_place(struct hk_comm *c, const struct hk_seat *seats)
{
	size_t n = (size_t)c->nranks;
	uint64_t *host;
	int *package, *numa, err = -ENOMEM;

	if (described())
		return place_described(c, seats);
	host = calloc(n, sizeof(*host));
	package = calloc(n, sizeof(*package));
	numa = calloc(n, sizeof(*numa));
	for (size_t i = 0; host && package && numa && i < n; i++) {
		host[i] = hk_boot_host(c->boot, (int)i);
		package[i] = seats[i].package;
		numa[i] = seats[i].numa;
	}
	if (host && package && numa)
		err = hk_layout_from_ids(c->nranks, host, package, numa, &c->layout);
	else
		hk_fail(ENOMEM, "no memory for the places of %zu ranks", n);
	free(host);
	free(package);
	free(numa);
	return err;
}
