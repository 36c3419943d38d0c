/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pairwise all-to-all: in step k every rank sends to the rank k places up and receives from the one
 * k places down, so that all ranks are each other's only peers at a time, more or less: a step
 * begins when the step four before it has ended on this rank. Against the direct exchange it
 * bounds what is under way at once, and a rank has two lanes to look after instead of two for
 * every peer. As no block passes through other hands, blocks of differing sizes are fine.
 *
 * Steps:  a lane of n-1 sends, the own block's copy last; a lane of n-1 receives. Not in place: the
 *         block that a receive would overwrite is sent in another step.
 * Bytes:  each rank sends n-1 blocks: the least possible.
 * Rounds: ceil((n-1)/4).
 * Source: R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of collective communication
 *         operations in MPICH", IJHPCA 19 (2005); the window is ours.
 */
#include "algos.h"
#include "patterns.h"

/* A single peer at a time would leave the connections idle while the two ranks wait for each
 * other. */
#define WINDOW 4

static bool accepts(const struct hk_problem *p)
{
	return p->nranks <= 1 << 20 && !p->inplace;
}

static int build(const struct hk_problem *p, int rank, struct hk_builder *b)
{
	uint32_t send = hk_build_lane(b, 0), recv, own = (uint32_t)rank;
	int n = p->nranks;

	hk_build_chunks(b, 1, 0);
	recv = n > 1 ? hk_build_lane(b, 0) : 0;
	for (int k = 1; k < n; k++) {
		int to = hk_wrap(rank, k, n), from = hk_wrap(rank, -k, n);

		hk_build_send(b, send, to, HK_IN, (uint32_t)to, 1);
		if (k > WINDOW) /* step k of the lane is number k-1 */
			hk_build_after(b, send, recv, (uint32_t)(k - WINDOW) - 1);
		hk_build_recv(b, recv, from, HK_OUT, (uint32_t)from, 1);
	}
	hk_build_copy(b, send, HK_IN, own, HK_OUT, own, 1);
	return 0;
}

static void work(const struct hk_problem *p, struct hk_work *w)
{
	uint32_t n = (uint32_t)p->nranks;

	w->rounds = (n - 1 + WINDOW - 1) / WINDOW;
	w->messages = n - 1;
	w->sent = n - 1;
}

const struct hk_algo hk_algo_pairwise_all_to_all = {"pairwise_all_to_all", HK_ALL_TO_ALL, accepts,
						    build, work};
