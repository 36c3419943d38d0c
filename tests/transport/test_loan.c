/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lending registered memory: what is registered is found and nothing else is, a borrower reads the
 * lender's bytes where they are, and a loan that makes no sense is refused before it is used.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "loan.h"

#define TAG	   5
#define FILE_BYTES 65536

/* A wire on which one file can be published and fetched. */
struct one_wire {
	struct hk_wire wire;
	int fd;
	int fetches;
};

static int publish(struct hk_wire *w, uint32_t tag, int fd)
{
	assert_int_equal(tag, TAG);
	((struct one_wire *)w)->fd = fd;
	return 0;
}

static int fetch(struct hk_wire *w, int peer, uint32_t tag, int *fd)
{
	struct one_wire *o = (struct one_wire *)w;

	assert_int_equal(tag, TAG);
	if (o->fd < 0)
		return hk_fail(HK_EPEER, "nothing is published");
	o->fetches++;
	*fd = dup(o->fd);
	return 0;
}

static const struct hk_wire_ops wire_ops = {.publish = publish, .fetch = fetch};

struct fixture {
	struct one_wire wire;
	struct hk_lender lender;
	struct hk_borrower borrower;
	uint8_t *base;
	int fd;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->wire = (struct one_wire){{&wire_ops}, -1, 0};
	f->fd = memfd_create("test", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, FILE_BYTES), 0);
	f->base = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	assert_ptr_not_equal(f->base, MAP_FAILED);
	for (int i = 0; i < FILE_BYTES; i++)
		f->base[i] = (uint8_t)(i * 7 + i / 256);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hk_borrower_close(&f->borrower);
	munmap(f->base, FILE_BYTES);
	close(f->fd);
	free(f);
	return 0;
}

static struct hk_memory region(const struct fixture *f, size_t offset, size_t bytes)
{
	return (struct hk_memory){f->base + offset, bytes, f->fd, offset};
}

static void test_find(void **state)
{
	struct fixture *f = *state;
	struct hk_memory a = region(f, 4096, 8192), b = region(f, 32768, 4096);
	struct hk_loan loan;

	assert_false(hk_lender_find(&f->lender, f->base + 4096, 1, &loan));
	assert_int_equal(hk_lender_attach(&f->lender, &f->wire.wire, TAG, &a), 0);
	assert_int_equal(hk_lender_attach(&f->lender, &f->wire.wire, TAG, &b), 0);
	assert_true(hk_lender_find(&f->lender, f->base + 4096, 8192, &loan));
	assert_true(loan.region == 4096 && loan.region_bytes == 8192 && loan.at == 0);
	assert_true(hk_lender_find(&f->lender, f->base + 33000, 100, &loan));
	assert_true(loan.region == 32768 && loan.at == 33000 - 32768);
	/* one byte out on either side, and lengths that overflow */
	assert_false(hk_lender_find(&f->lender, f->base + 4095, 10, &loan));
	assert_false(hk_lender_find(&f->lender, f->base + 4096, 8193, &loan));
	assert_false(hk_lender_find(&f->lender, f->base + 5000, SIZE_MAX, &loan));
	hk_lender_detach(&f->lender, &a);
	assert_false(hk_lender_find(&f->lender, f->base + 4096, 1, &loan));
	assert_true(hk_lender_find(&f->lender, f->base + 32768, 1, &loan));
}

/* More regions than are kept are simply not lent. */
static void test_many(void **state)
{
	struct fixture *f = *state;
	struct hk_memory m = region(f, 0, 4096);
	struct hk_loan loan;

	for (unsigned i = 0; i < HK_LOAN_REGIONS + 5; i++) {
		if (i == HK_LOAN_REGIONS)
			m = region(f, 8192, 4096);
		assert_int_equal(hk_lender_attach(&f->lender, &f->wire.wire, TAG, &m), 0);
	}
	assert_true(hk_lender_find(&f->lender, f->base, 1, &loan));
	assert_false(hk_lender_find(&f->lender, f->base + 8192, 1, &loan));
}

static void test_borrow(void **state)
{
	struct fixture *f = *state;
	struct hk_memory m = region(f, 8192, 16384);
	const void *data;
	struct hk_loan loan;

	assert_int_equal(hk_lender_attach(&f->lender, &f->wire.wire, TAG, &m), 0);
	for (size_t at = 8192; at < 8192 + 16384 - 100; at += 777) {
		assert_true(hk_lender_find(&f->lender, f->base + at, 100, &loan));
		assert_int_equal(
			hk_borrower_find(&f->borrower, &f->wire.wire, 1, TAG, &loan, 100, &data),
			0);
		assert_memory_equal(data, f->base + at, 100);
	}
	assert_int_equal(f->wire.fetches, 1);
	/* it is the memory itself, not a copy */
	f->base[loan.region + loan.at] ^= 0xff;
	assert_memory_equal(data, f->base + loan.region + loan.at, 100);
}

/* More regions than maps: the oldest mapping goes, and comes back when it is needed again. */
static void test_many_maps(void **state)
{
	struct fixture *f = *state;
	const void *data;

	f->wire.fd = f->fd;
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < HK_LOAN_MAPS; i++) {
			struct hk_loan loan = {i % 16 * 4096, round ? 4096 : 2048 + i, 10};

			assert_int_equal(hk_borrower_find(&f->borrower, &f->wire.wire, 1, TAG,
							  &loan, 50, &data),
					 0);
			assert_memory_equal(data, f->base + i % 16 * 4096 + 10, 50);
		}
	}
	assert_int_equal(f->wire.fetches, 1);
}

static void test_nonsense(void **state)
{
	static const struct hk_loan wrong[] = {
		{0, 4096, 4097},	      /* starts past its region */
		{0, 4096, 4000},	      /* ends past it */
		{0, 4096, UINT64_MAX},	      /* overflows */
		{100, 4096, 0},		      /* not at a page */
		{FILE_BYTES, 4096, 0},	      /* past the file */
		{4096, UINT64_MAX - 4096, 0}, /* longer than the file */
		{UINT64_MAX - 4095, 4096, 0}, /* far away */
	};
	struct fixture *f = *state;
	const void *data = NULL;

	f->wire.fd = f->fd;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(hk_borrower_find(&f->borrower, &f->wire.wire, 3, TAG, &wrong[i],
						  200, &data),
				 -HK_EWIRE);
		assert_non_null(strstr(hk_last_error(), "rank 3"));
		assert_null(data);
	}
}

static void test_not_published(void **state)
{
	struct fixture *f = *state;
	struct hk_loan loan = {0, 4096, 0};
	const void *data;

	assert_int_equal(hk_borrower_find(&f->borrower, &f->wire.wire, 3, TAG, &loan, 200, &data),
			 -HK_EPEER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_borrow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_maps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_published, setup, teardown),
	};

	setenv("HOCKET_DEBUG", "0", 0); /* the failures are meant */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
