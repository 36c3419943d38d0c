/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules that a communicator has been given, by hocketCommUseSchedule or from the directory
 * HOCKET_SCHEDULES: which one serves a call, and its proof.
 */
#ifndef HK_COMM_SCHEDULES_H
#define HK_COMM_SCHEDULES_H

#include "comm.h"
#include "file.h"
#include "hocket/schedule.h"

/* A call in another form, in place or not, than the schedule is right in. */
enum hk_adapt {
	HK_ADAPT_NONE,
	HK_ADAPT_COPY,	/* in place only, call out of place: OUT's own block is filled first */
	HK_ADAPT_STAGE, /* out of place only, call in place: the input is copied away first */
};

struct hk_given {
	struct hk_schedule *schedule;
	uint64_t min_bytes, max_bytes;
	bool tried; /* proofs were tried; then: in which forms it is right */
	bool inplace, outofplace;
};

/* The finished schedule behind a handle, which keeps it. */
int hk_schedule_of(hocketSchedule_t schedule, struct hk_schedule **s);

/* Loads HOCKET_SCHEDULES, if set. A bad file is logged and left out. */
int hk_comm_load_schedules(struct hk_comm *c);
/* Changes when what was given changes: for the agreement between ranks. */
uint64_t hk_comm_hash_schedules(const struct hk_comm *c);
void hk_comm_free_schedules(struct hk_comm *c);

/* The given schedule for blocks of `block` bytes: its number plus one, or 0. Proves what has not
 * been proved. */
unsigned hk_comm_given_for(struct hk_comm *c, enum hk_coll coll, int root, uint64_t block);
/* In which form a call of this form must run it. */
enum hk_adapt hk_comm_adaptation(const struct hk_given *g, bool inplace);
/* A copy of this rank's program, and the problem that it solves. */
int hk_comm_given_program(const struct hk_comm *c, const struct hk_given *g, bool inplace,
			  struct hk_problem *p, struct hk_program **prog);
/* Does what the adaptation needs before a call. */
int hk_comm_adapt(struct hk_comm *c, const struct hk_request *req, enum hk_adapt adapt,
		  struct hk_call *call);

#endif
