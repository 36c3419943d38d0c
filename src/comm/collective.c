/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public entry points of the collectives and of point-to-point: each makes a request, which is
 * then run here, queued on a stream, or added to this thread's group.
 */
#include <errno.h>

#include "comm.h"

static int launch(struct hk_comm *c, struct hk_request *req)
{
	int err;

	hk_comm_quiesce(c); /* those on host streams */
	err = c->finalized ? hk_fail_quiet(HK_EUSAGE, "%s on a finalized communicator",
					   hk_coll_name(req->coll))
			   : hk_comm_check(c);

	if (!err)
		err = hk_comm_launch(c, req);
	if (!err)
		err = hk_comm_finish(c);
	hk_request_free(req);
	return err;
}

static int run_or_queue(hocketComm_t handle, struct hk_comm *c, struct hk_request *req,
			hocketStream_t stream)
{
	bool group = __builtin_expect(hk_group_open(), 0);
	int err = hk_request_accept(c, req, group || stream);

	if (err)
		return err;
	req->stream = stream;
	if (group)
		return hk_group_add(handle, c, req, stream);
	if (c->gpu && !hk_stream_is_ours(stream))
		return launch(c, req);
	if (!stream && atomic_load_explicit(&c->issued, memory_order_relaxed) !=
			       atomic_load_explicit(&c->finished, memory_order_acquire))
		hk_comm_quiesce(c);
	if (__builtin_expect(c->finalized, 0))
		err = hk_fail_quiet(HK_EUSAGE, "%s on a finalized communicator",
				    hk_coll_name(req->coll));
	if (!err)
		err = hk_comm_check(c);
	if (!err && !stream)
		return hk_comm_run(c, req);
	if (!err)
		err = hk_stream_enqueue(stream, handle, c, req);
	if (err)
		hk_request_free(req);
	return err;
}

static hocketResult_t collective(struct hk_request *req, hocketComm_t handle, hocketStream_t stream)
{
	struct hk_comm *c = hk_handle_enter(handle);
	int err;

	if (c) {
		err = run_or_queue(handle, c, req, stream);
		hk_handle_leave(handle);
	} else {
		err = hk_handle_why();
	}
	if (__builtin_expect(err, 0) && hk_group_open())
		hk_group_refuse(err);
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

hocketResult_t hocketBroadcast(const void *sendbuff, void *recvbuff, size_t count,
			       hocketDataType_t datatype, int root, hocketComm_t comm,
			       hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_BROADCAST,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
		.root = root,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketBcast(void *buff, size_t count, hocketDataType_t datatype, int root,
			   hocketComm_t comm, hocketStream_t stream)
{
	return hocketBroadcast(buff, buff, count, datatype, root, comm, stream);
}

hocketResult_t hocketReduce(const void *sendbuff, void *recvbuff, size_t count,
			    hocketDataType_t datatype, hocketRedOp_t op, int root,
			    hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_REDUCE_ROOT,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = op,
		.root = root,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketAlltoAll(const void *sendbuff, void *recvbuff, size_t count,
			      hocketDataType_t datatype, hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_ALL_TO_ALL,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketGather(const void *sendbuff, void *recvbuff, size_t count,
			    hocketDataType_t datatype, int root, hocketComm_t comm,
			    hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_GATHER,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
		.root = root,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketScatter(const void *sendbuff, void *recvbuff, size_t count,
			     hocketDataType_t datatype, int root, hocketComm_t comm,
			     hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_SCATTER,
		.in = sendbuff,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
		.root = root,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketBarrier(hocketComm_t comm, hocketStream_t stream)
{
	/* The communicator has an element for it: these are only not NULL, and equal. */
	struct hk_request req = {
		.coll = HK_BARRIER,
		.in = &comm,
		.out = &comm,
		.count = 1,
		.type = hocketUint8,
		.op = hocketMax,
	};

	return collective(&req, comm, stream);
}

/* --- blocks that differ in size --- */

hocketResult_t hocketAllGatherV(const void *sendbuff, size_t sendcount, void *recvbuff,
				const size_t *recvcounts, const size_t *displs,
				hocketDataType_t datatype, hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_ALL_GATHER,
		.in = sendbuff,
		.out = recvbuff,
		.count = sendcount,
		.type = datatype,
		.op = hocketSum,
		.varied = true,
		.out_vector = {recvcounts, displs},
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketReduceScatterV(const void *sendbuff, const size_t *recvcounts,
				    const size_t *displs, void *recvbuff, hocketDataType_t datatype,
				    hocketRedOp_t op, hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_REDUCE_SCATTER,
		.in = sendbuff,
		.out = recvbuff,
		.type = datatype,
		.op = op,
		.varied = true,
		.in_vector = {recvcounts, displs},
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketAlltoAllV(const void *sendbuff, const size_t *sendcounts,
			       const size_t *sdispls, void *recvbuff, const size_t *recvcounts,
			       const size_t *rdispls, hocketDataType_t datatype, hocketComm_t comm,
			       hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_ALL_TO_ALL,
		.in = sendbuff,
		.out = recvbuff,
		.type = datatype,
		.op = hocketSum,
		.varied = true,
		.in_vector = {sendcounts, sdispls},
		.out_vector = {recvcounts, rdispls},
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketGatherV(const void *sendbuff, size_t sendcount, void *recvbuff,
			     const size_t *recvcounts, const size_t *displs,
			     hocketDataType_t datatype, int root, hocketComm_t comm,
			     hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_GATHER,
		.in = sendbuff,
		.out = recvbuff,
		.count = sendcount,
		.type = datatype,
		.op = hocketSum,
		.root = root,
		.varied = true,
		.out_vector = {recvcounts, displs},
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketScatterV(const void *sendbuff, const size_t *sendcounts, const size_t *displs,
			      void *recvbuff, size_t recvcount, hocketDataType_t datatype, int root,
			      hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_SCATTER,
		.in = sendbuff,
		.out = recvbuff,
		.count = recvcount,
		.type = datatype,
		.op = hocketSum,
		.root = root,
		.varied = true,
		.in_vector = {sendcounts, displs},
	};

	return collective(&req, comm, stream);
}

/* --- point-to-point --- */

hocketResult_t hocketSend(const void *sendbuff, size_t count, hocketDataType_t datatype, int peer,
			  hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_POINT_TO_POINT,
		.in = sendbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
		.root = peer,
		.send = true,
	};

	return collective(&req, comm, stream);
}

hocketResult_t hocketRecv(void *recvbuff, size_t count, hocketDataType_t datatype, int peer,
			  hocketComm_t comm, hocketStream_t stream)
{
	struct hk_request req = {
		.coll = HK_POINT_TO_POINT,
		.out = recvbuff,
		.count = count,
		.type = datatype,
		.op = hocketSum,
		.root = peer,
	};

	return collective(&req, comm, stream);
}
