/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs an MSCCL algorithm once, abstractly, for what its file does not say and our schedules must:
 *
 * - which size class each chunk that is moved has: in MSCCL all chunks are equally long, while ours
 *   differ by an element, and scratch may hold any of them;
 * - whether what is read is still this rank's input (IN) or has been written (OUT, scratch): in
 *   place, MSCCL has one name for both;
 * - which send meets which receive, and that all can go at all.
 *
 * One order of the steps is enough: if another would show something else then there is a race, and
 * the checker finds it. The number of slots is without limit here; that, too, is for the checker.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "msccl.h"

/* --- connections --- */

/* One end of a connection: a threadblock. */
struct end {
	uint32_t from, to, channel, tb;
	bool sends;
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
	if (x->sends != y->sends)
		return x->sends ? -1 : 1;
	return x->tb < y->tb ? -1 : x->tb > y->tb;
}

static bool same(const struct end *a, const struct end *b)
{
	return a->from == b->from && a->to == b->to && a->channel == b->channel;
}

/* The first step of a threadblock, from `from` on, that does one of these; its number of steps if
 * none does. */
static uint32_t next_that(const struct hk_msccl *m, const struct msccl_tb *tb, uint32_t from,
			  unsigned does)
{
	while (from < tb->nsteps && !(msccl_does(&m->steps[tb->first + from]) & does))
		from++;
	return from;
}

static uint32_t list_ends(const struct hk_msccl *m, struct end *ends)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < m->ntbs; i++) {
		const struct msccl_tb *tb = &m->tbs[i];

		if (next_that(m, tb, 0, HK_DOES_SEND) < tb->nsteps)
			ends[n++] = (struct end){tb->gpu, (uint32_t)tb->send, tb->channel, i, true};
		if (next_that(m, tb, 0, HK_DOES_RECV) < tb->nsteps)
			ends[n++] =
				(struct end){(uint32_t)tb->recv, tb->gpu, tb->channel, i, false};
	}
	qsort(ends, n, sizeof(*ends), by_connection);
	return n;
}

static int join_ends(struct hk_msccl *m, const struct end *ends, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct end *a = &ends[i], *b = a + 1;
		const struct msccl_tb *tb = &m->tbs[a->tb];
		bool pair = i + 1 < n && same(a, b);

		if (pair && a->sends == b->sends)
			return hk_file_fail(m->source, m->tbs[b->tb].line,
					    "threadblocks %d and %d of gpu %u both %s gpu %u on "
					    "channel %u; a connection has one at each end",
					    tb->id, m->tbs[b->tb].id, tb->gpu,
					    a->sends ? "send to" : "receive from",
					    a->sends ? a->to : a->from, a->channel);
		if (!pair)
			return hk_file_fail(m->source, tb->line,
					    "threadblock %d of gpu %u %s gpu %u on channel %u, "
					    "which has no threadblock for that",
					    tb->id, tb->gpu,
					    a->sends ? "sends to" : "receives from",
					    a->sends ? a->to : a->from, a->channel);
		m->tbs[a->tb].receiver = b->tb;
		m->tbs[b->tb].sender = a->tb;
		i++;
		if (i + 1 < n && same(b, &ends[i + 1]))
			return hk_file_fail(m->source, m->tbs[ends[i + 1].tb].line,
					    "threadblocks %d and %d of gpu %u both receive from "
					    "gpu %u on channel %u; a connection has one at each "
					    "end",
					    m->tbs[b->tb].id, m->tbs[ends[i + 1].tb].id, b->to,
					    b->from, b->channel);
	}
	return 0;
}

/* The k-th send of a connection meets the k-th receive. */
static int match(struct hk_msccl *m, const struct msccl_tb *sender)
{
	const struct msccl_tb *receiver = &m->tbs[sender->receiver];
	uint32_t s = 0, r = 0;

	for (;; s++, r++) {
		struct msccl_step *send, *recv;

		s = next_that(m, sender, s, HK_DOES_SEND);
		r = next_that(m, receiver, r, HK_DOES_RECV);
		send = s < sender->nsteps ? &m->steps[sender->first + s] : NULL;
		recv = r < receiver->nsteps ? &m->steps[receiver->first + r] : NULL;
		if (!send && !recv)
			return 0;
		if (!send || !recv)
			return hk_file_fail(m->source, send ? send->line : recv->line,
					    "gpu %u %s gpu %u on channel %u what nobody %s",
					    send ? sender->gpu : receiver->gpu,
					    send ? "sends to" : "receives from",
					    send ? receiver->gpu : sender->gpu, sender->channel,
					    send ? "receives" : "sends");
		if (send->count != recv->count)
			return hk_file_fail(m->source, recv->line,
					    "receives %u chunks where gpu %u sends %u (line %u)",
					    recv->count, sender->gpu, send->count, send->line);
		recv->match = sender->first + s;
	}
}

static int connect_all(struct hk_msccl *m)
{
	struct end *ends = malloc(((size_t)m->ntbs * 2 + 1) * sizeof(*ends));
	int rc;

	if (!ends)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->ntbs; i++)
		m->tbs[i].sender = m->tbs[i].receiver = MSCCL_NOBODY;
	rc = join_ends(m, ends, list_ends(m, ends));
	free(ends);
	for (uint32_t i = 0; !rc && i < m->ntbs; i++)
		if (m->tbs[i].receiver != MSCCL_NOBODY)
			rc = match(m, &m->tbs[i]);
	return rc;
}

/* --- memory --- */

static uint32_t cells_of(const struct hk_msccl *m, const struct msccl_gpu *gpu)
{
	return msccl_region(m, HK_OUT) + msccl_region(m, HK_IN) + gpu->scratch;
}

/* The cell of chunk x of i. In place it is one of o, if the collective says so. */
static uint32_t input_cell(const struct hk_msccl *m, uint32_t gpu, uint32_t x)
{
	int64_t block;

	/* Where there is no IN, as at the receivers of a broadcast, i is still a name of o. */
	if (m->p.inplace && m->p.coll == HK_BROADCAST)
		return x;
	block = hk_coll_alias(&m->p, (int)gpu, x / m->period);
	if (block < 0)
		return msccl_region(m, HK_OUT) + x;
	return (uint32_t)block * m->period + x % m->period;
}

static uint32_t cell_of(const struct hk_msccl *m, uint32_t gpu, unsigned buf, uint32_t x)
{
	if (buf == MSCCL_O)
		return x;
	if (buf == MSCCL_I)
		return input_cell(m, gpu, x);
	return msccl_region(m, HK_OUT) + msccl_region(m, HK_IN) + x;
}

static int set_cells(struct hk_msccl *m)
{
	uint64_t all = 0;

	for (int g = 0; g < m->p.nranks; g++)
		all += cells_of(m, &m->gpus[g]);
	if (all > HK_FILE_CHUNKS)
		return hk_fail_quiet(EINVAL, "%s: buffers of %llu chunks together are more than %d",
				     m->source, (unsigned long long)all, HK_FILE_CHUNKS);
	for (uint32_t g = 0; g < (uint32_t)m->p.nranks; g++) {
		struct msccl_gpu *gpu = &m->gpus[g];
		uint32_t in = hk_coll_blocks(&m->p, (int)g, HK_IN) * m->period;

		gpu->cells = calloc((size_t)cells_of(m, gpu) + 1, sizeof(*gpu->cells));
		if (!gpu->cells)
			return -ENOMEM;
		for (uint32_t i = 0; i < cells_of(m, gpu); i++)
			gpu->cells[i].spill = MSCCL_NOBODY;
		for (uint32_t x = 0; x < in; x++) {
			struct msccl_cell *cell = &gpu->cells[input_cell(m, g, x)];

			cell->state = MSCCL_INPUT;
			cell->class = x % m->period;
			cell->low = g;
			cell->spill = x; /* while it is input: its chunk of IN */
		}
	}
	return 0;
}

/* Where a cell that holds something lies in our schedule. */
static void place_of(const struct hk_msccl *m, uint32_t gpu, uint32_t number, uint8_t *buf,
		     uint32_t *chunk)
{
	const struct msccl_cell *cell = &m->gpus[gpu].cells[number];
	uint32_t fixed = msccl_region(m, HK_OUT) + msccl_region(m, HK_IN);

	if (cell->state == MSCCL_INPUT) {
		*buf = HK_IN;
		*chunk = cell->spill;
	} else if (number < hk_coll_blocks(&m->p, (int)gpu, HK_OUT) * m->period) {
		*buf = HK_OUT;
		*chunk = number;
	} else {
		*buf = HK_SCRATCH;
		*chunk = number >= fixed ? number - fixed : cell->spill;
	}
}

/* "o[3]", for sentences: chunk i of the source or the target as the file names it. */
static const char *place_name(const struct msccl_step *s, bool src, uint32_t i, char text[32])
{
	snprintf(text, 32, "%c[%u]", "ios"[src ? s->src_buf : s->dst_buf],
		 (src ? s->src : s->dst) + i);
	return text;
}

/* What a step reads: where it lies in our schedule, and what it is. */
struct content {
	uint8_t buf;
	uint32_t chunk, class, low;
};

static int read_cell(const struct hk_msccl *m, const struct msccl_step *s, uint32_t i, bool src,
		     struct content *content)
{
	uint32_t gpu = m->tbs[s->tb].gpu;
	uint32_t number = src ? cell_of(m, gpu, s->src_buf, s->src + i)
			      : cell_of(m, gpu, s->dst_buf, s->dst + i);
	const struct msccl_cell *cell = &m->gpus[gpu].cells[number];
	char name[32];

	if (cell->state == MSCCL_EMPTY)
		return hk_file_fail(m->source, s->line, "reads %s, where nothing has been written",
				    place_name(s, src, i, name));
	place_of(m, gpu, number, &content->buf, &content->chunk);
	content->class = cell->class;
	content->low = cell->low;
	return 0;
}

/* Moves the cell's content to where our schedule can write it. */
static int write_cell(struct hk_msccl *m, const struct msccl_step *s, uint32_t i,
		      struct msccl_move *move)
{
	struct msccl_gpu *gpu = &m->gpus[m->tbs[s->tb].gpu];
	uint32_t g = m->tbs[s->tb].gpu, number = cell_of(m, g, s->dst_buf, s->dst + i);
	struct msccl_cell *cell = &gpu->cells[number];
	char name[32];

	if (cell->state != MSCCL_WRITTEN) {
		cell->state = MSCCL_WRITTEN;
		/* Neither o nor scratch: the caller's input, which we don't write. */
		place_of(m, g, number, &move->dst_buf, &move->dst);
		if (move->dst_buf == HK_SCRATCH && s->dst_buf != MSCCL_SCRATCH)
			cell->spill = gpu->scratch + gpu->spilled++;
	}
	place_of(m, g, number, &move->dst_buf, &move->dst);
	cell->class = move->class;
	cell->low = move->low;
	if (move->dst_buf != HK_OUT || move->dst % m->period == move->class)
		return 0;
	return hk_file_fail(m->source, s->line,
			    "writes chunk %u of a block to %s, where chunk %u belongs: they may "
			    "differ in size",
			    move->class, place_name(s, false, i, name), move->dst % m->period);
}

/* --- the run --- */

/*
 * MSCCL does not say which operand of a reduction is the left one. We take the one in which the
 * lowest rank is: so ranks that add up the same in exchanged roles get the same bits.
 */
static int reduce(const struct hk_msccl *m, const struct msccl_step *s, struct msccl_move *move,
		  const struct content *own, const struct content *other)
{
	if (own->class != other->class)
		return hk_file_fail(m->source, s->line,
				    "reduces chunk %u of a block with chunk %u: they may differ in "
				    "size",
				    own->class, other->class);
	move->flip = msccl_does(s) & HK_READS_DST ? own->low < other->low : other->low < own->low;
	move->low = own->low < other->low ? own->low : other->low;
	return 0;
}

static int move_chunk(struct hk_msccl *m, struct msccl_step *s, uint32_t i)
{
	unsigned does = msccl_does(s);
	struct msccl_move *move = &m->moves[s->move + i];
	struct content own = {0}, other = {0};
	int rc = 0;

	if (does & HK_READS_SRC)
		rc = read_cell(m, s, i, true, &own);
	if (does & HK_DOES_RECV) {
		other.class = m->moves[m->steps[s->match].move + i].class;
		other.low = m->moves[m->steps[s->match].move + i].low;
	} else if (!rc && does & HK_READS_DST) {
		rc = read_cell(m, s, i, false, &other);
	}
	if (rc)
		return rc;
	move->src_buf = own.buf;
	move->src = own.chunk;
	move->class = does & HK_READS_SRC ? own.class : other.class;
	move->low = does & HK_READS_SRC ? own.low : other.low;
	/* Only input is not where the result goes. */
	if (other.buf == HK_IN) {
		move->old_buf = HK_IN;
		move->old = other.chunk;
	}
	if (does & HK_DOES_REDUCE)
		rc = reduce(m, s, move, &own, &other);
	if (!rc && does & HK_WRITES_DST)
		rc = write_cell(m, s, i, move);
	return rc;
}

struct run {
	struct hk_msccl *m;
	uint32_t *at;	 /* [ntbs]: the step that each is about to do */
	uint32_t *queue; /* of threadblocks to look at, a stack */
	uint32_t nqueue;
	bool *queued;
	uint32_t *waiter, *next; /* [ntbs]: lists of those that wait for each */
	bool *waits;
};

static void enqueue(struct run *r, uint32_t tb)
{
	if (r->queued[tb])
		return;
	r->queued[tb] = true;
	r->queue[r->nqueue++] = tb;
}

/* The threadblock that this one's next step waits for; MSCCL_NOBODY if it can go. */
static uint32_t blocker(const struct run *r, uint32_t tb)
{
	const struct hk_msccl *m = r->m;
	const struct msccl_step *s = &m->steps[m->tbs[tb].first + r->at[tb]];

	if (s->dep_tb != MSCCL_NOBODY && r->at[s->dep_tb] <= s->dep_step)
		return s->dep_tb;
	if (msccl_does(s) & HK_DOES_RECV) {
		uint32_t sender = m->tbs[tb].sender;

		if (m->tbs[sender].first + r->at[sender] <= s->match)
			return sender;
	}
	return MSCCL_NOBODY;
}

/* Takes a threadblock as far as it goes, and wakes those that wait for it. */
static int advance(struct run *r, uint32_t t)
{
	struct hk_msccl *m = r->m;
	const struct msccl_tb *tb = &m->tbs[t];
	uint32_t for_whom = MSCCL_NOBODY;
	bool moved = false;

	while (r->at[t] < tb->nsteps) {
		struct msccl_step *s = &m->steps[tb->first + r->at[t]];

		for_whom = blocker(r, t);
		if (for_whom != MSCCL_NOBODY)
			break;
		for (uint32_t i = 0; i < s->count; i++) {
			int rc = move_chunk(m, s, i);

			if (rc)
				return rc;
		}
		r->at[t]++;
		moved = true;
	}
	if (for_whom != MSCCL_NOBODY && !r->waits[t]) {
		r->waits[t] = true;
		r->next[t] = r->waiter[for_whom];
		r->waiter[for_whom] = t;
	}
	if (!moved)
		return 0;
	for (uint32_t w = r->waiter[t]; w != MSCCL_NOBODY; w = r->next[w]) {
		r->waits[w] = false;
		enqueue(r, w);
	}
	r->waiter[t] = MSCCL_NOBODY;
	return 0;
}

static int report_stuck(const struct run *r, uint32_t t)
{
	const struct hk_msccl *m = r->m;
	const struct msccl_step *s, *other;

	/* Along the chain of what waits for what, into its cycle. */
	for (uint32_t i = 0; i < m->ntbs; i++)
		t = blocker(r, t);
	s = &m->steps[m->tbs[t].first + r->at[t]];
	t = blocker(r, t);
	other = &m->steps[m->tbs[t].first + r->at[t]];
	return hk_file_fail(m->source, s->line,
			    "deadlock: this step waits for threadblock %d of gpu %u, which waits, "
			    "through others, for it at line %u",
			    m->tbs[t].id, m->tbs[t].gpu, other->line);
}

static int run_all(struct run *r)
{
	uint32_t n = r->m->ntbs;
	int rc = 0;

	memset(r->waiter, 0xff, n * sizeof(*r->waiter)); /* MSCCL_NOBODY */
	for (uint32_t t = n; t-- > 0;)
		enqueue(r, t);
	while (!rc && r->nqueue) {
		uint32_t t = r->queue[--r->nqueue];

		r->queued[t] = false;
		rc = advance(r, t);
	}
	for (uint32_t t = 0; !rc && t < n; t++)
		if (r->at[t] < r->m->tbs[t].nsteps)
			rc = report_stuck(r, t);
	return rc;
}

static int run(struct hk_msccl *m)
{
	size_t n = (size_t)m->ntbs + 1;
	struct run r = {.m = m,
			.at = calloc(n, sizeof(*r.at)),
			.queue = malloc(n * sizeof(*r.queue)),
			.queued = calloc(n, sizeof(*r.queued)),
			.waiter = malloc(n * sizeof(*r.waiter)),
			.next = malloc(n * sizeof(*r.next)),
			.waits = calloc(n, sizeof(*r.waits))};
	int rc = -ENOMEM;

	if (r.at && r.queue && r.queued && r.waiter && r.next && r.waits)
		rc = run_all(&r);
	free(r.at);
	free(r.queue);
	free(r.queued);
	free(r.waiter);
	free(r.next);
	free(r.waits);
	return rc;
}

static int set_moves(struct hk_msccl *m)
{
	uint64_t moves = 0;

	for (uint32_t i = 0; i < m->nsteps; i++) {
		m->steps[i].move = (uint32_t)moves;
		moves += m->steps[i].count;
		if (moves > HK_FILE_MOVES)
			return hk_file_fail(m->source, m->steps[i].line,
					    "the steps up to here move more than %d chunks",
					    HK_FILE_MOVES);
	}
	m->nmoves = (uint32_t)moves;
	m->moves = calloc((size_t)moves + 1, sizeof(*m->moves));
	return m->moves ? 0 : -ENOMEM;
}

int hk_msccl_run(struct hk_msccl *m)
{
	int rc = connect_all(m);

	if (!rc)
		rc = set_moves(m);
	if (!rc)
		rc = set_cells(m);
	if (!rc)
		rc = run(m);
	return rc == -ENOMEM ? hk_fail_quiet(ENOMEM, "%s: no memory to import it", m->source) : rc;
}
