/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of `hocket schedule` share: one file for each of its verbs. */
#ifndef HOCKET_TOOLS_SCHEDULE_H
#define HOCKET_TOOLS_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "file.h"

struct schedule_options {
	char **names; /* algorithms, files or folders */
	int nnames;
	int n, root, rank; /* rank -1: all */
	int switches;
	unsigned channels, slots;
	bool inplace, varied, unfused, help;
	bool of_algorithm;     /* an option was given that only an algorithm has */
	uint64_t bytes, count; /* 0: not given */
	const char *format, *output, *trace;
};

/* The schedule of that name, an algorithm's or a file's, with what the options say of it. NULL, and
 * *status is what to exit with, after saying why. */
struct hk_schedule *hk_workbench_get(const char *name, const struct schedule_options *o,
				     int *status);
/* Whether the name is one of a file, and not of an algorithm. */
bool hk_workbench_is_file(const char *name);
bool hk_workbench_is_folder(const char *name);
/* Makes a file's schedule what the options ask of it; 0, or what to exit with after saying why. */
int hk_workbench_narrow(struct hk_schedule *s, const char *path, const struct schedule_options *o);

/* Each verb returns the exit status. */
int hk_workbench_list(const struct schedule_options *o);
int hk_workbench_run(const struct hk_schedule *s, const struct schedule_options *o);
int hk_workbench_export(const struct hk_schedule *s, const struct schedule_options *o);

/* Proves it and says so on out; 0 or 1. */
int hk_workbench_judge(const struct hk_schedule *s, unsigned slots, FILE *out,
		       struct hk_report *report);

/* "s", but not of one. */
const char *hk_plural(uint64_t n);

/* The bytes of a block, of the calls of o->bytes: as file.h counts them, or 64 KiB. */
uint64_t hk_workbench_block(const struct hk_schedule *s, const struct schedule_options *o);

#endif
