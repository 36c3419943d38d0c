/* SPDX-License-Identifier: BSD-3-Clause */
/* hocket/launch.h for programs that end when it fails: the sentence goes to standard error. */
#ifndef HOCKET_BENCH_LAUNCH_H
#define HOCKET_BENCH_LAUNCH_H

#include <hocket/launch.h>

struct hk_launch {
	hocketLaunch_t handle;
	int rank, nprocs; /* of processes */
};

/* 0; or -1 with the reason on standard error. */
int hk_launch_open(struct hk_launch *l);
/* Every process gets the same id. 0; or -1 with the reason on standard error. */
int hk_launch_share_id(const struct hk_launch *l, hocketUniqueId *id);
/* After the communicators are gone. */
void hk_launch_close(const struct hk_launch *l);

#endif
