/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hocket: collective communication with NCCL's shapes. A port is a search and replace of the
 * prefix.
 *
 * Thread safety: different communicators may be used by different threads at the same time; calls
 * on one communicator must come from one thread at a time, except hocketCommAbort and
 * hocketCommGetAsyncError, which any thread may call at any time. All ranks must call the
 * collectives of a communicator in the same order with the same count, type and operation; a
 * mismatch is detected and reported as hocketInvalidUsage, on a best-effort basis, by the ranks
 * that see it.
 *
 * Every function returns hocketSuccess or says why not: hocketGetLastError() has the sentence.
 */
#ifndef HOCKET_H
#define HOCKET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOCKET_MAJOR 0
#define HOCKET_MINOR 1
#define HOCKET_PATCH 0
/* major * 10000 + minor * 100 + patch */
#define HOCKET_VERSION_CODE (HOCKET_MAJOR * 10000 + HOCKET_MINOR * 100 + HOCKET_PATCH)

#if defined(__GNUC__)
#define HOCKET_API __attribute__((visibility("default")))
#else
#define HOCKET_API
#endif

/* A communicator: one rank's membership in a group of ranks. */
typedef struct hocketComm *hocketComm_t;
/* A host stream: an ordered queue of calls, run by a thread of its own. On a communicator with a
 * GPU instead a cudaStream_t (or CUstream), cast to this. */
typedef struct hocketStream *hocketStream_t;

#define HOCKET_UNIQUE_ID_BYTES 128
typedef struct {
	char internal[HOCKET_UNIQUE_ID_BYTES];
} hocketUniqueId;

typedef enum {
	hocketSuccess = 0,
	hocketUnhandledCudaError = 1, /* the CUDA driver refused something, or is not there */
	hocketSystemError = 2,	      /* the operating system refused something */
	hocketInternalError = 3,      /* a bug in Hocket; please report it */
	hocketInvalidArgument = 4,    /* a bad pointer, number or handle */
	hocketInvalidUsage = 5,	      /* a call at a wrong time, or ranks whose calls don't match */
	hocketRemoteError = 6,	      /* a peer died, aborted or did not come in time */
	hocketInProgress = 7,	      /* not finished yet */
	hocketNumResults = 8
} hocketResult_t;

/* float8 types follow OFP8: e4m3 has no infinities and a largest value of 448, e5m2 is IEEE-like.
 */
typedef enum {
	hocketInt8 = 0,
	hocketChar = 0,
	hocketUint8 = 1,
	hocketInt32 = 2,
	hocketInt = 2,
	hocketUint32 = 3,
	hocketInt64 = 4,
	hocketUint64 = 5,
	hocketFloat16 = 6,
	hocketHalf = 6,
	hocketFloat32 = 7,
	hocketFloat = 7,
	hocketFloat64 = 8,
	hocketDouble = 8,
	hocketBfloat16 = 9,
	hocketFloat8e4m3 = 10,
	hocketFloat8e5m2 = 11,
	hocketNumTypes = 12
} hocketDataType_t;

/*
 * Reductions. hocketAvg: floating-point inputs are multiplied by 1/nranks before they are summed;
 * integer sums are divided by nranks, towards zero. Values from hocketRedOpCreatePreMulSum are
 * valid for the communicator that made them. max and min prefer a number to a NaN.
 */
typedef enum {
	hocketSum = 0,
	hocketProd = 1,
	hocketMax = 2,
	hocketMin = 3,
	hocketAvg = 4,
	hocketNumOps = 5,
	hocketMaxRedOp = 0x7fffffff
} hocketRedOp_t;

/* Where a scalar lives, for hocketRedOpCreatePreMulSum. */
typedef enum {
	hocketScalarDevice = 0,	      /* read when a collective that uses it starts */
	hocketScalarHostImmediate = 1 /* read before the creating call returns */
} hocketScalarResidence_t;

/*
 * Configuration of a communicator. Initialise with HOCKET_CONFIG_INITIALIZER, then set fields; a
 * field left at HOCKET_CONFIG_UNDEF_INT takes its default or its environment variable. size and
 * version come first so that programs built against an older header keep working.
 */
#define HOCKET_CONFIG_UNDEF_INT INT32_MIN
typedef struct {
	size_t size;	      /* sizeof(hocketConfig_t) */
	unsigned int magic;   /* HOCKET_CONFIG_MAGIC */
	unsigned int version; /* HOCKET_VERSION_CODE of the caller */
	int blocking;	   /* 1 (default); 0: creation and finalization go on in the background */
	int timeoutMs;	   /* deadline of a wait inside a collective, in ms; HOCKET_TIMEOUT_MS */
	int initTimeoutMs; /* deadline of init, in ms; HOCKET_INIT_TIMEOUT_MS */
	int channels;	   /* channels per collective, 0: chosen; HOCKET_CHANNELS */
	int slots;	   /* slots per connection, 2 to 16, 0: chosen; HOCKET_SLOTS */
	int slotBytes;	   /* bytes per slot, a multiple of 4096, 0: chosen; HOCKET_SLOT_BYTES */
	/* Algorithms to use wherever they fit, comma-separated; NULL: HOCKET_ALGO. Read when the
	 * communicator is made; equal on all ranks. */
	const char *algorithms;
	/* Transports allowed, comma-separated, in order of preference; NULL: HOCKET_TRANSPORTS.
	 * Read when the communicator is made; equal on all ranks. */
	const char *transports;
	/* The rank's GPU: its number, as the CUDA driver counts; HOCKET_DEVICE_CURRENT, that of the
	 * calling thread's CUDA context, 0 if it has none, and none where there is no GPU; or
	 * HOCKET_DEVICE_NONE, a host communicator, which is the default (HOCKET_DEVICE). Ranks may
	 * differ in it. */
	int device;
	/* The deadline where neither timeoutMs nor HOCKET_TIMEOUT_MS says one, in ms; 0: the usual
	 * default. For libraries on top of this one, whose users still have the variable. */
	int usualTimeoutMs;
	int copyBytes; /* HOCKET_COPY_BYTES: see hocketCommWindowRegister; 0: never */
} hocketConfig_t;
#define HOCKET_DEVICE_NONE    (-1)
#define HOCKET_DEVICE_CURRENT (-2)
#define HOCKET_CONFIG_MAGIC   0x686f636bu
#define HOCKET_CONFIG_INITIALIZER                                                                  \
	{                                                                                          \
		sizeof(hocketConfig_t), HOCKET_CONFIG_MAGIC, HOCKET_VERSION_CODE,                  \
			HOCKET_CONFIG_UNDEF_INT, HOCKET_CONFIG_UNDEF_INT, HOCKET_CONFIG_UNDEF_INT, \
			HOCKET_CONFIG_UNDEF_INT, HOCKET_CONFIG_UNDEF_INT, HOCKET_CONFIG_UNDEF_INT, \
			NULL, NULL, HOCKET_CONFIG_UNDEF_INT, HOCKET_CONFIG_UNDEF_INT,              \
			HOCKET_CONFIG_UNDEF_INT                                                    \
	}

/* --- library --- */

/* Version of the library that runs, as HOCKET_VERSION_CODE. */
HOCKET_API hocketResult_t hocketGetVersion(int *version);
/* A constant sentence for a result code, also for codes out of range; never NULL. */
HOCKET_API const char *hocketGetErrorString(hocketResult_t result);
/* The sentence, with cause and remedy, of the last failure: comm's asynchronous failure if comm has
 * one, else this thread's last failure in any call, else "". comm may be NULL. Never NULL; valid
 * until the next failing call of this thread, or comm's destruction. */
HOCKET_API const char *hocketGetLastError(hocketComm_t comm);

/* --- communicators --- */

/* Makes an id for a new group and starts its bootstrap root in this process. An id serves one
 * group, once. One rank calls it and hands the 128 bytes to the others (MPI, a file, an environment
 * variable). It holds a secret. */
HOCKET_API hocketResult_t hocketGetUniqueId(hocketUniqueId *uniqueId);
/*
 * Joins the group as `rank` of `nranks`; returns when all ranks have joined, or with
 * hocketRemoteError and the missing ranks' numbers when the init deadline passes. Two processes
 * with the same rank, or ranks with another nranks, are hocketInvalidUsage at once for all.
 *
 * This and the other functions that make communicators return hocketInProgress at once if
 * config->blocking is 0: *comm is then valid, and its creation goes on in the background.
 * hocketCommGetAsyncError says hocketInProgress until it is over, then hocketSuccess or the
 * failure. Until then, and after a failure, comm is good for that, for hocketCommAbort and for
 * hocketCommDestroy, which both end its creation; other calls return hocketInvalidUsage, or the
 * failure.
 */
HOCKET_API hocketResult_t hocketCommInitRank(hocketComm_t *comm, int nranks, hocketUniqueId commId,
					     int rank);
/* The same with a configuration; config may be NULL. */
HOCKET_API hocketResult_t hocketCommInitRankConfig(hocketComm_t *comm, int nranks,
						   hocketUniqueId commId, int rank,
						   hocketConfig_t *config);
/* The same with nId (1 to nranks) ids, each from a hocketGetUniqueId of its own, best called in as
 * many processes: their roots share the work of introducing the ranks to each other. All ranks pass
 * all ids, in the same order. Id i serves the ranks from i * q + min(i, m) on, q of them, and one
 * more if i < m, where q = nranks / nId and m = nranks % nId. */
HOCKET_API hocketResult_t hocketCommInitRankScalable(hocketComm_t *newcomm, int nranks, int myrank,
						     int nId, hocketUniqueId *commIds,
						     hocketConfig_t *config);
/*
 * Makes smaller groups out of comm's: all of its ranks call it, in the same order as other splits
 * of comm. Ranks with the same color (0 or more) are a new group, numbered in the order of their
 * keys, and of their ranks in comm where keys are equal. With HOCKET_SPLIT_NOCOLOR a rank is in no
 * new group, and *newcomm becomes NULL. config NULL: that of comm. comm stays as usable as it was,
 * and the new communicators live on when it ends. If a rank does not call before the init deadline,
 * comm fails. Destroying comm after a non-blocking split waits until all ranks have called.
 */
#define HOCKET_SPLIT_NOCOLOR (-1)
HOCKET_API hocketResult_t hocketCommSplit(hocketComm_t comm, int color, int key,
					  hocketComm_t *newcomm, hocketConfig_t *config);
/* Makes a group of ndev ranks inside this process, comms[i] being rank i. devlist is NULL for host
 * communicators, or has each rank's GPU; a GPU may be there several times. Give each rank its own
 * thread or stream: a blocking collective on one rank waits for the others. */
HOCKET_API hocketResult_t hocketCommInitAll(hocketComm_t *comms, int ndev, const int *devlist);
/* Waits for the stream-ordered calls of comm; a non-blocking comm returns hocketInProgress, and
 * hocketCommGetAsyncError says so until they are done. After it, only destroy, abort and the
 * queries are valid. */
HOCKET_API hocketResult_t hocketCommFinalize(hocketComm_t comm);
/* Finalizes if that has not been done, and frees. comm is invalid afterwards. Both wait until what
 * was sent is in the receivers' hands, or a receiver has ended its communicator, or something has
 * failed, or the deadline has passed. */
HOCKET_API hocketResult_t hocketCommDestroy(hocketComm_t comm);
/* Ends all calls in flight on comm, here and (as hocketRemoteError) on its peers, and frees it. */
HOCKET_API hocketResult_t hocketCommAbort(hocketComm_t comm);
/* hocketSuccess, hocketInProgress, or the failure that made comm unusable. */
HOCKET_API hocketResult_t hocketCommGetAsyncError(hocketComm_t comm, hocketResult_t *asyncError);
HOCKET_API hocketResult_t hocketCommCount(const hocketComm_t comm, int *count);
/* The number of the rank's GPU, HOCKET_DEVICE_NONE of a host communicator. */
HOCKET_API hocketResult_t hocketCommDevice(const hocketComm_t comm, int *device);
HOCKET_API hocketResult_t hocketCommUserRank(const hocketComm_t comm, int *rank);
/* Bytes that comm occupies in this process now: heap and the touched pages of its connections.
 * Waits for comm's queued calls. */
HOCKET_API hocketResult_t hocketCommMemory(const hocketComm_t comm, size_t *bytes);
/* The same of the rank's GPU: bytes of its memory that comm uses; 0 of a host communicator. */
HOCKET_API hocketResult_t hocketCommDeviceMemory(const hocketComm_t comm, size_t *bytes);
/* What comm runs, or would run, for a collective of this size: the algorithm's name, as `hocket
 * schedule` lists it, and how many channels it uses. collective: "all_reduce", "reduce_scatter",
 * "all_gather" ... bytes: the call's count times the size of an element. *algorithm stays valid; it
 * is "none" in a group of one rank. channels may be NULL. The same on all ranks; waits for comm's
 * queued calls, but not for other ranks. hocketInvalidArgument if there is no such collective. */
HOCKET_API hocketResult_t hocketCommGetAlgorithm(const hocketComm_t comm, const char *collective,
						 size_t bytes, const char **algorithm,
						 int *channels);
/* The algorithms that this library has: number `index`, from 0 on, and its collective, named as
 * above. Both stay valid. hocketInvalidArgument past the last. */
HOCKET_API hocketResult_t hocketListAlgorithm(int index, const char **algorithm,
					      const char **collective);

/* --- reductions with a scalar --- */

/* op multiplies every rank's input by its own scalar (of type `datatype`), then sums. */
HOCKET_API hocketResult_t hocketRedOpCreatePreMulSum(hocketRedOp_t *op, void *scalar,
						     hocketDataType_t datatype,
						     hocketScalarResidence_t residence,
						     hocketComm_t comm);
HOCKET_API hocketResult_t hocketRedOpDestroy(hocketRedOp_t op, hocketComm_t comm);

/*
 * --- collectives ---
 * stream NULL: the call returns when the result is there. Otherwise it returns at once and the
 * stream runs it in order; the buffers then belong to the library until the stream has passed the
 * call. On a communicator with a GPU stream is a CUDA stream, NULL the default one, and a call
 * always returns at once; buffers may be anywhere: on the GPU, or in host memory, which is copied
 * to it and back. Ranks in one process need streams that can run side by side (docs/gpu.md). count
 * 0 is valid and does nothing, and must then be 0 on all ranks. The result has the same bits on
 * every rank and in every run. After hocketRemoteError comm is of no more use, but for one case: a
 * switch that took part died (docs/switch.md); hocketCommGetAsyncError then says hocketSuccess.
 */

/* In a rooted operation buffers that only the root has are not looked at elsewhere, and may be NULL
 * there. */

/* recvbuff[i] = reduction over ranks of sendbuff[i], count elements each. In place: the same
 * pointer. */
HOCKET_API hocketResult_t hocketAllReduce(const void *sendbuff, void *recvbuff, size_t count,
					  hocketDataType_t datatype, hocketRedOp_t op,
					  hocketComm_t comm, hocketStream_t stream);
/* Rank r's recvbuff (recvcount elements) = reduction of elements [r * recvcount, (r + 1) *
 * recvcount) of all sendbuffs (nranks * recvcount). In place: recvbuff == sendbuff + rank *
 * recvcount. */
HOCKET_API hocketResult_t hocketReduceScatter(const void *sendbuff, void *recvbuff,
					      size_t recvcount, hocketDataType_t datatype,
					      hocketRedOp_t op, hocketComm_t comm,
					      hocketStream_t stream);
/* recvbuff (nranks * sendcount elements) = the ranks' sendbuffs (sendcount each) in rank order.
 * In place: sendbuff == recvbuff + rank * sendcount. */
HOCKET_API hocketResult_t hocketAllGather(const void *sendbuff, void *recvbuff, size_t sendcount,
					  hocketDataType_t datatype, hocketComm_t comm,
					  hocketStream_t stream);

/* Every rank's recvbuff = the root's sendbuff, count elements each. In place: the same pointer. */
HOCKET_API hocketResult_t hocketBroadcast(const void *sendbuff, void *recvbuff, size_t count,
					  hocketDataType_t datatype, int root, hocketComm_t comm,
					  hocketStream_t stream);
/* The same with one buffer, in place on the root. */
HOCKET_API hocketResult_t hocketBcast(void *buff, size_t count, hocketDataType_t datatype, int root,
				      hocketComm_t comm, hocketStream_t stream);
/* The root's recvbuff[i] = reduction over ranks of sendbuff[i]. In place: the same pointer. */
HOCKET_API hocketResult_t hocketReduce(const void *sendbuff, void *recvbuff, size_t count,
				       hocketDataType_t datatype, hocketRedOp_t op, int root,
				       hocketComm_t comm, hocketStream_t stream);
/* Block j of rank i's recvbuff = block i of rank j's sendbuff; nranks blocks of count elements
 * each. Not in place. */
HOCKET_API hocketResult_t hocketAlltoAll(const void *sendbuff, void *recvbuff, size_t count,
					 hocketDataType_t datatype, hocketComm_t comm,
					 hocketStream_t stream);
/* The root's recvbuff (nranks * count elements) = the ranks' sendbuffs (count each) in rank order.
 * In place: the root's sendbuff == recvbuff + root * count. */
HOCKET_API hocketResult_t hocketGather(const void *sendbuff, void *recvbuff, size_t count,
				       hocketDataType_t datatype, int root, hocketComm_t comm,
				       hocketStream_t stream);
/* Rank r's recvbuff (count elements) = block r of the root's sendbuff (nranks * count). In place:
 * the root's recvbuff == sendbuff + root * count. */
HOCKET_API hocketResult_t hocketScatter(const void *sendbuff, void *recvbuff, size_t count,
					hocketDataType_t datatype, int root, hocketComm_t comm,
					hocketStream_t stream);
/* Returns (or lets the stream go on) when every rank has called it. */
HOCKET_API hocketResult_t hocketBarrier(hocketComm_t comm, hocketStream_t stream);

/*
 * --- collectives whose blocks differ in size ---
 * Counts and displacements are in elements, one of each per rank; block r starts at displacement r.
 * A NULL for displacements means that the blocks lie one behind the other in rank order. The arrays
 * are read before the call returns. Blocks of 0 elements are fine.
 */

/* Block r of every recvbuff = rank r's sendbuff (sendcount elements). recvcounts must be equal on
 * all ranks, and recvcounts[rank] == sendcount. In place: sendbuff ==
 * recvbuff + displs[rank]. */
HOCKET_API hocketResult_t hocketAllGatherV(const void *sendbuff, size_t sendcount, void *recvbuff,
					   const size_t *recvcounts, const size_t *displs,
					   hocketDataType_t datatype, hocketComm_t comm,
					   hocketStream_t stream);
/* Rank r's recvbuff (recvcounts[r] elements) = reduction of block r of all sendbuffs. recvcounts
 * must be equal on all ranks. In place: recvbuff == sendbuff + displs[rank]. */
HOCKET_API hocketResult_t hocketReduceScatterV(const void *sendbuff, const size_t *recvcounts,
					       const size_t *displs, void *recvbuff,
					       hocketDataType_t datatype, hocketRedOp_t op,
					       hocketComm_t comm, hocketStream_t stream);
/* Block j of rank i's recvbuff (recvcounts[j] elements) = block i of rank j's sendbuff, whose
 * sendcounts[i] must be the same number. Not in place. */
HOCKET_API hocketResult_t hocketAlltoAllV(const void *sendbuff, const size_t *sendcounts,
					  const size_t *sdispls, void *recvbuff,
					  const size_t *recvcounts, const size_t *rdispls,
					  hocketDataType_t datatype, hocketComm_t comm,
					  hocketStream_t stream);
/* Block r of the root's recvbuff (recvcounts[r] elements) = rank r's sendbuff (sendcount). In
 * place: the root's sendbuff == recvbuff + displs[root]. recvcounts and displs matter on the root
 * only. */
HOCKET_API hocketResult_t hocketGatherV(const void *sendbuff, size_t sendcount, void *recvbuff,
					const size_t *recvcounts, const size_t *displs,
					hocketDataType_t datatype, int root, hocketComm_t comm,
					hocketStream_t stream);
/* Rank r's recvbuff (recvcount elements) = block r of the root's sendbuff (sendcounts[r]). In
 * place: the root's recvbuff == sendbuff + displs[root]. sendcounts and displs matter on the root
 * only. */
HOCKET_API hocketResult_t hocketScatterV(const void *sendbuff, const size_t *sendcounts,
					 const size_t *displs, void *recvbuff, size_t recvcount,
					 hocketDataType_t datatype, int root, hocketComm_t comm,
					 hocketStream_t stream);

/*
 * --- point-to-point ---
 * The k-th send of a rank to a peer meets the peer's k-th receive from it, which must be of the
 * same number of bytes. They do not disturb collectives in between. A small message leaves before
 * its receive was called; a longer one may wait for it, so ranks that send to each other do it in a
 * group. To and from oneself works in a group only.
 */
HOCKET_API hocketResult_t hocketSend(const void *sendbuff, size_t count, hocketDataType_t datatype,
				     int peer, hocketComm_t comm, hocketStream_t stream);
HOCKET_API hocketResult_t hocketRecv(void *recvbuff, size_t count, hocketDataType_t datatype,
				     int peer, hocketComm_t comm, hocketStream_t stream);

/*
 * --- groups ---
 * Calls of this thread between hocketGroupStart and hocketGroupEnd are collected and run together:
 * on any communicators, several ranks of one communicator included, in any order, on any streams
 * (those of one host communicator either all NULL or all not). Collectives of a communicator run in
 * their order; its sends and receives, and other communicators, progress beside them, so nothing
 * waits for its neighbour. Groups nest; the outermost end runs them. Calls in a group check their
 * arguments at once, and a failing one makes hocketGroupEnd drop the group and return its error.
 * A communicator that fails, or has failed, does not keep the others' calls from being done.
 * Creations and splits of communicators may be in a group, so that one thread can make several
 * ranks; they are ready when hocketGroupEnd returns (hocketInProgress: the non-blocking ones are
 * still being made), and can't be used in the same group.
 */
HOCKET_API hocketResult_t hocketGroupStart(void);
HOCKET_API hocketResult_t hocketGroupEnd(void);

/* --- memory --- */

/* Memory suited to communication: aligned to a page, zeroed, and where possible such that other
 * ranks on this host can read it in place once it is registered. A child process made by fork does
 * not have it. Free with hocketMemFree; NULL is fine there. */
HOCKET_API hocketResult_t hocketMemAlloc(void **ptr, size_t size);
HOCKET_API hocketResult_t hocketMemFree(void *ptr);
/* How many GPUs this process sees, numbered from 0; 0 where there is no driver. */
HOCKET_API hocketResult_t hocketDeviceCount(int *count);
/* Memory of a GPU, named as in hocketConfig_t; with HOCKET_DEVICE_NONE the same as hocketMemAlloc.
 * Not zeroed. Free with hocketMemFree. A piece may take up whole grains of the driver (2 MiB). */
HOCKET_API hocketResult_t hocketDeviceMemAlloc(void **ptr, size_t size, int device);
/* Announces that buff (size bytes) will be used often with comm; *handle is for deregistration.
 * Ranks on the same host then read it in place instead of having it copied, if it came from
 * hocketMemAlloc; other memory may be registered too, and is copied as ever. Results are the same.
 * Waits for comm's queued calls; deregister before freeing the memory. */
HOCKET_API hocketResult_t hocketCommRegister(const hocketComm_t comm, void *buff, size_t size,
					     void **handle);
HOCKET_API hocketResult_t hocketCommDeregister(const hocketComm_t comm, void *handle);

/* A window: the same, of all ranks together, which all call this in the same order as other splits
 * and windows of comm; the sizes may differ. In a group it is registered when hocketGroupEnd
 * returns, so that one thread can do it for several ranks. flags, the same on all ranks, is 0 or:
 * HOCKET_WINDOW_SYMMETRIC: in a call in which a rank gives a buffer in the window for its result,
 * all do, at the same distance from their windows' beginnings. All-gather, broadcast and all-to-all
 * are then done by GPUs' copy engines, without a kernel, for blocks from HOCKET_COPY_BYTES on (1
 * MiB), if every rank's GPU reaches every window. While such a call waits, the GPU's memory that
 * holds the result belongs to the call. hocketInvalidArgument: flags differ, or a rank's arguments
 * are wrong. Deregistering is a matter of each rank, when no call uses the window any more. */
typedef struct hocketWindow *hocketWindow_t;
#define HOCKET_WINDOW_SYMMETRIC 1
HOCKET_API hocketResult_t hocketCommWindowRegister(hocketComm_t comm, void *buff, size_t size,
						   hocketWindow_t *win, int flags);
HOCKET_API hocketResult_t hocketCommWindowDeregister(hocketComm_t comm, hocketWindow_t win);
/* The rank's own buffer of a window. */
HOCKET_API hocketResult_t hocketWindowGetPtr(hocketComm_t comm, hocketWindow_t win, void **ptr);

/* --- host streams --- */

/* Makes a stream and its thread. */
HOCKET_API hocketResult_t hocketStreamCreate(hocketStream_t *stream);
/* Waits for the queued calls, ends the thread and frees. */
HOCKET_API hocketResult_t hocketStreamDestroy(hocketStream_t stream);
/* Waits for the queued calls; returns the first failure among them since the last synchronise. */
HOCKET_API hocketResult_t hocketStreamSynchronize(hocketStream_t stream);
/* hocketSuccess when idle, hocketInProgress while calls are queued. */
HOCKET_API hocketResult_t hocketStreamQuery(hocketStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
