/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Puts a program together from lanes, steps and dependencies that come in their final order, as
 * they do from a file. Whoever adds says nothing of sizes; the tables grow. Private to this folder:
 * algorithms use the builder, which takes them in any order.
 */
#ifndef HK_SCHEDULE_ASSEMBLE_H
#define HK_SCHEDULE_ASSEMBLE_H

#include "schedule.h"

struct hk_assembly {
	struct hk_program *prog; /* whole at any time; the owner takes it or frees it */
	uint32_t max_lanes, max_steps, max_deps;
};

/* Each returns 0 or -ENOMEM, with its sentence. */
int hk_assemble_begin(struct hk_assembly *a, int rank);
int hk_assemble_lane(struct hk_assembly *a, uint32_t channel);
/* To the last lane; without dependencies. */
int hk_assemble_step(struct hk_assembly *a, const struct hk_step *step);
/* Of the last step; its number must stay below UINT16_MAX. */
int hk_assemble_dep(struct hk_assembly *a, struct hk_dep dep);

#endif
