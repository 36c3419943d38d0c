/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reduce-scatter benchmark. The size is that of the send buffer, of which every rank gets one n-th,
 * reduced; the bus bandwidth factor is (n-1)/n.
 */
#include "perf.h"

static void shape(size_t elements, int nranks, struct hk_perf_shape *s)
{
	size_t part = elements / (size_t)nranks, all = part * (size_t)nranks;

	*s = (struct hk_perf_shape){
		.count = part, .send = all, .recv = part, .total = all, .recv_stride = part};
}

static double bus_factor(int nranks)
{
	return (nranks - 1.0) / nranks;
}

static size_t wrong(const struct hk_verify *v, const struct hk_perf_shape *s, int rank,
		    const void *recv)
{
	return hk_verify_reduced(v, (size_t)rank * s->count, s->recv, recv);
}

int main(int argc, char **argv)
{
	static const struct hk_perf_collective coll = {
		.name = "reduce_scatter",
		.reduces = true,
		.shape = shape,
		.bus_factor = bus_factor,
		.call = hocketReduceScatter,
		.wrong = wrong,
	};

	return hk_perf_main(argc, argv, &coll);
}
