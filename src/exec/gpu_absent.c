/* SPDX-License-Identifier: BSD-3-Clause */
/* The GPU executor of a build without CUDA: it can't be opened, so the rest is never reached. */
#include <errno.h>

#include "error.h"
#include "gpu_exec.h"

int hk_gpu_exec_open(int device, struct hk_gpu_exec **x)
{
	return hk_fail(HK_ECUDA,
		       "this build of Hocket has no GPU part: build it where nvcc and cuda.h "
		       "are, or ask for no device");
}

int hk_gpu_exec_count(void)
{
	return 0;
}

int hk_gpu_exec_current(void)
{
	return -1;
}

int hk_gpu_exec_mem_alloc(int device, size_t bytes, void **at)
{
	return hk_fail(HK_ECUDA,
		       "this build of Hocket has no GPU part: there is no memory of GPUs");
}

int hk_gpu_exec_mem_free(void *at)
{
	return -ENOENT;
}

bool hk_gpu_exec_owns(const struct hk_gpu_exec *x, const void *at)
{
	return false;
}

void hk_gpu_exec_hold(struct hk_gpu_exec *x)
{
}

void hk_gpu_exec_let_go(struct hk_gpu_exec *x)
{
}

struct hk_gpu *hk_gpu_exec_gpu(const struct hk_gpu_exec *x)
{
	return NULL;
}

int hk_gpu_exec_device(const struct hk_gpu_exec *x)
{
	return -1;
}

uint64_t hk_gpu_exec_id(const struct hk_gpu_exec *x)
{
	return 0;
}

int hk_gpu_exec_reserve(struct hk_gpu_exec *x, size_t nconns, uint32_t slots, uint32_t slot_bytes)
{
	return -ENOTSUP;
}

void hk_gpu_exec_admit(struct hk_gpu_exec *x, struct hk_endpoint *ep, size_t nsends, uint32_t slots,
		       uint32_t slot_bytes)
{
}

int hk_gpu_exec_start(struct hk_gpu_exec *x, int rank, int nranks, uint32_t channels,
		      unsigned sharers, int64_t timeout_ns, struct hk_gpu_guard *guard)
{
	return -ENOTSUP;
}

int hk_gpu_exec_call(struct hk_gpu_exec *x, struct hk_plan *plan, const struct hk_call *call,
		     const void *scalar_at, void *stream)
{
	return -ENOTSUP;
}

int hk_gpu_exec_copy(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, void *stream)
{
	return -ENOTSUP;
}

bool hk_gpu_exec_can_copy(const struct hk_gpu_exec *x)
{
	return false;
}

uint64_t hk_gpu_exec_words(const struct hk_gpu_exec *x)
{
	return 0;
}

size_t hk_gpu_exec_words_bytes(const struct hk_gpu_exec *x)
{
	return 0;
}

int hk_gpu_exec_order(struct hk_gpu_exec *x, void *first, void *then)
{
	return -ENOTSUP;
}

int hk_gpu_exec_finish(struct hk_gpu_exec *x)
{
	return -ENOTSUP;
}

void *hk_gpu_exec_stream(const struct hk_gpu_exec *x)
{
	return NULL;
}

int hk_gpu_exec_wait(struct hk_gpu_exec *x)
{
	return -ENOTSUP;
}

int hk_gpu_exec_alone(struct hk_gpu_exec *x, const struct hk_call *call, const void *scalar_at,
		      void *stream)
{
	return -ENOTSUP;
}

void hk_gpu_exec_drain(struct hk_gpu_exec *x)
{
}

bool hk_gpu_exec_settled(struct hk_gpu_exec *x)
{
	return true;
}

void hk_gpu_exec_close(struct hk_gpu_exec *x)
{
}

void hk_gpu_exec_release(struct hk_gpu_exec *x)
{
}

size_t hk_gpu_exec_memory(const struct hk_gpu_exec *x)
{
	return 0;
}
