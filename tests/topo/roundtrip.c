/* SPDX-License-Identifier: BSD-3-Clause */
#include "roundtrip.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "text.h"

#define MOST_RANKS 40

static const char *check_text(const struct hk_graph *g)
{
	struct hk_graph *again = NULL;
	const char *broken = NULL;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return "no memory";
	if (hk_text_print(g, out))
		broken = "it cannot be printed";
	if (fclose(out))
		broken = "no memory";
	if (!broken && hk_text_read(text, size, "printed", NULL, &again))
		broken = "what is printed cannot be read";
	if (!broken && hk_graph_hash(g) != hk_graph_hash(again))
		broken = "what is printed reads as another graph";
	hk_graph_free(again);
	free(text);
	return broken;
}

static const char *check_layout(const struct hk_graph *g, const struct hk_placement *p)
{
	const struct hk_layout *l = p->layout;
	bool seen[MOST_RANKS] = {false};

	for (int i = 0; i < p->nranks; i++) {
		int host = g->vertices[p->vertex[i]].host, up = i, steps = 0;

		if (l->ring[i] < 0 || l->ring[i] >= p->nranks || seen[l->ring[i]])
			return "the ring is no permutation";
		seen[l->ring[i]] = true;
		if (p->nic[i] >= 0 && (g->vertices[p->nic[i]].kind != HK_V_NIC ||
				       g->vertices[p->nic[i]].host != host))
			return "a rank's NIC is none of its host";
		while (up >= 0 && steps++ <= p->nranks)
			up = p->tree[up];
		if (up >= 0)
			return "the tree has a circle";
	}
	for (int s = 0; s < l->nswitches; s++)
		if (g->vertices[p->reducer[s]].reducer < 0)
			return "a switch of the layout reduces nothing";
	return p->channels < 1 || p->channels > HK_MAX_CHANNELS_DERIVED ? "absurd channels" : NULL;
}

const char *check_graph(const struct hk_graph *g)
{
	const char *broken = check_text(g);
	struct hk_placement *p = NULL;
	uint64_t slots = 0;
	int n, err;

	for (int i = 0; i < g->nhosts; i++)
		slots += g->vertices[g->hosts[i]].slots;
	n = slots > MOST_RANKS ? MOST_RANKS : slots ? (int)slots : 1;
	if (broken)
		return broken;
	err = hk_place(g, n, NULL, &p);
	if (err)
		return slots || err != -EINVAL ? "its ranks cannot be placed" : NULL;
	broken = slots ? check_layout(g, p) : "ranks are placed where no slots are";
	hk_placement_free(p);
	return broken;
}
