/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket switch`: runs a switch that reduces for jobs, until a signal ends it. Everything is
 * behind hocket/switch.h; this file reads the arguments and turns signals into the descriptor that
 * ends the serving.
 */
#include <getopt.h>
#include <hocket/switch.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "command.h"

struct switch_options {
	const char *listen, *key, *name, *make_key;
	int max_jobs;
	bool help;
};

static int complain(const char *what)
{
	fprintf(stderr, "hocket switch: %s: %s\n", what, hocketGetLastError(NULL));
	return 1;
}

/* NULL, or what is wrong with the arguments. */
static const char *parse(int argc, char **argv, struct switch_options *o)
{
	static const struct option flags[] = {{"listen", required_argument, NULL, 'l'},
					      {"key", required_argument, NULL, 'k'},
					      {"name", required_argument, NULL, 'n'},
					      {"max-jobs", required_argument, NULL, 'j'},
					      {"make-key", required_argument, NULL, 'm'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	char *end;
	int flag;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1) {
		if (flag == 'l')
			o->listen = optarg;
		else if (flag == 'k')
			o->key = optarg;
		else if (flag == 'n')
			o->name = optarg;
		else if (flag == 'm')
			o->make_key = optarg;
		else if (flag == 'h')
			o->help = true;
		else if (flag != 'j')
			return hk_command_flag_problem(flag, argv);
		if (flag != 'j')
			continue;
		o->max_jobs = (int)strtol(optarg, &end, 10);
		if (end == optarg || *end || o->max_jobs < 1 || o->max_jobs > 1024)
			return "--max-jobs must be from 1 to 1024";
	}
	if (o->help)
		return NULL;
	if (optind < argc)
		return "takes flags only";
	if (!o->make_key && (!o->listen || !o->key))
		return "needs --listen and --key, or --make-key";
	return NULL;
}

/* SIGINT and SIGTERM end the serving. */
static int stop_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int serve(const struct switch_options *o)
{
	hocketSwitchConfig_t config = {.size = sizeof(config),
				       .listen = o->listen,
				       .keyFile = o->key,
				       .name = o->name,
				       .maxJobs = o->max_jobs};
	char address[128] = "";
	hocketSwitch_t sw;
	int fd;

	if (hocketSwitchOpen(&config, &sw))
		return complain("cannot open the switch");
	hocketSwitchAddress(sw, address, sizeof(address));
	fd = stop_signals();
	/* Scripts read the port from here. */
	printf("listening on %s\n", address);
	fflush(stdout);
	if (hocketSwitchServe(sw, fd))
		return complain("cannot serve");
	hocketSwitchClose(sw);
	return 0;
}

static int switch_main(int argc, char **argv)
{
	struct switch_options o = {0};
	const char *problem = parse(argc, argv, &o);

	if (problem)
		return hk_command_complain(&hk_command_switch, problem, "");
	if (o.help)
		return hk_command_explain(&hk_command_switch);
	if (o.make_key)
		return hocketSwitchMakeKey(o.make_key) ? complain("no key") : 0;
	return serve(&o);
}

const struct hk_command hk_command_switch = {
	.name = "switch",
	.usage = "--listen HOST:PORT --key FILE [--name NAME] [--max-jobs N] | --make-key FILE",
	.summary = "runs a switch that reduces for jobs",
	.details =
		"Jobs that set HOCKET_SWITCHES=HOST:PORT, and HOCKET_SWITCH_KEY on rank 0, send "
		"their\n"
		"data to it and get the result back; it serves several jobs at a time (by default\n"
		"64). --make-key writes a fresh secret to a new file, for the switch and for rank "
		"0\n"
		"of its jobs. With port 0 it takes any free port; it says which one it listens "
		"on.\n",
	.main = switch_main,
};
