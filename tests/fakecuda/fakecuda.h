/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a test sees of the stand-in for the CUDA driver beyond the driver's own functions: how a
 * kernel is given to it as host code, and how a call is made to fail. README.md has the environment
 * variables and the places where it is stricter or laxer than a real driver.
 */
#ifndef HK_FAKECUDA_H
#define HK_FAKECUDA_H

#include "host_kernels.h"

/* For the file that lists a driver's kernels; NULL: there is none of this name. */
const struct hkd_host_kernel *fakecuda_kernel(const char *name);

/*
 * The nth next call (1: the next) of a function returns that CUresult and does nothing. The name is
 * with or without its version ("cuMemAlloc"). One failure at a time for each of 16 functions; nth
 * 0 takes it back. Returns 0, or -1 where there is no room.
 */
__attribute__((visibility("default"))) int fakecuda_fail(const char *function, int nth, int error);

/* How often a function has been called, by whichever version of its name, since the start. */
__attribute__((visibility("default"))) unsigned long fakecuda_calls(const char *function);

#endif
