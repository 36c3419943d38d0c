/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device memory through the registration cache, with a driver that only pretends (fake_cuda.c; its
 * file is this program's argument): nothing is asked before the application has loaded the driver;
 * an allocation goes as a whole and by dmabuf; one that follows at its address is another.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "fake_cuda.h"
#include "gpu_memory.h"
#include "pinned.h"

#define BASE (UINT64_C(0x7f0000000000) + 512) /* not on a page */

static const char *driver_path;
static struct fake_cuda *cuda; /* NULL: not loaded yet */

static int load(void **state)
{
	void *driver;

	if (!cuda) {
		driver = dlopen(driver_path, RTLD_NOW | RTLD_LOCAL);
		assert_non_null(driver);
		cuda = dlsym(driver, "fake_cuda_state");
		assert_non_null(cuda);
	}
	*cuda = (struct fake_cuda){
		.base = BASE, .bytes = 3 * PAGE, .id = 7, .type = 2, .legacy = 1};
	cuda->context = cuda;
	return 0;
}

static void test_not_loaded(void **state)
{
	struct hk_device_memory m;
	int fd = -1;

	assert_null(cuda);
	assert_false(hk_gpu_memory_find(NULL, (void *)(uintptr_t)BASE, &m));
	m = (struct hk_device_memory){BASE, PAGE, BASE, 1};
	assert_int_equal(hk_gpu_memory_export(NULL, &m, &fd), -ENOTSUP);
	assert_int_equal(fd, -1);
}

static void test_find(void **state)
{
	struct hk_device_memory m;

	assert_true(hk_gpu_memory_find(NULL, (void *)(uintptr_t)(BASE + 100), &m));
	assert_int_equal(m.base, BASE - 512);
	assert_int_equal(m.bytes, 4 * PAGE);
	assert_int_equal(m.start, BASE);
	assert_int_equal(m.id, 7);
	assert_false(hk_gpu_memory_find(NULL, &m, &m));
	/* host memory that the driver knows, and memory that moves between both */
	cuda->type = 1;
	assert_false(hk_gpu_memory_find(NULL, (void *)(uintptr_t)BASE, &m));
	cuda->type = 2;
	cuda->managed = 1;
	assert_false(hk_gpu_memory_find(NULL, (void *)(uintptr_t)BASE, &m));
}

/* Two pages in the middle of a large reservation, as expandable segments have; of no context. */
static void test_mapped(void **state)
{
	struct hk_device_memory m;
	const char *at = (const char *)(uintptr_t)(BASE - 512 + PAGE);

	cuda->base = BASE - 512;
	cuda->bytes = 64 * PAGE;
	cuda->legacy = 0;
	cuda->context = NULL;
	cuda->mapped = (uintptr_t)at;
	cuda->mapped_bytes = 2 * PAGE;
	assert_true(hk_gpu_memory_find(NULL, at + 100, &m));
	assert_int_equal(m.base, (uintptr_t)at);
	assert_int_equal(m.start, (uintptr_t)at);
	assert_int_equal(m.bytes, 2 * PAGE);
	assert_false(hk_gpu_memory_find(NULL, at + 2 * PAGE, &m));
	assert_int_equal(cuda->retains, 2);
	assert_int_equal(cuda->retained, 0);
	assert_int_equal(cuda->depth, 0);
}

static void test_export(void **state)
{
	struct hk_device_memory m = {BASE - 512, 4 * PAGE, BASE, 7};
	int fd = -1;

	assert_int_equal(hk_gpu_memory_export(NULL, &m, &fd), 0);
	assert_true(fd >= 0 && fcntl(fd, F_GETFD) >= 0);
	close(fd);
	assert_int_equal(cuda->exported, m.base);
	assert_int_equal(cuda->exported_bytes, m.bytes);
	assert_int_equal(cuda->most_depth, 1);
	assert_int_equal(cuda->depth, 0);
	assert_int_equal(cuda->syncs, 1);
	/* memory of no context */
	cuda->context = NULL;
	cuda->most_depth = 0;
	assert_int_equal(hk_gpu_memory_export(NULL, &m, &fd), 0);
	close(fd);
	assert_int_equal(cuda->most_depth, 1);
	assert_int_equal(cuda->depth, 0);
	assert_int_equal(cuda->retains, 1);
	assert_int_equal(cuda->retained, 0);
	/* a driver that does not */
	cuda->refuses = 801;
	fd = -1;
	assert_int_equal(hk_gpu_memory_export(NULL, &m, &fd), -ENOTSUP);
	assert_int_equal(fd, -1);
	assert_non_null(strstr(hk_last_error(), "801"));
}

static void test_cached(void **state)
{
	const struct hk_reg_ops ops = {
		.add = pinned_ops.add,
		.remove = pinned_ops.remove,
		.find_device = hk_gpu_memory_find,
		.export_device = hk_gpu_memory_export,
	};
	struct pinned_device device = {.fail_above = 0};
	struct hk_regcache *cache;
	const void *at = (const void *)(uintptr_t)(BASE + PAGE);
	struct hk_reg *r;

	assert_int_equal(hk_regcache_create(&ops, &device, 1 << 20, 8, &cache), 0);
	for (int i = 0; i < 3; i++) {
		r = hk_regcache_get(cache, at, PAGE);
		assert_non_null(r);
		assert_int_equal(r->base, BASE - 512);
		hk_regcache_put(cache, r);
	}
	assert_int_equal(device.adds, 1);
	assert_int_equal(device.offset, 0);
	/* freed, and allocated again */
	cuda->id = 8;
	r = hk_regcache_get(cache, at, PAGE);
	assert_non_null(r);
	hk_regcache_put(cache, r);
	assert_int_equal(device.adds, 2);
	assert_int_equal(device.live, 1);
	/* once more, by a driver that can't export: the caller copies */
	cuda->id = 9;
	cuda->refuses = 801;
	assert_null(hk_regcache_get(cache, at, PAGE));
	assert_int_equal(device.live, 0);
	hk_regcache_destroy(cache);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_loaded), /* first */
		cmocka_unit_test_setup(test_find, load),
		cmocka_unit_test_setup(test_mapped, load),
		cmocka_unit_test_setup(test_export, load),
		cmocka_unit_test_setup(test_cached, load),
	};

	if (argc != 2)
		return 2;
	driver_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
