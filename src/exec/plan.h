/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the executor: a plan's own layout, shared by plan.c (makes it) and exec.c (runs it). */
#ifndef HK_EXEC_PLAN_H
#define HK_EXEC_PLAN_H

#include "exec.h"

struct plan_lane;
struct plan_source;

struct plan_dep {
	const struct plan_lane *lane;
	uint32_t nsteps; /* of that lane: its progress runs nsteps a tile */
	uint32_t step;
};

/* A schedule's step with its names resolved. */
struct plan_step {
	uint8_t op, flags, does, src_buf, dst_buf;
	bool kept; /* the OUT that it stores is read again by the program: better in the cache */
	bool lendable; /* what it sends stays where it is, unchanged, to the call's end */
	uint16_t nchunks, ndeps;
	uint32_t src, dst;
	uint32_t class; /* of its first chunk; where blocks vary, of SCRATCH alone: the size id */
	struct hk_send *send;
	struct hk_recv *recv;
	struct plan_source *source; /* of recv, if places are offered there; else NULL */
	const struct plan_dep *deps;
};

struct plan_lane {
	uint64_t progress; /* steps completed in this call: tile * nsteps + step */
	const struct plan_step *steps;
	uint32_t nsteps;
	uint32_t step, tile; /* the cursor */
};

/* A step that receives, for whoever says ahead where its messages are wanted. */
struct plan_want {
	const struct plan_step *step;
	bool offerable;		/* its messages may be put in OUT ... */
	uint32_t after, nafter; /* ... once these of plan->afters have passed */
};

/* A connection that the plan receives from, and that takes offers (offers.c). */
struct plan_source {
	struct hk_recv *recv;
	uint32_t lane;
	bool ordered; /* no other lane receives from it */
	bool offers;  /* some of its messages may be put in OUT */
	uint32_t nwants;
	struct plan_want *wants; /* the lane's steps that receive from it, in order */
	uint32_t want, tile;	 /* the next message to look at */
	uint64_t looked, taken;	 /* messages of this call: looked at; received */
};

/* Where a chunk class lies in a block, in elements. */
struct plan_class {
	size_t start, length;
};

/* Where a chunk lies in a call whose blocks differ. */
struct plan_chunk {
	uint8_t *at;
	size_t length; /* elements */
};

/* What an executor on a device keeps of a plan; freed with it. */
struct hk_device_plan {
	void (*free)(struct hk_device_plan *d);
};

struct hk_plan {
	struct hk_call call;
	const struct hk_kernels *kernels;
	hk_reduce_fn *reduce;
	size_t esize;
	uint32_t ntiles;
	size_t tile_elems; /* of one chunk */
	bool nt;	   /* results bypass the cache */
	bool offering;	   /* some messages may be long enough to be offered a place */
	struct hk_observer *observer;
	struct plan_lane *lanes;
	uint32_t nlanes;
	uint32_t active; /* lanes not done */
	uint32_t open; /* tiles that lanes may work on: all; of a serial program, one more each time
			*/
	uint32_t behind; /* of a serial program: lanes that have not ended the last open tile */
	uint32_t period;
	struct plan_class *classes;
	/* Where blocks vary, chunks of IN, OUT, and by size id instead of classes. */
	bool varied;
	bool skips; /* each rank knows its own blocks only: empty messages are not sent */
	/* Point-to-point: a lane does all tiles of a step before the next step, since a peer may
	 * make the matching calls one by one. */
	bool by_steps;
	struct plan_chunk *chunks[HK_NBUFS];
	uint32_t nsizes; /* chunks[HK_SCRATCH] are these, without places */
	uint8_t *scratch;
	size_t scratch_stride; /* bytes of one SCRATCH chunk */
	uint8_t *bounce;       /* PLAN_BLOCK bytes */
	uint8_t *pulled;       /* slot_bytes, in plans that reduce what they receive */

	/* Not read by the hot path. */
	struct hk_problem problem;
	struct hk_program *prog;
	struct plan_step *steps;
	struct plan_dep *deps;
	struct plan_source *sources;
	struct plan_want *wants; /* of all sources */
	struct plan_dep *afters; /* of all wants */
	uint32_t nsources, nafters;
	size_t offer_bytes;	/* shorter messages are not offered a place */
	struct hk_send **sends; /* the distinct ones, to be flushed */
	uint32_t nsends;
	uint32_t slot_bytes, usual_bytes; /* the second: of slots that are not for long tiles */
	size_t nt_bytes;
	size_t memory;
	uint64_t sent_messages, sent_bytes;
	struct hk_device_plan *device; /* NULL: it has not run on one */
};

/* Whether any step reads OUT that this step stores. */
bool hk_plan_rereads(const struct hk_program *prog, const struct hk_step *st);
/* Whether step `at` of `lane` sends one chunk of IN or OUT that no later step changes. */
bool hk_plan_lendable(const struct hk_problem *p, const struct hk_program *prog, uint32_t lane,
		      uint32_t at);

/* Whether step `at` of `lane` only receives, to OUT; then before[l], for each lane, is the number
 * of its first steps that must have passed before the message may come there by itself. */
bool hk_plan_offerable(const struct hk_problem *p, const struct hk_program *prog, uint32_t lane,
		       uint32_t at, uint32_t *before);

/* --- offers.c --- */

/* Finds what may be offered, once the plan's steps are bound. */
int hk_plan_find_sources(struct hk_plan *plan);
void hk_plan_free_sources(struct hk_plan *plan);
/* At the start of a call: nothing has been offered. */
void hk_plan_reset_sources(struct hk_plan *plan);
/* Offers what can be offered by now. */
void hk_plan_offer(struct hk_plan *plan);

/* Results are reduced and copied on in blocks that stay in the first-level cache in between. */
#define PLAN_BLOCK 8192u

#endif
