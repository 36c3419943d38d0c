/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The smallest whole program: every rank contributes its number plus one, and every rank gets the
 * sum. Any launcher starts it:
 *
 *     hocket run -n 4 ./all_reduce
 *     mpirun -n 4 ./all_reduce
 *     srun --mpi=pmix -n 4 ./all_reduce
 *
 * hocket/launch.h finds out which rank this is, and brings the group's unique id.
 */
#include <stdio.h>
#include <stdlib.h>

#include <hocket/hocket.h>
#include <hocket/launch.h>

static void check_launch(hocketResult_t result)
{
	if (result == hocketSuccess)
		return;
	fprintf(stderr, "%s\n", hocketLaunchGetLastError());
	exit(1);
}

static void check(hocketResult_t result)
{
	if (result == hocketSuccess)
		return;
	fprintf(stderr, "%s: %s\n", hocketGetErrorString(result), hocketGetLastError(NULL));
	exit(1);
}

int main(void)
{
	float in[1000], out[1000];
	hocketLaunch_t launch;
	hocketUniqueId id;
	hocketComm_t comm;
	int rank, nranks;

	check_launch(hocketLaunchOpen(&launch, &rank, &nranks));
	check_launch(hocketLaunchShareId(launch, &id));
	check(hocketCommInitRank(&comm, nranks, id, rank));
	for (int i = 0; i < 1000; i++)
		in[i] = (float)(rank + 1);
	check(hocketAllReduce(in, out, 1000, hocketFloat32, hocketSum, comm, NULL));
	printf("rank %d of %d: the sum is %g\n", rank, nranks, out[0]);
	check(hocketCommDestroy(comm));
	check_launch(hocketLaunchClose(launch));
	return 0;
}
