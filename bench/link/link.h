/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The link benchmark between two ranks: what its parts share.
 *
 * A way is something that carries messages between the two: the transport's primitives without the
 * library (raw), the transport's connections driven by their contract (transport), or hocketSend
 * and hocketRecv (api). All ways of a transport are timed by the same code (timing.c), in turns, so
 * that what the library costs is a ratio of figures from the same seconds.
 *
 *     main.c       flags, the launcher, the transports one after the other
 *     timing.c     warm-up, ping-pong and streams, rounds, medians, ratios
 *     report.c     table and JSON
 *     polled.c     what ways that never block have in common
 *     way_*.c      one way each
 */
#ifndef HOCKET_BENCH_LINK_H
#define HOCKET_BENCH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "comm.h"
#include "options.h"

#define HK_LP_MIN_BYTES 8 /* of a message */
#define HK_LP_WAYS	6 /* of one transport, at most */

/* Both ranks' common ground: a communicator over whatever works, apart from what is measured. */
struct hk_lp_run {
	const struct hk_lp_options *options;
	int rank, peer; /* 0 and 1, or 1 and 0 */
	hocketComm_t control;
	struct hk_comm *inside; /* of control */
	struct hk_wire *wire;	/* where raw ways meet: by tags of their own */
	uint32_t tag;		/* the next free one, equal on both ranks */
};

/* The next tag of the wire. Both ranks ask equally often. */
uint32_t hk_lp_tag(struct hk_lp_run *run);
/* This rank's `bytes` and the peer's are exchanged over the control communicator; 0 or -1. */
int hk_lp_swap(struct hk_lp_run *run, const void *own, void *other, size_t bytes);
/* 0 if this rank and the peer say 0 (a sentence was printed by whoever does not). */
int hk_lp_agree(struct hk_lp_run *run, int err);

enum hk_lp_level {
	HK_LP_RAW,    /* the limit that the others are held against */
	HK_LP_BESIDE, /* another primitive, shown beside it */
	HK_LP_TRANSPORT,
	HK_LP_API,
};

struct hk_lp_way;

/* Calls return 0; or a negative code, with its sentence recorded. All wait with a deadline. */
struct hk_lp_way_ops {
	/* Sends `bytes` from w->out. They may still be read when it returns. */
	int (*pass)(struct hk_lp_way *w, size_t bytes);
	/* Waits for a message of `bytes`, and sets w->in to where it is. What was passed before has
	 * then left: the peer answers only what it got. */
	int (*await)(struct hk_lp_way *w, size_t bytes);
	/* n messages out, or n in, or both at once. Returns when those that come have come, as far
	 * as this way notices that, and those that leave need no further call from here. */
	int (*stream)(struct hk_lp_way *w, size_t bytes, unsigned n, bool out, bool in);
	/* Frees it. */
	void (*close)(struct hk_lp_way *w);
};

struct hk_lp_way {
	const struct hk_lp_way_ops *ops;
	struct hk_lp_run *run;
	const char *name;
	enum hk_lp_level level;
	char path[64]; /* what it goes over, for people; may be "" */
	uint8_t *out;
	const uint8_t *in;
	unsigned marked; /* bytes at the end of a message that are the way's own */
};

/* A message's buffers, of the library's registered memory or not. */
struct hk_lp_buffers {
	uint8_t *out, *in;
	void *handles[2]; /* registrations */
	hocketComm_t comm;
	bool registered;
};
int hk_lp_buffers_open(struct hk_lp_buffers *b, hocketComm_t comm, size_t bytes, bool registered);
void hk_lp_buffers_close(struct hk_lp_buffers *b);

/* Both ranks call these together. *way is set on success; -ENOTSUP, with a sentence: not here. */
int hk_lp_open_shm(struct hk_lp_run *run, struct hk_lp_way **way);
int hk_lp_open_tcp(struct hk_lp_run *run, struct hk_lp_way **way);
int hk_lp_open_verbs(struct hk_lp_run *run, enum hk_lp_verbs how, struct hk_lp_way **way);
int hk_lp_open_transport(struct hk_lp_run *run, hocketComm_t comm, const struct hk_lp_buffers *b,
			 struct hk_lp_way **way);
int hk_lp_open_api(struct hk_lp_run *run, hocketComm_t comm, const struct hk_lp_buffers *b,
		   struct hk_lp_way **way);

/* --- timing.c --- */

struct hk_lp_spread {
	double min, p50, p90, p99, max; /* us, half a round trip */
};

/* A way's figures at one size. Ratios are to the raw way in the same round, the median over rounds:
 * of times (at least 1, if nothing is faster than raw), and of bandwidths (at most 1). */
struct hk_lp_figures {
	struct hk_lp_spread latency;
	double latency_ratio;
	double one_way, both_ways; /* messages per second; of both ways together */
	double one_way_ratio, both_ways_ratio;
};

/* Measures all ways at one size; both ranks call it. Figures are rank 0's. 0, or a negative code.
 */
int hk_lp_measure(struct hk_lp_run *run, struct hk_lp_way **ways, unsigned n, size_t bytes,
		  struct hk_lp_figures *figures);

#endif
