/* SPDX-License-Identifier: BSD-3-Clause */
/* A pattern is parsed into parts, each a piece of text and the numbers that follow it. */
#include "pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number of at most seven digits; NULL if there is none here. */
static const char *parse_number(const char *at, uint32_t *value)
{
	const char *start = at;

	*value = 0;
	while (isdigit((unsigned char)*at) && at - start < 7)
		*value = *value * 10 + (uint32_t)(*at++ - '0');
	return at == start || isdigit((unsigned char)*at) ? NULL : at;
}

static const char *bad_brackets = "brackets hold numbers of up to seven digits, as in [0-3,7]";

/* The numbers of one pair of brackets, from behind the opening one; *end points behind the closing
 * one then. */
static const char *parse_brackets(const char *at, struct hk_pattern *p, unsigned part,
				  const char **end)
{
	for (;;) {
		const char *start = at;
		uint32_t first = 0, last;

		at = parse_number(at, &first);
		if (!at)
			return bad_brackets;
		last = first;
		if (p->parts[part].nruns == HK_PATTERN_RUNS)
			return "a pair of brackets holds at most 16 ranges";
		p->parts[part].runs[p->parts[part].nruns].digits =
			*start == '0' && at > start + 1 ? (int)(at - start) : 0;
		if (*at == '-') {
			at = parse_number(at + 1, &last);
			if (!at)
				return bad_brackets;
		}
		if (last < first)
			return "a range counts upwards, as in [0-3]";
		p->parts[part].runs[p->parts[part].nruns].first = first;
		p->parts[part].runs[p->parts[part].nruns++].last = last;
		if (last - first >= HK_PATTERN_MAX ||
		    p->parts[part].count + (last - first + 1) > HK_PATTERN_MAX)
			return "a pattern stands for at most 1048576 names";
		p->parts[part].count += last - first + 1;
		if (*at == ']') {
			*end = at + 1;
			return NULL;
		}
		if (*at++ != ',')
			return bad_brackets;
	}
}

const char *hk_pattern_parse(const char *word, struct hk_pattern *p)
{
	const char *at = word, *open, *problem;

	*p = (struct hk_pattern){.count = 1, .word = word};
	if (strlen(word) > 255)
		return "a name is too long";
	for (; (open = strchr(at, '[')); p->nparts++) {
		if (p->nparts == HK_PATTERN_PARTS)
			return "a name has at most 4 pairs of brackets";
		p->parts[p->nparts].text = (uint16_t)(at - word);
		p->parts[p->nparts].length = (uint16_t)(open - at);
		if (memchr(at, ']', (size_t)(open - at)))
			return "a ] without its [";
		problem = parse_brackets(open + 1, p, p->nparts, &at);
		if (problem)
			return problem;
		if ((uint64_t)p->count * p->parts[p->nparts].count > HK_PATTERN_MAX)
			return "a pattern stands for at most 1048576 names";
		p->count *= p->parts[p->nparts].count;
	}
	if (strchr(at, ']'))
		return "a ] without its [";
	p->tail = at;
	return NULL;
}

const char *hk_pattern_at(const struct hk_pattern *p, unsigned i, char *text, size_t size)
{
	unsigned index[HK_PATTERN_PARTS] = {0};
	size_t used = 0;

	for (unsigned part = p->nparts; part-- > 0;) {
		index[part] = i % p->parts[part].count;
		i /= p->parts[part].count;
	}
	for (unsigned part = 0; part < p->nparts && used < size; part++) {
		unsigned run = 0, at = index[part];

		while (at > p->parts[part].runs[run].last - p->parts[part].runs[run].first) {
			at -= p->parts[part].runs[run].last - p->parts[part].runs[run].first + 1;
			run++;
		}
		used += (size_t)snprintf(text + used, size - used, "%.*s%0*u",
					 (int)p->parts[part].length, p->word + p->parts[part].text,
					 p->parts[part].runs[run].digits,
					 p->parts[part].runs[run].first + at);
	}
	if (used < size)
		used += (size_t)snprintf(text + used, size - used, "%s", p->tail);
	return used < size ? NULL : "a name is too long";
}
