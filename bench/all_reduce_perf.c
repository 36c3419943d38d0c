/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-reduce benchmark. Each element leaves and enters every rank at least (n-1)/n times for the
 * reduction and as often for the distribution, hence the bus bandwidth factor 2(n-1)/n.
 */
#include "perf.h"

static void shape(size_t elements, int nranks, struct hk_perf_shape *s)
{
	*s = (struct hk_perf_shape){
		.count = elements, .send = elements, .recv = elements, .total = elements};
}

static double bus_factor(int nranks)
{
	return 2.0 * (nranks - 1) / nranks;
}

static size_t wrong(const struct hk_verify *v, const struct hk_perf_shape *s, int rank,
		    const void *recv)
{
	return hk_verify_reduced(v, 0, s->recv, recv);
}

int main(int argc, char **argv)
{
	static const struct hk_perf_collective coll = {
		.name = "all_reduce",
		.reduces = true,
		.shape = shape,
		.bus_factor = bus_factor,
		.call = hocketAllReduce,
		.wrong = wrong,
	};

	return hk_perf_main(argc, argv, &coll);
}
