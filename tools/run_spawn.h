/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts a process, and makes the environment of a rank. */
#ifndef HOCKET_TOOLS_RUN_SPAWN_H
#define HOCKET_TOOLS_RUN_SPAWN_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

struct hk_spawn {
	char *const *program;	/* argv */
	char *const *variables; /* its environment */
	int in, out, err;	/* -1: /dev/null for in; the caller's for the others */
	bool complains;		/* says so if the program cannot be executed */
	const cpu_set_t *cores; /* NULL: not bound */
};

/* The process leads a process group of its own and dies with this one. If the program cannot be
 * executed it exits with 127. The caller's blocked signals are unblocked in it. Returns its pid, or
 * -1 with errno. */
pid_t hk_spawn(const struct hk_spawn *s);

/* Where a rank is. */
struct hk_place {
	int rank, nranks;
	int local, nlocal; /* the same among those of its host */
	const char *id;	   /* in hexadecimal */
};

/* This process's environment with HOCKET_RANK, HOCKET_NRANKS and HOCKET_ID, and with RANK,
 * WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. Valid as long as this process's is; free it with
 * free(). NULL when there is no memory. */
char **hk_spawn_variables(const struct hk_place *place);

#endif
