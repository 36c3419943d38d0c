/* SPDX-License-Identifier: BSD-3-Clause */
/* Tells users which algorithms there are, and which a communicator runs for a size. */
#include <errno.h>
#include <string.h>

#include "schedules.h"

static int find_coll(const char *name, enum hk_coll *coll)
{
	for (unsigned i = 0; name && i < HK_NCOLLS; i++) {
		if (i == HK_POINT_TO_POINT || strcmp(name, hk_coll_name((enum hk_coll)i)) != 0)
			continue;
		*coll = (enum hk_coll)i;
		return 0;
	}
	return hk_fail_quiet(EINVAL,
			     "hocketCommGetAlgorithm: '%s' is no collective; `hocket schedule` "
			     "lists them beside the algorithms",
			     name ? name : "NULL");
}

static int get_algorithm(struct hk_comm *c, const char *collective, size_t bytes,
			 const char **algorithm, int *channels)
{
	struct hk_choice choice = {0};
	unsigned given;
	enum hk_coll coll = HK_ALL_REDUCE;
	int err = find_coll(collective, &coll);

	if (err)
		return err;
	if (c->nranks == 1) {
		*algorithm = "none";
		if (channels)
			*channels = 0;
		return 0;
	}
	hk_comm_quiesce(c); /* a queued call may be choosing at this moment */
	given = c->ngiven ? hk_comm_given_for(c, coll, 0, bytes) : 0;
	if (given && !*c->config.algorithms) {
		*algorithm = c->given[given - 1].schedule->name;
		if (channels)
			*channels = (int)hk_schedule_channels(c->given[given - 1].schedule);
		return 0;
	}
	err = hk_comm_choose(c, coll, false, bytes, &choice);
	if (err)
		return err;
	*algorithm = choice.algo->name;
	if (channels)
		*channels = (int)choice.channels;
	return 0;
}

hocketResult_t hocketCommGetAlgorithm(const hocketComm_t comm, const char *collective, size_t bytes,
				      const char **algorithm, int *channels)
{
	struct hk_comm *c;
	int err;

	if (!algorithm)
		return hk_result(
			hk_fail_quiet(EINVAL, "hocketCommGetAlgorithm: algorithm is NULL"));
	c = hk_handle_enter(comm);
	if (!c)
		return hk_result(hk_handle_why());
	err = get_algorithm(c, collective, bytes, algorithm, channels);
	hk_handle_leave(comm);
	return hk_result(err);
}

hocketResult_t hocketListAlgorithm(int index, const char **algorithm, const char **collective)
{
	if (!algorithm || !collective)
		return hk_result(
			hk_fail_quiet(EINVAL, "hocketListAlgorithm: a result pointer is NULL"));
	if (index < 0 || (unsigned)index >= hk_nalgos)
		return hk_result(hk_fail_quiet(EINVAL,
					       "hocketListAlgorithm: there is no number %d, the "
					       "last is %u",
					       index, hk_nalgos - 1));
	*algorithm = hk_algos[index]->name;
	*collective = hk_coll_name(hk_algos[index]->coll);
	return hocketSuccess;
}
