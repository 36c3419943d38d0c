/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Communicators out of others with fewer or more ranks. Hocket has no such functions: the ranks
 * that are there agree on a fresh unique id over the communicator they have, and then make the new
 * one as from nothing. So that communicator must work, and the agreement is made before the call
 * returns, also where the new one is then made in the background. Nor can it be part of a group,
 * whose calls only run at its end.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "compat.h"

/* What a rank is in the communicator that it has. */
struct place {
	hocketComm_t comm;
	int rank, nranks;
};

static ncclResult_t find_place(ncclComm_t comm, struct place *place)
{
	hocketResult_t result;

	place->comm = hk_compat_comm(comm);
	result = hocketCommCount(place->comm, &place->nranks);
	if (result == hocketSuccess)
		result = hocketCommUserRank(place->comm, &place->rank);
	return hk_compat_result(result);
}

/* --- fewer --- */

/* out[r]: rank r is excluded. */
static ncclResult_t mark(const struct place *place, const int *list, int n, bool *out)
{
	for (int i = 0; i < n; i++) {
		if (list[i] < 0 || list[i] >= place->nranks)
			return hk_compat_refuse(ncclInvalidArgument,
						"ncclCommShrink: there is no rank %d to exclude; "
						"ranks are from 0 to %d",
						list[i], place->nranks - 1);
		out[list[i]] = true;
	}
	if (out[place->rank])
		return hk_compat_refuse(
			ncclInvalidArgument,
			"ncclCommShrink: rank %d is excluded, and excluded ranks do "
			"not call it",
			place->rank);
	return ncclSuccess;
}

/* The lowest rank that stays makes the id and sends it to the others that do. */
static hocketResult_t spread(const struct place *place, const bool *out, hocketUniqueId *id)
{
	hocketResult_t result, end;
	int first = 0;

	while (out[first])
		first++;
	if (place->rank != first)
		return hocketRecv(id, sizeof(*id), hocketUint8, first, place->comm, NULL);
	result = hocketGetUniqueId(id);
	if (result != hocketSuccess)
		return result;
	result = hocketGroupStart();
	if (result != hocketSuccess)
		return result;
	for (int r = first + 1; r < place->nranks && result == hocketSuccess; r++)
		if (!out[r])
			result = hocketSend(id, sizeof(*id), hocketUint8, r, place->comm, NULL);
	end = hocketGroupEnd();
	return result == hocketSuccess ? end : result;
}

static ncclResult_t shrink(const struct place *place, const bool *out, ncclComm_t *newcomm,
			   hocketConfig_t *config)
{
	int nranks = 0, rank = 0;
	hocketResult_t result;
	hocketUniqueId id;

	for (int r = 0; r < place->nranks; r++) {
		nranks += !out[r];
		rank += !out[r] && r < place->rank;
	}
	result = spread(place, out, &id);
	if (result == hocketSuccess)
		result = hocketCommInitRankConfig(hk_compat_place(newcomm), nranks, id, rank,
						  config);
	return hk_compat_result(result);
}

ncclResult_t ncclCommShrink(ncclComm_t comm, int *excludeRanksList, int excludeRanksCount,
			    ncclComm_t *newcomm, ncclConfig_t *user, int shrinkFlags)
{
	hocketConfig_t config;
	struct place place;
	ncclResult_t result;
	bool *out;

	if (shrinkFlags & NCCL_SHRINK_ABORT)
		return hk_compat_refuse(ncclInvalidUsage,
					"ncclCommShrink with NCCL_SHRINK_ABORT is not supported: a "
					"communicator that failed is of no more use; end it with "
					"ncclCommAbort and make a new one from a new unique id");
	if (hk_compat_in_group())
		return hk_compat_refuse(
			ncclInvalidUsage,
			"ncclCommShrink in a group is not supported: call it in one "
			"thread or process per rank");
	if (shrinkFlags || !newcomm || excludeRanksCount < 0 ||
	    (excludeRanksCount && !excludeRanksList))
		return hk_compat_refuse(ncclInvalidArgument, "ncclCommShrink: %s",
					shrinkFlags ? "shrinkFlags has unknown bits"
					: newcomm   ? "excludeRanksList is NULL, or its count is "
						      "negative"
						    : "newcomm is NULL");
	result = hk_compat_config(user, comm, &config);
	if (!result)
		result = find_place(comm, &place);
	if (result)
		return result;
	out = calloc((size_t)place.nranks, sizeof(*out));
	if (!out)
		return hk_compat_refuse(ncclSystemError, "ncclCommShrink: out of memory");
	result = mark(&place, excludeRanksList, excludeRanksCount, out);
	if (!result)
		result = shrink(&place, out, newcomm, &config);
	free(out);
	return result;
}
HK_COMPAT_ALIAS(ncclCommShrink);

/* --- more --- */

/* What the ranks that are there tell each other. */
struct word {
	bool has_id;
	hocketUniqueId id;
};

/* Every rank gets the id from the one that was given it. */
static ncclResult_t agree(const struct place *place, const ncclUniqueId *given, hocketUniqueId *id)
{
	struct word *words = calloc((size_t)place->nranks, sizeof(*words));
	struct word *mine = words + place->rank;
	hocketResult_t result;
	int having = 0;

	if (!words)
		return hk_compat_refuse(ncclSystemError, "ncclCommGrow: out of memory");
	mine->has_id = given != NULL;
	if (given)
		memcpy(&mine->id, given, sizeof(mine->id));
	result = hocketAllGather(mine, words, sizeof(*mine), hocketUint8, place->comm, NULL);
	for (int r = 0; result == hocketSuccess && r < place->nranks; r++) {
		having += words[r].has_id;
		if (words[r].has_id)
			*id = words[r].id;
	}
	free(words);
	if (result != hocketSuccess)
		return hk_compat_result(result);
	if (having != 1)
		return hk_compat_refuse(
			ncclInvalidArgument,
			"ncclCommGrow: %d ranks of the communicator passed a unique "
			"id; exactly one must, the one that made it with "
			"ncclCommGetUniqueId",
			having);
	return ncclSuccess;
}

static ncclResult_t grow_old(ncclComm_t comm, int nranks, const ncclUniqueId *given, int *rank,
			     hocketUniqueId *id)
{
	struct place place;
	ncclResult_t result = find_place(comm, &place);

	if (result)
		return result;
	if (hk_compat_in_group())
		return hk_compat_refuse(
			ncclInvalidUsage,
			"ncclCommGrow of a communicator in a group is not supported: "
			"call it in one thread or process per rank");
	if (nranks < place.nranks || (*rank != -1 && *rank != place.rank))
		return hk_compat_refuse(
			ncclInvalidArgument,
			"ncclCommGrow to %d ranks with rank %d: the communicator has "
			"%d ranks, and those keep theirs (rank -1)",
			nranks, *rank, place.nranks);
	*rank = place.rank;
	return agree(&place, given, id);
}

/* Ranks that join have no communicator yet, but the id. */
ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId *uniqueId, int rank,
			  ncclComm_t *newcomm, ncclConfig_t *user)
{
	hocketConfig_t config;
	hocketUniqueId id;
	ncclResult_t result;

	if (!newcomm || (!comm && !uniqueId))
		return hk_compat_refuse(ncclInvalidArgument, "ncclCommGrow: %s",
					newcomm ? "a rank that joins needs the unique id"
						: "newcomm is NULL");
	result = hk_compat_config(user, comm, &config);
	if (!result && comm)
		result = grow_old(comm, nRanks, uniqueId, &rank, &id);
	else if (!result)
		memcpy(&id, uniqueId, sizeof(id));
	if (result)
		return result;
	return hk_compat_result(
		hocketCommInitRankConfig(hk_compat_place(newcomm), nRanks, id, rank, &config));
}
HK_COMPAT_ALIAS(ncclCommGrow);

ncclResult_t ncclCommGetUniqueId(ncclComm_t comm, ncclUniqueId *uniqueId)
{
	struct place place;
	ncclResult_t result = find_place(comm, &place);

	if (result)
		return result;
	return hk_compat_result(hocketGetUniqueId((hocketUniqueId *)(void *)uniqueId));
}
HK_COMPAT_ALIAS(ncclCommGetUniqueId);
