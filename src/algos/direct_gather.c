/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct gather: every rank sends its block straight to the root. The root receives all bytes in
 * any algorithm, so for all but small blocks this is the best there is; and as no block passes
 * through other hands, blocks of differing sizes are fine.
 *
 * Steps:  one send; at the root, out of place, the copy of its own block while the others' are on
 *         their way, then n-1 receives.
 * Bytes:  each rank but the root sends one block.
 * Rounds: 1.
 * Source: folklore: the linear gather of E. Chan, M. Heimlich, A. Purkayastha, R. van de Geijn,
 *         "Collective communication: theory, practice, and experience" (2007).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 20;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t lane;

	hk_build_chunks(b, 1, 0);
	if (p->nranks == 1 && p->inplace)
		return 0;
	lane = hk_build_lane(b, 0);
	if (rank != p->root) {
		hk_build_send(b, lane, p->root, HK_IN, 0, 1);
		return 0;
	}
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, (uint32_t)rank, 1);
	for (int i = 1; i < p->nranks; i++) {
		int from = hk_wrap(rank, i, p->nranks);

		hk_build_recv(b, lane, from, HK_OUT, (uint32_t)from, 1);
	}
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = w->messages = p->nranks > 1;
	w->sent = p->nranks > 1;
}

const struct hk_algo hk_algo_direct_gather = {"direct_gather", HK_GATHER, accepts, build, work};
