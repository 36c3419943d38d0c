/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows, one-sided calls and the API for kernels (nccl_device). Of these Hocket has windows for
 * collectives; the rest is refused, and here because a program that only mentions it does not start
 * without it.
 * Teams are mere arithmetic on ranks, and answered: no rank reaches another one's memory from a
 * kernel, so each is alone in its LSA team.
 */
#include "compat.h"

static const char no_pointers[] =
	"kernels have no window of another rank; windows serve collectives only";
static const char no_kernels[] = "kernels cannot communicate; ncclCommQueryProperties says so "
				 "(deviceApiSupport)";
static const char no_puts[] = "there is no one-sided communication; use ncclSend and ncclRecv";

/* --- windows --- */

static hocketWindow_t window_of(ncclWindow_t win)
{
	return (hocketWindow_t)(void *)win;
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void *buff, size_t size, ncclWindow_t *win,
				    int winFlags)
{
	int known = winFlags & NCCL_WIN_COLL_SYMMETRIC ? HOCKET_WINDOW_SYMMETRIC : 0;

	/* Unknown ones are Hocket's to refuse, on all ranks. */
	return hk_compat_result(hocketCommWindowRegister(
		hk_compat_comm(comm), buff, size, (hocketWindow_t *)(void *)win,
		winFlags & ~NCCL_WIN_COLL_SYMMETRIC ? -1 : known));
}
HK_COMPAT_ALIAS(ncclCommWindowRegister);

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win)
{
	return hk_compat_result(hocketCommWindowDeregister(hk_compat_comm(comm), window_of(win)));
}
HK_COMPAT_ALIAS(ncclCommWindowDeregister);

ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win, void **outUserPtr)
{
	return hk_compat_result(
		hocketWindowGetPtr(hk_compat_comm(comm), window_of(win), outUserPtr));
}
HK_COMPAT_ALIAS(ncclWinGetUserPtr);

ncclResult_t ncclGetLsaMultimemDevicePointer(ncclWindow_t window, size_t offset, void **outPtr)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetLsaMultimemDevicePointer);

ncclResult_t ncclGetMultimemDevicePointer(ncclWindow_t window, size_t offset,
					  ncclMultimemHandle_t multimem, void **outPtr)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetMultimemDevicePointer);

ncclResult_t ncclGetLsaDevicePointer(ncclWindow_t window, size_t offset, int lsaRank, void **outPtr)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetLsaDevicePointer);

ncclResult_t ncclGetPeerDevicePointer(ncclWindow_t window, size_t offset, int peer, void **outPtr)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetPeerDevicePointer);

ncclResult_t ncclGetMultimemDeviceLeInfo(ncclWindow_t window, size_t offset, uint32_t *leId,
					 size_t *leOffset)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetMultimemDeviceLeInfo);

ncclResult_t ncclGetCftDeviceLeInfo(ncclWindow_t window, size_t offset, int peerCft,
				    ncclTeam_t cftTeam, uint32_t *leId, size_t *leOffset)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetCftDeviceLeInfo);

ncclResult_t ncclGetPeerDeviceLeInfo(ncclWindow_t window, size_t offset, int peerWorld,
				     uint32_t *leId, size_t *leOffset)
{
	return hk_compat_unsupported(__func__, no_pointers);
}
HK_COMPAT_ALIAS(ncclGetPeerDeviceLeInfo);

/* --- one-sided --- */

ncclResult_t ncclPutSignal(const void *localbuff, size_t count, ncclDataType_t datatype, int peer,
			   ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx,
			   unsigned int flags, ncclComm_t comm, cudaStream_t stream)
{
	return hk_compat_unsupported(__func__, no_puts);
}
HK_COMPAT_ALIAS(ncclPutSignal);

ncclResult_t ncclSignal(int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
			cudaStream_t stream)
{
	return hk_compat_unsupported(__func__, no_puts);
}
HK_COMPAT_ALIAS(ncclSignal);

ncclResult_t ncclWaitSignal(int nDesc, ncclWaitSignalDesc_t *signalDescs, ncclComm_t comm,
			    cudaStream_t stream)
{
	return hk_compat_unsupported(__func__, no_puts);
}
HK_COMPAT_ALIAS(ncclWaitSignal);

/* --- kernels --- */

ncclResult_t ncclDevCommCreate(ncclComm_t comm, const void *reqs, void *outDevComm)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclDevCommCreate);

ncclResult_t ncclDevCommDestroy(ncclComm_t comm, const void *devComm)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclDevCommDestroy);

ncclResult_t ncclLsaBarrierCreateRequirement(ncclTeam_t team, int nBarriers, void *outHandle,
					     void *outReq)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclLsaBarrierCreateRequirement);

ncclResult_t ncclGinBarrierCreateRequirement(ncclComm_t comm, ncclTeam_t team, int nBarriers,
					     void *outHandle, void *outReq)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclGinBarrierCreateRequirement);

ncclResult_t ncclLLA2ACreateRequirement(int nBlocks, int nSlots, void *outHandle, void *outReq)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclLLA2ACreateRequirement);

ncclResult_t ncclGinOutboxCreateRequirement(int nBlocks, int size_log2, void *outHandle,
					    void *outReq)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclGinOutboxCreateRequirement);

ncclResult_t ncclGinInboxA2ACreateRequirement(ncclTeam_t peers, int nBlocks, int size_log2,
					      void *outHandle, void *outReq)
{
	return hk_compat_unsupported(__func__, no_kernels);
}
HK_COMPAT_ALIAS(ncclGinInboxA2ACreateRequirement);

/* The answer is a number of slots, so a refusal can only be none. */
int ncclLLA2ACalcSlots(int maxElts, int maxEltSize)
{
	hk_compat_unsupported(__func__, no_kernels);
	return 0;
}
HK_COMPAT_ALIAS(ncclLLA2ACalcSlots);

/* --- teams: one of no ranks where comm is not a communicator --- */

static ncclTeam_t world(ncclComm_t comm)
{
	ncclTeam_t team = {0, 0, 0};
	hocketResult_t result = hocketCommCount(hk_compat_comm(comm), &team.nRanks);

	if (result == hocketSuccess)
		result = hocketCommUserRank(hk_compat_comm(comm), &team.rank);
	if (hk_compat_result(result))
		return (ncclTeam_t){0, 0, 0};
	team.stride = 1;
	return team;
}

ncclTeam_t ncclTeamWorld(ncclComm_t comm)
{
	return world(comm);
}
HK_COMPAT_ALIAS(ncclTeamWorld);

ncclTeam_t ncclTeamLsa(ncclComm_t comm)
{
	ncclTeam_t all = world(comm);

	return all.nRanks ? (ncclTeam_t){1, 0, 1} : all;
}
HK_COMPAT_ALIAS(ncclTeamLsa);

/* The ranks with the same number in their LSA teams: all of them. */
ncclTeam_t ncclTeamRail(ncclComm_t comm)
{
	return world(comm);
}
HK_COMPAT_ALIAS(ncclTeamRail);

ncclTeam_t ncclTeamCft(ncclComm_t comm, int mode)
{
	hk_compat_unsupported(__func__, no_kernels);
	return (ncclTeam_t){0, 0, 0};
}
HK_COMPAT_ALIAS(ncclTeamCft);

ncclTeam_t ncclTeamCftMultimem(ncclComm_t comm)
{
	hk_compat_unsupported(__func__, no_kernels);
	return (ncclTeam_t){0, 0, 0};
}
HK_COMPAT_ALIAS(ncclTeamCftMultimem);

int ncclTeamRankToWorld(ncclComm_t comm, ncclTeam_t team, int rank)
{
	return world(comm).rank + (rank - team.rank) * team.stride;
}
HK_COMPAT_ALIAS(ncclTeamRankToWorld);

int ncclTeamRankToLsa(ncclComm_t comm, ncclTeam_t team, int rank)
{
	return (rank - team.rank) * team.stride;
}
HK_COMPAT_ALIAS(ncclTeamRankToLsa);
