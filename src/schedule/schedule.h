/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The schedule: what every participant of a collective sends, receives, reduces and copies, chunk
 * by chunk, in which order. Algorithms emit it; the checker, the fusion pass, the cost model and
 * the executor read it, and none of them knows any algorithm. A program is one participant's part.
 *
 * Geometry. Steps name chunks, never bytes or types. A problem has blocks of N elements ("count" of
 * the call: the whole vector for all-reduce, one rank's share for reduce-scatter and all-gather),
 * and a block is cut in `period` chunks: chunk i of a buffer starts at element (i / period) * N +
 * floor((i % period) * N / period) and so its size depends only on i % period, its size class.
 * A step may only connect chunks of equal size; the checker insists. SCRATCH chunks have room for
 * any class: a step that touches SCRATCH alone says in `size` of which size its chunks are.
 *
 * Lanes run their steps in order, and loop over the tiles of a large call (each tile is the same
 * slice of every chunk). Between lanes of one program only the named dependencies order anything,
 * within the same tile. SCRATCH is one tile long and is reused by every tile; IN and OUT are not.
 * A program that is `serial` takes its tiles one after the other.
 *
 * Connections. (source, destination, channel) is a FIFO with one sending and one receiving lane:
 * the k-th send meets the k-th recv. One step is one message, whatever its nchunks.
 *
 * Blocks of differing sizes. In the v-variants and in point-to-point (problem.varied) every block
 * has a place and a size of its own, given at the call. Two chunks then have equal sizes if they
 * have the same size id: hk_step_size. Elsewhere a size id is a size class.
 *
 * IN holds this rank's contribution: whatever reads IN gets input (scaled by the executor for
 * pre-multiplied sums). In place, IN shares its memory with OUT (or with this rank's block of it):
 * then a chunk read through IN must not have been written through OUT before, and reading OUT
 * before writing it is an error, also in place.
 */
#ifndef HK_SCHEDULE_H
#define HK_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "step.h"

/* Marks carry it in four bits. */
enum hk_coll {
	HK_ALL_REDUCE,
	HK_REDUCE_SCATTER,
	HK_ALL_GATHER,
	HK_BROADCAST,
	HK_REDUCE_ROOT, /* "reduce"; HK_REDUCE is a step */
	HK_ALL_TO_ALL,
	HK_GATHER,
	HK_SCATTER,
	HK_BARRIER,	   /* a block of one element of no meaning; see check_result.c */
	HK_POINT_TO_POINT, /* sends and receives of one rank with its peers */
	HK_NCOLLS
};

struct hk_layout;
_Static_assert(sizeof(struct hk_step) == 32, "steps are 32 bytes, also on a GPU");

struct hk_program {
	int rank;
	uint32_t nlanes, nsteps, ndeps;
	struct hk_lane *lanes;
	struct hk_step *steps;
	struct hk_dep *deps;
	uint32_t period;	    /* chunks per block */
	uint32_t nchunks[HK_NBUFS]; /* chunks in IN, OUT and SCRATCH */
	uint32_t message_chunks;    /* most chunks in one message, the same in all programs */
	/* No lane starts a tile before all lanes have ended the one before: then SCRATCH belongs to
	 * one tile, and what reuses it needs no order of its own. It costs the tiles' overlap. */
	bool serial;
};

struct hk_problem {
	enum hk_coll coll;
	int nranks;
	int root;			/* 0 where the collective has none */
	uint32_t channels;		/* how many rings, trees ... run side by side, at least 1 */
	bool inplace;			/* this rank's IN shares memory with OUT */
	bool varied;			/* blocks differ in size: v-variants, point-to-point */
	uint32_t sends, receives;	/* blocks of IN and OUT, for HK_POINT_TO_POINT alone */
	const struct hk_layout *layout; /* layout.h; NULL: all ranks are alike, no switches */
};

/* --- what the collectives are: coll.c --- */

const char *hk_coll_name(enum hk_coll coll);
bool hk_coll_reduces(enum hk_coll coll);
bool hk_coll_rooted(enum hk_coll coll);
/* Whether, in the v-variant, every rank knows the sizes of all blocks (else only of its own). */
bool hk_coll_sizes_known(enum hk_coll coll);
/* Blocks of IN or OUT that a participant has; switches have none. */
uint32_t hk_coll_blocks(const struct hk_problem *p, int rank, enum hk_buf buf);
/* Blocks with equal ids have equal sizes in every call. 0 if all blocks are alike. */
uint64_t hk_coll_size_id(const struct hk_problem *p, int rank, enum hk_buf buf, uint32_t block);
/* The block of OUT that shares memory with a block of IN in place; -1: none. */
int64_t hk_coll_alias(const struct hk_problem *p, int rank, uint32_t in_block);
/* An OUT block is the reduction of so many contributions; number i is that block of IN of that
 * rank. */
uint32_t hk_coll_contributions(const struct hk_problem *p);
void hk_coll_contribution(const struct hk_problem *p, int rank, uint32_t out_block, uint32_t i,
			  int *from, uint32_t *in_block);

extern const uint8_t hk_op_does[HK_NOPS];
const char *hk_op_name(enum hk_op op);
const char *hk_buf_name(enum hk_buf buf);

/* Index of the OUT chunk that shares memory with IN chunk i in place, on this rank. -1: none. */
int64_t hk_alias_out(const struct hk_problem *p, const struct hk_program *prog, uint32_t in_chunk);

/* Size id of a step's chunk number i: chunks of equal ids have equal sizes. */
uint64_t hk_step_size(const struct hk_problem *p, const struct hk_program *prog,
		      const struct hk_step *s, uint32_t i);

/* --- builder: what an algorithm calls. Errors are sticky and reported by hk_build_finish. --- */

struct hk_builder;
int hk_build_begin(const struct hk_problem *p, int rank, struct hk_builder **b);
/* Chunks per block, and how many chunks of SCRATCH. IN and OUT follow from the collective. */
void hk_build_chunks(struct hk_builder *b, uint32_t period, uint32_t scratch);
/* The most chunks that any rank's step has (default 1): tiles are sized by it, on every rank alike.
 */
void hk_build_message(struct hk_builder *b, uint32_t max_chunks);
uint32_t hk_build_lane(struct hk_builder *b, uint32_t channel);
/* Each returns the step's number in its lane, for hk_build_after. */
uint32_t hk_build_send(struct hk_builder *b, uint32_t lane, int to, enum hk_buf src_buf,
		       uint32_t src, uint32_t nchunks);
uint32_t hk_build_recv(struct hk_builder *b, uint32_t lane, int from, enum hk_buf dst_buf,
		       uint32_t dst, uint32_t nchunks);
uint32_t hk_build_recv_reduce(struct hk_builder *b, uint32_t lane, int from, enum hk_buf src_buf,
			      uint32_t src, enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks,
			      unsigned flags);
uint32_t hk_build_copy(struct hk_builder *b, uint32_t lane, enum hk_buf src_buf, uint32_t src,
		       enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks);
uint32_t hk_build_reduce(struct hk_builder *b, uint32_t lane, enum hk_buf src_buf, uint32_t src,
			 enum hk_buf dst_buf, uint32_t dst, uint32_t nchunks, unsigned flags);
/* The last step added to `lane`, which touches SCRATCH alone, moves chunks of the sizes from `size`
 * on (hk_step_size). Without it: of the sizes of their own numbers in a block. */
void hk_build_size(struct hk_builder *b, uint32_t lane, uint64_t size);
/* The last step added to `lane` waits for step `on_step` of lane `on_lane`. */
void hk_build_after(struct hk_builder *b, uint32_t lane, uint32_t on_lane, uint32_t on_step);
/* Frees the builder in every case; sets *prog only on success. */
int hk_build_finish(struct hk_builder *b, struct hk_program **prog);
/* Frees a builder whose program nobody wants any more. */
void hk_build_drop(struct hk_builder *b);

void hk_program_free(struct hk_program *prog);
int hk_program_clone(const struct hk_program *prog, struct hk_program **copy);

/* --- fusion: receive + send (of the same chunks) in one lane become one step, where nothing can
 * tell the difference; a result that nobody reads before it is overwritten is not stored. In place.
 * --- */
int hk_fuse(const struct hk_problem *p, struct hk_program *prog);

/* --- text: one line per step, for people and golden tests. --- */
int hk_program_dump(const struct hk_program *prog, FILE *out);
/* One step without its number and its dependencies, and no end of line: "send in[0], to 1". */
void hk_step_dump(const struct hk_program *prog, const struct hk_step *s, FILE *out);

/* --- checker --- */

struct hk_report {
	unsigned slots; /* smallest number of slots per connection that makes progress */
	uint64_t steps, messages;
	bool bits_differ; /* ranks reduce in different orders; hk_check refuses it */
	int phase;	  /* hk_check_phase that failed */
	/* Where, if a single step is out of bounds (HK_CHECK_BOUNDS): else participant is -1. */
	int participant;
	uint32_t lane, step;
	char text[320]; /* on failure, a sentence that names participant, lane and step */
};
enum hk_check_phase {
	HK_CHECK_NONE,
	HK_CHECK_BOUNDS,
	HK_CHECK_FIFO,
	HK_CHECK_PROGRESS,
	HK_CHECK_RACE,
	HK_CHECK_RESULT
};

/*
 * Proves that programs[0 .. n) solve the problem: bounds; FIFO counts; progress (with at most
 * max_slots slots per connection, the smallest that works is reported); no race by happens-before,
 * over several tiles; every output chunk is exactly the multiset of contributions that the
 * collective promises, and on every rank the result of the same expression (so the same bits).
 * Participants from p->nranks up are switches. 0, or -HK_EPROOF with the report's text set.
 */
int hk_check(const struct hk_problem *p, struct hk_program *const *programs, int n,
	     unsigned max_slots, struct hk_report *report);
/* As hk_check, but an all-reduce may add up in an order of its own on each rank: for schedules from
 * elsewhere. The report says if it does (bits_differ), since the ranks' results may then differ in
 * their last bits. */
int hk_check_any_order(const struct hk_problem *p, struct hk_program *const *programs, int n,
		       unsigned max_slots, struct hk_report *report);

#endif
