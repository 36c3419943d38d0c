/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A benchmark of an all-reduce that damages one element on rank 0, or on GPUs takes the maxima: its
 * exit status must say so.
 */
#include "perf.h"

static hocketResult_t call(const struct hk_perf_call *c)
{
	struct hk_perf_call other = *c;
	hocketResult_t res;

	if (c->gpu)
		other.op = hocketMax;
	res = hk_perf_find("all_reduce")->call(&other);
	if (!c->gpu && c->who.rank == 0 && c->shape->count)
		((char *)c->recv)[0] ^= 1;
	return res;
}

int main(int argc, char **argv)
{
	struct hk_perf_collective coll = *hk_perf_find("all_reduce");

	coll.name = "wrong";
	coll.call = call;
	return hk_perf_main(argc, argv, &coll);
}
