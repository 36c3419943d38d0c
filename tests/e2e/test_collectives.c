/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The collectives between real processes: all types and operations, odd counts, in and out of
 * place, several communicators, threads and streams, more ranks than cores. Inputs are small whole
 * numbers, so that every type holds every result exactly and a wrong element is a wrong element.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

static double input(int rank, size_t i, hocketRedOp_t op)
{
	if (op == hocketProd)
		return (i + (size_t)rank) % 3 ? 1 : 2;
	return (double)((i * 7 + (size_t)rank * 3) % 3);
}

static double expected(int nranks, size_t i, hocketRedOp_t op)
{
	double acc = input(0, i, op);

	for (int r = 1; r < nranks; r++) {
		double x = input(r, i, op);

		acc = op == hocketProd	? acc * x
		      : op == hocketMax ? (x > acc ? x : acc)
		      : op == hocketMin ? (x < acc ? x : acc)
					: acc + x;
	}
	return acc;
}

/* Buffers with a guard of a few elements behind, to notice what is written past the end. */
static void *buffer(size_t count, hocketDataType_t type)
{
	void *p = malloc((count + 4) * e2e_size(type) + 1);

	CHECK(p);
	memset(p, 0x5a, (count + 4) * e2e_size(type) + 1);
	return p;
}

static void check_guard(const void *buf, size_t count, hocketDataType_t type)
{
	const uint8_t *p = (const uint8_t *)buf + count * e2e_size(type);

	for (size_t i = 0; i < 4 * e2e_size(type); i++)
		CHECK(p[i] == 0x5a);
}

/* Averages round to the type; everything else is exact. */
static bool close_enough(double got, double want, hocketDataType_t type, hocketRedOp_t op)
{
	static const double eps[hocketNumTypes] = {
		[hocketFloat16] = 1e-3,	 [hocketFloat32] = 1e-6,    [hocketFloat64] = 1e-14,
		[hocketBfloat16] = 1e-2, [hocketFloat8e4m3] = 0.13, [hocketFloat8e5m2] = 0.26};
	double diff = got > want ? got - want : want - got;

	if (op != hocketAvg)
		return got == want;
	if (eps[type] == 0)
		return got == (double)(int64_t)want;
	return diff <= eps[type] * 4 * (want > 1 ? want : 1);
}

static void all_reduce_once(const struct rank *r, hocketComm_t comm, size_t count,
			    hocketDataType_t type, hocketRedOp_t op, bool inplace)
{
	void *in = buffer(count, type), *out = inplace ? in : buffer(count, type);

	for (size_t i = 0; i < count; i++)
		e2e_put(in, i, type, input(r->rank, i, op));
	OK(hocketAllReduce(in, out, count, type, op, comm, NULL));
	for (size_t i = 0; i < count; i++) {
		double want = expected(r->nranks, i, op);

		if (op == hocketAvg)
			want /= r->nranks;
		if (!close_enough(e2e_get(out, i, type), want, type, op)) {
			fprintf(stderr, "rank %d type %d op %d count %zu element %zu: %g, not %g\n",
				r->rank, type, op, count, i, e2e_get(out, i, type), want);
			exit(1);
		}
		if (!inplace)
			CHECK(e2e_get(in, i, type) == input(r->rank, i, op));
	}
	check_guard(out, count, type);
	if (!inplace)
		free(out);
	free(in);
}

static const size_t counts[] = {0, 1, 2, 3, 5, 64, 1023, 16384, 100003, (1 << 20) + 1};

static void run_counts(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (int inplace = 0; inplace < 2; inplace++)
			all_reduce_once(r, comm, counts[i], hocketFloat32, hocketSum, inplace);
	OK(hocketCommDestroy(comm));
}

static void run_types(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	static const size_t some[] = {1, 3, 1023, 30011};

	for (int type = 0; type < hocketNumTypes; type++)
		for (int op = 0; op < hocketNumOps; op++)
			for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++)
				all_reduce_once(r, comm, some[i], (hocketDataType_t)type,
						(hocketRedOp_t)op, i % 2);
	OK(hocketCommDestroy(comm));
}

/* Each rank multiplies by its own rank + 1; the scalar is read at once or at each call. */
static void run_premul(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	for (int type = 0; type < hocketNumTypes; type++) {
		hocketDataType_t t = (hocketDataType_t)type;
		size_t count = 777;
		uint64_t scalar = 0;
		void *in = buffer(count, t), *out = buffer(count, t);

		for (int device = 0; device < 2; device++) {
			hocketRedOp_t op;

			e2e_put(&scalar, 0, t, r->rank % 2 + 1);
			OK(hocketRedOpCreatePreMulSum(
				&op, &scalar, t,
				device ? hocketScalarDevice : hocketScalarHostImmediate, comm));
			if (!device)
				memset(&scalar, 0xff, sizeof(scalar));
			for (size_t i = 0; i < count; i++)
				e2e_put(in, i, t, (double)(i % 2));
			OK(hocketAllReduce(in, out, count, t, op, comm, NULL));
			for (size_t i = 0; i < count; i++) {
				double want = 0;

				for (int k = 0; k < r->nranks; k++)
					want += (double)(i % 2) * (k % 2 + 1);
				CHECK(e2e_get(out, i, t) == want);
			}
			OK(hocketAllReduce(in, in, count, t, op, comm, NULL));
			for (size_t i = 0; i < count; i++)
				CHECK(e2e_get(in, i, t) == e2e_get(out, i, t));
			OK(hocketRedOpDestroy(op, comm));
			CHECK(hocketAllReduce(in, out, count, t, op, comm, NULL) ==
			      hocketInvalidArgument);
		}
		free(in);
		free(out);
	}
	OK(hocketCommDestroy(comm));
}

static void run_scatter_gather(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t n = (size_t)r->nranks, me = (size_t)r->rank;

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]) - 1; c++) {
		size_t count = counts[c];
		float *big = buffer(n * count, hocketFloat32),
		      *small = buffer(count, hocketFloat32);

		for (size_t i = 0; i < n * count; i++)
			big[i] = (float)input(r->rank, i, hocketSum);
		OK(hocketReduceScatter(big, small, count, hocketFloat32, hocketSum, comm, NULL));
		for (size_t i = 0; i < count; i++)
			CHECK((double)small[i] == expected(r->nranks, me * count + i, hocketSum));
		OK(hocketReduceScatter(big, big + me * count, count, hocketFloat32, hocketSum, comm,
				       NULL));
		for (size_t i = 0; i < count; i++)
			CHECK(big[me * count + i] == small[i]);

		for (int inplace = 0; inplace < 2; inplace++) {
			float *mine = inplace ? big + me * count : small;

			for (size_t i = 0; i < count; i++)
				mine[i] = (float)(me * 1000 + i % 1000);
			OK(hocketAllGather(mine, big, count, hocketFloat32, comm, NULL));
			for (size_t i = 0; i < n * count; i++)
				CHECK(big[i] == (float)(i / count * 1000 + i % count % 1000));
		}
		check_guard(big, n * count, hocketFloat32);
		check_guard(small, count, hocketFloat32);
		free(big);
		free(small);
	}
	OK(hocketCommDestroy(comm));
}

/* Three communicators, used in turn and then ended in another order. */
static void run_several(struct rank *r)
{
	hocketComm_t comms[3];

	comms[0] = e2e_init(r, NULL);
	for (int i = 1; i < 3; i++)
		OK(hocketCommInitRank(&comms[i], r->nranks, e2e_share_id(r, comms[0]), r->rank));
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 3; i++)
			all_reduce_once(r, comms[i], (size_t)(100 * round + i), hocketInt32,
					hocketSum, round % 2);
	OK(hocketCommDestroy(comms[1]));
	all_reduce_once(r, comms[2], 5000, hocketInt32, hocketMax, false);
	OK(hocketCommDestroy(comms[0]));
	OK(hocketCommDestroy(comms[2]));
}

struct job {
	const struct rank *rank;
	hocketComm_t comm;
};

static void *thread_job(void *arg)
{
	struct job *job = arg;

	for (size_t i = 0; i < 30; i++)
		all_reduce_once(job->rank, job->comm, i * i * 10, hocketFloat32, hocketSum, i % 2);
	return NULL;
}

static void run_threads(struct rank *r)
{
	pthread_t threads[3];
	struct job jobs[3];

	for (int i = 0; i < 3; i++) {
		jobs[i].rank = r;
		if (i == 0)
			jobs[i].comm = e2e_init(r, NULL);
		else
			OK(hocketCommInitRank(&jobs[i].comm, r->nranks,
					      e2e_share_id(r, jobs[0].comm), r->rank));
	}
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, thread_job, &jobs[i]) == 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		OK(hocketCommDestroy(jobs[i].comm));
	}
}

/* Twenty dependent calls on one stream, a blocking call behind them, and two streams on one comm.
 */
static void run_streams(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	hocketStream_t a, b;
	int64_t x[1000], y[1000], power = 1;

	OK(hocketStreamCreate(&a));
	OK(hocketStreamCreate(&b));
	for (int i = 0; i < 1000; i++)
		x[i] = i;
	for (int k = 0; k < 10; k++) {
		OK(hocketAllReduce(x, x, 1000, hocketInt64, hocketSum, comm, k % 2 ? a : b));
		power *= r->nranks;
	}
	OK(hocketAllReduce(x, y, 1000, hocketInt64, hocketSum, comm, NULL));
	for (int i = 0; i < 1000; i++)
		CHECK(x[i] == i * power && y[i] == i * power * r->nranks);
	OK(hocketStreamSynchronize(a));
	OK(hocketStreamQuery(a));
	OK(hocketAllReduce(y, x, 1000, hocketInt64, hocketMin, comm, a));
	OK(hocketCommFinalize(comm));
	CHECK(hocketAllReduce(y, x, 1000, hocketInt64, hocketMin, comm, a) == hocketInvalidUsage);
	OK(hocketStreamDestroy(a));
	OK(hocketStreamDestroy(b));
	CHECK(hocketStreamQuery(a) == hocketInvalidArgument);
	OK(hocketCommDestroy(comm));
}

/* A queued call keeps its scalar, whatever becomes of its operation. */
static void run_queued_premul(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	float two = 2, hundred = 100, x[100], y[100];
	hocketRedOp_t op, other;
	hocketStream_t s;

	OK(hocketStreamCreate(&s));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 100; i++)
			x[i] = (float)i;
		OK(hocketRedOpCreatePreMulSum(&op, &two, hocketFloat32, hocketScalarHostImmediate,
					      comm));
		OK(hocketAllReduce(x, y, 100, hocketFloat32, op, comm, s));
		OK(hocketRedOpDestroy(op, comm));
		OK(hocketRedOpCreatePreMulSum(&other, &hundred, hocketFloat32,
					      hocketScalarHostImmediate, comm));
		OK(hocketStreamSynchronize(s));
		for (int i = 0; i < 100; i++)
			CHECK(y[i] == (float)(2 * i * r->nranks));
		OK(hocketRedOpDestroy(other, comm));
	}
	OK(hocketStreamDestroy(s));
	OK(hocketCommDestroy(comm));
}

/* Numbers whose sum depends on the order: all ranks and all runs must get the same bits. */
static void run_same_bits(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);
	size_t n = (size_t)r->nranks;

	for (size_t count = 1; count < 100000; count = count * 7 + 1) {
		float *in = malloc(count * sizeof(*in)), *first = malloc(count * sizeof(*in));
		float *again = malloc(count * sizeof(*in)), *all = malloc(n * count * sizeof(*in));
		uint32_t seed = (uint32_t)(r->rank * 77 + 1);

		CHECK(in && first && again && all);
		for (size_t i = 0; i < count; i++) {
			seed = seed * 1664525 + 1013904223;
			in[i] = (float)(int32_t)seed * 1e-3f;
		}
		OK(hocketAllReduce(in, first, count, hocketFloat32, hocketSum, comm, NULL));
		for (int k = 0; k < 3; k++) {
			OK(hocketAllReduce(in, again, count, hocketFloat32, hocketSum, comm, NULL));
			CHECK(memcmp(first, again, count * sizeof(*in)) == 0);
		}
		OK(hocketAllGather(first, all, count, hocketFloat32, comm, NULL));
		for (size_t k = 0; k < n; k++)
			CHECK(memcmp(all + k * count, first, count * sizeof(*in)) == 0);
		free(in);
		free(first);
		free(again);
		free(all);
	}
	OK(hocketCommDestroy(comm));
}

/* Small slots and the fewest of them, so that calls take many tiles. */
static void run_small_slots(struct rank *r)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketComm_t comm;

	config.slots = 2;
	config.slotBytes = 4096;
	config.channels = 2;
	comm = e2e_init(r, &config);
	for (size_t count = 1; count < 200000; count *= 13)
		for (int inplace = 0; inplace < 2; inplace++)
			all_reduce_once(r, comm, count, hocketFloat64, hocketSum, inplace);
	OK(hocketCommDestroy(comm));
}

/* Registered memory is read in place by the peers: several regions, sub-ranges, use after
 * deregistration, blocks freed and made again. */
static void run_registered(struct rank *r)
{
	static const size_t some[] = {1, 5000, 100003, (1 << 20) + 1};
	hocketComm_t comm = e2e_init(r, NULL);

	for (int round = 0; round < 12; round++) {
		size_t count = some[round % 4], skip = (size_t)round;
		float *in, *out;
		void *handles[2];

		OK(hocketMemAlloc((void **)&in, (count + skip) * sizeof(*in)));
		OK(hocketMemAlloc((void **)&out, (count + skip) * sizeof(*out)));
		OK(hocketCommRegister(comm, in, (count + skip) * sizeof(*in), &handles[0]));
		if (round % 3)
			OK(hocketCommRegister(comm, out + skip, count * sizeof(*out), &handles[1]));
		for (int call = 0; call < 4; call++) {
			float *to = call % 2 ? in : out;

			for (size_t i = 0; i < count; i++)
				in[skip + i] = (float)(input(r->rank, i, hocketSum) + call);
			OK(hocketAllReduce(in + skip, to + skip, count, hocketFloat32, hocketSum,
					   comm, NULL));
			for (size_t i = 0; i < count; i++)
				CHECK((double)to[skip + i] ==
				      expected(r->nranks, i, hocketSum) + call * r->nranks);
		}
		OK(hocketCommDeregister(comm, handles[0]));
		if (round % 3)
			OK(hocketCommDeregister(comm, handles[1]));
		OK(hocketMemFree(in));
		OK(hocketMemFree(out));
	}
	OK(hocketCommDestroy(comm));
}

/* Ranks act as if on two hosts: shared memory within one, TCP between them. */
static void run_two_hosts(struct rank *r)
{
	hocketComm_t comm;

	setenv("HOCKET_HOST_ID", r->rank % 2 ? "odd" : "even", 1);
	comm = e2e_init(r, NULL);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		all_reduce_once(r, comm, counts[i], hocketFloat32, hocketSum, i % 2);
	OK(hocketCommDestroy(comm));
}

static const struct scenario scenarios[] = {{"counts", run_counts},
					    {"types", run_types},
					    {"premul", run_premul},
					    {"scatter_gather", run_scatter_gather},
					    {"several", run_several},
					    {"threads", run_threads},
					    {"streams", run_streams},
					    {"same_bits", run_same_bits},
					    {"small_slots", run_small_slots},
					    {"registered", run_registered},
					    {"queued_premul", run_queued_premul},
					    {"two_hosts", run_two_hosts},
					    {NULL, NULL}};

static const int sizes[] = {1, 2, 3, 4, 5, 7, 8};
#define NSIZES (sizeof(sizes) / sizeof(sizes[0]))

static void for_sizes(const char *scenario)
{
	for (size_t i = 0; i < NSIZES; i++)
		e2e_run(scenario, sizes[i], -1);
}

static void test_counts(void **state)
{
	for_sizes("counts");
}

static void test_types(void **state)
{
	for_sizes("types");
}

static void test_premul(void **state)
{
	e2e_run("premul", 1, -1);
	e2e_run("premul", 2, -1);
	e2e_run("premul", 5, -1);
}

static void test_scatter_gather(void **state)
{
	for_sizes("scatter_gather");
}

static void test_several(void **state)
{
	e2e_run("several", 2, -1);
	e2e_run("several", 5, -1);
}

static void test_threads(void **state)
{
	e2e_run("threads", 2, -1);
	e2e_run("threads", 3, -1);
}

static void test_streams(void **state)
{
	e2e_run("streams", 1, -1);
	e2e_run("streams", 2, -1);
	e2e_run("streams", 4, -1);
	e2e_run("queued_premul", 1, -1);
	e2e_run("queued_premul", 3, -1);
}

static void test_same_bits(void **state)
{
	for_sizes("same_bits");
}

static void test_small_slots(void **state)
{
	for_sizes("small_slots");
}

static void test_registered(void **state)
{
	static const char *const names[] = {"two_shot_all_reduce", "ring_all_reduce"};

	for_sizes("registered");
	for (size_t i = 0; i < 2; i++) {
		setenv("HOCKET_ALGO", names[i], 1);
		e2e_run("registered", 4, -1);
	}
	unsetenv("HOCKET_ALGO");
}

static void test_two_hosts(void **state)
{
	e2e_run("two_hosts", 2, -1);
	e2e_run("two_hosts", 5, -1);
}

/* Over TCP sockets, and with each rank pretending to be on a host of its own. */
static void test_tcp(void **state)
{
	setenv("HOCKET_TRANSPORTS", "tcp", 1);
	e2e_run("counts", 3, -1);
	e2e_run("scatter_gather", 4, -1);
	e2e_run("same_bits", 5, -1);
	unsetenv("HOCKET_TRANSPORTS");
}

/* Every algorithm, also where it would not be chosen. */
static void test_algorithms(void **state)
{
	static const char *const names[] = {"ring_all_reduce", "all_pairs_all_reduce",
					    "halving_doubling_all_reduce", "two_shot_all_reduce"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		setenv("HOCKET_ALGO", names[i], 1);
		for (int n = 2; n < 8; n += 2)
			e2e_run("counts", n + (int)(i % 2), -1);
		e2e_run("small_slots", 6, -1);
	}
	unsetenv("HOCKET_ALGO");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),	    cmocka_unit_test(test_types),
		cmocka_unit_test(test_premul),	    cmocka_unit_test(test_scatter_gather),
		cmocka_unit_test(test_several),	    cmocka_unit_test(test_threads),
		cmocka_unit_test(test_streams),	    cmocka_unit_test(test_same_bits),
		cmocka_unit_test(test_small_slots), cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_algorithms),  cmocka_unit_test(test_registered),
		cmocka_unit_test(test_two_hosts),
	};

	e2e_main(argc, argv, scenarios);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
