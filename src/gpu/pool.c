/* SPDX-License-Identifier: BSD-3-Clause */
/* A context's memory: see pool.h. A list: communicators have some dozen pieces each. */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "error.h"
#include "mapping.h"

#define CUT 512u /* pinned pieces begin at multiples of it */

enum state { USED, FREE, SPENT };

/* Those cut from one allocation follow each other in the list. */
struct hk_gpu_piece {
	struct hk_gpu_piece *next;
	CUdeviceptr at;
	size_t bytes;
	enum hk_gpu_memory kind;
	bool rest; /* goes on where the one before it ends: no allocation of its own */
	enum state state;
	uint64_t base; /* where its owner has it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The smallest free piece; of the device's memory, where pieces are not cut, one that is not much
 * too long. */
static struct hk_gpu_piece *find(struct hk_gpu_pool *pool, enum hk_gpu_memory kind, size_t bytes)
{
	struct hk_gpu_piece *best = NULL;

	for (struct hk_gpu_piece *p = pool->pieces; p; p = p->next)
		if (p->state == FREE && p->kind == kind && p->bytes >= bytes &&
		    (kind == HK_GPU_HOST || p->bytes / 2 <= bytes) &&
		    (!best || p->bytes < best->bytes))
			best = p;
	return best;
}

/* Cuts off what is beyond `bytes`; where there is no memory for a record it stays part of it. */
static void cut(struct hk_gpu_piece *p, size_t bytes)
{
	struct hk_gpu_piece *rest;

	if (p->kind != HK_GPU_HOST || p->bytes - bytes < CUT)
		return;
	rest = malloc(sizeof(*rest));
	if (!rest)
		return;
	*rest = *p;
	rest->at += bytes;
	rest->bytes -= bytes;
	rest->rest = true;
	rest->state = FREE;
	p->bytes = bytes;
	p->next = rest;
}

/* Free neighbours of one allocation become one again. */
static void join(struct hk_gpu_pool *pool)
{
	for (struct hk_gpu_piece *p = pool->pieces; p;) {
		struct hk_gpu_piece *next = p->next;

		if (!next || !next->rest || p->state != FREE || next->state != FREE) {
			p = next;
			continue;
		}
		p->bytes += next->bytes;
		p->next = next->next;
		free(next);
	}
}

static void add(struct hk_gpu_pool *pool, struct hk_gpu_piece *p)
{
	pthread_mutex_lock(&lock);
	p->next = pool->pieces;
	pool->pieces = p;
	pthread_mutex_unlock(&lock);
}

int hk_gpu_pool_open(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUdevice device)
{
	const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
				      .handleTypes = CU_MEM_HANDLE_TYPE_NONE,
				      .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
	CUresult r = cuda->cuMemPoolCreate(&pool->driver, &props);

	if (r == CUDA_ERROR_NOT_SUPPORTED) {
		pool->driver = NULL;
		return 0;
	}
	return hk_cuda_check(r, "making a pool of GPU memory");
}

static int allocate(const struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUstream stream,
		    enum hk_gpu_memory kind, size_t bytes, CUdeviceptr *at)
{
	void *pinned = NULL;
	int err;

	if (kind == HK_GPU_HOST) {
		err = hk_cuda_check(
			cuda->cuMemHostAlloc(&pinned, bytes,
					     CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
			"allocating pinned host memory");
		*at = (CUdeviceptr)(uintptr_t)pinned;
		return err;
	}
	if (kind != HK_GPU_OWN || !pool->driver)
		return hk_cuda_check(cuda->cuMemAlloc(at, bytes), "allocating GPU memory");
	err = hk_cuda_check(cuda->cuMemAllocFromPoolAsync(at, bytes, pool->driver, stream),
			    "allocating GPU memory");
	return err ? err
		   : hk_cuda_check(cuda->cuStreamSynchronize(stream), "allocating GPU memory");
}

/* A new allocation, in one piece. */
static int make(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUstream stream,
		enum hk_gpu_memory kind, size_t bytes, enum state state, CUdeviceptr *at)
{
	struct hk_gpu_piece *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return hk_fail(ENOMEM, "no memory for a record of GPU memory");
	err = allocate(pool, cuda, stream, kind, bytes, &p->at);
	if (err) {
		free(p);
		return err;
	}
	p->kind = kind;
	p->bytes = bytes;
	p->state = state;
	*at = p->at;
	pthread_mutex_lock(&lock);
	pool->host_bytes += kind == HK_GPU_HOST ? bytes : 0;
	pthread_mutex_unlock(&lock);
	add(pool, p);
	return 0;
}

int hk_gpu_pool_take(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, CUstream stream,
		     enum hk_gpu_memory kind, size_t bytes, CUdeviceptr *at)
{
	struct hk_gpu_piece *p;

	bytes = bytes ? bytes : 1;
	if (kind == HK_GPU_HOST)
		bytes = (bytes + CUT - 1) / CUT * CUT;
	pthread_mutex_lock(&lock);
	p = find(pool, kind, bytes);
	if (p) {
		p->state = USED;
		cut(p, bytes);
		*at = p->at;
	}
	pthread_mutex_unlock(&lock);
	return p ? 0 : make(pool, cuda, stream, kind, bytes, USED, at);
}

int hk_gpu_pool_reserve(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, size_t bytes)
{
	CUdeviceptr at;
	size_t more;
	int err;

	pthread_mutex_lock(&lock);
	pool->promised += bytes;
	more = pool->promised > pool->host_bytes ? pool->promised - pool->host_bytes : 0;
	pthread_mutex_unlock(&lock);
	err = more ? make(pool, cuda, NULL, HK_GPU_HOST, more, FREE, &at) : 0;
	if (err)
		hk_gpu_pool_unreserve(pool, bytes);
	return err;
}

void hk_gpu_pool_unreserve(struct hk_gpu_pool *pool, size_t bytes)
{
	pthread_mutex_lock(&lock);
	pool->promised -= bytes;
	pthread_mutex_unlock(&lock);
}

void hk_gpu_pool_give(struct hk_gpu_pool *pool, CUdeviceptr at, bool again)
{
	struct hk_gpu_piece *p;

	pthread_mutex_lock(&lock);
	p = pool->pieces;
	while (p && (p->at != at || p->kind > HK_GPU_HOST))
		p = p->next;
	if (p)
		p->state = again ? FREE : SPENT;
	if (p && !again && p->kind == HK_GPU_HOST) /* it serves no reservation any more */
		pool->host_bytes -= p->bytes;
	join(pool);
	pthread_mutex_unlock(&lock);
}

int hk_gpu_pool_note(struct hk_gpu_pool *pool, bool mapped, CUdeviceptr at, uint64_t base,
		     uint64_t bytes)
{
	struct hk_gpu_piece *p = calloc(1, sizeof(*p));

	if (!p)
		return hk_fail(ENOMEM, "no memory for a record of GPU memory");
	p->at = at;
	p->bytes = bytes;
	p->base = base;
	p->kind = mapped ? HK_GPU_MAPPED : HK_GPU_OPENED;
	add(pool, p);
	return 0;
}

void hk_gpu_pool_close(struct hk_gpu_pool *pool, CUdeviceptr at)
{
	struct hk_gpu_piece *p;

	pthread_mutex_lock(&lock);
	p = pool->pieces;
	while (p && (p->at != at || p->kind < HK_GPU_OPENED || p->state != USED))
		p = p->next;
	if (p)
		p->state = SPENT;
	pthread_mutex_unlock(&lock);
}

/* Returns a memory to whom it came from, with its record. */
static void discard(struct hk_gpu_piece *p, const struct hk_cuda *cuda)
{
	switch (p->kind) {
	case HK_GPU_OWN:
	case HK_GPU_SHARED:
		cuda->cuMemFree(p->at);
		break;
	case HK_GPU_HOST:
		if (!p->rest)
			cuda->cuMemFreeHost((void *)(uintptr_t)p->at);
		break;
	case HK_GPU_OPENED:
		cuda->cuIpcCloseMemHandle(p->at);
		break;
	case HK_GPU_MAPPED:
		hk_gpu_unmap(cuda, p->at, p->bytes);
		break;
	}
	free(p);
}

unsigned hk_gpu_pool_close_spent(struct hk_gpu_pool *pool, const struct hk_cuda *cuda,
				 uint64_t base, uint64_t bytes)
{
	struct hk_gpu_piece *closing = NULL, **place = &pool->pieces;
	unsigned n = 0;

	pthread_mutex_lock(&lock);
	while (*place) {
		struct hk_gpu_piece *p = *place;

		if (p->kind == HK_GPU_OPENED && p->state == SPENT && p->base < base + bytes &&
		    base < p->base + p->bytes) {
			*place = p->next;
			p->next = closing;
			closing = p;
		} else {
			place = &p->next;
		}
	}
	pthread_mutex_unlock(&lock);
	for (struct hk_gpu_piece *next; closing; closing = next, n++) {
		next = closing->next;
		discard(closing, cuda);
	}
	return n;
}

void hk_gpu_pool_empty(struct hk_gpu_pool *pool, const struct hk_cuda *cuda)
{
	struct hk_gpu_piece *p = pool->pieces, *next;

	/* Freeing what is pooled or mapped does not wait for those who use it. */
	if (p)
		cuda->cuCtxSynchronize();
	for (; p; p = next) {
		next = p->next;
		discard(p, cuda);
	}
	if (pool->driver)
		cuda->cuMemPoolDestroy(pool->driver);
	*pool = (struct hk_gpu_pool){0};
}
