/* SPDX-License-Identifier: BSD-3-Clause */
/* The world that the transport tests share; see harness.h. */
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "clock.h"
#include "param.h"

struct traits traits_of(const struct hk_transport *t)
{
	bool shm = !strcmp(t->name, "shm"), loop = !strcmp(t->name, "loop");

	return (struct traits){.buffers = !strcmp(t->name, "tcp"),
			       .devices = !strcmp(t->name, "verbs"),
			       .offers = loop || !strcmp(t->name, "verbs"),
			       .lends = loop || (shm && hk_param(HK_PARAM_CMA)),
			       .pulls = loop || (shm && hk_param(HK_PARAM_CMA) == 2)};
}

/* --- opening and connecting --- */

bool world_can_open(const struct hk_transport *t)
{
	struct hk_endpoint_env env = {.nranks = 1, .channels = 1, .slots = 2, .slot_bytes = 4096};
	struct test_wires *wires = NULL;
	struct hk_endpoint *ep = NULL;
	struct hk_addr addr;
	int err;

	if (test_wires_create(1, 0, 0, &wires) || hk_loop_create(1, NULL, &env.loop))
		return false;
	env.wire = test_wires_rank(wires, 0);
	err = t->open(&env, &ep, &addr);
	if (!err)
		t->close(ep);
	hk_loop_destroy(env.loop);
	test_wires_destroy(wires);
	return err != -ENOTSUP;
}

void world_open(struct world *w, const struct hk_transport *t, const struct world_config *config)
{
	const struct world_config *c = config;

	*w = (struct world){.transport = t, .config = *config};
	assert_in_range(c->nranks, 1, WORLD_RANKS);
	assert_int_equal(test_wires_create(c->nranks, c->sndbuf, c->rcvbuf, &w->wires), 0);
	assert_int_equal(hk_loop_create(c->nranks, c->faults, &w->loop), 0);
	for (int i = 0; i < c->nranks; i++) {
		const struct hk_endpoint_env env = {
			.rank = i,
			.nranks = c->nranks,
			.wire = test_wires_rank(w->wires, i),
			.channels = 4,
			.slots = c->slots,
			.slot_bytes = c->slot_bytes,
			.usual_bytes = c->usual_bytes,
			.loop = w->loop,
		};

		assert_int_equal(t->open(&env, &w->ep[i], &w->addr[i]), 0);
		assert_ptr_equal(w->ep[i]->transport, t);
		assert_int_equal(w->ep[i]->rank, i);
		assert_int_equal(w->ep[i]->nranks, c->nranks);
	}
}

static struct stream *stream_of(struct world *w, int src, int dst, uint32_t channel)
{
	struct stream *s = w->streams;

	for (; s < w->streams + w->nstreams; s++)
		if (s->src == src && s->dst == dst && s->channel == channel)
			return s;
	assert_in_range(++w->nstreams, 1, WORLD_STREAMS);
	*s = (struct stream){
		.src = src, .dst = dst, .channel = channel, .max_bytes = w->config.slot_bytes};
	return s;
}

struct hk_send *world_connect_send(struct world *w, int src, int dst, uint32_t channel)
{
	struct stream *s = stream_of(w, src, dst, channel);

	assert_int_equal(
		w->transport->connect_send(w->ep[src], dst, channel, &w->addr[dst], &s->send), 0);
	assert_ptr_equal(s->send->ep, w->ep[src]);
	assert_int_equal(s->send->peer, dst);
	assert_int_equal(s->send->channel, channel);
	assert_int_equal(s->send->slot_bytes, w->config.slot_bytes);
	return s->send;
}

struct hk_recv *world_connect_recv(struct world *w, int src, int dst, uint32_t channel)
{
	struct stream *s = stream_of(w, src, dst, channel);

	assert_int_equal(
		w->transport->connect_recv(w->ep[dst], src, channel, &w->addr[src], &s->recv), 0);
	assert_ptr_equal(s->recv->ep, w->ep[dst]);
	assert_int_equal(s->recv->peer, src);
	assert_int_equal(s->recv->channel, channel);
	assert_int_equal(s->recv->slot_bytes, w->config.slot_bytes);
	return s->recv;
}

struct stream *world_connect(struct world *w, int src, int dst, uint32_t channel)
{
	world_connect_send(w, src, dst, channel);
	world_connect_recv(w, src, dst, channel);
	return stream_of(w, src, dst, channel);
}

void world_close_rank(struct world *w, int rank)
{
	w->transport->close(w->ep[rank]);
	w->ep[rank] = NULL;
	test_wires_leave(w->wires, rank);
	for (struct stream *s = w->streams; s < w->streams + w->nstreams; s++) {
		if (s->src == rank)
			s->send = NULL;
		if (s->dst == rank)
			s->recv = NULL;
	}
}

void world_close(struct world *w)
{
	for (int i = 0; i < w->config.nranks; i++)
		world_close_rank(w, i);
	hk_loop_destroy(w->loop);
	test_wires_destroy(w->wires);
}

/* --- messages --- */

static uint64_t scatter(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t message_seed(const struct stream *s, uint32_t k)
{
	return scatter(((uint64_t)k << 32 | (uint64_t)s->channel << 16 | (uint64_t)s->src << 8 |
			(uint64_t)s->dst) +
		       0x9e3779b97f4a7c15u);
}

static uint8_t byte_of(uint64_t seed, uint32_t i)
{
	return (uint8_t)((seed >> (i % 8 * 8)) + i / 8 * 37);
}

uint32_t stream_bytes(const struct stream *s, uint32_t k)
{
	uint64_t z = scatter(message_seed(s, k) + 1);

	switch (z % 4) {
	case 0:
		return s->max_bytes;
	case 1:
		return (uint32_t)((z >> 8) % (s->max_bytes + 1));
	default:
		return (uint32_t)((z >> 8) % 100);
	}
}

int stream_reserve_wait(struct stream *s, uint32_t bytes, void **slot)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	int rc;

	do {
		rc = s->send->ops->reserve(s->send, bytes, slot);
	} while (!rc && hk_now_ns() < end);
	return rc;
}

int stream_send_bytes(struct stream *s, uint32_t bytes)
{
	uint64_t seed = message_seed(s, s->sent);
	void *slot = NULL;
	int rc = s->send->ops->reserve(s->send, bytes, &slot);

	if (rc <= 0)
		return rc;
	for (uint32_t i = 0; i < bytes; i++)
		((uint8_t *)slot)[i] = byte_of(seed, i);
	rc = s->send->ops->commit(s->send, bytes, (uint32_t)(seed >> 16));
	if (rc)
		return rc;
	s->sent++;
	return 1;
}

int stream_send(struct stream *s)
{
	return stream_send_bytes(s, stream_bytes(s, s->sent));
}

int stream_recv_bytes(struct stream *s, uint32_t bytes, const char **wrong)
{
	uint64_t seed = message_seed(s, s->received);
	const void *data = NULL;
	uint32_t got, mark, bad = 0;
	int rc = s->recv->ops->peek(s->recv, &data, &got, &mark);

	if (rc <= 0)
		return rc;
	if (got != bytes)
		*wrong = "a message has the wrong size";
	if (mark != (uint32_t)(seed >> 16))
		*wrong = "a message has the wrong mark";
	for (uint32_t i = 0; i < bytes && i < got; i++)
		bad += ((const uint8_t *)data)[i] != byte_of(seed, i);
	if (bad)
		*wrong = "a message has the wrong content";
	s->received++;
	rc = s->recv->ops->release(s->recv);
	return rc ? rc : 1;
}

int stream_recv(struct stream *s, const char **wrong)
{
	return stream_recv_bytes(s, stream_bytes(s, s->received), wrong);
}

int stream_recv_wait(struct stream *s, const char **wrong)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	int rc = 0;

	while (!rc && hk_now_ns() < end)
		rc = stream_recv(s, wrong);
	return rc;
}

int stream_deliver(struct stream *s, const char **wrong)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	int rc = 0;

	while (!rc && hk_now_ns() < end) {
		rc = s->send ? s->send->ops->flush(s->send) : 0;
		if (rc >= 0)
			rc = stream_recv(s, wrong);
	}
	return rc;
}

bool stream_flush_wait(struct stream *s, bool both)
{
	int64_t end = hk_now_ns() + PATIENCE_NS;
	uint32_t bytes, mark;
	const void *data;
	int rc = 0;

	while (!rc && hk_now_ns() < end) {
		rc = s->send->ops->flush(s->send);
		if (both && s->recv)
			s->recv->ops->peek(s->recv, &data, &bytes, &mark);
	}
	return rc == 1;
}

/* --- traffic --- */

bool sleep_in_turn(struct hk_endpoint *ep, bool armed, int64_t timeout_ns)
{
	if (armed)
		ep->transport->wait(ep, timeout_ns);
	else
		ep->transport->arm(ep);
	return !armed;
}

struct party {
	struct world *w;
	int first, nranks; /* the ranks that it steps */
	uint32_t upto;
	pthread_t thread;
	const char *wrong;
};

/* Each makes one attempt at its end of a stream. Returns whether that end is finished, and counts
 * in *moved what went through. */
static bool send_step(struct party *p, struct stream *s, int *moved)
{
	int rc;

	if (s->sent < p->upto) {
		rc = stream_send(s);
		*moved += rc > 0;
		if (rc < 0)
			p->wrong = "sending failed";
		if (s->sent < p->upto)
			return false;
	}
	rc = s->send->ops->flush(s->send);
	if (rc < 0)
		p->wrong = "flushing failed";
	return rc == 1;
}

static bool recv_step(struct party *p, struct stream *s, int *moved)
{
	int rc;

	if (s->received < p->upto) {
		rc = stream_recv(s, &p->wrong);
		*moved += rc > 0;
		if (rc < 0)
			p->wrong = "receiving failed";
	}
	return s->received >= p->upto;
}

static bool rank_step(struct party *p, int rank, int *moved)
{
	bool finished = true;

	for (struct stream *s = p->w->streams; s < p->w->streams + p->w->nstreams; s++) {
		if (s->src == rank)
			finished &= send_step(p, s, moved);
		if (s->dst == rank)
			finished &= recv_step(p, s, moved);
	}
	return finished;
}

/* A rank with a thread of its own sleeps when two passes in a row moved nothing: it arms after the
 * first, as the contract asks. It sleeps for long, so that a lost wake-up shows. */
static void *party_run(void *arg)
{
	struct party *p = arg;
	struct hk_endpoint *ep = p->w->ep[p->first];
	int64_t end = hk_now_ns() + PATIENCE_NS;
	bool finished = false, armed = false;

	while (!finished && !p->wrong) {
		int moved = 0;

		finished = true;
		for (int i = p->first; i < p->first + p->nranks; i++)
			finished &= rank_step(p, i, &moved);
		if (hk_now_ns() > end)
			p->wrong = "messages are missing";
		if (moved || finished || p->nranks > 1)
			armed = false;
		else
			armed = sleep_in_turn(ep, armed, PATIENCE_NS);
	}
	return NULL;
}

const char *world_run(struct world *w, uint32_t upto, enum stepping stepping)
{
	int nparties = stepping == ONE_THREAD ? 1 : w->config.nranks;
	struct party parties[WORLD_RANKS];
	const char *wrong = NULL;

	for (int i = 0; i < nparties; i++) {
		parties[i] = (struct party){
			.w = w, .first = i, .nranks = w->config.nranks / nparties, .upto = upto};
		if (nparties == 1)
			party_run(&parties[i]);
		else if (pthread_create(&parties[i].thread, NULL, party_run, &parties[i]))
			return "no thread"; /* the test ends, and with it the others */
	}
	for (int i = 0; i < nparties; i++) {
		if (nparties > 1)
			pthread_join(parties[i].thread, NULL);
		if (parties[i].wrong)
			wrong = parties[i].wrong;
	}
	return wrong;
}
