/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The only code here that is linked with an MPI: a module of its own, built with the MPI that meson
 * has found, and opened only by a process that has no other way to meet its job.
 */
#include "module.h"

#include <mpi.h>
#include <stdio.h>

__attribute__((visibility("default"))) extern struct hk_mpi hk_launch_mpi_table;

static char version[MPI_MAX_LIBRARY_VERSION_STRING];

static bool open_mpi(int *rank, int *nranks)
{
	int provided, length;

	/* Threads that hold ranks of their own do not call MPI. */
	if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
		return false;
	MPI_Get_library_version(version, &length);
	return MPI_Comm_rank(MPI_COMM_WORLD, rank) == MPI_SUCCESS &&
	       MPI_Comm_size(MPI_COMM_WORLD, nranks) == MPI_SUCCESS;
}

static bool broadcast(void *data, size_t bytes, bool good)
{
	int all_good = good;

	return MPI_Bcast(&all_good, 1, MPI_INT, 0, MPI_COMM_WORLD) == MPI_SUCCESS && all_good &&
	       MPI_Bcast(data, (int)bytes, MPI_BYTE, 0, MPI_COMM_WORLD) == MPI_SUCCESS;
}

static void close_mpi(void)
{
	MPI_Finalize();
}

struct hk_mpi hk_launch_mpi_table = {version, open_mpi, broadcast, close_mpi};
