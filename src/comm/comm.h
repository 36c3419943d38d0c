/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the communicator layer: what a communicator is, and the pieces that the public entry
 * points are made of. Public handles point into static tables (handle.c), never at heap memory, so
 * that a stale or foreign handle is recognised without being dereferenced.
 */
#ifndef HK_COMM_H
#define HK_COMM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "algos.h"
#include "bootstrap.h"
#include "error.h"
#include "exec.h"
#include "gpu_exec.h"
#include "hocket/hocket.h"
#include "layout.h"
#include "topo.h"
#include "tune.h"
#include "types.h"

#define HK_MAX_TRANSPORTS 8
#define HK_COLL_CHANNELS  32 /* of collectives: algorithms use up to twice config.channels */
#define HK_MAX_REDOPS	  64
#define HK_NBUCKETS	  65 /* sizes by power of two */

/* The configuration in force: defaults, then environment, then hocketConfig_t. */
struct hk_config {
	int64_t timeout_ns;
	int64_t init_timeout_ms;
	int64_t copy_bytes; /* blocks from so many bytes on may go by copy engines; 0: none */
	uint32_t channels;  /* 0: chosen by size */
	uint32_t slots_asked, slot_bytes_asked; /* 0: chosen ... */
	uint32_t slots, slot_bytes;		/* ... when all ranks are known */
	bool blocking;
	char algorithms[1024]; /* to be used wherever they fit; "": none */
	char transports[128];  /* allowed, in order of preference; "": all */
	const char *switches;  /* HOCKET_SWITCHES; NULL: unset */
	int device;	       /* -1: none */
	/* Not 0: a fabric (fabric.h) of so many ranks and, from there up, switches. It chooses
	 * nothing itself, so no topology and no files count. */
	int fabric_ranks;
};
int hk_config_resolve(const hocketConfig_t *user, struct hk_config *config);
/* Chooses the slots that were not asked for. near: no message leaves the host; gpus: some rank has
 * one. */
void hk_config_settle(struct hk_config *config, bool near, bool gpus);

/* A scalar of a pre-multiplied sum, as the kernels take it (kernels.h). */
union hk_scalar {
	uint8_t bytes[8];
	float f;
	uint64_t align;
};

/* Counts and displacements of one buffer of a v-variant, in elements, one of each per rank;
 * displacements may be NULL. Of the user: read before the call returns. */
struct hk_vector {
	const size_t *counts, *displs;
};

/* A call: what the user gave, and after hk_request_accept all that running it needs, so that what
 * is destroyed or changed between a stream-ordered call and its run does not matter. */
struct hk_request {
	enum hk_coll coll;
	const void *in;
	void *out;
	size_t count; /* of a v-variant: of the one block that this rank has of its own */
	hocketDataType_t type;
	hocketRedOp_t op;
	int root;	       /* of point-to-point: the peer */
	bool send;	       /* of point-to-point */
	hocketStream_t stream; /* of a communicator with a GPU: a CUDA stream */
	bool varied;
	struct hk_vector in_vector, out_vector;

	struct hk_tables *tables; /* of a v-variant */
	bool own_tables;	  /* to be freed with the request */
	struct hk_block single;	  /* of a send or receive */
	bool empty;		  /* nothing to do, on any rank */
	size_t block;		  /* bytes of count elements */
	bool inplace;
	enum hk_redop kernel_op;
	unsigned name; /* of the operation, for marks */
	bool scaled;   /* by scalar, or by what *device holds when the call starts */
	const void *device;
	union hk_scalar scalar;
	uint32_t divide;
};

struct hk_comm;
struct hk_given;
struct hk_fabric;

struct hk_comm_binder {
	struct hk_binder binder;
	struct hk_comm *comm;
};

/* The blocks of a v-variant's call, as the executor takes them. */
struct hk_tables {
	struct hk_block *in, *out;
	size_t *counts; /* by size id */
};

/* A plan that has been made, of an algorithm or of a given schedule. */
struct hk_made_plan {
	struct hk_choice choice;
	unsigned given; /* number of the given schedule plus one; 0: of choice */
	int root;
	bool inplace, varied;
	bool fabric; /* switches take part */
	struct hk_plan *plan;
};

/* Made plans by what calls ask for. Open addressing; key 0: free. */
struct hk_plan_entry {
	uint64_t key;
	struct hk_plan *plan;
	unsigned adapt; /* enum hk_adapt, see schedules.h */
	uint32_t made;	/* which one it is */
};

/* A plan for sends and receives, by its peers. */
struct hk_p2p_plan {
	uint64_t hash;
	uint32_t sends, receives;
	int *peers; /* of the sends, then of the receives */
	struct hk_plan *plan;
};

#define HK_MAX_P2P_PLANS 256
/* Point-to-point has a channel of its own, so that it does not disturb collectives. */
#define HK_P2P_CHANNEL	HK_COLL_CHANNELS
#define HK_MAX_CHANNELS (HK_COLL_CHANNELS + 2) /* between two ranks; the last: fabric.h */

struct hk_comm_watch {
	struct hk_watch watch;
	struct hk_comm *comm;
};

struct hk_premul {
	bool used;
	hocketDataType_t type;
	const void *device; /* read at each call, NULL if immediate */
	union hk_scalar value;
};

struct hk_region {
	struct hk_region *next;
	void *base;
	size_t bytes;
	bool attached; /* its block is known to the transports */
	struct hk_memory block;
};

struct hk_comm_guard {
	struct hk_gpu_guard guard;
	struct hk_comm *comm;
};

struct hk_comm {
	int rank, nranks;
	struct hk_config config;
	struct hk_gpu_exec *gpu; /* NULL: a host communicator */
	struct hk_comm_guard guard;
	int ngpu_ranks;	      /* ranks that have one */
	unsigned gpu_sharers; /* ranks that have the same, with this one */
	struct hk_boot *boot;

	/* transports: endpoints in order of preference, and per peer the one in use */
	struct hk_endpoint *endpoints[HK_MAX_TRANSPORTS];
	unsigned nendpoints;
	struct hk_addr *addrs;	/* [endpoint][rank] */
	uint8_t *via;		/* [rank]: index of the endpoint */
	struct hk_send **sends; /* [rank][channel], made when first used */
	struct hk_recv **recvs;
	/* the endpoints with connections; the fabric's too */
	struct hk_endpoint *waits[2 * HK_MAX_TRANSPORTS];
	struct hk_comm_binder binder;
	struct hk_comm_watch watch;

	/* plans: the algorithm of each size, and the plan of each algorithm out of and in place */
	struct hk_machine machine;
	size_t nt_bytes;
	struct hk_layout *layout; /* NULL: all alike */
	char **switch_addresses;  /* of the layout's switches, or NULL */
	struct hk_fabric *fabric; /* the switches' side (fabric.h); NULL: there are none */
	struct hk_choice choices[HK_NCOLLS][HK_NBUCKETS];
	struct hk_plan_entry *plans; /* shared between sizes and roots where they are the same */
	uint32_t nplans, max_plans;  /* max is a power of two */
	struct hk_made_plan *made;
	uint32_t nmade;
	struct hk_given *given; /* schedules.h */
	unsigned ngiven;
	void *staging; /* for calls in another form than a given schedule's */
	size_t staging_bytes;
	struct hk_p2p_plan p2p[HK_MAX_P2P_PLANS];
	uint32_t np2p;
	char nothing;		 /* what barriers carry */
	struct hk_tables tables; /* of a blocking call of a v-variant; made when first used */

	uint32_t sequence; /* collectives so far */
	struct hk_exec_stats stats;
	union hk_scalar mean[HK_NTYPES]; /* 1 / nranks, as the kernels take it */
	struct hk_premul premuls[HK_MAX_REDOPS];
	struct hk_region *regions;

	bool severed; /* its endpoints are; of the thread whose call it is */

	/* stream order: calls run in the order of their tickets */
	_Atomic uint64_t issued, finished;

	/* what talks over its bootstrap: splits and windows so far, and how many of them are
	 * through with it (make.c) */
	uint64_t turns, turns_done;

	struct hocketWindow *windows; /* window.c */
	struct hk_copy_room *copying; /* window.c; there once a window is */

	_Atomic int failed;   /* the first failure, a negative code */
	_Atomic bool aborted; /* by this process */
	_Atomic bool finalized;
	char error[512]; /* its sentence; written before `failed` */
};

/* --- handle.c --- */

struct hk_make;

struct hocketComm {
	_Atomic(struct hk_comm *) comm; /* once it is ready */
	_Atomic uint32_t users;		/* calls inside right now */
	_Atomic(struct hk_make *) make; /* its creation, also when that is over */
	_Atomic bool claimed;
};

/* A handle for a communicator that is being made, and then that communicator. */
int hk_handle_claim(struct hk_make *m, hocketComm_t *handle);
void hk_handle_publish(hocketComm_t handle, struct hk_comm *c);
/* The communicator behind a handle, and the caller becomes a user of it; NULL, with a sentence, if
 * the handle is none, or the communicator is not ready. hk_handle_why then has the code. */
struct hk_comm *hk_handle_enter(hocketComm_t handle);
void hk_handle_leave(hocketComm_t handle);
/* The same for the creation of the communicator, also when that is over. */
struct hk_make *hk_handle_enter_make(hocketComm_t handle);
/* Why the last enter or take of this thread got nothing: a negative code. */
int hk_handle_why(void);
/* Whoever ends a communicator: takes its creation out of the handle (NULL, with a sentence, if it
 * has none or another thread was first), ends that, takes the communicator, if there is one, waits
 * until nobody is inside any more, frees both, and gives the handle back. */
struct hk_make *hk_handle_take(hocketComm_t handle);
struct hk_comm *hk_handle_take_comm(hocketComm_t handle);
void hk_handle_drain(hocketComm_t handle);
void hk_handle_release(hocketComm_t handle);

/* --- make.c --- */

/* What all ranks do over a communicator's bootstrap while it is in use comes in turns, in the order
 * in which they were taken, which is the same on all ranks. Each turn has to end. */
uint64_t hk_comm_take_turn(struct hk_comm *c);
void hk_comm_await_turn(struct hk_comm *c, uint64_t turn);
void hk_comm_end_turn(struct hk_comm *c);

/* --- memory.c --- */

int hk_comm_register(struct hk_comm *c, void *buff, size_t size, void **handle);
int hk_comm_deregister(struct hk_comm *c, void *handle);
/* Around changes of what is registered, and of the list of windows. They nest. */
void hk_comm_lock_memory(struct hk_comm *c);
void hk_comm_unlock_memory(struct hk_comm *c);

/* --- window.c --- */

/* Queues the request as copies, if it can be and all ranks know that it can: 1. 0: it is to be run
 * in another way. */
int hk_comm_copy(struct hk_comm *c, const struct hk_request *req);
void hk_comm_free_windows(struct hk_comm *c);
void hk_comm_free_regions(struct hk_comm *c);

/* --- result.c --- */

hocketResult_t hk_result(int err);

/* --- comm.c --- */

/* A communicator without a bootstrap. */
int hk_comm_new(const struct hk_config *config, struct hk_comm **comm);
/* Joins with its bootstrap, and agrees with the others on all there is to agree on. */
int hk_comm_join(struct hk_comm *c);
/* After its last call: what it has sent is in its peers' hands when it returns, unless something
 * failed, or the deadline has passed. */
void hk_comm_settle(struct hk_comm *c);
/* Settles, and frees; NULL is fine. */
void hk_comm_destroy(struct hk_comm *c);
/* Marks c failed (once), with this thread's last sentence, and tells the peers. Returns err. */
int hk_comm_fail(struct hk_comm *c, int err);
/* The same by the thread that ran a call of c which has failed: once it returns, no peer writes to
 * the memory of that call or reads it. Of a switch's failure, none that was reached through the
 * fabric. */
int hk_comm_fail_call(struct hk_comm *c, int err);
/* 0, or the code of c's failure, with its sentence as this thread's last. */
int hk_comm_check(struct hk_comm *c);
size_t hk_comm_memory(const struct hk_comm *c);

/* --- places.c --- */

/* Where a rank runs, as it tells the others. */
struct hk_seat {
	int32_t package, numa; /* -1: several, or unknown */
	char host_name[64];
};
/* Of the topology that the user gave; 0 if none was given. */
int hk_comm_hash_topology(uint64_t *hash);
/* Makes c->layout. */
int hk_comm_place(struct hk_comm *c, const struct hk_seat *seats);

/* --- device.c: communicators with a GPU --- */

/* Opens the GPU that the configuration names, if any, and tells the others; all ranks call it. */
int hk_comm_open_gpu(struct hk_comm *c);
/* When everything is agreed. */
int hk_comm_start_gpu(struct hk_comm *c);
/* c->via becomes the same at both ends of each pair; all ranks call it. */
int hk_comm_agree_ways(struct hk_comm *c);
/* The algorithms that suit GPUs at this size, names with commas between; NULL: any. */
const char *hk_comm_gpu_algorithms(const struct hk_comm *c, size_t bytes);
/* Channels of a collective of this size, where nobody asked for a number; 0: as it comes. */
uint32_t hk_comm_gpu_channels(const struct hk_comm *c, size_t bytes);
size_t hk_comm_device_memory(const struct hk_comm *c);
/* As hk_gpu_exec_hold and let_go, where there is a GPU. */
void hk_comm_hold(struct hk_comm *c);
void hk_comm_let_go(struct hk_comm *c);
/* Queues an accepted request, or a plan and its call, on a CUDA stream. */
int hk_comm_launch(struct hk_comm *c, struct hk_request *req);
/* After the calls that were launched together. */
int hk_comm_finish(struct hk_comm *c);
/* Runs an accepted request to its end in this thread. */
int hk_comm_run_on_gpu(struct hk_comm *c, struct hk_request *req);
/* What comes next on one CUDA stream waits for what is on another now. */
int hk_comm_order_streams(struct hk_comm *c, hocketStream_t first, hocketStream_t then);
int hk_comm_launch_plan(struct hk_comm *c, struct hk_plan *plan, const struct hk_call *call,
			const void *scalar_at, hocketStream_t stream);

/* --- costs.c --- */

/* Fills c->machine from what every rank knows of its host and of its ways to the others: alike on
 * all ranks. */
int hk_comm_agree_costs(struct hk_comm *c, double ranks_per_core);

/* --- make.c --- */

/* What a communicator is to be made from: unique ids, or another communicator. */
struct hk_make_how {
	const uint8_t *ids; /* nids, one after the other */
	int nids, nranks, rank;
	bool split; /* instead: */
	hocketComm_t parent;
	int color, key;
	const hocketConfig_t *config; /* may be NULL */
};
/* Makes it, or starts making it (-EINPROGRESS), as the configuration says. A split without a color
 * gives NULL. */
int hk_make(const struct hk_make_how *how, hocketComm_t *comm);
/*
 * For several at once in one thread, as in a group: makes it in a thread of its own, whatever the
 * configuration says. The handle (NULL for a split without a color) serves hocketCommGetAsyncError,
 * abort and destroy at once, and the rest when the communicator is ready. Then either finish, or
 * let go of *make, if the user does not want to wait: the handle tells how it ended.
 */
int hk_make_start(const struct hk_make_how *how, struct hk_make **make, hocketComm_t *comm);
void hk_make_let_go(struct hk_make *m);
/* Waits for the end, and lets go. After a failure the handle is invalid. */
int hk_make_finish(struct hk_make *m);
/* 0: it is over, and was a success; -EINPROGRESS; or its failure, with the sentence. */
int hk_make_status(struct hk_make *m);
/* The code and the sentence for those who want a communicator that is not ready. */
int hk_make_refuse(struct hk_make *m);
/* Ends it soon, if it is not over. Then the handle gets no communicator any more. */
void hk_make_cancel(struct hk_make *m);
/* Whether the user wants to wait for it. */
bool hk_make_blocking(const struct hk_make *m);

/* --- plans.c --- */

/* What is chosen for blocks of `bytes`. varied: for the v-variant. */
int hk_comm_choose(struct hk_comm *c, enum hk_coll coll, bool varied, size_t bytes,
		   struct hk_choice *choice);

/* The plan for an accepted request, from the cache or made now. The call may be changed, for a
 * schedule that is right in another form. */
int hk_comm_plan(struct hk_comm *c, const struct hk_request *req, struct hk_call *call,
		 struct hk_plan **plan);
/* The plan that sends to to[0 .. sends) and receives from from[0 .. receives). */
int hk_comm_p2p_plan(struct hk_comm *c, uint32_t sends, const int *to, uint32_t receives,
		     const int *from, struct hk_plan **plan);
int hk_comm_bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn);
int hk_comm_bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn);
void hk_comm_free_plans(struct hk_comm *c);
/* Forgets the plans in which switches take part, and all choices. */
void hk_comm_forget_fabric(struct hk_comm *c);
size_t hk_comm_plans_memory(const struct hk_comm *c);

/* --- request.c --- */

/* Checks a request, and completes it. keep: it outlives the call that made it. */
int hk_request_accept(struct hk_comm *c, struct hk_request *req, bool keep);
void hk_request_free(struct hk_request *req);
void hk_tables_free(struct hk_tables *t);

/* --- call.c --- */

/* The plan and the call of an accepted request. *plan is NULL if it has been done already, or needs
 * nothing. */
int hk_comm_start(struct hk_comm *c, struct hk_request *req, struct hk_plan **plan,
		  struct hk_call *call);
/* Runs an accepted request to its end in this thread. */
int hk_comm_run(struct hk_comm *c, struct hk_request *req);

/* Sends and receives are not numbered: they pair up by their connection. */
static inline uint32_t hk_p2p_mark(void)
{
	return hk_mark_make(HK_POINT_TO_POINT, HK_UINT8, HK_SUM, 0, 0);
}

/* --- group.c --- */

/* Whether this thread is in a group. */
bool hk_group_open(void);
/* Adds a request to this thread's group; err: what is wrong with it, or 0. */
int hk_group_add(hocketComm_t handle, struct hk_comm *c, struct hk_request *req,
		 hocketStream_t stream);
/* Begins to make a communicator; the group's end waits for it. */
int hk_group_make(const struct hk_make_how *how, hocketComm_t *comm);
/* finish will be called at the open group's end, or that of the thread, whatever becomes of the
 * group; forget: not for the one added last, whose argument this is. */
int hk_group_await(int (*finish)(void *arg), void *arg);
void hk_group_forget(const void *arg);
/* A call in a group was refused: the group will not run. */
void hk_group_refuse(int err);

/* --- batch.c; the rest in batch.h --- */

/* Calls that run together: those of a group that have a communicator or a stream in common. */
struct hk_batch;
/* Of communicators with GPUs: queues its calls on their CUDA streams, and waits for those that end
 * before they return. Frees it. */
int hk_batch_launch(struct hk_batch *batch);
/* Waits for the tickets of its communicators, and runs it in this thread. Frees it. */
int hk_batch_run(struct hk_batch *batch);

/* --- redop.c --- */

/* Checks the request's operation, and fills in what the kernels do and what comes before and after.
 */
int hk_comm_resolve_op(struct hk_comm *c, struct hk_request *req);
/* Reads a scalar that lives in device memory, at the start of its call. */
void hk_comm_read_device_scalar(struct hk_request *req);
void hk_comm_init_means(struct hk_comm *c);

/* --- stream.c --- */

int hk_stream_enqueue(hocketStream_t stream, hocketComm_t handle, struct hk_comm *c,
		      const struct hk_request *req);
/* Queues a batch on all of its streams: the last of them to reach it runs it, the others wait. */
void hk_stream_enqueue_batch(hocketStream_t *streams, unsigned nstreams, struct hk_batch *batch);
/* Whether it is a host stream, also one that was destroyed. */
bool hk_stream_is_ours(hocketStream_t stream);
/* 0, or -EINVAL if it is no stream. */
int hk_stream_check(hocketStream_t stream);
/* Waits until all calls of c with earlier tickets have run. */
void hk_comm_await_ticket(struct hk_comm *c, uint64_t ticket);
/* Whether they have. */
static inline bool hk_comm_is_turn(struct hk_comm *c, uint64_t ticket)
{
	return atomic_load_explicit(&c->finished, memory_order_acquire) == ticket;
}
/* Waits until every queued call of c has run. */
void hk_comm_quiesce(struct hk_comm *c);
/* Whether there are queued calls of c that have not run. */
static inline bool hk_comm_is_busy(struct hk_comm *c)
{
	return atomic_load(&c->issued) != atomic_load_explicit(&c->finished, memory_order_acquire);
}

#endif
