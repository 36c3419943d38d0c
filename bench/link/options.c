/* SPDX-License-Identifier: BSD-3-Clause */
/* Flags of link_perf. What is not known or out of bounds is refused, as in the other benchmarks. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "numbers.h"
#include "variables.h"

static const char help[] =
	"usage: %s [flags]\n"
	"Two ranks: latency, bandwidth and message rate of each transport beside the limit that "
	"its\n"
	"primitives show without the library, in the same run.\n"
	"  -t, --transports LIST     transports, with commas between them (default: all that work\n"
	"                            between the two ranks)\n"
	"  -b, --minbytes SIZE       smallest size; suffixes K, M, G (default 8, at least 8)\n"
	"  -e, --maxbytes SIZE       largest size, always measured (default 1M, or\n"
	"                            minbytes if that is larger)\n"
	"  -f, --stepfactor FACTOR   sizes grow by this factor (default 8)\n"
	"  -i, --stepbytes SIZE      sizes grow by this many bytes instead\n"
	"  -n, --iters N             messages per timed block; 0: as many as take --block-ms\n"
	"                            (default 0)\n"
	"  -B, --block-ms N          how long a block takes, in milliseconds (default 10)\n"
	"  -w, --warmup_iters N      messages before the first timed block (default 20)\n"
	"  -r, --rounds N            blocks of each kind; the ways take turns (default 9)\n"
	"  -m, --agg_iters N         calls of the API in one group (default 1: one way no group)\n"
	"  -c, --check 0|1           look at what has come, at every size (default 1)\n"
	"  -R, --local_register 0|1  1: the library's memory, registered (default 0)\n"
	"  -J, --json FILE           also write the results there\n"
	"  -h, --help                this\n"
	"Start it with `hocket run -n 2`, mpirun or torchrun. The exit status is 1 if a message "
	"was\n"
	"wrong, 2 after another failure.\n"
	"Launchers' environment variables (`hocket doctor` lists the library's own):\n";

static const struct option flags[] = {
	{"transports", required_argument, NULL, 't'},
	{"minbytes", required_argument, NULL, 'b'},
	{"maxbytes", required_argument, NULL, 'e'},
	{"stepfactor", required_argument, NULL, 'f'},
	{"stepbytes", required_argument, NULL, 'i'},
	{"iters", required_argument, NULL, 'n'},
	{"block-ms", required_argument, NULL, 'B'},
	{"warmup_iters", required_argument, NULL, 'w'},
	{"rounds", required_argument, NULL, 'r'},
	{"agg_iters", required_argument, NULL, 'm'},
	{"check", required_argument, NULL, 'c'},
	{"local_register", required_argument, NULL, 'R'},
	{"json", required_argument, NULL, 'J'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

/* 0; or -1 if the value makes no sense. */
static int set(struct hk_lp_options *o, int flag, const char *text)
{
	switch (flag) {
	case 't':
		o->transports = text;
		return *text ? 0 : -1;
	case 'b':
		return hk_bench_parse_size(text, &o->min_bytes) || o->min_bytes < HK_LP_MIN_BYTES ||
				       o->min_bytes > UINT32_MAX / 2
			       ? -1
			       : 0;
	case 'e':
		return hk_bench_parse_size(text, &o->max_bytes) || o->max_bytes > UINT32_MAX / 2
			       ? -1
			       : 0;
	case 'f':
		return hk_bench_parse_factor(text, &o->step_factor);
	case 'i':
		return hk_bench_parse_size(text, &o->step_bytes) || !o->step_bytes ? -1 : 0;
	case 'n':
		return hk_bench_parse_int(text, 0, 1 << 24, &o->iters);
	case 'B':
		return hk_bench_parse_int(text, 1, 10000, &o->block_ms);
	case 'w':
		return hk_bench_parse_int(text, 0, 1 << 24, &o->warmup);
	case 'r':
		return hk_bench_parse_int(text, 1, HK_LP_MOST_ROUNDS, &o->rounds);
	case 'm':
		return hk_bench_parse_int(text, 1, 1024, &o->group);
	case 'c':
		return hk_bench_parse_bool(text, &o->check);
	case 'R':
		return hk_bench_parse_bool(text, &o->registered);
	case 'J':
		o->json = text;
		return 0;
	default:
		return -1;
	}
}

static const char *objection(int flag)
{
	switch (flag) {
	case 't':
		return "names no transport";
	case 'b':
		return "is no size from 8 bytes to 2 GiB";
	case 'e':
		return "is no size up to 2 GiB";
	case 'i':
		return "is no size";
	case 'f':
		return "is no factor above 1";
	case 'c':
	case 'R':
		return "is neither 0 nor 1";
	default:
		return "is no whole number, or too small or too large";
	}
}

static void print_help(const char *program)
{
	printf(help, program);
	for (int i = 0; i < HK_NLAUNCH_VARIABLES; i++)
		printf("  %-24s  %s\n", hk_launch_variables[i].name, hk_launch_variables[i].help);
}

enum hk_lp_parse hk_lp_parse(int argc, char **argv, bool loud, struct hk_lp_options *o)
{
	int flag;

	*o = (struct hk_lp_options){
		.min_bytes = 8,
		.max_bytes = SIZE_MAX,
		.step_factor = 8,
		.block_ms = 10,
		.warmup = 20,
		.rounds = 9,
		.group = 1,
		.check = true,
	};
	opterr = loud;
	while ((flag = getopt_long(argc, argv, "t:b:e:f:i:n:B:w:r:m:c:R:J:h", flags, NULL)) != -1) {
		if (flag == 'h') {
			if (loud)
				print_help(argv[0]);
			return HK_LP_HELP;
		}
		if (flag == '?') /* getopt has said why */
			return HK_LP_BAD;
		if (!set(o, flag, optarg))
			continue;
		if (loud)
			fprintf(stderr, "%s: -%c: '%s' %s\n-h lists the flags\n", argv[0], flag,
				optarg, objection(flag));
		return HK_LP_BAD;
	}
	if (o->max_bytes == SIZE_MAX)
		o->max_bytes = o->min_bytes > 1u << 20 ? o->min_bytes : 1u << 20;
	if (optind == argc && o->max_bytes >= o->min_bytes)
		return HK_LP_RUN;
	if (loud && optind < argc)
		fprintf(stderr, "%s: unknown argument %s\n", argv[0], argv[optind]);
	else if (loud)
		fprintf(stderr, "%s: -e: maxbytes (%zu) is below minbytes (%zu)\n", argv[0],
			o->max_bytes, o->min_bytes);
	return HK_LP_BAD;
}
