/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives with a configuration of the call, newer than NCCL 2.30. What tunes is ignored, as are
 * other vendors' options; what the caller must be able to rely on is refused.
 */
#include "compat.h"

static ncclResult_t check(const ncclCollConfig_t *config)
{
	ncclResult_t result;

	if (!config)
		return ncclSuccess;
	result = hk_compat_check_struct("the call's config", config->size, sizeof(*config),
					config->magic, NCCL_API_MAGIC);
	if (result)
		return result;
	if (config->algSelection && *config->algSelection && config->forceAlgSelection)
		return hk_compat_refuse(
			ncclInvalidUsage,
			"the call's config insists on the algorithm '%.64s': NCCL's "
			"algorithms are not here; set HOCKET_ALGO to one of `hocket "
			"schedule`, or forceAlgSelection to 0",
			config->algSelection);
	if (config->launchCompletionEvent)
		return hk_compat_refuse(
			ncclInvalidUsage,
			"the call's config has a launchCompletionEvent, which is not "
			"supported; record an event on the stream");
	return ncclSuccess;
}

ncclResult_t ncclAllReduceConfig(const void *sendbuff, void *recvbuff, size_t count,
				 ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
				 cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketAllReduce(sendbuff, recvbuff, count,
						(hocketDataType_t)datatype, (hocketRedOp_t)op,
						hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAllReduceConfig);

ncclResult_t ncclReduceScatterConfig(const void *sendbuff, void *recvbuff, size_t recvcount,
				     ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
				     cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketReduceScatter(
		sendbuff, recvbuff, recvcount, (hocketDataType_t)datatype, (hocketRedOp_t)op,
		hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclReduceScatterConfig);

ncclResult_t ncclAllGatherConfig(const void *sendbuff, void *recvbuff, size_t sendcount,
				 ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
				 const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketAllGather(sendbuff, recvbuff, sendcount,
						(hocketDataType_t)datatype, hk_compat_comm(comm),
						hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAllGatherConfig);

ncclResult_t ncclBroadcastConfig(const void *sendbuff, void *recvbuff, size_t count,
				 ncclDataType_t datatype, int root, ncclComm_t comm,
				 cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketBroadcast(sendbuff, recvbuff, count,
						(hocketDataType_t)datatype, root,
						hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclBroadcastConfig);

ncclResult_t ncclReduceConfig(const void *sendbuff, void *recvbuff, size_t count,
			      ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm,
			      cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketReduce(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					     (hocketRedOp_t)op, root, hk_compat_comm(comm),
					     hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclReduceConfig);

ncclResult_t ncclAlltoAllConfig(const void *sendbuff, void *recvbuff, size_t count,
				ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
				const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketAlltoAll(sendbuff, recvbuff, count,
					       (hocketDataType_t)datatype, hk_compat_comm(comm),
					       hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclAlltoAllConfig);

ncclResult_t ncclGatherConfig(const void *sendbuff, void *recvbuff, size_t count,
			      ncclDataType_t datatype, int root, ncclComm_t comm,
			      cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketGather(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					     root, hk_compat_comm(comm), hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclGatherConfig);

ncclResult_t ncclScatterConfig(const void *sendbuff, void *recvbuff, size_t count,
			       ncclDataType_t datatype, int root, ncclComm_t comm,
			       cudaStream_t stream, const ncclCollConfig_t *config)
{
	ncclResult_t result = check(config);

	if (result)
		return result;
	return hk_compat_result(hocketScatter(sendbuff, recvbuff, count, (hocketDataType_t)datatype,
					      root, hk_compat_comm(comm),
					      hk_compat_stream(stream)));
}
HK_COMPAT_ALIAS(ncclScatterConfig);
