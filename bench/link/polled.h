/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ways whose primitives never block: they say how to try, and pass, await and stream follow from
 * that. Waiting is as in the library's calls: spin as long as it does, then yield, since the other
 * rank, or the kernel's part of a software device, may need this processor.
 */
#ifndef HOCKET_BENCH_LINK_POLLED_H
#define HOCKET_BENCH_LINK_POLLED_H

#include "link.h"

struct hk_lp_polled;
struct hk_lp_poll_ops {
	/* 1: a message of `bytes` from out was sent; 0: not all of it yet. */
	int (*post)(struct hk_lp_polled *p, size_t bytes);
	/* 1: a message of `bytes` has come, and way.in says where; 0: not all of it yet. */
	int (*take)(struct hk_lp_polled *p, size_t bytes);
	/* n messages of `bytes` will be taken. Default: hk_lp_expect_none. */
	void (*expect)(struct hk_lp_polled *p, size_t bytes, unsigned n);
	/* Does whatever posted messages still need, while their answer is awaited. Default:
	 * hk_lp_tend_none. */
	int (*tend)(struct hk_lp_polled *p);
	/* 1: what was posted needs no further call of this process; 0: not yet. */
	int (*settle)(struct hk_lp_polled *p);
};

struct hk_lp_polled {
	struct hk_lp_way way;
	const struct hk_lp_poll_ops *poll;
};

void hk_lp_expect_none(struct hk_lp_polled *p, size_t bytes, unsigned n);
int hk_lp_tend_none(struct hk_lp_polled *p);

int hk_lp_polled_pass(struct hk_lp_way *w, size_t bytes);
int hk_lp_polled_await(struct hk_lp_way *w, size_t bytes);
int hk_lp_polled_stream(struct hk_lp_way *w, size_t bytes, unsigned n, bool out, bool in);

/* For loops of a way's own: start with zeros, call idle whenever nothing moved, and zero again when
 * something did. 0; or the code of a deadline that has passed or of a peer that has died. */
struct hk_lp_waiting {
	unsigned idle;
	int64_t since;
};
int hk_lp_idle(struct hk_lp_run *run, struct hk_lp_waiting *w);

#endif
