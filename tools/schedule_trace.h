/* SPDX-License-Identifier: BSD-3-Clause */
/* Timelines of schedules, as the trace events that Chrome and Perfetto draw. */
#ifndef HOCKET_TOOLS_SCHEDULE_TRACE_H
#define HOCKET_TOOLS_SCHEDULE_TRACE_H

#include "file.h"

/* A step that ran. */
struct trace_event {
	int participant;
	uint32_t lane, step, tile;
	double start_ns, end_ns;
};

struct trace {
	struct trace_event *events;
	size_t n, max;
	bool lost; /* there was no memory for some */
};

void hk_trace_add(struct trace *t, const struct trace_event *e);
/* All events of a participant's lane must be in the order in which they ran. */
int hk_trace_write(const struct trace *t, const struct hk_schedule *s, FILE *out);

#endif
