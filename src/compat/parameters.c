/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NCCL's interface to its own parameters. There are none of those here, so the list of them is
 * empty and none can be had; `hocket doctor` lists Hocket's.
 */
#include "compat.h"

static const char none[] = "NCCL's parameters do not exist here; `hocket doctor` lists Hocket's";

ncclResult_t ncclParamBind(ncclParamHandle_t *out, const char *key)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamBind);

ncclResult_t ncclParamGetI8(ncclParamHandle_t h, int8_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetI8);

ncclResult_t ncclParamGetI16(ncclParamHandle_t h, int16_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetI16);

ncclResult_t ncclParamGetI32(ncclParamHandle_t h, int32_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetI32);

ncclResult_t ncclParamGetI64(ncclParamHandle_t h, int64_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetI64);

ncclResult_t ncclParamGetU8(ncclParamHandle_t h, uint8_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetU8);

ncclResult_t ncclParamGetU16(ncclParamHandle_t h, uint16_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetU16);

ncclResult_t ncclParamGetU32(ncclParamHandle_t h, uint32_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetU32);

ncclResult_t ncclParamGetU64(ncclParamHandle_t h, uint64_t *out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetU64);

ncclResult_t ncclParamGetStr(ncclParamHandle_t h, const char **out)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetStr);

ncclResult_t ncclParamGet(ncclParamHandle_t h, void *out, int maxLen, int *len)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGet);

ncclResult_t ncclParamGetParameter(const char *key, const char **value, int *valueLen)
{
	return hk_compat_unsupported(__func__, none);
}
HK_COMPAT_ALIAS(ncclParamGetParameter);

ncclResult_t ncclParamGetAllParameterKeys(const char ***table, int *tableLen)
{
	static const char *nothing[1];

	if (!table || !tableLen)
		return hk_compat_refuse(ncclInvalidArgument,
					"ncclParamGetAllParameterKeys: table or tableLen is NULL");
	*table = nothing;
	*tableLen = 0;
	return ncclSuccess;
}
HK_COMPAT_ALIAS(ncclParamGetAllParameterKeys);

void ncclParamDumpAll(void)
{
}
HK_COMPAT_ALIAS(ncclParamDumpAll);
