/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Measures one transport after the other between two ranks. For each: a communicator that has no
 * other transport, the raw ways, and then, size by size, a look at what arrives, the rounds of
 * timing.c, and the rows.
 *
 * It is linked with the library's own archives instead of libhocket.so, because it drives the
 * transports below the public API, too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"
#include "link.h"
#include "report.h"

#define TAG 0x6c700000u /* of raw ways on the control communicator's wire */

struct contest {
	struct hk_lp_run *run;
	const char *transport;
	hocketComm_t comm; /* with that transport alone */
	struct hk_lp_buffers buffers;
	struct hk_lp_way *ways[HK_LP_WAYS]; /* the first is raw */
	unsigned nways;
};

uint32_t hk_lp_tag(struct hk_lp_run *run)
{
	return TAG + run->tag++;
}

int hk_lp_swap(struct hk_lp_run *run, const void *own, void *other, size_t bytes)
{
	uint8_t *all = malloc(2 * bytes);
	hocketResult_t res = hocketSystemError;

	if (all)
		res = hocketAllGather(own, all, bytes, hocketUint8, run->control, NULL);
	if (res == hocketSuccess)
		memcpy(other, all + (size_t)run->peer * bytes, bytes);
	free(all);
	return res == hocketSuccess ? 0 : -1;
}

int hk_lp_agree(struct hk_lp_run *run, int err)
{
	int mine = err, theirs = 0;

	if (hk_lp_swap(run, &mine, &theirs, sizeof(mine)))
		return -HK_EPEER;
	return err ? err : theirs;
}

/* --- buffers --- */

static int try(hocketResult_t res, const char *what)
{
	if (res == hocketSuccess)
		return 0;
	return hk_fail_quiet(HK_EUSAGE, "%s: %s: %s", what, hocketGetErrorString(res),
			     hocketGetLastError(NULL));
}

int hk_lp_buffers_open(struct hk_lp_buffers *b, hocketComm_t comm, size_t bytes, bool registered)
{
	uint8_t **each[] = {&b->out, &b->in};
	int err = 0;

	*b = (struct hk_lp_buffers){.comm = comm, .registered = registered};
	for (unsigned i = 0; i < 2 && !err; i++) {
		if (registered)
			err = try(hocketMemAlloc((void **)each[i], bytes), "hocketMemAlloc");
		else
			*each[i] = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
		if (!err && !*each[i])
			err = hk_fail(ENOMEM, "no memory for %zu bytes", bytes);
		if (!err && registered)
			err = try(hocketCommRegister(comm, *each[i], bytes, &b->handles[i]),
				  "hocketCommRegister");
		if (!err)
			memset(*each[i], 0, bytes);
	}
	return err;
}

void hk_lp_buffers_close(struct hk_lp_buffers *b)
{
	for (unsigned i = 0; i < 2; i++)
		if (b->handles[i])
			hocketCommDeregister(b->comm, b->handles[i]);
	if (b->registered) {
		hocketMemFree(b->out);
		hocketMemFree(b->in);
	} else {
		free(b->out);
		free(b->in);
	}
	*b = (struct hk_lp_buffers){0};
}

/* --- one transport --- */

/* Opens one way on both ranks, or on none. */
static int add_way(struct contest *c, int err, struct hk_lp_way *way)
{
	err = hk_lp_agree(c->run, err);
	if (!err)
		c->ways[c->nways++] = way;
	else if (way)
		way->ops->close(way);
	return err;
}

static int open_raw(struct contest *c)
{
	struct hk_lp_way *way = NULL;
	int err = -ENOTSUP;

	if (!strcmp(c->transport, "shm")) {
		err = hk_lp_open_shm(c->run, &way);
	} else if (!strcmp(c->transport, "tcp")) {
		err = hk_lp_open_tcp(c->run, &way);
#ifdef HOCKET_LINK_VERBS
	} else if (!strcmp(c->transport, "verbs")) {
		err = 0;
		for (int how = HK_LP_WRITE; how <= HK_LP_SEND && !err; how++) {
			way = NULL;
			err = hk_lp_open_verbs(c->run, (enum hk_lp_verbs)how, &way);
			err = add_way(c, err, way);
		}
		return err;
#endif
	} else {
		hk_fail_quiet(ENOTSUP, "nobody has written what raw means for it");
	}
	return add_way(c, err, way);
}

static int open_comm(struct contest *c)
{
	hocketConfig_t config = HOCKET_CONFIG_INITIALIZER;

	config.transports = c->transport;
	return try(hocketCommSplit(c->run->control, 0, c->run->rank, &c->comm, &config),
		   "hocketCommSplit");
}

static int open_library(struct contest *c)
{
	struct hk_lp_way *way = NULL;
	int err = hk_lp_open_transport(c->run, c->comm, &c->buffers, &way);

	err = add_way(c, err, way);
	if (err)
		return err;
	way = NULL;
	err = hk_lp_open_api(c->run, c->comm, &c->buffers, &way);
	return add_way(c, err, way);
}

static int open_contest(struct contest *c)
{
	const struct hk_lp_options *o = c->run->options;
	int err = hk_lp_agree(c->run, open_comm(c));

	if (!err)
		err = open_raw(c);
	if (!err)
		err = hk_lp_agree(c->run, hk_lp_buffers_open(&c->buffers, c->comm, o->max_bytes,
							     o->registered));
	return err ? err : open_library(c);
}

static void close_contest(struct contest *c, bool failed)
{
	for (unsigned i = c->nways; i-- > 0;)
		c->ways[i]->ops->close(c->ways[i]);
	hk_lp_buffers_close(&c->buffers);
	if (c->comm && failed)
		hocketCommAbort(c->comm);
	else if (c->comm)
		hocketCommDestroy(c->comm);
}

/* --- one size --- */

static void fill(uint8_t *data, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)((i * 2654435761u + seed) >> 5);
}

/* One message each way; *wrong is how many differed from what was sent. Ways share buffers: so each
 * has data of its own, and each rank. */
static int check_way(struct hk_lp_way *w, unsigned way, size_t bytes, uint8_t *want,
		     unsigned *wrong)
{
	unsigned seed = (unsigned)bytes * 31 + way * 0x9e3779b1u;
	int err = 0;

	fill(w->out, bytes, seed ^ ((unsigned)w->run->rank + 1) * 0x85ebca6bu);
	fill(want, bytes, seed ^ ((unsigned)w->run->peer + 1) * 0x85ebca6bu);
	for (int turn = 0; turn < 2 && !err; turn++) {
		if (turn == w->run->rank) {
			err = w->ops->pass(w, bytes);
			continue;
		}
		err = w->ops->await(w, bytes);
		if (!err && memcmp(w->in, want, bytes - w->marked))
			++*wrong;
	}
	return err ? err : w->ops->stream(w, bytes, 0, true, false);
}

static int check(struct contest *c, size_t bytes, unsigned *wrong)
{
	uint8_t *want = malloc(bytes);
	unsigned mine = 0, theirs = 0;
	int err = want ? 0 : hk_fail(ENOMEM, "no memory for %zu bytes", bytes);

	for (unsigned i = 0; i < c->nways && !err; i++) {
		unsigned before = mine;

		err = check_way(c->ways[i], i, bytes, want, &mine);
		if (mine != before)
			fprintf(stderr,
				"link_perf: %s, %s: a message of %zu bytes to rank %d "
				"differs from what was sent\n",
				c->transport, c->ways[i]->name, bytes, c->run->rank);
	}
	free(want);
	if (!err && hk_lp_swap(c->run, &mine, &theirs, sizeof(mine)))
		err = -HK_EPEER;
	*wrong += mine + theirs;
	return err;
}

static int run_size(struct contest *c, struct hk_lp_report *report, size_t bytes, unsigned *wrong)
{
	struct hk_lp_figures figures[HK_LP_WAYS];
	int err = c->run->options->check ? check(c, bytes, wrong) : 0;

	if (!err)
		err = hk_lp_measure(c->run, c->ways, c->nways, bytes, figures);
	for (unsigned i = 0; i < c->nways && !err && !c->run->rank; i++)
		hk_lp_report_row(report, c->transport, c->ways[0]->path, c->ways[i], bytes,
				 &figures[i]);
	return err;
}

/* The largest size is always measured. */
static size_t next_size(const struct hk_lp_options *o, size_t bytes)
{
	size_t next =
		o->step_bytes ? bytes + o->step_bytes : (size_t)((double)bytes * o->step_factor);

	if (bytes < o->max_bytes && next > o->max_bytes)
		return o->max_bytes;
	return next > bytes ? next : bytes + 1;
}

/* --- all --- */

/* asked: its absence is a failure. */
static int run_transport(struct hk_lp_run *run, struct hk_lp_report *report, const char *name,
			 bool asked, unsigned *wrong)
{
	struct contest c = {.run = run, .transport = name};
	const struct hk_lp_options *o = run->options;
	int err = open_contest(&c);

	if (err) {
		char why[512];

		snprintf(why, sizeof(why), "%s", hk_last_error());
		close_contest(&c, false);
		if (asked)
			fprintf(stderr, "link_perf: rank %d can't measure %s: %s\n", run->rank,
				name, why);
		else if (!run->rank)
			printf("#\n# %s left out: %s\n", name, why);
		return asked ? err : 0;
	}
	if (!run->rank)
		hk_lp_report_transport(report, name, c.ways[0]->path);
	for (size_t bytes = o->min_bytes; bytes <= o->max_bytes && !err;
	     bytes = next_size(o, bytes))
		err = run_size(&c, report, bytes, wrong);
	if (err)
		fprintf(stderr, "link_perf: rank %d, %s: %s\n", run->rank, name, hk_last_error());
	close_contest(&c, err);
	return err;
}

static int run_named(struct hk_lp_run *run, struct hk_lp_report *report, const char *names,
		     unsigned *wrong)
{
	char *copy = strdup(names), *save = NULL;
	int err = copy ? 0 : -ENOMEM;

	for (char *name = copy ? strtok_r(copy, ",", &save) : NULL; name && !err;
	     name = strtok_r(NULL, ",", &save))
		err = run_transport(run, report, name, true, wrong);
	free(copy);
	return err;
}

static int run_all(struct hk_lp_run *run, struct hk_lp_report *report, unsigned *wrong)
{
	int err = 0;

	for (unsigned i = 0; i < hk_ntransports && !err; i++)
		if (strcmp(hk_transports[i]->name, "loop"))
			err = run_transport(run, report, hk_transports[i]->name, false, wrong);
	return err;
}

static int run(struct hk_lp_run *run, const struct hk_launch *l)
{
	const struct hk_lp_options *o = run->options;
	struct hk_lp_report report;
	unsigned wrong = 0;
	int err;

	if (!run->rank && hk_lp_report_open(&report, o, l))
		return 2;
	err = o->transports ? run_named(run, &report, o->transports, &wrong)
			    : run_all(run, &report, &wrong);
	if (!run->rank && hk_lp_report_close(&report, wrong))
		return 2;
	return err ? 2 : wrong ? 1 : 0;
}

/* Two ranks with a communicator for what they have to tell each other. */
static int join_and_run(const struct hk_lp_options *o, const struct hk_launch *l)
{
	struct hk_lp_run r = {.options = o, .rank = l->rank, .peer = !l->rank};
	hocketUniqueId id;
	hocketResult_t res;
	int status;

	if (l->nprocs != 2) {
		if (!l->rank)
			fprintf(stderr,
				"link_perf needs two ranks, not %d: hocket run -n 2 link_perf\n",
				l->nprocs);
		return 2;
	}
	if (hk_launch_share_id(l, &id))
		return 2;
	res = hocketCommInitRank(&r.control, 2, id, l->rank);
	if (res != hocketSuccess) {
		fprintf(stderr, "rank %d: hocketCommInitRank: %s: %s\n", l->rank,
			hocketGetErrorString(res), hocketGetLastError(NULL));
		return 2;
	}
	r.inside = hk_handle_enter(r.control);
	r.wire = hk_boot_wire(r.inside->boot);
	status = run(&r, l);
	hk_handle_leave(r.control);
	/* After a failure the other rank must not wait for this one. */
	if (status == 2)
		hocketCommAbort(r.control);
	else if (hocketCommDestroy(r.control) != hocketSuccess)
		status = 2;
	return status;
}

int main(int argc, char **argv)
{
	struct hk_lp_options options;
	struct hk_launch launch;
	enum hk_lp_parse parsed;
	int status;

	if (hk_launch_open(&launch))
		return 2;
	parsed = hk_lp_parse(argc, argv, launch.rank == 0, &options);
	if (parsed == HK_LP_RUN)
		status = join_and_run(&options, &launch);
	else
		status = parsed == HK_LP_HELP ? 0 : 2;
	hk_launch_close(&launch);
	return status;
}
