/* SPDX-License-Identifier: BSD-3-Clause */
/* What the programs of a problem contain, to be compared with what their algorithm says of them. */
#ifndef HK_TEST_MEASURE_H
#define HK_TEST_MEASURE_H

#include "programs.h"

/* Messages and blocks that the busiest rank sends, and rounds: the longest chain of messages each
 * of which can't be sent before the one before it has arrived, by the order of lanes, by
 * dependencies or as one step. */
void world_measure(const struct world *w, struct hk_work *work);

#endif
