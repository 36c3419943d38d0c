/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Collective calls whose results are known to the bit, for programs that disturb them: every call
 * has inputs of its own, whole numbers whose sums are exact, and its result is compared with what
 * this rank computes itself; and again after the next call, as something may arrive late.
 */
#ifndef TESTS_SOFTROCE_CALLS_H
#define TESTS_SOFTROCE_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hocket/hocket.h"

enum call { CALL_REDUCE_SCATTER, CALL_ALL_GATHER, CALL_ALL_REDUCE, CALL_KINDS };

extern const char *const call_names[CALL_KINDS];

struct calls {
	hocketComm_t comm;
	int rank, nranks;
	size_t count; /* elements of the longer buffer, a multiple of nranks */
	float *in, *out[2];
	bool plain;		/* the buffers are the process's own, not hocketMemAlloc's */
	uint32_t made, checked; /* calls so far, and with these buffers */
	struct {
		enum call kind;
		uint32_t number;
	} last[2];
};

/* The communicator of HOCKET_RANK, HOCKET_NRANKS and HOCKET_ID; exits with a sentence without. */
void calls_join(struct calls *c);
/* Buffers for count elements, from the library or plain ones. Exits without memory. */
void calls_buffers(struct calls *c, size_t count, bool plain);
/*
 * Makes one call and checks its result and the one before. Sets *ns to how long the call took.
 * The call's own result; wrong elements are counted in *wrong, and the first one is printed.
 */
hocketResult_t calls_make(struct calls *c, enum call kind, int64_t *ns, unsigned *wrong);
void calls_free(struct calls *c);

int64_t calls_now_ns(void);

#endif
