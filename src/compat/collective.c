/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives, point-to-point and reductions with a scalar: Hocket's own, whose numbers for types
 * and operations are NCCL's.
 */
#include "compat.h"

ncclResult_t ncclAllReduce(const void *sendbuff, void *recvbuff, size_t count,
			   ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
			   cudaStream_t stream)
{
	return hk_compat_result(hocketAllReduce(sendbuff, recvbuff, count,
						(hocketDataType_t)datatype, (hocketRedOp_t)op,
						hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAllReduce);

ncclResult_t ncclReduceScatter(const void *sendbuff, void *recvbuff, size_t recvcount,
			       ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
			       cudaStream_t stream)
{
	return hk_compat_result(hocketReduceScatter(
		sendbuff, recvbuff, recvcount, (hocketDataType_t)datatype, (hocketRedOp_t)op,
		hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclReduceScatter);

ncclResult_t ncclAllGather(const void *sendbuff, void *recvbuff, size_t sendcount,
			   ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketAllGather(sendbuff, recvbuff, sendcount,
						(hocketDataType_t)datatype, hk_compat_comm(comm),
						hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAllGather);

ncclResult_t ncclBroadcast(const void *sendbuff, void *recvbuff, size_t count,
			   ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketBroadcast(sendbuff, recvbuff, count,
						(hocketDataType_t)datatype, root,
						hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclBroadcast);

ncclResult_t ncclBcast(void *buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
		       cudaStream_t stream)
{
	return hk_compat_result(hocketBcast(buff, count, (hocketDataType_t)datatype, root,
					    hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclBcast);

ncclResult_t ncclReduce(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype,
			ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketReduce(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					     (hocketRedOp_t)op, root, hk_compat_comm(comm),
					     hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclReduce);

ncclResult_t ncclAlltoAll(const void *sendbuff, void *recvbuff, size_t count,
			  ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketAlltoAll(sendbuff, recvbuff, count,
					       (hocketDataType_t)datatype, hk_compat_comm(comm),
					       hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAlltoAll);

ncclResult_t ncclGather(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype,
			int root, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketGather(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					     root, hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclGather);

ncclResult_t ncclScatter(const void *sendbuff, void *recvbuff, size_t count,
			 ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketScatter(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					      root, hk_compat_comm(comm),
					      hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclScatter);

ncclResult_t ncclSend(const void *sendbuff, size_t count, ncclDataType_t datatype, int peer,
		      ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketSend(sendbuff, count, (hocketDataType_t)datatype, peer,
					   hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclSend);

ncclResult_t ncclRecv(void *recvbuff, size_t count, ncclDataType_t datatype, int peer,
		      ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_result(hocketRecv(recvbuff, count, (hocketDataType_t)datatype, peer,
					   hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclRecv);

/* --- reductions with a scalar --- */

ncclResult_t ncclRedOpCreatePreMulSum(ncclRedOp_t *op, void *scalar, ncclDataType_t datatype,
				      ncclScalarResidence_t residence, ncclComm_t comm)
{
	hocketRedOp_t made = hocketNumOps;
	hocketResult_t result;

	result = hocketRedOpCreatePreMulSum(op ? &made : NULL, scalar, (hocketDataType_t)datatype,
					    (hocketScalarResidence_t)residence,
					    hk_compat_comm(comm));
	if (result == hocketSuccess)
		*op = (ncclRedOp_t)made;
	return hk_compat_result(result);
}
HK_COMPAT_ALIAS(ncclRedOpCreatePreMulSum);

ncclResult_t ncclRedOpDestroy(ncclRedOp_t op, ncclComm_t comm)
{
	return hk_compat_result(hocketRedOpDestroy((hocketRedOp_t)op, hk_compat_comm(comm)));
}
HK_COMPAT_ALIAS(ncclRedOpDestroy);
