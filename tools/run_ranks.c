/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The children are ranks. They print for themselves, unless lines are to have a prefix: then each
 * has two pipes.
 */
#include "run_ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run_cores.h"
#include "run_output.h"
#include "run_spawn.h"

int hk_run_make_id(char text[HK_RUN_ID_DIGITS + 1])
{
	hocketUniqueId id;
	hocketResult_t res = hocketGetUniqueId(&id);

	if (res != hocketSuccess) {
		fprintf(stderr, "hocket run: cannot make an id: %s: %s\n",
			hocketGetErrorString(res), hocketGetLastError(NULL));
		return -1;
	}
	for (int i = 0; i < HOCKET_UNIQUE_ID_BYTES; i++)
		sprintf(text + 2 * i, "%02x", (unsigned char)id.internal[i]);
	return 0;
}

void hk_run_ranks_signal(struct hk_run_job *job, int child, int sig)
{
	kill(-job->pids[child], sig);
}

int hk_run_ranks_ended(struct hk_run_job *job, int child, const siginfo_t *end)
{
	const struct hk_run_ranks *r = job->of;
	const char *on = r->host ? " on " : "", *host = r->host ? r->host : "";
	int rank = r->first + child;

	if (end->si_code != CLD_EXITED) {
		fprintf(stderr, "hocket run: rank %d (pid %ld%s%s) was killed by signal %d (%s)\n",
			rank, (long)end->si_pid, on, host, end->si_status,
			strsignal(end->si_status));
		return 128 + end->si_status;
	}
	if (end->si_status)
		fprintf(stderr, "hocket run: rank %d (pid %ld%s%s) exited with status %d\n", rank,
			(long)end->si_pid, on, host, end->si_status);
	return end->si_status;
}

const struct hk_run_kind hk_run_kind_ranks = {
	.noun = "rank",
	.signal = hk_run_ranks_signal,
	.ended = hk_run_ranks_ended,
};

/* --- starting --- */

/* Pipes for what a rank prints. Their other ends are the output's. */
static int open_pipes(struct hk_run_job *job, int child, int rank, struct hk_spawn *s)
{
	char prefix[16];
	int out[2], err[2];

	if (pipe2(out, O_CLOEXEC))
		return -1;
	if (pipe2(err, O_CLOEXEC)) {
		close(out[0]);
		close(out[1]);
		return -1;
	}
	s->out = out[1];
	s->err = err[1];
	snprintf(prefix, sizeof(prefix), "[%d] ", rank);
	if (hk_run_output_add(job->output, child, out[0], STDOUT_FILENO, prefix)) {
		close(err[0]);
		return -1;
	}
	return hk_run_output_add(job->output, child, err[0], STDERR_FILENO, prefix);
}

static pid_t start_rank(struct hk_run_job *job, const struct hk_run_ranks *r, int local,
			const cpu_set_t *cores)
{
	struct hk_place place = {r->first + local, r->nranks, local, r->n, r->id};
	char **variables = hk_spawn_variables(&place);
	struct hk_spawn s = {r->program,
			     variables,
			     .in = -1,
			     .out = -1,
			     .err = -1,
			     .complains = local == 0,
			     .cores = cores ? &cores[local] : NULL};
	pid_t pid = -1;

	if (!variables)
		errno = ENOMEM;
	else if (!r->prefix || !open_pipes(job, local, place.rank, &s))
		pid = hk_spawn(&s);
	if (s.out >= 0)
		close(s.out);
	if (s.err >= 0)
		close(s.err);
	free(variables);
	return pid;
}

/* NULL: not bound. */
static cpu_set_t *find_cores(const struct hk_run_ranks *r)
{
	cpu_set_t *cores =
		r->bind == HK_RUN_NO_BIND ? NULL : calloc((size_t)r->n, sizeof(cpu_set_t));

	if (cores && hk_run_cores(r->n, cores)) {
		free(cores);
		cores = NULL;
	}
	return cores;
}

void hk_run_ranks_start(struct hk_run_job *job, const struct hk_run_ranks *r)
{
	cpu_set_t *cores = find_cores(r);

	if (r->bind == HK_RUN_BIND && !cores) {
		fprintf(stderr, "hocket run: --bind: there are fewer cores than ranks %s\n",
			r->host ? r->host : "here");
		hk_run_job_fail(job, r->host ? HK_RUN_LAUNCH_ERROR : 2);
		return;
	}
	if (r->prefix)
		job->output = hk_run_output_open(NULL, NULL);
	for (int i = 0; i < r->n && !job->failed; i++)
		hk_run_job_started(job, i,
				   r->prefix && !job->output ? -1 : start_rank(job, r, i, cores));
	free(cores);
}
