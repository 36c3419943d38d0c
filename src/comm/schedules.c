/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Given schedules: see schedules.h. They are proved when a call first fits them, on every rank
 * alike, so that all ranks run the same; one that is refuted is said in the log and passed over.
 */
#include "schedules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "param.h"

/* --- keeping them --- */

static int add(struct hk_comm *c, struct hk_schedule *s, uint64_t min_bytes, uint64_t max_bytes)
{
	struct hk_given *given = realloc(c->given, (c->ngiven + 1) * sizeof(*given));

	if (!given)
		return hk_fail(ENOMEM, "no memory for schedule %u", c->ngiven);
	c->given = given;
	given[c->ngiven++] =
		(struct hk_given){.schedule = s, .min_bytes = min_bytes, .max_bytes = max_bytes};
	return 0;
}

static void take_file(void *arg, const char *path, struct hk_schedule *s)
{
	struct hk_comm *c = arg;

	if (!s) {
		hk_log(HK_LOG_WARN, "HOCKET_SCHEDULES: %s", hk_last_error());
		return;
	}
	if (s->problem.nranks == c->nranks && !add(c, s, s->min_bytes, s->max_bytes)) {
		hk_log(HK_LOG_INFO, "rank %d has %s from %s, for %s", c->rank, s->name, path,
		       hk_coll_name(s->problem.coll));
		return;
	}
	hk_schedule_free(s);
}

int hk_comm_load_schedules(struct hk_comm *c)
{
	const char *dir = hk_param_str(HK_PARAM_SCHEDULES);

	if (!dir)
		return 0;
	return hk_schedule_load_all(dir, take_file, c);
}

void hk_comm_free_schedules(struct hk_comm *c)
{
	for (unsigned i = 0; i < c->ngiven; i++)
		hk_schedule_free(c->given[i].schedule);
	free(c->given);
	free(c->staging);
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

static uint64_t hash_schedule(const struct hk_schedule *s, uint64_t min_bytes, uint64_t max_bytes)
{
	uint64_t h = hash_bytes(0xcbf29ce484222325ull, s->name, strlen(s->name));

	h = hash_bytes(h, &min_bytes, sizeof(min_bytes));
	h = hash_bytes(h, &max_bytes, sizeof(max_bytes));
	h = hash_bytes(h, &s->problem.coll, sizeof(s->problem.coll));
	h = hash_bytes(h, &s->problem.root, sizeof(s->problem.root));
	for (int i = 0; i < s->n; i++) {
		const struct hk_program *prog = s->programs[i];

		h = hash_bytes(h, &prog->period, sizeof(prog->period));
		h = hash_bytes(h, &prog->message_chunks, sizeof(prog->message_chunks));
		h = hash_bytes(h, &prog->serial, sizeof(prog->serial));
		h = hash_bytes(h, prog->nchunks, sizeof(prog->nchunks));
		h = hash_bytes(h, prog->lanes, prog->nlanes * sizeof(*prog->lanes));
		h = hash_bytes(h, prog->steps, prog->nsteps * sizeof(*prog->steps));
		h = hash_bytes(h, prog->deps, prog->ndeps * sizeof(*prog->deps));
	}
	return h;
}

uint64_t hk_comm_hash_schedules(const struct hk_comm *c)
{
	uint64_t h = 0;

	for (unsigned i = 0; i < c->ngiven; i++) {
		const struct hk_given *g = &c->given[i];

		h = h * 31 + hash_schedule(g->schedule, g->min_bytes, g->max_bytes);
	}
	return h;
}

/* --- proving them --- */

static bool right(const struct hk_comm *c, const struct hk_schedule *s, bool inplace,
		  struct hk_report *report)
{
	struct hk_problem p = hk_schedule_problem(s, inplace);

	return !hk_check_any_order(&p, s->programs, s->n, c->config.slots, report);
}

/* What stands against running it here, besides the proof; NULL: nothing. */
static const char *obstacle(const struct hk_comm *c, const struct hk_schedule *s)
{
	if (s->n != s->problem.nranks)
		return "it has switches";
	if (hk_schedule_channels(s) > HK_COLL_CHANNELS)
		return "it has too many channels";
	if (s->programs[0]->message_chunks > c->config.slot_bytes / sizeof(uint64_t))
		return "its messages have more chunks than a slot has room for (HOCKET_SLOT_BYTES)";
	return NULL;
}

static void try(struct hk_comm *c, struct hk_given *g)
{
	struct hk_report in = {0}, out = {0};
	const struct hk_schedule *s = g->schedule;
	const char *why = obstacle(c, s);
	char most[32] = "any number of";

	g->tried = true;
	if (!why) {
		g->inplace = right(c, s, true, &in);
		g->outofplace = right(c, s, false, &out);
		why = out.text;
	}
	if (!g->inplace && !g->outofplace) {
		hk_log(HK_LOG_WARN, "rank %d does not use the schedule %s: %s", c->rank, s->name,
		       why);
		return;
	}
	if (g->max_bytes < UINT64_MAX)
		snprintf(most, sizeof(most), "%llu", (unsigned long long)g->max_bytes);
	hk_log(HK_LOG_INFO, "rank %d uses the schedule %s for %s from %llu to %s bytes: proved%s%s",
	       c->rank, s->name, hk_coll_name(s->problem.coll), (unsigned long long)g->min_bytes,
	       most,
	       !g->outofplace ? " in place only"
	       : !g->inplace  ? " out of place only"
			      : "",
	       in.bits_differ || out.bits_differ
		       ? "; ranks add up in orders of their own, so their last bits may differ"
		       : "");
}

unsigned hk_comm_given_for(struct hk_comm *c, enum hk_coll coll, int root, uint64_t block)
{
	struct hk_problem p = {.coll = coll, .nranks = c->nranks};
	uint64_t bytes = hk_schedule_bytes(&p, block);

	if (coll == HK_BARRIER) /* it has no size */
		return 0;
	for (unsigned i = c->ngiven; i > 0; i--) {
		struct hk_given *g = &c->given[i - 1];
		const struct hk_problem *its = &g->schedule->problem;

		if (its->coll != coll || bytes < g->min_bytes || bytes > g->max_bytes ||
		    (hk_coll_rooted(coll) && its->root != root))
			continue;
		if (!g->tried)
			try(c, g);
		if (g->inplace || g->outofplace)
			return i;
	}
	return 0;
}

int hk_comm_given_program(const struct hk_comm *c, const struct hk_given *g, bool inplace,
			  struct hk_problem *p, struct hk_program **prog)
{
	*p = hk_schedule_problem(g->schedule, inplace);
	return hk_program_clone(g->schedule->programs[c->rank], prog);
}

/* --- calls in the other form --- */

enum hk_adapt hk_comm_adaptation(const struct hk_given *g, bool inplace)
{
	if (inplace ? g->inplace : g->outofplace)
		return HK_ADAPT_NONE;
	return inplace ? HK_ADAPT_STAGE : HK_ADAPT_COPY;
}

int hk_comm_adapt(struct hk_comm *c, const struct hk_request *req, enum hk_adapt adapt,
		  struct hk_call *call)
{
	struct hk_problem p = {
		.coll = req->coll, .nranks = c->nranks, .root = req->root, .inplace = true};
	uint32_t nin = hk_coll_blocks(&p, c->rank, HK_IN);

	if (c->gpu) { /* in the order of its stream */
		call->prepare = adapt == HK_ADAPT_STAGE ? HK_PREPARE_IN : HK_PREPARE_OUT;
		return 0;
	}
	if (adapt == HK_ADAPT_STAGE) {
		size_t bytes = nin * req->block;

		if (bytes > c->staging_bytes) {
			free(c->staging);
			c->staging_bytes = 0;
			c->staging = malloc(bytes);
			if (!c->staging)
				return hk_fail(ENOMEM, "no memory to copy an input of %zu bytes",
					       bytes);
			c->staging_bytes = bytes;
		}
		if (bytes)
			memcpy(c->staging, req->in, bytes);
		call->in = c->staging;
		return 0;
	}
	for (uint32_t i = 0; i < nin; i++) {
		int64_t out = hk_coll_alias(&p, c->rank, i);

		if (out >= 0)
			memcpy((uint8_t *)req->out + (size_t)out * req->block,
			       (const uint8_t *)req->in + i * req->block, req->block);
	}
	return 0;
}

/* --- the public call --- */

static int copy_of(const struct hk_schedule *s, struct hk_schedule **copy)
{
	struct hk_schedule *k = malloc(sizeof(*k));
	int err = 0;

	if (!k)
		return hk_fail(ENOMEM, "no memory for a copy of a schedule");
	*k = *s;
	k->programs = calloc((size_t)s->n, sizeof(struct hk_program *));
	if (!k->programs)
		err = hk_fail(ENOMEM, "no memory for a copy of a schedule");
	for (int i = 0; !err && i < s->n; i++)
		err = hk_program_clone(s->programs[i], &k->programs[i]);
	if (err)
		hk_schedule_free(k);
	else
		*copy = k;
	return err;
}

/* Whether all ranks have been given the same. hash 0: this one has nothing that it could use, and
 * takes part so that the others need not wait for it in vain. */
static int compare(struct hk_comm *c, uint64_t hash)
{
	uint64_t *hashes = calloc((size_t)c->nranks, sizeof(*hashes));
	int err, other = -1;

	if (!hashes)
		return hk_fail(ENOMEM, "no memory to compare the schedules of %d ranks", c->nranks);
	hashes[c->rank] = hash;
	err = hk_boot_allgather(c->boot, hashes, sizeof(*hashes));
	for (int i = 0; !err && i < c->nranks; i++)
		if (hashes[i] != hash && other < 0)
			other = i;
	if (!err && other >= 0)
		err = hk_fail_quiet(HK_EUSAGE, "hocketCommUseSchedule: rank %d gives %s rank %d",
				    other,
				    hashes[other] ? "another schedule or other sizes than"
						  : "nothing that it could use, unlike",
				    c->rank);
	free(hashes);
	return err;
}

/* The schedule, if it can be used here as far as this rank can tell without a proof. */
static int find_usable(const struct hk_comm *c, hocketSchedule_t schedule, struct hk_schedule **s)
{
	struct hk_schedule *found = NULL;
	int err = hk_schedule_of(schedule, &found);

	if (err)
		return err;
	if (found->problem.nranks != c->nranks)
		return hk_fail_quiet(EINVAL, "the schedule %s is for %d ranks, not for %d",
				     found->name, found->problem.nranks, c->nranks);
	if (obstacle(c, found))
		return hk_fail_quiet(EINVAL, "the schedule %s can't run here: %s", found->name,
				     obstacle(c, found));
	*s = found;
	return 0;
}

static int agree(struct hk_comm *c, hocketSchedule_t schedule, uint64_t min_bytes,
		 uint64_t max_bytes, struct hk_schedule **s)
{
	int own = find_usable(c, schedule, s), err;
	char text[512] = "";

	strncpy(text, hk_last_error(), sizeof(text) - 1);
	err = compare(c, own ? 0 : hash_schedule(*s, min_bytes, max_bytes) | 1);
	if (!own)
		return err;
	hk_set_last_error(text);
	return own;
}

static int use(struct hk_comm *c, hocketSchedule_t schedule, uint64_t min_bytes, uint64_t max_bytes)
{
	struct hk_schedule *s = NULL, *copy = NULL;
	struct hk_report report;
	int err;

	hk_comm_quiesce(c);
	err = hk_comm_check(c);
	if (!err && c->finalized)
		err = hk_fail_quiet(HK_EUSAGE, "hocketCommUseSchedule on a finalized communicator");
	if (!err)
		err = agree(c, schedule, min_bytes, max_bytes, &s);
	if (err)
		return err;
	if (!right(c, s, true, &report) && !right(c, s, false, &report))
		return hk_fail_quiet(HK_EUSAGE, "the schedule %s is wrong: %s", s->name,
				     report.text);
	err = copy_of(s, &copy);
	if (err)
		return err;
	err = add(c, copy, min_bytes, max_bytes);
	if (err)
		hk_schedule_free(copy);
	return err;
}

hocketResult_t hocketCommUseSchedule(hocketComm_t comm, hocketSchedule_t schedule, size_t minBytes,
				     size_t maxBytes)
{
	struct hk_comm *c = hk_handle_enter(comm);
	int err;

	if (!c)
		return hk_result(hk_handle_why());
	err = use(c, schedule, minBytes, maxBytes == SIZE_MAX ? UINT64_MAX : maxBytes);
	hk_handle_leave(comm);
	return hk_result(err);
}
