/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts the scene for `hocket explain`: ranks on hosts as flags or a topology say, with the costs
 * that `hocket tune` measured here or the defaults. Ranks of a host talk over shared memory, hosts
 * over tcp; where a topology tells how fast the network is, its links bound that.
 */
#include "explain_scene.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "graph.h"
#include "measured.h"
#include "param.h"
#include "place.h"
#include "text.h"

#define MOST_RANKS 65536

/* What a message costs a NIC that speaks verbs: a work request posted, a completion found. */
#define VERBS_MESSAGE_NS 150
#define VERBS_LATENCY_NS 1200

static struct hk_route route_of(const struct hk_measured *m, const char *transport)
{
	const struct hk_route *measured = hk_measured_find(m, transport);
	struct hk_route route;

	if (measured)
		return *measured;
	hk_route_default(transport, &route);
	return route;
}

/* --- hosts from a flag --- */

/* "2x4", or "4,4,3": fills host[rank]; returns the number of ranks, or an error. */
static int read_hosts(const char *text, int *host)
{
	const char *at = text;
	char *end;
	long a = strtol(at, &end, 10), b;
	int n = 0, number = 0;

	if (end != at && *end == 'x') {
		at = end + 1;
		b = strtol(at, &end, 10);
		if (at == end || *end || a < 1 || b < 1 || a > MOST_RANKS || b > MOST_RANKS ||
		    a * b > MOST_RANKS)
			return -EINVAL;
		for (; n < a * b; n++)
			host[n] = (int)(n / b);
		return n;
	}
	for (;; at = end + 1) {
		a = strtol(at, &end, 10);
		if (end == at || a < 1 || a > MOST_RANKS - n || (*end && *end != ','))
			return -EINVAL;
		for (long i = 0; i < a; i++)
			host[n++] = number;
		number++;
		if (!*end)
			return n;
	}
}

static int most_on_a_host(const int *host, int n)
{
	int most = 0, count = 0;

	for (int i = 0; i < n; i++) {
		count = i && host[i] == host[i - 1] ? count + 1 : 1;
		most = count > most ? count : most;
	}
	return most;
}

static int place_on_hosts(const struct scene_request *q, const struct hk_measured *m,
			  struct scene *s, int *crowd)
{
	int *host = calloc(MOST_RANKS, sizeof(*host)), n = 0, err = 0;
	const int *groups[] = {host};

	if (!host)
		return hk_fail(ENOMEM, "no memory for %d ranks", MOST_RANKS);
	n = q->hosts ? read_hosts(q->hosts, host) : q->nranks;
	if (n < 0)
		err = hk_fail(EINVAL,
			      "--hosts takes hosts x ranks, as in 2x4, or the ranks of each host, "
			      "as in 4,4,3; at most %d ranks",
			      MOST_RANKS);
	else if (q->nranks && n != q->nranks)
		err = hk_fail(EINVAL, "--hosts %s has %d ranks, and --ranks says %d", q->hosts, n,
			      q->nranks);
	if (!err)
		err = hk_layout_create(n, 1, groups, &s->layout);
	if (!err) {
		s->nranks = n;
		*crowd = most_on_a_host(host, n);
		/* One rank to a host, and the layout has no level for hosts. */
		s->machine.routes[0] =
			route_of(m, n > 1 && host[n - 1] && *crowd == 1 ? "tcp" : "shm");
		s->machine.routes[1] = route_of(m, "tcp");
	}
	free(host);
	return err;
}

/* --- hosts from a topology --- */

/* What messages between two places cost. */
static int route_between(const struct hk_graph *g, const struct hk_measured *m, const int *vertex,
			 const int *nic, struct hk_route *route)
{
	struct hk_path path;
	int err = hk_graph_path(g, vertex[0], vertex[1], HK_PATH_WIDEST, &path, NULL);

	if (err)
		return hk_fail(-err, "the topology has no way between two of the ranks");
	if (path.reach < HK_REACH_NETWORK) {
		*route = route_of(m, "shm");
		return 0;
	}
	*route = route_of(m, "tcp");
	if (nic[0] >= 0 && g->vertices[nic[0]].rdma) {
		*route = route_of(m, "shm");
		route->message_ns = VERBS_MESSAGE_NS;
		route->latency_ns = VERBS_LATENCY_NS;
	}
	route->latency_ns += path.ns;
	route->link_ns_per_byte = path.gbs > 0 ? 1 / path.gbs : 0;
	return 0;
}

/* The worst route at each distance from rank 0, which has peers at every distance that matters. */
static int find_routes(const struct hk_graph *g, const struct hk_placement *place,
		       const struct hk_measured *m, struct scene *s)
{
	const struct hk_layout *l = s->layout;
	bool known[HK_NROUTES] = {false};

	for (int i = 1; i < s->nranks; i++) {
		int vertex[] = {place->vertex[0], place->vertex[i]}, err;
		int nic[] = {place->nic[0], place->nic[i]};
		struct hk_route route;
		unsigned far = 0;

		while (far < l->nlevels && l->group[far][0] != l->group[far][i])
			far++;
		if (known[far])
			continue;
		err = route_between(g, m, vertex, nic, &route);
		if (err)
			return err;
		s->machine.routes[far] = route;
		known[far] = true;
	}
	return 0;
}

static int place_in_topology(const struct scene_request *q, const struct hk_measured *m,
			     struct scene *s, int *crowd)
{
	struct hk_placement *place = NULL;
	struct hk_graph *g = NULL;
	int slots = 0, n = q->nranks, err = hk_text_load(q->file, &g);

	if (err)
		return err;
	*crowd = 1;
	for (int i = 0; i < g->nhosts; i++) {
		int here = (int)g->vertices[g->hosts[i]].slots;

		slots += here;
		*crowd = here > *crowd ? here : *crowd;
	}
	s->nranks = n ? n : slots;
	*crowd = *crowd < s->nranks ? *crowd : s->nranks;
	if (s->nranks < 1 || s->nranks > MOST_RANKS)
		err = hk_fail(EINVAL, "%s has room for %d ranks; explain takes 1 to %d", q->file,
			      s->nranks, MOST_RANKS);
	if (!err)
		err = hk_place(g, s->nranks, NULL, &place);
	if (!err) {
		s->layout = place->layout;
		place->layout = NULL;
		err = find_routes(g, place, m, s);
	}
	if (place)
		hk_placement_free(place);
	hk_graph_free(g);
	return err;
}

/* --- the scene --- */

/* Processors of a host: of the topology's hosts nothing is known but that they are for as many
 * ranks as they have slots. */
static double cores_of_host(const struct scene_request *q, int crowd)
{
	cpu_set_t allowed;

	if (q->cores > 0)
		return q->cores;
	if (q->file)
		return crowd;
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return 1;
	return CPU_COUNT(&allowed);
}

int hk_scene_make(const struct scene_request *q, struct scene *s)
{
	char path[HK_CACHE_PATH_BYTES];
	struct hk_measured m;
	struct hk_slots slots;
	int crowd = 1, err, known = hk_cache_path(path);

	if (!known)
		known = hk_cache_read(path, &m);
	if (known)
		hk_measured_default(&m);
	*s = (struct scene){.machine = m.machine};
	err = q->file ? place_in_topology(q, &m, s, &crowd) : place_on_hosts(q, &m, s, &crowd);
	if (err) {
		hk_layout_free(s->layout);
		return err;
	}
	s->machine.ranks_per_core = fmax(1, crowd / cores_of_host(q, crowd));
	slots = hk_tune_slots(crowd == s->nranks);
	s->machine.slots = slots.count;
	s->machine.slot_bytes = slots.bytes;
	s->machine.to_switch = s->machine.routes[s->layout ? s->layout->nlevels : 0];
	if (known)
		snprintf(s->about, sizeof(s->about),
			 "costs: defaults (`hocket tune` measures this machine)");
	else
		snprintf(s->about, sizeof(s->about), "costs: measured, %.400s", path);
	return 0;
}

void hk_scene_free(struct scene *s)
{
	hk_layout_free(s->layout);
}
