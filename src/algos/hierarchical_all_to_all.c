/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hierarchical all-to-all. All that a rank has for another node goes there in one message, to one
 * rank of it, its partner there (hierarchy.h), which deals it out within the node. So G nodes of s
 * ranks exchange G-1 messages per rank instead of (G-1) s, each s times as long: fewer for the
 * network, and by all ranks of a node alike. Of the layout it looks at the nodes alone. Blocks pass
 * through others' hands, so all must have one size.
 *
 * Steps:  a lane of sends to other nodes, from IN where the node's ranks are neighbours, else from
 *         scratch, to which they are copied; a lane that sends the node's own ranks their blocks
 *         and then, message by message, receives what comes from outside into scratch and deals it
 *         out; for each other rank of the node a lane of receives; and one that copies the own
 *         block. The order is everywhere that of the distance between nodes. Not in place: what
 *         comes would overwrite what is still to be sent.
 * Bytes:  where nodes are alike each rank sends (G-1) s blocks to other nodes, the least possible,
 *         and G (s-1) within its own. Where they are not, the ranks of small nodes have more to
 *         deal out.
 * Rounds: 2.
 * Source: J. L. Träff, "Improved MPI all-to-all communication on a Giganet SMP cluster" (2002), for
 *         messages by node; S. Kumar, Y. Sabharwal, R. Garg, P. Heidelberger, "Optimization of
 *         all-to-all communication on the Blue Gene/L supercomputer" (2008), for the two phases.
 */
#include "algos.h"
#include "hierarchy.h"

#include <stdlib.h>

struct exchange {
	struct hk_builder *b;
	struct hk_hierarchy h;
	int position, node;
	int first, size; /* of the own node */
	/* SCRATCH: first what has come for the node, then what is to go to another one. */
	uint32_t pack;
};

static bool accepts(const struct hk_problem *p)
{
	return hk_hierarchy_fits(p) && !p->inplace && !p->varied && p->nranks <= 1 << 15;
}

static int node_size(const struct hk_hierarchy *h, int node)
{
	return h->first[1][node + 1] - h->first[1][node];
}

/* The node so many places after the given one, or before it. */
static int node_at(const struct hk_hierarchy *h, int node, int steps)
{
	int n = h->ngroups[1];

	return ((node + steps) % n + n) % n;
}

static uint32_t rank_at(const struct exchange *x, int position)
{
	return (uint32_t)x->h.order[position];
}

/*
 * The next of the positions in other nodes whose partner in its own node a position is, after
 * `last`, which is -1 at first; -1 when there are no more. From the nearest node before on: its
 * ranks' first messages come here.
 */
static int next_partner(const struct hk_hierarchy *h, int position, int last)
{
	int node = h->group[1][position];
	int steps = last < 0 ? 1 : node_at(h, node, -h->group[1][last]);

	for (; steps < h->ngroups[1]; steps++, last = -1) {
		const int *range = &h->first[1][node_at(h, node, -steps)];

		for (int at = last < 0 ? range[0] : last + 1; at < range[1]; at++)
			if (hk_hierarchy_partner(h, 1, at, node) == position)
				return at;
	}
	return -1;
}

/* Whether the ranks of a node are neighbours, so that their blocks are one range of IN. */
static bool is_range(const struct exchange *x, int node)
{
	int first = x->h.first[1][node], last = x->h.first[1][node + 1] - 1;

	return x->h.order[last] - x->h.order[first] == last - first;
}

static void build_outward(struct exchange *x)
{
	uint32_t lane = hk_build_lane(x->b, 0);

	for (int i = 1; i < x->h.ngroups[1]; i++) {
		int node = node_at(&x->h, x->node, i), size = node_size(&x->h, node);
		int to = hk_hierarchy_partner(&x->h, 1, x->position, node);
		uint32_t first = rank_at(x, x->h.first[1][node]);
		bool range = is_range(x, node);

		for (int k = 0; !range && k < size; k++)
			hk_build_copy(x->b, lane, HK_IN, rank_at(x, x->h.first[1][node] + k),
				      HK_SCRATCH, x->pack + (uint32_t)k, 1);
		hk_build_send(x->b, lane, x->h.order[to], range ? HK_IN : HK_SCRATCH,
			      range ? first : x->pack, (uint32_t)size);
	}
}

/* Sends to the others of the node. */
static void deal(struct exchange *x, uint32_t lane, enum hk_buf buf)
{
	for (int i = 1; i < x->size; i++) {
		int to = (x->position - x->first + i) % x->size;

		hk_build_send(x->b, lane, x->h.order[x->first + to], buf,
			      buf == HK_IN ? rank_at(x, x->first + to) : (uint32_t)to, 1);
	}
}

static void build_inward(struct exchange *x)
{
	int from = next_partner(&x->h, x->position, -1);
	uint32_t lane;

	if (x->size == 1 && from < 0)
		return;
	lane = hk_build_lane(x->b, 0);
	deal(x, lane, HK_IN);
	for (; from >= 0; from = next_partner(&x->h, x->position, from)) {
		hk_build_recv(x->b, lane, x->h.order[from], HK_SCRATCH, 0, (uint32_t)x->size);
		deal(x, lane, HK_SCRATCH);
		hk_build_copy(x->b, lane, HK_SCRATCH, (uint32_t)(x->position - x->first), HK_OUT,
			      rank_at(x, from), 1);
	}
}

/* What another rank of the node has to deal out: its own block and those of its partners. */
static void build_receives(struct exchange *x, int mate)
{
	uint32_t lane = hk_build_lane(x->b, 0);

	hk_build_recv(x->b, lane, x->h.order[mate], HK_OUT, rank_at(x, mate), 1);
	for (int from = next_partner(&x->h, mate, -1); from >= 0;
	     from = next_partner(&x->h, mate, from))
		hk_build_recv(x->b, lane, x->h.order[mate], HK_OUT, rank_at(x, from), 1);
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	struct exchange x = {.b = b};
	int err = hk_hierarchy_create(p, &x.h), largest = 1;

	if (err)
		return err;
	for (int i = 0; i < x.h.ngroups[1]; i++)
		largest = node_size(&x.h, i) > largest ? node_size(&x.h, i) : largest;
	x.position = x.h.place[rank];
	x.node = x.h.group[1][x.position];
	x.first = x.h.first[1][x.node];
	x.size = node_size(&x.h, x.node);
	x.pack = (uint32_t)x.size;
	hk_build_chunks(b, 1, x.h.ngroups[1] > 1 ? (uint32_t)(x.size + largest) : 0);
	hk_build_message(b, x.h.ngroups[1] > 1 ? (uint32_t)largest : 1);
	if (x.h.ngroups[1] > 1)
		build_outward(&x);
	build_inward(&x);
	for (int i = 1; i < x.size; i++)
		build_receives(&x, x.first + (x.position - x.first + x.size - i) % x.size);
	hk_build_copy(b, hk_build_lane(b, 0), HK_IN, (uint32_t)rank, HK_OUT, (uint32_t)rank, 1);
	hk_hierarchy_free(&x.h);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t *partners = calloc((size_t)p->nranks, sizeof(*partners));
	struct hk_hierarchy h;
	bool shared = false;

	*w = (struct hk_work){0};
	if (!partners || hk_hierarchy_create(p, &h))
		goto out;
	for (int x = 0; x < h.n; x++)
		for (int i = 1; i < h.ngroups[1]; i++)
			partners[hk_hierarchy_partner(&h, 1, x, node_at(&h, h.group[1][x], i))]++;
	for (int x = 0; x < h.n; x++) {
		uint32_t size = (uint32_t)node_size(&h, h.group[1][x]), mates = size - 1;
		uint32_t others = (uint32_t)h.ngroups[1] - 1;
		uint32_t within = mates * (1 + partners[x]);

		shared |= mates > 0;
		w->messages = within + others > w->messages ? within + others : w->messages;
		if (within + (uint32_t)h.n - size > w->sent)
			w->sent = within + (uint32_t)h.n - size;
	}
	w->rounds = (h.ngroups[1] > 1) + shared;
	hk_hierarchy_free(&h);
out:
	free(partners);
}

const struct hk_algo hk_algo_hierarchical_all_to_all = {"hierarchical_all_to_all", HK_ALL_TO_ALL,
							accepts, build, work};
