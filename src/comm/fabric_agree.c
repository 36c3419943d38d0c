/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How ranks agree on the last call that a dead switch spoilt: an all-gather of how far each had
 * got, over the communicator's own connections, but on a channel that its calls do not use, so that
 * it can go on beside any of them. A rank takes part from when it knows of the death, which the
 * fabric's bootstrap tells all ranks within a second, in whatever call it then is or comes to; it
 * has not begun any call through switches since.
 */
#include <errno.h>
#include <stdlib.h>

#include "fabric.h"

#define DIRECT_RANKS 64 /* up to so many tell each other at once; more, in log n rounds */

struct agreement {
	struct hk_drive drive;
	struct hk_comm *comm;
};

static int make(struct hk_comm *c, struct hk_plan **plan)
{
	const struct hk_algo *algo =
		hk_algo_find(c->nranks <= DIRECT_RANKS ? "direct_all_gather" : "bruck_all_gather");
	struct hk_problem p = {
		.coll = HK_ALL_GATHER, .nranks = c->nranks, .channels = 1, .inplace = true};
	struct hk_program *prog = NULL;
	int err = hk_algo_program(algo, &p, c->rank, true, &prog);

	if (err)
		return err;
	/* It has one channel, which becomes another. */
	for (uint32_t i = 0; i < prog->nlanes; i++)
		prog->lanes[i].channel = HK_AGREE_CHANNEL;
	return hk_plan_create(&p, prog, &c->binder.binder, c->config.slot_bytes, c->nt_bytes, plan);
}

static int begin(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;
	struct hk_call call = {.count = 1,
			       .type = HK_UINT64,
			       .op = HK_SUM,
			       .mark = hk_mark_make(HK_ALL_GATHER, HK_UINT64, HK_SUM, 1, 0)};
	int err;

	f->progress = calloc((size_t)c->nranks, sizeof(*f->progress));
	if (!f->progress)
		return hk_fail(ENOMEM, "no memory for %d ranks", c->nranks);
	err = make(c, &f->agreement);
	if (err) {
		free(f->progress);
		f->progress = NULL;
		return err;
	}
	f->progress[c->rank] = f->attempted;
	call.in = &f->progress[c->rank];
	call.out = f->progress;
	hk_plan_begin(f->agreement, &call);
	return 0;
}

int hk_fabric_agree(struct hk_comm *c)
{
	struct hk_fabric *f = c->fabric;
	bool moved = false;
	int r = 0;

	if (f->agreed)
		return 1;
	if (!f->agreement)
		r = begin(c);
	if (!r)
		r = hk_plan_poll(f->agreement, &moved);
	if (r <= 0)
		return r;
	for (int i = 0; i < c->nranks; i++)
		f->until = f->progress[i] > f->until ? f->progress[i] : f->until;
	f->agreed = true;
	return 1;
}

static int poll_agreement(struct hk_drive *d, bool *moved)
{
	return hk_fabric_agree(((struct agreement *)d)->comm);
}

static int expired(struct hk_drive *d)
{
	struct hk_comm *c = ((struct agreement *)d)->comm;

	return hk_plan_expired(c->fabric->agreement, d->watch);
}

int hk_fabric_await_agreement(struct hk_comm *c)
{
	static const struct hk_drive_ops ops = {poll_agreement, expired};
	struct agreement a = {{&ops, &c->watch.watch}, c};
	int r = hk_fabric_agree(c); /* its endpoints are then among those to wait on */

	if (!r)
		r = hk_drive_run(&a.drive, &c->stats);
	return r < 0 ? r : 0;
}
