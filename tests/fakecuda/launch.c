/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Modules and kernels. A kernel is a host function of the name that is asked for, whatever the
 * image. Its blocks run at the same time, each on some threads, as far as the device has room: a
 * launch begins when all of its blocks fit beside those that run, and launches begin in the order
 * in which they became ready. One with more blocks than fit at all runs in waves.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

struct CUfunc_st {
	CUfunction next;
	CUcontext ctx;
	const struct hkd_host_kernel *kernel;
	int dynamic_shared; /* allowed */
};

struct CUmod_st {
	CUmodule next;
	CUcontext ctx;
	CUfunction functions;
};

enum { DYNAMIC_SHARED = 49152, ALL_SHARED = 232448, SHARED_ALIGNMENT = 128 };

struct block_thread {
	struct fake_task task;
	struct block *block;
	unsigned index;
};

struct block {
	struct fake_op *op;
	unsigned index, left;
	void *shared;
	struct block_thread threads[];
};

static void dispatch(CUcontext ctx);

static void run_thread(struct fake_task *task)
{
	struct block_thread *t = (struct block_thread *)task;
	struct block *block = t->block;
	struct fake_op *op = block->op;
	const struct fake_work *work = op->work;
	CUcontext ctx = op->ctx;

	work->kernel->run(work->param, block->shared, block->index, work->nblocks, t->index,
			  work->nthreads);
	pthread_mutex_lock(&fake.lock);
	if (!--block->left) {
		free(block->shared);
		free(block);
		ctx->resident--;
		if (!--op->left)
			fake_op_complete(op);
		dispatch(ctx);
	}
	pthread_mutex_unlock(&fake.lock);
}

/* The first thread of a block prepares it for the others. */
static void run_block(struct fake_task *task)
{
	struct block *block = ((struct block_thread *)task)->block;
	const struct fake_work *work = block->op->work;
	size_t bytes = work->kernel->shared_bytes + work->dynamic_shared;

	bytes = (bytes + SHARED_ALIGNMENT) / SHARED_ALIGNMENT * SHARED_ALIGNMENT;
	block->shared = aligned_alloc(SHARED_ALIGNMENT, bytes);
	if (!block->shared)
		abort();
	memset(block->shared, 0xa5, bytes);
	if (work->kernel->init_shared)
		work->kernel->init_shared(block->shared, work->nthreads);
	pthread_mutex_lock(&fake.lock);
	for (unsigned i = 1; i < work->nthreads; i++)
		fake_pool_submit(&block->threads[i].task);
	pthread_mutex_unlock(&fake.lock);
	run_thread(task);
}

static void start_block(struct fake_op *op, unsigned index)
{
	unsigned n = op->work->nthreads;
	struct block *block = fake_alloc(sizeof *block + n * sizeof *block->threads);

	block->op = op;
	block->index = index;
	block->left = n;
	for (unsigned i = 0; i < n; i++) {
		block->threads[i].task.run = i ? run_thread : run_block;
		block->threads[i].block = block;
		block->threads[i].index = i;
	}
	fake_pool_submit(&block->threads[0].task);
}

static void dispatch(CUcontext ctx)
{
	unsigned room = (unsigned)fake.nsms * FAKE_BLOCKS_PER_SM;

	while (ctx->launch_first) {
		struct fake_op *op = ctx->launch_first;
		unsigned n = op->work->nblocks, least = n < room ? n : room;

		if (!op->started && ctx->resident + least > room)
			return;
		for (; op->started < n && ctx->resident < room; ctx->resident++)
			start_block(op, op->started++);
		if (op->started < n)
			return;
		ctx->launch_first = op->link;
	}
}

void fake_launch_ready(struct fake_op *op)
{
	CUcontext ctx = op->ctx;

	op->left = op->work->nblocks;
	op->link = NULL;
	if (ctx->launch_first)
		ctx->launch_last->link = op;
	else
		ctx->launch_first = op;
	ctx->launch_last = op;
	dispatch(ctx);
}

CUresult cuLaunchKernel(CUfunction f, unsigned gridDimX, unsigned gridDimY, unsigned gridDimZ,
			unsigned blockDimX, unsigned blockDimY, unsigned blockDimZ,
			unsigned sharedMemBytes, CUstream hStream, void **kernelParams,
			void **extra)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);
	struct fake_work *work;

	if (err)
		return err;
	if (!f || !stream || f->ctx != stream->ctx || ctx != stream->ctx)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!gridDimX || gridDimY != 1 || gridDimZ != 1 || !blockDimX || blockDimX > 1024 ||
	    blockDimY != 1 || blockDimZ != 1 || sharedMemBytes > (unsigned)f->dynamic_shared)
		return CUDA_ERROR_INVALID_VALUE;
	if (extra)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (f->kernel->param_bytes && (!kernelParams || !kernelParams[0]))
		return CUDA_ERROR_INVALID_VALUE;
	work = fake_work_new(FAKE_KERNEL, f->kernel->param_bytes);
	work->kernel = f->kernel;
	work->nblocks = gridDimX;
	work->nthreads = blockDimX < (unsigned)fake.nthreads ? blockDimX : (unsigned)fake.nthreads;
	work->dynamic_shared = sharedMemBytes;
	if (f->kernel->param_bytes)
		memcpy(work->param, kernelParams[0], f->kernel->param_bytes);
	return fake_stream_add(stream, work, NULL);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, &ctx);
	CUmodule mod;

	if (err)
		return err;
	if (!image)
		return CUDA_ERROR_INVALID_VALUE;
	mod = fake_alloc(sizeof *mod);
	mod->ctx = ctx;
	pthread_mutex_lock(&fake.lock);
	mod->next = ctx->modules;
	ctx->modules = mod;
	pthread_mutex_unlock(&fake.lock);
	*module = mod;
	return CUDA_SUCCESS;
}

static void unload(CUmodule mod)
{
	while (mod->functions) {
		CUfunction f = mod->functions;

		mod->functions = f->next;
		free(f);
	}
	free(mod);
}

void fake_modules_drop(CUcontext ctx)
{
	while (ctx->modules) {
		CUmodule mod = ctx->modules;

		ctx->modules = mod->next;
		unload(mod);
	}
}

CUresult cuModuleUnload(CUmodule hmod)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT | FAKE_UNSAFE, NULL);
	CUmodule *at;

	if (err)
		return err;
	if (!hmod)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	for (at = &hmod->ctx->modules; *at && *at != hmod;)
		at = &(*at)->next;
	if (*at) {
		*at = hmod->next;
		unload(hmod);
	}
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);
	const struct hkd_host_kernel *kernel;
	CUfunction f;

	if (err)
		return err;
	if (!hmod || !name)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = fakecuda_kernel(name);
	if (!kernel)
		return CUDA_ERROR_NOT_FOUND;
	f = fake_alloc(sizeof *f);
	f->ctx = hmod->ctx;
	f->kernel = kernel;
	f->dynamic_shared = DYNAMIC_SHARED;
	pthread_mutex_lock(&fake.lock);
	f->next = hmod->functions;
	hmod->functions = f;
	pthread_mutex_unlock(&fake.lock);
	*hfunc = f;
	return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);

	if (err)
		return err;
	if (!hfunc || attrib >= CU_FUNC_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*pi = attrib == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024
	      : attrib == CU_FUNC_ATTRIBUTE_NUM_REGS		? 32
	      : attrib == CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES	? (int)hfunc->kernel->shared_bytes
	      : attrib == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ? hfunc->dynamic_shared
									  : 0;
	return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);

	if (err)
		return err;
	if (!hfunc || attrib >= CU_FUNC_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (attrib == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
		return CUDA_SUCCESS;
	if (attrib != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
	    value > ALL_SHARED)
		return CUDA_ERROR_INVALID_VALUE;
	hfunc->dynamic_shared = value;
	return CUDA_SUCCESS;
}

/* That of the room that launches have here, where the threads of a block do not count. */
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize,
						     size_t dynamicSMemSize)
{
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, NULL);

	if (err)
		return err;
	if (!func || blockSize < 1 || blockSize > 1024)
		return CUDA_ERROR_INVALID_VALUE;
	*numBlocks = dynamicSMemSize > (size_t)func->dynamic_shared ? 0
		     : 2048 / blockSize < FAKE_BLOCKS_PER_SM	    ? 2048 / blockSize
								    : FAKE_BLOCKS_PER_SM;
	return CUDA_SUCCESS;
}
