/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two files of the stand-in's test share. */
#ifndef HK_TEST_FAKECUDA_H
#define HK_TEST_FAKECUDA_H

#include "fakecuda.h"
#include "test_kernels.h"

#include <cuda.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ok(call)	   assert_int_equal(call, CUDA_SUCCESS)
#define fails(call, error) assert_int_equal(call, error)

/* Not declared by toolkits of version 13. */
CUresult cuStreamGetCaptureInfo_v2(CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *,
				   const CUgraphNode **, size_t *);

extern CUfunction toy_fill, toy_meet;

CUstream make_stream(unsigned flags);
CUevent make_event(unsigned flags);
unsigned *make_memory(size_t words); /* of the device, zeroed */
void free_memory(void *p);
CUresult launch(CUfunction f, unsigned blocks, const void *param, CUstream stream);

/* A host function that waits until a word is not zero. */
void wait_for_word(void *word);
void let_go(unsigned *word);
void stays_busy(CUstream stream); /* after a moment too */

void test_capture_replays(void **state);
void test_capture_branches(void **state);
void test_capture_errors(void **state);
void test_capture_modes(void **state);

#endif
