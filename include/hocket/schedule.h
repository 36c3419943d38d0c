/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules for people who invent algorithms: build one step by step (or load it from a file), have
 * it proved, and let a communicator run it for the sizes that it is good for.
 *
 * A schedule is one program per rank. A program has lanes; a lane does its steps in order, and
 * lanes are independent but for named dependencies. Steps name chunks of three buffers, never
 * bytes: a block of `count` elements (the call's count) is cut in `period` chunks of nearly equal
 * size, so any count works. Where the collective gives IN or OUT a block per rank, chunk i is chunk
 * i % period of block i / period. SCRATCH has as many chunks as asked for. The k-th send from one
 * rank to another on a channel meets the k-th receive there; a connection (source, destination,
 * channel) belongs to one lane at each end. docs/schedules.md tells more, and describes the files.
 *
 * Errors stick: a wrong step is reported by the next hocketScheduleProve, Save or
 * hocketCommUseSchedule, so that the building calls need no checks. Nothing here is thread-safe for
 * one schedule. examples/new_all_reduce.c is a whole program.
 */
#ifndef HOCKET_SCHEDULE_H
#define HOCKET_SCHEDULE_H

#include <hocket/hocket.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hocketSchedule *hocketSchedule_t;

typedef enum {
	hocketCollAllReduce = 0,
	hocketCollReduceScatter = 1,
	hocketCollAllGather = 2,
	hocketCollBroadcast = 3,
	hocketCollReduce = 4,
	hocketCollAllToAll = 5,
	hocketCollGather = 6,
	hocketCollScatter = 7,
	hocketNumColls = 8
} hocketColl_t;

/* IN is the rank's contribution, and is never written; OUT is the result; in place they share
 * memory. SCRATCH is the library's. */
typedef enum { hocketBufferIn = 1, hocketBufferOut = 2, hocketBufferScratch = 3 } hocketBuffer_t;

/* An empty schedule for nranks ranks (1 to 65536); root matters to rooted collectives only. name is
 * for the log and for files: letters, digits, '_', '-' and '.'. */
HOCKET_API hocketResult_t hocketScheduleCreate(hocketSchedule_t *schedule, const char *name,
					       hocketColl_t collective, int nranks, int root);
/* Reads a schedule from a file: Hocket's own text, or MSCCL's XML. The sentence of a failure names
 * the line. Nothing can be added to it. */
HOCKET_API hocketResult_t hocketScheduleLoad(hocketSchedule_t *schedule, const char *path);
/* NULL is fine. Communicators that use it keep what they need. */
HOCKET_API hocketResult_t hocketScheduleDestroy(hocketSchedule_t schedule);

/* Before any step: chunks per block, chunks of SCRATCH, and the most chunks that one step moves. */
HOCKET_API hocketResult_t hocketScheduleSetChunks(hocketSchedule_t schedule, int period,
						  int scratch, int longest);

/* A further lane of `rank`'s program, whose messages go over `channel` (0 to 31); its number. */
HOCKET_API int hocketScheduleLane(hocketSchedule_t schedule, int rank, int channel);
/*
 * Steps, of nchunks consecutive chunks each; they return the step's number in its lane.
 *   Send        to `to`: srcBuffer[src ..]
 *   Recv        dstBuffer[dst ..] = what comes from `from`
 *   RecvReduce  dstBuffer[dst ..] = srcBuffer[src ..] (+) what comes from `from`
 *   Copy        dstBuffer[dst ..] = srcBuffer[src ..]
 *   Reduce      dstBuffer[dst ..] = dstBuffer[dst ..] (+) srcBuffer[src ..]
 * (+) is the call's operation; the left operand is written first here. A receive and a send of the
 * same chunks next to each other become one step by themselves.
 */
HOCKET_API int hocketScheduleSend(hocketSchedule_t schedule, int rank, int lane, int to,
				  hocketBuffer_t srcBuffer, int src, int nchunks);
HOCKET_API int hocketScheduleRecv(hocketSchedule_t schedule, int rank, int lane, int from,
				  hocketBuffer_t dstBuffer, int dst, int nchunks);
HOCKET_API int hocketScheduleRecvReduce(hocketSchedule_t schedule, int rank, int lane, int from,
					hocketBuffer_t srcBuffer, int src, hocketBuffer_t dstBuffer,
					int dst, int nchunks);
HOCKET_API int hocketScheduleCopy(hocketSchedule_t schedule, int rank, int lane,
				  hocketBuffer_t srcBuffer, int src, hocketBuffer_t dstBuffer,
				  int dst, int nchunks);
HOCKET_API int hocketScheduleReduce(hocketSchedule_t schedule, int rank, int lane,
				    hocketBuffer_t srcBuffer, int src, hocketBuffer_t dstBuffer,
				    int dst, int nchunks);
/* The last step of `lane` waits for step onStep of onLane, of the same rank. */
HOCKET_API hocketResult_t hocketScheduleAfter(hocketSchedule_t schedule, int rank, int lane,
					      int onLane, int onStep);
/* The chunks of the lane's last step, which touches SCRATCH alone, have the sizes of the chunks of
 * a block from `chunk` on. Without it: of those with their own numbers. */
HOCKET_API hocketResult_t hocketScheduleSizeOf(hocketSchedule_t schedule, int rank, int lane,
					       int chunk);

/*
 * Proves it: bounds, matching messages, progress, no race, and a result of exactly the
 * contributions that the collective promises, in place (inplace 1) or not (0). hocketInvalidUsage
 * if it is refuted: hocketGetLastError names rank, lane and step. *slots (may be NULL) is the
 * smallest number of messages per connection under way that makes progress.
 */
HOCKET_API hocketResult_t hocketScheduleProve(hocketSchedule_t schedule, int inplace, int *slots);
/* Writes it as Hocket's text. */
HOCKET_API hocketResult_t hocketScheduleSave(hocketSchedule_t schedule, const char *path);
/*
 * comm runs it from now on for its collective when minBytes <= size <= maxBytes, where the size is
 * that of the whole vector (with a block per rank, of all blocks); SIZE_MAX: no limit. All ranks
 * must call it at the same point with the same schedule, and it waits for them. It is proved first;
 * the latest that fits a call wins, before HOCKET_SCHEDULES and the built-in algorithms. One that
 * is right in one of the two forms only, in place or not, costs a copy in the other.
 */
HOCKET_API hocketResult_t hocketCommUseSchedule(hocketComm_t comm, hocketSchedule_t schedule,
						size_t minBytes, size_t maxBytes);

#ifdef __cplusplus
}
#endif

#endif
