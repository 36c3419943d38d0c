/* SPDX-License-Identifier: BSD-3-Clause */
/* The flags of link_perf; nccl-tests' names where they mean the same. */
#ifndef HOCKET_BENCH_LINK_OPTIONS_H
#define HOCKET_BENCH_LINK_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

/* The primitives of ibverbs that are timed. */
enum hk_lp_verbs { HK_LP_WRITE, HK_LP_WRITE_IMM, HK_LP_SEND };

#define HK_LP_MOST_ROUNDS 1000

struct hk_lp_options {
	size_t min_bytes, max_bytes, step_bytes;
	double step_factor;
	int iters;    /* of a block; 0: by time */
	int block_ms; /* how long a block takes, by time */
	int warmup;
	int rounds;
	int group; /* calls of the API in one group */
	bool check, registered;
	const char *transports; /* comma-separated; NULL: all that work here */
	const char *json;
};

enum hk_lp_parse { HK_LP_RUN, HK_LP_HELP, HK_LP_BAD };

/* loud: prints the help and complaints. */
enum hk_lp_parse hk_lp_parse(int argc, char **argv, bool loud, struct hk_lp_options *o);

#endif
