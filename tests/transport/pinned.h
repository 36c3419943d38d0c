/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device for tests of the registration cache, which holds on to the pages of what it registers,
 * so that what they contain can be compared with what the process sees at the address. pinned.c is
 * what the cache calls. Of what that calls in turn there are two: pinned_pipes.c holds pages in
 * pipes, anywhere; pinned_verbs.c registers them with an RDMA device.
 */
#ifndef HK_TEST_PINNED_H
#define HK_TEST_PINNED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "regcache.h"

#define PAGE 4096u

struct pinned_device {
	atomic_int adds, removes, live;
	size_t fail_above;	    /* longer ranges are refused; 0: none */
	size_t locked, most_locked; /* bytes in all, and their limit, if not 0 */
	uintptr_t base;		    /* of the last add: address, */
	size_t bytes;		    /* length, */
	uint64_t offset;	    /* and offset in the dmabuf, or ~0 */
	/* Device memory: one allocation at a time. */
	struct hk_device_memory memory;
	int exports, open_fd;
	bool no_dmabufs; /* it is found by its address */
};

/* 0, or the status with which to exit, as 77: there is no such device, which has been said. */
int pinned_open(void);
/* Whether a child by fork can register memory, too. */
extern const bool pinned_in_child;

/* Without, and with, device memory. arg is a struct pinned_device. */
extern const struct hk_reg_ops pinned_ops, pinned_device_ops;

/* Number of pages of [at, at + bytes) that r holds other pages for than the process sees now; -1 if
 * that can't be found out. Each page starts with a number that is unlike all others. */
int pinned_stale(const struct hk_reg *r, const void *at, size_t bytes);

/* Holds the pages; *reg is all zero but for the holder's own. */
int pinned_hold(void *base, size_t bytes, struct hk_reg **reg);
void pinned_drop(struct hk_reg *reg);

#endif
