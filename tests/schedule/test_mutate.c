/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mutation: every algorithm's schedules with one thing wrong, and the checker must refuse them all.
 * Every single step is deleted, every pair of neighbours in a lane is exchanged, every pair of
 * peers in a lane is exchanged, every peer is replaced, every dependency is deleted and redirected
 * to every other step. This also says that our schedules have no step and no dependency too many.
 *
 * Some exchanges change nothing: two sends of the same chunk to different peers, say. Whether a
 * mutant is such a harmless one is decided here, from what the two steps touch, without the
 * checker; those may be accepted or get stuck, but may never be called a race or a wrong result.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "programs.h"

/* More than the algorithms need, so that no mutant is refused for that alone. */
enum { SLOTS = 64 };

static struct {
	unsigned deleted, swapped, peers, replaced, deps, redirected, harmless;
} counts;

/* What is being mutated, for the sentence of a failure. */
static char context[160];

static void judge(struct world *w, bool harmless, unsigned *count)
{
	struct hk_report report;
	int rc = world_check(w, SLOTS, &report);

	if (harmless) {
		counts.harmless++;
		if (rc && report.phase != HK_CHECK_PROGRESS)
			fail_msg("%s: harmless, but refused: %s", context, report.text);
	} else {
		(*count)++;
		if (!rc)
			fail_msg(
				"%s: accepted; if this mutant is harmless, teach reorders_sends or "
				"reorders_receives why",
				context);
	}
	world_free(w);
}

/* Where both verdicts may be right, and which one is right takes the whole schedule to see. */
static void judge_either(struct world *w, bool either, unsigned *count)
{
	judge(w, either && !world_check(w, SLOTS, NULL), count);
}

/* A barrier that tells its words in another order may still tell all of them to everybody, as the
 * same word comes by several ways. */
static void judge_order(struct world *w, bool harmless, unsigned *count)
{
	if (harmless)
		judge(w, true, count);
	else
		judge_either(w, w->p.coll == HK_BARRIER, count);
}

/* A copy of the world whose program `rank` is to be mutated. */
static struct hk_program *mutant(const struct world *w, int rank, struct world *copy)
{
	assert_int_equal(world_clone(w, copy), 0);
	return copy->programs[rank];
}

static void delete_step(struct hk_program *prog, uint32_t lane, uint32_t at)
{
	uint32_t i = prog->lanes[lane].first + at;

	memmove(&prog->steps[i], &prog->steps[i + 1],
		(prog->nsteps - i - 1) * sizeof(*prog->steps));
	prog->nsteps--;
	prog->lanes[lane].nsteps--;
	for (uint32_t l = lane + 1; l < prog->nlanes; l++)
		prog->lanes[l].first--;
	for (uint32_t d = 0; d < prog->ndeps; d++)
		if (prog->deps[d].lane == lane && prog->deps[d].step && prog->deps[d].step >= at)
			prog->deps[d].step--;
}

static void delete_lane(struct hk_program *prog, uint32_t lane)
{
	prog->nlanes--;
	memmove(&prog->lanes[lane], &prog->lanes[lane + 1],
		(prog->nlanes - lane) * sizeof(*prog->lanes));
	for (uint32_t i = 0; i < prog->nsteps; i++) {
		struct hk_step *s = &prog->steps[i];

		for (uint16_t d = s->ndeps; d-- > 0;)
			if (prog->deps[s->dep + d].lane == lane)
				prog->deps[s->dep + d] = prog->deps[s->dep + --s->ndeps];
	}
	/* What is left of the table must make sense too, used or not. */
	for (uint32_t d = 0; d < prog->ndeps; d++) {
		if (prog->deps[d].lane == lane)
			prog->deps[d] = (struct hk_dep){0, 0};
		else if (prog->deps[d].lane > lane)
			prog->deps[d].lane--;
	}
}

/* --- what is harmless --- */

struct range {
	uint64_t first, n; /* of memory: OUT, then IN, then SCRATCH */
};

static struct range range_of(const struct world *w, const struct hk_program *prog, unsigned buf,
			     uint32_t chunk, uint32_t n)
{
	uint64_t base = 0;
	int64_t alias = buf == HK_IN ? hk_alias_out(&w->p, prog, chunk) : -1;

	if (buf == HK_IN && alias >= 0)
		chunk = (uint32_t)alias;
	else if (buf == HK_IN)
		base = 1u << 20;
	else if (buf == HK_SCRATCH)
		base = 2u << 20;
	return (struct range){base + chunk, buf == HK_NONE ? 0 : n};
}

static bool meet(struct range a, struct range b)
{
	return a.first < b.first + b.n && b.first < a.first + a.n;
}

/* Whether `a` writes what `b` reads or writes. */
static bool disturbs(const struct world *w, const struct hk_program *prog, const struct hk_step *a,
		     const struct hk_step *b)
{
	struct range dst = range_of(w, prog, a->dst_buf, a->dst, a->nchunks);

	return meet(dst, range_of(w, prog, b->dst_buf, b->dst, b->nchunks)) ||
	       meet(dst, range_of(w, prog, b->src_buf, b->src, b->nchunks));
}

/* Whether step `step` of the table, and what follows in its lane, has nothing to do with the steps
 * of another lane from `first` to `last`: then it may wait for something sooner than `last`, unless
 * others rely on it; such a dependency may be there to set the pace alone. */
static bool waits_too_long(const struct world *w, const struct hk_program *prog, uint32_t step,
			   uint32_t lane, uint32_t first, uint32_t last)
{
	uint32_t own = 0;

	while (step >= prog->lanes[own].first + prog->lanes[own].nsteps)
		own++;
	for (uint32_t i = first; i <= last; i++)
		for (uint32_t k = step; k < prog->lanes[own].first + prog->lanes[own].nsteps; k++) {
			const struct hk_step *a = &prog->steps[prog->lanes[lane].first + i];
			const struct hk_step *b = &prog->steps[k];

			if (disturbs(w, prog, a, b) || disturbs(w, prog, b, a))
				return false;
		}
	return true;
}

/* Whether a step's waiters are there for it: what they do, or their lanes after it, meets it. */
static bool is_needed(const struct world *w, const struct hk_program *prog, uint32_t lane,
		      uint32_t at, bool *awaited)
{
	*awaited = false;
	for (uint32_t i = 0; i < prog->nsteps; i++)
		for (uint32_t d = 0; d < prog->steps[i].ndeps; d++) {
			const struct hk_dep *dep = &prog->deps[prog->steps[i].dep + d];

			if (dep->lane != lane || dep->step != at)
				continue;
			*awaited = true;
			if (!waits_too_long(w, prog, i, lane, at, at))
				return true;
		}
	return false;
}

/* Neighbours: on different connections and in different memory, and nobody needs the first alone.
 * If it waits for something, or is waited for, others may rely on that: *unsure. */
static bool commute(const struct world *w, const struct hk_program *prog, uint32_t lane,
		    uint32_t at, bool *unsure)
{
	const struct hk_step *a = &prog->steps[prog->lanes[lane].first + at], *b = a + 1;
	bool awaited;

	if (is_needed(w, prog, lane, at, &awaited))
		return false;
	*unsure = a->ndeps || awaited;
	return !(a->to >= 0 && a->to == b->to) && !(a->from >= 0 && a->from == b->from) &&
	       !disturbs(w, prog, a, b) && !disturbs(w, prog, b, a);
}

static uint64_t class_of(const struct world *w, const struct hk_program *prog,
			 const struct hk_step *s)
{
	return hk_step_size(&w->p, prog, s, 0);
}

static bool reduces(const struct world *w, const struct hk_program *prog, const struct hk_step *s,
		    uint64_t class)
{
	for (uint32_t i = 0; hk_op_does[s->op] & HK_DOES_REDUCE && i < s->nchunks; i++)
		if (hk_step_size(&w->p, prog, s, i) == class)
			return true;
	return false;
}

/* Whether the order of the operands of these sums is nobody's affair: all ranks of an all-reduce
 * must have the same expression, and do if there is but one, which is then copied to all. */
static bool order_is_free(const struct world *w, uint64_t class)
{
	int reductions = 0;

	if (w->p.coll != HK_ALL_REDUCE)
		return true;
	for (int r = 0; r < w->n; r++)
		for (uint32_t i = 0; i < w->programs[r]->nsteps; i++)
			reductions += reduces(w, w->programs[r], &w->programs[r]->steps[i], class);
	return reductions == w->p.nranks - 1;
}

/* dst = dst (+) something, in either of the two ways to say so. */
static bool accumulates(const struct hk_step *s)
{
	return s->op == HK_REDUCE ||
	       (s->op == HK_RECV_REDUCE && s->src_buf == s->dst_buf && s->src == s->dst);
}

static bool reorders_sum(const struct world *w, int rank, const struct hk_step *a,
			 const struct hk_step *b)
{
	const struct hk_program *prog = w->programs[rank];

	return accumulates(a) && accumulates(b) && a->dst_buf == b->dst_buf && a->dst == b->dst &&
	       a->nchunks == b->nchunks && a->from != b->from && !a->ndeps && !b->ndeps &&
	       order_is_free(w, class_of(w, prog, a));
}

/* The chunks that a step sends, where they lie when it is done; HK_NONE: nowhere. */
static enum hk_buf sent_buf(const struct hk_step *s)
{
	return s->op == HK_SEND ? s->src_buf : s->dst_buf;
}

static uint32_t sent_chunk(const struct hk_step *s)
{
	return s->op == HK_SEND ? s->src : s->dst;
}

/* Steps i < j of a lane would only send the same chunks to the two peers in the other order. */
static bool reorders_sends(const struct hk_step *steps, uint32_t i, uint32_t j)
{
	const struct hk_step *a = &steps[i], *b = &steps[j];

	if (sent_buf(a) == HK_NONE || sent_buf(a) != sent_buf(b) ||
	    sent_chunk(a) != sent_chunk(b) || a->nchunks != b->nchunks || b->op != HK_SEND)
		return false;
	for (uint32_t k = i + 1; k < j; k++)
		if (steps[k].to == a->to || steps[k].to == b->to ||
		    (steps[k].dst_buf == sent_buf(a) && steps[k].dst == sent_chunk(a)))
			return false;
	return true;
}

/* Steps i < j of a lane would only take up the messages of two peers in the other order, into a
 * sum whose order is free and which nobody sees before it has both. */
static bool reorders_receives(const struct world *w, const struct hk_program *prog,
			      const struct hk_step *steps, uint32_t i, uint32_t j)
{
	const struct hk_step *a = &steps[i], *b = &steps[j];

	if ((a->op != HK_RECV && a->op != HK_RECV_REDUCE) || !(hk_op_does[b->op] & HK_DOES_RECV) ||
	    !(hk_op_does[b->op] & HK_DOES_REDUCE) || a->nchunks != b->nchunks ||
	    b->src_buf != a->dst_buf || b->src != a->dst)
		return false;
	for (uint32_t k = i + 1; k < j; k++)
		if (steps[k].from == a->from || steps[k].from == b->from ||
		    (hk_op_does[steps[k].op] & HK_DOES_SEND && disturbs(w, prog, a, &steps[k])))
			return false;
	return order_is_free(w, class_of(w, prog, a));
}

/* --- the mutations of one program --- */

static void mutate_step(const struct world *w, int rank, uint32_t lane, uint32_t at)
{
	const struct hk_program *prog = w->programs[rank];
	uint32_t first = prog->lanes[lane].first, nsteps = prog->lanes[lane].nsteps;
	const struct hk_step *s = &prog->steps[first + at];
	struct hk_program *m;
	struct world copy;

	m = mutant(w, rank, &copy);
	delete_step(m, lane, at);
	if (nsteps == 1)
		delete_lane(m, lane);
	/* In place a copy may bring back what is there anyway. */
	judge_either(&copy, w->p.inplace && s->op == HK_COPY, &counts.deleted);

	if (at + 1 < nsteps) {
		bool unsure = false, order = commute(w, prog, lane, at, &unsure);

		m = mutant(w, rank, &copy);
		m->steps[first + at] = s[1];
		m->steps[first + at + 1] = s[0];
		if (order && unsure)
			judge_either(&copy, true, &counts.swapped);
		else
			judge_order(&copy, order || reorders_sum(w, rank, &s[0], &s[1]),
				    &counts.swapped);
	}
	for (int peer = 0; peer < w->n; peer++) {
		if (s->to >= 0 && peer != s->to && peer != rank) {
			mutant(w, rank, &copy)->steps[first + at].to = peer;
			judge(&copy, false, &counts.replaced);
		}
		if (s->from >= 0 && peer != s->from && peer != rank) {
			mutant(w, rank, &copy)->steps[first + at].from = peer;
			judge(&copy, false, &counts.replaced);
		}
	}
}

static void exchange_peers(const struct world *w, int rank, uint32_t lane, uint32_t i, uint32_t j)
{
	const struct hk_program *prog = w->programs[rank];
	uint32_t first = prog->lanes[lane].first;
	const struct hk_step *a = &prog->steps[first + i], *b = &prog->steps[first + j];
	struct hk_program *m;
	struct world copy;

	if (a->to >= 0 && b->to >= 0 && a->to != b->to) {
		m = mutant(w, rank, &copy);
		m->steps[first + i].to = b->to;
		m->steps[first + j].to = a->to;
		judge_order(&copy, reorders_sends(&prog->steps[first], i, j), &counts.peers);
	}
	if (a->from >= 0 && b->from >= 0 && a->from != b->from) {
		m = mutant(w, rank, &copy);
		m->steps[first + i].from = b->from;
		m->steps[first + j].from = a->from;
		judge_order(&copy, reorders_receives(w, prog, &prog->steps[first], i, j),
			    &counts.peers);
	}
}

/* Whether who waits for step `at` of a lane waits for *old as well, by lanes and dependencies. */
static bool says_more(const struct hk_program *prog, uint32_t lane, uint32_t at,
		      const struct hk_dep *old)
{
	if (lane == old->lane)
		return at >= old->step;
	for (uint32_t i = 0; i <= at; i++) {
		const struct hk_step *s = &prog->steps[prog->lanes[lane].first + i];

		for (uint32_t d = 0; d < s->ndeps; d++)
			if (says_more(prog, prog->deps[s->dep + d].lane,
				      prog->deps[s->dep + d].step, old))
				return true;
	}
	return false;
}

static void mutate_dep(const struct world *w, int rank, uint32_t step, uint32_t dep)
{
	const struct hk_program *prog = w->programs[rank];
	const struct hk_dep *old = &prog->deps[prog->steps[step].dep + dep];
	struct hk_program *m;
	struct world copy;

	/* The one deleted goes behind the others, where nobody looks. */
	m = mutant(w, rank, &copy);
	m->deps[m->steps[step].dep + dep] =
		prog->deps[prog->steps[step].dep + prog->steps[step].ndeps - 1];
	m->steps[step].ndeps--;
	judge_either(&copy, waits_too_long(w, prog, step, old->lane, 0, old->step), &counts.deps);

	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t at = 0; at < prog->lanes[l].nsteps; at++) {
			if (says_more(prog, l, at, old))
				continue;
			m = mutant(w, rank, &copy);
			m->deps[m->steps[step].dep + dep] = (struct hk_dep){l, at};
			judge_either(&copy,
				     waits_too_long(w, prog, step, old->lane,
						    l == old->lane ? at + 1 : 0, old->step),
				     &counts.redirected);
		}
}

static void mutate_program(const struct world *w, int rank)
{
	const struct hk_program *prog = w->programs[rank];

	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++) {
			mutate_step(w, rank, l, i);
			for (uint32_t j = i + 1; j < prog->lanes[l].nsteps; j++)
				exchange_peers(w, rank, l, i, j);
		}
	for (uint32_t i = 0; i < prog->nsteps; i++)
		for (uint32_t d = 0; d < prog->steps[i].ndeps; d++)
			mutate_dep(w, rank, i, d);
}

static void mutate_form(const struct hk_algo *algo, int n, unsigned form)
{
	struct hk_problem p = {.coll = algo->coll,
			       .nranks = n,
			       .root = hk_coll_rooted(algo->coll) ? n / 2 : 0,
			       .channels = 1 + (form & 1),
			       .inplace = form & 2,
			       .varied = form & 8};
	struct world w;

	if (!algo->accepts(&p) || (p.varied && (n > 4 || !has_v_variant(p.coll))))
		return;
	assert_int_equal(world_build_problem(&w, algo, &p, form & 4), 0);
	for (int rank = 0; rank < n; rank++) {
		snprintf(context, sizeof(context), "%s, %d ranks, form %u, rank %d", algo->name, n,
			 form, rank);
		mutate_program(&w, rank);
	}
	world_free(&w);
}

static void test_mutants(void **state)
{
	static const int sizes[] = {2, 3, 4, 5, 8};

	for (unsigned a = 0; a < hk_nalgos; a++)
		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			for (unsigned form = 0; form < 16; form++)
				mutate_form(hk_algos[a], sizes[k], form);
	print_message(
		"[          ] refused: %u steps deleted, %u neighbours exchanged, %u pairs of "
		"peers exchanged, %u peers replaced, %u dependencies deleted, %u redirected; "
		"harmless: %u\n",
		counts.deleted, counts.swapped, counts.peers, counts.replaced, counts.deps,
		counts.redirected, counts.harmless);
	assert_true(counts.deleted > 1000);
	assert_true(counts.swapped > 1000);
	assert_true(counts.peers > 1000);
	assert_true(counts.replaced > 1000);
	assert_true(counts.deps > 100);
	assert_true(counts.redirected > 1000);
	assert_true(counts.harmless < counts.deleted + counts.swapped + counts.peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
