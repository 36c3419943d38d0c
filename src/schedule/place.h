/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places: one number for every chunk of memory of one program, so that readers who ask "is this the
 * same memory?" need not think about aliases. OUT comes first, then IN, then SCRATCH; in place, an
 * IN chunk has the place of the OUT chunk that it shares memory with.
 */
#ifndef HK_SCHEDULE_PLACE_H
#define HK_SCHEDULE_PLACE_H

#include "schedule.h"

static inline uint64_t hk_places(const struct hk_program *prog)
{
	return (uint64_t)prog->nchunks[HK_OUT] + prog->nchunks[HK_IN] + prog->nchunks[HK_SCRATCH];
}

static inline uint64_t hk_place(const struct hk_problem *p, const struct hk_program *prog,
				unsigned buf, uint32_t chunk)
{
	int64_t alias;

	if (buf == HK_OUT)
		return chunk;
	if (buf == HK_SCRATCH)
		return (uint64_t)prog->nchunks[HK_OUT] + prog->nchunks[HK_IN] + chunk;
	alias = hk_alias_out(p, prog, chunk);
	return alias >= 0 ? (uint64_t)alias : (uint64_t)prog->nchunks[HK_OUT] + chunk;
}

#endif
