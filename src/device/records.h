/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a host writes for the interpreter on a GPU, and what both keep there: a program bound to
 * connections, a call of it, the rings that messages go through, and the page where the GPU says
 * what went wrong. Addresses are 64-bit numbers, so that the records are the same on both sides.
 * C and C++ alike.
 *
 * A ring is one connection's memory, at its receiver or in host memory that both can reach:
 *
 *     header 0, header 1 ... | lines of slot 0, of slot 1 ... | slot 0 | slot 1 | ...
 *
 * A message's number (from 1 on, cut to 32 bits) is its flag. A short message travels as lines: 8
 * bytes of data in 16, each half of them with its own flag in one 64-bit word, so that data is its
 * own announcement and can be on its way before a fence. A longer one is written to its slot, and
 * then announced by its header; or it stays where it is, if the receiver can read it there, and its
 * header says where that is (it is lent). The header's two words carry the flag, too: {mark, flag}
 * and {bytes and kind, flag}. The receiver says how many messages it is through with in a word at
 * the sender.
 */
#ifndef HKD_RECORDS_H
#define HKD_RECORDS_H

#include <stdint.h>

#include "step.h"

enum hkd_kind { HKD_SLOT = 0, HKD_LINES = 1, HKD_LENT = 2 };
#define HKD_KIND_SHIFT 30 /* above the bytes */

/* What the flags of a step say here beside HK_STEP_FLIP. */
#define HKD_STEP_LENDABLE 0x80

struct hkd_header {
	uint64_t mark;	/* mark | flag << 32 */
	uint64_t bytes; /* bytes and kind | flag << 32 */
	uint64_t at;	/* of a lent message: its address, as the receiver has it */
	uint64_t unused;
};

/* The halves of a connection. Their counts outlive calls. */
struct hkd_send {
	uint64_t ring; /* address; 0: not known yet, then: */
	uint64_t door; /* address of a word: where the ring is, from base on; 0: not there yet */
	uint64_t base;
	uint64_t released; /* address of the receiver's count */
	uint64_t sent;
	uint64_t lent; /* the last message that was lent; 0: none */
	uint64_t seen; /* the receiver's count, as last read */
	uint32_t slots, slot_bytes,
		line_bytes; /* line_bytes: data of the longest message in lines */
	uint32_t slot;	    /* the next */
	uint32_t lends;	    /* messages from so many bytes on are lent; 0: none */
	int32_t peer;
};

struct hkd_recv {
	uint64_t ring;
	uint64_t released; /* address of our count, at the sender */
	uint64_t got;
	uint32_t slots, slot_bytes, line_bytes;
	uint32_t slot;
	int32_t peer;
	uint32_t unused;
	/* Not 0: the address of a word where the kernel says the number of the message that it
	 * waits for; asked is what it said last. For a host that moves messages: what fails at its
	 * end matters only if it is wanted. */
	uint64_t wants, asked;
};

/* A lane's cursor. Others read its progress: steps completed in this call. All 0 between calls. */
struct hkd_cursor {
	uint64_t progress;
	uint32_t step, tile;
	uint32_t lends; /* whether it lent anything */
	uint32_t ended;
};

/* A block's or chunk's place in a call whose blocks differ. */
struct hkd_chunk {
	uint64_t at;
	uint64_t length; /* elements */
};

/* The page that the host reads and writes while kernels run. */
enum hkd_failure { HKD_FINE, HKD_TIMEOUT, HKD_MISMATCH };
struct hkd_control {
	uint32_t stop; /* not 0: every kernel ends soon, and none begins */
	uint32_t failure;
	uint32_t lane, step, tile;
	int32_t peer;
	uint32_t waits; /* HK_DOES_RECV or HK_DOES_SEND; 0: for a lane of its own */
	uint32_t mark, bytes, expected, own_mark;
	uint32_t told;	/* the above is there to be read */
	uint64_t calls; /* that have ended, but for those of graphs */
};

/* A program in device memory. */
struct hkd_program {
	uint64_t steps;	  /* struct hk_step: to and from are indices of sends and recvs, size is the
			   * first chunk's class or, where blocks vary, size id */
	uint64_t deps;	  /* struct hk_dep */
	uint64_t lanes;	  /* struct hk_lane */
	uint64_t cursors; /* struct hkd_cursor, one a lane */
	uint64_t sends, recvs;
	uint64_t scratch, scratch_stride;
	uint64_t ended; /* address of a count of blocks that have ended; 0 between calls */
	uint32_t nlanes, period;
	uint32_t serial, by_steps, skips, varied;
};

/* A launch's parameter: one call of a program. */
struct hkd_run {
	struct hkd_program prog;
	uint64_t control;
	uint64_t in, out, count;
	uint64_t tile_elems;
	uint64_t scalar;    /* bits: of the type, or of a float32 for the small floats */
	uint64_t scalar_at; /* instead: where to read it, of the type; 0: above */
	uint64_t timeout_ns;
	/* Where blocks vary: chunks of IN, of OUT, and by size id: struct hkd_chunk. */
	uint64_t in_chunks, out_chunks, sizes;
	uint32_t ntiles, mark;
	uint32_t type, op;
	uint32_t esize, scaled;
	uint32_t counts; /* in hkd_control.calls; replays of a graph do not */
};

/* The other kernel's: out[i] = in[i], scaled or divided. */
struct hkd_map {
	uint64_t in, out, count;
	uint64_t scalar, scalar_at;
	uint32_t type, esize;
	uint32_t scaled, divide;
};

#define HKD_RUN_KERNEL "hkd_run_kernel"
#define HKD_MAP_KERNEL "hkd_map_kernel"

#ifdef __CUDACC__
#define HKD_BOTH static inline __host__ __device__
#else
#define HKD_BOTH static inline
#endif

/* Where the parts of a ring are, and how long it is. */
HKD_BOTH uint64_t hkd_ring_lines(uint32_t slots)
{
	return ((uint64_t)slots * sizeof(struct hkd_header) + 127) / 128 * 128;
}

HKD_BOTH uint64_t hkd_ring_slots(uint32_t slots, uint32_t line_bytes)
{
	return (hkd_ring_lines(slots) + (uint64_t)slots * line_bytes * 2 + 127) / 128 * 128;
}

HKD_BOTH uint64_t hkd_ring_bytes(uint32_t slots, uint32_t slot_bytes, uint32_t line_bytes)
{
	return hkd_ring_slots(slots, line_bytes) + (uint64_t)slots * slot_bytes;
}

#endif
