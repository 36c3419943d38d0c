/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was measured on this machine, and the file that it is kept in. `hocket tune` measures
 * (measure.c) and writes; communicators only read, and go by the defaults if there is no file.
 */
#ifndef HK_TUNE_MEASURED_H
#define HK_TUNE_MEASURED_H

#include <stdint.h>
#include <stdio.h>

#include "model.h"

#define HK_MEASURED_ROUTES  8
#define HK_TRANSPORT_NAME   16
#define HK_CACHE_PATH_BYTES 4096

struct hk_measured {
	/* But for its routes, for ranks_per_core and for slots. */
	struct hk_machine machine;
	/* By transport; none where a transport could not be tried. */
	unsigned nroutes;
	struct hk_measured_route {
		char transport[HK_TRANSPORT_NAME];
		struct hk_route route;
	} routes[HK_MEASURED_ROUTES];
};

/* Defaults, and no routes. */
void hk_measured_default(struct hk_measured *m);
/* What was measured of a transport, or NULL. */
const struct hk_route *hk_measured_find(const struct hk_measured *m, const char *transport);

/* --- measure.c --- */

/* Measures with two threads, which takes about a second. What can't be measured here (how long a
 * message takes from one core to another, where there is only one) keeps its default. */
int hk_tune_measure(uint32_t slots, uint32_t slot_bytes, struct hk_measured *m);

/* --- cache.c --- */

/* What tells machines apart: processor, cores, caches, and the library's version. */
uint64_t hk_cache_key(void);
/* Where this machine's file is, or would be. -ENOENT, with a sentence, if no folder is known. */
int hk_cache_path(char path[HK_CACHE_PATH_BYTES]);
/* -ENOENT, silently, if there is no file; -EINVAL, after a warning, if it is damaged or of another
 * machine: then it is as if there were none. */
int hk_cache_read(const char *path, struct hk_measured *m);
/* Replaces the file in one step, and makes its folder if need be. */
int hk_cache_write(const char *path, const struct hk_measured *m);
/* What was measured here, or else the defaults. Never fails. */
void hk_measured_get(struct hk_measured *m);

/* Every number with its name, value and unit, for people: calls row for each. */
void hk_measured_describe(const struct hk_measured *m,
			  void (*row)(void *arg, const char *of, const char *name, double value,
				      const char *unit, const char *help),
			  void *arg);

#endif
