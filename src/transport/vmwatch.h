/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells when watched memory of this process is unmapped, moved or emptied, whoever does it. See
 * vmwatch.c for how, and for what a watcher may rely on.
 */
#ifndef HK_TRANSPORT_VMWATCH_H
#define HK_TRANSPORT_VMWATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_VMWATCH_GONE 64u /* ranges that a watcher keeps until they are taken */

/* Whole pages. */
struct hk_vmwatch_range {
	uintptr_t base, end;
	struct hk_vmwatch_range *prev, *next; /* of all watched ranges; prev is NULL: not watched */
};

struct hk_vmwatch_gone {
	uintptr_t base, end;
};

/* One who watches. All are served by one thread of this process, which lives while there is one. */
struct hk_vmwatch {
	struct hk_vmwatch *next;
	pthread_mutex_t lock; /* of the rest; held for a few instructions only */
	struct hk_vmwatch_gone gone[HK_VMWATCH_GONE];
	unsigned ngone;
	atomic_bool any; /* whether ngone is not 0 */
};

/* -ENOTSUP with a sentence (said once, at info level) where the kernel does not tell. */
int hk_vmwatch_open(struct hk_vmwatch *w);
/* All its ranges must have been removed. */
void hk_vmwatch_close(struct hk_vmwatch *w);

/* Watches r->base to r->end, all of it mapped and private. Fails where the kernel can't. */
int hk_vmwatch_add(struct hk_vmwatch_range *r);
/* Overlapping ranges of others stay watched. Fine if it is not watched. */
void hk_vmwatch_remove(struct hk_vmwatch_range *r);

/* Whether all that happened up to now to watched memory can be taken. If not, which is seldom and
 * short, nothing is known of any range. One system call. */
bool hk_vmwatch_settled(void);
/* Takes up to HK_VMWATCH_GONE ranges that went away since the last take; their number. One range
 * may stand for several, and more than went away. */
unsigned hk_vmwatch_take(struct hk_vmwatch *w, struct hk_vmwatch_gone *gone);
/* Whether this process is a child by fork of the one that opened it: it is told nothing. */
bool hk_vmwatch_forked(void);

#endif
