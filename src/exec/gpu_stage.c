/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers that kernels can't reach: ordinary host memory. What a call reads is copied to memory on
 * the GPU at once, and what it wrote is copied back after it. IN and OUT that share memory (in
 * place) share the copy, too. Such a call has ended when it returns, as CUDA's own copies to
 * ordinary memory have; but the calls of a group are all queued before any of them is waited for,
 * since some may be those of other ranks.
 */
#include <errno.h>
#include <stdlib.h>

#include "error.h"
#include "gpu_internal.h"

static size_t block_bytes(const struct hk_plan *plan, const struct hk_call *call, enum hk_buf buf)
{
	uint32_t blocks = plan->prog->nchunks[buf] / plan->period;

	return call->count * hk_type_size(call->type) * blocks;
}

/* Where one of the two buffers is; nowhere if the program does not use it. */
static struct staged range_of(const struct hk_plan *plan, const struct hk_call *call,
			      enum hk_buf buf, const struct hk_block *blocks)
{
	uintptr_t at = (uintptr_t)(buf == HK_IN ? call->in : call->out);
	struct staged s = {.from = at, .to = at + block_bytes(plan, call, buf)};

	if (!plan->varied)
		return s;
	s = (struct staged){.from = UINTPTR_MAX};
	for (uint32_t i = 0; i < plan->prog->nchunks[buf] / plan->period; i++) {
		uintptr_t from = (uintptr_t)blocks[i].at;
		uintptr_t to = from + blocks[i].count * hk_type_size(call->type);

		if (to == from)
			continue;
		s.from = from < s.from ? from : s.from;
		s.to = to > s.to ? to : s.to;
	}
	if (s.to <= s.from)
		s = (struct staged){0};
	return s;
}

/* Room that no call since the last finish uses. */
static int take(struct hk_gpu_exec *x, size_t bytes, uint64_t *at)
{
	struct stage *s = x->stages;
	int err;

	while (s && (s->busy || s->bytes < bytes))
		s = s->next;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return hk_fail(ENOMEM, "no memory for the copy of a host buffer");
		err = hk_gpu_alloc(x->gpu, bytes, &s->at);
		if (err) {
			free(s);
			return err;
		}
		s->bytes = bytes;
		x->memory += bytes;
		s->next = x->stages;
		x->stages = s;
	}
	s->busy = true;
	x->staged = true;
	*at = s->at;
	return 0;
}

static bool unreachable(const struct hk_gpu_exec *x, const struct staged *s)
{
	return s->to > s->from && hk_gpu_place_of(x->gpu, (const void *)s->from) == HK_GPU_PAGEABLE;
}

static bool unreachable_block(const struct hk_gpu_exec *x, const struct hk_block *b)
{
	return b->count && hk_gpu_place_of(x->gpu, b->at) == HK_GPU_PAGEABLE;
}

/* Room on the GPU: one piece for both where they overlap. */
static int place(struct hk_gpu_exec *x, struct staging *st)
{
	struct staged *in = &st->in, *out = &st->out;
	int err = 0;

	in->copied = unreachable(x, in);
	out->copied = unreachable(x, out);
	in->at = in->from;
	out->at = out->from;
	if (in->copied && out->copied && in->from < out->to && out->from < in->to) {
		uintptr_t from = in->from < out->from ? in->from : out->from;
		uintptr_t to = in->to > out->to ? in->to : out->to;

		err = take(x, to - from, &in->at);
		out->at = in->at + (out->from - from);
		in->at += in->from - from;
		return err;
	}
	if (in->copied)
		err = take(x, in->to - in->from, &in->at);
	if (!err && out->copied)
		err = take(x, out->to - out->from, &out->at);
	return err;
}

static void *moved(const struct staged *s, const void *at)
{
	return s->copied ? (void *)(uintptr_t)(s->at + ((uintptr_t)at - s->from))
			 : (void *)(uintptr_t)at;
}

static int copy(struct hk_gpu_exec *x, uint64_t to, uint64_t from, size_t bytes, CUstream stream)
{
	return bytes ? hk_cuda_check(x->cuda->cuMemcpyAsync(to, from, bytes, stream),
				     "copying a host buffer to or from the GPU")
		     : 0;
}

/* Before anything is taken: the caller's capture and communicator stay as they are. */
static int refuse_capture(void)
{
	return hk_fail_quiet(EINVAL,
			     "a call with ordinary host memory can't be captured for a graph; "
			     "use memory of the GPU, or pinned");
}

/* Blocks lie anywhere, each in memory of its own kind: those that kernels can't reach get room
 * each, but an OUT block where an IN block is gets the same. */
static int stage_blocks(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_call *call,
			struct hk_block *in, struct hk_block *out, struct staging *st)
{
	uint32_t nin = plan->prog->nchunks[HK_IN] / plan->period,
		 nout = plan->prog->nchunks[HK_OUT] / plan->period;
	size_t esize = hk_type_size(call->type);
	uint64_t at = 0;
	int err = 0;

	for (uint32_t i = 0; i < nout; i++)
		out[i] = call->out_blocks[i];
	for (uint32_t i = 0; i < nin; i++) {
		const struct hk_block *b = &call->in_blocks[i];
		size_t bytes = b->count * esize;

		in[i] = *b;
		if (err || !unreachable_block(x, b))
			continue;
		for (uint32_t k = 0; k < nout; k++)
			if (call->out_blocks[k].at == b->at &&
			    call->out_blocks[k].count * esize > bytes)
				bytes = call->out_blocks[k].count * esize;
		err = take(x, bytes, &at);
		if (!err)
			err = hk_gpu_write(x->gpu, at, b->at, b->count * esize);
		in[i].at = (void *)(uintptr_t)at;
		st->in.copied = true;
		for (uint32_t k = 0; k < nout; k++)
			if (call->out_blocks[k].count && call->out_blocks[k].at == b->at)
				out[k].at = in[i].at;
	}
	for (uint32_t k = 0; !err && k < nout; k++) {
		if (!unreachable_block(x, &out[k]))
			continue;
		err = take(x, out[k].count * esize, &at);
		out[k].at = (void *)(uintptr_t)at;
	}
	for (uint32_t k = 0; k < nout; k++)
		st->out.copied |= out[k].at != call->out_blocks[k].at;
	call->in_blocks = in;
	call->out_blocks = st->out_blocks = out;
	return err;
}

int hk_gpu_stage_in(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_call *call,
		    struct hk_block *in_blocks, struct hk_block *out_blocks, bool capturing,
		    struct staging *st)
{
	int err;

	*st = (struct staging){.in = range_of(plan, call, HK_IN, call->in_blocks),
			       .out = range_of(plan, call, HK_OUT, call->out_blocks)};
	if (capturing && hk_gpu_stage_needed(x, plan, call))
		return refuse_capture();
	if (plan->varied)
		return stage_blocks(x, plan, call, in_blocks, out_blocks, st);
	err = place(x, st);
	if (err || !(st->in.copied || st->out.copied))
		return err;
	if (st->in.copied)
		err = hk_gpu_write(x->gpu, st->in.at, (const void *)st->in.from,
				   st->in.to - st->in.from);
	call->in = moved(&st->in, call->in);
	call->out = moved(&st->out, call->out);
	return err;
}

static int copy_back(struct hk_gpu_exec *x, uint64_t to, uint64_t from, size_t bytes)
{
	unsigned more = x->max_copies ? 2 * x->max_copies : 8;
	struct copy_back *copies;

	if (x->ncopies == x->max_copies) {
		copies = realloc(x->copies, more * sizeof(*copies));
		if (!copies)
			return hk_fail(ENOMEM, "no memory for the copies of host buffers");
		x->copies = copies;
		x->max_copies = more;
	}
	x->copies[x->ncopies++] = (struct copy_back){to, from, bytes};
	return 0;
}

int hk_gpu_stage_out(struct hk_gpu_exec *x, const struct hk_plan *plan, const struct hk_call *call,
		     const struct staging *st)
{
	const struct staged *out = &st->out;
	int err = 0;

	if (!out->copied)
		return 0;
	if (!plan->varied)
		return copy_back(x, out->from, out->at, out->to - out->from);
	for (uint32_t i = 0; !err && i < plan->prog->nchunks[HK_OUT] / plan->period; i++) {
		const struct hk_block *b = &call->out_blocks[i];
		const void *at = st->out_blocks[i].at;

		if (b->count && at != b->at)
			err = copy_back(x, (uintptr_t)b->at, (uintptr_t)at,
					b->count * hk_type_size(call->type));
	}
	return err;
}

/* The calls of a communicator come one after the other, so one room is enough. */
static int own_input(struct hk_gpu_exec *x, size_t bytes, uint64_t *at)
{
	int err = 0;

	if (bytes > x->own_in_bytes) {
		hk_gpu_retire(x, x->own_in);
		x->memory -= x->own_in_bytes;
		x->own_in = x->own_in_bytes = 0;
		err = hk_gpu_alloc(x->gpu, bytes, &x->own_in);
		if (err)
			return err;
		x->own_in_bytes = bytes;
		x->memory += bytes;
	}
	*at = x->own_in;
	return 0;
}

int hk_gpu_stage_prepare(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_call *call,
			 CUstream stream)
{
	struct hk_problem p = plan->problem;
	int rank = x->rank;
	size_t block = call->count * hk_type_size(call->type);
	uint32_t nin = hk_coll_blocks(&p, rank, HK_IN);
	uint64_t in = (uintptr_t)call->in, at = 0;
	int err = 0;

	if (call->prepare == HK_PREPARE_IN) {
		err = own_input(x, nin * block, &at);
		if (!err)
			err = copy(x, at, in, nin * block, stream);
		call->in = (void *)(uintptr_t)at;
		return err;
	}
	p.inplace = true;
	for (uint32_t i = 0; !err && i < nin; i++) {
		int64_t out = hk_coll_alias(&p, rank, i);

		if (out >= 0)
			err = copy(x, (uintptr_t)call->out + (uint64_t)out * block, in + i * block,
				   block, stream);
	}
	return err;
}

bool hk_gpu_stage_needed(const struct hk_gpu_exec *x, const struct hk_plan *plan,
			 const struct hk_call *call)
{
	struct staged in = range_of(plan, call, HK_IN, call->in_blocks);
	struct staged out = range_of(plan, call, HK_OUT, call->out_blocks);
	bool needed = false;

	if (!plan->varied)
		return unreachable(x, &in) || unreachable(x, &out);
	for (uint32_t i = 0; i < plan->prog->nchunks[HK_IN] / plan->period; i++)
		needed |= unreachable_block(x, &call->in_blocks[i]);
	for (uint32_t i = 0; i < plan->prog->nchunks[HK_OUT] / plan->period; i++)
		needed |= unreachable_block(x, &call->out_blocks[i]);
	return needed;
}

int hk_gpu_stage_plain(struct hk_gpu_exec *x, size_t bytes, bool capturing, uint64_t *in,
		       uint64_t *out)
{
	struct staging st = {.in = {*in, *in + bytes, 0, false},
			     .out = {*out, *out + bytes, 0, false}};
	int err;

	if (capturing && (unreachable(x, &st.in) || unreachable(x, &st.out)))
		return refuse_capture();
	err = place(x, &st);
	if (!err && st.in.copied)
		err = hk_gpu_write(x->gpu, st.in.at, (const void *)st.in.from, bytes);
	if (!err && st.out.copied)
		err = copy_back(x, *out, st.out.at, bytes);
	*in = st.in.at;
	*out = st.out.at;
	return err;
}

int hk_gpu_stage_input(struct hk_gpu_exec *x, size_t bytes, bool capturing, uint64_t *in)
{
	struct staged s = {*in, *in + bytes, *in, false};
	int err;

	if (!unreachable(x, &s))
		return 0;
	if (capturing)
		return refuse_capture();
	err = take(x, bytes, &s.at);
	if (!err)
		err = hk_gpu_write(x->gpu, s.at, (const void *)s.from, bytes);
	*in = s.at;
	return err;
}

int hk_gpu_stage_finish(struct hk_gpu_exec *x)
{
	CUstream stream = x->waited;
	int err = 0;

	if (!x->staged)
		return 0;
	/* A copy to ordinary memory waits inside the driver for what is before it in the stream,
	 * and with it whatever the driver then keeps from other threads. */
	if (x->ncopies)
		err = hk_cuda_check(x->cuda->cuStreamSynchronize(stream),
				    "waiting for a call with a host buffer");
	for (unsigned i = 0; !err && i < x->ncopies; i++)
		err = copy(x, x->copies[i].to, x->copies[i].from, x->copies[i].bytes, stream);
	x->ncopies = 0;
	if (!err)
		err = hk_cuda_check(x->cuda->cuStreamSynchronize(stream),
				    "waiting for a call with a host buffer");
	for (struct stage *s = x->stages; s; s = s->next)
		s->busy = false;
	x->staged = false;
	return err;
}

void hk_gpu_stage_free(struct hk_gpu_exec *x)
{
	for (struct stage *s = x->stages, *next; s; s = next) {
		next = s->next;
		hk_gpu_free(x->gpu, s->at);
		free(s);
	}
	x->stages = NULL;
	hk_gpu_put(x, x->own_in);
	x->own_in = x->own_in_bytes = 0;
	free(x->copies);
	x->copies = NULL;
}
