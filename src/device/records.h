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
 * own announcement and can be on its way before a fence. A longer one is written to its slot, as
 * many bytes behind a multiple of 16 as where it came from or is kept (its place), so that it moves
 * 16 bytes at a time; and then announced by its header; or it stays where it is, if the receiver
 * can read it there, and its header says where that is (it is lent). The header's two words carry
 * the flag, too: {mark, flag} and {bytes, place and kind, flag}. The receiver says how many
 * messages it is through with in a word at the sender.
 *
 * Of a ring in host memory there may be slots apart, in the sender's GPU, for messages that a
 * network card reads there.
 */
#ifndef HKD_RECORDS_H
#define HKD_RECORDS_H

#include <stdint.h>

#include "step.h"

enum hkd_kind { HKD_SLOT = 0, HKD_LINES = 1, HKD_LENT = 2, HKD_APART = 3 };
#define HKD_KIND_SHIFT	30    /* above the bytes ... */
#define HKD_PLACE_SHIFT 26    /* ... and the place in the slot */
#define HKD_LINE_BYTES	4096u /* data of the longest message in lines, where a ring has them */
#define HKD_WORD	8u    /* data of a line */

/* What the flags of a step say here beside HK_STEP_FLIP. */
#define HKD_STEP_LENDABLE 0x80
#define HKD_STEP_AWAITED  0x40 /* some lane may wait until it has passed */

#define HKD_DOOR_SLOTS 4096u

struct hkd_header {
	uint64_t mark;	/* mark | flag << 32 */
	uint64_t bytes; /* bytes, place and kind | flag << 32 */
	uint64_t at;	/* of a lent message: its address, as the receiver has it */
	uint64_t unused;
};

/* The halves of a connection. Their counts outlive calls. */
struct hkd_send {
	uint64_t ring; /* address; 0: not known yet, then: */
	uint64_t door; /* address of a word: where the ring is, from base on, a multiple of
			* HKD_DOOR_SLOTS, plus its number of slots; 0: not there yet */
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
	uint32_t anything; /* the peer reaches all that we do; else only what a call's rows say */
	uint32_t apart_bytes;
	uint64_t apart;	     /* address of slots of apart_bytes that are not in the ring; 0: none */
	uint64_t apart_from; /* messages from so many bytes on go there */
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

/* A lane, and the numbers of the connections that it uses first; -1: none. */
struct hkd_lane {
	uint32_t first, nsteps; /* as in struct hk_lane */
	int32_t to, from;
};

/* Where a lane is with the step at its cursor. */
enum hkd_stage {
	HKD_NEXT,    /* it has not been looked at */
	HKD_DEPENDS, /* worked out; what it depends on may not have passed */
	HKD_WAITS,   /* for nothing but its message and its slot */
	HKD_SETTLES, /* all steps are done; not all that was lent has been read */
	HKD_ENDED
};

/* How far a lane is: what the first thread of its block keeps of it during a call. */
struct hkd_cursor {
	uint8_t stage, does, skipped;
	uint8_t lends;	  /* whether the lane lent anything */
	uint32_t flag;	  /* of the message that the step receives ... */
	uint64_t watch;	  /* ... and the address of its header */
	uint64_t step_at; /* the step's address ... */
	uint64_t bytes;	  /* ... and its message or data in this tile; the same in lines */
	uint64_t line_bytes;
	uint64_t progress; /* steps completed in this call */
	uint32_t step, tile;
	uint32_t mark;
	uint32_t passed; /* of its dependencies, from the first on */
	int32_t to, from;
	struct hkd_send send; /* as the records `to` and `from` are */
	struct hkd_recv recv;
};

/* A block's or chunk's place in a call whose blocks differ. */
struct hkd_chunk {
	uint64_t at;
	uint64_t length; /* elements */
};

/* The page that the host reads and writes while kernels run. */
enum hkd_failure { HKD_FINE, HKD_TIMEOUT, HKD_MISMATCH };
struct hkd_control {
	uint32_t stop; /* not 0: every kernel that waits ends soon */
	uint32_t failure;
	uint32_t lane, step, tile;
	int32_t peer;
	uint32_t waits; /* HK_DOES_RECV or HK_DOES_SEND; 0: for a lane of its own */
	uint32_t mark, bytes, expected, own_mark;
	uint32_t told;	/* the above is there to be read */
	uint64_t calls; /* the last that has ended, but for those of graphs */
};

/* A program in device memory. Steps, dependencies and lanes lie behind each other, in image_bytes
 * from the steps on. */
struct hkd_program {
	uint64_t steps; /* struct hk_step: to and from are indices of sends and recvs, size is
			 * the first chunk's class or, where blocks vary, size id */
	uint64_t deps;	/* struct hk_dep */
	uint64_t lanes; /* struct hkd_lane */
	uint64_t
		cursors; /* struct hkd_cursor, one a lane, for those that a block has no room for */
	uint64_t progress; /* a word a lane, for other blocks: its cursor's; 0 between calls */
	uint64_t sends, recvs;
	uint64_t scratch, scratch_stride;
	uint64_t ended; /* address of a count of blocks that have ended; 0 between calls */
	uint32_t image_bytes, nlanes, period;
	uint32_t serial, by_steps, skips, varied;
	uint32_t awaited; /* whether any step is */
};

/* A launch's parameter: one call of a program. */
struct hkd_run {
	struct hkd_program prog;
	uint64_t control;
	uint64_t left; /* address of a word on the GPU: not 0 once a kernel left before its end */
	uint64_t in, out, count;
	uint64_t tile_elems;
	uint64_t scalar;    /* bits: of the type, or of a float32 for the small floats */
	uint64_t scalar_at; /* instead: where to read it, of the type; 0: above */
	uint64_t timeout_ns;
	/* Where blocks vary: chunks of IN, of OUT, and by size id: struct hkd_chunk, behind each
	 * other in table_bytes. */
	uint64_t in_chunks, out_chunks, sizes;
	/* Words by peer: what to add to an address in IN or OUT for the peer to read there, plus 1;
	 * 0: it can't. 0: none of them can. */
	uint64_t in_rows, out_rows;
	uint64_t call;	/* its number, for hkd_control.calls; 0: a graph's, which are not counted */
	uint64_t share; /* count / period */
	uint32_t rest;	/* count % period */
	uint32_t table_bytes;
	uint32_t ntiles, mark;
	uint32_t type, op;
	uint32_t esize, scaled;
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

/* From slot to slot: with room for any place. */
HKD_BOTH uint64_t hkd_slot_stride(uint32_t slot_bytes)
{
	return ((uint64_t)slot_bytes + 15 + 127) / 128 * 128;
}

HKD_BOTH uint64_t hkd_ring_bytes(uint32_t slots, uint32_t slot_bytes, uint32_t line_bytes)
{
	return hkd_ring_slots(slots, line_bytes) + slots * hkd_slot_stride(slot_bytes);
}

/* What a header's second word says. */
HKD_BOTH uint32_t hkd_header_bytes(uint64_t word)
{
	return (uint32_t)word & ((1u << HKD_PLACE_SHIFT) - 1);
}

HKD_BOTH uint32_t hkd_header_place(uint64_t word)
{
	return (uint32_t)word >> HKD_PLACE_SHIFT & 15;
}

HKD_BOTH uint32_t hkd_header_kind(uint64_t word)
{
	return (uint32_t)word >> HKD_KIND_SHIFT;
}

#endif
