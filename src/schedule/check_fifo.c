/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections: finds them all through a hash table, insists on one sending and one receiving lane
 * each (that is a matter of bounds), and then pairs the k-th send with the k-th receive, which must
 * agree in how many chunks and of which sizes.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"

/* Open addressing; entries are indices of connections plus one, 0 is free. */
struct table {
	uint32_t *entries;
	uint32_t mask;
	uint32_t max_conns;
};

static uint32_t hash(int src, int dst, uint32_t channel)
{
	uint64_t h = (uint64_t)(uint32_t)src << 32 | (uint32_t)dst;

	h = (h ^ (uint64_t)channel << 16) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)((h ^ h >> 29) * 0xbf58476d1ce4e5b9ull >> 32);
}

/* The entry of a connection, or the free one where it belongs. */
static uint32_t *look_up(const struct hk_check *c, const struct table *t, int src, int dst,
			 uint32_t channel)
{
	for (uint32_t i = hash(src, dst, channel) & t->mask;; i = (i + 1) & t->mask) {
		const struct hk_conn *conn;

		if (!t->entries[i])
			return &t->entries[i];
		conn = &c->conns[t->entries[i] - 1];
		if (conn->src == src && conn->dst == dst && conn->channel == channel)
			return &t->entries[i];
	}
}

/* Room for one connection more, with the table at most half full. */
static int grow(struct hk_check *c, struct table *t)
{
	uint32_t max = t->max_conns ? t->max_conns * 2 : 64;
	struct hk_conn *conns;

	if (c->nconns < t->max_conns)
		return 0;
	conns = realloc(c->conns, (size_t)max * sizeof(*conns));
	if (!conns)
		return -ENOMEM;
	c->conns = conns;
	free(t->entries);
	t->entries = calloc((size_t)max * 2, sizeof(*t->entries));
	if (!t->entries)
		return -ENOMEM;
	t->max_conns = max;
	t->mask = max * 2 - 1;
	for (uint32_t i = 0; i < c->nconns; i++)
		*look_up(c, t, conns[i].src, conns[i].dst, conns[i].channel) = i + 1;
	return 0;
}

static int find(struct hk_check *c, struct table *t, int src, int dst, uint32_t channel,
		uint32_t *index)
{
	uint32_t *entry;
	int rc = grow(c, t);

	if (rc)
		return rc;
	entry = look_up(c, t, src, dst, channel);
	if (!*entry) {
		c->conns[c->nconns] = (struct hk_conn){.src = src,
						       .dst = dst,
						       .channel = channel,
						       .sender = HK_CHECK_NOBODY,
						       .receiver = HK_CHECK_NOBODY};
		*entry = ++c->nconns;
	}
	*index = *entry - 1;
	return 0;
}

static int claim(struct hk_check *c, uint32_t *end, uint32_t lane, uint32_t at, const char *what,
		 const struct hk_conn *conn)
{
	if (*end == HK_CHECK_NOBODY)
		*end = lane;
	if (*end == lane)
		return 0;
	return hk_check_fail(c->report, HK_CHECK_BOUNDS,
			     "%s: the connection %d -> %d on channel %u has another %s lane, %u",
			     hk_check_where(c, lane, at).text, conn->src, conn->dst, conn->channel,
			     what, *end - c->lane_base[c->owner[*end]]);
}

static int connect_step(struct hk_check *c, struct table *t, uint32_t lane, uint32_t at)
{
	const struct hk_step *s = hk_check_step(c, lane, at);
	uint32_t channel = hk_check_lane(c, lane)->channel, i;
	uint32_t number = hk_check_number(c, lane, at);
	int me = (int)c->owner[lane], rc;

	if (hk_op_does[s->op] & HK_DOES_SEND) {
		rc = find(c, t, me, s->to, channel, &i);
		if (!rc)
			rc = claim(c, &c->conns[i].sender, lane, at, "sending", &c->conns[i]);
		if (rc)
			return rc;
		c->conns[i].nsends++;
		c->out_conn[number] = i;
		c->report->messages++;
	}
	if (hk_op_does[s->op] & HK_DOES_RECV) {
		rc = find(c, t, s->from, me, channel, &i);
		if (!rc)
			rc = claim(c, &c->conns[i].receiver, lane, at, "receiving", &c->conns[i]);
		if (rc)
			return rc;
		c->conns[i].nrecvs++;
		c->in_conn[number] = i;
	}
	return 0;
}

int hk_check_connect(struct hk_check *c)
{
	struct table t = {0};
	int rc = 0;

	c->out_conn = malloc(((size_t)c->nsteps + 1) * sizeof(*c->out_conn));
	c->in_conn = malloc(((size_t)c->nsteps + 1) * sizeof(*c->in_conn));
	if (!c->out_conn || !c->in_conn)
		return -ENOMEM;
	for (uint32_t l = 0; !rc && l < c->nlanes; l++)
		for (uint32_t at = 0; !rc && at < hk_check_lane(c, l)->nsteps; at++)
			rc = connect_step(c, &t, l, at);
	free(t.entries);
	return rc;
}

/* The places in its lane of a connection's k-th send and receive, by lists of all connections. */
struct lists {
	uint32_t *sends, *recvs;
};

static int list_steps(struct hk_check *c, struct lists *lists)
{
	uint32_t sends = 0, recvs = 0;

	lists->sends = malloc(((size_t)c->nsteps + 1) * sizeof(*lists->sends));
	lists->recvs = malloc(((size_t)c->nsteps + 1) * sizeof(*lists->recvs));
	if (!lists->sends || !lists->recvs)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->nconns; i++) {
		struct hk_conn *conn = &c->conns[i];

		conn->first_send = sends;
		conn->first_recv = recvs;
		sends += conn->nsends;
		recvs += conn->nrecvs;
		conn->nsends = conn->nrecvs = 0; /* counted again below */
	}
	for (uint32_t l = 0; l < c->nlanes; l++) {
		for (uint32_t at = 0; at < hk_check_lane(c, l)->nsteps; at++) {
			unsigned does = hk_op_does[hk_check_step(c, l, at)->op];
			uint32_t number = hk_check_number(c, l, at);
			struct hk_conn *conn;

			if (does & HK_DOES_SEND) {
				conn = &c->conns[c->out_conn[number]];
				lists->sends[conn->first_send + conn->nsends++] = at;
			}
			if (does & HK_DOES_RECV) {
				conn = &c->conns[c->in_conn[number]];
				lists->recvs[conn->first_recv + conn->nrecvs++] = at;
			}
		}
	}
	return 0;
}

/* Whether a message is what its receiver takes it for: as many chunks, each of the same size. */
static bool fits(const struct hk_check *c, const struct hk_conn *conn, const struct hk_step *s,
		 const struct hk_step *r)
{
	for (uint32_t i = 0; s->nchunks == r->nchunks && i < s->nchunks; i++)
		if (hk_step_size(c->p, c->programs[conn->src], s, i) !=
		    hk_step_size(c->p, c->programs[conn->dst], r, i))
			return false;
	return s->nchunks == r->nchunks;
}

static uint64_t size_of(const struct hk_check *c, int part, const struct hk_step *s)
{
	return hk_step_size(c->p, c->programs[part], s, 0);
}

static int pair(struct hk_check *c, const struct hk_conn *conn, const struct lists *lists)
{
	uint32_t n = conn->nsends < conn->nrecvs ? conn->nsends : conn->nrecvs;

	for (uint32_t k = 0; k < n; k++) {
		uint32_t sat = lists->sends[conn->first_send + k];
		uint32_t rat = lists->recvs[conn->first_recv + k];
		const struct hk_step *s = hk_check_step(c, conn->sender, sat);
		const struct hk_step *r = hk_check_step(c, conn->receiver, rat);

		c->match[hk_check_number(c, conn->receiver, rat)] =
			hk_check_number(c, conn->sender, sat);
		if (fits(c, conn, s, r))
			continue;
		return hk_check_fail(c->report, HK_CHECK_FIFO,
				     "%s gets %u chunks of sizes from %llu on, but expects %u "
				     "from %llu on; they come from %s",
				     hk_check_where(c, conn->receiver, rat).text, s->nchunks,
				     (unsigned long long)size_of(c, conn->src, s), r->nchunks,
				     (unsigned long long)size_of(c, conn->dst, r),
				     hk_check_where(c, conn->sender, sat).text);
	}
	if (conn->nsends > n)
		return hk_check_fail(
			c->report, HK_CHECK_FIFO,
			"%s sends to %d on channel %u what nobody receives: %u sends, %u receives",
			hk_check_where(c, conn->sender, lists->sends[conn->first_send + n]).text,
			conn->dst, conn->channel, conn->nsends, conn->nrecvs);
	if (conn->nrecvs > n)
		return hk_check_fail(
			c->report, HK_CHECK_FIFO,
			"%s receives from %d on channel %u what nobody sends: %u sends, %u "
			"receives",
			hk_check_where(c, conn->receiver, lists->recvs[conn->first_recv + n]).text,
			conn->src, conn->channel, conn->nsends, conn->nrecvs);
	return 0;
}

int hk_check_fifo(struct hk_check *c)
{
	struct lists lists = {0};
	int rc = list_steps(c, &lists);

	c->match = malloc(((size_t)c->nsteps + 1) * sizeof(*c->match));
	if (!c->match)
		rc = -ENOMEM;
	for (uint32_t i = 0; !rc && i < c->nconns; i++)
		rc = pair(c, &c->conns[i], &lists);
	free(lists.sends);
	free(lists.recvs);
	return rc;
}
