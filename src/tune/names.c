/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads lists of names, and finds what a misspelled one may have meant. */
#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "tune.h"

#define CLOSE 3u /* so many letters may be wrong */

bool hk_names_next(const char **list, char name[HK_NAME_BYTES])
{
	for (;;) {
		const char *at = *list + strspn(*list, " \t,");
		size_t n = strcspn(at, ",");

		if (!n)
			return false;
		*list = at + n;
		while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
			n--;
		if (n >= HK_NAME_BYTES)
			n = HK_NAME_BYTES - 1;
		memcpy(name, at, n);
		name[n] = 0;
		return true;
	}
}

/* How many letters must be added, removed or changed to make one of the other (Levenshtein 1965).
 */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[HK_NAME_BYTES + 1];
	size_t n = strlen(b);

	if (n > HK_NAME_BYTES)
		return (unsigned)n;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; *a; a++, i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned changed = diagonal + (b[j - 1] != *a), least = changed;

			diagonal = row[j];
			least = row[j] + 1 < least ? row[j] + 1 : least;
			least = row[j - 1] + 1 < least ? row[j - 1] + 1 : least;
			row[j] = least;
		}
	}
	return row[n];
}

static int complain(const char *name)
{
	char close[256] = "";
	size_t used = 0;

	for (unsigned i = 0; i < hk_nalgos && used < sizeof(close) - HK_NAME_BYTES; i++) {
		const char *known = hk_algos[i]->name;

		if (distance(name, known) <= CLOSE || (strlen(name) > 2 && strstr(known, name)))
			used += (size_t)snprintf(close + used, sizeof(close) - used, "%s%s",
						 used ? ", " : "", known);
	}
	if (used)
		return hk_fail(EINVAL,
			       "HOCKET_ALGO names '%s', which is no algorithm; did you mean %s?",
			       name, close);
	return hk_fail(
		EINVAL,
		"HOCKET_ALGO names '%s', which is no algorithm; `hocket schedule` lists them",
		name);
}

int hk_tune_check_names(const char *names)
{
	char name[HK_NAME_BYTES];

	while (hk_names_next(&names, name))
		if (!hk_algo_find(name))
			return complain(name);
	return 0;
}
