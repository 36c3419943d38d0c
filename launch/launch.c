/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public entry points, and the choice among the ways to be launched: the first one in the list
 * whose variables are there, the most specific first. What a person or `hocket run` sets goes
 * before what a launcher around it has left: a job inside a job is the usual case.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch_internal.h"

static _Thread_local char last_error[1024];

hocketResult_t hk_launch_fail(hocketResult_t result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(last_error, sizeof(last_error), format, args);
	va_end(args);
	return result;
}

const char *hocketLaunchGetLastError(void)
{
	return last_error;
}

/* --- alone --- */

static bool alone_here(void)
{
	return true;
}

/* One process, unless the environment tells of a job that could not have met: N groups of one would
 * pass for a result. */
static hocketResult_t open_alone(struct hocketLaunch *l)
{
	const char *tasks = hk_launch_env("SLURM_STEP_NUM_TASKS");
	const char *size = hk_launch_env("WORLD_SIZE");

	if (hk_launch_env("HOCKET_LAUNCH"))
		return hocketSuccess;
	if (tasks && hk_launch_env("SLURM_PROCID") && strtol(tasks, NULL, 10) > 1)
		return hk_launch_fail(hocketInvalidUsage,
				      "srun has started %s tasks without a way to meet: use "
				      "`srun --mpi=pmix` or `srun --mpi=pmi2` (`srun --mpi=list` "
				      "says which there are), or set HOCKET_ID_ADDR or "
				      "HOCKET_ID_FILE",
				      tasks);
	if (hk_launch_env("RANK") && size && strtol(size, NULL, 10) > 1)
		fprintf(stderr, "RANK and WORLD_SIZE are set but %s is not; running alone\n",
			hk_launch_env("MASTER_ADDR") ? "MASTER_PORT" : "MASTER_ADDR");
	return hocketSuccess;
}

static hocketResult_t share_alone(struct hocketLaunch *l, hocketUniqueId *id)
{
	return hk_launch_make_id(id);
}

void hk_launch_close_nothing(struct hocketLaunch *l)
{
}

static const struct hk_way alone = {
	.name = "alone",
	.here = alone_here,
	.open = open_alone,
	.share = share_alone,
	.close = hk_launch_close_nothing,
};

/* --- the choice --- */

static const struct hk_way *const ways[] = {
	&hk_way_hocket, &hk_way_hand, &hk_way_torchrun, &hk_way_pmi,
	&hk_way_pmix,	&hk_way_mpi,  &alone,
};

enum { NWAYS = sizeof(ways) / sizeof(ways[0]) };

static hocketResult_t choose(const struct hk_way **chosen)
{
	const char *name = hk_launch_env("HOCKET_LAUNCH");

	for (int i = 0; i < NWAYS; i++) {
		if (name ? !strcmp(name, ways[i]->name) : ways[i]->here()) {
			*chosen = ways[i];
			return hocketSuccess;
		}
	}
	return hk_launch_fail(hocketInvalidUsage,
			      "HOCKET_LAUNCH=%s is none of hocket, hand, torchrun, pmi, pmix, mpi, "
			      "alone",
			      name);
}

hocketResult_t hocketLaunchOpen(hocketLaunch_t *launch, int *rank, int *nranks)
{
	struct hocketLaunch *l;
	hocketResult_t result;

	if (!launch || !rank || !nranks)
		return hk_launch_fail(hocketInvalidArgument,
				      "launch, rank and nranks must not be NULL");
	l = calloc(1, sizeof(*l));
	if (!l)
		return hk_launch_fail(hocketSystemError, "out of memory");
	l->nranks = 1;
	l->pmi_fd = -1;
	result = choose(&l->way);
	if (result == hocketSuccess)
		result = l->way->open(l);
	if (result != hocketSuccess) {
		free(l);
		return result;
	}
	*launch = l;
	*rank = l->rank;
	*nranks = l->nranks;
	return hocketSuccess;
}

/* --- the id --- */

hocketResult_t hk_launch_make_id(hocketUniqueId *id)
{
	hocketResult_t result = hocketGetUniqueId(id);

	if (result == hocketSuccess)
		return result;
	return hk_launch_fail(result, "%s: %s", hocketGetErrorString(result),
			      hocketGetLastError(NULL));
}

void hk_launch_print_id(const hocketUniqueId *id, char text[HK_ID_DIGITS + 1])
{
	for (int i = 0; i < HOCKET_UNIQUE_ID_BYTES; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char)id->internal[i]);
}

bool hk_launch_parse_id(const char *text, hocketUniqueId *id)
{
	if (strlen(text) != HK_ID_DIGITS || strspn(text, "0123456789abcdefABCDEF") != HK_ID_DIGITS)
		return false;
	for (int i = 0; i < HOCKET_UNIQUE_ID_BYTES; i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1], 0};

		id->internal[i] = (char)strtoul(digits, NULL, 16);
	}
	return true;
}

hocketResult_t hocketLaunchShareId(hocketLaunch_t launch, hocketUniqueId *id)
{
	if (!launch || !id)
		return hk_launch_fail(hocketInvalidArgument, "launch and id must not be NULL");
	if (launch->shared)
		return hk_launch_fail(hocketInvalidUsage,
				      "the id is shared once a launch: split the communicator, or "
				      "hand further ids round with its collectives");
	launch->shared = true;
	return launch->way->share(launch, id);
}

/* --- the rest --- */

hocketResult_t hocketLaunchLocalRank(const hocketLaunch_t launch, int *localRank)
{
	if (!launch || !localRank)
		return hk_launch_fail(hocketInvalidArgument,
				      "launch and localRank must not be NULL");
	*localRank = launch->way == &alone ? 0 : hk_launch_local_rank();
	return hocketSuccess;
}

const char *hocketLaunchName(const hocketLaunch_t launch)
{
	return launch ? launch->way->name : "none";
}

hocketResult_t hocketLaunchClose(hocketLaunch_t launch)
{
	if (launch)
		launch->way->close(launch);
	free(launch);
	return hocketSuccess;
}
