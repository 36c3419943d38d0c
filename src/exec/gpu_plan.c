/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts a plan's program on its GPU, in one piece of memory:
 *
 *     steps | dependencies | lanes | cursors | progress of lanes | count of blocks that have ended
 * | SCRATCH
 *
 * Steps are the schedule's own records; their peers become numbers of connection records, which the
 * communicator has once, whatever plans use them. Blocks copy the first three to their own memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "gpu_internal.h"

static uint32_t record_of(const struct hk_gpu_exec *x, int peer, uint32_t channel)
{
	return (uint32_t)peer * x->channels + channel;
}

static int bind_send(struct hk_gpu_exec *x, struct hk_send *s, uint32_t number)
{
	struct hkd_send record = {0};
	int err;

	if (x->bound[number] & 1)
		return 0;
	err = s->ep->transport->ring_send(s, &record);
	if (!err)
		x->rings = s->ep;
	if (err == -ENOTSUP) {
		err = hk_gpu_proxy_send(x, s, &record);
		x->bound[number] |= 4;
	}
	if (!err)
		err = hk_gpu_write(x->gpu, x->sends + number * sizeof(record), &record,
				   sizeof(record));
	if (!err)
		x->bound[number] |= 1;
	return err;
}

static int bind_recv(struct hk_gpu_exec *x, struct hk_recv *r, uint32_t number)
{
	struct hkd_recv record = {0};
	int err;

	if (x->bound[number] & 2)
		return 0;
	err = r->ep->transport->ring_recv(r, &record);
	if (err == -ENOTSUP)
		err = hk_gpu_proxy_recv(x, r, &record);
	if (!err)
		err = hk_gpu_write(x->gpu, x->recvs + number * sizeof(record), &record,
				   sizeof(record));
	if (!err)
		x->bound[number] |= 2;
	return err;
}

/* Sending halves first, as on the host. */
static int bind(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_step *steps,
		bool *by_host)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < plan->prog->nsteps; i++) {
		const struct plan_step *from = &plan->steps[i];

		steps[i] = plan->prog->steps[i];
		steps[i].flags |= from->lendable ? HKD_STEP_LENDABLE : 0;
		steps[i].size = from->class;
		steps[i].to = steps[i].from = -1;
		if (!from->send)
			continue;
		steps[i].to = (int32_t)record_of(x, from->send->peer, from->send->channel);
		err = bind_send(x, from->send, (uint32_t)steps[i].to);
		*by_host |= (x->bound[steps[i].to] & 4) != 0;
	}
	for (uint32_t i = 0; !err && i < plan->prog->nsteps; i++) {
		struct hk_recv *r = plan->steps[i].recv;

		if (!r)
			continue;
		steps[i].from = (int32_t)record_of(x, r->peer, r->channel);
		err = bind_recv(x, r, (uint32_t)steps[i].from);
	}
	return err;
}

/* Lanes, with the connections that each uses first. */
static void lay_lanes(const struct hk_program *prog, const struct hk_step *steps,
		      struct hkd_lane *lanes)
{
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		lanes[l] = (struct hkd_lane){prog->lanes[l].first, prog->lanes[l].nsteps, -1, -1};
		for (uint32_t i = lanes[l].nsteps; i-- > 0;) {
			const struct hk_step *st = &steps[lanes[l].first + i];

			lanes[l].to = st->to >= 0 ? st->to : lanes[l].to;
			lanes[l].from = st->from >= 0 ? st->from : lanes[l].from;
		}
	}
}

/* Marks the steps that some lane may wait for; whether there are any. A serial program's tile waits
 * for the last steps of the tile before. */
static bool find_awaited(const struct hk_program *prog, struct hk_step *steps)
{
	for (uint32_t i = 0; i < prog->ndeps; i++)
		steps[prog->lanes[prog->deps[i].lane].first + prog->deps[i].step].flags |=
			HKD_STEP_AWAITED;
	for (uint32_t l = 0; prog->serial && l < prog->nlanes; l++)
		if (prog->lanes[l].nsteps)
			steps[prog->lanes[l].first + prog->lanes[l].nsteps - 1].flags |=
				HKD_STEP_AWAITED;
	return prog->ndeps || prog->serial;
}

/* Kernels that are queued read the program, and write to it. */
void hk_gpu_retire(struct hk_gpu_exec *x, uint64_t at)
{
	struct retired *r = at ? malloc(sizeof(*r)) : NULL;

	if (!r) { /* out of memory: then nobody gets it */
		if (at)
			hk_gpu_abandon(x->gpu, at);
		return;
	}
	*r = (struct retired){x->retired, at, x->calls, x->captured};
	x->retired = r;
}

void hk_gpu_retire_all(struct hk_gpu_exec *x, bool end)
{
	uint64_t ended = end ? 0 : __atomic_load_n(&x->control->calls, __ATOMIC_ACQUIRE);
	struct retired **place = &x->retired, *r;

	while ((r = *place) != NULL) {
		if (!end && (r->graphs || r->call > ended)) {
			place = &r->next;
			continue;
		}
		hk_gpu_put(x, r->at);
		*place = r->next;
		free(r);
	}
}

static void plan_free(struct hk_device_plan *base)
{
	struct gpu_plan *gp = (struct gpu_plan *)base;

	hk_gpu_retire(gp->x, gp->memory);
	free(gp);
}

static size_t aligned(size_t n)
{
	return (n + 127) / 128 * 128;
}

static int upload(struct hk_gpu_exec *x, const struct hk_plan *plan, struct gpu_plan *gp)
{
	const struct hk_program *prog = plan->prog;
	size_t deps = aligned(prog->nsteps * sizeof(struct hk_step)),
	       lanes = deps + aligned(prog->ndeps * sizeof(struct hk_dep)),
	       cursors = lanes + aligned(prog->nlanes * sizeof(struct hkd_lane)),
	       progress = cursors + aligned(prog->nlanes * sizeof(struct hkd_cursor)),
	       ended = progress + aligned(prog->nlanes * sizeof(uint64_t)), scratch = ended + 128,
	       all = scratch + plan->scratch_stride * prog->nchunks[HK_SCRATCH];
	uint8_t *image = calloc(1, scratch);
	struct hk_step *steps = (struct hk_step *)image;
	bool awaited = false;
	int err = image ? bind(x, plan, steps, &gp->by_host)
			: hk_fail(ENOMEM, "no memory for a plan");

	if (!err)
		err = hk_gpu_alloc(x->gpu, all, &gp->memory);
	if (!err) {
		awaited = find_awaited(prog, steps);
		memcpy(image + deps, prog->deps, prog->ndeps * sizeof(struct hk_dep));
		lay_lanes(prog, steps, (struct hkd_lane *)(image + lanes));
		err = hk_gpu_write(x->gpu, gp->memory, image, scratch);
	}
	free(image);
	if (err)
		return err;
	x->memory += all;
	gp->prog = (struct hkd_program){.steps = gp->memory,
					.deps = gp->memory + deps,
					.lanes = gp->memory + lanes,
					.cursors = gp->memory + cursors,
					.progress = gp->memory + progress,
					.sends = x->sends,
					.recvs = x->recvs,
					.scratch = gp->memory + scratch,
					.scratch_stride = plan->scratch_stride,
					.ended = gp->memory + ended,
					.image_bytes = (uint32_t)cursors,
					.nlanes = prog->nlanes,
					.period = prog->period,
					.serial = prog->serial,
					.by_steps = plan->by_steps,
					.skips = plan->skips,
					.varied = plan->varied,
					.awaited = awaited};
	return 0;
}

int hk_gpu_plan(struct hk_gpu_exec *x, struct hk_plan *plan, struct gpu_plan **out)
{
	struct gpu_plan *gp = (struct gpu_plan *)plan->device;
	int err;

	if (!gp) {
		gp = calloc(1, sizeof(*gp));
		if (!gp)
			return hk_fail(ENOMEM, "no memory for a plan");
		gp->base.free = plan_free;
		gp->x = x;
		hk_gpu_exec_hold(x); /* it makes connections */
		err = upload(x, plan, gp);
		hk_gpu_exec_let_go(x);
		if (err) {
			plan_free(&gp->base);
			return err;
		}
		plan->device = &gp->base;
	}
	*out = gp;
	return 0;
}
