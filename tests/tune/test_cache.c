/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of measurements: what is written is read, and nothing else is. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "measured.h"

static char folder[64], path[128];
static struct hk_measured good;
static char text[16384]; /* what is written of it */
static size_t length;

static void put(const char *data, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int get(struct hk_measured *m)
{
	int err = hk_cache_read(path, m);

	assert_true(err == 0 || err == -EINVAL || err == -ENOENT);
	return err;
}

static int set_up(void **state)
{
	FILE *f;

	snprintf(folder, sizeof(folder), "/tmp/hocket-cache-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/a/b/machine.txt", folder);
	hk_measured_default(&good);
	good.machine.switch_ns = 1234.567;
	good.machine.cache_bytes = 123456789;
	good.nroutes = 2;
	strcpy(good.routes[0].transport, "shm");
	good.routes[0].route = (struct hk_route){1, 2.5, 3, 0.001, 0.25, 0, 65536, 7, 8};
	strcpy(good.routes[1].transport, "tcp");
	hk_route_default("tcp", &good.routes[1].route);
	assert_int_equal(hk_cache_write(path, &good), 0);
	f = fopen(path, "r");
	assert_non_null(f);
	length = fread(text, 1, sizeof(text), f);
	fclose(f);
	assert_in_range(length, 100, sizeof(text) - 1);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void test_round_trip(void **state)
{
	struct hk_measured m;

	put(text, length);
	memset(&m, 0xa5, sizeof(m));
	assert_int_equal(get(&m), 0);
	assert_float_equal(m.machine.switch_ns, 1234.567, 1e-9);
	assert_float_equal(m.machine.cache_bytes, 123456789, 0);
	assert_int_equal(m.nroutes, 2);
	assert_string_equal(m.routes[0].transport, "shm");
	assert_memory_equal(&m.routes[0].route, &good.routes[0].route, sizeof(struct hk_route));
	assert_memory_equal(&m.routes[1].route, &good.routes[1].route, sizeof(struct hk_route));
	assert_non_null(hk_measured_find(&m, "tcp"));
	assert_null(hk_measured_find(&m, "verbs"));
	/* Once more: the same text. */
	assert_int_equal(hk_cache_write(path, &m), 0);
	assert_int_equal(hk_cache_read(path, &m), 0);
}

static void test_none(void **state)
{
	struct hk_measured m;

	unlink(path);
	assert_int_equal(get(&m), -ENOENT);
}

/* Cut anywhere: no longer what was written, and refused. */
static void test_cut(void **state)
{
	struct hk_measured m;

	for (size_t n = 0; n + 1 < length; n += 5) {
		put(text, n);
		assert_int_equal(get(&m), -EINVAL);
	}
}

static void replace(const char *what, const char *with, char *out, size_t *n)
{
	char *at;

	memcpy(out, text, length + 1);
	at = strstr(out, what);
	assert_non_null(at);
	memmove(at + strlen(with), at + strlen(what), strlen(at + strlen(what)) + 1);
	memcpy(at, with, strlen(with));
	*n = strlen(out);
}

static void test_hostile(void **state)
{
	static const char *const changes[][2] = {
		{"hocket-machine 1", "hocket-machine 2"},
		{"hocket-machine 1\n", ""},
		{"key ", "key 0"},
		{"call_ps ", "call_ps -"},
		{"call_ps ", "call_ps 0x"},
		{"call_ps ", "call_ps 1e"},
		{"call_ps ", "call_ps  "},
		{"call_ps ", "call_ps 99999999999999"},
		{"call_ps ", "call_ps 999999999999999999999"},
		{"call_ps ", "unheard_of "},
		{"call_ps ", "latency_ps "},
		{"call_ps", "call_ps 1\ncall_ps"},
		{"cache_bytes 123456789", "cache_bytes nan"},
		{"cache_bytes 123456789\n", ""},
		{"route tcp", "route shm"},
		{"route tcp", "route"},
		{"route tcp", "route a_name_that_is_too_long_for_any_transport"},
		{"route tcp", "route tcp\nroute x"},
		{"end", "end\nend"},
		{"end", "end\ncall_ps 1"},
	};
	static char changed[sizeof(text) + 256];
	struct hk_measured m;
	size_t n;

	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		replace(changes[i][0], changes[i][1], changed, &n);
		put(changed, n);
		if (get(&m) != -EINVAL)
			fail_msg("'%s' for '%s' was believed", changes[i][1], changes[i][0]);
		assert_non_null(strstr(hk_last_error(), path));
		assert_non_null(strstr(hk_last_error(), "line "));
	}
	/* A 0 in the middle, and too many routes. */
	memcpy(changed, text, length);
	changed[length / 2] = 0;
	put(changed, length);
	assert_int_equal(get(&m), -EINVAL);
}

static void test_strange_files(void **state)
{
	static char big[20000];
	struct hk_measured m;

	memset(big, '#', sizeof(big));
	put(big, sizeof(big));
	assert_int_equal(get(&m), -EINVAL);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(get(&m), -EINVAL);
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
	assert_int_equal(get(&m), -EINVAL);
	unlink(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_equal(get(&m), -EINVAL);
	unlink(path);
	if (geteuid() == 0) { /* somebody else's */
		put(text, length);
		assert_int_equal(chown(path, 12345, 12345), 0);
		assert_int_equal(seteuid(54321), 0);
		assert_int_equal(get(&m), -EINVAL);
		assert_int_equal(seteuid(0), 0);
	}
}

/* Any byte changed: refused, or numbers within bounds. */
static void test_mutations(void **state)
{
	static char changed[sizeof(text)];
	uint64_t seed = 1;
	struct hk_measured m;

	for (int i = 0; i < 1000; i++) {
		memcpy(changed, text, length);
		for (int k = 0; k < 1 + i % 3; k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			changed[(seed >> 33) % length] = (char)(seed >> 20);
		}
		put(changed, length);
		if (get(&m))
			continue;
		assert_true(m.machine.switch_ns >= 0 && m.machine.switch_ns <= 1e9);
		assert_in_range(m.nroutes, 0, HK_MEASURED_ROUTES);
		for (unsigned r = 0; r < m.nroutes; r++)
			assert_in_range(strlen(m.routes[r].transport), 1, HK_TRANSPORT_NAME - 1);
	}
}

static void test_unwritable(void **state)
{
	assert_true(hk_cache_write("/proc/no/such/file", &good) < 0);
	assert_non_null(strstr(hk_last_error(), "/proc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_none),
		cmocka_unit_test(test_cut),	      cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_strange_files), cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_unwritable),
	};

	return cmocka_run_group_tests_name("tune_cache", tests, set_up, tear_down);
}
