/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernels' messages from slots on the GPU: over the loop transport, which reads what is lent where
 * it lies, late, so that a slot that is written too soon shows in a result. Ranks are threads of
 * this process, and buffers in ordinary memory: results are there when a call returns. With the
 * argument "off" HOCKET_GPUDIRECT is 0, and nothing is ever lent.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm.h"
#include "hocket/hocket.h"
#include "loop.h"

#define RANKS 3
#define MOST  150000 /* elements: several tiles, and each slot many times */

struct rank {
	pthread_t thread;
	hocketUniqueId id;
	int rank, n;
	void (*run)(struct rank *r);
	hocketComm_t comm;
	int64_t *in, *out;
	size_t device_memory;
	const char *wrong;
};

/* In a rank's thread, where cmocka's own checks don't work. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond) && !r->wrong)                                                          \
			r->wrong = #cond;                                                          \
	} while (0)

static bool off;

static void *rank_thread(void *arg)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	struct rank *r = arg;

	config.device = 0;
	config.timeoutMs = 60000;
	r->in = malloc(RANKS * MOST * sizeof(*r->in));
	r->out = malloc(RANKS * MOST * sizeof(*r->out));
	CHECK(r->in && r->out);
	CHECK(hocketCommInitRankConfig(&r->comm, r->n, r->id, r->rank, &config) == hocketSuccess);
	if (!r->wrong)
		r->run(r);
	if (r->comm) {
		CHECK(hocketCommDeviceMemory(r->comm, &r->device_memory) == hocketSuccess);
		CHECK(hocketCommDestroy(r->comm) == hocketSuccess);
	}
	free(r->in);
	free(r->out);
	return NULL;
}

/* Runs the ranks of a communicator; how many messages were lent, and what one has of the GPU. */
static uint64_t run_ranks(int n, const struct hk_loop_faults *faults, void (*run)(struct rank *r),
			  size_t *device_memory)
{
	struct rank ranks[RANKS] = {0};
	struct hk_loop *world;
	hocketUniqueId id;
	uint64_t lent;

	assert_int_equal(hk_loop_create(n, faults, &world), 0);
	hk_loop_stand_in(world);
	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	for (int i = 0; i < n; i++) {
		ranks[i] = (struct rank){.id = id, .rank = i, .n = n, .run = run};
		assert_int_equal(pthread_create(&ranks[i].thread, NULL, rank_thread, &ranks[i]), 0);
	}
	for (int i = 0; i < n; i++)
		pthread_join(ranks[i].thread, NULL);
	for (int i = 0; i < n; i++)
		if (ranks[i].wrong)
			fail_msg("rank %d: %s is false", i, ranks[i].wrong);
	hk_loop_stand_in(NULL);
	lent = hk_loop_lent(world);
	hk_loop_destroy(world);
	*device_memory = ranks[0].device_memory;
	return lent;
}

/* --- calls that end well --- */

static int64_t value(int rank, size_t count, size_t i)
{
	return (int64_t)i * 31 + rank * 1000003 + (int64_t)count * 77;
}

static void sum_up(struct rank *r, size_t count)
{
	for (size_t i = 0; i < count; i++)
		r->in[i] = value(r->rank, count, i);
	CHECK(hocketAllReduce(r->in, r->out, count, hocketInt64, hocketSum, r->comm, NULL) ==
	      hocketSuccess);
	for (size_t i = 0; i < count; i++) {
		int64_t sum = 0;

		for (int k = 0; k < r->n; k++)
			sum += value(k, count, i);
		CHECK(r->out[i] == sum);
	}
}

static void swap(struct rank *r, size_t count)
{
	for (size_t i = 0; i < count * (size_t)r->n; i++)
		r->in[i] = value(r->rank, count, i);
	CHECK(hocketAlltoAll(r->in, r->out, count, hocketInt64, r->comm, NULL) == hocketSuccess);
	for (int from = 0; from < r->n; from++)
		for (size_t i = 0; i < count; i++)
			CHECK(r->out[(size_t)from * count + i] ==
			      value(from, count, (size_t)r->rank * count + i));
}

/* Long ones at several places in their slots, and short ones between them. */
static void calls(struct rank *r)
{
	static const size_t counts[] = {1, 3000, 255, MOST, 257, 20011, 40};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		sum_up(r, counts[i]);
		swap(r, counts[i]);
	}
}

static void test_calls(void **state)
{
	struct hk_loop_faults faults = {.seed = 11, .max_delay = 3, .max_refusals = 2};
	size_t plain, admitted, memory;

	/* not admitted, and so not lent */
	faults.lend = true;
	assert_int_equal(run_ranks(RANKS, &faults, calls, &plain), 0);
	/* admitted, and then copied all the same */
	faults.lend = false;
	faults.admit = true;
	assert_int_equal(run_ranks(RANKS, &faults, calls, &memory), 0);
	faults.lend = true;
	for (faults.seed = 1; faults.seed < 4; faults.seed++) {
		uint64_t lent = run_ranks(RANKS, &faults, calls, &admitted);

		assert_int_equal(lent > 0, !off);
		assert_int_equal(admitted > plain, !off);
		assert_int_equal(admitted, memory);
	}
}

/* --- calls that fail --- */

static void one_call(struct rank *r)
{
	sum_up(r, 20011);
}

/* Many messages from rank 0. */
static void failing_call(struct rank *r)
{
	memset(r->in, 0, MOST * sizeof(*r->in));
	CHECK((r->rank ? hocketRecv(r->out, MOST, hocketInt64, 0, r->comm, NULL)
		       : hocketSend(r->in, MOST, hocketInt64, 1, r->comm, NULL)) != hocketSuccess);
}

static unsigned long allocations(void)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	unsigned long (*count)(const char *function) = NULL;

	if (driver)
		*(void **)&count = dlsym(driver, "fakecuda_calls");
	return count ? count("cuMemAlloc") : 0;
}

/* Allocations that a pair of ranks still needs after another pair has failed, which has sent a
 * message that nobody has looked at yet. */
static unsigned long needs_after_failure(bool admit)
{
	const struct hk_loop_faults well = {.seed = 5, .admit = true, .lend = true};
	struct hk_loop_faults faults = {.seed = 5,
					.max_delay = UINT32_MAX / 2,
					.admit = admit,
					.lend = true,
					.hits = {{HK_LOOP_KILL, 0, 1, HK_P2P_CHANNEL, 1}}};
	unsigned long before;
	size_t memory;

	run_ranks(2, &well, one_call, &memory);
	run_ranks(2, &faults, failing_call, &memory);
	before = allocations();
	run_ranks(2, &well, one_call, &memory);
	return allocations() - before;
}

/* Memory from which something may still be read is not used again. */
static void test_failure(void **state)
{
	const struct hk_loop_faults none = {0};
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	struct hk_loop *world;
	hocketUniqueId id;
	hocketComm_t keeper; /* of the memory that others free */

	assert_int_equal(hk_loop_create(1, &none, &world), 0);
	hk_loop_stand_in(world);
	config.device = 0;
	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	assert_int_equal(hocketCommInitRankConfig(&keeper, 1, id, 0, &config), hocketSuccess);
	if (allocations()) { /* the driver is the stand-in, which counts */
		unsigned long plain = needs_after_failure(false);

		if (off)
			assert_int_equal(needs_after_failure(true), plain);
		else
			assert_true(needs_after_failure(true) > plain);
	}
	assert_int_equal(hocketCommDestroy(keeper), hocketSuccess);
	hk_loop_stand_in(NULL);
	hk_loop_destroy(world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_failure),
	};

	off = argc > 1 && !strcmp(argv[1], "off");
	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	setenv("HOCKET_TRANSPORTS", "loop", 1);
	if (off)
		setenv("HOCKET_GPUDIRECT", "0", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
