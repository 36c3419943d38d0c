/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A GPU as a rank of a benchmark uses it: memory, a non-blocking stream, copies, graphs, and
 * kernels that fill and check. Apart from the library on purpose, as a user's program is: gpu.c
 * opens the CUDA driver by itself. Without the CUDA toolkit there is gpu_absent.c, whose
 * hk_bench_gpu_open says what is missing. What fails says so on standard error, and returns -1 (or
 * NULL).
 */
#ifndef HOCKET_BENCH_GPU_H
#define HOCKET_BENCH_GPU_H

#include <stdbool.h>
#include <stddef.h>

#include <hocket/hocket.h>

struct hk_bench_gpu;
struct hk_bench_run;
struct hk_wrong;

/* Why this build knows no GPU, a sentence; NULL if it does. */
const char *hk_bench_gpu_missing(void);
/* The device becomes the calling thread's. */
int hk_bench_gpu_open(int device, struct hk_bench_gpu **gpu);
/* The memory is freed before. NULL is fine. */
void hk_bench_gpu_close(struct hk_bench_gpu *gpu);
hocketStream_t hk_bench_gpu_stream(const struct hk_bench_gpu *gpu);
/* The same on all ranks of a device, and of no other device; exact in a double. */
double hk_bench_gpu_id(const struct hk_bench_gpu *gpu);

void *hk_bench_gpu_alloc(const struct hk_bench_gpu *gpu, size_t bytes);
/* NULL is fine. */
void hk_bench_gpu_free(const struct hk_bench_gpu *gpu, void *at);

/* On the stream, in whatever direction; the caller waits. */
int hk_bench_gpu_copy(const struct hk_bench_gpu *gpu, void *dst, const void *src, size_t bytes);
int hk_bench_gpu_set(const struct hk_bench_gpu *gpu, void *dst, unsigned char byte, size_t bytes);
/* The kernels of kernels.h, on the stream. What is wrong is added up there... */
int hk_bench_gpu_fill(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run);
int hk_bench_gpu_check(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run);
/* ... until it is asked for: waits, tells, and starts anew. */
int hk_bench_gpu_wrong(const struct hk_bench_gpu *gpu, struct hk_wrong *wrong);
int hk_bench_gpu_wait(const struct hk_bench_gpu *gpu);

/* What is called on the stream in between becomes the graph, instead of being run. After a failure
 * of the calls, too, capturing must be ended. */
int hk_bench_gpu_begin_capture(const struct hk_bench_gpu *gpu);
int hk_bench_gpu_end_capture(struct hk_bench_gpu *gpu);
/* Runs the graph on the stream. */
int hk_bench_gpu_replay(const struct hk_bench_gpu *gpu);
/* No graph is fine. */
void hk_bench_gpu_drop_graph(struct hk_bench_gpu *gpu);

#endif
