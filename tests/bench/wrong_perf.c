/* SPDX-License-Identifier: BSD-3-Clause */
/* A benchmark of an all-reduce that damages one element on rank 0: its exit status must say so. */
#include "perf.h"

static void shape(size_t elements, int nranks, struct hk_perf_shape *s)
{
	*s = (struct hk_perf_shape){
		.count = elements, .send = elements, .recv = elements, .total = elements};
}

static double bus_factor(int nranks)
{
	return 1;
}

static hocketResult_t call(const void *send, void *recv, size_t count, hocketDataType_t type,
			   hocketRedOp_t op, hocketComm_t comm, hocketStream_t stream)
{
	hocketResult_t res = hocketAllReduce(send, recv, count, type, op, comm, stream);
	int rank = 1;

	hocketCommUserRank(comm, &rank);
	if (rank == 0 && count)
		((char *)recv)[0] ^= 1;
	return res;
}

static size_t wrong(const struct hk_verify *v, const struct hk_perf_shape *s, int rank,
		    const void *recv)
{
	return hk_verify_reduced(v, 0, s->recv, recv);
}

int main(int argc, char **argv)
{
	static const struct hk_perf_collective coll = {
		.name = "wrong",
		.reduces = true,
		.shape = shape,
		.bus_factor = bus_factor,
		.call = call,
		.wrong = wrong,
	};

	return hk_perf_main(argc, argv, &coll);
}
