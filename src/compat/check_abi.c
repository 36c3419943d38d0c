/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compares nccl_abi.h with the nccl.h of the toolkit while compiling, and is otherwise empty. Both
 * declare the same names, so meson hands this file a copy of ours in which each begins with abi_.
 * The toolkit's may be older or newer: a field is compared where its release has it.
 */
#include <stddef.h>

#include <nccl.h>
#ifdef WITH_NCCL_DEVICE_H
#include <nccl_device.h>
#endif

#include "nccl_abi_renamed.h"

/* A whole enumeration's values, a constant, or a field's place and size. */
#define SAME(name) _Static_assert((long long)(abi_##name) == (long long)(name), #name)
#define SAME_FIELD(type, field)                                                                    \
	_Static_assert(offsetof(abi_##type, field) == offsetof(type, field) &&                     \
			       sizeof(((abi_##type *)0)->field) == sizeof(((type *)0)->field),     \
		       #type "." #field)
#define SAME_SIZE(type) _Static_assert(sizeof(abi_##type) == sizeof(type), #type)

SAME(ncclSuccess);
SAME(ncclUnhandledCudaError);
SAME(ncclSystemError);
SAME(ncclInternalError);
SAME(ncclInvalidArgument);
SAME(ncclInvalidUsage);
SAME(ncclRemoteError);
SAME(ncclInProgress);
SAME_SIZE(ncclResult_t);

SAME(ncclSum);
SAME(ncclProd);
SAME(ncclMax);
SAME(ncclMin);
SAME(ncclAvg);
SAME(ncclNumOps);
SAME(ncclMaxRedOp);
SAME_SIZE(ncclRedOp_t);

SAME(ncclInt8);
SAME(ncclChar);
SAME(ncclUint8);
SAME(ncclInt32);
SAME(ncclInt);
SAME(ncclUint32);
SAME(ncclInt64);
SAME(ncclUint64);
SAME(ncclFloat16);
SAME(ncclHalf);
SAME(ncclFloat32);
SAME(ncclFloat);
SAME(ncclFloat64);
SAME(ncclDouble);
SAME(ncclBfloat16);
SAME_SIZE(ncclDataType_t);

SAME(ncclScalarDevice);
SAME(ncclScalarHostImmediate);
SAME_SIZE(ncclScalarResidence_t);

SAME(NCCL_UNIQUE_ID_BYTES);
SAME_SIZE(ncclUniqueId);
SAME(NCCL_CONFIG_UNDEF_INT);
SAME(NCCL_SPLIT_NOCOLOR);

SAME_FIELD(ncclConfig_t, size);
SAME_FIELD(ncclConfig_t, magic);
SAME_FIELD(ncclConfig_t, version);
SAME_FIELD(ncclConfig_t, blocking);

#if NCCL_VERSION_CODE >= 21800
SAME_FIELD(ncclConfig_t, cgaClusterSize);
SAME_FIELD(ncclConfig_t, minCTAs);
SAME_FIELD(ncclConfig_t, maxCTAs);
SAME_FIELD(ncclConfig_t, netName);
SAME_FIELD(ncclConfig_t, splitShare);
#endif

#if NCCL_VERSION_CODE >= 22200
SAME_FIELD(ncclSimInfo_t, size);
SAME_FIELD(ncclSimInfo_t, magic);
SAME_FIELD(ncclSimInfo_t, version);
SAME_FIELD(ncclSimInfo_t, estimatedTime);
SAME_SIZE(ncclSimInfo_t);
#endif

#if NCCL_VERSION_CODE >= 22400
SAME(ncclFloat8e4m3);
SAME(ncclFloat8e5m2);
SAME(ncclNumTypes);
#endif

#if NCCL_VERSION_CODE >= 22800
SAME_FIELD(ncclConfig_t, trafficClass);
SAME_FIELD(ncclConfig_t, commName);
SAME_FIELD(ncclConfig_t, collnetEnable);
SAME_FIELD(ncclConfig_t, CTAPolicy);
SAME_FIELD(ncclConfig_t, shrinkShare);
SAME_FIELD(ncclConfig_t, nvlsCTAs);
SAME_FIELD(ncclConfig_t, nChannelsPerNetPeer);
SAME_FIELD(ncclConfig_t, nvlinkCentricSched);
SAME(NCCL_WIN_DEFAULT);
SAME(NCCL_WIN_COLL_SYMMETRIC);
SAME(NCCL_WIN_REQUIRED_ALIGNMENT);
SAME(NCCL_CTA_POLICY_DEFAULT);
SAME(NCCL_CTA_POLICY_EFFICIENCY);
SAME(NCCL_CTA_POLICY_ZERO);
SAME(NCCL_SHRINK_DEFAULT);
SAME(NCCL_SHRINK_ABORT);
#endif

#if NCCL_VERSION_CODE >= 23000
SAME_FIELD(ncclConfig_t, graphUsageMode);
SAME_FIELD(ncclConfig_t, numRmaCtx);
SAME_FIELD(ncclConfig_t, maxP2pPeers);
SAME_FIELD(ncclConfig_t, graphStreamOrdering);
SAME(NCCL_API_MAGIC);
SAME(NCCL_REVOKE_DEFAULT);
SAME(NCCL_SUSPEND_MEM);
SAME(ncclTimeout);
SAME(ncclStatGpuMemSuspend);
SAME(ncclStatGpuMemSuspended);
SAME(ncclStatGpuMemPersist);
SAME(ncclStatGpuMemTotal);
SAME_SIZE(ncclCommMemStat_t);
SAME_FIELD(ncclWaitSignalDesc_t, opCnt);
SAME_FIELD(ncclWaitSignalDesc_t, peer);
SAME_FIELD(ncclWaitSignalDesc_t, sigIdx);
SAME_FIELD(ncclWaitSignalDesc_t, ctx);
SAME_SIZE(ncclWaitSignalDesc_t);
#endif

#if NCCL_VERSION_CODE >= 23200
SAME_FIELD(ncclConfig_t, launchOrderImplicit);
SAME_FIELD(ncclConfig_t, numRmaSig);
SAME_FIELD(ncclConfig_t, rmaEagerInit);
SAME_FIELD(ncclConfig_t, hostCftMode);
SAME_FIELD(ncclConfig_t, nvlsHostMode);
SAME_FIELD(ncclCollConfig_t, size);
SAME_FIELD(ncclCollConfig_t, magic);
SAME_FIELD(ncclCollConfig_t, version);
SAME_FIELD(ncclCollConfig_t, ext);
SAME_FIELD(ncclCollConfig_t, minCTAs);
SAME_FIELD(ncclCollConfig_t, maxCTAs);
SAME_FIELD(ncclCollConfig_t, nvlsCTAs);
SAME_FIELD(ncclCollConfig_t, cgaClusterSize);
SAME_FIELD(ncclCollConfig_t, algSelection);
SAME_FIELD(ncclCollConfig_t, forceAlgSelection);
SAME_FIELD(ncclCollConfig_t, CTAPolicy);
SAME_FIELD(ncclCollConfig_t, userProfilerTag);
SAME_FIELD(ncclCollConfig_t, launchCompletionEvent);
SAME(NCCL_ENCRYPTION_MODE_NONE);
SAME(NCCL_ENCRYPTION_MODE_PSK);
SAME_FIELD(ncclEncryptionConfig_t, mode);
SAME_FIELD(ncclEncryptionConfig_t, psk);
SAME_SIZE(ncclEncryptionConfig_t);
#endif

/* meson has seen that it compiles: those before 2.32 are C++. */
#if defined(WITH_NCCL_DEVICE_H) && NCCL_VERSION_CODE >= 23200
SAME(NCCL_GIN_CONNECTION_NONE);
SAME(NCCL_GIN_TYPE_NONE);
SAME_FIELD(ncclCommProperties_t, rank);
SAME_FIELD(ncclCommProperties_t, nRanks);
SAME_FIELD(ncclCommProperties_t, cudaDev);
SAME_FIELD(ncclCommProperties_t, nvmlDev);
SAME_FIELD(ncclCommProperties_t, deviceApiSupport);
SAME_FIELD(ncclCommProperties_t, multimemSupport);
SAME_FIELD(ncclCommProperties_t, ginType);
SAME_FIELD(ncclCommProperties_t, nLsaTeams);
SAME_FIELD(ncclCommProperties_t, hostRmaSupport);
SAME_FIELD(ncclCommProperties_t, railedGinType);
SAME_SIZE(ncclTeam_t);
SAME_SIZE(ncclMultimemHandle_t);
SAME_FIELD(ncclCommProperties_t, commHash);
SAME_FIELD(ncclCommProperties_t, ginMinStride);
SAME_FIELD(ncclCommProperties_t, ginConnectionType);
SAME_FIELD(ncclCommProperties_t, ginSupport);
SAME_FIELD(ncclCommProperties_t, devCommRuntimeVersionSize);
SAME_FIELD(ncclCommProperties_t, cftSupport);
SAME_FIELD(ncclCommProperties_t, cftMulticastSupport);
SAME_FIELD(ncclCommProperties_t, cftCountedSupport);
#endif

/* Only of the release that was written down is it known where the structs end. */
#if NCCL_VERSION_CODE >= 23200 && NCCL_VERSION_CODE < 23300
SAME_SIZE(ncclConfig_t);
SAME_SIZE(ncclCollConfig_t);
SAME(ncclNumResults);
#elif NCCL_VERSION_CODE < 23200
_Static_assert(sizeof(ncclConfig_t) <= sizeof(abi_ncclConfig_t), "ncclConfig_t only grows");
#endif
