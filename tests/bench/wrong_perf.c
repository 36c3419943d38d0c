/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A benchmark of an all-reduce that damages one byte on rank 0, of the middle element: its exit
 * status must say so, and its output which element it is.
 */
#include "element.h"
#include "perf.h"

static hocketResult_t call(const struct hk_perf_call *c)
{
	hocketResult_t res = hk_perf_find("all_reduce")->call(c);
	size_t size = hk_elements[c->type].size;
	char *last = (char *)c->recv + (c->shape->count / 2 + 1) * size - 1;

	if (c->who.rank || !c->shape->count || res != hocketSuccess)
		return res;
	/* The largest exponents, or as an integer far too many. */
	if (!c->gpu)
		*last = 0x7f;
	else if (hk_bench_gpu_set(c->gpu, last, 0x7f, 1))
		return hocketUnhandledCudaError;
	return hocketSuccess;
}

int main(int argc, char **argv)
{
	struct hk_perf_collective coll = *hk_perf_find("all_reduce");

	coll.name = "wrong";
	coll.call = call;
	return hk_perf_main(argc, argv, &coll);
}
