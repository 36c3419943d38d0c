/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's way into the reader of our own text format; what it accepts is printed, read
 * again and put to the proof. Built with clang and -Dfuzz=true.
 */
#include <stdlib.h>

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hk_schedule *s = NULL;

	if (!hk_schedule_read((const char *)data, size, "fuzz", &s))
		use_schedule(s);
	hk_schedule_free(s);
	return 0;
}
