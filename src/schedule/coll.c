/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each collective is, as data: which blocks of IN and OUT it gives a rank, and what it
 * promises for each block of OUT. Everything else follows from the two shapes: what shares memory
 * in place, which blocks have equal sizes when sizes differ, and which contributions make up a
 * result. A new collective of these kinds is a row in the table.
 */
#include "schedule.h"

#include <stddef.h>

/* Who has the buffer, and whether it is one block or one for each rank. */
enum shape { ONE, EACH, ROOT_ONE, ROOT_EACH, PATTERN };

static const struct {
	const char *name;
	enum shape in, out;
	bool reduces;
} colls[HK_NCOLLS] = {
	[HK_ALL_REDUCE] = {"all_reduce", ONE, ONE, true},
	[HK_REDUCE_SCATTER] = {"reduce_scatter", EACH, ONE, true},
	[HK_ALL_GATHER] = {"all_gather", ONE, EACH, false},
	[HK_BROADCAST] = {"broadcast", ROOT_ONE, ONE, false},
	[HK_REDUCE_ROOT] = {"reduce", ONE, ROOT_ONE, true},
	[HK_ALL_TO_ALL] = {"all_to_all", EACH, EACH, false},
	[HK_GATHER] = {"gather", ONE, ROOT_EACH, false},
	[HK_SCATTER] = {"scatter", ROOT_EACH, ONE, false},
	[HK_BARRIER] = {"barrier", ONE, ONE, true},
	[HK_POINT_TO_POINT] = {"point_to_point", PATTERN, PATTERN, false},
};

static bool is_each(enum shape s)
{
	return s == EACH || s == ROOT_EACH;
}

static bool is_root(enum shape s)
{
	return s == ROOT_ONE || s == ROOT_EACH;
}

const char *hk_coll_name(enum hk_coll coll)
{
	return (unsigned)coll < HK_NCOLLS ? colls[coll].name : "unknown collective";
}

bool hk_coll_reduces(enum hk_coll coll)
{
	return colls[coll].reduces;
}

bool hk_coll_rooted(enum hk_coll coll)
{
	return is_root(colls[coll].in) || is_root(colls[coll].out);
}

bool hk_coll_sizes_known(enum hk_coll coll)
{
	return is_each(colls[coll].in) != is_each(colls[coll].out) && !hk_coll_rooted(coll);
}

uint32_t hk_coll_blocks(const struct hk_problem *p, int rank, enum hk_buf buf)
{
	enum shape s = buf == HK_IN ? colls[p->coll].in : colls[p->coll].out;

	if (rank >= p->nranks || (buf != HK_IN && buf != HK_OUT))
		return 0;
	if (s == PATTERN)
		return buf == HK_IN ? p->sends : p->receives;
	if (is_root(s) && rank != p->root)
		return 0;
	return is_each(s) ? (uint32_t)p->nranks : 1;
}

uint64_t hk_coll_size_id(const struct hk_problem *p, int rank, enum hk_buf buf, uint32_t block)
{
	bool in = is_each(colls[p->coll].in), out = is_each(colls[p->coll].out);
	uint64_t n = (uint64_t)p->nranks, r = (uint64_t)rank;

	if (!p->varied || colls[p->coll].in == PATTERN) /* only the call knows them, and checks */
		return 0;
	if (in && out)
		return buf == HK_IN ? r * n + block : block * n + r;
	if (!in && !out)
		return 0;
	return (buf == HK_IN) == in ? block : r;
}

int64_t hk_coll_alias(const struct hk_problem *p, int rank, uint32_t in_block)
{
	bool in = is_each(colls[p->coll].in), out = is_each(colls[p->coll].out);

	if (!p->inplace || p->coll == HK_POINT_TO_POINT || !hk_coll_blocks(p, rank, HK_OUT) ||
	    in_block >= hk_coll_blocks(p, rank, HK_IN))
		return -1;
	if (in == out)
		return in_block;
	if (in)
		return in_block == (uint32_t)rank ? 0 : -1;
	return rank;
}

uint32_t hk_coll_contributions(const struct hk_problem *p)
{
	return colls[p->coll].reduces ? (uint32_t)p->nranks : 1;
}

void hk_coll_contribution(const struct hk_problem *p, int rank, uint32_t out_block, uint32_t i,
			  int *from, uint32_t *in_block)
{
	if (colls[p->coll].reduces)
		*from = (int)i;
	else
		*from = is_root(colls[p->coll].in) ? p->root : (int)out_block;
	*in_block = is_each(colls[p->coll].in) ? (uint32_t)rank : 0;
}
