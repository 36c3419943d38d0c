/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts the ranks of this host and watches over them. */
#ifndef HOCKET_TOOLS_RUN_RANKS_H
#define HOCKET_TOOLS_RUN_RANKS_H

#include <stdbool.h>

#include <hocket/hocket.h>

#include "run_job.h"

enum hk_run_bind { HK_RUN_BIND_IF_ENOUGH, HK_RUN_BIND, HK_RUN_NO_BIND };

#define HK_RUN_ID_DIGITS (2 * HOCKET_UNIQUE_ID_BYTES)

struct hk_run_ranks {
	char **program;
	int first, n; /* this host's: first, first + 1 ... */
	int nranks;   /* of all hosts */
	enum hk_run_bind bind;
	bool prefix;	  /* lines with "[rank] " before them */
	const char *host; /* its name in messages; NULL: there is only this one */
	char id[HK_RUN_ID_DIGITS + 1];
};

extern const struct hk_run_kind hk_run_kind_ranks;

/* Makes an id, whose root lives as long as this process. 0, or -1 having said why. */
int hk_run_make_id(char id[HK_RUN_ID_DIGITS + 1]);
/* Starts r's ranks in a job that was opened for r with hk_run_kind_ranks or one like it. */
void hk_run_ranks_start(struct hk_run_job *job, const struct hk_run_ranks *r);
/* For hk_run_kind: what the kind of ranks does. */
void hk_run_ranks_signal(struct hk_run_job *job, int child, int sig);
int hk_run_ranks_ended(struct hk_run_job *job, int child, const siginfo_t *end);

#endif
