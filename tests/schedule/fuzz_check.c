/* SPDX-License-Identifier: BSD-3-Clause */
/* libFuzzer's way into the checker; see decode.h. Built with clang and -Dfuzz=true. */
#include "decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_bytes(data, size);
	return 0;
}
