/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of NCCL's interface is newer than most toolkits' nccl.h, hence against our own header; and
 * every function that is refused: it says ncclInvalidUsage and a sentence that names it.
 */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nccl_abi.h"

/* Of `call`, the text of a call that was just made. */
static void check_refusal(ncclResult_t result, const char *call)
{
	size_t length = strcspn(call, "(");
	char name[64] = "";

	assert_true(length < sizeof(name));
	memcpy(name, call, length);
	if (result != ncclInvalidUsage)
		fail_msg("%s returns %d", name, result);
	if (!strstr(ncclGetLastError(NULL), name))
		fail_msg("after %s the last error is '%s'", name, ncclGetLastError(NULL));
}

#define REFUSED(call) check_refusal(call, #call)

static void refused(ncclResult_t got, ncclResult_t want, const char *word)
{
	if (got != want || !strstr(ncclGetLastError(NULL), word))
		fail_msg("got %d, not %d, and '%s', which should say '%s'", got, want,
			 ncclGetLastError(NULL), word);
}

static ncclComm_t alone(void)
{
	ncclUniqueId id;
	ncclComm_t comm;

	assert_int_equal(ncclGetUniqueId(&id), ncclSuccess);
	assert_int_equal(ncclCommInitRank(&comm, 1, id, 0), ncclSuccess);
	return comm;
}

static void test_refused(void **state)
{
	ncclSimInfo_t sim = NCCL_SIM_INFO_INITIALIZER;
	ncclComm_t comm = alone(), sub = NULL;
	ncclWindow_t win = NULL;
	ncclWaitSignalDesc_t wait = {1, 0, 0, 0};
	void *buff = NULL, *out = NULL;
	char handle[64];
	uint32_t id;
	size_t offset;

	assert_int_equal(ncclMemAlloc(&buff, 4096), ncclSuccess);
	REFUSED(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
	REFUSED(ncclCommSuspend(comm, NCCL_SUSPEND_MEM));
	REFUSED(ncclCommResume(comm));
	REFUSED(ncclCommShrink(comm, NULL, 0, &sub, NULL, NCCL_SHRINK_ABORT));
	REFUSED(ncclGroupSimulateEnd(&sim));
	REFUSED(ncclPutSignal(buff, 1, ncclInt8, 0, win, 0, 0, 0, 0, comm, NULL));
	REFUSED(ncclSignal(0, 0, 0, 0, comm, NULL));
	REFUSED(ncclWaitSignal(1, &wait, comm, NULL));
	REFUSED(ncclDevCommCreate(comm, handle, handle));
	REFUSED(ncclDevCommDestroy(comm, handle));
	REFUSED(ncclGetLsaMultimemDevicePointer(win, 0, &out));
	REFUSED(ncclGetMultimemDevicePointer(win, 0, (ncclMultimemHandle_t){NULL}, &out));
	REFUSED(ncclGetLsaDevicePointer(win, 0, 0, &out));
	REFUSED(ncclGetPeerDevicePointer(win, 0, 0, &out));
	REFUSED(ncclGetMultimemDeviceLeInfo(win, 0, &id, &offset));
	REFUSED(ncclGetCftDeviceLeInfo(win, 0, 0, ncclTeamWorld(comm), &id, &offset));
	REFUSED(ncclGetPeerDeviceLeInfo(win, 0, 0, &id, &offset));
	REFUSED(ncclLsaBarrierCreateRequirement(ncclTeamLsa(comm), 1, handle, handle));
	REFUSED(ncclGinBarrierCreateRequirement(comm, ncclTeamWorld(comm), 1, handle, handle));
	REFUSED(ncclLLA2ACreateRequirement(1, 1, handle, handle));
	REFUSED(ncclGinOutboxCreateRequirement(1, 4, handle, handle));
	REFUSED(ncclGinInboxA2ACreateRequirement(ncclTeamWorld(comm), 1, 4, handle, handle));
	assert_null(sub);
	assert_null(win);
	assert_null(out);
	assert_true(sim.estimatedTime < 0);
	assert_int_equal(ncclMemFree(buff), ncclSuccess);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

static void test_windows(void **state)
{
	ncclComm_t comm = alone();
	ncclWindow_t one = NULL, two = NULL;
	void *buff = NULL, *out = NULL;

	assert_int_equal(ncclMemAlloc(&buff, 8192), ncclSuccess);
	assert_int_equal(ncclCommWindowRegister(comm, buff, 4096, &one, NCCL_WIN_DEFAULT),
			 ncclSuccess);
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	assert_int_equal(ncclCommWindowRegister(comm, (char *)buff + 4096, 4096, &two,
						NCCL_WIN_COLL_SYMMETRIC),
			 ncclSuccess);
	assert_int_equal(ncclGroupEnd(), ncclSuccess);
	assert_non_null(one);
	assert_non_null(two);
	assert_int_equal(ncclWinGetUserPtr(comm, two, &out), ncclSuccess);
	assert_ptr_equal(out, (char *)buff + 4096);
	refused(ncclCommWindowRegister(comm, buff, 4096, &one, 0x40), ncclInvalidArgument, "flags");
	refused(ncclCommWindowRegister(comm, NULL, 4096, &one, 0), ncclInvalidArgument, "buff");
	refused(ncclWinGetUserPtr(comm, (ncclWindow_t)(void *)buff, &out), ncclInvalidArgument,
		"no window");
	assert_int_equal(ncclCommWindowDeregister(comm, two), ncclSuccess);
	refused(ncclCommWindowDeregister(comm, two), ncclInvalidArgument, "no window");
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess); /* with the other one */
	assert_int_equal(ncclMemFree(buff), ncclSuccess);
}

/* Those that answer with something else than a code. */
static void test_refused_otherwise(void **state)
{
	ncclComm_t comm = alone();

	assert_int_equal(ncclLLA2ACalcSlots(4, 8), 0);
	assert_non_null(strstr(ncclGetLastError(NULL), "ncclLLA2ACalcSlots"));
	assert_int_equal(ncclTeamCft(comm, 0).nRanks, 0);
	assert_non_null(strstr(ncclGetLastError(NULL), "ncclTeamCft "));
	assert_int_equal(ncclTeamCftMultimem(comm).nRanks, 0);
	assert_non_null(strstr(ncclGetLastError(NULL), "ncclTeamCftMultimem"));
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
	ncclResetDebugInit();
}

static void test_parameters(void **state)
{
	ncclParamHandle_t handle = NULL;
	const char *text, **keys = NULL;
	int length = -1;
	int64_t i;
	uint64_t u;

	REFUSED(ncclParamBind(&handle, "NCCL_DEBUG"));
	REFUSED(ncclParamGetI8(handle, (int8_t *)&i));
	REFUSED(ncclParamGetI16(handle, (int16_t *)&i));
	REFUSED(ncclParamGetI32(handle, (int32_t *)&i));
	REFUSED(ncclParamGetI64(handle, &i));
	REFUSED(ncclParamGetU8(handle, (uint8_t *)&u));
	REFUSED(ncclParamGetU16(handle, (uint16_t *)&u));
	REFUSED(ncclParamGetU32(handle, (uint32_t *)&u));
	REFUSED(ncclParamGetU64(handle, &u));
	REFUSED(ncclParamGetStr(handle, &text));
	REFUSED(ncclParamGet(handle, &u, sizeof(u), &length));
	REFUSED(ncclParamGetParameter("NCCL_DEBUG", &text, &length));
	assert_int_equal(ncclParamGetAllParameterKeys(&keys, &length), ncclSuccess);
	assert_non_null(keys);
	assert_int_equal(length, 0);
	refused(ncclParamGetAllParameterKeys(NULL, &length), ncclInvalidArgument, "NULL");
	ncclParamDumpAll();
}

static void test_encryption(void **state)
{
	ncclEncryptionConfig_t config = NCCL_ENCRYPTION_CONFIG_INITIALIZER;

	assert_int_equal(ncclSetEncryption(&config), ncclSuccess);
	refused(ncclSetEncryption(NULL), ncclInvalidArgument, "NULL");
	config.mode = NCCL_ENCRYPTION_MODE_PSK;
	config.psk = "0123";
	REFUSED(ncclSetEncryption(&config));
	config.magic = 0;
	refused(ncclSetEncryption(&config), ncclInvalidArgument, "magic");
}

/* --- the deadline: what the log of a process says, for variables count from its start --- */

static void make_all(void)
{
	ncclComm_t comm = alone();

	ncclCommDestroy(comm);
	if (!ncclCommInitAll(&comm, 1, NULL))
		ncclCommDestroy(comm);
}

/* How many of make_all's communicators have it. */
static int count_deadlines(const char *variables, const char *deadline)
{
	char self[PATH_MAX] = "", command[2 * PATH_MAX], line[1024];
	FILE *log;
	int n = 0;

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(command, sizeof(command), "HOCKET_DEBUG=3 %s '%s' make 2>&1", variables, self);
	log = popen(command, "r");
	assert_non_null(log);
	while (fgets(line, sizeof(line), log))
		n += strstr(line, deadline) != NULL;
	assert_int_equal(pclose(log), 0);
	return n;
}

static void test_deadline(void **state)
{
	assert_int_equal(count_deadlines("", "deadline 3600.0 s"), 2);
	assert_int_equal(count_deadlines("HOCKET_TIMEOUT_MS=7000", "deadline 7.0 s"), 2);
}

/* --- handles that are none --- */

struct on_comm {
	const char *name;
	ncclResult_t (*call)(ncclComm_t comm);
	bool refused; /* whatever the handle is */
};

#define ON_COMM(name, ...)                                                                         \
	static ncclResult_t on_##name(ncclComm_t comm)                                             \
	{                                                                                          \
		return name(__VA_ARGS__);                                                          \
	}

static ncclUniqueId some_id;
static ncclComm_t made;
static ncclCommProperties_t some_props = NCCL_COMM_PROPERTIES_INITIALIZER;
static uint64_t some_value;
static int some_int;
static ncclResult_t some_result;
static void *some_handle;

ON_COMM(ncclCommRevoke, comm, NCCL_REVOKE_DEFAULT)
ON_COMM(ncclCommSuspend, comm, NCCL_SUSPEND_MEM)
ON_COMM(ncclCommResume, comm)
ON_COMM(ncclDevCommCreate, comm, NULL, NULL)
ON_COMM(ncclDevCommDestroy, comm, NULL)
ON_COMM(ncclGinBarrierCreateRequirement, comm, ncclTeamWorld(comm), 1, NULL, NULL)
ON_COMM(ncclCommMemStats, comm, ncclStatGpuMemTotal, &some_value)
ON_COMM(ncclCommQueryProperties, comm, &some_props)
ON_COMM(ncclCommGetUniqueId, comm, &some_id)
ON_COMM(ncclCommShrink, comm, NULL, 0, &made, NULL, NCCL_SHRINK_DEFAULT)
ON_COMM(ncclCommGrow, comm, 2, NULL, -1, &made, NULL)
ON_COMM(ncclCommSplit, comm, 0, 0, &made, NULL)
ON_COMM(ncclCommCount, comm, &some_int)
ON_COMM(ncclCommUserRank, comm, &some_int)
ON_COMM(ncclCommCuDevice, comm, &some_int)
ON_COMM(ncclCommGetAsyncError, comm, &some_result)
ON_COMM(ncclCommRegister, comm, &some_int, sizeof(some_int), &some_handle)
ON_COMM(ncclCommDeregister, comm, NULL)

#define ROW(name, refused)                                                                         \
	{                                                                                          \
#name, on_##name, refused                                                          \
	}
static const struct on_comm functions[] = {
	ROW(ncclCommRevoke, true),	 ROW(ncclCommSuspend, true),
	ROW(ncclCommResume, true),	 ROW(ncclDevCommCreate, true),
	ROW(ncclDevCommDestroy, true),	 ROW(ncclGinBarrierCreateRequirement, true),
	ROW(ncclCommMemStats, false),	 ROW(ncclCommQueryProperties, false),
	ROW(ncclCommGetUniqueId, false), ROW(ncclCommShrink, false),
	ROW(ncclCommGrow, false),	 ROW(ncclCommSplit, false),
	ROW(ncclCommCount, false),	 ROW(ncclCommUserRank, false),
	ROW(ncclCommCuDevice, false),	 ROW(ncclCommGetAsyncError, false),
	ROW(ncclCommRegister, false),	 ROW(ncclCommDeregister, false),
};

/* What is refused is refused for its own reason; the others say that this is no communicator. */
static void test_handles(void **state)
{
	static const char *const what[] = {"NULL", "a destroyed one", "a foreign one"};
	char foreign[64] = "not a communicator";
	ncclComm_t bad[3] = {NULL, alone(), (ncclComm_t)(void *)foreign};

	assert_int_equal(ncclCommDestroy(bad[1]), ncclSuccess);
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		for (int k = 0; k < 3; k++) {
			const struct on_comm *f = &functions[i];
			ncclResult_t result,
				want = f->refused ? ncclInvalidUsage : ncclInvalidArgument;
			const char *word = f->refused ? f->name : "communicator", *said;

			/* Rather a rank that joins, who lacks the id. */
			if (f->call == on_ncclCommGrow && !bad[k])
				word = "id";
			ncclParamBind(NULL, "X"); /* says something else */
			made = NULL;
			result = f->call(bad[k]);
			said = ncclGetLastError(NULL);
			if (result != want || !strstr(said, word) || made)
				fail_msg("%s of %s returns %d, and says '%s'", f->name, what[k],
					 result, said);
		}
}

static void test_queries(void **state)
{
	ncclCommProperties_t props = NCCL_COMM_PROPERTIES_INITIALIZER;
	ncclComm_t comm = alone();
	ncclTeam_t team;
	uint64_t value = 7;

	for (int stat = ncclStatGpuMemSuspend; stat <= ncclStatGpuMemTotal; stat++) {
		value = 7;
		assert_int_equal(ncclCommMemStats(comm, (ncclCommMemStat_t)stat, &value),
				 ncclSuccess);
		assert_int_equal(value, 0);
	}
	refused(ncclCommMemStats(comm, (ncclCommMemStat_t)4, &value), ncclInvalidArgument,
		"statistic");
	refused(ncclCommMemStats(comm, ncclStatGpuMemTotal, NULL), ncclInvalidArgument, "NULL");
	refused(ncclCommMemStats(NULL, ncclStatGpuMemTotal, &value), ncclInvalidArgument, "NULL");

	memset(&props.rank, 0xee, sizeof(props) - offsetof(ncclCommProperties_t, rank));
	assert_int_equal(ncclCommQueryProperties(comm, &props), ncclSuccess);
	assert_int_equal(props.rank, 0);
	assert_int_equal(props.nRanks, 1);
	assert_int_equal(props.cudaDev, -1);
	assert_false(props.deviceApiSupport);
	assert_false(props.hostRmaSupport);
	assert_int_equal(props.size, sizeof(props));
	/* An older struct is filled as far as it goes. */
	props.size = offsetof(ncclCommProperties_t, cudaDev);
	props.nRanks = props.cudaDev = 99;
	assert_int_equal(ncclCommQueryProperties(comm, &props), ncclSuccess);
	assert_int_equal(props.nRanks, 1);
	assert_int_equal(props.cudaDev, 99);
	props.magic = 1;
	refused(ncclCommQueryProperties(comm, &props), ncclInvalidArgument, "magic");
	refused(ncclCommQueryProperties(comm, NULL), ncclInvalidArgument, "NULL");

	team = ncclTeamLsa(comm);
	assert_int_equal(team.nRanks, 1);
	team = ncclTeamRail(comm);
	assert_int_equal(team.nRanks, 1);
	assert_int_equal(ncclTeamWorld(NULL).nRanks, 0);
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

static void test_call_config(void **state)
{
	ncclCollConfig_t config = NCCL_COLLCONFIG_INITIALIZER;
	ncclComm_t comm = alone();
	int x = 3, y = 0, event;

	assert_int_equal(ncclAllReduceConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, NULL),
			 ncclSuccess);
	assert_int_equal(y, 3);
	config.maxCTAs = 2;
	config.userProfilerTag = 17;
	x = 1;
	assert_int_equal(
		ncclReduceScatterConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, &config),
		ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclAllGatherConfig(&x, &y, 1, ncclInt32, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclBroadcastConfig(&x, &y, 1, ncclInt32, 0, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclReduceConfig(&x, &y, 1, ncclInt32, ncclSum, 0, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclAlltoAllConfig(&x, &y, 1, ncclInt32, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclGatherConfig(&x, &y, 1, ncclInt32, 0, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);
	assert_int_equal(ncclScatterConfig(&x, &y, 1, ncclInt32, 0, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x++);

	config.algSelection = "ring";
	refused(ncclAllReduceConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, &config),
		ncclInvalidUsage, "'ring'");
	config.forceAlgSelection = 0;
	assert_int_equal(ncclAllReduceConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, &config),
			 ncclSuccess);
	assert_int_equal(y, x);
	config.launchCompletionEvent = (cudaEvent_t)(void *)&event;
	refused(ncclAllReduceConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, &config),
		ncclInvalidUsage, "launchCompletionEvent");
	config.magic = 0;
	refused(ncclAllReduceConfig(&x, &y, 1, ncclInt32, ncclSum, comm, NULL, &config),
		ncclInvalidArgument, "magic");
	assert_int_equal(ncclCommDestroy(comm), ncclSuccess);
}

/* --- a communicator that grows --- */

enum { OLD = 2, NEW = 3 };

struct grower {
	pthread_t id;
	ncclComm_t old, grown;
	const ncclUniqueId *uid; /* given to the one that made it, and to those that join */
	int rank;		 /* in the grown one */
	ncclResult_t result;
	int sum, place;
	bool told; /* that exactly one rank must have the id */
};

static void *grow(void *arg)
{
	struct grower *g = arg;

	g->result = ncclCommGrow(g->old, NEW, g->uid, g->old ? -1 : g->rank, &g->grown, NULL);
	g->told = strstr(ncclGetLastError(NULL), "exactly one") != NULL;
	if (!g->result)
		g->result = ncclAllReduce(&g->rank, &g->sum, 1, ncclInt32, ncclSum, g->grown, NULL);
	if (!g->result)
		g->result = ncclCommUserRank(g->grown, &g->place);
	if (!g->result)
		g->result = ncclCommDestroy(g->grown);
	return NULL;
}

static void test_grow(void **state)
{
	ncclComm_t old[OLD], none = NULL;
	struct grower growers[NEW];
	ncclUniqueId uid;

	assert_int_equal(ncclCommInitAll(old, OLD, NULL), ncclSuccess);
	refused(ncclCommGetUniqueId(NULL, &uid), ncclInvalidArgument, "NULL");
	assert_int_equal(ncclCommGetUniqueId(old[1], &uid), ncclSuccess);
	refused(ncclCommGrow(NULL, NEW, NULL, 2, &none, NULL), ncclInvalidArgument, "id");
	refused(ncclCommGrow(old[0], OLD - 1, NULL, -1, &none, NULL), ncclInvalidArgument, "ranks");
	assert_int_equal(ncclGroupStart(), ncclSuccess);
	REFUSED(ncclCommGrow(old[0], NEW, NULL, -1, &none, NULL));
	assert_int_equal(ncclGroupEnd(), ncclInvalidUsage);
	for (int i = 0; i < NEW; i++) {
		growers[i] = (struct grower){.old = i < OLD ? old[i] : NULL, .rank = i};
		growers[i].uid = i ? &uid : NULL;
		assert_int_equal(pthread_create(&growers[i].id, NULL, grow, &growers[i]), 0);
	}
	for (int i = 0; i < NEW; i++)
		pthread_join(growers[i].id, NULL);
	for (int i = 0; i < NEW; i++) {
		assert_int_equal(growers[i].result, ncclSuccess);
		assert_int_equal(growers[i].sum, 3);
		assert_int_equal(growers[i].place, i);
	}
	/* Nobody has the id: both find out. */
	for (int i = 0; i < OLD; i++) {
		growers[i].uid = NULL;
		assert_int_equal(pthread_create(&growers[i].id, NULL, grow, &growers[i]), 0);
	}
	for (int i = 0; i < OLD; i++) {
		pthread_join(growers[i].id, NULL);
		assert_int_equal(growers[i].result, ncclInvalidArgument);
		assert_true(growers[i].told);
		assert_int_equal(ncclCommDestroy(old[i]), ncclSuccess);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),		  cmocka_unit_test(test_windows),
		cmocka_unit_test(test_refused_otherwise), cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_encryption),	  cmocka_unit_test(test_queries),
		cmocka_unit_test(test_call_config),	  cmocka_unit_test(test_grow),
		cmocka_unit_test(test_deadline),	  cmocka_unit_test(test_handles),
	};

	if (argc > 1) {
		make_all();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
