/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's way into the importer of MSCCL's XML; what it accepts is printed as text,
 * read again and put to the proof. Built with clang and -Dfuzz=true.
 */
#include <stdlib.h>

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hk_schedule *s = NULL;

	if (!hk_msccl_read((const char *)data, size, "fuzz", &s))
		use_schedule(s);
	hk_schedule_free(s);
	return 0;
}
