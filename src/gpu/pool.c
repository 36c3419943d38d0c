/* SPDX-License-Identifier: BSD-3-Clause */
/* A context's memory: see pool.h. A list: communicators have some dozen pieces each. */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "error.h"

enum state { USED, FREE, SPENT };

struct hk_gpu_piece {
	struct hk_gpu_piece *next;
	CUdeviceptr at;
	size_t bytes;
	bool host, opened; /* opened: another process's */
	enum state state;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The smallest free piece that is not much too long. */
static struct hk_gpu_piece *find(struct hk_gpu_pool *pool, bool host, size_t bytes)
{
	struct hk_gpu_piece *best = NULL;

	for (struct hk_gpu_piece *p = pool->pieces; p; p = p->next)
		if (p->state == FREE && p->host == host && p->bytes >= bytes &&
		    p->bytes / 2 <= bytes && (!best || p->bytes < best->bytes))
			best = p;
	return best;
}

static int make(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, bool host, size_t bytes,
		CUdeviceptr *at)
{
	struct hk_gpu_piece *p = calloc(1, sizeof(*p));
	void *pinned = NULL;
	int err;

	if (!p)
		return hk_fail(ENOMEM, "no memory for a record of GPU memory");
	if (host) {
		err = hk_cuda_check(
			cuda->cuMemHostAlloc(&pinned, bytes,
					     CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
			"allocating pinned host memory");
		p->at = (CUdeviceptr)(uintptr_t)pinned;
	} else {
		err = hk_cuda_check(cuda->cuMemAlloc(&p->at, bytes), "allocating GPU memory");
	}
	if (err) {
		free(p);
		return err;
	}
	p->host = host;
	p->bytes = bytes;
	pthread_mutex_lock(&lock);
	p->next = pool->pieces;
	pool->pieces = p;
	pthread_mutex_unlock(&lock);
	*at = p->at;
	return 0;
}

int hk_gpu_pool_take(struct hk_gpu_pool *pool, const struct hk_cuda *cuda, bool host, size_t bytes,
		     CUdeviceptr *at)
{
	struct hk_gpu_piece *p;

	bytes = bytes ? bytes : 1;
	pthread_mutex_lock(&lock);
	p = find(pool, host, bytes);
	if (p) {
		p->state = USED;
		*at = p->at;
	}
	pthread_mutex_unlock(&lock);
	return p ? 0 : make(pool, cuda, host, bytes, at);
}

void hk_gpu_pool_give(struct hk_gpu_pool *pool, CUdeviceptr at, bool again)
{
	struct hk_gpu_piece *p;

	pthread_mutex_lock(&lock);
	p = pool->pieces;
	while (p && (p->at != at || p->opened))
		p = p->next;
	if (p)
		p->state = again ? FREE : SPENT;
	pthread_mutex_unlock(&lock);
}

void hk_gpu_pool_close(struct hk_gpu_pool *pool, CUdeviceptr at)
{
	struct hk_gpu_piece *p = calloc(1, sizeof(*p));

	if (!p) /* it stays open */
		return;
	*p = (struct hk_gpu_piece){.at = at, .opened = true, .state = SPENT};
	pthread_mutex_lock(&lock);
	p->next = pool->pieces;
	pool->pieces = p;
	pthread_mutex_unlock(&lock);
}

void hk_gpu_pool_empty(struct hk_gpu_pool *pool, const struct hk_cuda *cuda)
{
	struct hk_gpu_piece *p = pool->pieces, *next;

	for (; p; p = next) {
		next = p->next;
		if (p->opened)
			cuda->cuIpcCloseMemHandle(p->at);
		else if (p->host)
			cuda->cuMemFreeHost((void *)(uintptr_t)p->at);
		else
			cuda->cuMemFree(p->at);
		free(p);
	}
	pool->pieces = NULL;
}
