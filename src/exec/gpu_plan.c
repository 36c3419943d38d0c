/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts a plan's program on its GPU, in one piece of memory:
 *
 *     steps | dependencies | lanes | cursors | count of blocks that have ended | SCRATCH
 *
 * Steps are the schedule's own records; their peers become numbers of connection records, which the
 * communicator has once, whatever plans use them.
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
	if (err == -ENOTSUP)
		err = hk_gpu_proxy_send(x, s, &record);
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
static int bind(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_step *steps)
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

/* Kernels that are queued read the program, and write to it. */
static void retire(struct hk_gpu_exec *x, uint64_t at)
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
	uint64_t ended = x->control ? __atomic_load_n(&x->control->calls, __ATOMIC_ACQUIRE) : 0;
	struct retired **place = &x->retired, *r;

	while ((r = *place) != NULL) {
		if (!end && (r->graphs || r->call > ended)) {
			place = &r->next;
			continue;
		}
		hk_gpu_free(x->gpu, r->at);
		*place = r->next;
		free(r);
	}
}

static void plan_free(struct hk_device_plan *base)
{
	struct gpu_plan *gp = (struct gpu_plan *)base;

	retire(gp->x, gp->memory);
	free(gp);
}

static size_t aligned(size_t n)
{
	return (n + 127) / 128 * 128;
}

static int upload(struct hk_gpu_exec *x, const struct hk_plan *plan, struct gpu_plan *gp)
{
	const struct hk_program *prog = plan->prog;
	size_t steps = 0, deps = steps + aligned(prog->nsteps * sizeof(struct hk_step)),
	       lanes = deps + aligned(prog->ndeps * sizeof(struct hk_dep)),
	       cursors = lanes + aligned(prog->nlanes * sizeof(struct hk_lane)),
	       ended = cursors + aligned(prog->nlanes * sizeof(struct hkd_cursor)),
	       scratch = ended + 128,
	       all = scratch + plan->scratch_stride * prog->nchunks[HK_SCRATCH];
	uint8_t *image = calloc(1, scratch);
	int err = image ? bind(x, plan, (struct hk_step *)(image + steps))
			: hk_fail(ENOMEM, "no memory for a plan");

	if (!err)
		err = hk_gpu_alloc(x->gpu, all, &gp->memory);
	if (!err) {
		memcpy(image + deps, prog->deps, prog->ndeps * sizeof(struct hk_dep));
		memcpy(image + lanes, prog->lanes, prog->nlanes * sizeof(struct hk_lane));
		err = hk_gpu_write(x->gpu, gp->memory, image, scratch);
	}
	free(image);
	if (err)
		return err;
	x->memory += all;
	gp->prog = (struct hkd_program){.steps = gp->memory + steps,
					.deps = gp->memory + deps,
					.lanes = gp->memory + lanes,
					.cursors = gp->memory + cursors,
					.sends = x->sends,
					.recvs = x->recvs,
					.scratch = gp->memory + scratch,
					.scratch_stride = plan->scratch_stride,
					.ended = gp->memory + ended,
					.nlanes = prog->nlanes,
					.period = prog->period,
					.serial = prog->serial,
					.by_steps = plan->by_steps,
					.skips = plan->skips,
					.varied = plan->varied};
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
		err = upload(x, plan, gp);
		if (err) {
			plan_free(&gp->base);
			return err;
		}
		plan->device = &gp->base;
	}
	*out = gp;
	return 0;
}
