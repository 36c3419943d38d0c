/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract of a transport: one file, one word in the list in meson.build, and the conformance
 * suite (tests/transport) covers it. A connection is one direction between two ranks on one
 * channel: a FIFO of messages, each at most slot_bytes long, at most `slots` in flight.
 *
 * Control path (struct hk_transport) and fast path (struct hk_send_ops, hk_recv_ops) are apart.
 * Every table is complete: an op that a transport does not need is a named default. Nothing on the
 * fast path blocks, allocates or locks. Errors are sticky: once an op returned a negative code it
 * does so for ever, and the code was logged with the peer's rank in its sentence.
 */
#ifndef HK_TRANSPORT_H
#define HK_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HK_ADDR_BYTES 128

/* What a transport's endpoint publishes about itself to all ranks; its meaning is the transport's
 * own. */
struct hk_addr {
	uint8_t bytes[HK_ADDR_BYTES];
};

/*
 * How a transport's ends find each other; the communicator implements it over the authenticated
 * bootstrap. All calls have deadlines, fail with a sentence that names the peer, and may be called
 * from one thread at a time. The peer's service thread answers fetch and dial, so that neither
 * waits for what the peer's application does.
 */
struct hk_wire;
struct hk_wire_ops {
	/* Peers that fetch `tag` get a duplicate of fd. Once per tag. */
	int (*publish)(struct hk_wire *w, uint32_t tag, int fd);
	/* The descriptor is given to nobody any more. */
	void (*withdraw)(struct hk_wire *w, uint32_t tag);
	/* Gets the fd that peer published under tag. -ENOTSUP if the peer is on another host. */
	int (*fetch)(struct hk_wire *w, int peer, uint32_t tag, int *fd);
	/* Opens an authenticated stream socket (blocking, TCP_NODELAY) to the peer. Never waits for
	 * the peer's answer(). */
	int (*dial)(struct hk_wire *w, int peer, uint32_t tag, int *sock);
	/* 1: the peer has dialled with this tag, and *sock is the other end; 0: not yet. Never
	 * waits, and is cheap to ask again. */
	int (*answer)(struct hk_wire *w, int peer, uint32_t tag, int *sock);
	/* How many ways to the peer there seem to be that share no interface at either end; at
	 * least 1. Default: hk_routes_one. */
	unsigned (*routes)(struct hk_wire *w, int peer);
	/* As dial, but by one of these ways (from 0), for at most timeout_ns, and no longer than
	 * until `stop` (a descriptor, or -1) is readable; failures are logged for the curious only.
	 * May be called in a thread beside the others, once routes has been. Default:
	 * hk_dial_by_none. */
	int (*dial_by)(struct hk_wire *w, int peer, uint32_t tag, unsigned route,
		       int64_t timeout_ns, int stop, int *sock);
};
struct hk_wire {
	const struct hk_wire_ops *ops;
};

struct hk_loop;
struct hk_gpu;
struct hkd_send;
struct hkd_recv;

/* What an endpoint is opened with. */
struct hk_endpoint_env {
	int rank, nranks;
	uint64_t host; /* ranks with equal values share memory */
	struct hk_wire *wire;
	uint32_t channels;    /* most channels per pair of ranks */
	uint32_t slots;	      /* slots per connection, at least 2 */
	uint32_t slot_bytes;  /* payload bytes per slot, a multiple of 4096 */
	uint32_t usual_bytes; /* most messages are no longer; 0: that is not known */
	struct hk_gpu *gpu;   /* the rank's (gpu.h); NULL: it has none */
	struct hk_loop *loop; /* the in-process world of the loop transport (loop.h), else NULL */
};

struct hk_cost {
	double latency_ns;  /* of one small message */
	double message_ns;  /* of them at each end, by its processor */
	double ns_per_byte; /* of a long one */
};

/* Registered memory that other processes of this host can map: a range of a file. All of a
 * process's registered host memory is in one file. Or memory of a GPU; then fd is -1. */
struct hk_memory {
	void *base;
	size_t bytes;
	int fd;
	uint64_t offset;
};

struct hk_endpoint;
struct hk_send;
struct hk_recv;

struct hk_transport {
	const char *name;
	/* Opens this rank's endpoint and fills what the others need to reach it. -ENOTSUP: not
	 * here. */
	int (*open)(const struct hk_endpoint_env *env, struct hk_endpoint **ep,
		    struct hk_addr *addr);
	/* Whether the rank that published addr can be reached; then its cost. */
	bool (*reach)(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		      struct hk_cost *cost);
	/* Makes the sending or receiving half of a connection. Neither waits for the peer to make
	 * its half: until then a receiving half has no message, and a sending half takes at least
	 * as many messages as it has slots. */
	int (*connect_send)(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn);
	int (*connect_recv)(struct hk_endpoint *ep, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn);
	/* Messages in m may be lent from now on, and until detach. Memory that the transport can't
	 * lend is no error. Default: hk_attach_none. */
	int (*attach)(struct hk_endpoint *ep, const struct hk_memory *m);
	/* Default: hk_detach_none. */
	void (*detach)(struct hk_endpoint *ep, const struct hk_memory *m);
	/* From now on an arrival or a freed slot makes the next wait return at once; the caller
	 * polls once more between arm and wait. Default: hk_arm_none, for transports whose wait
	 * looks. */
	void (*arm)(struct hk_endpoint *ep);
	/* Blocks until something may have arrived or a slot may be free, at most timeout_ns.
	 * Spurious returns are fine. Default: hk_wait_nap. */
	void (*wait)(struct hk_endpoint *ep, int64_t timeout_ns);
	/* After a failure, before its call returns to the user: from now on nothing arrives any
	 * more in memory that was offered, nothing that was lent is read any more, and every
	 * connection fails. Called by the thread that polls. Default: hk_sever_none. */
	void (*sever)(struct hk_endpoint *ep);
	/* For the end: this rank receives nothing any more, and peers need not wait in settle until
	 * it does. Default: hk_leave_none. */
	void (*leave)(struct hk_endpoint *ep);
	/* Where kernels find the half of a connection (device/records.h), if they move its messages
	 * themselves; the fast path is then not used. Defaults: hk_ring_send_none,
	 * hk_ring_recv_none, -ENOTSUP: the host moves them. */
	int (*ring_send)(struct hk_send *s, struct hkd_send *record);
	int (*ring_recv)(struct hk_recv *r, struct hkd_recv *record);
	/* Where kernels find, as 64-bit words by peer, what to add to the address of a message in
	 * these bytes so that the peer's kernels can read it there, plus 1; or 0: that peer can't.
	 * Only of what is attached; 0: it is not. Also takes up what peers have attached since the
	 * last time. kept: the words' address is recorded, and may be used for ever. Called by the
	 * thread that makes calls. Default: hk_rows_none. */
	uint64_t (*rows)(struct hk_endpoint *ep, uint64_t at, size_t bytes, bool kept);
	/* The address at which this rank's GPU has what its peer has at `at`; 0: it has not, or the
	 * peer has not attached it. Default: hk_peer_memory_none. */
	uint64_t (*peer_memory)(struct hk_endpoint *ep, int peer, uint64_t at, size_t bytes);
	/* Bytes that the endpoint and its connections occupy now (touched pages, not address
	 * space). */
	size_t (*memory)(struct hk_endpoint *ep);
	/* Bytes of a GPU's memory likewise. Default: hk_device_memory_none. */
	size_t (*device_memory)(struct hk_endpoint *ep);
	/* Whether messages that lie in these bytes of a GPU's memory may be lent; those of *least
	 * bytes and more had best be. The memory must be there until close, or until other memory
	 * is admitted instead. -ENOTSUP, quietly: they must be copied. Default:
	 * hk_admit_device_none. */
	int (*admit_device)(struct hk_endpoint *ep, uint64_t at, size_t bytes, uint32_t *least);
	/* Frees the endpoint and its connections; NULL is fine. */
	void (*close)(struct hk_endpoint *ep);
};

struct hk_endpoint {
	const struct hk_transport *transport;
	int rank, nranks;
};

struct hk_send_ops {
	/* The next free slot, for a message of `bytes`. 1: *slot is set, valid until commit. 0: not
	 * yet. Calling again before commit returns a slot again. */
	int (*reserve)(struct hk_send *s, uint32_t bytes, void **slot);
	/* Sends the reserved slot. `mark` travels with it. 0 or a negative code. */
	int (*commit)(struct hk_send *s, uint32_t bytes, uint32_t mark);
	/* Whether these bytes had best be sent without a copy, the receiver reading them where they
	 * are; they must then stay as they are until flush says 1. Default: hk_lends_never. */
	bool (*lends)(struct hk_send *s, const void *data, uint32_t bytes);
	/* As commit, after a reserve of 0 bytes, for bytes that it lends. Default: hk_lend_none. */
	int (*lend)(struct hk_send *s, const void *data, uint32_t bytes, uint32_t mark);
	/* 1 when nothing committed still needs this process to call the library, and nothing lent
	 * is still to be read; 0 not yet. Default: hk_flush_done. */
	int (*flush)(struct hk_send *s);
	/* So many of the last messages hold all that was lent and may still be read; what was lent
	 * for those before may be written again. 0: nothing is read any more. Or a negative code.
	 * Default: hk_owes_none. */
	int (*owes)(struct hk_send *s);
	/* For the end. 1 when everything committed is in the peer's hands, who gets it even if this
	 * endpoint is closed now; or the peer has left. 0 not yet. Default: hk_settle_flushed. */
	int (*settle)(struct hk_send *s);
};

struct hk_recv_ops {
	/* The oldest message. 1: *data, *bytes and *mark are set, valid until release. 0: not yet.
	 * bytes is bounded by slot_bytes before anyone sees it. *data is NULL if the message is
	 * where only pull can read it; the next peek may find it elsewhere. */
	int (*peek)(struct hk_recv *r, const void **data, uint32_t *bytes, uint32_t *mark);
	/* Copies a part of the peeked message, whose data was NULL, to dst. 1: done. 0: not now;
	 * peek again. What was pulled before is then to be taken from the next peek, too.
	 * Default: hk_pull_none. */
	int (*pull)(struct hk_recv *r, uint32_t offset, void *dst, uint32_t bytes);
	/* Gives the peeked slot back to the sender, who hears of it at the latest when half of the
	 * slots have been given back. 0 or a negative code. */
	int (*release)(struct hk_recv *r);
	/* Says where the message that `ahead` others come before (0: the one that peek would show)
	 * is wanted, while it has not come: `bytes` at dst, with this mark. A transport that can
	 * has the sender put it there; peek then shows dst as its data. Only a hint, that it may
	 * forget. The memory is the transport's until that message has come, or sever. Offers are
	 * made in the order of the messages, each message at most once; some may be left out.
	 * Default: hk_offer_none. */
	void (*offer)(struct hk_recv *r, uint32_t ahead, void *dst, uint32_t bytes, uint32_t mark);
};

/* Transports put these first in their own structs. */
struct hk_send {
	const struct hk_send_ops *ops;
	struct hk_endpoint *ep;
	int peer;
	uint32_t channel;
	uint32_t slots, slot_bytes;
	/* Set by reserve: the slot is best filled by stores that bypass the cache. Only a hint. */
	bool bypass;
};
struct hk_recv {
	const struct hk_recv_ops *ops;
	struct hk_endpoint *ep;
	int peer;
	uint32_t channel;
	uint32_t slots, slot_bytes;
};

extern const struct hk_transport *const hk_transports[];
extern const unsigned hk_ntransports;
const struct hk_transport *hk_transport_find(const char *name);

/* Named defaults. */
int hk_attach_none(struct hk_endpoint *ep, const struct hk_memory *m);
void hk_detach_none(struct hk_endpoint *ep, const struct hk_memory *m);
void hk_arm_none(struct hk_endpoint *ep);
void hk_wait_nap(struct hk_endpoint *ep, int64_t timeout_ns);
bool hk_lends_never(struct hk_send *s, const void *data, uint32_t bytes);
int hk_lend_none(struct hk_send *s, const void *data, uint32_t bytes, uint32_t mark);
int hk_flush_done(struct hk_send *s);
int hk_owes_none(struct hk_send *s);
int hk_settle_flushed(struct hk_send *s);
void hk_offer_none(struct hk_recv *r, uint32_t ahead, void *dst, uint32_t bytes, uint32_t mark);
void hk_sever_none(struct hk_endpoint *ep);
void hk_leave_none(struct hk_endpoint *ep);
int hk_admit_device_none(struct hk_endpoint *ep, uint64_t at, size_t bytes, uint32_t *least);
size_t hk_device_memory_none(struct hk_endpoint *ep);
int hk_ring_send_none(struct hk_send *s, struct hkd_send *record);
int hk_ring_recv_none(struct hk_recv *r, struct hkd_recv *record);
uint64_t hk_rows_none(struct hk_endpoint *ep, uint64_t at, size_t bytes, bool kept);
uint64_t hk_peer_memory_none(struct hk_endpoint *ep, int peer, uint64_t at, size_t bytes);
int hk_pull_none(struct hk_recv *r, uint32_t offset, void *dst, uint32_t bytes);
unsigned hk_routes_one(struct hk_wire *w, int peer);
int hk_dial_by_none(struct hk_wire *w, int peer, uint32_t tag, unsigned route, int64_t timeout_ns,
		    int stop, int *sock);

#endif
