/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `hocket schedule run`: runs a schedule on ranks of this process, a thread each, over the loop
 * transport and with the library's own executor, and looks at every element of every output. Calls
 * of several types and counts, in place and not; the data is what schedule.h says of collectives.
 * With --trace one more call is recorded.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "command.h"
#include "error.h"
#include "exec.h"
#include "loop.h"
#include "schedule.h"
#include "schedule_trace.h"

#define MOST_PARTICIPANTS 256
#define PATIENCE_NS	  10000000000ll /* without any progress */

struct world;

struct local_rank {
	struct hk_binder binder; /* first: the binder is the rank */
	struct hk_observer observer;
	struct world *w;
	int rank;
	struct hk_endpoint *ep;
	struct hk_send **sends; /* [participants][channels] */
	struct hk_recv **recvs;
	struct hk_plan *plan;
	struct hk_block *in, *out;
	uint32_t nin, nout;
	void *memory;
	struct hk_call call;
	pthread_t thread;
	int result;
	char why[400];
	int64_t since; /* the last step's end, or the start of the poll */
	struct trace trace;
};

struct world {
	const struct hk_schedule *s;
	struct hk_problem p;
	uint32_t channels;
	struct hk_loop *loop;
	struct local_rank *ranks;
	size_t *counts; /* of each size id, where blocks differ */
	_Atomic bool failed;
	int64_t start;
};

/* --- the world --- */

static int bind_send(struct hk_binder *b, int peer, uint32_t channel, struct hk_send **conn)
{
	struct local_rank *r = (struct local_rank *)b;
	struct hk_send **known = &r->sends[(uint32_t)peer * r->w->channels + channel];
	int err = 0;

	if (!*known)
		err = r->ep->transport->connect_send(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

static int bind_recv(struct hk_binder *b, int peer, uint32_t channel, struct hk_recv **conn)
{
	struct local_rank *r = (struct local_rank *)b;
	struct hk_recv **known = &r->recvs[(uint32_t)peer * r->w->channels + channel];
	int err = 0;

	if (!*known)
		err = r->ep->transport->connect_recv(r->ep, peer, channel, NULL, known);
	*conn = *known;
	return err;
}

static void on_step(struct hk_observer *o, uint32_t lane, uint32_t step, uint32_t tile)
{
	struct local_rank *r =
		(struct local_rank *)((char *)o - offsetof(struct local_rank, observer));
	int64_t now = hk_now_ns();

	hk_trace_add(&r->trace, &(struct trace_event){r->rank, lane, step, tile,
						      (double)(r->since - r->w->start),
						      (double)(now - r->w->start)});
	r->since = now;
}

/* A slot takes at least eight bytes of every chunk of a message. */
static uint32_t slot_size(const struct world *w)
{
	return w->s->programs[0]->message_chunks > 4096 ? 1u << 19 : 1u << 15;
}

static int open_rank(struct world *w, int rank, unsigned slots)
{
	const struct hk_transport *loop = hk_transport_find("loop");
	struct local_rank *r = &w->ranks[rank];
	size_t conns = (size_t)w->s->n * w->channels + 1;
	uint32_t slot_bytes = slot_size(w);
	struct hk_endpoint_env env = {.rank = rank,
				      .nranks = w->s->n,
				      .channels = w->channels,
				      .slots = slots,
				      .slot_bytes =
					      slot_bytes * hk_plan_stretch(w->p.nranks, slot_bytes),
				      .loop = w->loop};
	struct hk_program *prog;
	struct hk_addr addr;
	int rc;

	r->binder = (struct hk_binder){bind_send, bind_recv, 0};
	r->observer = (struct hk_observer){on_step};
	r->w = w;
	r->rank = rank;
	r->nin = hk_coll_blocks(&w->p, rank, HK_IN);
	r->nout = hk_coll_blocks(&w->p, rank, HK_OUT);
	r->sends = calloc(conns, sizeof(struct hk_send *));
	r->recvs = calloc(conns, sizeof(struct hk_recv *));
	r->in = calloc(r->nin + 1, sizeof(*r->in));
	r->out = calloc(r->nout + 1, sizeof(*r->out));
	if (!r->sends || !r->recvs || !r->in || !r->out)
		return hk_fail(ENOMEM, "no memory for rank %d", rank);
	rc = loop->open(&env, &r->ep, &addr);
	if (!rc)
		rc = hk_program_clone(w->s->programs[rank], &prog);
	if (!rc)
		rc = hk_plan_create(&w->p, prog, &r->binder, slot_bytes, 1u << 24, &r->plan);
	return rc;
}

static void close_world(struct world *w)
{
	for (int i = 0; w->ranks && i < w->s->n; i++) {
		struct local_rank *r = &w->ranks[i];

		hk_plan_destroy(r->plan);
		if (r->ep)
			r->ep->transport->close(r->ep);
		free(r->sends);
		free(r->recvs);
		free(r->in);
		free(r->out);
		free(r->memory);
		free(r->trace.events);
	}
	free(w->ranks);
	free(w->counts);
	hk_loop_destroy(w->loop);
}

static int open_world(struct world *w, const struct hk_schedule *s, bool inplace, unsigned slots)
{
	size_t n = (size_t)s->problem.nranks;
	int rc;

	*w = (struct world){
		.s = s, .p = hk_schedule_problem(s, inplace), .channels = hk_schedule_channels(s)};
	w->ranks = calloc((size_t)s->n, sizeof(*w->ranks));
	w->counts = calloc(n * n, sizeof(*w->counts));
	if (!w->ranks || !w->counts)
		return hk_fail(ENOMEM, "no memory for %d ranks", s->n);
	rc = hk_loop_create(s->n, NULL, &w->loop);
	for (int i = 0; !rc && i < s->n; i++)
		rc = open_rank(w, i, slots < 2 ? 2 : slots);
	return rc;
}

/* --- data --- */

/* Small enough that sums are exact in every type that is used. */
static int64_t value(int rank, uint32_t block, size_t i)
{
	uint64_t x = (i * 2654435761u) ^ ((uint64_t)rank * 40503 + block) * 0x9e3779b97f4a7c15ull;

	return (int64_t)((x ^ x >> 29) % 1000);
}

static void put_value(enum hk_type type, void *at, size_t i, int64_t v)
{
	if (type == HK_UINT8)
		((uint8_t *)at)[i] = (uint8_t)v;
	else if (type == HK_FLOAT32)
		((float *)at)[i] = (float)v;
	else
		((int32_t *)at)[i] = (int32_t)v;
}

static bool has_value(enum hk_type type, const void *at, size_t i, int64_t v)
{
	if (type == HK_UINT8)
		return ((const uint8_t *)at)[i] == (uint8_t)v;
	if (type == HK_FLOAT32)
		return ((const float *)at)[i] == (float)v;
	return ((const int32_t *)at)[i] == (int32_t)v;
}

/* Uneven where blocks differ. */
static size_t block_count(const struct world *w, int rank, enum hk_buf buf, uint32_t block,
			  size_t count)
{
	uint64_t id = hk_coll_size_id(&w->p, rank, buf, block);

	return w->p.varied ? count * (id % 4) / 2 : count;
}

/* Lays blocks out from `at` on, one after the other; returns the end. */
static uint8_t *lay_out(const struct world *w, const struct local_rank *r, enum hk_buf buf,
			size_t count, size_t esize, uint8_t *at)
{
	struct hk_block *blocks = buf == HK_IN ? r->in : r->out;
	uint32_t n = buf == HK_IN ? r->nin : r->nout;

	for (uint32_t i = 0; i < n; i++) {
		blocks[i] = (struct hk_block){at, block_count(w, r->rank, buf, i, count)};
		at += blocks[i].count * esize;
	}
	return at;
}

static int fill(struct world *w, struct local_rank *r, enum hk_type type, size_t count)
{
	size_t esize = hk_type_size(type), each = (count * 3 / 2 + 1) * esize;
	uint8_t *at;

	free(r->memory);
	r->memory = calloc(r->nin + r->nout + 1, each);
	if (!r->memory)
		return hk_fail(ENOMEM, "no memory for the buffers of rank %d", r->rank);
	at = lay_out(w, r, HK_OUT, count, esize, r->memory);
	lay_out(w, r, HK_IN, count, esize, at);
	for (uint32_t i = 0; i < r->nin; i++) {
		int64_t alias = hk_coll_alias(&w->p, r->rank, i);

		if (alias >= 0 && r->nin > r->nout)
			r->out[alias].at = r->in[i].at;
		else if (alias >= 0)
			r->in[i].at = r->out[alias].at;
	}
	for (uint32_t i = 0; i < r->nin; i++) {
		for (size_t k = 0; k < r->in[i].count; k++)
			put_value(type, r->in[i].at, k, value(r->rank, i, k));
		w->counts[hk_coll_size_id(&w->p, r->rank, HK_IN, i)] = r->in[i].count;
	}
	r->call = (struct hk_call){.in = r->nin ? r->in[0].at : NULL,
				   .out = r->nout ? r->out[0].at : NULL,
				   .count = count,
				   .type = type,
				   .op = HK_SUM,
				   .mark = hk_mark_make(w->p.coll, type, HK_SUM, count, 1),
				   .in_blocks = r->in,
				   .out_blocks = r->out,
				   .counts = w->counts};
	return 0;
}

static int verify(const struct world *w, const struct local_rank *r, enum hk_type type)
{
	for (uint32_t b = 0; b < r->nout && w->p.coll != HK_BARRIER; b++) {
		for (size_t k = 0; k < r->out[b].count; k++) {
			int64_t want = 0;

			for (uint32_t i = 0; i < hk_coll_contributions(&w->p); i++) {
				uint32_t block = 0;
				int from = 0;

				hk_coll_contribution(&w->p, r->rank, b, i, &from, &block);
				want += value(from, block, k);
			}
			if (has_value(type, r->out[b].at, k, want))
				continue;
			return hk_fail_quiet(HK_EPROOF,
					     "rank %d has a wrong result in block %u, element %zu",
					     r->rank, b, k);
		}
	}
	return 0;
}

/* --- running --- */

static int drive(struct local_rank *r)
{
	int64_t last = hk_now_ns();
	int rc = 0;

	while (!rc && !r->w->failed) {
		bool moved = false;

		r->since = hk_now_ns();
		rc = hk_plan_poll(r->plan, &moved);
		if (moved)
			last = r->since;
		else if (!rc)
			sched_yield();
		if (!rc && !moved && r->since - last > PATIENCE_NS) {
			hk_plan_describe_wait(r->plan, r->why, sizeof(r->why));
			return -ETIMEDOUT;
		}
	}
	if (rc < 0)
		snprintf(r->why, sizeof(r->why), "%s", hk_last_error());
	return rc < 0 ? rc : 0;
}

static void *rank_main(void *arg)
{
	struct local_rank *r = arg;

	r->result = drive(r);
	if (r->result)
		r->w->failed = true;
	return NULL;
}

/* One call on all ranks. */
static int call_all(struct world *w)
{
	int started = 0, rc = 0;

	for (int i = 0; i < w->s->n; i++)
		hk_plan_begin(w->ranks[i].plan, &w->ranks[i].call);
	w->start = hk_now_ns();
	for (; started < w->s->n && !rc; started++) {
		rc = pthread_create(&w->ranks[started].thread, NULL, rank_main, &w->ranks[started]);
		if (rc) {
			w->failed = true;
			rc = hk_fail(rc, "cannot start a thread for rank %d", started);
			break;
		}
	}
	for (int i = 0; i < started; i++)
		pthread_join(w->ranks[i].thread, NULL);
	for (int i = 0; i < started && !rc; i++)
		if (w->ranks[i].result)
			rc = hk_fail_quiet(-w->ranks[i].result, "rank %d: %s", i, w->ranks[i].why);
	return rc;
}

static int fill_all(struct world *w, enum hk_type type, size_t count)
{
	int rc = 0;

	for (int i = 0; !rc && i < w->s->n; i++)
		rc = fill(w, &w->ranks[i], type, count);
	return rc;
}

static int try(struct world *w, enum hk_type type, size_t count)
{
	int rc = fill_all(w, type, count);

	if (!rc)
		rc = call_all(w);
	for (int i = 0; !rc && i < w->s->n; i++)
		rc = verify(w, &w->ranks[i], type);
	return rc;
}

static const enum hk_type types[] = {HK_INT32, HK_FLOAT32, HK_UINT8};
static const size_t usual_counts[] = {1, 7, 1000, 100003};

#define NTYPES	(sizeof(types) / sizeof(types[0]))
#define NCOUNTS (sizeof(usual_counts) / sizeof(usual_counts[0]))

static int try_all(struct world *w, const size_t *counts, unsigned ncounts)
{
	int64_t start = hk_now_ns();

	for (unsigned t = 0; t < NTYPES; t++) {
		for (unsigned c = 0; c < ncounts; c++) {
			if (!try(w, types[t], counts[c]))
				continue;
			printf("WRONG: %s on %d local rank%s, %s, %s, count %zu: %s\n", w->s->name,
			       w->p.nranks, hk_plural((unsigned)w->p.nranks),
			       w->p.inplace ? "in place" : "out of place", hk_type_name(types[t]),
			       counts[c], hk_last_error());
			return 1;
		}
	}
	printf("right: %s on %d local rank%s, %s; int32, float32, uint8; count%s", w->s->name,
	       w->p.nranks, hk_plural((unsigned)w->p.nranks),
	       w->p.inplace ? "in place" : "out of place", hk_plural(ncounts));
	for (unsigned c = 0; c < ncounts; c++)
		printf("%s %zu", c ? "," : "", counts[c]);
	printf("; %.3f s\n", (double)(hk_now_ns() - start) / 1e9);
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct trace_event *x = a, *y = b;

	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	if (x->tile != y->tile)
		return x->tile < y->tile ? -1 : 1;
	return x->step < y->step ? -1 : x->step > y->step;
}

/* All ranks' events in one. */
static void gather(struct world *w, struct trace *all)
{
	for (int i = 0; i < w->s->n; i++) {
		const struct trace *t = &w->ranks[i].trace;

		all->lost |= t->lost;
		for (size_t k = 0; k < t->n; k++)
			hk_trace_add(all, &t->events[k]);
	}
	qsort(all->events, all->n, sizeof(*all->events), by_start);
}

/* The second call of its size, so that memory has been touched. */
static int record(struct world *w, size_t count, const char *path)
{
	struct trace all = {0};
	int rc = try(w, HK_FLOAT32, count);
	FILE *out;

	for (int i = 0; i < w->s->n; i++)
		hk_plan_observe(w->ranks[i].plan, &w->ranks[i].observer);
	if (!rc)
		rc = call_all(w);
	if (rc) {
		fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
		return 1;
	}
	gather(w, &all);
	out = fopen(path, "we");
	rc = out ? hk_trace_write(&all, w->s, out) : -errno;
	if (out && fclose(out))
		rc = -EIO;
	if (rc)
		fprintf(stderr, "hocket schedule: %s: %s\n", path, strerror(-rc));
	else
		printf("trace: %s, %zu steps of a call of %zu float32\n", path, all.n, count);
	free(all.events);
	return rc ? 1 : 0;
}

static int run_one(const struct hk_schedule *s, const struct schedule_options *o, bool inplace,
		   unsigned slots, bool traced)
{
	size_t given = o->count;
	struct world w;
	int status = 1;

	if (open_world(&w, s, inplace, slots))
		fprintf(stderr, "hocket schedule: %s\n", hk_last_error());
	else
		status = try_all(&w, given ? &given : usual_counts, given ? 1 : NCOUNTS);
	if (!status && traced)
		status = record(&w, given ? given : hk_workbench_block(s, o) / 4 + 1, o->trace);
	close_world(&w);
	return status;
}

int hk_workbench_run(const struct hk_schedule *s, const struct schedule_options *o)
{
	struct hk_report report;
	int status;

	if (s->n > MOST_PARTICIPANTS) {
		fprintf(stderr,
			"hocket schedule: %d participants are more than the %d that run as "
			"threads\n",
			s->n, MOST_PARTICIPANTS);
		return 1;
	}
	status = hk_workbench_judge(s, o->slots, stdout, &report);
	if (!status && s->outofplace)
		status = run_one(s, o, false, report.slots, o->trace);
	if (!status && s->inplace)
		status = run_one(s, o, true, report.slots, o->trace && !s->outofplace);
	return status;
}
