/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets do with a schedule that a reader has accepted. */
#ifndef HK_TEST_FUZZ_FILE_H
#define HK_TEST_FUZZ_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include "file.h"

/* Proves it, if that is not for hours; and it must read back as it prints. */
static inline void use_schedule(const struct hk_schedule *s)
{
	struct hk_schedule *again = NULL;
	struct hk_report report;
	size_t length = 0;
	char *text = NULL;
	FILE *f = open_memstream(&text, &length);

	if (!f || hk_schedule_write(s, f))
		abort();
	fclose(f);
	if (hk_schedule_read(text, length, "again", &again))
		abort();
	hk_schedule_prove(s, 4, &report);
	hk_schedule_free(again);
	free(text);
}

#endif
