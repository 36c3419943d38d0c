/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scenarios for ranks that reach each other by RDMA; scripts run them in the Soft-RoCE machine
 * (tests/softroce/suites): `test_verbs SCENARIO RANKS`. One set of processes does as much as can
 * be, because starting one is what takes longest there.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "harness.h"
#include "matrix.h"

#define LONG_COUNT  (1u << 19) /* elements of 8 bytes */
#define PEER_BYTES  (2u << 20) /* of a communicator's memory, per peer */
#define INIT_TRIES  3
#define INIT_GOOD_S 2.0
#define INIT_MOST_S 15.0

/* Every algorithm: a communicator for each round. Where all of them fit, as among 4 ranks of which
 * each 2 are close to each other, all must have been in use. */
static void run_algorithms(struct rank *r)
{
	hocketComm_t all = e2e_init(r, NULL), comm;
	const char *topology = getenv("HOCKET_TOPO_FILE");

	matrix_complete();
	for (unsigned round = 0; round < MATRIX_ROUNDS; round++) {
		struct matrix_seen seen = {{false}};
		hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
		char list[MATRIX_LIST];

		matrix_algorithms(round, list, sizeof(list));
		config.algorithms = list;
		config.channels = round % 2 ? 1 : 3;
		config.slots = round % 3 ? 4 : 2;
		config.slotBytes = round % 2 ? 4096 : 32768;
		OK(hocketCommSplit(all, 0, r->rank, &comm, &config));
		matrix_run(comm, r->rank, r->nranks, round, &seen);
		if (r->nranks == 4 && topology)
			matrix_all_seen(&seen, round);
		OK(hocketCommDestroy(comm));
	}
	OK(hocketCommDestroy(all));
}

/* What the library chooses, for what takes many messages. */
static void run_long(struct rank *r)
{
	hocketComm_t comm = e2e_init(r, NULL);

	matrix_run_long(comm, r->rank, r->nranks, 30011);
	OK(hocketCommDestroy(comm));
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* In seconds, beginning together: until a communicator is made, and until its first collective is
 * done; of the slowest rank. */
static void begin(const struct rank *r, hocketComm_t all, double took[2])
{
	hocketUniqueId id = e2e_share_id(r, all);
	int64_t one = 1, sum = 0;
	hocketComm_t comm;
	double start;

	OK(hocketBarrier(all, NULL));
	start = now();
	OK(hocketCommInitRank(&comm, r->nranks, id, r->rank));
	took[0] = now() - start;
	OK(hocketAllReduce(&one, &sum, 1, hocketInt64, hocketSum, comm, NULL));
	took[1] = now() - start;
	CHECK(sum == r->nranks);
	OK(hocketAllReduce(took, took, 2, hocketFloat64, hocketMax, all, NULL));
	OK(hocketCommDestroy(comm));
}

/* The best of some attempts counts: other work disturbs. The limit is loose, for machines that are
 * slow; what it should take is printed beside it. */
static void run_init(struct rank *r)
{
	hocketComm_t all = e2e_init(r, NULL);
	double best[2] = {1e9, 1e9}, took[2];

	for (int i = 0; i < INIT_TRIES && (i == 0 || best[1] > INIT_GOOD_S); i++) {
		begin(r, all, took);
		if (took[1] < best[1])
			memcpy(best, took, sizeof(best));
	}
	if (r->rank == 0)
		printf("%d ranks begin in %.2f s, of which %.2f s until the communicator is made "
		       "(%.0f s is good)\n",
		       r->nranks, best[1], best[0], INIT_GOOD_S);
	CHECK(best[1] < INIT_MOST_S);
	OK(hocketCommDestroy(all));
}

/* All kinds of traffic with all peers, and what it leaves. */
static void run_memory(struct rank *r)
{
	static const size_t counts[] = {1, 500, 20011, LONG_COUNT};
	hocketComm_t comm = e2e_init(r, NULL);
	size_t n = (size_t)r->nranks, bytes = 0;
	int64_t *in = calloc(LONG_COUNT, sizeof(*in)), *out = calloc(LONG_COUNT, sizeof(*out));

	CHECK(in && out);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		size_t count = counts[i];

		OK(hocketAllReduce(in, out, count, hocketInt64, hocketSum, comm, NULL));
		if (count < n)
			continue;
		OK(hocketAllGather(in, out, count / n, hocketInt64, comm, NULL));
		OK(hocketReduceScatter(in, out, count / n, hocketInt64, hocketSum, comm, NULL));
		OK(hocketAlltoAll(in, out, count / n, hocketInt64, comm, NULL));
		OK(hocketGroupStart());
		for (int peer = 0; peer < r->nranks; peer++) {
			size_t at = (size_t)peer * (count / n);

			OK(hocketSend(in + at, count / n, hocketInt64, peer, comm, NULL));
			OK(hocketRecv(out + at, count / n, hocketInt64, peer, comm, NULL));
		}
		OK(hocketGroupEnd());
	}
	OK(hocketCommMemory(comm, &bytes));
	printf("rank %d of %d: %.2f MiB per peer\n", r->rank, r->nranks,
	       (double)bytes / 1048576 / (double)(n - 1));
	CHECK(bytes / (n - 1) < PEER_BYTES);
	OK(hocketCommDestroy(comm));
	free(in);
	free(out);
}

static const struct scenario scenarios[] = {{"algorithms", run_algorithms},
					    {"long", run_long},
					    {"init", run_init},
					    {"memory", run_memory},
					    {NULL, NULL}};

int main(int argc, char **argv)
{
	e2e_main(argc, argv, scenarios);
	fprintf(stderr, "usage: %s SCENARIO RANKS\n", argv[0]);
	return 2;
}
