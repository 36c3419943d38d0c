/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit of shared memory: memcpy and a cache line. Each rank maps one segment with an inbox per
 * rank: a ring of lines, each with a sequence number, and slots. A message that fits travels in its
 * line; a longer one is copied by the sender to a slot first, and the receiver reads a word of each
 * of its lines, so that all of it has really moved. There are no headers, checks, or choices.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "polled.h"

#define LINE	   64u
#define LINES	   64u
#define IN_LINE	   48u
#define SLOT_BYTES (256u << 10) /* of all slots together: they stay in a second-level cache */

struct line {
	_Atomic uint64_t sequence; /* of the message that it announces, from 1 on */
	uint64_t unused;
	uint8_t data[IN_LINE];
} __attribute__((aligned(LINE)));
_Static_assert(sizeof(struct line) == LINE, "a message in a line moves once");

struct inbox {
	_Atomic uint64_t released __attribute__((aligned(LINE))); /* messages that were read */
	struct line lines[LINES];
	uint8_t slots[] __attribute__((aligned(LINE)));
};

struct way {
	struct hk_lp_polled polled;
	void *segment;
	size_t segment_bytes;
	struct inbox *theirs, *mine; /* NULL until mapped */
	uint64_t sent, may_send;     /* messages: so far; up to which there is room */
	uint64_t taken, told;	     /* and what the sender knows of taken */
	uint64_t sum;		     /* of what was read, so that it is */
};

static struct way *way_of(struct hk_lp_polled *p)
{
	return (struct way *)(void *)p;
}

static size_t stride_of(size_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

/* Messages that may be under way; both ranks know it by the size. They are numbered over the lines
 * whatever their size: a short one that follows long ones must not take the line of one that has
 * not been read. Slots are as many as may be under way, and long messages of different sizes never
 * follow each other without an answer in between. */
static uint64_t window(size_t bytes)
{
	size_t fit = SLOT_BYTES / stride_of(bytes);

	return bytes <= IN_LINE || fit > LINES ? LINES : fit < 2 ? 2 : fit;
}

static size_t inbox_bytes(size_t max_bytes)
{
	size_t slots = 2 * stride_of(max_bytes);

	return sizeof(struct inbox) + (slots > SLOT_BYTES ? slots : SLOT_BYTES);
}

static int post(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);
	uint64_t room = window(bytes), at = w->sent % room;
	struct line *line = &w->theirs->lines[w->sent % LINES];

	if (w->sent >= w->may_send + room) {
		w->may_send = atomic_load_explicit(&w->theirs->released, memory_order_acquire);
		if (w->sent >= w->may_send + room)
			return 0;
	}
	memcpy(bytes <= IN_LINE ? line->data : w->theirs->slots + at * stride_of(bytes), p->way.out,
	       bytes);
	atomic_store_explicit(&line->sequence, ++w->sent, memory_order_release);
	return 1;
}

static void tell(struct way *w)
{
	atomic_store_explicit(&w->mine->released, w->taken, memory_order_release);
	w->told = w->taken;
}

static int take(struct hk_lp_polled *p, size_t bytes)
{
	struct way *w = way_of(p);
	uint64_t room = window(bytes), at = w->taken % room;
	const struct line *line = &w->mine->lines[w->taken % LINES];
	const uint8_t *slot = w->mine->slots + at * stride_of(bytes);

	if (atomic_load_explicit(&line->sequence, memory_order_acquire) != w->taken + 1) {
		if (w->told != w->taken)
			tell(w);
		return 0;
	}
	if (bytes <= IN_LINE)
		slot = line->data;
	for (size_t i = 0; i < bytes; i += LINE)
		w->sum += *(const volatile uint8_t *)(slot + i);
	p->way.in = slot;
	if (++w->taken - w->told >= room / 4)
		tell(w);
	return 1;
}

static int settle(struct hk_lp_polled *p)
{
	return 1;
}

static void close_way(struct hk_lp_way *way)
{
	struct way *w = (struct way *)(void *)way;

	if (w->segment)
		munmap(w->segment, w->segment_bytes);
	free(way->out);
	free(w);
}

static const struct hk_lp_way_ops ops = {
	.pass = hk_lp_polled_pass,
	.await = hk_lp_polled_await,
	.stream = hk_lp_polled_stream,
	.close = close_way,
};

static const struct hk_lp_poll_ops poll_ops = {
	.post = post,
	.take = take,
	.expect = hk_lp_expect_none,
	.tend = hk_lp_tend_none,
	.settle = settle,
};

/* Rank 0 makes the segment, rank 1 gets it. */
static int get_segment(struct hk_lp_run *run, size_t bytes, int *fd)
{
	uint32_t tag = hk_lp_tag(run);
	int err = 0;

	if (run->rank)
		return run->wire->ops->fetch(run->wire, run->peer, tag, fd);
	*fd = memfd_create("link_perf", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)bytes))
		err = hk_fail(errno, "no shared memory of %zu bytes: %s", bytes, strerror(errno));
	return err ? err : run->wire->ops->publish(run->wire, tag, *fd);
}

static int map(struct way *w, size_t max_bytes)
{
	struct hk_lp_run *run = w->polled.way.run;
	size_t each = (inbox_bytes(max_bytes) + 4095) / 4096 * 4096;
	void *at = MAP_FAILED;
	int fd = -1, err = get_segment(run, 2 * each, &fd);

	if (!err) {
		at = mmap(NULL, 2 * each, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			err = hk_fail(errno, "shared memory can't be mapped: %s", strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	w->segment = at;
	w->segment_bytes = 2 * each;
	w->mine = (struct inbox *)(void *)((char *)at + (unsigned)run->rank * each);
	w->theirs = (struct inbox *)(void *)((char *)at + (unsigned)run->peer * each);
	memset(w->mine->slots, 0, each - sizeof(struct inbox));
	return 0;
}

int hk_lp_open_shm(struct hk_lp_run *run, struct hk_lp_way **way)
{
	struct way *w = calloc(1, sizeof(*w));
	size_t bytes = run->options->max_bytes;
	int err;

	if (!w)
		return hk_fail(ENOMEM, "no memory for a way");
	w->polled.way = (struct hk_lp_way){.ops = &ops,
					   .run = run,
					   .name = "raw memcpy",
					   .level = HK_LP_RAW,
					   .out = calloc(1, bytes)};
	w->polled.poll = &poll_ops;
	err = w->polled.way.out ? map(w, bytes) : hk_fail(ENOMEM, "no memory for %zu bytes", bytes);
	if (err) {
		close_way(&w->polled.way);
		return err;
	}
	*way = &w->polled.way;
	return 0;
}
