/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the tcp transport share:
 *
 *   tcp.c         the endpoint: opening, connecting, waiting
 *   tcp_move.c    the fast path of a connection that is one socket
 *   tcp_stripe.c  the sending half of a connection of several sockets
 *   tcp_gather.c  its receiving half
 *   tcp_opener.c  the thread that dials the further sockets of striped connections
 *   tcp_socket.c  one socket's health, and its name in sentences
 *
 * On the wire a message is a frame: four little-endian words (magic, payload bytes, mark, number of
 * the message), the payload, and zeros up to a multiple of 16, which keeps every payload aligned in
 * the receiver's buffer. Nothing in a header is believed before it is checked.
 */
#ifndef HK_TRANSPORT_TCP_H
#define HK_TRANSPORT_TCP_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport.h"

/* Tags of dials: "tcp" and the channel for a connection's only socket; for sockets of a striped
 * connection "tm", the path's number and the channel. */
#define HK_TCP_TAG	  0x74637000u
#define HK_TCP_STRIPE_TAG 0x746d0000u
#define HK_TCP_PATH_SHIFT 8
#define HK_TCP_CHANNELS	  256

#define HK_TCP_MAGIC 0x314b4f48u /* "HOK1" */
#define HK_TCP_ALIGN 16
#define HK_TCP_LINE  64

struct hk_tcp_header {
	uint32_t magic, bytes, mark, number;
};
_Static_assert(sizeof(struct hk_tcp_header) == HK_TCP_ALIGN, "the payload follows aligned");

/* Where a header lies in front of a payload that begins a cache line. */
#define HK_TCP_LEAD (HK_TCP_LINE - sizeof(struct hk_tcp_header))

static inline size_t hk_tcp_frame_bytes(uint32_t payload)
{
	return sizeof(struct hk_tcp_header) +
	       ((size_t)payload + HK_TCP_ALIGN - 1) / HK_TCP_ALIGN * HK_TCP_ALIGN;
}

/* Bytes in flight on a striped connection, at least: what fast sockets may be ahead of slow ones.
 */
#define HK_TCP_WINDOW	 ((size_t)1 << 20)
#define HK_TCP_ROUTES	 4
#define HK_TCP_MOST_WAYS 8			/* routes times sockets */
#define HK_TCP_PATHS	 (1 + HK_TCP_MOST_WAYS) /* and the first socket */
#define HK_TCP_STREAMS	 (2 * HK_TCP_PATHS) /* the receiver still empties those that were lost */
#define HK_TCP_NAME	 160		    /* longest name of a socket or host */

struct hk_tcp_endpoint;

/* --- one socket: tcp_move.c --- */

struct hk_tcp_send {
	struct hk_send base;
	struct hk_tcp_send *next;
	int fd;
	int error;
	bool reserved;	   /* the slot after the pending ones */
	uint32_t number;   /* of the next message, modulo 2^32 */
	uint32_t first;	   /* the oldest frame that the kernel has not taken ... */
	uint32_t pending;  /* ... how many there are from there on ... */
	size_t taken;	   /* ... and how much of the first it has taken */
	size_t stride;	   /* from frame to frame */
	uint8_t *frames;   /* payloads begin cache lines */
	uint32_t *lengths; /* of the pending frames */
	char *host;
	int64_t looked_ns; /* at the socket's health */
	unsigned polled;   /* descriptors of this wait */
};

struct hk_tcp_gather;

struct hk_tcp_recv {
	struct hk_recv base;
	struct hk_tcp_recv *next;
	int fd; /* -1: the sender has not dialled yet, or the connection is striped */
	int error;
	bool held;	   /* the frame at head is peeked */
	bool told;	   /* wait() returned for it, and nobody peeked since */
	uint32_t number;   /* that the next message must have */
	size_t head, tail; /* received and not yet released: buffer[head .. tail) */
	size_t size;
	uint8_t *buffer;
	char *host;
	unsigned polled;	      /* descriptors of this wait */
	struct hk_tcp_gather *gather; /* of a striped connection */
};

extern const struct hk_send_ops hk_tcp_send_ops;
extern const struct hk_recv_ops hk_tcp_recv_ops;
/* Hands the kernel as much as it takes. 1: all of it; 0: not all; or the error. */
int hk_tcp_push(struct hk_tcp_send *s);
/* Takes the sender's first dial, if it has come: 1 or 0, or the error. */
int hk_tcp_meet(struct hk_tcp_recv *r);
/* Whether the next message is complete in the buffer: 1 or 0, or the error. */
int hk_tcp_has_message(struct hk_tcp_recv *r);
/* Notes that the peer sent nonsense; closes the sockets, so that it learns. */
int hk_tcp_malformed(struct hk_tcp_recv *r, const struct hk_tcp_header *h, uint32_t next);

/* --- several sockets: tcp_stripe.c --- */

/* One socket of a striped connection, and the wish for it. */
struct hk_tcp_path {
	int fd;		       /* -1: not there */
	uint64_t taken, acked; /* bytes: by our kernel, by the peer's */
	bool full;	       /* in this round */
	uint32_t torn;	       /* bytes of message torn_number that the kernel has yet to take */
	uint32_t torn_number;
	int64_t moved_ns; /* the last acknowledgement, or the first byte after idleness */
	int64_t rated_ns; /* the rate was measured up to then ... */
	uint64_t rated;	  /* ... and this byte */
	double rate;	  /* acknowledged bytes per nanosecond; 0: unknown */
	char name[HK_TCP_NAME];

	/* The opener's: */
	struct hk_tcp_path *next_wanted;
	unsigned route;
	int peer;
	uint32_t tag;
	int64_t due, pause;
	_Atomic int opened; /* a socket for fd, or -1 */
};

struct hk_tcp_message {
	size_t at;	 /* of its frame in the ring */
	uint32_t length; /* of the frame */
	int path;	 /* that carries it, or UNSENT or ARRIVED */
	uint64_t end;	 /* in that path's bytes */
};

#define HK_TCP_MESSAGES 512

struct hk_tcp_stripe {
	struct hk_send base;
	struct hk_tcp_stripe *next;
	int error;
	bool reserved;
	size_t reserved_at, reserved_stride;
	uint32_t first, todo, number; /* oldest unacknowledged, oldest unsent, next message */
	size_t head, tail, room;      /* of the ring: next free byte, oldest kept byte, all */
	uint8_t *ring;
	size_t touched;
	unsigned npaths;
	struct hk_tcp_path paths[HK_TCP_PATHS];
	struct hk_tcp_message messages[HK_TCP_MESSAGES]; /* by number */
	char *host;
	int64_t looked_ns;
};

extern const struct hk_send_ops hk_tcp_stripe_ops;
/* Takes over the first socket; asks the opener for `ways` others. */
int hk_tcp_stripe_create(struct hk_tcp_endpoint *ep, int peer, uint32_t channel, unsigned routes,
			 unsigned sockets, int fd, const char *host, struct hk_tcp_stripe **stripe);
/* After the opener has ended. */
void hk_tcp_stripe_free(struct hk_tcp_stripe *s);
/* Sends, frees what has arrived, and looks after the sockets; 1: all has arrived; 0; or the error.
 */
int hk_tcp_stripe_tend(struct hk_tcp_stripe *s);
/* Adds the sockets that keep messages waiting; how many. */
unsigned hk_tcp_stripe_polls(const struct hk_tcp_stripe *s, struct pollfd *polls);
size_t hk_tcp_stripe_memory(const struct hk_tcp_stripe *s);

/* --- several sockets: tcp_gather.c --- */

/* Makes r the receiving half of a striped connection; takes over the first socket. */
int hk_tcp_gather_create(struct hk_tcp_recv *r, int fd);
void hk_tcp_gather_free(struct hk_tcp_gather *g);
/* Ends its sockets; NULL is fine. */
void hk_tcp_gather_leave(struct hk_tcp_gather *g);
/* Takes further sockets that have come. 0 or the error. */
int hk_tcp_gather_greet(struct hk_tcp_recv *r);
/* Whether the next message is in the buffers. */
bool hk_tcp_gather_ready(struct hk_tcp_recv *r);
unsigned hk_tcp_gather_polls(const struct hk_tcp_recv *r, struct pollfd *polls);
size_t hk_tcp_gather_memory(const struct hk_tcp_gather *g);

/* --- tcp_opener.c --- */

struct hk_tcp_opener;

int hk_tcp_opener_create(struct hk_wire *wire, struct hk_tcp_opener **opener);
/* Dials until it is there: then path->opened is the socket. Again after a loss. */
void hk_tcp_opener_want(struct hk_tcp_opener *o, struct hk_tcp_path *path);
/* Ends the thread; NULL is fine. */
void hk_tcp_opener_destroy(struct hk_tcp_opener *o);

/* --- tcp_socket.c --- */

/* Prepares a socket that is written to, or read from. */
void hk_tcp_prepare_send(int fd);
void hk_tcp_prepare_recv(int fd);
/* Bytes that the kernel has taken and the peer's has not acknowledged; negative: unknown. */
int64_t hk_tcp_unacked(int fd);
/* Whether a socket with unacknowledged data is to be given up: 0, or an errno, which is ETIMEDOUT
 * where retransmissions and probes have had no answer for so long. */
int hk_tcp_judge(int fd, int64_t limit_ns);
/* "eth1, 10.0.1.1 to 10.0.1.2" */
void hk_tcp_name(int fd, char name[HK_TCP_NAME]);
/* Says that the connection is lost, and why; err 0 means an end without an error. */
int hk_tcp_lost(int peer, const char *host, uint32_t channel, const char *name, int err);

/* --- tcp.c --- */

struct hk_tcp_endpoint {
	struct hk_endpoint base;
	struct hk_wire *wire;
	uint32_t slots, slot_bytes;
	int64_t failover_ns, timeout_ns;
	struct hk_tcp_send *sends;
	struct hk_tcp_stripe *stripes;
	struct hk_tcp_recv *recvs;
	struct hk_tcp_opener *opener;
	struct pollfd *polls; /* room for all sockets that there may be */
	unsigned npolls;
	int64_t nap_ns; /* of the next wait for what no socket tells of */
	size_t memory;
};

/* Makes room for so many more descriptors to wait on. */
int hk_tcp_grow_polls(struct hk_tcp_endpoint *ep, unsigned more);

#define HK_TCP_FIRST_NAP 50000

#endif
