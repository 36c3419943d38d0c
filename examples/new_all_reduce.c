/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new all-reduce, from the idea to running it. The idea: ranks stand in a chain; sums go up the
 * chain, results come down again. The vector is cut in chunks, so that both directions are busy,
 * and each direction has a lane and a channel of its own, so that neither waits for the other.
 *
 *     hocket run -n 4 ./new_all_reduce
 *
 * proves it, runs it, and writes it to chain.hks, which `hocket schedule show chain.hks` prints and
 * HOCKET_SCHEDULES=. makes every program use.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <hocket/launch.h>
#include <hocket/schedule.h>

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

/* The whole algorithm, for n > 1 ranks. */
static hocketSchedule_t chain_all_reduce(int n)
{
	const hocketBuffer_t in = hocketBufferIn, out = hocketBufferOut;
	const int chunks = 4;
	hocketSchedule_t s;

	check(hocketScheduleCreate(&s, "chain_all_reduce", hocketCollAllReduce, n, 0));
	check(hocketScheduleSetChunks(s, chunks, 0, 1));
	for (int r = 0; r < n; r++) {
		int up = hocketScheduleLane(s, r, 0), down = hocketScheduleLane(s, r, 1),
		    summed = 0;

		for (int c = 0; c < chunks; c++) {
			if (r > 0)
				summed =
					hocketScheduleRecvReduce(s, r, up, r - 1, in, c, out, c, 1);
			if (r < n - 1)
				hocketScheduleSend(s, r, up, r + 1, r ? out : in, c, 1);
			if (r < n - 1)
				hocketScheduleRecv(s, r, down, r + 1, out, c, 1);
			if (r > 0)
				hocketScheduleSend(s, r, down, r - 1, out, c, 1);
			if (r == n - 1) /* the top turns round what has been summed */
				check(hocketScheduleAfter(s, r, down, up, summed));
		}
	}
	return s;
}

int main(void)
{
	int rank, nranks, slots = 0;
	hocketSchedule_t schedule;
	float in[1000], out[1000];
	hocketLaunch_t launch;
	hocketUniqueId id;
	hocketComm_t comm;

	check_launch(hocketLaunchOpen(&launch, &rank, &nranks));
	if (nranks < 2) {
		fprintf(stderr, "usage: hocket run -n 4 ./new_all_reduce   (2 ranks or more)\n");
		return 2;
	}
	check_launch(hocketLaunchShareId(launch, &id));

	schedule = chain_all_reduce(nranks);
	check(hocketScheduleProve(schedule, 0, &slots));
	check(hocketCommInitRank(&comm, nranks, id, rank));
	check(hocketCommUseSchedule(comm, schedule, 0, SIZE_MAX));
	for (int i = 0; i < 1000; i++)
		in[i] = (float)(rank + 1);
	check(hocketAllReduce(in, out, 1000, hocketFloat32, hocketSum, comm, NULL));
	printf("rank %d of %d: the sum is %g\n", rank, nranks, out[0]);
	if (rank == 0) {
		printf("proved for %d ranks, with %d slot%s per connection\n", nranks, slots,
		       slots == 1 ? "" : "s");
		check(hocketScheduleSave(schedule, "chain.hks"));
	}
	check(hocketScheduleDestroy(schedule));
	check(hocketCommDestroy(comm));
	check_launch(hocketLaunchClose(launch));
	return 0;
}
