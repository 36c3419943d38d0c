/* SPDX-License-Identifier: BSD-3-Clause */
/* What compare_mpi prints and writes, and the targets that its numbers are held against. */
#ifndef HOCKET_BENCH_COMPARE_REPORT_H
#define HOCKET_BENCH_COMPARE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "perf.h"

struct hk_compare_side {
	double us; /* median over rounds of the slowest rank's time per call */
	int iters;
	size_t wrong;
};

struct hk_compare_row {
	size_t bytes;
	struct hk_compare_side hocket, mpi;
	/* MPI's time over Hocket's: median and quartiles of the rounds' ratios. */
	double ratio, ratio_q1, ratio_q3;
};

struct hk_compare_report {
	FILE *json, *csv; /* NULL: none */
	int nranks;
	size_t rows, met, near, missed, wrong;
	const char *mpi_name; /* "Open MPI" */
	double target; /* the ratio to reach at every size; 0: by the table in compare_report.c */
	const struct hk_perf_collective *coll;
	double log_ratios; /* sum over rows */
};

struct hk_compare_setting {
	const struct hk_perf_collective *coll;
	const char *json, *csv; /* paths or NULL */
	int nranks, rounds;
	bool registered;
	double target; /* as in the report */
};

/* 0; or -1 if a file cannot be written. */
int hk_compare_report_open(struct hk_compare_report *report, const struct hk_compare_setting *s);
void hk_compare_report_row(struct hk_compare_report *report, const struct hk_compare_row *row);
/* Prints the summary. memory: the most that a rank's communicator takes, in bytes. 0 or -1. */
int hk_compare_report_close(struct hk_compare_report *report, size_t memory);

#endif
