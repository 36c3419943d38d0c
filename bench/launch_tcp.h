/* SPDX-License-Identifier: BSD-3-Clause */
/* Hands the unique id from process 0 to the others over TCP, for launchers that only name a host
 * and a port. */
#ifndef HOCKET_BENCH_LAUNCH_TCP_H
#define HOCKET_BENCH_LAUNCH_TCP_H

#include <hocket/hocket.h>

/* Process 0 serves *id at host:port until nprocs - 1 others have it; the others fetch it. Both give
 * up after timeout_s seconds. 0; or -1 with the reason on standard error. */
int hk_launch_tcp_serve(const char *host, const char *port, int nprocs, double timeout_s,
			const hocketUniqueId *id);
int hk_launch_tcp_fetch(const char *host, const char *port, int rank, double timeout_s,
			hocketUniqueId *id);

#endif
