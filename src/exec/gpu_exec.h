/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The GPU executor: runs plans by kernels (src/device) in the order of CUDA streams. A plan is made
 * as for the host, which also cuts its tiles; what a kernel needs of it is put on the GPU when it
 * is first run there. Connections whose transport has rings for kernels are used by them; the
 * others go through pinned host memory, and a thread of ours moves the messages on (gpu_proxy.c).
 *
 * Buffers may be on the GPU, in pinned host memory, or anywhere in host memory: then they are
 * copied to the GPU and back.
 *
 * In a build without CUDA opening fails with -HK_ECUDA, and so nothing else is ever called.
 */
#ifndef HK_EXEC_GPU_EXEC_H
#define HK_EXEC_GPU_EXEC_H

#include "exec.h"

struct hk_gpu;
struct hk_gpu_exec;

/* What the executor asks of its communicator, and tells it, in a thread of its own. */
struct hk_gpu_guard {
	/* A negative code, with its sentence, once the communicator has failed or was aborted. */
	int (*failed)(struct hk_gpu_guard *g);
	/* The executor has failed: code and sentence. */
	void (*fail)(struct hk_gpu_guard *g, int err);
};

/* device: its number, or -2 for that of this thread's context, or the first. */
int hk_gpu_exec_open(int device, struct hk_gpu_exec **x);
/* What -2 means in this thread; -1 where there is no GPU. */
int hk_gpu_exec_current(void);
/* How many this process sees. */
int hk_gpu_exec_count(void);
struct hk_gpu *hk_gpu_exec_gpu(const struct hk_gpu_exec *x);
int hk_gpu_exec_device(const struct hk_gpu_exec *x);
/* The same on all ranks of one GPU. */
uint64_t hk_gpu_exec_id(const struct hk_gpu_exec *x);
/* When all is agreed: `sharers` ranks run on the GPU. guard must outlive x. */
int hk_gpu_exec_start(struct hk_gpu_exec *x, int rank, int nranks, uint32_t channels,
		      unsigned sharers, int64_t timeout_ns, struct hk_gpu_guard *guard);
/* Gets pinned memory for so many halves of connections that the host will move the messages of, as
 * far as is sensible; the driver may wait for kernels when more is needed. */
int hk_gpu_exec_reserve(struct hk_gpu_exec *x, size_t nconns, uint32_t slots, uint32_t slot_bytes);

/* Gets memory of the GPU for so many sending halves of the endpoint's connections, if the endpoint
 * can send from there; else they go through pinned memory. Before start. */
void hk_gpu_exec_admit(struct hk_gpu_exec *x, struct hk_endpoint *ep, size_t nsends, uint32_t slots,
		       uint32_t slot_bytes);

/* Memory of a GPU, and its end: -ENOENT if it did not come from there. */
int hk_gpu_exec_mem_alloc(int device, size_t bytes, void **at);
int hk_gpu_exec_mem_free(void *at);

/* Whether an address is one of a GPU's memory. */
bool hk_gpu_exec_owns(const struct hk_gpu_exec *x, const void *at);

/* Between these two this thread may make connections and plans: the executor's own thread, which
 * moves messages over the same endpoints, keeps away. They nest. */
void hk_gpu_exec_hold(struct hk_gpu_exec *x);
void hk_gpu_exec_let_go(struct hk_gpu_exec *x);

/* Queues the call on a CUDA stream (NULL: the default one). scalar_at: where the GPU reads the
 * scalar when the call starts, or NULL for that of the call. Calls must come from one thread at a
 * time; they run one after the other, whatever their streams are. -EINVAL: the stream is being
 * captured and the call can't be; nothing was queued. */
int hk_gpu_exec_call(struct hk_gpu_exec *x, struct hk_plan *plan, const struct hk_call *call,
		     const void *scalar_at, void *stream);
/* A call that only moves data, done by copies instead of a kernel. */
struct hk_gpu_push {
	int peer;      /* may be this rank */
	uint64_t to;   /* in the peer's OUT, as this GPU has it */
	uint64_t from; /* in IN */
	size_t bytes;
};
struct hk_gpu_copies {
	const void *in;
	size_t in_bytes;
	const struct hk_gpu_push *pushes;
	unsigned n;
	const bool *from;      /* by rank: it has something for this one */
	const uint64_t *words; /* by rank: its words, as this GPU has them */
	uint32_t mark;
};
/* As hk_gpu_exec_call; all ranks must choose this way for the call. */
int hk_gpu_exec_copy(struct hk_gpu_exec *x, const struct hk_gpu_copies *job, void *stream);
/* Whether the driver can. */
bool hk_gpu_exec_can_copy(const struct hk_gpu_exec *x);
/* This rank's words, GPU memory that the other ranks must reach. */
uint64_t hk_gpu_exec_words(const struct hk_gpu_exec *x);
size_t hk_gpu_exec_words_bytes(const struct hk_gpu_exec *x);

/* What comes next on one stream waits for what is on another now. */
int hk_gpu_exec_order(struct hk_gpu_exec *x, void *first, void *then);
/* After the calls that belong together: those with buffers in ordinary host memory, and barriers
 * without a stream, are waited for, and results copied back. Their failure is known then. */
int hk_gpu_exec_finish(struct hk_gpu_exec *x);
/* The executor's own stream, and waiting for all of its calls. */
void *hk_gpu_exec_stream(const struct hk_gpu_exec *x);
int hk_gpu_exec_wait(struct hk_gpu_exec *x);
/* The same for a group of one rank: out = in, scaled if call->scalar or scalar_at is set. */
int hk_gpu_exec_alone(struct hk_gpu_exec *x, const struct hk_call *call, const void *scalar_at,
		      void *stream);
/* For the end: waits for all calls. */
void hk_gpu_exec_drain(struct hk_gpu_exec *x);
/* After it: whether peers have read all that they were sent, or have it in their hands where the
 * host moves it; then none of them will touch this rank's memory. */
bool hk_gpu_exec_settled(struct hk_gpu_exec *x);
/* Frees; NULL is fine. Endpoints must be closed after it: its records name their memory. */
void hk_gpu_exec_close(struct hk_gpu_exec *x);
/* Closes the GPU itself, when nothing uses it any more. NULL is fine. */
void hk_gpu_exec_release(struct hk_gpu_exec *x);
/* Bytes on the GPU, but for what endpoints have there. */
size_t hk_gpu_exec_memory(const struct hk_gpu_exec *x);

#endif
