/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long building and proving take: every algorithm at a number of ranks (64, or the argument),
 * in the form that takes longest; one rank's ring program at 4096 ranks, and the double binary tree
 * at 1024. Prints milliseconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "error.h"
#include "programs.h"

struct times {
	double build, check;
};

static int take(const struct hk_algo *algo, const struct hk_problem *p, bool fuse, struct times *t)
{
	static struct world w;
	struct hk_report report;
	int64_t start = hk_now_ns(), built;
	int rc = world_build_problem(&w, algo, p, fuse);

	built = hk_now_ns();
	if (!rc)
		rc = world_check(&w, 2, &report);
	if (rc)
		fprintf(stderr, "%s: %s\n", algo->name, hk_last_error());
	t->build = (double)(built - start) / 1e6;
	t->check = (double)(hk_now_ns() - built) / 1e6;
	world_free(&w);
	return rc;
}

static int slowest(const struct hk_algo *algo, int n)
{
	struct times most = {0}, t;

	for (unsigned form = 0; form < 8; form++) {
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = n,
				       .channels = 1 + (form & 1),
				       .inplace = form & 2};

		if (!algo->accepts(&p))
			continue;
		if (take(algo, &p, form & 4, &t))
			return 1;
		if (t.build + t.check > most.build + most.check)
			most = t;
	}
	printf("%-32s %5d ranks: build %9.2f ms, prove %9.2f ms\n", algo->name, n, most.build,
	       most.check);
	return 0;
}

static int one_program(const char *name, int n)
{
	const struct hk_algo *algo = hk_algo_find(name);
	struct hk_problem p = {.coll = algo->coll, .nranks = n, .channels = 1};
	struct hk_program *prog = NULL;
	int64_t start = hk_now_ns();

	if (hk_algo_program(algo, &p, n / 3, true, &prog))
		return 1;
	printf("%-32s %5d ranks: one program %.2f ms, %u steps\n", name, n,
	       (double)(hk_now_ns() - start) / 1e6, prog->nsteps);
	hk_program_free(prog);
	return 0;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 64, bad = 0;

	if (n < 1 || n > MAX_PARTS) {
		fprintf(stderr, "usage: %s [RANKS, up to %d]\n", argv[0], MAX_PARTS);
		return 2;
	}
	for (unsigned a = 0; a < hk_nalgos; a++)
		bad |= slowest(hk_algos[a], n);
	bad |= one_program("ring_all_reduce", 4096);
	bad |= one_program("ring_all_gather", 4096);
	bad |= slowest(hk_algo_find("double_tree_all_reduce"), 1024);
	return bad;
}
