/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A GPU as one communicator uses it: its context, our kernels loaded into it, memory, and a stream
 * of our own. Nothing here waits for the streams of the application: a kernel of ours may be
 * running there that waits for what this process does next.
 *
 * Addresses of device memory are numbers (uint64_t), so that who includes this needs no cuda.h.
 */
#ifndef HK_GPU_H
#define HK_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hk_cuda;
struct hk_gpu;

/* The CUstream and CUevent of the driver. */
struct CUstream_st;
struct CUevent_st;

enum hk_gpu_kernel { HK_GPU_RUN, HK_GPU_MAP, HK_GPU_NKERNELS };

/* How many GPUs this process sees; 0 where there is no driver, and then why is what the last error
 * says. */
int hk_gpu_count(void);
/* Number of the GPU whose context is this thread's current one; -ENOENT: it has none. */
int hk_gpu_current(void);
/* Opens GPU number `device`, with this thread's current context if that is of it, else with the one
 * that the CUDA runtime uses. Loads the kernels. */
int hk_gpu_open(int device, struct hk_gpu **gpu);
void hk_gpu_close(struct hk_gpu *gpu);

int hk_gpu_device(const struct hk_gpu *gpu);
/* "NVIDIA H100 ... at 0000:18:00.0". */
const char *hk_gpu_name(const struct hk_gpu *gpu);
/* Equal for the same context of this process. */
uint64_t hk_gpu_context(const struct hk_gpu *gpu);
/* Equal for the same GPU in all processes of a host. */
uint64_t hk_gpu_id(const struct hk_gpu *gpu);
const struct hk_cuda *hk_gpu_driver(const struct hk_gpu *gpu);

/* A stream of our own for kernels; it does not wait for the default one, nor that for it. Nothing
 * below uses it. */
struct CUstream_st *hk_gpu_stream(const struct hk_gpu *gpu);

/* The context becomes this thread's, and after leave it has the one from before. */
int hk_gpu_enter(const struct hk_gpu *gpu);
void hk_gpu_leave(const struct hk_gpu *gpu);

/* Memory of zeros; on the device, or of the host and at the same address for both. Freeing never
 * waits for kernels: memory goes back to the driver when nothing in this process uses the context
 * any more, and until then is used again (pool.h). */
int hk_gpu_alloc(struct hk_gpu *gpu, size_t bytes, uint64_t *at);
/* The same, and others can open it (hk_gpu_export); the driver may wait for kernels meanwhile. */
int hk_gpu_alloc_shared(struct hk_gpu *gpu, size_t bytes, uint64_t *at);
void hk_gpu_free(struct hk_gpu *gpu, uint64_t at);
/* Frees what somebody may still write to: it is not used again. */
void hk_gpu_abandon(struct hk_gpu *gpu, uint64_t at);
int hk_gpu_alloc_host(struct hk_gpu *gpu, size_t bytes, void **at);
/* Pinned memory for alloc_host, gotten now: later the driver may wait for kernels. A multiple of
 * 512. */
int hk_gpu_reserve_host(struct hk_gpu *gpu, size_t bytes);
void hk_gpu_free_host(struct hk_gpu *gpu, void *at);
/* Copies between host and device, and waits for that alone. */
int hk_gpu_write(struct hk_gpu *gpu, uint64_t to, const void *from, size_t bytes);
int hk_gpu_read(struct hk_gpu *gpu, void *to, uint64_t from, size_t bytes);

/* Memory for the application: outlives any struct hk_gpu. free: -ENOENT if it is none of it. */
int hk_gpu_mem_alloc(int device, size_t bytes, uint64_t *at);
int hk_gpu_mem_free(uint64_t at);

/* Where an address is. */
enum hk_gpu_place {
	HK_GPU_PAGEABLE, /* host memory that no GPU can reach */
	HK_GPU_PINNED,	 /* host memory that GPUs reach */
	HK_GPU_DEVICE,
};
enum hk_gpu_place hk_gpu_place_of(const struct hk_gpu *gpu, const void *at);

/* Launches a kernel with its one parameter. blocks of threads. */
int hk_gpu_launch(struct hk_gpu *gpu, enum hk_gpu_kernel kernel, unsigned blocks, unsigned threads,
		  const void *param, struct CUstream_st *stream);
/* Most blocks of the kernel that run on the GPU at once. */
unsigned hk_gpu_most_blocks(const struct hk_gpu *gpu, enum hk_gpu_kernel kernel, unsigned threads);

/* Lets the GPU reach another one's memory in this process. 0, or -ENOTSUP, quietly. */
int hk_gpu_reach(struct hk_gpu *gpu, int device);

#endif
