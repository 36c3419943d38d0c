/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The abstract run of a schedule, inside src/tune: load.c resolves the programs to flat arrays, and
 * run.c moves through them in the order of time. The turns of a lane are the tiles of a call, and
 * then those of the calls after it.
 */
#ifndef HK_TUNE_RUN_H
#define HK_TUNE_RUN_H

#include "tune.h"

#define TUNE_NOBODY UINT32_MAX

struct tune_step {
	const struct hk_step *step;
	const struct hk_dep *deps;
	uint32_t lane;
	uint32_t in, out; /* connections, or TUNE_NOBODY */
	uint32_t match;	  /* the sending step that a receive meets; flat */
	uint32_t cold;	  /* chunks of IN and OUT that no earlier step of this tile touched */
	bool lent;	  /* what it sends needs no slot */
	double cost;	  /* ns from its start to its end */
	double delay;	  /* from its end until what it sends can be received */
};

struct tune_lane {
	uint32_t part, first, nsteps; /* steps[first ..] */
	uint32_t step, turn;	      /* the cursor */
	bool enabled;		      /* the next step can start, at `ready` */
	double ready;
};

struct tune_part { /* a participant */
	uint32_t first_lane, nlanes;
	uint32_t core, port, turn; /* its place among its core's ranks */
	uint32_t next_lane;	   /* looked at first */
	uint32_t call, lanes_done, lanes_empty;
	uint32_t lent;	   /* messages that are still to be read */
	double not_before; /* start of the next call */
};

struct tune_core {
	uint32_t first_part, nparts; /* of parts_of_cores */
	uint32_t last;		     /* the participant that ran last */
	uint32_t lane, place;	     /* to run next; in the heap, or TUNE_NOBODY */
	double free, start;	     /* when it is; when the lane's step starts */
	double slots;		     /* bytes that its ranks' slots occupy */
	double spread;		     /* how often they double what costs no more */
};

struct tune_conn {
	int from, to;
	uint32_t channel;
	uint32_t sender, receiver; /* lanes */
	const struct hk_route *route;
	uint32_t sent, received;
	uint32_t nsends, nrecvs;	/* while loading */
	double longest;			/* message in a slot, bytes */
	double *arrive, *freed;		/* of message k: [k % slots] */
	uint32_t *arrive_by, *freed_by; /* and the trail's entries, if there is one */
};

/* Where the time went: each step that ran, with the one that it waited for. */
struct tune_trail {
	double ready, start, end; /* ready: but for its core */
	uint32_t step, before;
	uint8_t why; /* an enum hk_price_part: what lay between that and ready */
};

struct tune_run {
	const struct hk_machine *m;
	const struct hk_problem *p;
	struct hk_program *const *programs;
	uint32_t nparts, nlanes, nsteps, nconns, ncores, nports;
	struct tune_part *parts;
	struct tune_lane *lanes;
	struct tune_step *steps;
	struct tune_conn *conns;
	struct tune_core *cores;
	uint32_t *parts_of_cores;
	double *ports; /* [2 nports]: when the link out, and in, is free */
	uint32_t *heap, nheap;
	double *times; /* the connections' */
	uint32_t *marks;

	/* One size: */
	double chunk_bytes;  /* of one chunk in one tile */
	double memory_share; /* how much of what is touched first is in no cache */
	uint32_t turns;
	uint32_t *calls; /* [turns + 1]: the call of each turn */

	/* Results: when each turn ended on the last lane, and how many lanes have to. */
	double *ends;
	uint32_t *left;

	struct hk_price_observer *observer;
	struct tune_trail *trail; /* NULL: not asked for */
	uint32_t ntrail, most_trail;
	uint32_t *last_of_core, last_of_turn; /* entries of the trail */
};

/* --- load.c --- */

int hk_tune_load(struct tune_run *r);
void hk_tune_unload(struct tune_run *r);
/* Costs of one size, by what they are: the sum is returned. */
double hk_tune_step_cost(const struct tune_run *r, const struct tune_step *st,
			 double parts[HK_NPRICE_PARTS]);
/* Fills the costs in for chunk_bytes and memory_share. */
void hk_tune_set_costs(struct tune_run *r);

/* --- run.c --- */

/* Runs calls of so many tiles each, one right after the other. -EDEADLK or -ENOMEM. */
int hk_tune_go(struct tune_run *r, const uint32_t *tiles, uint32_t ncalls);

#endif
