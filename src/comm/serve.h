/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The switch's side of a fabric (fabric.h): one job, from the moment that the switch has been hired
 * until the job ends. A job has a thread and a communicator of its own.
 */
#ifndef HK_COMM_SERVE_H
#define HK_COMM_SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "job.h"

struct hk_comm;

struct hk_serving {
	struct hk_job job;
	char name[HK_SWITCH_NAME];
	_Atomic uint64_t calls; /* run so far */

	pthread_mutex_t lock; /* for what follows */
	struct hk_comm *comm; /* while it is joined */
	bool stop;
};

/* Of a serving whose job and name are filled in. */
void hk_serve_init(struct hk_serving *s);
void hk_serve_destroy(struct hk_serving *s);
/* Joins the job's fabric, runs what its ranks ask for, and returns 0 when they end it; or the
 * failure that ended it, which all participants then know. */
int hk_serve(struct hk_serving *s);
/* From any other thread: ends it soon, as a failure. */
void hk_serve_stop(struct hk_serving *s);

#endif
