/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests: checks what a caller gave, and works out what running it needs. What the collectives
 * are comes from the schedule's table (coll.c), so there is nothing here for one collective alone.
 * On the hot path: no allocation, but for the tables of a v-variant that must outlive the call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

static struct hk_problem problem_of(const struct hk_comm *c, const struct hk_request *req)
{
	return (struct hk_problem){
		.coll = req->coll, .nranks = c->nranks, .root = req->root, .inplace = true};
}

static int too_large(const struct hk_comm *c, const struct hk_request *req)
{
	return hk_fail_quiet(EOVERFLOW,
			     "%s: count %zu of %s on %d ranks is more than memory can hold",
			     hk_coll_name(req->coll), req->count,
			     hk_type_name((enum hk_type)req->type), c->nranks);
}

/* --- buffers --- */

/* In place, block *in of IN is block *out of OUT; false if this rank has no such pair. */
static bool alias_of(const struct hk_comm *c, const struct hk_problem *p, uint32_t *in,
		     uint32_t *out)
{
	uint32_t nin = hk_coll_blocks(p, c->rank, HK_IN), nout = hk_coll_blocks(p, c->rank, HK_OUT);
	int64_t alias;

	*in = nin > 1 && nout == 1 ? (uint32_t)c->rank : 0;
	alias = hk_coll_alias(p, c->rank, *in);
	*out = (uint32_t)alias;
	return alias >= 0;
}

static int missing(const struct hk_request *req, bool in)
{
	return hk_fail_quiet(EINVAL, "%s: %s is NULL and count is not 0", hk_coll_name(req->coll),
			     in ? "sendbuff" : "recvbuff");
}

/* Addresses from `from` up to `to`. */
struct range {
	uintptr_t from, to;
};

/* Two buffers, either in place or apart. */
static int check_overlap(struct hk_request *req, bool inplace, struct range in, struct range out)
{
	req->inplace = false;
	if (in.from >= out.to || out.from >= in.to)
		return 0;
	if (req->coll == HK_ALL_TO_ALL)
		return hk_fail_quiet(EINVAL, "all_to_all can't be done in place: recvbuff must be "
					     "other memory than sendbuff");
	req->inplace = inplace;
	if (inplace)
		return 0;
	return hk_fail_quiet(EINVAL,
			     "%s: sendbuff and recvbuff overlap without being in place (see "
			     "hocket.h for where sendbuff must be)",
			     hk_coll_name(req->coll));
}

static int check_buffers(const struct hk_comm *c, struct hk_request *req)
{
	struct hk_problem p = problem_of(c, req);
	uint32_t nin = hk_coll_blocks(&p, c->rank, HK_IN),
		 nout = hk_coll_blocks(&p, c->rank, HK_OUT);
	uintptr_t from = (uintptr_t)req->in, to = (uintptr_t)req->out;
	uint32_t in = 0, out = 0;
	size_t all;
	bool inplace;

	if (__builtin_mul_overflow(req->count, hk_type_size((enum hk_type)req->type),
				   &req->block) ||
	    __builtin_mul_overflow(req->block, (size_t)c->nranks, &all) || all > PTRDIFF_MAX)
		return too_large(c, req);
	req->empty = !req->count;
	if (req->empty)
		return 0;
	if ((nin && !req->in) || (nout && !req->out))
		return missing(req, nin && !req->in);
	if (!nin || !nout)
		return 0;
	inplace = alias_of(c, &p, &in, &out) && from + in * req->block == to + out * req->block;
	return check_overlap(req, inplace, (struct range){from, from + nin * req->block},
			     (struct range){to, to + nout * req->block});
}

/* --- tables of v-variants --- */

static int tables_create(int nranks, struct hk_tables *t)
{
	size_t n = (size_t)nranks;

	*t = (struct hk_tables){.in = calloc(n, sizeof(*t->in)),
				.out = calloc(n, sizeof(*t->out)),
				.counts = calloc(n, sizeof(*t->counts))};
	if (t->in && t->out && t->counts)
		return 0;
	hk_tables_free(t);
	return hk_fail(ENOMEM, "no memory for the blocks of %d ranks", nranks);
}

void hk_tables_free(struct hk_tables *t)
{
	free(t->in);
	free(t->out);
	free(t->counts);
	*t = (struct hk_tables){0};
}

static int take_tables(struct hk_comm *c, struct hk_request *req, bool keep)
{
	int err;

	if (!keep) {
		req->tables = &c->tables;
		return c->tables.in ? 0 : tables_create(c->nranks, &c->tables);
	}
	req->tables = calloc(1, sizeof(*req->tables));
	if (!req->tables)
		return hk_fail(ENOMEM, "no memory for a call's blocks");
	err = tables_create(c->nranks, req->tables);
	if (err) {
		free(req->tables);
		req->tables = NULL;
		return err;
	}
	req->own_tables = true;
	return 0;
}

/* The blocks of one buffer; *range is where they are. Blocks of no elements are nowhere: their
 * displacements do not matter. */
static int lay_blocks(const struct hk_request *req, const struct hk_vector *v, const void *base,
		      uint32_t n, struct hk_block *blocks, struct range *range)
{
	size_t esize = hk_type_size((enum hk_type)req->type), next = 0, bytes;
	uintptr_t start = (uintptr_t)base;

	*range = (struct range){UINTPTR_MAX, 0};
	for (uint32_t i = 0; i < n; i++) {
		size_t count = v->counts ? v->counts[i] : req->count, stop;
		size_t at = v->displs ? v->displs[i] : next;

		blocks[i] = (struct hk_block){(void *)start, 0};
		if (!count)
			continue;
		if (!base)
			return missing(req, v == &req->in_vector);
		if (__builtin_add_overflow(at, count, &stop) ||
		    __builtin_mul_overflow(stop, esize, &bytes) || bytes > PTRDIFF_MAX)
			return hk_fail_quiet(EOVERFLOW,
					     "%s: block %u, %zu of %s at displacement %zu, ends "
					     "beyond all memory",
					     hk_coll_name(req->coll), i, count,
					     hk_type_name((enum hk_type)req->type), at);
		blocks[i] = (struct hk_block){(void *)(start + at * esize), count};
		next = stop;
		if (start + at * esize < range->from)
			range->from = start + at * esize;
		if (start + bytes > range->to)
			range->to = start + bytes;
	}
	return 0;
}

/* Where all ranks know all counts: each is in the table of the buffer that has a block per rank. */
static int known_counts(struct hk_comm *c, struct hk_request *req)
{
	const struct hk_vector *v = req->in_vector.counts ? &req->in_vector : &req->out_vector;
	size_t total = 0;

	for (int i = 0; i < c->nranks; i++) {
		req->tables->counts[i] = v->counts[i];
		if (__builtin_add_overflow(total, v->counts[i], &total))
			return too_large(c, req);
	}
	if (req->in_vector.counts)
		req->count = v->counts[c->rank];
	req->empty = !total;
	/* For the choice, and alike on all ranks. */
	req->block = total / (size_t)c->nranks * hk_type_size((enum hk_type)req->type);
	return 0;
}

/* Whether the buffer has a block for each rank, also where there is only one rank. */
static bool has_vector(const struct hk_problem *p, int rank, enum hk_buf buf)
{
	struct hk_problem more = *p;

	more.nranks++;
	return hk_coll_blocks(&more, rank, buf) > 1;
}

/* What this rank sends to itself it must expect from itself. Of the others it can't know. */
static int check_own(const struct hk_comm *c, const struct hk_request *req)
{
	const struct hk_vector *in = &req->in_vector, *out = &req->out_vector;
	size_t gives = in->counts ? in->counts[c->rank] : req->count;
	size_t takes = out->counts ? out->counts[c->rank] : req->count;

	if (gives == takes)
		return 0;
	return hk_fail_quiet(EINVAL,
			     "%s: rank %d sends %zu elements to itself, but expects %zu: the "
			     "counts of its own block must be equal",
			     hk_coll_name(req->coll), c->rank, gives, takes);
}

/* Whether the blocks are in place: then these two start at the same place. */
static bool blocks_alias(const struct hk_comm *c, const struct hk_request *req,
			 const struct hk_problem *p)
{
	uint32_t in = 0, out = 0;

	return alias_of(c, p, &in, &out) && req->tables->in[in].at == req->tables->out[out].at;
}

static int check_vectors(struct hk_comm *c, struct hk_request *req, bool keep)
{
	struct hk_problem p = problem_of(c, req);
	uint32_t nin = hk_coll_blocks(&p, c->rank, HK_IN),
		 nout = hk_coll_blocks(&p, c->rank, HK_OUT);
	struct range in = {0}, out = {0};
	int err;

	if ((has_vector(&p, c->rank, HK_IN) && !req->in_vector.counts) ||
	    (has_vector(&p, c->rank, HK_OUT) && !req->out_vector.counts))
		return hk_fail_quiet(EINVAL, "%s: the array of counts is NULL",
				     hk_coll_name(req->coll));
	err = take_tables(c, req, keep);
	if (!err && hk_coll_sizes_known(req->coll))
		err = known_counts(c, req);
	if (!err && nin && nout)
		err = check_own(c, req);
	if (!err)
		err = lay_blocks(req, &req->in_vector, req->in, nin, req->tables->in, &in);
	if (!err)
		err = lay_blocks(req, &req->out_vector, req->out, nout, req->tables->out, &out);
	if (err || req->empty || in.from >= in.to || out.from >= out.to)
		return err;
	return check_overlap(req, blocks_alias(c, req, &p), in, out);
}

/* --- all of it --- */

int hk_request_accept(struct hk_comm *c, struct hk_request *req, bool keep)
{
	int err;

	if ((unsigned)req->type >= HK_NTYPES)
		return hk_fail_quiet(EINVAL, "%s: %d is no data type", hk_coll_name(req->coll),
				     (int)req->type);
	if (req->root < 0 || req->root >= c->nranks)
		return hk_fail_quiet(
			EINVAL, "%s: %s is %d; it must be from 0 to %d", hk_coll_name(req->coll),
			req->coll == HK_POINT_TO_POINT ? "peer" : "root", req->root, c->nranks - 1);
	err = hk_comm_resolve_op(c, req);
	if (err)
		return err;
	if (req->coll == HK_POINT_TO_POINT) {
		if (__builtin_mul_overflow(req->count, hk_type_size((enum hk_type)req->type),
					   &req->block) ||
		    req->block > PTRDIFF_MAX)
			return too_large(c, req);
		return req->count && !req->in && !req->out
			       ? hk_fail_quiet(EINVAL, "the buffer of a send or receive is NULL "
						       "and count is not 0")
			       : 0;
	}
	err = req->varied ? check_vectors(c, req, keep) : check_buffers(c, req);
	if (err)
		hk_request_free(req);
	return err;
}

void hk_request_free(struct hk_request *req)
{
	if (!req->own_tables)
		return;
	hk_tables_free(req->tables);
	free(req->tables);
	req->tables = NULL;
	req->own_tables = false;
}
