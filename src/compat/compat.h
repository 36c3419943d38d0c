/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of libnccl.so.2 share: NCCL's types and handles as Hocket's and back, results and
 * their sentences, and the second name that NCCL gives each of its functions.
 *
 * A call either goes to Hocket, which then has its sentence, or is refused here. A refusal inside a
 * group makes the group fail at its end, as a failing call of Hocket does.
 */
#ifndef HK_COMPAT_H
#define HK_COMPAT_H

#include "hocket/hocket.h"
#include "nccl_abi.h"

_Static_assert((int)ncclSuccess == (int)hocketSuccess &&
		       (int)ncclUnhandledCudaError == (int)hocketUnhandledCudaError &&
		       (int)ncclSystemError == (int)hocketSystemError &&
		       (int)ncclInternalError == (int)hocketInternalError &&
		       (int)ncclInvalidArgument == (int)hocketInvalidArgument &&
		       (int)ncclInvalidUsage == (int)hocketInvalidUsage &&
		       (int)ncclRemoteError == (int)hocketRemoteError &&
		       (int)ncclInProgress == (int)hocketInProgress,
	       "results agree");
_Static_assert((int)ncclInt8 == (int)hocketInt8 && (int)ncclUint8 == (int)hocketUint8 &&
		       (int)ncclInt32 == (int)hocketInt32 && (int)ncclUint32 == (int)hocketUint32 &&
		       (int)ncclInt64 == (int)hocketInt64 && (int)ncclUint64 == (int)hocketUint64 &&
		       (int)ncclFloat16 == (int)hocketFloat16 &&
		       (int)ncclFloat32 == (int)hocketFloat32 &&
		       (int)ncclFloat64 == (int)hocketFloat64 &&
		       (int)ncclBfloat16 == (int)hocketBfloat16 &&
		       (int)ncclFloat8e4m3 == (int)hocketFloat8e4m3 &&
		       (int)ncclFloat8e5m2 == (int)hocketFloat8e5m2 &&
		       (int)ncclNumTypes == (int)hocketNumTypes,
	       "types agree");
_Static_assert((int)ncclSum == (int)hocketSum && (int)ncclProd == (int)hocketProd &&
		       (int)ncclMax == (int)hocketMax && (int)ncclMin == (int)hocketMin &&
		       (int)ncclAvg == (int)hocketAvg && (int)ncclNumOps == (int)hocketNumOps &&
		       (int)ncclMaxRedOp == (int)hocketMaxRedOp,
	       "operations agree");
_Static_assert((int)ncclScalarDevice == (int)hocketScalarDevice &&
		       (int)ncclScalarHostImmediate == (int)hocketScalarHostImmediate,
	       "places of scalars agree");
_Static_assert(NCCL_CONFIG_UNDEF_INT == HOCKET_CONFIG_UNDEF_INT &&
		       NCCL_SPLIT_NOCOLOR == HOCKET_SPLIT_NOCOLOR &&
		       sizeof(ncclUniqueId) == sizeof(hocketUniqueId),
	       "constants agree");

/* The function's other name: a profiler takes ncclX for itself and calls pncclX. */
#define HK_COMPAT_ALIAS(name)                                                                      \
	extern __typeof(name) p##name __attribute__((alias(#name), visibility("default")))

static inline hocketComm_t hk_compat_comm(ncclComm_t comm)
{
	return (hocketComm_t)(void *)comm;
}

/* Hocket writes the handle there, at the end of a group perhaps; all pointers look alike. */
static inline hocketComm_t *hk_compat_place(ncclComm_t *comm)
{
	return (hocketComm_t *)(void *)comm;
}

/* Hocket says which streams a communicator takes. */
static inline hocketStream_t hk_compat_stream(cudaStream_t stream)
{
	return (hocketStream_t)(void *)stream;
}

/* hk_compat_result's other half: the sentence is Hocket's from now on. */
void hk_compat_forget(void);

/* What Hocket said, as NCCL's code. */
static inline ncclResult_t hk_compat_result(hocketResult_t result)
{
	if (__builtin_expect(result != hocketSuccess && result != hocketInProgress, 0))
		hk_compat_forget();
	return (ncclResult_t)result;
}

/* Records the sentence for ncclGetLastError, makes an open group fail, and returns code. */
ncclResult_t hk_compat_refuse(ncclResult_t code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));
/* Refuses what the function called `name` is for, with ncclInvalidUsage. */
ncclResult_t hk_compat_unsupported(const char *name, const char *why) __attribute__((cold));
/* This thread is between ncclGroupStart and ncclGroupEnd. */
bool hk_compat_in_group(void);

/* Checks the start that all of NCCL's versioned structs have: as long as `least` bytes, and magic.
 */
ncclResult_t hk_compat_check_struct(const char *name, size_t size, size_t least, unsigned int magic,
				    unsigned int expected);
/* Fills config, from user if that is not NULL. The GPU is that of `parent`, or if that is NULL the
 * calling thread's, as NCCL has it. */
ncclResult_t hk_compat_config(const ncclConfig_t *user, ncclComm_t parent, hocketConfig_t *config);

#endif
