/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers on the command lines of the benchmarks. Each returns 0, or -1 if the text is no such. */
#ifndef HOCKET_BENCH_NUMBERS_H
#define HOCKET_BENCH_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>

/* A size with suffix K, M or G (powers of 1024). */
int hk_bench_parse_size(const char *text, size_t *bytes);
/* A whole number from min to max. */
int hk_bench_parse_int(const char *text, int min, int max, int *out);
/* 0 or 1. */
int hk_bench_parse_bool(const char *text, bool *out);
/* A factor above 1. */
int hk_bench_parse_factor(const char *text, double *factor);

#endif
