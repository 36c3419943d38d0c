/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public builder (hocket/schedule.h): a builder per rank until the schedule is first asked for,
 * then its programs. What the building calls find wrong waits in the builders.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedules.h"

#define MAGIC	   0x68736368u
#define MOST_RANKS 65536
#define MOST_SLOTS 64

struct hocketSchedule {
	uint32_t magic;
	bool building;
	int err; /* of the building calls, with its sentence */
	char error[512];
	struct hk_schedule *s; /* its programs are NULL while it is being built */
	struct hk_builder **builders;
};

_Static_assert((int)hocketNumColls == (int)HK_BARRIER, "collectives have the schedule's numbers");

static struct hocketSchedule *valid(hocketSchedule_t schedule)
{
	if (schedule && schedule->magic == MAGIC)
		return schedule;
	hk_fail_quiet(EINVAL, "%p is no schedule", (void *)schedule);
	return NULL;
}

/* --- life --- */

static bool good_name(const char *name)
{
	size_t n =
		name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-.")
		     : 0;

	return n && !name[n] && n < sizeof(((struct hk_schedule *)0)->name);
}

static int allocate(int nranks, hocketSchedule_t *out)
{
	struct hocketSchedule *h = calloc(1, sizeof(*h));

	if (!h)
		return hk_fail(ENOMEM, "no memory for a schedule");
	h->magic = MAGIC;
	h->s = calloc(1, sizeof(*h->s));
	h->builders = calloc((size_t)nranks, sizeof(struct hk_builder *));
	if (h->s)
		h->s->programs = calloc((size_t)nranks, sizeof(struct hk_program *));
	*out = h;
	if (h->s && h->s->programs && h->builders)
		return 0;
	return hk_fail(ENOMEM, "no memory for a schedule of %d ranks", nranks);
}

static void release(hocketSchedule_t h)
{
	for (int i = 0; h->building && i < h->s->n; i++)
		if (h->builders[i])
			hk_build_drop(h->builders[i]);
	free(h->builders);
	hk_schedule_free(h->s);
	h->magic = 0;
	free(h);
}

static int create(hocketSchedule_t *schedule, const char *name, hocketColl_t coll, int nranks,
		  int root)
{
	struct hocketSchedule *h = NULL;
	int err;

	if (!schedule || !good_name(name))
		return hk_fail_quiet(EINVAL, "hocketScheduleCreate: %s",
				     schedule ? "the name must be of letters, digits, '_', '-' and "
						"'.', and shorter than 64"
					      : "schedule is NULL");
	if ((unsigned)coll >= hocketNumColls || nranks < 1 || nranks > MOST_RANKS || root < 0 ||
	    root >= nranks)
		return hk_fail_quiet(
			EINVAL,
			"hocketScheduleCreate: collective %d, %d ranks and root %d make "
			"no problem",
			(int)coll, nranks, root);
	err = allocate(nranks, &h);
	if (err) {
		if (h)
			release(h);
		return err;
	}
	strcpy(h->s->name, name);
	h->s->problem = (struct hk_problem){
		.coll = (enum hk_coll)coll, .nranks = nranks, .root = root, .channels = 1};
	h->s->max_bytes = UINT64_MAX;
	h->s->inplace = h->s->outofplace = true;
	h->building = true;
	for (h->s->n = 0; !err && h->s->n < nranks; h->s->n++)
		err = hk_build_begin(&h->s->problem, h->s->n, &h->builders[h->s->n]);
	if (err)
		release(h);
	else
		*schedule = h;
	return err;
}

hocketResult_t hocketScheduleCreate(hocketSchedule_t *schedule, const char *name,
				    hocketColl_t collective, int nranks, int root)
{
	return hk_result(create(schedule, name, collective, nranks, root));
}

static int load(hocketSchedule_t *schedule, const char *path)
{
	struct hocketSchedule *h;
	int err;

	if (!schedule || !path)
		return hk_fail_quiet(EINVAL, "hocketScheduleLoad: %s is NULL",
				     schedule ? "path" : "schedule");
	h = calloc(1, sizeof(*h));
	if (!h)
		return hk_fail(ENOMEM, "no memory for a schedule");
	h->magic = MAGIC;
	err = hk_schedule_load(path, &h->s);
	if (err)
		free(h);
	else
		*schedule = h;
	return err;
}

hocketResult_t hocketScheduleLoad(hocketSchedule_t *schedule, const char *path)
{
	return hk_result(load(schedule, path));
}

hocketResult_t hocketScheduleDestroy(hocketSchedule_t schedule)
{
	if (!schedule)
		return hocketSuccess;
	if (!valid(schedule))
		return hocketInvalidArgument;
	release(schedule);
	return hocketSuccess;
}

/* --- building --- */

/* Keeps the first failure, with its sentence. */
static void remember(struct hocketSchedule *h, int err)
{
	if (h->err)
		return;
	h->err = err;
	strncpy(h->error, hk_last_error(), sizeof(h->error) - 1);
}

static int refuse(hocketSchedule_t h, const char *fmt, int a, int b)
{
	int err = hk_fail_quiet(EINVAL, fmt, a, b);

	remember(h, err);
	return err;
}

/* The builder of a rank, if numbers that the builder takes as unsigned are not negative. */
static struct hk_builder *builder_of(hocketSchedule_t schedule, int rank, int lane, int least)
{
	struct hocketSchedule *h = valid(schedule);

	if (!h)
		return NULL;
	if (!h->building)
		refuse(h, "a schedule that has been loaded or asked for takes no more steps", 0, 0);
	else if (rank < 0 || rank >= h->s->n)
		refuse(h, "rank %d is not from 0 to %d", rank, h->s->n - 1);
	else if (lane < 0 || least < 0)
		refuse(h, "rank %d: a negative number in a step of lane %d", rank, lane);
	else
		return h->builders[rank];
	return NULL;
}

/* Numbers that are no buffer become none, which the builder refuses where one is needed. */
static enum hk_buf buffer_of(hocketBuffer_t buffer)
{
	return (unsigned)buffer < HK_NBUFS ? (enum hk_buf)buffer : HK_NONE;
}

static int least(int a, int b, int c)
{
	int m = a < b ? a : b;

	return m < c ? m : c;
}

hocketResult_t hocketScheduleSetChunks(hocketSchedule_t schedule, int period, int scratch,
				       int longest)
{
	struct hk_builder *b = builder_of(schedule, 0, 0, least(period - 1, scratch, longest - 1));

	for (int i = 0; b && i < schedule->s->n; i++) {
		hk_build_chunks(schedule->builders[i], (uint32_t)period, (uint32_t)scratch);
		hk_build_message(schedule->builders[i], (uint32_t)longest);
	}
	return b ? hocketSuccess : hocketInvalidArgument;
}

int hocketScheduleLane(hocketSchedule_t schedule, int rank, int channel)
{
	struct hk_builder *b = builder_of(schedule, rank, channel, 0);

	if (b && channel >= HK_COLL_CHANNELS) {
		refuse(schedule, "rank %d: channels go from 0 to %d", rank, HK_COLL_CHANNELS - 1);
		return -1;
	}
	return b ? (int)hk_build_lane(b, (uint32_t)channel) : -1;
}

int hocketScheduleSend(hocketSchedule_t schedule, int rank, int lane, int to,
		       hocketBuffer_t srcBuffer, int src, int nchunks)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(src, nchunks, 0));

	return b ? (int)hk_build_send(b, (uint32_t)lane, to, buffer_of(srcBuffer), (uint32_t)src,
				      (uint32_t)nchunks)
		 : -1;
}

int hocketScheduleRecv(hocketSchedule_t schedule, int rank, int lane, int from,
		       hocketBuffer_t dstBuffer, int dst, int nchunks)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(dst, nchunks, 0));

	return b ? (int)hk_build_recv(b, (uint32_t)lane, from, buffer_of(dstBuffer), (uint32_t)dst,
				      (uint32_t)nchunks)
		 : -1;
}

int hocketScheduleRecvReduce(hocketSchedule_t schedule, int rank, int lane, int from,
			     hocketBuffer_t srcBuffer, int src, hocketBuffer_t dstBuffer, int dst,
			     int nchunks)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(src, dst, nchunks));

	return b ? (int)hk_build_recv_reduce(b, (uint32_t)lane, from, buffer_of(srcBuffer),
					     (uint32_t)src, buffer_of(dstBuffer), (uint32_t)dst,
					     (uint32_t)nchunks, 0)
		 : -1;
}

int hocketScheduleCopy(hocketSchedule_t schedule, int rank, int lane, hocketBuffer_t srcBuffer,
		       int src, hocketBuffer_t dstBuffer, int dst, int nchunks)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(src, dst, nchunks));

	return b ? (int)hk_build_copy(b, (uint32_t)lane, buffer_of(srcBuffer), (uint32_t)src,
				      buffer_of(dstBuffer), (uint32_t)dst, (uint32_t)nchunks)
		 : -1;
}

int hocketScheduleReduce(hocketSchedule_t schedule, int rank, int lane, hocketBuffer_t srcBuffer,
			 int src, hocketBuffer_t dstBuffer, int dst, int nchunks)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(src, dst, nchunks));

	return b ? (int)hk_build_reduce(b, (uint32_t)lane, buffer_of(srcBuffer), (uint32_t)src,
					buffer_of(dstBuffer), (uint32_t)dst, (uint32_t)nchunks, 0)
		 : -1;
}

hocketResult_t hocketScheduleAfter(hocketSchedule_t schedule, int rank, int lane, int onLane,
				   int onStep)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, least(onLane, onStep, 0));

	if (b)
		hk_build_after(b, (uint32_t)lane, (uint32_t)onLane, (uint32_t)onStep);
	return b ? hocketSuccess : hocketInvalidArgument;
}

hocketResult_t hocketScheduleSizeOf(hocketSchedule_t schedule, int rank, int lane, int chunk)
{
	struct hk_builder *b = builder_of(schedule, rank, lane, chunk);

	if (b)
		hk_build_size(b, (uint32_t)lane, (uint32_t)chunk);
	return b ? hocketSuccess : hocketInvalidArgument;
}

/* --- the finished schedule --- */

/* The programs, fused. After a failure the handle is only good for being destroyed. */
static int finish(struct hocketSchedule *h)
{
	for (int i = 0; h->building && i < h->s->n; i++) {
		struct hk_program *prog = NULL;
		int err = h->builders[i] ? hk_build_finish(h->builders[i], &prog) : 0;

		h->builders[i] = NULL;
		if (!err && prog)
			err = hk_fuse(&h->s->problem, prog);
		h->s->programs[i] = prog;
		if (err)
			remember(h, err);
	}
	h->building = false;
	if (h->err)
		hk_set_last_error(h->error);
	else
		h->s->problem.channels = hk_schedule_channels(h->s);
	return h->err;
}

int hk_schedule_of(hocketSchedule_t schedule, struct hk_schedule **s)
{
	struct hocketSchedule *h = valid(schedule);
	int err = h ? finish(h) : -EINVAL;

	if (!err)
		*s = h->s;
	return err;
}

static int prove(hocketSchedule_t schedule, int inplace, int *slots)
{
	struct hk_schedule *s = NULL;
	struct hk_report report;
	struct hk_problem p;
	int err = hk_schedule_of(schedule, &s);

	if (err)
		return err;
	p = hk_schedule_problem(s, inplace != 0);
	err = hk_check_any_order(&p, s->programs, s->n, MOST_SLOTS, &report);
	if (err == -HK_EPROOF) /* the user's mistake, not ours */
		err = hk_fail_quiet(HK_EUSAGE, "%s is wrong: %s", s->name, report.text);
	if (!err && slots)
		*slots = (int)report.slots;
	return err;
}

hocketResult_t hocketScheduleProve(hocketSchedule_t schedule, int inplace, int *slots)
{
	return hk_result(prove(schedule, inplace, slots));
}

static int save(hocketSchedule_t schedule, const char *path)
{
	struct hk_schedule *s = NULL;
	int err = hk_schedule_of(schedule, &s);
	FILE *f;

	if (err)
		return err;
	f = path ? fopen(path, "we") : NULL;
	if (!f)
		return hk_fail_quiet(path ? errno : EINVAL, "cannot write %s: %s",
				     path ? path : "a schedule to NULL",
				     path ? strerror(errno) : "no path");
	err = hk_schedule_write(s, f);
	if (fclose(f) && !err)
		err = hk_fail_quiet(EIO, "could not write all of %s: %s", path, strerror(errno));
	return err;
}

hocketResult_t hocketScheduleSave(hocketSchedule_t schedule, const char *path)
{
	return hk_result(save(schedule, path));
}
