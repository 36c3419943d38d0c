/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rank of a job between network namespaces: all-reduces of changing sizes for some seconds, every
 * element of every result checked. Placed as the benchmarks are, by `hocket run` or by hand:
 * HOCKET_RANK, HOCKET_NRANKS, and HOCKET_ID or HOCKET_ID_FILE.
 *
 *   job SECONDS
 *
 * It makes at least 16 calls, so that a busy machine does not hide what it is to show. Rank 0
 * decides when it ends, and everyone learns it from the sums. Prints "rank R: N calls, the longest
 * X ms", and exits with 0; or what is wrong, with 1; or the library's error and after how long it
 * came, with 3.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <hocket/hocket.h>

#define MOST  (1 << 18) /* elements */
#define CALLS 16

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int share_id(int rank, const char *path, hocketUniqueId *id)
{
	const char *digits = getenv("HOCKET_ID");
	double deadline = now() + 20;
	char temporary[512];
	FILE *f;

	if (digits) {
		for (size_t i = 0; i < sizeof(*id); i++)
			if (sscanf(digits + 2 * i, "%2hhx", (unsigned char *)id->internal + i) != 1)
				return -1;
		return 0;
	}
	if (!path)
		return -1;
	if (!rank) {
		snprintf(temporary, sizeof(temporary), "%s.new", path);
		if (hocketGetUniqueId(id) != hocketSuccess)
			return -1;
		f = fopen(temporary, "w");
		return !f || fwrite(id, sizeof(*id), 1, f) != 1 || fclose(f) ||
		       rename(temporary, path);
	}
	while (!(f = fopen(path, "r"))) {
		if (now() > deadline)
			return -1;
		usleep(1000);
	}
	return fread(id, sizeof(*id), 1, f) != 1 || fclose(f);
}

/* What rank r contributes to element i of call number k. */
static int64_t value(int r, unsigned k, size_t i)
{
	return (int64_t)((uint64_t)(r + 1) * 0x9e3779b9u * (k + 1) + i * 31);
}

static size_t wrong(const int64_t *sums, int nranks, unsigned k, size_t count)
{
	size_t bad = 0;

	for (size_t i = 1; i < count; i++) {
		uint64_t sum = 0;

		for (int r = 0; r < nranks; r++)
			sum += (uint64_t)value(r, k, i);
		bad += sums[i] != (int64_t)sum;
	}
	return bad;
}

static int failed(int rank, double since)
{
	fprintf(stderr, "rank %d failed after %.1f s: %s\n", rank, now() - since,
		hocketGetLastError(NULL));
	return 3;
}

int main(int argc, char **argv)
{
	const char *number = getenv("HOCKET_RANK"), *all = getenv("HOCKET_NRANKS");
	const char *path = getenv("HOCKET_ID_FILE");
	static int64_t in[MOST], out[MOST];
	double seconds = argc == 2 ? atof(argv[1]) : 0, start = now(), longest = 0;
	hocketUniqueId id;
	hocketComm_t comm;
	int rank, nranks, stop = 0;
	unsigned k = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!number || !all || seconds <= 0)
		return 2;
	rank = atoi(number);
	nranks = atoi(all);
	if (share_id(rank, path, &id))
		return 2;
	start = now();
	if (hocketCommInitRank(&comm, nranks, id, rank) != hocketSuccess)
		return failed(rank, start);
	printf("rank %d: init took %.0f ms\n", rank, (now() - start) * 1e3);
	fflush(stdout);
	start = now();
	for (; !stop; k++) {
		size_t count = k % 4 == 3 ? MOST : 1 + k * 7919u % 20000;
		double began = now();

		for (size_t i = 1; i < count; i++)
			in[i] = value(rank, k, i);
		in[0] = !rank && began - start > seconds && k + 1 >= CALLS;
		if (hocketAllReduce(in, out, count, hocketInt64, hocketSum, comm, NULL) !=
		    hocketSuccess)
			return failed(rank, began);
		if (now() - began > longest)
			longest = now() - began;
		stop = out[0] != 0;
		if (wrong(out, nranks, k, count)) {
			fprintf(stderr, "rank %d: call %u has wrong results\n", rank, k);
			return 1;
		}
	}
	if (hocketCommDestroy(comm) != hocketSuccess)
		return failed(rank, start);
	printf("rank %d: %u calls, the longest %.0f ms\n", rank, k, longest * 1e3);
	return 0;
}
