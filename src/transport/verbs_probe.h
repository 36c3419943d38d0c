/* SPDX-License-Identifier: BSD-3-Clause */
/* What one port of an open device says about itself, and what the system says about it. For
 * verbs_device.c. */
#ifndef HK_TRANSPORT_VERBS_PROBE_H
#define HK_TRANSPORT_VERBS_PROBE_H

#include "verbs_device.h"

#define HK_IB_WHY_BYTES 160

/*
 * Fills the port, whose ctx, port and name are set; a GID that it has is kept if it is still as
 * good as any. Negative: it can't be used. In any case `why` says in a clause why it can't be used
 * now,
 * "" if it can.
 */
int hk_ib_probe(struct hk_ib_port *port, char why[HK_IB_WHY_BYTES]);
/* The kind of the port's GID, where it has one by which it is reached. */
enum hk_ib_gid_kind hk_ib_port_kind(const struct hk_ib_port *port);
/* The number in the file `name` of the interface in /sys/class/net, or -1. */
long hk_ib_netdev_number(const struct hk_ib_port *port, const char *name);
/* "RoCE v2, IPv4 10.1.2.3 (GID 3) on eth2, MTU 4096, 100 Gbit/s, NUMA 0, up". */
void hk_ib_port_text(const struct hk_ib_port *port, char *text, size_t size);

#endif
