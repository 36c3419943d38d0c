/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The collectives' public entry points: check the arguments, make a request, and run it here or
 * queue it on a stream. This file is the hot path above the executor: no allocation, no lock.
 */
#include <errno.h>
#include <string.h>

#include "comm.h"

static int measure(const struct hk_comm *c, struct hk_request *req, size_t *all)
{
	size_t n = (size_t)c->nranks;

	if (__builtin_mul_overflow(req->count, hk_type_size((enum hk_type)req->type),
				   &req->block) ||
	    __builtin_mul_overflow(req->block, n, all) || *all > PTRDIFF_MAX)
		return hk_fail_quiet(EOVERFLOW,
				     "count %zu of %s on %zu ranks is more than memory can hold",
				     req->count, hk_type_name((enum hk_type)req->type), n);
	return 0;
}

/* Where IN must be, seen from OUT, for the call to be in place. */
static uintptr_t inplace_at(const struct hk_comm *c, const struct hk_request *req)
{
	uintptr_t out = (uintptr_t)req->out;
	size_t own = (size_t)c->rank * req->block;

	if (req->coll == HK_REDUCE_SCATTER)
		return out - own;
	return req->coll == HK_ALL_GATHER ? out + own : out;
}

static int check_buffers(const struct hk_comm *c, struct hk_request *req, size_t all)
{
	uintptr_t in = (uintptr_t)req->in, out = (uintptr_t)req->out;
	size_t in_bytes = req->coll == HK_REDUCE_SCATTER ? all : req->block;
	size_t out_bytes = req->coll == HK_ALL_GATHER ? all : req->block;

	if (!req->count)
		return 0;
	if (!req->in || !req->out)
		return hk_fail_quiet(EINVAL, "%s: %s is NULL and count is %zu",
				     hk_coll_name(req->coll), req->in ? "recvbuff" : "sendbuff",
				     req->count);
	req->inplace = in == inplace_at(c, req);
	if (!req->inplace && in < out + out_bytes && out < in + in_bytes)
		return hk_fail_quiet(
			EINVAL,
			"%s: sendbuff and recvbuff overlap without being in place (see "
			"hocket.h for where sendbuff must be)",
			hk_coll_name(req->coll));
	return 0;
}

/* Checks a request, and completes it. */
static int accept_request(struct hk_comm *c, struct hk_request *req)
{
	size_t all = 0;
	int err;

	if ((unsigned)req->type >= HK_NTYPES)
		return hk_fail_quiet(EINVAL, "%s: %d is no data type", hk_coll_name(req->coll),
				     (int)req->type);
	err = hk_comm_resolve_op(c, req);
	if (!err)
		err = measure(c, req, &all);
	return err ? err : check_buffers(c, req, all);
}

/* One rank: every collective is the input, scaled. */
static void run_alone(const struct hk_request *req)
{
	const struct hk_kernels *k = hk_kernels();

	if (req->scaled)
		k->scale[req->type](req->out, req->in, req->count, &req->scalar);
	else if (!req->inplace)
		k->copy(req->out, req->in, req->block);
}

int hk_comm_run(struct hk_comm *c, struct hk_request *req)
{
	struct hk_plan *plan;
	struct hk_call call;
	int err;

	if (!req->count)
		return 0;
	if (req->device)
		hk_comm_read_device_scalar(req);
	if (c->nranks == 1) {
		run_alone(req);
		return 0;
	}
	call = (struct hk_call){
		.in = req->in,
		.out = req->out,
		.count = req->count,
		.type = (enum hk_type)req->type,
		.op = req->kernel_op,
		.scalar = req->scaled ? &req->scalar : NULL,
		.divide = req->divide,
		.mark = hk_mark_make(req->coll, (enum hk_type)req->type, req->name, req->count,
				     ++c->sequence),
	};
	err = hk_comm_plan(c, req->coll, req->block, req->inplace, &plan);
	if (!err)
		err = hk_plan_run(plan, &call, &c->watch.watch, &c->stats);
	return __builtin_expect(err, 0) ? hk_comm_fail(c, err) : 0;
}

static int run_or_queue(hocketComm_t handle, struct hk_comm *c, struct hk_request *req,
			hocketStream_t stream)
{
	int err = accept_request(c, req);

	if (err)
		return err;
	if (!stream && atomic_load_explicit(&c->issued, memory_order_relaxed) !=
			       atomic_load_explicit(&c->finished, memory_order_acquire))
		hk_comm_quiesce(c);
	if (__builtin_expect(c->finalized, 0))
		return hk_fail_quiet(HK_EUSAGE, "%s on a finalized communicator",
				     hk_coll_name(req->coll));
	err = hk_comm_check(c);
	if (err)
		return err;
	if (stream)
		return hk_stream_enqueue(stream, handle, c, req);
	return hk_comm_run(c, req);
}

static hocketResult_t collective(struct hk_request *req, hocketComm_t handle, hocketStream_t stream)
{
	struct hk_comm *c = hk_handle_enter(handle);
	int err;

	if (!c)
		return hocketInvalidArgument;
	err = run_or_queue(handle, c, req, stream);
	hk_handle_leave(handle);
	return hk_result(err);
}

hocketResult_t hocketAllReduce(const void *sendbuff, void *recvbuff, size_t count,
			       hocketDataType_t datatype, hocketRedOp_t op, hocketComm_t comm,
			       hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_ALL_REDUCE,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = op,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketReduceScatter(const void *sendbuff, void *recvbuff, size_t recvcount,
				   hocketDataType_t datatype, hocketRedOp_t op, hocketComm_t comm,
				   hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_REDUCE_SCATTER,
		.in = sendbuff,
		.out = recvbuff,
		.count = recvcount,
		.type = datatype,
		.op = op,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketAllGather(const void *sendbuff, void *recvbuff, size_t sendcount,
			       hocketDataType_t datatype, hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_ALL_GATHER,
		.in = sendbuff,
		.out = recvbuff,
		.count = sendcount,
		.type = datatype,
		.op = hocketSum,
	};

	return collective(&req, comm, stream);
}
