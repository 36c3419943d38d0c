/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the phases of the checker share (see check.c): the index that gives every lane and step of
 * all participants a number of its own, and the connections between them. Private to this folder.
 */
#ifndef HK_SCHEDULE_CHECK_H
#define HK_SCHEDULE_CHECK_H

#include "schedule.h"

/* No buffer of a program may have more chunks: bounds what a file can make the checker allocate. */
#define HK_MAX_CHUNKS (1u << 24)

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

#endif
