/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PMIx, which Open MPI's mpirun serves, PRRTE's prterun, and Slurm's `srun --mpi=pmix`. libpmix is
 * opened when such a launcher is met; only its header is needed to build. Process 0 puts the id
 * where the job's processes find it; all meet in a fence that carries it, and after that this
 * process finalizes PMIx at once, so that PMIx's thread does not share the cores with what comes:
 * the launchers end a job for a process that exits with a failure after that, too.
 *
 * Values are taken apart and freed here by hand: what the header's macros expand to depends on the
 * version, the functions and structs do not.
 */
#include "launch_internal.h"

#ifdef HOCKET_WITH_PMIX

#include <dlfcn.h>
#include <pmix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY	"hocket.id"
#define LIBRARY "libpmix.so.2"

struct pmix {
	pmix_status_t (*init)(pmix_proc_t *proc, pmix_info_t info[], size_t ninfo);
	pmix_status_t (*finalize)(const pmix_info_t info[], size_t ninfo);
	pmix_status_t (*get)(const pmix_proc_t *proc, const char key[], const pmix_info_t info[],
			     size_t ninfo, pmix_value_t **value);
	pmix_status_t (*put)(pmix_scope_t scope, const char key[], pmix_value_t *value);
	pmix_status_t (*commit)(void);
	pmix_status_t (*fence)(const pmix_proc_t procs[], size_t nprocs, const pmix_info_t info[],
			       size_t ninfo);
	const char *(*error_string)(pmix_status_t status);
};

/* One connection a process, as in PMIx itself. */
static struct pmix pmix;
static pmix_proc_t self;
static bool connected;

static hocketResult_t load(void)
{
	struct {
		const char *name;
		void **where;
	} symbols[] = {
		{"PMIx_Init", (void **)&pmix.init},
		{"PMIx_Finalize", (void **)&pmix.finalize},
		{"PMIx_Get", (void **)&pmix.get},
		{"PMIx_Put", (void **)&pmix.put},
		{"PMIx_Commit", (void **)&pmix.commit},
		{"PMIx_Fence", (void **)&pmix.fence},
		{"PMIx_Error_string", (void **)&pmix.error_string},
	};
	/* Global, as its components look for its symbols. It stays: it does not survive dlclose. */
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);

	if (!library)
		return hk_launch_fail(
			hocketSystemError,
			"started by a PMIx launcher, but " LIBRARY
			" cannot be opened: %s. Install it (Debian: libpmix2), or add "
			"its folder to LD_LIBRARY_PATH",
			dlerror());
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		*symbols[i].where = dlsym(library, symbols[i].name);
		if (!*symbols[i].where)
			return hk_launch_fail(hocketSystemError,
					      LIBRARY " has no %s: it is too old", symbols[i].name);
	}
	return hocketSuccess;
}

static hocketResult_t complain(const char *what, pmix_status_t status)
{
	return hk_launch_fail(status == PMIX_ERR_TIMEOUT ? hocketRemoteError : hocketSystemError,
			      "%s failed: %s (%d)%s", what, pmix.error_string(status), status,
			      status == PMIX_ERR_TIMEOUT
				      ? ": not all processes came within HOCKET_INIT_TIMEOUT_MS"
				      : ": was this process started by the launcher itself, and is "
					"its PMIx as new as this one?");
}

/* A process of this job, or all of them. */
static pmix_proc_t proc_of(pmix_rank_t rank)
{
	pmix_proc_t p;

	memset(&p, 0, sizeof(p));
	memcpy(p.nspace, self.nspace, sizeof(p.nspace));
	p.rank = rank;
	return p;
}

static hocketResult_t job_size(int *size)
{
	pmix_proc_t job = proc_of(PMIX_RANK_WILDCARD);
	pmix_value_t *value = NULL;
	pmix_status_t status = pmix.get(&job, PMIX_JOB_SIZE, NULL, 0, &value);
	bool good;

	if (status != PMIX_SUCCESS || !value)
		return complain("PMIx_Get of the job's size", status);
	good = value->type == PMIX_UINT32;
	*size = good ? (int)value->data.uint32 : 0;
	free(value);
	if (good && *size > (int)self.rank)
		return hocketSuccess;
	return hk_launch_fail(hocketSystemError,
			      "PMIx says that this is rank %u of a job of %d processes",
			      (unsigned)self.rank, *size);
}

static void close_pmix(struct hocketLaunch *l)
{
	if (connected)
		pmix.finalize(NULL, 0);
	connected = false;
}

static hocketResult_t open_pmix(struct hocketLaunch *l)
{
	hocketResult_t result = load();
	pmix_status_t status;

	if (result != hocketSuccess)
		return result;
	status = pmix.init(&self, NULL, 0);
	if (status != PMIX_SUCCESS)
		return complain("PMIx_Init", status);
	connected = true;
	l->rank = (int)self.rank;
	return job_size(&l->nranks);
}

static hocketResult_t put(const hocketUniqueId *id)
{
	char digits[HK_ID_DIGITS + 1];
	pmix_value_t value;
	pmix_status_t status;

	memset(&value, 0, sizeof(value));
	hk_launch_print_id(id, digits);
	value.type = PMIX_STRING;
	value.data.string = digits;
	status = pmix.put(PMIX_GLOBAL, KEY, &value);
	if (status == PMIX_SUCCESS)
		status = pmix.commit();
	return status == PMIX_SUCCESS ? hocketSuccess : complain("PMIx_Put", status);
}

/* All processes meet, within the deadline, and what they have put travels. */
static hocketResult_t fence(void)
{
	pmix_proc_t job = proc_of(PMIX_RANK_WILDCARD);
	pmix_info_t info[2];
	pmix_status_t status;

	memset(info, 0, sizeof(info));
	snprintf(info[0].key, sizeof(info[0].key), "%s", PMIX_COLLECT_DATA);
	info[0].value.type = PMIX_BOOL;
	info[0].value.data.flag = true;
	snprintf(info[1].key, sizeof(info[1].key), "%s", PMIX_TIMEOUT);
	info[1].value.type = PMIX_INT;
	info[1].value.data.integer = (int)hk_launch_timeout_s() + 1;
	status = pmix.fence(&job, 1, info, 2);
	return status == PMIX_SUCCESS ? hocketSuccess : complain("PMIx_Fence", status);
}

static hocketResult_t get(hocketUniqueId *id)
{
	pmix_proc_t first = proc_of(0);
	pmix_value_t *value = NULL;
	pmix_status_t status = pmix.get(&first, KEY, NULL, 0, &value);
	bool good;

	if (status != PMIX_SUCCESS || !value)
		return complain("PMIx_Get of the id", status);
	good = value->type == PMIX_STRING && value->data.string &&
	       hk_launch_parse_id(value->data.string, id);
	if (value->type == PMIX_STRING)
		free(value->data.string);
	free(value);
	return good ? hocketSuccess
		    : hk_launch_fail(hocketRemoteError, "process 0 has left no id with PMIx");
}

static hocketResult_t share_pmix(struct hocketLaunch *l, hocketUniqueId *id)
{
	hocketResult_t result = l->rank ? hocketSuccess : hk_launch_make_id(id);

	if (result == hocketSuccess && l->rank == 0)
		result = put(id);
	if (result == hocketSuccess)
		result = fence();
	if (result == hocketSuccess && l->rank)
		result = get(id);
	if (result == hocketSuccess)
		close_pmix(l);
	return result;
}

#else

static hocketResult_t load(void)
{
	return hk_launch_fail(hocketSystemError,
			      "started by a PMIx launcher, but built without PMIx: install its "
			      "development files (Debian: libpmix-dev) and build again");
}

static hocketResult_t open_pmix(struct hocketLaunch *l)
{
	return load();
}

static hocketResult_t share_pmix(struct hocketLaunch *l, hocketUniqueId *id)
{
	return load();
}

static void close_pmix(struct hocketLaunch *l)
{
}

#endif

/* Open MPI may have a PMIx of its own inside, and no other: then MPI itself is the way. */
static bool pmix_here(void)
{
	return hk_launch_env("PMIX_NAMESPACE") && hk_launch_env("PMIX_RANK") &&
	       (!hk_launch_env("OMPI_COMM_WORLD_SIZE") || load() == hocketSuccess);
}

const struct hk_way hk_way_pmix = {
	.name = "pmix",
	.here = pmix_here,
	.open = open_pmix,
	.share = share_pmix,
	.close = close_pmix,
};
