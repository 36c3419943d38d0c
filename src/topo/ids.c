/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of ranks that know only where they run themselves. Numbers of packages and NUMA nodes
 * count per host, and host ids are 64 bits wide: both become numbers of groups by sorting.
 */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "place.h"

struct member {
	uint64_t host;
	int package, numa, rank;
};

static int compare(const void *x, const void *y)
{
	const struct member *a = x, *b = y;

	if (a->host != b->host)
		return a->host < b->host ? -1 : 1;
	if (a->package != b->package)
		return a->package < b->package ? -1 : 1;
	if (a->numa != b->numa)
		return a->numa < b->numa ? -1 : 1;
	return a->rank < b->rank ? -1 : 1;
}

int hk_layout_from_ids(int nranks, const uint64_t *host, const int *package, const int *numa,
		       struct hk_layout **layout)
{
	size_t n = nranks > 0 ? (size_t)nranks : 1;
	struct member *m = malloc(n * sizeof(*m));
	int *groups = malloc(3 * n * sizeof(*groups)), err;
	const int *levels[] = {groups, groups + n, groups + 2 * n};

	if (!m || !groups) {
		err = hk_fail(ENOMEM, "no memory for the layout of %d ranks", nranks);
		goto out;
	}
	for (int i = 0; i < nranks; i++)
		m[i] = (struct member){host[i], package ? package[i] : -1, numa ? numa[i] : -1, i};
	qsort(m, (size_t)(nranks > 0 ? nranks : 0), sizeof(*m), compare);
	for (int i = 0, counts[3] = {0}; i < nranks; i++) {
		bool new_host = i && m[i].host != m[i - 1].host;
		bool new_package = new_host || (i && m[i].package != m[i - 1].package);

		counts[2] += new_host;
		counts[1] += new_package;
		counts[0] += new_package || (i && m[i].numa != m[i - 1].numa);
		for (int level = 0; level < 3; level++)
			groups[(size_t)level * n + (size_t)m[i].rank] = counts[level];
	}
	err = hk_layout_create(nranks, 3, levels, layout);
out:
	free(groups);
	free(m);
	return err;
}
