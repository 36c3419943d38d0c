/* SPDX-License-Identifier: BSD-3-Clause */
/* Errors, the log, parameters from the environment, and the values of small floats. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "error.h"
#include "param.h"
#include "types.h"

static void *other_thread(void *arg)
{
	assert_string_equal(hk_last_error(), "");
	hk_fail(EIO, "other");
	return NULL;
}

static void test_last_error(void **state)
{
	pthread_t t;

	assert_int_equal(hk_fail(EINVAL, "rank %d is %s", 3, "late"), -EINVAL);
	assert_string_equal(hk_last_error(), "rank 3 is late");
	/* Each thread has its own. */
	assert_int_equal(pthread_create(&t, NULL, other_thread, NULL), 0);
	pthread_join(t, NULL);
	assert_string_equal(hk_last_error(), "rank 3 is late");
	/* The old sentence may be part of the new one. */
	assert_int_equal(hk_fail_quiet(-HK_EPEER, "because %s", hk_last_error()), -HK_EPEER);
	assert_string_equal(hk_last_error(), "because rank 3 is late");
	hk_set_last_error("carried");
	assert_string_equal(hk_last_error(), "carried");
}

static void test_long_error(void **state)
{
	char longer[2000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	hk_fail(EINVAL, "%s", longer);
	assert_int_equal(strlen(hk_last_error()), 511);
}

static void test_code_names(void **state)
{
	assert_string_equal(hk_code_name(-HK_EPEER), "peer failed");
	assert_string_equal(hk_code_name(HK_EWIRE), "malformed message");
	assert_string_equal(hk_code_name(-EPERM), "Operation not permitted");
	assert_string_equal(hk_code_name(99999), "unknown error");
}

static void test_params(void **state)
{
	struct hk_param_info info;
	int found = 0, i;

	/* main set the environment before the first use */
	assert_int_equal(hk_param(HK_PARAM_SLOTS), 7);
	assert_int_equal(hk_param(HK_PARAM_TIMEOUT_MS), 300000); /* 0 is out of bounds */
	assert_int_equal(hk_param(HK_PARAM_CHANNELS), 0);	 /* not a number */
	assert_int_equal(hk_param(HK_PARAM_SLOT_BYTES), 8192);	 /* hexadecimal */
	assert_int_equal(hk_param(HK_PARAM_IB_RETRY_CNT), 6);	 /* 7 is for ever */
	assert_int_equal(hk_param(HK_PARAM_IB_PKEY), 0x8001);
	assert_string_equal(hk_param_str(HK_PARAM_ALGO), "some");
	assert_null(hk_param_str(HK_PARAM_IFNAME)); /* empty counts as unset */
	for (i = 0; hk_param_describe((unsigned)i, &info) == 0; i++) {
		/* ours, or where caches belong */
		assert_true(!strncmp(info.name, "HOCKET_", 7) ||
			    !strcmp(info.name, "XDG_CACHE_HOME") || !strcmp(info.name, "HOME"));
		assert_true(strlen(info.help) > 10);
		if (strcmp(info.name, "HOCKET_SLOTS"))
			continue;
		found = 1;
		assert_true(info.from_env);
		assert_string_equal(info.value, "7");
	}
	assert_true(found);
	assert_int_equal(i, HK_NPARAMS_INT + HK_NPARAMS_STR);
}

static double value(enum hk_type type, unsigned bits)
{
	uint16_t two = (uint16_t)bits;
	uint8_t one = (uint8_t)bits;

	return (double)(hk_type_size(type) == 1 ? hk_type_to_float(type, &one)
						: hk_type_to_float(type, &two));
}

/* Figures from IEEE 754, and from the OCP 8-bit floating point specification. */
static void test_small_floats(void **state)
{
	assert_true(value(HK_FLOAT16, 0x3c00) == 1);
	assert_true(value(HK_FLOAT16, 0xc000) == -2);
	assert_true(value(HK_FLOAT16, 0x7bff) == 65504);
	assert_true(value(HK_FLOAT16, 0x0001) == 0x1p-24);
	assert_true(isinf(value(HK_FLOAT16, 0x7c00)) && isnan(value(HK_FLOAT16, 0x7c01)));
	assert_true(value(HK_BFLOAT16, 0x3f80) == 1);
	assert_true(value(HK_BFLOAT16, 0x7f7f) == 0x1.fep127);
	assert_true(value(HK_FLOAT8E4M3, 0x7e) == 448);
	assert_true(value(HK_FLOAT8E4M3, 0x01) == 0x1p-9);
	assert_true(value(HK_FLOAT8E4M3, 0x38) == 1 && value(HK_FLOAT8E4M3, 0xb8) == -1);
	assert_true(isnan(value(HK_FLOAT8E4M3, 0x7f)) && isnan(value(HK_FLOAT8E4M3, 0xff)));
	assert_true(value(HK_FLOAT8E5M2, 0x7b) == 57344);
	assert_true(value(HK_FLOAT8E5M2, 0x01) == 0x1p-16);
	assert_true(isinf(value(HK_FLOAT8E5M2, 0xfc)) && isnan(value(HK_FLOAT8E5M2, 0x7d)));
	assert_true(signbit(value(HK_FLOAT16, 0x8000)) && value(HK_FLOAT16, 0x8000) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_error),   cmocka_unit_test(test_long_error),
		cmocka_unit_test(test_code_names),   cmocka_unit_test(test_params),
		cmocka_unit_test(test_small_floats),
	};

	setenv("HOCKET_DEBUG", "0", 1);
	setenv("HOCKET_SLOTS", "7", 1);
	setenv("HOCKET_TIMEOUT_MS", "0", 1);
	setenv("HOCKET_CHANNELS", "many", 1);
	setenv("HOCKET_SLOT_BYTES", "0x2000", 1);
	setenv("HOCKET_IB_RETRY_CNT", "7", 1);
	setenv("HOCKET_IB_PKEY", "0x8001", 1);
	setenv("HOCKET_ALGO", "some", 1);
	setenv("HOCKET_IFNAME", "", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
