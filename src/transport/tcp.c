/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tcp: the fallback that always works. A connection is one stream socket, dialled by the sender and
 * answered by the receiver through the bootstrap, which has authenticated it; no call blocks. A
 * receiver asks for the sender's dial whenever it looks for a message, until it has come.
 *
 * On the wire a message is a frame: four little-endian words (magic, payload bytes, mark, number of
 * the message), the payload, and zeros up to a multiple of 16, which keeps every payload aligned in
 * the receiver's buffer. Nothing in a header is believed before it is checked.
 *
 * The sender stages a message in one of `slots` frames, header and payload side by side, and hands
 * it to the kernel when it is committed; what the kernel does not take at once goes with later
 * calls, many frames at a time. While all is taken the same frame serves again and stays in cache.
 * The receiver takes whatever the kernel has, in one call, into a flat buffer, and shows the frames
 * there in place; only the torn frame at the buffer's end is ever moved. The kernel's buffers come
 * on top of the slots; their sizes are left to the kernel, whose tuning by the path beats any
 * constant.
 *
 * An endpoint and its connections belong to one thread at a time.
 */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "error.h"
#include "transport.h"

#define TAG	   0x74637000u /* "tcp", and the channel in the last byte */
#define CHANNELS   256
#define MAGIC	   0x314b4f48u /* "HOK1" */
#define ALIGN	   16
#define LINE	   64
#define BURST	   16 /* frames in one sendmsg */
#define SLOT_LIMIT (1u << 30)
/* Pauses between two questions whether a sender has dialled: they grow, as it may be long. */
#define NAP_FIRST 50000
#define NAP_LAST  2000000

struct header {
	uint32_t magic, bytes, mark, number;
};
_Static_assert(sizeof(struct header) == ALIGN, "the payload follows aligned");

/* Where a header lies in front of a payload that begins a cache line. */
#define LEAD (LINE - sizeof(struct header))

struct tcp_send {
	struct hk_send base;
	struct tcp_send *next;
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
};

struct tcp_recv {
	struct hk_recv base;
	struct tcp_recv *next;
	int fd; /* -1: the sender has not dialled yet */
	int error;
	bool held;	   /* the frame at head is peeked */
	bool told;	   /* wait() returned for it, and nobody peeked since */
	uint32_t number;   /* that the next message must have */
	size_t head, tail; /* received and not yet released: buffer[head .. tail) */
	size_t size;
	uint8_t *buffer;
};

struct tcp_endpoint {
	struct hk_endpoint base;
	struct hk_wire *wire;
	uint32_t slots, slot_bytes;
	struct tcp_send *sends;
	struct tcp_recv *recvs;
	struct pollfd *polls; /* room for all connections */
	unsigned nconns;
	int64_t nap_ns; /* of the next wait for a dial */
	size_t memory;
};

static size_t frame_bytes(uint32_t payload)
{
	return sizeof(struct header) + ((size_t)payload + ALIGN - 1) / ALIGN * ALIGN;
}

static int connection_lost(int peer, uint32_t channel, int err)
{
	if (!err || err == EPIPE || err == ECONNRESET)
		return hk_fail(HK_EPEER,
			       "rank %d closed its connection on channel %u while it was needed "
			       "(it died or aborted; its own log says why)",
			       peer, channel);
	return hk_fail(HK_EPEER,
		       "the connection with rank %d on channel %u broke: %s (its host or the "
		       "network failed)",
		       peer, channel, strerrordesc_np(err));
}

/* --- sending --- */

static uint8_t *frame_at(const struct tcp_send *s, uint32_t i)
{
	return s->frames + i % s->base.slots * s->stride + LEAD;
}

static void frames_taken(struct tcp_send *s, size_t n)
{
	n += s->taken;
	while (s->pending && n >= s->lengths[s->first]) {
		n -= s->lengths[s->first];
		s->first = (s->first + 1) % s->base.slots;
		s->pending--;
	}
	s->taken = n;
}

/* Hands the kernel as much as it takes. 1: all of it; 0: not all; or the error. */
static int push(struct tcp_send *s)
{
	while (s->pending) {
		struct iovec iov[BURST];
		struct msghdr msg = {.msg_iov = iov};
		size_t total = 0;
		ssize_t n;

		for (uint32_t i = 0; i < s->pending && i < BURST; i++) {
			size_t skip = i ? 0 : s->taken;

			iov[i].iov_base = frame_at(s, s->first + i) + skip;
			iov[i].iov_len = s->lengths[(s->first + i) % s->base.slots] - skip;
			total += iov[i].iov_len;
			msg.msg_iovlen++;
		}
		n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (n < 0)
			return s->error = connection_lost(s->base.peer, s->base.channel, errno);
		frames_taken(s, (size_t)n);
		if ((size_t)n < total)
			return 0;
	}
	return 1;
}

static int tcp_reserve(struct hk_send *base, uint32_t bytes, void **slot)
{
	struct tcp_send *s = (struct tcp_send *)base;

	if (s->error)
		return s->error;
	if (bytes > base->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "a message of %u bytes to rank %d is longer than a slot "
					  "(%u)",
					  bytes, base->peer, base->slot_bytes);
	if (!s->reserved) {
		if (s->pending && push(s) < 0)
			return s->error;
		if (s->pending == base->slots)
			return 0;
		if (!s->pending)
			s->first = 0;
		s->reserved = true;
	}
	*slot = frame_at(s, s->first + s->pending) + sizeof(struct header);
	return 1;
}

static int tcp_commit(struct hk_send *base, uint32_t bytes, uint32_t mark)
{
	struct tcp_send *s = (struct tcp_send *)base;
	size_t length = frame_bytes(bytes);
	struct header *h;

	if (s->error)
		return s->error;
	if (!s->reserved || bytes > base->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "commit of %u bytes to rank %d without a slot reserved "
					  "for them",
					  bytes, base->peer);
	h = (struct header *)frame_at(s, s->first + s->pending);
	*h = (struct header){htole32(MAGIC), htole32(bytes), htole32(mark), htole32(s->number)};
	memset((uint8_t *)(h + 1) + bytes, 0, length - sizeof(*h) - bytes);
	s->lengths[(s->first + s->pending) % base->slots] = (uint32_t)length;
	s->number++;
	s->pending++;
	s->reserved = false;
	return push(s) < 0 ? s->error : 0;
}

static int tcp_flush(struct hk_send *base)
{
	struct tcp_send *s = (struct tcp_send *)base;

	return s->error ? s->error : push(s);
}

/* --- receiving --- */

/* Takes the sender's dial, if it has come: 1 or 0, or the error. */
static int __attribute__((cold, noinline)) meet(struct tcp_recv *r)
{
	struct tcp_endpoint *ep = (struct tcp_endpoint *)r->base.ep;
	int fd = -1;
	int rc = ep->wire->ops->answer(ep->wire, r->base.peer, TAG | r->base.channel, &fd);

	if (rc < 0)
		return r->error = rc;
	if (rc) {
		r->fd = fd;
		ep->nap_ns = NAP_FIRST;
	}
	return rc;
}

/* Whether the frame at head is complete: 1 or 0, or the error when it makes no sense. */
static int parse(struct tcp_recv *r, struct header *h)
{
	if (r->tail - r->head < sizeof(*h))
		return 0;
	memcpy(h, r->buffer + r->head, sizeof(*h));
	*h = (struct header){le32toh(h->magic), le32toh(h->bytes), le32toh(h->mark),
			     le32toh(h->number)};
	if (h->magic == MAGIC && h->bytes <= r->base.slot_bytes && h->number == r->number)
		return r->tail - r->head >= frame_bytes(h->bytes);
	r->error =
		hk_fail(HK_EWIRE,
			"rank %d sent a malformed message on channel %u: magic %#x, %u bytes "
			"(at most %u), number %u (%u is next); do all ranks run the same version "
			"with the same HOCKET_SLOT_BYTES?",
			r->base.peer, r->base.channel, h->magic, h->bytes, r->base.slot_bytes,
			h->number, r->number);
	/* The sender learns it by its next message, and so does not wait for us. */
	shutdown(r->fd, SHUT_RDWR);
	return r->error;
}

/* Takes what the kernel has. 1: something; 0: nothing yet; or the error. */
static int fill(struct tcp_recv *r)
{
	ssize_t n;

	if (r->head == r->tail || r->size - r->head < frame_bytes(r->base.slot_bytes)) {
		memmove(r->buffer + LEAD, r->buffer + r->head, r->tail - r->head);
		r->tail -= r->head - LEAD;
		r->head = LEAD;
	}
	do
		n = recv(r->fd, r->buffer + r->tail, r->size - r->tail, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		r->tail += (size_t)n;
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	return r->error = connection_lost(r->base.peer, r->base.channel, n ? errno : 0);
}

static int tcp_peek(struct hk_recv *base, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct tcp_recv *r = (struct tcp_recv *)base;
	struct header h;
	int rc;

	if (r->error)
		return r->error;
	r->told = false;
	if (__builtin_expect(r->fd < 0, 0)) {
		rc = meet(r);
		if (rc <= 0)
			return rc;
	}
	rc = parse(r, &h);
	if (!rc) {
		rc = fill(r);
		if (rc > 0)
			rc = parse(r, &h);
	}
	if (rc <= 0)
		return rc;
	r->held = true;
	*data = r->buffer + r->head + sizeof(h);
	*bytes = h.bytes;
	*mark = h.mark;
	return 1;
}

static int tcp_release(struct hk_recv *base)
{
	struct tcp_recv *r = (struct tcp_recv *)base;
	const struct header *h = (const struct header *)(r->buffer + r->head);

	if (r->error)
		return r->error;
	if (!r->held)
		return r->error = hk_fail(EINVAL,
					  "release of a message from rank %d that was not peeked",
					  base->peer);
	r->head += frame_bytes(le32toh(h->bytes));
	r->number++;
	r->held = false;
	return 0;
}

static const struct hk_send_ops send_ops = {
	.reserve = tcp_reserve,
	.commit = tcp_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = tcp_flush,
};
static const struct hk_recv_ops recv_ops = {
	.peek = tcp_peek,
	.pull = hk_pull_none,
	.release = tcp_release,
	.offer = hk_offer_none,
};

/* --- waiting --- */

/*
 * Fills polls, receivers first. A receiver that the last wait() reported and that nobody peeked
 * since is left out: its lane is waiting for something else, and would make this a spin. Returns
 * how long to wait: not at all if there is something already, and not long while a dial is due,
 * which no socket tells of.
 */
static int64_t prepare_polls(struct tcp_endpoint *ep, int64_t timeout_ns)
{
	struct pollfd *p = ep->polls;
	struct header h;
	bool ready = false, due = false;

	for (struct tcp_recv *r = ep->recvs; r; r = r->next, p++) {
		bool idle = r->error || r->told || r->held;

		if (!idle && r->fd < 0) {
			int rc = meet(r);

			due |= rc == 0;
			ready |= rc < 0;
			idle = rc <= 0;
		}
		*p = (struct pollfd){.fd = idle ? -1 : r->fd, .events = POLLIN};
		if (!idle && parse(r, &h)) {
			r->told = true;
			ready = true;
		}
	}
	for (struct tcp_send *s = ep->sends; s; s = s->next, p++)
		*p = (struct pollfd){.fd = s->error || !s->pending ? -1 : s->fd, .events = POLLOUT};
	if (ready || timeout_ns < 0)
		return 0;
	if (due && timeout_ns > ep->nap_ns) {
		timeout_ns = ep->nap_ns;
		ep->nap_ns = 2 * ep->nap_ns < NAP_LAST ? 2 * ep->nap_ns : NAP_LAST;
	}
	return timeout_ns;
}

static void tcp_wait(struct hk_endpoint *base, int64_t timeout_ns)
{
	struct tcp_endpoint *ep = (struct tcp_endpoint *)base;
	const struct pollfd *p = ep->polls;
	struct timespec timeout;

	timeout_ns = prepare_polls(ep, timeout_ns);
	timeout = (struct timespec){timeout_ns / 1000000000, timeout_ns % 1000000000};
	if (ppoll(ep->polls, ep->nconns, &timeout, NULL) <= 0)
		return;
	for (struct tcp_recv *r = ep->recvs; r; r = r->next, p++)
		if (p->revents)
			r->told = true;
	/* An error stays in the connection, for whoever asks it next. */
	for (struct tcp_send *s = ep->sends; s; s = s->next, p++)
		if (p->revents)
			push(s);
}

/* --- connecting --- */

static int check_peer(const struct tcp_endpoint *ep, int peer, uint32_t channel)
{
	if (peer < 0 || peer >= ep->base.nranks || peer == ep->base.rank || channel >= CHANNELS)
		return hk_fail(EINVAL, "no connection between ranks %d and %d of %d on channel %u",
			       ep->base.rank, peer, ep->base.nranks, channel);
	return 0;
}

static int grow_polls(struct tcp_endpoint *ep)
{
	struct pollfd *polls = realloc(ep->polls, (ep->nconns + 1) * sizeof(*polls));

	if (!polls)
		return hk_fail(ENOMEM, "no memory for a connection");
	ep->polls = polls;
	return 0;
}

static void send_free(struct tcp_send *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->lengths);
	free(s->frames);
	free(s);
}

static int tcp_connect_send(struct hk_endpoint *base, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_send **conn)
{
	struct tcp_endpoint *ep = (struct tcp_endpoint *)base;
	const int on = 1;
	struct tcp_send *s;
	int rc = check_peer(ep, peer, channel);

	if (!rc)
		rc = grow_polls(ep);
	if (rc)
		return rc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return hk_fail(ENOMEM, "no memory for a connection to rank %d", peer);
	s->base = (struct hk_send){.ops = &send_ops,
				   .ep = base,
				   .peer = peer,
				   .channel = channel,
				   .slots = ep->slots,
				   .slot_bytes = ep->slot_bytes};
	s->fd = -1;
	s->stride = LINE + (size_t)ep->slot_bytes;
	s->frames = aligned_alloc(LINE, s->stride * ep->slots);
	s->lengths = calloc(ep->slots, sizeof(*s->lengths));
	if (!s->frames || !s->lengths) {
		send_free(s);
		return hk_fail(ENOMEM, "no memory for %u slots of %u bytes to rank %d", ep->slots,
			       ep->slot_bytes, peer);
	}
	rc = ep->wire->ops->dial(ep->wire, peer, TAG | channel, &s->fd);
	if (rc) {
		send_free(s);
		return rc;
	}
	/* No effect on a socket that is not TCP, and no harm. */
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->next = ep->sends;
	ep->sends = s;
	ep->nconns++;
	ep->memory +=
		sizeof(*s) + sizeof(*ep->polls) + ep->slots * (s->stride + sizeof(*s->lengths));
	*conn = &s->base;
	return 0;
}

static void recv_free(struct tcp_recv *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->buffer);
	free(r);
}

static int tcp_connect_recv(struct hk_endpoint *base, int peer, uint32_t channel,
			    const struct hk_addr *addr, struct hk_recv **conn)
{
	struct tcp_endpoint *ep = (struct tcp_endpoint *)base;
	struct tcp_recv *r;
	int rc = check_peer(ep, peer, channel);

	if (!rc)
		rc = grow_polls(ep);
	if (rc)
		return rc;
	r = calloc(1, sizeof(*r));
	if (!r)
		return hk_fail(ENOMEM, "no memory for a connection from rank %d", peer);
	r->base = (struct hk_recv){&recv_ops, base, peer, channel, ep->slots, ep->slot_bytes};
	r->fd = -1;
	r->head = r->tail = LEAD;
	r->size = ep->slots * (LINE + (size_t)ep->slot_bytes);
	r->buffer = aligned_alloc(LINE, r->size);
	if (!r->buffer) {
		recv_free(r);
		return hk_fail(ENOMEM, "no memory for %u slots of %u bytes from rank %d", ep->slots,
			       ep->slot_bytes, peer);
	}
	r->next = ep->recvs;
	ep->recvs = r;
	ep->nconns++;
	ep->nap_ns = NAP_FIRST;
	ep->memory += sizeof(*r) + sizeof(*ep->polls) + r->size;
	*conn = &r->base;
	return 0;
}

/* --- endpoint --- */

extern const struct hk_transport hk_transport_tcp;

static int tcp_open(const struct hk_endpoint_env *env, struct hk_endpoint **out,
		    struct hk_addr *addr)
{
	struct tcp_endpoint *ep;

	if (!env->wire)
		return -ENOTSUP; /* a world without a bootstrap: nothing to tell */
	if (!env->slots || !env->slot_bytes || env->slot_bytes % LINE ||
	    env->slot_bytes > SLOT_LIMIT)
		return hk_fail(EINVAL,
			       "tcp cannot have %u slots of %u bytes: set HOCKET_SLOT_BYTES to a "
			       "multiple of 4096 up to %u",
			       env->slots, env->slot_bytes, SLOT_LIMIT);
	ep = calloc(1, sizeof(*ep));
	if (!ep)
		return hk_fail(ENOMEM, "no memory for an endpoint");
	ep->base = (struct hk_endpoint){&hk_transport_tcp, env->rank, env->nranks};
	ep->wire = env->wire;
	ep->slots = env->slots;
	ep->slot_bytes = env->slot_bytes;
	ep->memory = sizeof(*ep);
	*addr = (struct hk_addr){{0}};
	*out = &ep->base;
	return 0;
}

/* What loopback and a good Ethernet have in common; the tuner measures if it wants to know. */
static bool tcp_reach(struct hk_endpoint *ep, int peer, const struct hk_addr *addr,
		      struct hk_cost *cost)
{
	*cost = (struct hk_cost){.latency_ns = 15000, .ns_per_byte = 0.5};
	return true;
}

static size_t tcp_memory(struct hk_endpoint *base)
{
	return ((struct tcp_endpoint *)base)->memory;
}

static void tcp_close(struct hk_endpoint *base)
{
	struct tcp_endpoint *ep = (struct tcp_endpoint *)base;

	if (!ep)
		return;
	for (struct tcp_send *s = ep->sends, *next; s; s = next) {
		next = s->next;
		send_free(s);
	}
	for (struct tcp_recv *r = ep->recvs, *next; r; r = next) {
		next = r->next;
		recv_free(r);
	}
	free(ep->polls);
	free(ep);
}

const struct hk_transport hk_transport_tcp = {
	.name = "tcp",
	.open = tcp_open,
	.reach = tcp_reach,
	.connect_send = tcp_connect_send,
	.connect_recv = tcp_connect_recv,
	.attach = hk_attach_none,
	.detach = hk_detach_none,
	.arm = hk_arm_none,
	.wait = tcp_wait,
	.sever = hk_sever_none,
	.memory = tcp_memory,
	.close = tcp_close,
};
