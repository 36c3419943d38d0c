/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the stand-in's test share. */
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

/* This program as another process, with an input and one of the environment's switches or NULL.
 * Returns what waitpid says of it. */
int run_peer(const char *role, int input, const char *turned_on);
int peer_vmm(void);
int peer_waits(void);

/* A host function that waits until a word is not zero. */
void wait_for_word(void *word);
void let_go(unsigned *word);
void stays_busy(CUstream stream); /* after a moment too */

void test_capture_replays(void **state);
void test_capture_branches(void **state);
void test_capture_errors(void **state);
void test_capture_modes(void **state);

void test_vmm_steps(void **state);
void test_vmm_refusals(void **state);
void test_vmm_pieces(void **state);
void test_vmm_devices(void **state);
void test_vmm_unmap_waits(void **state);
void test_vmm_processes(void **state);
void test_dma_buf(void **state);

void test_memops_order(void **state);
void test_memops_conditions(void **state);
void test_memops_errors(void **state);
void test_memops_replay(void **state);
void test_memops_at_exit(void **state);

#endif
