/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket tune`: measures what messages and bytes cost on this machine, keeps it where
 * communicators look for it, and prints it. With --show, prints what is in force without measuring.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "error.h"
#include "measured.h"
#include "param.h"

static void print_row(void *arg, const char *of, const char *name, double value, const char *unit,
		      const char *help)
{
	const char **last = arg;
	char plain[64];
	char *end;

	/* The file's names carry its unit, picoseconds; people read nanoseconds. */
	snprintf(plain, sizeof(plain), "%s", name);
	end = strstr(plain, "_ps");
	if (end)
		memmove(end, end + 3, strlen(end + 3) + 1);
	if (!*last || strcmp(*last, of) != 0)
		printf("%s\n", of);
	*last = of;
	printf("  %-18s %12.*f %-5s %s\n", plain,
	       !strcmp(unit, "B") ? 0
	       : value < 1	  ? 4
				  : 1,
	       value, unit, help);
}

static void print_all(const struct hk_measured *m)
{
	const char *last = NULL;

	hk_measured_describe(m, print_row, &last);
	if (!m->nroutes)
		printf("no transport was measured: their defaults are in force\n");
}

static int show(const char *path)
{
	struct hk_measured m;
	int err = hk_cache_read(path, &m);

	if (err)
		hk_measured_default(&m);
	print_all(&m);
	printf(err == -ENOENT ? "defaults; `hocket tune` would write %s\n"
	       : err	      ? "defaults; %s is damaged, `hocket tune` makes a new one\n"
			      : "measured; from %s\n",
	       path);
	return 0;
}

static int measure(const char *path)
{
	const struct hk_slots slots = hk_tune_slots(true);
	struct hk_measured m;
	int err = hk_tune_measure(slots.count, slots.bytes, &m);

	if (!err)
		err = hk_cache_write(path, &m);
	if (err) {
		fprintf(stderr, "hocket tune: %s\n", hk_last_error());
		return 1;
	}
	print_all(&m);
	printf("written to %s\n", path);
	return 0;
}

static int tune_main(int argc, char **argv)
{
	static const struct option flags[] = {{"show", no_argument, NULL, 's'},
					      {"help", no_argument, NULL, 'h'},
					      {NULL, 0, NULL, 0}};
	char path[HK_CACHE_PATH_BYTES];
	bool only_show = false;
	int flag;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1) {
		if (flag == 'h')
			return hk_command_explain(&hk_command_tune);
		if (flag != 's')
			return hk_command_complain(&hk_command_tune,
						   hk_command_flag_problem(flag, argv), "");
		only_show = true;
	}
	if (optind < argc)
		return hk_command_complain(&hk_command_tune, "unknown argument", argv[optind]);
	if (hk_cache_path(path)) {
		fprintf(stderr, "hocket tune: %s\n", hk_last_error());
		return 1;
	}
	return only_show ? show(path) : measure(path);
}

const struct hk_command hk_command_tune = {
	.name = "tune",
	.usage = "[--show]",
	.summary = "measures this machine, so that algorithms are chosen by it",
	.details =
		"Takes about a second, best while nothing else runs. The result is kept in\n"
		"$XDG_CACHE_HOME/hocket or ~/.cache/hocket, in a file for this kind of machine, "
		"and\n"
		"communicators that are made later choose by it. Without such a file they go by\n"
		"defaults; they never measure by themselves.\n"
		"\n"
		"  --show   print what is in force, without measuring\n",
	.main = tune_main,
};
