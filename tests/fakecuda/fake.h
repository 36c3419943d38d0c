/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the stand-in for the CUDA driver. All of its state is under one lock, fake.lock.
 *
 * Whatever a stream does is an operation (struct fake_op, engine.c) with a count of operations that
 * must be over before it starts: the one queued before it on its stream, that of an event, those of
 * the legacy stream. Streams, events and graphs are nothing but ways to say who waits for whom, and
 * whatever may run at the same time does, on threads of a pool that has as many as are busy.
 */
#ifndef HK_FAKE_H
#define HK_FAKE_H

/* The library is built with hidden symbols, except those of the driver. */
#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include "fakecuda.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	FAKE_DEVICES = 16,	   /* at most */
	FAKE_BLOCKS_PER_SM = 4,	   /* that are resident at the same time */
	FAKE_GRANULARITY = 2 << 20 /* of memory that cuMemCreate makes */
};

static const size_t fake_total_memory = (size_t)4 << 30;

/* --- the pool of threads (pool.c); all under the lock --- */

struct fake_task {
	void (*run)(struct fake_task *task); /* called without the lock */
	struct fake_task *next;
};

/* Runs the task at once, whatever else is running. */
void fake_pool_submit(struct fake_task *task);
void fake_pool_stop(void); /* releases the lock while it waits for the threads */

/* --- operations (engine.c) --- */

enum fake_kind { FAKE_COPY, FAKE_SET, FAKE_HOST, FAKE_MEMOPS, FAKE_KERNEL };

/* What an operation does: shared by the operations of all launches of a graph. */
struct fake_work {
	unsigned refs;
	enum fake_kind kind;
	CUcontext ctx; /* of the stream to which it was given */
	void *to;
	const void *from;
	size_t bytes;
	unsigned char value;
	CUhostFn call;
	void *data;
	const struct hkd_host_kernel *kernel;
	unsigned nblocks, nthreads,
		dynamic_shared;		    /* of a kernel; nblocks: memory operations too */
	_Alignas(16) unsigned char param[]; /* of the kernel; the memory operations */
};

struct fake_op {
	struct fake_task task;
	unsigned refs;
	CUcontext ctx;
	struct fake_work *work; /* NULL: a mark */
	CUstream stream;	/* only to be compared: it may be gone */
	bool blocking;		/* the legacy stream waits for it */
	bool done;
	uint64_t seq, when; /* place in the queue of its context; time of its end, ns */
	unsigned waits;	    /* for so many operations */
	struct fake_op **after;
	unsigned nafter, room;
	struct fake_op *prev, *next; /* unfinished ones of the context */
	struct fake_op *link;	     /* of those that may start, then of the launches */
	unsigned started, left;	     /* blocks of a kernel */
};

struct fake_work *fake_work_new(enum fake_kind kind, size_t param_bytes);
void fake_work_drop(struct fake_work *work);
/* The rest is under the lock. A new operation is the caller's until fake_op_queue. */
struct fake_op *fake_op_new(CUcontext ctx, struct fake_work *work, bool blocking);
void fake_op_after(struct fake_op *op, struct fake_op *before);
void fake_op_queue(struct fake_op *op);
void fake_op_complete(struct fake_op *op);
struct fake_op *fake_op_hold(struct fake_op *op);
void fake_op_drop(struct fake_op *op);
void fake_op_wait(struct fake_op *op);
void fake_ctx_wait(CUcontext ctx); /* for what has been queued so far */

/* --- devices and contexts (device.c) --- */

struct CUctx_st {
	int device;
	unsigned retained;
	uint64_t peers; /* enabled: a bit for each device */
	size_t used;	/* device memory */
	uint64_t seq;
	struct fake_op *first, *last; /* unfinished, as queued */
	unsigned resident;	      /* blocks that run */
	struct fake_op *launch_first, *launch_last;
	struct CUstream_st *legacy, *streams;
	struct CUmod_st *modules;
};

#define FAKE_REFUSES 2 /* an allocation that would wait for kernels fails */

struct fake_driver {
	pthread_mutex_t lock;
	pthread_cond_t done; /* an operation is over */
	unsigned waiters;
	pid_t pid; /* that called cuInit; another one is its child and has no driver */
	bool ready, over;
	int ndevices, nsms, nthreads, host, queue;
	bool no_ipc, no_peers, no_vmm;
	int alloc_waits; /* 0, 1 or FAKE_REFUSES */
	struct fake_capture *captures;
	struct CUctx_st ctx[FAKE_DEVICES];
};

extern struct fake_driver fake;

/* Set while a function of cuLaunchHostFunc runs: it may not call the driver. */
extern _Thread_local bool fake_in_callback;

/* --- what each function of the driver does first (enter.c) --- */

enum {
	FAKE_ANY = 0,	  /* before cuInit too */
	FAKE_INIT = 1,	  /* after cuInit */
	FAKE_CONTEXT = 2, /* with a current context */
	FAKE_UNSAFE = 4	  /* not during a capture, unless the thread says so */
};

/* 0, or what the function returns at once. */
CUresult fake_enter(const char *function, unsigned needs, CUcontext *current);
CUcontext fake_current(void);

/* --- memory (memory.c) --- */

enum fake_place { FAKE_PAGEABLE, FAKE_PINNED, FAKE_DEVICE };

struct fake_range {
	struct fake_range *next;
	uintptr_t at;
	size_t bytes;
	enum { RANGE_DEVICE, RANGE_IPC, RANGE_MAPPED, RANGE_HOST, RANGE_REGISTERED } kind;
	bool pooled;   /* by the stream-ordered allocator: nobody else can open it */
	CUcontext ctx; /* NULL: of none (RANGE_MAPPED) */
	int device;    /* where the memory is */
	uint64_t id;
	int sync_memops;
	bool hidden; /* its pages fault */
	void *map;   /* with its guard pages */
	size_t map_bytes;
	/* what another process opens, or this one has opened */
	int fd;
	size_t file_bytes, offset;
	uint64_t secret;
	uintptr_t from; /* its address in its owner, process */
	pid_t owner;
	unsigned opened;
	/* what cuMemMap mapped: the devices with access, a bit for each */
	struct fake_physical *physical;
	uint64_t readers, writers;
};

/* A memory of file_bytes between two pages that fault; the range's map and map_bytes are set. */
int fake_map(struct fake_range *r, int fd, size_t file_bytes);
void fake_unmap(struct fake_range *r);
/* Under the lock. */
struct fake_range *fake_range_find(uintptr_t at);
struct fake_range *fake_range_opened(uint64_t secret);
/* Whether memory is open that its owner has, or had, at these addresses. */
bool fake_range_overlaid(pid_t owner, uintptr_t at, size_t bytes);
struct fake_range *fake_range_next(const struct fake_range *r); /* NULL: the first */
void fake_range_add(struct fake_range *r);
void fake_range_remove(struct fake_range *r);
/* Where bytes are, 0, or an error where they are in a known range and leave it, or where the
 * context has no access to them. */
CUresult fake_memory_place(CUcontext ctx, uintptr_t at, size_t bytes, bool write,
			   enum fake_place *place);
bool fake_memory_hide(void);	      /* whole pages of pinned memory; whether there is any */
void fake_memory_drop(CUcontext ctx); /* all device memory of a context; NULL: everything */

/* --- virtual memory management (vmm.c, vmm_map.c); all but enter under the lock --- */

struct fake_physical {
	struct fake_physical *next;
	CUmemGenericAllocationHandle handle;
	unsigned handles, mappings;
	int fd;
	size_t bytes;
	bool own; /* counts as used memory of its device: not imported */
	CUmemAllocationProp prop;
};

CUresult fake_vmm_enter(const char *function, unsigned needs);
struct fake_physical *fake_physical_find(CUmemGenericAllocationHandle handle);
void fake_physical_settle(struct fake_physical *p);
void fake_physicals_drop(void);
/* Whether an address is in a reservation, whose place the outputs are then, if asked for. */
bool fake_reserved(uintptr_t at, uintptr_t *start, size_t *bytes);
bool fake_mappings_allow(int device, uintptr_t at, size_t bytes, bool write);
void fake_mapping_release(struct fake_range *r);
void fake_reservations_drop(void);

/* --- streams, events (stream.c, event.c) --- */

struct CUstream_st {
	struct CUstream_st *next;
	CUcontext ctx;
	uint64_t id;
	bool blocking, legacy;
	struct fake_op *tail;	      /* queued last */
	struct fake_capture *capture; /* in which it takes part */
	unsigned *frontier;	      /* nodes after which its next one comes */
	unsigned nfrontier;
};

struct CUevent_st {
	CUcontext ctx;
	unsigned flags;
	struct fake_op *op;	      /* of the last record */
	struct fake_capture *capture; /* or where it was recorded instead */
	unsigned *frontier;
	unsigned nfrontier;
};

/* NULL for a handle that is refused. */
CUstream fake_stream_of(CUstream handle, CUcontext current);
/* Queues or captures work, of which it takes the caller's reference. *op, if asked: held, NULL when
 * captured. */
CUresult fake_stream_add(CUstream stream, struct fake_work *work, struct fake_op **op);
/* Under the lock: an operation at the end of a stream, not yet queued. */
struct fake_op *fake_stream_op(CUstream stream, struct fake_work *work);
void fake_stream_queue(CUstream stream, struct fake_op *op);
void fake_streams_drop(CUcontext ctx);

/* --- captures and graphs (capture.c, graph.c) --- */

struct fake_node {
	struct fake_work *work;
	unsigned *before; /* earlier nodes */
	unsigned nbefore;
};

struct CUgraph_st {
	unsigned refs;
	struct fake_node *nodes;
	unsigned nnodes, room;
};

struct fake_capture {
	struct fake_capture *next;
	unsigned refs;
	uint64_t id;
	CUstreamCaptureMode mode;
	const void *thread; /* that began it */
	CUstream origin;
	CUgraph graph;
	bool invalid, ended;
};

CUgraph fake_graph_new(void);
void fake_graph_drop(CUgraph graph);
unsigned fake_graph_add(CUgraph graph, struct fake_work *work, const unsigned *before, unsigned n);
/* Whether all of the nodes are among these or come before one of them. */
bool fake_graph_covers(CUgraph graph, const unsigned *last, unsigned nlast, const unsigned *nodes,
		       unsigned n);
/* All under the lock. */
CUresult fake_capture_refuses(CUcontext ctx);  /* an unsafe call of this thread */
CUresult fake_capture_legacy(CUcontext ctx);   /* a use of the legacy stream */
CUresult fake_capture_stream(CUstream stream); /* a use that cannot be captured */
CUresult fake_capture_add(CUstream stream, struct fake_work *work);
CUresult fake_capture_record(CUstream stream, CUevent event);
CUresult fake_capture_wait(CUstream stream, CUevent event);
void fake_capture_drop(struct fake_capture *capture);
void fake_event_forget(CUevent event);
void fake_stream_forget(CUstream stream);

/* --- memory operations (memop.c), without the lock --- */

void fake_memops_run(const struct fake_work *work);

/* --- kernels (launch.c), under the lock --- */

void fake_launch_ready(struct fake_op *op);
void fake_modules_drop(CUcontext ctx);

/* malloc and its kin, which do not fail. */
void *fake_alloc(size_t bytes);
void *fake_realloc(void *p, size_t bytes);

#endif
