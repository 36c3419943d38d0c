/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads one step of a program from its line of text. Private to this folder. */
#ifndef HK_SCHEDULE_READ_STEP_H
#define HK_SCHEDULE_READ_STEP_H

#include "assemble.h"
#include "scan.h"

/* Adds the step of this line to the last lane. What the line says is read as it stands; whether it
 * makes sense is for hk_check_bounds. */
int hk_read_step(struct hk_scan *scan, struct hk_assembly *a);

#endif
