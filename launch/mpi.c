/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MPI itself, for an mpirun that neither speaks PMI-1 nor has a PMIx to open, such as an Open MPI 4
 * that was built with a PMIx inside. The module with the MPI calls lies beside this library and is
 * opened only now, so that nothing here needs an MPI, and a machine may have several: the module's
 * must be of the launcher's family, which shows in the number of processes.
 */
#include "module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "launch_internal.h"

static bool mpi_here(void)
{
	return hk_launch_env("OMPI_COMM_WORLD_SIZE") || hk_launch_env("PMI_SIZE");
}

/* The module's path: beside the object that holds this function. */
static bool module_path(char *path, size_t size)
{
	const char *slash;
	Dl_info here;

	if (!dladdr(&hk_way_mpi, &here) || !here.dli_fname)
		return false;
	slash = strrchr(here.dli_fname, '/');
	return snprintf(path, size, "%.*s" HK_MPI_MODULE,
			slash ? (int)(slash - here.dli_fname + 1) : 0, here.dli_fname) < (int)size;
}

static hocketResult_t load(const struct hk_mpi **mpi)
{
	char path[4096] = HK_MPI_MODULE;
	void *library;

	module_path(path, sizeof(path));
	/* Global, as an MPI's own modules look for its symbols. It stays until the end. */
	library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
	*mpi = library ? dlsym(library, HK_MPI_SYMBOL) : NULL;
	if (*mpi)
		return hocketSuccess;
	return hk_launch_fail(
		hocketSystemError,
		"started by an MPI launcher, but built without MPI or for another one "
		"(%s): use `hocket run -n N PROGRAM`, or install this MPI's "
		"development files and build again",
		dlerror());
}

/* What the launcher says of the number of processes, 0 if nothing. */
static int expected_size(void)
{
	const char *names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
	int size;

	for (int i = 0; i < 2; i++)
		if (hk_launch_env(names[i]) && hk_launch_number(names[i], &size) == hocketSuccess)
			return size;
	return 0;
}

static hocketResult_t open_mpi(struct hocketLaunch *l)
{
	const struct hk_mpi *mpi = NULL;
	hocketResult_t result = load(&mpi);

	if (result != hocketSuccess)
		return result;
	if (!mpi->open(&l->rank, &l->nranks))
		return hk_launch_fail(hocketSystemError, "MPI could not be initialised");
	if (expected_size() && l->nranks != expected_size())
		return hk_launch_fail(
			hocketSystemError,
			"the launcher has started %d processes, but MPI sees %d: this "
			"was built for another MPI (%.60s); start it with that one's "
			"mpirun",
			expected_size(), l->nranks, mpi->version);
	l->mpi = mpi;
	return hocketSuccess;
}

static hocketResult_t share_mpi(struct hocketLaunch *l, hocketUniqueId *id)
{
	hocketResult_t result = l->rank ? hocketSuccess : hk_launch_make_id(id);

	if (l->mpi->broadcast(id, sizeof(*id), result == hocketSuccess))
		return hocketSuccess;
	if (result != hocketSuccess)
		return result;
	return hk_launch_fail(hocketRemoteError, "process 0 could not make an id");
}

static void close_mpi(struct hocketLaunch *l)
{
	l->mpi->close();
}

const struct hk_way hk_way_mpi = {
	.name = "mpi",
	.here = mpi_here,
	.open = open_mpi,
	.share = share_mpi,
	.close = close_mpi,
};
