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

static int init_rank(hocketComm_t *comm, int nranks, const hocketUniqueId *id, int rank,
		     const hocketConfig_t *config)
{
	struct hk_comm *c;
	int err;

	if (!comm)
		return hk_fail_quiet(EINVAL, "comm is NULL");
	if (nranks < 1 || nranks > 1 << 20)
		return hk_fail_quiet(EINVAL, "nranks is %d; it must be from 1 to %d", nranks,
				     1 << 20);
	if (rank < 0 || rank >= nranks)
		return hk_fail_quiet(EINVAL, "rank is %d; it must be from 0 to %d", rank,
				     nranks - 1);
	err = hk_comm_create((const uint8_t *)id->internal, nranks, rank, config, &c);
	if (err)
		return err;
	err = hk_handle_new(c, comm);
	if (err) {
		hk_comm_fail(c, err); /* the others believe that we are in */
		hk_comm_destroy(c);
	}
	return err;
}

hocketResult_t hocketCommInitRank(hocketComm_t *comm, int nranks, hocketUniqueId commId, int rank)
{
	return hk_result(init_rank(comm, nranks, &commId, rank, NULL));
}

hocketResult_t hocketCommInitRankConfig(hocketComm_t *comm, int nranks, hocketUniqueId commId,
					int rank, hocketConfig_t *config)
{
	return hk_result(init_rank(comm, nranks, &commId, rank, config));
}

/* --- all ranks in one process --- */

struct init_job {
	pthread_t thread;
	hocketUniqueId id;
	int nranks, rank, err;
	hocketComm_t comm;
	char error[512];
};

static void *init_thread(void *arg)
{
	struct init_job *job = arg;

	job->err = init_rank(&job->comm, job->nranks, &job->id, job->rank, NULL);
	if (job->err)
		strncpy(job->error, hk_last_error(), sizeof(job->error) - 1);
	return NULL;
}

static int run_jobs(struct init_job *jobs, int n)
{
	int started = 0, err = 0;

	for (; started < n && !err; started++) {
		err = pthread_create(&jobs[started].thread, NULL, init_thread, &jobs[started]);
		if (err)
			err = hk_fail(err, "starting a thread for rank %d failed: %s", started,
				      strerror(err));
	}
	if (err)
		started--;
	for (int i = 0; i < started; i++)
		pthread_join(jobs[i].thread, NULL);
	for (int i = 0; i < started && !err; i++) {
		err = jobs[i].err;
		if (err)
			hk_set_last_error(jobs[i].error);
	}
	return err;
}

static int init_all(hocketComm_t *comms, int n, const int *devlist)
{
	struct init_job *jobs;
	uint8_t id[HK_ID_BYTES];
	int err;

	if (!comms)
		return hk_fail_quiet(EINVAL, "hocketCommInitAll: comms is NULL");
	if (n < 1 || n > 256)
		return hk_fail_quiet(EINVAL,
				     "hocketCommInitAll: ndev is %d; it must be from 1 to 256", n);
	if (devlist)
		return hk_fail_quiet(EINVAL,
				     "hocketCommInitAll: this build has host communicators only; "
				     "devlist must be NULL");
	err = hk_boot_unique_id(id);
	if (err)
		return err;
	jobs = calloc((size_t)n, sizeof(*jobs));
	if (!jobs)
		return hk_fail(ENOMEM, "out of memory for %d ranks", n);
	for (int i = 0; i < n; i++) {
		memcpy(jobs[i].id.internal, id, sizeof(id));
		jobs[i].nranks = n;
		jobs[i].rank = i;
	}
	err = run_jobs(jobs, n);
	for (int i = 0; i < n; i++) {
		if (!err)
			comms[i] = jobs[i].comm;
		else if (jobs[i].comm)
			hocketCommAbort(jobs[i].comm);
	}
	free(jobs);
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
		return hocketInvalidArgument;
	hk_comm_quiesce(c);
	if (c->finalized)
		err = hk_fail_quiet(HK_EUSAGE, "the communicator has been finalized already");
	else
		err = hk_comm_check(c);
	c->finalized = true;
	hk_handle_leave(comm);
	return hk_result(err);
}

hocketResult_t hocketCommDestroy(hocketComm_t comm)
{
	struct hk_comm *c = hk_handle_enter(comm);

	if (!c)
		return hocketInvalidArgument;
	hk_comm_quiesce(c);
	hk_handle_leave(comm);
	c = hk_handle_take(comm);
	if (!c)
		return hocketInvalidArgument;
	hk_handle_drain(comm);
	hk_comm_destroy(c);
	return hocketSuccess;
}

hocketResult_t hocketCommAbort(hocketComm_t comm)
{
	struct hk_comm *c = hk_handle_take(comm);

	if (!c)
		return hocketInvalidArgument;
	atomic_store(&c->aborted, true);
	hk_fail_quiet(HK_EABORT, "rank %d aborted the communicator", c->rank);
	hk_comm_fail(c, -HK_EABORT);
	hk_handle_drain(comm); /* calls inside see the flag and leave */
	hk_comm_destroy(c);
	return hocketSuccess;
}

/* --- queries --- */

/* Enters comm if there is somewhere to put the answer. */
static struct hk_comm *query(hocketComm_t comm, const void *out, const char *function)
{
	if (out)
		return hk_handle_enter(comm);
	hk_fail_quiet(EINVAL, "%s: the result pointer is NULL", function);
	return NULL;
}

hocketResult_t hocketCommCount(const hocketComm_t comm, int *count)
{
	struct hk_comm *c = query(comm, count, __func__);

	if (!c)
		return hocketInvalidArgument;
	*count = c->nranks;
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommUserRank(const hocketComm_t comm, int *rank)
{
	struct hk_comm *c = query(comm, rank, __func__);

	if (!c)
		return hocketInvalidArgument;
	*rank = c->rank;
	hk_handle_leave(comm);
	return hocketSuccess;
}

hocketResult_t hocketCommMemory(const hocketComm_t comm, size_t *bytes)
{
	struct hk_comm *c = query(comm, bytes, __func__);

	if (!c)
		return hocketInvalidArgument;
	*bytes = hk_comm_memory(c);
	hk_handle_leave(comm);
	return hocketSuccess;
}
