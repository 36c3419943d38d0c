/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bootstrap: how n processes that share nothing but a 128-byte unique id become a communicator, and
 * the control plane that stays while it lives. The id's maker runs a root thread that collects
 * every rank's address and tells each rank its partners at distance 1, 2, 4 ...; all-gathers then
 * take ceil(log2 n) rounds over those connections. Every connection is mutually authenticated: both
 * ends prove, by a keyed hash over fresh nonces, that they know the 256-bit secret in the id,
 * before anything else is believed. All lengths from the wire are bounded; every wait has a
 * deadline, and its error names the ranks that are missing.
 *
 * Several ids make several roots, each for a part of the ranks; a rank asks the roots of other
 * parts for its partners there. A group that exists splits without any root.
 *
 * A service thread per communicator accepts later connections (fetch and dial of the transports,
 * see hk_wire), watches the control connections for peers that die, and passes on aborts.
 */
#ifndef HK_COMM_BOOTSTRAP_H
#define HK_COMM_BOOTSTRAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport.h"

#define HK_ID_BYTES 128

/* Makes an id and starts the root thread that serves it in this process (it ends when its ranks
 * are served, or at the init deadline). */
int hk_boot_unique_id(uint8_t id[HK_ID_BYTES]);

/* Threads of the library take no signals. thread NULL: detached. */
int hk_net_thread(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

struct hk_boot;

/* Begins: checks the ids (one after the other, 1 to nranks of them, equal on all ranks), listens
 * and starts the service thread; waits for nobody. Then hk_boot_join. timeout_ms, for all of
 * joining, <= 0: HOCKET_INIT_TIMEOUT_MS. */
int hk_boot_new(const uint8_t *ids, int nids, int nranks, int rank, int64_t timeout_ms,
		struct hk_boot **boot);
/* Begins smaller groups: all ranks of parent call it, in the same order. Those with the same color
 * (>= 0) become one, in the order of their keys, and of their old ranks where keys are equal; a
 * rank with color -1 gets NULL. Ends when all have called. A failure here is one of parent's, and
 * *ours is false; or only of this group, and *ours is true. */
int hk_boot_split(struct hk_boot *parent, int color, int key, int64_t timeout_ms,
		  struct hk_boot **boot, bool *ours);
/* Returns when all are connected. hk_boot_abort in another thread ends it. After a failure, abort
 * and close. */
int hk_boot_join(struct hk_boot *b);
/* new and join. */
int hk_boot_open(const uint8_t id[HK_ID_BYTES], int nranks, int rank, int64_t timeout_ms,
		 struct hk_boot **boot);
int hk_boot_rank(const struct hk_boot *b);
int hk_boot_nranks(const struct hk_boot *b);
/* In place: table has nranks entries of `bytes` (at most 64 KiB each), entry `rank` is filled.
 * All ranks must call it in the same order. */
int hk_boot_allgather(struct hk_boot *b, void *table, size_t bytes);
int hk_boot_barrier(struct hk_boot *b);
/* From now on the all-gathers, and the transports' fetch, dial and answer, may take this long. */
void hk_boot_set_timeout(struct hk_boot *b, int64_t timeout_ns);

/* Rendezvous for transports; valid until close. */
struct hk_wire *hk_boot_wire(struct hk_boot *b);
/* Host identity of a rank: ranks with equal ids share memory (same kernel and network namespace).
 */
uint64_t hk_boot_host(const struct hk_boot *b, int rank);

/*
 * 0 while all is well; else -HK_EPEER when a peer died without saying goodbye or aborted, set
 * within a second on all ranks. One atomic load: executors poll it while they wait. text may be
 * NULL; else it gets the sentence.
 */
int hk_boot_failed(struct hk_boot *b, const char **text);
/* Of a failure: whose it was, and the code that a rank gave up with (0: it died). */
void hk_boot_failure(struct hk_boot *b, int *rank, int *code);
/* Tells every rank that this one gives up (code is negative). Never blocks for long. */
void hk_boot_abort(struct hk_boot *b, int code);
/* Says goodbye and frees; NULL is fine. Peers that close later see no failure. */
void hk_boot_close(struct hk_boot *b);
/* Heap and buffers in use. */
size_t hk_boot_memory(const struct hk_boot *b);

#endif
