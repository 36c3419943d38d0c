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
#include "hocket/hocket.h"
#include "topo.h"
#include "tune.h"
#include "types.h"

#define HK_MAX_TRANSPORTS 8
#define HK_MAX_ALGOS	  64
#define HK_MAX_CHANNELS	  32 /* between two ranks; algorithms may use more than config.channels */
#define HK_MAX_REDOPS	  64
#define HK_MAX_REGIONS	  1024
#define HK_NBUCKETS	  65 /* sizes by power of two */

/* The configuration in force: defaults, then environment, then hocketConfig_t. */
struct hk_config {
	int64_t timeout_ns;
	int64_t init_timeout_ms;
	uint32_t channels, slots, slot_bytes;
};
int hk_config_resolve(const hocketConfig_t *user, struct hk_config *config);

/* A scalar of a pre-multiplied sum, as the kernels take it (kernels.h). */
union hk_scalar {
	uint8_t bytes[8];
	float f;
	uint64_t align;
};

/* A call: what the user gave, and after hk_comm_accept all that running it needs, so that what is
 * destroyed or changed between a stream-ordered call and its run does not matter. */
struct hk_request {
	enum hk_coll coll;
	const void *in;
	void *out;
	size_t count;
	hocketDataType_t type;
	hocketRedOp_t op;

	size_t block; /* bytes of count elements */
	bool inplace;
	enum hk_redop kernel_op;
	unsigned name; /* of the operation, for marks */
	bool scaled;   /* by scalar, or by what *device holds when the call starts */
	const void *device;
	union hk_scalar scalar;
	uint32_t divide;
};

struct hk_comm;

struct hk_comm_binder {
	struct hk_binder binder;
	struct hk_comm *comm;
};

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
	void *base; /* NULL: unused */
	size_t bytes;
	bool attached; /* its block is known to the transports */
	struct hk_memory block;
};

struct hk_comm {
	int rank, nranks;
	struct hk_config config;
	struct hk_boot *boot;

	/* transports: endpoints in order of preference, and per peer the one in use */
	struct hk_endpoint *endpoints[HK_MAX_TRANSPORTS];
	unsigned nendpoints;
	struct hk_addr *addrs;	/* [endpoint][rank] */
	uint8_t *via;		/* [rank]: index of the endpoint */
	struct hk_send **sends; /* [rank][channel], made when first used */
	struct hk_recv **recvs;
	struct hk_endpoint *waits[HK_MAX_TRANSPORTS]; /* the endpoints with connections */
	struct hk_comm_binder binder;
	struct hk_comm_watch watch;

	/* plans: the algorithm of each size, and the plan of each algorithm out of and in place */
	struct hk_machine machine;
	size_t nt_bytes;
	const struct hk_algo *choice[HK_NCOLLS][HK_NBUCKETS];
	struct hk_plan *plans[HK_NCOLLS][HK_NBUCKETS][2]; /* as choice; shared between sizes */
	struct hk_plan *by_algo[HK_MAX_ALGOS][2];

	uint32_t sequence; /* collectives so far */
	struct hk_exec_stats stats;
	union hk_scalar mean[HK_NTYPES]; /* 1 / nranks, as the kernels take it */
	struct hk_premul premuls[HK_MAX_REDOPS];
	struct hk_region regions[HK_MAX_REGIONS];

	/* stream order: calls run in the order of their tickets */
	_Atomic uint64_t issued, finished;

	_Atomic int failed;   /* the first failure, a negative code */
	_Atomic bool aborted; /* by this process */
	bool finalized;
	char error[512]; /* its sentence; written before `failed` */
};

/* --- handle.c --- */

struct hocketComm {
	_Atomic(struct hk_comm *) comm;
	_Atomic uint32_t users; /* calls inside right now */
};

int hk_handle_new(struct hk_comm *c, hocketComm_t *handle);
/* The communicator behind a handle, and the caller becomes a user of it; NULL, with a sentence, if
 * the handle is none. */
struct hk_comm *hk_handle_enter(hocketComm_t handle);
void hk_handle_leave(hocketComm_t handle);
/* Takes the communicator out of its handle; NULL if it has none or another thread was first. */
struct hk_comm *hk_handle_take(hocketComm_t handle);
/* Waits until nobody is inside any more. */
void hk_handle_drain(hocketComm_t handle);

/* --- result.c --- */

hocketResult_t hk_result(int err);

/* --- comm.c --- */

int hk_comm_create(const uint8_t id[HK_ID_BYTES], int nranks, int rank,
		   const hocketConfig_t *config, struct hk_comm **comm);
void hk_comm_destroy(struct hk_comm *c);
/* Marks c failed (once), with this thread's last sentence, and tells the peers. Returns err. */
int hk_comm_fail(struct hk_comm *c, int err);
/* 0, or the code of c's failure, with its sentence as this thread's last. */
int hk_comm_check(struct hk_comm *c);
size_t hk_comm_memory(const struct hk_comm *c);

/* --- plans.c --- */

/* The plan for blocks of `bytes`, from the cache or made now. */
int hk_comm_plan(struct hk_comm *c, enum hk_coll coll, size_t bytes, bool inplace,
		 struct hk_plan **plan);
int hk_comm_bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn);
int hk_comm_bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn);
void hk_comm_free_plans(struct hk_comm *c);

/* --- collective.c --- */

/* Runs an accepted request to its end in this thread. */
int hk_comm_run(struct hk_comm *c, struct hk_request *req);

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
/* Waits until every queued call of c has run. */
void hk_comm_quiesce(struct hk_comm *c);

#endif
