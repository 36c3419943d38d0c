/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the phases of the checker share (see check.c): numbers for the lanes and steps of all
 * participants together, the connections between them, which send meets which receive, and one
 * order in which everything can run. Each phase fills its part for the ones after it. Private to
 * this folder.
 */
#ifndef HK_SCHEDULE_CHECK_H
#define HK_SCHEDULE_CHECK_H

#include "schedule.h"

/* No buffer of a program may have more chunks: bounds what a file can make the checker allocate. */
#define HK_MAX_CHUNKS (1u << 24)

#define HK_CHECK_NOBODY UINT32_MAX

/* Lanes and steps are numbered over all participants here, in their order. */
struct hk_conn {
	int src, dst;
	uint32_t channel;
	uint32_t sender, receiver; /* lanes; HK_CHECK_NOBODY until seen */
	uint32_t nsends, nrecvs;
	uint32_t first_send, first_recv; /* where its steps begin in sends and recvs */
};

struct hk_check {
	const struct hk_problem *p;
	struct hk_program *const *programs;
	int n;
	bool any_order; /* ranks may reduce in different orders */
	struct hk_report *report;
	uint32_t nlanes, nsteps;
	uint32_t *lane_base, *step_base; /* [n + 1]: a participant's first lane and step */
	uint32_t *owner;		 /* [nlanes]: the lane's participant */

	/* By hk_check_connect: */
	struct hk_conn *conns;
	uint32_t nconns;
	uint32_t *out_conn, *in_conn; /* [nsteps]: the step's connections, where it has them */

	/* By hk_check_fifo: [nsteps], the sending step that a receiving step meets. */
	uint32_t *match;

	/* By hk_check_progress: [nsteps], the lanes in an order in which their steps can run. */
	uint32_t *order;
};

static inline const struct hk_lane *hk_check_lane(const struct hk_check *c, uint32_t lane)
{
	uint32_t part = c->owner[lane];

	return &c->programs[part]->lanes[lane - c->lane_base[part]];
}

/* Step number `at` of a lane: its number over all participants. */
static inline uint32_t hk_check_number(const struct hk_check *c, uint32_t lane, uint32_t at)
{
	return c->step_base[c->owner[lane]] + hk_check_lane(c, lane)->first + at;
}

static inline const struct hk_step *hk_check_step(const struct hk_check *c, uint32_t lane,
						  uint32_t at)
{
	return &c->programs[c->owner[lane]]->steps[hk_check_lane(c, lane)->first + at];
}

/* Chunks of IN and OUT that the collective gives participant `rank` (a switch: none). */
int hk_check_chunks(const struct hk_problem *p, int rank, uint32_t period,
		    uint32_t nchunks[HK_NBUFS], struct hk_report *report);

/* Bounds of one program: everything that can be said without looking at the others. nparticipants
 * bounds the peers. 0, or -HK_EPROOF and the report is filled. */
int hk_check_bounds(const struct hk_problem *p, const struct hk_program *prog, int rank,
		    int nparticipants, struct hk_report *report);

/* Sets the report's phase and sentence and returns -HK_EPROOF. */
int hk_check_fail(struct hk_report *report, enum hk_check_phase phase, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));
/* "rank 3, lane 1, step 4 (recv)" for sentences. */
struct hk_check_name {
	char text[80];
};
struct hk_check_name hk_check_where(const struct hk_check *c, uint32_t lane, uint32_t at);

/* The phases. 0, -HK_EPROOF with the report filled, or -ENOMEM. */
int hk_check_connect(struct hk_check *c);
int hk_check_fifo(struct hk_check *c);
int hk_check_progress(struct hk_check *c, unsigned max_slots);
int hk_check_race(struct hk_check *c);
int hk_check_result(struct hk_check *c);

#endif
