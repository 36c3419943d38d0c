/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which RDMA devices, ports and GIDs a rank uses. Discovery asks every device, leaves out what
 * HOCKET_IB_HCA excludes and what can't serve, and picks rails among the rest (verbs_choice.h has
 * the rules). A port that is down may be a rail: it is used once it is up.
 */
#ifndef HK_TRANSPORT_VERBS_DEVICE_H
#define HK_TRANSPORT_VERBS_DEVICE_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "verbs_choice.h"

/* A port that is a rail. */
struct hk_ib_port {
	struct ibv_context *ctx; /* open; ports of one device share it */
	char name[80];		 /* "mlx5_0:1", as users write it */
	char netdev[32];	 /* its network interface, "" if none is known */
	uint8_t port;
	int gid_index;	   /* -1: InfiniBand, reached by its LID without a GRH */
	union ibv_gid gid; /* of gid_index; of InfiniBand that of index 0, if that is -1 */
	bool roce;	   /* Ethernet, RoCE */
	bool roce_v2;	   /* and the GID is of its second version: UDP, can be routed */
	bool iwarp;	   /* Ethernet, iWARP: only the rdmacm connects it */
	bool global;	   /* a GRH is needed to reach any peer */
	uint16_t lid, pkey_index;
	enum ibv_mtu mtu; /* active */
	unsigned gbits;	  /* active speed, 0: unknown */
	int numa;	  /* -1: unknown */
	bool active;	  /* the port's state is ACTIVE */
	bool soft;	  /* no hardware: the kernel does its work (rxe, siw) */
	/* Ports of equal networks reach each other directly; of family 0 nothing is known. Those of
	 * link-local GIDs are all equal, whatever links they are on. */
	struct hk_ib_net net;
};

/* What hk_ib_refresh found different; bits. */
enum {
	HK_IB_STATE = 1, /* active */
	HK_IB_GID = 2,	 /* gid or gid_index, and with them net */
	HK_IB_LID = 4,
	HK_IB_MTU = 8,
};

/*
 * Opens the devices and picks at most `most` ports by HOCKET_IB_*; at least one is active, not
 * always the first: their order is the same on equal hosts, whichever links are down. `turn` (a
 * rank) spreads the processes of a host over ports that are equally good: two ranks with
 * consecutive turns get different ports of the same networks, where there are enough. Warnings
 * about the fabric come from turn 0, and are mere infos from others. -ENOTSUP, without an error in
 * the log, if there is none: no library, no device, none that is up.
 */
int hk_ib_open(unsigned turn, unsigned most, struct hk_ib_port *ports, unsigned *n);
/* Closes the devices of all n ports. */
void hk_ib_close(struct hk_ib_port *ports, unsigned n);
/* Asks for state, GID, LID, MTU and speed again, after an event. A GID that is still there stays
 * chosen unless a better kind has come. Without any usable GID the port is not active. */
int hk_ib_refresh(struct hk_ib_port *port, unsigned *changed);
/* Lines for people about every device and port: a rail or why not. Never fails. */
void hk_ib_print(FILE *out);

#endif
