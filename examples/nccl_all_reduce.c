/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program written for NCCL, with one difference: its buffers may be host memory. It knows nothing
 * of Hocket; which library it runs on is decided when it starts (docs/nccl.md). All ranks are in
 * this process, and one thread makes their calls, in groups.
 *
 *     cc nccl_all_reduce.c -o nccl_all_reduce -I/usr/local/cuda/include -L DIR -lnccl
 */
#include <stdio.h>
#include <stdlib.h>

#include <nccl.h>

enum { RANKS = 4, COUNT = 1000 };

static void check(ncclResult_t result)
{
	if (result == ncclSuccess)
		return;
	fprintf(stderr, "%s: %s\n", ncclGetErrorString(result), ncclGetLastError(NULL));
	exit(1);
}

int main(void)
{
	static float in[RANKS][COUNT], out[RANKS][COUNT];
	ncclComm_t comms[RANKS];
	ncclUniqueId id;

	check(ncclGetUniqueId(&id));
	check(ncclGroupStart());
	for (int rank = 0; rank < RANKS; rank++)
		check(ncclCommInitRank(&comms[rank], RANKS, id, rank));
	check(ncclGroupEnd());
	check(ncclGroupStart());
	for (int rank = 0; rank < RANKS; rank++) {
		for (int i = 0; i < COUNT; i++)
			in[rank][i] = (float)(rank + 1);
		check(ncclAllReduce(in[rank], out[rank], COUNT, ncclFloat32, ncclSum, comms[rank],
				    NULL));
	}
	check(ncclGroupEnd());
	for (int rank = 0; rank < RANKS; rank++) {
		printf("rank %d of %d: the sum is %g\n", rank, RANKS, out[rank][COUNT - 1]);
		check(ncclCommDestroy(comms[rank]));
	}
	return 0;
}
