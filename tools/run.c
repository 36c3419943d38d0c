/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket run`: starts N copies of a program, on this host or on several over ssh, and watches over
 * them. On this host it makes the unique id itself, so that the id's root lives as long as the job;
 * ranks find it in HOCKET_ID (a process's environment can be read by the same user only). This file
 * reads the arguments; run_ranks.c starts ranks, run_remote.c hosts, and run_job.c watches.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "run_remote.h"

#define DEFAULT_SSH "ssh -o BatchMode=yes -o ConnectTimeout=20"

struct run_options {
	int n;
	double timeout_s;
	enum hk_run_bind bind;
	bool prefix, agent, help;
	struct hk_run_hosts hosts;
	const char *ssh, *remote_hocket;
	char **names; /* -x, ended by NULL; n_names of them */
	int n_names;
	char **program;
};

enum { BIND = 1000, NO_BIND, TIMEOUT, HOSTS, HOSTFILE, SSH, REMOTE, PREFIX, AGENT };

static const struct option flags[] = {
	{"nranks", required_argument, NULL, 'n'},
	{"bind", no_argument, NULL, BIND},
	{"no-bind", no_argument, NULL, NO_BIND},
	{"timeout", required_argument, NULL, TIMEOUT},
	{"hosts", required_argument, NULL, HOSTS},
	{"hostfile", required_argument, NULL, HOSTFILE},
	{"ssh", required_argument, NULL, SSH},
	{"remote-hocket", required_argument, NULL, REMOTE},
	{"prefix", no_argument, NULL, PREFIX},
	{"agent", no_argument, NULL, AGENT},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const char *set_nranks(struct run_options *o, const char *value)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (*end || n < 1 || n > HK_RUN_MOST_RANKS)
		return "-n takes a number of ranks from 1 to 4096";
	o->n = (int)n;
	return NULL;
}

static const char *set_timeout(struct run_options *o, const char *value)
{
	char *end;

	o->timeout_s = strtod(value, &end);
	if (end == value || *end || !(o->timeout_s > 0))
		return "--timeout takes a number of seconds";
	return NULL;
}

/* A flag; NULL, or what is wrong. */
static const char *set(struct run_options *o, int flag, char *value, char *const *argv)
{
	switch (flag) {
	case 'n':
		return set_nranks(o, value);
	case TIMEOUT:
		return set_timeout(o, value);
	case BIND:
	case NO_BIND:
		o->bind = flag == BIND ? HK_RUN_BIND : HK_RUN_NO_BIND;
		return NULL;
	case HOSTS:
		return hk_run_hosts_parse(value, &o->hosts);
	case HOSTFILE:
		return hk_run_hosts_read(value, &o->hosts);
	case SSH:
		o->ssh = value;
		return NULL;
	case REMOTE:
		o->remote_hocket = value;
		return NULL;
	case 'x':
		o->names[o->n_names++] = value;
		return NULL;
	case PREFIX:
		o->prefix = true;
		return NULL;
	case AGENT:
		o->agent = true;
		return NULL;
	case 'h':
		o->help = true;
		return NULL;
	default:
		return hk_command_flag_problem(flag, argv);
	}
}

/* What is missing or does not fit together. */
static const char *check(struct run_options *o, int argc, char **argv)
{
	if (o->agent || o->help)
		return NULL;
	if (!o->n && !o->hosts.n)
		return "-n N is missing: how many ranks?";
	if (!o->hosts.n && (o->ssh || o->remote_hocket || o->n_names))
		return "--ssh, --remote-hocket and -x are for --hosts";
	if (!o->n)
		o->n = o->hosts.slots;
	if (o->hosts.n && o->n > o->hosts.slots)
		return "-n is more than the hosts take: HOST:RANKS says how many one takes";
	if (optind == argc)
		return "the program is missing";
	o->program = argv + optind;
	return NULL;
}

static const char *parse(int argc, char **argv, struct run_options *o)
{
	int flag;

	opterr = 0;
	optind = 1;
	while (!o->help && (flag = getopt_long(argc, argv, "+:n:x:h", flags, NULL)) != -1) {
		const char *problem = set(o, flag, optarg, argv);

		if (problem)
			return problem;
	}
	return check(o, argc, argv);
}

static int run_here(const struct run_options *o, struct hk_run_ranks *r)
{
	struct hk_run_job job;

	r->n = o->n;
	if (hk_run_job_open(&job, o->n, &hk_run_kind_ranks, r)) {
		fprintf(stderr, "hocket run: %s\n", strerror(errno));
		return HK_RUN_LAUNCH_ERROR;
	}
	hk_run_job_time_limit(&job, o->timeout_s);
	if (hk_run_make_id(r->id)) {
		job.status = HK_RUN_LAUNCH_ERROR;
	} else {
		hk_run_ranks_start(&job, r);
		hk_run_job_watch(&job);
	}
	hk_run_job_close(&job);
	return job.status;
}

static int run_there(struct run_options *o, const struct hk_run_ranks *ranks)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct hk_run_remote r = {
		.hosts = &o->hosts,
		.ranks = *ranks,
		.ssh = o->ssh ? o->ssh : DEFAULT_SSH,
		.self = self,
		.hocket = o->remote_hocket ? o->remote_hocket : self,
		.names = o->names,
		.timeout_s = o->timeout_s,
	};

	if (n < 0) {
		fprintf(stderr, "hocket run: cannot tell its own path: %s\n", strerror(errno));
		return HK_RUN_LAUNCH_ERROR;
	}
	self[n] = 0;
	hk_run_hosts_deal(&o->hosts, o->n);
	return hk_run_remote(&r);
}

static int run_main(int argc, char **argv)
{
	struct run_options o = {.names = calloc((size_t)argc + 1, sizeof(char *))};
	const char *problem = o.names ? parse(argc, argv, &o) : "out of memory";
	struct hk_run_ranks ranks = {
		.program = o.program, .nranks = o.n, .bind = o.bind, .prefix = o.prefix};
	int status;

	if (problem)
		status = hk_command_complain(&hk_command_run, problem, "");
	else if (o.help)
		status = hk_command_explain(&hk_command_run);
	else if (o.agent)
		status = hk_run_agent();
	else
		status = o.hosts.n ? run_there(&o, &ranks) : run_here(&o, &ranks);
	hk_run_hosts_free(&o.hosts);
	free(o.names);
	return status;
}

const struct hk_command hk_command_run = {
	.name = "run",
	.usage = "[-n N] [--hosts A:4,B:4 | --hostfile FILE] [flags] [--] PROGRAM [ARGS...]",
	.summary = "runs N ranks of a program, on this host or over ssh on several",
	.details =
		"Each rank finds its place in HOCKET_RANK, HOCKET_NRANKS and HOCKET_ID (the "
		"unique\n"
		"id in hexadecimal), and in RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE. "
		"The\n"
		"id holds the group's secret; a process's environment can be read by the same "
		"user\n"
		"only.\n"
		"\n"
		"  -n N, --nranks N   number of ranks; with hosts, as many as they take by "
		"default\n"
		"  --hosts A:4,B:4    4 ranks on A, the next 4 on B; HOST alone takes one. Hosts "
		"are\n"
		"                     names for ssh, also USER@HOST; an IPv6 address is [ADDRESS]\n"
		"  --hostfile FILE    the same, a line HOST, HOST:4 or HOST slots=4 each\n"
		"  --ssh COMMAND      reaches a host; the host and a command line are added to it\n"
		"                     (default " DEFAULT_SSH ")\n"
		"  --remote-hocket P  this command's path on the hosts (default: its path here)\n"
		"  -x NAME[=VALUE]    a variable for the ranks on hosts, besides HOCKET_*; again "
		"for\n"
		"                     more\n"
		"  --prefix           begins each line that a rank prints with [RANK]\n"
		"  --bind             bind each rank to a core, and fail if there are too few;\n"
		"                     without this flag they are bound if there are enough\n"
		"  --no-bind          leave the ranks where the system puts them\n"
		"  --timeout SECONDS  end the ranks after that long; the status is then 124\n"
		"  --agent            what --hosts starts on a host\n"
		"\n"
		"When a rank fails, the others get 2 seconds to end by themselves, then SIGTERM, "
		"and\n"
		"2 seconds later SIGKILL, on all hosts. The exit status is that of the first rank\n"
		"to fail: its own, or 128 plus the signal. 125: ranks could not be started, or a\n"
		"connection to a host was lost, which ends the ranks there too.\n",
	.main = run_main,
};
