/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules from files: our own text format (file_read.c, file_write.c; docs/schedules.md describes
 * it) and MSCCL's XML (msccl*.c). Both give the same thing: the programs of all participants, the
 * problem that they solve, and the sizes that they are meant for.
 *
 * A file may say anything, so nothing that comes from one is believed before hk_schedule_prove; the
 * readers only see to it that reading and proving take bounded time and memory. Their sentences
 * begin with "FILE:LINE: ".
 */
#ifndef HK_SCHEDULE_FILE_H
#define HK_SCHEDULE_FILE_H

#include "schedule.h"

/* What a schedule from a file may have at most. */
enum {
	HK_FILE_BYTES = 64 << 20, /* the file itself */
	HK_FILE_RANKS = 1 << 12,  /* ranks, and also switches */
	HK_FILE_CHANNELS = 1 << 10,
	HK_FILE_CHUNKS = 1 << 22, /* chunks of all buffers together */
	HK_FILE_MOVES = 1 << 22,  /* chunks that all steps move */
	HK_FILE_CLOCKS = 1 << 26, /* all steps times the most lanes of a program */
};

struct hk_schedule {
	char name[64];
	/* inplace is not of the schedule but of a call, and false here; layout is NULL. */
	struct hk_problem problem;
	int n; /* participants: the ranks, then switches */
	struct hk_program **programs;
	/* Calls that it is meant for: whole vectors of min_bytes to max_bytes (UINT64_MAX: no
	 * limit), see hk_schedule_bytes; in place, not in place or both. */
	uint64_t min_bytes, max_bytes;
	bool inplace, outofplace;
};

/* NULL is fine. */
void hk_schedule_free(struct hk_schedule *s);

/* Reads our text format from memory. `source` names it in sentences. -EINVAL: it is wrong. */
int hk_schedule_read(const char *text, size_t length, const char *source, struct hk_schedule **s);
/* Prints what hk_schedule_read reads. */
int hk_schedule_write(const struct hk_schedule *s, FILE *out);
/* Imports an MSCCL algorithm. */
int hk_msccl_read(const char *xml, size_t length, const char *source, struct hk_schedule **s);

/* Reads a file of either format; what begins with '<' is XML. */
int hk_schedule_load(const char *path, struct hk_schedule **s);

/* Called for each file of a directory; s is the callee's. On failure s is NULL and
 * hk_last_error() has the sentence. */
typedef void hk_schedule_each(void *arg, const char *path, struct hk_schedule *s);
/* Loads all files of a directory that end in .xml or .hks, in the order of their names, so that all
 * ranks see them alike. A bad file stops nobody but itself. -errno if the directory can't be read.
 */
int hk_schedule_load_all(const char *dir, hk_schedule_each *each, void *arg);

/*
 * Proves it for every kind of call that it says it is for, in place and not (hk_check_any_order).
 * 0, or -HK_EPROOF with the report's text set. The report's slots are what both need.
 */
int hk_schedule_prove(const struct hk_schedule *s, unsigned max_slots, struct hk_report *report);
/* The problem of a call. */
struct hk_problem hk_schedule_problem(const struct hk_schedule *s, bool inplace);
/* How many channels its lanes use: one more than the highest. */
uint32_t hk_schedule_channels(const struct hk_schedule *s);
/* The size of a call by which min_bytes and max_bytes select: `block` bytes times the ranks where
 * IN or OUT is a block for each rank (all-gather, reduce-scatter, all-to-all, gather, scatter). */
uint64_t hk_schedule_bytes(const struct hk_problem *p, uint64_t block);

/* --- for the readers --- */

/* -EINVAL with the sentence "SOURCE:LINE: ...". */
int hk_file_fail(const char *source, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));
/* Whether buffers, steps and lanes of all programs keep to the limits above. */
int hk_file_check_limits(const struct hk_schedule *s, const char *source);

#endif
