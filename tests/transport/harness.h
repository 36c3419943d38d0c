/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A world of N endpoints of one transport inside this process, and traffic over its connections
 * whose every byte is checked. Message k of a connection has a size, a content and a mark that
 * follow from (src, dst, channel, k), so that whatever is lost, doubled, mixed up or reordered
 * shows. Functions that may run in a thread return NULL or a sentence that says what is wrong;
 * those that end the test (cmocka) are for the main thread only and say so.
 */
#ifndef HK_TEST_HARNESS_H
#define HK_TEST_HARNESS_H

#include "loop.h"
#include "test_wire.h"
#include "transport.h"

#define WORLD_RANKS   8
#define WORLD_STREAMS 64
/* No test takes as long, not even in an emulated machine; when it does, it fails. */
#define PATIENCE_NS (INT64_C(30) * 1000000000)

struct world_config {
	int nranks;
	uint32_t slots, slot_bytes;
	uint32_t usual_bytes; /* 0: not told */
	int sndbuf, rcvbuf;   /* of sockets, 0: the kernel's */
	const struct hk_loop_faults *faults;
};

struct stream {
	struct hk_send *send; /* either may be NULL */
	struct hk_recv *recv;
	int src, dst;
	uint32_t channel;
	uint32_t max_bytes;
	uint32_t sent, received;
};

struct world {
	const struct hk_transport *transport;
	struct world_config config;
	struct test_wires *wires;
	struct hk_loop *loop;
	struct hk_endpoint *ep[WORLD_RANKS];
	struct hk_addr addr[WORLD_RANKS];
	struct stream streams[WORLD_STREAMS];
	unsigned nstreams;
};

/* Whether this machine has what the transport needs. */
bool world_can_open(const struct hk_transport *t);
/* These end the test when they fail. */
void world_open(struct world *w, const struct hk_transport *t, const struct world_config *config);
/* One half of a connection; the stream is made with the first. */
struct hk_send *world_connect_send(struct world *w, int src, int dst, uint32_t channel);
struct hk_recv *world_connect_recv(struct world *w, int src, int dst, uint32_t channel);
/* Both halves. */
struct stream *world_connect(struct world *w, int src, int dst, uint32_t channel);

/* The peers see this rank die or leave. Its streams' halves are gone. */
void world_close_rank(struct world *w, int rank);
void world_close(struct world *w);

/* Size of message k of a stream: often small, sometimes as long as it may be. */
uint32_t stream_bytes(const struct stream *s, uint32_t k);
/* Reserves until there is a slot or time is up (then 0): a sender need not see at once what its
 * receiver has given back. */
int stream_reserve_wait(struct stream *s, uint32_t bytes, void **slot);
/* Message k, with that size or another; 1 when sent, 0 when there is no slot yet, or the error. */
int stream_send_bytes(struct stream *s, uint32_t bytes);
int stream_send(struct stream *s);
/* The next message, checked: 1, 0, or the error; *wrong is set when it is not what was sent. */
int stream_recv_bytes(struct stream *s, uint32_t bytes, const char **wrong);
int stream_recv(struct stream *s, const char **wrong);
/* Calls stream_recv until it isn't 0 or time is up (then 0). */
int stream_recv_wait(struct stream *s, const char **wrong);
/* The same where both ends are this thread's: the sender goes on, too, as its rank would until
 * flush says that it need not. */
int stream_deliver(struct stream *s, const char **wrong);
/* Until flush says 1, with the receiver polled if this thread has it. False: time is up. */
bool stream_flush_wait(struct stream *s, bool both);

/* After a look in vain: arms the endpoint, or, if that was done before this look, sleeps. Returns
 * whether it is armed now. */
bool sleep_in_turn(struct hk_endpoint *ep, bool armed, int64_t timeout_ns);

enum stepping { ONE_THREAD, THREAD_PER_RANK };
/* Until every stream has moved `upto` messages in all. NULL, or what is wrong. */
const char *world_run(struct world *w, uint32_t upto, enum stepping stepping);

/* What the suite must know about a transport. A new one is strict. */
struct traits {
	bool buffers; /* takes more than `slots` messages, in buffers of the kernel's */
	bool lends;   /* some messages are read where they lie */
	bool devices; /* a device copies them: where it can, and without the receiver */
	bool offers;  /* messages come to the places that are offered for them */
	bool pulls;   /* or pulled; for shm only if HOCKET_CMA=2 makes it do so within a process */
};
struct traits traits_of(const struct hk_transport *t);

#endif
