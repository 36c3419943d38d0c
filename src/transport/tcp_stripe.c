/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sending half of a connection of several sockets. Each message goes whole over one of them;
 * its number tells the receiver the order. It stays in the ring until the peer's kernel has
 * acknowledged it: what that has acknowledged it keeps for the receiver, whatever becomes of the
 * path. So when a socket is lost, exactly the messages on it that were not acknowledged go over
 * others, again, and if one of them had arrived after all, the receiver knows its number. No
 * message of ours is needed for any of this, and the receiver's process need not be awake. Flush
 * waits for the acknowledgements: before them this process may yet have to send again.
 *
 * The ring is freed in order, which bounds how far messages are ahead of a missing one, and so what
 * the receiver must be able to hold. A message goes to the socket that would have delivered it
 * first by what is outstanding there and by the rate that it was seen to have.
 *
 * The first socket is dialled like an only one, by whatever address answers first; the opener's
 * thread adds those that are pinned to interfaces. While there is one of these, the first is
 * not used. A silent socket is given up after HOCKET_TCP_FAILOVER_MS if there are others, the last
 * one after HOCKET_TCP_TIMEOUT_MS. What was lost is dialled again.
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

#define UNSENT	 (-1)
#define ARRIVED	 (-2)
#define LOOK_NS	 50000000 /* between two looks at the sockets' health */
#define RATED_NS 1000000  /* least time to judge a rate by, and ... */
#define RATED	 262144	  /* ... bytes, whichever is there first */

static struct hk_tcp_message *message(struct hk_tcp_stripe *s, uint32_t number)
{
	return &s->messages[number % HK_TCP_MESSAGES];
}

static struct hk_tcp_endpoint *endpoint(const struct hk_tcp_stripe *s)
{
	return (struct hk_tcp_endpoint *)s->base.ep;
}

/* --- sockets that come and go --- */

static unsigned count_live(const struct hk_tcp_stripe *s)
{
	unsigned live = 0;

	for (unsigned i = 0; i < s->npaths; i++)
		live += s->paths[i].fd >= 0;
	return live;
}

static void path_begin(struct hk_tcp_path *p, int fd)
{
	p->taken = p->acked = p->rated = 0;
	p->torn = 0;
	p->full = false;
	p->rate = 0;
	p->fd = fd;
	hk_tcp_name(fd, p->name);
}

/* Takes the sockets that the opener has opened. */
static void take_opened(struct hk_tcp_stripe *s)
{
	for (unsigned i = 1; i < s->npaths; i++) {
		struct hk_tcp_path *p = &s->paths[i];
		int fd;

		if (p->fd >= 0 || atomic_load_explicit(&p->opened, memory_order_relaxed) < 0)
			continue;
		fd = atomic_exchange_explicit(&p->opened, -1, memory_order_acquire);
		path_begin(p, fd);
		hk_log(HK_LOG_INFO, "channel %u to rank %d uses %s", s->base.channel, s->base.peer,
		       p->name);
	}
}

/* --- acknowledgements --- */

static void rate(struct hk_tcp_path *p, int64_t now)
{
	uint64_t bytes = p->acked - p->rated;
	int64_t ns = now - p->rated_ns;
	double sample;

	if (ns <= 0 || (bytes < RATED && ns < RATED_NS))
		return;
	sample = (double)bytes / (double)ns;
	p->rate = p->rate > 0 ? p->rate + (sample - p->rate) / 4 : sample;
	p->rated = p->acked;
	p->rated_ns = now;
}

static void ask(struct hk_tcp_stripe *s, struct hk_tcp_path *p)
{
	int64_t left = p->fd < 0 || p->acked == p->taken ? -1 : hk_tcp_unacked(p->fd);
	int64_t now;

	if (left < 0 || (uint64_t)left >= p->taken - p->acked)
		return;
	now = hk_now_ns();
	p->acked = p->taken - (uint64_t)left;
	p->moved_ns = now;
	rate(p, now);
	endpoint(s)->nap_ns = HK_TCP_FIRST_NAP;
}

/* --- losing sockets --- */

/* The path is lost: its unacknowledged messages are to be sent again. 0, or the error if it was the
 * last one. */
static int __attribute__((cold, noinline)) path_lost(struct hk_tcp_stripe *s, unsigned i, int err)
{
	const struct linger hard = {1, 0};
	struct hk_tcp_path *p = &s->paths[i];
	unsigned again = 0, live;

	/* What has arrived by now is not sent again: its receiver may have left. */
	ask(s, p);
	/* Let the kernel forget what it has not delivered. */
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(p->fd);
	p->fd = -1;
	take_opened(s);
	live = count_live(s);
	if (!live)
		return s->error = hk_tcp_lost(s->base.peer, s->host, s->base.channel, p->name, err);
	for (uint32_t n = s->first; n != s->number; n++) {
		struct hk_tcp_message *m = message(s, n);

		if (m->path != (int)i)
			continue;
		m->path = m->end <= p->acked ? ARRIVED : UNSENT;
		again += m->path == UNSENT;
	}
	s->todo = s->first;
	/* A peer that ends closes all sockets, and that is no news. */
	hk_log(err == EPIPE || err == ECONNRESET ? HK_LOG_INFO : HK_LOG_WARN,
	       "the socket to rank %d on host %s on channel %u (%s) was lost: %s; its %u messages "
	       "under way go over the other %u",
	       s->base.peer, s->host, s->base.channel, p->name, strerrordesc_np(err), again, live);
	if (i)
		hk_tcp_opener_want(endpoint(s)->opener, p);
	return 0;
}

/* The other connections to the peer need not find out one after the other what one did: their
 * sockets over the same way are given up as well, if they have others. */
static void tell_siblings(struct hk_tcp_stripe *s, unsigned route)
{
	for (struct hk_tcp_stripe *o = endpoint(s)->stripes; o; o = o->next) {
		if (o->base.peer != s->base.peer || o->error)
			continue;
		for (unsigned i = 1; i < o->npaths; i++) {
			bool elsewhere = false;

			for (unsigned k = 0; k < o->npaths; k++)
				elsewhere |=
					o->paths[k].fd >= 0 && (!k || o->paths[k].route != route);
			if (elsewhere && o->paths[i].fd >= 0 && o->paths[i].route == route)
				path_lost(o, i, ETIMEDOUT);
		}
	}
}

/* Gives up sockets that have ended, or are silent for too long. */
static int look(struct hk_tcp_stripe *s)
{
	const struct hk_tcp_endpoint *ep = endpoint(s);
	int64_t now = hk_now_ns();
	int rc = 0;

	if (now - s->looked_ns < LOOK_NS)
		return 0;
	s->looked_ns = now;
	for (unsigned i = 0; i < s->npaths && !rc; i++) {
		struct hk_tcp_path *p = &s->paths[i];
		int64_t limit = count_live(s) > 1 ? ep->failover_ns : ep->timeout_ns;
		int err;

		if (p->fd < 0 || p->acked == p->taken)
			continue;
		/* The kernel's clock begins at the last answer, ours at the oldest question. */
		err = hk_tcp_judge(p->fd,
				   now - p->moved_ns < limit ? INT64_MAX : limit - limit / 8);
		if (!err)
			continue;
		rc = path_lost(s, i, err);
		if (!rc && i && err == ETIMEDOUT)
			tell_siblings(s, p->route);
	}
	return rc;
}

/* --- freeing --- */

/* Frees the oldest messages, as far as they have arrived. */
static void reap(struct hk_tcp_stripe *s)
{
	int asked = -1;

	while (s->first != s->todo) {
		struct hk_tcp_message *m = message(s, s->first);

		if (m->path == UNSENT)
			break;
		if (m->path >= 0 && m->end > s->paths[m->path].acked) {
			if (asked == m->path)
				break;
			asked = m->path;
			ask(s, &s->paths[asked]);
			continue;
		}
		s->first++;
		s->tail = s->first == s->number ? s->head : message(s, s->first)->at;
	}
}

/* --- sending --- */

static uint8_t *frame_at(const struct hk_tcp_stripe *s, const struct hk_tcp_message *m)
{
	return s->ring + m->at + HK_TCP_LEAD;
}

/* The kernel takes n bytes or less of the message, from `from` on: how many, or -errno. */
static ssize_t hand_over(struct hk_tcp_stripe *s, struct hk_tcp_path *p,
			 const struct hk_tcp_message *m, uint32_t from)
{
	ssize_t n;

	do
		n = send(p->fd, frame_at(s, m) + from, m->length - from,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	if (p->acked == p->taken)
		p->moved_ns = p->rated_ns = hk_now_ns();
	if (p->acked == p->taken)
		p->rated = p->acked;
	p->taken += (uint64_t)n;
	return n;
}

/* Continues the messages that the kernel took in part. 0 or the error. */
static int mend(struct hk_tcp_stripe *s)
{
	for (unsigned i = 0; i < s->npaths; i++) {
		struct hk_tcp_path *p = &s->paths[i];
		const struct hk_tcp_message *m = message(s, p->torn_number);
		ssize_t n;

		p->full = false;
		if (p->fd < 0 || !p->torn)
			continue;
		n = hand_over(s, p, m, m->length - p->torn);
		if (n < 0) {
			int rc = path_lost(s, i, (int)-n);

			if (rc)
				return rc;
			continue;
		}
		p->torn -= (uint32_t)n;
		p->full = p->torn != 0;
	}
	return 0;
}

/* The socket that would have delivered so many bytes more first; npaths: none takes any. */
static unsigned choose(const struct hk_tcp_stripe *s, uint32_t length)
{
	unsigned best = s->npaths;
	double least = 0, fastest = 0;

	for (unsigned i = 1; i < s->npaths; i++)
		if (s->paths[i].fd >= 0 && s->paths[i].rate > fastest)
			fastest = s->paths[i].rate;
	for (unsigned i = 1; i < s->npaths; i++) {
		const struct hk_tcp_path *p = &s->paths[i];
		double speed = p->rate > 0 ? p->rate : fastest > 0 ? fastest : 1, cost;

		if (p->fd < 0 || p->full)
			continue;
		cost = (double)(p->taken - p->acked + length) / speed;
		if (best == s->npaths || cost < least) {
			best = i;
			least = cost;
		}
	}
	if (best < s->npaths || s->paths[0].fd < 0 || s->paths[0].full)
		return best;
	/* The first one only if there is no other. */
	for (unsigned i = 1; i < s->npaths; i++)
		if (s->paths[i].fd >= 0)
			return s->npaths;
	return 0;
}

/* Hands the kernel what it takes. 0 or the error. */
static int push(struct hk_tcp_stripe *s)
{
	int rc;

	take_opened(s);
	rc = mend(s);
	for (unsigned i = 1; i < s->npaths && s->todo != s->number; i++)
		ask(s, &s->paths[i]);
	while (!rc && s->todo != s->number) {
		struct hk_tcp_message *m = message(s, s->todo);
		struct hk_tcp_path *p;
		unsigned i;
		ssize_t n;

		if (m->path != UNSENT) {
			s->todo++;
			continue;
		}
		i = choose(s, m->length);
		if (i == s->npaths)
			break;
		p = &s->paths[i];
		n = hand_over(s, p, m, 0);
		if (n < 0) {
			rc = path_lost(s, i, (int)-n);
			continue;
		}
		p->full = n < m->length;
		if (!n)
			continue;
		p->torn = m->length - (uint32_t)n;
		p->torn_number = s->todo;
		m->path = (int)i;
		m->end = p->taken + p->torn;
		s->todo++;
	}
	return rc;
}

int hk_tcp_stripe_tend(struct hk_tcp_stripe *s)
{
	int rc;

	if (s->error)
		return s->error;
	rc = push(s);
	if (rc)
		return rc;
	reap(s);
	if (s->first == s->number)
		return 1;
	return look(s);
}

/* --- the ring --- */

/* Where a stretch of so many bytes fits: true, and *at. */
static bool find_room(struct hk_tcp_stripe *s, size_t stride, size_t *at)
{
	if (s->number - s->first == HK_TCP_MESSAGES)
		return false;
	if (s->first == s->number)
		s->head = s->tail = 0; /* what was used last is in the cache */
	else if (s->head <= s->tail) {
		*at = s->head;
		return s->tail - s->head >= stride;
	}
	*at = s->room - s->head >= stride ? s->head : 0;
	return *at || !s->head || s->tail >= stride;
}

static int stripe_reserve(struct hk_send *base, uint32_t bytes, void **slot)
{
	struct hk_tcp_stripe *s = (struct hk_tcp_stripe *)base;
	size_t stride = HK_TCP_LINE + ((size_t)bytes + HK_TCP_LINE - 1) / HK_TCP_LINE * HK_TCP_LINE;

	if (s->error)
		return s->error;
	if (bytes > base->slot_bytes)
		return s->error = hk_fail(EINVAL,
					  "a message of %u bytes to rank %d is longer than a slot "
					  "(%u)",
					  bytes, base->peer, base->slot_bytes);
	if (!s->reserved || s->reserved_stride < stride) {
		s->reserved = false;
		if (!find_room(s, stride, &s->reserved_at)) {
			int rc = hk_tcp_stripe_tend(s);

			if (rc < 0)
				return rc;
			if (!find_room(s, stride, &s->reserved_at))
				return 0;
		}
		s->reserved = true;
		s->reserved_stride = stride;
		if (s->reserved_at + stride > s->touched)
			s->touched = s->reserved_at + stride;
	}
	*slot = s->ring + s->reserved_at + HK_TCP_LINE;
	return 1;
}

static int stripe_commit(struct hk_send *base, uint32_t bytes, uint32_t mark)
{
	struct hk_tcp_stripe *s = (struct hk_tcp_stripe *)base;
	size_t length = hk_tcp_frame_bytes(bytes);
	struct hk_tcp_header *h;
	int rc;

	if (s->error)
		return s->error;
	if (!s->reserved || HK_TCP_LINE + (size_t)bytes > s->reserved_stride)
		return s->error = hk_fail(EINVAL,
					  "commit of %u bytes to rank %d without a slot reserved "
					  "for them",
					  bytes, base->peer);
	h = (struct hk_tcp_header *)(s->ring + s->reserved_at + HK_TCP_LEAD);
	*h = (struct hk_tcp_header){htole32(HK_TCP_MAGIC), htole32(bytes), htole32(mark),
				    htole32(s->number)};
	memset((uint8_t *)(h + 1) + bytes, 0, length - sizeof(*h) - bytes);
	if (s->first == s->number)
		s->tail = s->reserved_at;
	*message(s, s->number) = (struct hk_tcp_message){
		.at = s->reserved_at, .length = (uint32_t)length, .path = UNSENT};
	s->head = s->reserved_at + HK_TCP_LINE +
		  ((size_t)bytes + HK_TCP_LINE - 1) / HK_TCP_LINE * HK_TCP_LINE;
	s->number++;
	s->reserved = false;
	rc = push(s);
	return rc < 0 ? rc : 0;
}

static int stripe_flush(struct hk_send *base)
{
	return hk_tcp_stripe_tend((struct hk_tcp_stripe *)base);
}

const struct hk_send_ops hk_tcp_stripe_ops = {
	.reserve = stripe_reserve,
	.commit = stripe_commit,
	.lends = hk_lends_never,
	.lend = hk_lend_none,
	.flush = stripe_flush,
	.owes = hk_owes_none,
	.settle = hk_settle_flushed,
};

unsigned hk_tcp_stripe_polls(const struct hk_tcp_stripe *s, struct pollfd *polls)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->npaths; i++)
		if (s->paths[i].fd >= 0 && s->paths[i].full)
			polls[n++] = (struct pollfd){.fd = s->paths[i].fd, .events = POLLOUT};
	return n;
}

/* --- life --- */

int hk_tcp_stripe_create(struct hk_tcp_endpoint *ep, int peer, uint32_t channel, unsigned routes,
			 unsigned sockets, int fd, const char *host, struct hk_tcp_stripe **stripe)
{
	struct hk_tcp_stripe *s = calloc(1, sizeof(*s));
	size_t slots = ep->slots * (HK_TCP_LINE + (size_t)ep->slot_bytes);

	if (s) {
		s->room = slots > HK_TCP_WINDOW ? slots : HK_TCP_WINDOW;
		s->ring = aligned_alloc(HK_TCP_LINE, s->room);
		s->host = strdup(host);
	}
	if (!s || !s->ring || !s->host) {
		close(fd);
		hk_tcp_stripe_free(s);
		return hk_fail(ENOMEM, "no memory for a connection of several sockets to rank %d",
			       peer);
	}
	s->base = (struct hk_send){.ops = &hk_tcp_stripe_ops,
				   .ep = &ep->base,
				   .peer = peer,
				   .channel = channel,
				   .slots = ep->slots,
				   .slot_bytes = ep->slot_bytes};
	path_begin(&s->paths[0], fd);
	atomic_init(&s->paths[0].opened, -1);
	s->npaths = 1;
	for (unsigned i = 0; i < sockets * routes && s->npaths < HK_TCP_PATHS; i++) {
		struct hk_tcp_path *p = &s->paths[s->npaths];

		p->fd = -1;
		p->peer = peer;
		p->route = i % routes;
		p->tag = HK_TCP_STRIPE_TAG | s->npaths << HK_TCP_PATH_SHIFT | channel;
		atomic_init(&p->opened, -1);
		s->npaths++;
		hk_tcp_opener_want(ep->opener, p);
	}
	*stripe = s;
	return 0;
}

void hk_tcp_stripe_free(struct hk_tcp_stripe *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->npaths; i++) {
		int opened = atomic_load_explicit(&s->paths[i].opened, memory_order_acquire);

		if (opened >= 0)
			close(opened);
		if (s->paths[i].fd >= 0)
			close(s->paths[i].fd);
	}
	free(s->ring);
	free(s->host);
	free(s);
}

size_t hk_tcp_stripe_memory(const struct hk_tcp_stripe *s)
{
	return sizeof(*s) + s->touched;
}
