/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which algorithm for which size: the cheapest schedule by a cost model that reads schedules, and
 * so knows no algorithm. Everything that goes in is equal on all ranks, so the choice is too.
 */
#ifndef HK_TUNE_H
#define HK_TUNE_H

#include "algos.h"
#include "schedule.h"

/* The machine as the model sees it. */
struct hk_machine {
	double latency_ns;	   /* from a send to the matching receive */
	double step_ns;		   /* fixed cost of a step that sends or receives */
	double copy_ns_per_byte;   /* a byte written to or read from a connection */
	double reduce_ns_per_byte; /* a byte reduced */
	double ranks_per_core;	   /* how many ranks share one core, at least 1 */
	double switch_ns;	   /* from one rank to another on a core */
	uint32_t slot_bytes;
};

/*
 * Predicted time in ns of the slowest rank for blocks of `bytes`, of programs[0 .. n). The programs
 * run abstractly: a receive ends no sooner than its send plus the latency, ranks that share a core
 * share its time.
 */
double hk_tune_price(const struct hk_machine *m, struct hk_program *const *programs, int n,
		     size_t bytes);

/*
 * The algorithm for blocks of `bytes`; NULL if none solves the problem. forced: a name
 * (HOCKET_ALGO) that wins where it is of the right collective and accepts the problem, or NULL.
 */
const struct hk_algo *hk_tune_select(const struct hk_machine *m, const struct hk_problem *p,
				     size_t bytes, const char *forced);

#endif
