/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public functions' contracts in one process: every bad argument gives its precise code and a
 * sentence, and never a crash; stale and foreign handles included.
 */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hocket/hocket.h"

static hocketComm_t alone(void)
{
	hocketUniqueId id;
	hocketComm_t comm;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	assert_int_equal(hocketCommInitRank(&comm, 1, id, 0), hocketSuccess);
	return comm;
}

static void refused(hocketResult_t got, hocketResult_t want, const char *word)
{
	assert_int_equal(got, want);
	if (!strstr(hocketGetLastError(NULL), word))
		fail_msg("'%s' does not say '%s'", hocketGetLastError(NULL), word);
}

static void test_library(void **state)
{
	int version = 0;

	assert_int_equal(hocketGetVersion(&version), hocketSuccess);
	assert_int_equal(version, HOCKET_VERSION_CODE);
	refused(hocketGetVersion(NULL), hocketInvalidArgument, "NULL");
	for (int r = -1; r <= hocketNumResults; r++) {
		assert_non_null(hocketGetErrorString((hocketResult_t)r));
		assert_true(strlen(hocketGetErrorString((hocketResult_t)r)) > 5);
	}
	refused(hocketGetUniqueId(NULL), hocketInvalidArgument, "NULL");
}

static void test_init(void **state)
{
	hocketUniqueId id, junk;
	hocketComm_t comm;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	memset(&junk, 0x11, sizeof(junk));
	refused(hocketCommInitRank(NULL, 1, id, 0), hocketInvalidArgument, "NULL");
	refused(hocketCommInitRank(&comm, 0, id, 0), hocketInvalidArgument, "nranks");
	refused(hocketCommInitRank(&comm, -3, id, 0), hocketInvalidArgument, "nranks");
	refused(hocketCommInitRank(&comm, INT_MAX, id, 0), hocketInvalidArgument, "nranks");
	refused(hocketCommInitRank(&comm, 2, id, 2), hocketInvalidArgument, "rank");
	refused(hocketCommInitRank(&comm, 2, id, -1), hocketInvalidArgument, "rank");
	refused(hocketCommInitRank(&comm, 1, junk, 0), hocketInvalidArgument, "");
	memset(&junk, 0, sizeof(junk));
	refused(hocketCommInitRank(&comm, 1, junk, 0), hocketInvalidArgument, "");
	/* the id is still good */
	assert_int_equal(hocketCommInitRank(&comm, 1, id, 0), hocketSuccess);
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
}

static void test_config(void **state)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;
	hocketUniqueId id;
	hocketComm_t comm;

	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess);
	config.magic = 1;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument, "magic");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.size = 3;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument, "size");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.blocking = 2;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument,
		"blocking");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.slots = 1;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument, "slots");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.slotBytes = 5000;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument, "4096");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.timeoutMs = 0;
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument,
		"timeout");
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.transports = "shm,smoke";
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument, "smoke");
	config.transports = "";
	refused(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketInvalidArgument,
		"names no transport");
	assert_int_equal(hocketGetUniqueId(&id), hocketSuccess); /* "shm,smoke" has used it */
	/* A header without the later fields. */
	config = (hocketConfig_t)HOCKET_CONFIG_INITIALIZER;
	config.slots = 1;
	config.size = offsetof(hocketConfig_t, slots);
	assert_int_equal(hocketCommInitRankConfig(&comm, 1, id, 0, &config), hocketSuccess);
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
}

/* Each function with a NULL, a foreign, a misaligned and a destroyed communicator. */
static void test_handles(void **state)
{
	hocketComm_t good = alone(), bad[4];
	int local = 0, value;
	size_t bytes;
	float x = 1, y = 2;
	hocketResult_t async;
	hocketRedOp_t op;
	void *handle;

	bad[0] = NULL;
	bad[1] = (hocketComm_t)(void *)&local;
	bad[2] = (hocketComm_t)((char *)(void *)good + 1);
	bad[3] = alone();
	assert_int_equal(hocketCommDestroy(bad[3]), hocketSuccess);
	for (int i = 0; i < 4; i++) {
		hocketComm_t b = bad[i];
		const char *word = i ? "not a communicator" : "NULL";

		refused(hocketAllReduce(&x, &y, 1, hocketFloat32, hocketSum, b, NULL),
			hocketInvalidArgument, word);
		refused(hocketReduceScatter(&x, &y, 1, hocketFloat32, hocketSum, b, NULL),
			hocketInvalidArgument, word);
		refused(hocketAllGather(&x, &y, 1, hocketFloat32, b, NULL), hocketInvalidArgument,
			word);
		refused(hocketCommCount(b, &value), hocketInvalidArgument, word);
		refused(hocketCommUserRank(b, &value), hocketInvalidArgument, word);
		refused(hocketCommDevice(b, &value), hocketInvalidArgument, word);
		refused(hocketCommMemory(b, &bytes), hocketInvalidArgument, word);
		refused(hocketCommGetAsyncError(b, &async), hocketInvalidArgument, word);
		refused(hocketRedOpCreatePreMulSum(&op, &x, hocketFloat32,
						   hocketScalarHostImmediate, b),
			hocketInvalidArgument, word);
		refused(hocketRedOpDestroy(hocketSum, b), hocketInvalidArgument, word);
		refused(hocketCommRegister(b, &x, 4, &handle), hocketInvalidArgument, word);
		refused(hocketCommDeregister(b, &x), hocketInvalidArgument, word);
		refused(hocketCommFinalize(b), hocketInvalidArgument, word);
		refused(hocketCommDestroy(b), hocketInvalidArgument, word);
		refused(hocketCommAbort(b), hocketInvalidArgument, word);
		assert_non_null(hocketGetLastError(b));
	}
	assert_int_equal(hocketCommDestroy(good), hocketSuccess);
}

static void test_arguments(void **state)
{
	hocketComm_t comm = alone();
	float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8];
	int value;

	refused(hocketAllReduce(NULL, y, 1, hocketFloat32, hocketSum, comm, NULL),
		hocketInvalidArgument, "sendbuff");
	refused(hocketAllReduce(x, NULL, 1, hocketFloat32, hocketSum, comm, NULL),
		hocketInvalidArgument, "recvbuff");
	refused(hocketAllReduce(x, y, 1, (hocketDataType_t)99, hocketSum, comm, NULL),
		hocketInvalidArgument, "type");
	refused(hocketAllReduce(x, y, 1, (hocketDataType_t)-1, hocketSum, comm, NULL),
		hocketInvalidArgument, "type");
	refused(hocketAllReduce(x, y, 1, hocketFloat32, (hocketRedOp_t)77, comm, NULL),
		hocketInvalidArgument, "reduction");
	refused(hocketAllReduce(x, y, 1, hocketFloat32, (hocketRedOp_t)-1, comm, NULL),
		hocketInvalidArgument, "reduction");
	refused(hocketAllReduce(x, y, SIZE_MAX / 2, hocketFloat32, hocketSum, comm, NULL),
		hocketInvalidArgument, "count");
	refused(hocketAllReduce(x, x + 1, 4, hocketFloat32, hocketSum, comm, NULL),
		hocketInvalidArgument, "overlap");
	refused(hocketAllReduce(x, y, 1, hocketFloat32, hocketSum, comm, (hocketStream_t)(void *)x),
		hocketInvalidArgument, "stream");
	refused(hocketCommCount(comm, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommUserRank(comm, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommDevice(comm, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommMemory(comm, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommGetAsyncError(comm, NULL), hocketInvalidArgument, "NULL");
	/* nothing to do is fine, also with NULL */
	assert_int_equal(hocketAllReduce(NULL, NULL, 0, hocketFloat32, hocketSum, comm, NULL),
			 hocketSuccess);
	/* and the communicator still works */
	assert_int_equal(hocketAllReduce(x, y, 8, hocketFloat32, hocketSum, comm, NULL),
			 hocketSuccess);
	assert_memory_equal(x, y, sizeof(x));
	assert_int_equal(hocketCommCount(comm, &value), hocketSuccess);
	assert_int_equal(value, 1);
	assert_int_equal(hocketCommUserRank(comm, &value), hocketSuccess);
	assert_int_equal(value, 0);
	assert_int_equal(hocketCommDevice(comm, &value), hocketSuccess);
	assert_int_equal(value, -1);
	assert_int_equal(hocketCommFinalize(comm), hocketSuccess);
	refused(hocketAllReduce(x, y, 8, hocketFloat32, hocketSum, comm, NULL), hocketInvalidUsage,
		"finalized");
	refused(hocketCommFinalize(comm), hocketInvalidUsage, "finalized");
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
}

static void test_redop(void **state)
{
	hocketComm_t comm = alone();
	hocketRedOp_t op, ops[64];
	float two = 2, x = 3, y = 0;
	int n = 0;

	refused(hocketRedOpCreatePreMulSum(NULL, &two, hocketFloat32, hocketScalarHostImmediate,
					   comm),
		hocketInvalidArgument, "NULL");
	refused(hocketRedOpCreatePreMulSum(&op, NULL, hocketFloat32, hocketScalarHostImmediate,
					   comm),
		hocketInvalidArgument, "NULL");
	refused(hocketRedOpCreatePreMulSum(&op, &two, (hocketDataType_t)50,
					   hocketScalarHostImmediate, comm),
		hocketInvalidArgument, "type");
	refused(hocketRedOpCreatePreMulSum(&op, &two, hocketFloat32, (hocketScalarResidence_t)5,
					   comm),
		hocketInvalidArgument, "residence");
	assert_int_equal(hocketRedOpCreatePreMulSum(&op, &two, hocketFloat32,
						    hocketScalarHostImmediate, comm),
			 hocketSuccess);
	assert_int_equal(hocketAllReduce(&x, &y, 1, hocketFloat32, op, comm, NULL), hocketSuccess);
	assert_true(y == 6);
	refused(hocketAllReduce(&x, &y, 1, hocketInt32, op, comm, NULL), hocketInvalidArgument,
		"was made for");
	assert_int_equal(hocketRedOpDestroy(op, comm), hocketSuccess);
	refused(hocketRedOpDestroy(op, comm), hocketInvalidArgument, "reduction");
	refused(hocketRedOpDestroy(hocketSum, comm), hocketInvalidArgument, "reduction");
	while (n < 64 &&
	       hocketRedOpCreatePreMulSum(&ops[n], &two, hocketFloat32, hocketScalarHostImmediate,
					  comm) == hocketSuccess)
		n++;
	assert_int_equal(n, 64);
	refused(hocketRedOpCreatePreMulSum(&op, &two, hocketFloat32, hocketScalarHostImmediate,
					   comm),
		hocketSystemError, "64");
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
}

static void test_memory(void **state)
{
	hocketComm_t comm = alone();
	unsigned char *p;
	void *handle, *other;
	int devices = -1;

	refused(hocketMemAlloc(NULL, 5), hocketInvalidArgument, "NULL");
	refused(hocketMemAlloc((void **)&p, SIZE_MAX - 5), hocketInvalidArgument, "bytes");
	refused(hocketMemAlloc((void **)&p, SIZE_MAX / 4), hocketSystemError, "memory");
	for (size_t size = 0; size < (8u << 20); size = size * 9 + 1) {
		assert_int_equal(hocketMemAlloc((void **)&p, size), hocketSuccess);
		assert_int_equal((uintptr_t)p % 4096, 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		assert_int_equal(hocketMemFree(p), hocketSuccess);
	}
	refused(hocketMemFree(p), hocketInvalidArgument, "freed already");
	refused(hocketDeviceCount(NULL), hocketInvalidArgument, "NULL");
	assert_int_equal(hocketDeviceCount(&devices), hocketSuccess);
	assert_true(devices >= 0);
	assert_int_equal(hocketMemFree(NULL), hocketSuccess);

	assert_int_equal(hocketMemAlloc((void **)&p, 100), hocketSuccess);
	refused(hocketCommRegister(comm, NULL, 5, &handle), hocketInvalidArgument, "NULL");
	refused(hocketCommRegister(comm, p, 0, &handle), hocketInvalidArgument, "size");
	refused(hocketCommRegister(comm, p, 5, NULL), hocketInvalidArgument, "NULL");
	assert_int_equal(hocketCommRegister(comm, p, 100, &handle), hocketSuccess);
	assert_int_equal(hocketCommRegister(comm, p, 50, &other), hocketSuccess);
	assert_ptr_not_equal(handle, other);
	assert_int_equal(hocketCommDeregister(comm, handle), hocketSuccess);
	refused(hocketCommDeregister(comm, handle), hocketInvalidArgument, "registration");
	refused(hocketCommDeregister(comm, p), hocketInvalidArgument, "registration");
	/* As many as an allocator of a large machine's memory has segments. */
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(hocketCommRegister(comm, p, 1 + i % 100, &other), hocketSuccess);
	assert_int_equal(hocketCommDeregister(comm, other), hocketSuccess);
	assert_int_equal(hocketMemFree(p), hocketSuccess);
	assert_int_equal(hocketCommDestroy(comm), hocketSuccess);
}

static void test_streams(void **state)
{
	hocketStream_t s;

	refused(hocketStreamCreate(NULL), hocketInvalidArgument, "NULL");
	refused(hocketStreamSynchronize(NULL), hocketInvalidArgument, "stream");
	refused(hocketStreamQuery((hocketStream_t)(void *)&s), hocketInvalidArgument, "stream");
	assert_int_equal(hocketStreamCreate(&s), hocketSuccess);
	assert_int_equal(hocketStreamSynchronize(s), hocketSuccess);
	assert_int_equal(hocketStreamDestroy(s), hocketSuccess);
	refused(hocketStreamDestroy(s), hocketInvalidArgument, "destroyed");
}

/* Streams made and destroyed by several threads at once, so that entries are reused all the time.
 */
static void *churn(void *arg)
{
	for (int i = 0; i < 300; i++) {
		hocketStream_t s;

		if (hocketStreamCreate(&s) != hocketSuccess)
			continue; /* none left at the moment */
		assert_int_equal(hocketStreamDestroy(s), hocketSuccess);
	}
	return NULL;
}

static void test_stream_churn(void **state)
{
	static hocketStream_t held[1022];
	pthread_t threads[3];

	for (int i = 0; i < 1022; i++)
		assert_int_equal(hocketStreamCreate(&held[i]), hocketSuccess);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 1022; i++)
		assert_int_equal(hocketStreamDestroy(held[i]), hocketSuccess);
}

/* All ranks in this process, each on a stream of its own. */
static void test_init_all(void **state)
{
	hocketComm_t comms[5];
	hocketStream_t streams[5];
	int dev[2] = {5000, 5000}, value;
	float x[5][100], y[5][100];

	refused(hocketCommInitAll(NULL, 2, NULL), hocketInvalidArgument, "NULL");
	refused(hocketCommInitAll(comms, 0, NULL), hocketInvalidArgument, "ndev");
	refused(hocketCommInitAll(comms, 2, dev), hocketInvalidArgument, "config.device");
	assert_int_equal(hocketCommInitAll(comms, 5, NULL), hocketSuccess);
	for (int r = 0; r < 5; r++) {
		assert_int_equal(hocketCommUserRank(comms[r], &value), hocketSuccess);
		assert_int_equal(value, r);
		assert_int_equal(hocketStreamCreate(&streams[r]), hocketSuccess);
		for (int i = 0; i < 100; i++)
			x[r][i] = (float)(r * 100 + i);
	}
	for (int r = 0; r < 5; r++)
		assert_int_equal(hocketAllReduce(x[r], y[r], 100, hocketFloat32, hocketSum,
						 comms[r], streams[r]),
				 hocketSuccess);
	for (int r = 0; r < 5; r++) {
		assert_int_equal(hocketStreamSynchronize(streams[r]), hocketSuccess);
		for (int i = 0; i < 100; i++)
			assert_true(y[r][i] == (float)(1000 + 5 * i));
		assert_int_equal(hocketStreamDestroy(streams[r]), hocketSuccess);
	}
	for (int r = 0; r < 5; r++)
		assert_int_equal(hocketCommDestroy(comms[r]), hocketSuccess);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_library),	     cmocka_unit_test(test_init),
		cmocka_unit_test(test_config),	     cmocka_unit_test(test_handles),
		cmocka_unit_test(test_arguments),    cmocka_unit_test(test_redop),
		cmocka_unit_test(test_memory),	     cmocka_unit_test(test_streams),
		cmocka_unit_test(test_stream_churn), cmocka_unit_test(test_init_all),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
