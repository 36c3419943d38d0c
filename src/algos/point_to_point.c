/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Point-to-point as a schedule: a lane for each peer that is sent to, one for each that is received
 * from, and one that copies what goes to this rank itself. See point_to_point.h.
 */
#include "point_to_point.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

#define NO_LANE UINT32_MAX

/* Blocks for other ranks, in the lane of their peer; lane_of has an entry for each rank. */
static void add_lanes(struct hk_builder *b, int rank, uint32_t channel, const int *peers,
		      uint32_t n, bool send, uint32_t *lane_of)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t *lane = &lane_of[peers[i]];

		if (peers[i] == rank)
			continue;
		if (*lane == NO_LANE)
			*lane = hk_build_lane(b, channel);
		if (send)
			hk_build_send(b, *lane, peers[i], HK_IN, i, 1);
		else
			hk_build_recv(b, *lane, peers[i], HK_OUT, i, 1);
	}
}

/* The k-th block for this rank itself meets its k-th receive from itself. */
static void add_copies(struct hk_builder *b, int rank, uint32_t channel, const int *to,
		       uint32_t nto, const int *from, uint32_t nfrom)
{
	uint32_t lane = NO_LANE, k = 0;

	for (uint32_t i = 0; i < nto; i++) {
		if (to[i] != rank)
			continue;
		while (k < nfrom && from[k] != rank)
			k++;
		if (lane == NO_LANE)
			lane = hk_build_lane(b, channel);
		hk_build_copy(b, lane, HK_IN, i, HK_OUT, k++, 1);
	}
}

static int check_peers(const struct hk_problem *p, int rank, const int *to, const int *from)
{
	uint32_t out = 0, in = 0;

	for (uint32_t i = 0; i < p->sends + p->receives; i++) {
		bool send = i < p->sends;
		int peer = send ? to[i] : from[i - p->sends];

		if (peer < 0 || peer >= p->nranks)
			return hk_fail_quiet(EINVAL, "peer %d is not a rank from 0 to %d", peer,
					     p->nranks - 1);
		*(send ? &out : &in) += peer == rank;
	}
	if (out == in)
		return 0;
	return hk_fail_quiet(EINVAL,
			     "rank %d sends %u times to itself and receives %u times; both must be "
			     "in one group, as often",
			     rank, out, in);
}

int hk_point_to_point(const struct hk_problem *p, int rank, uint32_t channel, const int *to,
		      const int *from, struct hk_program **prog)
{
	int err = check_peers(p, rank, to, from);
	struct hk_builder *b;
	uint32_t *lane_of;

	if (err)
		return err;
	lane_of = malloc(2 * (size_t)p->nranks * sizeof(*lane_of));
	if (!lane_of)
		return hk_fail(ENOMEM, "no memory for a program over %d ranks", p->nranks);
	for (int i = 0; i < 2 * p->nranks; i++)
		lane_of[i] = NO_LANE;
	err = hk_build_begin(p, rank, &b);
	if (!err) {
		hk_build_chunks(b, 1, 0);
		add_lanes(b, rank, channel, to, p->sends, true, lane_of);
		add_lanes(b, rank, channel, from, p->receives, false, lane_of + p->nranks);
		add_copies(b, rank, channel, to, p->sends, from, p->receives);
		err = hk_build_finish(b, prog);
	}
	free(lane_of);
	return err;
}
