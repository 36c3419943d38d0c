/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which algorithm for which size: the cheapest schedule by a cost model that reads schedules, and
 * so knows no algorithm. Everything that goes in is equal on all ranks, so the choice is too.
 *
 *     machine   what messages and bytes cost here: defaults, or measured (model.h)
 *     price     all programs of a schedule run abstractly on that machine
 *     choice    the algorithm and the number of channels with the least price
 */
#ifndef HK_TUNE_H
#define HK_TUNE_H

#include "algos.h"
#include "layout.h"
#include "model.h"
#include "schedule.h"

/* --- price.c --- */

/* A step that ran: step number `step` of a lane, in one tile. Times are from the call's start. */
struct hk_priced_step {
	int participant;
	uint32_t lane, step, tile;
	double start_ns, end_ns;
};

/* Told of every step, in the order in which they start. */
struct hk_price_observer {
	void (*step)(struct hk_price_observer *o, const struct hk_priced_step *s);
};

/* What the time goes to, along the longest chain of steps and messages that wait for each other. */
enum hk_price_part {
	HK_PRICE_LATENCY, /* messages under way, and waiting for free slots */
	HK_PRICE_MESSAGE, /* what a step costs besides its bytes, and what a call does */
	HK_PRICE_COPY,	  /* bytes into slots and out of them, links and memory */
	HK_PRICE_REDUCE,
	HK_PRICE_SWITCH, /* from one rank to another on a core */
	HK_NPRICE_PARTS
};

struct hk_price {
	double ns;		       /* one call of a row of calls, of the slowest participant */
	double parts[HK_NPRICE_PARTS]; /* they add up to ns; only where asked for */
};

/*
 * The predicted time of blocks of `bytes`, of programs[0 .. n), of which those from p->nranks on
 * are switches. The programs run abstractly, each participant doing one step at a time: a receive
 * begins no sooner than its message is there, a send no sooner than a slot is free, and ranks that
 * share a core take turns. A few tiles tell what the others will take.
 *
 * With an observer, every tile of one call from rest is run and told; with `parts`, price->parts
 * are filled. 0; -EDEADLK, with a sentence, if the programs don't end with m->slots slots; -ENOMEM.
 */
int hk_tune_price(const struct hk_machine *m, const struct hk_problem *p,
		  struct hk_program *const *programs, int n, size_t bytes, bool parts,
		  struct hk_price_observer *observer, struct hk_price *price);

/* --- select.c --- */

struct hk_choice {
	const struct hk_algo *algo;
	uint32_t channels;
	double ns;   /* its price; 0 if it was forced */
	bool forced; /* by name */
};

/*
 * The algorithm and, where p->channels is 0, the number of channels for blocks of `bytes`. The
 * layout and the root count; whether p is in place does not, since ranks may differ in that.
 * forced: names, comma-separated (HOCKET_ALGO), of which the first wins that is of the collective
 * and accepts the problem; NULL: none. -ENOTSUP, with a sentence, if nothing solves the problem.
 */
int hk_tune_select(const struct hk_machine *m, const struct hk_problem *p, size_t bytes,
		   const char *forced, struct hk_choice *choice);

/* One row of what there is to choose from. */
struct hk_candidate {
	const struct hk_algo *algo;
	uint32_t channels;
	struct hk_work work;
	struct hk_price price; /* with parts; of `priced` ranks */
	bool chosen;
};

/* All candidates, the cheapest first; p and forced are as for hk_tune_select. The caller frees
 * *list. */
int hk_tune_rank(const struct hk_machine *m, const struct hk_problem *p, size_t bytes,
		 const char *forced, struct hk_candidate **list, unsigned *n);

/* Whether every name of a list as in HOCKET_ALGO is an algorithm's. -EINVAL, with a sentence that
 * names those that are spelled like it. */
int hk_tune_check_names(const char *names);

/* The most ranks whose programs are priced; with more, the layout's head is. */
#define HK_TUNE_PRICED_RANKS 32

#endif
