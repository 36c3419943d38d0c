/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a benchmark process learns which of how many it is, and how all processes get the unique id.
 * Five ways, told apart by the environment that the launcher leaves (see launch.c):
 * `hocket run`, variables set by hand, torchrun, mpirun (when built with MPI), or alone.
 */
#ifndef HOCKET_BENCH_LAUNCH_H
#define HOCKET_BENCH_LAUNCH_H

#include <hocket/hocket.h>

enum hk_launcher {
	HK_LAUNCH_ALONE,
	HK_LAUNCH_HOCKET,
	HK_LAUNCH_BY_HAND, /* HOCKET_RANK and HOCKET_ID_FILE */
	HK_LAUNCH_TORCHRUN,
	HK_LAUNCH_MPI,
};

struct hk_launch {
	enum hk_launcher how;
	int rank, nprocs; /* of processes */
};

/* 0; or -1 with the reason on standard error. Initialises MPI if that is the launcher. */
int hk_launch_open(int *argc, char ***argv, struct hk_launch *l);
/* Every process gets the same id; process 0 (or the launcher) makes it. 0 or -1. */
int hk_launch_share_id(const struct hk_launch *l, hocketUniqueId *id);
/* After the communicators are gone. */
void hk_launch_close(const struct hk_launch *l);
/* "hocket run", "mpirun" ... */
const char *hk_launch_name(enum hk_launcher how);

#endif
