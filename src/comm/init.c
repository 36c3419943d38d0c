/* SPDX-License-Identifier: BSD-3-Clause */
/* Public entry points that make, query and end communicators. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

_Static_assert(HOCKET_UNIQUE_ID_BYTES == HK_ID_BYTES, "ids agree");

hocketResult_t hocketGetUniqueId(hocketUniqueId *uniqueId)
{
	uint8_t id[HK_ID_BYTES];
	int err;

	if (!uniqueId)
		return hk_result(hk_fail_quiet(EINVAL, "hocketGetUniqueId: uniqueId is NULL"));
	err = hk_boot_unique_id(id);
	if (!err)
		memcpy(uniqueId->internal, id, sizeof(id));
	return hk_result(err);
}

static hocketResult_t make(const struct hk_make_how *how, hocketComm_t *comm)
{
	if (!comm)
		return hk_result(hk_fail_quiet(EINVAL, "the place for the communicator is NULL"));
	return hk_result(hk_group_open() ? hk_group_make(how, comm) : hk_make(how, comm));
}

static hocketResult_t init_rank(hocketComm_t *comm, int nranks, int nids, const hocketUniqueId *ids,
				int rank, const hocketConfig_t *config)
{
	struct hk_make_how how = {
		.ids = (const uint8_t *)ids,
		.nids = nids,
		.nranks = nranks,
		.rank = rank,
		.config = config,
	};

	if (!ids)
		return hk_result(hk_fail_quiet(EINVAL, "commIds is NULL"));
	return make(&how, comm);
}

hocketResult_t hocketCommInitRank(hocketComm_t *comm, int nranks, hocketUniqueId commId, int rank)
{
	return init_rank(comm, nranks, 1, &commId, rank, NULL);
}

hocketResult_t hocketCommInitRankConfig(hocketComm_t *comm, int nranks, hocketUniqueId commId,
					int rank, hocketConfig_t *config)
{
	return init_rank(comm, nranks, 1, &commId, rank, config);
}

hocketResult_t hocketCommInitRankScalable(hocketComm_t *newcomm, int nranks, int myrank, int nId,
					  hocketUniqueId *commIds, hocketConfig_t *config)
{
	return init_rank(newcomm, nranks, nId, commIds, myrank, config);
}

hocketResult_t hocketCommSplit(hocketComm_t comm, int color, int key, hocketComm_t *newcomm,
			       hocketConfig_t *config)
{
	struct hk_make_how how = {
		.split = true, .parent = comm, .color = color, .key = key, .config = config};

	return make(&how, newcomm);
}

/* --- all ranks in one process --- */

/* Ends those that have been started and are fine. */
static void give_up_all(hocketComm_t *comms, int n)
{
	for (int i = 0; i < n; i++)
		if (comms[i])
			hocketCommAbort(comms[i]);
}

static int make_all(const uint8_t id[HK_ID_BYTES], int n, const int *devices,
		    struct hk_make **makes, hocketComm_t *comms)
{
	int started = 0, err = 0;

	while (started < n && !err) {
		hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
		struct hk_make_how how = {
			.ids = id, .nids = 1, .nranks = n, .rank = started, .config = &config};

		if (devices)
			config.device = devices[started];

		err = hk_make_start(&how, &makes[started], &comms[started]);
		started += !err;
	}
	if (err) {
		give_up_all(comms, started);
		for (int i = 0; i < started; i++)
			hk_make_let_go(makes[i]);
		return err;
	}
	for (int i = 0; i < n; i++) {
		int failed = hk_make_finish(makes[i]);

		if (failed)
			comms[i] = NULL;
		err = err ? err : failed;
	}
	if (err)
		give_up_all(comms, n);
	return err;
}

static int init_all(hocketComm_t *comms, int n, const int *devlist)
{
	struct hk_make **makes;
	hocketComm_t *made;
	uint8_t id[HK_ID_BYTES];
	int err;

	if (!comms)
		return hk_fail_quiet(EINVAL, "hocketCommInitAll: comms is NULL");
	if (n < 1 || n > 256)
		return hk_fail_quiet(EINVAL,
				     "hocketCommInitAll: ndev is %d; it must be from 1 to 256", n);
	err = hk_boot_unique_id(id);
	if (err)
		return err;
	makes = calloc((size_t)n, sizeof(struct hk_make *));
	made = calloc((size_t)n, sizeof(hocketComm_t));
	if (makes && made)
		err = make_all(id, n, devlist, makes, made);
	else
		err = hk_fail(ENOMEM, "out of memory for %d ranks", n);
	if (!err)
		memcpy(comms, made, (size_t)n * sizeof(*comms));
	free(makes);
	free(made);
	return err;
}

hocketResult_t hocketCommInitAll(hocketComm_t *comms, int ndev, const int *devlist)
{
	return hk_result(init_all(comms, ndev, devlist));
}

/* --- the end --- */

hocketResult_t hocketCommFinalize(hocketComm_t comm)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err = 0;

	if (!c)
		return hk_result(hk_handle_why());
	if (c->config.blocking)
		hk_comm_quiesce(c);
	if (c->finalized)
		err = hk_fail_quiet(HK_EUSAGE, "the communicator has been finalized already");
	else
		err = hk_comm_check(c);
	if (!err && c->config.blocking && !c->gpu)
		hk_comm_settle(c);
	c->finalized = true;
	if (!err && hk_comm_is_busy(c))
		err = -EINPROGRESS;
	hk_handle_leave(comm);
	return hk_result(err);
}

/* Ends comm, or its creation if that has not ended, and frees it. */
static hocketResult_t end(hocketComm_t comm, bool abort)
{
	struct hk_make *m = hk_handle_take(comm);
	struct hk_comm *c;

	if (!m)
		return hk_result(hk_handle_why());
	hk_make_cancel(m);
	c = hk_handle_take_comm(comm);
	if (c && abort) {
		atomic_store(&c->aborted, true);
		hk_fail_quiet(HK_EABORT, "rank %d aborted the communicator", c->rank);
		hk_comm_fail(c, -HK_EABORT);
	} else if (c) {
		hk_comm_quiesce(c);
	}
	hk_handle_drain(comm); /* after an abort, calls inside see the flag and leave */
	hk_comm_destroy(c);
	hk_make_let_go(m);
	hk_handle_release(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommDestroy(hocketComm_t comm)
{
	return end(comm, false);
}

hocketResult_t hocketCommAbort(hocketComm_t comm)
{
	return end(comm, true);
}

/* --- queries --- */

/* Enters comm if there is somewhere to put the answer. */
static int query(hocketComm_t comm, const void *out, const char *function, struct hk_comm **c)
{
	if (!out)
		return hk_fail_quiet(EINVAL, "%s: the result pointer is NULL", function);
	*c = hk_handle_enter(comm);
	return *c ? 0 : hk_handle_why();
}

hocketResult_t hocketCommCount(const hocketComm_t comm, int *count)
{
	struct hk_comm *c = NULL;
	int err = query(comm, count, __func__, &c);

	if (err)
		return hk_result(err);
	*count = c->nranks;
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommUserRank(const hocketComm_t comm, int *rank)
{
	struct hk_comm *c = NULL;
	int err = query(comm, rank, __func__, &c);

	if (err)
		return hk_result(err);
	*rank = c->rank;
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommDevice(const hocketComm_t comm, int *device)
{
	struct hk_comm *c = NULL;
	int err = query(comm, device, __func__, &c);

	if (err)
		return hk_result(err);
	*device = c->config.device;
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommDeviceMemory(const hocketComm_t comm, size_t *bytes)
{
	struct hk_comm *c = NULL;
	int err = query(comm, bytes, __func__, &c);

	if (err)
		return hk_result(err);
	*bytes = hk_comm_device_memory(c);
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommMemory(const hocketComm_t comm, size_t *bytes)
{
	struct hk_comm *c = NULL;
	int err = query(comm, bytes, __func__, &c);

	if (err)
		return hk_result(err);
	hk_comm_quiesce(c); /* a queued call may be making a plan */
	*bytes = hk_comm_memory(c);
	hk_handle_leave(comm);
	return hocketSuccess;
}
