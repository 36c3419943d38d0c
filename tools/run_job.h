/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches over child processes until all have ended: the ranks of this host, or the connections to
 * hosts whose ranks somebody else watches. The first failure gives the job its status and the
 * others a grace; signals and deadlines end it too.
 */
#ifndef HOCKET_TOOLS_RUN_JOB_H
#define HOCKET_TOOLS_RUN_JOB_H

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#define HK_RUN_TIMED_OUT    124
#define HK_RUN_LAUNCH_ERROR 125
#define HK_RUN_NO_DEADLINE  HUGE_VAL

struct hk_run_job;
struct hk_run_output;

/* What the children are. */
struct hk_run_kind {
	const char *noun;
	/* Sends a signal to everybody for whom the child stands. */
	void (*signal)(struct hk_run_job *job, int child, int sig);
	/* Called for the end of a child while nothing has failed: 0, or the job's status after
	 * having said why. */
	int (*ended)(struct hk_run_job *job, int child, const siginfo_t *end);
	/* Called when the command descriptor can be read; false: it has ended, nobody waits for the
	 * job any more. */
	bool (*commanded)(struct hk_run_job *job);
};

struct hk_run_job {
	const struct hk_run_kind *kind;
	const void *of; /* the kind's own */
	pid_t *pids;	/* 0: ended, or not started */
	int n, running;
	int status;		      /* exit status: of the first failure */
	bool failed;		      /* a child failed, time ran out, or a signal came */
	bool killing;		      /* some have been told to end for good */
	double timeout_at;	      /* the whole job's */
	double term_at;		      /* when those that are left are asked to end */
	double kill_at;		      /* when they are made to */
	int signals;		      /* signalfd */
	int commands;		      /* descriptor from which commands come, or -1 */
	struct hk_run_output *output; /* what the children print, or NULL: they do it themselves */
};

/* Before any thread starts, so that only the job's signalfd takes SIGCHLD and what ends a job. Also
 * makes this process the reaper of its descendants. 0, or -1 with errno. */
int hk_run_job_open(struct hk_run_job *job, int n, const struct hk_run_kind *kind, const void *of);
/* Ends it after so many seconds; 0: never. */
void hk_run_job_time_limit(struct hk_run_job *job, double seconds);
/* Counts a started child; pid < 0: it could not be started, which fails the job. */
void hk_run_job_started(struct hk_run_job *job, int child, pid_t pid);
/* The first one counts; it ends the others after a grace. */
void hk_run_job_fail(struct hk_run_job *job, int status);
/* A signal for everybody, which is the job's failure, and a grace before the end. */
void hk_run_job_signal(struct hk_run_job *job, int sig);
/* Until all have ended. */
void hk_run_job_watch(struct hk_run_job *job);
void hk_run_job_close(struct hk_run_job *job);

#endif
