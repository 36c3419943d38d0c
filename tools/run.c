/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket run`: starts N copies of a program on this host and watches over them. It makes the
 * unique id itself, so that the id's root lives as long as the job; ranks find it in HOCKET_ID (a
 * process's environment can be read by the same user only). Signals are taken one at a time with
 * sigtimedwait, so that there are no handlers and no races: a child's end, a signal to pass on, or
 * a deadline.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hocket/hocket.h>

#include "command.h"
#include "run_cores.h"
#include "run_spawn.h"

#define GRACE_S	     2.0
#define TIMED_OUT    124
#define MOST_RANKS   4096
#define NO_DEADLINE  HUGE_VAL
#define LAUNCH_ERROR 125

struct job {
	struct hk_spawn spawn;
	pid_t *pids; /* 0: ended */
	int running;
	int status;	   /* exit status: of the first failure */
	bool failed;	   /* a rank failed, time ran out, or a signal came */
	double timeout_at; /* the whole job's */
	double term_at;	   /* when the ranks that are left are asked to end */
	double kill_at;	   /* when they are made to */
	sigset_t signals;
};

struct run_options {
	int n;
	double timeout_s;
	bool bind, must_bind, help;
	char **program;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void signal_all(const struct job *job, int sig)
{
	for (int r = 0; r < job->spawn.nranks; r++)
		if (job->pids[r])
			kill(-job->pids[r], sig);
}

/* --- the end of a rank --- */

static void fail(struct job *job, int status)
{
	if (job->failed)
		return;
	job->failed = true;
	job->status = status;
	job->term_at = now_s() + GRACE_S;
}

static void rank_ended(struct job *job, int rank, const siginfo_t *end)
{
	job->pids[rank] = 0;
	job->running--;
	if (job->failed)
		return; /* what follows a failure, or our own signal, is no news */
	if (end->si_code == CLD_EXITED) {
		if (!end->si_status)
			return;
		fprintf(stderr, "hocket run: rank %d (pid %ld) exited with status %d\n", rank,
			(long)end->si_pid, end->si_status);
		fail(job, end->si_status);
	} else {
		fprintf(stderr, "hocket run: rank %d (pid %ld) was killed by signal %d (%s)\n",
			rank, (long)end->si_pid, end->si_status, strsignal(end->si_status));
		fail(job, 128 + end->si_status);
	}
}

/* Takes all children that have ended: ranks, and orphans of ranks, as this process is their
 * subreaper. A rank's group is killed while its number is still taken by the dead leader. */
static void reap(struct job *job)
{
	for (;;) {
		siginfo_t end = {0};

		if (waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT) || !end.si_pid)
			return;
		for (int r = 0; r < job->spawn.nranks; r++) {
			if (job->pids[r] != end.si_pid)
				continue;
			kill(-end.si_pid, SIGKILL);
			rank_ended(job, r, &end);
			break;
		}
		waitpid(end.si_pid, NULL, WNOHANG);
	}
}

/* --- watching --- */

static void deadlines(struct job *job)
{
	double now = now_s();

	if (now >= job->timeout_at) {
		fprintf(stderr, "hocket run: time is up, ending %d rank%s\n", job->running,
			job->running == 1 ? "" : "s");
		job->timeout_at = NO_DEADLINE;
		fail(job, TIMED_OUT);
		job->term_at = now;
	}
	if (now >= job->term_at) {
		signal_all(job, SIGTERM);
		job->term_at = NO_DEADLINE;
		job->kill_at = now + GRACE_S;
	}
	if (now >= job->kill_at) {
		fprintf(stderr, "hocket run: killing %d rank%s that did not end\n", job->running,
			job->running == 1 ? "" : "s");
		signal_all(job, SIGKILL);
		job->kill_at = NO_DEADLINE;
	}
}

static void pass_on(struct job *job, int sig)
{
	fprintf(stderr, "hocket run: %s, passed on to %d rank%s\n", strsignal(sig), job->running,
		job->running == 1 ? "" : "s");
	fail(job, 128 + sig);
	signal_all(job, sig);
	job->term_at = NO_DEADLINE;
	job->kill_at = fmin(job->kill_at, now_s() + GRACE_S);
}

static void watch(struct job *job)
{
	while (job->running) {
		double next = fmin(job->timeout_at, fmin(job->term_at, job->kill_at));
		double left = fmin(fmax(next - now_s(), 0), 1e6);
		struct timespec wait = {(time_t)left, (long)((left - floor(left)) * 1e9)};
		int sig = sigtimedwait(&job->signals, NULL, &wait);

		if (sig == SIGCHLD)
			reap(job);
		else if (sig > 0)
			pass_on(job, sig);
		deadlines(job);
	}
	reap(job);
}

/* --- starting --- */

static int start_ranks(struct job *job)
{
	for (int r = 0; r < job->spawn.nranks; r++) {
		pid_t pid = hk_spawn_rank(&job->spawn, r);

		if (pid < 0) {
			fprintf(stderr, "hocket run: cannot start rank %d: %s\n", r,
				strerror(errno));
			fail(job, LAUNCH_ERROR);
			job->term_at = now_s();
			break;
		}
		job->pids[r] = pid;
		job->running++;
	}
	watch(job);
	return job->status;
}

/* Blocked before the id's root thread starts, so that only sigtimedwait ever takes them. */
static void block_signals(sigset_t *signals)
{
	static const int which[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	sigemptyset(signals);
	for (unsigned i = 0; i < sizeof(which) / sizeof(which[0]); i++)
		sigaddset(signals, which[i]);
	sigprocmask(SIG_BLOCK, signals, NULL);
}

static int run_job(const struct run_options *o, const cpu_set_t *cores)
{
	hocketUniqueId id;
	struct job job = {
		.spawn = {o->program, o->n, &id, cores},
		.pids = calloc((size_t)o->n, sizeof(pid_t)),
		.timeout_at = o->timeout_s > 0 ? now_s() + o->timeout_s : NO_DEADLINE,
		.term_at = NO_DEADLINE,
		.kill_at = NO_DEADLINE,
	};
	hocketResult_t res;

	if (!job.pids)
		return LAUNCH_ERROR;
	block_signals(&job.signals);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	res = hocketGetUniqueId(&id);
	if (res == hocketSuccess) {
		start_ranks(&job);
	} else {
		fprintf(stderr, "hocket run: cannot make an id: %s: %s\n",
			hocketGetErrorString(res), hocketGetLastError(NULL));
		job.status = LAUNCH_ERROR;
	}
	free(job.pids);
	return job.status;
}

static const char *parse(int argc, char **argv, struct run_options *o)
{
	static const struct option flags[] = {
		{"nranks", required_argument, NULL, 'n'}, {"bind", no_argument, NULL, 'b'},
		{"no-bind", no_argument, NULL, 'B'},	  {"timeout", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},	  {NULL, 0, NULL, 0},
	};
	int flag;
	char *end;

	*o = (struct run_options){.bind = true};
	opterr = 0;
	optind = 1;
	while ((flag = getopt_long(argc, argv, "+:n:h", flags, NULL)) != -1) {
		if (flag == 'n') {
			long n = strtol(optarg, &end, 10);

			if (*end || n < 1 || n > MOST_RANKS)
				return "-n takes a number of ranks from 1 to 4096";
			o->n = (int)n;
		} else if (flag == 't') {
			o->timeout_s = strtod(optarg, &end);
			if (end == optarg || *end || !(o->timeout_s > 0))
				return "--timeout takes a number of seconds";
		} else if (flag == 'b' || flag == 'B') {
			o->must_bind = o->bind = flag == 'b';
		} else if (flag == 'h') {
			o->help = true;
			return NULL;
		} else {
			return hk_command_flag_problem(flag, argv);
		}
	}
	if (!o->n)
		return "-n N is missing: how many ranks?";
	if (optind == argc)
		return "the program is missing";
	o->program = argv + optind;
	return NULL;
}

static int run_main(int argc, char **argv)
{
	struct run_options o;
	const char *problem = parse(argc, argv, &o);
	cpu_set_t *cores = NULL;
	int status;

	if (problem)
		return hk_command_complain(&hk_command_run, problem, "");
	if (o.help)
		return hk_command_explain(&hk_command_run);
	if (o.bind) {
		cores = calloc((size_t)o.n, sizeof(cpu_set_t));
		if (cores && hk_run_cores(o.n, cores)) {
			free(cores);
			cores = NULL;
		}
	}
	if (o.must_bind && !cores)
		return hk_command_complain(&hk_command_run,
					   "--bind: there are fewer cores than ranks here", "");
	status = run_job(&o, cores);
	free(cores);
	return status;
}

const struct hk_command hk_command_run = {
	.name = "run",
	.usage = "-n N [--bind | --no-bind] [--timeout SECONDS] PROGRAM [ARGS...]",
	.summary = "runs N ranks of a program on this host",
	.details =
		"Each rank finds its place in HOCKET_RANK, HOCKET_NRANKS and HOCKET_ID (the "
		"unique\n"
		"id in hexadecimal), and in RANK, WORLD_SIZE and LOCAL_RANK. The id holds the\n"
		"group's secret; a process's environment can be read by the same user only.\n"
		"\n"
		"  -n N, --nranks N   number of ranks\n"
		"  --bind             bind each rank to a core, and fail if there are too few;\n"
		"                     without this flag they are bound if there are enough\n"
		"  --no-bind          leave the ranks where the system puts them\n"
		"  --timeout SECONDS  end the ranks after that long; the status is then 124\n"
		"\n"
		"When a rank fails, the others get 2 seconds to end by themselves, then SIGTERM, "
		"and\n"
		"2 seconds later SIGKILL. The exit status is that of the first rank to fail: its\n"
		"own, or 128 plus the signal. 125: the ranks could not be started.\n",
	.main = run_main,
};
