/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * End-to-end tests: every rank is a process of its own. The test program starts itself again once
 * per rank with the name of a scenario, and the scenario's function runs in each. A rank that fails
 * a check prints where and exits with 1; the parent's cmocka test fails if any rank did, or was
 * late.
 *
 * A scenario can be run alone, too: `test_every rooted 3` starts 3 ranks, and its exit status says
 * whether all have succeeded. That is how scripts run scenarios where transports need devices
 * (tests/softroce); with HOCKET_TEST_LAUNCH each rank is then started by that command, which finds
 * the rank's number in HOCKET_RANK; with HOCKET_TEST_HOSTS=2 the ranks act as on so many hosts.
 */
#ifndef TESTS_E2E_HARNESS_H
#define TESTS_E2E_HARNESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hocket/hocket.h"

struct rank {
	int rank, nranks;
	hocketUniqueId id;
};

struct scenario {
	const char *name;
	void (*run)(struct rank *r);
};

/* In main: runs a scenario and exits if this process is a rank, or if one is asked for, else
 * returns. */
void e2e_main(int argc, char **argv, const struct scenario *scenarios);
/* Runs a scenario with n ranks; fails the cmocka test unless all succeed. A rank that scenario
 * kills on purpose is `victim` (-1: none), whose status does not matter. */
void e2e_run(const char *scenario, int n, int victim);

hocketComm_t e2e_init(const struct rank *r, hocketConfig_t *config);
/* A further id, made by rank 0 and handed round over comm. */
hocketUniqueId e2e_share_id(const struct rank *r, hocketComm_t comm);

/* Small whole numbers in any type, exactly. */
void e2e_put(void *buf, size_t i, hocketDataType_t type, double value);
double e2e_get(const void *buf, size_t i, hocketDataType_t type);
size_t e2e_size(hocketDataType_t type);

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__,          \
				__LINE__, #cond, hocketGetLastError(NULL));                        \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)
#define OK(call) CHECK((call) == hocketSuccess)

#endif
