/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One poll over a signalfd, the children's output and commands, so that there are no handlers and
 * no races: a child's end, a signal to pass on, a line to print, or a deadline.
 */
#include "run_job.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run_output.h"

#define GRACE_S 2.0

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void signal_all(struct hk_run_job *job, int sig)
{
	for (int i = 0; i < job->n; i++)
		if (job->pids[i])
			job->kind->signal(job, i, sig);
}

static const char *plural(int n)
{
	return n == 1 ? "" : "s";
}

/* --- the end of a child --- */

void hk_run_job_fail(struct hk_run_job *job, int status)
{
	if (job->failed)
		return;
	job->failed = true;
	job->status = status;
	job->term_at = now_s() + GRACE_S;
}

static void child_ended(struct hk_run_job *job, int child, const siginfo_t *end)
{
	int status;

	/* What it has said before it ended comes first. */
	hk_run_output_read(job->output);
	job->pids[child] = 0;
	job->running--;
	if (job->failed)
		return; /* what follows a failure, or our own signal, is no news */
	status = job->kind->ended(job, child, end);
	if (status)
		hk_run_job_fail(job, status);
}

/* Takes all children that have ended: those of the job, and orphans of theirs, as this process is
 * their subreaper. A child's group is killed while its number is still taken by the dead leader. */
static void reap(struct hk_run_job *job)
{
	for (;;) {
		siginfo_t end = {0};

		if (waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT) || !end.si_pid)
			return;
		for (int i = 0; i < job->n; i++) {
			if (job->pids[i] != end.si_pid)
				continue;
			kill(-end.si_pid, SIGKILL);
			child_ended(job, i, &end);
			break;
		}
		waitpid(end.si_pid, NULL, WNOHANG);
	}
}

/* --- watching --- */

static void deadlines(struct hk_run_job *job)
{
	double now = now_s();

	if (now >= job->timeout_at) {
		fprintf(stderr, "hocket run: time is up, ending %d %s%s\n", job->running,
			job->kind->noun, plural(job->running));
		job->timeout_at = HK_RUN_NO_DEADLINE;
		hk_run_job_fail(job, HK_RUN_TIMED_OUT);
		job->term_at = now;
	}
	if (now >= job->term_at) {
		signal_all(job, SIGTERM);
		job->term_at = HK_RUN_NO_DEADLINE;
		job->kill_at = fmin(job->kill_at, now + GRACE_S);
	}
	if (now >= job->kill_at) {
		if (!job->killing)
			fprintf(stderr, "hocket run: killing %d %s%s that did not end\n",
				job->running, job->kind->noun, plural(job->running));
		job->killing = true;
		signal_all(job, SIGKILL);
		job->kill_at = now + GRACE_S; /* again, for what takes more than one blow */
	}
}

void hk_run_job_signal(struct hk_run_job *job, int sig)
{
	hk_run_job_fail(job, 128 + sig);
	signal_all(job, sig);
	job->term_at = HK_RUN_NO_DEADLINE;
	job->kill_at = fmin(job->kill_at, now_s() + GRACE_S);
}

static void take_signals(struct hk_run_job *job)
{
	struct signalfd_siginfo s;

	while (read(job->signals, &s, sizeof(s)) == sizeof(s)) {
		if (s.ssi_signo == SIGCHLD)
			continue;
		fprintf(stderr, "hocket run: %s, passed on to %d %s%s\n",
			strsignal((int)s.ssi_signo), job->running, job->kind->noun,
			plural(job->running));
		hk_run_job_signal(job, (int)s.ssi_signo);
	}
	reap(job);
}

/* Waits for something, or the next deadline. */
static void wait_for_news(struct hk_run_job *job, struct pollfd *fds, int most)
{
	double next = fmin(job->timeout_at, fmin(job->term_at, job->kill_at));
	double left = fmin(fmax(next - now_s(), 0), 1e6);
	struct timespec wait = {(time_t)left, (long)((left - floor(left)) * 1e9)};
	int n = 2;

	fds[0] = (struct pollfd){.fd = job->signals, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = job->commands, .events = POLLIN};
	n += hk_run_output_poll(job->output, fds + 2, most - 2);
	ppoll(fds, (nfds_t)n, &wait, NULL);
	hk_run_output_read(job->output);
	if (fds[1].revents && !job->kind->commanded(job)) {
		job->commands = -1;
		job->killing = true; /* nobody is there to be told */
		job->kill_at = now_s();
		hk_run_job_fail(job, HK_RUN_LAUNCH_ERROR);
	}
	if (fds[0].revents)
		take_signals(job);
}

void hk_run_job_watch(struct hk_run_job *job)
{
	int most = 2 + hk_run_output_count(job->output);
	struct pollfd *fds = calloc((size_t)most, sizeof(*fds));

	if (!fds) { /* without it nothing can be watched */
		signal_all(job, SIGKILL);
		job->status = HK_RUN_LAUNCH_ERROR;
		return;
	}
	while (job->running) {
		wait_for_news(job, fds, most);
		deadlines(job);
	}
	free(fds);
	reap(job);
}

/* --- opening and closing --- */

int hk_run_job_open(struct hk_run_job *job, int n, const struct hk_run_kind *kind, const void *of)
{
	static const int which[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction now;
	sigset_t set;

	*job = (struct hk_run_job){
		.kind = kind,
		.of = of,
		.pids = calloc((size_t)n, sizeof(pid_t)),
		.n = n,
		.timeout_at = HK_RUN_NO_DEADLINE,
		.term_at = HK_RUN_NO_DEADLINE,
		.kill_at = HK_RUN_NO_DEADLINE,
		.commands = -1,
	};
	if (!job->pids)
		return -1;
	/* Whoever started this may have ignored it: then nobody would hear of a child's end. */
	signal(SIGCHLD, SIG_DFL);
	/* Whoever reads our output may go. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		/* What we were told to ignore (nohup, jobs in the background) is not ours to take:
		 * a descriptor would get it all the same. */
		if (!sigaction(which[i], NULL, &now) && now.sa_handler != SIG_IGN)
			sigaddset(&set, which[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	job->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (job->signals >= 0)
		return 0;
	free(job->pids);
	return -1;
}

void hk_run_job_time_limit(struct hk_run_job *job, double seconds)
{
	job->timeout_at = seconds > 0 ? now_s() + seconds : HK_RUN_NO_DEADLINE;
}

void hk_run_job_started(struct hk_run_job *job, int child, pid_t pid)
{
	if (pid < 0) {
		fprintf(stderr, "hocket run: cannot start %s %d: %s\n", job->kind->noun, child,
			strerror(errno));
		hk_run_job_fail(job, HK_RUN_LAUNCH_ERROR);
		job->term_at = now_s();
		return;
	}
	job->pids[child] = pid;
	job->running++;
}

void hk_run_job_close(struct hk_run_job *job)
{
	hk_run_output_close(job->output);
	close(job->signals);
	free(job->pids);
}
