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

static int missing(const struct hk_request *req)
{
	return hk_fail_quiet(EINVAL, "%s: %s is NULL and count is not 0", hk_coll_name(req->coll),
			     req->in ? "recvbuff" : "sendbuff");
}

/* Two ranges of bytes, either in place (then these blocks start at the same place) or apart. */
static int check_overlap(struct hk_request *req, bool has_alias, uintptr_t in, size_t in_bytes,
			 size_t in_at, uintptr_t out, size_t out_bytes, size_t out_at)
{
	req->inplace = has_alias && in + in_at == out + out_at;
	if (req->inplace && req->coll == HK_ALL_TO_ALL)
		return hk_fail_quiet(EINVAL, "all_to_all can't be done in place: recvbuff must be "
					     "other memory than sendbuff");
	if (req->inplace || in >= out + out_bytes || out >= in + in_bytes)
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
	uint32_t in = 0, out = 0;
	size_t all;
	bool has_alias;

	if (__builtin_mul_overflow(req->count, hk_type_size((enum hk_type)req->type),
				   &req->block) ||
	    __builtin_mul_overflow(req->block, (size_t)c->nranks, &all) || all > PTRDIFF_MAX)
		return too_large(c, req);
	req->empty = !req->count;
	if (req->empty)
		return 0;
	if ((nin && !req->in) || (nout && !req->out))
		return missing(req);
	if (!nin || !nout)
		return 0;
	has_alias = alias_of(c, &p, &in, &out);
	return check_overlap(req, has_alias, (uintptr_t)req->in, nin * req->block, in * req->block,
			     (uintptr_t)req->out, nout * req->block, out * req->block);
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

/* The blocks of one buffer; *end is how far they reach, in elements. */
static int lay_blocks(const struct hk_comm *c, const struct hk_request *req,
		      const struct hk_vector *v, const void *base, uint32_t n,
		      struct hk_block *blocks, size_t *end)
{
	size_t esize = hk_type_size((enum hk_type)req->type), next = 0, bytes;

	*end = 0;
	for (uint32_t i = 0; i < n; i++) {
		size_t count = v->counts ? v->counts[i] : req->count, stop;
		size_t at = v->displs ? v->displs[i] : next;

		if (__builtin_add_overflow(at, count, &stop) ||
		    __builtin_mul_overflow(stop, esize, &bytes) || bytes > PTRDIFF_MAX)
			return too_large(c, req);
		blocks[i] = (struct hk_block){(uint8_t *)(uintptr_t)base + at * esize, count};
		next = stop;
		*end = count && stop > *end ? stop : *end;
	}
	return 0;
}

/* Where all ranks know all counts: each is in the table of the buffer that has a block per rank. */
static int known_counts(struct hk_comm *c, struct hk_request *req)
{
	const struct hk_vector *v = req->in_vector.counts ? &req->in_vector : &req->out_vector;
	size_t total = 0, mine = v->counts[c->rank];

	for (int i = 0; i < c->nranks; i++) {
		req->tables->counts[i] = v->counts[i];
		if (__builtin_add_overflow(total, v->counts[i], &total))
			return too_large(c, req);
	}
	if (req->in_vector.counts)
		req->count = mine;
	else if (req->count != mine)
		return hk_fail_quiet(EINVAL, "%s: sendcount is %zu, but recvcounts[%d] is %zu",
				     hk_coll_name(req->coll), req->count, c->rank, mine);
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

static int check_vectors(struct hk_comm *c, struct hk_request *req, bool keep)
{
	struct hk_problem p = problem_of(c, req);
	uint32_t nin = hk_coll_blocks(&p, c->rank, HK_IN),
		 nout = hk_coll_blocks(&p, c->rank, HK_OUT);
	size_t esize = hk_type_size((enum hk_type)req->type), in_end = 0, out_end = 0;
	uint32_t in = 0, out = 0;
	int err;

	if ((has_vector(&p, c->rank, HK_IN) && !req->in_vector.counts) ||
	    (has_vector(&p, c->rank, HK_OUT) && !req->out_vector.counts))
		return hk_fail_quiet(EINVAL, "%s: the array of counts is NULL",
				     hk_coll_name(req->coll));
	err = take_tables(c, req, keep);
	if (!err && hk_coll_sizes_known(req->coll))
		err = known_counts(c, req);
	if (!err)
		err = lay_blocks(c, req, &req->in_vector, req->in, nin, req->tables->in, &in_end);
	if (!err)
		err = lay_blocks(c, req, &req->out_vector, req->out, nout, req->tables->out,
				 &out_end);
	if (err || req->empty)
		return err;
	if ((in_end && !req->in) || (out_end && !req->out))
		return missing(req);
	if (!in_end || !out_end || !alias_of(c, &p, &in, &out))
		return 0;
	return check_overlap(req, true, (uintptr_t)req->in, in_end * esize,
			     (size_t)((uint8_t *)req->tables->in[in].at - (const uint8_t *)req->in),
			     (uintptr_t)req->out, out_end * esize,
			     (size_t)((uint8_t *)req->tables->out[out].at - (uint8_t *)req->out));
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
