/* SPDX-License-Identifier: BSD-3-Clause */
/* See loop_world.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop_world.h"

#define MAX_POLLS 4000000
#define GUARD	  0x6a6a6a6a6a6a6a6aLL

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct loop_rank *r = (struct loop_rank *)b;
	struct hk_send **known = &r->sends[peer][channel];
	int err = 0;

	assert_true(channel < MAX_CHANNELS);
	if (!*known)
		err = r->ep->transport->connect_send(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct loop_rank *r = (struct loop_rank *)b;
	struct hk_recv **known = &r->recvs[peer][channel];
	int err = 0;

	assert_true(channel < MAX_CHANNELS);
	if (!*known)
		err = r->ep->transport->connect_recv(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

void world_setup(struct loop_world *w, const struct hk_algo *algo, const struct hk_problem *p,
		 const struct hk_loop_faults *faults)
{
	const struct hk_transport *loop = hk_transport_find("loop");
	/* Of plans whose slots are longer, so that no endpoint's are too short. */
	uint32_t usual = SLOT_BYTES / hk_plan_stretch(p->nranks, SLOT_BYTES);

	memset(w, 0, sizeof(*w));
	w->p = *p;
	w->n = hk_algo_participants(algo, p);
	assert_true(w->n <= MAX_RANKS);
	assert_int_equal(hk_loop_create(w->n, faults, &w->loop), 0);
	for (int i = 0; i < w->n; i++) {
		struct loop_rank *r = &w->ranks[i];
		struct hk_endpoint_env env = {.rank = i,
					      .nranks = w->n,
					      .channels = MAX_CHANNELS,
					      /* Places are offered as early as can be. */
					      .slots = faults && faults->offers ? 8 : 2,
					      .slot_bytes = SLOT_BYTES,
					      .loop = w->loop};
		struct hk_program *prog;
		struct hk_addr addr;

		r->binder = (struct hk_binder){bind_send, bind_recv, 0};
		assert_int_equal(loop->open(&env, &r->ep, &addr), 0);
		assert_int_equal(hk_algo_program(algo, p, i, true, &prog), 0);
		/* results of more than 16 KiB take the path past the cache */
		assert_int_equal(hk_plan_create(p, prog, &r->binder,
						hk_plan_stretches(p) ? usual : SLOT_BYTES, 16384,
						&r->plan),
				 0);
		assert_true(hk_plan_memory(r->plan) > 0);
	}
}

void world_teardown(struct loop_world *w)
{
	for (int i = 0; i < w->n; i++) {
		struct loop_rank *r = &w->ranks[i];

		hk_plan_destroy(r->plan);
		r->ep->transport->close(r->ep);
		free(r->memory);
	}
	hk_loop_destroy(w->loop);
}

/* Element i of a block of IN is STEP * i more than its first: sums of many are quickly made. */
#define STEP 31

static int64_t first_value(int rank, uint32_t block)
{
	return (int64_t)rank * 1000003 + (int64_t)block * 7919 + 7;
}

/* Uneven where blocks differ, and some of them empty. */
static size_t block_count(const struct loop_world *w, int rank, enum hk_buf buf, uint32_t block,
			  size_t count)
{
	static const size_t quarters[] = {4, 0, 1, 9, 3};
	uint64_t id = hk_coll_size_id(&w->p, rank, buf, block);

	return w->p.varied ? (count * quarters[id % 5] + 3) / 4 : count;
}

/* Lays n blocks out from `at` on; returns the end. Where blocks differ they have gaps. */
static int64_t *lay_out(struct loop_world *w, int rank, enum hk_buf buf, size_t count, int64_t *at)
{
	struct loop_rank *r = &w->ranks[rank];
	struct hk_block *blocks = buf == HK_IN ? r->in : r->out;
	unsigned n = buf == HK_IN ? r->nin : r->nout;

	for (unsigned i = 0; i < n; i++) {
		blocks[i] = (struct hk_block){at, block_count(w, rank, buf, i, count)};
		at += blocks[i].count + (w->p.varied ? 1 : 0);
	}
	return at + 1;
}

/* Whichever of IN and OUT has more blocks is laid out, and the other one's share its memory. */
static void share_memory(struct loop_world *w, int rank)
{
	struct loop_rank *r = &w->ranks[rank];

	for (unsigned i = 0; i < r->nin; i++) {
		int64_t alias = hk_coll_alias(&w->p, rank, i);

		if (alias >= 0 && r->nin > r->nout)
			r->out[alias].at = r->in[i].at;
		else if (alias >= 0)
			r->in[i].at = r->out[alias].at;
	}
}

static void fill_rank(struct loop_world *w, int rank, size_t count)
{
	struct loop_rank *r = &w->ranks[rank];
	int64_t *at;

	r->nin = hk_coll_blocks(&w->p, rank, HK_IN);
	r->nout = hk_coll_blocks(&w->p, rank, HK_OUT);
	r->elems = (r->nin + r->nout) * (w->p.varied ? count * 9 / 4 + 4 : count) + 2;
	if (r->elems > r->max_elems) {
		free(r->memory);
		r->memory = malloc(r->elems * sizeof(*r->memory));
		assert_non_null(r->memory);
		r->max_elems = r->elems;
	}
	for (size_t k = 0; k < r->elems; k++)
		r->memory[k] = GUARD;
	at = lay_out(w, rank, HK_OUT, count, r->memory);
	lay_out(w, rank, HK_IN, count, at);
	share_memory(w, rank);
	for (unsigned i = 0; i < r->nin; i++)
		for (size_t k = 0; k < r->in[i].count; k++)
			((int64_t *)r->in[i].at)[k] = first_value(rank, i) + STEP * (int64_t)k;
}

void world_fill(struct loop_world *w, size_t count, uint32_t mark, struct hk_call *calls)
{
	for (int i = 0; i < w->n; i++) {
		struct loop_rank *r = &w->ranks[i];

		fill_rank(w, i, count); /* a switch has no blocks */
		for (unsigned b = 0; b < r->nin; b++)
			w->counts[hk_coll_size_id(&w->p, i, HK_IN, b)] = r->in[b].count;
		calls[i] = (struct hk_call){.in = r->nin ? r->in[0].at : NULL,
					    .out = r->nout ? r->out[0].at : NULL,
					    .count = count,
					    .type = HK_INT64,
					    .op = HK_SUM,
					    .mark = mark,
					    .in_blocks = r->in,
					    .out_blocks = r->out,
					    .counts = w->counts};
	}
}

/* The words of a barrier mean nothing. What has been judged becomes a guard. */
static void verify_block(const struct loop_world *w, int rank, uint32_t block, int64_t scale,
			 int64_t divide)
{
	const struct hk_block *out = &w->ranks[rank].out[block];
	uint32_t n = hk_coll_contributions(&w->p);
	int64_t *got = out->at, want = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t in_block = 0;
		int from = 0;

		hk_coll_contribution(&w->p, rank, block, i, &from, &in_block);
		want += scale * first_value(from, in_block);
	}
	for (size_t k = 0; k < out->count; k++) {
		if (w->p.coll != HK_BARRIER && got[k] != want / divide)
			fail_msg("%s, %d ranks, root %d: rank %d block %u element %zu is %lld",
				 hk_coll_name(w->p.coll), w->p.nranks, w->p.root, rank, block, k,
				 (long long)got[k]);
		want += scale * n * STEP;
		got[k] = GUARD;
	}
}

static void verify_rank(const struct loop_world *w, int rank, int64_t scale, int64_t divide)
{
	const struct loop_rank *r = &w->ranks[rank];

	for (unsigned i = 0; i < r->nout; i++)
		verify_block(w, rank, i, scale, divide);
	for (unsigned i = 0; i < r->nin; i++) {
		bool own = hk_coll_alias(&w->p, rank, i) < 0;
		int64_t *in = r->in[i].at;

		for (size_t k = 0; k < r->in[i].count; k++) {
			if (own && in[k] != first_value(rank, i) + STEP * (int64_t)k)
				fail_msg("%s, %d ranks: rank %d input block %u element %zu has "
					 "changed",
					 hk_coll_name(w->p.coll), w->p.nranks, rank, i, k);
			in[k] = GUARD;
		}
	}
	for (size_t k = 0; k < r->elems; k++)
		if (r->memory[k] != GUARD)
			fail_msg("%s, %d ranks: rank %d stores where no block is",
				 hk_coll_name(w->p.coll), w->p.nranks, rank);
}

void world_verify(const struct loop_world *w, int64_t scale, int64_t divide)
{
	for (int i = 0; i < w->p.nranks; i++)
		verify_rank(w, i, scale, divide);
}

int world_run(struct loop_world *w, const struct hk_call *calls)
{
	bool done[MAX_RANKS] = {false};
	int n = w->n, left = n;

	for (int i = 0; i < n; i++)
		hk_plan_begin(w->ranks[i].plan, &calls[i]);
	for (int polls = 0; left && polls < MAX_POLLS; polls++) {
		int i = polls % n, r;
		bool moved = false;

		if (done[i])
			continue;
		r = hk_plan_poll(w->ranks[i].plan, &moved);
		if (r < 0)
			return r;
		done[i] = r == 1;
		left -= r == 1;
	}
	return left ? -ETIMEDOUT : 0;
}
