/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether a device takes dmabufs is told from how it refuses one that does not exist. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verbs.h"

static int code, deregistered;
static struct ibv_mr some_mr;

static struct ibv_mr *reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset, size_t length,
				    uint64_t iova, int fd, int access)
{
	assert_int_equal(fd, -1);
	assert_true(length > 0);
	errno = code;
	return code ? NULL : &some_mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
	deregistered++;
	return 0;
}

static void test_takes(void **state)
{
	struct hk_ibv ibv = {.dereg_mr = dereg_mr};
	struct ibv_pd pd;

	code = EBADF;
	/* a libibverbs without the function */
	assert_false(hk_verbs_takes_dmabufs(&ibv, &pd));
	ibv.reg_dmabuf_mr = reg_dmabuf_mr;
	assert_true(hk_verbs_takes_dmabufs(&ibv, &pd));
	code = EOPNOTSUPP;
	assert_false(hk_verbs_takes_dmabufs(&ibv, &pd));
	code = EPROTONOSUPPORT;
	assert_false(hk_verbs_takes_dmabufs(&ibv, &pd));
	/* nonsense, but nothing of it stays */
	code = 0;
	assert_false(hk_verbs_takes_dmabufs(&ibv, &pd));
	assert_int_equal(deregistered, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_takes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
