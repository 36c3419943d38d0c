/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs accepted requests: makes the executor's call of one, finds its plan, and drives it to its
 * end. This is the hot path above the executor: no allocation, no lock.
 */
#include <errno.h>

#include "fabric.h"

/* One rank: every collective is its input, scaled. */
static void run_alone(const struct hk_request *req)
{
	const struct hk_kernels *k = hk_kernels();
	const void *in = req->varied ? req->tables->in[0].at : req->in;
	void *out = req->varied ? req->tables->out[0].at : req->out;
	size_t count = req->varied ? req->tables->out[0].count : req->count;

	if (req->coll == HK_BARRIER)
		return;
	if (req->scaled)
		k->scale[req->type](out, in, count, &req->scalar);
	else if (!req->inplace)
		k->copy(out, in, count * hk_type_size((enum hk_type)req->type));
}

/* The same on a GPU. */
static int launch_alone(struct hk_comm *c, const struct hk_request *req)
{
	struct hk_call call = {.in = req->varied ? req->tables->in[0].at : req->in,
			       .out = req->varied ? req->tables->out[0].at : req->out,
			       .count = req->varied ? req->tables->out[0].count : req->count,
			       .type = (enum hk_type)req->type,
			       .scalar = req->scaled ? &req->scalar : NULL};

	if (req->coll == HK_BARRIER)
		return 0;
	return hk_gpu_exec_alone(c->gpu, &call, req->device, req->stream);
}

/* Makes the call of a single send or receive, for its blocks live with the request. */
static int start_single(struct hk_comm *c, struct hk_request *req, struct hk_plan **plan,
			struct hk_call *call)
{
	bool send = req->send;
	int err;

	if (req->root == c->rank)
		return hk_fail_quiet(HK_EUSAGE,
				     "rank %d sends to or receives from itself outside a "
				     "group; use hocketGroupStart and hocketGroupEnd",
				     c->rank);
	req->single = (struct hk_block){send ? (void *)(uintptr_t)req->in : req->out, req->block};
	*call = (struct hk_call){.in_blocks = &req->single,
				 .out_blocks = &req->single,
				 .type = HK_UINT8,
				 .op = HK_SUM,
				 .mark = hk_p2p_mark()};
	err = hk_comm_p2p_plan(c, send, &req->root, !send, &req->root, plan);
	return __builtin_expect(err, 0) ? hk_comm_fail_call(c, err) : 0;
}

int hk_comm_start(struct hk_comm *c, struct hk_request *req, struct hk_plan **plan,
		  struct hk_call *call)
{
	int err;

	*plan = NULL;
	if (req->empty)
		return 0;
	if (req->coll == HK_POINT_TO_POINT)
		return req->block ? start_single(c, req, plan, call) : 0;
	if (c->nranks == 1 && c->gpu)
		return launch_alone(c, req);
	if (req->device && !c->gpu)
		hk_comm_read_device_scalar(req);
	if (c->nranks == 1) {
		run_alone(req);
		return 0;
	}
	*call = (struct hk_call){
		.in = req->in,
		.out = req->out,
		.count = req->count,
		.type = (enum hk_type)req->type,
		.op = req->kernel_op,
		.scalar = req->scaled ? &req->scalar : NULL,
		.divide = req->divide,
		/* The root is a part of the count's hash: it has no bits of its own. */
		.mark = hk_mark_make(req->coll, (enum hk_type)req->type, req->name,
				     (req->varied ? req->block : req->count) +
					     ((size_t)req->root << 40),
				     ++c->sequence),
	};
	if (req->coll == HK_BARRIER) {
		call->in = &c->nothing;
		call->out = &c->nothing;
	}
	if (req->varied) {
		call->in_blocks = req->tables->in;
		call->out_blocks = req->tables->out;
		call->counts = req->tables->counts;
	}
	if (__builtin_expect(c->fabric != NULL, 0))
		hk_fabric_stay_out(c);
	err = hk_comm_plan(c, req, call, plan);
	if (!err && __builtin_expect(c->fabric != NULL, 0))
		err = hk_fabric_announce(c, req->root, call);
	return __builtin_expect(err, 0) ? hk_comm_fail_call(c, err) : 0;
}

int hk_comm_run(struct hk_comm *c, struct hk_request *req)
{
	struct hk_plan *plan = NULL;
	struct hk_call call;
	int err;

	if (__builtin_expect(c->gpu != NULL, 0))
		return hk_comm_run_on_gpu(c, req);
	err = hk_comm_start(c, req, &plan, &call);

	if (err || !plan)
		return err;
	err = hk_plan_run(plan, &call, &c->watch.watch, &c->stats);
	return __builtin_expect(err, 0) ? hk_comm_fail_call(c, err) : 0;
}
