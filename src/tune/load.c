/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes programs ready for the abstract run: which connection and which route each message takes,
 * which send each receive meets, who shares a core or a link, and what each step costs at a size.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "run.h"

/* --- who is where --- */

static const struct hk_route *route_between(const struct tune_run *r, int a, int b)
{
	const struct hk_layout *layout = r->p->layout;
	unsigned far = 0;

	if (a >= r->p->nranks || b >= r->p->nranks)
		return &r->m->to_switch;
	while (layout && far < layout->nlevels && layout->group[far][a] != layout->group[far][b])
		far++;
	return &r->m->routes[far];
}

/* Gives the members of a group, which are the first `n` of `members`, their cores. */
static void share_cores(struct tune_run *r, const uint32_t *members, uint32_t n, uint32_t port)
{
	uint32_t ncores = (uint32_t)fmax(1, round(n / fmax(1, r->m->ranks_per_core)));
	uint32_t at = 0;

	for (uint32_t i = 0; i < r->ncores; i++)
		at += r->cores[i].nparts;
	for (uint32_t c = 0; c < ncores && c < n; c++) {
		struct tune_core *core = &r->cores[r->ncores];

		*core = (struct tune_core){.first_part = at, .last = TUNE_NOBODY};
		for (uint32_t i = c; i < n; i += ncores) {
			r->parts_of_cores[at++] = members[i];
			r->parts[members[i]].core = r->ncores;
			r->parts[members[i]].port = port;
			r->parts[members[i]].turn = core->nparts;
			core->nparts++;
		}
		r->ncores++;
	}
}

/* The ranks of an innermost group share its cores and its link. A switch has its own. */
static int place_parts(struct tune_run *r)
{
	const struct hk_layout *layout = r->p->layout;
	uint32_t nranks = (uint32_t)r->p->nranks, ngroups = 1;
	uint32_t *members = calloc(r->nparts, sizeof(*members));
	bool grouped = layout && layout->nlevels;

	if (!members)
		return -ENOMEM;
	for (uint32_t i = 0; grouped && i < nranks; i++)
		if ((uint32_t)layout->group[0][i] >= ngroups)
			ngroups = (uint32_t)layout->group[0][i] + 1;
	for (uint32_t g = 0; g < ngroups; g++) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < nranks; i++)
			if (!grouped || (uint32_t)layout->group[0][i] == g)
				members[n++] = i;
		share_cores(r, members, n, g);
	}
	/* Without groups every rank is as far from all others: each has a link of its own. */
	r->nports = ngroups;
	for (uint32_t i = 0; !grouped && i < nranks; i++)
		r->parts[i].port = i;
	if (!grouped)
		r->nports = nranks;
	for (uint32_t i = nranks; i < r->nparts; i++)
		share_cores(r, &i, 1, r->nports++);
	free(members);
	return 0;
}

/* --- connections --- */

static uint32_t find_conn(struct tune_run *r, uint32_t *table, uint32_t mask, int from, int to,
			  uint32_t channel)
{
	uint64_t key = (uint64_t)(uint32_t)from << 40 ^ (uint64_t)(uint32_t)to << 16 ^ channel;
	uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & mask;

	while (table[at]) {
		const struct tune_conn *c = &r->conns[table[at] - 1];

		if (c->from == from && c->to == to && c->channel == channel)
			return table[at] - 1;
		at = (at + 1) & mask;
	}
	r->conns[r->nconns] = (struct tune_conn){.from = from,
						 .to = to,
						 .channel = channel,
						 .sender = TUNE_NOBODY,
						 .receiver = TUNE_NOBODY,
						 .route = route_between(r, from, to)};
	table[at] = ++r->nconns;
	return r->nconns - 1;
}

/* The connections of one step, of which it is the next to send or receive. The sends of a
 * connection are numbered here, by `match`, and its receives too; pair_up makes pairs of them. */
static void connect_step(struct tune_run *r, uint32_t *table, uint32_t mask, uint32_t lane,
			 uint32_t channel, struct tune_step *st)
{
	unsigned does = hk_op_does[st->step->op];
	int part = (int)r->lanes[lane].part;

	st->in = st->out = st->match = TUNE_NOBODY;
	if (does & HK_DOES_SEND) {
		st->out = find_conn(r, table, mask, part, st->step->to, channel);
		r->conns[st->out].sender = lane;
		r->conns[st->out].nsends++;
	}
	if (does & HK_DOES_RECV) {
		st->in = find_conn(r, table, mask, st->step->from, part, channel);
		r->conns[st->in].receiver = lane;
		st->match = r->conns[st->in].nrecvs++;
	}
}

/* The k-th receive of a connection meets its k-th send. */
static int pair_up(struct tune_run *r)
{
	uint32_t *first = calloc(r->nconns + 1, sizeof(*first)), total = 0;
	uint32_t *sends = calloc(r->nsteps + 1, sizeof(*sends));
	int err = first && sends ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < r->nconns; i++) {
		if (r->conns[i].nsends != r->conns[i].nrecvs)
			err = hk_fail_quiet(
				EDEADLK,
				"participant %d sends %u messages to %d, which receives %u",
				r->conns[i].from, r->conns[i].nsends, r->conns[i].to,
				r->conns[i].nrecvs);
		first[i] = total;
		total += r->conns[i].nsends;
		r->conns[i].nsends = 0;
	}
	for (uint32_t i = 0; !err && i < r->nsteps; i++) {
		uint32_t out = r->steps[i].out;

		if (out != TUNE_NOBODY)
			sends[first[out] + r->conns[out].nsends++] = i;
	}
	for (uint32_t i = 0; !err && i < r->nsteps; i++)
		if (r->steps[i].in != TUNE_NOBODY)
			r->steps[i].match = sends[first[r->steps[i].in] + r->steps[i].match];
	free(first);
	free(sends);
	return err;
}

static int connect_all(struct tune_run *r)
{
	uint32_t mask = 1;
	uint32_t *table;

	while (mask < 2 * r->nsteps + 2)
		mask *= 2;
	table = calloc(mask, sizeof(*table));
	r->conns = calloc((size_t)r->nsteps * 2 + 1, sizeof(*r->conns));
	if (!table || !r->conns) {
		free(table);
		return -ENOMEM;
	}
	mask--;
	for (uint32_t l = 0; l < r->nlanes; l++) {
		const struct tune_lane *lane = &r->lanes[l];
		const struct tune_part *part = &r->parts[lane->part];
		uint32_t channel = r->programs[lane->part]->lanes[l - part->first_lane].channel;

		for (uint32_t i = 0; i < lane->nsteps; i++)
			connect_step(r, table, mask, l, channel, &r->steps[lane->first + i]);
	}
	free(table);
	return pair_up(r);
}

static int give_slots(struct tune_run *r)
{
	uint32_t slots = r->m->slots;

	r->times = calloc((size_t)r->nconns * slots * 2 + 1, sizeof(*r->times));
	r->marks = calloc((size_t)r->nconns * slots * 2 + 1, sizeof(*r->marks));
	if (!r->times || !r->marks)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->nconns; i++) {
		struct tune_conn *c = &r->conns[i];

		c->arrive = r->times + (size_t)i * 2 * slots;
		c->freed = c->arrive + slots;
		c->arrive_by = r->marks + (size_t)i * 2 * slots;
		c->freed_by = c->arrive_by + slots;
	}
	return 0;
}

/* --- programs --- */

/* A number for each chunk of the user's memory; programs are priced as if out of place. */
static size_t place(const struct hk_program *prog, unsigned buf, uint32_t chunk)
{
	return buf == HK_OUT ? chunk : (size_t)prog->nchunks[HK_OUT] + chunk;
}

/* Counts the chunks of the user's memory that a step is the first of its tile to touch. */
static uint32_t touch(const struct hk_program *prog, const struct hk_step *s, uint8_t *touched)
{
	unsigned does = hk_op_does[s->op];
	uint32_t cold = 0;

	for (uint32_t i = 0; i < s->nchunks; i++) {
		if ((does & HK_READS_SRC) && s->src_buf != HK_SCRATCH) {
			uint8_t *t = &touched[place(prog, s->src_buf, s->src + i)];

			cold += !*t;
			*t = 1;
		}
		if ((does & HK_WRITES_DST) && s->dst_buf != HK_SCRATCH) {
			uint8_t *t = &touched[place(prog, s->dst_buf, s->dst + i)];

			cold += !*t;
			*t = 1;
		}
	}
	return cold;
}

static int load_steps(struct tune_run *r, uint32_t part, uint32_t base)
{
	const struct hk_program *prog = r->programs[part];
	uint8_t *touched = calloc((size_t)prog->nchunks[HK_OUT] + prog->nchunks[HK_IN] + 1, 1);

	if (!touched)
		return -ENOMEM;
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		const struct hk_lane *lane = &prog->lanes[l];

		r->lanes[r->nlanes++] = (struct tune_lane){
			.part = part, .first = base + lane->first, .nsteps = lane->nsteps};
		for (uint32_t i = lane->first; i < lane->first + lane->nsteps; i++) {
			struct tune_step *st = &r->steps[base + i];

			st->lane = r->nlanes - 1;
			st->step = &prog->steps[i];
			st->deps = prog->deps + st->step->dep;
			st->cold = touch(prog, st->step, touched);
		}
	}
	free(touched);
	return 0;
}

static int load_programs(struct tune_run *r)
{
	uint32_t nlanes = 0, nsteps = 0;
	int err = 0;

	for (uint32_t i = 0; i < r->nparts; i++) {
		nlanes += r->programs[i]->nlanes;
		nsteps += r->programs[i]->nsteps;
	}
	r->parts = calloc(r->nparts + 1, sizeof(*r->parts));
	r->lanes = calloc(nlanes + 1, sizeof(*r->lanes));
	r->steps = calloc(nsteps + 1, sizeof(*r->steps));
	r->cores = calloc(r->nparts + 1, sizeof(*r->cores));
	r->parts_of_cores = calloc(r->nparts + 1, sizeof(*r->parts_of_cores));
	r->heap = calloc(r->nparts + 1, sizeof(*r->heap));
	r->last_of_core = calloc(r->nparts + 1, sizeof(*r->last_of_core));
	if (!r->parts || !r->lanes || !r->steps || !r->cores || !r->parts_of_cores || !r->heap ||
	    !r->last_of_core)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->nparts && !err; i++) {
		r->parts[i].first_lane = r->nlanes;
		r->parts[i].nlanes = r->programs[i]->nlanes;
		err = load_steps(r, i, r->nsteps);
		r->nsteps += r->programs[i]->nsteps;
	}
	return err;
}

int hk_tune_load(struct tune_run *r)
{
	int err = load_programs(r);

	if (!err)
		err = place_parts(r);
	if (!err)
		err = connect_all(r);
	if (!err)
		err = give_slots(r);
	if (!err) {
		r->ports = calloc((size_t)r->nports * 2 + 1, sizeof(*r->ports));
		err = r->ports ? 0 : -ENOMEM;
	}
	if (err == -ENOMEM)
		hk_fail(ENOMEM, "no memory to price a schedule of %u participants", r->nparts);
	return err;
}

void hk_tune_unload(struct tune_run *r)
{
	free(r->parts);
	free(r->lanes);
	free(r->steps);
	free(r->conns);
	free(r->cores);
	free(r->parts_of_cores);
	free(r->ports);
	free(r->heap);
	free(r->times);
	free(r->marks);
	free(r->ends);
	free(r->left);
	free(r->calls);
	free(r->trail);
	free(r->last_of_core);
}

/* --- costs --- */

static bool lends(const struct tune_run *r, const struct tune_step *st)
{
	const struct hk_step *s = st->step;
	double bytes = r->chunk_bytes * s->nchunks, least;

	if (st->out == TUNE_NOBODY || s->nchunks != 1)
		return false;
	least = r->conns[st->out].route->lend_bytes;
	if (least <= 0 || bytes < least)
		return false;
	/* Results may change after they were sent; an OUT that is sent on is taken to stay. */
	return (s->op == HK_SEND && s->src_buf != HK_SCRATCH) ||
	       (s->op == HK_RECV_COPY_SEND && s->dst_buf == HK_OUT);
}

double hk_tune_step_cost(const struct tune_run *r, const struct tune_step *st,
			 double parts[HK_NPRICE_PARTS])
{
	const struct hk_machine *m = r->m;
	unsigned does = hk_op_does[st->step->op];
	double bytes = r->chunk_bytes * st->step->nchunks;
	double spread = r->cores[r->parts[r->lanes[st->lane].part].core].spread;
	double far = spread * m->spread_ns_per_byte;
	double fixed = m->chunk_ns * st->step->nchunks, copy = 0, reduce = 0;

	if (does & HK_DOES_RECV) {
		const struct hk_route *route = r->conns[st->in].route;
		bool lent = r->steps[st->match].lent;

		fixed += route->message_ns + (lent ? route->lend_ns : 0);
		copy += bytes * (lent ? route->lend_ns_per_byte : route->read_ns_per_byte + far);
	}
	if (does & HK_DOES_SEND) {
		const struct hk_route *route = r->conns[st->out].route;

		fixed += route->message_ns;
		copy += st->lent ? 0 : bytes * (route->fill_ns_per_byte + far);
	}
	if (!(does & (HK_DOES_RECV | HK_DOES_SEND))) {
		fixed += m->step_ns;
		copy += bytes * m->copy_ns_per_byte;
	}
	if (st->step->op == HK_RECV_REDUCE_COPY_SEND && !st->lent)
		copy += bytes * m->copy_ns_per_byte;
	if (does & HK_DOES_REDUCE)
		reduce = bytes * m->reduce_ns_per_byte;
	copy += st->cold * r->chunk_bytes * r->memory_share * m->memory_ns_per_byte;
	if (parts) {
		parts[HK_PRICE_MESSAGE] += fixed;
		parts[HK_PRICE_COPY] += copy;
		parts[HK_PRICE_REDUCE] += reduce;
	}
	return fixed + copy + reduce;
}

/* log2, straight between powers of two: libraries may differ in theirs, and with them the choices
 * of hosts. */
static double doublings(double times)
{
	int exponent = 0;
	double fraction = frexp(times, &exponent);

	return times <= 1 ? 0 : exponent - 1 + (2 * fraction - 1);
}

/* How much the slots occupy that each core's ranks fill and read, as far as messages do. */
static void spread_slots(struct tune_run *r)
{
	for (uint32_t i = 0; i < r->ncores; i++)
		r->cores[i].slots = 0;
	for (uint32_t i = 0; i < r->nconns; i++)
		r->conns[i].longest = 0;
	for (uint32_t i = 0; i < r->nsteps; i++) {
		const struct tune_step *st = &r->steps[i];
		double bytes = r->chunk_bytes * st->step->nchunks;

		if (st->out != TUNE_NOBODY && !st->lent)
			r->conns[st->out].longest = fmax(r->conns[st->out].longest, bytes);
	}
	for (uint32_t i = 0; i < r->nconns; i++) {
		const struct tune_conn *c = &r->conns[i];
		uint32_t from = r->parts[c->from].core, to = r->parts[c->to].core;

		r->cores[from].slots += c->longest * r->m->slots;
		if (to != from)
			r->cores[to].slots += c->longest * r->m->slots;
	}
	for (uint32_t i = 0; i < r->ncores; i++)
		r->cores[i].spread = doublings(r->cores[i].slots / fmax(1, r->m->spread_bytes));
}

void hk_tune_set_costs(struct tune_run *r)
{
	for (uint32_t i = 0; i < r->nsteps; i++)
		r->steps[i].lent = lends(r, &r->steps[i]);
	spread_slots(r);
	for (uint32_t i = 0; i < r->nsteps; i++) {
		struct tune_step *st = &r->steps[i];
		double bytes = r->chunk_bytes * st->step->nchunks;

		st->cost = hk_tune_step_cost(r, st, NULL);
		if (st->out == TUNE_NOBODY)
			continue;
		st->delay = r->conns[st->out].route->latency_ns;
		if (bytes > HK_HEADER_BYTES)
			st->delay += r->conns[st->out].route->slot_ns;
	}
}
