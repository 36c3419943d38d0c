/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reducer in the place of a switch's program: the ranks' programs of the algorithms with
 * switches, unchanged, run by the executor over ports, one thread a rank, and give the results, to
 * the bit, that a switch folding in rank order gives.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "algos.h"
#include "exec.h"
#include "layout.h"
#include "port.h"

#define RANKS	   4
#define SLOT_BYTES 4096u
#define MOST	   5003

struct member {
	struct hk_binder binder;
	pthread_t thread;
	int rank;
	const struct hk_algo *algo;
	struct hk_problem p;
	struct hk_reduce_port *port;
	struct hk_plan *plan;
	float *in, *out;
	int err;
};

static int parent[RANKS + 1] = {RANKS, RANKS, RANKS, RANKS, -1};
static const struct hk_layout star = {.nranks = RANKS, .nswitches = 1, .parent = parent};

static void reduce(enum hk_type type, enum hk_redop op, void *dst, const void *a, const void *b,
		   size_t n)
{
	hk_kernels()->reduce[type][op](dst, a, b, n);
}

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	*conn = hk_reduce_port_send(((struct member *)b)->port);
	return 0;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	*conn = hk_reduce_port_recv(((struct member *)b)->port);
	return 0;
}

/* Sums of these depend on the order. */
static float value(int rank, size_t i)
{
	return (float)((i * 7 + (size_t)rank * 13) % 101) * (rank % 2 ? 1e-4f : 1e5f) + 0.3f;
}

static void expect(const struct member *m, size_t count)
{
	size_t blocks = hk_coll_blocks(&m->p, m->rank, HK_OUT);

	for (size_t i = 0; i < blocks * count; i++) {
		float want = 0;

		for (uint32_t k = 0; k < hk_coll_contributions(&m->p); k++) {
			uint32_t block = 0;
			int from = 0;
			float x;

			hk_coll_contribution(&m->p, m->rank, (uint32_t)(i / count), k, &from,
					     &block);
			x = value(from, block * count + i % count);
			if (k)
				reduce(HK_FLOAT32, HK_SUM, &want, &want, &x, 1);
			else
				want = x;
		}
		if (m->p.coll != HK_BARRIER && memcmp(&want, &m->out[i], sizeof(want)))
			fail_msg("%s: rank %d, element %zu is %g, not %g", m->algo->name, m->rank,
				 i, (double)m->out[i], (double)want);
	}
}

static int never_fails(struct hk_watch *w)
{
	return 0;
}

/* A rank's calls. */
static void *run(void *arg)
{
	static const size_t counts[] = {1, 77, MOST};
	struct hk_watch watch = {.failed = never_fails, .timeout_ns = 20000000000};
	struct hk_exec_stats stats = {0};
	struct member *m = arg;

	for (unsigned i = 0; i < 3 && !m->err; i++) {
		struct hk_call call = {.in = m->in,
				       .out = m->out,
				       .count = m->p.coll == HK_BARRIER ? 1 : counts[i],
				       .type = HK_FLOAT32,
				       .op = HK_SUM,
				       .mark = 4711 + i};
		struct hk_reduce_call what = {m->p.coll, HK_FLOAT32, HK_SUM, m->p.root};

		m->err = hk_reduce_port_begin(m->port, &what);
		if (!m->err)
			m->err = hk_plan_run(m->plan, &call, &watch, &stats);
	}
	return NULL;
}

static void set_up(struct member *m, struct hk_reducer_device *dev, const struct hk_algo *algo,
		   int rank)
{
	struct hk_reduce_meeting meeting = {.key = {9}, .members = RANKS, .member = (uint32_t)rank};
	struct hk_reduce_group *g = NULL;
	struct hk_program *prog = NULL;

	*m = (struct member){.binder = {bind_send, bind_recv, 0}, .rank = rank, .algo = algo};
	m->p = (struct hk_problem){
		.coll = algo->coll, .nranks = RANKS, .channels = 1, .layout = &star};
	if (hk_coll_rooted(algo->coll))
		m->p.root = 2;
	assert_int_equal(dev->reducer->create(dev, &meeting, &g), 0);
	assert_int_equal(hk_reduce_port_open(g, RANKS, SLOT_BYTES, &m->port), 0);
	assert_int_equal(hk_algo_program(algo, &m->p, rank, true, &prog), 0);
	assert_int_equal(hk_plan_create(&m->p, prog, &m->binder, SLOT_BYTES, SIZE_MAX, &m->plan),
			 0);
	m->in = calloc(RANKS * MOST, sizeof(float));
	m->out = calloc(RANKS * MOST, sizeof(float));
	assert_true(m->in && m->out);
	for (size_t i = 0; i < RANKS * MOST; i++)
		m->in[i] = value(rank, i);
}

static void tear_down(struct member *m)
{
	hk_plan_destroy(m->plan);
	hk_reduce_port_close(m->port);
	free(m->in);
	free(m->out);
}

static void test_ranks_programs(void **state)
{
	const struct hk_reducer_env env = {reduce};
	const struct hk_reducer *r = hk_reducer_find("example");
	struct hk_reducer_device *dev = NULL;
	unsigned tried = 0;

	assert_int_equal(r->open(&env, &dev), 0);
	for (unsigned a = 0; a < hk_nalgos; a++) {
		struct hk_problem p = {
			.coll = hk_algos[a]->coll, .nranks = RANKS, .channels = 1, .layout = &star};
		struct member m[RANKS];

		if (hk_algo_participants(hk_algos[a], &p) == RANKS)
			continue;
		for (int i = 0; i < RANKS; i++)
			set_up(&m[i], dev, hk_algos[a], i);
		for (int i = 0; i < RANKS; i++)
			assert_int_equal(pthread_create(&m[i].thread, NULL, run, &m[i]), 0);
		for (int i = 0; i < RANKS; i++)
			pthread_join(m[i].thread, NULL);
		for (int i = 0; i < RANKS; i++) {
			assert_int_equal(m[i].err, 0);
			expect(&m[i], m[i].p.coll == HK_BARRIER ? 1 : MOST);
			tear_down(&m[i]);
		}
		tried++;
	}
	assert_true(tried >= 6);
	r->close(dev);
}

/* What a reducer cannot take is said when the port is opened, not in the middle of a call. */
static void test_slots_too_large(void **state)
{
	const struct hk_reducer_env env = {reduce};
	const struct hk_reducer *r = hk_reducer_find("example");
	struct hk_reduce_meeting meeting = {.key = {8}, .members = 2};
	struct hk_reduce_port *port = NULL;
	struct hk_reducer_device *dev = NULL;
	struct hk_reduce_group *g = NULL;
	struct hk_reducer_caps caps;

	assert_int_equal(r->open(&env, &dev), 0);
	r->caps(dev, &caps);
	assert_int_equal(r->create(dev, &meeting, &g), 0);
	assert_true(hk_reduce_port_open(g, 2, caps.payload + 4096, &port) < 0);
	assert_null(port);
	hk_reduce_port_close(NULL);
	r->close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranks_programs),
		cmocka_unit_test(test_slots_too_large),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
