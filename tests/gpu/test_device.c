/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collectives with buffers on GPUs: ranks are threads with a stream each, on two GPUs if there are
 * two. Lengths from nothing to many tiles, in place and not, at any address; every type and
 * operation against the processor's kernels; scalars on the GPU; buffers of different kinds on
 * different ranks, and ranks without a GPU beside those with one; several ranks in one thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels.h"
#include "ranks.h"

static const hocketDataType_t sums[] = {hocketUint8, hocketUint32, hocketUint64};

/* --- lengths and addresses --- */

static void lengths(struct rank *r)
{
	static const size_t counts[] = {0, 1, 3, 100, 1027, 20000};

	for (unsigned c = 0; c < ncollectives; c++)
		for (unsigned i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
			struct use u = {.count = counts[i],
					.type = sums[(c + i) % 3],
					.skew_in = (c + i) & 1 ? 5 + i : 0,
					.skew_out = c & 1 ? i : 0};

			run_collective(r, &collectives[c], &u);
			if (!collectives[c].shift)
				continue;
			u.in_place = true;
			run_collective(r, &collectives[c], &u);
		}
}

static void test_lengths(void **state)
{
	ranks_run(4, NULL, NULL, lengths);
}

static void test_two_ranks(void **state)
{
	ranks_run(2, NULL, NULL, lengths);
}

/* Ends of calls, too: one rank alone has kernels of its own. */
static void test_one_rank(void **state)
{
	ranks_run(1, NULL, NULL, lengths);
}

/* Short slots make many tiles of a short message. */
static void test_tiles(void **state)
{
	hocketConfig_t config = ranks_config();

	config.slotBytes = 4096;
	config.slots = 2;
	ranks_run(3, &config, NULL, lengths);
}

static void test_channels(void **state)
{
	hocketConfig_t config = ranks_config();

	config.channels = 3;
	ranks_run(4, &config, NULL, lengths);
}

static void large(struct rank *r)
{
	struct use u = {.count = 120000, .type = hocketUint32, .skew_out = 4};

	for (unsigned c = 0; c < ncollectives; c++)
		run_collective(r, &collectives[c], &u);
}

static void test_large(void **state)
{
	ranks_run(4, NULL, NULL, large);
}

/* --- kinds of memory --- */

/* Every rank has its buffers elsewhere. */
static void places(struct rank *r)
{
	for (unsigned c = 0; c < ncollectives; c++)
		for (unsigned i = 0; i < 9; i++) {
			struct use u = {.count = i & 1 ? 77 : 9000,
					.type = hocketUint32,
					.in = (i + (unsigned)r->rank) % NWHERE,
					.out = (i / 3 + (unsigned)r->rank) % NWHERE};

			if (r->device < 0)
				u.in = u.out = PAGEABLE;
			u.in_place = i % 4 == 1 && collectives[c].shift;
			run_collective(r, &collectives[c], &u);
		}
}

static void test_places(void **state)
{
	ranks_run(3, NULL, NULL, places);
}

static void test_places_alone(void **state)
{
	ranks_run(1, NULL, NULL, places);
}

static void test_ranks_without(void **state)
{
	static const int devices[] = {0, HOCKET_DEVICE_NONE, 1};

	ranks_run(2, NULL, devices, places);
	ranks_run(3, NULL, devices, places);
}

/* --- types and operations --- */

static size_t hk_bytes(hocketDataType_t type)
{
	return hk_type_size((enum hk_type)type);
}

/* Any bits at all, but nothing that only the operands' order decides. */
static void any_bits(uint8_t *at, int rank, unsigned call, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t x = element_of(rank, call, i);

		memcpy(at + i, &x, 8);
	}
}

static void types(struct rank *r)
{
	static const size_t counts[] = {7, 1000};
	uint8_t *mine = malloc(8192), *other = malloc(8192), *want = malloc(8192),
		*got = malloc(8192);

	CHECK(mine && other && want && got);
	for (hocketDataType_t type = 0; type < hocketNumTypes; type++)
		for (hocketRedOp_t op = hocketSum; op <= hocketMin; op++)
			for (unsigned i = 0; i < 2; i++) {
				size_t n = counts[i], bytes = n * hk_bytes(type);
				uint8_t *in = r->in.at[DEVICE] + 8 * (size_t)(op % 3);

				r->calls++;
				any_bits(mine, r->rank, r->calls, 8000);
				any_bits(other, !r->rank, r->calls, 8000);
				rank_put(in, DEVICE, mine, bytes);
				OK(hocketAllReduce(in, r->out.at[DEVICE], n, type, op, r->comm,
						   (hocketStream_t)r->streams[0]));
				CU(cu.cuStreamSynchronize(r->streams[0]));
				rank_get(got, r->out.at[DEVICE], DEVICE, bytes);
				hk_kernels()->reduce[type][(enum hk_redop)op](want, mine, other, n);
				if (memcmp(got, want, bytes))
					fprintf(stderr, "%s of %s:\n",
						hk_redop_name((enum hk_redop)op),
						hk_type_name((enum hk_type)type));
				CHECK(!memcmp(got, want, bytes));
			}
	free(mine);
	free(other);
	free(want);
	free(got);
}

static void test_types(void **state)
{
	ranks_run(2, NULL, NULL, types);
}

/* --- scalars and averages --- */

static void scaled(struct rank *r)
{
	float *host = (float *)(void *)r->scratch, factor = (float)(r->rank + 2);
	const size_t n = 5000;

	for (unsigned turn = 0; turn < 3; turn++) {
		enum where where = turn == 2 ? PINNED : DEVICE;
		bool immediate = turn == 1;
		uint8_t *scalar = r->out.at[where] + REGION - 64;
		hocketRedOp_t op;
		float want = 0;

		for (size_t i = 0; i < n; i++)
			host[i] = (float)(i % 50 + (size_t)r->rank);
		rank_put(r->in.at[DEVICE], DEVICE, host, n * sizeof(*host));
		OK(hocketRedOpCreatePreMulSum(
			&op, immediate ? (void *)&factor : scalar, hocketFloat32,
			immediate ? hocketScalarHostImmediate : hocketScalarDevice, r->comm));
		/* Read when the collective starts, not before. */
		rank_put(scalar, where, &factor, sizeof(factor));
		OK(hocketAllReduce(r->in.at[DEVICE], r->out.at[DEVICE], n, hocketFloat32, op,
				   r->comm, (hocketStream_t)r->streams[0]));
		CU(cu.cuStreamSynchronize(r->streams[0]));
		rank_get(host, r->out.at[DEVICE], DEVICE, n * sizeof(*host));
		for (size_t i = 0; i < n; i++) {
			want = 0;
			for (int q = 0; q < r->n; q++)
				want += (float)(i % 50 + (size_t)q) * (float)(q + 2);
			CHECK(host[i] == want);
		}
		OK(hocketRedOpDestroy(op, r->comm));
	}
}

static void test_scaled(void **state)
{
	ranks_run(3, NULL, NULL, scaled);
	ranks_run(1, NULL, NULL, scaled);
}

static void averages(struct rank *r)
{
	int32_t *ints = (int32_t *)(void *)r->scratch;
	const size_t n = 3001, v[3] = {100, 0, 7};

	for (size_t i = 0; i < n; i++)
		ints[i] = (int32_t)i * 7 - 9000 - r->rank;
	rank_put(r->in.at[DEVICE] + 4, DEVICE, ints, n * sizeof(*ints));
	OK(hocketAllReduce(r->in.at[DEVICE] + 4, r->out.at[DEVICE] + 8, n, hocketInt32, hocketAvg,
			   r->comm, (hocketStream_t)r->streams[0]));
	CU(cu.cuStreamSynchronize(r->streams[0]));
	rank_get(ints, r->out.at[DEVICE] + 8, DEVICE, n * sizeof(*ints));
	for (size_t i = 0; i < n; i++)
		CHECK(ints[i] == (((int32_t)i * 7 - 9000) * 3 - 3) / 3);
	/* Blocks that differ, and signed bytes. */
	for (size_t i = 0; i < 107; i++)
		((int8_t *)ints)[i] = (int8_t)((int)(i % 40) - 20 - r->rank);
	rank_put(r->in.at[DEVICE], DEVICE, ints, 107);
	OK(hocketReduceScatterV(r->in.at[DEVICE], v, NULL, r->out.at[DEVICE] + 1, hocketInt8,
				hocketAvg, r->comm, (hocketStream_t)r->streams[0]));
	CU(cu.cuStreamSynchronize(r->streams[0]));
	rank_get(ints, r->out.at[DEVICE] + 1, DEVICE, v[r->rank]);
	for (size_t i = 0; i < v[r->rank]; i++)
		CHECK(((int8_t *)ints)[i] ==
		      (int8_t)((3 * ((int)((i + (r->rank == 2 ? 100 : 0)) % 40) - 20) - 3) / 3));
}

static void test_averages(void **state)
{
	ranks_run(3, NULL, NULL, averages);
}

/* --- several in one --- */

/* All ranks in this thread: what each calls waits for the others' calls. */
static void test_one_thread(void **state)
{
	int devices[3] = {0, 1, 0};
	hocketComm_t comms[3];
	struct rank ranks[3];
	int ndevices = gpu_start();

	for (int i = 0; i < 3; i++)
		devices[i] %= ndevices;
	OK(hocketCommInitAll(comms, 3, devices));
	for (int i = 0; i < 3; i++) {
		ranks[i] = (struct rank){.rank = i, .n = 3, .device = devices[i], .comm = comms[i]};
		rank_open(&ranks[i]);
	}
	for (unsigned c = 0; c < 2 * ncollectives; c++) {
		const struct collective *one = &collectives[c / 2];
		/* Host memory, too: the copies back must not wait for calls still to come. */
		struct use u = {.count = 6000,
				.type = hocketUint32,
				.in = c & 1 ? PAGEABLE : DEVICE,
				.out = c & 1 ? PAGEABLE : DEVICE};

		for (int i = 0; i < 3; i++) {
			gpu_use(devices[i]);
			fill_buffers(&ranks[i], one, &u);
		}
		OK(hocketGroupStart());
		for (int i = 0; i < 3; i++)
			OK(queue_collective(&ranks[i], one, &u, ranks[i].streams[0]));
		OK(hocketGroupEnd());
		for (int i = 0; i < 3; i++) {
			gpu_use(devices[i]);
			CU(cu.cuStreamSynchronize(ranks[i].streams[0]));
			check_buffers(&ranks[i], one, &u);
		}
	}
	for (int i = 0; i < 3; i++) {
		gpu_use(devices[i]);
		OK(hocketCommDestroy(comms[i]));
		rank_close(&ranks[i]);
	}
}

/* A thread has its ranks' calls in a group, more than its streams' queues take. */
static void test_long_group(void **state)
{
	enum { CALLS = 60, COUNT = 100 }; /* HK_FAKE_QUEUE is less */
	hocketConfig_t config = ranks_config();
	struct rank ranks[2];
	hocketUniqueId id;
	uint64_t *host;

	config.device = 0;
	OK(hocketGetUniqueId(&id));
	OK(hocketGroupStart());
	for (int i = 0; i < 2; i++) {
		ranks[i] = (struct rank){.rank = i, .n = 2};
		rank_open(&ranks[i]);
		OK(hocketCommInitRankConfig(&ranks[i].comm, 2, id, i, &config));
	}
	OK(hocketGroupEnd());
	for (int i = 0; i < 2; i++) {
		host = (uint64_t *)(void *)ranks[i].scratch;
		for (unsigned k = 0; k < COUNT; k++)
			host[k] = 1;
		rank_put(ranks[i].in.at[DEVICE], DEVICE, host, COUNT * sizeof(*host));
	}
	OK(hocketGroupStart());
	for (int i = 0; i < 2; i++)
		for (unsigned k = 0; k < CALLS; k++)
			OK(hocketAllReduce(ranks[i].in.at[DEVICE], ranks[i].in.at[DEVICE], COUNT,
					   hocketUint64, hocketSum, ranks[i].comm,
					   (hocketStream_t)ranks[i].streams[k / 2 % 2]));
	OK(hocketGroupEnd());
	for (int i = 0; i < 2; i++) {
		CU(cu.cuStreamSynchronize(ranks[i].streams[0]));
		CU(cu.cuStreamSynchronize(ranks[i].streams[1]));
		host = (uint64_t *)(void *)ranks[i].scratch;
		rank_get(host, ranks[i].in.at[DEVICE], DEVICE, COUNT * sizeof(*host));
		for (unsigned k = 0; k < COUNT; k++)
			CHECK(host[k] == (uint64_t)1 << CALLS);
	}
	for (int i = 0; i < 2; i++) {
		OK(hocketCommDestroy(ranks[i].comm));
		rank_close(&ranks[i]);
	}
}

/* Two communicators of the same ranks, the other way round, whose calls share a stream: each goes
 * on with what the one before made, in a group, too. */
static void share_stream(struct rank *r, bool grouped)
{
	const size_t n = 2000;
	uint32_t *host = (uint32_t *)(void *)r->scratch, factor = 1;
	uint8_t *at[2] = {r->in.at[DEVICE], r->out.at[DEVICE]};

	for (size_t i = 0; i < n; i++)
		host[i] = (uint32_t)(i * (size_t)(r->rank + 1));
	rank_put(at[0], DEVICE, host, n * sizeof(*host));
	OK(grouped ? hocketGroupStart() : hocketSuccess);
	for (unsigned turn = 0; turn < 12; turn++) {
		bool second = grouped ? turn > 4 : turn % 3 > 0;

		OK(hocketAllReduce(at[turn & 1], at[!(turn & 1)], n, hocketUint32, hocketSum,
				   second ? r->second : r->comm, (hocketStream_t)r->streams[0]));
	}
	OK(grouped ? hocketGroupEnd() : hocketSuccess);
	CU(cu.cuStreamSynchronize(r->streams[0]));
	rank_get(host, at[0], DEVICE, n * sizeof(*host));
	for (unsigned turn = 1; turn < 12; turn++)
		factor *= (uint32_t)r->n;
	for (size_t i = 0; i < n; i++)
		CHECK(host[i] == (uint32_t)(i * (size_t)(r->n * (r->n + 1) / 2)) * factor);
}

static void two_communicators(struct rank *r)
{
	/* Destroyed when no kernel waits for this thread any more. */
	OK(hocketCommSplit(r->comm, 0, -r->rank, &r->second, NULL));
	share_stream(r, false);
	share_stream(r, true);
}

static void test_two_communicators(void **state)
{
	ranks_run(3, NULL, NULL, two_communicators);
}

/* A group of collectives and messages at once, and messages to oneself. */
static void mixed_group(struct rank *r)
{
	const size_t n = 9000; /* bytes */
	uint8_t *in = r->in.at[DEVICE], *out = r->out.at[DEVICE];
	hocketStream_t stream = (hocketStream_t)r->streams[0];
	int next = (r->rank + 1) % r->n, last = (r->rank + r->n - 1) % r->n;

	for (unsigned turn = 0; turn < 5; turn++) {
		uint8_t *host = r->scratch;

		for (size_t i = 0; i < 2 * n; i++)
			host[i] = (uint8_t)element_of(r->rank, turn, i);
		rank_put(in, DEVICE, host, 2 * n);
		OK(hocketGroupStart());
		OK(hocketSend(in, n, hocketUint8, next, r->comm, stream));
		OK(hocketAllReduce(in + n, out + n, n, hocketUint8, hocketSum, r->comm, stream));
		OK(hocketSend(in, n, hocketUint8, r->rank, r->comm, stream));
		OK(hocketRecv(out + 2 * n, n, hocketUint8, r->rank, r->comm, stream));
		OK(hocketRecv(out, n, hocketUint8, last, r->comm, stream));
		OK(hocketGroupEnd());
		CU(cu.cuStreamSynchronize(r->streams[0]));
		rank_get(host, out, DEVICE, 3 * n);
		for (size_t i = 0; i < n; i++) {
			uint8_t sum = 0;

			for (int q = 0; q < r->n; q++)
				sum = (uint8_t)(sum + element_of(q, turn, n + i));
			CHECK(host[i] == (uint8_t)element_of(last, turn, i));
			CHECK(host[n + i] == sum);
			CHECK(host[2 * n + i] == (uint8_t)element_of(r->rank, turn, i));
		}
	}
}

static void test_mixed_group(void **state)
{
	ranks_run(3, NULL, NULL, mixed_group);
}

/* Messages of a group on two streams: each stream's come after what is before them on it, and what
 * is behind them on it after them. */
static void streams_of_group(struct rank *r)
{
	const size_t n = 200000;
	uint8_t *in = r->in.at[DEVICE], *out = r->out.at[DEVICE], *host = r->scratch;
	int next = (r->rank + 1) % r->n, last = (r->rank + r->n - 1) % r->n;
	unsigned long events = cu.calls ? cu.calls("cuEventCreate") : 0;

	for (unsigned turn = 0; turn < 6; turn++) {
		unsigned one = turn & 1;

		CU(cu.cuMemsetD8Async((uintptr_t)in, (unsigned char)(turn + 7 * (unsigned)r->rank),
				      n, r->streams[one]));
		CU(cu.cuMemsetD8Async((uintptr_t)out, 0xcc, 2 * n, r->streams[!one]));
		OK(hocketGroupStart());
		OK(hocketRecv(out, n, hocketUint8, last, r->comm,
			      (hocketStream_t)r->streams[!one]));
		OK(hocketSend(in, n, hocketUint8, next, r->comm, (hocketStream_t)r->streams[one]));
		OK(hocketGroupEnd());
		CU(cu.cuMemcpyAsync((uintptr_t)out + n, (uintptr_t)out, n, r->streams[!one]));
		CU(cu.cuMemsetD8Async((uintptr_t)in, 0xee, n, r->streams[one]));
		CU(cu.cuStreamSynchronize(r->streams[0]));
		CU(cu.cuStreamSynchronize(r->streams[1]));
		rank_get(host, out, DEVICE, 2 * n);
		for (size_t i = 0; i < 2 * n; i++)
			CHECK(host[i] == (uint8_t)(turn + 7 * (unsigned)last));
	}
	CHECK(!cu.calls || cu.calls("cuEventCreate") == events);
}

static void test_streams_of_group(void **state)
{
	ranks_run(2, NULL, NULL, streams_of_group);
}

/* With an argument: the cases that it matches. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),	      cmocka_unit_test(test_two_ranks),
		cmocka_unit_test(test_one_rank),      cmocka_unit_test(test_tiles),
		cmocka_unit_test(test_channels),      cmocka_unit_test(test_large),
		cmocka_unit_test(test_places),	      cmocka_unit_test(test_places_alone),
		cmocka_unit_test(test_ranks_without), cmocka_unit_test(test_types),
		cmocka_unit_test(test_scaled),	      cmocka_unit_test(test_averages),
		cmocka_unit_test(test_one_thread),    cmocka_unit_test(test_two_communicators),
		cmocka_unit_test(test_mixed_group),   cmocka_unit_test(test_streams_of_group),
		cmocka_unit_test(test_long_group),
	};

	gpu_start();
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
