/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiving half of a connection of several sockets. Each socket is a stream of whole frames;
 * the numbers of the messages restore their order. A stream has a flat buffer as long as the
 * sender's ring and a little more: the sender does not go further ahead of a message that is
 * missing, so that all that can come before it has room, even if it comes last, again, over a
 * socket that had others queued.
 *
 * Usually the next message is at the head of some stream. After a socket was lost, messages that
 * are sent again come behind later ones (the stream is then out of order, and searched), or a
 * second time (their number has passed, and they are skipped). A socket that ends leaves what it
 * delivered; only its torn last frame is forgotten, which the sender knows was not acknowledged. It
 * is an error only if it was the last one.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "tcp.h"

#define TAKEN	   0u /* a frame's magic in our buffer once it has been released out of order */
#define FAR	   (1 << 28)
#define READ_BYTES ((size_t)1 << 18) /* in one call: what stays in cache */
#define GRACE_NS   100000000	     /* for a socket that is dialled just when the others end */
#define PATIENCE   32		     /* vain looks between two questions for further sockets */

struct stream {
	int fd; /* -1: it has ended */
	unsigned path;
	bool replaced;		 /* the sender has another socket for the path */
	bool disorder;		 /* frames in the buffer are not in the order of their numbers */
	uint32_t last;		 /* number of the last frame seen */
	size_t head, seen, tail; /* frames in [head .. seen), parts of one in [seen .. tail) */
	size_t touched;
	uint8_t *buffer;
	char name[HK_TCP_NAME];
};

struct hk_tcp_gather {
	size_t size; /* of the streams' buffers */
	unsigned nstreams;
	struct stream streams[HK_TCP_STREAMS];
	struct stream *from; /* of the message that is held, or was found */
	size_t at;
	unsigned misses, turn;
	int64_t ended_ns; /* none has been alive since; 0: some are */
	int end;	  /* errno of the last stream that ended (0: without one) ... */
	const char *name; /* ... and its name */
};

/* --- frames in a buffer --- */

static struct hk_tcp_header header_at(const struct stream *s, size_t at)
{
	struct hk_tcp_header h;

	memcpy(&h, s->buffer + at, sizeof(h));
	return (struct hk_tcp_header){le32toh(h.magic), le32toh(h.bytes), le32toh(h.mark),
				      le32toh(h.number)};
}

/* Notes the complete frames that have come. 0 or the error. */
static int see(struct hk_tcp_recv *r, struct stream *s)
{
	while (s->tail - s->seen >= sizeof(struct hk_tcp_header)) {
		struct hk_tcp_header h = header_at(s, s->seen);
		int32_t ahead = (int32_t)(h.number - r->number);

		if (h.magic != HK_TCP_MAGIC || h.bytes > r->base.slot_bytes || ahead > FAR ||
		    ahead < -FAR) {
			for (unsigned i = 0; i < r->gather->nstreams; i++)
				if (r->gather->streams[i].fd >= 0)
					shutdown(r->gather->streams[i].fd, SHUT_RDWR);
			return hk_tcp_malformed(r, &h, r->number);
		}
		if (s->tail - s->seen < hk_tcp_frame_bytes(h.bytes))
			return 0;
		if (s->seen > s->head && (int32_t)(h.number - s->last) < 0)
			s->disorder = true;
		s->last = h.number;
		s->seen += hk_tcp_frame_bytes(h.bytes);
	}
	return 0;
}

/* Drops what has been released, or came a second time, from the head. */
static void skip(struct stream *s, uint32_t next)
{
	while (s->head < s->seen) {
		struct hk_tcp_header h = header_at(s, s->head);

		if (h.magic != TAKEN && (int32_t)(h.number - next) >= 0)
			return;
		s->head += hk_tcp_frame_bytes(h.bytes);
	}
	s->disorder = false;
}

/* Whether the stream has message `next`; then *at. */
static bool has(struct stream *s, uint32_t next, size_t *at)
{
	struct hk_tcp_header h;

	skip(s, next);
	for (size_t i = s->head; i < s->seen; i += hk_tcp_frame_bytes(h.bytes)) {
		h = header_at(s, i);
		if (h.magic != TAKEN && h.number == next) {
			*at = i;
			return true;
		}
		if (!s->disorder)
			break;
	}
	return false;
}

static bool find(struct hk_tcp_recv *r)
{
	struct hk_tcp_gather *g = r->gather;

	for (unsigned i = 0; i < g->nstreams; i++) {
		struct stream *s = &g->streams[(g->turn + i) % g->nstreams];

		if (has(s, r->number, &g->at)) {
			g->from = s;
			return true;
		}
	}
	return false;
}

/* --- streams that come and go --- */

static void stream_end(struct hk_tcp_gather *g, struct stream *s, int err)
{
	if (s->fd < 0)
		return;
	g->name = s->name;
	g->end = err;
	close(s->fd);
	s->fd = -1;
	s->tail = s->seen;
}

/* A place for a new stream: one that has ended and is empty, or the next. NULL: none is left. */
static struct stream *find_place(struct hk_tcp_gather *g, uint32_t next)
{
	for (unsigned i = 0; i < g->nstreams; i++) {
		struct stream *s = &g->streams[i];

		skip(s, next);
		if (s->fd < 0 && s->head == s->seen)
			return s;
	}
	if (g->nstreams == HK_TCP_STREAMS)
		return NULL;
	g->streams[g->nstreams].fd = -1;
	g->streams[g->nstreams].buffer = aligned_alloc(HK_TCP_LINE, g->size);
	return g->streams[g->nstreams].buffer ? &g->streams[g->nstreams++] : NULL;
}

static void stream_begin(struct stream *s, int fd, unsigned path)
{
	uint8_t *buffer = s->buffer;
	size_t touched = s->touched;

	hk_tcp_prepare_recv(fd);
	*s = (struct stream){.fd = fd, .path = path, .buffer = buffer, .touched = touched};
	s->head = s->seen = s->tail = HK_TCP_LEAD;
	hk_tcp_name(fd, s->name);
}

int hk_tcp_gather_greet(struct hk_tcp_recv *r)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)r->base.ep;
	struct hk_tcp_gather *g = r->gather;

	for (unsigned path = 1; path < HK_TCP_PATHS; path++) {
		uint32_t tag = HK_TCP_STRIPE_TAG | path << HK_TCP_PATH_SHIFT | r->base.channel;
		struct stream *s = r->held ? NULL : find_place(g, r->number);
		int fd = -1, rc;

		if (!s)
			return 0;
		rc = ep->wire->ops->answer(ep->wire, r->base.peer, tag, &fd);
		if (rc < 0)
			return r->error = rc;
		if (!rc)
			continue;
		/* What the sender gave up has all that it will ever have. */
		for (unsigned i = 0; i < g->nstreams; i++)
			g->streams[i].replaced |= g->streams[i].path == path;
		stream_begin(s, fd, path);
	}
	return 0;
}

/* Makes room at the end of the buffer. */
static void compact(struct stream *s)
{
	if (s->head == HK_TCP_LEAD)
		return;
	memmove(s->buffer + HK_TCP_LEAD, s->buffer + s->head, s->tail - s->head);
	s->seen -= s->head - HK_TCP_LEAD;
	s->tail -= s->head - HK_TCP_LEAD;
	s->head = HK_TCP_LEAD;
}

/* Takes what the kernel has of a stream. 0 or the error. */
static int fill(struct hk_tcp_recv *r, struct stream *s)
{
	struct hk_tcp_gather *g = r->gather;
	size_t room;
	ssize_t n;

	if (s->fd < 0)
		return 0;
	if (s->head == s->tail || g->size - s->tail < hk_tcp_frame_bytes(r->base.slot_bytes))
		compact(s);
	room = g->size - s->tail < READ_BYTES ? g->size - s->tail : READ_BYTES;
	if (!room)
		return 0;
	do
		n = recv(s->fd, s->buffer + s->tail, room, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		s->tail += (size_t)n;
		if (s->tail > s->touched)
			s->touched = s->tail;
		return see(r, s);
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && !s->replaced)
		return 0;
	stream_end(g, s, n ? errno : 0);
	return 0;
}

/* The next message is not in the buffers: 1 if it is now, 0, or the error. */
static int fetch(struct hk_tcp_recv *r)
{
	struct hk_tcp_gather *g = r->gather;
	bool alive = false;
	int rc = 0;

	for (unsigned i = 0; i < g->nstreams; i++) {
		struct stream *s = &g->streams[(g->turn + i) % g->nstreams];

		rc = fill(r, s);
		if (rc)
			return rc;
		if (has(s, r->number, &g->at)) {
			g->from = s;
			return 1;
		}
		alive |= s->fd >= 0;
	}
	if (alive && ++g->misses % PATIENCE)
		return 0;
	rc = hk_tcp_gather_greet(r);
	for (unsigned i = 0; i < g->nstreams; i++)
		alive |= g->streams[i].fd >= 0;
	if (rc || alive) {
		g->ended_ns = 0;
		return rc;
	}
	if (!g->ended_ns)
		g->ended_ns = hk_now_ns();
	if (hk_now_ns() - g->ended_ns < GRACE_NS)
		return 0;
	return r->error = hk_tcp_lost(r->base.peer, r->host, r->base.channel, g->name, g->end);
}

/* --- operations --- */

static int gather_peek(struct hk_recv *base, const void **data, uint32_t *bytes, uint32_t *mark)
{
	struct hk_tcp_recv *r = (struct hk_tcp_recv *)base;
	struct hk_tcp_gather *g = r->gather;
	struct hk_tcp_header h;

	if (r->error)
		return r->error;
	r->told = false;
	if (!r->held && !find(r)) {
		int rc = fetch(r);

		if (rc <= 0)
			return rc;
	}
	r->held = true;
	h = header_at(g->from, g->at);
	*data = g->from->buffer + g->at + sizeof(h);
	*bytes = h.bytes;
	*mark = h.mark;
	return 1;
}

static int gather_release(struct hk_recv *base)
{
	struct hk_tcp_recv *r = (struct hk_tcp_recv *)base;
	struct hk_tcp_gather *g = r->gather;
	const uint32_t taken = TAKEN;

	if (r->error)
		return r->error;
	if (!r->held)
		return r->error = hk_fail(EINVAL,
					  "release of a message from rank %d that was not peeked",
					  base->peer);
	memcpy(g->from->buffer + g->at, &taken, sizeof(taken));
	r->number++;
	r->held = false;
	skip(g->from, r->number);
	/* The next one is most likely on the next socket. */
	g->turn = (unsigned)(g->from - g->streams) + 1;
	return 0;
}

static const struct hk_recv_ops gather_ops = {
	.peek = gather_peek,
	.pull = hk_pull_none,
	.release = gather_release,
	.offer = hk_offer_none,
};

bool hk_tcp_gather_ready(struct hk_tcp_recv *r)
{
	return r->held || find(r);
}

unsigned hk_tcp_gather_polls(const struct hk_tcp_recv *r, struct pollfd *polls)
{
	const struct hk_tcp_gather *g = r->gather;
	unsigned n = 0;

	for (unsigned i = 0; i < g->nstreams; i++)
		if (g->streams[i].fd >= 0)
			polls[n++] = (struct pollfd){.fd = g->streams[i].fd, .events = POLLIN};
	return n;
}

/* --- life --- */

int hk_tcp_gather_create(struct hk_tcp_recv *r, int fd)
{
	struct hk_tcp_endpoint *ep = (struct hk_tcp_endpoint *)r->base.ep;
	struct hk_tcp_gather *g = calloc(1, sizeof(*g));
	size_t slots = ep->slots * (HK_TCP_LINE + (size_t)ep->slot_bytes);
	struct stream *s = NULL;
	int rc;

	if (g) {
		g->size = (slots > HK_TCP_WINDOW ? slots : HK_TCP_WINDOW) +
			  2 * (HK_TCP_LINE + (size_t)ep->slot_bytes);
		s = find_place(g, 0);
	}
	rc = s ? hk_tcp_grow_polls(ep, HK_TCP_STREAMS)
	       : hk_fail(ENOMEM, "no memory for a connection of several sockets from rank %d",
			 r->base.peer);
	if (rc) {
		close(fd);
		hk_tcp_gather_free(g);
		return rc;
	}
	stream_begin(s, fd, 0);
	/* Its own buffer was for one socket. */
	ep->memory -= r->size;
	free(r->buffer);
	r->buffer = NULL;
	r->size = 0;
	r->gather = g;
	r->base.ops = &gather_ops;
	return 1;
}

void hk_tcp_gather_leave(struct hk_tcp_gather *g)
{
	for (unsigned i = 0; g && i < g->nstreams; i++)
		if (g->streams[i].fd >= 0)
			shutdown(g->streams[i].fd, SHUT_RDWR);
}

void hk_tcp_gather_free(struct hk_tcp_gather *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < g->nstreams; i++) {
		if (g->streams[i].fd >= 0)
			close(g->streams[i].fd);
		free(g->streams[i].buffer);
	}
	free(g);
}

size_t hk_tcp_gather_memory(const struct hk_tcp_gather *g)
{
	size_t bytes = sizeof(*g);

	for (unsigned i = 0; i < g->nstreams; i++)
		bytes += g->streams[i].touched;
	return bytes;
}
