/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs as text, one line per step, for people and golden tests:
 *
 *     program rank 0: period 4, chunks in 4 out 4 scratch 0, messages of up to 2
 *     lane 0 channel 0
 *       0: send in[0], to 1
 *       1: recv_reduce_copy_send in[2..3] + from 3 -> out[2..3], to 1 (after lane 1 step 0)
 *
 * The operands of a reduction stand in their order: a flipped one has the received operand, or
 * the source, on the left. A step that touches SCRATCH alone ends with ` size N` where its size is
 * not its chunk's number modulo the period. file_read.c reads all this back.
 */
#include <errno.h>
#include <inttypes.h>

#include "error.h"
#include "schedule.h"

static void put_range(FILE *f, unsigned buf, uint32_t first, uint32_t n)
{
	fprintf(f, "%s[%" PRIu32, hk_buf_name(buf), first);
	if (n > 1)
		fprintf(f, "..%" PRIu64, (uint64_t)first + n - 1);
	fputc(']', f);
}

static void put_operands(FILE *f, const struct hk_step *s, unsigned does)
{
	bool flip = s->flags & HK_STEP_FLIP;

	if (does & HK_READS_DST && !flip) {
		put_range(f, s->dst_buf, s->dst, s->nchunks);
		fputs(" + ", f);
	}
	if (does & HK_DOES_RECV && (flip || !(does & HK_READS_SRC)))
		fprintf(f, "from %d%s", s->from, does & HK_READS_SRC ? " + " : "");
	if (does & HK_READS_SRC)
		put_range(f, s->src_buf, s->src, s->nchunks);
	if (does & HK_DOES_RECV && does & HK_READS_SRC && !flip)
		fprintf(f, " + from %d", s->from);
	if (does & HK_READS_DST && flip) {
		fputs(" + ", f);
		put_range(f, s->dst_buf, s->dst, s->nchunks);
	}
}

/* Of a step that touches SCRATCH alone, unless it is what the chunk's number says. */
static void put_size(FILE *f, const struct hk_program *prog, const struct hk_step *s)
{
	uint32_t chunk = s->src_buf == HK_SCRATCH ? s->src : s->dst;

	if ((s->src_buf == HK_NONE || s->src_buf == HK_SCRATCH) &&
	    (s->dst_buf == HK_NONE || s->dst_buf == HK_SCRATCH) &&
	    !(prog->period && s->size == chunk % prog->period))
		fprintf(f, " size %" PRIu32, s->size);
}

void hk_step_dump(const struct hk_program *prog, const struct hk_step *s, FILE *out)
{
	unsigned does = s->op < HK_NOPS ? hk_op_does[s->op] : 0;

	fprintf(out, "%s ", hk_op_name(s->op));
	put_operands(out, s, does);
	if (does & HK_WRITES_DST) {
		fputs(" -> ", out);
		put_range(out, s->dst_buf, s->dst, s->nchunks);
	}
	put_size(out, prog, s);
	if (does & HK_DOES_SEND)
		fprintf(out, ", to %d", s->to);
}

static void put_step(FILE *f, const struct hk_program *prog, uint32_t number,
		     const struct hk_step *s)
{
	fprintf(f, "  %" PRIu32 ": ", number);
	hk_step_dump(prog, s, f);
	for (uint32_t i = 0; i < s->ndeps; i++)
		fprintf(f, "%slane %" PRIu32 " step %" PRIu32, i ? ", " : " (after ",
			prog->deps[s->dep + i].lane, prog->deps[s->dep + i].step);
	fputs(s->ndeps ? ")\n" : "\n", f);
}

int hk_program_dump(const struct hk_program *prog, FILE *out)
{
	fprintf(out,
		"program rank %d: period %" PRIu32 ", chunks in %" PRIu32 " out %" PRIu32
		" scratch %" PRIu32 ", messages of up to %" PRIu32 "%s\n",
		prog->rank, prog->period, prog->nchunks[HK_IN], prog->nchunks[HK_OUT],
		prog->nchunks[HK_SCRATCH], prog->message_chunks, prog->serial ? ", serial" : "");
	for (uint32_t i = 0; i < prog->nlanes; i++) {
		const struct hk_lane *l = &prog->lanes[i];

		fprintf(out, "lane %" PRIu32 " channel %" PRIu32 "\n", i, l->channel);
		for (uint32_t k = 0; k < l->nsteps; k++)
			put_step(out, prog, k, &prog->steps[l->first + k]);
	}
	return ferror(out) ? hk_fail(EIO, "cannot write a program as text") : 0;
}
