/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host executor. A plan is one rank's program bound to connections; it is made once and run for
 * every call that fits it. Running never allocates, locks or, while the peers keep pace, enters the
 * kernel.
 *
 *     hk_plan_create     program + connections -> plan           (cold)
 *     hk_plan_begin      plan + call -> positions and sizes      (a few dozen ns)
 *     hk_plan_poll       every lane as far as it goes; never blocks
 *     hk_plan_run        begin, then poll until done, waiting well in between
 */
#ifndef HK_EXEC_H
#define HK_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"
#include "schedule.h"
#include "transport.h"

/* Finds or makes the connection halves that a plan needs. */
struct hk_binder {
	int (*send)(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn);
	int (*recv)(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn);
	/* How many times the usual size slots are; 0: as hk_plan_stretch says. */
	uint32_t stretch;
};

/* A block of a call whose blocks differ (problem.varied): where it is and how many elements. */
struct hk_block {
	void *at; /* of IN: only read */
	size_t count;
};

/* One call of a collective. The geometry is the schedule's (schedule.h): blocks of `count`. */
/* What an executor on a device does before the steps, if a schedule is right in one form only:
 * fills OUT's blocks that IN would share with it in place, or copies IN away. On the host the
 * caller has done so. */
enum hk_prepare { HK_PREPARE_NONE, HK_PREPARE_OUT, HK_PREPARE_IN };

struct hk_call {
	const void *in;
	void *out;
	size_t count;
	enum hk_type type;
	enum hk_redop op;
	const void *scalar; /* input is multiplied by it (one element); NULL: not */
	uint32_t divide;    /* the result is divided by it at the end (integer types); 0, 1: not */
	uint32_t mark;	    /* travels with every message; hk_mark_make */
	enum hk_prepare prepare;
	/* Of a varied problem, and then in and out are not looked at: the blocks of IN and OUT;
	 * and, where all ranks know all sizes (hk_coll_sizes_known), the count of each size id. */
	const struct hk_block *in_blocks, *out_blocks;
	const size_t *counts;
};

/* Marks: what a call is, in 32 bits, to catch ranks that call different things. */
uint32_t hk_mark_make(enum hk_coll coll, enum hk_type type, unsigned op, size_t count,
		      uint32_t sequence);

/*
 * Something that polling brings to its end: a plan, or several at once. hk_drive_run polls, and
 * waits well in between.
 */
struct hk_drive;
struct hk_drive_ops {
	/* 1 done, 0 not yet, or a negative code with its sentence. */
	int (*poll)(struct hk_drive *d, bool *moved);
	/* Nothing has moved for the watch's timeout: makes the sentence, returns the code. */
	int (*expired)(struct hk_drive *d);
};
struct hk_watch;
struct hk_drive {
	const struct hk_drive_ops *ops;
	struct hk_watch *watch;
};

/* How a run waits. */
struct hk_watch {
	/* A negative code when the communicator has failed or was aborted; polled while waiting. */
	int (*failed)(struct hk_watch *w);
	int64_t timeout_ns; /* longest wait without any progress */
	int64_t spin_ns;    /* spins this long before it yields */
	struct hk_endpoint **endpoints;
	unsigned nendpoints;
	bool unseen; /* it also waits for something that no endpoint tells of */
};

/* Counters of what a run did, for tests and reports. */
struct hk_exec_stats {
	uint64_t messages, bytes; /* sent */
	uint64_t yields, sleeps;  /* system calls made while waiting */
};

struct hk_plan;

/* How many times the usual size (slot_bytes) the slots of plans are that have long tiles, and
 * whether those of a problem have, for chunks that are neither short nor of a huge result (plan.c
 * says why). Equal on all ranks. */
uint32_t hk_plan_stretch(int nranks, uint32_t slot_bytes);
bool hk_plan_stretches(const struct hk_problem *p);
bool hk_plan_long_chunks(const struct hk_problem *p, const struct hk_program *prog, size_t bytes);

/* Takes prog over, also on failure. slot_bytes: the usual size; where the problem stretches, the
 * connections' slots are as many times as long. nt_bytes: results from this size on bypass the
 * cache. */
int hk_plan_create(const struct hk_problem *p, struct hk_program *prog, struct hk_binder *binder,
		   uint32_t slot_bytes, size_t nt_bytes, struct hk_plan **plan);
void hk_plan_destroy(struct hk_plan *plan);
/* Calls of the plan end only when s, which it need not send on, says 1 to flush. */
int hk_plan_also_flush(struct hk_plan *plan, struct hk_send *s);
size_t hk_plan_memory(const struct hk_plan *plan);

/* Told of every step that has ended, by the thread that polls: for drawing what a run did. */
struct hk_observer {
	void (*step)(struct hk_observer *o, uint32_t lane, uint32_t step, uint32_t tile);
};
/* NULL: nobody. It must outlive the plan's runs. */
void hk_plan_observe(struct hk_plan *plan, struct hk_observer *observer);

void hk_plan_begin(struct hk_plan *plan, const struct hk_call *call);
/* 1 done, 0 not yet, or a negative code with its sentence. *moved is set if anything advanced. */
int hk_plan_poll(struct hk_plan *plan, bool *moved);
/* What the plan waits for, as the end of a sentence. */
void hk_plan_describe_wait(const struct hk_plan *plan, char *text, size_t bytes);
int hk_plan_run(struct hk_plan *plan, const struct hk_call *call, struct hk_watch *watch,
		struct hk_exec_stats *stats);
/* The sentence of a plan that made no progress for too long; the code. */
int hk_plan_expired(const struct hk_plan *plan, const struct hk_watch *watch);
/* Adds what the plan has sent since to the counters. */
void hk_plan_count(struct hk_plan *plan, struct hk_exec_stats *stats);
int hk_drive_run(struct hk_drive *drive, struct hk_exec_stats *stats);

#endif
