/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is assumed of a machine that nobody has measured, and how the views of several ranks become
 * one. The defaults are rounded from measurements on server processors of about 2021; what matters
 * to a choice is how they relate to each other.
 */
#include <math.h>
#include <string.h>

#include "model.h"
#include "param.h"

static const struct hk_route shm = {.latency_ns = 100,
				    .message_ns = 40,
				    .slot_ns = 60,
				    .fill_ns_per_byte = 0.06,
				    .read_ns_per_byte = 0.07};

static const struct hk_route tcp = {
	.latency_ns = 5000, .message_ns = 1500, .fill_ns_per_byte = 0.25, .read_ns_per_byte = 0.25};

bool hk_route_default(const char *transport, struct hk_route *route)
{
	bool known = true;

	if (!strcmp(transport, "shm") || !strcmp(transport, "loop"))
		*route = shm;
	else if (!strcmp(transport, "tcp"))
		*route = tcp;
	else
		known = false;
	return known;
}

/*
 * Within a host slots are to stay in the second-level cache, and few do, for the peer sees them at
 * once. A network wants messages that are long beside what each costs, and half a MiB of them
 * under way, so that it never waits for a word that a slot is free; two rings of them, to a peer
 * and from it, stay below 2 MiB with all that belongs to them.
 */
struct hk_slots hk_tune_slots(bool near)
{
	struct hk_slots slots = near ? (struct hk_slots){4, 32768} : (struct hk_slots){8, 73728};
	int64_t count = hk_param(HK_PARAM_SLOTS), bytes = hk_param(HK_PARAM_SLOT_BYTES);

	if (count >= 2)
		slots.count = (uint32_t)count;
	if (bytes >= 4096 && bytes % 4096 == 0)
		slots.bytes = (uint32_t)bytes;
	return slots;
}

/* A kernel's message costs it two barriers and a fence, whatever its length; and the rings are in
 * the GPU's memory, or its second-level cache if they fit. */
struct hk_slots hk_tune_gpu_slots(void)
{
	return (struct hk_slots){4, 131072};
}

struct hk_route hk_route_of_cost(double latency_ns, double message_ns, double ns_per_byte)
{
	return (struct hk_route){.latency_ns = latency_ns,
				 .message_ns = message_ns,
				 .fill_ns_per_byte = ns_per_byte,
				 .read_ns_per_byte = ns_per_byte};
}

void hk_tune_machine_default(struct hk_machine *m)
{
	*m = (struct hk_machine){.to_switch = shm,
				 .call_ns = 50,
				 .step_ns = 15,
				 .chunk_ns = 10,
				 .copy_ns_per_byte = 0.02,
				 .reduce_ns_per_byte = 0.02,
				 .memory_ns_per_byte = 0.04,
				 .cache_bytes = 32 << 20,
				 .spread_bytes = 2 << 20,
				 .spread_ns_per_byte = 0.01,
				 .ranks_per_core = 1,
				 .switch_ns = 1700,
				 .slots = 4,
				 .slot_bytes = 32768};
	for (unsigned i = 0; i < HK_NROUTES; i++)
		m->routes[i] = shm;
}

/* The numbers of a route and of a machine, in their order, so that they need not be named again. */
#define ROUTE_NUMBERS	(sizeof(struct hk_route) / sizeof(double))
#define MACHINE_NUMBERS (offsetof(struct hk_machine, slots) / sizeof(double))

_Static_assert(ROUTE_NUMBERS * sizeof(double) == sizeof(struct hk_route), "routes are all doubles");
_Static_assert(MACHINE_NUMBERS * sizeof(double) == offsetof(struct hk_machine, slots),
	       "machines are doubles up to slots");

static bool sane(double x)
{
	return x >= 0 && x <= 1e12;
}

static void take_worse(double *into, const double *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sane(from[i]) && !(into[i] >= from[i]))
			into[i] = from[i];
}

/* All zeros: a rank that has no such way tells nothing of it. */
static bool is_unknown(const struct hk_route *r)
{
	return !(r->latency_ns > 0) && !(r->message_ns > 0);
}

void hk_route_merge(struct hk_route *into, const struct hk_route *from)
{
	bool lends = into->lend_bytes > 0 && from->lend_bytes > 0;

	if (is_unknown(from))
		return;
	if (is_unknown(into)) {
		*into = (struct hk_route){0};
		lends = from->lend_bytes > 0;
	}
	take_worse((double *)into, (const double *)from, ROUTE_NUMBERS);
	into->lend_bytes = lends ? into->lend_bytes : 0;
}

void hk_tune_machine_merge(struct hk_machine *into, const struct hk_machine *from)
{
	double cache = into->cache_bytes, spread = into->spread_bytes;
	struct hk_machine m = *into;

	take_worse((double *)&m, (const double *)from, MACHINE_NUMBERS);
	for (unsigned i = 0; i < HK_NROUTES; i++) {
		m.routes[i] = into->routes[i];
		hk_route_merge(&m.routes[i], &from->routes[i]);
	}
	m.to_switch = into->to_switch;
	hk_route_merge(&m.to_switch, &from->to_switch);
	*into = m;
	into->cache_bytes = sane(from->cache_bytes) ? fmin(cache, from->cache_bytes) : cache;
	into->spread_bytes = sane(from->spread_bytes) ? fmin(spread, from->spread_bytes) : spread;
}
