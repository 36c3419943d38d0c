/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fabric: what a communicator has where switches reduce for it (docs/switch.md). It is a second
 * communicator, of the ranks and, from nranks up, the switches, which authenticates, connects and
 * notices deaths as any does. The plans of algorithms with switches are bound to its connections;
 * everything else goes over the communicator's own.
 *
 * The lowest rank below a switch commands it: before such a call it tells the switch, on a channel
 * of its own, what to run.
 *
 * A switch that fails ends the fabric and not the communicator. Calls through switches are counted,
 * alike on all ranks. Whoever notices the death tells all others how far it has got; the calls up
 * to the greatest of these numbers fail on all ranks, and from the next one on there are no
 * switches. So ranks that saw the death at different calls agree. A rank that is in another call
 * meanwhile, and perhaps waits there for one that waits for this agreement, takes part in it from
 * inside that call.
 */
#ifndef HK_COMM_FABRIC_H
#define HK_COMM_FABRIC_H

#include "comm.h"
#include "job.h"

#define HK_COMMAND_CHANNEL (HK_MAX_CHANNELS - 1) /* of the fabric */
#define HK_AGREE_CHANNEL   (HK_MAX_CHANNELS - 1) /* of the communicator: its calls use no such */

enum hk_command_kind { HK_COMMAND_RUN = 1, HK_COMMAND_END };

/* What a commander sends; the same processor type at both ends, as with all data. */
struct hk_command {
	uint32_t kind;
	uint32_t algo; /* index in hk_algos: both ends have the same (checked at creation) */
	uint32_t type, op, mark, channels;
	int32_t root;
	uint32_t unused;
	uint64_t count;
};
_Static_assert(sizeof(struct hk_command) <= 48, "it travels in one cache line");

/* What each participant tells the others when they meet. */
struct hk_fabric_member {
	int32_t parent;
	char name[HK_SWITCH_NAME]; /* of a switch */
};

struct hk_fabric_spec {
	int nswitches;
	char **addresses; /* host:port */
	int *parent;	  /* of ranks, then of switches; as in struct hk_layout */
	const char *key_path;
};

/* --- fabric.c --- */

/* Finds the switches that HOCKET_SWITCHES or the topology file names, hands the job over and joins
 * them; all ranks call it at the end of creation. That there are no switches, or that they cannot
 * be had (then with a warning), is no failure. */
int hk_fabric_attach(struct hk_comm *c);
/* The same with given switches; *refused, if not NULL, tells why there are none. */
int hk_fabric_attach_to(struct hk_comm *c, const struct hk_fabric_spec *spec, int *refused);
/* Ends it; its switches leave, too. NULL is fine. */
void hk_fabric_close(struct hk_comm *c);
size_t hk_fabric_memory(const struct hk_comm *c);
/* As hk_plan_create, for a program that exchanges messages with switches. */
int hk_fabric_plan(struct hk_comm *c, const struct hk_problem *p, struct hk_program *prog,
		   uint32_t slot_bytes, struct hk_plan **plan);

/* --- fabric_call.c --- */

/* At the start of a call that goes through switches. 0: it does; 1: there are none any more, choose
 * again; -HK_ESWITCH: this call fails because of a switch; or another failure. */
int hk_fabric_enter(struct hk_comm *c);
/* At the start of a call that does not. */
void hk_fabric_stay_out(struct hk_comm *c);
/* Tells the switches that this rank commands, if the call goes through them. */
int hk_fabric_announce(struct hk_comm *c, int root, const struct hk_call *call);
/* While any call waits: does what is pending, and takes part in an agreement; the failure of a
 * switch that the call needs, or 0. */
int hk_fabric_failed(struct hk_comm *c);
/* What to call a failure of a call that goes through switches: -HK_ESWITCH if it was theirs. */
int hk_fabric_judge(struct hk_comm *c, int err);
/* --- inside --- */

/* A switch that this rank commands. */
struct hk_commanded {
	struct hk_send *conn;
	bool pending; /* the command has not been sent yet */
};

/* In a plan's list of what to flush: a call must not end before its command has left. */
struct hk_fabric_flusher {
	struct hk_send send;
	struct hk_fabric *fabric;
};

struct hk_fabric_binder {
	struct hk_binder binder;
	struct hk_comm *comm; /* the rank's own */
};

struct hk_fabric {
	struct hk_comm *peers; /* the second communicator */
	int nswitches;
	char **names; /* "name at host:port" */
	struct hk_fabric_binder binder;
	struct hk_fabric_flusher flusher;
	struct hk_commanded *commanded;
	unsigned ncommanded;
	struct hk_command command; /* the last, while it is pending */

	uint64_t calls;		 /* that would go through switches, so far */
	uint64_t attempted;	 /* the last that did */
	uint64_t until;		 /* dead and agreed: the last that fails */
	bool inside;		 /* the call in hand goes through switches ... */
	struct hk_choice choice; /* ... by this algorithm */
	bool dead, agreed;
	char why[400];
	struct hk_plan *agreement; /* under way, or over */
	uint64_t *progress;	   /* of all ranks: the last attempted */
};

/* Sends what is pending. 1: nothing is any more; 0: not yet; or a failure. */
int hk_fabric_push(struct hk_fabric *f);

/* --- fabric_agree.c: of a dead fabric --- */

/* Goes on with the agreement without waiting. 1: agreed; 0: not yet; or a failure. */
int hk_fabric_agree(struct hk_comm *c);
/* Waits until all have agreed. */
int hk_fabric_await_agreement(struct hk_comm *c);

#endif
