/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells when watched memory of this process is unmapped, moved or emptied, whoever does it. See
 * vmwatch.c for how, and for what a watcher may rely on.
 */
#ifndef HK_TRANSPORT_VMWATCH_H
#define HK_TRANSPORT_VMWATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_VMWATCH_GONE 64u /* ranges that are kept for a watcher until it takes them */

/* Whole pages. */
struct hk_vmwatch_range {
	uintptr_t base, end;
	struct hk_vmwatch_range *prev, *next; /* of all watched ranges */
	unsigned generation;		      /* 0: not watched */
};

struct hk_vmwatch_gone {
	uintptr_t base, end;
};

/* One who watches. All are served by one thread of this process, which lives while there is one. */
struct hk_vmwatch {
	struct hk_vmwatch *next;
	unsigned generation; /* of the process that opened it */
	bool open;
	atomic_uint ngone;
	struct hk_vmwatch_gone gone[HK_VMWATCH_GONE];
};

/* -ENOTSUP where the kernel does not tell; why is said once in a process, at level INFO. */
int hk_vmwatch_open(struct hk_vmwatch *w);
/* All its ranges must have been removed. Fine if open failed. */
void hk_vmwatch_close(struct hk_vmwatch *w);

/* Watches r->base to r->end. False where the kernel can't, as of mapped files. */
bool hk_vmwatch_add(struct hk_vmwatch_range *r);
/* What others watch of it stays watched. Fine if it is not watched. */
void hk_vmwatch_remove(struct hk_vmwatch_range *r);

/* Makes `to`, which is not watched, stand for `from`, which then is not. */
void hk_vmwatch_move(struct hk_vmwatch_range *from, struct hk_vmwatch_range *to);

/* Whether all that happened up to now to watched memory can be taken. If not, which is seldom and
 * for short, nothing is known of any range. One system call. */
bool hk_vmwatch_settled(const struct hk_vmwatch *w);
/* Takes the ranges that went away since the last take, at most HK_VMWATCH_GONE; their number. They
 * may be larger than what went away. */
unsigned hk_vmwatch_take(struct hk_vmwatch *w, struct hk_vmwatch_gone *gone);
/* Whether there is something to take. Cheap. */
bool hk_vmwatch_pending(const struct hk_vmwatch *w);
/* Whether this process is a child, by fork, of the one that opened it: then it is told nothing. */
bool hk_vmwatch_forked(const struct hk_vmwatch *w);

/* Whether all pages from base to end are there now and none belongs to a file or to memory that is
 * shared with other processes, which could exchange pages without a word. */
bool hk_vmwatch_private(const struct hk_vmwatch *w, uintptr_t base, uintptr_t end);

#endif
