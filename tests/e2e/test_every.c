/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every collective between real processes, against what the operation means, worked out plainly
 * here: all roots, awkward counts, in place where that exists, blocks of differing sizes, and
 * average. Elements are int64 with a value of their own for each (rank, position).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

#define GUARD 0x5a5a5a5a5a5a5a5a

static int64_t value(int rank, size_t i)
{
	return (int64_t)i * 31 + (int64_t)rank * 1000003 + 7;
}

static int64_t sum(int nranks, size_t i)
{
	int64_t s = 0;

	for (int r = 0; r < nranks; r++)
		s += value(r, i);
	return s;
}

struct buffers {
	int64_t *send, *recv;
	size_t n; /* elements of each, without the guard */
};

static struct buffers make(const struct rank *r, size_t n)
{
	struct buffers b = {malloc((n + 8) * 8), malloc((n + 8) * 8), n};

	CHECK(b.send && b.recv);
	for (size_t i = 0; i < n + 8; i++) {
		b.send[i] = value(r->rank, i);
		b.recv[i] = GUARD;
	}
	return b;
}

static void drop(const struct rank *r, struct buffers *b)
{
	for (size_t i = 0; i < b->n + 8; i++)
		CHECK(b->send[i] == value(r->rank, i));
	for (size_t i = b->n; i < b->n + 8; i++)
		CHECK(b->recv[i] == GUARD);
	free(b->send);
	free(b->recv);
}

static void is_guard(const int64_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(at[i] == GUARD);
}

#define WHERE comm, NULL

static void rooted(const struct rank *r, hocketComm_t comm, size_t count, int root)
{
	size_t n = (size_t)r->nranks, me = (size_t)r->rank;
	bool am = r->rank == root;
	struct buffers b = make(r, n * count);

	OK(hocketBroadcast(am ? b.send : NULL, b.recv, count, hocketInt64, root, WHERE));
	for (size_t i = 0; i < count; i++)
		CHECK(b.recv[i] == value(root, i));
	for (size_t i = 0; i < count; i++)
		b.recv[i] = am ? value(77, i) : 0;
	OK(hocketBcast(b.recv, count, hocketInt64, root, WHERE));
	for (size_t i = 0; i < count; i++)
		CHECK(b.recv[i] == value(77, i));

	for (size_t i = 0; i < n * count; i++)
		b.recv[i] = GUARD;
	OK(hocketReduce(b.send, am ? b.recv : NULL, count, hocketInt64, hocketSum, root, WHERE));
	for (size_t i = 0; am && i < count; i++)
		CHECK(b.recv[i] == sum(r->nranks, i));
	for (size_t i = 0; i < count; i++)
		b.recv[i] = value(r->rank, i);
	OK(hocketReduce(b.recv, b.recv, count, hocketInt64, hocketAvg, root, WHERE));
	for (size_t i = 0; i < count; i++)
		CHECK(b.recv[i] == (am ? sum(r->nranks, i) / r->nranks : value(r->rank, i)));

	OK(hocketGather(b.send, am ? b.recv : NULL, count, hocketInt64, root, WHERE));
	for (size_t i = 0; am && i < n * count; i++)
		CHECK(b.recv[i] == value((int)(i / count), i % count));
	for (size_t i = 0; i < n * count; i++)
		b.recv[i] = i / (count ? count : 1) == me ? value(r->rank, i % count) : GUARD;
	OK(hocketGather(b.recv + me * count, b.recv, count, hocketInt64, root, WHERE));
	for (size_t i = 0; am && i < n * count; i++)
		CHECK(b.recv[i] == value((int)(i / count), i % count));

	for (size_t i = 0; i < n * count; i++)
		b.recv[i] = GUARD;
	OK(hocketScatter(am ? b.send : NULL, b.recv, count, hocketInt64, root, WHERE));
	for (size_t i = 0; i < count; i++)
		CHECK(b.recv[i] == value(root, me * count + i));
	is_guard(b.recv + count, n * count - count);
	for (size_t i = 0; i < n * count; i++)
		b.recv[i] = value(r->rank, i);
	OK(hocketScatter(b.recv, b.recv + me * count, count, hocketInt64, root, WHERE));
	for (size_t i = 0; i < count; i++)
		CHECK(b.recv[me * count + i] == value(root, me * count + i));
	drop(r, &b);
}

static void all_to_all(const struct rank *r, hocketComm_t comm, size_t count)
{
	size_t n = (size_t)r->nranks, me = (size_t)r->rank;
	struct buffers b = make(r, n * count);

	OK(hocketAlltoAll(b.send, b.recv, count, hocketInt64, WHERE));
	for (size_t i = 0; i < n * count; i++)
		CHECK(b.recv[i] == value((int)(i / count), me * count + i % count));
	if (count)
		CHECK(hocketAlltoAll(b.recv, b.recv, count, hocketInt64, WHERE) ==
		      hocketInvalidArgument);
	drop(r, &b);
}

static const size_t counts[] = {0, 1, 3, 500, 4099, 70001};

static void run_rooted(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		for (int root = 0; root < r->nranks; root++)
			rooted(r, comm, counts[c], root);
		all_to_all(r, comm, counts[c]);
		OK(hocketBarrier(comm, NULL));
	}
	CHECK(hocketBroadcast(&comm, &comm, 1, hocketInt8, r->nranks, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketBroadcast(&comm, &comm, 1, hocketInt8, -1, WHERE) == hocketInvalidArgument);
	OK(hocketCommDestroy(comm));
}

/* How many elements go from rank i to rank j: some none, and more than a slot. */
static size_t amount(int i, int j, size_t scale)
{
	return (size_t)((i * 5 + j * 3) % 4) * scale;
}

/* Block r has amount(root, r) elements, with gaps of 2 between the blocks if `gaps`. */
static size_t lay(int nranks, int root, size_t scale, size_t gaps, size_t *sizes, size_t *displs)
{
	size_t at = 0;

	for (int i = 0; i < nranks; i++) {
		sizes[i] = amount(root, i, scale);
		displs[i] = at;
		at += sizes[i] + gaps;
	}
	return at;
}

static void varied_known(const struct rank *r, hocketComm_t comm, size_t scale, size_t gaps,
			 bool inplace)
{
	size_t sizes[16], displs[16], total = lay(r->nranks, 1, scale, gaps, sizes, displs);
	size_t me = (size_t)r->rank, mine = sizes[me];
	const size_t *where = gaps ? displs : NULL;
	struct buffers b = make(r, total + mine);
	int64_t *send = inplace ? b.recv + displs[me] : b.send;

	for (size_t i = 0; i < mine; i++)
		send[i] = value(r->rank, i);
	OK(hocketAllGatherV(send, mine, b.recv, sizes, where, hocketInt64, WHERE));
	for (int k = 0; k < r->nranks; k++) {
		for (size_t i = 0; i < sizes[k]; i++)
			CHECK(b.recv[displs[k] + i] == value(k, i));
		is_guard(b.recv + displs[k] + sizes[k], gaps);
	}
	for (size_t i = 0; i < total; i++)
		b.recv[i] = inplace ? value(r->rank, i) : GUARD;
	send = inplace ? b.recv : b.send;
	OK(hocketReduceScatterV(send, sizes, where, inplace ? send + displs[me] : b.recv,
				hocketInt64, hocketAvg, WHERE));
	for (size_t i = 0; i < mine; i++)
		CHECK(b.recv[(inplace ? displs[me] : 0) + i] ==
		      sum(r->nranks, displs[me] + i) / r->nranks);
	drop(r, &b);
}

static void varied_rooted(const struct rank *r, hocketComm_t comm, size_t scale, size_t gaps,
			  int root)
{
	size_t sizes[16], displs[16], total = lay(r->nranks, root, scale, gaps, sizes, displs);
	size_t mine = sizes[r->rank];
	bool am = r->rank == root;
	struct buffers b = make(r, total + mine);

	OK(hocketGatherV(b.send, mine, am ? b.recv : NULL, am ? sizes : NULL,
			 am && gaps ? displs : NULL, hocketInt64, root, WHERE));
	for (int k = 0; am && k < r->nranks; k++) {
		for (size_t i = 0; i < sizes[k]; i++)
			CHECK(b.recv[displs[k] + i] == value(k, i));
		is_guard(b.recv + displs[k] + sizes[k], gaps);
	}
	for (size_t i = 0; i < total; i++)
		b.recv[i] = GUARD;
	OK(hocketScatterV(am ? b.send : NULL, am ? sizes : NULL, am && gaps ? displs : NULL, b.recv,
			  mine, hocketInt64, root, WHERE));
	for (size_t i = 0; i < mine; i++)
		CHECK(b.recv[i] == value(root, displs[r->rank] + i));
	is_guard(b.recv + mine, total);
	drop(r, &b);
}

static void varied_all_to_all(const struct rank *r, hocketComm_t comm, size_t scale, size_t gaps)
{
	size_t out[16], in[16], out_at[16], in_at[16], nout = 0, nin = 0, at;
	struct buffers b;

	for (int k = 0; k < r->nranks; k++) {
		out[k] = amount(r->rank, k, scale);
		in[k] = amount(k, r->rank, scale);
		out_at[k] = nout;
		in_at[k] = nin;
		nout += out[k] + gaps;
		nin += in[k] + gaps;
	}
	b = make(r, nout > nin ? nout : nin);
	OK(hocketAlltoAllV(b.send, out, gaps ? out_at : NULL, b.recv, in, gaps ? in_at : NULL,
			   hocketInt64, WHERE));
	for (int k = 0; k < r->nranks; k++) {
		at = 0;
		for (int j = 0; j < r->rank; j++)
			at += amount(k, j, scale) + gaps;
		for (size_t i = 0; i < in[k]; i++)
			CHECK(b.recv[in_at[k] + i] == value(k, at + i));
		is_guard(b.recv + in_at[k] + in[k], gaps);
	}
	drop(r, &b);
}

static void run_varied(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	static const size_t scales[] = {0, 1, 700, 20011};
	size_t sizes[16] = {0};

	for (size_t s = 0; s < 4; s++)
		for (size_t gaps = 0; gaps < 4; gaps += 2) {
			varied_known(r, comm, scales[s], gaps, false);
			varied_known(r, comm, scales[s], gaps, true);
			varied_all_to_all(r, comm, scales[s], gaps);
			for (int root = 0; root < r->nranks; root++)
				varied_rooted(r, comm, scales[s], gaps, root);
		}
	CHECK(hocketAllGatherV(&comm, 1, sizes, NULL, NULL, hocketInt8, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketAllGatherV(&comm, 1, sizes, sizes, NULL, hocketInt8, WHERE) ==
	      hocketInvalidArgument); /* 1 is not sizes[rank] */
	OK(hocketCommDestroy(comm));
}

/* Queued: the arrays belong to the caller again at once. */
static void run_varied_stream(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t sizes[16], displs[16], total = lay(r->nranks, 2, 300, 0, sizes, displs);
	size_t mine = sizes[r->rank];
	struct buffers b = make(r, total);
	hocketStream_t s;

	OK(hocketStreamCreate(&s));
	for (int round = 0; round < 20; round++) {
		lay(r->nranks, 2, 300, 0, sizes, displs);
		OK(hocketAllGatherV(b.send, mine, b.recv, sizes, displs, hocketInt64, comm, s));
		OK(hocketBarrier(comm, s));
		memset(sizes, 0xff, sizeof(sizes));
		memset(displs, 0xff, sizeof(displs));
	}
	OK(hocketStreamDestroy(s));
	lay(r->nranks, 2, 300, 0, sizes, displs);
	for (int k = 0; k < r->nranks; k++)
		for (size_t i = 0; i < sizes[k]; i++)
			CHECK(b.recv[displs[k] + i] == value(k, i));
	drop(r, &b);
	OK(hocketCommDestroy(comm));
}

/* Tables that are odd but right, and some that are wrong. */
static void run_tables(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t n = (size_t)r->nranks, me = (size_t)r->rank, sizes[16], displs[16], more[16];
	int64_t *all = calloc(4 * n + 2, sizeof(*all));

	CHECK(all);
	/* One allocation for both, told apart by the displacements alone. */
	for (size_t i = 0; i < n; i++) {
		sizes[i] = 2;
		displs[i] = 2 * i;
		more[i] = 2 * n + 2 * i;
	}
	for (size_t i = 0; i < 2 * n; i++)
		all[i] = value(r->rank, i);
	OK(hocketAlltoAllV(all, sizes, displs, all, sizes, more, hocketInt64, WHERE));
	for (size_t i = 0; i < 2 * n; i++)
		CHECK(all[2 * n + i] == value((int)(i / 2), 2 * me + i % 2));
	CHECK(hocketAlltoAllV(all, sizes, displs, all, sizes, displs, hocketInt64, WHERE) ==
	      hocketInvalidArgument);

	/* Blocks of nothing: wherever they are said to be, and whether there is memory or not. */
	for (size_t i = 0; i < n; i++) {
		more[i] = i == 1 ? 3 : 0;
		displs[i] = i == 1 ? 5 : SIZE_MAX - i;
	}
	OK(hocketAllGatherV(me == 1 ? all : NULL, more[me], all + 8, more, displs, hocketInt64,
			    WHERE));
	for (size_t i = 0; i < 3 && n > 1; i++)
		CHECK(all[13 + i] == value(1, i));
	memset(more, 0, sizeof(more));
	OK(hocketAllGatherV(NULL, 0, NULL, more, displs, hocketInt64, WHERE));
	OK(hocketReduceScatterV(NULL, more, displs, NULL, hocketInt64, hocketAvg, WHERE));
	OK(hocketAlltoAllV(NULL, more, displs, NULL, more, displs, hocketInt64, WHERE));
	OK(hocketGatherV(NULL, 0, NULL, more, displs, hocketInt64, 0, WHERE));
	OK(hocketScatterV(NULL, more, displs, NULL, 0, hocketInt64, 0, WHERE));

	/* What a rank sends to itself and what it expects from itself differ: no memory is touched
	 * past either block. */
	memcpy(more, sizes, sizeof(more));
	more[me] = 1;
	CHECK(hocketAlltoAllV(all, sizes, NULL, all + 2 * n, more, NULL, hocketInt64, WHERE) ==
	      hocketInvalidArgument);
	CHECK(strstr(hocketGetLastError(NULL), "itself"));
	CHECK(hocketAlltoAllV(all, more, NULL, all + 2 * n, sizes, NULL, hocketInt64, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketGatherV(all, 1, all + 2, sizes, NULL, hocketInt64, r->rank, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketScatterV(all + 2, sizes, NULL, all, 3, hocketInt64, r->rank, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketAllGatherV(all, 1, all + 2, sizes, NULL, hocketInt64, WHERE) ==
	      hocketInvalidArgument);
	/* Sizes that no memory has. */
	for (size_t i = 0; i < n; i++)
		more[i] = SIZE_MAX / 8;
	CHECK(hocketAllGatherV(all, more[me], all + 2, more, NULL, hocketInt64, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketAllReduce(all, all, SIZE_MAX / 2, hocketInt64, hocketSum, WHERE) ==
	      hocketInvalidArgument);
	CHECK(hocketAllGather(all, all, SIZE_MAX / 8, hocketInt64, WHERE) == hocketInvalidArgument);
	OK(hocketBarrier(WHERE));
	free(all);
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {{"rooted", run_rooted},
					    {"tables", run_tables},
					    {"varied", run_varied},
					    {"varied_stream", run_varied_stream},
					    {NULL, NULL}};

static void over(const char *transports, const char *scenario, int n)
{
	if (transports)
		setenv("HOCKET_TRANSPORTS", transports, 1);
	e2e_run(scenario, n, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_rooted(void **state)
{
	for (int n = 1; n <= 5; n++)
		over(NULL, "rooted", n);
	over("tcp", "rooted", 3);
}

static void test_varied(void **state)
{
	for (int n = 1; n <= 5; n++)
		over(NULL, "varied", n);
	over("tcp", "varied", 3);
}

static void test_tables(void **state)
{
	over(NULL, "tables", 1);
	over(NULL, "tables", 4);
}

static void test_varied_stream(void **state)
{
	over(NULL, "varied_stream", 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rooted),
		cmocka_unit_test(test_varied),
		cmocka_unit_test(test_varied_stream),
		cmocka_unit_test(test_tables),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
