/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules by which verbs chooses ports and GIDs, tried on tables of machines that are not here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "verbs_choice.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* --- HOCKET_IB_HCA --- */

static void test_list(void **state)
{
	static const struct {
		const char *list, *device;
		unsigned port;
		int item;
	} cases[] = {
		{NULL, "mlx5_0", 1, HK_IB_UNNAMED},
		{"", "mlx5_0", 1, HK_IB_UNNAMED},
		{" , ,", "mlx5_0", 1, HK_IB_UNNAMED},
		{"mlx5_0", "mlx5_0", 2, 0},
		{"mlx5_0:1", "mlx5_0", 1, 0},
		{"mlx5_0:1", "mlx5_0", 2, HK_IB_EXCLUDED},
		{"mlx5_1,mlx5_0", "mlx5_0", 1, 1},
		{" mlx5_1 , mlx5_0 ", "mlx5_0", 1, 1},
		/* beginnings, which do not cut a number */
		{"mlx5", "mlx5_0", 1, 0},
		{"mlx", "mlx5_0", 1, 0},
		{"mlx5_1", "mlx5_10", 1, HK_IB_EXCLUDED},
		{"mlx5_10", "mlx5_1", 1, HK_IB_EXCLUDED},
		{"rxe0", "rxe0_1", 1, 0},
		{"rxe0_1", "rxe0", 1, HK_IB_EXCLUDED},
		{"=mlx5", "mlx5_0", 1, HK_IB_EXCLUDED},
		{"=mlx5_0:2", "mlx5_0", 2, 0},
		/* patterns */
		{"mlx5_*", "mlx5_10", 1, 0},
		{"mlx5_?", "mlx5_10", 1, HK_IB_EXCLUDED},
		{"*_?", "mlx5_1", 1, 0},
		{"*x*_*0", "mlx5_10", 1, 0},
		{"*x*_*0", "mlx5_11", 1, HK_IB_EXCLUDED},
		{"*:2", "irdma0", 2, 0},
		{"*", "irdma0", 1, 0},
		{"rdmap*s0", "rdmap16s0", 1, 0},
		{"rdmap*s0", "rdmap16s0f1", 1, HK_IB_EXCLUDED},
		/* exclusions */
		{"^mlx5_3", "mlx5_3", 1, HK_IB_EXCLUDED},
		{"^mlx5_3", "mlx5_2", 1, HK_IB_UNNAMED},
		{"^mlx5_3,mlx5_2", "mlx5_2", 1, HK_IB_EXCLUDED},
		{"^=mlx5_3:1", "mlx5_3", 2, HK_IB_UNNAMED},
		{"=^mlx5_3", "mlx5_3", 1, HK_IB_EXCLUDED},
		{"mlx5,^mlx5_3", "mlx5_3", 1, HK_IB_EXCLUDED},
		{"mlx5,^mlx5_3", "mlx5_2", 1, 0},
		{"mlx5,^mlx5_3", "irdma0", 1, HK_IB_EXCLUDED},
		/* nonsense matches nothing, and is an inclusion all the same */
		{"mlx5_0:x", "mlx5_0", 1, HK_IB_EXCLUDED},
		{"mlx5_0:", "mlx5_0", 1, HK_IB_EXCLUDED},
		{"mlx5_0:4294967297", "mlx5_0", 1, HK_IB_EXCLUDED},
		{":1", "mlx5_0", 1, HK_IB_UNNAMED},
		{"^", "mlx5_0", 1, HK_IB_UNNAMED},
	};

	for (unsigned i = 0; i < LEN(cases); i++) {
		int item = hk_ib_match(cases[i].list, cases[i].device, cases[i].port);

		if (item != cases[i].item)
			fail_msg("\"%s\" for %s:%u gives %d, not %d", cases[i].list,
				 cases[i].device, cases[i].port, item, cases[i].item);
	}
}

/* --- GIDs --- */

static struct hk_ib_gid gid(unsigned index, const char *address, bool v2)
{
	struct hk_ib_gid g = {.index = index, .v2 = v2};

	assert_int_equal(inet_pton(AF_INET6, address, g.raw), 1);
	return g;
}

static void test_gid_kinds(void **state)
{
	static const struct {
		const char *address;
		bool v2;
		enum hk_ib_gid_kind kind;
	} cases[] = {
		{"::ffff:10.98.0.1", true, HK_IB_GID_V2_IPV4},
		{"::ffff:10.98.0.1", false, HK_IB_GID_V1},
		{"::ffff:169.254.3.4", true, HK_IB_GID_V2_LOCAL},
		{"2001:db8::1", true, HK_IB_GID_V2_IPV6},
		{"fd00::1", true, HK_IB_GID_V2_IPV6},
		{"fe80::3459:51ff:feed:b59b", true, HK_IB_GID_V2_LOCAL},
		{"febf::1", true, HK_IB_GID_V2_LOCAL},
		{"fec0::1", true, HK_IB_GID_V2_IPV6},
		{"fe80::3459:51ff:feed:b59b", false, HK_IB_GID_V1},
		{"::", true, HK_IB_GID_NONE},
		{"::", false, HK_IB_GID_NONE},
	};

	for (unsigned i = 0; i < LEN(cases); i++) {
		struct hk_ib_gid g = gid(0, cases[i].address, cases[i].v2);

		assert_int_equal(hk_ib_gid_kind(g.raw, g.v2), cases[i].kind);
		assert_true(strlen(hk_ib_gid_kind_name(cases[i].kind)) > 4);
	}
}

/* The table of a ConnectX port with an IPv4 and an IPv6 address: each in both versions. */
static unsigned connectx_table(struct hk_ib_gid *g)
{
	unsigned n = 0;

	g[n++] = gid(0, "fe80::e42:a1ff:fe3c:1b2a", false);
	g[n++] = gid(1, "fe80::e42:a1ff:fe3c:1b2a", true);
	g[n++] = gid(2, "::ffff:192.168.7.1", false);
	g[n++] = gid(3, "::ffff:192.168.7.1", true);
	g[n++] = gid(4, "2001:db8:7::1", false);
	g[n++] = gid(5, "2001:db8:7::1", true);
	g[n++] = gid(6, "::ffff:192.168.8.1", true);
	return n;
}

static void test_gid_choice(void **state)
{
	struct hk_ib_gid g[8], other = gid(9, "::ffff:192.168.9.9", true);
	unsigned n = connectx_table(g);

	assert_int_equal(hk_ib_gid_choose(g, n, NULL), 3);
	assert_int_equal(hk_ib_gid_choose(g, 2, NULL), 1);
	assert_int_equal(hk_ib_gid_choose(g, 1, NULL), 0);
	assert_int_equal(hk_ib_gid_choose(g, 0, NULL), -1);
	/* one that is in use stays, if it is there and nothing better has come */
	assert_int_equal(hk_ib_gid_choose(g, n, g[6].raw), 6);
	assert_int_equal(hk_ib_gid_choose(g, n, other.raw), 3);
	assert_int_equal(hk_ib_gid_choose(g, n, g[5].raw), 3);
	/* the order of the table is not that of the indexes */
	g[3].index = 12;
	assert_int_equal(hk_ib_gid_choose(g, n, NULL), 6);
	assert_int_equal(hk_ib_gid_choose(g, n, g[3].raw), 3);
	memset(g[0].raw, 0, sizeof(g[0].raw));
	assert_int_equal(hk_ib_gid_choose(g, 1, NULL), -1);
}

/* --- networks --- */

static struct hk_ib_net net4(const char *address, unsigned bits)
{
	struct hk_ib_net net = {0};
	uint8_t raw[4];

	assert_int_equal(inet_pton(AF_INET, address, raw), 1);
	hk_ib_net_set(&net, AF_INET, raw, bits);
	return net;
}

static void test_nets(void **state)
{
	struct hk_ib_net a = net4("10.98.3.7", 20), b = net4("10.98.15.200", 20),
			 c = net4("10.98.16.1", 20), d = net4("10.98.3.7", 21),
			 all = net4("10.98.3.7", 99), none = {0};

	assert_true(hk_ib_net_equal(&a, &b));
	assert_false(hk_ib_net_equal(&a, &c));
	assert_false(hk_ib_net_equal(&a, &d));
	assert_false(hk_ib_net_equal(&a, &none));
	assert_int_equal(all.bits, 32);
}

/* --- ports --- */

struct machine {
	struct hk_ib_candidate c[16];
	char names[16][16];
	unsigned n;
};

/* layer: InfiniBand or Ethernet by its first letter; where: near, far or down. */
static void add(struct machine *m, const char *name, char layer, unsigned gbits, const char *where,
		unsigned net)
{
	struct hk_ib_candidate *c = &m->c[m->n];
	uint8_t address[16] = {10, 98, (uint8_t)net};

	snprintf(m->names[m->n], sizeof(m->names[0]), "%s", name);
	*c = (struct hk_ib_candidate){
		.name = m->names[m->n],
		.item = HK_IB_UNNAMED,
		.ethernet = layer == 'e',
		.active = strcmp(where, "down"),
		.near = strcmp(where, "far"),
		.gbits = gbits,
		.model = layer == 'e' ? 0x15b30000u + gbits : 0x15b3u,
	};
	hk_ib_net_set(&c->net, AF_INET, address, 24);
	m->n++;
}

/* What is chosen, as "a b c", the same whatever order the ports are listed in. */
static void expect(struct machine *m, unsigned turn, unsigned most, const char *wanted)
{
	struct machine turned = *m;

	for (unsigned shift = 0; shift < m->n + !m->n; shift++) {
		char text[256] = "";
		unsigned picks[16], n, rails = 0;

		for (unsigned i = 0; i < m->n; i++)
			turned.c[i] = m->c[(i + shift) % m->n];
		n = hk_ib_choose(turned.c, m->n, turn, most, picks);
		assert_true(n <= most);
		for (unsigned i = 0; i < n; i++) {
			size_t used = strlen(text);

			assert_true(picks[i] < m->n);
			assert_null(turned.c[picks[i]].why);
			snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
				 turned.c[picks[i]].name);
		}
		assert_string_equal(text, wanted);
		/* Everything else has a reason. */
		for (unsigned i = 0; i < m->n; i++)
			rails += !turned.c[i].why;
		assert_int_equal(rails, n);
	}
}

static void name(struct machine *m, const char *list)
{
	for (unsigned i = 0; i < m->n; i++) {
		char device[16];
		unsigned port = 0;

		assert_int_equal(sscanf(m->c[i].name, "%15[^:]:%u", device, &port), 2);
		m->c[i].item = hk_ib_match(list, device, port);
	}
}

/* Eight fast InfiniBand ports, four a NUMA node, and two Ethernet ports for storage. */
static void big_host(struct machine *m)
{
	m->n = 0;
	for (unsigned i = 0; i < 8; i++) {
		char text[16];

		/* 4 and 5 are the storage ports, 10 and 11 InfiniBand again */
		snprintf(text, sizeof(text), "mlx5_%u:1", i < 4 ? i : i + 4);
		add(m, text, 'i', 400, i < 4 ? "near" : "far", 0);
	}
	add(m, "mlx5_4:1", 'e', 200, "near", 1);
	add(m, "mlx5_5:1", 'e', 200, "near", 1);
}

static void test_big_host(void **state)
{
	struct machine m;

	big_host(&m);
	expect(&m, 0, 1, "mlx5_0:1");
	expect(&m, 0, 2, "mlx5_0:1 mlx5_1:1");
	expect(&m, 1, 2, "mlx5_2:1 mlx5_3:1");
	expect(&m, 2, 2, "mlx5_0:1 mlx5_1:1");
	expect(&m, 5, 1, "mlx5_1:1");
	expect(&m, 1, 4, "mlx5_0:1 mlx5_1:1 mlx5_2:1 mlx5_3:1");
	/* far ones only after all near ones; 8 before 10 */
	expect(&m, 0, 6, "mlx5_0:1 mlx5_1:1 mlx5_2:1 mlx5_3:1 mlx5_8:1 mlx5_9:1");
	expect(&m, 1, 6, "mlx5_0:1 mlx5_1:1 mlx5_2:1 mlx5_3:1 mlx5_10:1 mlx5_11:1");
	expect(&m, 7, 16,
	       "mlx5_0:1 mlx5_1:1 mlx5_2:1 mlx5_3:1 mlx5_8:1 mlx5_9:1 mlx5_10:1 mlx5_11:1");
	expect(&m, 4000000000u, 1, "mlx5_0:1");
}

static void test_layers(void **state)
{
	struct machine m = {.n = 0};

	add(&m, "mlx5_0:1", 'i', 100, "near", 0);
	add(&m, "mlx5_1:1", 'e', 100, "near", 1);
	expect(&m, 0, 8, "mlx5_0:1"); /* equal: InfiniBand */
	add(&m, "mlx5_2:1", 'e', 100, "far", 1);
	expect(&m, 0, 8, "mlx5_1:1 mlx5_2:1"); /* together they have more */
	m.c[1].active = m.c[2].active = false;
	expect(&m, 0, 8, "mlx5_0:1"); /* what is down does not count */
	m.c[0].active = false;
	expect(&m, 0, 8, "");
	m.n = 0;
	expect(&m, 0, 8, "");
}

static void test_speeds(void **state)
{
	struct machine m = {.n = 0};

	add(&m, "bnxt0:1", 'e', 25, "near", 0);
	add(&m, "mlx5_0:1", 'e', 100, "near", 1);
	add(&m, "mlx5_1:1", 'e', 200, "near", 2);
	add(&m, "odd:1", 'e', 0, "near", 3); /* unknown: may serve */
	expect(&m, 0, 8, "mlx5_0:1 mlx5_1:1 odd:1");
	name(&m, "bnxt,mlx5,odd");
	expect(&m, 0, 3, "bnxt0:1 mlx5_0:1 mlx5_1:1");
	expect(&m, 0, 2, "bnxt0:1 mlx5_1:1"); /* the list's order before speed, that before names */
	name(&m, "mlx5_0,mlx5_1");
	m.n = 3;
	m.c[0] = m.c[2];
	m.n = 2;
	expect(&m, 0, 8, "mlx5_0:1 mlx5_1:1");
}

/* Two rails, each a network of its own, a card per rank on each. */
static void test_rails(void **state)
{
	struct machine m = {.n = 0};

	for (unsigned rail = 0; rail < 2; rail++)
		for (unsigned rank = 0; rank < 4; rank++) {
			char text[16];

			snprintf(text, sizeof(text), "rxe%u_%u:1", rail, rank);
			add(&m, text, 'e', 10, "near", rail);
		}
	expect(&m, 0, 2, "rxe0_0:1 rxe1_0:1");
	expect(&m, 1, 2, "rxe0_1:1 rxe1_1:1");
	expect(&m, 3, 2, "rxe0_3:1 rxe1_3:1");
	expect(&m, 4, 2, "rxe0_0:1 rxe1_0:1");
	expect(&m, 1, 1, "rxe0_1:1");
	expect(&m, 1, 4, "rxe0_2:1 rxe0_3:1 rxe1_2:1 rxe1_3:1");
	/* one of them is down: its rank shares another's */
	m.c[5].active = false;
	expect(&m, 0, 2, "rxe0_0:1 rxe1_0:1");
	expect(&m, 1, 2, "rxe0_1:1 rxe1_2:1");
}

static void test_uneven_nets(void **state)
{
	struct machine m = {.n = 0};

	add(&m, "a0:1", 'e', 10, "near", 0);
	add(&m, "b0:1", 'e', 10, "near", 1);
	add(&m, "b1:1", 'e', 10, "near", 1);
	add(&m, "b2:1", 'e', 10, "near", 1);
	expect(&m, 0, 4, "a0:1 b0:1 b1:1 b2:1");
	expect(&m, 5, 4, "a0:1 b0:1 b1:1 b2:1");
	expect(&m, 1, 3, "a0:1 b0:1 b2:1");
}

static void test_down(void **state)
{
	struct machine m = {.n = 0};

	add(&m, "mlx5_0:1", 'e', 100, "near", 0);
	add(&m, "mlx5_1:1", 'e', 100, "down", 1);
	add(&m, "mlx5_2:1", 'e', 100, "far", 1);
	add(&m, "bnxt0:1", 'e', 25, "down", 2);
	/* as a rail, where there are not enough without it, in its own place */
	expect(&m, 0, 2, "mlx5_0:1 mlx5_2:1");
	expect(&m, 0, 8, "mlx5_0:1 mlx5_1:1 mlx5_2:1");
	/* another model only if it is named */
	name(&m, "mlx5_0,bnxt0");
	m.c[1] = m.c[3];
	m.n = 2;
	expect(&m, 0, 8, "mlx5_0:1 bnxt0:1");
	expect(&m, 1, 8, "mlx5_0:1 bnxt0:1");
	expect(&m, 0, 1, "mlx5_0:1");
	m.c[0].active = false;
	expect(&m, 0, 8, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),   cmocka_unit_test(test_gid_kinds),
		cmocka_unit_test(test_nets),   cmocka_unit_test(test_gid_choice),
		cmocka_unit_test(test_layers), cmocka_unit_test(test_big_host),
		cmocka_unit_test(test_speeds), cmocka_unit_test(test_rails),
		cmocka_unit_test(test_down),   cmocka_unit_test(test_uneven_nets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
