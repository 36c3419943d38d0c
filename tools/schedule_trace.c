/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes timelines as JSON of trace events (ui.perfetto.dev and chrome://tracing open them): a
 * process for each participant, a thread for each lane, a slice for each step, and an arrow for
 * each message, from the send to the receive that it meets. The k-th send of a connection meets the
 * k-th receive also over all tiles, since both lanes go through the tiles in order.
 */
#include "schedule_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void hk_trace_add(struct trace *t, const struct trace_event *e)
{
	if (t->n == t->max) {
		size_t max = t->max ? t->max * 2 : 256;
		struct trace_event *more = realloc(t->events, max * sizeof(*more));

		if (!more) {
			t->lost = true;
			return;
		}
		t->events = more;
		t->max = max;
	}
	t->events[t->n++] = *e;
}

static const struct hk_step *step_of(const struct hk_schedule *s, const struct trace_event *e)
{
	const struct hk_program *prog = s->programs[e->participant];

	return &prog->steps[prog->lanes[e->lane].first + e->step];
}

static void put_names(const struct hk_schedule *s, FILE *out)
{
	for (int i = 0; i < s->n; i++) {
		const struct hk_program *prog = s->programs[i];

		fprintf(out,
			"{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":\"%"
			"s "
			"%d\"}},\n",
			i, i < s->problem.nranks ? "rank" : "switch", i);
		for (uint32_t l = 0; l < prog->nlanes; l++)
			fprintf(out,
				"{\"ph\":\"M\",\"pid\":%d,\"tid\":%" PRIu32
				",\"name\":\"thread_name\",\"args\":{\"name\":\"lane %" PRIu32
				" channel %" PRIu32 "\"}},\n",
				i, l, l, prog->lanes[l].channel);
	}
}

static void put_slice(const struct hk_schedule *s, const struct trace_event *e, FILE *out)
{
	const struct hk_step *step = step_of(s, e);

	fprintf(out,
		"{\"ph\":\"X\",\"pid\":%d,\"tid\":%" PRIu32
		",\"ts\":%.3f,\"dur\":%.3f,\"name\":\"%s\",\"args\":{\"step\":%" PRIu32
		",\"tile\":%" PRIu32 ",\"what\":\"",
		e->participant, e->lane, e->start_ns / 1e3, (e->end_ns - e->start_ns) / 1e3,
		hk_op_name(step->op), e->step, e->tile);
	hk_step_dump(s->programs[e->participant], step, out);
	fputs("\"}},\n", out);
}

/* An end of a message. Sorted, the ends of a connection stand together, in their order. */
struct end {
	int from, to;
	uint32_t channel;
	bool recv;
	size_t event;
};

static int by_connection(const void *a, const void *b)
{
	const struct end *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	if (x->to != y->to)
		return x->to < y->to ? -1 : 1;
	if (x->channel != y->channel)
		return x->channel < y->channel ? -1 : 1;
	if (x->recv != y->recv)
		return x->recv ? 1 : -1;
	return x->event < y->event ? -1 : x->event > y->event;
}

static bool same_side(const struct end *a, const struct end *b)
{
	return a->from == b->from && a->to == b->to && a->channel == b->channel &&
	       a->recv == b->recv;
}

static size_t list_ends(const struct trace *t, const struct hk_schedule *s, struct end *ends)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		const struct trace_event *e = &t->events[i];
		const struct hk_step *step = step_of(s, e);
		uint32_t channel = s->programs[e->participant]->lanes[e->lane].channel;

		if (hk_op_does[step->op] & HK_DOES_SEND)
			ends[n++] = (struct end){e->participant, step->to, channel, false, i};
		if (hk_op_does[step->op] & HK_DOES_RECV)
			ends[n++] = (struct end){step->from, e->participant, channel, true, i};
	}
	qsort(ends, n, sizeof(*ends), by_connection);
	return n;
}

static int put_arrows(const struct trace *t, const struct hk_schedule *s, FILE *out)
{
	struct end *ends = malloc((t->n * 2 + 1) * sizeof(*ends));
	size_t n, first = 0, connection = 0;

	if (!ends)
		return -ENOMEM;
	n = list_ends(t, s, ends);
	for (size_t i = 0; i < n; i++) {
		const struct trace_event *e = &t->events[ends[i].event];

		if (i && !same_side(&ends[i - 1], &ends[i])) {
			first = i;
			connection += !ends[i].recv;
		}
		/* Arrows bind to the slice that encloses their time. */
		fprintf(out,
			"{\"ph\":\"%s\",\"pid\":%d,\"tid\":%" PRIu32
			",\"ts\":%.3f,\"cat\":\"message\",\"name\":\"message\",\"id\":\"%zu.%zu\"%"
			"s},"
			"\n",
			ends[i].recv ? "f" : "s", e->participant, e->lane,
			(e->start_ns + e->end_ns) / 2e3, connection, i - first,
			ends[i].recv ? ",\"bp\":\"e\"" : "");
	}
	free(ends);
	return 0;
}

int hk_trace_write(const struct trace *t, const struct hk_schedule *s, FILE *out)
{
	int rc;

	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", out);
	put_names(s, out);
	for (size_t i = 0; i < t->n; i++)
		put_slice(s, &t->events[i], out);
	rc = put_arrows(t, s, out);
	/* A last one without a comma after it. */
	fprintf(out, "{\"ph\":\"M\",\"pid\":0,\"name\":\"process_sort_index\",\"args\":{\"sort_"
		     "index\":0}}\n]}\n");
	return rc || t->lost ? -ENOMEM : ferror(out) ? -EIO : 0;
}
