/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rank that ends its communicator right after it has sent: what it sent comes, however late the
 * receiver is. It does not wait for a receiver that has died, or ended its own, or never comes.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness.h"

enum { MESSAGES = 3, MOST = 60000 };

static const size_t lengths[MESSAGES] = {8, 5000, MOST};
static char buffers[MESSAGES][MOST];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static hocketComm_t join(const struct rank *r, int timeout_ms)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	config.timeoutMs = timeout_ms;
	return e2e_init(r, &config);
}

static void send_all(int to, hocketComm_t comm)
{
	OK(hocketGroupStart());
	for (unsigned i = 0; i < MESSAGES; i++) {
		memset(buffers[i], (int)i + 1, lengths[i]);
		OK(hocketSend(buffers[i], lengths[i], hocketUint8, to, comm, NULL));
	}
	OK(hocketGroupEnd());
}

static void receive_all(int from, hocketComm_t comm)
{
	OK(hocketGroupStart());
	for (unsigned i = 0; i < MESSAGES; i++)
		OK(hocketRecv(buffers[i], lengths[i], hocketUint8, from, comm, NULL));
	OK(hocketGroupEnd());
	for (unsigned i = 0; i < MESSAGES; i++)
		for (size_t k = 0; k < lengths[i]; k++)
			CHECK(buffers[i][k] == (char)(i + 1));
}

/* The sender's process is gone, too, when the receiver looks; the second time they have met. */
static void run_late(struct rank *r)
{
	hocketComm_t comm = join(r, 60000);
	bool met = getenv("ENDS_MET") != NULL;

	if (met && r->rank == 0)
		send_all(1, comm);
	else if (met)
		receive_all(0, comm);
	if (r->rank == 0) {
		double start = now();

		send_all(1, comm);
		if (getenv("ENDS_FINALIZE")) {
			OK(hocketCommFinalize(comm));
			CHECK(now() - start > 0.2);
		}
		OK(hocketCommDestroy(comm));
		_exit(0);
	}
	usleep(500000);
	receive_all(0, comm);
	OK(hocketCommDestroy(comm));
}

static void ends_within(hocketComm_t comm, double least, double most)
{
	double start = now(), took;

	OK(hocketCommDestroy(comm));
	took = now() - start;
	if (took < least || took > most)
		fprintf(stderr, "it took %.1f s\n", took);
	CHECK(took >= least && took <= most);
}

static void run_died(struct rank *r)
{
	hocketComm_t comm = join(r, 60000);

	if (r->rank == 1) {
		usleep(300000);
		raise(SIGKILL);
	}
	send_all(1, comm);
	ends_within(comm, 0, 20);
}

/* Each has a message for the other, and nobody receives. */
static void run_unread(struct rank *r)
{
	hocketComm_t comm = join(r, 60000);

	send_all(!r->rank, comm);
	ends_within(comm, 0, 20);
}

/* Shared memory alone knows that the receiver has not met the sender. */
static void run_never(struct rank *r)
{
	hocketComm_t comm = join(r, r->rank ? 60000 : 500);

	if (r->rank == 0) {
		send_all(1, comm);
		ends_within(comm, 0.4, 10);
		return;
	}
	usleep(3000000);
	OK(hocketCommDestroy(comm));
}

static void on(const char *transport, const char *scenario, int victim)
{
	setenv("HOCKET_TRANSPORTS", transport, 1);
	e2e_run(scenario, 2, victim);
	unsetenv("HOCKET_TRANSPORTS");
}

static void test_late(void **state)
{
	on("shm", "late", -1);
	on("tcp", "late", -1);
	setenv("ENDS_FINALIZE", "1", 1);
	on("shm", "late", -1);
	unsetenv("ENDS_FINALIZE");
	setenv("ENDS_MET", "1", 1);
	on("shm", "late", -1);
	on("tcp", "late", -1);
	unsetenv("ENDS_MET");
}

static void test_died(void **state)
{
	on("shm", "died", 1);
	on("tcp", "died", 1);
}

static void test_unread(void **state)
{
	on("shm", "unread", -1);
	on("tcp", "unread", -1);
}

static void test_never(void **state)
{
	on("shm", "never", -1);
}

/* With an argument: the cases that it matches; see harness.h for two and more. */
int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{"late", run_late},   {"died", run_died}, {"unread", run_unread},
		{"never", run_never}, {NULL, NULL},
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_died),
		cmocka_unit_test(test_unread),
		cmocka_unit_test(test_never),
	};

	e2e_main(argc, argv, scenarios);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
