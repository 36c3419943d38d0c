/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes plans: resolves a program's peers to connections, its dependencies to the progress words of
 * lanes, and, at the start of each call, its chunks to positions. Everything that the running of a
 * plan needs is allocated here.
 */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define LINE 64u

/*
 * Long tiles. Tiles of a slot that stays in the second-level cache are best as long as messages go
 * through slots, and small ones overlap. But one that a transport copies straight from user memory
 * to user memory had best be long: a call of the kernel costs microseconds. So collectives in which
 * every rank both sends and receives all the time, and which only move data, get slots of up to
 * MOST_STRETCH times the usual size, and tiles as long where chunks have STRETCH_FROM bytes and all
 * of OUT less than STRETCH_TO: beyond, memory is the limit, and small slots and stores past the
 * cache move less of it. Between more ranks tiles are shorter, so that the slots of all connections
 * stay below a few MiB.
 */
#define MOST_STRETCH	   16u
#define MOST_STRETCH_RANKS 32u
#define LONGEST_SLOT	   524288u
#define STRETCH_FROM	   262144u
#define STRETCH_TO	   8388608u

static void resolve_deps(struct hk_plan *plan)
{
	const struct hk_program *prog = plan->prog;

	for (uint32_t i = 0; i < prog->ndeps; i++) {
		const struct hk_dep *d = &prog->deps[i];

		plan->deps[i] = (struct plan_dep){.lane = &plan->lanes[d->lane],
						  .nsteps = prog->lanes[d->lane].nsteps,
						  .step = d->step};
	}
}

static int add_send(struct hk_plan *plan, struct hk_send *s)
{
	struct hk_send **grown;

	for (uint32_t i = 0; i < plan->nsends; i++)
		if (plan->sends[i] == s)
			return 0;
	grown = realloc(plan->sends, (plan->nsends + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	plan->sends = grown;
	plan->sends[plan->nsends++] = s;
	plan->memory += sizeof(*grown);
	return 0;
}

int hk_plan_also_flush(struct hk_plan *plan, struct hk_send *s)
{
	return add_send(plan, s) ? hk_fail(ENOMEM, "no memory for a plan") : 0;
}

static uint32_t class_of(const struct hk_plan *plan, const struct hk_step *st)
{
	if (plan->varied)
		return st->size;
	return (uint32_t)hk_step_size(&plan->problem, plan->prog, st, 0);
}

static int bind_step(struct hk_plan *plan, struct hk_binder *binder, uint32_t channel,
		     const struct hk_step *from, struct plan_step *to, bool senders)
{
	int err;

	if (senders) {
		*to = (struct plan_step){.op = from->op,
					 .flags = from->flags,
					 .does = hk_op_does[from->op],
					 .src_buf = from->src_buf,
					 .dst_buf = from->dst_buf,
					 .nchunks = from->nchunks,
					 .ndeps = from->ndeps,
					 .src = from->src,
					 .dst = from->dst,
					 .class = class_of(plan, from),
					 .deps = plan->deps + from->dep};
		if (!(to->does & HK_DOES_SEND))
			return 0;
		err = binder->send(binder, from->to, channel, &to->send);
		if (err)
			return err;
		return add_send(plan, to->send);
	}
	if (!(to->does & HK_DOES_RECV))
		return 0;
	return binder->recv(binder, from->from, channel, &to->recv);
}

/* All sending halves first: the transports' contract. */
static int bind(struct hk_plan *plan, struct hk_binder *binder)
{
	const struct hk_program *prog = plan->prog;
	int err;

	for (int senders = 1; senders >= 0; senders--) {
		for (uint32_t l = 0; l < prog->nlanes; l++) {
			const struct hk_lane *lane = &prog->lanes[l];

			for (uint32_t i = 0; i < lane->nsteps; i++) {
				err = bind_step(plan, binder, lane->channel,
						&prog->steps[lane->first + i],
						&plan->steps[lane->first + i], senders);
				if (err)
					return err;
			}
		}
	}
	return 0;
}

/* Where messages are pulled to that the transport can't show, and that have to be reduced. */
static int allocate_pulled(struct hk_plan *plan)
{
	const uint8_t both = HK_DOES_RECV | HK_DOES_REDUCE;
	uint32_t i = 0;

	while (i < plan->prog->nsteps && ((plan->steps[i].does & both) != both ||
					  plan->steps[i].recv->ops->pull == hk_pull_none))
		i++;
	if (i == plan->prog->nsteps)
		return 0;
	plan->pulled = aligned_alloc(LINE, plan->slot_bytes);
	plan->memory += plan->slot_bytes;
	return plan->pulled ? 0 : hk_fail(ENOMEM, "no memory for a plan");
}

static int allocate(struct hk_plan *plan)
{
	const struct hk_program *prog = plan->prog;
	size_t scratch;

	plan->scratch_stride = (plan->slot_bytes / prog->message_chunks + LINE - 1) / LINE * LINE;
	scratch = plan->scratch_stride * prog->nchunks[HK_SCRATCH];
	plan->steps = calloc(prog->nsteps + 1, sizeof(*plan->steps));
	plan->deps = calloc(prog->ndeps + 1, sizeof(*plan->deps));
	plan->lanes = calloc(prog->nlanes + 1, sizeof(*plan->lanes));
	plan->classes = calloc(prog->period, sizeof(*plan->classes));
	plan->bounce = aligned_alloc(LINE, PLAN_BLOCK);
	plan->scratch = aligned_alloc(LINE, scratch + LINE);
	if (!plan->steps || !plan->deps || !plan->lanes || !plan->classes || !plan->bounce ||
	    !plan->scratch)
		return -ENOMEM;
	if (plan->varied) {
		if (hk_coll_sizes_known(plan->problem.coll))
			plan->nsizes = (uint32_t)plan->problem.nranks * prog->period;
		for (unsigned i = HK_IN; i < HK_NBUFS; i++) {
			uint32_t n = i == HK_SCRATCH ? plan->nsizes : prog->nchunks[i];

			plan->chunks[i] = calloc((size_t)n + 1, sizeof(*plan->chunks[i]));
			if (!plan->chunks[i])
				return -ENOMEM;
			plan->memory += n * sizeof(*plan->chunks[i]);
		}
	}
	plan->memory += sizeof(*plan) + PLAN_BLOCK + scratch +
			prog->nsteps * (sizeof(*plan->steps) + sizeof(*prog->steps)) +
			prog->ndeps * (sizeof(*plan->deps) + sizeof(*prog->deps)) +
			prog->nlanes * (sizeof(*plan->lanes) + sizeof(*prog->lanes)) +
			prog->period * sizeof(*plan->classes);
	return 0;
}

/* What the step's data is used for, as far as it tells how to move it. */
static void uses(struct hk_plan *plan, uint32_t lane, uint32_t at)
{
	const struct hk_program *prog = plan->prog;
	uint32_t i = prog->lanes[lane].first + at;

	plan->steps[i].lendable = hk_plan_lendable(&plan->problem, prog, lane, at);
	plan->steps[i].kept = hk_plan_rereads(prog, &prog->steps[i]);
}

int hk_plan_create(const struct hk_problem *p, struct hk_program *prog, struct hk_binder *binder,
		   uint32_t slot_bytes, size_t nt_bytes, struct hk_plan **out)
{
	struct hk_plan *plan = calloc(1, sizeof(*plan));
	int err = -ENOMEM;

	if (!plan) {
		hk_program_free(prog);
		return hk_fail(ENOMEM, "no memory for a plan");
	}
	plan->prog = prog;
	plan->problem = *p;
	plan->varied = p->varied;
	plan->skips = p->varied && !hk_coll_sizes_known(p->coll);
	plan->by_steps = p->coll == HK_POINT_TO_POINT;
	plan->nlanes = prog->nlanes;
	plan->period = prog->period;
	plan->usual_bytes = slot_bytes;
	if (hk_plan_stretches(p))
		slot_bytes *=
			binder->stretch ? binder->stretch : hk_plan_stretch(p->nranks, slot_bytes);
	plan->slot_bytes = slot_bytes;
	plan->nt_bytes = nt_bytes;
	plan->kernels = hk_kernels();
	plan->call.count = SIZE_MAX; /* no call has been begun */
	/* A slot must take at least one element of every chunk of a message. */
	if (prog->message_chunks > slot_bytes / sizeof(uint64_t)) {
		err = hk_fail(EINVAL, "slots of %u bytes are too small for messages of %u chunks",
			      slot_bytes, prog->message_chunks);
		goto fail;
	}
	err = allocate(plan);
	if (err) {
		hk_fail(-err, "no memory for a plan of %u steps", prog->nsteps);
		goto fail;
	}
	for (uint32_t l = 0; l < prog->nlanes; l++) {
		plan->lanes[l].steps = plan->steps + prog->lanes[l].first;
		plan->lanes[l].nsteps = prog->lanes[l].nsteps;
	}
	resolve_deps(plan);
	err = bind(plan, binder);
	if (!err)
		err = allocate_pulled(plan);
	if (err)
		goto fail;
	for (uint32_t l = 0; l < prog->nlanes; l++)
		for (uint32_t i = 0; i < prog->lanes[l].nsteps; i++)
			uses(plan, l, i);
	err = hk_plan_find_sources(plan);
	if (err)
		goto fail;
	*out = plan;
	return 0;
fail:
	hk_plan_destroy(plan);
	return err;
}

void hk_plan_destroy(struct hk_plan *plan)
{
	if (!plan)
		return;
	if (plan->device)
		plan->device->free(plan->device);
	hk_plan_free_sources(plan);
	hk_program_free(plan->prog);
	free(plan->steps);
	free(plan->deps);
	free(plan->lanes);
	free(plan->classes);
	free(plan->bounce);
	free(plan->pulled);
	for (unsigned i = 0; i < HK_NBUFS; i++)
		free(plan->chunks[i]);
	free(plan->scratch);
	free(plan->sends);
	free(plan);
}

size_t hk_plan_memory(const struct hk_plan *plan)
{
	return plan->memory;
}

/* floor(i * n / parts) without overflow. */
static size_t share(size_t n, uint32_t i, uint32_t parts)
{
	return n / parts * i + n % parts * i / parts;
}

uint32_t hk_plan_stretch(int nranks, uint32_t slot_bytes)
{
	uint32_t n = (uint32_t)nranks, most = LONGEST_SLOT / (slot_bytes ? slot_bytes : 1);
	uint32_t times = n >= MOST_STRETCH_RANKS ? 1
			 : n <= 2		 ? MOST_STRETCH
						 : MOST_STRETCH_RANKS / n;

	return times <= most ? times : most ? most : 1;
}

bool hk_plan_stretches(const struct hk_problem *p)
{
	/* Where ranks know only their own blocks, they can't tell alike how long a call is. */
	return !hk_coll_reduces(p->coll) && !hk_coll_rooted(p->coll) &&
	       (!p->varied || hk_coll_sizes_known(p->coll));
}

bool hk_plan_long_chunks(const struct hk_problem *p, const struct hk_program *prog, size_t bytes)
{
	/* What stretches has a block of OUT for each rank. (A switch's program has no OUT.) */
	return hk_plan_stretches(p) && bytes >= STRETCH_FROM &&
	       bytes < STRETCH_TO / ((size_t)p->nranks * prog->period);
}

/* The most elements of a chunk in one message. */
static size_t tile_limit(const struct hk_plan *plan, size_t longest)
{
	bool stretch = hk_plan_long_chunks(&plan->problem, plan->prog, longest * plan->esize);
	size_t bytes = stretch ? plan->slot_bytes : plan->usual_bytes;
	size_t most = bytes / plan->prog->message_chunks / plan->esize;

	return most ? most : 1;
}

/* Cuts chunks of at most `longest` elements in tiles, alike on all ranks. */
static void cut_tiles(struct hk_plan *plan, size_t longest)
{
	size_t line_elems = LINE / plan->esize;
	size_t most = tile_limit(plan, longest), message;

	message = (longest < most ? longest : most) * plan->prog->message_chunks * plan->esize;
	plan->offering = plan->nsources && message >= plan->offer_bytes;
	plan->ntiles = (uint32_t)((longest + most - 1) / most);
	if (plan->skips) {
		plan->tile_elems = most;
		return;
	}
	if (plan->ntiles <= 1) {
		plan->ntiles = 1;
		plan->tile_elems = longest;
		return;
	}
	/* Even tiles, whole cache lines if that still fits. */
	plan->tile_elems = (longest + plan->ntiles - 1) / plan->ntiles;
	if ((plan->tile_elems + line_elems - 1) / line_elems * line_elems <= most)
		plan->tile_elems = (plan->tile_elems + line_elems - 1) / line_elems * line_elems;
	plan->ntiles = (uint32_t)((longest + plan->tile_elems - 1) / plan->tile_elems);
}

/* Sizes of chunks and tiles; only when the count or the type is not that of the last call. */
static void measure(struct hk_plan *plan)
{
	size_t longest = 0;

	for (uint32_t c = 0; c < plan->period; c++) {
		size_t start = share(plan->call.count, c, plan->period);
		size_t length = share(plan->call.count, c + 1, plan->period) - start;

		plan->classes[c] = (struct plan_class){start, length};
		if (length > longest)
			longest = length;
	}
	cut_tiles(plan, longest);
	plan->nt = plan->call.count * plan->esize * (plan->prog->nchunks[HK_OUT] / plan->period) >=
		   plan->nt_bytes;
}

/* The chunks of one block; returns the longest's length. */
static size_t spread(const struct hk_plan *plan, struct plan_chunk *chunks, uint8_t *at,
		     size_t count)
{
	size_t longest = 0;

	for (uint32_t c = 0; c < plan->period; c++) {
		size_t start = share(count, c, plan->period);
		size_t length = share(count, c + 1, plan->period) - start;

		chunks[c] = (struct plan_chunk){at + start * plan->esize, length};
		longest = length > longest ? length : longest;
	}
	return longest;
}

/* The same where blocks vary: each call brings its table. */
static void measure_blocks(struct hk_plan *plan)
{
	const struct hk_call *call = &plan->call;
	size_t longest = 0, out = 0, n;

	for (uint32_t i = 0; i < plan->prog->nchunks[HK_IN] / plan->period; i++) {
		n = spread(plan, &plan->chunks[HK_IN][i * plan->period], call->in_blocks[i].at,
			   call->in_blocks[i].count);
		longest = n > longest ? n : longest;
	}
	for (uint32_t i = 0; i < plan->prog->nchunks[HK_OUT] / plan->period; i++) {
		n = spread(plan, &plan->chunks[HK_OUT][i * plan->period], call->out_blocks[i].at,
			   call->out_blocks[i].count);
		longest = n > longest ? n : longest;
		out += call->out_blocks[i].count * plan->esize;
	}
	for (uint32_t i = 0; i < plan->nsizes / plan->period; i++) {
		n = spread(plan, &plan->chunks[HK_SCRATCH][i * plan->period], plan->scratch,
			   call->counts[i]);
		longest = n > longest ? n : longest;
	}
	cut_tiles(plan, longest);
	plan->nt = out >= plan->nt_bytes;
}

void hk_plan_observe(struct hk_plan *plan, struct hk_observer *observer)
{
	plan->observer = observer;
}

void hk_plan_begin(struct hk_plan *plan, const struct hk_call *call)
{
	bool same = plan->call.count == call->count && plan->call.type == call->type;

	plan->call = *call;
	plan->reduce = plan->kernels->reduce[call->type][call->op];
	if (plan->varied) {
		plan->esize = hk_type_size(call->type);
		measure_blocks(plan);
	} else if (!same) {
		plan->esize = hk_type_size(call->type);
		measure(plan);
	}
	plan->active = 0;
	plan->open = plan->prog->serial && plan->ntiles ? 1 : plan->ntiles;
	for (uint32_t l = 0; l < plan->nlanes; l++) {
		struct plan_lane *lane = &plan->lanes[l];

		lane->progress = 0;
		lane->step = 0;
		lane->tile = lane->nsteps ? 0 : plan->ntiles;
		plan->active += lane->tile < plan->ntiles;
		if (plan->by_steps && lane->tile == plan->ntiles)
			lane->step = lane->nsteps;
	}
	plan->behind = plan->active;
	if (__builtin_expect(plan->offering, 0))
		hk_plan_reset_sources(plan);
}
