/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reducer as connections: a port gives a member the halves that its program, in an algorithm with
 * one switch, has with the switch. Sending posts, receiving polls; the program does not notice that
 * nobody runs the switch's. Before each run of a plan the call is announced.
 */
#ifndef HK_REDUCER_PORT_H
#define HK_REDUCER_PORT_H

#include "reducer.h"
#include "transport.h"

struct hk_reduce_port;

/* Takes the group over, also on failure. slot_bytes: of the plans to be run; -EINVAL if messages of
 * that size are more than the reducer takes. peer: the switch's number, for sentences. */
int hk_reduce_port_open(struct hk_reduce_group *g, int peer, uint32_t slot_bytes,
			struct hk_reduce_port **port);
struct hk_send *hk_reduce_port_send(struct hk_reduce_port *port);
struct hk_recv *hk_reduce_port_recv(struct hk_reduce_port *port);
/* Announces the call that the plan's next run is. */
int hk_reduce_port_begin(struct hk_reduce_port *port, const struct hk_reduce_call *call);
/* NULL is fine. */
void hk_reduce_port_close(struct hk_reduce_port *port);

#endif
