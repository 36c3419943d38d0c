/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts the process of one rank. */
#ifndef HOCKET_TOOLS_RUN_SPAWN_H
#define HOCKET_TOOLS_RUN_SPAWN_H

#include <sched.h>
#include <sys/types.h>

#include <hocket/hocket.h>

struct hk_spawn {
	char **program; /* argv of every rank */
	int nranks;
	const hocketUniqueId *id;
	const cpu_set_t *cores; /* one per rank; NULL: not bound */
};

/* The rank leads a process group of its own, dies with this process, reads nothing from standard
 * input, and finds its place in HOCKET_RANK, HOCKET_NRANKS and HOCKET_ID, and in RANK, WORLD_SIZE
 * and LOCAL_RANK. If PROGRAM cannot be executed it exits with 127. The caller's blocked signals are
 * unblocked in it. Returns its pid, or -1 with errno. */
pid_t hk_spawn_rank(const struct hk_spawn *s, int rank);

#endif
