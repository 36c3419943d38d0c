/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The logarithmic, direct, all-to-all and hierarchical algorithms: proved for 1 to 64 ranks and
 * some primes beyond, in place and not, fused and not, with blocks of differing sizes, and over
 * layouts of even and uneven, neighbouring and interleaved groups of one to three levels; and what
 * they cost by their own formulas is what their programs contain.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layout.h"
#include "programs.h"

static const char *const flat[] = {
	"direct_all_gather",	  "direct_reduce_scatter", "direct_all_to_all",
	"bruck_all_gather",	  "bruck_reduce_scatter",  "doubling_all_gather",
	"halving_reduce_scatter", "pairwise_all_to_all",   "bruck_all_to_all",
	"pat_all_gather",	  "pat_reduce_scatter",
};

/* --- what programs contain --- */

/* One connection's messages so far: their depths, and how many have been received. */
struct wire {
	uint32_t *depth, sent, got, max;
};

struct measure {
	const struct world *w;
	uint32_t channels;
	struct wire *wires;   /* [n][n][channels] */
	uint32_t **done, *at; /* [all lanes]: the depth after each step; the next step */
	uint32_t *lane_base;  /* [n + 1] */
	uint32_t most;	      /* depth of the deepest message */
};

static struct wire *wire(const struct measure *m, int from, int to, uint32_t channel)
{
	return &m->wires[((uint32_t)(from * m->w->n + to)) * m->channels + channel];
}

static void push(struct wire *k, uint32_t depth)
{
	if (k->sent == k->max) {
		k->max = k->max ? 2 * k->max : 4;
		k->depth = realloc(k->depth, k->max * sizeof(*k->depth));
		assert_non_null(k->depth);
	}
	k->depth[k->sent++] = depth;
}

/* Does a lane's next step if it can; a message is one deeper than the deepest that its sender had
 * to wait for. */
static bool advance(struct measure *m, int rank, uint32_t l)
{
	const struct hk_program *prog = m->w->programs[rank];
	const struct hk_lane *lane = &prog->lanes[l];
	uint32_t base = m->lane_base[rank], at = m->at[base + l], depth;
	const struct hk_step *s = &prog->steps[lane->first + at];
	unsigned does = hk_op_does[s->op];

	depth = at ? m->done[base + l][at - 1] : 0;
	for (uint32_t i = 0; i < s->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[s->dep + i];

		if (m->at[base + d->lane] <= d->step)
			return false;
		if (m->done[base + d->lane][d->step] > depth)
			depth = m->done[base + d->lane][d->step];
	}
	if (does & HK_DOES_RECV) {
		struct wire *k = wire(m, s->from, rank, lane->channel);

		if (k->got == k->sent)
			return false;
		if (k->depth[k->got] > depth)
			depth = k->depth[k->got];
		k->got++;
	}
	if (does & HK_DOES_SEND)
		push(wire(m, rank, s->to, lane->channel), depth + 1);
	if ((does & HK_DOES_SEND) && depth + 1 > m->most)
		m->most = depth + 1;
	m->done[base + l][at] = depth;
	m->at[base + l]++;
	return true;
}

static void run_all(struct measure *m)
{
	bool moved = true;

	while (moved) {
		moved = false;
		for (int r = 0; r < m->w->n; r++)
			for (uint32_t l = 0; l < m->w->programs[r]->nlanes; l++)
				while (m->at[m->lane_base[r] + l] <
					       m->w->programs[r]->lanes[l].nsteps &&
				       advance(m, r, l))
					moved = true;
	}
}

static uint32_t count_rounds(const struct world *w)
{
	struct measure m = {.w = w, .channels = 1};
	uint32_t nlanes = 0;

	m.lane_base = calloc((size_t)w->n + 1, sizeof(*m.lane_base));
	assert_non_null(m.lane_base);
	for (int r = 0; r < w->n; r++) {
		m.lane_base[r] = nlanes;
		nlanes += w->programs[r]->nlanes;
		for (uint32_t l = 0; l < w->programs[r]->nlanes; l++)
			if (w->programs[r]->lanes[l].channel >= m.channels)
				m.channels = w->programs[r]->lanes[l].channel + 1;
	}
	m.wires = calloc((size_t)w->n * (size_t)w->n * m.channels, sizeof(*m.wires));
	m.done = calloc(nlanes + 1, sizeof(*m.done));
	m.at = calloc(nlanes + 1, sizeof(*m.at));
	assert_true(m.wires && m.done && m.at);
	for (int r = 0; r < w->n; r++)
		for (uint32_t l = 0; l < w->programs[r]->nlanes; l++) {
			m.done[m.lane_base[r] + l] =
				calloc(w->programs[r]->lanes[l].nsteps, sizeof(uint32_t));
			assert_non_null(m.done[m.lane_base[r] + l]);
		}
	run_all(&m);
	for (uint32_t l = 0; l < nlanes; l++)
		free(m.done[l]);
	for (size_t i = 0; i < (size_t)w->n * (size_t)w->n * m.channels; i++)
		free(m.wires[i].depth);
	free(m.wires);
	free(m.done);
	free(m.at);
	free(m.lane_base);
	return m.most;
}

static struct hk_work count_work(const struct world *w)
{
	struct hk_work work = {.rounds = count_rounds(w)};

	for (int r = 0; r < w->n; r++) {
		const struct hk_program *prog = w->programs[r];
		uint32_t messages = 0;
		double sent = 0;

		for (uint32_t i = 0; i < prog->nsteps; i++) {
			if (!(hk_op_does[prog->steps[i].op] & HK_DOES_SEND))
				continue;
			messages++;
			sent += (double)prog->steps[i].nchunks / prog->period;
		}
		if (messages > work.messages)
			work.messages = messages;
		if (sent > work.sent)
			work.sent = sent;
	}
	return work;
}

/* --- proofs --- */

static void check_work(const struct hk_algo *algo, const struct world *w, const char *name)
{
	struct hk_work has = count_work(w), says = {0};

	algo->work(&w->p, &says);
	if (has.rounds != says.rounds || has.messages != says.messages ||
	    has.sent > says.sent + 1e-9 || has.sent < says.sent - 1e-9)
		fail_msg("%s takes %u rounds, %u messages, %g blocks, but its formulas say %u, %u, "
			 "%g",
			 name, has.rounds, has.messages, has.sent, says.rounds, says.messages,
			 says.sent);
}

/* Returns whether the algorithm takes the problem. */
static bool prove(const struct hk_algo *algo, const struct hk_problem *p, bool fuse,
		  const char *shape)
{
	struct hk_report report;
	struct world w;
	char name[160];

	if (!algo->accepts(p))
		return false;
	snprintf(name, sizeof(name), "%s, %d ranks%s, root %d, %u channels%s%s%s", algo->name,
		 p->nranks, shape, p->root, p->channels, p->inplace ? ", in place" : "",
		 p->varied ? ", varied" : "", fuse ? ", fused" : "");
	if (world_build_problem(&w, algo, p, fuse))
		fail_msg("%s: cannot be built", name);
	if (world_check(&w, 2, &report))
		fail_msg("%s: %s", name, report.text);
	if (!p->varied)
		check_work(algo, &w, name);
	world_free(&w);
	return true;
}

/* In place, fused, of differing sizes, or not. */
static void prove_forms(const struct hk_algo *algo, int n, uint32_t channels)
{
	bool taken = false;

	for (unsigned form = 0; form < 8; form++) {
		struct hk_problem p = {.coll = algo->coll,
				       .nranks = n,
				       .channels = channels,
				       .inplace = form & 1,
				       .varied = form & 2};

		taken |= prove(algo, &p, form & 4, "");
	}
	assert_true(taken);
}

static void test_flat(void **state)
{
	for (unsigned a = 0; a < sizeof(flat) / sizeof(flat[0]); a++) {
		const struct hk_algo *algo = hk_algo_find(flat[a]);

		assert_non_null(algo);
		for (int n = 1; n <= 64; n++)
			prove_forms(algo, n, 1);
		prove_forms(algo, 7, 3);
	}
}

static void test_primes(void **state)
{
	static const int primes[] = {67, 97, 131};

	for (unsigned a = 0; a < sizeof(flat) / sizeof(flat[0]); a++)
		for (unsigned i = 0; i < sizeof(primes) / sizeof(primes[0]); i++) {
			const struct hk_algo *algo = hk_algo_find(flat[a]);
			struct hk_problem p = {
				.coll = algo->coll, .nranks = primes[i], .channels = 1};

			assert_true(prove(algo, &p, true, ""));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flat),
		cmocka_unit_test(test_primes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
