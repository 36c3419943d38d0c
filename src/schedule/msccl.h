/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the importer of MSCCL's XML: an algorithm as its file tells it, and what a run of it tells
 * besides. Private to this folder.
 *
 *     msccl_xml.c     file -> struct hk_msccl
 *     msccl_run.c     runs it once, to learn what every chunk that is moved is, and where it lies
 *     msccl.c         -> programs
 */
#ifndef HK_SCHEDULE_MSCCL_H
#define HK_SCHEDULE_MSCCL_H

#include "file.h"

#define MSCCL_NOBODY UINT32_MAX

enum msccl_type {
	MSCCL_S,
	MSCCL_R,
	MSCCL_RCS,
	MSCCL_RRS,
	MSCCL_RRC,
	MSCCL_RRCS,
	MSCCL_CPY,
	MSCCL_RE,
	MSCCL_NOP,
	MSCCL_NTYPES
};
enum msccl_buf { MSCCL_I, MSCCL_O, MSCCL_SCRATCH, MSCCL_NBUFS };

/* What each type does, in the bits of hk_op_does, and the op that it becomes; 0 for nop. */
extern const struct msccl_kind {
	const char *name;
	uint8_t op;
} msccl_kinds[MSCCL_NTYPES];

struct msccl_step {
	uint8_t type;
	uint8_t src_buf, dst_buf; /* enum msccl_buf, where the type has them */
	uint32_t src, dst, count;
	uint32_t dep_tb, dep_step; /* the threadblock's number in tbs, MSCCL_NOBODY: none */
	unsigned line;

	/* By msccl_run: */
	uint32_t tb;
	uint32_t move;	/* its first chunk in moves; count of them, none for a nop */
	uint32_t match; /* the sending step that a receiving one meets */
	uint32_t chain; /* another step that handles the same message, or itself */
	/* By msccl.c: the number in its lane of the last step that it becomes. */
	uint32_t end;
};

struct msccl_tb { /* a threadblock */
	int id, send, recv;
	uint32_t channel;
	uint32_t gpu;
	uint32_t first, nsteps;
	unsigned line;

	/* By msccl_run: where it sends to and receives from, MSCCL_NOBODY: it does not */
	uint32_t receiver, sender;
	uint32_t lane; /* by msccl.c; MSCCL_NOBODY: all its steps are nops */
};

struct msccl_gpu {
	uint32_t first, ntbs;
	uint32_t scratch; /* chunks */
	unsigned line;	  /* 0: not seen yet */
	uint32_t spilled; /* chunks of SCRATCH after those, by msccl_run */
	struct msccl_cell *cells;
};

/* One chunk of a step: where it really lies (enum hk_buf), and its size class. */
struct msccl_move {
	uint32_t class;
	uint32_t low; /* the lowest rank that has contributed */
	uint32_t src, dst, old;
	uint8_t src_buf, dst_buf;
	uint8_t old_buf; /* of re, whose target holds input yet: that is copied first; else 0 */
	bool flip;	 /* what is received, or the source of re, is the left operand */
	bool cut;	 /* a step of its own begins here */
};

/* A chunk of memory: region o, then i (where it is not o), then s. */
struct msccl_cell {
	uint8_t state; /* enum msccl_state */
	uint32_t class, low;
	uint32_t spill; /* its chunk of SCRATCH, if our schedule can't write it where it is */
};
enum msccl_state { MSCCL_EMPTY, MSCCL_INPUT, MSCCL_WRITTEN };

struct hk_msccl {
	const char *source;
	char name[64];
	struct hk_problem p; /* inplace: i and o are the same memory */
	uint32_t period;
	bool inplace, outofplace;
	uint64_t min_bytes, max_bytes;
	struct msccl_gpu *gpus; /* [p.nranks], by their ids */
	uint32_t ntbs, max_tbs, nsteps, max_steps, nmoves;
	struct msccl_tb *tbs;
	struct msccl_step *steps;
	struct msccl_move *moves;
};

static inline unsigned msccl_does(const struct msccl_step *s)
{
	return s->type == MSCCL_NOP ? 0 : hk_op_does[msccl_kinds[s->type].op];
}

/* Chunks in region o or i of every GPU. */
static inline uint32_t msccl_region(const struct hk_msccl *m, enum hk_buf buf)
{
	return hk_coll_blocks(&m->p, m->p.root, buf) * m->period;
}

/* 0, or a negative code with its sentence. */
int hk_msccl_parse(struct hk_msccl *m, const char *xml, size_t length);
int hk_msccl_run(struct hk_msccl *m);
void hk_msccl_free(struct hk_msccl *m);

#endif
