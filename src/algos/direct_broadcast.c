/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct broadcast, for few ranks on one host: the root sends its vector straight to every other
 * rank. Nobody waits for anybody but the root, and where memory can be lent, each rank reads the
 * root's vector where it lies.
 *
 * Steps:  at the root n-1 sends, then, out of place, the copy of its own vector while the others
 *         are reading; one receive elsewhere.
 * Bytes:  the root sends n-1 vectors.
 * Rounds: 1.
 * Source: folklore: the flat tree of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of
 *         collective communication operations in MPICH", IJHPCA 19 (2005).
 */
#include "algos.h"
#include "patterns.h"

static bool accepts(const struct hk_problem *p)
{
	return !p->varied;
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
	for (int i = 1; i < p->nranks; i++)
		hk_build_send(b, lane, hk_wrap(rank, i, p->nranks), HK_IN, 0, 1);
	if (!p->inplace)
		hk_build_copy(b, lane, HK_IN, 0, HK_OUT, 0, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	w->rounds = p->nranks > 1;
	w->messages = (uint32_t)p->nranks - 1;
	w->sent = p->nranks - 1;
}

const struct hk_algo hk_algo_direct_broadcast = {"direct_broadcast", HK_BROADCAST, accepts, build,
						 work};
