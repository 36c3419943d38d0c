/* SPDX-License-Identifier: BSD-3-Clause */
/* Communicators: how they are made, asked, and ended. The handle is Hocket's own. */
#include <stddef.h>
#include <string.h>

#include "compat.h"

/* NCCL's kernels wait without end, and programs rely on that: a rank may compute, or write a
 * checkpoint, for long. What watches over them (PyTorch's watchdog) is to decide before this. */
#define DEADLINE_MS 3600000

/* The oldest struct ends with `blocking`. Of what came later only the policy for multiprocessors
 * has a counterpart: none of them means copy engines for all that can go by them. The number of
 * channels is chosen by measurement, and nothing is shared by splits. */
ncclResult_t hk_compat_config(const ncclConfig_t *user, ncclComm_t parent, hocketConfig_t *config)
{
	ncclResult_t result;

	*config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config->device = HOCKET_DEVICE_CURRENT;
	config->usualTimeoutMs = DEADLINE_MS;
	if (parent && hocketCommDevice(hk_compat_comm(parent), &config->device) != hocketSuccess)
		config->device = HOCKET_DEVICE_CURRENT; /* what it is used for will say why */
	if (!user)
		return ncclSuccess;
	result = hk_compat_check_struct("config", user->size,
					offsetof(ncclConfig_t, blocking) + sizeof(user->blocking),
					user->magic, NCCL_API_MAGIC);
	if (result)
		return result;
	config->blocking = user->blocking;
	if (user->size >= offsetof(ncclConfig_t, CTAPolicy) + sizeof(user->CTAPolicy) &&
	    user->CTAPolicy == NCCL_CTA_POLICY_ZERO)
		config->copyBytes = 1;
	return ncclSuccess;
}

/* --- made --- */

ncclResult_t ncclGetUniqueId(ncclUniqueId *uniqueId)
{
	return hk_compat_result(hocketGetUniqueId((hocketUniqueId *)(void *)uniqueId));
}
HK_COMPAT_ALIAS(ncclGetUniqueId);

static ncclResult_t init(ncclComm_t *comm, int nranks, int rank, int nids, ncclUniqueId *ids,
			 const ncclConfig_t *user)
{
	hocketConfig_t config;
	ncclResult_t result = hk_compat_config(user, NULL, &config);

	if (result)
		return result;
	return hk_compat_result(hocketCommInitRankScalable(
		hk_compat_place(comm), nranks, rank, nids, (hocketUniqueId *)(void *)ids, &config));
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank)
{
	return init(comm, nranks, rank, 1, &commId, NULL);
}
HK_COMPAT_ALIAS(ncclCommInitRank);

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank,
				    ncclConfig_t *config)
{
	return init(comm, nranks, rank, 1, &commId, config);
}
HK_COMPAT_ALIAS(ncclCommInitRankConfig);

ncclResult_t ncclCommInitRankScalable(ncclComm_t *newcomm, int nranks, int myrank, int nId,
				      ncclUniqueId *commIds, ncclConfig_t *config)
{
	return init(newcomm, nranks, myrank, nId, commIds, config);
}
HK_COMPAT_ALIAS(ncclCommInitRankScalable);

static hocketResult_t init_all(ncclComm_t *comms, int ndev, const int *devlist)
{
	hocketUniqueId id;
	hocketConfig_t config;
	hocketResult_t result = hocketGetUniqueId(&id), end;
	int count = 0;

	if (result == hocketSuccess)
		result = hocketDeviceCount(&count);
	if (result == hocketSuccess)
		result = hocketGroupStart();
	if (result != hocketSuccess)
		return result;
	hk_compat_config(NULL, NULL, &config); /* does not fail without a user's */
	for (int i = 0; i < ndev; i++)
		comms[i] = NULL;
	for (int i = 0; i < ndev && result == hocketSuccess; i++) {
		config.device = devlist ? devlist[i] : count ? i % count : HOCKET_CONFIG_UNDEF_INT;
		result = hocketCommInitRankConfig(hk_compat_place(&comms[i]), ndev, id, i, &config);
	}
	end = hocketGroupEnd();
	for (int i = 0; i < ndev && end != hocketSuccess; i++) {
		if (comms[i])
			hocketCommAbort(hk_compat_comm(comms[i]));
		comms[i] = NULL;
	}
	return result == hocketSuccess ? end : result;
}

/* As in NCCL: a group of creations, which in another group go on to its end. */
ncclResult_t ncclCommInitAll(ncclComm_t *comms, int ndev, const int *devlist)
{
	if (!comms || ndev < 1)
		return hk_compat_refuse(ncclInvalidArgument, "ncclCommInitAll: %s",
					comms ? "ndev must be at least 1" : "comms is NULL");
	return hk_compat_result(init_all(comms, ndev, devlist));
}
HK_COMPAT_ALIAS(ncclCommInitAll);

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *newcomm,
			   ncclConfig_t *user)
{
	hocketConfig_t config;
	ncclResult_t result = hk_compat_config(user, comm, &config);

	if (result)
		return result;
	return hk_compat_result(hocketCommSplit(hk_compat_comm(comm), color, key,
						hk_compat_place(newcomm), user ? &config : NULL));
}
HK_COMPAT_ALIAS(ncclCommSplit);

/* --- ended: NULL is fine in NCCL --- */

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
	return comm ? hk_compat_result(hocketCommFinalize(hk_compat_comm(comm))) : ncclSuccess;
}
HK_COMPAT_ALIAS(ncclCommFinalize);

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
	return comm ? hk_compat_result(hocketCommDestroy(hk_compat_comm(comm))) : ncclSuccess;
}
HK_COMPAT_ALIAS(ncclCommDestroy);

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
	return comm ? hk_compat_result(hocketCommAbort(hk_compat_comm(comm))) : ncclSuccess;
}
HK_COMPAT_ALIAS(ncclCommAbort);

ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags)
{
	return hk_compat_unsupported(
		__func__, "a communicator cannot be stopped and kept; end it with ncclCommAbort");
}
HK_COMPAT_ALIAS(ncclCommRevoke);

ncclResult_t ncclCommSuspend(ncclComm_t comm, int flags)
{
	return hk_compat_unsupported(__func__, "a communicator keeps its memory until "
					       "ncclCommDestroy");
}
HK_COMPAT_ALIAS(ncclCommSuspend);

ncclResult_t ncclCommResume(ncclComm_t comm)
{
	return hk_compat_unsupported(__func__, "no communicator can be suspended");
}
HK_COMPAT_ALIAS(ncclCommResume);

/* --- asked --- */

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *asyncError)
{
	hocketResult_t state = hocketSuccess, result;

	result = hocketCommGetAsyncError(hk_compat_comm(comm), asyncError ? &state : NULL);
	if (result == hocketSuccess)
		*asyncError = (ncclResult_t)state;
	return hk_compat_result(result);
}
HK_COMPAT_ALIAS(ncclCommGetAsyncError);

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
	return hk_compat_result(hocketCommCount(hk_compat_comm(comm), count));
}
HK_COMPAT_ALIAS(ncclCommCount);

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
	return hk_compat_result(hocketCommUserRank(hk_compat_comm(comm), rank));
}
HK_COMPAT_ALIAS(ncclCommUserRank);

/* -1 for a communicator of host memory. */
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
	return hk_compat_result(hocketCommDevice(hk_compat_comm(comm), device));
}
HK_COMPAT_ALIAS(ncclCommCuDevice);

/* All of NCCL's statistics are of GPU memory: a communicator without a GPU has none. */
ncclResult_t ncclCommMemStats(ncclComm_t comm, ncclCommMemStat_t stat, uint64_t *value)
{
	int device;
	size_t bytes = 0;
	hocketResult_t result = hocketCommDevice(hk_compat_comm(comm), &device);

	if (result != hocketSuccess)
		return hk_compat_result(result);
	if (!value || (unsigned int)stat > ncclStatGpuMemTotal)
		return hk_compat_refuse(ncclInvalidArgument, "ncclCommMemStats: %s",
					value ? "there is no such statistic" : "value is NULL");
	/* None of it can be given up for a while. */
	if (device >= 0 && (stat == ncclStatGpuMemPersist || stat == ncclStatGpuMemTotal))
		result = hocketCommDeviceMemory(hk_compat_comm(comm), &bytes);
	*value = bytes;
	return hk_compat_result(result);
}
HK_COMPAT_ALIAS(ncclCommMemStats);

/* Fills as much as the caller's struct has. No rank reaches another one's memory from a kernel, so
 * each is an "LSA team" of its own. */
ncclResult_t ncclCommQueryProperties(ncclComm_t comm, ncclCommProperties_t *props)
{
	const size_t head = offsetof(ncclCommProperties_t, rank);
	ncclCommProperties_t known;
	hocketResult_t asked;
	ncclResult_t result;
	size_t size;

	if (!props)
		return hk_compat_refuse(ncclInvalidArgument,
					"ncclCommQueryProperties: props is NULL");
	result = hk_compat_check_struct("props", props->size, head, props->magic, NCCL_API_MAGIC);
	if (result)
		return result;
	memset(&known, 0, sizeof(known));
	asked = hocketCommCount(hk_compat_comm(comm), &known.nRanks);
	if (asked == hocketSuccess)
		asked = hocketCommUserRank(hk_compat_comm(comm), &known.rank);
	if (asked == hocketSuccess)
		asked = hocketCommDevice(hk_compat_comm(comm), &known.cudaDev);
	if (asked != hocketSuccess)
		return hk_compat_result(asked);
	known.nvmlDev = -1;
	known.nLsaTeams = known.nRanks;
	size = props->size < sizeof(known) ? props->size : sizeof(known);
	memcpy((char *)props + head, (char *)&known + head, size - head);
	return ncclSuccess;
}
HK_COMPAT_ALIAS(ncclCommQueryProperties);

/* --- registered buffers --- */

ncclResult_t ncclCommRegister(const ncclComm_t comm, void *buff, size_t size, void **handle)
{
	return hk_compat_result(hocketCommRegister(hk_compat_comm(comm), buff, size, handle));
}
HK_COMPAT_ALIAS(ncclCommRegister);

ncclResult_t ncclCommDeregister(const ncclComm_t comm, void *handle)
{
	return hk_compat_result(hocketCommDeregister(hk_compat_comm(comm), handle));
}
HK_COMPAT_ALIAS(ncclCommDeregister);
