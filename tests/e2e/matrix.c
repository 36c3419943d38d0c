/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One rank's part in the matrix (matrix.h): what each collective means, in a table of a few words
 * on each, from which the inputs and the promised outputs of any call follow.
 */
#include "matrix.h"

#include <stdint.h>

#define MOST_RANKS MATRIX_RANKS
#define GUARD	   0x5a

/* Who has the buffer, and whether it is one block or one for each rank. */
enum shape { ONE, EACH, ROOT_ONE, ROOT_EACH };

enum coll {
	ALL_REDUCE,
	REDUCE_SCATTER,
	ALL_GATHER,
	BROADCAST,
	REDUCE,
	ALL_TO_ALL,
	GATHER,
	SCATTER,
	BARRIER,
	NCOLLS
};

static const struct {
	const char *name;
	enum shape in, out;
	bool reduces, varies;
	const char *algos[8];
} colls[NCOLLS] = {
	[ALL_REDUCE] = {"all_reduce",
			ONE,
			ONE,
			true,
			false,
			{"ring_all_reduce", "all_pairs_all_reduce", "halving_doubling_all_reduce",
			 "two_shot_all_reduce", "double_tree_all_reduce",
			 "hierarchical_all_reduce"}},
	[REDUCE_SCATTER] = {"reduce_scatter",
			    EACH,
			    ONE,
			    true,
			    true,
			    {"ring_reduce_scatter", "direct_reduce_scatter", "bruck_reduce_scatter",
			     "halving_reduce_scatter", "pat_reduce_scatter",
			     "hierarchical_reduce_scatter"}},
	[ALL_GATHER] = {"all_gather",
			ONE,
			EACH,
			false,
			true,
			{"ring_all_gather", "direct_all_gather", "bruck_all_gather",
			 "doubling_all_gather", "pat_all_gather", "hierarchical_all_gather"}},
	[BROADCAST] = {"broadcast",
		       ROOT_ONE,
		       ONE,
		       false,
		       false,
		       {"direct_broadcast", "binomial_broadcast", "scatter_all_gather_broadcast",
			"double_tree_broadcast", "ring_broadcast", "hierarchical_broadcast"}},
	[REDUCE] = {"reduce",
		    ONE,
		    ROOT_ONE,
		    true,
		    false,
		    {"direct_reduce", "binomial_reduce", "reduce_scatter_gather_reduce",
		     "double_tree_reduce", "ring_reduce", "hierarchical_reduce"}},
	[ALL_TO_ALL] = {"all_to_all",
			EACH,
			EACH,
			false,
			true,
			{"direct_all_to_all", "pairwise_all_to_all", "bruck_all_to_all",
			 "hierarchical_all_to_all"}},
	[GATHER] = {"gather", ONE, ROOT_EACH, false, true, {"direct_gather", "binomial_gather"}},
	[SCATTER] =
		{"scatter", ROOT_EACH, ONE, false, true, {"direct_scatter", "binomial_scatter"}},
	[BARRIER] = {"barrier", ONE, ONE, true, false, {"direct_barrier", "dissemination_barrier"}},
};

/* --- one call --- */

struct problem {
	enum coll coll;
	int n, root;
	size_t count;
	hocketDataType_t type;
	hocketRedOp_t op;
	bool inplace, varied;
};

struct member {
	hocketComm_t comm;
	int rank, n;
	hocketRedOp_t triple; /* multiplies by 3 before it adds */
};

/* A buffer of one rank: its blocks by number of elements and by where they start. */
struct layout {
	size_t n, counts[MOST_RANKS], displs[MOST_RANKS], elems;
};

static bool each(enum shape s)
{
	return s == EACH || s == ROOT_EACH;
}

static int64_t value(int rank, size_t block, size_t i)
{
	return (int64_t)i * 31 + rank * 1000003 + (int64_t)block * 77 + 7;
}

/* Elements from rank `from` to rank `to`, or of the block of one of them (the other is -1). */
static size_t amount(const struct problem *p, int from, int to)
{
	return p->varied ? (size_t)((from + 1) * 5 + (to + 1) * 3) % 4 * p->count / 2 : p->count;
}

static void lay_out(const struct problem *p, int rank, bool in, struct layout *l)
{
	enum shape s = in ? colls[p->coll].in : colls[p->coll].out;
	bool both = each(colls[p->coll].in) && each(colls[p->coll].out);
	bool none = (s == ROOT_ONE || s == ROOT_EACH) && rank != p->root;
	size_t at = 0;

	l->n = none ? 0 : each(s) ? (size_t)p->n : 1;
	for (size_t i = 0; i < l->n; i++) {
		int block = each(s) ? (int)i : rank;

		l->counts[i] = !both ? amount(p, block, -1)
			       : in  ? amount(p, rank, block)
				     : amount(p, block, rank);
		l->displs[i] = at;
		at += l->counts[i] + p->varied; /* a gap */
	}
	l->elems = at;
}

/* The numbers that element i of a block of OUT is made of, reduced. */
static int64_t promised(const struct problem *p, int rank, size_t block, size_t i)
{
	size_t from = each(colls[p->coll].in) ? (size_t)rank : 0;
	int64_t v = 0;

	if (!colls[p->coll].reduces)
		return value(colls[p->coll].in >= ROOT_ONE ? p->root : (int)block, from, i);
	for (int r = 0; r < p->n; r++) {
		int64_t x = value(r, from, i);

		if (p->op == hocketMax)
			v = r && v > x ? v : x;
		else
			v += p->op >= hocketNumOps ? 3 * x : x;
	}
	return p->op == hocketAvg ? v / p->n : v;
}

static hocketResult_t call(const struct problem *p, const struct member *t, const void *in,
			   void *out, const struct layout *li, const struct layout *lo)
{
	const size_t *ic = li->counts, *id = li->displs, *oc = lo->counts, *od = lo->displs;

	switch (p->coll + (p->varied ? NCOLLS : 0)) {
	case ALL_REDUCE:
		return hocketAllReduce(in, out, p->count, p->type, p->op, t->comm, NULL);
	case REDUCE_SCATTER:
		return hocketReduceScatter(in, out, p->count, p->type, p->op, t->comm, NULL);
	case ALL_GATHER:
		return hocketAllGather(in, out, p->count, p->type, t->comm, NULL);
	case BROADCAST:
		return hocketBroadcast(in, out, p->count, p->type, p->root, t->comm, NULL);
	case REDUCE:
		return hocketReduce(in, out, p->count, p->type, p->op, p->root, t->comm, NULL);
	case ALL_TO_ALL:
		return hocketAlltoAll(in, out, p->count, p->type, t->comm, NULL);
	case GATHER:
		return hocketGather(in, out, p->count, p->type, p->root, t->comm, NULL);
	case SCATTER:
		return hocketScatter(in, out, p->count, p->type, p->root, t->comm, NULL);
	case NCOLLS + REDUCE_SCATTER:
		return hocketReduceScatterV(in, ic, id, out, p->type, p->op, t->comm, NULL);
	case NCOLLS + ALL_GATHER:
		return hocketAllGatherV(in, ic[0], out, oc, od, p->type, t->comm, NULL);
	case NCOLLS + ALL_TO_ALL:
		return hocketAlltoAllV(in, ic, id, out, oc, od, p->type, t->comm, NULL);
	case NCOLLS + GATHER:
		return hocketGatherV(in, ic[0], out, oc, od, p->type, p->root, t->comm, NULL);
	case NCOLLS + SCATTER:
		return hocketScatterV(in, ic, id, out, oc[0], p->type, p->root, t->comm, NULL);
	default:
		return hocketBarrier(t->comm, NULL);
	}
}

/* Which blocks of IN and OUT are the same memory in place; false if this rank has none such. */
static bool alias(const struct problem *p, int rank, const struct layout *li,
		  const struct layout *lo, size_t *in, size_t *out)
{
	bool one = !each(colls[p->coll].in), other = !each(colls[p->coll].out);

	*in = !one && other ? (size_t)rank : 0;
	*out = one && !other ? (size_t)rank : 0;
	return li->n && lo->n && p->coll != ALL_TO_ALL;
}

static void fill(const struct problem *p, int rank, uint8_t *in, const struct layout *l)
{
	size_t size = e2e_size(p->type);

	for (size_t b = 0; b < l->n; b++)
		for (size_t i = 0; i < l->counts[b]; i++) {
			int64_t v = value(rank, b, i); /* little endian: its low bytes */

			memcpy(in + (l->displs[b] + i) * size, &v, size);
		}
}

static void wrong(const struct problem *p, int rank, const char *what, size_t at)
{
	fprintf(stderr,
		"%s, %d ranks, root %d, %zu elements of %zu bytes, op %d%s%s: rank %d: %s (%zu): "
		"%s\n",
		colls[p->coll].name, p->n, p->root, p->count, e2e_size(p->type), p->op,
		p->inplace ? ", in place" : "", p->varied ? ", varied" : "", rank, what, at,
		hocketGetLastError(NULL));
	exit(1);
}

/* Every element of the blocks, and what lies between and behind them. */
static void verify(const struct problem *p, int rank, const uint8_t *out, const struct layout *l,
		   bool gaps)
{
	size_t size = e2e_size(p->type), at = 0;

	for (size_t b = 0; b < l->n; b++) {
		for (size_t i = 0; i < l->counts[b]; i++, at++) {
			int64_t v = promised(p, rank, b, i);

			if (memcmp(out + at * size, &v, size) != 0)
				wrong(p, rank, "a wrong element", at);
		}
		for (size_t i = 0; gaps && i < (p->varied ? size : 0); i++)
			if (out[at * size + i] != GUARD)
				wrong(p, rank, "a gap is written to", at);
		at += p->varied;
	}
	for (size_t i = 0; gaps && i < 64; i++)
		if (out[at * size + i] != GUARD)
			wrong(p, rank, "written past the end", at);
}

static void run(const struct problem *p, const struct member *t)
{
	size_t size = e2e_size(p->type), a = 0, b = 0;
	struct layout li, lo;
	uint8_t *in, *out, *to;
	bool shared;

	lay_out(p, t->rank, true, &li);
	lay_out(p, t->rank, false, &lo);
	shared = alias(p, t->rank, &li, &lo, &a, &b) && p->inplace;
	in = malloc(li.elems * size + 64);
	out = malloc(lo.elems * size + 64);
	if (!in || !out)
		wrong(p, t->rank, "no memory", 0);
	memset(out, GUARD, lo.elems * size + 64);
	fill(p, t->rank, in, &li);
	to = out;
	if (shared && li.n > 1) {
		to = in + li.displs[a] * size;
	} else if (shared) {
		memcpy(out + lo.displs[b] * size, in, li.elems * size);
		free(in);
		in = NULL;
	}
	if (call(p, t, li.n ? in ? in : out + lo.displs[b] * size : NULL, lo.n ? to : NULL, &li,
		 &lo))
		wrong(p, t->rank, "failed", 0);
	if (p->coll != BARRIER)
		verify(p, t->rank, to, &lo, !shared);
	free(in);
	free(out);
}

/* --- all calls --- */

static const size_t counts[] = {4099, 1, 7, 0, 601};
static const hocketDataType_t types[] = {hocketInt64, hocketUint8, hocketInt32, hocketInt64,
					 hocketUint64};
#define NCOUNTS (sizeof(counts) / sizeof(counts[0]))

static void run_coll(const struct member *t, enum coll coll)
{
	const hocketRedOp_t ops[] = {hocketSum, hocketSum, hocketSum,
				     hocketAvg, t->triple, hocketMax};

	/* The form changes with the count, so that all meet and few are run. */
	for (unsigned i = 0; i < (t->n < 9 ? 2 * NCOUNTS : 5); i++) {
		unsigned c = i % NCOUNTS;
		struct problem p = {.coll = coll,
				    .n = t->n,
				    .root = (int)(i * 3 + 1) % t->n,
				    .count = counts[c],
				    .type = types[c],
				    .op = ops[types[c] == hocketInt64 ? 2 + (i + 1) % 4 : 0],
				    .inplace = i % 2 && coll != ALL_TO_ALL};

		if (t->n > 9 && p.count > 1000)
			p.count = 1031;
		run(&p, t);
		p.varied = colls[coll].varies;
		p.inplace = !p.inplace && coll != ALL_TO_ALL;
		if (p.varied || i < 2)
			run(&p, t);
	}
}

/* --- algorithms --- */

/* The algorithm of a collective in a round. */
static const char *algo_of(enum coll coll, unsigned round)
{
	unsigned n = 0;

	while (n < 8 && colls[coll].algos[n])
		n++;
	return colls[coll].algos[round % n];
}

void matrix_algorithms(unsigned round, char *list, size_t bytes)
{
	size_t at = 0;

	for (int coll = 0; coll < NCOLLS; coll++)
		at += (size_t)snprintf(list + at, at < bytes ? bytes - at : 0, "%s%s",
				       at ? "," : "", algo_of(coll, round));
	CHECK(at < bytes);
}

static bool is_known(const char *name)
{
	for (int coll = 0; coll < NCOLLS; coll++)
		for (unsigned i = 0; i < 8 && colls[coll].algos[i]; i++)
			if (!strcmp(colls[coll].algos[i], name))
				return true;
	return false;
}

void matrix_complete(void)
{
	const char *name, *of;

	for (int i = 0; hocketListAlgorithm(i, &name, &of) == hocketSuccess; i++) {
		if (is_known(name) || !strncmp(name, "switch_", 7))
			continue;
		fprintf(stderr, "%s is not in the table of matrix.c\n", name);
		exit(1);
	}
}

/* --- one rank --- */

void matrix_run(hocketComm_t comm, int rank, int n, unsigned round, struct matrix_seen *seen)
{
	struct member m = {.comm = comm, .rank = rank, .n = n};
	int64_t three = 3;

	OK(hocketRedOpCreatePreMulSum(&m.triple, &three, hocketInt64, hocketScalarHostImmediate,
				      comm));
	for (int coll = 0; coll < NCOLLS; coll++) {
		const char *name = "";

		OK(hocketCommGetAlgorithm(comm, colls[coll].name, 4099 * 8, &name, NULL));
		if (!strcmp(name, algo_of(coll, round)))
			seen->in_use[coll] = true;
		run_coll(&m, coll);
	}
}

void matrix_run_long(hocketComm_t comm, int rank, int n, size_t count)
{
	const struct member m = {.comm = comm, .rank = rank, .n = n};

	for (int coll = 0; coll < BARRIER; coll++)
		for (int form = 0; form < 3; form++) {
			struct problem p = {.coll = (enum coll)coll,
					    .n = n,
					    .root = form % n,
					    .count = count,
					    .type = hocketInt64,
					    .op = hocketSum,
					    .inplace = form == 1 && coll != ALL_TO_ALL,
					    .varied = form == 2};

			if (!p.varied || colls[coll].varies)
				run(&p, &m);
		}
}

void matrix_all_seen(const struct matrix_seen *seen, unsigned round)
{
	for (int coll = 0; coll < NCOLLS; coll++)
		if (!seen->in_use[coll]) {
			fprintf(stderr, "%s was never in use\n", algo_of(coll, round));
			exit(1);
		}
}
