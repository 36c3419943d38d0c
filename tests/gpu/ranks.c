/* SPDX-License-Identifier: BSD-3-Clause */
/* See ranks.h. */
#include "ranks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FILL = 0xa5, WHOLE = REGION + 2 * MARGIN };

hocketConfig_t ranks_config(void)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	config.timeoutMs = 60000; /* a hang is a failure with a sentence */
	return config;
}

static size_t size_of(hocketDataType_t type)
{
	return type <= hocketUint8 ? 1 : type <= hocketUint32 ? 4 : 8;
}

uint64_t element_of(int rank, unsigned call, size_t i)
{
	uint64_t x = ((uint64_t)call << 40) + ((uint64_t)rank << 32) + i + 1;

	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	return x ^ x >> 32;
}

/* --- ranks --- */

static void open_region(struct region *g, bool has_gpu)
{
	CUdeviceptr at = 0;
	void *pinned = NULL;

	g->at[PAGEABLE] = malloc(WHOLE);
	CHECK(g->at[PAGEABLE]);
	if (has_gpu) {
		CU(cu.cuMemAlloc(&at, WHOLE));
		CU(cu.cuMemHostAlloc(&pinned, WHOLE, CU_MEMHOSTALLOC_PORTABLE));
	}
	g->at[DEVICE] = (uint8_t *)(uintptr_t)at;
	g->at[PINNED] = pinned;
}

static void close_region(struct region *g)
{
	free(g->at[PAGEABLE]);
	if (g->at[DEVICE])
		CU(cu.cuMemFree((uintptr_t)g->at[DEVICE]));
	if (g->at[PINNED])
		CU(cu.cuMemFreeHost(g->at[PINNED]));
}

void rank_open(struct rank *r)
{
	bool has_gpu = r->device >= 0;

	if (has_gpu) {
		r->device = gpu_use(r->device);
		for (unsigned i = 0; i < 2; i++)
			CU(cu.cuStreamCreate(&r->streams[i], CU_STREAM_NON_BLOCKING));
	}
	open_region(&r->in, has_gpu);
	open_region(&r->out, has_gpu);
	r->scratch = malloc(WHOLE);
	CHECK(r->scratch);
}

void rank_close(struct rank *r)
{
	for (unsigned i = 0; i < 2; i++)
		if (r->streams[i])
			CU(cu.cuStreamDestroy(r->streams[i]));
	close_region(&r->in);
	close_region(&r->out);
	free(r->scratch);
}

static void *be_rank(void *arg)
{
	struct rank *r = arg;

	rank_open(r);
	r->config.device = r->device;
	OK(hocketCommInitRankConfig(&r->comm, r->n, r->id, r->rank, &r->config));
	r->body(r);
	if (r->comm) {
		/* What is freed after it waits for the GPU's kernels, other ranks' too. */
		OK(hocketBarrier(r->comm, NULL));
		OK(r->second ? hocketCommDestroy(r->second) : hocketSuccess);
		OK(hocketCommDestroy(r->comm));
	}
	rank_close(r);
	return NULL;
}

void ranks_run(int n, const hocketConfig_t *config, const int *devices,
	       void (*body)(struct rank *r))
{
	struct rank ranks[MOST_RANKS] = {0};
	pthread_t threads[MOST_RANKS];
	hocketUniqueId id;

	CHECK(n <= MOST_RANKS);
	OK(hocketGetUniqueId(&id));
	for (int i = 0; i < n; i++) {
		ranks[i] = (struct rank){.rank = i,
					 .n = n,
					 .device = devices ? devices[i] : i,
					 .id = id,
					 .config = config ? *config : ranks_config(),
					 .body = body};
		CHECK(pthread_create(&threads[i], NULL, be_rank, &ranks[i]) == 0);
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* --- memory --- */

void rank_put(void *to, enum where where, const void *from, size_t bytes)
{
	if (where != DEVICE) {
		memcpy(to, from, bytes);
	} else if (bytes) {
		CU(cu.cuMemcpy((uintptr_t)to, (uintptr_t)from, bytes));
		CU(cu.cuStreamSynchronize(NULL)); /* it may return before */
	}
}

void rank_get(void *to, const void *from, enum where where, size_t bytes)
{
	if (where != DEVICE) {
		memcpy(to, from, bytes);
	} else if (bytes) {
		CU(cu.cuMemcpy((uintptr_t)to, (uintptr_t)from, bytes));
	}
}

/* --- collectives --- */

static int root_of(const struct rank *r)
{
	return r->n - 1;
}

static bool is_root(const struct rank *r)
{
	return r->rank == root_of(r);
}

static size_t one(const struct rank *r, size_t count)
{
	return count;
}

static size_t all(const struct rank *r, size_t count)
{
	return count * (size_t)r->n;
}

static size_t root_one(const struct rank *r, size_t count)
{
	return is_root(r) ? count : 0;
}

static size_t root_all(const struct rank *r, size_t count)
{
	return is_root(r) ? all(r, count) : 0;
}

static size_t no_shift(const struct rank *r, size_t count)
{
	return 0;
}

static size_t own_block(const struct rank *r, size_t count)
{
	return (size_t)r->rank * count;
}

static uint64_t sum_of(const struct rank *r, size_t i)
{
	uint64_t sum = 0;

	for (int q = 0; q < r->n; q++)
		sum += element_of(q, r->calls, i);
	return sum;
}

static uint64_t want_sum(const struct rank *r, size_t count, size_t i)
{
	return sum_of(r, i);
}

static uint64_t want_gathered(const struct rank *r, size_t count, size_t i)
{
	return element_of((int)(i / count), r->calls, i % count);
}

static uint64_t want_own_sum(const struct rank *r, size_t count, size_t i)
{
	return sum_of(r, own_block(r, count) + i);
}

static uint64_t want_transposed(const struct rank *r, size_t count, size_t i)
{
	return element_of((int)(i / count), r->calls, own_block(r, count) + i % count);
}

static uint64_t want_roots(const struct rank *r, size_t count, size_t i)
{
	return element_of(root_of(r), r->calls, i);
}

static uint64_t want_scattered(const struct rank *r, size_t count, size_t i)
{
	return element_of(root_of(r), r->calls, own_block(r, count) + i);
}

static int before(const struct rank *r)
{
	return (r->rank + r->n - 1) % r->n;
}

static uint64_t want_neighbours(const struct rank *r, size_t count, size_t i)
{
	return element_of(before(r), r->calls, i);
}

#define CALL(name)                                                                                 \
	static hocketResult_t name(struct rank *r, const void *in, void *out, size_t count,        \
				   hocketDataType_t type, hocketStream_t stream)

CALL(all_reduce)
{
	return hocketAllReduce(in, out, count, type, hocketSum, r->comm, stream);
}

CALL(all_gather)
{
	return hocketAllGather(in, out, count, type, r->comm, stream);
}

CALL(reduce_scatter)
{
	return hocketReduceScatter(in, out, count, type, hocketSum, r->comm, stream);
}

CALL(all_to_all)
{
	return hocketAlltoAll(in, out, count, type, r->comm, stream);
}

CALL(broadcast)
{
	return hocketBroadcast(in, out, count, type, root_of(r), r->comm, stream);
}

CALL(reduce)
{
	return hocketReduce(in, out, count, type, hocketSum, root_of(r), r->comm, stream);
}

CALL(gather)
{
	return hocketGather(in, out, count, type, root_of(r), r->comm, stream);
}

CALL(scatter)
{
	return hocketScatter(in, out, count, type, root_of(r), r->comm, stream);
}

/* Round the ring, in one group. */
CALL(exchange)
{
	hocketResult_t sent, received, end;

	OK(hocketGroupStart());
	sent = hocketSend(in, count, type, (r->rank + 1) % r->n, r->comm, stream);
	received = hocketRecv(out, count, type, before(r), r->comm, stream);
	end = hocketGroupEnd();
	return end ? end : sent ? sent : received;
}

/* --- with blocks that differ: block q has count + 5 q elements, but that of rank 1 none --- */

static size_t length(size_t q, size_t count)
{
	return q == 1 ? 0 : count + 5 * q;
}

static size_t displ(size_t q, size_t count)
{
	size_t at = 0;

	for (size_t i = 0; i < q; i++)
		at += length(i, count);
	return at;
}

static size_t own_v(const struct rank *r, size_t count)
{
	return length((size_t)r->rank, count);
}

static size_t all_v(const struct rank *r, size_t count)
{
	return displ((size_t)r->n, count);
}

static size_t own_displ(const struct rank *r, size_t count)
{
	return displ((size_t)r->rank, count);
}

static size_t root_all_v(const struct rank *r, size_t count)
{
	return is_root(r) ? all_v(r, count) : 0;
}

static void lengths_of(const struct rank *r, size_t count, size_t *counts)
{
	for (int q = 0; q < r->n; q++)
		counts[q] = length((size_t)q, count);
}

static uint64_t want_gathered_v(const struct rank *r, size_t count, size_t i)
{
	size_t q = 0;

	while (i >= displ(q + 1, count))
		q++;
	return element_of((int)q, r->calls, i - displ(q, count));
}

static uint64_t want_own_sum_v(const struct rank *r, size_t count, size_t i)
{
	return sum_of(r, own_displ(r, count) + i);
}

static uint64_t want_scattered_v(const struct rank *r, size_t count, size_t i)
{
	return element_of(root_of(r), r->calls, own_displ(r, count) + i);
}

/* From rank i to rank j: the length of number i + j. */
static size_t pair_displ(const struct rank *r, size_t i, size_t q, size_t count)
{
	size_t at = 0;

	for (size_t j = 0; j < q; j++)
		at += length((i + j) % (size_t)r->n, count);
	return at;
}

static uint64_t want_transposed_v(const struct rank *r, size_t count, size_t i)
{
	size_t me = (size_t)r->rank, q = 0;

	while (i >= pair_displ(r, me, q + 1, count))
		q++;
	i -= pair_displ(r, me, q, count);
	return element_of((int)q, r->calls, pair_displ(r, q, me, count) + i);
}

CALL(all_gather_v)
{
	size_t counts[MOST_RANKS];

	lengths_of(r, count, counts);
	return hocketAllGatherV(in, own_v(r, count), out, counts, NULL, type, r->comm, stream);
}

CALL(reduce_scatter_v)
{
	size_t counts[MOST_RANKS];

	lengths_of(r, count, counts);
	return hocketReduceScatterV(in, counts, NULL, out, type, hocketSum, r->comm, stream);
}

CALL(all_to_all_v)
{
	size_t counts[MOST_RANKS];

	for (int q = 0; q < r->n; q++)
		counts[q] = length((size_t)(r->rank + q) % (size_t)r->n, count);
	return hocketAlltoAllV(in, counts, NULL, out, counts, NULL, type, r->comm, stream);
}

CALL(gather_v)
{
	size_t counts[MOST_RANKS];

	lengths_of(r, count, counts);
	return hocketGatherV(in, own_v(r, count), out, counts, NULL, type, root_of(r), r->comm,
			     stream);
}

CALL(scatter_v)
{
	size_t counts[MOST_RANKS];

	lengths_of(r, count, counts);
	return hocketScatterV(in, counts, NULL, out, own_v(r, count), type, root_of(r), r->comm,
			      stream);
}

const struct collective collectives[] = {
	{"all_reduce", one, one, want_sum, all_reduce, no_shift},
	{"all_gather", one, all, want_gathered, all_gather, own_block},
	{"reduce_scatter", all, one, want_own_sum, reduce_scatter, own_block},
	{"all_to_all", all, all, want_transposed, all_to_all, NULL},
	{"broadcast", root_one, one, want_roots, broadcast, no_shift},
	{"reduce", one, root_one, want_sum, reduce, no_shift},
	{"gather", one, root_all, want_gathered, gather, NULL},
	{"scatter", root_all, one, want_scattered, scatter, NULL},
	{"exchange", one, one, want_neighbours, exchange, NULL},
	{"all_gather_v", own_v, all_v, want_gathered_v, all_gather_v, own_displ},
	{"reduce_scatter_v", all_v, own_v, want_own_sum_v, reduce_scatter_v, own_displ},
	{"all_to_all_v", all_v, all_v, want_transposed_v, all_to_all_v, NULL},
	{"gather_v", own_v, root_all_v, want_gathered_v, gather_v, NULL},
	{"scatter_v", root_all_v, own_v, want_scattered_v, scatter_v, NULL},
};
const unsigned ncollectives = sizeof(collectives) / sizeof(*collectives);

/* --- a call --- */

struct buffers {
	uint8_t *in, *out;
	size_t in_bytes, out_bytes;
	enum where in_where;
};

static struct buffers lay(const struct rank *r, const struct collective *c, const struct use *u)
{
	size_t size = size_of(u->type);
	struct buffers b = {.in_bytes = c->reads(r, u->count) * size,
			    .out_bytes = c->gets(r, u->count) * size,
			    .in_where = u->in_place ? u->out : u->in};

	CHECK(b.in_bytes + 64 <= REGION && b.out_bytes + 64 <= REGION);
	b.out = r->out.at[u->out] + MARGIN + u->skew_out;
	if (!u->in_place)
		b.in = r->in.at[u->in] + MARGIN + u->skew_in;
	else if (b.in_bytes > b.out_bytes && b.out_bytes)
		b.out = (b.in = b.out) + c->shift(r, u->count) * size;
	else if (b.in_bytes > b.out_bytes)
		b.in = b.out;
	else
		b.in = b.out + c->shift(r, u->count) * size;
	return b;
}

static void put_element(uint8_t *at, size_t size, uint64_t x)
{
	memcpy(at, &x, size);
}

void fill_buffers(struct rank *r, const struct collective *c, const struct use *u)
{
	struct buffers b = lay(r, c, u);
	size_t size = size_of(u->type);

	r->calls++;
	memset(r->scratch, FILL, WHOLE);
	rank_put(r->out.at[u->out], u->out, r->scratch, b.out_bytes + 2 * MARGIN + 16);
	for (size_t i = 0; i < b.in_bytes / size; i++)
		put_element(r->scratch + i * size, size, element_of(r->rank, r->calls, i));
	rank_put(b.in, b.in_where, r->scratch, b.in_bytes);
}

hocketResult_t queue_collective(struct rank *r, const struct collective *c, const struct use *u,
				CUstream stream)
{
	struct buffers b = lay(r, c, u);

	return c->call(r, b.in, b.out, u->count, u->type, (hocketStream_t)stream);
}

void check_buffers(struct rank *r, const struct collective *c, const struct use *u)
{
	struct buffers b = lay(r, c, u);
	size_t size = size_of(u->type), margin = u->in_place ? 0 : MARGIN;

	rank_get(r->scratch, b.out - margin, u->out, b.out_bytes + 2 * margin);
	for (size_t i = 0; i < b.out_bytes; i += size) {
		uint64_t want = c->want(r, u->count, i / size);

		if (!memcmp(r->scratch + margin + i, &want, size))
			continue;
		fprintf(stderr,
			"%s of %zu elements of %zu bytes, rank %d of %d, element %zu is wrong (in "
			"%d + %u, out %d + %u%s)\n",
			c->name, u->count, size, r->rank, r->n, i / size, u->in, u->skew_in, u->out,
			u->skew_out, u->in_place ? ", in place" : "");
		_exit(1);
	}
	for (size_t i = 0; i < margin; i++)
		CHECK(r->scratch[i] == FILL && r->scratch[margin + b.out_bytes + i] == FILL);
}

void run_collective(struct rank *r, const struct collective *c, const struct use *u)
{
	struct buffers b = lay(r, c, u);

	fill_buffers(r, c, u);
	OK(queue_collective(r, c, u, r->streams[0]));
	if (r->streams[0]) {
		/* Peers have read it before the stream goes on. */
		if (u->in == DEVICE && !u->in_place && b.in_bytes)
			CU(cu.cuMemsetD8Async((uintptr_t)b.in, 0xee, b.in_bytes, r->streams[0]));
		CU(cu.cuStreamSynchronize(r->streams[0]));
	}
	check_buffers(r, c, u);
}
