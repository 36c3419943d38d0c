/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of gpu.c, in a build without the CUDA toolkit: nothing here is ever reached but the
 * refusal. */
#include "gpu.h"

#include <stdio.h>

const char *hk_bench_gpu_missing(void)
{
	return "this build knows no GPU: the CUDA toolkit (cuda.h, nvcc) was not there when it was "
	       "made, or -Dcuda=disabled";
}

int hk_bench_gpu_open(int device, struct hk_bench_gpu **gpu)
{
	fprintf(stderr, "GPU %d: %s\n", device, hk_bench_gpu_missing());
	return -1;
}

void hk_bench_gpu_close(struct hk_bench_gpu *gpu)
{
}

hocketStream_t hk_bench_gpu_stream(const struct hk_bench_gpu *gpu)
{
	return NULL;
}

double hk_bench_gpu_id(const struct hk_bench_gpu *gpu)
{
	return 0;
}

void *hk_bench_gpu_alloc(const struct hk_bench_gpu *gpu, size_t bytes)
{
	return NULL;
}

void hk_bench_gpu_free(const struct hk_bench_gpu *gpu, void *at)
{
}

int hk_bench_gpu_copy(const struct hk_bench_gpu *gpu, void *dst, const void *src, size_t bytes)
{
	return -1;
}

int hk_bench_gpu_set(const struct hk_bench_gpu *gpu, void *dst, unsigned char byte, size_t bytes)
{
	return -1;
}

int hk_bench_gpu_fill(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run)
{
	return -1;
}

int hk_bench_gpu_check(const struct hk_bench_gpu *gpu, const struct hk_bench_run *run)
{
	return -1;
}

int hk_bench_gpu_wrong(const struct hk_bench_gpu *gpu, struct hk_wrong *wrong)
{
	return -1;
}

int hk_bench_gpu_wait(const struct hk_bench_gpu *gpu)
{
	return -1;
}

int hk_bench_gpu_begin_capture(const struct hk_bench_gpu *gpu)
{
	return -1;
}

int hk_bench_gpu_end_capture(struct hk_bench_gpu *gpu)
{
	return -1;
}

int hk_bench_gpu_replay(const struct hk_bench_gpu *gpu)
{
	return -1;
}

void hk_bench_gpu_drop_graph(struct hk_bench_gpu *gpu)
{
}
