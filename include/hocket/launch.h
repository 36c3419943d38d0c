/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a program learns which of how many processes it is, and how all of them get the unique id,
 * whichever launcher has started them: `hocket run`, mpirun of Open MPI or MPICH, Slurm's srun,
 * torchrun, or a person. This is a small library of its own, libhocket_launch.so (pkg-config:
 * hocket-launch); libhocket.so does not need it, and a program that carries the id by other means
 * does not either. docs/launchers has a page for each launcher.
 *
 *     hocketLaunchOpen(&launch, &rank, &nranks);
 *     hocketLaunchShareId(launch, &id);
 *     hocketCommInitRank(&comm, nranks, id, rank);
 *     ...
 *     hocketLaunchClose(launch);
 *
 * The launcher is told from the variables that it leaves in the environment; HOCKET_LAUNCH names it
 * where they mislead. Nothing is linked for that: a launcher's own library is opened when it is
 * met.
 *
 * Every function returns hocketSuccess or says why not: hocketLaunchGetLastError() has the
 * sentence.
 */
#ifndef HOCKET_LAUNCH_H
#define HOCKET_LAUNCH_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the launcher said, and the connection to it. */
typedef struct hocketLaunch *hocketLaunch_t;

/*
 * Finds out this process's number, from 0, and the number of processes; one process alone if
 * nothing tells of a launcher. It may connect with the launcher, so open once a process, and close.
 * hocketInvalidUsage: the environment contradicts itself, or lacks a part; hocketSystemError: the
 * launcher's library cannot be had, or it does not answer. The outputs are set on success only.
 */
HOCKET_API hocketResult_t hocketLaunchOpen(hocketLaunch_t *launch, int *rank, int *nranks);
/*
 * Gives all processes the same fresh id; all of them call it, once. Process 0, or `hocket run`,
 * makes it. It takes until process 0 has come, and for some launchers all, but no longer than
 * HOCKET_INIT_TIMEOUT_MS: then hocketRemoteError.
 */
HOCKET_API hocketResult_t hocketLaunchShareId(hocketLaunch_t launch, hocketUniqueId *id);
/* This process's number among those of its host, from 0, or -1 where the launcher does not say. */
HOCKET_API hocketResult_t hocketLaunchLocalRank(const hocketLaunch_t launch, int *localRank);
/* The launcher as HOCKET_LAUNCH names it: "hocket", "hand", "torchrun", "pmi", "pmix", "mpi" or
 * "alone". A constant; "none" for NULL. */
HOCKET_API const char *hocketLaunchName(const hocketLaunch_t launch);
/* Takes leave of the launcher and frees. Call it after the communicators are gone, as under some
 * launchers a process that ends without it counts as failed. NULL is allowed. */
HOCKET_API hocketResult_t hocketLaunchClose(hocketLaunch_t launch);
/* The sentence, with cause and remedy, of this thread's last failure in these functions, or "".
 * Never NULL; valid until the next failing call of this thread. */
HOCKET_API const char *hocketLaunchGetLastError(void);

#ifdef __cplusplus
}
#endif

#endif
