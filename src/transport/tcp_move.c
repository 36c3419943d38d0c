/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fast path of a connection that is one socket: the usual case, and the only one inside a host.
 *
 * The sender stages a message in one of `slots` frames, header and payload side by side, and hands
 * it to the kernel when it is committed; what the kernel does not take at once goes with later
 * calls, many frames at a time. While all is taken the same frame serves again and stays in cache.
 * The receiver takes whatever the kernel has, in one call, into a flat buffer, and shows the frames
 * there in place; only the torn frame at the buffer's end is ever moved. The kernel's buffers come
 * on top of the slots; their sizes are left to the kernel, whose tuning by the path beats any
 * constant.
 *
 * A receiver learns from the first dial what it is to be: a striped connection's comes with another
 * tag, and from then on the receiver has the operations of tcp_gather.c.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "error.h"
#include "tcp.h"

#define BURST 16 /* frames in one sendmsg */

static int __attribute__((cold, noinline))
lost(int peer, const char *host, uint32_t channel, int fd, int err)
{
	char name[HK_TCP_NAME];

	hk_tcp_name(fd, name);
	return hk_tcp_lost(peer, host, channel, name, err);
}

/* --- sending --- */

static uint8_t *frame_at(const struct hk_tcp_send *s, uint32_t i)
{
	return s->frames + i % s->base.slots * s->stride + HK_TCP_LEAD;
}

static void frames_taken(struct hk_tcp_send *s, size_t n)
{
	n += s->taken;
	while (s->pending && n >= s->lengths[s->first]) {
		n -= s->lengths[s->first];
		s->first = (s->first + 1) % s->base.slots;
		s->pending--;
	}
	s->taken = n;
}

int hk_tcp_push(struct hk_tcp_send *s)
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
			return s->error =
				       lost(s->base.peer, s->host, s->base.channel, s->fd, errno);
		frames_taken(s, (size_t)n);
		if ((size_t)n < total)
			return 0;
	}
	return 1;
}

static int tcp_reserve(struct hk_send *base, uint32_t bytes, void **slot)
{
	struct hk_tcp_send *s = (struct hk_tcp_send *)base;

	if (s->error)
		return s->error;
	if (bytes > base->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "a message of %u bytes to rank %d is longer than a slot "
					  "(%u)",
					  bytes, base->peer, base->slot_bytes);
	if (!s->reserved) {
		if (s->pending && hk_tcp_push(s) < 0)
			return s->error;
		if (s->pending == base->slots)
			return 0;
		if (!s->pending)
			s->first = 0;
		s->reserved = true;
	}
	*slot = frame_at(s, s->first + s->pending) + sizeof(struct hk_tcp_header);
	return 1;
}

static int tcp_commit(struct hk_send *base, uint32_t bytes, uint32_t mark)
{
	struct hk_tcp_send *s = (struct hk_tcp_send *)base;
	size_t length = hk_tcp_frame_bytes(bytes);
	struct hk_tcp_header *h;

	if (s->error)
		return s->error;
	if (!s->reserved || bytes > base->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "commit of %u bytes to rank %d without a slot reserved "
					  "for them",
					  bytes, base->peer);
	h = (struct hk_tcp_header *)frame_at(s, s->first + s->pending);
	*h = (struct hk_tcp_header){htole32(HK_TCP_MAGIC), htole32(bytes), htole32(mark),
				    htole32(s->number)};
	memset((uint8_t *)(h + 1) + bytes, 0, length - sizeof(*h) - bytes);
	s->lengths[(s->first + s->pending) % base->slots] = (uint32_t)length;
	s->number++;
	s->pending++;
	s->reserved = false;
	return hk_tcp_push(s) < 0 ? s->error : 0;
}

static int tcp_flush(struct hk_send *base)
{
	struct hk_tcp_send *s = (struct hk_tcp_send *)base;

	return s->error ? s->error : hk_tcp_push(s);
}

/* What the peer's kernel has comes, too, when this process has ended; what ours has may not. */
static int tcp_settle(struct hk_send *base)
{
	struct hk_tcp_send *s = (struct hk_tcp_send *)base;
	int r = tcp_flush(base);

	if (r <= 0 || hk_tcp_unacked(s->fd) <= 0)
		return r;
	return hk_tcp_judge(s->fd, ((struct hk_tcp_endpoint *)base->ep)->timeout_ns) != 0;
}

/* --- receiving --- */

int __attribute__((cold, noinline)) hk_tcp_meet(struct hk_tcp_recv *r)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)r->base.ep;
	const struct hk_wire_ops *wire = ep->wire->ops;
	int fd = -1;
	int rc = wire->answer(ep->wire, r->base.peer, HK_TCP_TAG | r->base.channel, &fd);

	if (!rc) {
		rc = wire->answer(ep->wire, r->base.peer, HK_TCP_STRIPE_TAG | r->base.channel, &fd);
		if (rc > 0)
			rc = hk_tcp_gather_create(r, fd);
	} else if (rc > 0) {
		hk_tcp_prepare_recv(fd);
		r->fd = fd;
	}
	if (rc < 0)
		return r->error = rc;
	if (rc)
		ep->nap_ns = HK_TCP_FIRST_NAP;
	return rc;
}

int __attribute__((cold, noinline))
hk_tcp_malformed(struct hk_tcp_recv *r, const struct hk_tcp_header *h, uint32_t next)
{
	r->error =
		hk_fail(HK_EWIRE,
			"rank %d sent a malformed message on channel %u: magic %#x, %u bytes "
			"(at most %u), number %u (%u is next); do all ranks run the same version "
			"with the same HOCKET_SLOT_BYTES?",
			r->base.peer, r->base.channel, h->magic, h->bytes, r->base.slot_bytes,
			h->number, next);
	/* The sender learns it by its next message, and so does not wait for us. */
	if (r->fd >= 0)
		shutdown(r->fd, SHUT_RDWR);
	return r->error;
}

/* Whether the frame at head is complete: 1 or 0, or the error when it makes no sense. */
static int parse(struct hk_tcp_recv *r, struct hk_tcp_header *h)
{
	if (r->tail - r->head < sizeof(*h))
		return 0;
	memcpy(h, r->buffer + r->head, sizeof(*h));
	*h = (struct hk_tcp_header){le32toh(h->magic), le32toh(h->bytes), le32toh(h->mark),
				    le32toh(h->number)};
	if (h->magic == HK_TCP_MAGIC && h->bytes <= r->base.slot_bytes && h->number == r->number)
		return r->tail - r->head >= hk_tcp_frame_bytes(h->bytes);
	return hk_tcp_malformed(r, h, r->number);
}

/* Takes what the kernel has. 1: something; 0: nothing yet; or the error. */
static int fill(struct hk_tcp_recv *r)
{
	ssize_t n;

	if (r->head == r->tail || r->size - r->head < hk_tcp_frame_bytes(r->base.slot_bytes)) {
		memmove(r->buffer + HK_TCP_LEAD, r->buffer + r->head, r->tail - r->head);
		r->tail -= r->head - HK_TCP_LEAD;
		r->head = HK_TCP_LEAD;
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
	return r->error = lost(r->base.peer, r->host, r->base.channel, r->fd, n ? errno : 0);
}

int hk_tcp_has_message(struct hk_tcp_recv *r)
{
	struct hk_tcp_header h;

	return parse(r, &h);
}

static int tcp_peek(struct hk_recv *base, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct hk_tcp_recv *r = (struct hk_tcp_recv *)base;
	struct hk_tcp_header h;
	int rc;

	if (r->error)
		return r->error;
	r->told = false;
	if (__builtin_expect(r->fd < 0, 0)) {
		rc = hk_tcp_meet(r);
		if (rc <= 0)
			return rc;
		if (r->gather)
			return base->ops->peek(base, data, bytes, mark);
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
	struct hk_tcp_recv *r = (struct hk_tcp_recv *)base;
	const struct hk_tcp_header *h = (const struct hk_tcp_header *)(r->buffer + r->head);

	if (r->error)
		return r->error;
	if (!r->held)
		return r->error = hk_fail(EINVAL,
					  "release of a message from rank %d that was not peeked",
					  base->peer);
	r->head += hk_tcp_frame_bytes(le32toh(h->bytes));
	r->number++;
	r->held = false;
	return 0;
}

const struct hk_send_ops hk_tcp_send_ops = {
	.reserve = tcp_reserve,
	.commit = tcp_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = tcp_flush,
	.owes = hk_owes_none,
	.settle = tcp_settle,
};
const struct hk_recv_ops hk_tcp_recv_ops = {
	.peek = tcp_peek,
	.pull = hk_pull_none,
	.release = tcp_release,
	.offer = hk_offer_none,
};
