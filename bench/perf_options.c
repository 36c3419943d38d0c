/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Flags as in nccl-tests, so that existing command lines work; where a default differs, the help
 * says so. A flag that is not known, or a value that is out of bounds, is refused: a benchmark
 * that ignores what it was told misleads.
 */
#include "perf_options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "element.h"
#include "gpu.h"
#include "numbers.h"
#include "variables.h"
#include "verify.h"

static const char help[] =
	"usage: %s [flags]\n"
	"  -b, --minbytes SIZE       smallest size; suffixes K, M, G (default 8)\n"
	"  -e, --maxbytes SIZE       largest size (default 64M, or minbytes if that is larger)\n"
	"  -f, --stepfactor FACTOR   sizes grow by this factor (default 2)\n"
	"  -i, --stepbytes SIZE      sizes grow by this many bytes instead\n"
	"  -n, --iters N             timed iterations; 0: as many as take 20 ms, at least 3\n"
	"                            (default 0; nccl-tests: 20)\n"
	"  -w, --warmup_iters N      iterations before the timed ones (default 5)\n"
	"  -m, --agg_iters N         operations per iteration (default 1); times are per "
	"operation\n"
	"  -c, --check N             verified calls per size, in place and out of place; 0: none\n"
	"                            (default 1)\n"
	"  -o, --op OP               sum, prod, max, min, avg, mulsum or all (default sum)\n"
	"  -d, --datatype TYPE       int8, uint8, int32, uint32, int64, uint64, half, float, "
	"double,\n"
	"                            bfloat16, f8e4m3, f8e5m2 or all (default float)\n"
	"  -z, --blocking 0|1        1: each call returns when its result is there; 0: calls are\n"
	"                            queued on a stream, with one wait at the end\n"
	"                            (default 1 on host memory, 0 on GPUs; nccl-tests: 0)\n"
	"  -t, --nthreads N          ranks per process, a thread each (default 1)\n"
	"  -g, --ngpus N             the same; both are multiplied\n"
	"  -D, --device LIST         buffers on GPUs: rank r takes the r-th of the list, which "
	"starts\n"
	"                            over at its end; 0 for all ranks on GPU 0. A process alone "
	"has as\n"
	"                            many ranks as the list is long if neither -t nor -g is there\n"
	"  -G, --graph               captures the agg_iters calls of an iteration in a graph once, "
	"and\n"
	"                            times and checks its replays; GPUs only (nccl-tests: -G N)\n"
	"  -p, --parallel_init 0|1   0: one call makes all ranks, if they are in one process\n"
	"                            (default 1: each thread joins by itself)\n"
	"  -r, --root N              root of rooted collectives (default 0)\n"
	"  -a, --average N           time reported: 0 rank 0's, 1 mean, 2 least, 3 most over "
	"ranks\n"
	"                            (default 1)\n"
	"  -R, --local_register 0|1  1: the library's memory, registered (default 0)\n"
	"  -J, --json FILE           also write the results there\n"
	"  -h, --help                this\n"
	"Start it with `hocket run -n N`, mpirun or torchrun, or alone with -t N or --device "
	"LIST.\n"
	"The exit status is 1 if any element was wrong, 2 after another failure.\n"
	"Launchers' environment variables (`hocket doctor` lists the library's own):\n";

static const struct option flags[] = {
	{"minbytes", required_argument, NULL, 'b'},
	{"maxbytes", required_argument, NULL, 'e'},
	{"stepfactor", required_argument, NULL, 'f'},
	{"stepbytes", required_argument, NULL, 'i'},
	{"iters", required_argument, NULL, 'n'},
	{"warmup_iters", required_argument, NULL, 'w'},
	{"agg_iters", required_argument, NULL, 'm'},
	{"check", required_argument, NULL, 'c'},
	{"op", required_argument, NULL, 'o'},
	{"datatype", required_argument, NULL, 'd'},
	{"blocking", required_argument, NULL, 'z'},
	{"nthreads", required_argument, NULL, 't'},
	{"ngpus", required_argument, NULL, 'g'},
	{"device", required_argument, NULL, 'D'},
	{"graph", no_argument, NULL, 'G'},
	{"parallel_init", required_argument, NULL, 'p'},
	{"root", required_argument, NULL, 'r'},
	{"average", required_argument, NULL, 'a'},
	{"local_register", required_argument, NULL, 'R'},
	{"json", required_argument, NULL, 'J'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static int parse_op(const char *text, int *op)
{
	*op = -1;
	if (!strcmp(text, "all"))
		return 0;
	for (int i = 0; i < HK_BENCH_NOPS; i++)
		if (!strcmp(text, hk_bench_op_names[i]))
			*op = i;
	return *op < 0 ? -1 : 0;
}

static int parse_type(const char *text, int *type)
{
	*type = hk_element_find(text);
	return *type < 0 && strcmp(text, "all") ? -1 : 0;
}

static int parse_devices(const char *text, struct hk_perf_options *o)
{
	const int most = (int)(sizeof(o->devices) / sizeof(o->devices[0]));

	for (o->ndevices = 0; o->ndevices < most; text++) {
		char *end;
		long n = strtol(text, &end, 10);

		if (end == text || *text == '-' || *text == '+' || n < 0 || n > 1024)
			return -1;
		o->devices[o->ndevices++] = (int)n;
		text = end;
		if (!*text)
			return 0;
		if (*text != ',')
			return -1;
	}
	return -1;
}

/* 0; or -1 if the value makes no sense. */
static int set(struct hk_perf_options *o, int flag, const char *text)
{
	int average;
	bool yes;

	switch (flag) {
	case 'b':
		return hk_bench_parse_size(text, &o->min_bytes);
	case 'e':
		return hk_bench_parse_size(text, &o->max_bytes);
	case 'f':
		return hk_bench_parse_factor(text, &o->step_factor);
	case 'i':
		return hk_bench_parse_size(text, &o->step_bytes);
	case 'n':
		return hk_bench_parse_int(text, 0, INT32_MAX, &o->iters);
	case 'w':
		return hk_bench_parse_int(text, 0, INT32_MAX, &o->warmup);
	case 'm':
		return hk_bench_parse_int(text, 1, 1 << 20, &o->agg_iters);
	case 'c':
		return hk_bench_parse_int(text, 0, INT32_MAX, &o->check);
	case 'o':
		return parse_op(text, &o->op);
	case 'd':
		return parse_type(text, &o->type);
	case 'z':
		if (hk_bench_parse_bool(text, &yes))
			return -1;
		o->blocking = yes;
		return 0;
	case 't':
		return hk_bench_parse_int(text, 1, 4096, &o->threads);
	case 'g':
		return hk_bench_parse_int(text, 1, 4096, &o->ngpus);
	case 'D':
		return parse_devices(text, o);
	case 'G':
		o->graph = true;
		return 0;
	case 'p':
		return hk_bench_parse_bool(text, &o->parallel_init);
	case 'r':
		return hk_bench_parse_int(text, 0, INT32_MAX, &o->root);
	case 'a':
		if (hk_bench_parse_int(text, 0, 3, &average))
			return -1;
		o->average = (enum hk_perf_average)average;
		return 0;
	case 'R':
		return hk_bench_parse_bool(text, &o->registered);
	case 'J':
		o->json = text;
		return 0;
	default:
		return -1;
	}
}

static void print_help(const char *program)
{
	printf(help, program);
	for (int i = 0; i < HK_NLAUNCH_VARIABLES; i++)
		printf("  %-24s  %s\n", hk_launch_variables[i].name, hk_launch_variables[i].help);
}

/* Ends a sentence about a value that set() has refused. */
static const char *objection(int flag)
{
	switch (flag) {
	case 'b':
	case 'e':
	case 'i':
		return "is no size";
	case 'f':
		return "is no factor above 1";
	case 'm':
		return "is no number from 1 to 1048576";
	case 'o':
		return "is no operation";
	case 'd':
		return "is no data type";
	case 'z':
	case 'p':
	case 'R':
		return "is neither 0 nor 1";
	case 'g':
		return "is no number of ranks from 1 to 4096";
	case 'D':
		return "is no list of at most 64 numbers of GPUs, such as 0,0,1";
	case 't':
		return "is no number of threads from 1 to 4096";
	case 'a':
		return "is none of 0, 1, 2, 3";
	default:
		return "is no whole number from 0";
	}
}

static enum hk_perf_parse complain(bool loud, const char *program, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static enum hk_perf_parse complain(bool loud, const char *program, const char *fmt, ...)
{
	va_list ap;

	if (!loud)
		return HK_PERF_BAD;
	va_start(ap, fmt);
	fprintf(stderr, "%s: ", program);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n-h lists the flags\n");
	va_end(ap);
	return HK_PERF_BAD;
}

/* What getopt_long has returned ':' or '?' for. */
static enum hk_perf_parse complain_of_flag(bool loud, int got, char **argv)
{
	const char *given = argv[optind - 1];
	char one[] = {'-', (char)optopt, 0};

	/* A short flag may stand inside a word; a long one is a word, perhaps with =VALUE. */
	if (strncmp(given, "--", 2))
		given = one;
	if (got == ':')
		return complain(loud, argv[0], "%s: its value is missing", given);
	return complain(loud, argv[0], "unknown flag %s", given);
}

enum hk_perf_parse hk_perf_parse(int argc, char **argv, bool loud, struct hk_perf_options *o)
{
	int flag;

	*o = (struct hk_perf_options){
		.min_bytes = 8,
		.max_bytes = SIZE_MAX,
		.step_factor = 2,
		.warmup = 5,
		.agg_iters = 1,
		.check = 1,
		.type = hocketFloat32,
		.average = HK_PERF_MEAN,
		.blocking = -1,
		.parallel_init = true,
	};
	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":b:e:f:i:n:w:m:c:o:d:z:t:g:D:Gp:r:a:R:J:h", flags,
				   NULL)) != -1) {
		if (flag == 'h') {
			if (loud)
				print_help(argv[0]);
			return HK_PERF_HELP;
		}
		if (flag == ':' || flag == '?')
			return complain_of_flag(loud, flag, argv);
		if (set(o, flag, optarg))
			return complain(loud, argv[0], "-%c: '%s' %s", flag, optarg,
					objection(flag));
	}
	if (optind < argc)
		return complain(loud, argv[0], "unknown argument %s", argv[optind]);
	if (o->max_bytes == SIZE_MAX)
		o->max_bytes = o->min_bytes > (64u << 20) ? o->min_bytes : 64u << 20;
	if (o->max_bytes < o->min_bytes)
		return complain(loud, argv[0], "-e: maxbytes (%zu) is below minbytes (%zu)",
				o->max_bytes, o->min_bytes);
	if (o->ndevices && hk_bench_gpu_missing())
		return complain(loud, argv[0], "--device: %s", hk_bench_gpu_missing());
	return HK_PERF_RUN;
}
