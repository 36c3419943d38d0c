/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What reducers share: who takes part in which round, the judgement of calls by capabilities, and
 * finding a backend by name. The table of backends is generated from the list in meson.build.
 */
#include "reducer.h"

#include <errno.h>
#include <string.h>

#include "error.h"

enum who { NOBODY, ALL, OWNER, OTHERS };

/* The owner of a round is the root or, where rounds go by blocks, the block's member. */
static const struct {
	enum who contributes, receives;
	bool blocks;
} flows[HK_NCOLLS] = {
	[HK_ALL_REDUCE] = {ALL, ALL, false},	  [HK_BARRIER] = {ALL, ALL, false},
	[HK_REDUCE_ROOT] = {ALL, OWNER, false},	  [HK_BROADCAST] = {OWNER, OTHERS, false},
	[HK_REDUCE_SCATTER] = {ALL, OWNER, true}, [HK_ALL_GATHER] = {OWNER, OTHERS, true},
};

#define BIT(i) (1u << (i))

const struct hk_reducer_caps hk_software_switch_caps = {
	.colls = BIT(HK_ALL_REDUCE) | BIT(HK_BARRIER) | BIT(HK_REDUCE_ROOT) | BIT(HK_BROADCAST) |
		 BIT(HK_REDUCE_SCATTER) | BIT(HK_ALL_GATHER),
	.types = BIT(HK_NTYPES) - 1,
	.ops = BIT(HK_NREDOPS) - 1,
	.fan_in = 65536,
	.payload = 1u << 22, /* the longest slot */
	.outstanding = 2,    /* the fewest slots */
	.reproducible = true,
};

const struct hk_reducer *hk_reducer_find(const char *name)
{
	for (unsigned i = 0; i < hk_nreducers; i++)
		if (!strcmp(hk_reducers[i]->name, name))
			return hk_reducers[i];
	return NULL;
}

bool hk_reduce_has_rounds(enum hk_coll coll)
{
	return (unsigned)coll < HK_NCOLLS && flows[coll].contributes != NOBODY;
}

static bool is_meant(enum who who, const struct hk_reduce_call *call, uint32_t members,
		     uint32_t member, uint64_t round)
{
	uint32_t owner =
		flows[call->coll].blocks ? (uint32_t)(round % members) : (uint32_t)call->root;

	return who == ALL || (who != NOBODY && (who == OWNER) == (member == owner));
}

bool hk_reduce_contributes(const struct hk_reduce_call *call, uint32_t members, uint32_t member,
			   uint64_t round)
{
	return is_meant(flows[call->coll].contributes, call, members, member, round);
}

bool hk_reduce_receives(const struct hk_reduce_call *call, uint32_t members, uint32_t member,
			uint64_t round)
{
	return is_meant(flows[call->coll].receives, call, members, member, round);
}

int hk_reducer_covers(const struct hk_reducer *r, const struct hk_reducer_caps *caps,
		      uint32_t members, const struct hk_reduce_call *call)
{
	bool reduces;

	if (!hk_reduce_has_rounds(call->coll) || !(caps->colls & BIT(call->coll)))
		return hk_fail_quiet(ENOTSUP, "the reducer %s does no %s", r->name,
				     hk_coll_name(call->coll));
	if (call->root < 0 || (uint32_t)call->root >= members)
		return hk_fail_quiet(EINVAL, "the root, %d, is no member of a group of %u",
				     call->root, members);
	if ((unsigned)call->type >= HK_NTYPES || (unsigned)call->op >= HK_NREDOPS)
		return hk_fail_quiet(ENOTSUP, "%d is no type, or %d no operation", (int)call->type,
				     (int)call->op);
	/* What is only passed on needs no arithmetic. */
	reduces = hk_coll_reduces(call->coll) && call->coll != HK_BARRIER;
	if (reduces && (!(caps->types & BIT(call->type)) || !(caps->ops & BIT(call->op))))
		return hk_fail_quiet(ENOTSUP, "the reducer %s has no %s of %s", r->name,
				     hk_redop_name(call->op), hk_type_name(call->type));
	return 0;
}
