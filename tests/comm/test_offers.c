/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Communicators over a transport that puts messages where they are wanted: the loop transport,
 * which scribbles over memory from the moment on at which it is offered. Ranks are threads of this
 * process. Calls that end well have results without a scribble; after a call that failed, however
 * it was made, nobody can scribble any more.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hocket/hocket.h"
#include "loop.h"

#define RANKS	 3
#define MOST	 40000 /* elements of a block: several tiles */
#define PATIENCE 10000 /* looks, a millisecond apart */

struct rank {
	pthread_t thread;
	hocketUniqueId id;
	int rank, n, timeout_ms;
	void (*run)(struct rank *r);
	hocketComm_t comm;
	int64_t *in, *out;
	const char *wrong;
};

/* In a rank's thread, where cmocka's own checks don't work. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond) && !r->wrong)                                                          \
			r->wrong = #cond;                                                          \
	} while (0)

static struct hk_loop *world;

static void *rank_thread(void *arg)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	struct rank *r = arg;

	config.timeoutMs = r->timeout_ms;
	r->in = malloc(RANKS * MOST * sizeof(*r->in));
	r->out = malloc(RANKS * MOST * sizeof(*r->out));
	CHECK(r->in && r->out);
	CHECK(hocketCommInitRankConfig(&r->comm, r->n, r->id, r->rank, &config) == hocketSuccess);
	if (!r->wrong)
		r->run(r);
	if (r->comm)
		CHECK(hocketCommDestroy(r->comm) == hocketSuccess);
	free(r->in);
	free(r->out);
	return NULL;
}

static void run_ranks(int n, enum hk_loop_offers offers, int timeout_ms,
		      void (*run)(struct rank *r))
{
	const struct hk_loop_faults faults = {.seed = 7, .max_delay = 3, .offers = offers};
	struct rank ranks[RANKS] = {0};
	hocketUniqueId id;

	assert_int_equal(hk_loop_create(n, &faults, &world), 0);
	hk_loop_stand_in(world);
	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	for (int i = 0; i < n; i++) {
		ranks[i] = (struct rank){
			.id = id, .rank = i, .n = n, .timeout_ms = timeout_ms, .run = run};
		assert_int_equal(pthread_create(&ranks[i].thread, NULL, rank_thread, &ranks[i]), 0);
	}
	for (int i = 0; i < n; i++)
		pthread_join(ranks[i].thread, NULL);
	for (int i = 0; i < n; i++)
		if (ranks[i].wrong)
			fail_msg("rank %d: %s is false", i, ranks[i].wrong);
	hk_loop_stand_in(NULL);
}

static void end_world(void)
{
	hk_loop_destroy(world);
	world = NULL;
}

/* --- calls that end well --- */

static int64_t value(int rank, int call, size_t i)
{
	return (int64_t)i * 31 + rank * 1000003 + call * 77;
}

static void fill(const struct rank *r, int64_t *at, int call, size_t count)
{
	for (size_t i = 0; i < count; i++)
		at[i] = value(r->rank, call, i);
}

static void judge(struct rank *r, const int64_t *at, int from, int call, size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(at[i] == value(from, call, i));
}

static void all_reduce(struct rank *r, int64_t *in, int call, size_t count)
{
	fill(r, in, call, count);
	CHECK(hocketAllReduce(in, r->out, count, hocketInt64, hocketSum, r->comm, NULL) ==
	      hocketSuccess);
	for (size_t i = 0; i < count; i++) {
		int64_t want = 0;

		for (int from = 0; from < r->n; from++)
			want += value(from, call, i);
		CHECK(r->out[i] == want);
	}
}

static void all_gather(struct rank *r, int64_t *in, int call, size_t count)
{
	fill(r, in, call, count);
	CHECK(hocketAllGather(in, r->out, count, hocketInt64, r->comm, NULL) == hocketSuccess);
	for (int from = 0; from < r->n; from++)
		judge(r, r->out + (size_t)from * count, from, call, count);
}

static void collectives(struct rank *r)
{
	static const size_t counts[] = {MOST, 1, 5003, 12000};

	for (int call = 0; call < 12; call++) {
		size_t count = counts[call % 4];

		all_reduce(r, r->in, call, count);
		all_reduce(r, r->out, call, count);
		all_gather(r, r->in, call, count);
		all_gather(r, r->out + (size_t)r->rank * count, call, count);
	}
}

/* Round the ring, one way or the other; rank 0 first receives. */
static void pass_on(struct rank *r, int call, size_t count)
{
	int to = (r->rank + 1) % r->n, from = (r->rank + r->n - 1) % r->n;

	fill(r, r->in, call, count);
	for (int half = 0; half < 2; half++) {
		if ((half == 0) == (r->rank == 0))
			CHECK(hocketRecv(r->out, count, hocketInt64, from, r->comm, NULL) ==
			      hocketSuccess);
		else
			CHECK(hocketSend(r->in, count, hocketInt64, to, r->comm, NULL) ==
			      hocketSuccess);
	}
	judge(r, r->out, from, call, count);
}

/* Two messages to each other rank, some of them empty, and a collective beside them. */
static void swap_in_group(struct rank *r, int call)
{
	static const size_t counts[] = {9000, 20000, 0, 700};
	size_t at = 0, first = 2000, sum[2] = {1, 0};

	fill(r, r->in, call, MOST);
	CHECK(hocketGroupStart() == hocketSuccess);
	for (int peer = 0; peer < r->n; peer++)
		for (int k = 0; k < 2; k++) {
			size_t count = counts[(call + k) % 4];

			CHECK(hocketSend(r->in, count, hocketInt64, peer, r->comm, NULL) ==
			      hocketSuccess);
			CHECK(hocketRecv(r->out + first + at, count, hocketInt64, peer, r->comm,
					 NULL) == hocketSuccess);
			at += count;
		}
	CHECK(hocketAllReduce(&sum[0], &sum[1], 1, hocketUint64, hocketSum, r->comm, NULL) ==
	      hocketSuccess);
	CHECK(hocketGroupEnd() == hocketSuccess);
	CHECK(sum[1] == (size_t)r->n);
	at = first;
	for (int peer = 0; peer < r->n; peer++)
		for (int k = 0; k < 2; k++) {
			judge(r, r->out + at, peer, call, counts[(call + k) % 4]);
			at += counts[(call + k) % 4];
		}
}

static void messages(struct rank *r)
{
	for (int call = 0; call < 8; call++) {
		pass_on(r, call, call % 2 ? MOST : 300);
		swap_in_group(r, call);
	}
}

static void test_collectives(void **state)
{
	for (int offers = HK_LOOP_OFFERS_TAKEN; offers <= HK_LOOP_OFFERS_MIXED; offers++) {
		run_ranks(RANKS, (enum hk_loop_offers)offers, 30000, collectives);
		assert_true(hk_loop_direct(world) > 0);
		end_world();
	}
}

static void test_messages(void **state)
{
	for (int offers = HK_LOOP_OFFERS_TAKEN; offers <= HK_LOOP_OFFERS_MIXED; offers++) {
		run_ranks(RANKS, (enum hk_loop_offers)offers, 30000, messages);
		assert_true(hk_loop_direct(world) > 0);
		end_world();
	}
}

/* --- calls that fail --- */

enum way { BLOCKING, STREAM, GROUP, ABORTED };

static enum way way;
static atomic_bool scribbled;

static bool wait_for(atomic_bool *what)
{
	const struct timespec nap = {0, 1000000};

	for (int i = 0; i < PATIENCE && !atomic_load(what); i++)
		nanosleep(&nap, NULL);
	return atomic_load(what);
}

/* Receives what never comes; the first error of the call. */
static hocketResult_t receive(struct rank *r)
{
	hocketStream_t stream = NULL;
	hocketResult_t result, other;

	if (way == STREAM)
		CHECK(hocketStreamCreate(&stream) == hocketSuccess);
	if (way == GROUP)
		CHECK(hocketGroupStart() == hocketSuccess);
	result = hocketRecv(r->out, MOST, hocketInt64, 1, r->comm, stream);
	if (way == GROUP)
		result = hocketGroupEnd();
	if (!stream)
		return result;
	CHECK(result == hocketSuccess);
	result = hocketStreamSynchronize(stream);
	other = hocketStreamDestroy(stream);
	return result ? result : other;
}

static void *abort_it(void *arg)
{
	struct rank *r = arg;

	CHECK(wait_for(&scribbled));
	CHECK(hocketCommAbort(r->comm) == hocketSuccess);
	return NULL;
}

static void fail_one(struct rank *r)
{
	const struct timespec nap = {0, 1000000};
	pthread_t aborter;

	if (r->rank == 1) {
		hocketResult_t failure = hocketSuccess;

		/* While rank 0 waits, this rank can write to its memory; and then does no more. */
		for (int i = 0; i < PATIENCE && !failure; i++) {
			if (hk_loop_scribble(world))
				atomic_store(&scribbled, true);
			CHECK(hocketCommGetAsyncError(r->comm, &failure) == hocketSuccess);
			nanosleep(&nap, NULL);
		}
		CHECK(failure != hocketSuccess);
		return;
	}
	if (way == ABORTED)
		CHECK(pthread_create(&aborter, NULL, abort_it, r) == 0);
	CHECK(receive(r) != hocketSuccess);
	/* It is ours again. */
	memset(r->out, 0, MOST * sizeof(*r->out));
	CHECK(atomic_load(&scribbled));
	CHECK(hk_loop_scribble(world) == 0);
	for (size_t i = 0; i < MOST; i++)
		CHECK(r->out[i] == 0);
	if (way == ABORTED) {
		pthread_join(aborter, NULL);
		r->comm = NULL;
	}
}

static void test_failures(void **state)
{
	for (way = BLOCKING; way <= ABORTED; way++) {
		atomic_store(&scribbled, false);
		run_ranks(2, HK_LOOP_OFFERS_TAKEN, 700, fail_one);
		end_world();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_collectives),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_failures),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	setenv("HOCKET_OFFER_BYTES", "64", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
