/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inputs and results of a call where they are: on the host, or on the rank's GPU by its kernels;
 * the text is the same (values.h). What fails is remembered until the end.
 */
#ifndef HOCKET_BENCH_CHECK_H
#define HOCKET_BENCH_CHECK_H

#include "gpu.h"
#include "values.h"

struct hk_check {
	struct hk_values values;
	const struct hk_bench_gpu *gpu; /* NULL: host memory */
	const char *base;		/* element 0, of those that are told by their index */
	struct hk_wrong wrong;		/* so far, on the host */
	bool failed;
};

/* Of elements in a buffer at base. */
void hk_check_begin(struct hk_check *k, const struct hk_verify *v, const struct hk_bench_gpu *gpu,
		    const void *base);
/* Puts the first n of `rank`'s inputs to dst; on a GPU later, on the stream. -1: failed. */
int hk_check_fill(const struct hk_check *k, int rank, size_t n, void *dst);
/* The n elements at `at` are to be `rank`'s inputs from `first` on. */
void hk_check_input(struct hk_check *k, int rank, size_t first, size_t n, const void *at);
/* Or the reduction of all ranks' inputs. */
void hk_check_reduced(struct hk_check *k, size_t first, size_t n, const void *at);
/* Waits, and tells what was wrong. -1: a check could not be done. */
int hk_check_end(const struct hk_check *k, struct hk_wrong *wrong);

#endif
