/* SPDX-License-Identifier: BSD-3-Clause */
/* Which core each local rank gets. */
#ifndef HOCKET_TOOLS_RUN_CORES_H
#define HOCKET_TOOLS_RUN_CORES_H

#include <sched.h>

/* Fills sets[0 .. n-1] with a core of its own for each rank, all its hardware threads that this
 * process may use. 0; or -1 if there are fewer than n cores or hwloc cannot tell. */
int hk_run_cores(int n, cpu_set_t *sets);

#endif
