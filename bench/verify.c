/* SPDX-License-Identifier: BSD-3-Clause */
/* What is drawn for a type, an operation and a number of ranks; values.h does the rest. */
#include "verify.h"

#include <math.h>

#include "element.h"
#include "values.h"

const char *const hk_bench_op_names[HK_BENCH_NOPS] = {
	[hocketSum] = "sum", [hocketProd] = "prod", [hocketMax] = "max",
	[hocketMin] = "min", [hocketAvg] = "avg",   [HK_BENCH_MULSUM] = "mulsum",
};

double hk_verify_scalar(int rank)
{
	return hk_value_scalar(rank);
}

void hk_verify_values(const struct hk_verify *v, struct hk_values *values)
{
	const struct hk_element *e = &hk_elements[v->type];
	double limit = e->exact;
	int contributors = -1, man = (int)e->mantissa_bits;

	switch (v->op) {
	case hocketProd:
		contributors = e->powers < v->nranks ? e->powers : v->nranks;
		break;
	case hocketSum:
	case hocketAvg:
	case HK_BENCH_MULSUM:
		if (v->op == HK_BENCH_MULSUM)
			limit /= 2;
		/* More ranks than the type can count: only some of them hold a one. */
		if (limit < v->nranks)
			contributors = (int)limit;
		limit = floor(limit / v->nranks);
		break;
	default:
		break;
	}
	*values = (struct hk_values){
		.format = hk_element_format(v->type),
		.op = v->op,
		.nranks = v->nranks,
		.contributors = contributors,
		.rounded = v->op == hocketAvg && e->is_float && (v->nranks & (v->nranks - 1)),
		.limit = limit,
		.seed = v->seed,
	};
	if (!values->rounded)
		return;
	values->eps = ldexp(1, -man);
	values->quantum = ldexp(1, 2 - (1 << (e->exponent_bits - 1)) - man);
}

void hk_verify_fill(const struct hk_verify *v, int rank, size_t first, size_t n, void *dst)
{
	struct hk_values values;

	hk_verify_values(v, &values);
	hk_values_fill(&values, rank, first, n, dst, 0, 1);
}

static size_t verify(const struct hk_verify *v, int rank, size_t first, size_t n, const void *buf)
{
	struct hk_wrong wrong = HK_NONE_WRONG;
	struct hk_values values;

	hk_verify_values(v, &values);
	hk_values_check(&values, rank, first, n, buf, 0, 0, 1, &wrong);
	return wrong.count;
}

size_t hk_verify_input(const struct hk_verify *v, int rank, size_t first, size_t n, const void *buf)
{
	return verify(v, rank, first, n, buf);
}

size_t hk_verify_reduced(const struct hk_verify *v, size_t first, size_t n, const void *buf)
{
	return verify(v, -1, first, n, buf);
}
