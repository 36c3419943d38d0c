/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The collectives' public entry points: check the arguments, make a request, and run it here or
 * queue it on a stream. This file is the hot path above the executor: no allocation, no lock.
 */
#include <errno.h>
#include <string.h>

#include "comm.h"

/* IN and OUT of a request, in bytes from their starts. */
struct extent {
	size_t in, out, block;
};

static int measure(const struct hk_comm *c, const struct hk_request *req, struct extent *e)
{
	size_t all, n = (size_t)c->nranks;

	if (__builtin_mul_overflow(req->count, hk_type_size((enum hk_type)req->type), &e->block) ||
	    __builtin_mul_overflow(e->block, n, &all) || all > PTRDIFF_MAX)
		return hk_fail_quiet(EOVERFLOW,
				     "count %zu of %s on %zu ranks is more than memory can hold",
				     req->count, hk_type_name((enum hk_type)req->type), n);
	e->in = req->coll == HK_REDUCE_SCATTER ? all : e->block;
	e->out = req->coll == HK_ALL_GATHER ? all : e->block;
	return 0;
}

/* Where IN must be, seen from OUT, for the call to be in place. */
static const void *inplace_at(const struct hk_comm *c, const struct hk_request *req,
			      const struct extent *e)
{
	uintptr_t out = (uintptr_t)req->out;
	size_t own = (size_t)c->rank * e->block;

	if (req->coll == HK_REDUCE_SCATTER)
		return (const void *)(out - own);
	return (const void *)(req->coll == HK_ALL_GATHER ? out + own : out);
}

static int check_buffers(const struct hk_comm *c, const struct hk_request *req,
			 const struct extent *e, bool *inplace)
{
	uintptr_t in = (uintptr_t)req->in, out = (uintptr_t)req->out;

	*inplace = false;
	if (!req->count)
		return 0;
	if (!req->in || !req->out)
		return hk_fail_quiet(EINVAL, "%s: %s is NULL and count is %zu",
				     hk_coll_name(req->coll), req->in ? "recvbuff" : "sendbuff",
				     req->count);
	*inplace = req->in == inplace_at(c, req, e);
	if (!*inplace && in < out + e->out && out < in + e->in)
		return hk_fail_quiet(
			EINVAL,
			"%s: sendbuff and recvbuff overlap without being in place (see "
			"hocket.h for where sendbuff must be)",
			hk_coll_name(req->coll));
	return 0;
}

static int check(struct hk_comm *c, const struct hk_request *req)
{
	struct extent e = {0};
	bool inplace;
	int err;

	if ((unsigned)req->type >= HK_NTYPES)
		return hk_fail_quiet(EINVAL, "%s: %d is no data type", hk_coll_name(req->coll),
				     (int)req->type);
	err = hk_comm_check_redop(c, req->op, req->type);
	if (!err)
		err = measure(c, req, &e);
	return err ? err : check_buffers(c, req, &e, &inplace);
}

int hk_comm_run(struct hk_comm *c, const struct hk_request *req)
{
	struct hk_call call = {.in = req->in,
			       .out = req->out,
			       .count = req->count,
			       .type = (enum hk_type)req->type};
	struct hk_plan *plan;
	struct extent e = {0};
	unsigned op;
	int err;

	if (!req->count)
		return 0;
	measure(c, req, &e);
	err = hk_comm_redop(c, req, &call, &op);
	if (!err)
		err = hk_comm_plan(c, req->coll, e.block, req->in == inplace_at(c, req, &e), &plan);
	if (!err) {
		call.mark = hk_mark_make(req->coll, call.type, op, req->count, ++c->sequence);
		err = hk_plan_run(plan, &call, &c->watch.watch, &c->stats);
	}
	return __builtin_expect(err, 0) ? hk_comm_fail(c, err) : 0;
}

static int run_or_queue(hocketComm_t handle, struct hk_comm *c, const struct hk_request *req,
			hocketStream_t stream)
{
	int err = check(c, req);

	if (err)
		return err;
	if (__builtin_expect(c->finalized, 0))
		return hk_fail_quiet(HK_EUSAGE, "%s on a finalized communicator",
				     hk_coll_name(req->coll));
	if (__builtin_expect(atomic_load_explicit(&c->failed, memory_order_relaxed), 0))
		return hk_comm_check(c);
	if (stream)
		return hk_stream_enqueue(stream, handle, c, req);
	if (atomic_load_explicit(&c->issued, memory_order_relaxed) !=
	    atomic_load_explicit(&c->finished, memory_order_acquire))
		hk_comm_quiesce(c);
	return hk_comm_run(c, req);
}

static hocketResult_t collective(const struct hk_request *req, hocketComm_t handle,
				 hocketStream_t stream)
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
	struct hk_request req = {HK_ALL_REDUCE, sendbuff, recvbuff, count, datatype, op};

	return collective(&req, comm, stream);
}

hocketResult_t hocketReduceScatter(const void *sendbuff, void *recvbuff, size_t recvcount,
				   hocketDataType_t datatype, hocketRedOp_t op, hocketComm_t comm,
				   hocketStream_t stream)
{
	struct hk_request req = {HK_REDUCE_SCATTER, sendbuff, recvbuff, recvcount, datatype, op};

	return collective(&req, comm, stream);
}

hocketResult_t hocketAllGather(const void *sendbuff, void *recvbuff, size_t sendcount,
			       hocketDataType_t datatype, hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {HK_ALL_GATHER, sendbuff, recvbuff, sendcount, datatype, hocketSum};

	return collective(&req, comm, stream);
}
