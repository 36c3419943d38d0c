/* SPDX-License-Identifier: BSD-3-Clause */
/* What link_perf prints and writes (JSON). Rank 0 alone. */
#ifndef HOCKET_BENCH_LINK_REPORT_H
#define HOCKET_BENCH_LINK_REPORT_H

#include <stdio.h>

#include "launch.h"
#include "link.h"

struct hk_lp_report {
	const struct hk_lp_options *options;
	FILE *json; /* NULL: none */
	unsigned rows;
};

/* 0; or -1 if the JSON file cannot be written. */
int hk_lp_report_open(struct hk_lp_report *r, const struct hk_lp_options *o,
		      const struct hk_launch *l);
/* Begins a transport. path: what the raw way goes over, "" if that is plain. */
void hk_lp_report_transport(struct hk_lp_report *r, const char *transport, const char *path);
void hk_lp_report_row(struct hk_lp_report *r, const char *transport, const char *path,
		      const struct hk_lp_way *way, size_t bytes, const struct hk_lp_figures *f);
/* wrong: messages that differed. 0; or -1 if the JSON file could not be written. */
int hk_lp_report_close(struct hk_lp_report *r, unsigned wrong);

#endif
