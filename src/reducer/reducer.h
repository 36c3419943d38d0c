/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract of a reducer: hardware (or software) in the network that does what a switch's
 * program does. The ranks' programs stay as they are: in an algorithm with one switch
 * (src/algos/switch_*), what a rank sends to the switch is posted to the reducer, and what it
 * receives from the switch is polled from there (port.h). A backend is one file in this folder and
 * one word in the list in meson.build; tests/reducer covers it then, as far as its capabilities go.
 *
 * Groups. The members of a group are the ranks of a communicator, each with a handle of its own,
 * perhaps in processes of their own. A member announces every call (begin), and then posts its
 * messages and polls its results. All members announce the same calls in the same order.
 *
 * Rounds. A call is a row of rounds, and a round is one message of each contributor and one result
 * for each receiver. Which rounds a member takes part in follows from the collective alone:
 *
 *     all_reduce, barrier   round after round: all contribute, all receive
 *     reduce                all contribute, the root receives
 *     broadcast             the root contributes, all others receive
 *     reduce_scatter        rounds 0 .. n-1, and again: all contribute, member (round mod n)
 * receives all_gather            rounds 0 .. n-1, and again: member (round mod n) contributes, all
 * others receive
 *
 * So a member's k-th post goes to the k-th round to which it contributes, and its k-th result is
 * that of the k-th round of which it receives: hk_reduce_contributes, hk_reduce_receives. A call
 * ends for a member when it begins the next one; rounds have no count that would have to be known.
 *
 * The contributions of a round have the same length, a whole number of elements, and the same mark,
 * and the result has that mark. A reducer that claims to be reproducible folds them in the order of
 * the members, ((m0 (+) m1) (+) m2) ..., whatever comes first.
 *
 * Nothing here blocks but open, create and destroy. Errors are sticky in their group. A backend may
 * be used by several threads at once, but a member's handle by one at a time.
 */
#ifndef HK_REDUCER_H
#define HK_REDUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule.h"
#include "types.h"

struct hk_reducer_caps {
	uint32_t colls;	      /* bit i: enum hk_coll i */
	uint32_t types;	      /* bit i: enum hk_type i */
	uint32_t ops;	      /* bit i: enum hk_redop i */
	uint32_t fan_in;      /* most members of a group, at least 2 */
	uint32_t payload;     /* most bytes of one message, a multiple of 8 */
	uint32_t outstanding; /* rounds that a member may have contributed to and that are not over
			       */
	bool reproducible;    /* the same inputs give the same bits, in every run */
};

/* What software backends borrow. */
struct hk_reducer_env {
	/* dst[i] = a[i] (+) b[i]; dst may be a. */
	void (*reduce)(enum hk_type type, enum hk_redop op, void *dst, const void *a, const void *b,
		       size_t n);
};

/* How the members of a new group find each other. */
struct hk_reduce_meeting {
	uint8_t key[16]; /* of this group alone, equal for all its members, and secret */
	uint32_t members, member;
	/* All-gather: entry `member` of table is filled. NULL if the members share a process. */
	int (*exchange)(void *arg, void *table, size_t bytes);
	void *arg;
};

struct hk_reduce_call {
	enum hk_coll coll;
	enum hk_type type;
	enum hk_redop op;
	int root;
};

struct hk_reducer;

/* Backends put these first in their own structs. */
struct hk_reducer_device {
	const struct hk_reducer *reducer;
};
struct hk_reduce_group { /* a member's handle */
	const struct hk_reducer *reducer;
	struct hk_reducer_device *dev;
	uint32_t members, member;
};

struct hk_reducer {
	const char *name;
	/* -ENOTSUP: there is no such hardware here. */
	int (*open)(const struct hk_reducer_env *env, struct hk_reducer_device **dev);
	void (*caps)(struct hk_reducer_device *dev, struct hk_reducer_caps *caps);
	/* All members call it. -EINVAL if the members are more than fan_in, or the numbers make no
	 * sense; -EEXIST if a member with this key is there already. */
	int (*create)(struct hk_reducer_device *dev, const struct hk_reduce_meeting *meeting,
		      struct hk_reduce_group **group);
	/* Also with rounds under way: those of the other members then fail with -HK_EPEER. NULL is
	 * fine. */
	void (*destroy)(struct hk_reduce_group *g);
	/* Announces the next call. -ENOTSUP for what the capabilities do not claim, and the group
	 * is as before; -HK_EMISMATCH if another member announced another one. */
	int (*begin)(struct hk_reduce_group *g, const struct hk_reduce_call *call);
	/* 1: contributed, and data may change; 0: not yet, too many rounds are under way; -EINVAL:
	 * longer than payload, no whole element, or no call has begun. */
	int (*post)(struct hk_reduce_group *g, const void *data, uint32_t bytes, uint32_t mark);
	/* 1: *data, *bytes, *mark are the next result, valid until release; 0: not yet. */
	int (*poll)(struct hk_reduce_group *g, const void **data, uint32_t *bytes, uint32_t *mark);
	int (*release)(struct hk_reduce_group *g);
	/* 0, or the code of what is wrong with the device, with a sentence that names it. */
	int (*health)(struct hk_reducer_device *dev);
	/* Of a device without groups; NULL is fine. */
	void (*close)(struct hk_reducer_device *dev);
};

extern const struct hk_reducer *const hk_reducers[];
extern const unsigned hk_nreducers;
const struct hk_reducer *hk_reducer_find(const char *name);

/* Whether a collective can be reduced in rounds at all. */
bool hk_reduce_has_rounds(enum hk_coll coll);
/* Whether `member` of `members` contributes to a round of the call, and gets its result. */
bool hk_reduce_contributes(const struct hk_reduce_call *call, uint32_t members, uint32_t member,
			   uint64_t round);
bool hk_reduce_receives(const struct hk_reduce_call *call, uint32_t members, uint32_t member,
			uint64_t round);
/* 0, or -ENOTSUP, with a sentence, if the capabilities do not cover the call. */
int hk_reducer_covers(const struct hk_reducer *r, const struct hk_reducer_caps *caps,
		      uint32_t members, const struct hk_reduce_call *call);

/* What `hocket switch` does, in the same words. */
extern const struct hk_reducer_caps hk_software_switch_caps;

#endif
