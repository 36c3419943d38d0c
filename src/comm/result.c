/* SPDX-License-Identifier: BSD-3-Clause */
/* Internal codes become public results here and nowhere else; and the queries about results. */
#include <errno.h>

#include "comm.h"

/* The public numbers are the internal ones: the lower layers don't include the public header. */
_Static_assert((int)hocketInt8 == HK_INT8 && (int)hocketUint8 == HK_UINT8 &&
		       (int)hocketInt32 == HK_INT32 && (int)hocketUint32 == HK_UINT32 &&
		       (int)hocketInt64 == HK_INT64 && (int)hocketUint64 == HK_UINT64 &&
		       (int)hocketFloat16 == HK_FLOAT16 && (int)hocketFloat32 == HK_FLOAT32 &&
		       (int)hocketFloat64 == HK_FLOAT64 && (int)hocketBfloat16 == HK_BFLOAT16 &&
		       (int)hocketFloat8e4m3 == HK_FLOAT8E4M3 &&
		       (int)hocketFloat8e5m2 == HK_FLOAT8E5M2 && (int)hocketNumTypes == HK_NTYPES,
	       "types agree");
_Static_assert((int)hocketSum == HK_SUM && (int)hocketProd == HK_PROD && (int)hocketMax == HK_MAX &&
		       (int)hocketMin == HK_MIN && (int)hocketAvg == HK_NREDOPS,
	       "operations agree");

hocketResult_t hk_result(int err)
{
	switch (-err) {
	case 0:
		return hocketSuccess;
	case EINVAL:
	case EOVERFLOW:
		return hocketInvalidArgument;
	case HK_EUSAGE:
	case HK_EMISMATCH:
		return hocketInvalidUsage;
	case ETIMEDOUT:
	case HK_EPEER:
	case HK_EABORT:
	case HK_EAUTH:
	case HK_EWIRE:
	case HK_ESWITCH:
		return hocketRemoteError;
	case HK_ECUDA:
		return hocketUnhandledCudaError;
	case HK_EPROOF:
		return hocketInternalError;
	case EINPROGRESS:
		return hocketInProgress;
	default:
		return hocketSystemError;
	}
}

hocketResult_t hocketGetVersion(int *version)
{
	if (!version)
		return hk_result(hk_fail_quiet(EINVAL, "hocketGetVersion: version is NULL"));
	*version = HOCKET_VERSION_CODE;
	return hocketSuccess;
}

const char *hocketGetErrorString(hocketResult_t result)
{
	switch (result) {
	case hocketSuccess:
		return "no error";
	case hocketUnhandledCudaError:
		return "a CUDA call failed";
	case hocketSystemError:
		return "the operating system refused something (hocketGetLastError says what)";
	case hocketInternalError:
		return "internal error, please report it (hocketGetLastError says what)";
	case hocketInvalidArgument:
		return "invalid argument (hocketGetLastError says which)";
	case hocketInvalidUsage:
		return "invalid usage, or ranks whose calls do not match (hocketGetLastError says "
		       "which)";
	case hocketRemoteError:
		return "a peer died, aborted or did not come in time (hocketGetLastError says "
		       "which)";
	case hocketInProgress:
		return "not finished yet";
	default:
		return "unknown result code";
	}
}

/* 0, -EINPROGRESS or the failure, whose sentence becomes this thread's last. */
static int state_of(hocketComm_t comm, int *state)
{
	struct hk_make *m = hk_handle_enter_make(comm);
	struct hk_comm *c;
	int made;

	if (!m)
		return hk_handle_why();
	made = hk_make_status(m);
	hk_handle_leave(comm);
	if (made) {
		*state = made;
		return 0;
	}
	c = hk_handle_enter(comm);
	if (!c)
		return hk_handle_why();
	*state = hk_comm_check(c);
	if (!*state && !c->config.blocking && c->finalized && hk_comm_is_busy(c))
		*state = -EINPROGRESS;
	hk_handle_leave(comm);
	return 0;
}

hocketResult_t hocketCommGetAsyncError(hocketComm_t comm, hocketResult_t *asyncError)
{
	int state = 0, err;

	if (!asyncError)
		return hk_result(
			hk_fail_quiet(EINVAL, "hocketCommGetAsyncError: asyncError is NULL"));
	err = state_of(comm, &state);
	if (err)
		return hk_result(err);
	*asyncError = hk_result(state);
	return hocketSuccess;
}

const char *hocketGetLastError(hocketComm_t comm)
{
	int state;

	/* Its sentence becomes this thread's, so it outlives the handle. */
	if (comm)
		state_of(comm, &state);
	return hk_last_error();
}
