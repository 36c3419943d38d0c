/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Measures what the cost model wants to know, with what will run later: small programs of the
 * schedule builder on the real executor and transports for everything about messages, and the
 * kernels on the transport's slots for everything about bytes. Two ranks are two threads, on two
 * cores or on one.
 *
 * A hop is one message of a ping-pong: a send step, the latency and a receive step. A burst is some
 * sends and as many receives in both ranks: twice as long a burst has so many steps more, and no
 * more latency.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "measure_pair.h"
#include "measured.h"
#include "topo.h"

#define BATCHES	     101
#define BATCH_NS     60000.0 /* short, so that some meet with no disturbance */
#define LEAST_CALLS  2u
#define MOST_CALLS   2000u
#define MOST_CALL_NS 500.0 /* a small difference of large numbers */
#define MESSAGES     192u  /* of a slot's size; the first third warms up */
#define STREAM_BYTES ((size_t)16 << 20)
#define HOT_BYTES    ((size_t)16 << 10)
#define HOT_COPIES   2000
#define PATIENCE_NS  2000000000

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What a value is when nothing else runs: one that only few are below. */
static double undisturbed(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), ascending);
	return values[n / 10];
}

/* --- messages: programs on the executor --- */

enum shape { PING, BURST };

struct drill {
	enum shape shape;
	uint32_t length; /* rounds of a ping-pong, messages of a burst */
	size_t count;	 /* floats in a message */
	uint32_t slot_bytes;
	int64_t spin_ns;
	uint32_t calls;
	double ns; /* of a call in an undisturbed batch: the result */
};

struct drill_binder {
	struct hk_binder binder;
	struct pair_rank *rank;
};

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	*conn = ((struct drill_binder *)b)->rank->send;
	return 0;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	*conn = ((struct drill_binder *)b)->rank->recv;
	return 0;
}

static void emit(const struct drill *d, int rank, struct hk_builder *b)
{
	uint32_t lane = hk_build_lane(b, 0);

	hk_build_chunks(b, 1, 0);
	for (uint32_t i = 0; i < d->length; i++) {
		if (d->shape == BURST || rank == 0)
			hk_build_send(b, lane, !rank, HK_IN, 0, 1);
		if (d->shape == PING)
			hk_build_recv(b, lane, !rank, HK_OUT, 0, 1);
		if (d->shape == PING && rank == 1)
			hk_build_send(b, lane, !rank, HK_IN, 0, 1);
	}
	for (uint32_t i = 0; d->shape == BURST && i < d->length; i++)
		hk_build_recv(b, lane, !rank, HK_OUT, 0, 1);
}

static int make_plan(struct pair_rank *r, const struct drill *d, struct hk_plan **plan)
{
	struct hk_problem p = {.coll = HK_ALL_REDUCE, .nranks = 2, .channels = 1};
	struct drill_binder binder = {{bind_send, bind_recv, 0}, r};
	struct hk_program *prog;
	struct hk_builder *b;
	int err = hk_build_begin(&p, r->rank, &b);

	if (err)
		return err;
	emit(d, r->rank, b);
	err = hk_build_finish(b, &prog);
	if (err)
		return err;
	return hk_plan_create(&p, prog, &binder.binder, d->slot_bytes, SIZE_MAX, plan);
}

static int never_failed(struct hk_watch *w)
{
	return 0;
}

static int run_calls(struct pair_rank *r, const struct drill *d, struct hk_plan *plan, float *in,
		     float *out)
{
	struct hk_watch watch = {.failed = never_failed,
				 .timeout_ns = PATIENCE_NS,
				 .spin_ns = d->spin_ns,
				 .endpoints = &r->ep,
				 .nendpoints = 1};
	struct hk_call call = {
		.in = in, .out = out, .count = d->count, .type = HK_FLOAT32, .op = HK_SUM};
	struct hk_exec_stats stats = {0};
	int err = 0;

	for (uint32_t i = 0; i < d->calls && !err; i++)
		err = hk_plan_run(plan, &call, &watch, &stats);
	return err;
}

static int drill_rank(struct pair_rank *r, void *arg)
{
	struct drill *d = arg;
	float *buffers = calloc(2 * d->count, sizeof(*buffers));
	double times[BATCHES];
	struct hk_plan *plan = NULL;
	int err = buffers ? make_plan(r, d, &plan) : -ENOMEM;

	for (int i = 0; i < BATCHES && !err; i++) {
		int64_t start = hk_now_ns();

		err = run_calls(r, d, plan, buffers, buffers + d->count);
		times[i] = (double)(hk_now_ns() - start) / d->calls;
	}
	if (!err && r->rank == 0)
		d->ns = undisturbed(times, BATCHES);
	hk_plan_destroy(plan);
	free(buffers);
	return err;
}

/* ns of a call. How many calls a batch has follows from a few that warm up. */
static int time_drill(struct pair *p, enum pair_cores cores, struct drill d, double *ns)
{
	int err;

	d.slot_bytes = p->ranks[0].send->slot_bytes;
	d.spin_ns = cores == PAIR_APART ? 100000 : 0;
	d.calls = LEAST_CALLS;
	err = hk_pair_run(p, cores, drill_rank, &d);
	if (err)
		return err;
	d.calls = (uint32_t)fmin(MOST_CALLS, fmax(LEAST_CALLS, BATCH_NS / d.ns));
	err = hk_pair_run(p, cores, drill_rank, &d);
	if (!err)
		*ns = d.ns;
	return err;
}

/* ns of a hop, and what a call adds to its hops. */
static int time_hop(struct pair *p, enum pair_cores cores, size_t count, double *hop, double *call)
{
	double few = 0, many = 0;
	int err = time_drill(p, cores, (struct drill){.shape = PING, .length = 4, .count = count},
			     &few);

	if (!err)
		err = time_drill(p, cores,
				 (struct drill){.shape = PING, .length = 8, .count = count}, &many);
	if (err)
		return err;
	*hop = fmax(1, (many - few) / 8);
	*call = fmin(MOST_CALL_NS, fmax(0, few - 8 * *hop));
	return 0;
}

static int measure_messages(struct pair *p, struct hk_route *route, double *call)
{
	double hop = 0, longer = 0, two = 0, four = 0, unused = 0;
	int err = time_hop(p, PAIR_APART, 2, &hop, call);

	if (!err)
		err = time_hop(p, PAIR_APART, 2 * HK_HEADER_BYTES / sizeof(float), &longer,
			       &unused);
	if (!err)
		err = time_drill(p, PAIR_APART,
				 (struct drill){.shape = BURST, .length = 2, .count = 2}, &two);
	if (!err)
		err = time_drill(p, PAIR_APART,
				 (struct drill){.shape = BURST, .length = 4, .count = 2}, &four);
	if (err)
		return err;
	/* Two sends and two receives more. At least a little of the hop is latency. */
	route->message_ns = fmin(fmax(1, (four - two) / 4), 0.4 * hop);
	route->latency_ns = hop - 2 * route->message_ns;
	route->slot_ns = fmax(0, longer - hop);
	return 0;
}

/* --- bytes: kernels on slots --- */

struct transfer {
	bool reduce;
	double fill_ns, read_ns; /* of an undisturbed message after the first third */
};

static int put(struct pair_rank *r, const float *data, double *took)
{
	uint32_t bytes = r->send->slot_bytes;
	int64_t start = hk_now_ns(), now = start;
	void *slot = NULL;
	int got = 0;

	while (!got && now - start < PATIENCE_NS) {
		now = hk_now_ns();
		got = r->send->ops->reserve(r->send, bytes, &slot);
	}
	if (got <= 0)
		return got ? got : hk_fail(ETIMEDOUT, "a measurement waits for a slot in vain");
	if (r->send->bypass)
		hk_kernels()->copy_nt(slot, data, bytes);
	else
		hk_kernels()->copy(slot, data, bytes);
	got = r->send->ops->commit(r->send, bytes, 0);
	*took = (double)(hk_now_ns() - now);
	return got;
}

static int get(struct pair_rank *r, bool reduce, float *data, double *took)
{
	int64_t start = hk_now_ns(), now = start;
	const void *slot = NULL;
	uint32_t bytes = 0, mark;
	int got = 0;

	while (!got && now - start < PATIENCE_NS) {
		now = hk_now_ns();
		got = r->send->ops->flush(r->send); /* what was sent before may need it */
		if (got >= 0)
			got = r->recv->ops->peek(r->recv, &slot, &bytes, &mark);
	}
	if (got <= 0)
		return got ? got : hk_fail(ETIMEDOUT, "a measurement waits for a message in vain");
	if (reduce)
		hk_kernels()->reduce[HK_FLOAT32][HK_SUM](data, data, slot, bytes / sizeof(float));
	else
		hk_kernels()->copy(data, slot, bytes);
	got = r->recv->ops->release(r->recv);
	*took = (double)(hk_now_ns() - now);
	return got;
}

static int transfer_rank(struct pair_rank *r, void *arg)
{
	struct transfer *t = arg;
	uint32_t bytes = r->send->slot_bytes, n = 0;
	double fills[MESSAGES], reads[MESSAGES];
	float *buffers = aligned_alloc(4096, 2 * (size_t)bytes);
	int err = 0;

	if (!buffers)
		return hk_fail(ENOMEM, "no memory for a measurement");
	memset(buffers, 0, 2 * (size_t)bytes);
	for (uint32_t i = 0; i < MESSAGES && !err; i++) {
		if (r->rank == 0)
			err = put(r, buffers, &fills[n]);
		if (!err)
			err = get(r, t->reduce, buffers + bytes / sizeof(float), &reads[n]);
		if (!err && r->rank == 1)
			err = put(r, buffers, &fills[n]);
		n = i < MESSAGES / 3 ? 0 : n + 1;
	}
	for (int i = 0; i < 1000 && !err && r->send->ops->flush(r->send) == 0; i++)
		hk_cpu_relax();
	if (!err && r->rank == 0) {
		t->fill_ns = undisturbed(fills, n);
		t->read_ns = undisturbed(reads, n);
	}
	free(buffers);
	return err;
}

static int measure_bytes(struct pair *p, struct hk_route *route, double *reduce)
{
	struct transfer copy = {0}, sum = {.reduce = true};
	double bytes = p->ranks[0].send->slot_bytes;
	int err = hk_pair_run(p, PAIR_APART, transfer_rank, &copy);

	if (!err)
		err = hk_pair_run(p, PAIR_APART, transfer_rank, &sum);
	if (err)
		return err;
	route->fill_ns_per_byte = copy.fill_ns / bytes;
	route->read_ns_per_byte = copy.read_ns / bytes;
	*reduce = fmax(0, sum.read_ns - copy.read_ns) / bytes;
	return 0;
}

/* --- memory --- */

struct copies {
	double hot, cold; /* ns per byte */
};

/* Both ranks at once, as memory is shared. */
static int copy_rank(struct pair_rank *r, void *arg)
{
	struct copies *result = arg;
	uint8_t *from = aligned_alloc(4096, STREAM_BYTES), *to = aligned_alloc(4096, STREAM_BYTES);
	double times[3];
	int64_t start;

	if (!from || !to) {
		free(from);
		free(to);
		return hk_fail(ENOMEM, "no memory to measure memory with");
	}
	memset(from, 1, STREAM_BYTES);
	memset(to, 1, STREAM_BYTES);
	for (int i = 0; i < 3; i++) {
		start = hk_now_ns();
		hk_kernels()->copy_nt(to, from, STREAM_BYTES);
		times[i] = (double)(hk_now_ns() - start) / (double)STREAM_BYTES;
	}
	start = hk_now_ns();
	for (int i = 0; i < HOT_COPIES; i++)
		hk_kernels()->copy(to, from, HOT_BYTES);
	if (r->rank == 0) {
		result->hot = (double)(hk_now_ns() - start) / HOT_COPIES / (double)HOT_BYTES;
		result->cold = undisturbed(times, 3);
	}
	free(from);
	free(to);
	return 0;
}

/* --- all of it --- */

static int measure_host(struct pair *p, const struct hk_route *route, struct hk_machine *m)
{
	struct copies copies = {0};
	double hop = 0, unused = 0, apart = 2 * route->message_ns + route->latency_ns;
	int err = hk_pair_run(p, PAIR_APART, copy_rank, &copies);

	if (!err)
		err = time_hop(p, PAIR_TOGETHER, 2, &hop, &unused);
	if (err)
		return err;
	m->copy_ns_per_byte = copies.hot;
	m->memory_ns_per_byte = fmax(0, copies.cold - copies.hot) / 2;
	m->switch_ns = fmax(0, hop - apart);
	return 0;
}

static int measure_transport(const struct hk_transport *t, uint32_t slots, uint32_t slot_bytes,
			     bool host, struct hk_measured *m)
{
	struct hk_measured_route *row = &m->routes[m->nroutes];
	struct pair p;
	double reduce = 0, call = 0;
	int err;

	if (m->nroutes == HK_MEASURED_ROUTES || strlen(t->name) >= HK_TRANSPORT_NAME)
		return 0;
	err = hk_pair_open(&p, t, slots, slot_bytes);
	if (err)
		return err == -ENOTSUP ? 0 : err;
	memset(row, 0, sizeof(*row));
	strcpy(row->transport, t->name);
	err = measure_messages(&p, &row->route, &call);
	if (!err)
		err = measure_bytes(&p, &row->route, &reduce);
	if (!err && host) {
		m->machine.reduce_ns_per_byte = reduce;
		m->machine.call_ns = call;
		err = measure_host(&p, &row->route, &m->machine);
	}
	if (!err)
		m->nroutes++;
	hk_pair_close(&p);
	return err;
}

int hk_tune_measure(uint32_t slots, uint32_t slot_bytes, struct hk_measured *m)
{
	struct hk_measured result;
	struct hk_host host;

	hk_measured_default(&result);
	hk_topo_host(&host);
	if (host.l3_bytes || host.l2_bytes)
		result.machine.cache_bytes =
			(double)(host.l3_bytes ? host.l3_bytes : host.l2_bytes);
	if (slots < 4)
		slots = 4; /* a burst needs them */
	/* On one core there is no other to send to: the defaults stay. */
	for (unsigned i = 0; i < hk_ntransports && hk_pair_has_two_cores(); i++) {
		int err = measure_transport(hk_transports[i], slots, slot_bytes,
					    result.nroutes == 0, &result);

		if (err)
			return err;
	}
	*m = result;
	return 0;
}
