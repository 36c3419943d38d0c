/* SPDX-License-Identifier: BSD-3-Clause */
/* Two ranks as two threads of this process, connected by a real transport: to measure with. */
#ifndef HK_TUNE_MEASURE_PAIR_H
#define HK_TUNE_MEASURE_PAIR_H

#include <pthread.h>
#include <stdbool.h>

#include "exec.h"
#include "transport.h"

struct pair;

/* One of the two. Its connections, one each way, belong to its thread. */
struct pair_rank {
	struct pair *pair;
	int rank;
	struct hk_endpoint *ep;
	struct hk_addr addr;
	struct hk_send *send;
	struct hk_recv *recv;
};

enum pair_cores { PAIR_APART, PAIR_TOGETHER }; /* each on a core of its own, or both on one */

struct pair {
	struct pair_rank ranks[2];
	struct pair_wire *wire;
	pthread_barrier_t start;
};

/* -ENOTSUP if the transport does not work between two ranks of a host. */
int hk_pair_open(struct pair *p, const struct hk_transport *t, uint32_t slots, uint32_t slot_bytes);
void hk_pair_close(struct pair *p);
/* Whether this process may run on two processors. */
bool hk_pair_has_two_cores(void);
/* Runs fn in both ranks' threads at once; returns the first error. */
int hk_pair_run(struct pair *p, enum pair_cores cores, int (*fn)(struct pair_rank *r, void *arg),
		void *arg);

#endif
