/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names written as patterns: node[0-3,7].ib[0-1] stands for ten names, the last brackets counting
 * fastest. A first number with a leading zero, as in [01-16], fixes the number of digits. Names are
 * made one at a time, so that a pattern costs no more memory than its text.
 */
#ifndef HK_TOPO_PATTERN_H
#define HK_TOPO_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define HK_PATTERN_PARTS 4
#define HK_PATTERN_RUNS	 16
#define HK_PATTERN_MAX	 (1u << 20) /* names */

struct hk_pattern {
	unsigned nparts, count;
	struct {
		/* What stands before the brackets, as offset and length in the word. */
		uint16_t text, length;
		uint16_t nruns;
		uint32_t count;
		struct {
			uint32_t first, last;
			int digits; /* 0: as many as it takes */
		} runs[HK_PATTERN_RUNS];
	} parts[HK_PATTERN_PARTS];
	const char *word, *tail; /* not copied */
};

/* NULL, or what is wrong with the word. */
const char *hk_pattern_parse(const char *word, struct hk_pattern *p);
/* Name number i, less than count, into text. NULL, or what is wrong: it is too long. */
const char *hk_pattern_at(const struct hk_pattern *p, unsigned i, char *text, size_t size);

#endif
