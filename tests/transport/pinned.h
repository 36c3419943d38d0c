/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device for tests of the registration cache: it registers memory by holding its pages in a pipe
 * (vmsplice), so that what they contain can be compared with what the process sees at the address.
 */
#ifndef HK_TEST_PINNED_H
#define HK_TEST_PINNED_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "regcache.h"

#define PAGE 4096u

struct pinned_device {
	atomic_int adds, removes, live;
	int fail;	   /* code that add returns from now on; 0: none */
	size_t fail_above; /* longer ranges are refused; 0: none */
	uintptr_t base;	   /* of the last add: address, */
	size_t bytes;	   /* length, */
	uint64_t offset;   /* and offset in the dmabuf, or ~0 */
	/* Device memory: one allocation at a time. */
	struct hk_device_memory memory;
	int exports, open_fd;
};

/* Without, and with, device memory. arg is a struct pinned_device. */
extern const struct hk_reg_ops pinned_ops, pinned_device_ops;

/* Number of pages of [at, at + bytes) that r holds other pages for than the process sees now; -1 if
 * that can't be found out. Each page starts with a number that is unlike all others. */
int pinned_stale(const struct hk_reg *r, const void *at, size_t bytes);

#endif
