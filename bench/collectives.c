/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The collectives that are benchmarked, as a table. Sizes and bus bandwidth factors are
 * nccl-tests': the size is that of the larger buffer, and the factor counts how often a byte of it
 * must cross a link: 2(n-1)/n in an all-reduce, (n-1)/n where every rank keeps its own part, 1 from
 * or to a root. The v-variants share a size out unevenly: rank r has a part of weight r + 1.
 */
#include <string.h>

#include "element.h"
#include "perf.h"

static double once(int nranks)
{
	return 1;
}

static double but_own(int nranks)
{
	return (nranks - 1.0) / nranks;
}

static double twice_but_own(int nranks)
{
	return 2 * but_own(nranks);
}

static const char *at(const struct hk_perf_call *c, const void *base, size_t element)
{
	return (const char *)base + element * hk_elements[c->type].size;
}

/* --- shapes --- */

/* The same number of elements on both sides. */
static void same(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	s->count = s->send = s->recv = s->total = elements;
}

static void broadcast_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	same(elements, w, s);
	s->send = w->rank == w->root ? elements : 0;
}

static void reduce_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	same(elements, w, s);
	s->recv = w->rank == w->root ? elements : 0;
}

/* One side has a part for each rank. */
static void parts(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	s->count = elements / (size_t)w->nranks;
	s->total = s->count * (size_t)w->nranks;
}

static void all_gather_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	parts(elements, w, s);
	s->send = s->count;
	s->recv = s->total;
	s->send_at = (size_t)w->rank * s->count;
}

static void reduce_scatter_shape(size_t elements, const struct hk_perf_who *w,
				 struct hk_perf_shape *s)
{
	parts(elements, w, s);
	s->send = s->total;
	s->recv = s->count;
	s->recv_at = (size_t)w->rank * s->count;
}

static void all_to_all_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	parts(elements, w, s);
	s->send = s->recv = s->total;
}

static void gather_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	all_gather_shape(elements, w, s);
	s->recv = w->rank == w->root ? s->total : 0;
}

static void scatter_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	reduce_scatter_shape(elements, w, s);
	s->send = w->rank == w->root ? s->total : 0;
}

/* counts[r] is rank r's share, of weight r + 1; *before is what the ranks before this one have. */
static void uneven(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s,
		   size_t *before)
{
	size_t n = (size_t)w->nranks, unit = elements / (n * (n + 1) / 2);

	s->total = 0;
	*before = 0;
	for (size_t r = 0; r < n; r++) {
		s->counts[r] = unit * (r + 1);
		*before += r < (size_t)w->rank ? s->counts[r] : 0;
		s->total += s->counts[r];
	}
	s->count = s->counts[w->rank];
}

static void all_gather_v_shape(size_t elements, const struct hk_perf_who *w,
			       struct hk_perf_shape *s)
{
	uneven(elements, w, s, &s->send_at);
	s->send = s->count;
	s->recv = s->total;
}

static void reduce_scatter_v_shape(size_t elements, const struct hk_perf_who *w,
				   struct hk_perf_shape *s)
{
	uneven(elements, w, s, &s->recv_at);
	s->send = s->total;
	s->recv = s->count;
}

static void gather_v_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	all_gather_v_shape(elements, w, s);
	s->recv = w->rank == w->root ? s->total : 0;
}

static void scatter_v_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
	reduce_scatter_v_shape(elements, w, s);
	s->send = w->rank == w->root ? s->total : 0;
}

/* What rank i sends to rank j in an all_to_all_v: the weights of all targets, rotated. */
static size_t amount(size_t unit, int i, int j, int n)
{
	return unit * (size_t)((i + j) % n + 1);
}

static void all_to_all_v_shape(size_t elements, const struct hk_perf_who *w,
			       struct hk_perf_shape *s)
{
	size_t n = (size_t)w->nranks, unit = elements / (n * (n + 1) / 2);

	for (int r = 0; r < w->nranks; r++) {
		s->counts[r] = amount(unit, w->rank, r, w->nranks);
		s->recv_counts[r] = amount(unit, r, w->rank, w->nranks);
	}
	s->count = s->send = s->recv = s->total = unit * (n * (n + 1) / 2);
}

static void nothing_shape(size_t elements, const struct hk_perf_who *w, struct hk_perf_shape *s)
{
}

/* --- calls --- */

static hocketResult_t all_reduce(const struct hk_perf_call *c)
{
	return hocketAllReduce(c->send, c->recv, c->shape->count, c->type, c->op, c->comm,
			       c->stream);
}

static hocketResult_t reduce_scatter(const struct hk_perf_call *c)
{
	return hocketReduceScatter(c->send, c->recv, c->shape->count, c->type, c->op, c->comm,
				   c->stream);
}

static hocketResult_t all_gather(const struct hk_perf_call *c)
{
	return hocketAllGather(c->send, c->recv, c->shape->count, c->type, c->comm, c->stream);
}

static hocketResult_t broadcast(const struct hk_perf_call *c)
{
	return hocketBroadcast(c->send, c->recv, c->shape->count, c->type, c->who.root, c->comm,
			       c->stream);
}

static hocketResult_t reduce(const struct hk_perf_call *c)
{
	return hocketReduce(c->send, c->recv, c->shape->count, c->type, c->op, c->who.root, c->comm,
			    c->stream);
}

static hocketResult_t all_to_all(const struct hk_perf_call *c)
{
	return hocketAlltoAll(c->send, c->recv, c->shape->count, c->type, c->comm, c->stream);
}

static hocketResult_t gather(const struct hk_perf_call *c)
{
	return hocketGather(c->send, c->recv, c->shape->count, c->type, c->who.root, c->comm,
			    c->stream);
}

static hocketResult_t scatter(const struct hk_perf_call *c)
{
	return hocketScatter(c->send, c->recv, c->shape->count, c->type, c->who.root, c->comm,
			     c->stream);
}

static hocketResult_t barrier(const struct hk_perf_call *c)
{
	return hocketBarrier(c->comm, c->stream);
}

static hocketResult_t all_gather_v(const struct hk_perf_call *c)
{
	return hocketAllGatherV(c->send, c->shape->send, c->recv, c->shape->counts, NULL, c->type,
				c->comm, c->stream);
}

static hocketResult_t reduce_scatter_v(const struct hk_perf_call *c)
{
	return hocketReduceScatterV(c->send, c->shape->counts, NULL, c->recv, c->type, c->op,
				    c->comm, c->stream);
}

static hocketResult_t all_to_all_v(const struct hk_perf_call *c)
{
	return hocketAlltoAllV(c->send, c->shape->counts, NULL, c->recv, c->shape->recv_counts,
			       NULL, c->type, c->comm, c->stream);
}

static hocketResult_t gather_v(const struct hk_perf_call *c)
{
	return hocketGatherV(c->send, c->shape->send, c->recv, c->shape->counts, NULL, c->type,
			     c->who.root, c->comm, c->stream);
}

static hocketResult_t scatter_v(const struct hk_perf_call *c)
{
	return hocketScatterV(c->send, c->shape->counts, NULL, c->recv, c->shape->recv, c->type,
			      c->who.root, c->comm, c->stream);
}

/* To the next rank, from the one before. */
static hocketResult_t sendrecv(const struct hk_perf_call *c)
{
	int n = c->who.nranks, next = (c->who.rank + 1) % n, prev = (c->who.rank + n - 1) % n;
	hocketResult_t res = hocketGroupStart(), end;

	if (res == hocketSuccess)
		res = hocketSend(c->send, c->shape->count, c->type, next, c->comm, c->stream);
	if (res == hocketSuccess)
		res = hocketRecv(c->recv, c->shape->count, c->type, prev, c->comm, c->stream);
	end = hocketGroupEnd();
	return res == hocketSuccess ? end : res;
}

/* An all-gather in which partners along each dimension exchange all that they have. */
static hocketResult_t hypercube(const struct hk_perf_call *c)
{
	size_t part = c->shape->count, me = (size_t)c->who.rank;
	char *own = (char *)c->recv + me * part * hk_elements[c->type].size;

	if (own != c->send && c->gpu) {
		if (hk_bench_gpu_copy(c->gpu, own, c->send, part * hk_elements[c->type].size))
			return hocketUnhandledCudaError;
	} else if (own != c->send) {
		memcpy(own, c->send, part * hk_elements[c->type].size);
	}
	for (size_t d = 1; d < (size_t)c->who.nranks; d *= 2) {
		size_t have = me & ~(d - 1), get = have ^ d;
		hocketResult_t res = hocketGroupStart(), end;

		if (res == hocketSuccess)
			res = hocketSend(at(c, c->recv, have * part), d * part, c->type,
					 (int)(me ^ d), c->comm, c->stream);
		if (res == hocketSuccess)
			res = hocketRecv((char *)c->recv + get * part * hk_elements[c->type].size,
					 d * part, c->type, (int)(me ^ d), c->comm, c->stream);
		end = hocketGroupEnd();
		if (res != hocketSuccess || end != hocketSuccess)
			return res == hocketSuccess ? end : res;
	}
	return hocketSuccess;
}

/* --- results --- */

static void reduced(struct hk_check *k, const struct hk_perf_call *c)
{
	hk_check_reduced(k, 0, c->shape->recv, c->recv);
}

/* Of the part of the vector that starts where the result would be in place. */
static void own_part_reduced(struct hk_check *k, const struct hk_perf_call *c)
{
	hk_check_reduced(k, c->shape->recv_at, c->shape->recv, c->recv);
}

static void of_root(struct hk_check *k, const struct hk_perf_call *c)
{
	hk_check_input(k, c->who.root, 0, c->shape->recv, c->recv);
}

static void own_part_of_root(struct hk_check *k, const struct hk_perf_call *c)
{
	hk_check_input(k, c->who.root, c->shape->recv_at, c->shape->recv, c->recv);
}

/* Block r is the first `count` elements of rank r's input. */
static void gathered(struct hk_check *k, const struct hk_perf_call *c)
{
	size_t count = c->shape->count;

	for (int r = 0; r < c->who.nranks; r++)
		hk_check_input(k, r, 0, count, at(c, c->recv, (size_t)r * count));
}

static void gathered_v(struct hk_check *k, const struct hk_perf_call *c)
{
	size_t first = 0;

	for (int r = 0; r < c->who.nranks; r++) {
		hk_check_input(k, r, 0, c->shape->counts[r], at(c, c->recv, first));
		first += c->shape->counts[r];
	}
}

static void exchanged(struct hk_check *k, const struct hk_perf_call *c)
{
	size_t count = c->shape->count;

	for (int r = 0; r < c->who.nranks; r++)
		hk_check_input(k, r, (size_t)c->who.rank * count, count,
			       at(c, c->recv, (size_t)r * count));
}

static void exchanged_v(struct hk_check *k, const struct hk_perf_call *c)
{
	size_t to = 0, ranks = (size_t)c->who.nranks;
	size_t unit = c->shape->total / (ranks * (ranks + 1) / 2);

	for (int r = 0; r < c->who.nranks; r++) {
		size_t from = 0;

		for (int i = 0; i < c->who.rank; i++)
			from += amount(unit, r, i, c->who.nranks);
		hk_check_input(k, r, from, c->shape->recv_counts[r], at(c, c->recv, to));
		to += c->shape->recv_counts[r];
	}
}

static void of_previous(struct hk_check *k, const struct hk_perf_call *c)
{
	hk_check_input(k, (c->who.rank + c->who.nranks - 1) % c->who.nranks, 0, c->shape->recv,
		       c->recv);
}

static void none(struct hk_check *k, const struct hk_perf_call *c)
{
}

/* --- the table --- */

const struct hk_perf_collective hk_perf_collectives[] = {
	{.name = "all_reduce",
	 .algorithm = "all_reduce",
	 .reduces = true,
	 .in_place = true,
	 .moves_all_in_place = true,
	 .shape = same,
	 .bus_factor = twice_but_own,
	 .call = all_reduce,
	 .check = reduced},
	{.name = "reduce_scatter",
	 .algorithm = "reduce_scatter",
	 .reduces = true,
	 .in_place = true,
	 .shape = reduce_scatter_shape,
	 .bus_factor = but_own,
	 .call = reduce_scatter,
	 .check = own_part_reduced},
	{.name = "all_gather",
	 .algorithm = "all_gather",
	 .in_place = true,
	 .shape = all_gather_shape,
	 .bus_factor = but_own,
	 .call = all_gather,
	 .check = gathered},
	{.name = "broadcast",
	 .algorithm = "broadcast",
	 .rooted = true,
	 .in_place = true,
	 .shape = broadcast_shape,
	 .bus_factor = once,
	 .call = broadcast,
	 .check = of_root},
	{.name = "reduce",
	 .algorithm = "reduce",
	 .reduces = true,
	 .rooted = true,
	 .in_place = true,
	 .shape = reduce_shape,
	 .bus_factor = once,
	 .call = reduce,
	 .check = reduced},
	{.name = "alltoall",
	 .algorithm = "all_to_all",
	 .shape = all_to_all_shape,
	 .bus_factor = but_own,
	 .call = all_to_all,
	 .check = exchanged},
	{.name = "gather",
	 .algorithm = "gather",
	 .rooted = true,
	 .in_place = true,
	 .shape = gather_shape,
	 .bus_factor = but_own,
	 .call = gather,
	 .check = gathered},
	{.name = "scatter",
	 .algorithm = "scatter",
	 .rooted = true,
	 .in_place = true,
	 .shape = scatter_shape,
	 .bus_factor = but_own,
	 .call = scatter,
	 .check = own_part_of_root},
	{.name = "barrier",
	 .algorithm = "barrier",
	 .sizeless = true,
	 .shape = nothing_shape,
	 .bus_factor = once,
	 .call = barrier,
	 .check = none},
	{.name = "all_gather_v",
	 .in_place = true,
	 .shape = all_gather_v_shape,
	 .bus_factor = but_own,
	 .call = all_gather_v,
	 .check = gathered_v},
	{.name = "reduce_scatter_v",
	 .reduces = true,
	 .in_place = true,
	 .shape = reduce_scatter_v_shape,
	 .bus_factor = but_own,
	 .call = reduce_scatter_v,
	 .check = own_part_reduced},
	{.name = "alltoall_v",
	 .shape = all_to_all_v_shape,
	 .bus_factor = but_own,
	 .call = all_to_all_v,
	 .check = exchanged_v},
	{.name = "gather_v",
	 .rooted = true,
	 .in_place = true,
	 .shape = gather_v_shape,
	 .bus_factor = but_own,
	 .call = gather_v,
	 .check = gathered_v},
	{.name = "scatter_v",
	 .rooted = true,
	 .in_place = true,
	 .shape = scatter_v_shape,
	 .bus_factor = but_own,
	 .call = scatter_v,
	 .check = own_part_of_root},
	{.name = "sendrecv",
	 .shape = same,
	 .bus_factor = once,
	 .call = sendrecv,
	 .check = of_previous},
	{.name = "hypercube",
	 .powers = true,
	 .in_place = true,
	 .shape = all_gather_shape,
	 .bus_factor = but_own,
	 .call = hypercube,
	 .check = gathered},
};

const unsigned hk_nperf_collectives = sizeof(hk_perf_collectives) / sizeof(hk_perf_collectives[0]);

const struct hk_perf_collective *hk_perf_find(const char *name)
{
	for (unsigned i = 0; i < hk_nperf_collectives; i++)
		if (!strcmp(hk_perf_collectives[i].name, name))
			return &hk_perf_collectives[i];
	return NULL;
}
