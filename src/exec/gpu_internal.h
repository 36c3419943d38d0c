/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the GPU executor: gpu_exec.c (opens, launches), gpu_copy.c (copy engines), gpu_plan.c
 * (programs on the GPU), gpu_stage.c (buffers that kernels can't reach), gpu_proxy.c (messages that
 * the host moves), gpu_direct.c (those that a network card reads from the GPU's memory). */
#ifndef HK_EXEC_GPU_INTERNAL_H
#define HK_EXEC_GPU_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "driver.h"
#include "gpu.h"
#include "gpu_exec.h"
#include "plan.h"
#include "records.h"

/* A connection whose messages the host moves on: either half of it. */
struct proxy {
	struct proxy *next;
	struct hk_send *send;
	struct hk_recv *recv;
	uint8_t *ring;	    /* pinned */
	uint64_t apart;	    /* slots on the GPU, beside those of the ring; 0: none */
	uint64_t *released; /* pinned */
	uint64_t *wants;    /* pinned: the message that the kernel waits for */
	uint64_t moved;	    /* messages so far */
	uint64_t
		returned; /* of a sending half: of them, those whose slots are the kernel's again */
	uint64_t flushed; /* of them known to have left */
	int err;	  /* of a receiving half: its failure ... */
	char *error;	  /* ... and its sentence, until somebody waits for a message */
	uint32_t slots, slot_bytes, apart_bytes;
};

/* GPU memory for slots that an endpoint sends from; or why it can't. */
struct direct {
	struct direct *next;
	struct hk_endpoint *ep;
	uint64_t at; /* 0: it can't */
	size_t bytes, used;
	uint32_t least; /* bytes of the messages that are lent */
	char *why;	/* NULL: no memory for it */
};

/* A table of a call whose blocks vary: pinned, free again once that call has ended. */
struct table {
	struct table *next;
	void *at;
	size_t bytes;
	uint64_t call; /* which it serves; UINT64_MAX: one that may be replayed for ever */
};

/* Memory on the GPU for a buffer that kernels can't reach. */
struct stage {
	struct stage *next;
	uint64_t at;
	size_t bytes;
	bool busy; /* until finish */
};

/* A copy back that is still to be queued. */
struct copy_back {
	uint64_t to, from;
	size_t bytes;
};

/* A program that no plan has any more, but kernels that are queued. */
struct retired {
	struct retired *next;
	uint64_t at;
	uint64_t call; /* the last that may use it */
	bool graphs;   /* graphs may, too: for ever */
};

struct hk_gpu_exec {
	struct hk_gpu *gpu;
	const struct hk_cuda *cuda;
	int rank, nranks;
	uint32_t channels;
	int64_t timeout_ns;
	unsigned blocks; /* most of a call */
	struct hkd_control *control;
	uint64_t sends, recvs; /* records by peer * channels + channel */
	uint8_t *bound; /* the same numbers: 1 the sending, 2 the receiving half; 4: by the host */
	struct hk_endpoint *rings; /* of connections with rings for kernels; NULL: none yet */
	uint64_t nothing;	   /* what barriers carry */
	uint64_t left;		   /* a word: whether a kernel left before its end */
	size_t memory;

	CUevent before; /* what was on a stream, for one wait, which does not look at it again */
	CUevent last;	/* the end of the last call, but for those in captures */
	CUstream last_stream;
	cuuint64_t last_id;    /* of that stream: a handle may be another one's by now */
	CUstream waited;       /* of the last call: its end is that of all that were staged */
	CUevent last_in_graph; /* the end of the last call in a capture: of which, and its stream */
	uint64_t last_capture;
	CUstream capture_stream;
	bool launched, captured; /* there was a call of either kind */
	_Atomic uint64_t calls;	 /* launched */
	struct hk_gpu_copying *copying;
	bool late; /* at the end: graphs may still run, so memory that they have is not used again
		    */
	struct table *tables;
	struct retired *retired;
	struct stage *stages;
	uint64_t own_in; /* on the GPU: room for one call's IN, if that is copied away */
	size_t own_in_bytes;
	struct copy_back *copies;
	unsigned ncopies, max_copies;
	bool staged; /* some call since the last finish was */

	/* the thread: moves messages, and watches */
	struct hk_gpu_guard *guard;
	pthread_t thread;
	bool running;
	struct hk_gpu_exec *next_running;
	pid_t pid; /* of the process that has the thread */
	_Atomic bool quit;
	_Atomic bool over;	 /* the process ends: nothing of the driver's, or pinned, is used */
	pthread_mutex_t lock;	 /* of the proxies and of all endpoints; nests */
	_Atomic unsigned wanted; /* threads that wait for it */
	struct proxy *proxies;
	struct direct *directs;
};

/* What a program is on the GPU; a plan's `device`. */
struct gpu_plan {
	struct hk_device_plan base;
	struct hk_gpu_exec *x;
	struct hkd_program prog;
	uint64_t memory;
	bool by_host; /* the host moves some of its messages, so those are not in lines */
};

/* --- gpu_order.c --- */

/* Before a call's work is queued: it comes after the call before, whatever that one's stream was.
 * *capture: which capture the stream is in; 0: none. And after it. */
int hk_gpu_begin(struct hk_gpu_exec *x, CUstream stream, uint64_t *capture);
int hk_gpu_end(struct hk_gpu_exec *x, CUstream stream, uint64_t capture);
/* What the application has put on the default stream comes before. That can't be said while another
 * of its threads captures a graph, which it would spoil; then nothing is said. */
void hk_gpu_follow_default(struct hk_gpu_exec *x, CUstream stream);

/* --- gpu_exec.c --- */

/* Frees what kernels have, on the GPU or pinned; 0 and NULL are fine. */
void hk_gpu_put(struct hk_gpu_exec *x, uint64_t at);
void hk_gpu_put_host(struct hk_gpu_exec *x, void *at);

/* --- gpu_copy.c --- */

/* page: the control page, whose rest is free for it. */
int hk_gpu_copying_open(struct hk_gpu_exec *x, struct hkd_control *page);
void hk_gpu_copying_close(struct hk_gpu_exec *x);
/* Of the watching thread: a failure of copies, 0: there is none. */
int hk_gpu_copying_watch(struct hk_gpu_exec *x);
/* After a failure, again and again: lets streams pass that wait for other ranks. */
void hk_gpu_copying_release(struct hk_gpu_exec *x);
/* Whether a stream waits for another rank. */
bool hk_gpu_copying_waits(const struct hk_gpu_exec *x);

/* --- gpu_plan.c --- */

/* Kernels that are queued may still use the memory; it is freed when they have ended. */
void hk_gpu_retire(struct hk_gpu_exec *x, uint64_t at);
/* Frees what calls that have ended used; end: everything. */
void hk_gpu_retire_all(struct hk_gpu_exec *x, bool end);
/* The plan's program on the GPU, put there if it is not yet. */
int hk_gpu_plan(struct hk_gpu_exec *x, struct hk_plan *plan, struct gpu_plan **gp);

/* --- gpu_stage.c --- */

/* A range of addresses as the user has it, and as kernels do. */
struct staged {
	uintptr_t from, to;
	uint64_t at;
	bool copied; /* else it is where it was */
};
struct staging {
	struct staged in, out;
	const struct hk_block *out_blocks; /* as kernels have them, where blocks differ */
};
/* Copies what the call reads to where kernels reach it; call then has those addresses, blocks too.
 * in_blocks and out_blocks have room for the blocks of the plan. */
int hk_gpu_stage_in(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_call *call,
		    struct hk_block *in_blocks, struct hk_block *out_blocks, bool capturing,
		    struct staging *st);
/* Does what the call wants done before its steps; call has the addresses that kernels use. */
int hk_gpu_stage_prepare(struct hk_gpu_exec *x, const struct hk_plan *plan, struct hk_call *call,
			 CUstream stream);
/* Has what the call wrote copied back by hk_gpu_stage_finish; call has the user's addresses. */
int hk_gpu_stage_out(struct hk_gpu_exec *x, const struct hk_plan *plan, const struct hk_call *call,
		     const struct staging *st);
/* Copies back, and waits for the last stream, if any call since the last time was staged. */
int hk_gpu_stage_finish(struct hk_gpu_exec *x);
/* Whether a call has a buffer that kernels can't reach. */
bool hk_gpu_stage_needed(const struct hk_gpu_exec *x, const struct hk_plan *plan,
			 const struct hk_call *call);
/* The same as in and out for two buffers of `bytes`. */
int hk_gpu_stage_plain(struct hk_gpu_exec *x, size_t bytes, bool capturing, uint64_t *in,
		       uint64_t *out);
/* The same for one that is only read. */
int hk_gpu_stage_input(struct hk_gpu_exec *x, size_t bytes, bool capturing, uint64_t *in);
void hk_gpu_stage_free(struct hk_gpu_exec *x);

/* --- gpu_direct.c --- */

/* Cuts slots on the GPU for a sending half, if there are to be any: then the record has them. */
void hk_gpu_direct_bind(struct hk_gpu_exec *x, const struct hk_send *s, struct hkd_send *record);
/* Sends a message that lies on the GPU. 1: it went; 0: not now; or a failure. */
int hk_gpu_direct_send(struct hk_gpu_exec *x, struct hk_send *s, uint64_t at, uint32_t bytes,
		       uint32_t mark);
/* again: whether nothing is read there any more. */
void hk_gpu_direct_free(struct hk_gpu_exec *x, bool again);

/* --- gpu_proxy.c --- */

/* Pinned memory of one half of a connection. */
size_t hk_gpu_proxy_bytes(uint32_t slots, uint32_t slot_bytes);
/* Puts a connection through pinned memory: fills its record. */
int hk_gpu_proxy_send(struct hk_gpu_exec *x, struct hk_send *s, struct hkd_send *record);
int hk_gpu_proxy_recv(struct hk_gpu_exec *x, struct hk_recv *r, struct hkd_recv *record);
/* Starts the thread that moves and watches; ends it. Before the process ends both the thread and
 * kernels are stopped, for what they use goes then. */
int hk_gpu_proxy_start(struct hk_gpu_exec *x);
void hk_gpu_proxy_stop(struct hk_gpu_exec *x);
/* Whether everything sent through proxies is in the peers' hands. */
bool hk_gpu_proxy_settled(struct hk_gpu_exec *x);

#endif
