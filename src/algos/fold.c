/* SPDX-License-Identifier: BSD-3-Clause */
/* The fold in rank order, for the algorithms that receive every rank's message. See patterns.h. */
#include "patterns.h"

/* For the step just added: does nothing where it touches more than SCRATCH. */
static void tell_size(struct hk_builder *b, const struct hk_fold *f)
{
	if (f->size)
		hk_build_size(b, f->lane, f->size);
}

/* Folds in the message of `from`: the result so far is on the left. */
static uint32_t fold_message(struct hk_builder *b, const struct hk_fold *f, int from, bool last)
{
	uint32_t step =
		hk_build_recv_reduce(b, f->lane, from, f->acc_buf, f->acc,
				     last ? HK_OUT : f->acc_buf, last ? f->out : f->acc, 1, 0);

	tell_size(b, f);
	return step;
}

uint32_t hk_fold_in_rank_order(struct hk_builder *b, const struct hk_fold *f, int nranks, int rank)
{
	bool pair = nranks == 2;
	uint32_t step;
	int next;

	if (rank < 2) {
		/* This rank's IN and the other's message are the first two: no copy is needed. */
		step = hk_build_recv_reduce(b, f->lane, !rank, HK_IN, f->in,
					    pair ? HK_OUT : f->acc_buf, pair ? f->out : f->acc, 1,
					    rank ? HK_STEP_FLIP : 0);
		next = 2;
	} else {
		hk_build_recv(b, f->lane, 0, f->acc_buf, f->acc, 1);
		tell_size(b, f);
		for (int i = 1; i < rank; i++)
			fold_message(b, f, i, false);
		step = hk_build_reduce(b, f->lane, HK_IN, f->in, f->acc_buf, f->acc, 1, 0);
		next = rank + 1;
		if (next == nranks && f->acc_buf != HK_OUT)
			step = hk_build_copy(b, f->lane, f->acc_buf, f->acc, HK_OUT, f->out, 1);
	}
	for (int i = next; i < nranks; i++)
		step = fold_message(b, f, i, i == nranks - 1);
	return step;
}
