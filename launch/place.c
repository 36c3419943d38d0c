/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers, places and the deadline, from the environment. A launcher that is not asked for the id,
 * because HOCKET_ID_FILE or HOCKET_ID_ADDR says how it travels, still says who is who: its pair of
 * variables is found in a list.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "launch_internal.h"

#define MOST_RANKS (1 << 20)

struct place {
	const char *rank, *nranks, *local;
};

static const struct place places[] = {
	{"HOCKET_RANK", "HOCKET_NRANKS", "LOCAL_RANK"},
	{"RANK", "WORLD_SIZE", "LOCAL_RANK"},
	{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
	{"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"},
	/* SLURM_NTASKS is a batch script's too, which is no task: only srun sets the step's number.
	 */
	{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
};

enum { NPLACES = sizeof(places) / sizeof(places[0]) };

const char *hk_launch_env(const char *name)
{
	const char *text = getenv(name);

	return text && *text ? text : NULL;
}

hocketResult_t hk_launch_number(const char *name, int *value)
{
	const char *text = hk_launch_env(name);
	char *end = NULL;
	long v;

	if (!text)
		return hk_launch_fail(hocketInvalidUsage,
				      "%s is not set, though the launcher's other variables are",
				      name);
	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end || v < 0 || v > MOST_RANKS)
		return hk_launch_fail(hocketInvalidUsage,
				      "%s=%s is not a number of processes or a rank", name, text);
	*value = (int)v;
	return hocketSuccess;
}

hocketResult_t hk_launch_place(struct hocketLaunch *l, const char *rank, const char *nranks)
{
	hocketResult_t result = hk_launch_number(rank, &l->rank);

	if (result == hocketSuccess)
		result = hk_launch_number(nranks, &l->nranks);
	if (result != hocketSuccess || l->rank < l->nranks)
		return result;
	return hk_launch_fail(hocketInvalidUsage, "%s=%d is not below %s=%d", rank, l->rank, nranks,
			      l->nranks);
}

hocketResult_t hk_launch_any_place(struct hocketLaunch *l)
{
	for (int i = 0; i < NPLACES; i++)
		if (hk_launch_env(places[i].rank) && (i == 0 || hk_launch_env(places[i].nranks)))
			return hk_launch_place(l, places[i].rank, places[i].nranks);
	return hk_launch_fail(hocketInvalidUsage,
			      "HOCKET_ID_FILE or HOCKET_ID_ADDR is set, but nothing says which of "
			      "the processes this is: set HOCKET_RANK and HOCKET_NRANKS");
}

int hk_launch_local_rank(void)
{
	int value;

	for (int i = 0; i < NPLACES; i++)
		if (hk_launch_env(places[i].rank) && hk_launch_env(places[i].local) &&
		    hk_launch_number(places[i].local, &value) == hocketSuccess)
			return value;
	return -1;
}

double hk_launch_timeout_s(void)
{
	const char *text = hk_launch_env("HOCKET_INIT_TIMEOUT_MS");
	char *end = NULL;
	long ms = text ? strtol(text, &end, 0) : 0;

	return ms < 1 || ms > 86400000 || *end ? 60 : (double)ms / 1000;
}

double hk_launch_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
