/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans of a communicator: chosen by size, built, proved, bound to connections when first needed,
 * and then found by two table look-ups. All ranks make the same plan at the same call, because
 * everything that goes into it is equal on all ranks; so making one may wait for the peers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fabric.h"
#include "param.h"
#include "point_to_point.h"
#include "schedules.h"

/* The endpoint that serves peer, which is waited on from now on; and its address. */
static int locate(struct hk_comm *c, int peer, uint32_t channel, struct hk_endpoint **ep,
		  const struct hk_addr **addr)
{
	unsigned i = c->via[peer], n = c->watch.watch.nendpoints, k = 0;

	if (channel >= HK_MAX_CHANNELS)
		return hk_fail(EINVAL, "a schedule uses channel %u; there are %d", channel,
			       HK_MAX_CHANNELS);
	*ep = c->endpoints[i];
	*addr = &c->addrs[i * (size_t)c->nranks + (size_t)peer];
	while (k < n && c->waits[k] != *ep)
		k++;
	if (k == n)
		c->waits[c->watch.watch.nendpoints++] = *ep;
	return 0;
}

int hk_comm_bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct hk_comm *c = ((struct hk_comm_binder *)b)->comm;
	const struct hk_addr *addr = NULL;
	struct hk_endpoint *ep = NULL;
	struct hk_send **known;
	int err = locate(c, peer, channel, &ep, &addr);

	if (err)
		return err;
	known = &c->sends[(size_t)peer * HK_MAX_CHANNELS + channel];
	if (!*known)
		err = ep->transport->connect_send(ep, peer, channel, addr, known);
	if (!err)
		*conn = *known;
	return err;
}

int hk_comm_bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct hk_comm *c = ((struct hk_comm_binder *)b)->comm;
	const struct hk_addr *addr = NULL;
	struct hk_endpoint *ep = NULL;
	struct hk_recv **known;
	int err = locate(c, peer, channel, &ep, &addr);

	if (err)
		return err;
	known = &c->recvs[(size_t)peer * HK_MAX_CHANNELS + channel];
	if (!*known)
		err = ep->transport->connect_recv(ep, peer, channel, addr, known);
	if (!err)
		*conn = *known;
	return err;
}

/* Proves the algorithm for this problem, with the slots that our connections have. */
static int prove(struct hk_comm *c, const struct hk_algo *algo, const struct hk_problem *p)
{
	struct hk_program **programs;
	struct hk_report report;
	int n = hk_algo_participants(algo, p), err = 0, built = 0;

	if (c->nranks > hk_param(HK_PARAM_PROVE_MAX))
		return 0;
	programs = calloc((size_t)n, sizeof(struct hk_program *));
	if (!programs)
		return hk_fail(ENOMEM, "no memory for the programs of %d participants", n);
	while (built < n && !err) {
		err = hk_algo_program(algo, p, built, true, &programs[built]);
		built += !err;
	}
	if (!err) {
		err = hk_check(p, programs, n, c->config.slots, &report);
		if (err)
			hk_fail(HK_EPROOF,
				"%s for %d ranks is wrong: %s; see `hocket schedule %s -n %d%s`",
				algo->name, c->nranks, report.text, algo->name, c->nranks,
				p->inplace ? " --in-place" : "");
	}
	while (built > 0)
		hk_program_free(programs[--built]);
	free(programs);
	return err;
}

/* This rank's program of an algorithm, proved. */
static int algo_program(struct hk_comm *c, const struct hk_problem *p, const struct hk_algo *algo,
			struct hk_program **prog)
{
	int err = prove(c, algo, p);

	if (!err)
		err = hk_algo_program(algo, p, c->rank, true, prog);
	if (!err)
		hk_log(HK_LOG_INFO, "rank %d runs %s, %u channel%s%s", c->rank, algo->name,
		       p->channels, p->channels == 1 ? "" : "s", p->inplace ? ", in place" : "");
	return err;
}

static int make(struct hk_comm *c, struct hk_problem p, struct hk_choice choice, unsigned given,
		struct hk_plan **plan)
{
	uint32_t slot_bytes = c->config.slot_bytes;
	struct hk_program *prog = NULL;
	int err;

	if (given)
		err = hk_comm_given_program(c, &c->given[given - 1], p.inplace, &p, &prog);
	else
		err = algo_program(c, &p, choice.algo, &prog);
	if (err)
		return err;
	if (!given && hk_algo_participants(choice.algo, &p) > p.nranks)
		return hk_fabric_plan(c, &p, prog, slot_bytes, plan);
	return hk_plan_create(&p, prog, &c->binder.binder, slot_bytes, c->nt_bytes, plan);
}

static unsigned bucket_of(size_t bytes)
{
	return bytes > 1 ? 64 - (unsigned)__builtin_clzll(bytes - 1) : 0;
}

int hk_comm_choose(struct hk_comm *c, enum hk_coll coll, bool varied, size_t bytes,
		   struct hk_choice *choice)
{
	unsigned bucket = bucket_of(bytes);
	size_t size = (size_t)1 << (bucket < 63 ? bucket : 63);
	struct hk_choice *known = &c->choices[coll][bucket];
	/* Which root it is must make no difference, or a table per root would be needed. */
	struct hk_problem p = {.coll = coll,
			       .nranks = c->nranks,
			       .channels = hk_comm_gpu_channels(c, size),
			       .varied = varied,
			       .layout = c->layout};
	int err = 0;

	/* A v-variant asks anew: not every algorithm can do it, and few plans are made. */
	if (varied)
		known = choice;
	if (!known->algo || varied)
		err = hk_tune_select(&c->machine, &p, size,
				     *c->config.algorithms ? c->config.algorithms
							   : hk_comm_gpu_algorithms(c, size),
				     known);
	if (!err)
		*choice = *known;
	return err;
}

/* The plan of an algorithm or a given schedule, in one form, by its number; made if there is none
 * yet. */
static int find_made(struct hk_comm *c, const struct hk_problem *p, struct hk_choice choice,
		     unsigned given, uint32_t *which)
{
	struct hk_made_plan *made;
	int err;

	for (uint32_t i = 0; i < c->nmade; i++) {
		made = &c->made[i];
		if (made->given == given && made->choice.algo == choice.algo &&
		    made->choice.channels == choice.channels && made->root == p->root &&
		    made->inplace == p->inplace && made->varied == p->varied) {
			*which = i;
			return 0;
		}
	}
	made = realloc(c->made, (c->nmade + 1) * sizeof(*made));
	if (!made)
		return hk_fail(ENOMEM, "no memory for plan %u", c->nmade);
	c->made = made;
	made += c->nmade;
	*made = (struct hk_made_plan){.choice = choice,
				      .given = given,
				      .root = p->root,
				      .inplace = p->inplace,
				      .varied = p->varied,
				      .fabric = !given &&
						hk_algo_participants(choice.algo, p) > p->nranks};
	err = make(c, *p, choice, given, &made->plan);
	if (err)
		return err;
	*which = c->nmade++;
	return 0;
}

/* --- the table --- */

static uint32_t place_of(const struct hk_comm *c, uint64_t key)
{
	uint32_t mask = c->max_plans - 1,
		 i = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 40) & mask;

	while (c->plans[i].key && c->plans[i].key != key)
		i = (i + 1) & mask;
	return i;
}

static int add_entry(struct hk_comm *c, struct hk_plan_entry entry)
{
	struct hk_plan_entry *old = c->plans;
	uint32_t max = c->max_plans;

	if (2 * (c->nplans + 1) > max) {
		c->max_plans = max ? 2 * max : 64;
		c->plans = calloc(c->max_plans, sizeof(*c->plans));
		if (!c->plans) {
			c->plans = old;
			c->max_plans = max;
			return hk_fail(ENOMEM, "no memory for a table of %u plans", c->nplans);
		}
		for (uint32_t i = 0; i < max; i++)
			if (old[i].key)
				c->plans[place_of(c, old[i].key)] = old[i];
		free(old);
	}
	c->plans[place_of(c, entry.key)] = entry;
	c->nplans++;
	return 0;
}

/* A call of the plan begins; as hk_fabric_enter. */
static int pass(struct hk_comm *c, const struct hk_made_plan *made)
{
	int r;

	if (!made->fabric)
		return 0;
	r = hk_fabric_enter(c);
	if (!r)
		c->fabric->choice = made->choice;
	return r;
}

/* Chooses, again if it finds that there are no switches any more. */
static int choose_and_pass(struct hk_comm *c, const struct hk_problem *p, size_t bytes,
			   struct hk_choice *choice)
{
	for (;;) {
		struct hk_made_plan made = {0};
		int r = hk_comm_choose(c, p->coll, p->varied, bytes, choice);

		if (r)
			return r;
		made.choice = *choice;
		made.fabric = hk_algo_participants(choice->algo, p) > p->nranks;
		r = pass(c, &made);
		if (r <= 0)
			return r;
	}
}

/* Where ranks know only their own blocks, the choice can't depend on the size. */
#define UNKNOWN_BUCKET 16

/* Finds or makes the plan of a call that is not in the table, and enters it there. */
static int enter(struct hk_comm *c, const struct hk_request *req, struct hk_plan_entry *entry,
		 unsigned bucket, unsigned given)
{
	struct hk_problem p = {.coll = req->coll,
			       .nranks = c->nranks,
			       .root = req->root,
			       .channels = c->config.channels,
			       .inplace = req->inplace,
			       .varied = req->varied,
			       .layout = c->layout};
	struct hk_choice choice = {0};
	int err = 0;

	if (!given)
		err = choose_and_pass(c, &p, (size_t)1 << (bucket < 63 ? bucket : 63), &choice);
	if (err)
		return err;
	if (given) {
		entry->adapt = hk_comm_adaptation(&c->given[given - 1], req->inplace);
		p.inplace = req->inplace != (entry->adapt != HK_ADAPT_NONE);
	}
	p.channels = choice.channels;
	err = find_made(c, &p, choice, given, &entry->made);
	if (err)
		return err;
	entry->plan = c->made[entry->made].plan;
	return add_entry(c, *entry);
}

/* The given schedule for a call, unless an algorithm is forced. */
static unsigned given_for(struct hk_comm *c, const struct hk_request *req)
{
	if (req->varied || *c->config.algorithms)
		return 0;
	return hk_comm_given_for(c, req->coll, req->root, req->block);
}

int hk_comm_plan(struct hk_comm *c, const struct hk_request *req, struct hk_call *call,
		 struct hk_plan **plan)
{
	unsigned given = __builtin_expect(c->ngiven > 0, 0) ? given_for(c, req) : 0;
	unsigned bucket = bucket_of(req->block);
	struct hk_plan_entry entry = {0}, *found;
	int err;

	if (req->varied && !hk_coll_sizes_known(req->coll))
		bucket = UNKNOWN_BUCKET;
	entry.key = 1ull << 63 | (uint64_t)given << 48 | (uint64_t)req->root << 24 |
		    (uint64_t)req->coll << 16 | bucket << 4 | req->varied << 1 | req->inplace;
	found = c->nplans ? &c->plans[place_of(c, entry.key)] : &entry;
	if (__builtin_expect(c->fabric != NULL, 0) && found->plan) {
		err = pass(c, &c->made[found->made]);
		if (err < 0)
			return err;
		if (err)
			found = &entry;
	}
	if (__builtin_expect(!found->plan, 0)) {
		hk_comm_hold(c);
		err = enter(c, req, &entry, bucket, given);
		hk_comm_let_go(c);
		if (err)
			return err;
		found = &entry;
	}
	*plan = found->plan;
	return found->adapt ? hk_comm_adapt(c, req, found->adapt, call) : 0;
}

void hk_comm_forget_fabric(struct hk_comm *c)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < c->nmade; i++) {
		if (c->made[i].fabric)
			hk_plan_destroy(c->made[i].plan);
		else
			c->made[kept++] = c->made[i];
	}
	c->nmade = kept;
	/* What is still made is found again by the next call that asks. */
	memset(c->choices, 0, sizeof(c->choices));
	if (c->plans)
		memset(c->plans, 0, c->max_plans * sizeof(*c->plans));
	c->nplans = 0;
}

/* --- point-to-point --- */

static void forget_p2p(struct hk_comm *c)
{
	while (c->np2p > 0) {
		struct hk_p2p_plan *known = &c->p2p[--c->np2p];

		hk_plan_destroy(known->plan);
		free(known->peers);
	}
}

static uint64_t hash_peers(uint32_t sends, const int *to, uint32_t receives, const int *from)
{
	uint64_t h = ((uint64_t)sends << 32 | receives) * 0x9e3779b97f4a7c15ull;

	for (uint32_t i = 0; i < sends; i++)
		h = (h ^ (uint32_t)to[i]) * 0x100000001b3ull;
	for (uint32_t i = 0; i < receives; i++)
		h = (h ^ (uint32_t)from[i]) * 0x100000001b3ull + 1;
	return h;
}

static int make_p2p(struct hk_comm *c, struct hk_p2p_plan *new, const int *to, const int *from)
{
	struct hk_problem p = {.coll = HK_POINT_TO_POINT,
			       .nranks = c->nranks,
			       .channels = 1,
			       .varied = true,
			       .sends = new->sends,
			       .receives = new->receives};
	struct hk_program *prog = NULL;
	int err = hk_point_to_point(&p, c->rank, HK_P2P_CHANNEL, to, from, &prog);

	if (err)
		return err;
	new->peers = malloc((new->sends + new->receives + 1) * sizeof(int));
	if (!new->peers) {
		hk_program_free(prog);
		return hk_fail(ENOMEM, "no memory for %u peers", new->sends + new->receives);
	}
	for (uint32_t i = 0; i < new->sends; i++)
		new->peers[i] = to[i];
	for (uint32_t i = 0; i < new->receives; i++)
		new->peers[new->sends + i] = from[i];
	err = hk_plan_create(&p, prog, &c->binder.binder, c->config.slot_bytes, c->nt_bytes,
			     &new->plan);
	if (err)
		free(new->peers);
	return err;
}

int hk_comm_p2p_plan(struct hk_comm *c, uint32_t sends, const int *to, uint32_t receives,
		     const int *from, struct hk_plan **plan)
{
	struct hk_p2p_plan new = {.hash = hash_peers(sends, to, receives, from),
				  .sends = sends,
				  .receives = receives};
	int err;

	for (uint32_t i = 0; i < c->np2p; i++) {
		const struct hk_p2p_plan *known = &c->p2p[i];

		if (known->hash == new.hash && known->sends == sends &&
		    known->receives == receives && !memcmp(known->peers, to, sends * sizeof(int)) &&
		    !memcmp(known->peers + sends, from, receives * sizeof(int))) {
			*plan = known->plan;
			return 0;
		}
	}
	if (c->np2p == HK_MAX_P2P_PLANS) /* patterns that keep changing: begin again */
		forget_p2p(c);
	hk_comm_hold(c);
	err = make_p2p(c, &new, to, from);
	hk_comm_let_go(c);
	if (err)
		return err;
	c->p2p[c->np2p++] = new;
	*plan = new.plan;
	return 0;
}

/* --- the end --- */

void hk_comm_free_plans(struct hk_comm *c)
{
	forget_p2p(c);
	for (uint32_t i = 0; i < c->nmade; i++)
		hk_plan_destroy(c->made[i].plan);
	free(c->made);
	free(c->plans);
}

size_t hk_comm_plans_memory(const struct hk_comm *c)
{
	size_t bytes = c->nmade * sizeof(*c->made) + c->max_plans * sizeof(*c->plans);

	for (uint32_t i = 0; i < c->nmade; i++)
		bytes += hk_plan_memory(c->made[i].plan);
	for (uint32_t i = 0; i < c->np2p; i++)
		bytes += hk_plan_memory(c->p2p[i].plan) +
			 (c->p2p[i].sends + c->p2p[i].receives) * sizeof(int);
	return bytes;
}
