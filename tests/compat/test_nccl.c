/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program written against NCCL's header (the toolkit's where there is one, else ours) and run on
 * libnccl.so.2: its ranks are threads of this process, or all of one thread in groups, and its
 * buffers are host memory. What a rank finds wrong is a sentence that its thread returns.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef WITH_NCCL_H
#include <nccl.h>
#else
#include "nccl_abi.h"
#endif

enum { RANKS = 4, COUNT = 5, ALL = RANKS * COUNT };

/* The second names are not in every header. */
extern __typeof(ncclGetVersion) pncclGetVersion;
extern __typeof(ncclAllReduce) pncclAllReduce;

static void refused(ncclResult_t got, ncclResult_t want, const char *word)
{
	if (got != want || !strstr(ncclGetLastError(NULL), word))
		fail_msg("got %d, not %d, and '%s', which should say '%s'", got, want,
			 ncclGetLastError(NULL), word);
}

/* A complaint with the place, or NULL. */
static char *complain(const char *what, int rank, long got, long want)
{
	char *text;

	if (got == want)
		return NULL;
	if (asprintf(&text, "%s on rank %d: %ld instead of %ld (%s)", what, rank, got, want,
		     ncclGetLastError(NULL)) < 0)
		abort();
	return text;
}

/* --- ranks as threads --- */

typedef char *(*rank_fn)(int rank, ncclComm_t comm);

struct thread {
	pthread_t id;
	int rank;
	ncclUniqueId group;
	rank_fn fn;
	char *complaint;
};

static void *run_rank(void *arg)
{
	struct thread *t = arg;
	ncclComm_t comm = NULL;
	ncclResult_t result = ncclCommInitRank(&comm, RANKS, t->group, t->rank);

	t->complaint = complain("ncclCommInitRank", t->rank, result, ncclSuccess);
	if (!t->complaint)
		t->complaint = t->fn(t->rank, comm);
	result = t->complaint ? ncclCommAbort(comm) : ncclCommDestroy(comm);
	if (!t->complaint)
		t->complaint = complain("ncclCommDestroy", t->rank, result, ncclSuccess);
	return NULL;
}

static void on_threads(rank_fn fn)
{
	struct thread threads[RANKS];
	ncclUniqueId id;
	int failures = 0;

	assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
	for (int i = 0; i < RANKS; i++) {
		threads[i] = (struct thread){.rank = i, .group = id, .fn = fn};
		assert_int_equal(pthread_create(&threads[i].id, NULL, run_rank, &threads[i]), 0);
	}
	for (int i = 0; i < RANKS; i++)
		pthread_join(threads[i].id, NULL);
	for (int i = 0; i < RANKS; i++) {
		failures += threads[i].complaint != NULL;
		if (threads[i].complaint)
			print_error("%s\n", threads[i].complaint);
		free(threads[i].complaint);
	}
	assert_int_equal(failures, 0);
}

/* --- every collective --- */

static const char *const names[] = {"all_reduce", "reduce_scatter", "all_gather",
				    "broadcast",  "bcast",	    "reduce",
				    "all_to_all", "gather",	    "scatter"};
enum { COLLECTIVES = sizeof(names) / sizeof(names[0]) };

static int input(int rank, int i)
{
	return (rank + 1) * 100 + i;
}

static int total(int i)
{
	int sum = 0;

	for (int r = 0; r < RANKS; r++)
		sum += input(r, i);
	return sum;
}

/* Element i of the output; -1 where it must not be touched. */
static int want(int which, int me, int i)
{
	int block = i / COUNT, at = i % COUNT;

	switch (which) {
	case 0:
		return total(i);
	case 1:
		return block ? -1 : total(me * COUNT + at);
	case 2:
		return input(block, at);
	case 3:
	case 4:
		return input(1, i);
	case 5:
		return me == 2 ? total(i) : -1;
	case 6:
		return input(block, me * COUNT + at);
	case 7:
		return me ? -1 : input(block, at);
	default:
		return block ? -1 : input(RANKS - 1, me * COUNT + at);
	}
}

static ncclResult_t issue(int which, int me, const int *in, int *out, ncclComm_t comm)
{
	switch (which) {
	case 0:
		return ncclAllReduce(in, out, ALL, ncclInt32, ncclSum, comm, NULL);
	case 1:
		return ncclReduceScatter(in, out, COUNT, ncclInt32, ncclSum, comm, NULL);
	case 2:
		return ncclAllGather(in, out, COUNT, ncclInt32, comm, NULL);
	case 3:
		return ncclBroadcast(in, out, ALL, ncclInt32, 1, comm, NULL);
	case 4:
		memcpy(out, in, ALL * sizeof(*out));
		return ncclBcast(out, ALL, ncclInt32, 1, comm, NULL);
	case 5:
		return ncclReduce(in, out, ALL, ncclInt32, ncclSum, 2, comm, NULL);
	case 6:
		return ncclAlltoAll(in, out, COUNT, ncclInt32, comm, NULL);
	case 7:
		return ncclGather(in, out, COUNT, ncclInt32, 0, comm, NULL);
	default:
		return ncclScatter(in, out, COUNT, ncclInt32, RANKS - 1, comm, NULL);
	}
}

static void prepare(int me, int *in, int *out)
{
	for (int i = 0; i < ALL; i++) {
		in[i] = input(me, i);
		out[i] = -1;
	}
}

static char *compare(int which, int me, const int *out)
{
	char *complaint = NULL;

	for (int i = 0; i < ALL && !complaint; i++)
		complaint = complain(names[which], me, out[i], want(which, me, i));
	return complaint;
}

static char *all_collectives(int rank, ncclComm_t comm)
{
	char *complaint = NULL;
	int in[ALL], out[ALL];

	for (int which = 0; which < COLLECTIVES && !complaint; which++) {
		prepare(rank, in, out);
		complaint = complain(names[which], rank, issue(which, rank, in, out, comm),
				     ncclSuccess);
		if (!complaint)
			complaint = compare(which, rank, out);
	}
	return complaint;
}

static void test_threads(void **state)
{
	on_threads(all_collectives);
}

/* The tests run with a stand-in for the CUDA driver, too: then on its first GPU. */
static int device(void)
{
	return getenv("HOCKET_CUDA_DRIVER") ? 0 : -1;
}

static void make_in_group(ncclComm_t *comms)
{
	ncclUniqueId id;
	int value;

	assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	for (int i = 0; i < RANKS; i++)
		assert_int_equal(ncclCommInitRank(&comms[i], RANKS, id, i), ncclSuccess);
	assert_int_equal(ncclGroupEnd(), ncclSuccess);
	for (int i = 0; i < RANKS; i++) {
		assert_int_equal(ncclCommCount(comms[i], &value), ncclSuccess);
		assert_int_equal(value, RANKS);
		assert_int_equal(ncclCommUserRank(comms[i], &value), ncclSuccess);
		assert_int_equal(value, i);
		assert_int_equal(ncclCommCuDevice(comms[i], &value), ncclSuccess);
		assert_int_equal(value, device());
	}
}

static void destroy_all(ncclComm_t *comms)
{
	for (int i = 0; i < RANKS; i++) {
		assert_int_equal(ncclCommFinalize(comms[i]), ncclSuccess);
		assert_int_equal(ncclCommDestroy(comms[i]), ncclSuccess);
	}
}

static void run_in_groups(ncclComm_t *comms)
{
	static int in[RANKS][ALL], out[RANKS][ALL];

	for (int which = 0; which < COLLECTIVES; which++) {
		assert_int_equal(ncclGroupStart(), ncclSuccess);
		for (int i = 0; i < RANKS; i++) {
			prepare(i, in[i], out[i]);
			assert_int_equal(issue(which, i, in[i], out[i], comms[i]), ncclSuccess);
		}
		assert_int_equal(ncclGroupEnd(), ncclSuccess);
		for (int i = 0; i < RANKS; i++) {
			char *complaint = compare(which, i, out[i]);

			if (complaint)
				fail_msg("%s", complaint);
		}
	}
}

static void test_one_thread(void **state)
{
	ncclComm_t comms[RANKS];

	make_in_group(comms);
	run_in_groups(comms);
	destroy_all(comms);
	assert_int_equal(ncclCommInitAll(comms, RANKS, NULL), ncclSuccess);
	run_in_groups(comms);
	destroy_all(comms);
}

static void test_scalable(void **state)
{
	ncclUniqueId ids[2];
	ncclComm_t comms[RANKS];

	assert_int_equal(ncclGetUniqueId(&ids[0]), ncclSuccess);
	assert_int_equal(ncclGetUniqueId(&ids[1]), ncclSuccess);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	for (int i = 0; i < RANKS; i++)
		assert_int_equal(ncclCommInitRankScalable(&comms[i], RANKS, i, 2, ids, NULL),
				 ncclSuccess);
	assert_int_equal(ncclGroupEnd(), ncclSuccess);
	run_in_groups(comms);
	destroy_all(comms);
}

/* --- types and operations --- */

struct sum {
	ncclDataType_t type;
	size_t size;
	uint64_t one, sum; /* 1 and RANKS, as this type has them */
};

static const struct sum sums[] = {
	{ncclInt8, 1, 1, 4},
	{ncclUint8, 1, 1, 4},
	{ncclInt32, 4, 1, 4},
	{ncclUint32, 4, 1, 4},
	{ncclInt64, 8, 1, 4},
	{ncclUint64, 8, 1, 4},
	{ncclFloat16, 2, 0x3c00, 0x4400},
	{ncclFloat32, 4, 0x3f800000, 0x40800000},
	{ncclFloat64, 8, 0x3ff0000000000000, 0x4010000000000000},
	{ncclBfloat16, 2, 0x3f80, 0x4080},
	{ncclFloat8e4m3, 1, 0x38, 0x48},
	{ncclFloat8e5m2, 1, 0x3c, 0x44},
};

static char *all_types(int rank, ncclComm_t comm)
{
	static const double results[] = {10, 24, 4, 1, 2.5}; /* of 1, 2, 3, 4; ncclSum is 0 ... */
	char *complaint = NULL;

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]) && !complaint; i++) {
		uint64_t out = 0;

		complaint = complain(
			"a type", rank,
			pncclAllReduce(&sums[i].one, &out, 1, sums[i].type, ncclSum, comm, NULL),
			ncclSuccess);
		if (!complaint)
			complaint = complain("a type's sum", rank, (long)out, (long)sums[i].sum);
	}
	for (int op = ncclSum; op <= ncclAvg && !complaint; op++) {
		double in = rank + 1, out = 0;

		complaint = complain(
			"an operation", rank,
			ncclAllReduce(&in, &out, 1, ncclFloat64, (ncclRedOp_t)op, comm, NULL),
			ncclSuccess);
		if (!complaint)
			complaint = complain("an operation's result times 10", rank,
					     (long)(out * 10), (long)(results[op] * 10));
	}
	return complaint;
}

static void test_types(void **state)
{
	on_threads(all_types);
}

static char *scaled(int rank, ncclComm_t comm)
{
	int scalar = 3, in = rank + 1, out = 0;
	char *complaint;
	ncclRedOp_t op;

	complaint = complain(
		"premulsum", rank,
		ncclRedOpCreatePreMulSum(&op, &scalar, ncclInt32, ncclScalarHostImmediate, comm),
		ncclSuccess);
	scalar = 1000;
	if (!complaint)
		complaint = complain("all_reduce", rank,
				     ncclAllReduce(&in, &out, 1, ncclInt32, op, comm, NULL),
				     ncclSuccess);
	if (!complaint)
		complaint = complain("the sum", rank, out, 30);
	if (!complaint)
		complaint = complain("destroy", rank, ncclRedOpDestroy(op, comm), ncclSuccess);
	if (!complaint)
		complaint = complain("destroyed", rank,
				     ncclAllReduce(&in, &out, 1, ncclInt32, op, comm, NULL),
				     ncclInvalidArgument);
	return complaint;
}

static void test_scalar(void **state)
{
	on_threads(scaled);
}

/* To the right, and from the left, in one group. What was sent may still be on its way when the
 * send is over, and is lost if its sender then ends; so no rank ends before all have received. */
static char *ring(int rank, ncclComm_t comm)
{
	int in = rank, out = -1;
	char *complaint = complain("start", rank, ncclGroupStart(), ncclSuccess);

	if (!complaint)
		complaint = complain("send", rank,
				     ncclSend(&in, 1, ncclInt32, (rank + 1) % RANKS, comm, NULL),
				     ncclSuccess);
	if (!complaint)
		complaint = complain(
			"recv", rank,
			ncclRecv(&out, 1, ncclInt32, (rank + RANKS - 1) % RANKS, comm, NULL),
			ncclSuccess);
	if (!complaint)
		complaint = complain("end", rank, ncclGroupEnd(), ncclSuccess);
	if (!complaint)
		complaint = complain("from the left", rank, out, (rank + RANKS - 1) % RANKS);
	if (!complaint)
		complaint = complain("all_reduce", rank,
				     ncclAllReduce(&in, &out, 1, ncclInt32, ncclMax, comm, NULL),
				     ncclSuccess);
	return complaint;
}

static void test_point_to_point(void **state)
{
	on_threads(ring);
}

static char *registered(int rank, ncclComm_t comm)
{
	void *buff = NULL, *handle = NULL;
	char *complaint;
	int out = 0;

	complaint = complain("alloc", rank, ncclMemAlloc(&buff, 4096), ncclSuccess);
	if (!complaint)
		complaint = complain("register", rank, ncclCommRegister(comm, buff, 4096, &handle),
				     ncclSuccess);
	if (complaint)
		return complaint;
	*(int *)buff = rank;
	complaint =
		complain("all_reduce", rank,
			 ncclAllReduce(buff, &out, 1, ncclInt32, ncclSum, comm, NULL), ncclSuccess);
	if (!complaint)
		complaint = complain("the sum", rank, out, 6);
	if (!complaint)
		complaint =
			complain("deregister", rank, ncclCommDeregister(comm, handle), ncclSuccess);
	if (!complaint)
		complaint = complain("free", rank, ncclMemFree(buff), ncclSuccess);
	return complaint;
}

static void test_memory(void **state)
{
	on_threads(registered);
	assert_int_equal(ncclMemFree(NULL), ncclSuccess);
	refused(ncclMemAlloc(NULL, 1), ncclInvalidArgument, "NULL");
}

/* --- communicators out of communicators --- */

/* comm has `nranks` ranks, this one is `rank`, and the sum of what all contribute is right. */
static char *has(ncclComm_t comm, int nranks, int rank, int mine, int sum)
{
	char *complaint;
	int value = -1, out = 0;

	complaint = complain("count", rank, ncclCommCount(comm, &value), ncclSuccess);
	if (!complaint)
		complaint = complain("the count", rank, value, nranks);
	if (!complaint)
		complaint = complain("rank", rank, ncclCommUserRank(comm, &value), ncclSuccess);
	if (!complaint)
		complaint = complain("the rank", rank, value, rank);
	if (!complaint)
		complaint = complain("all_reduce", rank,
				     ncclAllReduce(&mine, &out, 1, ncclInt32, ncclSum, comm, NULL),
				     ncclSuccess);
	return complaint ? complaint : complain("the sum", rank, out, sum);
}

/* Even ranks, in reverse; rank 1 is in no group, rank 3 alone. */
static char *split(int rank, ncclComm_t comm)
{
	ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
	int color = rank == 1 ? NCCL_SPLIT_NOCOLOR : rank % 2;
	ncclComm_t sub = comm;
	char *complaint;

	config.blocking = 1;
	config.splitShare = 1;
	complaint = complain("split", rank,
			     ncclCommSplit(comm, color, -rank, &sub, rank ? &config : NULL),
			     ncclSuccess);
	if (complaint)
		return complaint;
	if (rank == 1)
		return complain("no group", rank, sub == NULL, true);
	if (rank == 3)
		complaint = has(sub, 1, 0, rank, 3);
	else
		complaint = has(sub, 2, rank ? 0 : 1, rank, 2);
	return complaint ? complaint : complain("destroy", rank, ncclCommDestroy(sub), ncclSuccess);
}

static void test_split(void **state)
{
	on_threads(split);
}

static char *shrink(int rank, ncclComm_t comm)
{
	int gone[] = {1}, bad[] = {RANKS};
	ncclComm_t sub = NULL;
	char *complaint;

	complaint = complain("to exclude nobody there", rank,
			     ncclCommShrink(comm, bad, 1, &sub, NULL, NCCL_SHRINK_DEFAULT),
			     ncclInvalidArgument);
	if (!complaint)
		complaint = complain("after an abort", rank,
				     ncclCommShrink(comm, gone, 1, &sub, NULL, NCCL_SHRINK_ABORT),
				     ncclInvalidUsage);
	if (!complaint)
		complaint = complain("shrink", rank,
				     ncclCommShrink(comm, gone, 1, &sub, NULL, NCCL_SHRINK_DEFAULT),
				     rank == 1 ? ncclInvalidArgument : ncclSuccess);
	if (!complaint && rank != 1)
		complaint = has(sub, 3, rank ? rank - 1 : 0, rank, 5);
	if (!complaint && rank != 1)
		complaint = complain("destroy", rank, ncclCommDestroy(sub), ncclSuccess);
	/* The one that it came from is as good as before. */
	return complaint ? complaint : has(comm, RANKS, rank, 1, RANKS);
}

static void test_shrink(void **state)
{
	on_threads(shrink);
}

/* --- configurations --- */

static ncclResult_t init_alone(ncclComm_t *comm, ncclConfig_t *config)
{
	ncclUniqueId id;

	assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
	return ncclCommInitRankConfig(comm, 1, id, 0, config);
}

static void await(ncclComm_t comm)
{
	ncclResult_t state = ncclInProgress;

	for (int i = 0; i < 10000 && state == ncclInProgress; i++) {
		assert_int_equal(ncclCommGetAsyncError(comm, &state), ncclSuccess);
		if (state == ncclInProgress)
			usleep(1000);
	}
	assert_int_equal(state, ncclSuccess);
}

static void test_config(void **state)
{
	struct {
		ncclConfig_t known;
		unsigned char newer[64];
	} larger = {.known = NCCL_CONFIG_INITIALIZER};
	ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
	ncclComm_t comm = NULL;

	config.magic ^= 1;
	refused(init_alone(&comm, &config), ncclInvalidArgument, "magic");
	assert_null(comm);
	config.magic ^= 1;
	config.size = 16; /* not even `blocking` */
	refused(init_alone(&comm, &config), ncclInvalidArgument, "size");
	config.size = 1 << 20;
	refused(init_alone(&comm, &config), ncclInvalidArgument, "size");
	config.size = sizeof(config);
	config.blocking = 7;
	refused(init_alone(&comm, &config), ncclInvalidArgument, "blocking");
	/* Hints of NCCL's own. */
	config.blocking = 1;
	config.minCTAs = config.maxCTAs = 8;
	config.netName = "Socket";
	assert_int_equal(init_alone(&comm, &config), ncclSuccess);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	/* The struct of the oldest release that has one, and of one to come. */
	memset(&config.cgaClusterSize, 0xee, sizeof(config) - 24);
	config.size = 24;
	config.blocking = 0;
	assert_int_equal(init_alone(&comm, &config), ncclInProgress);
	await(comm);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	memset(larger.newer, 0xee, sizeof(larger.newer));
	larger.known.size = sizeof(larger);
	larger.known.blocking = 0;
	assert_int_equal(init_alone(&comm, &larger.known), ncclInProgress);
	await(comm);
	assert_int_equal(ncclCommFinalize(comm), ncclSuccess);
	await(comm);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	assert_int_equal(init_alone(&comm, NULL), ncclSuccess);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

/* --- errors --- */

static void test_arguments(void **state)
{
	ncclComm_t comm;
	int x = 1, y = 0, version = 0;
	ncclResult_t async;
	ncclRedOp_t op;

	assert_int_equal(ncclGetVersion(&version), ncclSuccess);
	assert_in_range(version, 23000, 23099);
	assert_int_equal(pncclGetVersion(&version), ncclSuccess);
	refused(ncclGetVersion(NULL), ncclInvalidArgument, "version is NULL");
	refused(ncclGetUniqueId(NULL), ncclInvalidArgument, "NULL");
	for (int r = -1; r <= ncclNumResults; r++)
		assert_true(strlen(ncclGetErrorString((ncclResult_t)r)) > 5);
	assert_int_equal(init_alone(&comm, NULL), ncclSuccess);
	refused(ncclAllReduce(&x, &y, 1, (ncclDataType_t)99, ncclSum, comm, NULL),
		ncclInvalidArgument, "type");
	refused(ncclAllReduce(&x, &y, 1, ncclInt32, (ncclRedOp_t)77, comm, NULL),
		ncclInvalidArgument, "reduction");
	refused(ncclAllReduce(NULL, &y, 1, ncclInt32, ncclSum, comm, NULL), ncclInvalidArgument,
		"sendbuff");
	refused(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, NULL, NULL), ncclInvalidArgument,
		"NULL");
	refused(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, comm, (cudaStream_t)(void *)&x),
		ncclInvalidArgument, "stream");
	refused(ncclBroadcast(&x, &y, 1, ncclInt32, 1, comm, NULL), ncclInvalidArgument, "root");
	refused(ncclCommCount(comm, NULL), ncclInvalidArgument, "NULL");
	refused(ncclCommCuDevice(comm, NULL), ncclInvalidArgument, "NULL");
	refused(ncclCommGetAsyncError(comm, NULL), ncclInvalidArgument, "NULL");
	refused(ncclCommGetAsyncError(NULL, &async), ncclInvalidArgument, "NULL");
	refused(ncclRedOpCreatePreMulSum(NULL, &x, ncclInt32, ncclScalarHostImmediate, comm),
		ncclInvalidArgument, "NULL");
	refused(ncclRedOpCreatePreMulSum(&op, &x, ncclInt32, ncclScalarHostImmediate, NULL),
		ncclInvalidArgument, "NULL");
	assert_int_equal(ncclCommGetAsyncError(comm, &async), ncclSuccess);
	assert_int_equal(async, ncclSuccess);
	assert_int_equal(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, comm, NULL), ncclSuccess);
	assert_int_equal(y, 1);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	refused(ncclCommDestroy(comm), ncclInvalidArgument, "not a communicator");
	assert_int_equal(ncclCommFinalize(NULL), ncclSuccess);
	assert_int_equal(ncclCommDestroy(NULL), ncclSuccess);
	assert_int_equal(ncclCommAbort(NULL), ncclSuccess);
}

/* Whoever failed last has the last sentence; but a communicator's failure is its own. */
static void test_last_error(void **state)
{
	ncclComm_t comms[RANKS];
	ncclResult_t async;
	int x = 1, y;

	refused(ncclGetVersion(NULL), ncclInvalidArgument, "ncclGetVersion");
	refused(ncclCommCount(NULL, &y), ncclInvalidArgument, "communicator is NULL");
	refused(ncclGetVersion(NULL), ncclInvalidArgument, "ncclGetVersion");
	make_in_group(comms);
	assert_non_null(strstr(ncclGetLastError(comms[0]), "ncclGetVersion"));
	for (int i = 1; i < RANKS; i++)
		assert_int_equal(ncclCommAbort(comms[i]), ncclSuccess);
	assert_int_equal(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, comms[0], NULL),
			 ncclRemoteError);
	assert_int_equal(ncclCommGetAsyncError(comms[0], &async), ncclSuccess);
	assert_int_equal(async, ncclRemoteError);
	refused(ncclGetVersion(NULL), ncclInvalidArgument, "ncclGetVersion");
	assert_null(strstr(ncclGetLastError(comms[0]), "ncclGetVersion"));
	assert_int_equal(ncclCommAbort(comms[0]), ncclSuccess);
}

/* What is refused in a group makes it fail as a whole, and not the next one. */
static void test_group_refused(void **state)
{
	ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
	ncclComm_t comm, sub;
	int x = 1, y = -1;

	config.magic = 0;
	assert_int_equal(init_alone(&comm, NULL), ncclSuccess);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	assert_int_equal(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, comm, NULL), ncclSuccess);
	refused(ncclCommSplit(comm, 0, 0, &sub, &config), ncclInvalidArgument, "magic");
	assert_int_equal(ncclGroupEnd(), ncclSuccess);
	refused(ncclGroupEnd(), ncclInvalidArgument, "magic");
	assert_int_equal(y, -1);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	assert_int_equal(ncclAllReduce(&x, &y, 1, ncclInt32, ncclSum, comm, NULL), ncclSuccess);
	assert_int_equal(ncclGroupEnd(), ncclSuccess);
	assert_int_equal(y, 1);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	assert_int_not_equal(ncclGroupEnd(), ncclSuccess); /* none is open */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),	      cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_scalable),      cmocka_unit_test(test_types),
		cmocka_unit_test(test_scalar),	      cmocka_unit_test(test_point_to_point),
		cmocka_unit_test(test_memory),	      cmocka_unit_test(test_split),
		cmocka_unit_test(test_shrink),	      cmocka_unit_test(test_config),
		cmocka_unit_test(test_arguments),     cmocka_unit_test(test_last_error),
		cmocka_unit_test(test_group_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
