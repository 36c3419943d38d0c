/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends and receives of one rank as a program, so that they run as everything else does. It is not
 * in the list of algorithms: what it does depends on the calls, not on the collective.
 */
#ifndef HK_ALGOS_POINT_TO_POINT_H
#define HK_ALGOS_POINT_TO_POINT_H

#include "schedule.h"

/*
 * The program of a rank that sends block i of IN to to[i], for i < p->sends, and receives block i
 * of OUT from from[i], for i < p->receives, on one channel. p->coll is HK_POINT_TO_POINT. Blocks
 * for one peer go in their order; peers do not wait for each other. What a rank sends to itself
 * is copied: there must be as many of these as it receives from itself.
 */
int hk_point_to_point(const struct hk_problem *p, int rank, uint32_t channel, const int *to,
		      const int *from, struct hk_program **prog);

#endif
