/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The executor over the loop transport: all ranks in this thread, stepped in turn, so that every
 * run repeats exactly. Every algorithm, with delays, reordering between connections, few slots, odd
 * counts and several tiles; and what failing connections and wrong messages do to a call.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "algos.h"
#include "error.h"
#include "exec.h"
#include "loop.h"
#include "plan.h"

#define MAX_RANKS  9
#define SLOT_BYTES 4096u
#define MAX_POLLS  4000000

struct bench_rank {
	struct hk_binder binder;
	struct hk_endpoint *ep;
	struct hk_send *sends[MAX_RANKS][4];
	struct hk_recv *recvs[MAX_RANKS][4];
	struct hk_plan *plan;
	int64_t *in, *out;
};

struct world {
	int n;
	struct hk_loop *loop;
	struct bench_rank ranks[MAX_RANKS];
};

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct bench_rank *r = (struct bench_rank *)b;
	struct hk_send **known = &r->sends[peer][channel];
	int err = 0;

	if (!*known)
		err = r->ep->transport->connect_send(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct bench_rank *r = (struct bench_rank *)b;
	struct hk_recv **known = &r->recvs[peer][channel];
	int err = 0;

	if (!*known)
		err = r->ep->transport->connect_recv(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

static void setup(struct world *w, const struct hk_algo *algo, int n, uint32_t channels,
		  bool inplace, const struct hk_loop_faults *faults)
{
	const struct hk_transport *loop = hk_transport_find("loop");
	struct hk_problem p = {
		.coll = algo->coll, .nranks = n, .channels = channels, .inplace = inplace};

	memset(w, 0, sizeof(*w));
	w->n = n;
	assert_int_equal(hk_loop_create(n, faults, &w->loop), 0);
	for (int i = 0; i < n; i++) {
		struct bench_rank *r = &w->ranks[i];
		struct hk_endpoint_env env = {.rank = i,
					      .nranks = n,
					      .channels = 4,
					      .slots = 2,
					      .slot_bytes = SLOT_BYTES,
					      .loop = w->loop};
		struct hk_program *prog;
		struct hk_addr addr;

		r->binder = (struct hk_binder){bind_send, bind_recv};
		assert_int_equal(loop->open(&env, &r->ep, &addr), 0);
		assert_int_equal(hk_algo_program(algo, &p, i, true, &prog), 0);
		/* results of more than 16 KiB take the path past the cache */
		assert_int_equal(hk_plan_create(&p, prog, &r->binder, SLOT_BYTES, 16384, &r->plan),
				 0);
		assert_true(hk_plan_memory(r->plan) > 0);
	}
}

static void teardown(struct world *w)
{
	for (int i = 0; i < w->n; i++) {
		struct bench_rank *r = &w->ranks[i];

		hk_plan_destroy(r->plan);
		r->ep->transport->close(r->ep);
		free(r->in);
		if (r->out != r->in)
			free(r->out);
	}
	hk_loop_destroy(w->loop);
}

static int64_t value(int rank, size_t i)
{
	return (int64_t)(i * 31 + (size_t)rank * 1000003 + 7);
}

/* Sizes of IN and OUT in blocks, and where a rank's own block lies in place. */
static void blocks(enum hk_coll coll, int n, size_t *in, size_t *out)
{
	*in = coll == HK_REDUCE_SCATTER ? (size_t)n : 1;
	*out = coll == HK_ALL_GATHER ? (size_t)n : 1;
}

static void fill(struct world *w, enum hk_coll coll, size_t count, bool inplace,
		 struct hk_call *calls, uint32_t mark)
{
	size_t in, out;

	blocks(coll, w->n, &in, &out);
	for (int i = 0; i < w->n; i++) {
		struct bench_rank *r = &w->ranks[i];
		size_t most = (in > out ? in : out) * count + 1;
		int64_t *src;

		free(r->in);
		if (r->out != r->in)
			free(r->out);
		r->in = calloc(most, sizeof(int64_t));
		r->out = inplace ? r->in : calloc(most, sizeof(int64_t));
		assert_true(r->in && r->out);
		src = inplace && coll == HK_ALL_GATHER ? r->in + (size_t)i * count : r->in;
		for (size_t k = 0; k < in * count; k++)
			src[k] = value(i, k);
		calls[i] = (struct hk_call){.in = src,
					    .out = inplace && coll == HK_REDUCE_SCATTER
							   ? r->in + (size_t)i * count
							   : r->out,
					    .count = count,
					    .type = HK_INT64,
					    .op = HK_SUM,
					    .mark = mark};
	}
}

/* Steps all ranks in turn until all are done, or one fails (then its code). */
static int run(struct world *w, const struct hk_call *calls)
{
	bool done[MAX_RANKS] = {false};
	int left = w->n;

	for (int i = 0; i < w->n; i++)
		hk_plan_begin(w->ranks[i].plan, &calls[i]);
	for (int polls = 0; left && polls < MAX_POLLS; polls++) {
		int i = polls % w->n, r;
		bool moved = false;

		if (done[i])
			continue;
		r = hk_plan_poll(w->ranks[i].plan, &moved);
		if (r < 0)
			return r;
		done[i] = r == 1;
		left -= r == 1;
	}
	return left ? -ETIMEDOUT : 0;
}

static void verify(const struct world *w, enum hk_coll coll, size_t count, bool inplace,
		   const struct hk_call *calls)
{
	size_t in, out;

	blocks(coll, w->n, &in, &out);
	for (int i = 0; i < w->n; i++) {
		const int64_t *got = calls[i].out, *src = calls[i].in;

		for (size_t k = 0; k < out * count; k++) {
			int64_t want = 0;
			size_t at = coll == HK_REDUCE_SCATTER ? (size_t)i * count + k : k;

			if (coll == HK_ALL_GATHER)
				want = value((int)(k / count), k % count);
			else
				for (int r = 0; r < w->n; r++)
					want += value(r, at);
			if (got[k] != want)
				fail_msg("%s, %d ranks, count %zu: rank %d element %zu is %lld",
					 hk_coll_name(coll), w->n, count, i, k, (long long)got[k]);
		}
		for (size_t k = 0; !inplace && k < in * count; k++)
			assert_int_equal(src[k], value(i, k));
	}
}

static void all_counts(const struct hk_algo *algo, int n, uint32_t channels, bool inplace,
		       const struct hk_loop_faults *faults)
{
	static const size_t counts[] = {1, 2, 3, 5, 511, 513, 4099, 20011};
	struct hk_call calls[MAX_RANKS];
	struct world w;

	setup(&w, algo, n, channels, inplace, faults);
	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		fill(&w, algo->coll, counts[c], inplace, calls, 77 + (uint32_t)c);
		assert_int_equal(run(&w, calls), 0);
		verify(&w, algo->coll, counts[c], inplace, calls);
	}
	teardown(&w);
}

static void for_all(const struct hk_loop_faults *faults, int step)
{
	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int n = 1; n <= MAX_RANKS; n += step) {
			for (uint32_t channels = 1; channels <= 2; channels++) {
				struct hk_problem p = {.coll = hk_algos[a]->coll,
						       .nranks = n,
						       .channels = channels};

				if (!hk_algos[a]->accepts(&p))
					continue;
				all_counts(hk_algos[a], n, channels, false, faults);
				all_counts(hk_algos[a], n, channels, true, faults);
			}
		}
	}
}

static void test_every_algorithm(void **state)
{
	for_all(NULL, 1);
}

static void test_delays(void **state)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct hk_loop_faults faults = {.seed = seed, .max_delay = 20};

		for_all(&faults, 3);
	}
}

static void test_refusals(void **state)
{
	struct hk_loop_faults faults = {.seed = 5, .max_delay = 3, .max_refusals = 7};

	for_all(&faults, 3);
}

/* Whatever may be lent is read where it lies, late and in any order: a send that was wrongly taken
 * for lendable would show changed data. */
static void test_lending(void **state)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct hk_loop_faults faults = {.seed = seed, .max_delay = 40, .lend = true};

		for_all(&faults, 2);
	}
}

/* How many sends of rank 0's program may be lent. */
static unsigned count_lendable(const char *name, int n, bool inplace)
{
	const struct hk_algo *algo = hk_algo_find(name);
	struct hk_problem p = {.coll = algo->coll, .nranks = n, .channels = 1, .inplace = inplace};
	struct hk_program *prog;
	unsigned found = 0;

	assert_int_equal(hk_algo_program(algo, &p, 0, true, &prog), 0);
	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++)
			found += hk_plan_lendable(&p, prog, l, i);
	hk_program_free(prog);
	return found;
}

static void test_lendable(void **state)
{
	/* both exchanges: IN is never written, and a rank's result is final when it sends it */
	assert_int_equal(count_lendable("two_shot_all_reduce", 4, false), 6);
	/* in place IN is overwritten by the results of others: the second exchange only */
	assert_int_equal(count_lendable("two_shot_all_reduce", 4, true), 3);
	/* the first send, the finished chunk, and those passed on; not the partial sums */
	assert_int_equal(count_lendable("ring_all_reduce", 4, false), 4);
	assert_int_equal(count_lendable("ring_all_reduce", 4, true), 3);
	assert_int_equal(count_lendable("all_pairs_all_reduce", 4, true), 0);
}

/* A fault on one message of a ring of four: the code, and a sentence that says `word`. */
static void one_fault(enum hk_loop_hit_kind kind, int want, const char *word)
{
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_loop_faults faults = {.hits = {{.kind = kind, .src = 1, .dst = 2, .message = 3}}};
	struct hk_call calls[MAX_RANKS];
	struct world w;
	char text[256];

	setup(&w, algo, 4, 1, false, &faults);
	fill(&w, HK_ALL_REDUCE, 100, false, calls, 5);
	assert_int_equal(run(&w, calls), want);
	if (want == -ETIMEDOUT) {
		hk_plan_describe_wait(w.ranks[2].plan, text, sizeof(text));
		hk_set_last_error(text);
	}
	if (!strstr(hk_last_error(), word))
		fail_msg("'%s' does not say '%s'", hk_last_error(), word);
	teardown(&w);
}

static void test_faults(void **state)
{
	one_fault(HK_LOOP_KILL, -HK_EPEER, "rank");
	one_fault(HK_LOOP_TRUNCATE, -HK_EMISMATCH, "rank 1 called");
	one_fault(HK_LOOP_MARK, -HK_EMISMATCH, "rank 1 called");
	one_fault(HK_LOOP_DROP, -ETIMEDOUT, "a message from rank 1 over loop");
}

static int never_failed(struct hk_watch *w)
{
	return 0;
}

static int has_failed(struct hk_watch *w)
{
	return -HK_EPEER;
}

/* A lone rank waits for peers that do nothing: the deadline, or the watch, ends it. */
static void test_deadline(void **state)
{
	const struct hk_algo *algo = hk_algo_find("ring_all_reduce");
	struct hk_call calls[MAX_RANKS];
	struct hk_exec_stats stats = {0};
	struct hk_watch watch = {
		.failed = never_failed, .timeout_ns = 20000000, .spin_ns = 1000000};
	struct world w;

	setup(&w, algo, 3, 1, false, NULL);
	fill(&w, HK_ALL_REDUCE, 100, false, calls, 5);
	watch.endpoints = &w.ranks[0].ep;
	watch.nendpoints = 1;
	assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats), -ETIMEDOUT);
	assert_non_null(strstr(hk_last_error(), "HOCKET_TIMEOUT_MS"));
	assert_non_null(strstr(hk_last_error(), "from rank 2"));
	assert_true(stats.yields > 0 && stats.sleeps > 0);
	watch.failed = has_failed;
	assert_int_equal(hk_plan_run(w.ranks[0].plan, &calls[0], &watch, &stats), -HK_EPEER);
	teardown(&w);
}

/* avg of integers divides, pre-multiplied sums scale what is read from IN, wherever it is read. */
static void test_scalars(void **state)
{
	int64_t scalar = 3;

	for (unsigned a = 0; a < hk_nalgos; a++) {
		for (int inplace = 0; inplace < 2; inplace++) {
			struct hk_call calls[MAX_RANKS];
			struct world w;

			if (hk_algos[a]->coll != HK_ALL_REDUCE)
				continue;
			setup(&w, hk_algos[a], 5, 1, inplace, NULL);
			fill(&w, HK_ALL_REDUCE, 5003, inplace, calls, 9);
			for (int i = 0; i < w.n; i++) {
				calls[i].scalar = &scalar;
				calls[i].divide = 5;
			}
			assert_int_equal(run(&w, calls), 0);
			for (size_t k = 0; k < 5003; k++) {
				int64_t want = 0;

				for (int r = 0; r < w.n; r++)
					want += 3 * value(r, k);
				assert_int_equal(((const int64_t *)calls[4].out)[k], want / 5);
			}
			teardown(&w);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_algorithm), cmocka_unit_test(test_delays),
		cmocka_unit_test(test_refusals),	cmocka_unit_test(test_lending),
		cmocka_unit_test(test_lendable),	cmocka_unit_test(test_faults),
		cmocka_unit_test(test_deadline),	cmocka_unit_test(test_scalars),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
