/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All-gather benchmark. The size is that of the receive buffer, to which every rank contributes one
 * n-th; the bus bandwidth factor is (n-1)/n.
 */
#include "element.h"
#include "perf.h"

static void shape(size_t elements, int nranks, struct hk_perf_shape *s)
{
	size_t part = elements / (size_t)nranks, all = part * (size_t)nranks;

	*s = (struct hk_perf_shape){
		.count = part, .send = part, .recv = all, .total = all, .send_stride = part};
}

static double bus_factor(int nranks)
{
	return (nranks - 1.0) / nranks;
}

static hocketResult_t call(const void *send, void *recv, size_t count, hocketDataType_t type,
			   hocketRedOp_t op, hocketComm_t comm, hocketStream_t stream)
{
	return hocketAllGather(send, recv, count, type, comm, stream);
}

static size_t wrong(const struct hk_verify *v, const struct hk_perf_shape *s, int rank,
		    const void *recv)
{
	size_t bytes = s->count * hk_elements[v->type].size, n = 0;

	for (int r = 0; r < v->nranks; r++)
		n += hk_verify_input(v, r, 0, s->count, (const char *)recv + (size_t)r * bytes);
	return n;
}

int main(int argc, char **argv)
{
	static const struct hk_perf_collective coll = {
		.name = "all_gather",
		.reduces = false,
		.shape = shape,
		.bus_factor = bus_factor,
		.call = call,
		.wrong = wrong,
	};

	return hk_perf_main(argc, argv, &coll);
}
