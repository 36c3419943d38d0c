/* SPDX-License-Identifier: BSD-3-Clause */
/* What the module that is linked with an MPI gives to the library that opens it. All return false
 * on failure; MPI has then said why, or ended the process. */
#ifndef HOCKET_LAUNCH_MODULE_H
#define HOCKET_LAUNCH_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#define HK_MPI_MODULE "libhocket_launch_mpi.so"
#define HK_MPI_SYMBOL "hk_launch_mpi_table"

struct hk_mpi {
	const char *version; /* "Open MPI v4.1.4, ...": set by open */
	/* Initialises MPI. */
	bool (*open)(int *rank, int *nranks);
	/* Process 0's bytes to all, and whether it has any: if not, false for all. */
	bool (*broadcast)(void *data, size_t bytes, bool good);
	void (*close)(void);
};

#endif
