/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct scatter: the root sends every rank its block. The root sends all bytes in any algorithm,
 * so for all but small blocks this is the best there is; and as no block passes through other
 * hands, blocks of differing sizes are fine.
 *
 * Steps:  at the root n-1 sends, then, out of place, the copy of its own block; one receive
 *         elsewhere.
 * Bytes:  the root sends n-1 blocks: the least possible.
 * Rounds: 1.
 * Source: folklore: the linear scatter of E. Chan, M. Heimlich, A. Purkayastha, R. van de Geijn,
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
		hk_build_recv(b, lane, p->root, HK_OUT, 0, 1);
		return 0;
	}
	for (int i = 1; i < p->nranks; i++) {
		int to = hk_wrap(rank, i, p->nranks);

		hk_build_send(b, lane, to, HK_IN, (uint32_t)to, 1);
	}
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, (uint32_t)rank, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_scatter = {"direct_scatter", HK_SCATTER, accepts, build, work};
