/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plans of a communicator: chosen by size, built, proved, bound to connections when first needed,
 * and then found by two table look-ups. All ranks make the same plan at the same call, because
 * everything that goes into it is equal on all ranks; so making one may wait for the peers.
 */
#include <errno.h>
#include <stdlib.h>

#include "comm.h"
#include "param.h"

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
	int err = 0, built = 0;

	if (c->nranks > hk_param(HK_PARAM_PROVE_MAX))
		return 0;
	programs = calloc((size_t)c->nranks, sizeof(struct hk_program *));
	if (!programs)
		return hk_fail(ENOMEM, "no memory for the programs of %d ranks", c->nranks);
	while (built < c->nranks && !err) {
		err = hk_algo_program(algo, p, built, true, &programs[built]);
		built += !err;
	}
	if (!err) {
		err = hk_check(p, programs, c->nranks, c->config.slots, &report);
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

static int make(struct hk_comm *c, const struct hk_algo *algo, bool inplace, struct hk_plan **plan)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = c->nranks,
			       .channels = c->config.channels,
			       .inplace = inplace};
	struct hk_program *prog;
	int err = prove(c, algo, &p);

	if (err)
		return err;
	err = hk_algo_program(algo, &p, c->rank, true, &prog);
	if (err)
		return err;
	hk_log(HK_LOG_INFO, "rank %d runs %s%s", c->rank, algo->name, inplace ? " in place" : "");
	return hk_plan_create(&p, prog, &c->binder.binder, c->config.slot_bytes, c->nt_bytes, plan);
}

static unsigned algo_index(const struct hk_algo *algo)
{
	unsigned i = 0;

	while (hk_algos[i] != algo)
		i++;
	return i;
}

static int choose(struct hk_comm *c, enum hk_coll coll, unsigned bucket,
		  const struct hk_algo **algo)
{
	struct hk_problem p = {.coll = coll, .nranks = c->nranks, .channels = c->config.channels};

	if (!c->choice[coll][bucket]) {
		size_t bytes = bucket < 63 ? (size_t)1 << bucket : (size_t)1 << 63;

		c->choice[coll][bucket] =
			hk_tune_select(&c->machine, &p, bytes, hk_param_str(HK_PARAM_ALGO));
	}
	*algo = c->choice[coll][bucket];
	if (!*algo)
		return hk_fail(ENOTSUP, "no algorithm does %s for %d ranks", hk_coll_name(coll),
			       c->nranks);
	return 0;
}

int hk_comm_plan(struct hk_comm *c, enum hk_coll coll, size_t bytes, bool inplace,
		 struct hk_plan **plan)
{
	unsigned bucket = bytes > 1 ? 64 - (unsigned)__builtin_clzll(bytes - 1) : 0;
	struct hk_plan **known = &c->plans[coll][bucket][inplace], **made;
	const struct hk_algo *algo;
	int err;

	if (__builtin_expect(!*known, 0)) {
		err = choose(c, coll, bucket, &algo);
		if (err)
			return err;
		made = &c->by_algo[algo_index(algo)][inplace];
		if (!*made) {
			err = make(c, algo, inplace, made);
			if (err)
				return err;
		}
		*known = *made;
	}
	*plan = *known;
	return 0;
}

void hk_comm_free_plans(struct hk_comm *c)
{
	for (unsigned i = 0; i < HK_MAX_ALGOS; i++)
		for (int inplace = 0; inplace < 2; inplace++)
			hk_plan_destroy(c->by_algo[i][inplace]);
}
