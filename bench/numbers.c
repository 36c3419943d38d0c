/* SPDX-License-Identifier: BSD-3-Clause */
/* See numbers.h. */
#include "numbers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int hk_bench_parse_size(const char *text, size_t *bytes)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	double scale = 1, v;
	char *end;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || errno)
		return -1;
	suffix = *end & ~0x20 ? strchr(suffixes, *end & ~0x20) : NULL; /* no blank */
	if (suffix) {
		scale = ldexp(1, 10 * (int)(suffix - suffixes + 1));
		end++;
		if (*end == 'B' || *end == 'b')
			end++;
	}
	if (*end || !(v >= 0) || v * scale > 1e15)
		return -1;
	*bytes = (size_t)(v * scale);
	return 0;
}

int hk_bench_parse_int(const char *text, int min, int max, int *out)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < min || v > max)
		return -1;
	*out = (int)v;
	return 0;
}

int hk_bench_parse_bool(const char *text, bool *out)
{
	int v;

	if (hk_bench_parse_int(text, 0, 1, &v))
		return -1;
	*out = v;
	return 0;
}

int hk_bench_parse_factor(const char *text, double *factor)
{
	char *end;

	*factor = strtod(text, &end);
	return end == text || *end || !(*factor > 1) || *factor > 1e9 ? -1 : 0;
}
