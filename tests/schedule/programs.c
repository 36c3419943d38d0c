/* SPDX-License-Identifier: BSD-3-Clause */
/* See programs.h. */
#include "programs.h"

#include <stdlib.h>
#include <string.h>

/* Two switches that have every other rank each, below a third. */
static void add_switches(struct world *w, int nranks)
{
	for (int r = 0; r < nranks; r++)
		w->parent[r] = nranks + 1 + r % 2;
	w->parent[nranks] = -1;
	w->parent[nranks + 1] = w->parent[nranks + 2] = nranks;
	w->layout = (struct hk_layout){
		.nranks = nranks, .nswitches = MAX_SWITCHES, .parent = w->parent};
	w->p.layout = &w->layout;
}

int world_build_problem(struct world *w, const struct hk_algo *algo, const struct hk_problem *p,
			bool fuse)
{
	int n;

	memset(w, 0, sizeof(*w));
	w->p = *p;
	if (!algo->accepts(&w->p))
		add_switches(w, p->nranks);
	n = hk_algo_participants(algo, &w->p);
	for (w->n = 0; w->n < n; w->n++) {
		int rc = hk_algo_program(algo, &w->p, w->n, fuse, &w->programs[w->n]);

		if (rc) {
			world_free(w);
			return rc;
		}
	}
	return 0;
}

int world_build(struct world *w, const struct hk_algo *algo, int nranks, uint32_t channels,
		bool inplace, bool fuse)
{
	struct hk_problem p = {
		.coll = algo->coll, .nranks = nranks, .channels = channels, .inplace = inplace};

	return world_build_problem(w, algo, &p, fuse);
}

int world_clone(const struct world *w, struct world *copy)
{
	memset(copy, 0, sizeof(*copy));
	copy->p = w->p;
	for (copy->n = 0; copy->n < w->n; copy->n++) {
		int rc = hk_program_clone(w->programs[copy->n], &copy->programs[copy->n]);

		if (rc) {
			world_free(copy);
			return rc;
		}
	}
	return 0;
}

void world_free(struct world *w)
{
	for (int i = 0; i < w->n; i++)
		hk_program_free(w->programs[i]);
	w->n = 0;
}

int world_check(const struct world *w, unsigned max_slots, struct hk_report *report)
{
	return hk_check(&w->p, w->programs, w->n, max_slots, report);
}

bool has_v_variant(enum hk_coll coll)
{
	return coll == HK_ALL_GATHER || coll == HK_REDUCE_SCATTER || coll == HK_ALL_TO_ALL ||
	       coll == HK_GATHER || coll == HK_SCATTER;
}

struct hk_layout *world_layout(unsigned kind, int nranks)
{
	static const int uneven[] = {0, 1, 1, 1, 2, 2}, pairs[] = {0, 0, 1, 1, 1};
	int node[MAX_PARTS], rack[MAX_PARTS];
	const int *groups[] = {node, rack};
	struct hk_layout *layout = NULL;

	for (int i = 0; i < nranks; i++) {
		if (kind == LAYOUT_UNEVEN)
			node[i] = i / 6 * 3 + uneven[i % 6];
		else if (kind == LAYOUT_DEALT)
			node[i] = i % 3;
		else
			node[i] = i / 5 * 2 + pairs[i % 5];
		rack[i] = node[i] / 3;
	}
	if (kind != LAYOUT_NONE &&
	    hk_layout_create(nranks, kind == LAYOUT_RACKS ? 2 : 1, groups, &layout)) {
		fprintf(stderr, "world_layout: no layout %u for %d ranks\n", kind, nranks);
		abort();
	}
	return layout;
}

const char *program_text(const struct hk_program *prog)
{
	static char text[8192];
	FILE *f = fmemopen(text, sizeof(text), "w");

	if (!f || hk_program_dump(prog, f)) {
		perror("program_text");
		abort();
	}
	fclose(f);
	return text;
}

uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}
