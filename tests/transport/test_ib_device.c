/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Discovery on real devices, in the bed's machine (tests/softroce/README.md; the suite bridge runs
 * it there): what it finds, and how it notices links, addresses and MTUs that change.
 *
 *   test_ib_device CASE     HOCKET_IB_HCA as the case says; it is read once in a process
 *
 * The bed has two rails at least, and on each a card for two ranks at least.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "ibv.h"
#include "verbs_device.h"
#include "verbs_probe.h"

#define MOST 8

static void shell(const char *command)
{
	if (system(command))
		fail_msg("failed: %s", command);
}

/* Refreshes until `wanted` has changed, for the kernel tells of it in its own time; returns all
 * that has changed meanwhile. */
static unsigned await(struct hk_ib_port *port, unsigned wanted)
{
	unsigned all = 0;

	for (int i = 0; i < 400; i++) {
		unsigned changed = 0;

		assert_int_equal(hk_ib_refresh(port, &changed), 0);
		all |= changed;
		if (all & wanted)
			return all;
		usleep(10000);
	}
	fail_msg("%s: nothing changed", port->name);
	return all;
}

/* Nothing is named: each rank gets its own card of each rail. */
static void test_default(void **state)
{
	struct hk_ib_port ports[MOST];
	char name[80], text[256];

	for (unsigned turn = 0; turn < 2; turn++) {
		unsigned n = 0;

		assert_int_equal(hk_ib_open(turn, 2, ports, &n), 0);
		assert_int_equal(n, 2);
		for (unsigned i = 0; i < n; i++) {
			unsigned changed = 99;

			snprintf(name, sizeof(name), "rxe%u_%u:1", i, turn);
			assert_string_equal(ports[i].name, name);
			snprintf(name, sizeof(name), "n%u_%u", i, turn);
			assert_string_equal(ports[i].netdev, name);
			assert_true(ports[i].active && ports[i].roce && ports[i].roce_v2);
			assert_true(ports[i].global && !ports[i].iwarp);
			assert_int_equal(hk_ib_port_kind(&ports[i]), HK_IB_GID_V2_IPV4);
			assert_int_equal(ports[i].mtu, IBV_MTU_4096);
			assert_int_equal(ports[i].net.bits, 24);
			hk_ib_port_text(&ports[i], text, sizeof(text));
			assert_non_null(strstr(text, "10.98."));
			assert_int_equal(hk_ib_refresh(&ports[i], &changed), 0);
			assert_int_equal(changed, 0);
		}
		assert_false(hk_ib_net_equal(&ports[0].net, &ports[1].net));
		hk_ib_close(ports, n);
	}
}

/* HOCKET_IB_HCA=rxe0_0,rxe1_0 */
static void test_changes(void **state)
{
	struct hk_ib_port ports[MOST];
	unsigned n = 0;
	struct hk_ib_net net;

	assert_int_equal(hk_ib_open(0, MOST, ports, &n), 0);
	assert_int_equal(n, 2);
	net = ports[0].net;
	shell("ip link set n0_0 down");
	assert_int_equal(await(&ports[0], HK_IB_STATE), HK_IB_STATE);
	assert_false(ports[0].active);
	shell("ip link set n0_0 up");
	await(&ports[0], HK_IB_STATE);
	assert_true(ports[0].active);

	shell("ip addr del 10.98.0.1/24 dev n0_0");
	assert_int_equal(await(&ports[0], HK_IB_GID), HK_IB_GID);
	assert_int_equal(hk_ib_port_kind(&ports[0]), HK_IB_GID_V2_LOCAL);
	shell("ip addr add 10.98.0.1/24 dev n0_0");
	assert_int_equal(await(&ports[0], HK_IB_GID), HK_IB_GID);
	assert_int_equal(hk_ib_port_kind(&ports[0]), HK_IB_GID_V2_IPV4);
	assert_true(hk_ib_net_equal(&ports[0].net, &net));

	shell("ip link set n0_0 mtu 1500");
	assert_int_equal(await(&ports[0], HK_IB_MTU), HK_IB_MTU);
	assert_int_equal(ports[0].mtu, IBV_MTU_1024);
	shell("ip link set n0_0 mtu 4200");
	assert_int_equal(await(&ports[0], HK_IB_MTU), HK_IB_MTU);
	assert_int_equal(ports[0].mtu, IBV_MTU_4096);
	hk_ib_close(ports, n);
}

/* HOCKET_IB_HCA=rxe0_0,rxe1_0: what is down at the start is a rail, in its own place. */
static void test_down_at_start(void **state)
{
	struct hk_ib_port ports[MOST];
	unsigned n = 0;

	shell("ip link set n0_0 down");
	usleep(300000);
	assert_int_equal(hk_ib_open(0, MOST, ports, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(ports[0].name, "rxe0_0:1");
	assert_false(ports[0].active);
	assert_true(ports[1].active);
	shell("ip link set n0_0 up");
	await(&ports[0], HK_IB_STATE);
	assert_true(ports[0].active);
	hk_ib_close(ports, n);
}

/* HOCKET_IB_HCA=rxe0_0: no rail, and a sentence that says why. */
static void test_all_down(void **state)
{
	struct hk_ib_port ports[MOST];
	unsigned n = 77;

	shell("ip link set n0_0 down");
	usleep(300000);
	assert_int_equal(hk_ib_open(0, MOST, ports, &n), -ENOTSUP);
	assert_int_equal(n, 77);
	assert_non_null(strstr(hk_last_error(), "rxe0_0:1: its link is down"));
	assert_null(strstr(hk_last_error(), "rxe1_1"));
	shell("ip link set n0_0 up");
	usleep(300000);
}

/* HOCKET_IB_HCA=mlx9 */
static void test_no_such(void **state)
{
	struct hk_ib_port ports[MOST];
	unsigned n = 77;

	assert_int_equal(hk_ib_open(0, MOST, ports, &n), -ENOTSUP);
	assert_non_null(strstr(hk_last_error(), "HOCKET_IB_HCA=mlx9 leaves none of rxe0_0,"));
	assert_non_null(strstr(hk_last_error(), " rxe1_1"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default),	      cmocka_unit_test(test_changes),
		cmocka_unit_test(test_down_at_start), cmocka_unit_test(test_all_down),
		cmocka_unit_test(test_no_such),
	};
	char name[64];

	if (argc != 2) {
		fprintf(stderr, "usage: test_ib_device default|changes|down_at_start|all_down|"
				"no_such, in the bed\n");
		return 2;
	}
	snprintf(name, sizeof(name), "test_%s", argv[1]);
	cmocka_set_test_filter(name);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
