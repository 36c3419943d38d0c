/* SPDX-License-Identifier: BSD-3-Clause */
/* The bootstrap among processes: all-gather, descriptors and connections between processes, hosts
 * that only seem different, and processes that are killed. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "peers.h"

static void gather_body(struct peer *p, struct hk_boot *b)
{
	uint8_t *table = calloc((size_t)p->nranks, p->bytes);

	for (int round = 0; round < 3; round++) {
		memset(table, 255, (size_t)p->nranks * p->bytes);
		memset(table + (size_t)p->rank * p->bytes, p->rank + round, p->bytes);
		expect(p, hk_boot_allgather(b, table, p->bytes) == 0, "all-gather");
		for (size_t i = 0; i < (size_t)p->nranks * p->bytes; i++)
			expect(p, table[i] == i / p->bytes + (size_t)round, "gathered byte");
	}
	free(table);
}

static void test_allgather(void **state)
{
	for (int n = 1; n <= 9; n++)
		peers_fork_well(n, gather_body, n % 2 ? 65536 : 24, -1);
}

static void wire_body(struct peer *p, struct hk_boot *b)
{
	struct hk_wire *w = hk_boot_wire(b);
	int memfd = memfd_create("test", MFD_CLOEXEC), next = (p->rank + 1) % p->nranks;
	int previous = (p->rank + p->nranks - 1) % p->nranks, out = -1, in = -1, fd = -1, got = -1;
	int *shared;

	expect(p, ftruncate(memfd, 4096) == 0 && w->ops->publish(w, 3, memfd) == 0, "publish");
	expect(p, w->ops->dial(w, next, 4, &out) == 0, "dial");
	expect(p, await_dial(w, previous, 4, 5000, &in) == 1, "answer");
	expect(p, write(out, &p->rank, sizeof(int)) == sizeof(int), "write");
	expect(p, read(in, &got, sizeof(int)) == sizeof(int) && got == previous, "read");
	/* What the next rank sees in our memory comes from here. */
	expect(p, w->ops->fetch(w, previous, 3, &fd) == 0, "fetch");
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	*shared = 100 + p->rank;
	munmap(shared, 4096);
	hk_boot_barrier(b);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(p, shared != MAP_FAILED && *shared == 100 + previous, "shared memory");
	hk_boot_barrier(b);
}

static void test_wire(void **state)
{
	peers_fork_well(2, wire_body, 0, -1);
	peers_fork_well(5, wire_body, 0, -1);
}

static void kill_body(struct peer *p, struct hk_boot *b)
{
	const char *text = "";
	char want[32];
	int victim = (int)p->bytes;

	hk_boot_barrier(b);
	if (p->rank == victim) {
		/* Not at once, so that all are past the barrier. */
		usleep(100000);
		raise(SIGKILL);
	}
	/* One in a call, the others polling. */
	if (p->rank == (victim + 1) % p->nranks)
		expect(p, hk_boot_barrier(b) == -HK_EPEER, "barrier ends");
	expect(p, await_failure(b, 1100, &text) == -HK_EPEER, "death noticed");
	snprintf(want, sizeof(want), "rank %d died", victim);
	expect(p, strstr(text, want) != NULL, "names the dead");
	/* Nobody leaves before all have seen it; a leaver must not be the cause. */
	usleep(200000);
}

static void test_kill(void **state)
{
	peers_fork_well(2, kill_body, 1, 1);
	peers_fork_well(7, kill_body, 3, 3);
	/* The maker of the id is a rank like any other by then. */
	peers_fork_well(9, kill_body, 0, 0);
}

static void stop_body(struct peer *p, struct hk_boot *b)
{
	int fd;

	hk_boot_barrier(b);
	if (p->rank == 1) {
		/* An application that computes for long. */
		usleep(700000);
		hk_boot_barrier(b);
		return;
	}
	int64_t began = now_ms();

	expect(p, hk_boot_wire(b)->ops->dial(hk_boot_wire(b), 1, 1, &fd) == 0, "dial");
	expect(p, now_ms() - began < 500, "without the peer's application");
	hk_boot_barrier(b);
}

static void test_dial_to_busy(void **state)
{
	peers_fork_well(2, stop_body, 0, -1);
}

/* Runs before the parameters are read in this process. */
static void other_host_body(struct peer *p, struct hk_boot *b)
{
	struct hk_wire *w = hk_boot_wire(b);
	int fd;

	expect(p, hk_boot_host(b, 0) != hk_boot_host(b, 1), "two hosts");
	expect(p, w->ops->fetch(w, 1 - p->rank, 1, &fd) == -ENOTSUP, "no fetch across hosts");
	if (p->rank)
		expect(p, w->ops->dial(w, 0, 1, &fd) == 0, "dial across hosts");
	else
		expect(p, await_dial(w, 1, 1, 5000, &fd) == 1, "answer across hosts");
	hk_boot_barrier(b);
}

static void test_other_host(void **state)
{
	peers_split_hosts = true;
	peers_fork_well(2, other_host_body, 0, -1);
	peers_split_hosts = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allgather),  cmocka_unit_test(test_wire),
		cmocka_unit_test(test_kill),	   cmocka_unit_test(test_dial_to_busy),
		cmocka_unit_test(test_other_host),
	};

	peers_environment();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
