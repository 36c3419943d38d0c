/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Results and their sentences, groups, the version: what concerns all calls. A thread has one last
 * refusal of this library; when Hocket fails later, its sentence is the last one again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "compat.h"

enum { SENTENCE = 512 };

static _Thread_local char refusal[SENTENCE];
static _Thread_local struct {
	unsigned depth;
	ncclResult_t refused; /* the first refusal in this group */
	char sentence[SENTENCE];
} group;

void hk_compat_forget(void)
{
	refusal[0] = 0;
}

ncclResult_t hk_compat_refuse(ncclResult_t code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(refusal, sizeof(refusal), fmt, args);
	va_end(args);
	if (!group.depth || group.refused)
		return code;
	group.refused = code;
	memcpy(group.sentence, refusal, sizeof(group.sentence));
	/* Hocket has to drop the group, too: it does after a call on no communicator. */
	hocketBarrier(NULL, NULL);
	return code;
}

ncclResult_t hk_compat_unsupported(const char *name, const char *why)
{
	return hk_compat_refuse(ncclInvalidUsage, "%s is not supported: %s", name, why);
}

bool hk_compat_in_group(void)
{
	return group.depth > 0;
}

ncclResult_t hk_compat_check_struct(const char *name, size_t size, size_t least, unsigned int magic,
				    unsigned int expected)
{
	if (magic != expected)
		return hk_compat_refuse(
			ncclInvalidArgument,
			"%s has the magic 0x%x instead of 0x%x; start from nccl.h's "
			"initializer",
			name, magic, expected);
	if (size < least || size > 4096)
		return hk_compat_refuse(ncclInvalidArgument,
					"%s.size is %zu; start from nccl.h's initializer", name,
					size);
	return ncclSuccess;
}

/* --- groups --- */

ncclResult_t ncclGroupStart(void)
{
	hocketResult_t result = hocketGroupStart();

	group.depth += result == hocketSuccess;
	return hk_compat_result(result);
}
HK_COMPAT_ALIAS(ncclGroupStart);

ncclResult_t ncclGroupEnd(void)
{
	ncclResult_t result = hk_compat_result(hocketGroupEnd());
	ncclResult_t refused = group.refused;

	if (!group.depth || --group.depth || !refused)
		return result;
	group.refused = ncclSuccess;
	memcpy(refusal, group.sentence, sizeof(refusal));
	return refused;
}
HK_COMPAT_ALIAS(ncclGroupEnd);

ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t *simInfo)
{
	return hk_compat_unsupported(__func__,
				     "a group is run, not simulated; it is still open and "
				     "fails at ncclGroupEnd (`hocket explain` predicts "
				     "the time of a collective)");
}
HK_COMPAT_ALIAS(ncclGroupSimulateEnd);

/* --- the library --- */

ncclResult_t ncclGetVersion(int *version)
{
	if (!version)
		return hk_compat_refuse(ncclInvalidArgument, "ncclGetVersion: version is NULL");
	*version = NCCL_VERSION_CODE;
	return ncclSuccess;
}
HK_COMPAT_ALIAS(ncclGetVersion);

const char *ncclGetErrorString(ncclResult_t result)
{
	if (result == ncclTimeout)
		return "something did not come in time";
	return hocketGetErrorString((hocketResult_t)result);
}
HK_COMPAT_ALIAS(ncclGetErrorString);

/* The failure of a communicator counts for more than what this thread did last. */
const char *ncclGetLastError(ncclComm_t comm)
{
	hocketResult_t state = hocketSuccess;

	if (!refusal[0])
		return hocketGetLastError(hk_compat_comm(comm));
	if (!comm || hocketCommGetAsyncError(hk_compat_comm(comm), &state) != hocketSuccess ||
	    state == hocketSuccess || state == hocketInProgress)
		return refusal;
	return hocketGetLastError(hk_compat_comm(comm));
}
HK_COMPAT_ALIAS(ncclGetLastError);

/* NCCL reads its variables for the log anew; Hocket's are read once. */
void ncclResetDebugInit(void)
{
}
HK_COMPAT_ALIAS(ncclResetDebugInit);

/* Start-up is always authenticated by the id's secret. Nothing is encrypted. */
ncclResult_t ncclSetEncryption(const ncclEncryptionConfig_t *config)
{
	ncclResult_t result;

	if (!config)
		return hk_compat_refuse(ncclInvalidArgument, "ncclSetEncryption: config is NULL");
	result = hk_compat_check_struct("the encryption's config", config->size, sizeof(*config),
					config->magic, NCCL_API_MAGIC);
	if (result || config->mode == NCCL_ENCRYPTION_MODE_NONE)
		return result;
	return hk_compat_unsupported(__func__, "connections are authenticated, but not encrypted; "
					       "use a network that is (WireGuard, IPsec)");
}
HK_COMPAT_ALIAS(ncclSetEncryption);

/* --- memory --- */

ncclResult_t ncclMemAlloc(void **ptr, size_t size)
{
	return hk_compat_result(hocketDeviceMemAlloc(ptr, size, HOCKET_DEVICE_CURRENT));
}
HK_COMPAT_ALIAS(ncclMemAlloc);

ncclResult_t ncclMemFree(void *ptr)
{
	return hk_compat_result(hocketMemFree(ptr));
}
HK_COMPAT_ALIAS(ncclMemFree);
