/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer division of a whole buffer by one number, for averages. A division instruction costs tens
 * of cycles and has no vector form, so each element is multiplied by floor((2^64-1) / by), whose
 * upper half is the quotient or one less than it; a comparison of the remainder tells. Signed
 * elements are divided by magnitude, which rounds towards zero. Bytes take the same road with
 * 16-bit inverses, rounded up, which are exact for them and let the compiler use vectors.
 */
#include "kernels_sets.h"

static inline uint64_t quotient(uint64_t x, uint64_t inverse, uint32_t by)
{
#ifdef __SIZEOF_INT128__
	uint64_t q = (uint64_t)((unsigned __int128)x * inverse >> 64);

	return q + (x - q * by >= by);
#else
	return x / by;
#endif
}

static inline uint64_t signed_quotient(int64_t x, uint64_t inverse, uint32_t by)
{
	uint64_t sign = x < 0 ? UINT64_MAX : 0;

	return (quotient(((uint64_t)x ^ sign) - sign, inverse, by) ^ sign) - sign;
}

#define DIVIDE(type, quotient_fn)                                                                  \
	void hk_kernels_divide_##type(void *dst, size_t n, uint32_t by)                            \
	{                                                                                          \
		typedef type##_t any __attribute__((aligned(1), may_alias));                       \
		uint64_t inverse = UINT64_MAX / by;                                                \
		any *x = dst;                                                                      \
                                                                                                   \
		for (size_t i = 0; i < n; i++)                                                     \
			x[i] = (any)quotient_fn(x[i], inverse, by);                                \
	}

DIVIDE(int32, signed_quotient)
DIVIDE(uint32, quotient)
DIVIDE(int64, signed_quotient)
DIVIDE(uint64, quotient)

/*
 * floor(x / by) = x * inverse >> 16 for x < 256, since the excess, at most x * (by - 1) / (by <<
 * 16), is less than 1 / by. Any by from 256 on gives 0, as 256 does.
 */
static inline uint32_t inverse16(uint32_t by)
{
	return by < 256 ? (65535 + by) / by : 256;
}

void hk_kernels_divide_uint8(void *dst, size_t n, uint32_t by)
{
	uint32_t inverse = inverse16(by);
	uint8_t *x = dst;

	for (size_t i = 0; i < n; i++)
		x[i] = (uint8_t)(x[i] * inverse >> 16);
}

void hk_kernels_divide_int8(void *dst, size_t n, uint32_t by)
{
	uint32_t inverse = inverse16(by);
	int8_t *x = dst;

	for (size_t i = 0; i < n; i++) {
		uint32_t sign = x[i] < 0 ? UINT32_MAX : 0;
		uint32_t q = (((uint32_t)x[i] ^ sign) - sign) * inverse >> 16;

		x[i] = (int8_t)((q ^ sign) - sign);
	}
}
