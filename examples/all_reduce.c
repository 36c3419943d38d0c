/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest whole program: every rank contributes its number plus one, and every rank gets the
 * sum. Run it with
 *
 *     hocket run -n 4 ./all_reduce
 *
 * which tells each process its rank, the number of ranks, and the group's unique id.
 */
#include <stdio.h>
#include <stdlib.h>

#include <hocket/hocket.h>

static void check(hocketResult_t result)
{
	if (result == hocketSuccess)
		return;
	fprintf(stderr, "%s: %s\n", hocketGetErrorString(result), hocketGetLastError(NULL));
	exit(1);
}

int main(void)
{
	const char *rank_text = getenv("HOCKET_RANK");
	const char *nranks_text = getenv("HOCKET_NRANKS");
	const char *id_text = getenv("HOCKET_ID");
	float in[1000], out[1000];
	hocketUniqueId id;
	hocketComm_t comm;
	int rank, nranks;

	if (!rank_text || !nranks_text || !id_text) {
		fprintf(stderr, "usage: hocket run -n 4 ./all_reduce\n");
		return 2;
	}
	rank = atoi(rank_text);
	nranks = atoi(nranks_text);
	for (int i = 0; i < HOCKET_UNIQUE_ID_BYTES; i++)
		sscanf(id_text + 2 * i, "%2hhx", (unsigned char *)&id.internal[i]);

	check(hocketCommInitRank(&comm, nranks, id, rank));
	for (int i = 0; i < 1000; i++)
		in[i] = (float)(rank + 1);
	check(hocketAllReduce(in, out, 1000, hocketFloat32, hocketSum, comm, NULL));
	printf("rank %d of %d: the sum is %g\n", rank, nranks, out[0]);
	check(hocketCommDestroy(comm));
	return 0;
}
