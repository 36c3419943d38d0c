/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Algorithms: each is one file of pure rank arithmetic that emits a program through the builder,
 * and one word in the list in meson.build, from which the table below is generated. Nothing else in
 * the library knows any algorithm.
 */
#ifndef HK_ALGOS_H
#define HK_ALGOS_H

#include "schedule.h"

/* What an algorithm costs, by its own formula: a test compares it with the schedule. */
struct hk_work {
	uint32_t rounds;   /* messages on the longest chain of messages that wait for each other */
	uint32_t messages; /* the most that one rank sends */
	double sent;	   /* the most that one rank sends, in blocks (schedule.h) */
};

struct hk_algo {
	const char *name;
	enum hk_coll coll;
	/* Whether the algorithm solves this problem (number of ranks, channels). */
	bool (*accepts)(const struct hk_problem *p);
	/* Emits rank's program, unfused. Sizes are unknown here: a schedule serves every count. */
	int (*build)(const struct hk_problem *p, int rank, struct hk_builder *b);
	/* The costs of a problem that it accepts, by arithmetic. */
	void (*work)(const struct hk_problem *p, struct hk_work *w);
};

extern const struct hk_algo *const hk_algos[];
extern const unsigned hk_nalgos;

/* By name, or NULL. */
const struct hk_algo *hk_algo_find(const char *name);
/* How many programs make up its schedule: those of the ranks, and of the layout's switches if it is
 * one that needs them: that does not accept the same problem without them. */
int hk_algo_participants(const struct hk_algo *algo, const struct hk_problem *p);
/* Builds the program of a rank or of a switch; fused if asked. */
int hk_algo_program(const struct hk_algo *algo, const struct hk_problem *p, int rank, bool fuse,
		    struct hk_program **prog);

#endif
