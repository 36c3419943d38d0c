/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket schedule`: shows what an algorithm does and proves it, without running it. Everything is
 * done by the library's own layers: the algorithm emits, fusion fuses, the checker proves, the text
 * writer prints; so what is shown is what runs.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "algos.h"
#include "command.h"
#include "error.h"

#define MOST_RANKS 1024
#define MOST_SLOTS 64

struct schedule_options {
	int n, rank; /* rank -1: all */
	unsigned channels;
	bool inplace, unfused, help;
};

static int list_algorithms(void)
{
	printf("%-30s %s\n", "algorithm", "collective");
	for (unsigned i = 0; i < hk_nalgos; i++)
		printf("%-30s %s\n", hk_algos[i]->name, hk_coll_name(hk_algos[i]->coll));
	return 0;
}

static int build_all(const struct hk_algo *algo, const struct hk_problem *p, bool fuse,
		     struct hk_program **programs)
{
	for (int i = 0; i < p->nranks; i++) {
		int err = hk_algo_program(algo, p, i, fuse, &programs[i]);

		if (err) {
			fprintf(stderr, "hocket schedule: rank %d: %s\n", i, hk_last_error());
			return err;
		}
	}
	return 0;
}

static const char *s(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static int show(const struct hk_algo *algo, const struct hk_problem *p,
		const struct schedule_options *o, struct hk_program **programs)
{
	struct hk_report report;
	int err = build_all(algo, p, !o->unfused, programs);

	if (err)
		return 1;
	for (int i = 0; i < p->nranks; i++)
		if (o->rank < 0 || o->rank == i)
			hk_program_dump(programs[i], stdout);
	if (hk_check(p, programs, p->nranks, MOST_SLOTS, &report)) {
		printf("WRONG: %s\n", report.text);
		return 1;
	}
	printf("proved: %s on %d rank%s%s; %llu step%s, %llu message%s, %u slot%s per connection\n",
	       algo->name, p->nranks, s((unsigned)p->nranks), p->inplace ? " in place" : "",
	       (unsigned long long)report.steps, s(report.steps),
	       (unsigned long long)report.messages, s(report.messages), report.slots,
	       s(report.slots));
	return 0;
}

/* 0, or what is wrong with the arguments. */
static const char *parse(int argc, char **argv, struct schedule_options *o)
{
	static const struct option flags[] = {
		{"channels", required_argument, NULL, 'c'}, {"rank", required_argument, NULL, 'r'},
		{"in-place", no_argument, NULL, 'i'},	    {"unfused", no_argument, NULL, 'u'},
		{"help", no_argument, NULL, 'h'},	    {NULL, 0, NULL, 0}};
	int flag;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":n:h", flags, NULL)) != -1) {
		if (flag == 'n')
			o->n = atoi(optarg);
		else if (flag == 'c')
			o->channels = (unsigned)atoi(optarg);
		else if (flag == 'r')
			o->rank = atoi(optarg);
		else if (flag == 'i')
			o->inplace = true;
		else if (flag == 'u')
			o->unfused = true;
		else if (flag == 'h')
			o->help = true;
		else
			return hk_command_flag_problem(flag, argv);
	}
	if (o->help)
		return NULL;
	if (o->n < 1 || o->n > MOST_RANKS)
		return "-n must be from 1 to 1024";
	if (o->channels < 1 || o->channels > 16)
		return "--channels must be from 1 to 16";
	if (o->rank >= o->n)
		return "--rank must be less than -n";
	return NULL;
}

static int schedule_main(int argc, char **argv)
{
	struct schedule_options o = {.n = 4, .rank = -1, .channels = 1};
	const char *problem = parse(argc, argv, &o);
	const struct hk_algo *algo;
	struct hk_program **programs;
	struct hk_problem p;
	int status;

	if (problem)
		return hk_command_complain(&hk_command_schedule, problem, "");
	if (o.help)
		return hk_command_explain(&hk_command_schedule);
	if (optind == argc)
		return list_algorithms();
	algo = hk_algo_find(argv[optind]);
	if (!algo || optind + 1 < argc)
		return hk_command_complain(&hk_command_schedule,
					   algo ? "one algorithm at a time, not also"
						: "no algorithm is called",
					   argv[algo ? optind + 1 : optind]);
	p = (struct hk_problem){
		.coll = algo->coll, .nranks = o.n, .channels = o.channels, .inplace = o.inplace};
	if (!algo->accepts(&p)) {
		fprintf(stderr, "hocket schedule: %s does not do %d rank%s with %u channel%s\n",
			algo->name, o.n, s((unsigned)o.n), o.channels, s(o.channels));
		return 1;
	}
	programs = calloc((size_t)o.n, sizeof(struct hk_program *));
	if (!programs)
		return 1;
	status = show(algo, &p, &o, programs);
	for (int i = 0; i < o.n; i++)
		hk_program_free(programs[i]);
	free(programs);
	return status;
}

const struct hk_command hk_command_schedule = {
	.name = "schedule",
	.usage = "[ALGORITHM [-n RANKS] [--channels C] [--rank R] [--in-place] [--unfused]]",
	.summary = "lists the algorithms, or shows and proves what one does",
	.details =
		"Prints every rank's program (or --rank R's), a line a step, and proves the whole\n"
		"schedule: result, progress, no race. Without an algorithm: their names.\n"
		"-n defaults to 4; --unfused shows what the algorithm emits before fusion.\n",
	.main = schedule_main,
};
