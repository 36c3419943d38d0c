/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a step of a program is in the call at hand: its records, which parts of which chunks it
 * moves and where they lie, and the mark that its message travels with. What exec/message.h is for
 * the host.
 */
#ifndef HKD_PLACE_H
#define HKD_PLACE_H

#include "portable.h"
#include "records.h"

/* --- records --- */

HKD_FN const struct hkd_lane *hkd_lane(const struct hkd_run *run, uint32_t lane)
{
	return (const struct hkd_lane *)run->prog.lanes + lane;
}

HKD_FN const struct hk_step *hkd_step(const struct hkd_run *run, uint32_t lane, uint32_t step)
{
	return (const struct hk_step *)run->prog.steps + hkd_lane(run, lane)->first + step;
}

/* As hk_op_does (schedule/coll.c). */
HKD_FN unsigned hkd_does(unsigned op)
{
	switch (op) {
	case HK_SEND:
		return HK_DOES_SEND | HK_READS_SRC;
	case HK_RECV:
		return HK_DOES_RECV | HK_WRITES_DST;
	case HK_RECV_REDUCE:
		return HK_DOES_RECV | HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST;
	case HK_COPY:
		return HK_READS_SRC | HK_WRITES_DST;
	case HK_REDUCE:
		return HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST | HK_READS_DST;
	case HK_RECV_COPY_SEND:
		return HK_DOES_RECV | HK_DOES_SEND | HK_WRITES_DST;
	case HK_RECV_REDUCE_SEND:
		return HK_DOES_RECV | HK_DOES_SEND | HK_DOES_REDUCE | HK_READS_SRC;
	default:
		return HK_DOES_RECV | HK_DOES_SEND | HK_DOES_REDUCE | HK_READS_SRC | HK_WRITES_DST;
	}
}

/* --- places --- */

struct hkd_span {
	uint64_t start, length; /* elements */
};

HKD_FN struct hkd_span hkd_cut(const struct hkd_run *run, uint64_t start, uint64_t length,
			       uint32_t tile)
{
	uint64_t from = tile * run->tile_elems, left;
	struct hkd_span s;

	if (from >= length) {
		s.start = start + length;
		s.length = 0;
		return s;
	}
	left = length - from;
	s.start = start + from;
	s.length = left < run->tile_elems ? left : run->tile_elems;
	return s;
}

HKD_FN const struct hkd_chunk *hkd_chunk(const struct hkd_run *run, unsigned buf, uint32_t i)
{
	uint64_t table = buf == HK_IN	 ? run->in_chunks
			 : buf == HK_OUT ? run->out_chunks
					 : run->sizes;

	return (const struct hkd_chunk *)table + i;
}

/* Divisions take a GPU dozens of instructions, those of 64 bits a hundred: they are off the usual
 * way, and in one place. */
HKD_COLD uint64_t hkd_quotient(uint64_t n, uint32_t by)
{
	return n >> 32 ? n / by : (uint32_t)n / by;
}

HKD_COLD uint32_t hkd_rest(uint32_t n, uint32_t by)
{
	return n % by;
}

/* floor(i * count / period) without overflow. */
HKD_FN uint64_t hkd_share(const struct hkd_run *run, uint32_t i)
{
	uint64_t n = run->share * i;

	return run->rest ? n + hkd_quotient((uint64_t)run->rest * i, run->prog.period) : n;
}

/* Of chunk number i of a step. */
HKD_FN struct hkd_span hkd_span(const struct hkd_run *run, const struct hk_step *st, uint32_t i,
				uint32_t tile)
{
	uint32_t period = run->prog.period, class_of = st->size + i;
	uint64_t start;

	if (run->prog.varied) {
		if (st->src_buf == HK_IN || st->src_buf == HK_OUT)
			return hkd_cut(run, 0, hkd_chunk(run, st->src_buf, st->src + i)->length,
				       tile);
		if (st->dst_buf == HK_OUT)
			return hkd_cut(run, 0, hkd_chunk(run, HK_OUT, st->dst + i)->length, tile);
		return hkd_cut(run, 0, hkd_chunk(run, HK_SCRATCH, class_of)->length, tile);
	}
	if (class_of >= period)
		class_of = hkd_rest(class_of, period);
	start = hkd_share(run, class_of);
	return hkd_cut(run, start, hkd_share(run, class_of + 1) - start, tile);
}

/* Address of the current tile's part of a chunk. */
HKD_FN uint64_t hkd_place(const struct hkd_run *run, unsigned buf, uint32_t chunk,
			  struct hkd_span s)
{
	if (buf == HK_SCRATCH)
		return run->prog.scratch + chunk * run->prog.scratch_stride;
	if (buf == HK_NONE)
		return 0;
	if (run->prog.varied)
		return hkd_chunk(run, buf, chunk)->at + s.start * run->esize;
	if (chunk >= run->prog.period)
		s.start += hkd_quotient(chunk, run->prog.period) * run->count;
	return (buf == HK_IN ? run->in : run->out) + s.start * run->esize;
}

/* Bytes of a step in this tile; and in lines, where every chunk begins a line of its own. */
HKD_FN uint64_t hkd_bytes(const struct hkd_run *run, const struct hk_step *st, uint32_t tile,
			  uint64_t *in_lines)
{
	uint64_t all = 0, lines = 0;

	HKD_NO_UNROLL
	for (uint32_t i = 0; i < st->nchunks; i++) {
		uint64_t n = hkd_span(run, st, i, tile).length * run->esize;

		all += n;
		lines += (n + HKD_WORD - 1) / HKD_WORD * HKD_WORD;
	}
	*in_lines = lines;
	return all;
}

/* As mark_of (exec/message.h). */
#define HKD_COUNT_SHIFT 8
#define HKD_COUNT_BITS	12

HKD_FN uint32_t hkd_mark(const struct hkd_run *run, const struct hk_step *st)
{
	const uint32_t mask = ((1u << HKD_COUNT_BITS) - 1) << HKD_COUNT_SHIFT;
	int in = st->src_buf == HK_IN || st->src_buf == HK_OUT;
	uint64_t n = 0;

	if (!run->prog.skips)
		return run->mark;
	HKD_NO_UNROLL
	for (uint32_t i = 0; i < st->nchunks; i++)
		n += in ? hkd_chunk(run, st->src_buf, st->src + i)->length
			: hkd_chunk(run, HK_OUT, st->dst + i)->length;
	return (run->mark & ~mask) | (uint32_t)(n * 0x9e3779b97f4a7c15ull >> (64 - HKD_COUNT_BITS))
					     << HKD_COUNT_SHIFT;
}

#endif
