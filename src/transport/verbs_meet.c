/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How two ranks come to have a link, when the first of them needs it: over a socket that the
 * bootstrap makes, they tell each other their ports and queue pairs, and then try each path. The
 * lower rank dials.
 *
 *     dialler    hello    ->              its ports
 *                         <-   answer     which port pairs up with which, and queue pairs there
 *                confirm  ->              queue pairs here, connected
 *                         <-   go         connected there, too: paths may be tried
 *
 * Nothing here waits: whoever polls the endpoint goes on as far as the bytes have come.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "param.h"
#include "verbs.h"

#define TAG   0x76620000u /* "vb" */
#define MAGIC 0x31766b68u /* "hkv1" */

struct rail_card {
	struct hk_verbs_address address; /* without a queue pair */
	struct hk_ib_net net;
	uint8_t roce, active;
	char name[44];
	struct hk_verbs_cm_address cm;
};

struct hello {
	uint32_t magic, nrails, slots, slot_bytes, qps, cm;
	uint64_t token; /* the dialler's */
	char host[64];
	struct rail_card rails[HK_VERBS_RAILS];
};

struct pair {
	uint8_t dialler, answerer; /* rails */
	uint8_t open, spare;	   /* whether there is a queue pair; and of which kind */
	struct hk_verbs_address address;
};

struct answer {
	struct hello hello;
	uint32_t npaths;
	struct pair pairs[HK_VERBS_PATHS];
};

struct confirm {
	uint32_t magic;
	struct pair pairs[HK_VERBS_PATHS];
};

enum stage { ANSWERING, HEARING_HELLO, HEARING_ANSWER, HEARING_CONFIRM, HEARING_GO };

struct hk_verbs_meeting {
	int fd; /* -1: the peer has not dialled yet */
	enum stage stage;
	size_t got;
	union {
		struct hello hello;
		struct answer answer;
		struct confirm confirm;
		uint8_t bytes[1];
	} in;
	struct hello peer;
	uint32_t npaths;
	struct pair pairs[HK_VERBS_PATHS];
};

/* --- bytes --- */

/* All of it or an error: it is little, and the socket is new. */
static int put(struct hk_verbs_link *l, const void *bytes, size_t n)
{
	if (send(l->meeting->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n)
		return 0;
	return hk_fail(HK_EPEER, "rank %d broke off while its RDMA link was set up: %s", l->peer,
		       strerror(errno));
}

/* 1: n bytes are there; 0: not yet; or the error. */
static int get(struct hk_verbs_link *l, size_t n)
{
	struct hk_verbs_meeting *m = l->meeting;

	while (m->got < n) {
		ssize_t r = recv(m->fd, m->in.bytes + m->got, n - m->got, MSG_DONTWAIT);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (r <= 0)
			return hk_fail(HK_EPEER,
				       "rank %d closed the connection while its RDMA link was set "
				       "up: %s; its own log says why",
				       l->peer, r ? strerror(errno) : "end");
		m->got += (size_t)r;
	}
	m->got = 0;
	return 1;
}

static void fill_hello(const struct hk_verbs_link *l, struct hello *h)
{
	const struct hk_verbs_endpoint *ep = l->ep;

	*h = (struct hello){.magic = htole32(MAGIC),
			    .nrails = htole32(ep->nrails),
			    .slots = htole32(ep->slots),
			    .slot_bytes = htole32(ep->slot_bytes),
			    .qps = htole32((uint32_t)hk_param(HK_PARAM_IB_QPS)),
			    .cm = htole32(ep->cm != NULL),
			    .token = l->token};
	gethostname(h->host, sizeof(h->host) - 1);
	for (unsigned i = 0; i < ep->nrails; i++) {
		const struct hk_ib_port *port = &ep->rails[i].port;
		struct rail_card *c = &h->rails[i];

		memcpy(c->address.gid, port->gid.raw, sizeof(c->address.gid));
		c->address.lid = htole16(port->lid);
		c->address.mtu = (uint8_t)port->mtu;
		c->net = port->net;
		c->roce = port->roce;
		c->active = port->active;
		hk_verbs_cm_address(ep, i, &c->cm);
		snprintf(c->name, sizeof(c->name), "%.40s", port->name);
	}
}

static int check_hello(struct hk_verbs_link *l, const struct hello *h)
{
	const struct hk_verbs_endpoint *ep = l->ep;

	if (le32toh(h->magic) != MAGIC || !le32toh(h->nrails) ||
	    le32toh(h->nrails) > HK_VERBS_RAILS || le32toh(h->slots) != ep->slots ||
	    le32toh(h->slot_bytes) != ep->slot_bytes)
		return hk_fail(HK_EWIRE,
			       "rank %d wants an RDMA link of another kind (%u ports, %u slots of "
			       "%u bytes; here %u, %u of %u): do all ranks run the same version "
			       "with the same HOCKET_SLOT_BYTES?",
			       l->peer, le32toh(h->nrails), le32toh(h->slots),
			       le32toh(h->slot_bytes), ep->nrails, ep->slots, ep->slot_bytes);
	if (le32toh(h->cm) != (ep->cm != NULL))
		return hk_fail(HK_EUSAGE,
			       "rank %d connects queue pairs %s and this one %s: set HOCKET_IB_CM "
			       "alike on all ranks",
			       l->peer, ep->cm ? "over the bootstrap" : "by the rdmacm",
			       ep->cm ? "by the rdmacm" : "over the bootstrap");
	l->token = h->token;
	l->meeting->peer = *h;
	l->meeting->peer.host[sizeof(h->host) - 1] = 0;
	snprintf(l->host, sizeof(l->host), "%s", l->meeting->peer.host);
	for (unsigned i = 0; i < HK_VERBS_RAILS; i++)
		l->meeting->peer.rails[i].name[sizeof(h->rails[i].name) - 1] = 0;
	return 0;
}

/* --- pairing --- */

static void add_pair(struct hk_verbs_meeting *m, unsigned dialler, unsigned answerer)
{
	if (m->npaths < HK_VERBS_PATHS)
		m->pairs[m->npaths++] =
			(struct pair){.dialler = (uint8_t)dialler, .answerer = (uint8_t)answerer};
}

/* Ports of equal networks, each once; else, as there may be routes, by their order. On the
 * answering side. */
static void pair_up(struct hk_verbs_link *l)
{
	struct hk_verbs_meeting *m = l->meeting;
	const struct hk_verbs_endpoint *ep = l->ep;
	unsigned theirs = le32toh(m->peer.nrails), taken = 0;
	unsigned qps = (unsigned)hk_param(HK_PARAM_IB_QPS);

	if (le32toh(m->peer.qps) < qps)
		qps = le32toh(m->peer.qps) ? le32toh(m->peer.qps) : 1;
	m->npaths = 0;
	for (unsigned i = 0; i < theirs; i++)
		for (unsigned j = 0; j < ep->nrails; j++) {
			if ((taken >> j & 1) || m->peer.rails[i].roce != ep->rails[j].port.roce ||
			    !ep->rails[j].port.net.family ||
			    !hk_ib_net_equal(&m->peer.rails[i].net, &ep->rails[j].port.net))
				continue;
			add_pair(m, i, j);
			taken |= 1u << j;
			break;
		}
	if (!m->npaths)
		for (unsigned i = 0; i < theirs && i < ep->nrails; i++)
			if (m->peer.rails[i].roce == ep->rails[i].port.roce)
				add_pair(m, i, i);
	for (unsigned n = m->npaths, k = 1; k < qps; k++)
		for (unsigned i = 0; i < n; i++)
			add_pair(m, m->pairs[i].dialler, m->pairs[i].answerer);
	/* One queue pair alone would take the link with it, whatever befalls it. */
	if (m->npaths == 1) {
		add_pair(m, m->pairs[0].dialler, m->pairs[0].answerer);
		m->pairs[1].spare = 1;
	}
}

/* Makes the paths; queue pairs where both ports are up. dialler: which side this is. */
static int make_paths(struct hk_verbs_link *l, bool dialler)
{
	struct hk_verbs_meeting *m = l->meeting;
	unsigned open = 0;
	int err = 0;

	for (unsigned i = 0; i < m->npaths && !err; i++) {
		struct pair *q = &m->pairs[i];
		unsigned mine = dialler ? q->dialler : q->answerer;
		unsigned other = dialler ? q->answerer : q->dialler;
		bool up;

		if (mine >= l->ep->nrails || other >= le32toh(m->peer.nrails))
			return hk_fail(HK_EWIRE, "rank %d pairs up a port that is none", l->peer);
		up = l->ep->rails[mine].port.active && m->peer.rails[other].active;
		err = hk_verbs_path_new(l, i, mine);
		if (err)
			break;
		l->npaths++;
		l->paths[i]->spare = q->spare;
		l->nstriped += !q->spare;
		snprintf(l->paths[i]->peer_port, sizeof(l->paths[i]->peer_port), "%s",
			 m->peer.rails[other].name);
		l->paths[i]->cm_to = m->peer.rails[other].cm;
		/* The answering side decides, so that both do the same. */
		if (dialler ? q->open : up)
			err = hk_verbs_path_open(l->paths[i]);
		q->open = l->paths[i]->qp != NULL;
		open += q->open;
		if (q->open && !err)
			hk_verbs_path_address(l->paths[i], &q->address);
	}
	if (!err && !open)
		err = hk_fail(
			ENETUNREACH,
			"no port of rank %d (first: %s) and of rank %d on host %s (first: %s) "
			"are up and of the same kind; HOCKET_IB_HCA names the ports to use",
			l->ep->base.rank, l->ep->rails[0].port.name, l->peer, l->host,
			m->peer.rails[0].name);
	return err;
}

/* With one that can't be the others still do. */
static int connect_paths(struct hk_verbs_link *l, const struct pair *theirs)
{
	unsigned connected = 0, failed = 0;
	int err = 0;

	for (unsigned i = 0; i < l->npaths; i++) {
		int rc;

		if (!l->paths[i]->qp)
			continue;
		/* What the connection manager connects waits for its call. */
		rc = l->ep->cm ? 0 : hk_verbs_path_connect(l->paths[i], &theirs[i].address);
		if (rc)
			err = rc;
		*(rc ? &failed : &connected) |= 1u << i;
	}
	if (!connected)
		return err;
	for (unsigned i = 0; i < l->npaths; i++)
		if (failed >> i & 1)
			hk_verbs_path_lost(l->paths[i], "it can't be connected");
	return 0;
}

/* --- the four steps --- */

static int hear_hello(struct hk_verbs_link *l)
{
	struct hk_verbs_meeting *m = l->meeting;
	struct answer a;
	int err = check_hello(l, &m->in.hello);

	if (err)
		return err;
	pair_up(l);
	err = make_paths(l, false);
	if (err)
		return err;
	memset(&a, 0, sizeof(a));
	fill_hello(l, &a.hello);
	a.npaths = htole32(m->npaths);
	memcpy(a.pairs, m->pairs, sizeof(a.pairs));
	m->stage = HEARING_CONFIRM;
	return put(l, &a, sizeof(a));
}

static int hear_answer(struct hk_verbs_link *l)
{
	struct hk_verbs_meeting *m = l->meeting;
	struct confirm c = {.magic = htole32(MAGIC)};
	struct pair theirs[HK_VERBS_PATHS];
	int err = check_hello(l, &m->in.answer.hello);

	if (err)
		return err;
	m->npaths = le32toh(m->in.answer.npaths);
	if (m->npaths > HK_VERBS_PATHS)
		return hk_fail(HK_EWIRE, "rank %d wants %u paths", l->peer, m->npaths);
	memcpy(theirs, m->in.answer.pairs, sizeof(theirs));
	memcpy(m->pairs, theirs, sizeof(m->pairs));
	err = make_paths(l, true);
	if (!err)
		err = connect_paths(l, theirs);
	if (err)
		return err;
	memcpy(c.pairs, m->pairs, sizeof(c.pairs));
	m->stage = HEARING_GO;
	return put(l, &c, sizeof(c));
}

static int hear_confirm(struct hk_verbs_link *l)
{
	struct hk_verbs_meeting *m = l->meeting;
	int err = le32toh(m->in.confirm.magic) == MAGIC
			  ? connect_paths(l, m->in.confirm.pairs)
			  : hk_fail(HK_EWIRE, "rank %d confirms nonsense", l->peer);

	return err ? err : put(l, "g", 1);
}

static int hear_go(struct hk_verbs_link *l)
{
	for (unsigned i = 0; i < l->npaths && l->ep->cm; i++)
		if (l->paths[i]->qp)
			hk_verbs_cm_connect(l->paths[i]);
	for (unsigned i = 0; i < l->npaths && !l->ep->cm; i++)
		if (l->paths[i]->state == HK_PATH_PROBING && hk_verbs_probe(l->paths[i]))
			return hk_fail(EIO, "%s takes no work request",
				       l->ep->rails[l->paths[i]->rail].port.name);
	return 0;
}

/* 1: on to the next; 0: not yet; negative: the error. Sets *done. */
static int step(struct hk_verbs_link *l, bool *done)
{
	static const size_t sizes[] = {
		[HEARING_HELLO] = sizeof(struct hello),
		[HEARING_ANSWER] = sizeof(struct answer),
		[HEARING_CONFIRM] = sizeof(struct confirm),
		[HEARING_GO] = 1,
	};
	struct hk_verbs_meeting *m = l->meeting;
	struct hk_wire *w = l->ep->wire;
	int rc;

	if (m->stage == ANSWERING) {
		rc = w->ops->answer(w, l->peer, TAG, &m->fd);
		if (rc > 0)
			m->stage = HEARING_HELLO;
		return rc;
	}
	rc = get(l, sizes[m->stage]);
	if (rc <= 0)
		return rc;
	*done = m->stage == HEARING_CONFIRM || m->stage == HEARING_GO;
	switch (m->stage) {
	case HEARING_HELLO:
		rc = hear_hello(l);
		break;
	case HEARING_ANSWER:
		rc = hear_answer(l);
		break;
	case HEARING_CONFIRM:
		rc = hear_confirm(l);
		break;
	default:
		rc = hear_go(l);
		break;
	}
	return rc < 0 ? rc : 1;
}

void hk_verbs_meet(struct hk_verbs_link *l)
{
	bool done = false;
	int rc = 1;

	while (rc > 0 && !done)
		rc = step(l, &done);
	if (rc < 0)
		hk_verbs_link_fail(l, rc);
	if (rc < 0 || done)
		hk_verbs_meeting_free(l);
}

/* --- begin and end --- */

int hk_verbs_meeting_socket(const struct hk_verbs_link *l)
{
	return l->meeting ? l->meeting->fd : -1;
}

void hk_verbs_meeting_free(struct hk_verbs_link *l)
{
	if (!l->meeting)
		return;
	if (l->meeting->fd >= 0)
		close(l->meeting->fd);
	free(l->meeting);
	l->meeting = NULL;
}

static int dial(struct hk_verbs_link *l)
{
	struct hk_verbs_meeting *m = l->meeting;
	struct hk_wire *w = l->ep->wire;
	struct hello h;
	int err = w->ops->dial(w, l->peer, TAG, &m->fd);

	if (err)
		return err;
	if (getrandom(&l->token, sizeof(l->token), 0) != (ssize_t)sizeof(l->token))
		return hk_fail(errno, "no random numbers: %s", strerror(errno));
	m->stage = HEARING_ANSWER;
	fill_hello(l, &h);
	return put(l, &h, sizeof(h));
}

int hk_verbs_link_get(struct hk_verbs_endpoint *ep, int peer, struct hk_verbs_link **link)
{
	struct hk_verbs_link *l = ep->by_peer[peer];
	int err;

	if (l) {
		*link = l;
		return l->error;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return hk_fail(ENOMEM, "no memory for a link with rank %d", peer);
	l->ep = ep;
	l->peer = peer;
	snprintf(l->host, sizeof(l->host), "?");
	l->meeting = calloc(1, sizeof(*l->meeting));
	err = l->meeting ? hk_verbs_memory_get(
				   ep, (size_t)HK_VERBS_KEPT * HK_VERBS_CONTROL + HK_VERBS_PROBE,
				   &l->control)
			 : hk_fail(ENOMEM, "no memory for a link with rank %d", peer);
	if (!err) {
		l->meeting->fd = -1;
		if (ep->base.rank < peer)
			err = dial(l);
	}
	if (err) {
		hk_verbs_meeting_free(l);
		hk_verbs_memory_put(ep, &l->control);
		free(l);
		return err;
	}
	l->next = ep->links;
	ep->links = l;
	ep->by_peer[peer] = l;
	ep->memory += sizeof(*l);
	hk_verbs_tend_by(ep, 0);
	*link = l;
	return 0;
}

void hk_verbs_link_free(struct hk_verbs_link *l)
{
	struct hk_verbs_endpoint *ep = l->ep;

	for (unsigned i = 0; i < HK_VERBS_PATHS; i++)
		hk_verbs_path_free(l->paths[i]);
	for (unsigned i = 0; i < HK_VERBS_CHANNELS; i++) {
		hk_verbs_send_free(l->sends[i]);
		hk_verbs_recv_free(l->recvs[i]);
		free(l->places[i]);
	}
	hk_verbs_meeting_free(l);
	hk_verbs_memory_put(ep, &l->control);
	free(l->early);
	ep->memory -= sizeof(*l);
	free(l);
}
