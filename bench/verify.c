/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Works through the buffers in blocks: the values of a block are made as doubles (which hold all of
 * them exactly), stored in the element's type, and compared as bytes; only a block that differs is
 * compared element by element, by value, so that a negative zero is no error.
 */
#include "verify.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "element.h"

#define BLOCK 512

const char *const hk_bench_op_names[HK_BENCH_NOPS] = {
	[hocketSum] = "sum", [hocketProd] = "prod", [hocketMax] = "max",
	[hocketMin] = "min", [hocketAvg] = "avg",   [HK_BENCH_MULSUM] = "mulsum",
};

/* What is the same for all elements of a call. */
struct plan {
	const struct hk_verify *v;
	const struct hk_element *e;
	double limit;	  /* values are drawn from [-limit, limit], or [0, limit] if unsigned */
	int contributors; /* how many ranks hold something other than the neutral value; -1: all */
};

double hk_verify_scalar(int rank)
{
	return 1 + rank % 2;
}

static struct plan make_plan(const struct hk_verify *v)
{
	const struct hk_element *e = &hk_elements[v->type];
	struct plan p = {v, e, e->exact, -1};

	switch (v->op) {
	case hocketProd:
		p.contributors = e->powers < v->nranks ? e->powers : v->nranks;
		break;
	case hocketSum:
	case hocketAvg:
	case HK_BENCH_MULSUM:
		if (v->op == HK_BENCH_MULSUM)
			p.limit /= 2;
		/* More ranks than the type can count: only some of them hold a one. */
		if (p.limit < v->nranks)
			p.contributors = (int)p.limit;
		p.limit = floor(p.limit / v->nranks);
		break;
	default:
		break;
	}
	return p;
}

/* splitmix64's finaliser. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t hash_index(const struct hk_verify *v, size_t index)
{
	return mix(v->seed + (index + 1) * 0x9e3779b97f4a7c15u);
}

/* A whole number in [-limit, limit], or [0, limit]. */
static double draw(const struct plan *p, uint64_t hash)
{
	uint64_t span = (uint64_t)p->limit * (p->e->is_signed ? 2 : 1) + 1;
	uint64_t n = (uint64_t)((unsigned __int128)hash * span >> 64);

	return p->e->is_signed ? (double)n - p->limit : (double)n;
}

/* `rank`'s input where `index_hash` is the element's hash. */
static double input(const struct plan *p, uint64_t index_hash, int rank)
{
	uint64_t h =
		(index_hash ^ (uint64_t)(rank + 1) * 0xd6e8feb86659fd93u) * 0xa0761d6478bd642fu;
	unsigned n = (unsigned)p->v->nranks;
	bool minus = p->e->is_signed && (h >> 33 & 1);

	h ^= h >> 32;
	h *= 0xe7037ed1a0b428dbu;
	if (p->contributors < 0)
		return draw(p, h);
	if (p->v->op == hocketProd) {
		unsigned twos = (unsigned)(index_hash % (unsigned)(p->contributors + 1));
		double magnitude = ((unsigned)rank + (index_hash >> 40)) % n < twos ? 2 : 1;

		return minus ? -magnitude : magnitude;
	}
	if (((unsigned)rank + (index_hash >> 40)) % n >= (unsigned)p->contributors)
		return 0;
	return minus ? -1 : 1;
}

static double combine(int op, double a, double b)
{
	switch (op) {
	case hocketProd:
		return a * b;
	case hocketMax:
		return a > b ? a : b;
	case hocketMin:
		return a < b ? a : b;
	default:
		return a + b;
	}
}

/* The result over all ranks; *tolerance is the error allowed in it. */
static double reduced(const struct plan *p, uint64_t index_hash, double *tolerance)
{
	const struct hk_verify *v = p->v;
	double acc = 0, magnitude = 0, quantum, eps;

	for (int r = 0; r < v->nranks; r++) {
		double x = input(p, index_hash, r);

		if (v->op == HK_BENCH_MULSUM)
			x *= hk_verify_scalar(r);
		acc = r ? combine(v->op, acc, x) : x;
		magnitude += fabs(x);
	}
	*tolerance = 0;
	if (v->op != hocketAvg)
		return acc;
	if (!p->e->is_float)
		return trunc(acc / v->nranks);
	if (v->nranks & (v->nranks - 1)) {
		/* 1/n, each product and each partial sum are rounded once. */
		eps = ldexp(1, -(int)p->e->mantissa_bits);
		quantum = ldexp(1, 2 - (1 << (p->e->exponent_bits - 1)) - (int)p->e->mantissa_bits);
		*tolerance = (v->nranks + 2) * (eps * magnitude / v->nranks + quantum);
	}
	return acc / v->nranks;
}

static bool tolerant(const struct hk_verify *v)
{
	return v->op == hocketAvg && hk_elements[v->type].is_float;
}

/* The values of one block: `rank`'s inputs, or the reduction if rank is -1. */
static void block_values(const struct plan *p, int rank, size_t first, size_t n, double *values,
			 double *tolerances)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t h = hash_index(p->v, first + i);

		tolerances[i] = 0;
		values[i] = rank < 0 ? reduced(p, h, &tolerances[i]) : input(p, h, rank);
	}
}

void hk_verify_fill(const struct hk_verify *v, int rank, size_t first, size_t n, void *dst)
{
	struct plan p = make_plan(v);
	double values[BLOCK], tolerances[BLOCK];
	char *out = dst;

	while (n) {
		size_t now = n < BLOCK ? n : BLOCK;

		block_values(&p, rank, first, now, values, tolerances);
		hk_element_store(v->type, values, now, out);
		out += now * p.e->size;
		first += now;
		n -= now;
	}
}

static size_t count_wrong(hocketDataType_t type, const double *values, const double *tolerances,
			  size_t n, const char *buf)
{
	double got[BLOCK];
	size_t wrong = 0;

	hk_element_load(type, buf, n, got);
	for (size_t i = 0; i < n; i++)
		wrong += !(fabs(got[i] - values[i]) <= tolerances[i]);
	return wrong;
}

static size_t verify(const struct hk_verify *v, int rank, size_t first, size_t n, const void *buf)
{
	struct plan p = make_plan(v);
	double values[BLOCK], tolerances[BLOCK];
	_Alignas(double) char stored[BLOCK * sizeof(double)];
	const char *in = buf;
	bool by_value = rank < 0 && tolerant(v);
	size_t wrong = 0;

	while (n) {
		size_t now = n < BLOCK ? n : BLOCK;

		block_values(&p, rank, first, now, values, tolerances);
		if (!by_value)
			hk_element_store(v->type, values, now, stored);
		if (by_value || memcmp(stored, in, now * p.e->size))
			wrong += count_wrong(v->type, values, tolerances, now, in);
		in += now * p.e->size;
		first += now;
		n -= now;
	}
	return wrong;
}

size_t hk_verify_input(const struct hk_verify *v, int rank, size_t first, size_t n, const void *buf)
{
	return verify(v, rank, first, n, buf);
}

size_t hk_verify_reduced(const struct hk_verify *v, size_t first, size_t n, const void *buf)
{
	return verify(v, -1, first, n, buf);
}
