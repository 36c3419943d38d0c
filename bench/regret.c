/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How good the choice of algorithms is: times every algorithm of a collective, each forced on a
 * communicator of its own, at each size, and says how much slower the chosen one is than the best.
 * All communicators are of the same processes, and their blocks alternate, so that a change of the
 * machine's clock or load meets all alike.
 */
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hocket/hocket.h>

#include "launch.h"
#include "numbers.h"

#define MOST_CANDIDATES 24
#define MOST_ROUNDS	51
#define BLOCK_US	3000.0
#define LEAST_CALLS	2
#define MOST_CALLS	5000
#define CLOSE		1.10

typedef hocketResult_t call_fn(const void *in, void *out, size_t count, hocketComm_t comm);

/* A collective: its call, and whether the larger buffer has a block for every rank. */
struct kind {
	const char *name;
	call_fn *call;
	bool blocks;
};

struct candidate {
	const char *name;
	hocketComm_t comm;
	double times[MOST_ROUNDS], us; /* of a call; the median */
	int calls;
};

struct bench {
	size_t min_bytes, max_bytes;
	double factor;
	int rounds;
	const char *collective, *json;
	struct hk_launch launch;
	hocketComm_t comm; /* that chooses */
	float *in, *out;
	double *gathered;
	FILE *file;
	size_t points, close, rows;
};

static hocketResult_t all_reduce(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketAllReduce(in, out, n, hocketFloat32, hocketSum, comm, NULL);
}

static hocketResult_t reduce_scatter(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketReduceScatter(in, out, n, hocketFloat32, hocketSum, comm, NULL);
}

static hocketResult_t all_gather(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketAllGather(in, out, n, hocketFloat32, comm, NULL);
}

static hocketResult_t all_to_all(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketAlltoAll(in, out, n, hocketFloat32, comm, NULL);
}

static hocketResult_t broadcast(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketBroadcast(in, out, n, hocketFloat32, 0, comm, NULL);
}

static hocketResult_t reduce(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketReduce(in, out, n, hocketFloat32, hocketSum, 0, comm, NULL);
}

static hocketResult_t gather(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketGather(in, out, n, hocketFloat32, 0, comm, NULL);
}

static hocketResult_t scatter(const void *in, void *out, size_t n, hocketComm_t comm)
{
	return hocketScatter(in, out, n, hocketFloat32, 0, comm, NULL);
}

static const struct kind kinds[] = {
	{"all_reduce", all_reduce, false},
	{"all_gather", all_gather, true},
	{"reduce_scatter", reduce_scatter, true},
	{"broadcast", broadcast, false},
	{"reduce", reduce, false},
	{"all_to_all", all_to_all, true},
	{"gather", gather, true},
	{"scatter", scatter, true},
};

static const char help[] =
	"usage: hocket run -n N %s [flags]\n"
	"  -c NAME   one collective, such as all_reduce (default: all)\n"
	"  -b SIZE   smallest size; suffixes K, M, G (default 8)\n"
	"  -e SIZE   largest size (default 64M)\n"
	"  -f X      sizes grow by this factor (default 2)\n"
	"  -R N      rounds, each a block of every algorithm (default 9, at most 51)\n"
	"  -J FILE   also write the results there as JSON\n"
	"  -h        this\n"
	"Sizes are of the larger buffer. The exit status is 2 after a failure.\n";

/* 0; 1 for help; -1 if an argument is wrong. */
static int parse(int argc, char **argv, struct bench *b)
{
	int flag, bad = 0;

	opterr = 0;
	while ((flag = getopt(argc, argv, "c:b:e:f:R:J:h")) != -1) {
		if (flag == 'c')
			b->collective = optarg;
		else if (flag == 'b')
			bad |= hk_bench_parse_size(optarg, &b->min_bytes);
		else if (flag == 'e')
			bad |= hk_bench_parse_size(optarg, &b->max_bytes);
		else if (flag == 'f')
			b->factor = strtod(optarg, NULL);
		else if (flag == 'R')
			b->rounds = (int)strtol(optarg, NULL, 10);
		else if (flag == 'J')
			b->json = optarg;
		else if (flag == 'h')
			return 1;
		else
			bad = 1;
	}
	return bad || optind < argc || !(b->factor > 1) || b->rounds < 1 ||
			       b->rounds > MOST_ROUNDS || b->min_bytes < sizeof(float) ||
			       b->max_bytes < b->min_bytes
		       ? -1
		       : 0;
}

/* A failure on one rank ends its process; the others' calls then fail. */
static void must(const struct bench *b, hocketResult_t res, const char *what)
{
	if (res == hocketSuccess)
		return;
	fprintf(stderr, "rank %d: %s: %s: %s\n", b->launch.rank, what, hocketGetErrorString(res),
		hocketGetLastError(NULL));
	exit(2);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* --- timing --- */

/* us per call, of the slowest rank. */
static double time_block(struct bench *b, const struct kind *k, struct candidate *c, size_t count,
			 int calls)
{
	double start, slowest = 0;

	must(b, hocketBarrier(b->comm, NULL), "hocketBarrier");
	start = now_us();
	for (int i = 0; i < calls; i++)
		must(b, k->call(b->in, b->out, count, c->comm), c->name);
	b->gathered[b->launch.rank] = (now_us() - start) / calls;
	must(b,
	     hocketAllGather(&b->gathered[b->launch.rank], b->gathered, 1, hocketFloat64, b->comm,
			     NULL),
	     "hocketAllGather");
	for (int i = 0; i < b->launch.nprocs; i++)
		slowest = fmax(slowest, b->gathered[i]);
	return slowest;
}

static void time_size(struct bench *b, const struct kind *k, struct candidate *c, int n,
		      size_t count)
{
	for (int i = 0; i < n; i++) {
		double us = time_block(b, k, &c[i], count, LEAST_CALLS);

		/* The first calls of a size set things up: look again. */
		us = time_block(b, k, &c[i], count, LEAST_CALLS);
		c[i].calls = (int)fmin(MOST_CALLS, fmax(LEAST_CALLS, BLOCK_US / (us + 1e-3)));
	}
	for (int round = 0; round < b->rounds; round++)
		for (int i = 0; i < n; i++) {
			struct candidate *which = &c[(i + round) % n];

			which->times[round] = time_block(b, k, which, count, which->calls);
		}
	for (int i = 0; i < n; i++) {
		qsort(c[i].times, (size_t)b->rounds, sizeof(double), ascending);
		c[i].us = c[i].times[b->rounds / 2];
	}
}

/* --- one collective --- */

static void report(struct bench *b, const struct kind *k, size_t bytes,
		   const struct candidate *chosen, const struct candidate *c, int n)
{
	const struct candidate *best = &c[0];
	double regret;

	for (int i = 1; i < n; i++)
		if (c[i].us < best->us)
			best = &c[i];
	regret = chosen->us / best->us;
	b->points++;
	b->close += regret <= CLOSE;
	if (b->launch.rank)
		return;
	printf("%12zu  %-30s %11.2f  %-30s %11.2f  %6.2f%s\n", bytes, chosen->name, chosen->us,
	       best->name, best->us, regret, regret <= CLOSE ? "" : "  MISSED");
	fflush(stdout);
	if (!b->file)
		return;
	fprintf(b->file,
		"%s\n  {\"collective\": \"%s\", \"size\": %zu, \"chosen\": \"%s\", \"best\": "
		"\"%s\", \"regret\": %.4f, \"times_us\": {",
		b->rows++ ? "," : "", k->name, bytes, chosen->name, best->name, regret);
	for (int i = 0; i < n; i++)
		fprintf(b->file, "%s\"%s\": %.4f", i ? ", " : "", c[i].name, c[i].us);
	fprintf(b->file, "}}");
}

static hocketComm_t make_comm(struct bench *b, const char *algorithm)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketUniqueId id = {{0}};
	hocketComm_t comm = NULL;

	config.algorithms = algorithm;
	if (b->launch.rank == 0)
		must(b, hocketGetUniqueId(&id), "hocketGetUniqueId");
	must(b, hocketBcast(&id, sizeof(id), hocketChar, 0, b->comm, NULL), "hocketBcast");
	must(b, hocketCommInitRankConfig(&comm, b->launch.nprocs, id, b->launch.rank, &config),
	     "hocketCommInitRankConfig");
	return comm;
}

/* A communicator for each algorithm that does the collective here. */
static int open_candidates(struct bench *b, const struct kind *k, struct candidate *c)
{
	const char *name, *collective, *runs;
	int n = 0;

	for (int i = 0; hocketListAlgorithm(i, &name, &collective) == hocketSuccess; i++) {
		if (strcmp(collective, k->name) != 0 || n == MOST_CANDIDATES)
			continue;
		c[n] = (struct candidate){.name = name, .comm = make_comm(b, name)};
		must(b, hocketCommGetAlgorithm(c[n].comm, k->name, b->max_bytes, &runs, NULL),
		     "hocketCommGetAlgorithm");
		if (!strcmp(runs, name))
			n++; /* else it does not do this number of ranks */
		else
			must(b, hocketCommDestroy(c[n].comm), "hocketCommDestroy");
	}
	return n;
}

static const struct candidate *find(const struct candidate *c, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(c[i].name, name))
			return &c[i];
	return NULL;
}

static void measure(struct bench *b, const struct kind *k)
{
	struct candidate c[MOST_CANDIDATES];
	const struct candidate *chosen;
	const char *name;
	int n = open_candidates(b, k, c);

	if (b->launch.rank == 0)
		printf("#\n# %s, %d ranks, %d algorithms\n# %10s  %-30s %11s  %-30s %11s  %6s\n",
		       k->name, b->launch.nprocs, n, "size (B)", "chosen", "us", "best", "us",
		       "regret");
	for (double s = (double)b->min_bytes; s <= (double)b->max_bytes; s *= b->factor) {
		size_t block = (size_t)s / (k->blocks ? (size_t)b->launch.nprocs : 1);

		block -= block % sizeof(float);
		if (!block)
			continue;
		must(b, hocketCommGetAlgorithm(b->comm, k->name, block, &name, NULL),
		     "hocketCommGetAlgorithm");
		chosen = find(c, n, name);
		if (!chosen)
			continue;
		time_size(b, k, c, n, block / sizeof(float));
		report(b, k, (size_t)s, chosen, c, n);
	}
	for (int i = 0; i < n; i++)
		must(b, hocketCommDestroy(c[i].comm), "hocketCommDestroy");
}

/* --- all --- */

static int open_bench(struct bench *b)
{
	size_t bytes = (b->max_bytes + 4095) / 4096 * 4096;
	hocketUniqueId id;

	if (hk_launch_share_id(&b->launch, &id))
		return -1;
	must(b, hocketCommInitRank(&b->comm, b->launch.nprocs, id, b->launch.rank),
	     "hocketCommInitRank");
	b->in = aligned_alloc(4096, bytes);
	b->out = aligned_alloc(4096, bytes);
	b->gathered = calloc((size_t)b->launch.nprocs, sizeof(double));
	if (!b->in || !b->out || !b->gathered) {
		fprintf(stderr, "no memory for buffers of %zu bytes\n", bytes);
		return -1;
	}
	memset(b->in, 0, bytes);
	memset(b->out, 0, bytes);
	if (b->launch.rank || !b->json)
		return 0;
	b->file = fopen(b->json, "w");
	if (!b->file) {
		fprintf(stderr, "cannot write %s\n", b->json);
		return -1;
	}
	fprintf(b->file, "{\"ranks\": %d, \"rounds\": %d,\n \"results\": [", b->launch.nprocs,
		b->rounds);
	return 0;
}

static int close_bench(struct bench *b)
{
	int failed = 0;

	if (b->launch.rank == 0 && b->points)
		printf("#\n# summary: %d ranks: the chosen algorithm was within %.0f %% of the "
		       "best "
		       "at %zu of %zu points (%.1f %%)\n",
		       b->launch.nprocs, 100 * (CLOSE - 1), b->close, b->points,
		       100.0 * (double)b->close / (double)b->points);
	if (b->file) {
		fprintf(b->file, "\n ],\n \"close\": %zu, \"points\": %zu}\n", b->close, b->points);
		failed = ferror(b->file);
		failed |= fclose(b->file);
	}
	if (failed)
		fprintf(stderr, "could not write all of %s\n", b->json);
	must(b, hocketCommDestroy(b->comm), "hocketCommDestroy");
	free(b->in);
	free(b->out);
	free(b->gathered);
	return failed ? -1 : 0;
}

static int run(struct bench *b)
{
	bool any = false;

	if (open_bench(b))
		return 2;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (b->collective && strcmp(b->collective, kinds[i].name) != 0)
			continue;
		any = true;
		measure(b, &kinds[i]);
	}
	if (!any)
		fprintf(stderr, "there is no collective %s here\n", b->collective);
	return close_bench(b) || !any ? 2 : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {.min_bytes = 8, .max_bytes = 64u << 20, .factor = 2, .rounds = 9};
	int status, parsed;

	if (hk_launch_open(&b.launch))
		return 2;
	parsed = parse(argc, argv, &b);
	if (parsed && b.launch.rank == 0)
		fprintf(parsed > 0 ? stdout : stderr, help, argv[0]);
	status = parsed > 0 ? 0 : parsed ? 2 : run(&b);
	hk_launch_close(&b.launch);
	return status;
}
